//! The status of a federated object: what the league agreed on, and what came of it in each member.
//! A pure function of the record, the members' words, and the object's standing.

use hansa_ledger::Record;
use hansa_ledger::cell::{Health, RecordStatus, State};
use hansa_ledger::lives::{Freeze, Standing};
use hansa_ledger::record::PlacedState;
use hansa_model::{Era, Incarnation, MemberName, RecordKey, Revision};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many members a status lists, unhealthy first.
const MAX_MEMBERS: usize = 50;

/// What a status is computed from.
#[derive(Debug)]
pub struct Input<'a> {
    /// The object.
    pub key: &'a RecordKey,
    /// The era.
    pub era: Era,
    /// The record; `None` before the first agreement.
    pub record: Option<&'a Record>,
    /// Whether this object's standing lets it count.
    pub standing: &'a Standing,
    /// Whether a user's word here lets this object count.
    pub may_take_home: bool,
    /// The revision that the object itself was last agreed on as.
    pub stamp: Option<Revision>,
    /// The life of which that is a revision.
    pub stamp_life: Option<Incarnation>,
    /// Why nothing is done about what the record says last: it is nobody's word.
    pub rejected: Option<&'a str>,
    /// What is wrong with the object's spec.
    pub invalid: Option<&'a str>,
    /// What stands in the way of agreeing on the Secret that the object names.
    pub source: Option<&'a str>,
    /// Whose key what is sealed cannot be given to.
    pub sealing: Option<&'a str>,
    /// Where its content differs from the agreed one, for people.
    pub differences: &'a [String],
    /// Since when the topology server cannot be used, wall time in milliseconds.
    pub topology_away_since_ms: Option<u64>,
    /// Why the object is frozen: another store stands where the league's stood, or its record cannot be read.
    pub frozen: Option<&'a str>,
    /// What placement makes of it: the members, or why it is refused.
    /// `None` before anything is agreed; with their number, what of it selects nobody.
    pub placement: Option<Result<(usize, String), String>>,
    /// What waits for a confirmation: the set's hash and why, for people.
    pub held: Option<&'a str>,
    /// Members whose heartbeat has stopped: nothing more is expected of them for now.
    pub silent: &'a BTreeSet<MemberName>,
    /// Members whose share is frozen, and why.
    pub frozen_members: &'a BTreeMap<MemberName, String>,
    /// What each member says.
    pub statuses: &'a BTreeMap<MemberName, RecordStatus>,
    /// `metadata.generation` of the object.
    pub generation: u64,
    /// Now, wall time in milliseconds.
    pub wall_ms: u64,
}

/// A status, and whether every placed member has reported on the agreed revision.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// `status` of the federated object, with fresh transition times.
    pub status: Value,
    /// Whether nothing more is expected for this revision.
    pub complete: bool,
}

