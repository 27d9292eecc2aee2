//! How a command ends when it cannot do what it was asked: a message with its causes, and an exit code.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use craftsman::{ErrorKind, ModelError};

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: Box<dyn Error>,
}

/// Exit code when the model, a file or the machine is at fault.
pub const RUNTIME: u8 = 1;
/// Exit code when the command line is at fault; clap uses the same one.
pub const USAGE: u8 = 2;

impl Failure {
    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<Box<dyn Error>>) -> Self {
        Self { code: USAGE, error: message.into() }
    }

    /// Prints the error with its causes, and gives the exit code. A reader that stops reading (`craftsman run | head`)
    /// is no error.
    pub fn report(&self) -> ExitCode {
        if chain(&*self.error).any(is_broken_pipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {}", self.message());
        ExitCode::from(self.code)
    }

    /// The error and its causes, one a line; a cause that the line above already repeats is left out.
    fn message(&self) -> String {
        let mut text = self.error.to_string();
        let mut above = text.clone();
        for cause in chain(&*self.error).skip(1) {
            let cause = cause.to_string();
            if !above.contains(&cause) {
                text.push_str("\n  caused by: ");
                text.push_str(&cause);
            }
            above = cause;
        }
        text
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: Box<dyn Error> = Box::new(error);
        let model_error = error.downcast_ref::<ModelError>();
        let input = model_error.is_some_and(|error| error.kind() == ErrorKind::Input);
        Self { code: if input { USAGE } else { RUNTIME }, error }
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn causes_are_listed_once() {
        let inner = Layer("disk full", None);
        let middle = Layer("cannot write: disk full", Some(Box::new(inner)));
        let failure = Failure::from(Layer("logits lost", Some(Box::new(middle))));
        assert_eq!(failure.message(), "logits lost\n  caused by: cannot write: disk full");
        assert_eq!(failure.code, RUNTIME);
    }
}
