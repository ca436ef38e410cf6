//! Tells a person at a terminal what the demo is doing.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::note;

/// The steps of the demo on standard error: a spinner in a terminal, plain
/// lines elsewhere.
pub struct Stage {
    bar: ProgressBar,
    terminal: bool,
    started: Instant,
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, terminal, started: Instant::now() }
    }

    /// Says what is done now.
    pub fn step(&self, what: &str) {
        let text = format!("[{:>4.1} s] {what}", self.started.elapsed().as_secs_f64());
        if self.terminal {
            self.bar.println(&text);
            self.bar.set_message(String::new());
        } else {
            note(text);
        }
    }

    /// Says how far the step is.
    pub fn progress(&self, done: usize, total: usize) {
        if self.terminal {
            self.bar.set_message(format!("{done} of {total}"));
        }
    }

    /// Takes the spinner away and tells how long it all took.
    pub fn finish(&self) -> f64 {
        self.bar.finish_and_clear();
        self.started.elapsed().as_secs_f64()
    }
}
