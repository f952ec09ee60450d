//! Who voted what, who is missing, and what it would take: data for `hansa ballot ls`, `show`, `watch`
//! and `explain`, and for whoever waits and has to say on whom.

use crate::barriers::{self, Waiting};
use crate::candidate::{Outcome, Rule};
use crate::decide::{Count, Tally, live, suspected, tally};
use crate::document::Ballots;
use crate::era::names;
use crate::key::{Epoch, Key};
use crate::rejected::{Fault, Rejected};
use crate::signing::Verifier;
use hansa_model::{Era, Hash, LeagueId, MemberName, Term};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How much of a value is shown, in characters.
const SHOWN: usize = 60;

/// The whole agreement at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The era.
    pub era: Era,
    /// How it began, when it is not the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Began>,
    /// The epoch of the last candidate.
    pub epoch: Epoch,
    /// The feature level.
    pub feature: u32,
    /// How many votes make a quorum.
    pub quorum: u32,
    /// The epoch of the voters.
    pub voters_epoch: Epoch,
    /// Each voter.
    pub voters: BTreeMap<MemberName, VoterView>,
    /// The open candidates.
    pub open: Vec<Ballot>,
    /// What was decided, the latest first.
    pub decided: Vec<Decided>,
    /// Barriers that do not open yet.
    pub barriers: BTreeMap<Key, Waiting>,
    /// Requests to join that wait for a member's candidate.
    pub joins: BTreeSet<MemberName>,
    /// What does not count, and why.
    pub rejected: Vec<Rejected>,
}

/// How an era began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Began {
    /// Who signed for it; `None`: nobody, for this league knew no keys of people.
    pub by: Option<String>,
    /// Who was taken out of the voters.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub discarded: BTreeSet<MemberName>,
}

/// How the era began, when it is not the first.
pub fn began(ballots: &Ballots) -> Option<Began> {
    let force = ballots.force();
    let began = || Began {
        by: force.map(|force| force.by.clone()),
        discarded: force.map(|force| force.discarded.clone()).unwrap_or_default(),
    };
    (ballots.era > Era(1)).then(began)
}

impl fmt::Display for Began {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some(by) => write!(f, "signed by {by}")?,
            None => f.write_str("unsigned, by whoever administers the topology server")?,
        }
        if self.discarded.is_empty() { Ok(()) } else { write!(f, ", without {}", names(self.discarded.iter())) }
    }
}

/// One voter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoterView {
    /// How it is.
    pub state: State,
    /// It only votes.
    pub witness: bool,
    /// Who suspects it.
    pub suspected_by: BTreeSet<MemberName>,
    /// The highest feature level that it speaks; 0 when it has not said.
    pub speaks: u32,
    /// How many pages it is appointed to.
    pub pages: u32,
}

/// How a voter is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// At work, as far as a quorum knows.
    Live,
    /// A quorum suspects it: its seats are with others.
    Suspected,
    /// It was voted lost.
    Lost,
    /// Its cell does not count.
    Unheard,
}

/// An open candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ballot {
    /// What it is about.
    pub key: Key,
    /// Its number.
    pub epoch: Epoch,
    /// Who made it.
    pub proposer: MemberName,
    /// What it needs.
    pub rule: Rule,
    /// The value, shortened.
    pub value: String,
    /// The hash of the whole value.
    pub hash: Hash,
    /// Who said yes.
    pub yes: BTreeSet<MemberName>,
    /// Who said no, and why.
    pub no: BTreeMap<MemberName, Option<String>>,
    /// Who cannot vote on it.
    pub abstained: BTreeSet<MemberName>,
    /// Who has not voted, and how it is.
    pub missing: BTreeMap<MemberName, State>,
    /// What it would take.
    pub takes: Takes,
}

/// What would close a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Takes {
    /// So many more yes adopt it; `None`: none can.
    pub yes: Option<u32>,
    /// So many more no reject it.
    pub no: u32,
    /// Out of these.
    pub of: BTreeSet<MemberName>,
}

/// A decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// What it is about.
    pub key: Key,
    /// Its number.
    pub epoch: Epoch,
    /// The era that it was made in.
    pub era: Era,
    /// How it was closed.
    pub outcome: Outcome,
    /// Who made the candidate.
    pub proposer: MemberName,
    /// The value, shortened, when the decision keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whose votes made it.
    pub certificate: BTreeSet<MemberName>,
    /// Why it was voted down.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<MemberName, String>,
}

