//! The battery on real object stores (see `support/stores.rs` for where they deviate from the
//! clouds), and what a network and a cloud can do to a request.

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/stores.rs"]
mod stores;
mod support;

use hansa_topo::url::{Cloud, Secret};
use hansa_topo::{Category, Changes, Operation, Options, Severity, Swap, Topo, TopoError, Version, open};
use hyper::Method;
use proxy::Act;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stores::Server;
use support::{assert_conforms, free_port, put};

const CLOUDS: [Cloud; 3] = [Cloud::S3, Cloud::Gs, Cloud::Az];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_conforms() {
    assert_conforms(&Server::start(Cloud::S3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gs_conforms() {
    assert_conforms(&Server::start(Cloud::Gs).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn az_conforms() {
    assert_conforms(&Server::start(Cloud::Az).await).await;
}

/// A handle, with `/a` written once; the version that it is at.
async fn written(server: &Server, space: &str) -> (Arc<dyn Topo>, Version) {
    let topo = server.topo(space).await;
    let Swap::Committed(version) = topo.create("/a", "one".into()).await.unwrap() else { panic!("it exists") };
    server.proxy.seen();
    (topo, version)
}

fn writes(server: &Server) -> usize {
    server.proxy.seen().iter().filter(|request| request.starts_with("PUT")).count()
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_of_unknown_fate_and_sent_once() {
    for cloud in CLOUDS {
        let server = Server::start(cloud).await;
        let (topo, version) = written(&server, "lost").await;
        // Received or not: from here that cannot be told.
        for (act, received) in [(Act::LoseRequest, false), (Act::LoseAnswer, true)] {
            server.proxy.next(Method::PUT, act);
            let outcome = topo.compare_and_swap("/a", &version, "late".into()).await.unwrap();
            let Swap::Indeterminate { reason } = outcome else { panic!("{cloud:?}: {outcome:?}") };
            assert!(reason.contains("broke"), "{reason}");
            assert_eq!(writes(&server), 1, "{cloud:?}: a write was repeated");
            let stands = topo.get("/a").await.unwrap().unwrap();
            assert_eq!(stands.value == "late", received, "{cloud:?}: {stands:?}");
        }
        // Only consuming the version settles it.
        let outcome = topo.compare_and_swap("/a", &version, "late".into()).await.unwrap();
        let Swap::Mismatch { current: Some(current) } = outcome else { panic!("{cloud:?}: {outcome:?}") };
        assert_eq!(current.value, "late");
        // The same with a create.
        server.proxy.next(Method::PUT, Act::LoseAnswer);
        let outcome = topo.create("/b", "late".into()).await.unwrap();
        assert!(matches!(outcome, Swap::Indeterminate { .. }), "{cloud:?}: {outcome:?}");
        assert_eq!(topo.get("/b").await.unwrap().unwrap().value, "late");
        assert_eq!(topo.usage().total().indeterminate, 3);
    }
}

#[tokio::test]
async fn an_own_write_that_was_repeated_on_the_way_is_known_again() {
    for cloud in CLOUDS {
        let server = Server::start(cloud).await;
        let (topo, version) = written(&server, "repeated").await;
        server.proxy.next(Method::PUT, Act::Repeat);
        let outcome = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
        let Swap::Committed(second) = outcome else { panic!("{cloud:?}: {outcome:?}") };
        let stands = topo.get("/a").await.unwrap().unwrap();
        assert_eq!((&stands.version, &stands.value[..]), (&second, &b"two"[..]));
        server.proxy.next(Method::PUT, Act::Repeat);
        let outcome = topo.create("/b", "one".into()).await.unwrap();
        assert!(matches!(outcome, Swap::Committed(_)), "{cloud:?}: {outcome:?}");
        // An equal value of another writer is not taken for one's own.
        let other = server.topo("repeated").await;
        let outcome = other.create("/b", "one".into()).await.unwrap();
        assert!(matches!(outcome, Swap::Mismatch { current: Some(_) }), "{cloud:?}: {outcome:?}");
    }
}

fn reads(server: &Server) -> usize {
    server.proxy.seen().iter().filter(|request| request.starts_with("GET")).count()
}

#[tokio::test]
async fn an_etag_of_one_write_with_the_content_of_another_is_not_taken() {
    let server = Server::start(Cloud::S3).await;
    let (topo, first) = written(&server, "torn").await;
    let outcome = topo.compare_and_swap("/a", &first, "two".into()).await.unwrap();
    let Swap::Committed(second) = outcome else { panic!("{outcome:?}") };
    let torn = |version: &Version| server.proxy.next(Method::GET, Act::Etag(version.to_string()));
    reads(&server);
    torn(&first);
    let found = topo.get("/a").await.unwrap().unwrap();
    assert_eq!((&found.version, &found.value[..]), (&second, &b"two"[..]));
    assert_eq!(reads(&server), 2);
    // A refused write tells what stands there at its own version.
    torn(&first);
    let outcome = topo.compare_and_swap("/a", &first, "three".into()).await.unwrap();
    let Swap::Mismatch { current: Some(current) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(current, found);
    // So does an own write that comes back as one that was repeated.
    server.proxy.next(Method::PUT, Act::Repeat);
    torn(&second);
    let outcome = topo.compare_and_swap("/a", &second, "three".into()).await.unwrap();
    let Swap::Committed(third) = outcome else { panic!("{outcome:?}") };
    let found = topo.get("/a").await.unwrap().unwrap();
    assert_eq!((&found.version, &found.value[..]), (&third, &b"three"[..]));
    // A server that never answers otherwise is not believed in the end.
    for n in 0..5_u128 {
        torn(&Version::new(format!("{n:032x}")));
    }
    let error = topo.get("/a").await.unwrap_err();
    assert!(error.category() == Category::Unavailable && error.is_retryable(), "{error}");
    assert_eq!(topo.get("/a").await.unwrap().unwrap(), found);
}

#[tokio::test]
async fn etags_that_are_no_sums_are_known_by_reading_twice_once() {
    let server = Server::start(Cloud::S3).await;
    let (topo, _) = written(&server, "kms").await;
    // As with SSE-KMS, it has the form of a sum.
    let etag = |n: u128| server.proxy.next(Method::GET, Act::Etag(format!("{n:032x}")));
    for n in [1, 2, 2] {
        etag(n);
    }
    let found = topo.get("/a").await.unwrap().unwrap();
    assert_eq!((found.version.as_str(), &found.value[..]), (&*format!("{:032x}", 2), &b"one"[..]));
    assert_eq!(reads(&server), 3);
    etag(3);
    let found = topo.get("/a").await.unwrap().unwrap();
    assert_eq!(found.version.as_str(), format!("{:032x}", 3));
    assert_eq!(reads(&server), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_leaves_the_fate_open() {
    let server = Server::start(Cloud::S3).await;
    let url = format!("{}&timeout=300ms", server.url("silence"));
    let topo = open(&url, &server.options()).await.unwrap();
    put(&*topo, "/a", "one").await;
    let version = topo.get("/a").await.unwrap().unwrap().version;
    server.proxy.next(Method::PUT, Act::Silence);
    let outcome = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    let Swap::Indeterminate { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("did not answer within 300ms"), "{reason}");
    server.proxy.next(Method::GET, Act::Silence);
    let error = topo.get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Timeout, "{error}");
    let outcome = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Committed(_)), "{outcome:?}");
}

const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

#[tokio::test]
async fn throttling_is_told_and_obeyed() {
    let server = Server::start(Cloud::S3).await;
    let (topo, version) = written(&server, "throttled").await;
    for (status, body) in [(503, SLOW_DOWN), (429, "")] {
        server.proxy.next(Method::PUT, Act::Answer(status, vec![("retry-after", "7")], body));
        let error = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap_err();
        assert_eq!((error.category(), error.wait()), (Category::Throttled, Some(Duration::from_secs(7))), "{error}");
        assert!(error.is_retryable() && error.to_string().contains("called less often"), "{error}");
        server.proxy.next(Method::GET, Act::Answer(status, vec![("retry-after", "7")], body));
        let error = topo.get("/a").await.unwrap_err();
        assert_eq!((error.category(), error.wait()), (Category::Throttled, Some(Duration::from_secs(7))), "{error}");
    }
    assert_eq!(server.proxy.seen().len(), 4, "nothing was asked again");
    // A refusal is no write: the version stands.
    assert_eq!(topo.get("/a").await.unwrap().unwrap().version, version);
    // A gateway's 503 may come after the request went through.
    server.proxy.next(Method::PUT, Act::Answer(503, vec![], "no healthy upstream"));
    let outcome = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Indeterminate { .. }), "{outcome:?}");
    // A read that may soon be tried again is.
    server.proxy.next(Method::GET, Act::Answer(503, vec![], SLOW_DOWN));
    server.proxy.next(Method::GET, Act::LoseAnswer);
    assert_eq!(topo.get("/a").await.unwrap().unwrap().value, "one");
    // Who waits for changes leaves the server alone as long as it asks.
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    server.proxy.next(Method::GET, Act::Answer(503, vec![("retry-after", "2")], SLOW_DOWN));
    let error = topo.changes(Some(&cursor)).await.unwrap_err();
    assert_eq!((error.category(), error.wait()), (Category::Throttled, Some(Duration::from_secs(2))), "{error}");
    put(&*server.topo("throttled").await, "/b", "one").await;
    let told = Instant::now();
    let changes = topo.changes(Some(&cursor)).await.unwrap();
    assert!(matches!(&changes, Changes::Keys { keys, .. } if keys.contains_key("/b")), "{changes:?}");
    assert!(told.elapsed() > Duration::from_millis(1500), "it asked again after {:?}", told.elapsed());
}

/// Of the thousands of values of a list some are refused for the moment: those alone are asked for again.
#[tokio::test]
async fn a_list_goes_on_where_it_was_throttled() {
    let server = Server::start(Cloud::S3).await;
    let (topo, _) = written(&server, "throttled-list").await;
    for number in 0..20 {
        put(&*topo, &format!("/many/{number}"), "one").await;
    }
    // A read by itself gives up after three.
    let refused = Mutex::new(BTreeMap::<String, u32>::new());
    server.proxy.guard(Box::new(move |parts| {
        let path = parts.uri.path();
        let times = ["/many/3%21", "/many/11%21", "/many/19%21"].iter().find(|key| path.ends_with(*key)).map(|key| {
            let mut refused = refused.lock().unwrap();
            let times = refused.entry((*key).to_owned()).or_default();
            *times += 1;
            *times
        });
        times.filter(|times| *times <= 4).map(|_| (503, SLOW_DOWN.to_owned()))
    }));
    server.proxy.seen();
    assert_eq!(topo.list("/many/").await.unwrap().len(), 20);
    let seen = server.proxy.seen();
    assert_eq!(seen.len(), 1 + 20 + 3 * 4, "{seen:?}");
}

#[tokio::test]
async fn another_write_under_way_is_no_mismatch() {
    const CONFLICT: &str = "<Error><Code>ConditionalRequestConflict</Code></Error>";
    let server = Server::start(Cloud::S3).await;
    let (topo, version) = written(&server, "conflict").await;
    server.proxy.next(Method::PUT, Act::Answer(409, vec![], CONFLICT));
    let error = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable, "{error}");
    assert!(error.to_string().contains("another write of this key is under way"), "{error}");
    server.proxy.next(Method::PUT, Act::Answer(409, vec![], CONFLICT));
    let error = topo.create("/b", "two".into()).await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable, "{error}");
    // The other one's is there already.
    server.proxy.next(Method::PUT, Act::Answer(409, vec![], CONFLICT));
    let outcome = topo.create("/a", "two".into()).await.unwrap();
    assert!(matches!(&outcome, Swap::Mismatch { current: Some(current) } if current.version == version), "{outcome:?}");
    // What stands in the way could not be read: the write may be one's own.
    server.proxy.next(Method::PUT, Act::Answer(412, vec![], ""));
    for _ in 0..3 {
        server.proxy.next(Method::GET, Act::LoseRequest);
    }
    let outcome = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Indeterminate { .. }), "{outcome:?}");
}

