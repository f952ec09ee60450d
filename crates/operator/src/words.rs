//! What users said, signed by the operator that heard it: intents, and ends of lives.
//!
//! Whoever can write to the topology server could otherwise put words into anybody's mouth. An
//! operator signs what it writes as the author ([`sign`]); nobody acts on a word whose signature does
//! not hold under the key that the league voted in ([`verify`]): what was applied before stays, and
//! what is said is named. It is looked at when something is to be done about it, not each time a page
//! is read: a league at rest verifies nothing.
//!
//! A signature is written `<key>:<signature>`: with the beginning of the key, it shows without any
//! arithmetic when its author has another key by now, or has left. A home that is in step then says
//! the same in its own name ([`hansa_ledger::mutation::Change::Vouch`]); an author whose keys were rotated says it anew
//! itself ([`crate::rotation`]).
//!
//! Signatures count once all voters speak feature level 1, for a release before it signs nothing.

use crate::io::Level;
use crate::machine::Operator;
use hansa_ballot::rejected::{Fault, Rejected};
use hansa_ballot::signing::Statement;
use hansa_ballot::{PublicKey, Signature, Signer, Verifier, Voters};
use hansa_ledger::Record;
use hansa_ledger::cell::State;
use hansa_ledger::record::Body;
use hansa_model::{DeletionPolicy, Era, LeagueId, MemberName, RecordKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The feature level from which on every word is signed.
const SIGNED: u32 = 1;
/// How many characters of a key stand before a signature.
const KEY_CHARS: usize = 8;
/// How many eras back a word may have been said: a person raises the era after a restore.
const ERAS: u64 = 8;

/// The league in which something is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub league: LeagueId,
    pub era: Era,
}

/// Something that a record says in an author's name.
struct Word<'a> {
    author: &'a MemberName,
    about: String,
    counter: (u64, u64),
    value: Vec<u8>,
    signature: Option<&'a str>,
}

impl<'a> Word<'a> {
    fn intent(key: &RecordKey, record: &'a Record) -> Self {
        let intent = &record.intent;
        let mut value = intent.hash.as_bytes().to_vec();
        match &intent.body {
            Body::Inline(raw) => value.extend_from_slice(raw.get().as_bytes()),
            Body::Blob(hash) => value.extend_from_slice(hash.as_bytes()),
        }
        Word {
            author: &intent.author,
            about: format!("intents/{}/{key}", intent.author),
            counter: (record.incarnation.0, record.revision.0),
            value,
            signature: intent.signature.as_deref(),
        }
    }

    fn end(key: &RecordKey, record: &'a Record) -> Option<Self> {
        let tombstone = record.tombstone.as_ref()?;
        let policy: &[u8] = match tombstone.policy {
            DeletionPolicy::Delete => b"delete",
            DeletionPolicy::Orphan => b"orphan",
        };
        Some(Word {
            author: &tombstone.author,
            about: format!("ends/{}/{key}", tombstone.author),
            counter: (record.incarnation.0, 0),
            value: policy.to_vec(),
            signature: tombstone.signature.as_deref(),
        })
    }

    fn statement(&self, said: Said) -> Statement<'_> {
        let Said { league, era } = said;
        Statement { league, era, about: &self.about, counter: self.counter, value: &self.value }
    }

    fn sign(&self, signer: &Signer, said: Said, verifier: &Verifier) -> Option<String> {
        let unsigned = self.author == signer.member() && self.signature.is_none();
        unsigned.then(|| format!("{}:{}", beginning(&signer.public()), verifier.sign(signer, &self.statement(said))))
    }

    /// Whether the author's present key is the one that it was signed with, by name.
    fn names_key_of(&self, voters: &Voters) -> bool {
        let (signed, voter) = (self.signature, voters.set.get(self.author));
        signed.zip(voter).is_some_and(|(signed, voter)| signed.starts_with(&beginning(&voter.key)))
    }

    fn verify(&self, voters: &Voters, said: Said, verifier: &Verifier) -> Result<(), Fault> {
        let Some(voter) = voters.set.get(self.author) else {
            return Err(if voters.removed.contains_key(self.author) { Fault::Removed } else { Fault::Stranger });
        };
        self.holds_under(&voter.key, said, verifier).then_some(()).ok_or(Fault::Forged)
    }

    fn holds_under(&self, key: &PublicKey, said: Said, verifier: &Verifier) -> bool {
        let signature = self.signature.and_then(|signed| signed.split_once(':')).map(|(_, signature)| signature);
        let Some(signature) = signature.and_then(|text| text.parse::<Signature>().ok()) else { return false };
        let mut eras = (said.era.0.saturating_sub(ERAS)..=said.era.0).rev().map(Era);
        eras.any(|era| verifier.verify(key, &self.statement(Said { era, ..said }), &signature))
    }
}