/// The whole agreement at a glance.
pub fn overview(ballots: &Ballots, league: LeagueId, verifier: &Verifier) -> Overview {
    let tally = tally(ballots, league, verifier);
    let live = live(ballots, &tally.cells);
    let barriers = ballots
        .barriers
        .iter()
        .filter_map(|(key, barrier)| Some((key.clone(), barriers::waiting(key, barrier, &tally.cells, &live)?)));
    let decisions = ballots.decisions.iter().chain(&ballots.refused);
    let mut decided: Vec<Decided> = decisions
        .map(|(key, decision)| Decided {
            key: key.clone(),
            epoch: decision.epoch,
            era: decision.era,
            outcome: decision.outcome,
            proposer: decision.proposer.clone(),
            value: decision.value.as_ref().map(|value| shorten(value.get())),
            certificate: decision.certificate.keys().cloned().collect(),
            reasons: decision.reasons.clone(),
        })
        .collect();
    decided.sort_by_key(|decision| std::cmp::Reverse(decision.epoch));
    Overview {
        era: ballots.era,
        began: began(ballots),
        epoch: ballots.epoch,
        feature: ballots.feature,
        quorum: ballots.voters.quorum,
        voters_epoch: ballots.voters.epoch,
        voters: voters(ballots, &tally),
        open: ballots.open.keys().filter_map(|key| ballot(ballots, &tally, key)).collect(),
        decided,
        barriers: barriers.collect(),
        joins: ballots.joins.keys().cloned().collect(),
        rejected: tally.rejected,
    }
}

fn voters(ballots: &Ballots, tally: &Tally<'_>) -> BTreeMap<MemberName, VoterView> {
    let mut pages: BTreeMap<&MemberName, u32> = BTreeMap::new();
    for run in &ballots.appointments.pages {
        if let Some(member) = &run.seat.member {
            *pages.entry(member).or_default() += run.count;
        }
    }
    let states = states(ballots, tally);
    let view = |(name, voter): (&MemberName, &crate::voters::Voter)| {
        let suspects = tally.cells.iter().filter(|(by, cell)| **by != name && cell.suspects.contains(name));
        let view = VoterView {
            state: states[name],
            witness: voter.witness,
            suspected_by: suspects.map(|(by, _)| (*by).clone()).collect(),
            speaks: tally.cells.get(name).map_or(0, |cell| cell.speaks),
            pages: pages.get(name).copied().unwrap_or_default(),
        };
        (name.clone(), view)
    };
    ballots.voters.set.iter().map(view).collect()
}

fn states(ballots: &Ballots, tally: &Tally<'_>) -> BTreeMap<MemberName, State> {
    let suspected = suspected(ballots, &tally.cells);
    let state = |name: &MemberName| {
        if ballots.lost.contains_key(name) {
            State::Lost
        } else if suspected.contains(name) {
            State::Suspected
        } else if ballots.cells.contains_key(name) && !tally.cells.contains_key(name) {
            State::Unheard
        } else {
            State::Live
        }
    };
    ballots.voters.set.keys().map(|name| (name.clone(), state(name))).collect()
}

/// The open candidate of a key: who voted what, who is missing, what it would take.
pub fn ballot(ballots: &Ballots, tally: &Tally<'_>, key: &Key) -> Option<Ballot> {
    let candidate = ballots.open.get(key)?;
    let empty = Count::default();
    let count = tally.counts.get(key).unwrap_or(&empty);
    let no = count.no.iter().map(|(name, (_, reason))| (name.clone(), reason.clone()));
    let mut missing = states(ballots, tally);
    missing.retain(|name, _| {
        !count.yes.contains_key(name) && !count.no.contains_key(name) && !count.abstained.contains(name)
    });
    Some(Ballot {
        key: key.clone(),
        epoch: candidate.epoch,
        proposer: candidate.proposer.clone(),
        rule: candidate.rule,
        value: shorten(candidate.value.get()),
        hash: candidate.hash,
        yes: count.yes.keys().cloned().collect(),
        no: no.collect(),
        abstained: count.abstained.clone(),
        takes: takes(ballots, candidate.rule, count, &missing),
        missing,
    })
}

