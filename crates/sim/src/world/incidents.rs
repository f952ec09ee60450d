//! What breaks in a storm, and how it is made whole again.

use super::{Due, World};
use crate::judge::Violation;
use crate::kinds::{KINDS, homes_path, type_name};
use crate::member::{self, Member, Reach};
use crate::process::ProcessId;
use crate::reached::Hazard;
use hansa_kubesim::core::Core;
use hansa_operator::Event;

/// How long a holder of the Lease keeps it at least after it was stopped: it holds for 15 s, and is renewed
/// every 5 s (`hansa-runner`).
const LEASE_MS: u64 = 10_000;

/// How long a process goes on at most until it notices that another holds the Lease.
const NOTICED_MS: u64 = 1_500;

/// Something that broke is whole again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heal {
    /// A member without an operator gets one.
    Start(usize),
    /// A stopped process goes on.
    Resume(ProcessId),
    /// A process that lost the Lease ends.
    End(ProcessId),
    /// An API server can be reached again.
    Api(usize),
    /// The topology server can be reached again from a member.
    Reach(usize),
    /// The restore of the topology server ends.
    Control,
}

impl World {
    pub(super) fn incident(&mut self) -> Result<(), Violation> {
        let member = self.random.below(self.members.len() as u64) as usize;
        let name = self.members[member].name.clone();
        let leader = self.members[member].leader;
        // Of what happens, two in 26 are about backups; where they are the theme, every other.
        let kind = self.random.below(26);
        let kind = if self.settings.restores && kind.is_multiple_of(2) { 24 } else { kind };
        match (kind, leader) {
            (0..=4, Some(id)) => {
                self.kill(id, "is killed");
                let pause = self.random.within(1..15_000);
                self.after(pause, Due::Heal(Heal::Start(member)));
            }
            (5..=6, Some(id)) => {
                self.stop(id);
                let pause = self.random.within(100..30_000);
                self.after(pause, Due::Heal(Heal::Resume(id)));
            }
            (7, Some(id)) => {
                // The Lease runs out while its holder is stopped; the standby takes over, and the old
                // one goes on for a moment before it notices.
                self.stop(id);
                let pause = self.random.within(LEASE_MS..LEASE_MS + 10_000);
                self.after(pause, Due::Heal(Heal::Start(member)));
                let until = pause + self.random.within(1..10_000);
                self.after(until, Due::Heal(Heal::Resume(id)));
                let end = until + self.random.within(1..NOTICED_MS);
                self.after(end, Due::Heal(Heal::End(id)));
            }
            (8..=10, _) => {
                self.tell(&name, "API server goes away");
                self.members[member].down = true;
                self.break_watches(member, "connection reset");
                let pause = self.random.within(200..40_000);
                self.after(pause, Due::Heal(Heal::Api(member)));
            }
            (11..=14, _) => {
                let reach = if self.random.chance(300) { Reach::OneWay } else { Reach::Neither };
                let pause = self.random.within(200..40_000);
                let everybody = self.random.chance(250);
                for each in 0..self.members.len() {
                    if everybody || each == member {
                        self.cut_off(each, reach, pause);
                    }
                }
            }
            (15..=16, _) => {
                let most = *self.random.pick(&[5_000, 3_600_000, 90_000_000]);
                let jump = self.random.below(2 * most) as i64 - most as i64;
                self.tell(&name, format!("wall clock jumps by {} s", jump / 1000));
                self.members[member].clock.wall_offset_ms += jump;
                self.judge.clock_jumped(&name, jump);
            }
            (17, _) => {
                self.tell(&name, "API server forgets its history");
                self.members[member].core.compact();
            }
            (18, _) => {
                self.tell("topo", "forgets its history");
                self.store.forget();
                self.tell_changes();
            }
            (19..=20, _) => {
                self.tell(&name, "watches break");
                self.break_watches(member, "connection reset");
            }
            (21..=22, _) => {
                let until = self.now + self.random.within(500..60_000);
                self.tell(&name, format!("watches lag until {} s", until / 1000));
                for process in self.processes.values_mut().filter(|process| process.member == member) {
                    for watching in process.watches.values_mut() {
                        watching.stalled_until_ms = until;
                    }
                }
            }
            (23, _) => self.back_up(member),
            (24, _) if self.members[member].backup.is_some() => {
                self.restore(member);
                // What comes next is restored from what is agreed by then.
                if self.settings.restores {
                    self.members[member].backup = None;
                }
            }
            (24, _) if self.settings.restores => self.back_up(member),
            _ => {}
        }
        Ok(())
    }

    fn back_up(&mut self, member: usize) {
        let name = self.members[member].name.clone();
        self.tell(&name, "API server is backed up");
        self.members[member].backup = Some(self.members[member].core.snapshot());
    }

    fn stop(&mut self, id: ProcessId) {
        let name = self.name_of(id);
        self.tell(name, format!("process {} is stopped", id.0));
        if let Some(process) = self.processes.get_mut(&id) {
            process.stopped.get_or_insert_default();
            process.stopped_ms.get_or_insert(self.now);
        }
    }

    pub(super) fn cut_off(&mut self, member: usize, reach: Reach, pause: u64) {
        let name = self.members[member].name.clone();
        self.tell(&name, format!("reaches the topology server: {reach:?}"));
        self.members[member].reach = reach;
        self.break_waits(member);
        self.after(pause, Due::Heal(Heal::Reach(member)));
    }

