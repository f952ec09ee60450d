//! Writes to the topology server.

use super::rules::{BALLOTS, EDITS, RISES, SEATS, SILENT, SPEAKS, TAKES_NOTHING, WITHDRAWS};
use super::{Agreed, Judge, Violation};
use crate::kinds::home_path;
use crate::member::Member;
use crate::reached::Hazard;
use crate::users::Users;
use crate::users::acts::TAKE_HOME;
use hansa_ballot::audit::audit;
use hansa_ballot::{Ballots, Control, Key as BallotKey, Outcome};
use hansa_ledger::cell::{Health, MemberCell, State, StatusCell};
use hansa_ledger::confirmation::Confirmations;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::record::{Body, PlacedState};
use hansa_ledger::{Envelope, Page, Record, Slot, Versioned};
use hansa_model::{Era, FederatedSpec, Hash, MemberName, RecordKey};
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) fn open_page(value: &[u8]) -> Result<Page, String> {
    let (_, body) = Envelope::open(value).map_err(|error| error.to_string())?;
    Page::from_slice(&body).map_err(|error| error.to_string())
}

impl Judge {
    /// A write was committed. Returns what it changed, for the story.
    ///
    /// # Errors
    /// When it may not stand.
    pub fn committed(
        &mut self,
        now: u64,
        writer: &mut Member,
        key: &str,
        before: Option<&Versioned>,
        value: &[u8],
        users: &Users,
    ) -> Result<String, Violation> {
        let unreadable = |error: String| Violation::new("what is written reads back", format!("{key}: {error}"));
        let (envelope, body) = Envelope::open(value).map_err(|error| unreadable(error.to_string()))?;
        if let Some(before) = before {
            let (old, _) = Envelope::open_header(&before.value).map_err(|error| unreadable(error.to_string()))?;
            // What was restored bears lower numbers than what was lost, and the next one passes those.
            let follows = match self.went_back {
                false => envelope.revision == old.revision.next() && envelope.era == old.era,
                true => envelope.revision > old.revision && envelope.era >= old.era && envelope.era <= self.era,
            };
            if !follows || envelope.league != old.league {
                let what =
                    format!("{key}: revision {} of era {} follows {}", envelope.revision, envelope.era, old.revision);
                return Err(Violation::new(RISES, what));
            }
        }
        let name = writer.name.clone();
        if self.silent && !matches!(keys::parse(key), Key::Cell(_)) {
            return Err(Violation::new(SILENT, format!("{name} writes {key} after a restart")));
        }
        match keys::parse(key) {
            Key::Control => {
                let control = Control::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
                self.league = Some(envelope.league);
                self.turn_control(&name, control)
            }
            Key::Page(number) => {
                let page = Page::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
                self.turn_page(now, writer, number, page, users)
            }
            Key::Cell(member) if member == name => {
                let cell: MemberCell = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
                self.turn_cell(&member, &cell)
            }
            Key::Confirmations(member) if member == name => {
                let written: Confirmations =
                    serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
                self.turn_confirmations(&member, &written, users)
            }
            Key::Status(member, page) if member == name => {
                let cell: StatusCell = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
                for (key, status) in &cell.records {
                    if status.state == State::Applied && matches!(status.health, Health::Healthy | Health::Unknown) {
                        self.applied.insert((key.clone(), status.incarnation, status.revision, member.clone()));
                    }
                }
                let said: Vec<String> = cell
                    .records
                    .iter()
                    .filter(|(key, status)| {
                        let before = self.statuses.get(&(member.clone(), page));
                        before.and_then(|cell| cell.records.get(*key)) != Some(*status)
                    })
                    .map(|(key, status)| {
                        format!(
                            "{key} life {} revision {}: {:?} {}",
                            status.incarnation, status.revision, status.state, status.message
                        )
                    })
                    .collect();
                self.statuses.insert((member, page), cell);
                Ok(if said.is_empty() { String::new() } else { format!(" | {}", said.join("; ")) })
            }
            Key::Plan(_) => Ok(String::new()),
            Key::PlanWords(_, member) if member == name => {
                self.reached.count(Hazard::PlanAnswered);
                Ok(String::new())
            }
            Key::Cell(_) | Key::Confirmations(_) | Key::Status(..) | Key::PlanWords(..) => {
                Err(Violation::new(SPEAKS, format!("{name} writes {key}")))
            }
            Key::Other => Ok(String::new()),
        }
    }

