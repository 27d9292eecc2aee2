//! What was asked of the machine, and what it answered.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::KernelConfig;
use crate::key::{KernelKey, NameError};
use crate::roofline::Samples;

/// Where the weights are when a kernel reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residence {
    /// In the nearest cache that holds the matrix: the same weights are used again and again.
    Cache,
    /// In main memory: by the time the weights are used again, others have taken their place in the cache.
    Dram,
}

impl Residence {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cache, Self::Dram];
}

impl fmt::Display for Residence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cache => "cache",
            Self::Dram => "dram",
        })
    }
}

impl FromStr for Residence {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|residence| residence.to_string() == text);
        found.ok_or_else(|| NameError::new("weights are in `cache` or `dram`", text))
    }
}

/// What is to be found out: the fastest way to compute `key` there, with so many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// The product.
    #[serde(with = "name")]
    pub key: KernelKey,
    /// Where the weights are.
    pub residence: Residence,
    /// How many threads divide the rows among them.
    pub threads: usize,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, residence, threads } = self;
        write!(f, "{key} from {residence} with {threads} thread{}", if *threads == 1 { "" } else { "s" })
    }
}

/// How one way of computing did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The way.
    #[serde(with = "name")]
    pub config: KernelConfig,
    /// Its time relative to the heuristic choice's, both measured within the same moments: below 1 is faster.
    pub ratio: Samples,
    /// Whether it was slow enough not to be measured any further.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out: bool,
}

impl Trial {
    /// How far the median may well be off: twice its standard error, were the samples normal.
    pub fn uncertainty(&self) -> f64 {
        // 1.253 for a median, and 1.349 standard deviations are in the middle half.
        2.0 * 1.253 / 1.349 * (self.ratio.high - self.ratio.low) / (self.ratio.count.max(1) as f64).sqrt()
    }
}

/// What is known about a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    #[serde(flatten)]
    pub question: Question,
    /// The way to compute it.
    #[serde(with = "name")]
    pub choice: KernelConfig,
    /// How many times as fast the choice is as the heuristic choice.
    pub gain: f64,
    /// Share of the roofline that the choice reaches, where the machine's roofline is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Whether the search came to its end; if not, it goes on from here.
    pub finished: bool,
    /// What would be chosen without tuning: what times are relative to.
    #[serde(with = "name")]
    pub heuristic: KernelConfig,
    /// Seconds of one call of the heuristic choice.
    pub heuristic_seconds: f64,
    /// Everything that was tried, the fastest first; when finished, the best few and the best of each packed layout.
    pub ranking: Vec<Trial>,
}

impl Answer {
    /// Whether the numbers can be what a measurement gave.
    ///
    /// # Errors
    /// Names what cannot.
    pub(super) fn plausible(&self) -> Result<(), String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let trial = self.ranking.iter().find(|trial| {
            !positive(trial.ratio.median) || trial.ratio.count == 0 || !trial.ratio.spread().is_finite()
        });
        let tried = |config: &KernelConfig| self.ranking.iter().any(|trial| trial.config == *config);
        match () {
            () if !positive(self.heuristic_seconds) || !positive(self.gain) => {
                Err("a time or gain that is no positive number".to_owned())
            }
            () if trial.is_some() => {
                Err(trial.map_or(String::new(), |trial| format!("the samples of {}", trial.config)))
            }
            () if !(1..=MAX_THREADS).contains(&self.question.threads) => {
                Err(format!("{} threads", self.question.threads))
            }
            () if !tried(&self.choice) => Err(format!("its choice {} is not in its ranking", self.choice)),
            () => Ok(()),
        }
    }
}

/// More threads than any machine has.
const MAX_THREADS: usize = 4096;

/// Names in files: what [`fmt::Display`] writes and [`FromStr`] reads.
mod name {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
