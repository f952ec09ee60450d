//! The world as a state space.

use super::*;
use stateright::{Model, Path, Property};
use std::hash::{DefaultHasher, Hash as _, Hasher};

impl Model for Setting {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let set = self.first_set();
        let mut stores = vec![Store::default(); self.stores];
        let mut known_set = None;
        if self.replaces() {
            stores.push(Store::default());
            let version = Version::new("1-formation");
            let content = Content::Inline(set.encode().into());
            let state = State { revision: 1, version: version.clone(), parent: None, content };
            known_set = Some(version);
            let ballot = Ballot { counter: 1, proposer: ProposerId { incarnation: 0, name: "formation".into() } };
            for store in &mut stores[..self.stores] {
                let accepted = Some(Accepted { ballot: ballot.clone(), state: state.clone() });
                let copy =
                    Copy { key: SET.into(), epoch: 1, promised: ballot.clone(), accepted, high_water: BTreeMap::new() };
                store.copies.insert(SET.into(), (1, copy));
            }
        }
        let clients = self.scripts.iter().enumerate().map(|(me, script)| Client {
            life: 0,
            ballots: Ballots::new(proposer(me, 0)),
            script: script.iter().copied().collect(),
            operation: None,
            begun: 0,
            tries: self.tries,
            paused: true,
            hurried: false,
            waiting: false,
            refreshing: false,
            known: known_set.clone().filter(|_| script.first() == Some(&Step::BeginReplacement)),
            lease: None,
            set: set.clone(),
            floor: 0,
        });
        let mut world = World {
            stores,
            clients: clients.collect(),
            network: BTreeMap::new(),
            faults: self.faults,
            wakes: self.wakes,
            in_prologue: self.prologue,
            backup: None,
            sets: vec![set.clone()],
            witness: Witness::default(),
        };
        if self.prologue {
            let rest = world.clients[0].script.split_off(1);
            self.next_step(&mut world, 0);
            while let Some(address) = world.network.keys().next().cloned() {
                self.happen(&mut world, Event::Deliver(address));
            }
            world.clients[0].script = rest;
            // The third store was late with the others' quorum, and has caught up.
            world.stores[2] = world.stores[1].clone();
            world.in_prologue = false;
            world.clients[0].lease = None;
            let known = world.clients[0].known.clone();
            for client in &mut world.clients {
                client.known = client.known.take().or_else(|| known.clone());
            }
        }
        world.backup = self.backup.map(|backup| match backup {
            Backup::Empty => Store::default(),
            Backup::Prologue => world.stores[0].clone(),
        });
        vec![world]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let Faults { lost_answers, late_writes, repeated, failures, crashes } = world.faults;
        for (address, request) in &world.network {
            events.push(Event::Deliver(address.clone()));
            let write = matches!(request, Request::Write { .. });
            if write && !address.late {
                let mut fault = |left: u8, event: fn(Address) -> Event| {
                    if left > 0 {
                        events.push(event(address.clone()));
                    }
                };
                fault(lost_answers, Event::LoseAnswer);
                fault(late_writes, Event::Delay);
                fault(repeated, Event::Repeat);
                fault(failures, Event::Fail);
            }
        }
        for (me, client) in world.clients.iter().enumerate() {
            if client.waiting && world.wakes > 0 {
                events.push(Event::Wake(me));
            }
            if !client.hurried && matches!(client.operation, Some((Step::Read, _))) {
                events.push(Event::Hurry(me));
            }
            if client.paused {
                events.push(Event::Start(me));
            }
            if client.refreshing {
                events.push(Event::Refresh(me));
            }
            if crashes > 0 && me == 0 && client.operation.is_some() {
                events.push(Event::Crash(me));
            }
        }
        if self.may_restore(world) {
            events.push(Event::Restore);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        self.happen(&mut next, event);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! unbroken {
            ($law:expr) => {
                Property::always($law, |_: &Setting, world: &World| !world.witness.broken.contains($law))
            };
        }
        vec![
            unbroken!(ONE_VALUE),
            unbroken!(ONE_LIFE),
            unbroken!(CHAIN),
            unbroken!(ACKNOWLEDGED),
            unbroken!(FRESH),
            unbroken!(BLOBS),
            Property::always(ENDS, |setting: &Setting, world: &World| {
                // One state in 32, chosen by what it is.
                !digest(world).is_multiple_of(32) || setting.can_end(world)
            }),
            Property::sometimes(WRITTEN, |setting: &Setting, world: &World| {
                world.witness.committed > u8::from(setting.prologue)
            }),
            Property::sometimes(ALL_WRITTEN, |setting: &Setting, world: &World| {
                let writes = setting.scripts.iter().flatten().filter(|step| **step == Step::Write).count();
                usize::from(world.witness.committed) == writes
            }),
            Property::sometimes(BARRED, |_, world: &World| world.witness.barred),
        ]
    }
}

/// The events of a path, one a line.
pub fn story(path: Path<World, Event>) -> String {
    let steps = path.into_actions();
    steps.iter().map(|event| format!("  {event:?}\n")).collect()
}

fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.network.hash(&mut hasher);
    hasher.finish()
}
