//! What must hold in everything that ever stood in the topology server.
//!
//! - Nothing that was agreed is lost: the revision that a user was told of stands in the history with the content that
//!   the user was told of, and what stands there in the end is that one or a later one.
//! - No page has two writers: the decisions in a page come from one member in each term, who was appointed to it in
//!   this term; terms and starts never fall; and it is the appointee itself who writes its term into the page.
//! - No revision of a page, of the control document or of what a member says is given twice, or left out.

use super::store::History;
use anyhow::{Context, Result, bail, ensure};
use hansa_ballot::Control;
use hansa_ballot::appointments::Appointments;
use hansa_ledger::keys::{self, Key};
use hansa_ledger::{Envelope, Page};
use hansa_model::{Hash, Incarnation, MemberName, RecordKey, Revision, Term};
use std::collections::{BTreeMap, BTreeSet};

/// An edit that a user was told is agreed.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The object.
    pub key: RecordKey,
    /// The life that the revision counts in.
    pub incarnation: Incarnation,
    /// The revision that it became.
    pub revision: Revision,
    /// The hash of its content.
    pub hash: Hash,
}

/// What was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looked {
    /// How many values.
    pub values: usize,
    /// How many of them are pages'.
    pub pages: usize,
    /// How often a page came under another term.
    pub terms: usize,
    /// How many agreed edits.
    pub edits: usize,
}

/// Judges a history of a league whose keys stand below `prefix`.
///
/// # Errors
/// The first thing that does not hold, with its key.
pub fn judge(history: &History, prefix: &str, edits: &[Edit]) -> Result<Looked> {
    let mut looked = Looked { edits: edits.len(), ..Looked::default() };
    let mut appointed: BTreeSet<(u32, Term, MemberName)> = BTreeSet::new();
    let mut pages = BTreeMap::new();
    let mut count = 0;
    for (stored, values) in history {
        let key = stored.strip_prefix(prefix).with_context(|| format!("{stored}: not below {prefix}"))?;
        if !key.starts_with(keys::MEMBERS) && !key.starts_with(keys::PAGES) && key != keys::CONTROL {
            // What is named by its content, or agreed otherwise, has no revision.
            continue;
        }
        looked.values += values.len();
        let opened = values.iter().map(|value| Envelope::open(value)).collect::<Result<Vec<_>, _>>();
        let opened = opened.with_context(|| stored.clone())?;
        for pair in opened.windows(2) {
            let (before, after) = (&pair[0].0, &pair[1].0);
            ensure!(
                after.era == before.era && after.revision == before.revision.next(),
                "{key}: revision {} of era {} was followed by {} of {}",
                before.revision,
                before.era,
                after.revision,
                after.era
            );
        }
        match keys::parse(key) {
            Key::Control => {
                for (_, body) in &opened {
                    let control = Control::from_slice(body).context("the control document")?;
                    count = control.pages;
                    appointed.extend(control.ballots.iter().flat_map(|ballots| seats(&ballots.appointments)));
                }
            }
            Key::Page(number) => {
                let read = |(envelope, body): (Envelope, Vec<u8>)| Ok((envelope, Page::from_slice(&body)?));
                let versions = opened.into_iter().map(read).collect::<Result<Vec<_>>>();
                pages.insert(number, versions.with_context(|| key.to_owned())?);
            }
            _ => {}
        }
    }
    for (number, versions) in &pages {
        looked.pages += versions.len();
        for pair in versions.windows(2) {
            looked.terms += usize::from(judge_step(*number, &pair[0], &pair[1], &appointed)?);
        }
    }
    for edit in edits {
        let versions = pages.get(&edit.key.page(count)).with_context(|| format!("{}: it is in no page", edit.key))?;
        judge_edit(edit, versions.iter().map(|(_, page)| page))?;
    }
    Ok(looked)
}

/// Who was appointed to which page, in which term.
fn seats(appointments: &Appointments) -> Vec<(u32, Term, MemberName)> {
    let seats = appointments.pages.iter().flat_map(|run| std::iter::repeat_n(&run.seat, run.count as usize));
    (0..).zip(seats).filter_map(|(number, seat)| Some((number, seat.term, seat.member.clone()?))).collect()
}

/// Judges what followed a page's state; says whether it came under another term.
fn judge_step(
    number: u32,
    (before, standing): &(Envelope, Page),
    (after, page): &(Envelope, Page),
    appointed: &BTreeSet<(u32, Term, MemberName)>,
) -> Result<bool> {
    let at = || format!("page {number} at revision {}", after.revision);
    let (old, new) = (&standing.header, &page.header);
    ensure!(new.may_follow(old), "{}: {new:?} follows {old:?}", at());
    let mut writers = after.operations.iter().filter(|(writer, last)| before.operations.get(*writer) != Some(*last));
    let (Some((writer, _)), None) = (writers.next(), writers.next()) else {
        bail!("{}: it has not one writer: {:?} and then {:?}", at(), before.operations, after.operations)
    };
    if new == old {
        return Ok(false);
    }
    let Some(member) = &new.member else { bail!("{}: a term without a member: {new:?}", at()) };
    ensure!(member == writer, "{}: {writer} wrote a decision of {member}", at());
    let seat = (number, new.term, member.clone());
    ensure!(appointed.contains(&seat), "{}: {member} decided, and was never appointed for term {}", at(), new.term);
    Ok(new.term > old.term)
}

/// Judges whether an agreed edit stands in a page's history, and was followed by later ones alone.
fn judge_edit<'p>(edit: &Edit, versions: impl Iterator<Item = &'p Page>) -> Result<()> {
    let Edit { key, incarnation, revision, hash } = edit;
    let told = || format!("{key} was agreed at revision {revision} of life {incarnation}");
    let mut found = false;
    for page in versions {
        let Some(record) = page.record(key) else {
            ensure!(!found, "{}, and is gone", told());
            continue;
        };
        let stands = (record.incarnation, record.revision);
        ensure!(!found || stands >= (*incarnation, *revision), "{}, and was followed by {stands:?}", told());
        if stands == (*incarnation, *revision) {
            found = true;
            ensure!(record.intent.hash == *hash, "{}, and another content stands there under it", told());
        }
    }
    ensure!(found, "{}, and never stood in its page", told());
    Ok(())
}

#[cfg(test)]
mod tests;
