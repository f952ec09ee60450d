//! A member that is about to leave the league: what is at home here goes to others, and what is no home is let go.
//!
//! An object whose only home is here waits for a person to say who takes it (`hansa leave` does, object by
//! object). Where other homes stay, this one goes by itself. Nothing becomes a home here any more, and Hansa's
//! finalizer comes off what is none: once this operator has left, nobody could take it off. A witness never has
//! anything at home.

use super::refusal;
use crate::machine::{Context, Object, Operator};
use crate::observed::HomeState;
use hansa_ledger::Record;
use hansa_ledger::lives::Standing;
use hansa_model::{Leaving, MemberName, RecordKey};

impl Operator {
    fn leaving(&self, member: &MemberName) -> Option<Leaving> {
        self.league.as_ref()?.spec.member(member)?.leaving
    }

    /// Whether the agreed spec says that a member is about to leave the league.
    pub(crate) fn is_leaving(&self, member: &MemberName) -> bool {
        self.leaving(member).is_some()
    }

    /// Whether a member is about to leave the league, and what stands there is to stay.
    pub(crate) fn keeps_outputs(&self, member: &MemberName) -> bool {
        self.leaving(member).is_some_and(|leaving| leaving.keep_outputs)
    }

    /// Why an object does not count here, whatever it says, with the mend.
    pub(super) fn refusal_here(
        &self,
        key: &RecordKey,
        context: &Context,
        standing: &Standing,
        record: Option<&Record>,
    ) -> Option<String> {
        let member = &self.config.member;
        let would_be_home =
            matches!(standing, Standing::Born | Standing::Reborn | Standing::Taken | Standing::Converged);
        let is_home = record.is_some_and(|record| record.tombstone.is_none() && record.homes.contains_key(member));
        let why_not = || context.spec.member(member)?.takes_nothing().filter(|_| would_be_home && !is_home);
        refusal(key, context).or_else(|| Some(format!("{member} is {}: keep the object in another member", why_not()?)))
    }

    /// What becomes of an object in a member that leaves. Answers whether nothing else is to be done about it.
    pub(super) fn leave_home(&mut self, key: &RecordKey, object: &mut Object, record: Option<&Record>) -> bool {
        let Some(home) = &object.home else { return false };
        if self.config.observe {
            return false;
        }
        let member = &self.config.member;
        if let Some(record) = record.filter(|record| record.tombstone.is_none())
            && record.homes.get(member).is_some_and(|entry| entry.uid == home.object.uid)
        {
            let another = record.homes.keys().any(|home| !self.is_leaving(home));
            if another {
                self.depart(key, &home.object.clone(), false, None, Some(record));
            }
            return another;
        }
        if self.lets_go(home, record) {
            self.want_fenced_home_work(key, &object.home_work);
        }
        false
    }

    /// Whether the finalizer comes off an object that nobody deletes: it is no home, and becomes none here.
    pub(super) fn lets_go(&self, home: &HomeState, record: Option<&Record>) -> bool {
        let member = &self.config.member;
        let keeps = |record: &Record| record.homes.contains_key(member) || record.moving.as_ref() == Some(member);
        home.has_finalizer && self.is_leaving(member) && !record.is_some_and(keeps)
    }
}