/// Computes a status.
pub fn report(input: &Input<'_>) -> Report {
    let mut status = Map::new();
    status.insert("observedGeneration".into(), json!(input.generation));
    let agreed = agreed_condition(input);
    let mut members = Vec::new();
    let (mut placed, mut applied, mut ready) = (0u32, 0u32, 0u32);
    let mut failing = Vec::new();
    let mut complete = true;
    let mut summaries = Vec::new();
    let mut trouble = input.sealing.map(str::to_owned);
    let mut unhealthy = None;
    if let Some(record) = input.record {
        for (member, place) in record.placed.iter().filter(|(_, place)| place.state != PlacedState::Gone) {
            let current = input.statuses.get(member).filter(|status| status.incarnation == record.incarnation);
            let state = current.map_or(State::Pending, |status| status.state);
            let fresh =
                current.is_some_and(|status| status.revision == record.revision && status.state != State::Pending);
            let health = current.map_or(Health::Unknown, |status| status.health);
            // The record was restored, and is behind what this member has.
            let is_ahead =
                current.is_some_and(|status| status.revision > record.revision && status.state == State::Held);
            let mut entry = json!({"name": member, "state": state, "health": health});
            if let Some(status) = current {
                entry["revision"] = json!(status.revision);
                let message = if status.message.is_empty() { &status.health_message } else { &status.message };
                if !message.is_empty() {
                    entry["message"] = json!(shortened(message));
                }
            }
            if place.state == PlacedState::Withdrawing {
                entry["state"] = json!("Withdrawing");
                members.push((1u8, entry));
                continue;
            }
            placed += 1;
            let frozen = input.frozen_members.get(member).filter(|_| !fresh);
            complete &= fresh || is_ahead || frozen.is_some() || input.silent.contains(member);
            if let Some(why) = frozen {
                entry["message"] = json!(shortened(why));
                failing.push(json!(member));
                trouble.get_or_insert_with(|| format!("{member}: {why}"));
            }
            let is_applied = fresh && state == State::Applied;
            applied += u32::from(is_applied);
            let is_ready = is_applied && matches!(health, Health::Healthy | Health::Unknown);
            ready += u32::from(is_ready);
            if is_ahead || (fresh && matches!(state, State::Refused | State::Conflicting | State::Waiting)) {
                failing.push(json!(member));
                let message = current.map_or("", |status| status.message.as_str());
                trouble.get_or_insert_with(|| format!("{member}: {message}"));
            }
            if health == Health::Degraded {
                let message = current.map_or("", |status| status.health_message.as_str());
                unhealthy.get_or_insert_with(|| format!("{member}: {message}"));
            }
            if let Some(status) = current.filter(|status| !status.summary.is_null()) {
                summaries.push(status.summary.read());
            }
            members.push((u8::from(is_ready) * 2 + u8::from(is_applied), entry));
        }
        let homes: Vec<_> = record.homes.keys().collect();
        let differs = matches!(
            input.standing,
            Standing::Reborn
                | Standing::Differs
                | Standing::Conflicts
                | Standing::Former
                | Standing::Awaited
                | Standing::Frozen(_)
        ) || is_rejected(input).is_some();
        // The stamp is what this object itself was last agreed on as: a copy that differs keeps its
        // own, or a restored one could not be told from an edited one any more.
        let (stamp, life) = match differs {
            true => (input.stamp, input.stamp_life),
            false => (Some(record.revision), Some(record.incarnation)),
        };
        if let Some(stamp) = stamp {
            let mut agreed = json!({"era": input.era, "revision": stamp, "homes": homes, "differs": differs});
            if let Some(life) = life {
                agreed["incarnation"] = json!(life);
            }
            if !differs {
                agreed["hash"] = json!(record.intent.hash);
            }
            status.insert("agreed".into(), agreed);
        }
    } else if let Some(stamp) = input.stamp {
        let mut agreed = json!({"era": input.era, "revision": stamp, "differs": true});
        if let Some(life) = input.stamp_life {
            agreed["incarnation"] = json!(life);
        }
        status.insert("agreed".into(), agreed);
    }
    members.sort_by(|a, b| (a.0, a.1["name"].as_str()).cmp(&(b.0, b.1["name"].as_str())));
    let listed: Vec<Value> = members.into_iter().take(MAX_MEMBERS).map(|(_, entry)| entry).collect();
    status.insert("summary".into(), json!({"placed": placed, "applied": applied, "ready": ready, "failing": failing}));
    status.insert("members".into(), Value::from(listed));
    if !summaries.is_empty() {
        status.insert("aggregate".into(), hansa_render::aggregate(&summaries));
    }
    let unknown = match input.frozen {
        Some(_) => "what is agreed is not known now",
        None => "nothing is agreed yet",
    };
    let scheduled = match &input.placement {
        None => ("Unknown", "NotAgreed", unknown.to_owned()),
        Some(Ok((0, unknown))) if unknown.is_empty() => {
            ("False", "NoMember", "spec.placement selects no member of the league".to_owned())
        }
        Some(Ok((0, unknown))) => ("False", "NoMember", unknown.clone()),
        Some(Ok((count, unknown))) => {
            let selected = if *count == 1 { "1 member".to_owned() } else { format!("{count} members") };
            let unknown = if unknown.is_empty() { String::new() } else { format!("; {unknown}") };
            ("True", "Placed", format!("placement selects {selected}{unknown}"))
        }
        Some(Err(why)) => ("False", "Refused", why.clone()),
    };
    let propagated = match (&trouble, input.record) {
        (_, None) => ("Unknown", "NotAgreed", unknown.to_owned()),
        (Some(trouble), _) => ("False", "Failing", trouble.clone()),
        _ if applied == placed => ("True", "Applied", format!("applied in {applied} of {placed} members")),
        _ => ("Unknown", "Progressing", format!("applied in {applied} of {placed} members")),
    };
    let healthy = match &unhealthy {
        Some(unhealthy) => ("False", "Degraded", unhealthy.clone()),
        None if ready == placed && input.record.is_some() => {
            ("True", "Healthy", format!("ready in {ready} of {placed} members"))
        }
        None => ("Unknown", "Progressing", format!("ready in {ready} of {placed} members")),
    };
    let all = [&agreed, &scheduled, &propagated, &healthy];
    let ready_condition = match all.iter().find(|condition| condition.0 != "True") {
        None => ("True", "Ready", String::new()),
        Some(first) => (first.0, first.1, first.2.clone()),
    };
    let named = [
        ("Ready", &ready_condition),
        ("Agreed", &agreed),
        ("Scheduled", &scheduled),
        ("Propagated", &propagated),
        ("Healthy", &healthy),
    ];
    let time = rfc3339(input.wall_ms);
    let conditions: Vec<Value> = named
        .iter()
        .map(|(kind, (value, reason, message))| {
            json!({"type": kind, "status": value, "reason": reason, "message": shortened(message), "observedGeneration": input.generation, "lastTransitionTime": time})
        })
        .collect();
    status.insert("conditions".into(), Value::from(conditions));
    Report { status: Value::Object(status), complete: complete && input.record.is_some() }
}

