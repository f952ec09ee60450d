//! What changes, from one list after the other.
//!
//! Object stores tell nobody of changes. But a list has every object's version, a page of a thousand
//! in one request: the difference between two lists is what changed. A handle keeps the versions that
//! it has seen, numbers the changes, and remembers the newest change of each key; its own writes are
//! told at once.
//!
//! Nothing here asks for the time or the server: both come from outside.

use hansa_ledger::Version;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a handle knows of the changes so far. A place is the number of changes up to it.
pub(super) struct Feed {
    /// How many changes are remembered.
    kept: usize,
    /// Every key with what is known of it; none before the first list.
    known: Option<BTreeMap<String, Known>>,
    /// The keys whose newest change has this number.
    newest: BTreeMap<u64, String>,
    place: u64,
    /// Changes up to this place are forgotten.
    forgotten: u64,
    /// How many lists have begun.
    looks: u64,
    pace: Pace,
}

struct Known {
    version: Version,
    /// The number of its newest change; zero for what stood there at first.
    change: u64,
    /// How many lists had begun when this handle wrote it last.
    written: u64,
    /// When it changed last, and how many times without a pause.
    changed: Duration,
    beats: u32,
}

/// A list that has begun.
#[derive(Clone, Copy)]
pub(super) struct Look(u64);

/// The version told for a key that an administrator has deleted. No key is ever at it.
const DELETED: &str = "deleted";

impl Feed {
    pub(super) fn new(kept: usize) -> Self {
        Feed { kept, known: None, newest: BTreeMap::new(), place: 0, forgotten: 0, looks: 0, pace: Pace::default() }
    }

    /// Where the feed is; none before the first list.
    pub(super) fn place(&self) -> Option<u64> {
        self.known.as_ref().map(|_| self.place)
    }

    /// The changes after a place; none where they cannot be told.
    pub(super) fn since(&self, place: u64) -> Option<BTreeMap<String, Version>> {
        if place > self.place || place < self.forgotten {
            return None;
        }
        let known = self.known.as_ref()?;
        let changed = self.newest.range(place + 1..).map(|(_, key)| key);
        Some(changed.filter_map(|key| Some((key.clone(), known.get(key)?.version.clone()))).collect())
    }

    /// When the next list is due.
    pub(super) fn due(&self) -> Duration {
        self.pace.due()
    }

    /// A list begins.
    pub(super) fn begin(&mut self, now: Duration) -> Look {
        self.looks += 1;
        self.pace.looked(now);
        Look(self.looks)
    }

    /// The server asks to be left alone.
    pub(super) fn rest(&mut self, until: Duration) {
        self.pace.not_before = until;
    }

    /// A list has ended, whole, after so many requests.
    pub(super) fn seen(&mut self, look: Look, listed: BTreeMap<String, Version>, requests: u32, now: Duration) {
        self.pace.requests = requests.max(1);
        let Some(known) = &self.known else {
            let first = |version| Known { version, change: 0, written: 0, changed: now, beats: 0 };
            self.known = Some(listed.into_iter().map(|(key, version)| (key, first(version))).collect());
            return;
        };
        let gone = known.iter().filter(|(key, _)| !listed.contains_key(*key));
        let gone: Vec<_> = gone.map(|(key, _)| (key.clone(), Version::new(DELETED))).collect();
        for (key, version) in listed.into_iter().chain(gone) {
            // What this handle wrote meanwhile may be newer than the list.
            let overtaken = |known: &Known| known.version == version || known.written >= look.0;
            if !self.known.as_ref().and_then(|known| known.get(&key)).is_some_and(overtaken) {
                self.changed(key, version, 0, now);
            }
        }
    }

    /// This handle has written.
    pub(super) fn wrote(&mut self, key: &str, version: &Version, now: Duration) {
        if self.known.is_some() {
            self.changed(key.to_owned(), version.clone(), self.looks, now);
        }
    }

    fn changed(&mut self, key: String, version: Version, written: u64, now: Duration) {
        let Some(known) = &mut self.known else { return };
        self.place += 1;
        let beats = match known.get(&key) {
            Some(before) => {
                self.newest.remove(&before.change);
                if now.saturating_sub(before.changed) > PAUSE { 0 } else { before.beats + 1 }
            }
            None => 0,
        };
        if beats < HEARTBEAT {
            self.pace.news();
        }
        known.insert(key.clone(), Known { version, change: self.place, written, changed: now, beats });
        self.newest.insert(self.place, key);
        while self.newest.len() > self.kept {
            if let Some((forgotten, _)) = self.newest.pop_first() {
                self.forgotten = forgotten;
            }
        }
    }
}

/// A key that changes more often than this without a pause is a heartbeat, and no news.
const HEARTBEAT: u32 = 6;
const PAUSE: Duration = Duration::from_secs(300);

/// How often to list: soon while there is news, and a quarter of a request a second when there is none,
/// which leaves an idle operator the rest of one request a second for the heartbeats of its league.
struct Pace {
    /// When the last list began.
    looked: Option<Duration>,
    /// How many lists there were since the last news.
    quiet: u32,
    /// How many requests the last list took.
    requests: u32,
    not_before: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { looked: None, quiet: 0, requests: 1, not_before: Duration::ZERO }
    }
}

/// The shortest time between two lists, for each request that one takes.
const QUICK: Duration = Duration::from_millis(250);
/// After so many lists without news the time doubles…
const STEP: u32 = 8;
/// …this many times.
const STEPS: u32 = 4;
/// But no longer than this, however many requests it takes: who is not told of heartbeats in time takes those who live
/// for silent, three heartbeats of five seconds and a little later.
const LONGEST: Duration = Duration::from_secs(8);

