//! A member's keys are rotated in order: its vote does not pause, and no step needs another to follow soon.
//!
//! The member's Secret holds one pair of keys (Ed25519 and X25519), and a second one during a rotation. What a
//! pair is for follows from what is agreed, at each start anew, so a crash between two steps only delays:
//!
//! | Step | By | Stands afterwards |
//! |---|---|---|
//! | 1 | a user's Request in the member | the next pair, in the Secret and in the member's cell; signed and sealed is as before |
//! | 2 | a user in the spec's home | the spec lists both pairs; the others seal to the next one, and the member opens with either |
//! | 3 | the member, by its old key, with the next one's consent; all vote | the voters name the next key ([`Change::Rotate`]) |
//! | 4 | the member | the next pair is the one in use; of the earlier one the Secret keeps the private sealing key and the public signing key |
//! | 5 | the member | what its earlier key signed stands signed anew, and its public signing key is forgotten |
//! | 6 | a user in the spec's home | the spec lists the pair in use alone |
//! | 7 | the member | nothing is sealed to the earlier pair any more, and it is forgotten |
//!
//! - The spec is the consent of users, so the members vote for a key that it lists, and for no other. It lists both keys
//!   before the ballot and until after it, so there is no moment at which it lists a voter with another key alone: for that,
//!   a voter is voted out. A spec that drops the key in use and keeps another that stands there already is voted down: it was
//!   written for an earlier or a later step.
//! - Between 3 and 4 the member signs nothing: what is on its way is waited for, and another start takes up the next pair.
//! - From 3 on a word that the earlier key signed is nobody's, and is named. What stands from before, the member says anew (5):
//!   its own words alone, valid under the key that it knows as its earlier one. Until that is forgotten, whoever stole the
//!   earlier key and can write to the topology server may have a word said anew, as it could say any word before 3.
//! - A next pair that nobody lists harms nothing, and waits. There is one at a time.
//! - Where the spec lists no keys, it does from step 2 on: a sealing key that was only seen first could not change.

use crate::io::KeysChange;
use crate::machine::{Config, Operator};
use hansa_ballot::membership::{Change, consent};
use hansa_ballot::voters::Place;
use hansa_ballot::{PublicKey, Signer, Voters};
use hansa_ledger::mutation;
use serde_json::{Value, json};

/// The second pair of keys in a member's Secret.
#[derive(Clone, Debug)]
pub enum Rotation {
    /// The pair that is to be used next.
    Next {
        /// Its public halves, as of [`Config::public_keys`].
        public_keys: Vec<String>,
        /// The private half that signs.
        signer: Box<Signer>,
    },
    /// The pair that was used before.
    Previous {
        /// Its public signing key, until what it signed is said anew.
        signing: Option<PublicKey>,
        /// Its public sealing key, `x25519:…`; the private half opens what is sealed to it.
        sealing: String,
    },
}

impl Rotation {
    /// The public keys that the member shows beside those in use.
    pub fn public_keys(&self) -> &[String] {
        match self {
            Rotation::Next { public_keys, .. } => public_keys,
            Rotation::Previous { sealing, .. } => std::slice::from_ref(sealing),
        }
    }
}

/// What this start has asked for.
#[derive(Debug, Default)]
pub(crate) struct Rotating {
    asked: Vec<KeysChange>,
    has_given_up_its_key: bool,
}

/// What becomes of a user's wish to rotate the keys.
pub(crate) enum Asked {
    /// The next pair is being made.
    Begins,
    /// The next pair stands.
    Stands { message: String, result: Value },
    /// It cannot be, for this reason.
    Refused(String),
}

impl Config {
    /// All public keys that the member shows: those in use first.
    pub(crate) fn shown_keys(&self) -> Vec<String> {
        let beside = self.rotation.iter().flat_map(Rotation::public_keys);
        self.public_keys.iter().chain(beside).cloned().collect()
    }
}

impl Operator {
    fn ask_for_keys(&mut self, change: KeysChange) {
        if !self.rotating.asked.contains(&change) {
            self.rotating.asked.push(change.clone());
            self.change_keys(change);
        }
    }

    /// The second pair, by its public keys: `{"next": […]}`, `{"previous": […]}`, or `null` when there is none.
    pub(crate) fn rotation_at_a_glance(&self) -> Value {
        match &self.config.rotation {
            None => Value::Null,
            Some(pair @ Rotation::Next { .. }) => json!({"next": pair.public_keys()}),
            Some(pair @ Rotation::Previous { .. }) => json!({"previous": pair.public_keys()}),
        }
    }

