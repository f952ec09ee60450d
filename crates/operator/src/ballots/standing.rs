//! Whether this cluster votes here, waits to be let in, was taken out, or is a clone; and what becomes
//! of its share meanwhile.

use super::judging;
use crate::events::{Regarding, Tiding};
use crate::io::Level;
use crate::machine::Operator;
use hansa_ballot::decide::tally;
use hansa_ballot::explain::{self, State};
use hansa_ballot::voters::Place;
use hansa_ballot::{Ballots, Control, Key, PublicKey};
use hansa_ledger::Record;
use hansa_model::{Member, MemberName, Takeover};
use serde_json::{Value, json};

/// How many words that do not count are shown.
const MAX_SHOWN: usize = 100;

/// What a member waits for that has asked to join: a user, who is to list it or its key, or the members.
pub(super) fn has_asked(member: &MemberName, key: &PublicKey, listed: Option<&Member>, home: &MemberName) -> String {
    let waits = match listed {
        None => {
            format!("and waits for the league's vote: list it under spec.members of the Federation in {home}")
        }
        Some(listed) if judging::has_another_key(listed, key) => {
            format!(
                "and spec.members[{member}].publicKeys lists another: write its keys there, in the Federation in {home}"
            )
        }
        Some(_) => "and is listed: the members' vote is awaited".to_owned(),
    };
    format!("{member} has asked to join with the key {key} {waits}")
}

impl Operator {
    /// Why this member does nothing, if so: its share is frozen by name, and nobody else's.
    pub(crate) fn share_is_frozen(&self, control: &Control) -> Option<String> {
        if let Some(why) = self.later_start() {
            return Some(why);
        }
        let (member, home) = (&self.config.member, &control.home.member);
        let release = &self.config.release;
        let agreed = control.ballots.as_ref().map_or(0, |ballots| ballots.feature);
        if let Some(why) = release.falls_short(member.as_str(), agreed) {
            return Some(why);
        }
        let spec = match release.read_spec(&control.spec) {
            Ok(spec) => spec,
            Err(error) => {
                return Some(format!(
                    "the agreed spec holds what release {} of {member}'s operator does not know ({error}): this member's share is frozen until it runs a newer operator",
                    release.name
                ));
            }
        };
        let ballots = control.ballots.as_ref()?;
        let key = self.config.signer.public();
        match ballots.voters.place(member, &self.config.cluster_uid, &key) {
            Place::Voter if ballots.lost.contains_key(member) => Some(format!(
                "the others have voted {member} lost: it acts again when they hear it and have taken it back"
            )),
            Place::Voter => None,
            Place::Stranger => Some(has_asked(member, &key, spec.member(member), home)),
            Place::Removed { .. } if ballots.forced.as_ref().is_some_and(|force| force.discarded.contains(member)) => {
                let (by, era) = ballots.forced.as_ref().map(|force| (force.by.as_str(), force.era)).unwrap_or_default();
                Some(format!(
                    "{member} was discarded by {by}, who forced the league on in era {era} when a quorum was lost: what stands here is left as it is, and nothing is taken from others; to come back, delete its Secret of keys, restart its operator, and list it with its new key under spec.members in {home}"
                ))
            }
            Place::Removed { epoch } => Some(format!(
                "{member} was taken out of the league by ballot #{epoch}: what stands here is left as it is; to come back, delete its Secret of keys, restart its operator, and list it under spec.members in {home}"
            )),
            Place::Clone { uid } => Some(format!(
                "{member} is the cluster whose kube-system has uid {uid}, and this is another one ({}): it is a clone or was restored elsewhere; give it a name and keys of its own",
                self.config.cluster_uid
            )),
            Place::OtherKey { key: known } if self.next_key() == Some(known) => {
                Some(format!("{member} votes under its next key {known}: its operator is about to take that up"))
            }
            Place::OtherKey { key: known } => Some(format!(
                "{member} is known under the key {known}, and its operator has {key}: restore its Secret of keys, or write the new key into spec.members[{member}].publicKeys in {home}"
            )),
        }
    }

    /// Whether every home of a record is in a member that does not vote any more: nobody can speak for it
    /// there until such a member is taken back.
    pub(crate) fn homes_left(&self, record: &Record) -> bool {
        self.no_home_is(record, |ballots, home| ballots.voters.set.contains_key(home))
    }

    /// Whether another member may become the home of a record without the word of its present ones: by the
    /// spec's rule, or because each of those was voted lost, votes no more, or is about to leave.
    pub(crate) fn may_take_home(&self, record: &Record) -> bool {
        let allowed = self.league.as_ref().is_some_and(|league| league.spec.homes.takeover == Takeover::Allowed);
        let speaks = |ballots: &Ballots, home: &MemberName| {
            ballots.voters.set.contains_key(home) && !ballots.lost.contains_key(home) && !self.is_leaving(home)
        };
        allowed || self.no_home_is(record, speaks)
    }