/// Every way to call ends in the same category, with these words.
async fn assert_refused(topo: &dyn Topo, category: Category, words: &str) {
    let errors: [TopoError; 5] = [
        topo.get("/a").await.unwrap_err(),
        topo.create("/a", "one".into()).await.unwrap_err(),
        topo.list("/a").await.unwrap_err(),
        topo.changes(None).await.unwrap_err(),
        topo.check().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.category(), category, "{}", error.chain());
        assert!(error.to_string().contains(words), "{error}");
        for secret in ["hunter2", "a long secret", "Eby8"] {
            assert!(!error.chain().contains(secret) && !format!("{error:?}").contains(secret), "{error:?}");
        }
    }
}

#[tokio::test]
async fn wrong_credentials_and_buckets_are_told_as_what_they_are() {
    for cloud in [Cloud::S3, Cloud::Az] {
        let server = Server::start(cloud).await;
        // "hunter2", as a key of Azure's.
        let wrong = Options { password: Some(Secret::new("aHVudGVyMg==")), ..server.options() };
        let topo = open(&server.url("denied"), &wrong).await.unwrap();
        assert_refused(&*topo, Category::Unauthorized, "look at the credentials").await;
        let topo = open(&server.url_of("elsewhere", "denied"), &server.options()).await.unwrap();
        assert_refused(&*topo, Category::Configuration, "there is no such bucket or container").await;
        let half = Options { password: None, ..server.options() };
        let error = open(&server.url("denied"), &half).await.unwrap_err();
        assert!(error.to_string().contains("need each other"), "{error}");
    }
    let server = Server::start(Cloud::S3).await;
    let (topo, version) = written(&server, "expired").await;
    let answers = [
        (400, "<Error><Code>ExpiredToken</Code></Error>", "renew them"),
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", "set this machine's clock"),
    ];
    for (status, body, words) in answers {
        server.proxy.next(Method::PUT, Act::Answer(status, vec![], body));
        let error = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap_err();
        assert_eq!(error.category(), Category::Unauthorized, "{error}");
        assert!(error.to_string().contains(words) && error.chain().contains(&status.to_string()), "{}", error.chain());
    }
    server.proxy.next(Method::GET, Act::Answer(301, vec![], "<Error><Code>PermanentRedirect</Code></Error>"));
    let error = topo.get("/a").await.unwrap_err();
    assert!(error.to_string().contains("in another region"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_determinate_error() {
    for cloud in CLOUDS {
        let scheme = cloud.scheme();
        let url = format!("{scheme}://bucket/hansa?endpoint=http://127.0.0.1:{}&anonymous=true", free_port());
        let login =
            Options { user: Some("u".into()), password: Some(Secret::new("aHVudGVyMg==")), ..Options::default() };
        let options = if cloud == Cloud::Gs { Options::default() } else { login };
        let topo = open(&url, &options).await.unwrap();
        assert_refused(&*topo, Category::Unavailable, "cannot be reached").await;
    }
}

#[tokio::test]
async fn what_is_not_hansas_is_not_read() {
    let server = Server::start(Cloud::S3).await;
    let (topo, _) = written(&server, "strangers").await;
    let headers = vec![("etag", "\"abc\""), ("last-modified", "Sun, 29 Nov 2026 01:00:00 GMT")];
    server.proxy.next(Method::GET, Act::Answer(200, headers.clone(), "{\"a\": 1}"));
    let error = topo.get("/a").await.unwrap_err();
    assert_eq!(error.category(), Category::Corrupt, "{error}");
    assert!(error.to_string().contains("strangers/a! was not written by Hansa"), "{error}");
    let weak = vec![("etag", "W/\"abc\""), headers[1]];
    server.proxy.next(Method::GET, Act::Answer(200, weak, ""));
    let error = topo.get("/a").await.unwrap_err();
    assert!(error.to_string().contains("which no condition can name"), "{error}");
    let listed = "<ListBucketResult><Contents><Key>strangers/readme.txt</Key><ETag>\"abc\"</ETag><Size>1</Size>\
                  <LastModified>2026-11-29T01:00:00.000Z</LastModified></Contents></ListBucketResult>";
    server.proxy.next(Method::GET, Act::Answer(200, vec![], listed));
    let error = topo.list("").await.unwrap_err();
    assert!(error.to_string().contains("the object \"strangers/readme.txt\", which is no key; remove it"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_cost_what_they_must() {
    let server = Server::start(Cloud::S3).await;
    let topo = server.topo("costs").await;
    let requests = |operation| topo.usage().of(operation).requests;
    let Swap::Committed(version) = topo.create("/a", "one".into()).await.unwrap() else { panic!() };
    topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    assert_eq!((requests(Operation::Create), requests(Operation::CompareAndSwap)), (1, 1));
    // What stands there instead takes a read.
    topo.compare_and_swap("/a", &version, "three".into()).await.unwrap();
    assert_eq!(requests(Operation::CompareAndSwap), 3);
    // 10,000 objects: 256 pages of some 40 each.
    let page = "x".repeat(20_000);
    let keys: Vec<_> = (0..256).map(|n| format!("/v1/pages/{n}")).collect();
    let writes = keys.iter().map(|key| topo.create(key, page.clone().into()));
    assert!(futures::future::join_all(writes).await.iter().all(Result::is_ok));
    assert_eq!(topo.list("/v1/pages/").await.unwrap().len(), 256);
    assert_eq!(requests(Operation::List), 257);
    assert!(topo.read_many(&keys).await.unwrap().iter().all(Option::is_some));
    assert_eq!(requests(Operation::ReadMany), 256);
    // All who wait at a handle share one list; an own write is told without any.
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    let waits = (0..8).map(|_| topo.changes(Some(&cursor)));
    let mut waits = std::pin::pin!(futures::future::join_all(waits));
    assert!(futures::poll!(&mut waits).is_pending());
    put(&*topo, "/b", "one").await;
    assert!(waits.await.iter().all(Result::is_ok));
    assert_eq!(requests(Operation::Changes), 1);
}

#[tokio::test]
async fn google_generations_stand_for_versions() {
    let server = Server::start(Cloud::Gs).await;
    let (topo, version) = written(&server, "generations").await;
    let requests = |topo: &Arc<dyn Topo>| topo.usage().of(Operation::CompareAndSwap).requests;
    let outcome = topo.compare_and_swap("/a", &version, "two".into()).await.unwrap();
    let Swap::Committed(second) = outcome else { panic!("{outcome:?}") };
    assert_eq!(requests(&topo), 1);
    // A version that another handle was told is looked up once.
    let other = server.topo("generations").await;
    let outcome = other.compare_and_swap("/a", &second, "three".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Committed(_)), "{outcome:?}");
    assert_eq!(requests(&other), 2);
    let outcome = other.compare_and_swap("/a", &second, "four".into()).await.unwrap();
    assert!(matches!(outcome, Swap::Mismatch { current: Some(_) }), "{outcome:?}");
}

#[tokio::test]
async fn the_check_tells_what_endangers_a_league() {
    let server = Server::start(Cloud::S3).await;
    let topo = server.topo("check").await;
    let worst = |findings: &[hansa_topo::Finding], subject: &str| {
        findings.iter().find(|finding| finding.subject == subject).map(|f| (f.severity, f.message.clone())).unwrap()
    };
    for _ in 0..2 {
        let findings = topo.check().await.unwrap();
        assert_eq!(worst(&findings, "conditions").0, Severity::Good, "{findings:?}");
        assert_eq!(worst(&findings, "store").0, Severity::Good);
        assert_eq!(worst(&findings, "connection").0, Severity::Warning);
    }
    // A server that ignores conditions: every write is acknowledged.
    let ignored = || Act::Answer(200, vec![("etag", "\"abc\"")], "");
    for _ in 0..4 {
        server.proxy.next(Method::PUT, ignored());
    }
    let (severity, message) = worst(&topo.check().await.unwrap(), "conditions");
    assert_eq!(severity, Severity::Problem);
    assert!(message.contains("must not carry a league"), "{message}");
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let certificates = certificates::Certificates::new();
    let server = Server::start_with_tls(Cloud::S3, &certificates).await;
    let url = format!("{}&ca={}", server.direct_url("tls"), certificates.path("ca.pem"));
    let topo = open(&url, &server.options()).await.unwrap();
    put(&*topo, "/a", "one").await;
    assert_eq!(topo.get("/a").await.unwrap().unwrap().value, "one");
    // Not trusted: nothing is sent.
    let topo = open(&server.direct_url("tls"), &server.options()).await.unwrap();
    let error = topo.create("/b", "one".into()).await.unwrap_err();
    assert_eq!(error.category(), Category::Unavailable, "{}", error.chain());
    let key = certificates.path("server.key");
    let error = open(&format!("{}&ca={key}", server.direct_url("tls")), &server.options()).await.unwrap_err();
    assert!(error.to_string().contains("it has no CERTIFICATE in PEM form"), "{error}");
}
