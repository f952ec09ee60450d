//! The names of the invariants.

pub(crate) const RISES: &str = "counters only rise";
pub(crate) const BALLOTS: &str = "what is agreed follows from signed votes, and is never taken back";
pub(crate) const SEATS: &str = "a page has one appointee in a term";
pub(crate) const SPEAKS: &str = "a member speaks for itself alone";
pub(crate) const EDITS: &str = "only a home changes an intent, and only by a user's word";
pub(crate) const ENDS: &str = "an end has a user's word";
pub(crate) const WITHDRAWS: &str = "a withdrawal is decided under a term, by the spec, after healthy remainder";
pub(crate) const DEBTS: &str = "a record stays until everyone who was ever placed has said so";
pub(crate) const GONE: &str = "gone is said when it is gone";
pub(crate) const LEAVES: &str = "a home goes when its object goes";
pub(crate) const TRUTH: &str = "a status tells the truth";
pub(crate) const RELEASE: &str = "a finalizer goes only after the word is in the topology server";
pub(crate) const COPIES: &str = "only the copy of what was deleted for all is deleted";
pub(crate) const USERS: &str = "a user's object is the user's";
pub(crate) const AGREED: &str = "what is applied was agreed, and its place recorded before";
pub(crate) const GROUND: &str = "a removal has its ground in the topology server, read a moment ago";
pub(crate) const CUT_OFF: &str = "cut off from the topology server, nothing is deleted";
pub(crate) const OURS: &str = "only what is Hansa's, and of a life that ended, is deleted";
pub(crate) const OWED: &str = "what is made is owed by a record";
pub(crate) const FENCED: &str = "a delete names uid and resourceVersion";
pub(crate) const BEFORE: &str = "the breaker's entry is durable before the deed";
pub(crate) const WITHIN: &str = "the safety budget holds unless a person confirms";
pub(crate) const CONFIRMS: &str = "a confirmation is a person's, and of what was shown";
pub(crate) const STALLS: &str = "a dead member stalls no other";
pub(crate) const CONVERGES: &str = "in calm, everything comes to what was agreed";
pub(crate) const SILENT: &str = "a no-op costs no write";
