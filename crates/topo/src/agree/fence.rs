//! Writing under a term: what is written to keeps the highest one that it has seen, and refuses a lower.

use super::Appointment;
use crate::error::TopoError;
use hansa_ledger::page::Header;
use hansa_ledger::{Envelope, OperationId, Swap, Versioned};
use hansa_model::{Hash, Term};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum FencedError {
    /// A later holder has written: this one is none any more.
    #[error("{key} was written under term {found}; the term here is {term}: another holds it")]
    Overtaken {
        /// The key of the topology server.
        key: String,
        /// The term that stands there.
        found: Term,
        /// The term of this appointment.
        term: Term,
    },
    /// The lease has run out.
    #[error("the appointment under term {0} is over")]
    Over(Term),
    /// What stands there is no fenced value of this agreement.
    #[error("{key}: {why}")]
    Unreadable {
        /// The key of the topology server.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The topology server did not say whether it was written: read, and write again what is missing.
    #[error("{key}: it is not known whether it was written ({reason})")]
    Unknown {
        /// The key of the topology server.
        key: String,
        /// What the topology server said.
        reason: String,
    },
    /// The topology server.
    #[error("the topology server")]
    Topo(#[from] TopoError),
}

/// A value with the fence in its header, as in a page of a league.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fenced {
    header: Header,
    body: Value,
}

impl Appointment {
    /// Changes the value at a key of the topology server under this appointment's term: `change` gets
    /// what stands there (null at first) and gives what is to stand there. It is called again when
    /// somebody else was faster, and nothing is written once a higher term stands there.
    ///
    /// # Errors
    /// When the appointment is over, or the topology server fails.
    pub async fn write(&self, key: &str, mut change: impl FnMut(Value) -> Value) -> Result<(), FencedError> {
        let unreadable = |why: String| FencedError::Unreadable { key: key.to_owned(), why };
        let (topo, options) = (&self.agreement.topo, &self.agreement.options);
        let member = options.signer.member();
        let mut current = topo.get(key).await?;
        loop {
            if !self.holds() {
                return Err(FencedError::Over(self.term()));
            }
            let (envelope, body) = match &current {
                None => (None, Value::Null),
                Some(Versioned { value, .. }) => {
                    let (envelope, body) = Envelope::open(value).map_err(|error| unreadable(error.to_string()))?;
                    envelope.belongs_to(options.league).map_err(|error| unreadable(error.to_string()))?;
                    let fenced: Fenced =
                        serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
                    if fenced.header.term > self.term() {
                        let (found, term) = (fenced.header.term, self.term());
                        return Err(FencedError::Overtaken { key: key.to_owned(), found, term });
                    }
                    (Some(envelope), fenced.body)
                }
            };
            // The term is of one start: no later one shares it.
            let header = Header { member: Some(member.clone()), start: None, term: self.term() };
            let body = serde_json::to_vec(&Fenced { header, body: change(body) })
                .map_err(|error| unreadable(error.to_string()))?;
            let revision = envelope.as_ref().map_or(0, |envelope| envelope.revision.0);
            let operation =
                OperationId { incarnation: hansa_model::Incarnation(self.term().0), sequence: revision + 1 };
            // Differs between any two writes: no two are of one member, key, term and revision.
            let nonce = Hash::of_bytes(format!("{member}/{key}/{}/{revision}", self.term()).as_bytes());
            let nonce = u64::from_le_bytes(nonce.as_bytes()[..8].try_into().unwrap_or_default());
            let next = match &envelope {
                Some(envelope) => envelope.next(nonce, member, operation),
                None => Envelope::first(options.league, hansa_model::Era(1), nonce),
            };
            let value = next.seal(&body);
            let swap = match &current {
                Some(found) => topo.compare_and_swap(key, &found.version, value).await?,
                None => topo.create(key, value).await?,
            };
            match swap {
                Swap::Committed(_) => return Ok(()),
                Swap::Mismatch { current: found } => current = found,
                Swap::Indeterminate { reason } => {
                    return Err(FencedError::Unknown { key: key.to_owned(), reason });
                }
            }
        }
    }
}
