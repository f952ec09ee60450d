//! What happened, line by line, for whoever has to understand a failing seed.

use hansa_model::Hash;
use std::fmt::{Display, Write};

/// A story: one line for everything that happened, in order.
#[derive(Clone, Debug, Default)]
pub struct Story {
    lines: Vec<String>,
}

impl Story {
    /// Adds a line: when (true time), who, what.
    pub fn tell(&mut self, at_ms: u64, who: impl Display, what: impl Display) {
        let mut line = String::with_capacity(96);
        // Writing to a String cannot fail.
        let _ = write!(line, "{:>6}.{:03} s  {who:<8} {what}", at_ms / 1000, at_ms % 1000);
        self.lines.push(line);
    }

    /// All lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The lines that hold one of these words; with none of them, all.
    pub fn about<'a>(&'a self, words: &'a [String]) -> impl Iterator<Item = &'a str> {
        let told = move |line: &&String| words.is_empty() || words.iter().any(|word| line.contains(word.as_str()));
        self.lines.iter().filter(told).map(String::as_str)
    }

    /// The hash of the whole text: equal when the same happened.
    pub fn hash(&self) -> Hash {
        Hash::of_bytes(self.lines.join("\n").as_bytes())
    }
}
