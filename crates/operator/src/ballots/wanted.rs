//! What a voter has to say: a pure function of the document and of what this operator sees.

use super::judging::{self, Views};
use hansa_ballot::decide::{Tally, spoken};
use hansa_ballot::membership::{Change, Join};
use hansa_ballot::motion::{Accept, Motion};
use hansa_ballot::voters::Place;
use hansa_ballot::{Ballots, Cell, Control, Epoch, Key, Outcome, PublicKey, Rule, Verdict};
use hansa_model::{FederationSpec, Hash, MemberName};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a motion is about: two motions of one topic say the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Topic {
    /// To be let in, under this voter's key.
    Join,
    /// Its feature level.
    Speak(u32),
    /// Whom it suspects.
    Suspect(BTreeSet<MemberName>),
    /// Its vote on an open candidate.
    Vote(Key, Epoch, Verdict),
    /// A proposal.
    Decide(Key, Hash),
}

/// What one operator sees.
pub(crate) struct Sight<'a> {
    /// The document.
    pub control: &'a Control,
    /// The agreed spec, as far as this release reads it.
    pub spec: &'a FederationSpec,
    /// What is validly said in it.
    pub tally: &'a Tally<'a>,
    /// What this cluster is in it.
    pub place: &'a Place,
    /// Its request to join.
    pub join: &'a Join,
    /// The operator's own views.
    pub views: Views<'a>,
    /// The spec that this member's Federation object asks for, when it is the spec's home, or asks to be.
    pub edit: Option<Arc<RawValue>>,
    /// The rotation of its own key, when there is a next one.
    pub rotation: Option<Change>,
    /// Whether it was voted lost, and has caught up since.
    pub caught_up: bool,
    /// Whether a proposal of a key was made a moment ago and is not under way any more.
    pub rests: &'a dyn Fn(&Key) -> bool,
}

/// Everything that this voter has to say and has not said.
pub(crate) fn wanted(sight: &Sight<'_>) -> BTreeMap<Topic, Motion> {
    let Some(ballots) = &sight.control.ballots else { return BTreeMap::new() };
    let mut wanted = Wanted { sight, ballots, motions: BTreeMap::new() };
    match sight.place {
        Place::Voter => wanted.as_voter(),
        Place::Stranger | Place::OtherKey { .. } if ballots.joins.get(sight.views.member) != Some(sight.join) => {
            wanted.add(Topic::Join, Motion::Join(sight.join.clone()));
        }
        _ => {}
    }
    wanted.motions
}

struct Wanted<'a> {
    sight: &'a Sight<'a>,
    ballots: &'a Ballots,
    motions: BTreeMap<Topic, Motion>,
}

