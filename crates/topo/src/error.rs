//! What can go wrong with a topology server, sorted by what a caller should do about it.
//!
//! An error from a write is *determinate*: nothing was written. A write whose fate is unknown is not
//! an error, it is [`hansa_ledger::Swap::Indeterminate`].

use std::time::Duration;

/// The kind of a failure: a metric label, and whether trying again makes sense.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Category {
    /// The server cannot be reached, has no leader, or another process holds its lock.
    Unavailable,
    /// The server was reached and did not answer a read in time.
    Timeout,
    /// The server asks to be called less often.
    Throttled,
    /// A read could only be answered from a state that may be old, and was refused instead.
    Stale,
    /// Credentials are missing, wrong, expired, or do not suffice.
    Unauthorized,
    /// A key is not one that every backend can hold.
    InvalidKey,
    /// A value is larger than [`crate::MAX_VALUE_BYTES`], or than the server takes.
    TooLarge,
    /// The disk or the server's quota is full.
    Full,
    /// What is stored cannot be read as what it should be.
    Corrupt,
    /// Another store stands where this handle's store stood.
    Replaced,
    /// The URL, an option or a file that it names is wrong.
    Configuration,
    /// The server refused or answered in a way that it never should; a defect on one of both sides.
    Internal,
}

impl Category {
    /// The name used as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Category::Unavailable => "unavailable",
            Category::Timeout => "timeout",
            Category::Throttled => "throttled",
            Category::Stale => "stale",
            Category::Unauthorized => "unauthorized",
            Category::InvalidKey => "invalid_key",
            Category::TooLarge => "too_large",
            Category::Full => "full",
            Category::Corrupt => "corrupt",
            Category::Replaced => "replaced",
            Category::Configuration => "configuration",
            Category::Internal => "internal",
        }
    }

    /// Whether the very same call may succeed later without anybody changing it.
    pub fn retryable(self) -> bool {
        match self {
            Category::Unavailable | Category::Timeout | Category::Throttled | Category::Stale | Category::Full => true,
            Category::Unauthorized
            | Category::InvalidKey
            | Category::TooLarge
            | Category::Corrupt
            | Category::Replaced
            | Category::Configuration
            | Category::Internal => false,
        }
    }
}

/// A call to a topology server that did not happen, with the backend and the key it was about.
#[derive(Debug, thiserror::Error)]
#[error("{backend}{}: {message}", .key.as_deref().map(|key| format!(", key {key:?}")).unwrap_or_default())]
pub struct TopoError {
    category: Category,
    backend: &'static str,
    key: Option<Box<str>>,
    message: Box<str>,
    retry_after: Option<Duration>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl TopoError {
    /// An error of `category` at `backend`; `message` says what is wrong and how to mend it.
    pub fn new(category: Category, backend: &'static str, message: impl Into<String>) -> Self {
        TopoError {
            category,
            backend,
            key: None,
            message: message.into().into_boxed_str(),
            retry_after: None,
            source: None,
        }
    }

    /// Names the key (or the prefix) that the call was about.
    pub fn at_key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says how long the server asked to be left alone.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Keeps the error underneath; the message must not repeat it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    pub fn category(&self) -> Category {
        self.category
    }

    /// Whether the very same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.category.retryable()
    }

    /// The backend's name, as in its URL scheme.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The key or prefix of the call, when it had one.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// How long the server asked to be left alone, when it said so.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// This error and everything underneath it in one line, for a place that has no chain of causes.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}
