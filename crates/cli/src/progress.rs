//! Progress of long work, on a terminal alone.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A line on standard error that says what is under way, and goes when it is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Work of unknown length.
    pub fn spinner(message: impl Into<String>) -> Self {
        Progress::start(ProgressBar::no_length(), "{spinner} {msg} ({elapsed})", message.into())
    }

    /// Work of so many steps.
    pub fn steps(length: usize, message: impl Into<String>) -> Self {
        Progress::start(ProgressBar::new(length as u64), "{spinner} {msg} {pos}/{len}", message.into())
    }

    fn start(bar: ProgressBar, template: &str, message: String) -> Self {
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        } else if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar.set_message(message);
        Progress(bar)
    }

    /// Says what is under way now.
    pub fn say(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