fn beginning(key: &PublicKey) -> String {
    let text = key.to_string();
    text.split(':').next_back().unwrap_or_default().chars().take(KEY_CHARS).collect()
}

/// Signs what `signer` says in a record and has not signed yet; `verifier` will know it again.
pub(crate) fn sign(key: &RecordKey, record: &mut Arc<Record>, signer: &Signer, said: Said, verifier: &Verifier) {
    if let Some(signature) = Word::intent(key, record).sign(signer, said, verifier) {
        Arc::make_mut(record).intent.signature = Some(signature);
    }
    if let Some(signature) = Word::end(key, record).and_then(|word| word.sign(signer, said, verifier))
        && let Some(tombstone) = &mut Arc::make_mut(record).tombstone
    {
        tombstone.signature = Some(signature);
    }
}

/// Whether what a record says now, its end or else its intent, is its author's word.
///
/// # Errors
/// With what is wrong with it.
pub(crate) fn verify(
    key: &RecordKey,
    record: &Record,
    voters: &Voters,
    said: Said,
    verifier: &Verifier,
) -> Result<(), Rejected> {
    let word = Word::end(key, record).unwrap_or_else(|| Word::intent(key, record));
    word.verify(voters, said, verifier).map_err(|why| Rejected { who: word.author.clone(), what: word.about, why })
}

/// What `author` says in a record by this key: the signatures.
pub(crate) fn said_by<'a>(
    key: &RecordKey,
    record: &'a Record,
    (author, by): (&MemberName, &PublicKey),
    said: Said,
    verifier: &Verifier,
) -> impl Iterator<Item = &'a str> {
    let (beginning, words) = (beginning(by), [Some(Word::intent(key, record)), Word::end(key, record)]);
    words.into_iter().flatten().filter_map(move |word| {
        // Of most words it shows without any arithmetic.
        let signed = word.signature.filter(|signed| word.author == author && signed.starts_with(&beginning))?;
        word.holds_under(by, said, verifier).then_some(signed)
    })
}

/// Why nothing is done about a record whose last word is nobody's, with the mend.
fn why_not(key: &RecordKey, record: &Record, rejected: &Rejected) -> String {
    let homes = if record.is_homeless() { String::new() } else { format!(" ({})", crate::report::homes(record)) };
    format!(
        "{rejected}: nothing is done about it here; let a home{homes} say anew what is meant, with {}",
        crate::observed::take_home(key, record.revision)
    )
}

/// What this operator found out about words.
#[derive(Debug, Default)]
pub(crate) struct Words {
    verifier: Verifier,
    /// Those that are nobody's, by record, each with when that was found, on this operator's own clock.
    rejected: BTreeMap<RecordKey, (Rejected, u64)>,
}

impl Words {
    /// Why nothing is done about a record, when its last word is nobody's.
    pub fn rejected(&self, key: &RecordKey) -> Option<&Rejected> {
        self.rejected.get(key).map(|(rejected, _)| rejected)
    }

    /// What this operator signed and verified, in one memory.
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    /// There is no such record any more.
    pub fn forget(&mut self, key: &RecordKey) {
        self.rejected.remove(key);
    }

