//! How long something took: the time that its threads were running.
//!
//! On a machine that others use too, a thread is put aside for milliseconds now and then. That time is theirs; counting
//! it would make every figure a figure of their programs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long this thread has been running.
#[cfg(unix)]
fn running() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // A negative time there is not: the clock starts with the thread.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// How long this process has been there: the next best thing.
#[cfg(not(unix))]
fn running() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// For how long this thread ran while it did `work`, in seconds.
pub fn timed(work: impl FnOnce()) -> f64 {
    let start = running();
    work();
    running().saturating_sub(start).as_secs_f64()
}

/// Calls `call` that often for each part, each part on a thread of its own, one part on this thread. The threads start
/// together, once; the slowest one's time counts, in seconds.
pub fn drive<P: Send>(parts: Vec<P>, calls: usize, call: impl Fn(&mut P, usize) + Sync) -> f64 {
    let (count, ready) = (parts.len(), AtomicUsize::new(0));
    let work = |mut part: P| {
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < count {
            std::hint::spin_loop();
        }
        timed(|| (0..calls).for_each(|at| call(&mut part, at)))
    };
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { return 0.0 };
    thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(|| work(part))).collect();
        let first = work(first);
        // A panic of the work is a bug, and is passed on.
        let times = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        times.fold(first, f64::max)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_called_as_often() {
        let mut counts = [0; 3];
        drive(counts.iter_mut().collect(), 5, |count, _| **count += 1);
        assert_eq!(counts, [5; 3]);
        assert_eq!(drive(Vec::<()>::new(), 5, |(), _| ()), 0.0);
    }

    #[test]
    #[cfg(unix)]
    fn a_thread_that_waits_is_not_running() {
        assert!(timed(|| thread::sleep(Duration::from_millis(50))) < 0.025);
        let spin = || (0..3_000_000_u64).for_each(|at| _ = std::hint::black_box(at));
        assert!(timed(spin) > 1e-4);
    }
}
