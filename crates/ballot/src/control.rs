//! The control document: the one JSON object in which a league agrees about itself.
//!
//! It holds the agreed federation spec, and, once the league votes,
//! its [`Ballots`]. Two first specs cannot both found a league: the document is created if absent, and
//! the loser freezes and says so. Without ballots the Federation's home writes the spec by plain
//! compare-and-swap (format 1); with them (format 2) a new spec is a candidate of
//! [`Key::spec`](crate::Key::spec), a [`SpecCandidate`], and is taken when it is adopted.

use crate::candidate::Candidate;
use crate::document::{Ballots, Document, DocumentError};
use crate::key::Key;
use crate::voters::Voters;
use hansa_model::{FederationSpec, Generation, Hash, LeagueId, MAX_COUNT, MemberName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The format of a document with ballots; this release reads and writes it, and format 1 without them.
pub const FORMAT: u32 = 2;

/// The format of a document without ballots.
const WITHOUT_BALLOTS: u32 = 1;

/// How many pages a league has unless it is made with another number.
pub const DEFAULT_PAGES: u32 = 256;

/// What the league has agreed about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Control {
    /// The document's format.
    pub format: u32,
    /// How many pages hold the records; fixed when the league is made.
    pub pages: u32,
    /// Rises with every agreed change of the spec.
    pub generation: Generation,
    /// The agreed federation spec, verbatim.
    pub spec: Arc<RawValue>,
    /// The member whose Federation object is the spec's home.
    pub home: FederationHome,
    /// The league's ballots, once it votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ballots: Option<Ballots>,
}

/// The value of a candidate of [`Key::spec`]: a federation spec that every operator validates against
/// its own cluster and release before it votes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpecCandidate {
    /// The generation that it would have: the one after the agreed one.
    pub generation: Generation,
    /// The Federation object that it was ingested from; the hash in it is that of the canonical spec.
    pub home: FederationHome,
    /// The spec, verbatim.
    pub spec: Arc<RawValue>,
}

impl SpecCandidate {
    fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a candidate always encodes into memory")
    }
}

/// The Federation object that the agreed spec was ingested from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederationHome {
    /// The member that keeps it.
    pub member: MemberName,
    /// The object's uid.
    pub uid: String,
    /// The object's generation when it was last ingested.
    pub generation: u64,
    /// The hash of the canonical spec.
    pub hash: Hash,
}

/// What an observed Federation object means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// There is no league yet: it founds one.
    Founds,
    /// It is the agreed spec.
    InStep,
    /// Its home changed it: a new generation.
    Edited,
    /// It is a mirror, in a member that is not the spec's home.
    Mirror,
    /// It is another spec than the league's, in a member that is not the spec's home.
    Foreign,
    /// It is older than what was ingested from it, or another object: it changes nothing.
    Stale,
}

/// A control document that this release cannot use.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The bytes are no control document.
    #[error("the control document does not read ({0}): nothing is done until it does")]
    Malformed(String),
    /// A newer release wrote it.
    #[error("the control document has format {0}, this release reads format {FORMAT}: run a newer operator")]
    Format(u32),
    /// A generation that no league counts to.
    #[error("the control document has generation {0}: no league counts that far; restore it")]
    Generation(Generation),
    /// A league without pages.
    #[error("the control document names {0} pages; a league has between 1 and 65536")]
    Pages(u32),
    /// Ballots in a document of format 1, or none in one of format 2.
    #[error("the control document has format {format} and {} ballots: it is damaged; restore it", if *.ballots { "holds" } else { "lacks" })]
    Ballots {
        /// The format.
        format: u32,
        /// Whether there are ballots.
        ballots: bool,
    },
}

impl Control {
    /// The document that founds a league, and the league's id: the hash of its first spec.
    pub fn found(spec: Arc<RawValue>, home: FederationHome, pages: u32) -> (LeagueId, Control) {
        let league = LeagueId(home.hash);
        let control = Control { format: WITHOUT_BALLOTS, pages, generation: Generation(1), spec, home, ballots: None };
        (league, control)
    }

