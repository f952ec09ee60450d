//! The world: what is due, in order of time, and everything that it happens to.
//!
//! Nothing runs by itself. Each act of an operator becomes something due a little later, and so does
//! each answer; which of them are lost, late or refused is drawn from the seed. Time is virtual: it
//! jumps to whatever is due next.

mod api;
mod events;
mod grown;
mod history;
mod hostile;
mod incidents;
mod topo;
mod troubles;

use crate::clock::Clock;
use crate::install;
use crate::judge::{Judge, Violation};
use crate::member::{self, Member, Reach};
use crate::process::{Process, ProcessId};
use crate::random::Random;
use crate::reached::Hazard;
use crate::sabotage::{Sabotage, Sight};
use crate::settings::{Settings, Trouble};
use crate::store::Store;
use crate::story::Story;
use crate::users::Users;
use hansa_ballot::Signer;
use hansa_kubesim::core::Core;
use hansa_ledger::Version;
use hansa_model::{FederatedType, Incarnation, MemberName};
use hansa_operator::{
    Act, ActId, ApiRequest, Config, Event, Level, Now, Operator, PrivateKeys, TopoAnswer, TopoRequest,
};
use std::collections::BTreeMap;

pub(crate) use incidents::Heal;
pub(crate) use topo::TopoFate;

/// Names of members, in the order in which leagues grow.
const NAMES: [&str; 5] = ["aws", "gcp", "azure", "onprem", "edge"];

/// The name of a member by its place.
fn name(place: usize) -> MemberName {
    let name = NAMES.get(place).map_or_else(|| format!("m{place:02}"), |name| (*name).to_owned());
    name.parse().expect("the names are DNS labels")
}

/// Something that happens at its time.
pub(crate) enum Due {
    /// An event reaches a process.
    Event(ProcessId, Event),
    /// A request reaches an API server.
    Api(ProcessId, ActId, ApiRequest),
    /// A watch reaches an API server.
    Watch(ProcessId, ActId, ApiRequest),
    /// A watch has something to tell, maybe.
    Poll(ProcessId, ActId),
    /// A call reaches the topology server.
    Topo(ProcessId, ActId, TopoRequest, TopoFate),
    /// A write whose sender has given up reaches the topology server all the same.
    Landing { writer: usize, key: String, expected: Option<Version>, value: bytes::Bytes },
    /// A type is to be installed.
    Install(ProcessId, ActId, FederatedType),
    /// The time that a process waited for.
    Wake(ProcessId, u64),
    /// The controllers of an API server have work.
    Tick(usize),
    /// A user does something.
    User,
    /// Something breaks.
    Incident,
    /// What some storms have besides.
    Trouble,
    /// A tool applies what is missing.
    GitOps,
    /// The changes that the topology server has gathered are told.
    Gathered,
    /// Something that broke is whole again.
    Heal(Heal),
}

/// The world of one seed.
pub struct World {
    pub(crate) now: u64,
    serial: u64,
    due: BTreeMap<(u64, u64), Due>,
    pub(crate) random: Random,
    /// Of what some storms have besides.
    pub(crate) troubles: Random,
    /// How the topology server is, when it is not well.
    pub(crate) weather: Option<troubles::Weather>,
    /// Whether the topology server gathers changes that it has not told yet.
    gathering: bool,
    /// What the topology server was.
    pub(crate) history: history::History,
    pub(crate) settings: Settings,
    /// Nothing fails any more, and users are at rest.
    pub(crate) calm: bool,
    pub(crate) store: Store,
    pub(crate) members: Vec<Member>,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    /// Which member each process, dead ones too, belongs to.
    homes: BTreeMap<ProcessId, usize>,
    started: u32,
    /// How many cores were made: each one's uids are its own.
    pub(crate) cores: u64,
    pub(crate) story: Story,
    pub(crate) judge: Judge,
    pub(crate) users: Users,
    pub(crate) sabotage: Option<Sabotage>,
}

