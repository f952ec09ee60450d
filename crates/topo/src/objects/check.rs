//! Looking at the store: whether it keeps the conditions that a league stands on.

use super::Objects;
use crate::contract::{Finding, Severity};
use crate::error::TopoError;
use crate::front::Backend;
use crate::url::Cloud;
use crate::usage::Operation;
use bytes::Bytes;
use hansa_ledger::Swap;

/// The key that is written to see how conditions are kept.
const PROBE: &str = "/check";

pub(super) async fn check(objects: &Objects) -> Result<Vec<Finding>, TopoError> {
    let mut findings = Vec::new();
    let mut tell = |severity, subject, message: String| findings.push(Finding { severity, subject, message });
    objects.page(Operation::Check, &format!("{}/", objects.url.prefix), None, Some(1)).await?;
    tell(Severity::Good, "store", format!("{} answers, and lists below {}", objects.place(), objects.url));
    let (severity, message) = conditions(objects).await?;
    tell(severity, "conditions", message);
    if objects.url.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        let message = "the connection is plain: who listens can read, and write in Hansa's place; use https://";
        tell(Severity::Warning, "connection", message.into());
    }
    if objects.url.cloud == Cloud::Gs {
        let message = "Google lets each object be written once a second or so: what many members write at once, as \
                       votes, takes as many seconds";
        tell(Severity::Warning, "rate", message.into());
    }
    let message = format!(
        "rules that delete or archive objects cannot be seen from here; there must be none for {}",
        objects.url
    );
    tell(Severity::Warning, "lifecycle", message);
    Ok(findings)
}

/// Tries whether conditions that do not hold are refused. Servers that know no conditions ignore
/// them, and would lose writes without a word.
async fn conditions(objects: &Objects) -> Result<(Severity, String), TopoError> {
    let value = || Bytes::from_static(b"written by a check of the server");
    let unclear = |outcome: &Swap| match outcome {
        Swap::Indeterminate { reason } => {
            Some((Severity::Warning, format!("it could not be found out whether conditions are kept: {reason}")))
        }
        _ => None,
    };
    // What stands there from now on is not at the first of these versions any more.
    let first = match objects.swap(PROBE, None, value()).await? {
        Swap::Committed(version) => version,
        Swap::Mismatch { current: Some(current) } => current.version,
        other => {
            return Ok(unclear(&other).unwrap_or_else(|| broken("a create is refused where nothing is")));
        }
    };
    let second = objects.swap(PROBE, Some(&first), value()).await?;
    match &second {
        Swap::Committed(second) if *second != first => {}
        // Another check at the same time.
        Swap::Mismatch { current: Some(current) } if current.version != first => {}
        Swap::Committed(_) => return Ok(broken("a write of other bytes leaves the ETag as it was")),
        other => return Ok(unclear(other).unwrap_or_else(|| broken("If-Match with the right ETag is refused"))),
    }
    for (expected, what) in
        [(Some(&first), "If-Match with an old ETag"), (None, "If-None-Match on an object that exists")]
    {
        let outcome = objects.swap(PROBE, expected, value()).await?;
        match &outcome {
            Swap::Mismatch { .. } => {}
            Swap::Committed(_) => return Ok(broken(&format!("{what} writes all the same"))),
            other => return Ok(unclear(other).unwrap_or_else(|| broken(what))),
        }
    }
    Ok((Severity::Good, "writes whose condition does not hold are refused".into()))
}

fn broken(what: &str) -> (Severity, String) {
    (Severity::Problem, format!("{what}: this server loses writes, and must not carry a league; use another one"))
}
