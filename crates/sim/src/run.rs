//! One seed from beginning to end.

use crate::judge::Violation;
use crate::judge::rules::{CONVERGES, LOST, SILENT, STALLS};
use crate::reached::{Hazard, Reached};
use crate::sabotage::Sabotage;
use crate::story::Story;
use crate::world::{Due, World};
use hansa_operator::READS_PER_HEARTBEAT;

/// How long a league may take to come to rest: the longest back-off is five minutes.
const PATIENCE_MS: u64 = 1_500_000;

/// How long nothing may be written for the league to count as at rest: longer than who is refused waits until it tries
/// again.
const QUIET_MS: u64 = 65_000;

/// The same in every eighth league: longer than any watch lasts before it is opened again.
const LONG_QUIET_MS: u64 = 320_000;

/// How a seed ended.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first invariant that broke, if one did.
    pub violation: Option<Violation>,
    /// What happened.
    pub story: Story,
    /// How many events there were.
    pub events: u64,
    /// How much virtual time passed, in milliseconds.
    pub virtual_ms: u64,
    /// Which hazards were met.
    pub reached: Reached,
}

/// Tells the story of a seed, with a defect or without.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let mut world = World::new(seed, sabotage);
    let violation = tell(&mut world).err();
    if let Some(violation) = &violation {
        world.tell("judge", violation);
    }
    let (events, virtual_ms, reached) = (world.events(), world.now, world.judge.reached.clone());
    Outcome { seed, violation, events, virtual_ms, reached, story: world.story }
}

fn tell(world: &mut World) -> Result<(), Violation> {
    let settings = format!("{:?}", world.settings);
    world.tell("", settings);
    world.begin()?;
    world.run_until(world.settings.storm_ms)?;
    let last = world.members.len() - 1;
    // Without a quorum nothing is agreed on, by design.
    let casualty =
        Some(last).filter(|last| world.settings.casualty && world.judge.may_lose(&world.members[*last].name));
    world.end_storm(casualty)?;
    world.run_until(world.now + 5_000)?;
    world.unpause();
    if casualty.is_some() {
        // Long enough for the others to hear that it does not reach its API server.
        world.run_until(world.now + 30_000)?;
        world.users_go_on();
        // Who was voted in while it was dying may be needed for a quorum.
        if world.judge.may_lose(&world.members[last].name) {
            world.come_to_rest(STALLS, casualty)?;
            world.judge.reached.count(Hazard::MemberDead);
            world.is_voted_lost(last)?;
        }
        world.end_storm(None)?;
        world.unpause();
    }
    world.come_to_rest(CONVERGES, None)?;
    world.restart_all()?;
    world.judge.reached.count(Hazard::RestartedInSilence);
    Ok(())
}

impl World {
    /// A voter that stays dead is voted lost; back, it is taken back, or the league does not come to rest.
    fn is_voted_lost(&mut self, dead: usize) -> Result<(), Violation> {
        let name = self.members[dead].name.clone();
        if !self.judge.votes(&name) || self.settings.storm_ms.is_multiple_of(2) {
            return Ok(());
        }
        // Until now its operator lived, and said that it does not reach its API server.
        if let Some(id) = self.members[dead].leader {
            self.kill(id, "dies with its cluster");
        }
        // Clocks drift, and a vote takes its time.
        let silent_ms = hansa_ballot::silence::lost_after_ms(self.settings.heartbeat_ms) * 5 / 4 + 20_000;
        self.run_until(self.now + silent_ms)?;
        if !self.judge.is_lost(&name) {
            return Err(Violation::new(LOST, format!("{name} was silent for {} s", silent_ms / 1000)));
        }
        self.judge.reached.count(Hazard::MemberVotedLost);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Violation> {
        for member in 0..self.members.len() {
            let now = self.now;
            if let Err(error) = crate::install::own_kinds(&mut self.members[member], now) {
                return Err(Violation::new("the world is sound", error));
            }
        }
        let federation = self.found();
        if self.settings.is_large() {
            self.be_grown(&federation)?;
        }
        for member in 0..self.members.len() {
            let pause = self.random.within(1..3_000);
            self.after(pause, Due::Heal(crate::world::Heal::Start(member)));
        }
        self.after(2_000, Due::User);
        self.after(4_000, Due::Incident);
        self.next_trouble();
        if self.settings.gitops {
            self.after(3_000, Due::GitOps);
        }
        Ok(())
    }

    /// How long it takes at most until everybody has read what each says of itself: the heartbeats of a league of more than
    /// three are read in turn, and clocks drift.
    fn told_in_turn_ms(&self) -> u64 {
        let others = self.members.len().saturating_sub(1);
        let at_once = READS_PER_HEARTBEAT * self.settings.values_per_read();
        let in_turn = if others > READS_PER_HEARTBEAT { others.div_ceil(at_once) } else { 0 };
        (in_turn as u64 + 1) * self.settings.heartbeat_ms * 5 / 4
    }

    /// Waits until everything is as agreed and nothing is written any more.
    fn come_to_rest(&mut self, rule: &'static str, dead: Option<usize>) -> Result<(), Violation> {
        let deadline = self.now + PATIENCE_MS + self.told_in_turn_ms();
        let mut since = self.now;
        let quiet_ms = if self.settings.storm_ms.is_multiple_of(8) { LONG_QUIET_MS } else { QUIET_MS };
        let quiet_ms = quiet_ms.max(self.told_in_turn_ms());
        let mut last = (0, String::new());
        loop {
            self.run_until(self.now + 5_000)?;
            self.clear_the_way()?;
            // What a dead member's operator tries again and again is its own trouble.
            let living = self.members.iter().enumerate().filter(|(index, _)| Some(*index) != dead);
            let writes: u64 = living.map(|(_, member)| member.writes).sum();
            let now = self.now;
            let why = self.judge.unrest(now, &mut self.members, dead).unwrap_or_default();
            if (writes, &why) != (last.0, &last.1) || !why.is_empty() {
                since = now;
            }
            if why.is_empty() && now - since >= quiet_ms {
                self.tell("judge", "all is as agreed, and quiet");
                return Ok(());
            }
            if now > deadline {
                let why = if why.is_empty() { "writes go on and on".to_owned() } else { why };
                return Err(Violation {
                    rule,
                    key: self.users.keys.iter().find(|key| why.contains(&key.to_string())).cloned(),
                    what: why,
                });
            }
            last = (writes, why);
        }
    }

    /// Everyone starts anew: nobody writes anything but heartbeats.
    fn restart_all(&mut self) -> Result<(), Violation> {
        for member in 0..self.members.len() {
            if let Some(id) = self.members[member].leader {
                self.kill(id, "is restarted");
            }
            self.members[member].writes = 0;
        }
        self.judge.only_heartbeats();
        for member in 0..self.members.len() {
            self.start(member)?;
        }
        self.run_until(self.now + 90_000)?;
        if let Some(member) = self.members.iter().find(|member| member.writes > 0) {
            let what = format!("{} writes {} times after a restart", member.name, member.writes);
            return Err(Violation::new(SILENT, what));
        }
        let now = self.now;
        match self.judge.unrest(now, &mut self.members, None) {
            Some(why) => Err(Violation::new(CONVERGES, format!("after a restart: {why}"))),
            None => Ok(()),
        }
    }
}
