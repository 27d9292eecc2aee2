//! Histories: a file a kind of machine, a line a run, oldest first.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use craftsman_kernelgen::store::{Machine, write_aside};

use super::record::Run;
use super::validate::check;
use crate::failure::Failure;

/// Years of daily runs are smaller.
const MAX_BYTES: u64 = 256 << 20;

/// The history of one kind of machine.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
}

impl History {
    /// Of `machine`, in `folder`.
    pub fn of(folder: &Path, machine: &Machine) -> Self {
        Self { path: folder.join(format!("{machine}.jsonl")) }
    }

    /// Every history in `folder`, by name; none when there is no such folder.
    pub fn all(folder: &Path) -> Result<Vec<Self>, Failure> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Failure::file(folder))?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(Failure::file(folder)));
        let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        paths.sort();
        Ok(paths.into_iter().map(|path| Self { path }).collect())
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its runs, oldest first; none when there is no file yet.
    pub fn runs(&self) -> Result<Vec<Run>, Failure> {
        let text = self.text()?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        lines.map(|(line, text)| self.parse(line, text)).collect()
    }

    fn parse(&self, line: usize, text: &str) -> Result<Run, Failure> {
        let run = serde_json::from_str::<Run>(text).map_err(|error| error.to_string());
        let checked = run.and_then(|run| check(&run).map(|()| run));
        checked.map_err(|reason| Failure::History { path: self.path.clone(), line, reason })
    }

    fn text(&self) -> Result<String, Failure> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            file => file.map_err(Failure::file(&self.path))?,
        };
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(Failure::file(&self.path))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Failure::TooLarge { path: self.path.clone(), limit: MAX_BYTES });
        }
        Ok(text)
    }

    /// Appends a run: a reader sees the file without it or with all of it, and of two processes that append, both runs
    /// stay. What is there already must be a history.
    pub fn append(&self, run: &Run) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Failure::file(folder))?;
        let lock_path = self.path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(Failure::file(&lock_path))?;
        lock.lock().map_err(Failure::file(&lock_path))?;
        self.runs()?;
        let mut text = self.text()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let line = serde_json::to_string(run).map_err(|error| Failure::Broken(error.to_string()))?;
        text.push_str(&line);
        text.push('\n');
        write_file(&self.path, &text)
    }
}

/// Writes a file that appears complete or not at all, in a folder that need not exist yet.
pub fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    let failed = |error| Failure::file(path)(error);
    write_aside(path, failed, |out| out.write_all(text.as_bytes()).map_err(failed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::run;

    fn history(folder: &Path) -> History {
        History::of(folder, &run(&[]).machine)
    }

    #[test]
    fn runs_come_back_in_order_from_several_writers() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("not/there/yet");
        assert_eq!(history(&nested).runs().unwrap(), []);
        let first = run(&[("a", 1.0)]);
        history(&nested).append(&first).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| history(&nested).append(&run(&[("b", 2.0)])).unwrap());
            }
        });
        let runs = history(&nested).runs().unwrap();
        assert_eq!((runs.len(), &runs[0]), (5, &first));
    }

    #[test]
    fn what_is_no_history_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(folder.path());
        let good = serde_json::to_string(&run(&[("a", 1.0)])).unwrap();
        let deep = "[".repeat(1 << 20);
        for bad in
            ["{", "null", "{\"format\":1}", &good.replace("1.0", "-1.0"), &good[..good.len() / 2], &deep]
        {
            let text = format!("{good}\n\n{bad}\n");
            fs::write(history.path(), &text).unwrap();
            let error = history.runs().unwrap_err();
            assert!(matches!(error, Failure::History { line: 3, .. }), "{error}");
            assert!(history.append(&run(&[])).is_err());
            assert_eq!(fs::read_to_string(history.path()).unwrap(), text);
        }
        fs::write(history.path(), [0xFF, 0xFE]).unwrap();
        assert!(matches!(history.runs().unwrap_err(), Failure::File { .. }));
    }
}
