//! Broken variants: what an operator with a defect would do, made by altering its acts and what it
//! hears at the edges of the world. They prove that the judge can find such a defect; the production
//! code stays as it is, and has no switch for any of this.
//!
//! | Module | Alters |
//! |---|---|
//! | [`hears`] | what an operator is told: stale, forged or missing |
//! | [`does`] | what it does: more, less, or without its preconditions |

mod does;
mod hears;

use crate::judge::rules;
use crate::store::Store;
use hansa_ballot::Control;
use hansa_ledger::breaker::Scope;
use hansa_ledger::cell::MemberCell;
use hansa_ledger::confirmation::Confirmations;
use hansa_ledger::{Envelope, Page, Record, Versioned, keys};
use hansa_model::{FederationSpec, MemberName, RecordKey};
use std::sync::Arc;

/// A defect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// A write whose answer was lost is taken for committed.
    IndeterminateIsCommitted,
    /// A write names whatever version stands there, not the one that it is based on.
    LostUpdate,
    /// An output is applied wherever it might be, before its place is recorded.
    AppliesUnplaced,
    /// A member that placement does not select any more removes its output by itself.
    ComputedRemoval,
    /// What other members say is taken for "has the newest revision, and is well".
    HastyWithdrawal,
    /// The read before a removal is answered from memory.
    UnfencedRemoval,
    /// That read fails, and what is remembered is taken for its answer.
    CutOffUnnoticed,
    /// A deletion names no uid and no resourceVersion.
    DeletesByName,
    /// An output of ours without a record is deleted.
    DeletesStrays,
    /// What a list of federated objects lacks is taken for gone, without a look.
    BelievesStaleLists,
    /// A home that is older than what was agreed from it is taken for an edited one.
    BelievesRestoredHomes,
    /// A finalizer goes as soon as its object is being deleted.
    FinalizerFirst,
    /// A tombstoned record goes before everyone who was placed has said so.
    ForgetsDebts,
    /// The breaker's entries are not kept.
    UncountedRemovals,
    /// One confirmation is taken for a yes to everything.
    OneYesForAll,
    /// What was not shown is written down as confirmed.
    ConfirmsMore,
    /// The breaker's budget is taken for endless.
    EndlessBudget,
    /// An operator writes another member's status.
    SpeaksForOthers,
    /// An operator writes into a user's spec.
    WritesUsersSpecs,
    /// Nothing is applied while another member's API server is away.
    StallsWithTheDead,
    /// What the last applies taught is not remembered over a restart.
    ForgetsItsApplies,
    /// What is only to be tried, for a plan, is done.
    CarriesOutPlans,
    /// A new revision is placed on members that are leaving, and on witnesses.
    GivesToLeavers,
    /// An output that is to go is said to be gone.
    SaysGoneAtOnce,
    /// A home ends its object for all, and no user asked for it.
    EndsByItself,
    /// A home's object is deleted while its life goes on.
    DeletesHomes,
    /// All waves of a rollout are opened at once.
    OpensAllWaves,
    /// The spec is changed in the control document, and nobody voted on it.
    WritesTheSpec,
    /// A page's header names whoever writes it.
    SeatsItself,
    /// No output is ever applied.
    AppliesNothing,
    /// What a member does in its own cluster goes on when it was taken out.
    ActsThoughRemoved,
    /// An end is carried out, whoever signed it.
    BelievesEveryEnd,
    /// What a member that leaves is to keep is taken away there.
    KeepsNothing,
    /// An output that is gone is made again.
    MakesWhatIsGone,
    /// Somebody's object that stands where an output is to be is deleted.
    ClearsTheWay,
    /// An operator writes to a topology server that went back.
    WritesThoughFrozen,
    /// The decision that a member is lost is not written.
    LosesNobody,
}