impl Wanted<'_> {
    fn add(&mut self, topic: Topic, motion: Motion) {
        self.motions.insert(topic, motion);
    }

    fn own_cell(&self) -> Option<&Cell> {
        self.sight.tally.cells.get(self.sight.views.member).copied()
    }

    fn as_voter(&mut self) {
        let views = &self.sight.views;
        let level = views.release.level;
        if self.own_cell().map_or(0, |cell| cell.speaks) != level {
            self.add(Topic::Speak(level), Motion::Speak { level });
        }
        // What is meant at a level that it does not speak, it does not know: it says that, and nothing else.
        let keeps_silent = self.ballots.feature > level;
        let others = self.ballots.voters.set.keys().filter(|name| *name != views.member && !keeps_silent);
        let suspects: BTreeSet<MemberName> = others.filter(|name| views.suspects(name)).cloned().collect();
        if self.own_cell().map_or(&BTreeSet::new(), |cell| &cell.suspects) != &suspects {
            self.add(Topic::Suspect(suspects.clone()), Motion::Suspect { members: suspects });
        }
        if keeps_silent {
            return;
        }
        self.vote();
        self.propose_spec();
        self.propose_members();
        self.propose_rotation();
        self.propose_lost();
        let level = spoken(self.ballots, &self.sight.tally.cells);
        if level > self.ballots.feature {
            self.propose(Key::feature(), &level, Rule::All);
        }
    }

    fn vote(&mut self) {
        for (key, candidate) in &self.ballots.open {
            let voted = self.own_cell().and_then(|cell| cell.votes.get(key));
            if voted.is_some_and(|vote| vote.epoch == candidate.epoch) {
                continue;
            }
            if let Some((verdict, reason)) = judging::judge(self.sight.control, key, candidate, &self.sight.views) {
                let epoch = candidate.epoch;
                let motion = Motion::Vote { key: key.clone(), epoch, verdict, reason };
                self.add(Topic::Vote(key.clone(), epoch, verdict), motion);
            }
        }
    }

    /// The home's edit; one that was overtaken by a newer edit is withdrawn first.
    fn propose_spec(&mut self) {
        let key = Key::spec();
        let open = self.ballots.open.get(&key);
        let mine = open.filter(|open| open.proposer == *self.sight.views.member);
        let Some(value) = self.sight.edit.clone() else {
            return self.withdraw(&key, mine.map(|open| open.epoch));
        };
        let hash = Hash::of_bytes(value.get().as_bytes());
        match open {
            Some(open) if open.hash == hash => {}
            Some(_) => self.withdraw(&key, mine.map(|open| open.epoch)),
            None if rejection(self.ballots, &key, &hash).is_some() => {}
            None => self.decide(key, value, Rule::Quorum),
        }
    }

    fn withdraw(&mut self, key: &Key, epoch: Option<Epoch>) {
        if let Some(epoch) = epoch {
            let verdict = Verdict::Withdrawn;
            let motion = Motion::Vote { key: key.clone(), epoch, verdict, reason: None };
            self.add(Topic::Vote(key.clone(), epoch, verdict), motion);
        }
    }

    /// Voters follow the agreed spec, one by one: its users have agreed to whom it lists, and whoever it
    /// lists has asked with its own key. The home speaks for its users; while it is not heard, the first
    /// by name that is.
    fn propose_members(&mut self) {
        let views = &self.sight.views;
        let live = |name: &&MemberName| !views.suspects(name) && !self.ballots.lost.contains_key(*name);
        let home = &self.sight.control.home.member;
        let voters = &self.ballots.voters.set;
        let speaker = voters.get_key_value(home).map(|(name, _)| name).filter(live);
        if speaker.or_else(|| voters.keys().find(live)) != Some(views.member) {
            return;
        }
        let generation = self.sight.control.generation;
        let leaves = voters.iter().filter_map(|(name, voter)| {
            let reason = match self.sight.spec.member(name) {
                None => format!("generation {generation} of the spec does not list it"),
                Some(member) if judging::has_another_key(member, &voter.key) => {
                    format!("generation {generation} of the spec lists it with another key")
                }
                Some(_) => return None,
            };
            Some(Change::Leave { name: name.clone(), reason })
        });
        let joins = self.ballots.joins.iter().map(|(name, join)| Change::Join {
            consent: join.consent,
            name: name.clone(),
            user: format!("the author of generation {generation} of the spec, in {home}"),
            voter: join.voter.clone(),
        });
        let known = &self.ballots.voters.people;
        let listed = self
            .sight
            .spec
            .people
            .iter()
            .filter_map(|person| Some((person.name.as_str(), person.public_key.parse().ok()?)));
        let listed: BTreeMap<&str, PublicKey> = listed.collect();
        let added = listed.iter().filter(|(name, key)| known.get(**name) != Some(key));
        let added = added.map(|(name, key)| Change::Person { key: Some(*key), name: (*name).to_owned() });
        let dropped = known.keys().filter(|name| !listed.contains_key(name.as_str()));
        let dropped = dropped.map(|name| Change::Person { key: None, name: name.clone() });
        let fits =
            |change: &Change| judging::judge_change(self.sight.spec, self.ballots, change, &self.sight.views).is_ok();
        if let Some(change) = leaves.chain(joins).chain(added).chain(dropped).find(fits) {
            self.propose(Key::members(), &change, Rule::Quorum);
        }
    }

    /// Its own next key, once the spec lists it: the ballot is one about the members, too, and waits for its turn.
    fn propose_rotation(&mut self) {
        let key = Key::members();
        let is_free = !self.motions.keys().any(|topic| matches!(topic, Topic::Decide(other, _) if *other == key));
        let fits =
            |change: &&Change| judging::judge_change(self.sight.spec, self.ballots, change, &self.sight.views).is_ok();
        if let Some(change) = self.sight.rotation.as_ref().filter(fits).filter(|_| is_free) {
            self.propose(key, change, Rule::Quorum);
        }
    }

    fn propose_lost(&mut self) {
        let views = &self.sight.views;
        for name in self.ballots.voters.set.keys() {
            let is_lost = self.ballots.lost.contains_key(name);
            if name == views.member {
                if is_lost && self.sight.caught_up {
                    self.propose(Key::lost(name), &false, Rule::Quorum);
                }
            } else if !is_lost && views.is_gone(name) {
                self.propose(Key::lost(name), &true, Rule::Quorum);
            }
        }
    }

    /// Proposes a value, unless the key is being voted on, or was not adopted a moment ago.
    fn propose<T: serde::Serialize>(&mut self, key: Key, value: &T, rule: Rule) {
        let failed = self.ballots.refused.contains_key(&key);
        if self.ballots.open.contains_key(&key) || (failed && (self.sight.rests)(&key)) {
            return;
        }
        let value = to_raw_value(value).expect("a value always encodes into memory");
        self.decide(key, value.into(), rule);
    }

    /// Another's candidate, which may come to stand there first, is judged before it is voted on.
    fn decide(&mut self, key: Key, value: Arc<RawValue>, rule: Rule) {
        let after = self.ballots.decided(&key);
        let topic = Topic::Decide(key.clone(), Hash::of_bytes(value.get().as_bytes()));
        self.add(topic, Motion::Decide { key, after, value, rule, accept: Accept::Judged });
    }
}

/// Why a value was voted down, by whom, when it was the last of its key to be.
pub(crate) fn rejection<'a>(ballots: &'a Ballots, key: &Key, hash: &Hash) -> Option<&'a BTreeMap<MemberName, String>> {
    let refused = ballots.refused.get(key)?;
    (refused.outcome == Outcome::Rejected && refused.hash == *hash).then_some(&refused.reasons)
}
