//! With a data file the server survives `kill -9` in the middle of writes, again and again, and a
//! damaged file is told of.
//!
//! The server runs in a process of its own: this test's program, started again with [`CHILD`] set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hansa_controlplane::Process;
use hansa_kubesim::edge::{EdgeError, Options, serve};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Names the data file to the process that serves.
const CHILD: &str = "KUBESIM_DURABILITY_DATA";
/// How often the server is killed.
const KILLS: usize = 5;
/// Who writes at the same time.
const WRITERS: usize = 6;
/// Acknowledged writes before a kill.
const WRITES: usize = 120;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An object as a client knows it from the last answer.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    uid: String,
    version: u64,
    data: BTreeMap<String, String>,
}

impl Known {
    fn of(map: &ConfigMap) -> Self {
        Known {
            uid: map.metadata.uid.clone().expect("a uid"),
            version: version_of(map),
            data: map.data.clone().unwrap_or_default(),
        }
    }
}

/// What a writer was answered of one of its objects, and the state that an unanswered request wants.
#[derive(Clone, Debug, Default)]
struct Told {
    /// `None`: it is gone.
    last: Option<Known>,
    /// The data that a request without an answer would give it (`None`: deletes it).
    pending: Option<Option<BTreeMap<String, String>>>,
}

fn version_of(map: &ConfigMap) -> u64 {
    map.metadata.resource_version.as_deref().expect("a version").parse().expect("versions of kubesim are numbers")
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    // What is not there yet is asked for again by those who wait for it, and at once.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// Starts the server in a process of its own and waits for its kubeconfig.
async fn start(data: &Path) -> (Process, PathBuf) {
    let folder = data.parent().expect("the file lies in a folder");
    let kubeconfig = folder.join("kubeconfig");
    // An earlier server's: the new one writes it when it answers.
    let _ = std::fs::remove_file(&kubeconfig);
    let program = std::env::current_exe().expect("this program");
    let arguments = [
        format!("{CHILD}={}", data.display()),
        program.display().to_string(),
        "--exact".to_owned(),
        "what_was_acknowledged_outlives_every_kill".to_owned(),
        "--nocapture".to_owned(),
    ];
    let mut process = Process::start(Path::new("env"), "server", &arguments, folder).expect("it starts");
    let written = async {
        while !kubeconfig.exists() {
            assert!(process.is_running(), "{}", process.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("the server starts in time");
    (process, kubeconfig)
}

/// The role of the process that is killed.
fn serve_until_killed(data: PathBuf) {
    let kubeconfig = Some(data.with_file_name("kubeconfig"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let _running = serve(Options { data: Some(data), kubeconfig, ..Options::default() }).await.expect("it serves");
        std::future::pending::<()>().await;
    });
}

/// Writes to objects of one's own until the server is gone, or says so; every answer is noted.
async fn write(
    maps: Api<ConfigMap>,
    writer: usize,
    told: &Mutex<BTreeMap<String, Told>>,
    acknowledged: &AtomicUsize,
    stop: &AtomicBool,
) {
    for step in 0_usize.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let name = format!("map-{writer}-{}", step % 7);
        let before = told.lock().expect("no writer panicked").get(&name).cloned().unwrap_or_default().last;
        let data: BTreeMap<String, String> = [("step".to_owned(), format!("{step}-{}", "x".repeat(step % 900)))].into();
        let deletes = step % 5 == 4 && before.is_some();
        let want = if deletes { None } else { Some(data.clone()) };
        told.lock().expect("no writer panicked").entry(name.clone()).or_default().pending = Some(want);
        let answer = match (&before, deletes) {
            (Some(_), true) => maps.delete(&name, &DeleteParams::default()).await.map(|_| None),
            (Some(_), false) => {
                let patch = Patch::Merge(json!({"data": data}));
                maps.patch(&name, &PatchParams::default(), &patch).await.map(|map| Some(Known::of(&map)))
            }
            (None, _) => {
                let map = ConfigMap {
                    metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
                    data: Some(data),
                    ..ConfigMap::default()
                };
                maps.create(&PostParams::default(), &map).await.map(|map| Some(Known::of(&map)))
            }
        };
        // Nobody knows what became of a request without an answer: no more is written to its object.
        let Ok(last) = answer else { return };
        told.lock().expect("no writer panicked").insert(name, Told { last, pending: None });
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// Collects the versions that a watch tells of, until the server is gone.
async fn observe(maps: Api<ConfigMap>, version: u64, seen: &Mutex<Vec<u64>>) {
    let params = WatchParams::default().timeout(290);
    let Ok(events) = maps.watch(&params, &version.to_string()).await else { return };
    let mut events = std::pin::pin!(events);
    while let Some(Ok(event)) = events.next().await {
        if let WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) = event {
            seen.lock().expect("the observer did not panic").push(version_of(&map));
        }
    }
}

#[test]
fn what_was_acknowledged_outlives_every_kill() {
    if let Some(data) = std::env::var_os(CHILD) {
        return serve_until_killed(PathBuf::from(data));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    // Processes end with the thread that started them, so it is this one that waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(kill_again_and_again(&data));
}

async fn kill_again_and_again(data: &Path) {
    let told: Mutex<BTreeMap<String, Told>> = Mutex::default();
    let (mut server, kubeconfig) = start(data).await;
    let text = std::fs::read_to_string(&kubeconfig).expect("the kubeconfig");
    for round in 0..KILLS {
        let client_now = client(&kubeconfig).await;
        let maps: Api<ConfigMap> = Api::default_namespaced(client_now);
        let list = maps.list(&ListParams::default()).await.expect("lists");
        let began: u64 = list.metadata.resource_version.expect("a version").parse().expect("a number");

        let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let seen: Mutex<Vec<u64>> = Mutex::default();
        let writers = futures::future::join_all(
            (0..WRITERS).map(|writer| write(maps.clone(), writer + 10 * round, &told, &acknowledged, &stop)),
        );
        let kill = async {
            while acknowledged.load(Ordering::SeqCst) < WRITES {
                assert!(server.is_running(), "{}", server.tail());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.kill();
            stop.store(true, Ordering::SeqCst);
        };
        let all = async { tokio::join!(writers, kill, observe(maps.clone(), began, &seen)) };
        timeout(PATIENCE, all).await.expect("the writes are done in time");

        (server, _) = start(data).await;
        assert_eq!(std::fs::read_to_string(&kubeconfig).expect("the kubeconfig"), text, "address, authority and token");
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig).await);
        let list = maps.list(&ListParams::default()).await.expect("lists");
        let now: u64 = list.metadata.resource_version.clone().expect("a version").parse().expect("a number");
        let live: BTreeMap<String, Known> =
            list.items.iter().map(|map| (map.metadata.name.clone().expect("a name"), Known::of(map))).collect();
        check(&mut told.lock().expect("no writer panicked"), &live, now);
        let seen = seen.into_inner().expect("the observer did not panic");
        assert!(!seen.is_empty(), "the watch told of nothing in round {round}");
        assert!(seen.iter().all(|version| *version <= now), "a watch told of more than was kept: {seen:?}, now {now}");
        versions_go_on(&maps, began, now).await;
    }
    audited(&kubeconfig).await;
}

/// Every object is as its writer was told, or as the one request wanted that had no answer.
fn check(told: &mut BTreeMap<String, Told>, live: &BTreeMap<String, Known>, now: u64) {
    for (name, told) in told {
        let found = live.get(name).cloned();
        let acknowledged = found == told.last;
        let unanswered = told.pending.take().is_some_and(|want| {
            let same_life = match (&found, &told.last) {
                (Some(found), Some(last)) => found.uid == last.uid && found.version > last.version,
                _ => true,
            };
            same_life && want == found.as_ref().map(|found| found.data.clone())
        });
        assert!(acknowledged || unanswered, "{name} was told to be {:?} and is {found:?}", told.last);
        assert!(found.as_ref().is_none_or(|found| found.version <= now), "{name}: {found:?} is newer than {now}");
        told.last = found;
    }
    assert!(live.keys().all(|name| name == "kube-root-ca.crt" || told_has(name)), "{live:?}");
}

/// Whether a name is one of the writers'.
fn told_has(name: &str) -> bool {
    name.starts_with("map-") || name == "after"
}

/// New writes get higher versions, a watch from now goes on, one from before the kill goes on or says that it cannot.
async fn versions_go_on(maps: &Api<ConfigMap>, began: u64, now: u64) {
    let params = WatchParams::default().timeout(290);
    let watch = |from: u64| {
        let (maps, params) = (maps.clone(), params.clone());
        async move { maps.watch(&params, &from.to_string()).await.expect("the watch opens").boxed() }
    };
    let (mut fresh, mut old) = (watch(now).await, watch(began).await);
    let made = maps
        .patch(
            "after",
            &PatchParams::apply("tester").force(),
            &Patch::Apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after"}, "data": {"now": now.to_string()},
            })),
        )
        .await
        .expect("applies");
    assert!(version_of(&made) > now, "{} does not go on from {now}", version_of(&made));
    let next = timeout(PATIENCE, fresh.try_next()).await.expect("in time").expect("an event");
    match next {
        Some(WatchEvent::Added(map) | WatchEvent::Modified(map)) => assert_eq!(version_of(&map), version_of(&made)),
        other => panic!("a watch from {now}: {other:?}"),
    }
    match timeout(PATIENCE, old.try_next()).await.expect("in time").expect("an event") {
        Some(WatchEvent::Error(status)) => assert_eq!(status.code, 410, "{status:?}"),
        Some(WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map)) => {
            assert!(version_of(&map) > began);
        }
        other => panic!("a watch from {began}: {other:?}"),
    }
}

