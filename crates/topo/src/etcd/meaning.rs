//! What a member's refusal means.

use crate::error::Category;
use std::error::Error;
use tonic::{Code, ConnectError, Status};

/// What a member's refusal means for the call.
pub(super) enum Meaning {
    /// Not done; another member may do it.
    Elsewhere,
    /// Not done; logging in may help.
    LogIn,
    /// Not done, wherever it is asked.
    Refused(Category, &'static str),
    Compacted,
    /// May have been done.
    Unknown,
}

/// Sorts the statuses of etcd's `rpctypes`, and those that arise on the way to it.
pub(super) fn meaning(status: &Status) -> Meaning {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return Meaning::Elsewhere;
        }
        cause = error.source();
    }
    let says = |words: &str| status.message().contains(words);
    match status.code() {
        // Said before the request goes any further, because it carries `hasleader`.
        Code::Unavailable if says("etcdserver: no leader") => Meaning::Elsewhere,
        Code::Unauthenticated => Meaning::LogIn,
        Code::InvalidArgument if says("user name is empty") || says("auth store is old") => Meaning::LogIn,
        Code::InvalidArgument if says("authentication failed") => {
            Meaning::Refused(Category::Unauthorized, "look at the user and the password")
        }
        Code::InvalidArgument if says("too large") => {
            let mend = "raise the cluster's --max-request-bytes to its default of 1.5 MiB";
            Meaning::Refused(Category::TooLarge, mend)
        }
        Code::PermissionDenied => {
            let mend = "grant the user's role readwrite on the range of the prefix, from PREFIX/ to PREFIX0";
            Meaning::Refused(Category::Unauthorized, mend)
        }
        Code::ResourceExhausted if says("database space exceeded") => {
            let mend = "compact and defragment it, raise its quota, and disarm its alarm";
            Meaning::Refused(Category::Full, mend)
        }
        Code::ResourceExhausted if says("etcdserver:") => Meaning::Refused(Category::Throttled, ""),
        Code::OutOfRange if says("has been compacted") => Meaning::Compacted,
        Code::FailedPrecondition if says("cluster ID mismatch") || says("learner") => Meaning::Elsewhere,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented => Meaning::Refused(Category::Internal, "it refused the call"),
        _ => Meaning::Unknown,
    }
}

/// All that a status tells, in one line.
pub(super) fn told(status: &Status) -> String {
    let mut line = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}
