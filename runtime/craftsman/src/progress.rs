//! Progress on standard error, where a person can see it; silent anywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar or spinner moves by itself.
const TICK: Duration = Duration::from_millis(100);

/// A spinner for work of unknown length. It vanishes when dropped.
pub fn spinner(what: &str) -> Progress {
    let bar = ProgressBar::new_spinner().with_message(what.to_string());
    bar.enable_steady_tick(TICK);
    Progress(bar)
}

/// A bar of `steps` steps. It vanishes when dropped.
pub fn bar(what: &str, steps: u64) -> Progress {
    let template = "{msg:<28} [{wide_bar}] {human_pos}/{human_len} {elapsed}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(steps).with_style(style.progress_chars("=> ")).with_message(what.to_string());
    bar.enable_steady_tick(TICK);
    Progress(bar)
}

/// A bar or spinner that is on the screen; dropping it clears it.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Moves the bar by `steps`.
    pub fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Sets how far the bar has come, and how far it goes.
    pub fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Says what is being done now.
    pub fn message(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
