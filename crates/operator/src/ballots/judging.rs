//! How an operator votes on what is proposed: a pure function of the document and its own views.

use hansa_ballot::control::SpecCandidate;
use hansa_ballot::membership::Change;
use hansa_ballot::signing::InvalidPublicKey;
use hansa_ballot::voters::majority;
use hansa_ballot::{Ballots, Candidate, Control, Key, PublicKey, Verdict};
use hansa_model::{FederationSpec, Member, MemberName, Takeover};
use std::collections::BTreeMap;

use super::cluster::Cluster;
use crate::release::Release;

/// What one operator sees for itself.
#[derive(Clone, Copy)]
pub(crate) struct Views<'a> {
    /// The member.
    pub member: &'a MemberName,
    /// What its release knows.
    pub release: &'a Release,
    /// What is at work in its cluster.
    pub cluster: &'a Cluster,
    /// The key that it signs with.
    pub key: PublicKey,
    /// For how long a member has said nothing, in milliseconds on this operator's own clock; only
    /// while the topology server answers.
    pub silent_ms: &'a dyn Fn(&MemberName) -> u64,
    /// Silence that makes it suspect a member, in milliseconds.
    pub suspect_after_ms: u64,
    /// Silence that makes it hold a member for lost, in milliseconds.
    pub lost_after_ms: u64,
}

impl Views<'_> {
    /// Whether it suspects a member.
    pub fn suspects(&self, member: &MemberName) -> bool {
        member != self.member && (self.silent_ms)(member) >= self.suspect_after_ms
    }

    /// Whether it holds a member for lost.
    pub fn is_gone(&self, member: &MemberName) -> bool {
        member != self.member && (self.silent_ms)(member) >= self.lost_after_ms
    }
}

type Vote = (Verdict, Option<String>);

/// The vote on an open candidate; `None` while it cannot tell yet.
pub(crate) fn judge(control: &Control, key: &Key, candidate: &Candidate, views: &Views<'_>) -> Option<Vote> {
    let ballots = control.ballots.as_ref()?;
    let verdict = |judged: Result<(), String>| match judged {
        Ok(()) => (Verdict::Yes, None),
        Err(why) => (Verdict::No, Some(why)),
    };
    let text = candidate.value.get();
    let wrong = |error: serde_json::Error| format!("the value does not read: {error}");
    if *key == Key::spec() {
        let judged = match judge_spec(control, candidate, views) {
            Ok(spec) => views.cluster.judge(views.member, &control.spec().unwrap_or_default(), &spec)?,
            Err(why) => Err(why),
        };
        return Some(verdict(judged));
    }
    if *key == Key::members() {
        let change = serde_json::from_str::<Change>(text).map_err(wrong);
        return Some(verdict(change.and_then(|change| {
            let spec = views
                .release
                .read_spec(&control.spec)
                .map_err(|error| format!("this release does not read the agreed spec: {error}"))?;
            judge_change(&spec, ballots, &change, views)
        })));
    }
    if *key == Key::feature() {
        let level = serde_json::from_str::<u32>(text).map_err(wrong);
        return Some(verdict(level.and_then(|level| {
            let Release { name, level: spoken, .. } = views.release;
            (level <= *spoken).then_some(()).ok_or_else(|| format!("release {name} speaks feature level {spoken}"))
        })));
    }
    if let Some(name) = ballots.voters.set.keys().find(|name| Key::lost(name) == *key) {
        return judge_lost(name, serde_json::from_str(text).ok()?, views);
    }
    Some((Verdict::No, Some("this release knows no such ballot".to_owned())))
}

/// Whom one does not hear for long is lost, and whom one hears is not; in between, one waits.
fn judge_lost(name: &MemberName, lost: bool, views: &Views<'_>) -> Option<Vote> {
    let is_heard = name == views.member || !views.suspects(name);
    match (lost, is_heard) {
        (true, true) => Some((Verdict::No, Some(format!("{} hears it", views.member)))),
        (true, false) => views.is_gone(name).then_some((Verdict::Yes, None)),
        (false, true) => Some((Verdict::Yes, None)),
        (false, false) => None,
    }
}

