//! What follows from a seed before anything happens: how large the league is, how bad the weather.

use crate::kinds::{KINDS, Kind};
use crate::random::Random;
use std::ops::Range;

/// How often a call meets each fault, in a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chances {
    /// An API server's connection is refused: nothing happened.
    pub api_refused: u64,
    /// A request to an API server is carried out, and the answer is lost.
    pub api_answer_lost: u64,
    /// An API server is overloaded: 429, 500, 503 or 504, and nothing happened.
    pub api_busy: u64,
    /// The topology server cannot be reached, or throttles: nothing happened.
    pub topo_refused: u64,
    /// A write to the topology server happens, and the answer is lost.
    pub topo_answer_lost: u64,
    /// The answer is lost, and the write happens only later.
    pub topo_late: u64,
    /// The answer is lost, and the write never happens.
    pub topo_dropped: u64,
    /// Changes that were told are told again.
    pub topo_repeated: u64,
    /// A call or an answer is on its way for seconds.
    pub slow: u64,
}

/// What happens in some storms only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// A member can read the topology server, and not write to it.
    ReadOnly,
    /// The topology server is slow, or throttles.
    Weather,
    /// The CRD of a federated kind is deleted in a member.
    Definitions,
    /// Users ask what would become of an object.
    Plans,
    /// Members are taken into the spec, and out of it.
    Membership,
    /// Members are let go in order: the spec says that they are leaving.
    Leaving,
    /// One more member votes, and has no objects.
    Witness,
    /// Users give new revisions to one wave of members after the other.
    Waves,
    /// A hostile hand puts words into others' mouths.
    Forgery,
    /// The topology server goes back, or is restored from a backup.
    History,
}

/// Each with how often a storm has it, in a thousand.
const TROUBLES: [(Trouble, u64); 10] = [
    (Trouble::ReadOnly, 200),
    (Trouble::Weather, 200),
    (Trouble::Definitions, 150),
    (Trouble::Plans, 200),
    (Trouble::Membership, 200),
    (Trouble::Leaving, 150),
    (Trouble::Witness, 120),
    (Trouble::Waves, 200),
    (Trouble::Forgery, 100),
    (Trouble::History, 150),
];

/// As many founders make a league large.
const LARGE: usize = 15;

/// A seed's world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many clusters there are.
    pub members: usize,
    /// How many of them the league has at first; the others may be let in.
    pub founders: usize,
    /// How many pages: few, so that writers meet.
    pub pages: u32,
    /// How many namespaces users write to.
    pub namespaces: usize,
    /// How many names there are in each.
    pub names: usize,
    /// Whether there are Deployments too, and controllers that make them live.
    pub workloads: bool,
    /// How long users act and faults happen.
    pub storm_ms: u64,
    /// The pause between two acts of users.
    pub user_pause_ms: Range<u64>,
    /// The pause between two incidents.
    pub incident_pause_ms: Range<u64>,
    /// How often a call meets a fault.
    pub chances: Chances,
    /// The weight that may always go within the breaker's window.
    pub budget: u64,
    /// Whether API servers are backed up and restored again and again.
    pub restores: bool,
    /// Whether one member stays dead while the others must converge without it.
    pub casualty: bool,
    /// How often an operator says that it lives.
    pub heartbeat_ms: u64,
    /// How long the topology server gathers changes before it tells them, as those do that are polled; 0: not at all.
    pub gather_ms: u64,
    /// What else happens, besides incidents that every storm may have.
    pub troubles: Vec<Trouble>,
    /// Whether a tool applies again whatever is missing of what it keeps.
    pub gitops: bool,
}

impl Settings {
    /// What follows from a seed: `others` decides on what is not in every storm.
    pub fn of(random: &mut Random, others: &mut Random) -> Self {
        let mut chance = |most: u64| if random.chance(400) { 0 } else { random.below(most) };
        let chances = Chances {
            api_refused: chance(60),
            api_answer_lost: chance(120),
            api_busy: chance(60),
            topo_refused: chance(60),
            topo_answer_lost: chance(150),
            topo_late: chance(100),
            topo_dropped: chance(100),
            topo_repeated: chance(100),
            slow: chance(80),
        };
        let members = 2 + [0, 0, 1, 1, 2, 3][random.below(6) as usize];
        let user = random.within(300..3_000);
        let restores = random.chance(200);
        let incident = random.within(1_500..if restores { 5_000 } else { 20_000 });
        let mut settings = Settings {
            founders: members,
            members,
            pages: random.within(1..5) as u32,
            namespaces: random.within(1..3) as usize,
            names: random.within(1..5) as usize,
            workloads: random.chance(300),
            storm_ms: random.within(15_000..60_000),
            user_pause_ms: user / 4..user * 2,
            incident_pause_ms: incident / 4..incident * 2,
            chances,
            budget: random.within(1..12),
            restores,
            casualty: random.chance(150),
            heartbeat_ms: 10_000,
            gather_ms: 0,
            troubles: TROUBLES.iter().filter(|(_, permille)| others.chance(*permille)).map(|(one, _)| *one).collect(),
            gitops: others.chance(200),
        };
        settings.grow(others);
        settings
    }

    /// The kinds that are federated.
    pub(crate) fn kinds(&self) -> &'static [Kind] {
        if self.workloads { &KINDS } else { &KINDS[..1] }
    }

    /// Whether the storm has this.
    pub(crate) fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }

    /// The founder that is a witness, if one is.
    pub(crate) fn witness(&self) -> Option<usize> {
        self.has(Trouble::Witness).then(|| self.founders - 1)
    }

    /// Whether the league is too large to be watched while it grows.
    pub(crate) fn is_large(&self) -> bool {
        self.founders >= LARGE
    }

    /// How many values one read of the topology server takes. One, as on an object store, lets what is in the heartbeats of
    /// others be heard as late as it may be; in a large league that would be many minutes of nothing else.
    pub(crate) fn values_per_read(&self) -> usize {
        if self.is_large() { 4 } else { 1 }
    }

    /// Most leagues are small; some are not, and some of them grow.
    fn grow(&mut self, others: &mut Random) {
        match others.below(100) {
            0 => self.be_large(others),
            1..=4 => {
                self.members = others.within(7..13) as usize;
                // Members are let in one after the other.
                self.storm_ms += 1_000 * self.members as u64;
            }
            _ => {}
        }
        self.members += usize::from(self.has(Trouble::Witness));
        self.founders = self.members;
        if self.has(Trouble::Membership) {
            self.members += others.within(1..3) as usize;
            self.casualty = false;
        }
        self.casualty &= !self.has(Trouble::History);
    }

    /// Each operator of a large league hears the others and reads what they agree on: few objects and a short storm
    /// are work enough.
    fn be_large(&mut self, others: &mut Random) {
        self.members = others.within(LARGE as u64..51) as usize;
        self.storm_ms = others.within(10_000..20_000);
        (self.namespaces, self.names) = (1, 2);
        self.workloads = false;
        self.heartbeat_ms = 30_000;
        self.gather_ms = 500;
    }
}
