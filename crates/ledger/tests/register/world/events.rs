//! What happens: deliveries, faults, crashes, restores.

use super::*;

impl Setting {
    fn crash(&self, world: &mut World, me: usize) {
        let client = &mut world.clients[me];
        client.life += 1;
        client.begun = 0;
        client.known = None;
        client.lease = None;
        let life = if self.is_broken(Sabotage::Incarnation) { 0 } else { client.life };
        client.ballots = Ballots::new(proposer(me, life));
        if let Some((step, _)) = client.operation.take() {
            client.script.push_front(step);
        }
        self.next_step(world, me);
    }

    /// Whether the assumptions allow a restore now: what was acknowledged lies on the other stores,
    /// because a store that is behind counts as failed already, and one more is too many.
    pub(super) fn may_restore(&self, world: &World) -> bool {
        let latest = world.witness.chosen.last_key_value().map(|(_, state)| &state.version);
        let holds = |store: &Store| {
            let accepted = store.copies.get(KEY).and_then(|(_, copy)| copy.accepted.as_ref());
            accepted.is_some_and(|accepted| Some(&accepted.state.version) == latest)
        };
        world.backup.as_ref().is_some_and(|backup| *backup != world.stores[0]) && world.stores[1..].iter().all(holds)
    }

    fn restore(&self, world: &mut World) {
        let Some(backup) = world.backup.take() else { return };
        // What it forgets and nobody knows to be chosen is as if it had never accepted it.
        let kept = backup.copies.get(KEY).and_then(|(_, copy)| copy.accepted_ballot().cloned());
        for (ballot, acceptors) in &mut world.witness.acceptors {
            if acceptors.len() <= self.stores / 2 && kept.as_ref() != Some(ballot) {
                acceptors.remove(&0);
            }
        }
        world.stores[0] = backup;
        // Its connections break, and a restore takes longer than any operation is given.
        world.network.retain(|address, _| address.store != 0);
        for me in 0..world.clients.len() {
            let client = &mut world.clients[me];
            client.lease = None;
            if self.backup == Some(Backup::Prologue) && !self.is_broken(Sabotage::Clock) {
                client.ballots.tick(1000);
            }
            if let Some(outcome) = client.operation.as_mut().and_then(|(_, operation)| operation.give_up()) {
                self.end(world, me, outcome);
            }
        }
    }

    /// Whether every client comes to its end when nothing fails any more and each is let go on in
    /// turn.
    pub(super) fn can_end(&self, world: &World) -> bool {
        let mut world = world.clone();
        for _ in 0..400 {
            let event = match world.network.keys().next().cloned() {
                Some(address) => Event::Deliver(address),
                None => {
                    let next =
                        (0..world.clients.len()).find(|me| world.clients[*me].waiting || world.clients[*me].refreshing);
                    match next {
                        Some(me) if world.clients[me].refreshing => Event::Refresh(me),
                        Some(me) => Event::Wake(me),
                        None => return world.clients.iter().all(|client| client.operation.is_none()),
                    }
                }
            };
            self.happen(&mut world, event);
        }
        false
    }

    pub(super) fn happen(&self, world: &mut World, event: Event) {
        match event {
            Event::Deliver(address) => {
                let Some(request) = world.network.remove(&address) else { return };
                let reply = self.serve(world, address.client, address.store, &request);
                self.tell(world, &address, reply);
            }
            Event::LoseAnswer(address) => {
                world.faults.lost_answers -= 1;
                let Some(request) = world.network.remove(&address) else { return };
                self.serve(world, address.client, address.store, &request);
                self.tell(world, &address, Reply::Unknown);
            }
            Event::Delay(address) => {
                world.faults.late_writes -= 1;
                let Some(request) = world.network.remove(&address) else { return };
                world.network.insert(Address { late: true, ..address.clone() }, request);
                self.tell(world, &address, Reply::Unknown);
            }
            Event::Repeat(address) => {
                world.faults.repeated -= 1;
                let Some(request) = world.network.remove(&address) else { return };
                let reply = self.serve(world, address.client, address.store, &request);
                world.network.insert(Address { late: true, ..address.clone() }, request);
                self.tell(world, &address, reply);
            }
            Event::Fail(address) => {
                world.faults.failures -= 1;
                world.network.remove(&address);
                self.tell(world, &address, Reply::Failed);
            }
            Event::Start(me) => {
                world.clients[me].paused = false;
                self.next_step(world, me);
            }
            Event::Wake(me) => {
                world.wakes = world.wakes.saturating_sub(1);
                let client = &mut world.clients[me];
                client.waiting = false;
                let Some((_, operation)) = &mut client.operation else { return };
                let acts = operation.wake(&mut client.ballots);
                self.act(world, me, acts);
            }
            Event::Hurry(me) => {
                let client = &mut world.clients[me];
                client.hurried = true;
                let Some((_, operation)) = &mut client.operation else { return };
                let acts = operation.hurry(&mut client.ballots);
                self.act(world, me, acts);
            }
            Event::Refresh(me) => {
                let set = world.sets.last().cloned();
                let client = &mut world.clients[me];
                client.refreshing = false;
                let (Some((_, operation)), Some(set)) = (&mut client.operation, set) else { return };
                client.set = set.clone();
                let acts = operation.adopt(set, &mut client.ballots);
                self.act(world, me, acts);
            }
            Event::Crash(me) => {
                world.faults.crashes -= 1;
                self.crash(world, me);
            }
            Event::Restore => self.restore(world),
        }
        if !self.is_broken(Sabotage::Recheck) {
            world.prune();
        }
    }
}