/// A message within the limit that the CRD sets.
fn shortened(message: &str) -> String {
    message.chars().take(1_000).collect()
}

/// Why the record's last word does not count, unless the object says the same.
fn is_rejected<'a>(input: &Input<'a>) -> Option<&'a str> {
    input.rejected.filter(|_| *input.standing != Standing::InStep)
}

/// The names of a record's homes, for people.
pub(crate) fn homes(record: &Record) -> String {
    record.homes.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a user's word comes to count where an object has several homes, and none may speak for the others.
pub(crate) fn only_home(record: &Record, take_home: &str) -> String {
    format!(
        "make one of its homes ({}) the only one (`hansa home move` there; spec.homes.takeover is Consent), and take over there with {take_home}",
        homes(record)
    )
}

fn agreed_condition(input: &Input<'_>) -> (&'static str, &'static str, String) {
    let paths = || {
        if input.differences.is_empty() {
            String::new()
        } else {
            format!(" (differs at {})", input.differences.join(", "))
        }
    };
    let revision = input.record.map_or(Revision(0), |record| record.revision);
    let take_home = || crate::observed::take_home(input.key, revision);
    let take_over = || match input.record {
        Some(record) if !input.may_take_home && record.homes.len() > 1 => only_home(record, &take_home()),
        Some(record) if !input.may_take_home => format!(
            "ask for the home in {}: its consent is needed (`hansa home move` there; spec.homes.takeover is Consent)",
            homes(record)
        ),
        _ => format!("take over with {}", take_home()),
    };
    if let Some(why) = input.invalid {
        return ("False", "Invalid", why.to_owned());
    }
    if let Some(why) = input.frozen {
        return ("False", "Frozen", why.to_owned());
    }
    if let Some(since) = input.topology_away_since_ms {
        let since = rfc3339(since);
        return (
            "False",
            "Frozen",
            format!(
                "frozen since {since}: the topology server cannot be used; what was last agreed is kept up, an edit waits"
            ),
        );
    }
    if let Some(why) = input.source {
        return ("False", "SourceUnavailable", why.to_owned());
    }
    if let Some(held) = input.held {
        return ("False", "Held", held.to_owned());
    }
    if let Some(why) = is_rejected(input) {
        return ("False", "Rejected", why.to_owned());
    }
    match input.standing {
        Standing::InStep => ("True", "Agreed", format!("revision {revision}")),
        Standing::Born
        | Standing::Reborn
        | Standing::Edited
        | Standing::Taken
        | Standing::Converged
        | Standing::Deleted => ("Unknown", "Agreeing", "being written to the topology server".to_owned()),
        Standing::Former => (
            "False",
            "HomeMoved",
            format!(
                "the home is now {}: this copy counts no more and may be deleted here, or `hansa home move` brings the home back",
                input.record.map(homes).unwrap_or_default()
            ),
        ),
        Standing::Awaited => (
            "False",
            "HomeMoving",
            format!(
                "the home is to move here, and this is not revision {revision}{}: make it equal, or let it count with {}",
                paths(),
                take_home()
            ),
        ),
        Standing::Differs => (
            "False",
            "Differs",
            format!("revision {revision} was agreed from another home; this one has not followed yet{}", paths()),
        ),
        Standing::Conflicts => (
            "False",
            "Conflict",
            format!(
                "revision {revision} stands, and this object was not edited from it{}: make it equal, or {}",
                paths(),
                take_over()
            ),
        ),
        Standing::Frozen(freeze) => {
            let why = match freeze {
                Freeze::Unwritten => {
                    "the object was made for a move of the home, and the life that was to move has ended (delete it if nothing is to come of it)".to_owned()
                }
                Freeze::Recreated => "the object was made anew with another content".to_owned(),
                Freeze::Restored => {
                    "the object is older than what was agreed from it, as after a restore from a backup".to_owned()
                }
                Freeze::LedgerBehind { stamp } => {
                    format!("the object was agreed on at revision {stamp}, which the topology server does not know")
                }
            };
            ("False", "Frozen", format!("{why}{}: make it equal to revision {revision}, or {}", paths(), take_over()))
        }
    }
}

/// A time as Kubernetes writes it: RFC 3339, whole seconds, UTC. From days since the epoch by Howard
/// Hinnant's civil-from-days algorithm.
pub fn rfc3339(wall_ms: u64) -> String {
    let seconds = wall_ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days as i64 + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_kubernetes_does() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_795_374_245_999), "2026-11-22T19:04:05Z");
    }
}
