//! `kernelgen tune export|import|show|clear`

use std::path::PathBuf;

use clap::Subcommand;
use craftsman_isa::HardwareCaps;
use craftsman_kernelgen::KernelKey;
use craftsman_kernelgen::tuning::TuningFile;

use super::show;
use crate::{Failure, print};

/// What to do with the answers that there are.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Show what is known about this machine
    Show {
        /// Only these keys
        keys: Vec<KernelKey>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Write the answers to a file, for an equal machine
    Export {
        /// The new file
        file: PathBuf,
    },
    /// Take over the answers of an equal machine; what is known better stays
    Import {
        /// A file that `export` wrote
        file: PathBuf,
    },
    /// Forget the answers for this machine
    Clear {
        /// Only these keys
        keys: Vec<KernelKey>,
    },
}

impl Action {
    pub(super) fn run(&self, file: &TuningFile, caps: &HardwareCaps) -> Result<(), Failure> {
        match self {
            Self::Show { keys, json } => {
                let mut answers = file.load()?;
                answers.retain(|answer| keys.is_empty() || keys.contains(&answer.question.key));
                if answers.is_empty() && !json {
                    print("nothing is known yet: run `kernelgen tune`");
                    return Ok(());
                }
                show(&answers, *json)
            }
            Self::Export { file: to } => {
                let answers = file.load()?;
                if answers.is_empty() {
                    return Err(Failure::Usage("nothing is known yet: run `kernelgen tune`".to_owned()));
                }
                if to.exists() {
                    return Err(Failure::Usage(format!("{} is there already", to.display())));
                }
                TuningFile::at(to, caps).merge(&answers)?;
                print(&format!("{} answers in {}", answers.len(), to.display()));
                Ok(())
            }
            Self::Import { file: from } => {
                if !from.exists() {
                    return Err(Failure::File(format!("there is no file {}", from.display())));
                }
                let answers = TuningFile::at(from, caps).load_strictly()?;
                file.merge(&answers)?;
                print(&format!("{} answers into {}", answers.len(), file.path().display()));
                Ok(())
            }
            Self::Clear { keys } => clear(file, keys),
        }
    }
}

fn clear(file: &TuningFile, keys: &[KernelKey]) -> Result<(), Failure> {
    let said = if keys.is_empty() {
        let removed = file.remove()?;
        format!("{}: {}", file.path().display(), if removed { "removed" } else { "nothing to forget" })
    } else {
        let count = file.forget(|answer| keys.contains(&answer.question.key))?;
        format!("{count} answers forgotten")
    };
    print(&said);
    Ok(())
}
