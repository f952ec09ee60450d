//! The lives of records: which changes of one may stand.

use super::pages::spec_of;
use super::rules::{DEBTS, EDITS, ENDS, GONE, LEAVES, RISES, SPEAKS, WITHDRAWS};
use super::{Judge, Violation};
use crate::member::Member;
use crate::reached::Hazard;
use crate::users::Users;
use hansa_ledger::breaker::Scope;
use hansa_ledger::record::{Placed, PlacedState};
use hansa_ledger::{Page, Record};
use hansa_model::{FederatedSpec, MemberName, RecordKey};
use std::collections::BTreeSet;

impl Judge {
    pub(super) fn is_born(
        &mut self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        old: Option<&Record>,
        new: &Record,
        users: &Users,
    ) -> Result<(), Violation> {
        let name = writer.name.clone();
        let known = self.lives.get(key).is_some_and(|known| new.incarnation <= *known);
        if known && self.went_back {
            // Operators that began after the topology server went back cannot know the numbers of what was lost.
            self.lose(key, |life, _| life == new.incarnation);
        } else if known || new.revision.0 == 0 {
            let what =
                format!("life {} revision {} after life {:?}", new.incarnation, new.revision, self.lives.get(key));
            return Err(Violation::at(RISES, key, what));
        }
        // One write may carry a birth and edits, the home's leaving, or the end.
        if new.homes.keys().any(|home| *home != name) || new.homes.is_empty() && stands(now, writer, key, None) {
            return Err(Violation::at(SPEAKS, key, format!("{name} begins a life with homes {:?}", new.homes.keys())));
        }
        if new.tombstone.is_some() {
            self.ends(writer, key, None, new.incarnation, users)?;
        }
        if let Some(old) = old {
            if old.tombstone.is_none() {
                let what = format!(
                    "life {} begins at revision {}, and life {} has not ended, at revision {}",
                    new.incarnation, new.revision, old.incarnation, old.revision
                );
                return Err(Violation::at(ENDS, key, what));
            }
            for (member, owed) in old.placed.iter().filter(|(_, placed)| placed.state != PlacedState::Gone) {
                self.reached.count(Hazard::NameReborn);
                let kept = new.placed.get(member);
                let carried = kept.is_some_and(|now| {
                    now.state == PlacedState::Placed && now.incarnation == new.incarnation
                        || now.state == PlacedState::Withdrawing && now.incarnation == owed.incarnation
                });
                // Who pays and begins the next life in one write leaves nothing to carry.
                if *member == name && kept.is_none_or(|kept| kept.state == PlacedState::Gone) {
                    self.is_gone(now, writer, key, owed.incarnation)?;
                } else if !carried {
                    return Err(Violation::at(
                        DEBTS,
                        key,
                        format!("{member}'s debt of life {} is forgotten", owed.incarnation),
                    ));
                }
            }
        }
        self.hear(now, writer, key, true, (old, new), users)
    }

    /// The new revision is what a user wrote in the writer's own cluster, and no earlier word than
    /// the last that was heard there.
    ///
    /// `home`: whether the writer was a home before; one write may carry an edit and the leaving.
    fn hear(
        &mut self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        home: bool,
        (old, new): (Option<&Record>, &Record),
        users: &Users,
    ) -> Result<(), Violation> {
        // One write may carry that it became a home, and that its namespace goes.
        let home = home || new.homes.contains_key(&writer.name) || ground_goes(now, writer, key);
        let name = &writer.name;
        if &new.intent.author != name || !home {
            let what = format!("{name} is no home of its new revision: {}", super::pages::brief(new));
            return Err(Violation::at(EDITS, key, what));
        }
        let again = old.is_some_and(|old| old.intent.hash == new.intent.hash && !self.is_forged(key, old));
        if self.went_back && again {
            // A home says that what is agreed counts, and passes what was lost of the record.
            return Ok(());
        }
        let entry = (key.clone(), new.incarnation, new.revision);
        if self.went_back && self.all_agreed(&entry).any(|agreed| agreed.hash == new.intent.hash) {
            // A write of the history that is lost arrives once more, or late: that was agreed on then, too.
            return Ok(());
        }
        let heard = self.heard.entry((key.clone(), name.clone())).or_default();
        // The same may have been said twice: an operator that lags behind hears the first of it first.
        let Some(word) = users.written_from(key, name, new.intent.hash, *heard) else {
            let what =
                format!("nobody wrote in {name}, since what was heard there last, what revision {} says", new.revision);
            return Err(Violation::at(EDITS, key, format!("{what}: {new:?}")));
        };
        *heard = word;
        Ok(())
    }

