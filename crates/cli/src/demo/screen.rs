//! What the demo prints: the same words with and without a terminal, colours and line breaks that fit
//! it only on one.

use crate::print;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How long a step is left to be read.
const READING: Duration = Duration::from_secs(5);

/// How far what is told stands in.
const MARGIN: usize = 5;

/// Prints the story.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    look: print::Screen,
    started: Instant,
    failures: Vec<String>,
    step: String,
}

impl Screen {
    /// A screen on standard output.
    pub fn new() -> Self {
        Screen {
            terminal: std::io::stdout().is_terminal(),
            look: print::Screen::stdout(),
            started: Instant::now(),
            failures: Vec::new(),
            step: String::new(),
        }
    }

    /// How many columns there are for what commands print; `None`: as many as they need.
    pub fn columns(&self) -> Option<usize> {
        self.look.width.map(|width| usize::from(width).saturating_sub(MARGIN))
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.look.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A text in lines that fit, each after the margin but the first, which comes after a sign.
    fn wrapped(&self, text: &str, end: &str) -> Vec<String> {
        match self.columns() {
            Some(columns) => print::wrap(text, columns.saturating_sub(end.len())),
            None => vec![text.to_owned()],
        }
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

    /// A command that is carried out, broken as a shell reads it.
    pub fn command(&self, text: &str) {
        let lines = self.wrapped(text, " \\");
        for (index, line) in lines.iter().enumerate() {
            let sign = if index == 0 { "$" } else { " " };
            let end = if index + 1 < lines.len() { " \\" } else { "" };
            self.line(&format!("   {} {}{end}", self.paint("2", sign), self.paint("1", line)));
        }
    }

    /// Something to know.
    pub fn say(&self, text: &str) {
        for line in text.lines() {
            for part in self.wrapped(line, "") {
                self.line(format!("{:MARGIN$}{part}", "").trim_end());
            }
        }
    }

    /// A claim, and what was seen.
    pub fn claim(&mut self, holds: bool, text: &str) {
        let (mut sign, code) = if holds { ("✓", "1;32") } else { ("✗", "1;31") };
        for line in self.wrapped(text, "") {
            self.line(&format!("   {} {line}", self.paint(code, sign)));
            sign = " ";
        }
        if !holds {
            self.failures.push(format!("{}: {text}", self.step));
        }
    }

    /// Leaves people the time to read a step; nobody reads along in a pipe.
    pub async fn let_read(&self) {
        if self.terminal {
            tokio::time::sleep(READING).await;
        }
    }

    /// The claims that did not hold.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}