    /// The document of a league that begins to vote, with these voters. Its pages get seats.
    #[must_use]
    pub fn voting(&self, voters: Voters) -> Control {
        Control { format: FORMAT, ballots: Some(Ballots::found(voters, self.pages)), ..self.clone() }
    }

    /// Reads a document's body.
    ///
    /// # Errors
    /// When it is malformed, of another format, or names an impossible number of pages.
    pub fn from_slice(body: &[u8]) -> Result<Self, ControlError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let malformed = |error: serde_json::Error| ControlError::Malformed(error.to_string());
        let Format { format } = serde_json::from_slice(body).map_err(malformed)?;
        if ![WITHOUT_BALLOTS, FORMAT].contains(&format) {
            return Err(ControlError::Format(format));
        }
        let control: Control = serde_json::from_slice(body).map_err(malformed)?;
        let ballots = control.ballots.is_some();
        if ballots != (format == FORMAT) {
            return Err(ControlError::Ballots { format, ballots });
        }
        if !(1..=65_536).contains(&control.pages) {
            return Err(ControlError::Pages(control.pages));
        }
        if control.generation.0 > MAX_COUNT {
            return Err(ControlError::Generation(control.generation));
        }
        Ok(control)
    }

    /// The document's body.
    pub fn to_vec(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a control document always encodes into memory")
    }

    /// The agreed spec.
    ///
    /// # Errors
    /// When it holds what this release does not know: the member then freezes its own share.
    pub fn spec(&self) -> Result<FederationSpec, serde_json::Error> {
        serde_json::from_str(self.spec.get())
    }

    /// Judges a Federation object that a consistent read showed in `member`.
    pub fn standing(
        control: Option<&Control>,
        member: &MemberName,
        uid: &str,
        generation: u64,
        hash: Hash,
    ) -> Standing {
        let Some(control) = control else {
            return Standing::Founds;
        };
        let home = &control.home;
        if &home.member != member {
            return if home.hash == hash { Standing::Mirror } else { Standing::Foreign };
        }
        if home.hash == hash {
            return Standing::InStep;
        }
        if home.uid != uid || home.generation > generation { Standing::Stale } else { Standing::Edited }
    }

    /// The candidate that the agreed spec was, byte for byte.
    fn agreed(&self) -> Vec<u8> {
        let (generation, home, spec) = (self.generation, self.home.clone(), Arc::clone(&self.spec));
        SpecCandidate { generation, home, spec }.to_vec()
    }

    /// The document after an edit in the spec's home.
    #[must_use]
    pub fn edited(&self, spec: Arc<RawValue>, home: FederationHome) -> Control {
        Control { generation: self.generation.next(), spec, home, ..self.clone() }
    }
}

impl Document for Control {
    fn read(body: &[u8]) -> Result<Self, DocumentError> {
        let control = Control::from_slice(body).map_err(|error| DocumentError::Malformed(error.to_string()))?;
        match control.ballots {
            Some(_) => Ok(control),
            None => {
                Err(DocumentError::Inconsistent("the league does not vote yet: its home writes the spec".to_owned()))
            }
        }
    }

