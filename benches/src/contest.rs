//! Times several things interleaved, so that what slows the machine slows all of them alike.
//!
//! ```text
//! round:  a b c d   one sample of each, some milliseconds of calls
//! round:  d c b a   the other way round, so that nobody always follows the same neighbour
//! ...               the first round is thrown away: it pays for cold caches and a sleeping processor
//! ```
//! A figure is the ratio of two contestants' rates *within a round*, and its spread over the rounds.

use std::time::Duration;

use craftsman_kernelgen::roofline::Samples;

/// Something to be timed.
pub struct Contestant<'a> {
    /// What it is called in figures.
    pub name: String,
    /// What one call does, in any unit that is the same for all that are compared: products of a weight and an
    /// activation, or calls. 0 of what only reads.
    pub work: f64,
    /// Bytes of weights that one call reads.
    pub bytes: f64,
    /// Calls it that often and says how many seconds it took.
    run: Box<dyn FnMut(usize) -> f64 + 'a>,
    /// How many times longer every sample is said to be; 1 but for those who test that regressions are found.
    pub slowness: f64,
}

impl<'a> Contestant<'a> {
    /// `run(n)` makes n calls, each of which does `work` and reads `bytes` bytes of weights, and returns the seconds that
    /// [`clock`](craftsman_kernelgen::clock) measured.
    pub fn new(name: impl Into<String>, work: f64, bytes: f64, run: impl FnMut(usize) -> f64 + 'a) -> Self {
        Self { name: name.into(), work, bytes, run: Box::new(run), slowness: 1.0 }
    }

    /// Seconds that `calls` calls take.
    fn seconds(&mut self, calls: usize) -> f64 {
        (self.run)(calls) * self.slowness
    }

    /// How many calls last as long as a sample shall, and for how many seconds.
    fn calls(&mut self, sample: Duration) -> (usize, f64) {
        self.seconds(1);
        let once = self.seconds(1).max(1e-9);
        let calls = (sample.as_secs_f64() / once).ceil().clamp(1.0, 1e7);
        (calls as usize, calls * once)
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds that count, at most.
    pub rounds: usize,
    /// How long a sample lasts at least.
    pub sample: Duration,
    /// How long all rounds together may last; there are [`MIN_ROUNDS`] in any case.
    pub budget: Duration,
}

/// Fewer rounds than these have no quartiles worth the name.
pub const MIN_ROUNDS: usize = 7;

impl Plan {
    /// How many rounds count when one takes `seconds`.
    fn rounds(&self, seconds: f64) -> usize {
        let affordable = (self.budget.as_secs_f64() / seconds.max(1e-9)) as usize;
        self.rounds.min(affordable.max(MIN_ROUNDS))
    }
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
    /// How many times as fast as `reference` it was, round by round: at its work, or at reading when that is all that the
    /// reference does. `None` of no rounds.
    ///
    /// ```
    /// use craftsman_benches::contest::Times;
    /// let times = |work, seconds: &[f64]| Times { name: String::new(), work, bytes: 8.0, seconds: seconds.to_vec() };
    /// let ours = times(2.0, &[1.0, 3.0]);
    /// assert_eq!(ours.ratio(&times(1.0, &[4.0, 3.0])).unwrap().median, (8.0 + 2.0) / 2.0);
    /// assert_eq!(ours.ratio(&times(0.0, &[1.0, 3.0])).unwrap().median, 1.0);
    /// ```
    pub fn ratio(&self, reference: &Self) -> Option<Samples> {
        let amount = |times: &Self| if reference.work > 0.0 { times.work } else { times.bytes };
        let scale = amount(self) / amount(reference);
        let rounds = self.seconds.iter().zip(&reference.seconds);
        Some(Samples::new(rounds.map(|(own, other)| scale * other / own).collect())?.summary())
    }

    /// Microseconds a call; `None` of no rounds.
    pub fn microseconds(&self) -> Option<Samples> {
        Some(Samples::new(self.seconds.iter().map(|seconds| seconds * 1e6).collect())?.summary())
    }
}

/// Runs the rounds. `step` is told after each how many are done, and of how many.
pub fn contest(
    contestants: &mut [Contestant<'_>],
    plan: Plan,
    step: &mut dyn FnMut(usize, usize),
) -> Vec<Times> {
    let (calls, once): (Vec<_>, Vec<_>) = contestants.iter_mut().map(|one| one.calls(plan.sample)).unzip();
    let rounds = plan.rounds(once.iter().sum());
    let mut seconds = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            if calls[at] > 1 {
                // The others have had the caches since; a call that is a sample by itself outlasts that.
                contestants[at].seconds(1);
            }
            let sample = contestants[at].seconds(calls[at]) / calls[at] as f64;
            if round > 0 {
                seconds[at].push(sample);
            }
        }
        step(round + 1, rounds + 1);
    }
    let times = contestants.iter().zip(seconds);
    times
        .map(|(one, seconds)| Times { name: one.name.clone(), work: one.work, bytes: one.bytes, seconds })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(seconds: f64) -> Contestant<'static> {
        Contestant::new("a", 1.0, 0.0, move |calls| seconds * calls as f64)
    }

    #[test]
    fn every_round_times_everyone_and_the_first_does_not_count() {
        let mut steps = Vec::new();
        let plan = Plan { rounds: 8, sample: Duration::from_millis(1), budget: Duration::from_secs(1) };
        let times =
            contest(&mut [always(1e-4), always(1e-5)], plan, &mut |done, all| steps.push((done, all)));
        assert_eq!((steps.len(), steps[8]), (9, (9, 9)));
        assert!(times.iter().all(|times| times.seconds.len() == 8));
        assert!((times[1].ratio(&times[0]).unwrap().median - 10.0).abs() < 1e-3);
    }

    #[test]
    fn what_takes_long_is_measured_less_often() {
        let plan = Plan { rounds: 50, sample: Duration::from_millis(1), budget: Duration::from_secs(10) };
        let rounds = |seconds| contest(&mut [always(seconds)], plan, &mut |_, _| ())[0].seconds.len();
        assert_eq!([rounds(0.01), rounds(1.0), rounds(9.0)], [50, 10, MIN_ROUNDS]);
    }

    #[test]
    fn slowness_is_seen() {
        let mut all = [Contestant { slowness: 3.0, ..always(1e-3) }, always(1e-3)];
        let plan = Plan { rounds: 5, sample: Duration::from_millis(1), budget: Duration::from_secs(1) };
        let times = contest(&mut all, plan, &mut |_, _| ());
        assert!((times[0].ratio(&times[1]).unwrap().median - 1.0 / 3.0).abs() < 1e-3);
    }
}
