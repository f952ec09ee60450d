//! Which fault meets which call: rules first, then chance.

use crate::usage::Operation;
use bytes::Bytes;
use hansa_ledger::Version;
use hansa_model::SplitMix64;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// One way to fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The server cannot be reached: an error.
    Unavailable,
    /// The server asks to wait so long: an error.
    Throttled(Duration),
    /// The answer would come from an old state, and is refused: an error. Reads only.
    Stale,
    /// The write happens (or does not, as its version says), and the answer is lost. Writes only.
    LostAnswer,
    /// The answer is lost, and the write reaches the server only so many calls later. Writes only.
    LateWrite(u64),
    /// A rival writes the key just before, the same bytes: a mismatch. Compare-and-swaps only.
    Rival,
    /// The history is gone: a reset. Waits for changes only.
    Reset,
    /// Changes told before are told again. Waits for changes only.
    Repeated,
}

impl Fault {
    /// The fault's name.
    pub fn label(self) -> &'static str {
        match self {
            Fault::Unavailable => "unavailable",
            Fault::Throttled(_) => "throttled",
            Fault::Stale => "stale",
            Fault::LostAnswer => "lost_answer",
            Fault::LateWrite(_) => "late_write",
            Fault::Rival => "rival",
            Fault::Reset => "reset",
            Fault::Repeated => "repeated",
        }
    }

    /// Whether the fault can meet the operation at all.
    pub fn fits(self, operation: Operation) -> bool {
        use Operation::{Changes, CompareAndSwap, Create, Get, List, ReadMany};
        match self {
            Fault::Unavailable | Fault::Throttled(_) => true,
            Fault::Stale => matches!(operation, Get | List | ReadMany),
            Fault::LostAnswer | Fault::LateWrite(_) => matches!(operation, Create | CompareAndSwap),
            Fault::Rival => operation == CompareAndSwap,
            Fault::Reset | Fault::Repeated => operation == Changes,
        }
    }
}

/// Some calls that are to meet a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The operation; `None` means every one that the fault fits.
    pub operation: Option<Operation>,
    /// How the key (or the prefix of a list) begins. Waits for changes and reads of many keys have
    /// the empty key.
    pub key_prefix: String,
    /// How many fitting calls pass unharmed first.
    pub skip: u64,
    /// How many calls then meet the fault.
    pub times: u64,
    /// The fault.
    pub fault: Fault,
}

impl Rule {
    /// The next fitting call, of whatever key, meets `fault`.
    pub fn once(fault: Fault) -> Self {
        Rule { operation: None, key_prefix: String::new(), skip: 0, times: 1, fault }
    }

    fn fits(&self, operation: Operation, key: &str) -> bool {
        self.times > 0
            && self.fault.fits(operation)
            && self.operation.is_none_or(|wanted| wanted == operation)
            && key.starts_with(&self.key_prefix)
    }
}

/// How many of a thousand calls meet each fault, of those that it fits; together at most a thousand.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Chances {
    /// [`Fault::Unavailable`]
    pub unavailable: u16,
    /// [`Fault::Throttled`], without a wait
    pub throttled: u16,
    /// [`Fault::Stale`]
    pub stale: u16,
    /// [`Fault::LostAnswer`]
    pub lost_answer: u16,
    /// [`Fault::LateWrite`], one to eight calls late
    pub late_write: u16,
    /// [`Fault::Rival`]
    pub rival: u16,
    /// [`Fault::Reset`]
    pub reset: u16,
    /// [`Fault::Repeated`]
    pub repeated: u16,
}

impl Chances {
    fn faults(&self, lateness: u64) -> [(u16, Fault); 8] {
        [
            (self.unavailable, Fault::Unavailable),
            (self.throttled, Fault::Throttled(Duration::ZERO)),
            (self.stale, Fault::Stale),
            (self.lost_answer, Fault::LostAnswer),
            (self.late_write, Fault::LateWrite(lateness)),
            (self.rival, Fault::Rival),
            (self.reset, Fault::Reset),
            (self.repeated, Fault::Repeated),
        ]
    }
}

/// A write that its sender has given up, and that still lands.
#[derive(Clone, Debug)]
pub(super) struct LateWrite {
    pub(super) key: String,
    pub(super) expected: Option<Version>,
    pub(super) value: Bytes,
}

/// What is to happen to one call.
pub(super) struct Verdict {
    pub(super) latency: Duration,
    /// Writes that land before the call is sent.
    pub(super) landing: Vec<LateWrite>,
    pub(super) fault: Option<Fault>,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rules: Vec<Rule>,
    pub(super) chances: Chances,
    pub(super) latency: Range<Duration>,
    pub(super) met: BTreeMap<&'static str, u64>,
    /// Late writes with the number of the call before which they land.
    late: Vec<(u64, LateWrite)>,
    calls: u64,
    random: SplitMix64,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Plan {
            rules: Vec::new(),
            chances: Chances::default(),
            latency: Duration::ZERO..Duration::ZERO,
            met: BTreeMap::new(),
            late: Vec::new(),
            calls: 0,
            random: SplitMix64(seed),
        }
    }

    pub(super) fn judge(&mut self, operation: Operation, key: &str) -> Verdict {
        self.calls += 1;
        let calls = self.calls;
        let landing = self.late.extract_if(.., |(at, _)| *at <= calls).map(|(_, write)| write);
        let landing = landing.collect();
        let fault = self.ruled(operation, key).or_else(|| self.chanced(operation));
        if let Some(fault) = fault {
            *self.met.entry(fault.label()).or_default() += 1;
        }
        Verdict { latency: self.some_latency(), landing, fault }
    }

    /// Keeps a write that lands `calls` calls from now.
    pub(super) fn delay(&mut self, write: LateWrite, calls: u64) {
        self.late.push((self.calls.saturating_add(calls.max(1)), write));
    }

    pub(super) fn hurry(&mut self) {
        for (at, _) in &mut self.late {
            *at = 0;
        }
    }

    fn ruled(&mut self, operation: Operation, key: &str) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| rule.fits(operation, key))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault)
    }

    fn chanced(&mut self, operation: Operation) -> Option<Fault> {
        let lateness = 1 + self.random.below(8);
        let mut point = self.random.below(1000);
        for (chance, fault) in self.chances.faults(lateness) {
            if !fault.fits(operation) {
                continue;
            }
            match point.checked_sub(u64::from(chance)) {
                None => return Some(fault),
                Some(rest) => point = rest,
            }
        }
        None
    }

    fn some_latency(&mut self) -> Duration {
        let Range { start, end } = self.latency.clone();
        let width = u64::try_from(end.saturating_sub(start).as_micros()).unwrap_or(u64::MAX);
        start + Duration::from_micros(self.random.below(width.max(1)))
    }
}
