//! Hansa's domain nouns: ids, counters, members, the federation spec, federated objects, canonical
//! encoding.
//!
//! Nothing here does anything: no I/O, no clock, no randomness, and no rule that belongs to one of
//! the rooms above. What two operators must agree on is encoded by [`canonical`], so that equal
//! meaning has equal bytes.

pub mod canonical;
pub mod compact;
pub mod counters;
pub mod federated;
pub mod federation;
pub mod names;
pub mod random;
pub mod selector;

pub use canonical::Hash;
pub use compact::Compact;
pub use counters::{Era, Generation, Incarnation, MAX_COUNT, Revision, Term};
pub use federated::FINALIZER;
pub use federated::{
    Adoption, DeletionPolicy, FederatedSpec, JsonPatchOperation, Override, PatchOp, Placement, Rollout,
    SecretReference, TemplateSource, Wave,
};
pub use federation::{
    DeletionBudget, FederatedType, FederationSpec, Homes, Leaving, Member, NamespacePolicy, Person, Safety, Takeover,
};
pub use names::{InvalidName, LeagueId, MemberName, RecordKey, TypeName};
pub use random::SplitMix64;
pub use selector::LabelSelector;