    /// The key of the next pair, when there is one.
    pub(crate) fn next_key(&self) -> Option<PublicKey> {
        match &self.config.rotation {
            Some(Rotation::Next { signer, .. }) => Some(signer.public()),
            _ => None,
        }
    }

    /// A user of this member wants its keys rotated.
    pub(crate) fn rotation_asked(&mut self) -> Asked {
        let member = self.config.member.clone();
        let home = self.league.as_ref().map(|league| league.control.home.member.clone());
        let home = home.map_or_else(|| "the spec's home".to_owned(), |home| home.to_string());
        match &self.config.rotation {
            Some(Rotation::Next { .. }) => {
                let keys = self.config.shown_keys();
                let message = format!(
                    "the next keys of {member} stand beside those in use: list both pairs, in this order, under spec.members[{member}].publicKeys in {home}, and the members vote on the change: {}",
                    keys.join(", ")
                );
                Asked::Stands { message, result: json!({"publicKeys": keys}) }
            }
            Some(Rotation::Previous { .. }) => Asked::Refused(format!(
                "the keys of {member} were rotated, and the earlier pair is not let go yet: let spec.members[{member}].publicKeys in {home} list {} alone, and ask again when all Secrets are sealed to them",
                self.config.public_keys.join(", ")
            )),
            None => match self.frozen_share().or_else(|| self.frozen_by_topology()) {
                Some(why) => Asked::Refused(format!("the keys of {member} are not rotated now: {why}")),
                None => {
                    self.ask_for_keys(KeysChange::Prepare);
                    Asked::Begins
                }
            },
        }
    }

    /// The change that this member proposes while there is a next pair: signed by the old key as a vote, with
    /// the new key's consent.
    pub(crate) fn rotation_to_propose(&self) -> Option<Change> {
        let Some(Rotation::Next { signer, .. }) = &self.config.rotation else { return None };
        let league = self.league.as_ref()?;
        let name = self.config.member.clone();
        let voter = league.control.ballots.as_ref()?.voters.set.get(&name)?;
        let consent = consent(signer, league.id, &voter.uid, voter.witness);
        Some(Change::Rotate { consent, key: signer.public(), name })
    }

    /// Whether the league has decided for the next pair: then another start takes it up, and until then this one
    /// follows the control document no further.
    pub(crate) fn takes_up_the_next_pair(&mut self) -> bool {
        if self.rotating.has_given_up_its_key {
            self.ask_to_promote();
            return true;
        }
        let Some(key) = self.next_key() else { return false };
        let names_it =
            |voters: &Voters| voters.place(&self.config.member, &self.config.cluster_uid, &key) == Place::Voter;
        let agreed = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        let is_voted = self.ballots.newest_voters().or(agreed.map(|ballots| &ballots.voters)).is_some_and(names_it);
        if is_voted {
            self.rotating.has_given_up_its_key = true;
            self.ask_to_promote();
        }
        is_voted
    }

    /// What is on its way to a page was signed by the old key: how that ended is to be known, for the next start
    /// reads the pages and says anew what it finds. Until then it is looked at again in each step.
    fn ask_to_promote(&mut self) {
        match self.next_key() {
            Some(key) if !self.topology.is_writing_pages() => self.ask_for_keys(KeysChange::Promote { key }),
            _ => self.ballots.look = true,
        }
    }

    /// Whether the league has decided for the next key, so that the one at hand signs nothing any more.
    pub(crate) fn has_given_up_its_key(&self) -> bool {
        self.rotating.has_given_up_its_key
    }

    /// Lets go of the earlier pair, piece by piece, as soon as nothing depends on it.
    pub(crate) fn tend_rotation(&mut self) {
        self.continue_requests(None);
        let Some(Rotation::Previous { signing, sealing }) = self.config.rotation.clone() else { return };
        let follows = self.topology.is_loaded() && self.topology.down_since_ms.is_none() && self.league.is_some();
        // What cannot be read may rest on the earlier pair.
        if !follows
            || self.has_unread_records()
            || self.config.observe
            || self.frozen_share().or_else(|| self.frozen_by_topology()).is_some()
        {
            return;
        }
        if let Some(signing) = signing {
            let left = self.said_under(&signing);
            if left.is_empty() {
                self.ask_for_keys(KeysChange::ForgetSigning);
            }
            let is_said = left.is_empty();
            for (key, instead_of) in left {
                if !self.is_being_written(&key) {
                    self.mutate(&key, mutation::Change::Resign { instead_of });
                }
            }
            if !is_said {
                return;
            }
        }
        if !self.is_sealed_to(&sealing) {
            self.ask_for_keys(KeysChange::ForgetSealing);
        }
    }
}