    pub(super) fn lives_on(
        &mut self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        (old, old_page): (&Record, &Page),
        (new, new_page): (&Record, &Page),
        users: &Users,
    ) -> Result<bool, Violation> {
        let edited = new.revision != old.revision;
        if edited {
            // One write may carry two edits.
            if new.revision < old.revision || old.tombstone.is_some() {
                return Err(Violation::at(RISES, key, format!("revision {} after {}", new.revision, old.revision)));
            }
            self.hear(now, writer, key, old.homes.contains_key(&writer.name), (Some(old), new), users)?;
            if self.is_forged(key, old) {
                self.reached.count(Hazard::WordForged);
            }
        } else if new.intent.hash != old.intent.hash {
            return Err(Violation::at(EDITS, key, format!("another intent under revision {}", new.revision)));
        }
        self.home_changes(now, writer, key, old, new)?;
        match (&old.tombstone, &new.tombstone) {
            (None, Some(_)) => self.ends(writer, key, Some(old), old.incarnation, users)?,
            (Some(_), None) if old.homes.contains_key(&writer.name) && self.is_forged(key, old) => {
                self.reached.count(Hazard::WordForged);
            }
            // Nor is it anybody's word any more when its author votes no more: its home's user was asked.
            (Some(then), None) if old.homes.contains_key(&writer.name) && !self.votes(&then.author) => {}
            (Some(then), now) if now.as_ref() != Some(then) => {
                return Err(Violation::at(ENDS, key, "a tombstone is taken back or changed"));
            }
            _ => {}
        }
        let mut withdrawn = Vec::new();
        for member in old.placed.keys().chain(new.placed.keys()).collect::<BTreeSet<_>>() {
            let (then, next) = (old.placed.get(member), new.placed.get(member));
            if then == next {
                continue;
            }
            if self.place_changes(now, writer, key, member, then, next, edited)? {
                withdrawn.push(member.clone());
            }
        }
        if withdrawn.is_empty() {
            return Ok(false);
        }
        self.withdraws(&writer.name, key, (old, new), (old_page, new_page), &withdrawn)?;
        Ok(true)
    }

    fn home_changes(
        &mut self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        old: &Record,
        new: &Record,
    ) -> Result<(), Violation> {
        let name = writer.name.clone();
        for (member, home) in &old.homes {
            let moved = new.former.get(member) == Some(&home.uid);
            match new.homes.get(member) {
                Some(still) if still == home || member == &name => {}
                None if moved => {}
                None if member == &name => {
                    if ground_goes(now, writer, key) {
                        self.reached.count(Hazard::HomeLeftByAccident);
                    }
                    let restored = self.restored_ms.contains_key(member);
                    // Where others keep the object, a leaving member's home goes by itself.
                    let leaves = self.may_leave(member) && old.homes.len() > 1;
                    if stands(now, writer, key, Some(&home.uid)) && !restored && !leaves {
                        return Err(Violation::at(LEAVES, key, format!("{member} stands, and is no home any more")));
                    }
                }
                _ => return Err(Violation::at(SPEAKS, key, format!("{name} changes the home {member}"))),
            }
        }
        let stranger = new.homes.keys().find(|member| **member != name && !old.homes.contains_key(*member));
        match stranger {
            Some(member) => Err(Violation::at(SPEAKS, key, format!("{name} makes {member} a home"))),
            None => Ok(()),
        }
    }