impl Pace {
    fn due(&self) -> Duration {
        let quick = QUICK * self.requests;
        let wait = (quick * (1 << (self.quiet / STEP).min(STEPS))).min(quick.max(LONGEST));
        self.looked.map_or(Duration::ZERO, |looked| looked + wait).max(self.not_before)
    }

    fn looked(&mut self, now: Duration) {
        self.looked = Some(now);
        self.quiet = self.quiet.saturating_add(1);
    }

    fn news(&mut self) {
        self.quiet = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(n: u64) -> Version {
        Version::new(n.to_string())
    }

    fn listed(entries: &[(&str, u64)]) -> BTreeMap<String, Version> {
        entries.iter().map(|(key, n)| (key.to_string(), version(*n))).collect()
    }

    fn look(feed: &mut Feed, entries: &[(&str, u64)]) {
        let begun = feed.begin(Duration::ZERO);
        feed.seen(begun, listed(entries), 1, Duration::ZERO);
    }

    #[test]
    fn differences_are_told_from_a_place_on() {
        let mut feed = Feed::new(10);
        assert_eq!((feed.place(), feed.since(0)), (None, None));
        look(&mut feed, &[("/a", 1), ("/b", 1)]);
        assert_eq!(feed.since(0), Some(listed(&[])));
        look(&mut feed, &[("/a", 2), ("/b", 1), ("/c", 1)]);
        assert_eq!(feed.since(0), Some(listed(&[("/a", 2), ("/c", 1)])));
        let place = feed.place().unwrap();
        look(&mut feed, &[("/a", 3), ("/b", 1), ("/c", 1)]);
        assert_eq!(feed.since(place), Some(listed(&[("/a", 3)])));
        assert_eq!(feed.since(0), Some(listed(&[("/a", 3), ("/c", 1)])));
        assert_eq!(feed.since(feed.place().unwrap() + 1), None);
    }

    #[test]
    fn an_own_write_is_not_undone_by_an_older_list() {
        let mut feed = Feed::new(10);
        look(&mut feed, &[("/a", 1)]);
        let begun = feed.begin(Duration::ZERO);
        feed.wrote("/a", &version(2), Duration::ZERO);
        feed.wrote("/b", &version(7), Duration::ZERO);
        feed.seen(begun, listed(&[("/a", 1)]), 1, Duration::ZERO);
        assert_eq!(feed.since(0), Some(listed(&[("/a", 2), ("/b", 7)])));
        // A later list counts again.
        look(&mut feed, &[("/a", 3)]);
        let told = feed.since(2).unwrap();
        assert_eq!((&told["/a"], told["/b"].as_str()), (&version(3), DELETED));
        // Deleted once is told once.
        let place = feed.place().unwrap();
        look(&mut feed, &[("/a", 3)]);
        assert_eq!(feed.place(), Some(place));
    }

    #[test]
    fn what_is_forgotten_cannot_be_told() {
        let mut feed = Feed::new(2);
        look(&mut feed, &[]);
        look(&mut feed, &[("/a", 1), ("/b", 1), ("/c", 1)]);
        assert_eq!(feed.since(0), None);
        assert_eq!(feed.since(1), Some(listed(&[("/b", 1), ("/c", 1)])));
        // One key that changes again and again takes one place in memory.
        for n in 0..10 {
            feed.wrote("/c", &version(n), Duration::ZERO);
        }
        assert_eq!(feed.since(1).unwrap().len(), 2);
    }

    /// Lists for an hour while `members` write a cell every five seconds; gives the requests of the
    /// last half hour per second.
    fn idle(members: u64, requests: u32) -> f64 {
        let mut feed = Feed::new(1000);
        let (mut now, mut counted) = (Duration::ZERO, 0);
        let hour = Duration::from_secs(3600);
        while now < hour {
            let begun = feed.begin(now);
            let beat = |member: u64| (now.as_millis() as u64 + member * 777) / 5000;
            let cells = (0..members).map(|m| (format!("/v1/members/m{m}/cell"), version(beat(m))));
            feed.seen(begun, cells.collect(), requests, now);
            if now >= hour / 2 {
                counted += requests;
            }
            now = feed.due();
        }
        f64::from(counted) / (hour / 2).as_secs_f64()
    }

    #[test]
    fn an_idle_league_costs_a_quarter_of_a_request_a_second() {
        for (members, requests) in [(1, 1), (3, 1), (50, 1), (10, 2)] {
            let rate = idle(members, requests);
            assert!((0.23..=0.27).contains(&rate), "{members} members, {requests} requests a list: {rate}/s");
        }
        // Of thousands of keys, heartbeats are told in time, whatever it costs.
        for (members, requests) in [(10, 3), (50, 13), (100, 30)] {
            let lists = idle(members, requests) / f64::from(requests);
            assert!((0.12..=0.14).contains(&lists), "{members} members, {requests} requests a list: {lists} lists/s");
        }
    }

    #[test]
    fn news_is_followed_quickly() {
        assert_eq!(QUICK * (1 << STEPS), crate::IDLE_LOOK);
        let mut feed = Feed::new(10);
        for _ in 0..100 {
            look(&mut feed, &[("/a", 1)]);
        }
        assert_eq!(feed.due(), crate::IDLE_LOOK);
        feed.wrote("/a", &version(2), Duration::ZERO);
        assert_eq!(feed.due(), Duration::from_millis(250));
        feed.rest(Duration::from_secs(9));
        assert_eq!(feed.due(), Duration::from_secs(9));
    }
}
