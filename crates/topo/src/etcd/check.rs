//! Whether an etcd may carry a league.

use super::cluster::{Failure, Trouble};
use super::wire::{self, StatusRequest, StatusResponse};
use super::{Etcd, watch};
use crate::contract::{Finding, Severity};
use crate::error::TopoError;
use crate::usage::Operation;

/// History above this many revisions costs more disk and memory than any league needs.
const MUCH_HISTORY: i64 = 1_000_000;
/// Below this many revisions a cluster is too young to tell whether it compacts by itself.
const YOUNG: i64 = 10_000;
const COMPACT: &str = "start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=10m";

pub(super) async fn check(etcd: &Etcd) -> Result<Vec<Finding>, TopoError> {
    let mut findings = Vec::new();
    let mut revision = 0;
    let addresses: Vec<_> = etcd.cluster.addresses().collect();
    for (member, address) in addresses.iter().enumerate() {
        let asked: Result<StatusResponse, _> =
            etcd.cluster.ask(Operation::Check, member, wire::STATUS, &StatusRequest {}).await;
        match asked {
            Ok(status) => {
                let now = status.header.as_ref().map_or(0, |header| header.revision);
                revision = revision.max(now);
                findings.extend(of_member(address, &status));
            }
            Err(Trouble::Final(Failure::Refused(error))) => return Err(error),
            Err(Trouble::Final(failure)) => return Err(failure.of_read()),
            Err(Trouble::Elsewhere(error) | Trouble::Unknown(error)) => {
                findings.push(finding(Severity::Problem, "member", error.chain()));
            }
        }
    }
    if let [address] = addresses[..] {
        let message = format!(
            "only {address} is named: while it is away nothing is agreed; run three members and name \
             them all"
        );
        findings.push(finding(Severity::Warning, "members", message));
    }
    findings.push(of_history(watch::compacted_up_to(etcd).await?, revision));
    Ok(findings)
}

fn finding(severity: Severity, subject: &'static str, message: String) -> Finding {
    Finding { severity, subject, message }
}

fn of_member(address: &str, status: &StatusResponse) -> Vec<Finding> {
    let version = &status.version;
    let mut findings = Vec::new();
    if release(version).is_some_and(|release| release < (3, 4)) {
        let message = format!("{address} runs etcd {version}; update it to 3.4 or newer");
        findings.push(finding(Severity::Problem, "version", message));
    }
    if status.leader == 0 {
        let message = format!("{address} has no leader; look at the cluster");
        findings.push(finding(Severity::Problem, "leader", message));
    }
    if status.is_learner {
        let message = format!("{address} is a learner, which serves no clients; promote it");
        findings.push(finding(Severity::Problem, "learner", message));
    }
    for alarm in &status.errors {
        let message = format!("{address} says {alarm:?}; mend it, then disarm its alarm");
        findings.push(finding(Severity::Problem, "alarm", message));
    }
    let (size, quota) = (status.db_size, status.db_size_quota);
    if quota > 0 && size > quota / 5 * 4 {
        let message = format!(
            "{address} uses {size} of the {quota} bytes it may; compact and defragment it, or raise \
             --quota-backend-bytes"
        );
        findings.push(finding(Severity::Problem, "space", message));
    }
    if findings.is_empty() {
        let message = format!("{address} is well: etcd {version}, {size} bytes stored");
        findings.push(finding(Severity::Good, "member", message));
    }
    findings
}

fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether history is compacted by itself cannot be asked, but seen.
fn of_history(compacted: Option<i64>, revision: i64) -> Finding {
    let subject = "compaction";
    match compacted {
        None if revision < YOUNG => {
            let message = format!(
                "nothing was compacted yet in {revision} revisions, too few to tell whether that \
                 happens by itself; {COMPACT}"
            );
            finding(Severity::Warning, subject, message)
        }
        None => {
            let message = format!(
                "nothing was ever compacted in {revision} revisions, so the store grows until it is \
                 full; {COMPACT}"
            );
            finding(Severity::Problem, subject, message)
        }
        Some(compacted) if revision - compacted > MUCH_HISTORY => {
            let kept = revision - compacted;
            let message = format!("{kept} revisions are kept, more than are needed; {COMPACT}");
            finding(Severity::Warning, subject, message)
        }
        Some(compacted) => {
            let message = format!("history is compacted (up to {compacted} of {revision})");
            finding(Severity::Good, subject, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(findings: &[Finding], expected: Expect) {
        let lines = findings.iter().map(|f| format!("{:?} {}: {}\n", f.severity, f.subject, f.message));
        expected.assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn members() {
        let well = StatusResponse { version: "3.7.3".into(), db_size: 25_000, leader: 7, ..StatusResponse::default() };
        check(
            &of_member("a:1", &well),
            expect![[r#"
            Good member: a:1 is well: etcd 3.7.3, 25000 bytes stored
        "#]],
        );
        let ill = StatusResponse {
            version: "3.3.27".into(),
            leader: 0,
            is_learner: true,
            errors: vec!["NOSPACE".into()],
            db_size: 2_000,
            db_size_quota: 2_100,
            ..StatusResponse::default()
        };
        check(
            &of_member("a:1", &ill),
            expect![[r#"
            Problem version: a:1 runs etcd 3.3.27; update it to 3.4 or newer
            Problem leader: a:1 has no leader; look at the cluster
            Problem learner: a:1 is a learner, which serves no clients; promote it
            Problem alarm: a:1 says "NOSPACE"; mend it, then disarm its alarm
            Problem space: a:1 uses 2000 of the 2100 bytes it may; compact and defragment it, or raise --quota-backend-bytes
        "#]],
        );
    }

    #[test]
    fn history() {
        let all = [(None, 90), (None, 90_000), (Some(89_000), 90_000), (Some(1), 2_000_000)];
        check(
            &all.map(|(compacted, now)| of_history(compacted, now)),
            expect![[r#"
            Warning compaction: nothing was compacted yet in 90 revisions, too few to tell whether that happens by itself; start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=10m
            Problem compaction: nothing was ever compacted in 90000 revisions, so the store grows until it is full; start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=10m
            Good compaction: history is compacted (up to 89000 of 90000)
            Warning compaction: 1999999 revisions are kept, more than are needed; start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=10m
        "#]],
        );
    }
}
