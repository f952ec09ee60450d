//! What a storm reached: the hazards of `docs/hazards.md` that can happen in a simulated league,
//! counted, so that a rule that holds is known to have been put to the test.

use std::collections::BTreeMap;

/// A hazard that was met. The names stand in `docs/hazards.md` after `storm: `.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hazard {
    /// Placement selects a member no more, and its withdrawal was decided.
    PlacementMoved,
    /// A home that is older than what was agreed from it asks.
    StaleHome,
    /// Two homes say different things, and it is shown.
    HomesConflict,
    /// A home went with its namespace or its CRD, and the intent stayed.
    HomeLeftByAccident,
    /// More was to be removed than the budget lets go, and people were asked.
    RemovalsHeld,
    /// A name began another life while members still owed the one before.
    NameReborn,
    /// A write whose answer was lost landed later.
    WriteLandedLate,
    /// An appointee of an earlier term wrote to a page that had a later one.
    TermOvertaken,
    /// A write reached the API server from a process that did not hold the Lease any more.
    TwinWrote,
    /// A process that does not hold the Lease went on while a federated object was being deleted.
    TwinSawDeparture,
    /// A process that does not hold the Lease said something of outputs.
    TwinSpoke,
    /// A process that was stopped went on, and was told only then of what had happened to objects meanwhile.
    ToldLate,
    /// A start of an operator let something go within the window of what another start of it had let go.
    BudgetOfTwoStarts,
    /// Two homes of one object were being deleted at once.
    HomesDeletedTogether,
    /// A life ended while its home was to move.
    EndedWhileMoving,
    /// An output was applied by an operator that is cut off from the topology server.
    AppliedCutOff,
    /// An output stood without a record, or without a place in it.
    StrayStood,
    /// A member's operator was dead for long, and the others came to what was agreed.
    MemberDead,
    /// A member that stayed dead was voted lost, and taken back when it was.
    MemberVotedLost,
    /// Everyone started anew, and nothing was written.
    RestartedInSilence,
    /// Somebody else held a field that was to be applied.
    FieldHeldByAnother,
    /// An update met an object that was replaced meanwhile, or a new one where none was.
    ApplyMetAnother,
    /// A deletion met another state than the one that was seen.
    DeleteMetAnother,
    /// A kind was not served when it was needed.
    KindNotServed,
    /// A namespace was not there when it was needed.
    NamespaceMissing,
    /// A watch had expired, and was listed anew.
    WatchExpired,
    /// A word that was nobody's stood in a record, was refused, and was made good by a home.
    WordForged,
    /// The topology server went back to an earlier state without a word.
    StoreWentBack,
    /// An operator saw that, and changed nothing until somebody said what counts.
    HistoryDoubted,
    /// A person raised the era on what stood there.
    EraRaised,
    /// The topology server was restored from a backup under a higher era.
    StoreRestored,
    /// A vote was cast in a later era, after the topology server had gone back.
    VotedInALaterEra,
    /// A leaving member had nothing left, and was taken out.
    MemberLeft,
    /// A leaving member took Hansa's marks off an output that it keeps.
    OutputsKept,
    /// A witness cast a vote.
    WitnessVoted,
    /// A later wave of a rollout was opened.
    WaveOpened,
    /// A home that is ahead of its record asks.
    HomeAhead,
    /// An answer showed an earlier state than was seen, for it had come late.
    AnswerOutOfOrder,
    /// A tool made an object again that was deleted.
    MadeAgainByATool,
    /// A member answered a plan.
    PlanAnswered,
    /// Somebody meddled with an output, and it was repaired.
    DriftRepaired,
    /// An object that Hansa did not make was adopted.
    Adopted,
}