    /// Everything that does not count, for people.
    pub fn all_rejected(&self) -> impl Iterator<Item = &Rejected> {
        self.rejected.values().map(|(rejected, _)| rejected)
    }
}

impl Operator {
    /// The voters, where signatures count.
    fn signed_by(&self) -> Option<(&Voters, Said)> {
        let league = self.league.as_ref()?;
        let ballots = league.control.ballots.as_ref().filter(|ballots| ballots.feature >= SIGNED)?;
        Some((&ballots.voters, Said { league: league.id, era: league.era }))
    }

    /// Whether something may be done about a record here: its last word is its author's.
    ///
    /// # Errors
    /// With what is wrong, and the mend.
    pub(crate) fn answerable(&mut self, key: &RecordKey, record: &Record) -> Result<(), String> {
        let Some((voters, said)) = self.signed_by() else { return Ok(()) };
        // What was done here was looked at before it was done. An output may be gone for another reason than the end
        // of its life, with which a home goes.
        let is_home = record.homes.contains_key(&self.config.member);
        let status = self.status_of(&self.config.member, key);
        let done = status.is_some_and(|status| {
            crate::machine::is_current(status, record)
                && match record.tombstone {
                    None => status.state == State::Applied,
                    Some(_) => status.state == State::Removed && !is_home,
                }
        });
        if done {
            return Ok(());
        }
        let Err(rejected) = verify(key, record, voters, said, &self.words.verifier) else {
            self.words.rejected.remove(key);
            return Ok(());
        };
        let why = why_not(key, record, &rejected);
        if self.words.rejected(key) != Some(&rejected) {
            self.words.rejected.insert(key.clone(), (rejected.clone(), self.now.monotonic_ms));
            // The author may have become a voter a moment ago.
            self.drive(hansa_ballot::proposer::Event::Changed);
            self.ballots.count_rejection(&rejected);
            self.log(Level::Warning, Some(key), why.clone());
            self.tell_of_league("Rejected", &why);
        }
        Err(why)
    }

    /// Why nothing is done about a record, when its last word is nobody's, with the mend.
    pub(crate) fn why_rejected(&self, key: &RecordKey, record: &Record) -> Option<String> {
        self.words.rejected(key).map(|rejected| why_not(key, record, rejected))
    }

    /// Whether the last word of a record is nobody's by the voters as they stood after it was found so, too.
    pub(crate) fn is_surely_rejected(&self, key: &RecordKey) -> bool {
        self.words.rejected.get(key).is_some_and(|(_, since_ms)| self.ballots.knows_since(*since_ms))
    }

    /// The voters were read anew: what was to be done on the ground that a word is nobody's waited for that.
    pub(crate) fn judge_rejected_anew(&mut self) {
        for key in self.words.rejected.keys().cloned().collect::<Vec<_>>() {
            self.touch(&key);
        }
    }

    /// What this member said under an earlier key of its own, and has not said anew.
    pub(crate) fn said_under(&self, key: &PublicKey) -> Vec<(RecordKey, BTreeSet<String>)> {
        let Some((_, said)) = self.signed_by() else { return Vec::new() };
        let by = (&self.config.member, key);
        let signed = self.topology.records().map(|(name, record)| {
            let signatures = said_by(name, record, by, said, &self.words.verifier);
            (name.clone(), signatures.map(str::to_owned).collect::<BTreeSet<_>>())
        });
        signed.filter(|(_, signatures)| !signatures.is_empty()).collect()
    }

    /// Whether a home that is in step is to say what is agreed in its own name: its author has another
    /// key by now, has left, or never signed.
    pub(crate) fn wants_a_voucher(&self, key: &RecordKey, record: &Record) -> bool {
        let own = self.config.signer.public();
        self.signed_by().is_some_and(|(voters, _)| {
            let votes = voters.set.get(&self.config.member).is_some_and(|voter| voter.key == own);
            votes && !Word::intent(key, record).names_key_of(voters)
        })
    }
}

#[cfg(test)]
mod tests;