impl World {
    /// The world of a seed, before anything happens.
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        // So that neighbouring seeds and the other source have nothing in common with it.
        let mut others = Random::new(seed ^ 0x7472_6f75_626c_6573);
        let settings = Settings::of(&mut random, &mut others);
        let mut world = World {
            now: 0,
            serial: 0,
            due: BTreeMap::new(),
            random: random.fork(),
            troubles: others,
            weather: None,
            gathering: false,
            history: history::History::default(),
            calm: false,
            store: Store::default(),
            members: Vec::new(),
            processes: BTreeMap::new(),
            homes: BTreeMap::new(),
            started: 0,
            cores: seed.wrapping_mul(1000),
            story: Story::default(),
            judge: Judge::new(settings.pages),
            users: Users::new(random.fork(), &settings),
            settings,
            sabotage,
        };
        for place in 0..world.settings.members {
            let name = name(place);
            let clock = Clock {
                uptime_ms: world.random.below(100_000_000),
                drift_ppm: world.random.below(40_000) as i64 - 20_000,
                wall_offset_ms: world.random.below(600_000) as i64 - 300_000,
            };
            let core = world.new_core();
            let signer = Signer::new(name.clone(), world.random.bytes());
            world.members.push(Member {
                name,
                clock,
                keys: PrivateKeys::new(world.random.bytes(), world.random.bytes()),
                signer,
                former: Vec::new(),
                core,
                down: false,
                reach: Reach::Both,
                leader: None,
                ticks_ms: None,
                asks: None,
                backup: None,
                writes: 0,
            });
        }
        world.judge.keeps_history = world.settings.has(Trouble::History);
        world.judge.watches_words = world.settings.has(Trouble::Forgery);
        world.judge.watches_voters = world.settings.has(Trouble::Membership) || world.settings.has(Trouble::Leaving);
        world.judge.watches_members = world.settings.has(Trouble::Leaving) || world.settings.has(Trouble::Witness);
        world
    }

    fn new_core(&mut self) -> Core {
        self.cores += 1;
        Core::new(member::config(self.cores, self.settings.workloads), Member::time(self.now))
    }

    /// How many events have happened.
    pub fn events(&self) -> u64 {
        self.serial
    }

    pub(crate) fn tell(&mut self, who: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.story.tell(self.now, who, what);
    }

    pub(crate) fn after(&mut self, pause_ms: u64, due: Due) {
        self.at(self.now + pause_ms, due);
    }

    pub(crate) fn at(&mut self, at: u64, due: Due) {
        self.serial += 1;
        self.due.insert((at.max(self.now), self.serial), due);
    }

    /// Lets everything happen that is due until a time.
    ///
    /// # Errors
    /// The first invariant that breaks.
    pub fn run_until(&mut self, until: u64) -> Result<(), Violation> {
        while let Some(next) = self.due.first_entry()
            && next.key().0 <= until
        {
            let ((at, _), due) = next.remove_entry();
            self.now = at;
            self.happen(due)?;
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, due: Due) -> Result<(), Violation> {
        match due {
            Due::Event(process, event) => self.deliver(process, event),
            Due::Api(process, id, request) => self.api_arrives(process, id, &request),
            Due::Watch(process, id, request) => {
                self.watch_arrives(process, id, &request);
                Ok(())
            }
            Due::Poll(process, id) => {
                self.poll(process, id);
                Ok(())
            }
            Due::Topo(process, id, request, fate) => self.topo_arrives(process, id, request, fate),
            Due::Landing { writer, key, expected, value } => self.land(writer, &key, expected.as_ref(), value),
            Due::Install(process, id, federated_type) => {
                self.install(process, id, &federated_type);
                Ok(())
            }
            Due::Wake(id, monotonic_ms) => {
                let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
                if process.wake != Some(monotonic_ms) {
                    return Ok(());
                }
                process.wake = None;
                self.deliver(id, Event::Wake)
            }
            Due::Tick(member) => {
                self.tick(member);
                Ok(())
            }
            Due::User if self.calm => Ok(()),
            Due::User => {
                self.user_acts()?;
                let pause = self.users.random.within(self.settings.user_pause_ms.clone());
                self.after(pause, Due::User);
                Ok(())
            }
            Due::Incident if self.calm => Ok(()),
            Due::Incident => {
                self.incident()?;
                let pause = self.random.within(self.settings.incident_pause_ms.clone());
                self.after(pause, Due::Incident);
                Ok(())
            }
            Due::Trouble | Due::GitOps if self.calm => Ok(()),
            Due::Trouble => {
                self.next_trouble();
                self.trouble()
            }
            Due::GitOps => {
                self.gitops_syncs();
                let pause = self.troubles.within(1_000..8_000);
                self.after(pause, Due::GitOps);
                Ok(())
            }
            Due::Gathered => {
                self.tell_gathered();
                Ok(())
            }
            Due::Heal(heal) => self.heal(heal),
        }
    }

    // --- processes ---

    /// Starts an operator, which becomes the member's leader.
    pub(crate) fn start(&mut self, member: usize) -> Result<(), Violation> {
        self.started += 1;
        let id = ProcessId(self.started);
        let now = self.now;
        let entropy = self.random.next();
        let max_in_flight = self.random.within(1..9) as usize;
        let here = &mut self.members[member];
        // As the runner makes it.
        let incarnation = Incarnation((here.clock.wall(now) << 12) | (entropy & 0xfff));
        let system = here.look(now, "/api/v1/namespaces/kube-system").unwrap_or_default();
        let config = Config {
            member: here.name.clone(),
            cluster_uid: system["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            kubernetes: "v1.37.2".to_owned(),
            release: hansa_operator::Release::this("0.1.0"),
            incarnation,
            public_keys: vec![here.signer.public().to_string(), here.keys.public()],
            signer: here.signer.clone(),
            namespace: "hansa-system".to_owned(),
            keys: here.keys.clone(),
            rotation: None,
            observe: false,
            max_in_flight,
            heartbeat_ms: self.settings.heartbeat_ms,
            values_per_read: self.settings.values_per_read(),
            pages: self.settings.pages,
        };
        if let Err(error) = install::own_kinds(here, now) {
            self.tell(self.members[member].name.clone(), format!("Hansa's own kinds are not installed: {error}"));
        }
        let here = &mut self.members[member];
        here.leader = Some(id);
        here.asks = None;
        let name = here.name.clone();
        self.tell(&name, format!("process {} starts", id.0));
        self.after_change(member);
        self.homes.insert(id, member);
        self.processes.insert(id, Process::new(member, Operator::new(config)));
        self.deliver(id, Event::Start)
    }

    /// Ends a process at once. What it sent is under way: some of it arrives, some does not.
    pub(crate) fn kill(&mut self, id: ProcessId, why: &str) {
        let Some(process) = self.processes.remove(&id) else { return };
        let here = &mut self.members[process.member];
        if here.leader == Some(id) {
            here.leader = None;
        }
        for watching in process.watches.values() {
            if let Some(watch) = watching.watch {
                here.core.close_watch(watch);
            }
        }
        let name = here.name.clone();
        self.tell(&name, format!("process {} {why}", id.0));
        let random = &mut self.random;
        self.due.retain(|_, due| match due {
            Due::Event(of, _) | Due::Wake(of, _) | Due::Poll(of, _) | Due::Watch(of, ..) | Due::Install(of, ..) => {
                *of != id
            }
            Due::Api(of, ..) | Due::Topo(of, ..) => *of != id || random.chance(500),
            _ => true,
        });
        self.judge.forget_process(id);
    }

    pub(crate) fn name_of(&self, id: ProcessId) -> String {
        let member = self.processes.get(&id).map(|process| process.member);
        member.map_or_else(|| "nobody".to_owned(), |member| self.members[member].name.to_string())
    }

    fn deliver(&mut self, id: ProcessId, mut event: Event) -> Result<(), Violation> {
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        if let Some(inbox) = &mut process.stopped {
            inbox.push(event);
            return Ok(());
        }
        let under_way = match &event {
            Event::Api { id, .. } | Event::WatchClosed { id, .. } | Event::Topo { id, .. } => {
                process.under_way.remove(id)
            }
            Event::TypeInstalled { id, .. } => process.under_way.remove(id),
            Event::WatchLine { id, .. } => process.under_way.get(id).cloned(),
            Event::Start | Event::Wake | Event::Query { .. } => None,
        };
        let member = process.member;
        if events::is_expired(&event) {
            self.judge.reached.count(Hazard::WatchExpired);
        }
        if matches!(&event, Event::Api { answer: Err(_), .. }) {
            self.judge.is_not_answered(self.now, id);
        }
        // What was really answered, whatever a broken operator makes of it.
        if let Event::Topo { id: act, answer } = &event {
            let (now, key) = (self.now, self.members[member].signer.public());
            self.judge.topo_told(now, id, *act, answer, &key);
        }
        let cause = under_way.clone().unwrap_or_default();
        let mut besides = None;
        if let Some(sabotage) = self.sabotage {
            process.remember(&event, &cause);
            let sight = Sight { store: &self.store, member: &self.members[member].name };
            besides = sabotage.does_besides(&event, &cause, &sight);
            sabotage.twist_event(&mut event, &cause, &process.told, &sight);
        }
        if let Some(text) = events::tell_event(&event, under_way.as_deref().unwrap_or_default()) {
            let name = self.members[member].name.clone();
            self.tell(&name, text);
        }
        let entropy = self.random.next();
        let clock = &self.members[member].clock;
        let now = Now { monotonic_ms: clock.monotonic(self.now), wall_ms: clock.wall(self.now), entropy };
        let process = self.processes.get_mut(&id).expect("it was there a moment ago");
        let acts = process.operator.step(event, now);
        for act in acts.into_iter().chain(besides) {
            self.carry_out(id, act, &cause)?;
        }
        Ok(())
    }

    /// Carries out what an operator does because it heard an answer to `cause`.
    fn carry_out(&mut self, id: ProcessId, mut act: Act, cause: &str) -> Result<(), Violation> {
        if let Some(sabotage) = self.sabotage
            && let Some(process) = self.processes.get_mut(&id)
        {
            if let Some((read, key)) = sabotage.answers_itself(&act, cause)
                && let Some(told) = process.told.get(&key).cloned()
            {
                process.under_way.insert(read, format!("topo read {key}"));
                let answer = TopoAnswer::Values(vec![Some(told)]);
                self.after(1, Due::Event(id, Event::Topo { id: read, answer }));
                return Ok(());
            }
            let member = &self.members[process.member].name;
            sabotage.twist_act(&mut act, &Sight { store: &self.store, member });
        }
        match act {
            Act::Api { id: act, request } => self.send_api(id, act, request),
            Act::Watch { id: act, request } => {
                self.send_watch(id, act, request);
                Ok(())
            }
            Act::CloseWatch { id: act } => {
                self.end_watch(id, act);
                Ok(())
            }
            Act::Topo { id: act, request } => self.send_topo(id, act, request),
            Act::InstallType { id: act, federated_type } => {
                let pause = self.latency();
                self.after(pause, Due::Install(id, act, federated_type));
                Ok(())
            }
            // No user here asks for a rotation.
            Act::ChangeKeys(_) => Ok(()),
            Act::WakeAt { monotonic_ms } => {
                let now = self.now;
                let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
                process.wake = Some(monotonic_ms);
                // A timer is never exact, and what is due at once must let time go on.
                let at = self.members[process.member].clock.when(monotonic_ms, now).max(now + 1);
                self.at(at, Due::Wake(id, monotonic_ms));
                Ok(())
            }
            Act::Reply { answer, .. } => {
                self.judge.shown(&answer);
                self.users.answered(&answer);
                Ok(())
            }
            Act::Log(note) => {
                if note.level > Level::Debug {
                    self.asks_of_people(id, &note.message);
                    let asks_for_anew = note.message.contains("say anew what is meant");
                    self.users.rejected.extend(note.key.iter().filter(|_| asks_for_anew).cloned());
                    let name = self.name_of(id);
                    let key = note.key.map(|key| format!("{key}: ")).unwrap_or_default();
                    self.tell(name, format!("says: {key}{}", note.message));
                }
                Ok(())
            }
        }
    }

    /// Asks a process what waits for a confirmation; the answer goes to the users.
    pub(crate) fn ask_held(&mut self, id: ProcessId) -> Result<(), Violation> {
        self.deliver(id, Event::Query { query: 1, question: hansa_operator::Question::Held })
    }

    fn install(&mut self, id: ProcessId, act: ActId, federated_type: &FederatedType) {
        let Some(process) = self.processes.get(&id) else { return };
        let member = process.member;
        let now = self.now;
        let here = &mut self.members[member];
        let answer = if here.down {
            Err("the API server cannot be reached".to_owned())
        } else {
            install::install(here, now, federated_type)
        };
        if !here.down && answer.is_err() {
            self.judge.reached.count(Hazard::KindNotServed);
        }
        self.after_change(member);
        let pause = self.latency();
        self.after(pause, Due::Event(id, Event::TypeInstalled { id: act, answer }));
    }

    pub(crate) fn latency(&mut self) -> u64 {
        match !self.calm && self.random.chance(self.settings.chances.slow) {
            true => self.random.within(200..4_000),
            false => self.random.within(1..16),
        }
    }
}
