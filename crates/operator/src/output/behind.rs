//! Records that are behind what was made from them: the topology server was restored.
//!
//! An output that was applied as a later revision of the same life than the record knows is left as it
//! is, neither reverted nor removed, until a home is agreed on again: its next revision passes every one
//! that a member says it has (see [`hansa_ledger::mutation::Change::Ingest`]).

use crate::machine::{Object, Operator};
use hansa_ledger::Record;
use hansa_ledger::cell::State;
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
        status.message = format!(
            "the output here is of revision {ahead}, and the topology server, which was restored, knows revision {}: it is left as it is until the object is agreed on again; edit it in its home, or let its home take over",
            record.revision
        );
        self.set_status(key, Some(status));
    }
}