/// The record of requests outlives the kills as the objects do.
async fn audited(kubeconfig: &Path) {
    let client = client(kubeconfig).await;
    let request = http::Request::get("/kubesim/audit").body(Vec::new()).expect("a request");
    let audit: Value = client.request(request).await.expect("the audit record");
    let changes: u64 = ["create", "patch", "delete"]
        .iter()
        .filter_map(|verb| audit["users"]["admin"]["changes"][verb]["configmaps"].as_u64())
        .sum();
    assert!(changes >= (KILLS * WRITES) as u64, "{changes} of at least {} writes: {audit:#}", KILLS * WRITES);
}

/// A data file with one object of a size that takes several pages.
async fn a_file(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let running = serve(Options { data: Some(data.clone()), ..Options::default() }).await.expect("it serves");
    let text = "x".repeat(100_000);
    running.with_core(|core| {
        let body = json!({"metadata": {"name": "large"}, "data": {"text": text}});
        let request = hansa_kubesim::core::http::Request::post("/api/v1/namespaces/default/configmaps", &body);
        core.handle(0, &request)
    });
    running.shutdown().await;
    data
}

/// Why a server does not start on a file, with all causes.
async fn refusal(data: &Path) -> String {
    match serve(Options { data: Some(data.to_owned()), ..Options::default() }).await {
        Ok(_) => panic!("the server starts on {}", data.display()),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            assert!(text.contains(&data.display().to_string()), "{text}");
            text
        }
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_of_with_the_mend() {
    let folder = tempfile::tempdir().expect("a folder");
    let intact = a_file(folder.path()).await;
    let copy = |name: &str| {
        let path = folder.path().join(name);
        std::fs::copy(&intact, &path).expect("copies");
        path
    };
    let whole = std::fs::read(&intact).expect("reads");

    let cut = copy("cut");
    std::fs::write(&cut, &whole[..whole.len() - 20_000]).expect("writes");
    let overwritten = copy("overwritten");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(&overwritten, bytes).expect("writes");
    let foreign = copy("foreign");
    std::fs::write(&foreign, "this is no database, but somebody's notes\n".repeat(100)).expect("writes");
    let half = copy("half");
    let connection = Connection::open(&half).expect("opens");
    connection.execute("UPDATE objects SET body = substr(body, 1, 100) WHERE key = 'default/large'", []).expect("cuts");
    drop(connection);
    for path in [&cut, &overwritten, &foreign, &half] {
        let why = refusal(path).await;
        assert!(why.contains("damaged") && why.contains("restore it from a copy"), "{why}");
    }
    let newer = copy("newer");
    let connection = Connection::open(&newer).expect("opens");
    connection.execute("UPDATE meta SET value = '9' WHERE name = 'format'", []).expect("writes");
    drop(connection);
    let why = refusal(&newer).await;
    assert!(why.contains("format 9") && why.contains("newer"), "{why}");
}

#[tokio::test]
async fn a_file_that_is_in_use_is_said_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let first = serve(Options { data: Some(data.clone()), ..Options::default() }).await.expect("it serves");
    let second = serve(Options { data: Some(data.clone()), ..Options::default() }).await;
    let Err(error @ EdgeError::Data { .. }) = second else { panic!("two servers use one file") };
    assert!(error.to_string().contains("is another server using it"), "{error}");
    first.shutdown().await;
}