impl Hazard {
    /// Every hazard with its name, in the order of the page.
    pub const ALL: [(Hazard, &'static str); 42] = [
        (Hazard::PlacementMoved, "placement-moved"),
        (Hazard::StaleHome, "stale-home"),
        (Hazard::HomesConflict, "homes-conflict"),
        (Hazard::HomeLeftByAccident, "home-left-by-accident"),
        (Hazard::RemovalsHeld, "removals-held"),
        (Hazard::NameReborn, "name-reborn"),
        (Hazard::WriteLandedLate, "write-landed-late"),
        (Hazard::TermOvertaken, "term-overtaken"),
        (Hazard::TwinWrote, "twin-wrote"),
        (Hazard::TwinSawDeparture, "twin-saw-departure"),
        (Hazard::TwinSpoke, "twin-spoke"),
        (Hazard::ToldLate, "told-late"),
        (Hazard::BudgetOfTwoStarts, "budget-of-two-starts"),
        (Hazard::HomesDeletedTogether, "homes-deleted-together"),
        (Hazard::EndedWhileMoving, "ended-while-moving"),
        (Hazard::AppliedCutOff, "applied-cut-off"),
        (Hazard::StrayStood, "stray-stood"),
        (Hazard::MemberDead, "member-dead"),
        (Hazard::MemberVotedLost, "member-voted-lost"),
        (Hazard::RestartedInSilence, "restarted-in-silence"),
        (Hazard::FieldHeldByAnother, "field-held-by-another"),
        (Hazard::ApplyMetAnother, "apply-met-another"),
        (Hazard::DeleteMetAnother, "delete-met-another"),
        (Hazard::KindNotServed, "kind-not-served"),
        (Hazard::NamespaceMissing, "namespace-missing"),
        (Hazard::WatchExpired, "watch-expired"),
        (Hazard::WordForged, "word-forged"),
        (Hazard::StoreWentBack, "store-went-back"),
        (Hazard::HistoryDoubted, "history-doubted"),
        (Hazard::EraRaised, "era-raised"),
        (Hazard::StoreRestored, "store-restored"),
        (Hazard::VotedInALaterEra, "voted-in-a-later-era"),
        (Hazard::MemberLeft, "member-left"),
        (Hazard::OutputsKept, "outputs-kept"),
        (Hazard::WitnessVoted, "witness-voted"),
        (Hazard::WaveOpened, "wave-opened"),
        (Hazard::HomeAhead, "home-ahead"),
        (Hazard::AnswerOutOfOrder, "answer-out-of-order"),
        (Hazard::MadeAgainByATool, "made-again-by-a-tool"),
        (Hazard::PlanAnswered, "plan-answered"),
        (Hazard::DriftRepaired, "drift-repaired"),
        (Hazard::Adopted, "adopted"),
    ];
}

/// How often each hazard was met.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reached(BTreeMap<Hazard, u64>);

impl Reached {
    /// A hazard is met once more.
    pub fn count(&mut self, hazard: Hazard) {
        *self.0.entry(hazard).or_default() += 1;
    }

    /// Adds what another story met.
    pub fn add(&mut self, other: &Reached) {
        for (hazard, times) in &other.0 {
            *self.0.entry(*hazard).or_default() += times;
        }
    }

    /// Counts a story in which some hazards were met: each of them once.
    pub fn add_story(&mut self, story: &Reached) {
        for hazard in story.0.keys() {
            self.count(*hazard);
        }
    }

    /// How often a hazard was met.
    pub fn times(&self, hazard: Hazard) -> u64 {
        self.0.get(&hazard).copied().unwrap_or_default()
    }

    /// The names of those that were never met.
    pub fn missing(&self) -> Vec<&'static str> {
        Hazard::ALL.iter().filter(|(hazard, _)| self.times(*hazard) == 0).map(|(_, name)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_hazard_stands_on_the_page_and_has_a_name_of_its_own() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/hazards.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let missing: Vec<&str> = Hazard::ALL
            .iter()
            .map(|(_, name)| *name)
            .filter(|name| !page.contains(&format!("`storm: {name}`")))
            .collect();
        assert!(missing.is_empty(), "docs/hazards.md does not say where these belong: {}", missing.join(", "));
        let hazards: BTreeSet<Hazard> = Hazard::ALL.iter().map(|(hazard, _)| *hazard).collect();
        let names: BTreeSet<&str> = Hazard::ALL.iter().map(|(_, name)| *name).collect();
        assert_eq!((hazards.len(), names.len()), (Hazard::ALL.len(), Hazard::ALL.len()));
    }
}
