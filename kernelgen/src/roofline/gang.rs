//! The same work on several threads at once, timed from the common start to the last one's end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `work(0)` to `work(threads - 1)` at once, the first of them on this thread, and says how long it took from the
/// moment when all were ready. A thread that starts late, because the machine is busy, delays the start and not the time.
pub(crate) fn together(threads: usize, work: &(dyn Fn(usize) + Sync)) -> Duration {
    let ready = AtomicUsize::new(0);
    let timed = |index: usize| {
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < threads {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        work(index);
        (start, Instant::now())
    };
    let spans: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|index| scope.spawn(move || timed(index))).collect();
        let first = timed(0);
        // A panic of the work is a bug, and is passed on.
        let others = others
            .into_iter()
            .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(first).chain(others).collect()
    });
    let start = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    start.zip(end).map_or(Duration::ZERO, |(start, end)| end.saturating_duration_since(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_thread_works_once() {
        for threads in [1, 2, 5] {
            let seen = Mutex::new(Vec::new());
            together(threads, &|index| seen.lock().unwrap().push(index));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, (0..threads).collect::<Vec<_>>());
        }
    }
}