fn takes(ballots: &Ballots, rule: Rule, count: &Count, missing: &BTreeMap<MemberName, State>) -> Takes {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (quorum, all) = (ballots.voters.quorum, number(ballots.voters.set.len()));
    let to_quorum = quorum.saturating_sub(number(count.yes.len()));
    match rule {
        Rule::Quorum => {
            let to_reject = (all - quorum + 1).saturating_sub(number(count.no.len()));
            let can = to_quorum <= number(missing.len());
            Takes { yes: can.then_some(to_quorum), no: to_reject, of: missing.keys().cloned().collect() }
        }
        Rule::All => {
            let of: BTreeSet<MemberName> =
                missing.iter().filter(|(_, state)| **state != State::Lost).map(|(name, _)| name.clone()).collect();
            let lost_are_needed = to_quorum.saturating_sub(number(of.len()));
            let yes = number(of.len()) + lost_are_needed;
            Takes { yes: (lost_are_needed == 0).then_some(yes), no: 1, of }
        }
    }
}

/// What happened between two documents, for `hansa ballot watch`; one line each. What does not count is
/// left out.
pub fn news(before: &Ballots, after: &Ballots, league: LeagueId, verifier: &Verifier) -> Vec<String> {
    let mut lines = Vec::new();
    if after.era != before.era {
        let how = began(after).map(|began| format!(", {began}")).unwrap_or_default();
        lines.push(format!("era {} begins{how}", after.era));
    }
    for (key, candidate) in &after.open {
        if before.open.get(key).is_none_or(|known| known.epoch != candidate.epoch) {
            let value = shorten(candidate.value.get());
            lines.push(format!("{key} #{}: {} proposes {value}", candidate.epoch, candidate.proposer));
        }
    }
    for (member, cell) in tally(after, league, verifier).cells {
        let known = before.cells.get(member).and_then(|known| known.cell().ok());
        for (key, vote) in &cell.votes {
            if known.is_none_or(|known| known.votes.get(key) != Some(vote)) {
                let reason = vote.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                lines.push(format!("{key} #{}: {member} votes {}{reason}", vote.epoch, word(vote.verdict)));
            }
        }
        for suspect in cell.suspects.iter().filter(|name| known.is_none_or(|known| !known.suspects.contains(*name))) {
            lines.push(format!("{member} suspects {suspect}"));
        }
    }
    for (key, decision) in after.decisions.iter().chain(&after.refused) {
        if decision.epoch > before.decided(key) {
            lines.push(format!("{key} #{}: {}", decision.epoch, outcome(decision.outcome)));
        }
    }
    for (key, barrier) in &after.barriers {
        if before.barriers.get(key).map_or(0, |known| known.open) < barrier.open {
            lines.push(format!("{key}: phase {} is open", barrier.open));
        }
    }
    for (key, claim) in &after.appointments.claims {
        let known = before.appointments.claims.get(key).map_or(Term(0), |known| known.term);
        if let Some(member) = claim.member.as_ref().filter(|_| claim.term > known) {
            lines.push(format!("{key}: {member} is appointed, term {}", claim.term));
        }
    }
    lines
}

fn word(verdict: crate::Verdict) -> &'static str {
    match verdict {
        crate::Verdict::Yes => "yes",
        crate::Verdict::No => "no",
        crate::Verdict::Withdrawn => "to withdraw it",
        crate::Verdict::Abstained => "neither",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Adopted => "adopted",
        Outcome::Rejected => "rejected",
        Outcome::Superseded => "superseded",
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a MemberName>) -> String {
    let names: Vec<&str> = names.into_iter().map(MemberName::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} #{}: {} proposes {}", self.key, self.epoch, self.proposer, self.value)?;
        writeln!(f, "  yes      {}", list(&self.yes))?;
        for (name, reason) in &self.no {
            writeln!(f, "  no       {name}{}", reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default())?;
        }
        if !self.abstained.is_empty() {
            writeln!(
                f,
                "  neither  {}: what they said before may have been counted in a lost history",
                list(&self.abstained)
            )?;
        }
        for (name, state) in &self.missing {
            let state = match state {
                State::Live => "",
                State::Suspected => " (suspected)",
                State::Lost => " (lost)",
                State::Unheard => " (its cell does not count)",
            };
            writeln!(f, "  missing  {name}{state}")?;
        }
        let Takes { yes, no, of } = &self.takes;
        match yes {
            Some(yes) => write!(f, "  adopted with {yes} more yes of {}; rejected with {no} more no", list(of)),
            None => write!(f, "  it cannot be adopted any more; rejected with {no} more no of {}", list(of)),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for {} of {}", self.missing, list(self.on.keys().chain(&self.elsewhere)))
    }
}

/// What a member that writes here should be told about its cell; `None` when it counts.
pub fn standing_of(tally: &Tally<'_>, member: &MemberName) -> Option<Fault> {
    tally.rejected.iter().find(|rejected| rejected.who == *member).map(|rejected| rejected.why.clone())
}
