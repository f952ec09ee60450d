//! The battery on real etcd servers, and what only they can meet: log-ins, TLS, members that stop,
//! compaction, administrators.

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/etcd.rs"]
mod servers;
mod support;

use async_trait::async_trait;
use certificates::Certificates;
use expect_test::expect;
use hansa_ledger::{Envelope, keys};
use hansa_model::{Era, Hash, LeagueId};
use hansa_topo::conformance::Subject;
use hansa_topo::fault::Chances;
use hansa_topo::{
    Category, Changes, MAX_VALUE_BYTES, Operation, Options, Severity, Swap, Topo, TopoError, Version, open, succession,
};
use servers::{DeleteRangeRequest, Etcd, Nothing};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Unreliable, assert_conforms, hammer, make_private, opened, put};

/// A cluster in which each space is a prefix.
struct Prefixes<'e> {
    etcd: &'e Etcd,
    /// The URL before the prefix, and behind it.
    url: (String, String),
    options: Options,
    /// An administrator's token.
    token: String,
}

impl<'e> Prefixes<'e> {
    fn plain(etcd: &'e Etcd, below: &str) -> Self {
        let url = (format!("etcd://{}{below}", etcd.hosts()), String::new());
        Prefixes { etcd, url, options: Options::default(), token: String::new() }
    }
}

#[async_trait]
impl Subject for Prefixes<'_> {
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError> {
        open(&format!("{}/{space}{}", self.url.0, self.url.1), &self.options).await
    }

    async fn forget_changes(&self, space: &str) -> Result<bool, TopoError> {
        // A compaction keeps the last revision: let that be one of no interest.
        let client = self.client(space).await?;
        client.create("/other/last", "one".into()).await?;
        let cursor = client.changes(None).await?.cursor().clone();
        let revision = cursor.as_str().rsplit_once(':').unwrap().1.parse().unwrap();
        self.etcd.compact(revision, &self.token).await;
        Ok(true)
    }
}

async fn single() -> (Etcd, String) {
    let etcd = Etcd::start(1, None).await;
    let url = format!("etcd://{}/hansa", etcd.hosts());
    (etcd, url)
}

#[tokio::test]
async fn etcd_conforms() {
    let (etcd, _) = single().await;
    assert_conforms(&Prefixes::plain(&etcd, "/plain")).await;
    let chances =
        Chances { unavailable: 50, throttled: 50, stale: 50, lost_answer: 100, late_write: 100, ..Chances::default() };
    assert_conforms(&Unreliable::new(Prefixes::plain(&etcd, "/faults"), chances, 5)).await;
}

