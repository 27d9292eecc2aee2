//! Times several things interleaved, so that what slows the machine slows all of them alike.
//!
//! ```text
//! round:  a b c d   one sample of each, some milliseconds of calls
//! round:  d c b a   the other way round, so that nobody always follows the same neighbour
//! ...               the first round is thrown away: it pays for cold caches and a sleeping processor
//! ```
//! A figure is the ratio of two contestants' rates *within a round*, and its spread over the rounds.

use std::time::{Duration, Instant};

use craftsman_kernelgen::roofline::Samples;

/// Something to be timed.
pub struct Contestant<'a> {
    /// What it is called in figures.
    pub name: String,
    /// What one call does, in any unit that is the same for all that are compared: products of a weight and an
    /// activation, or calls.
    pub work: f64,
    /// Bytes of weights that one call reads.
    pub bytes: f64,
    /// Calls it that often.
    run: Box<dyn FnMut(usize) + 'a>,
    /// Every sample is made this much longer; 1 but for those who test that regressions are found.
    pub slowness: f64,
}

impl<'a> Contestant<'a> {
    /// `run(n)` makes n calls, each of which does `work` and reads `bytes` bytes of weights.
    pub fn new(name: impl Into<String>, work: f64, bytes: f64, run: impl FnMut(usize) + 'a) -> Self {
        Self { name: name.into(), work, bytes, run: Box::new(run), slowness: 1.0 }
    }

    /// Seconds that `calls` calls take.
    fn seconds(&mut self, calls: usize) -> f64 {
        let start = Instant::now();
        (self.run)(calls);
        let honest = start.elapsed();
        while start.elapsed().as_secs_f64() < honest.as_secs_f64() * self.slowness {}
        start.elapsed().as_secs_f64()
    }

    /// How many calls last as long as a sample shall.
    fn calls(&mut self, sample: Duration) -> usize {
        self.seconds(1);
        let once = self.seconds(1).max(1e-9);
        (sample.as_secs_f64() / once).ceil().clamp(1.0, 1e7) as usize
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds that count.
    pub rounds: usize,
    /// How long a sample lasts at least.
    pub sample: Duration,
}

/// What became of a contestant.
#[derive(Clone, Debug)]
pub struct Times {
    /// Its name.
    pub name: String,
    /// Its work a call.
    pub work: f64,
    /// Its bytes a call.
    pub bytes: f64,
    /// Seconds a call took, one value a round.
    pub seconds: Vec<f64>,
}

impl Times {
    /// How many times as fast as `reference` it was, round by round; `None` of no rounds.
    ///
    /// ```
    /// use craftsman_benches::contest::Times;
    /// let times = |work, seconds: &[f64]| Times { name: String::new(), work, bytes: 0.0, seconds: seconds.to_vec() };
    /// let ratio = times(2.0, &[1.0, 3.0]).ratio(&times(1.0, &[4.0, 3.0])).unwrap();
    /// assert_eq!(ratio.median, (8.0 + 2.0) / 2.0);
    /// ```
    pub fn ratio(&self, reference: &Self) -> Option<Samples> {
        let scale = self.work / reference.work;
        let rounds = self.seconds.iter().zip(&reference.seconds);
        Some(Samples::new(rounds.map(|(own, other)| scale * other / own).collect())?.summary())
    }

    /// The same of the bytes that were read.
    pub fn bytes_ratio(&self, reference: &Self) -> Option<Samples> {
        let as_work = |times: &Self| Self { work: times.bytes, ..times.clone() };
        as_work(self).ratio(&as_work(reference))
    }

    /// Microseconds a call; `None` of no rounds.
    pub fn microseconds(&self) -> Option<Samples> {
        Some(Samples::new(self.seconds.iter().map(|seconds| seconds * 1e6).collect())?.summary())
    }
}

/// Runs the rounds. `step` is called once a round, for those who show progress.
pub fn contest(contestants: &mut [Contestant<'_>], plan: Plan, step: &mut dyn FnMut()) -> Vec<Times> {
    let calls: Vec<usize> = contestants.iter_mut().map(|one| one.calls(plan.sample)).collect();
    let mut seconds = vec![Vec::with_capacity(plan.rounds); contestants.len()];
    for round in 0..=plan.rounds {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let sample = contestants[at].seconds(calls[at]) / calls[at] as f64;
            if round > 0 {
                seconds[at].push(sample);
            }
        }
        step();
    }
    let times = contestants.iter().zip(seconds);
    times
        .map(|(one, seconds)| Times { name: one.name.clone(), work: one.work, bytes: one.bytes, seconds })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_times_everyone_and_the_first_does_not_count() {
        let mut steps = 0;
        let plan = Plan { rounds: 4, sample: Duration::from_micros(10) };
        let mut all = [Contestant::new("a", 1.0, 0.0, |_| ()), Contestant::new("b", 1.0, 0.0, |_| ())];
        let times = contest(&mut all, plan, &mut || steps += 1);
        assert_eq!(steps, 5);
        assert!(times.iter().all(|times| times.seconds.len() == 4));
    }

    #[test]
    fn slowness_is_seen() {
        let wait = |calls: usize| std::thread::sleep(Duration::from_micros(200) * calls as u32);
        let mut all = [Contestant::new("a", 1.0, 0.0, wait), Contestant::new("b", 1.0, 0.0, wait)];
        all[0].slowness = 3.0;
        let plan = Plan { rounds: 5, sample: Duration::from_millis(1) };
        let times = contest(&mut all, plan, &mut || ());
        assert!(times[0].ratio(&times[1]).unwrap().median < 0.7);
    }
}