    fn turn_control(&mut self, writer: &MemberName, control: Control) -> Result<String, Violation> {
        let edited = self.control.as_ref().is_none_or(|before| before.generation != control.generation);
        if let Some(before) = &self.control {
            let next = if edited { before.generation.next() } else { before.generation };
            if control.generation != next {
                let what = format!("generation {} of the spec follows {}", control.generation, before.generation);
                return Err(Violation::new(RISES, what));
            }
            if !edited && before.spec.get() != control.spec.get() {
                return Err(Violation::new(RISES, "another spec under the same generation"));
            }
        }
        self.judge_ballots(writer, &control, edited)?;
        let spec = control.spec().map_err(|error| Violation::new("what is agreed reads back", error.to_string()))?;
        let mut told = format!(" | generation {}", control.generation);
        for run in control.ballots.iter().flat_map(|ballots| &ballots.appointments.pages) {
            let holder = run.seat.member.as_ref().map_or("nobody", |member| member.as_str());
            told += &format!(" {}x {holder}@{}", run.count, run.seat.term);
        }
        if edited {
            self.specs.push(spec);
        }
        self.control = Some(control);
        Ok(told)
    }

    /// Judges the ballots by the audit, which shares no code with the deciding: and a new spec by the
    /// certificate of its decision. The first spec has none: it is its founder's.
    fn judge_ballots(&mut self, writer: &MemberName, control: &Control, edited: bool) -> Result<(), Violation> {
        let ballots = control.ballots.as_ref().ok_or_else(|| Violation::new(BALLOTS, "the league has no ballots"))?;
        self.take_seats(ballots)?;
        let Some(before) = &self.control else {
            let founds = control.home.member == *writer;
            return if founds {
                Ok(())
            } else {
                Err(Violation::new(SPEAKS, format!("{writer} founds the league of {}", control.home.member)))
            };
        };
        let (Some(known), Some(league)) = (&before.ballots, self.league) else { return Ok(()) };
        let audit = audit(known, ballots, league, &self.verifier);
        if let Some(breach) = audit.breaches.first() {
            return Err(Violation::new(BALLOTS, breach.to_string()));
        }
        let own = (known.cells.get(writer), ballots.cells.get(writer));
        if own.0 != own.1 && ballots.voters.set.get(writer).is_some_and(|voter| voter.witness) {
            self.reached.count(Hazard::WitnessVoted);
        }
        if self.went_back && self.era > Era(1) && known.cells != ballots.cells {
            self.reached.count(Hazard::VotedInALaterEra);
        }
        let mut others =
            ballots.cells.iter().filter(|(name, slot)| *name != writer && known.cells.get(*name) != Some(*slot));
        if let Some((name, _)) = others.find(|(name, _)| known.cells.contains_key(*name)) {
            return Err(Violation::new(SPEAKS, format!("{writer} writes the cell of {name}")));
        }
        if edited {
            let decision = ballots.decision(&BallotKey::spec(), known.decided(&BallotKey::spec()));
            if decision.is_none_or(|decision| decision.outcome != Outcome::Adopted) {
                return Err(Violation::new(BALLOTS, format!("{writer} changes the spec without a decision")));
            }
        }
        Ok(())
    }

    /// Who is appointed to which page from now on.
    pub(super) fn take_seats(&mut self, ballots: &Ballots) -> Result<(), Violation> {
        let mut page = 0;
        for run in &ballots.appointments.pages {
            for number in page..page + run.count {
                let Some(member) = &run.seat.member else { continue };
                if ballots.voters.set.get(member).is_some_and(|voter| voter.witness) {
                    return Err(Violation::new(TAKES_NOTHING, format!("page {number} is {member}'s, a witness")));
                }
                let appointee = self.seats.entry((number, run.seat.term)).or_insert_with(|| member.clone());
                if appointee != member {
                    let what = format!("page {number} in term {}: {member}, and {appointee} before", run.seat.term);
                    return Err(Violation::new(SEATS, what));
                }
            }
            page += run.count;
        }
        Ok(())
    }