#[tokio::test]
async fn etcd_with_tls_and_log_ins_conforms() {
    const PASSWORD: &str = "not/easy@to:write%in?a#url";
    let mut etcd = Etcd::start(1, Some(Certificates::new())).await;
    etcd.require_log_ins("league", PASSWORD, "/leagues").await;
    let directory = tempfile::tempdir().unwrap();
    let password_file: PathBuf = directory.path().join("password");
    std::fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();
    make_private(&password_file);
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| etcd.certificate(name));
    let tls = format!("?ca={ca}&cert={cert}&key={key}&timeout=3s");
    let base = format!("etcds://{}", etcd.hosts());
    let options =
        Options { user: Some("league".into()), password_file: Some(password_file.clone()), ..Options::default() };
    let token = etcd.log_in("root", "root's").await;
    let subject =
        Prefixes { etcd: &etcd, url: (format!("{base}/leagues"), tls.clone()), options: options.clone(), token };
    assert_conforms(&subject).await;

    // Credentials in the URL do as well, percent-encoded.
    let encoded: String = PASSWORD.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let with_login = format!("etcds://league:{encoded}@{}/leagues/url{tls}", etcd.hosts());
    let topo = opened(&with_login).await.unwrap();
    put(&*topo, "/a", "one").await;
    assert!(!format!("{topo:?}").contains(PASSWORD));

    // Wrong ones are told as what they are.
    let url = format!("{base}/leagues/denied{tls}");
    let denied = |options: Options, url: String| async move {
        let topo = open(&url, &options).await.unwrap();
        let error = topo.get("/a").await.unwrap_err();
        let write = topo.create("/a", "one".into()).await.unwrap_err();
        assert_eq!(error.category(), write.category());
        assert!(!error.is_retryable() || error.category() == Category::Unavailable);
        (error.category(), error.chain())
    };
    let wrong = |password: &str| Options {
        user: Some("league".into()),
        password: Some(hansa_topo::url::Secret::new(password)),
        ..Options::default()
    };
    let (category, text) = denied(wrong("wrong"), url.clone()).await;
    assert_eq!(category, Category::Unauthorized);
    assert!(text.contains("look at the user and the password"), "{text}");
    let (category, text) = denied(options.clone(), format!("{base}/elsewhere{tls}")).await;
    assert_eq!(category, Category::Unauthorized);
    assert!(text.contains("grant the user's role readwrite"), "{text}");
    let watch = open(&format!("{base}/elsewhere{tls}"), &options).await.unwrap();
    let error = watch.changes(None).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    // A user who is not named is taken from the certificate, which names none that exists.
    let (category, _) = denied(Options::default(), url.clone()).await;
    assert_eq!(category, Category::Unauthorized);
    // No client certificate; a server whose certificate is not trusted; no TLS at all.
    for (url, cause) in [
        (format!("{base}/leagues/x?ca={ca}&timeout=3s"), ""),
        (format!("{base}/leagues/x?ca={cert}&cert={cert}&key={key}&timeout=3s"), "invalid peer certificate"),
        (format!("etcd://{}/leagues/x?timeout=3s", etcd.hosts()), ""),
    ] {
        let topo = open(&url, &options).await.unwrap();
        let error = topo.get("/a").await.unwrap_err();
        assert_eq!(error.category(), Category::Unavailable, "{url}: {error}");
        assert!(error.chain().contains(cause), "{}", error.chain());
    }
    let error = open(&format!("{base}/x?ca={}", password_file.display()), &options).await.unwrap_err();
    assert!(error.to_string().contains("it has no CERTIFICATE in PEM form"), "{error}");

    // A restarted member knows no token any more: whoever held one logs in again, also to wait.
    let topo = open(&url, &options).await.unwrap();
    put(&*topo, "/a", "one").await;
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    etcd.members[0].kill().await;
    etcd.members[0].start();
    etcd.ready(0).await;
    let mut wait = std::pin::pin!(topo.changes(Some(&cursor)));
    let _ = futures::poll!(&mut wait);
    let other = open(&url, &options).await.unwrap();
    put(&*other, "/b", "one").await;
    let told = wait.await.unwrap();
    assert!(matches!(&told, Changes::Keys { keys, .. } if keys.contains_key("/b")), "{told:?}");
    put(&*topo, "/c", "one").await;

    // A password that was changed in its file is taken at the next log-in.
    std::fs::write(&password_file, "old").unwrap();
    let topo = open(&url, &options).await.unwrap();
    assert_eq!(topo.get("/a").await.unwrap_err().category(), Category::Unauthorized);
    std::fs::write(&password_file, PASSWORD).unwrap();
    assert_eq!(topo.get("/a").await.unwrap().unwrap().value, "one");
}