    /// A tombstone is written; `old` is what stood before, unless that was an earlier life.
    fn ends(
        &mut self,
        writer: &Member,
        key: &RecordKey,
        old: Option<&Record>,
        life: hansa_model::Incarnation,
        users: &Users,
    ) -> Result<(), Violation> {
        let name = &writer.name;
        if old.is_some_and(|old| old.moving.is_some()) {
            self.reached.count(Hazard::EndedWhileMoving);
        }
        let own = match old {
            Some(old) => {
                old.homes.get(name).is_some_and(|home| old.homes.len() == 1 && users.meant_to_delete(&home.uid))
            }
            None => users.has_deleted(key, name),
        };
        if own || users.asked_for_the_end(key) {
            self.ended(name, key, life)
        } else {
            Err(Violation::at(ENDS, key, format!("{name} writes a tombstone, and nobody asked for it")))
        }
    }

    /// Returns whether the member was withdrawn.
    #[expect(clippy::too_many_arguments, reason = "one change, and what it is judged by")]
    fn place_changes(
        &self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        member: &MemberName,
        then: Option<&Placed>,
        next: Option<&Placed>,
        edited: bool,
    ) -> Result<bool, Violation> {
        use PlacedState::{Gone, Placed as Has, Withdrawing};
        let own = member == &writer.name;
        match (then.map(|placed| placed.state), next.map(|placed| placed.state)) {
            (_, None) => Err(Violation::at(DEBTS, key, format!("{member} was placed, and is forgotten"))),
            (None | Some(Gone | Withdrawing | Has), Some(Has)) if own || edited => Ok(false),
            (Some(Has), Some(Withdrawing)) => Ok(true),
            (Some(Has | Withdrawing), Some(Gone)) if own => {
                let owed = next.map(|placed| placed.incarnation).unwrap_or_default();
                self.is_gone(now, writer, key, owed).map(|()| false)
            }
            (then, next) => {
                let what = format!("{} turns {member} from {then:?} to {next:?}", writer.name);
                Err(Violation::at(SPEAKS, key, what))
            }
        }
    }

    fn is_gone(
        &self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        owed: hansa_model::Incarnation,
    ) -> Result<(), Violation> {
        let Some(object) = writer.look(now, &crate::kinds::output_path(key)) else { return Ok(()) };
        let ours = !object["metadata"]["labels"][hansa_render::LEAGUE_LABEL].is_null();
        let of_that_life = super::life_of(&object).is_some_and(|life| life <= owed);
        let back = self.brought_back.contains(&(writer.name.clone(), key.clone()));
        if ours && of_that_life && !back {
            return Err(Violation::at(
                GONE,
                key,
                format!("{} says that life {owed} is gone, and it stands", writer.name),
            ));
        }
        Ok(())
    }

    fn withdraws(
        &mut self,
        name: &MemberName,
        key: &RecordKey,
        (old, new): (&Record, &Record),
        (old_page, new_page): (&Page, &Page),
        withdrawn: &[MemberName],
    ) -> Result<(), Violation> {
        self.decides(WITHDRAWS, name, key, old_page, new_page)?;
        // What was decided may be overtaken by an edit in the same write.
        let decided_on = |record: &Record| self.may_withdraw(name, key, record, withdrawn);
        decided_on(new)
            .or_else(|why| if old.revision == new.revision { Err(why) } else { decided_on(old).map_err(|_| why) })?;
        self.reached.count(Hazard::PlacementMoved);
        let scope = Scope::withdrawal(new.incarnation, withdrawn.iter().cloned().collect());
        let weight = withdrawn.iter().filter(|member| !self.may_keep(member)).count() as u64;
        self.decided(name, weight, key, &[scope])
    }

