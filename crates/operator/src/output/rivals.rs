//! Fields that another manager owns: taken back, or yielded.

use crate::classify::Rival;
use crate::io::Level;
use crate::machine::{Object, Operator, Timer};
use hansa_ledger::Record;
use hansa_ledger::cell::State;
use hansa_model::RecordKey;
use std::collections::BTreeSet;

impl Operator {
    /// Fields are held by others: each is taken back, or left to them.
    pub(super) fn meet_rivals(
        &mut self,
        key: &RecordKey,
        rivals: &[Rival],
        object: &mut Object,
        record: Option<&Record>,
    ) {
        let now = self.now.monotonic_ms;
        let work = &mut object.output_work;
        let yielded: BTreeSet<&str> =
            rivals.iter().filter(|rival| is_yielded(rival)).map(|rival| rival.field.as_str()).collect();
        for field in &yielded {
            if !work.yielded.iter().any(|known| known == field) {
                work.yielded.push((*field).to_owned());
            }
        }
        let taken: Vec<&Rival> = rivals.iter().filter(|rival| !yielded.contains(rival.field.as_str())).collect();
        if taken.is_empty() {
            return;
        }
        work.force = true;
        let quiet = now.saturating_sub(work.fights.1) > 600_000;
        work.fights = (if quiet { 1 } else { work.fights.0 + 1 }, now);
        let fights = work.fights.0;
        // A rival that comes back every time is named, and met less and less often.
        if fights > 3 {
            let named: Vec<_> = taken.iter().map(|rival| format!("{} ({})", rival.field, rival.manager)).collect();
            let message = format!(
                "taken back {fights} times from a rival manager: {}: make one of the two let go",
                named.join(", ")
            );
            let until = self.pause(fights - 3, 5_000, 300_000);
            object.output_work.retry_ms = until;
            self.at(until, Timer::Object(key.clone()));
            if let Some(record) = record {
                self.say(key, record, State::Conflicting, message.clone());
            }
            self.log(Level::Warning, Some(key), message);
        }
    }
}

/// The scale is left to an autoscaler, and taken back from people who scale by hand.
pub(crate) fn is_yielded(rival: &Rival) -> bool {
    let by_hand = rival.manager.starts_with("\"kubectl") || rival.manager.starts_with("kubectl");
    rival.field == ".spec.replicas" && !by_hand
}