    /// Puts a member's API server back to its backup. Its operator runs in it, so it starts anew.
    fn restore(&mut self, member: usize) {
        let running: Vec<ProcessId> =
            self.processes.iter().filter(|(_, process)| process.member == member).map(|(id, _)| *id).collect();
        for id in running {
            self.kill(id, "ends with its cluster");
        }
        let here = &mut self.members[member];
        let Some(backup) = here.backup.clone() else { return };
        self.cores += 1;
        let core = Core::restore(member::config(self.cores, self.settings.workloads), Member::time(self.now), backup);
        here.core = core.expect("what a core has kept is whole");
        let name = here.name.clone();
        self.tell(&name, "API server is restored from its backup");
        let now = self.now;
        self.judge.restored(now, &mut self.members[member]);
        let pause = self.random.within(1..5_000);
        self.tick_at(member, self.now + 1);
        self.after(pause, Due::Heal(Heal::Start(member)));
    }

    pub(super) fn heal(&mut self, heal: Heal) -> Result<(), Violation> {
        match heal {
            Heal::Start(member) if self.members[member].down => {
                // Its process waits for the API server before it does anything.
                self.after(500, Due::Heal(Heal::Start(member)));
                Ok(())
            }
            Heal::Start(member) => {
                let running = self.members[member].leader.and_then(|id| self.processes.get(&id));
                match running.map(|process| process.stopped_ms) {
                    None => self.start(member),
                    Some(Some(since)) if self.now >= since + LEASE_MS => self.start(member),
                    // The Lease has not run out yet.
                    Some(Some(since)) => {
                        self.at(since + LEASE_MS, Due::Heal(Heal::Start(member)));
                        Ok(())
                    }
                    Some(None) => Ok(()),
                }
            }
            Heal::Resume(id) => {
                let name = self.name_of(id);
                let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
                let Some(inbox) = process.stopped.take() else { return Ok(()) };
                process.stopped_ms = None;
                let member = process.member;
                if self.members[member].leader != Some(id) && self.something_departs(member) {
                    self.judge.reached.count(Hazard::TwinSawDeparture);
                }
                if inbox.iter().any(|event| matches!(event, Event::WatchLine { .. })) {
                    self.judge.reached.count(Hazard::ToldLate);
                }
                if self.members[member].leader != Some(id) {
                    // However it came to be another's turn: it finds the Lease lost when it is to renew it.
                    self.after(NOTICED_MS, Due::Heal(Heal::End(id)));
                }
                self.tell(name, format!("process {} goes on", id.0));
                self.judge.goes_on(self.now, id);
                inbox.into_iter().try_for_each(|event| self.deliver(id, event))
            }
            Heal::End(id) => {
                if self.members.iter().all(|member| member.leader != Some(id)) {
                    self.kill(id, "ends, for another holds the Lease");
                }
                Ok(())
            }
            Heal::Api(member) => {
                if std::mem::take(&mut self.members[member].down) {
                    let name = self.members[member].name.clone();
                    self.tell(&name, "API server is back");
                }
                Ok(())
            }
            Heal::Control => self.end_restore(),
            Heal::Reach(member) => {
                if std::mem::replace(&mut self.members[member].reach, Reach::Both) != Reach::Both {
                    let name = self.members[member].name.clone();
                    self.tell(&name, "reaches the topology server again");
                }
                Ok(())
            }
        }
    }

    /// Whether a federated object is being deleted in a member.
    fn something_departs(&mut self, member: usize) -> bool {
        let (now, here) = (self.now, &mut self.members[member]);
        KINDS.iter().any(|kind| {
            let homes = here.all(now, &homes_path(&type_name(kind.type_name)));
            homes.iter().any(|home| !home["metadata"]["deletionTimestamp"].is_null())
        })
    }

    /// The storm is over: whatever broke is whole again, but for the API server of a casualty.
    pub(crate) fn end_storm(&mut self, casualty: Option<usize>) -> Result<(), Violation> {
        self.calm = true;
        self.tell("", "the storm is over");
        self.end_restore()?;
        self.say_what_counts()?;
        for member in 0..self.members.len() {
            self.heal(Heal::Reach(member))?;
            if casualty == Some(member) {
                let name = self.members[member].name.clone();
                self.tell(&name, "API server goes away and stays away");
                self.members[member].down = true;
                self.break_watches(member, "connection reset");
                continue;
            }
            self.heal(Heal::Api(member))?;
        }
        let mut lagging = Vec::new();
        for (id, process) in &mut self.processes {
            for (act, watching) in &mut process.watches {
                if std::mem::take(&mut watching.stalled_until_ms) > self.now {
                    lagging.push(Due::Poll(*id, *act));
                }
            }
        }
        for poll in lagging {
            self.after(1, poll);
        }
        let stopped: Vec<ProcessId> =
            self.processes.iter().filter(|(_, process)| process.stopped.is_some()).map(|(id, _)| *id).collect();
        for id in stopped {
            let leads = self.members.iter().any(|member| member.leader == Some(id));
            self.heal(if leads { Heal::Resume(id) } else { Heal::End(id) })?;
        }
        for member in 0..self.members.len() {
            self.heal(Heal::Start(member))?;
        }
        self.tell_changes();
        Ok(())
    }
}