    fn write(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn ballots(&self) -> &Ballots {
        self.ballots.as_ref().expect("a league that votes has ballots: Control::voting makes them")
    }

    fn ballots_mut(&mut self) -> &mut Ballots {
        self.ballots.as_mut().expect("a league that votes has ballots: Control::voting makes them")
    }

    fn judge(&self, key: &Key, candidate: &Candidate) -> Result<(), String> {
        if *key != Key::spec() {
            return Ok(());
        }
        let spec: SpecCandidate =
            serde_json::from_str(candidate.value.get()).map_err(|error| format!("the value of {key}: {error}"))?;
        let next = self.generation.next();
        if spec.generation != next {
            return Err(format!(
                "the candidate is for generation {}, the next one is {next}: make it anew",
                spec.generation
            ));
        }
        let canonical: serde_json::Value = serde_json::from_str(spec.spec.get()).map_err(|error| error.to_string())?;
        if Hash::of(&canonical) != spec.home.hash {
            return Err("home.hash is not that of the spec".to_owned());
        }
        // The document keeps what is adopted in its own fields, and shows by these bytes that it does.
        if spec.to_vec() != candidate.value.get().as_bytes() {
            return Err("it is not written as this release writes it".to_owned());
        }
        Ok(())
    }

    fn adopt(&mut self, key: &Key, candidate: &Candidate) -> bool {
        if *key != Key::spec() {
            return false;
        }
        let Ok(spec) = serde_json::from_str::<SpecCandidate>(candidate.value.get()) else { return false };
        (self.generation, self.spec, self.home) = (spec.generation, spec.spec, spec.home);
        true
    }

    fn fault(&self, known: Option<&Self>) -> Option<String> {
        if let Some(known) = known.filter(|known| known.pages != self.pages) {
            return Some(format!("it names {} pages, and had {}", self.pages, known.pages));
        }
        match (self.ballots.as_ref()?.decisions.get(&Key::spec()), known) {
            (Some(decision), _) if Hash::of_bytes(&self.agreed()) != decision.hash => {
                Some(format!("the spec in it, or its home, is not what was decided by ballot #{}", decision.epoch))
            }
            (None, Some(known)) if self.agreed() != known.agreed() => {
                Some("the spec in it, or its home, was changed without a vote".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(member: &str, uid: &str, generation: u64, content: &str) -> FederationHome {
        let hash = Hash::of_bytes(content.as_bytes());
        FederationHome { member: member.parse().unwrap(), uid: uid.into(), generation, hash }
    }

    fn raw(text: &str) -> Arc<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap().into()
    }

    #[test]
    fn only_the_home_edits_and_only_forwards() {
        let (league, control) = Control::found(raw("{}"), home("a", "1", 3, "{}"), DEFAULT_PAGES);
        assert_eq!(league, LeagueId(Hash::of_bytes(b"{}")));
        let standing = |member: &str, uid: &str, generation, content: &str| {
            let hash = Hash::of_bytes(content.as_bytes());
            Control::standing(Some(&control), &member.parse().unwrap(), uid, generation, hash)
        };
        assert_eq!(standing("a", "1", 3, "{}"), Standing::InStep);
        assert_eq!(standing("a", "1", 4, "new"), Standing::Edited);
        assert_eq!(standing("a", "1", 2, "old"), Standing::Stale);
        assert_eq!(standing("a", "2", 1, "other"), Standing::Stale);
        assert_eq!(standing("b", "5", 1, "{}"), Standing::Mirror);
        assert_eq!(standing("b", "5", 1, "other"), Standing::Foreign);
        let edited = control.edited(raw(r#"{"paused":true}"#), home("a", "1", 4, "new"));
        assert_eq!((edited.generation, edited.spec().unwrap().paused), (Generation(2), true));
    }

    #[test]
    fn hostile_documents_are_named() {
        for (body, expected) in [
            ("", "does not read"),
            ("[]", "does not read"),
            (r#"{"format":7}"#, "newer operator"),
            (
                r#"{"format":1,"pages":0,"generation":1,"spec":{},"home":{"member":"a","uid":"1","generation":1,"hash":"0000000000000000000000000000000000000000000000000000000000000000"}}"#,
                "between 1 and 65536",
            ),
        ] {
            let error = Control::from_slice(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn a_document_reads_back() {
        let (_, control) = Control::found(raw(r#"{"paused":true}"#), home("a", "1", 3, "{}"), 8);
        let again = Control::from_slice(&control.to_vec()).unwrap();
        assert_eq!((again.pages, again.spec().unwrap().paused), (8, true));
    }
}