/// Three processes count while members stop, die and come back. No count is lost or done twice (each
/// process checks its own at every step), and who follows is told all along.
#[tokio::test]
async fn a_cluster_loses_members_and_nothing_else() {
    const PROCESSES: usize = 3;
    let mut etcd = Etcd::start(3, None).await;
    let url = format!("etcd://{}/hansa?timeout=1s", etcd.hosts());
    let topo = opened(&url).await.unwrap();
    let mut cursor = topo.changes(None).await.unwrap().cursor().clone();
    let count = |me: usize| {
        let arguments = ["count", &url, &me.to_string(), &PROCESSES.to_string(), "1000000"];
        hammer(&arguments).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..PROCESSES).map(count).collect();
    let mut counts = [0; PROCESSES];
    for mishap in 0..4 {
        // Each process must get on by some steps, whatever happened before.
        let target = counts.map(|count| count + 20);
        let deadline = Instant::now() + Duration::from_secs(30);
        while counts.iter().zip(target).any(|(count, target)| *count < target) {
            assert!(Instant::now() < deadline, "{counts:?} does not get to {target:?}");
            match topo.changes(Some(&cursor)).await {
                Ok(changes) => {
                    assert!(matches!(changes, Changes::Keys { .. }), "{changes:?}");
                    cursor = changes.cursor().clone();
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            match topo.get("/hammer/counter").await {
                Ok(found) => {
                    let text = String::from_utf8(found.unwrap().value.to_vec()).unwrap();
                    let now: Vec<u64> = text.split(',').map(|count| count.parse().unwrap()).collect();
                    let now = now.try_into().unwrap();
                    let went_back = counts.iter().zip(&now).any(|(before, now)| before > now);
                    assert!(!went_back, "{counts:?} went back to {now:?}");
                    counts = now;
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        match mishap {
            0 => etcd.members[0].kill().await,
            1 => {
                etcd.members[0].start();
                etcd.ready(0).await;
                etcd.members[1].stop().await;
            }
            2 => {
                etcd.members[1].go_on().await;
                etcd.ready(1).await;
                etcd.members[2].kill().await;
            }
            _ => {}
        }
    }
    for child in &mut children {
        assert_eq!(child.try_wait().unwrap(), None, "a count was lost or done twice");
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stops_leaves_the_fate_of_a_write_open() {
    let (mut etcd, url) = single().await;
    let topo = opened(&format!("{url}?timeout=500ms")).await.unwrap();
    put(&*topo, "/a", "one").await;
    let before = topo.get("/a").await.unwrap().unwrap();
    etcd.members[0].stop().await;
    let outcome = topo.compare_and_swap("/a", &before.version, "late".into()).await.unwrap();
    let Swap::Indeterminate { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("did not answer within 500ms"), "{reason}");
    let error = topo.get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Timeout, "{error}");
    etcd.members[0].go_on().await;
    etcd.ready(0).await;
    // The write was received, and lands; only consuming its version settles that.
    let settled = topo.compare_and_swap("/a", &before.version, "late".into()).await.unwrap();
    match settled {
        Swap::Mismatch { current: Some(current) } => assert_eq!(current.value, "late"),
        Swap::Committed(_) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(topo.get("/a").await.unwrap().unwrap().value, "late");
    let usage = topo.usage().of(Operation::CompareAndSwap);
    assert_eq!((usage.indeterminate, usage.errors), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_determinate_error() {
    let (mut etcd, url) = single().await;
    let topo = opened(&url).await.unwrap();
    put(&*topo, "/a", "one").await;
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    etcd.members[0].kill().await;
    // The first call may be the one that notices; from then on nothing is even sent.
    let _ = topo.get("/a").await;
    for error in [
        topo.get("/a").await.unwrap_err(),
        topo.create("/b", "two".into()).await.unwrap_err(),
        topo.changes(Some(&cursor)).await.unwrap_err(),
        topo.changes(None).await.unwrap_err(),
    ] {
        assert_eq!(error.category(), Category::Unavailable);
        assert!(error.is_retryable() && error.to_string().contains("it cannot be reached"), "{error}");
    }
    // Of several members one that lives is found, also by a write.
    let (living, _) = single().await;
    let both = format!("etcd://{},{}/hansa", etcd.hosts(), living.hosts());
    put(&*opened(&both).await.unwrap(), "/c", "three").await;
}

#[tokio::test]
async fn another_cluster_in_its_place_is_noticed() {
    let (mut etcd, url) = single().await;
    let topo = opened(&url).await.unwrap();
    put(&*topo, "/a", "one").await;
    put(&*topo, "/a", "two").await;
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    etcd.forget(0).await;
    // The first call may meet the connection that is gone.
    let _ = topo.get("/a").await;
    let error = topo.get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Replaced, "{error}");
    assert!(error.to_string().contains("another cluster answers now"), "{error}");
    // Who starts anew uses it, and is not told to go on where the old one was.
    let new = opened(&url).await.unwrap();
    assert_eq!(new.get("/a").await.unwrap(), None);
    let told = new.changes(Some(&cursor)).await.unwrap();
    assert!(matches!(told, Changes::Reset { .. }), "{told:?}");
}

const PAGE: &str = "/v1/pages/1";

/// A control document of one and the same league, and a page.
async fn league(topo: &dyn Topo) -> Version {
    assert!(matches!(topo.create(keys::CONTROL, control(1)).await, Ok(Swap::Committed(_))));
    let Swap::Committed(version) = topo.create(PAGE, "one".into()).await.unwrap() else { panic!("it exists") };
    version
}

fn control(era: u64) -> bytes::Bytes {
    Envelope::first(LeagueId(Hash::of_bytes(b"league")), Era(era), 1).seal(b"{}")
}

/// The other cluster has the same keys at the same numbers: a write that reached it would be taken.
#[tokio::test]
async fn another_cluster_is_used_once_the_era_was_raised_in_it_and_written_to_no_sooner() {
    let (mut etcd, url) = single().await;
    let topo = succession::open(&url, &Options::default()).await.unwrap();
    let version = league(&*topo).await;
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    etcd.forget(0).await;
    let other = opened(&url).await.unwrap();
    assert_eq!(league(&*other).await, version);
    let standing = other.list("").await.unwrap();
    // The first thing after the cluster is another one is a write.
    for _ in 0..3 {
        let error = topo.compare_and_swap(PAGE, &version, "two".into()).await.unwrap_err();
        assert_eq!(error.category(), Category::Replaced, "{error}");
        assert!(error.to_string().contains("in era 1") && error.to_string().contains("raise-era"), "{error}");
        let error = topo.create("/v1/pages/2", "two".into()).await.unwrap_err();
        assert_eq!(error.category(), Category::Replaced, "{error}");
    }
    assert_eq!(other.list("").await.unwrap(), standing, "something was written to the other cluster");

    let before = other.get(keys::CONTROL).await.unwrap().unwrap();
    let raised = other.compare_and_swap(keys::CONTROL, &before.version, control(2)).await;
    assert!(matches!(raised, Ok(Swap::Committed(_))), "{raised:?}");
    let deadline = Instant::now() + Duration::from_secs(30);
    let page = loop {
        match topo.get(PAGE).await {
            Ok(found) => break found.unwrap(),
            Err(error) => assert_eq!(error.category(), Category::Replaced, "{error}"),
        }
        assert!(Instant::now() < deadline, "it does not go on");
    };
    let error = topo.compare_and_swap(PAGE, &page.version, "two".into()).await.unwrap_err();
    assert!(error.to_string().contains("before its control document was read"), "{error}");
    assert_eq!(topo.get(keys::CONTROL).await.unwrap().unwrap().value, control(2));
    // Numbers of the old cluster mean nothing.
    let outcome = topo.compare_and_swap(PAGE, &version, "two".into()).await.unwrap();
    assert_eq!(outcome, Swap::Mismatch { current: Some(page.clone()) });
    assert!(matches!(topo.changes(Some(&cursor)).await.unwrap(), Changes::Reset { .. }));
    let outcome = topo.compare_and_swap(PAGE, &page.version, "two".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Committed(_)), "{outcome:?}");
    assert_eq!(other.get(PAGE).await.unwrap().unwrap().value, "two");
}

#[tokio::test]
async fn calls_cost_what_they_must() {
    let (_etcd, url) = single().await;
    let topo = opened(&url).await.unwrap();
    let requests = |operation| topo.usage().of(operation).requests;
    let created = topo.create("/a", "one".into()).await.unwrap();
    let Swap::Committed(version) = created else { panic!("{created:?}") };
    topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    topo.compare_and_swap("/a", &version, "three".into()).await.unwrap();
    assert_eq!((requests(Operation::Create), requests(Operation::CompareAndSwap)), (1, 2));
    assert_eq!(topo.usage().of(Operation::CompareAndSwap).mismatches, 1);
    let writes = (0..300).map(|n| topo.create(Box::leak(format!("/k/{n}").into()), "x".into()));
    assert!(futures::future::join_all(writes).await.iter().all(Result::is_ok));
    assert_eq!(topo.list("/k/").await.unwrap().len(), 300);
    assert_eq!(requests(Operation::List), 2);
    let keys: Vec<_> = (0..128).map(|n| format!("/k/{n}")).collect();
    assert!(topo.read_many(&keys).await.unwrap().iter().all(Option::is_some));
    assert_eq!(requests(Operation::ReadMany), 2);
    // Waits that follow each other share a watch.
    let mut cursor = topo.changes(None).await.unwrap().cursor().clone();
    let before = requests(Operation::Changes);
    for n in 0..10 {
        put(&*topo, "/w", &n.to_string()).await;
        cursor = topo.changes(Some(&cursor)).await.unwrap().cursor().clone();
    }
    assert_eq!(requests(Operation::Changes) - before, 1);
    // The largest value fits with the longest key.
    let key = format!("/{}", "k".repeat(hansa_topo::MAX_KEY_BYTES - 1));
    let large = topo.create(&key, vec![1; MAX_VALUE_BYTES].into()).await.unwrap();
    assert!(matches!(large, Swap::Committed(_)), "{large:?}");
}

#[tokio::test]
async fn what_an_administrator_deletes_is_missing_and_stays_so() {
    let (etcd, url) = single().await;
    let topo = opened(&url).await.unwrap();
    put(&*topo, "/a", "one").await;
    let before = topo.get("/a").await.unwrap().unwrap();
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    let delete = || DeleteRangeRequest { key: b"/hansa/a".to_vec() };
    etcd.call::<Nothing>(0, "/etcdserverpb.KV/DeleteRange", delete(), "").await.unwrap();
    let told = topo.changes(Some(&cursor)).await.unwrap();
    assert!(matches!(&told, Changes::Keys { keys, .. } if keys.contains_key("/a")), "{told:?}");
    assert_eq!(topo.get("/a").await.unwrap(), None);
    let outcome = topo.compare_and_swap("/a", &before.version, "two".into()).await.unwrap();
    assert_eq!(outcome, Swap::Mismatch { current: None });
    // Made again, it has a version that it never had.
    put(&*topo, "/a", "one").await;
    let after = topo.get("/a").await.unwrap().unwrap();
    assert_ne!(after.version, before.version);
    let outcome = topo.compare_and_swap("/a", &before.version, "two".into()).await.unwrap();
    assert_eq!(outcome, Swap::Mismatch { current: Some(after) });
    let outcome = topo.compare_and_swap("/x", &Version::new("0"), "two".into()).await.unwrap();
    assert_eq!(outcome, Swap::Mismatch { current: None });
}

#[tokio::test]
async fn the_check_tells_what_endangers_a_league() {
    let (mut etcd, url) = single().await;
    let topo = opened(&url).await.unwrap();
    let told = |findings: Vec<hansa_topo::Finding>, etcd: &Etcd| {
        let lines = findings.iter().map(|f| format!("{:?} {}: {}\n", f.severity, f.subject, f.message));
        let text = lines.collect::<String>().replace(&etcd.hosts(), "HOST");
        // Sizes and revisions differ from run to run.
        text.split(' ').map(|word| if word.parse::<u64>().is_ok() { "N" } else { word }).collect::<Vec<_>>().join(" ")
    };
    let young = expect![[r#"
        Good member: HOST is well: etcd 3.7.3, N bytes stored
        Warning members: only HOST is named: while it is away nothing is agreed; run three members and name them all
        Warning compaction: nothing was compacted yet in N revisions, too few to tell whether that happens by itself; start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=10m
    "#]];
    young.assert_eq(&told(topo.check().await.unwrap(), &etcd));
    put(&*topo, "/a", "one").await;
    let revision = topo.get("/a").await.unwrap().unwrap().version.as_str().parse().unwrap();
    etcd.compact(revision, "").await;
    let findings = topo.check().await.unwrap();
    let history = findings.iter().find(|finding| finding.subject == "compaction").unwrap();
    assert_eq!(history.severity, Severity::Good, "{history:?}");
    etcd.members[0].kill().await;
    let error = topo.check().await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable, "{error}");
}

/// What others on the machine may read is no secret: it is refused when the server is opened, and named.
#[tokio::test]
async fn keys_and_passwords_that_are_open_to_others_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let certificates = Certificates::new();
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "hunter2").unwrap();
    let [cert, key] = ["client.pem", "client.key"].map(|name| certificates.path(name));
    let with_key = format!("etcds://127.0.0.1:1/hansa?cert={cert}&key={key}");
    let with_password = format!("etcd://127.0.0.1:1/hansa?user=league&password-file={}", password.display());
    for (file, url) in [(PathBuf::from(&key), with_key), (password, with_password)] {
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        for (open_to, taken) in [(0o600, true), (0o440, true), (0o644, false), (0o620, false), (0o606, false)] {
            mode(open_to);
            match opened(&url).await {
                Ok(_) => assert!(taken, "{url} was taken with mode {open_to:o}"),
                Err(error) => {
                    assert!(!taken && error.category() == Category::Configuration, "{open_to:o}: {error}");
                    let text = error.to_string();
                    let named = text.contains(&file.display().to_string()) && text.contains(&format!("({open_to:o})"));
                    assert!(named && text.contains("chmod 600") && !text.contains("hunter2"), "{text}");
                }
            }
        }
    }
}
