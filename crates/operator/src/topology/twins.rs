//! Another process that is this member: that of a cluster which was made from this one's etcd, with its uid and its keys; or
//! one that was stopped for so long that it lost the Lease, and goes on for a moment.
//!
//! Both write the member's cell, so that each finds the other's words where it has just left its own. The earlier start
//! freezes its share, and says why: it is the one that lost the Lease, or it is one of two clusters of which a person has
//! to choose. A start whose clock was set back may find the words of a process that has ended, once, before it writes; that
//! says nothing.

use crate::io::Level;
use crate::machine::Operator;
use hansa_model::Incarnation;

/// How many heartbeats without a word of the other one end the freeze.
const HEARTBEATS: u64 = 4;

/// What the writes of the own cell have shown of other starts.
#[derive(Debug, Default)]
pub(super) struct Twins {
    has_written: bool,
    /// When a later start had written since this one's last write, on the monotonic clock.
    later_ms: Option<u64>,
    /// The same of an earlier start. Once says nothing: what stands there may be restored.
    earlier_ms: Option<u64>,
    told_of_earlier: bool,
}

impl Operator {
    pub(super) fn own_cell_is_written(&mut self) {
        self.topology.twins.has_written = true;
    }

    /// A write of the own cell met what stands there now.
    pub(super) fn own_cell_is_anothers(&mut self) {
        let (member, own) = (&self.config.member, self.config.incarnation);
        let writer = self.topology.cell.writer.envelope().and_then(|envelope| envelope.operations.get(member));
        let Some(by) = writer.map(|operation| operation.incarnation).filter(|by| *by != own) else { return };
        if !self.topology.twins.has_written {
            return;
        }
        let now = self.now.monotonic_ms;
        if by > own {
            self.topology.twins.later_ms = Some(now);
            return self.stand_anew();
        }
        let before = self.topology.twins.earlier_ms.replace(now);
        let goes_on = before.is_some_and(|before| now - before < HEARTBEATS * self.config.heartbeat_ms);
        if goes_on && !std::mem::replace(&mut self.topology.twins.told_of_earlier, true) {
            let message = format!(
                "an earlier start of {member}'s operator ({by}) still writes, and freezes: when it is another cluster's, which has this one's uid and keys, stop one of them and give it a name and keys of its own"
            );
            self.log(Level::Warning, None, message.clone());
            self.tell_of_league("TwoProcesses", &message);
        }
    }

    /// Why this process does nothing, when a later start of this member is at work.
    pub(crate) fn later_start(&self) -> Option<String> {
        self.topology.twins.later_ms?;
        let (member, Incarnation(own)) = (&self.config.member, self.config.incarnation);
        Some(format!(
            "a later start of {member}'s operator writes beside this one ({own}): two clusters have one uid and one pair of keys, as when one was made from the other's etcd; stop one of them, and give it a name and keys of its own"
        ))
    }

    /// Once the later start is heard no more, this one goes on.
    pub(super) fn forget_later_start(&mut self) {
        let over = self.now.monotonic_ms.saturating_sub(HEARTBEATS * self.config.heartbeat_ms);
        if self.topology.twins.later_ms.is_some_and(|at| at < over) {
            self.topology.twins.later_ms = None;
            self.stand_anew();
        }
    }
}
