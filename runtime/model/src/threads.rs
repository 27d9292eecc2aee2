//! Threads behind one small interface: a list of jobs, each run once.
//!
//! Which thread runs a job never shows in the result: a job owns what it writes, and no sum crosses a job. One thread
//! means that everything runs on the caller's, and that no pool is even made.

use std::num::NonZeroUsize;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::{ErrorKind, ModelError};

/// A fixed number of threads that share the work of one step.
#[derive(Debug)]
pub struct Threads {
    count: usize,
    pool: Option<rayon::ThreadPool>,
}

impl Threads {
    /// Starts `count` threads; `1` starts none.
    pub fn new(count: NonZeroUsize) -> Result<Self, ModelError> {
        let pool = match count.get() {
            1 => None,
            threads => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|index| format!("craftsman-{index}"))
                    .build()
                    .map_err(|source| {
                        let problem = format!("cannot start {threads} threads: {source}");
                        ModelError::new(ErrorKind::Io, problem, "ask for fewer threads").because(source)
                    })?,
            ),
        };
        Ok(Self { count: count.get(), pool })
    }

    /// How many threads share the work.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Runs `work` on a thread of the pool, so that the [`run`](Self::run)s inside start without waking anybody.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Runs `job` on every element of `jobs`, and returns when all are done.
    pub fn run<T: Send>(&self, jobs: Vec<T>, job: impl Fn(T) + Sync + Send) {
        match &self.pool {
            Some(pool) if jobs.len() > 1 => {
                pool.install(|| jobs.into_par_iter().with_max_len(1).for_each(job));
            }
            _ => jobs.into_iter().for_each(job),
        }
    }

    /// Divides `data`, rows of `width` values, into stretches of whole rows, and runs `job(first row, stretch)` on each.
    pub fn rows(&self, data: &mut [f32], width: usize, job: impl Fn(usize, &mut [f32]) + Sync + Send) {
        let rows = data.len() / width.max(1);
        let stretch = rows.div_ceil(self.count).max(1);
        let jobs = data.chunks_mut(stretch * width.max(1)).enumerate().collect();
        self.run(jobs, |(index, part): (usize, &mut [f32])| job(index * stretch, part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once() {
        for count in 1..4 {
            let threads = Threads::new(NonZeroUsize::new(count).unwrap()).unwrap();
            let mut data = vec![0.0; 7 * 3];
            threads.enter(|| {
                threads.rows(&mut data, 3, |first, part| {
                    for (index, row) in part.chunks_mut(3).enumerate() {
                        for value in row {
                            *value += (first + index) as f32;
                        }
                    }
                });
            });
            let expected: Vec<f32> = (0..21).map(|i| (i / 3) as f32).collect();
            assert_eq!(data, expected);
        }
    }
}
