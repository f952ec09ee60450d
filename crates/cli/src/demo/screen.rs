//! What the demo prints: the same lines with and without a terminal, colours only on one.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long a step is left to be read.
const READING: Duration = Duration::from_secs(5);

/// Prints the story.
#[derive(Debug)]
pub struct Screen {
    colours: bool,
    started: Instant,
    failures: Vec<String>,
    step: String,
}

impl Screen {
    /// A screen on standard output.
    pub fn new() -> Self {
        Screen {
            colours: std::io::stdout().is_terminal(),
            started: Instant::now(),
            failures: Vec::new(),
            step: String::new(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        // A reader that went away is no reason to leave the story half told.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Begins a step.
    pub fn step(&mut self, title: &str) {
        self.step = title.to_owned();
        let at = format!("{:>5.1} s", self.started.elapsed().as_secs_f64());
        self.line("");
        self.line(&format!("{} {}", self.paint("2", &at), self.paint("1;36", title)));
    }

    /// A command that is carried out.
    pub fn command(&self, text: &str) {
        self.line(&format!("   {} {}", self.paint("2", "$"), self.paint("1", text)));
    }

    /// Something to know.
    pub fn say(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("     {line}"));
        }
    }

    /// A claim, and what was seen.
    pub fn claim(&mut self, holds: bool, text: &str) {
        if holds {
            self.line(&format!("   {} {text}", self.paint("1;32", "✓")));
        } else {
            self.line(&format!("   {} {text}", self.paint("1;31", "✗")));
            self.failures.push(format!("{}: {text}", self.step));
        }
    }

    /// Leaves people the time to read a step; nobody reads along in a pipe.
    pub async fn let_read(&self) {
        if self.colours {
            tokio::time::sleep(READING).await;
        }
    }

    /// The claims that did not hold.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}