    fn no_home_is(&self, record: &Record, is: impl Fn(&Ballots, &MemberName) -> bool) -> bool {
        let ballots = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        let Some(ballots) = ballots.filter(|_| !record.is_homeless()) else { return false };
        !record.homes.keys().any(|home| is(ballots, home))
    }

    /// Why this member's share is frozen, as was found at the document that the picture holds.
    pub(crate) fn frozen_share(&self) -> Option<String> {
        self.league.as_ref()?.frozen.clone()
    }

    /// Looks whether its share is frozen, by what this process has seen beside the control document.
    pub(crate) fn stand_anew(&mut self) {
        let Some(league) = &self.league else { return };
        let standing = self.share_is_frozen(&league.control);
        if standing == league.frozen {
            return;
        }
        let (level, message) = match &standing {
            Some(why) => (Level::Warning, why.clone()),
            None => (Level::Info, "this member takes part in the league".to_owned()),
        };
        self.log(level, None, message);
        if let Some(league) = &mut self.league {
            league.frozen = standing;
        }
        self.tell_standing();
        self.touch_all();
        self.refresh_members();
        self.continue_all_requests();
    }

    /// The control document cannot follow the one that was known: nothing is believed, written or taken
    /// away until the store shows one that may, or a person raises the era.
    pub(super) fn distrust(&mut self, why: String) {
        self.freeze(|topology| &mut topology.distrusted, why);
    }

    pub(super) fn trust_again(&mut self) {
        self.thaw(|topology| &mut topology.distrusted, "the control document may be followed again");
    }

    /// The league's ballots as this operator reads them, `null` before it has.
    pub(crate) fn ballots_at_a_glance(&self) -> Value {
        let Some(league) = &self.league else { return Value::Null };
        let Some((ballots, proposer)) = league.control.ballots.as_ref().zip(self.ballots.proposer.as_ref()) else {
            return Value::Null;
        };
        let mut glance = json!(explain::overview(ballots, league.id, proposer.verifier()));
        if let Some(rejected) = glance["rejected"].as_array_mut() {
            // In the picture a cell is as this operator knows its member's last word; what stands in its place in the
            // topology server is named all the same.
            let standing = self.ballots.rejected.iter().map(|rejected| json!(rejected));
            let unnamed: Vec<Value> = standing.filter(|standing| !rejected.contains(standing)).collect();
            rejected.extend(unnamed);
            rejected.extend(self.words.all_rejected().take(MAX_SHOWN).map(|rejected| json!(rejected)));
        }
        glance["member"] = json!(self.config.member);
        glance["generation"] = json!(league.control.generation);
        glance["home"] = json!(league.control.home.member);
        glance["frozen"] = json!(self.frozen_by_topology().or_else(|| self.frozen_share()));
        glance["held"] = json!(judging::held_leaves(&league.spec, ballots, &|name| !self.is_heard(name)));
        let names = ballots.voters.set.keys();
        glance["silentMs"] = names.map(|name| (name.to_string(), json!(self.silence_ms(name)))).collect();
        glance
    }

    /// Who has yet to vote on the open candidate of a key, for people.
    pub(crate) fn missing_votes(&self, key: &Key) -> Option<String> {
        let league = self.league.as_ref()?;
        let ballots = league.control.ballots.as_ref()?;
        let proposer = self.ballots.proposer.as_ref()?;
        let ballot = explain::ballot(ballots, &tally(ballots, league.id, proposer.verifier()), key)?;
        let missing = ballot.missing.iter().map(|(name, state)| match state {
            State::Live => name.to_string(),
            State::Suspected => format!("{name} (not heard)"),
            State::Lost => format!("{name} (lost)"),
            State::Unheard => format!("{name} (its cell does not count)"),
        });
        Some(missing.collect::<Vec<_>>().join(", "))
    }

    /// An Event on this member's Federation.
    pub(crate) fn tell_of_league(&mut self, reason: &str, message: &str) {
        let Some((name, uid)) = self.federation_here() else { return };
        let regarding = Regarding {
            api_version: "hansa.dev/v1alpha1".to_owned(),
            kind: "Federation".to_owned(),
            namespace: String::new(),
            name,
            uid,
        };
        let tiding = Tiding { warning: true, reason: reason.to_owned(), message: message.to_owned() };
        self.tell(&regarding, vec![tiding]);
    }
}
