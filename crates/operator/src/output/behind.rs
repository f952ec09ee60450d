//! Records that are behind what was made from them: the topology server was restored.
//!
//! An output that was applied as a later revision of the same life than the record knows is left as it
//! is, neither reverted nor removed, and so is one of a later life. The member says what it has, and the
//! next word of a home, which may be that it agrees, goes on from there (see
//! [`hansa_ledger::mutation::Change::Ingest`]).

use crate::machine::{Object, Operator};
use crate::observed::take_home;
use crate::report::only_home;
use hansa_ledger::Record;
use hansa_ledger::cell::{Made, RecordStatus, State};
use hansa_model::{RecordKey, Revision};

impl Operator {
    /// The revision that the output here is of, where the record of this life is behind it. Both the
    /// output and this member's status tell: a restored status may be as old as the record.
    pub(super) fn ahead(&self, key: &RecordKey, object: &Object, record: &Record) -> Option<Revision> {
        let live = object.live.as_ref().filter(|live| live.incarnation == Some(record.incarnation))?;
        let said = self.status_of(&self.config.member, key);
        let said = said.filter(|status| status.incarnation == record.incarnation).map(|status| status.revision);
        Some(live.revision.max(said.unwrap_or_default())).filter(|revision| *revision > record.revision)
    }

    pub(super) fn leave_behind(&mut self, key: &RecordKey, object: &mut Object, record: &Record, ahead: Revision) {
        object.output_work.fenced = None;
        self.removals.done(key);
        let mut status = self.base_status(key, record);
        status.state = State::Held;
        status.revision = ahead;
        status.later = Some(Box::new(Made { incarnation: record.incarnation, revision: ahead }));
        status.message = format!(
            "the output here is of revision {ahead}, and the topology server, which was restored, knows revision {}: {}",
            record.revision,
            self.mend(key, record)
        );
        self.set_status(key, Some(status));
    }

    pub(super) fn say_of_later_life(&mut self, key: &RecordKey, record: &Record, made: Made) {
        let message = format!(
            "the object here was made for life {}, and the topology server, which was restored, knows life {}: {}",
            made.incarnation,
            record.incarnation,
            self.mend(key, record)
        );
        let base = RecordStatus { state: State::Conflicting, message, ..self.base_status(key, record) };
        self.set_status(key, Some(RecordStatus { revision: record.revision, later: Some(Box::new(made)), ..base }));
    }

    fn mend(&self, key: &RecordKey, record: &Record) -> String {
        let take_home = take_home(key, record.revision);
        let how = if record.homes.len() > 1 && !self.may_take_home(record) {
            only_home(record, &take_home)
        } else {
            format!("let its home take over with {take_home}")
        };
        format!("it is left as it is until the object is agreed on again: {how}")
    }

    /// The latest that a member says its output was made from, where that is later than a restored record.
    pub(crate) fn made_later(&self, key: &RecordKey, record: &Record) -> Option<Box<Made>> {
        let said = record.placed.keys().filter_map(|member| self.status_of(member, key));
        let of_this_life = said.filter(|status| status.incarnation == record.incarnation);
        of_this_life.filter_map(|status| status.later.clone()).max()
    }
}
