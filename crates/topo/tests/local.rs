//! Memory and SQLite, also with faults, against the battery and against a model.

mod support;

use expect_test::expect;
use hansa_topo::conformance::{self, Verdict};
use hansa_topo::fault::Chances;
use hansa_topo::{Changes, Cursor, Swap, Topo, Version};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Unreliable, assert_conforms, memory_servers, opened, sqlite_files};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    assert_conforms(&memory_servers("plain")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    assert_conforms(&sqlite_files(directory.path().into())).await;
}

/// What can be met without making the battery's single writers lose a race.
const TROUBLE: Chances = Chances {
    unavailable: 60,
    throttled: 60,
    stale: 60,
    lost_answer: 120,
    late_write: 120,
    rival: 0,
    reset: 0,
    repeated: 0,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_with_faults_conforms() {
    let subject = Unreliable::new(memory_servers("faults"), TROUBLE, 1);
    assert_conforms(&subject).await;
    let met: Vec<_> = subject.met().into_keys().collect();
    let expected = expect![[r#"
        [
            "late_write",
            "lost_answer",
            "stale",
            "throttled",
            "unavailable",
        ]
    "#]];
    expected.assert_debug_eq(&met);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_with_faults_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let subject = Unreliable::new(sqlite_files(directory.path().into()), TROUBLE, 2);
    assert_conforms(&subject).await;
}

/// Runs some cases among faults that the whole battery, in which each writer knows what stands
/// there, would call a failure. Each of the faults named must have been met.
async fn assert_cases_hold(run: &'static str, chances: Chances, cases: &[&str], faults: &[&str]) {
    let subject = Unreliable::new(memory_servers(run), chances, 3);
    let all = conformance::cases();
    let chosen: Vec<_> = all.iter().filter(|case| cases.contains(&case.name)).collect();
    assert_eq!(chosen.len(), cases.len());
    for case in chosen {
        let report = conformance::run_case(case, &subject).await;
        assert_eq!(report.verdict, Verdict::Passed, "{report}");
    }
    for fault in faults {
        assert!(subject.met().contains_key(fault), "{fault} was never met: {:?}", subject.met());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_hold_among_rivals() {
    let chances = Chances { rival: 400, ..TROUBLE };
    assert_cases_hold("rivals", chances, &["counter", "create-race"], &["rival"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_followed_among_resets_and_repetitions() {
    let chances = Chances { reset: 200, repeated: 400, ..TROUBLE };
    let cases = ["changes-all", "changes-resumed", "changes-many-followers"];
    assert_cases_hold("resets", chances, &cases, &["reset", "repeated"]).await;
}

#[derive(Clone, Debug)]
enum Step {
    Get(usize),
    Create(usize, Vec<u8>),
    /// The version is one that the key, or another one, had: the newest, or an older one.
    Swap {
        key: usize,
        version_of: usize,
        age: usize,
        value: Vec<u8>,
    },
    List(usize),
    ReadMany(Vec<usize>),
    Changes(usize),
}

const KEYS: [&str; 6] = ["/a", "/a/b", "/a/c", "/ab", "/b", "/b/a"];
const PREFIXES: [&str; 6] = ["", "/", "/a", "/a/", "/b", "/z"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || proptest::collection::vec(any::<u8>(), 0..6);
    let key = || 0..KEYS.len();
    let swap = (key(), key(), 0..3_usize, value());
    let same = (key(), 0..2_usize, value());
    let step = prop_oneof![
        key().prop_map(Step::Get),
        (key(), value()).prop_map(|(key, value)| Step::Create(key, value)),
        swap.prop_map(|(key, version_of, age, value)| Step::Swap { key, version_of, age, value }),
        same.prop_map(|(key, age, value)| Step::Swap { key, version_of: key, age, value }),
        (0..PREFIXES.len()).prop_map(Step::List),
        proptest::collection::vec(key(), 0..5).prop_map(Step::ReadMany),
        (0..20_usize).prop_map(Step::Changes),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The contract in a few lines: what stands there, every version a key had, and who was written.
#[derive(Default)]
struct Model {
    entries: BTreeMap<&'static str, (Version, Vec<u8>)>,
    versions: BTreeMap<&'static str, Vec<Version>>,
    history: Vec<(&'static str, Version)>,
    /// Cursors with the length of the history that they stand for.
    cursors: Vec<(usize, Cursor)>,
}

impl Model {
    fn stored(&self, key: &str) -> Option<(Version, Vec<u8>)> {
        self.entries.get(key).cloned()
    }

    fn swapped(&mut self, key: &'static str, expected: Option<Version>, value: &[u8], outcome: Swap) {
        let current = self.stored(key);
        let matches = current.as_ref().map(|(version, _)| version) == expected.as_ref();
        match outcome {
            Swap::Committed(version) if matches => {
                let used = self.versions.entry(key).or_default();
                assert!(!used.contains(&version), "{version:?} was used before");
                used.push(version.clone());
                self.entries.insert(key, (version.clone(), value.to_vec()));
                self.history.push((key, version));
            }
            Swap::Mismatch { current: told } if !matches => {
                assert_eq!(told.map(|told| (told.version, told.value.to_vec())), current);
            }
            other => panic!("{key} at {expected:?} with {current:?} there gave {other:?}"),
        }
    }

    async fn step(&mut self, topo: &dyn Topo, step: Step) {
        match step {
            Step::Get(key) => {
                let found = topo.get(KEYS[key]).await.unwrap();
                let found = found.map(|found| (found.version, found.value.to_vec()));
                assert_eq!(found, self.stored(KEYS[key]));
            }
            Step::Create(key, value) => {
                let outcome = topo.create(KEYS[key], value.clone().into()).await.unwrap();
                self.swapped(KEYS[key], None, &value, outcome);
            }
            Step::Swap { key, version_of, age, value } => {
                let known = self.versions.get(KEYS[version_of]);
                let Some(version) = known.and_then(|v| v.iter().rev().nth(age)).cloned() else {
                    return;
                };
                let swap = topo.compare_and_swap(KEYS[key], &version, value.clone().into());
                let outcome = swap.await.unwrap();
                self.swapped(KEYS[key], Some(version), &value, outcome);
            }
            Step::List(prefix) => {
                let listed = topo.list(PREFIXES[prefix]).await.unwrap().into_iter();
                let listed: Vec<_> =
                    listed.map(|e| (e.key, (e.versioned.version, e.versioned.value.to_vec()))).collect();
                let below = self.entries.iter().filter(|(key, _)| key.starts_with(PREFIXES[prefix]));
                let below: Vec<_> = below.map(|(key, v)| (key.to_string(), v.clone())).collect();
                assert_eq!(listed, below);
            }
            Step::ReadMany(keys) => {
                let keys: Vec<String> = keys.into_iter().map(|key| KEYS[key].to_owned()).collect();
                let found = topo.read_many(&keys).await.unwrap().into_iter();
                let found: Vec<_> = found.map(|f| f.map(|f| (f.version, f.value.to_vec()))).collect();
                let stored: Vec<_> = keys.iter().map(|key| self.stored(key)).collect();
                assert_eq!(found, stored);
            }
            Step::Changes(which) => {
                let chosen = self.cursors.get(which % (self.cursors.len() + 1)).cloned();
                let Some((after, cursor)) = chosen else {
                    let now = topo.changes(None).await.unwrap();
                    self.cursors.push((self.history.len(), now.cursor().clone()));
                    return;
                };
                if after == self.history.len() {
                    return;
                }
                let told = topo.changes(Some(&cursor)).await.unwrap();
                let news = self.history[after..].iter();
                let news: BTreeMap<_, _> = news.map(|(key, version)| (key.to_string(), version.clone())).collect();
                let Changes::Keys { cursor, keys } = told else { panic!("{told:?}") };
                assert_eq!(keys, news);
                self.cursors.push((self.history.len(), cursor));
            }
        }
    }
}

/// Tries `steps` on the server at `url`, which holds nothing yet.
fn follow_the_model(url: &str, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let topo = opened(url).await.unwrap();
        let mut model = Model::default();
        for step in steps {
            model.step(&*topo, step).await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_follows_the_model(steps in steps()) {
        static RUN: AtomicU64 = AtomicU64::new(0);
        let run = RUN.fetch_add(1, Ordering::Relaxed);
        follow_the_model(&format!("memory:model-{run}"), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_follows_the_model(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        follow_the_model(&format!("sqlite:{}/topo", directory.path().display()), steps);
    }
}