impl Sabotage {
    /// Every defect: its name, and the rules by which it is found.
    pub const ALL: [(&'static str, Sabotage, &'static [&'static str]); 37] = [
        (
            "indeterminate-is-committed",
            Sabotage::IndeterminateIsCommitted,
            &[rules::AGREED, rules::TRUTH, rules::RELEASE, rules::BEFORE],
        ),
        ("lost-update", Sabotage::LostUpdate, &[rules::RISES]),
        ("applies-unplaced", Sabotage::AppliesUnplaced, &[rules::AGREED]),
        ("computed-removal", Sabotage::ComputedRemoval, &[rules::GROUND, rules::WITHDRAWS]),
        ("hasty-withdrawal", Sabotage::HastyWithdrawal, &[rules::WITHDRAWS]),
        ("unfenced-removal", Sabotage::UnfencedRemoval, &[rules::GROUND]),
        ("cut-off-unnoticed", Sabotage::CutOffUnnoticed, &[rules::CUT_OFF]),
        ("deletes-by-name", Sabotage::DeletesByName, &[rules::FENCED]),
        ("deletes-strays", Sabotage::DeletesStrays, &[rules::GROUND, rules::CUT_OFF]),
        ("believes-stale-lists", Sabotage::BelievesStaleLists, &[rules::LEAVES]),
        ("believes-restored-homes", Sabotage::BelievesRestoredHomes, &[rules::EDITS]),
        ("finalizer-first", Sabotage::FinalizerFirst, &[rules::RELEASE]),
        ("forgets-debts", Sabotage::ForgetsDebts, &[rules::DEBTS]),
        ("uncounted-removals", Sabotage::UncountedRemovals, &[rules::BEFORE]),
        ("one-yes-for-all", Sabotage::OneYesForAll, &[rules::BEFORE]),
        ("confirms-more", Sabotage::ConfirmsMore, &[rules::CONFIRMS]),
        ("endless-budget", Sabotage::EndlessBudget, &[rules::WITHIN]),
        ("speaks-for-others", Sabotage::SpeaksForOthers, &[rules::SPEAKS]),
        ("writes-users-specs", Sabotage::WritesUsersSpecs, &[rules::USERS]),
        ("stalls-with-the-dead", Sabotage::StallsWithTheDead, &[rules::STALLS]),
        ("forgets-its-applies", Sabotage::ForgetsItsApplies, &[rules::SILENT]),
        ("carries-out-plans", Sabotage::CarriesOutPlans, &[rules::AGREED]),
        ("gives-to-leavers", Sabotage::GivesToLeavers, &[rules::TAKES_NOTHING]),
        ("says-gone-at-once", Sabotage::SaysGoneAtOnce, &[rules::GONE]),
        ("ends-by-itself", Sabotage::EndsByItself, &[rules::ENDS]),
        ("deletes-homes", Sabotage::DeletesHomes, &[rules::COPIES]),
        ("opens-all-waves", Sabotage::OpensAllWaves, &[rules::WAVES]),
        ("writes-the-spec", Sabotage::WritesTheSpec, &[rules::BALLOTS]),
        ("seats-itself", Sabotage::SeatsItself, &[rules::SEATS]),
        ("applies-nothing", Sabotage::AppliesNothing, &[rules::CONVERGES]),
        ("acts-though-removed", Sabotage::ActsThoughRemoved, &[rules::REMOVED]),
        ("believes-every-end", Sabotage::BelievesEveryEnd, &[rules::FORGED]),
        ("keeps-nothing", Sabotage::KeepsNothing, &[rules::KEEPS, rules::CONVERGES]),
        ("makes-what-is-gone", Sabotage::MakesWhatIsGone, &[rules::OWED]),
        ("clears-the-way", Sabotage::ClearsTheWay, &[rules::OURS]),
        ("writes-though-frozen", Sabotage::WritesThoughFrozen, &[rules::FREEZES]),
        ("loses-nobody", Sabotage::LosesNobody, &[rules::LOST]),
    ];
}

/// What a broken operator may look at: more than a sound one can, so that its defect shows.
pub(crate) struct Sight<'a> {
    pub store: &'a Store,
    pub member: &'a MemberName,
}

impl Sight<'_> {
    fn control(&self) -> Option<Control> {
        let found = self.store.get(keys::CONTROL)?;
        Control::from_slice(&Envelope::open(&found.value).ok()?.1).ok()
    }

    fn spec(&self) -> Option<FederationSpec> {
        self.control()?.spec().ok()
    }

    /// Whether another member says that it does not reach its API server.
    fn somebody_is_away(&self) -> bool {
        let members = self.spec().map(|spec| spec.members).unwrap_or_default();
        members.iter().filter(|other| other.name != *self.member).any(|other| {
            let found = self.store.get(&keys::cell(&other.name));
            let body = found.and_then(|found| Some(Envelope::open(&found.value).ok()?.1));
            let cell = body.and_then(|body| serde_json::from_slice::<MemberCell>(&body).ok());
            cell.is_some_and(|cell| !cell.api_server_ready)
        })
    }

    fn records(&self) -> Vec<(RecordKey, Arc<Record>)> {
        let pages = self.store.list(keys::PAGES).into_iter();
        let pages = pages.filter_map(|(_, found)| Page::from_slice(&Envelope::open(&found.value).ok()?.1).ok());
        pages
            .flat_map(|page| page.records)
            .filter_map(|(key, slot)| slot.record().map(|record| (key, Arc::clone(record))))
            .collect()
    }

    fn record(&self, key: &RecordKey) -> Option<Arc<Record>> {
        let number = key.page(self.control()?.pages);
        let found = self.store.get(&keys::page(number))?;
        let page = Page::from_slice(&Envelope::open(&found.value).ok()?.1).ok()?;
        page.record(key).cloned()
    }
}

/// A member's part in what people confirmed, in which a yes to something is one to everything that stands.
fn with_yes_to_all(body: &[u8], sight: &Sight<'_>) -> Option<Vec<u8>> {
    let mut confirmations: Confirmations = serde_json::from_slice(body).ok()?;
    for set in confirmations.sets.values_mut() {
        for (key, record) in sight.records() {
            set.removals.insert(key, Scope::end(record.incarnation));
        }
    }
    serde_json::to_vec(&confirmations).ok()
}

/// The control document with this change in its spec; `None` where there is nothing to change.
fn with_spec(mut control: Control, change: impl FnOnce(&mut FederationSpec) -> Option<()>) -> Option<Vec<u8>> {
    let mut spec = control.spec().ok()?;
    change(&mut spec)?;
    control.spec = serde_json::value::to_raw_value(&spec).ok()?.into();
    Some(control.to_vec())
}

/// A budget that nothing exceeds.
fn endless(spec: &mut FederationSpec) -> Option<()> {
    spec.safety.deletes.at_least = 1_000_000;
    Some(())
}

/// The same value with another body.
fn with_body(value: &Versioned, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Versioned> {
    let (envelope, body) = Envelope::open(&value.value).ok()?;
    Some(Versioned { version: value.version.clone(), value: envelope.seal(&change(&body)?) })
}
