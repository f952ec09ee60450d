//! What was ignored, and why: data for a metric, an event and `hansa ballot show`.

use hansa_model::MemberName;
use serde::Serialize;
use std::fmt;

/// Something in a document that does not count, with whose it says to be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The member that it would speak for.
    pub who: MemberName,
    /// What it is: `cells/aws-use1`, `votes/aws-use1/spec`.
    pub what: String,
    /// Why it does not count.
    #[serde(flatten)]
    pub why: Fault,
}

/// Why something does not count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(tag = "why", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// Nobody that is known signed it.
    Forged,
    /// It is validly signed, by or for another: somebody copied it here.
    Copied {
        /// Whose it is.
        from: MemberName,
    },
    /// It was valid once: in another era, or before what the same member said later.
    Replayed {
        /// What is known to be newer: `era 2`, `operation 7/12`.
        newer: String,
    },
    /// The same member signed two different values under one counter.
    Equivocated,
    /// A removed member wrote it.
    Removed,
    /// No voter has this name.
    Stranger,
    /// Its bytes are not what they should be.
    Malformed {
        /// What is wrong.
        error: String,
    },
    /// It is of a format that this release does not read; it is carried on, and does not count here.
    UnknownFormat {
        /// The format.
        format: u32,
    },
    /// It is larger than anything that Hansa writes.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// A candidate without its proposer's own vote.
    Unsupported,
    /// A decision whose certificate does not hold a quorum.
    Uncertified {
        /// How many valid signatures it has.
        valid: u32,
        /// How many it would need.
        needed: u32,
    },
}

impl Fault {
    /// The name used as a metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Fault::Forged => "forged",
            Fault::Copied { .. } => "copied",
            Fault::Replayed { .. } => "replayed",
            Fault::Equivocated => "equivocated",
            Fault::Removed => "removed",
            Fault::Stranger => "stranger",
            Fault::Malformed { .. } => "malformed",
            Fault::UnknownFormat { .. } => "unknown_format",
            Fault::TooLarge { .. } => "too_large",
            Fault::Unsupported => "unsupported",
            Fault::Uncertified { .. } => "uncertified",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Forged => f.write_str("forged: nobody that is known signed it"),
            Fault::Copied { from } => write!(f, "copied: it is {from}'s"),
            Fault::Replayed { newer } => write!(f, "replayed: {newer} is newer"),
            Fault::Equivocated => f.write_str("equivocated: its author signed another value under the same counter"),
            Fault::Removed => f.write_str("written by a removed member: it joins again, or stops"),
            Fault::Stranger => f.write_str("written by no voter: it joins first"),
            Fault::Malformed { error } => write!(f, "malformed: {error}"),
            Fault::UnknownFormat { format } => write!(f, "of format {format}: run a newer operator to count it"),
            Fault::TooLarge { bytes } => write!(f, "of {bytes} bytes, more than Hansa writes"),
            Fault::Unsupported => f.write_str("a candidate that its proposer has not signed"),
            Fault::Uncertified { valid, needed } => {
                write!(f, "a decision with {valid} valid signatures of the {needed} it needs")
            }
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}
