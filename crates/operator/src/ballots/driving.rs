//! The proposer's calls and their answers; the document turned into the picture.

use super::judging::{Views, may_take_home};
use super::wanted::{Sight, Topic, wanted};
use super::{CatchingUp, RETRY_MS, Stage};
use crate::io::{Level, TopoRequest};
use crate::machine::{Operator, Timer};
use crate::topology::TopoCall;
use crate::topology::history::breach;
use hansa_ballot::decide::tally;
use hansa_ballot::explain::began;
use hansa_ballot::membership::{Join, consent};
use hansa_ballot::motion::Answer;
use hansa_ballot::proposer::{Act, Config, Event, Notes, Told};
use hansa_ballot::{Control, Document, Proposer, Rejected, Voter, silence};
use hansa_ledger::{Envelope, Version, Versioned, keys};
use hansa_model::{Era, Incarnation, MemberName};

/// A guess of the round trip to the topology server, until it is measured.
const ROUND_TRIP_MS: u64 = 20;

impl Operator {
    /// The league votes: this member takes its place, once its notes are read.
    pub(crate) fn take_seat(&mut self) {
        let votes = self.league.as_ref().is_some_and(|league| league.control.ballots.is_some());
        if votes && self.ballots.stage == Stage::Away {
            self.ballots.stage = Stage::Recalling;
            self.read_notes();
        }
    }

    /// The notes of earlier starts are known.
    pub(super) fn notes_read(&mut self, notes: Notes) {
        let Some(league) = &self.league else { return };
        let Some(ballots) = &league.control.ballots else { return };
        let id = league.id;
        // Later than any start that has written: a clock that was set back makes no process of the past. And
        // another one than that under which the same process may have founded the league, in the same value.
        let slot = ballots.slot(&self.config.member);
        let earlier = slot.and_then(|slot| slot.cell().ok()).map_or(0, |cell| cell.incarnation.0);
        let incarnation = Incarnation(earlier.max(self.config.incarnation.0) + 1 + (self.random() & 0xff));
        let proposer = Proposer::new(Config {
            league: id,
            signer: self.config.signer.clone(),
            uid: self.config.cluster_uid.clone(),
            incarnation,
            notes,
            round_trip_ms: ROUND_TRIP_MS,
            founding: None,
        });
        self.ballots.proposer = Some(proposer.with_verifier(self.words.verifier()));
        self.ballots.stage = Stage::Sitting;
        self.drive(Event::Changed);
    }

    /// Whether the control document is followed by the proposer.
    pub(crate) fn is_seated(&self) -> bool {
        self.ballots.proposer.is_some()
    }

    /// The control document stands at this version.
    pub(crate) fn control_changed(&mut self, version: &Version) {
        let known = self.ballots.proposer.as_ref().and_then(Proposer::version);
        if known != Some(version) {
            self.drive(Event::Changed);
        }
    }

    /// Whether the control document that was read cannot follow the one that the proposer knows: it looks, and judges.
    pub(crate) fn is_doubted_by_the_proposer(&mut self, found: &Envelope, control: Option<&Versioned>) -> bool {
        let known = self.ballots.proposer.as_ref().and_then(Proposer::envelope).filter(|_| self.is_seated());
        let is_doubted = known.is_some_and(|known| breach(known, found).is_some());
        if let Some(control) = control.filter(|_| is_doubted) {
            self.control_changed(&control.version);
        }
        is_doubted
    }

    /// A read of the control document is answered.
    pub(crate) fn control_was_read(&mut self) {
        self.ballots.read_ms = self.ballots.asked_ms.take();
        self.ballots.is_read_anew = true;
    }

    /// Gives an event to the proposer, and does what it asks for.
    pub(crate) fn drive(&mut self, event: Event) {
        let (now, entropy) = (self.now.monotonic_ms, self.random());
        let Some(proposer) = &mut self.ballots.proposer else { return };
        let acts = proposer.step(event, now, entropy);
        self.do_acts(acts);
        self.ballots.look = true;
    }