    /// Placement selects others than these, by some spec, and those have the record's revision.
    fn may_withdraw(
        &self,
        name: &MemberName,
        key: &RecordKey,
        record: &Record,
        withdrawn: &[MemberName],
    ) -> Result<(), Violation> {
        let Some(spec) = spec_of(record) else { return Err(Violation::at(WITHDRAWS, key, "the intent does not read")) };
        // The decider may not have heard of the newest spec; it must have heard of one.
        let grounds = self.specs.iter().rev().filter_map(|league| {
            let wanted = hansa_place::placed(league, &spec.placement).ok()?.members;
            withdrawn.iter().all(|member| !wanted.contains(member)).then_some(wanted)
        });
        let mut waits = grounds
            .map(|wanted| wanted.into_iter().find(|member| !self.has_revision(name, key, record, &spec, member)));
        let Some(first) = waits.next() else {
            return Err(Violation::at(WITHDRAWS, key, format!("placement has selected {withdrawn:?} all along")));
        };
        if let Some(missing) = first.filter(|_| waits.all(|missing| missing.is_some())) {
            let what = format!("{withdrawn:?} goes before {missing} has said that it has revision {}", record.revision);
            return Err(Violation::at(WITHDRAWS, key, what));
        }
        Ok(())
    }

    /// Whoever decides does so under its term.
    pub(super) fn decides(
        &self,
        rule: &'static str,
        name: &MemberName,
        key: &RecordKey,
        old_page: &Page,
        new_page: &Page,
    ) -> Result<(), Violation> {
        let (then, header) = (&old_page.header, &new_page.header);
        // The same member goes on in its term, and no earlier start of it after a later one.
        let goes_on = header.member == then.member && header.term == then.term && header.start >= then.start;
        if header.member.as_ref() == Some(name) && (goes_on || header.term > then.term) {
            return Ok(());
        }
        Err(Violation::at(rule, key, format!("{name} decides under {header:?} after {then:?}")))
    }

    /// Whether a member has a record's revision, as far as who decides can know: what stands in its own member it has
    /// seen itself; the others have said so.
    pub(super) fn has_revision(
        &self,
        decider: &MemberName,
        key: &RecordKey,
        record: &Record,
        spec: &FederatedSpec,
        member: &MemberName,
    ) -> bool {
        let (life, revision) = (record.incarnation, record.revision);
        let stood = || {
            let output = self.render(key, spec, decider, life, revision);
            output.is_some_and(|output| self.held.contains(&(key.clone(), life, decider.clone(), output.hash)))
        };
        self.applied.contains(&(key.clone(), life, revision, member.clone())) || (member == decider && stood())
    }

    pub(super) fn is_over(
        &mut self,
        now: u64,
        writer: &mut Member,
        key: &RecordKey,
        old: &Record,
        users: &Users,
    ) -> Result<(), Violation> {
        // One write may carry the end and the last debts.
        if old.tombstone.is_none() {
            self.ends(writer, key, Some(old), old.incarnation, users)?;
        }
        let name = writer.name.clone();
        let owes = |(member, placed): &(&MemberName, &Placed)| placed.state != PlacedState::Gone && *member != &name;
        if let Some((member, _)) = old.placed.iter().find(owes) {
            return Err(Violation::at(DEBTS, key, format!("its record goes before {member} has said so")));
        }
        if let Some(home) = old.homes.keys().find(|member| **member != name) {
            return Err(Violation::at(DEBTS, key, format!("its record goes while {home} is a home")));
        }
        match old.placed.get(&name) {
            Some(own) if own.state != PlacedState::Gone => self.is_gone(now, writer, key, own.incarnation),
            _ => Ok(()),
        }
    }
}

/// Whether the namespace or the CRD of a federated object is being deleted, or is gone.
fn ground_goes(now: u64, member: &mut Member, key: &RecordKey) -> bool {
    let (plural, group) = (key.type_name.federated_plural(), key.type_name.federated_group());
    let definition = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}");
    let mut goes =
        |path: &str| member.look(now, path).is_none_or(|object| !object["metadata"]["deletionTimestamp"].is_null());
    goes(&format!("/api/v1/namespaces/{}", key.namespace)) || goes(&definition)
}

/// Whether a federated object stands in a member and is not being deleted: the one with this uid, or
/// any.
fn stands(now: u64, member: &mut Member, key: &RecordKey, uid: Option<&str>) -> bool {
    member.look(now, &crate::kinds::home_path(key)).is_some_and(|object| {
        uid.is_none_or(|uid| object["metadata"]["uid"] == uid) && object["metadata"]["deletionTimestamp"].is_null()
    })
}
