//! The distribution of something that was measured several times.

use serde::{Deserialize, Serialize};

/// Samples of one quantity. On a machine that is shared, the middle is what can be relied on, not the mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// The middle value (of an even number, the mean of the two in the middle).
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there were.
    pub count: usize,
    /// In the order they were measured; empty in a [`summary`](Self::summary).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<f64>,
}

impl Samples {
    /// Summarises `samples`; `None` of nothing.
    pub fn new(samples: Vec<f64>) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(&sorted, share));
        Some(Self { median, low, high, min, max, count: samples.len(), all: samples })
    }

    /// The same without the single samples and with five digits, for files that people read.
    #[must_use]
    pub fn summary(self) -> Self {
        let [median, low, high, min, max] =
            [self.median, self.low, self.high, self.min, self.max].map(five_digits);
        Self { median, low, high, min, max, count: self.count, all: Vec::new() }
    }

    /// Width of the middle half relative to the median: 0.02 says that half of the samples lie within two per cent.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / self.median }
    }
}

/// `value` with five significant digits, which is more than any measurement has.
pub(crate) fn five_digits(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// The value below which `share` of `sorted` (not empty) lies, interpolated between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let odd = Samples::new(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max, odd.low, odd.high), (2.0, 1.0, 3.0, 1.5, 2.5));
        assert_eq!(Samples::new(vec![4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Samples::new(vec![7.0]).unwrap().spread(), 0.0);
        assert!(Samples::new(Vec::new()).is_none());
    }

    #[test]
    fn a_summary_is_short() {
        let summary = Samples::new(vec![1.0 / 3.0, 2e9 / 3.0]).unwrap().summary();
        assert_eq!((summary.min, summary.max, summary.count), (0.33333, 6.6667e8, 2));
        assert!(summary.all.is_empty());
    }

    #[test]
    fn one_burst_moves_neither_the_median_nor_the_spread_by_much() {
        let calm = Samples::new(vec![100.0, 101.0, 99.0, 100.0, 102.0, 100.0, 98.0]).unwrap();
        let burst = Samples::new(vec![100.0, 101.0, 99.0, 400.0, 102.0, 100.0, 98.0]).unwrap();
        assert_eq!(calm.median, burst.median);
        assert!(calm.spread() < 0.03 && burst.spread() < 0.04, "{calm:?} {burst:?}");
    }
}