    fn do_acts(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Read => {
                    self.ballots.asked_ms = Some(self.now.monotonic_ms);
                    self.topo(TopoCall::Ballots, TopoRequest::Read { keys: vec![keys::CONTROL.to_owned()] });
                }
                // What is based on a later era's document, which it follows already, is based on what stands there.
                Act::Write { .. } if self.topology.replaced.is_some() && self.era_begins().is_none() => {
                    self.topo(TopoCall::Unwritten, TopoRequest::Read { keys: vec![keys::CONTROL.to_owned()] });
                }
                Act::Write { expected, value } => {
                    self.topo(TopoCall::Ballots, TopoRequest::Write { key: keys::CONTROL.to_owned(), expected, value });
                }
                Act::Persist(notes) => self.write_notes(&notes),
                Act::Wake { at_ms } => {
                    self.ballots.wakes_ms = Some(at_ms);
                    self.at(at_ms, Timer::Ballots);
                }
            }
        }
    }

    /// The time that the proposer asked for, unless it asked for another one since.
    pub(crate) fn ballots_timer(&mut self) {
        if self.ballots.wakes_ms.is_some_and(|at| at <= self.now.monotonic_ms) {
            self.ballots.wakes_ms = None;
            self.drive(Event::Woke);
        }
    }

    /// Looks at the document and at what this member sees, and says what is to be said.
    pub(crate) fn look_at_ballots(&mut self) {
        while std::mem::take(&mut self.ballots.look) {
            self.hear();
            if self.takes_up_the_next_pair() {
                self.ballots.behind = true;
                return;
            }
            self.turn_document();
            if std::mem::take(&mut self.ballots.is_read_anew) {
                self.judge_rejected_anew();
            }
            if self.bring_motions() {
                self.drive(Event::Wanted);
            }
        }
    }

    /// What the proposer has to tell.
    fn hear(&mut self) {
        let told = self.ballots.proposer.as_mut().map(Proposer::told).unwrap_or_default();
        for told in told {
            match told {
                Told::Answer(ticket, answer) => {
                    let found = self.ballots.pending.iter().find(|(_, known)| **known == ticket);
                    let Some(topic) = found.map(|(topic, _)| topic.clone()) else { continue };
                    self.ballots.pending.remove(&topic);
                    if let Answer::Refused(why) = answer {
                        self.log(Level::Debug, None, format!("{topic:?} is not said: {why}"));
                    }
                    self.ballots.answered.insert(topic);
                }
                Told::Rejected(rejected) => self.rejected(rejected),
                Told::Frozen(frozen) => self.distrust(frozen.to_string()),
                // What begins an era makes everything anew, once it is turned to.
                Told::Thawed if self.era_begins().is_some() => {}
                Told::Thawed => self.trust_again(),
            }
        }
    }

    fn rejected(&mut self, rejected: Vec<Rejected>) {
        let before = std::mem::replace(&mut self.ballots.rejected, rejected.clone());
        for rejected in rejected.into_iter().filter(|rejected| !before.contains(rejected)) {
            self.ballots.count_rejection(&rejected);
            let message = format!("in the control document, {rejected}: it does not count");
            self.log(Level::Warning, None, message.clone());
            self.tell_of_league("Rejected", &message);
        }
    }

    /// The later era of the document that is followed and not yet turned to.
    fn era_begins(&self) -> Option<Era> {
        let proposer = self.ballots.proposer.as_ref().filter(|proposer| proposer.frozen().is_none())?;
        let (era, league) = (proposer.document()?.ballots().era, self.league.as_ref()?);
        (era > league.era).then_some(era)
    }

    /// Puts a newer document into the picture. A new era, a new generation of the spec and other people are acted on
    /// once the notes say that this member has seen them.
    fn turn_document(&mut self) {
        let begins = self.era_begins();
        let Some(proposer) = &mut self.ballots.proposer else { return };
        if proposer.frozen().is_some() || proposer.version() == self.ballots.turned.as_ref() {
            return;
        }
        let (Some(document), Some(league)) = (proposer.document(), &self.league) else { return };
        let known = &league.control;
        let is_new_spec = known.generation != document.generation || known.home != document.home;
        let is_to_be_noted = is_new_spec || begins.is_some() || !proposer.has_noted_people();
        self.ballots.behind = is_to_be_noted && !proposer.has_noted();
        if self.ballots.behind {
            let acts = proposer.note_now();
            return self.do_acts(acts);
        }
        let control = document.clone();
        self.ballots.turned = proposer.version().cloned();
        self.ballots.answered.clear();
        let (id, era) = (league.id, begins.unwrap_or(league.era));
        if begins.is_some() {
            let how = began(control.ballots()).map(|began| format!(" ({began})")).unwrap_or_default();
            self.era_raised(era, &how);
            let message = format!("era {era} has begun{how}: what the topology server holds counts");
            self.tell_of_league("EraBegan", &message);
            return self.turn_control(id, era, control);
        }
        if is_new_spec {
            return self.turn_control(id, era, control);
        }
        let seats = |control: &Control| control.ballots.as_ref().map(|ballots| ballots.appointments.pages.clone());
        let moved = seats(&control) != seats(known);
        let standing = self.share_is_frozen(&control);
        let thawed = standing != league.frozen;
        // Whose words count, and who is to say them anew, follows from the level and the voters.
        let regards = |control: &Control| {
            control.ballots.as_ref().map(|ballots| (ballots.lost.clone(), ballots.feature, ballots.voters.epoch))
        };
        let regarded = regards(&control) != regards(known);
        if let Some(league) = &mut self.league {
            (league.control, league.frozen) = (control, standing.clone());
        }
        self.tell_standing();
        if thawed {
            let message = standing.unwrap_or_else(|| "this member takes part in the league".to_owned());
            self.log(Level::Info, None, message);
        }
        if moved || thawed || regarded {
            self.touch_all();
            self.refresh_members();
            self.continue_all_requests();
        } else {
            self.judge_federations();
        }
        self.catch_up();
    }

    /// A member that others have voted lost reads everything once more before it acts again.
    pub(crate) fn catch_up(&mut self) {
        let ballots = self.league.as_ref().and_then(|league| league.control.ballots.as_ref());
        let is_lost = ballots.is_some_and(|ballots| ballots.lost.contains_key(&self.config.member));
        match (is_lost, self.ballots.catching_up) {
            (true, CatchingUp::Not) => {
                self.ballots.catching_up = CatchingUp::Reading;
                self.log(
                    Level::Warning,
                    None,
                    "the others have voted this member lost: it reads everything anew before it acts",
                );
                self.read_all_anew();
            }
            (false, _) => self.ballots.catching_up = CatchingUp::Not,
            (true, _) => {}
        }
    }

    /// Everything has been read.
    pub(crate) fn caught_up(&mut self) {
        if self.ballots.catching_up == CatchingUp::Reading {
            self.ballots.catching_up = CatchingUp::Done;
        }
        self.ballots.look = true;
    }

    /// Gives the proposer what is to be said and was not given to it yet, and takes back what is not to
    /// be said any more. Returns whether something was given.
    fn bring_motions(&mut self) -> bool {
        if self.config.observe || !self.topology.is_loaded() {
            return false;
        }
        self.sign_join();
        let (edit, rotation, cluster) = (self.spec_to_propose(), self.rotation_to_propose(), self.view_cluster());
        let Some((proposer, league)) = self.ballots.proposer.as_ref().zip(self.league.as_ref()) else { return false };
        let Some(join) = &self.ballots.join else { return false };
        // What is wanted hangs on the newest document: while that is not acted on, it is not known.
        let is_turned = proposer.version().is_some() && proposer.version() == self.ballots.turned.as_ref();
        if proposer.frozen().is_some() || self.topology.replaced.is_some() || !is_turned {
            return false;
        }
        let Some(ballots) = &league.control.ballots else { return false };
        let place = ballots.voters.place(&self.config.member, &self.config.cluster_uid, &self.config.signer.public());
        let tally = tally(ballots, league.id, proposer.verifier());
        let silent_ms = |member: &MemberName| self.silence_ms(member);
        let suspect_after_ms = self.suspect_after_ms();
        let sight = Sight {
            control: &league.control,
            spec: &league.spec,
            tally: &tally,
            place: &place,
            join,
            views: Views {
                member: &self.config.member,
                release: &self.config.release,
                cluster: &cluster,
                key: self.config.signer.public(),
                silent_ms: &silent_ms,
                suspect_after_ms,
                lost_after_ms: silence::lost_after_ms(self.config.heartbeat_ms),
            },
            edit,
            rotation,
            caught_up: self.ballots.catching_up == CatchingUp::Done,
            rests: &|key| {
                let proposed = self.ballots.proposed.get(key);
                proposed.is_some_and(|at| self.now.monotonic_ms < at + RETRY_MS)
                    && !self
                        .ballots
                        .pending
                        .keys()
                        .any(|topic| matches!(topic, Topic::Decide(pending, _) if pending == key))
            },
        };
        let wanted = wanted(&sight);
        let council = &mut self.ballots;
        let Some(proposer) = &mut council.proposer else { return false };
        council.pending.retain(|topic, ticket| {
            let kept = wanted.contains_key(topic);
            if !kept {
                proposer.cancel(*ticket);
            }
            kept
        });
        let mut given = false;
        for (topic, motion) in wanted {
            if council.answered.contains(&topic) || council.pending.contains_key(&topic) {
                continue;
            }
            if let Topic::Decide(key, _) = &topic {
                council.proposed.insert(key.clone(), self.now.monotonic_ms);
            }
            let ticket = proposer.want(motion);
            council.pending.insert(topic, ticket);
            given = true;
        }
        given
    }

    /// Consents to join, once: as a witness where the spec lists this member so.
    fn sign_join(&mut self) {
        let Some(league) = &self.league else { return };
        let witness = league.spec.member(&self.config.member).is_some_and(|member| member.witness);
        let speaks = self.config.release.level;
        if self.ballots.join.as_ref().is_some_and(|join| join.voter.witness == witness) {
            return;
        }
        let (signer, uid) = (&self.config.signer, self.config.cluster_uid.clone());
        let consent = consent(signer, league.id, &uid, witness);
        self.ballots.join = Some(Join { consent, speaks, voter: Voter { key: signer.public(), uid, witness } });
    }

    /// For how long a member has said nothing while this operator could have heard it.
    pub(crate) fn silence_ms(&self, member: &MemberName) -> u64 {
        if member == &self.config.member || self.topology.down_since_ms.is_some() || !self.topology.is_loaded() {
            return 0;
        }
        let heard = self.topology.cells.get(member).map_or(0, |cell| cell.changed_ms);
        self.hearing_ms().saturating_sub(heard.max(self.ballots.heard_since_ms))
    }

    /// A process that was stopped for a while has heard nobody meanwhile, and that is nobody's fault.
    pub(crate) fn notice_pause(&mut self) {
        let now = self.now.monotonic_ms;
        let late = |beaten: u64| now.saturating_sub(beaten) > 2 * self.config.heartbeat_ms + 500;
        if self.ballots.beaten_ms.is_some_and(late) {
            self.ballots.heard_since_ms = self.hearing_ms();
        }
        self.ballots.beaten_ms = Some(now);
    }

    /// Silence after which this operator suspects a member, in milliseconds.
    pub(crate) fn suspect_after_ms(&self) -> u64 {
        silence::suspect_after_ms(self.config.heartbeat_ms)
    }

    /// Whether the spec's home may be taken by another member.
    pub(crate) fn may_take_spec(&self) -> bool {
        let control = self.league.as_ref().map(|league| &league.control);
        control.is_some_and(|control| control.ballots.as_ref().is_some_and(|ballots| may_take_home(control, ballots)))
    }
}