#[tokio::test]
async fn a_half_written_tail_is_dropped_and_what_was_whole_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let running = serve(Options { data: Some(data.clone()), ..Options::default() }).await.expect("it serves");
    let maps: Api<ConfigMap> = {
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, &running.kubeconfig).expect("writes");
        Api::default_namespaced(client(&kubeconfig).await)
    };
    for name in ["one", "two"] {
        let map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).expect("a ConfigMap");
        maps.create(&PostParams::default(), &map).await.expect("creates");
    }
    // The files as a crash finds them: what is not in the database yet is in its log, whose last
    // bytes are the half of a write that nobody was told of.
    let crashed = folder.path().join("crashed");
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    std::fs::copy(&data, &crashed).expect("copies");
    let mut tail = std::fs::read(log(&data)).expect("there is a log");
    assert!(tail.len() > 4096, "the log holds what was written last");
    let frame: Vec<u8> = tail[32..32 + 3000].to_vec();
    tail.extend(frame);
    std::fs::write(log(&crashed), tail).expect("writes");
    running.shutdown().await;

    let again = serve(Options { data: Some(crashed), ..Options::default() }).await.expect("it serves");
    let names = again.with_core(|core| {
        let request = hansa_kubesim::core::http::Request::get("/api/v1/namespaces/default/configmaps");
        match core.handle(0, &request) {
            hansa_kubesim::core::http::Reply::Response(response) => response.value(),
            hansa_kubesim::core::http::Reply::Watch { .. } => panic!("a list is no watch"),
        }
    });
    let names: Vec<&str> =
        names["items"].as_array().expect("items").iter().filter_map(|map| map["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["kube-root-ca.crt", "one", "two"]);
    again.shutdown().await;
}