    fn turn_page(
        &mut self,
        now: u64,
        writer: &mut Member,
        number: u32,
        page: Page,
        users: &Users,
    ) -> Result<String, Violation> {
        let before = self.pages.get(&number).cloned().unwrap_or_else(Page::empty);
        let mut told = String::new();
        if page.header.term < before.header.term {
            return Err(Violation::new(
                RISES,
                format!("page {number}: term {} after {}", page.header.term, before.header.term),
            ));
        }
        let keys: BTreeSet<&RecordKey> = before.records.keys().chain(page.records.keys()).collect();
        // What is decided about a record may be overtaken by an edit in the same write.
        let (mut decided, mut edited) = (false, false);
        for key in keys {
            let old = before.records.get(key).and_then(Slot::record);
            let new = page.records.get(key).and_then(Slot::record);
            if let (Some(old), Some(new)) = (old, new)
                && old.says_the_same(new)
            {
                continue;
            }
            if key.page(self.count) != number {
                return Err(Violation::at(
                    "a record lies in its page",
                    key,
                    format!("it was written to page {number}"),
                ));
            }
            match (old, new) {
                (old, Some(new)) => {
                    told.push_str(&format!(" | {key}: {}", brief(new)));
                    match old {
                        Some(old) if old.incarnation == new.incarnation => {
                            edited |= old.revision != new.revision;
                            decided |= self.lives_on(now, writer, key, (old, &before), (new, &page), users)?;
                        }
                        Some(old) if let Some(old) = self.resumed(key, old, new) => {
                            edited = true;
                            decided |= self.lives_on(now, writer, key, (&old, &before), (new, &page), users)?;
                        }
                        _ => self.is_born(now, writer, key, old.map(|old| &**old), new, users)?,
                    }
                    let name = &writer.name;
                    decided |= self.opens(name, key, (old.map(|old| &**old), &before), (new, &page))?;
                    self.is_said_after_all(now, writer, key, new);
                    self.keep_agreed(key, new)?;
                }
                (Some(old), None) => {
                    told.push_str(&format!(" | {key}: life {} is over", old.incarnation));
                    self.is_over(now, writer, key, old, users)?;
                }
                (None, None) => {}
            }
        }
        if page.header != before.header && self.seats.get(&(number, page.header.term)) != page.header.member.as_ref() {
            let what = format!("page {number}: {:?} decides in term {}", page.header.member, page.header.term);
            return Err(Violation::new(SEATS, what));
        }
        if page.header != before.header && !decided && !edited {
            return Err(Violation::new(WITHDRAWS, format!("page {number}: its header changes without a decision")));
        }
        self.pages.insert(number, page);
        Ok(told)
    }

    /// What was forged is a user's word once a user says the same.
    fn is_said_after_all(&mut self, now: u64, writer: &mut Member, key: &RecordKey, record: &Record) {
        if record.intent.author != writer.name || !self.forged_intents.contains(&super::intent_of(key, record)) {
            return;
        }
        let Some(home) = writer.look(now, &home_path(key)) else { return };
        let takes_home = home["metadata"]["annotations"][TAKE_HOME] == record.revision.to_string();
        if takes_home && Hash::of(&home["spec"]) == record.intent.hash {
            self.forged_intents.remove(&super::intent_of(key, record));
        }
    }

    fn keep_agreed(&mut self, key: &RecordKey, record: &Record) -> Result<(), Violation> {
        let entry = (key.clone(), record.incarnation, record.revision);
        if self.forged_intents.contains(&super::intent_of(key, record)) {
            return Ok(());
        }
        if let Body::Inline(raw) = &record.intent.body
            && serde_json::from_str::<Value>(raw.get()).ok().map(|body| Hash::of(&body)) != Some(record.intent.hash)
        {
            return Err(Violation::at(EDITS, key, "its hash is not that of what it holds".to_owned()));
        }
        // What was lost with what the topology server was may have borne the same number.
        if self.went_back && self.agreed.get(&entry).is_some_and(|known| known.hash != record.intent.hash) {
            self.lose(key, |life, revision| (life, revision) == (record.incarnation, record.revision));
        }
        let opened = self.opened.entry(entry.clone()).or_default();
        *opened = (*opened).max(record.open_wave());
        let agreed = self.agreed.entry(entry).or_insert_with(|| Agreed {
            spec: spec_of(record),
            hash: record.intent.hash,
            placed: BTreeSet::new(),
        });
        agreed.placed.extend(record.placed_members().cloned());
        let life = self.lives.entry(key.clone()).or_default();
        *life = (*life).max(record.incarnation);
        Ok(())
    }
}

pub(crate) fn spec_of(record: &Record) -> Option<FederatedSpec> {
    match &record.intent.body {
        Body::Inline(raw) => serde_json::from_str(raw.get()).ok(),
        Body::Blob(_) => None,
    }
}

/// A record in a few words.
pub(super) fn brief(record: &Record) -> String {
    let homes: Vec<&str> = record.homes.keys().map(MemberName::as_str).collect();
    let placed: Vec<String> = record
        .placed
        .iter()
        .map(|(member, placed)| match placed.state {
            PlacedState::Placed => member.to_string(),
            PlacedState::Withdrawing => format!("{member}(withdrawing)"),
            PlacedState::Gone => format!("{member}(gone)"),
        })
        .collect();
    let mut text = format!(
        "life {} revision {} homes [{}] placed [{}]",
        record.incarnation,
        record.revision,
        homes.join(" "),
        placed.join(" ")
    );
    if let Some(to) = &record.moving {
        text.push_str(&format!(" moving to {to}"));
    }
    if let Some(tombstone) = &record.tombstone {
        text.push_str(&format!(" ended by {} ({:?})", tombstone.author, tombstone.policy));
    }
    text
}