fn judge_spec(control: &Control, candidate: &Candidate, views: &Views<'_>) -> Result<FederationSpec, String> {
    let ballots = control.ballots.as_ref().ok_or("the league does not vote")?;
    let value: SpecCandidate =
        serde_json::from_str(candidate.value.get()).map_err(|error| format!("the candidate does not read: {error}"))?;
    let spec = views.release.read_spec(&value.spec).map_err(|error| {
        format!("it holds what this release does not know ({error}): let {} run a newer operator", views.member)
    })?;
    if let Some(error) = spec.validate().first() {
        return Err(error.to_string());
    }
    if let Some(why) = loses_its_quorum(ballots, |name| spec.member(name).is_some(), &|name| views.suspects(name)) {
        return Err(format!("spec.members: {why}"));
    }
    let home = &value.home.member;
    if *home != candidate.proposer {
        return Err(format!("{} proposes it for {home}: a home speaks for itself", candidate.proposer));
    }
    if *home != control.home.member && !may_take_home(control, ballots) {
        return Err(format!(
            "the spec has its home in {}, which votes and is not lost, and spec.homes.takeover is Consent",
            control.home.member
        ));
    }
    for (name, voter) in &ballots.voters.set {
        if spec.member(name).is_some_and(|member| member.witness != voter.witness) {
            let is = if voter.witness { "a witness" } else { "no witness" };
            return Err(format!(
                "spec.members[{name}].witness: it votes as {is}: let it leave, and join again with new keys"
            ));
        }
    }
    if let Some((name, key)) = control.spec().ok().and_then(|agreed| drops_the_key_in_use(&agreed, &spec, ballots)) {
        return Err(format!(
            "spec.members[{name}].publicKeys: {name} votes under {key}, which is not listed any more, and another key of its rotation is: list that one, too, until the rotation is over, and none but that one afterwards"
        ));
    }
    if spec.member(views.member).is_some_and(|member| has_another_key(member, &views.key)) {
        return Err(format!("spec.members[{}].publicKeys: it is not the key of this member's operator", views.member));
    }
    Ok(spec)
}

/// Whether another member may become the spec's home without the home's word.
pub(crate) fn may_take_home(control: &Control, ballots: &Ballots) -> bool {
    let allowed = control.spec().is_ok_and(|spec| spec.homes.takeover == Takeover::Allowed);
    let home = &control.home.member;
    allowed || ballots.lost.contains_key(home) || !ballots.voters.set.contains_key(home)
}

/// Whether a change of the voters follows from the agreed spec.
pub(crate) fn judge_change(
    spec: &FederationSpec,
    ballots: &Ballots,
    change: &Change,
    views: &Views<'_>,
) -> Result<(), String> {
    match change {
        Change::Join { name, voter, .. } => {
            let member = spec.member(name).ok_or_else(|| {
                format!("spec.members does not list {name}: add it in the spec's home, with its publicKeys")
            })?;
            let known = &ballots.voters;
            if known.set.contains_key(name) {
                return Err(format!("{name} votes already"));
            }
            if let Some((other, _)) =
                known.set.iter().find(|(_, other)| other.uid == voter.uid || other.key == voter.key)
            {
                return Err(format!(
                    "{name} has the cluster or the key of {other}: it is a clone; give it keys of its own"
                ));
            }
            if known.removed.values().any(|removed| removed.key == voter.key) {
                return Err(format!(
                    "{name} has the key of a removed member: delete its Secret of keys, and it makes new ones"
                ));
            }
            if member.witness != voter.witness {
                return Err(format!(
                    "{name} asked before it read in spec.members[{name}].witness whether it is a witness: it asks again"
                ));
            }
            let (agreed, speaks) = (ballots.feature, ballots.joins.get(name).map_or(0, |join| join.speaks));
            if speaks < agreed {
                return Err(format!(
                    "{name}'s release speaks feature level {speaks}, and the league has agreed on {agreed}: let it run a newer operator, and it asks again"
                ));
            }
            if has_another_key(member, &voter.key) {
                return Err(format!(
                    "spec.members[{name}].publicKeys: the key that asks is {}: write it there if it is {name}'s",
                    voter.key
                ));
            }
            Ok(())
        }
        Change::Leave { name, .. } => {
            let voter = ballots.voters.set.get(name).ok_or_else(|| format!("{name} does not vote"))?;
            match spec.member(name).filter(|member| !has_another_key(member, &voter.key)) {
                Some(_) => Err(format!("spec.members lists {name}, with its key: take it out there first")),
                None => {
                    loses_its_quorum(ballots, |other| other != name, &|name| views.suspects(name)).map_or(Ok(()), Err)
                }
            }
        }
        // The voter's own two keys have signed it, which the document checks; the users consent by the spec.
        Change::Rotate { name, key, .. } => {
            if ballots.voters.removed.values().any(|removed| removed.key == *key) {
                return Err(format!("{name}'s next key is that of a removed member: make another one"));
            }
            let listed = spec.member(name).is_some_and(|member| lists(member, key));
            listed.then_some(()).ok_or_else(|| {
                format!(
                    "spec.members[{name}].publicKeys: it does not list {name}'s next key: write {key} there beside the one in use"
                )
            })
        }
        Change::Person { name, key } => {
            let listed = spec.people.iter().find(|person| person.name.as_str() == name);
            let listed =
                listed.map(|person| person.public_key.parse().map_err(|error: InvalidPublicKey| error.to_string()));
            if listed.transpose()? == *key {
                return Ok(());
            }
            Err(format!("spec.people: {name} is not listed with this key: people are listed there"))
        }
    }
}

/// Voters whom the spec does not list any more, each with why it is not voted out for now.
pub(crate) fn held_leaves(
    spec: &FederationSpec,
    ballots: &Ballots,
    suspects: &dyn Fn(&MemberName) -> bool,
) -> BTreeMap<MemberName, String> {
    let leaves = ballots.voters.set.keys().filter(|name| spec.member(name).is_none());
    leaves
        .filter_map(|name| Some((name.clone(), loses_its_quorum(ballots, |other| other != name, suspects)?)))
        .collect()
}

/// Why too few would be heard to decide anything if only some of the voters stayed: what etcd calls a strict check
/// of a reconfiguration.
fn loses_its_quorum(
    ballots: &Ballots,
    stays: impl Fn(&MemberName) -> bool,
    suspects: &dyn Fn(&MemberName) -> bool,
) -> Option<String> {
    let (stay, go): (Vec<&MemberName>, Vec<&MemberName>) = ballots.voters.set.keys().partition(|name| stays(name));
    let silent: Vec<&str> = stay.iter().filter(|name| suspects(name)).map(|name| name.as_str()).collect();
    let (heard, needed) = (stay.len() - silent.len(), majority(stay.len()) as usize);
    if go.is_empty() || heard >= needed || silent.is_empty() {
        return None;
    }
    let go: Vec<&str> = go.iter().map(|name| name.as_str()).collect();
    Some(format!(
        "without {} the league could decide nothing, for {} of its {} voters would be silent: wait until it is heard, or take it out first",
        go.join(", "),
        silent.join(", "),
        stay.len()
    ))
}

/// Whether the spec lists a member with other signing keys than this one alone.
pub(crate) fn has_another_key(member: &Member, key: &PublicKey) -> bool {
    signing_keys(member).next().is_some() && !lists(member, key)
}

/// Whether the spec lists this signing key of a member. It lists two while the member's keys are rotated.
fn lists(member: &Member, key: &PublicKey) -> bool {
    signing_keys(member).any(|listed| listed.parse().ok() == Some(*key))
}

fn signing_keys(member: &Member) -> impl Iterator<Item = &str> {
    member.public_keys.iter().map(String::as_str).filter(|key| key.starts_with("ed25519:"))
}

/// The voter whose key in use a spec drops, while it keeps another that is listed already: the next one before the
/// rotation is decided, or the earlier one after it.
fn drops_the_key_in_use<'a>(
    agreed: &FederationSpec,
    spec: &FederationSpec,
    ballots: &'a Ballots,
) -> Option<(&'a MemberName, PublicKey)> {
    let drops = |name: &MemberName, key: &PublicKey| {
        let (Some(before), Some(after)) = (agreed.member(name), spec.member(name)) else { return false };
        let keeps = |listed: &str| listed.parse().is_ok_and(|listed| lists(before, &listed));
        lists(before, key) && has_another_key(after, key) && signing_keys(after).all(keeps)
    };
    ballots.voters.set.iter().find(|(name, voter)| drops(name, &voter.key)).map(|(name, voter)| (name, voter.key))
}
