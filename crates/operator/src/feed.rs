//! A feed: everything of one resource that the member's API server holds, kept current.
//!
//! A consistent list in pages, then a watch from the list's resourceVersion; what the list no longer
//! shows is told as gone, so a missed delete is made good by the next list. A watch event that
//! continues a consistent list counts as consistent.

use crate::backoff::pause_ms;
use crate::io::{ApiRequest, Now};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 500;

/// Namespace (empty when there is none) and name.
pub type ObjectName = (Arc<str>, Arc<str>);

/// One resource, followed.
#[derive(Debug)]
pub struct Feed {
    path: String,
    selector: Option<String>,
    metadata_only: bool,
    state: FeedState,
    /// Every object known, with the round of the list that last showed it.
    known: BTreeMap<ObjectName, u32>,
    round: u32,
    failures: u32,
    synced: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum FeedState {
    /// Waits until this time, then lists.
    Pausing { until_ms: u64 },
    /// A page of the list is under way.
    Listing { resume: Option<String> },
    /// A watch is open from this resourceVersion on.
    Watching { resource_version: String },
    /// Waits until this time, then watches again from there.
    Reopening { resource_version: String, until_ms: u64 },
}

/// What a feed asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedRequest {
    /// One request.
    List(ApiRequest),
    /// A watch.
    Watch(ApiRequest),
    /// Nothing before this time.
    Wait(u64),
}

/// What a feed tells.
#[derive(Clone, PartialEq, Debug)]
pub enum FeedChange {
    /// The object as it stands, told by the watch.
    Object(Value),
    /// The object as it stands, told by a list: after a restore it may be an earlier state.
    Listed(Value),
    /// It is gone; with its last state when the watch told it.
    Gone(ObjectName, Option<Value>),
    /// Everything that stood at the time of the list has been told.
    Synced,
}

/// Why a feed does not go on for now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedFault {
    /// The status, when the API server answered.
    pub status: Option<u16>,
    /// For people.
    pub reason: String,
    /// How often in a row.
    pub failures: u32,
}

/// A page of the list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<'a> {
    /// The objects, as they came: as trees, those of one page would be the most that an operator ever holds.
    pub items: Vec<Item<'a>>,
    /// What the end of the list tells; nothing before.
    pub end: Vec<FeedChange>,
}

/// An object of a page, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a>(&'a RawValue);

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Item<'_> {
    /// The object as a tree.
    ///
    /// # Errors
    /// When it is deeper or has larger numbers than a tree may have.
    pub fn read(self) -> serde_json::Result<Value> {
        serde_json::from_str(self.0.get())
    }
}

#[derive(Deserialize)]
struct ListAnswer<'a> {
    metadata: ListMetadata,
    #[serde(default, borrow)]
    items: Vec<&'a RawValue>,
}

/// As much of an object as names it.
#[derive(Deserialize)]
struct Named {
    metadata: NamedMetadata,
}

#[derive(Deserialize)]
struct NamedMetadata {
    #[serde(default)]
    namespace: Arc<str>,
    #[serde(default)]
    name: Arc<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

#[derive(Deserialize)]
struct WatchEvent {
    r#type: String,
    object: Value,
}

/// Namespace and name of an object.
pub fn object_name(object: &Value) -> ObjectName {
    let text = |field: &str| Arc::from(object["metadata"][field].as_str().unwrap_or_default());
    (text("namespace"), text("name"))
}

impl Feed {
    /// Follows the collection at `path` (`/apis/apps/v1/deployments`), narrowed by a label selector.
    pub fn new(path: String, selector: Option<String>) -> Self {
        let state = FeedState::Pausing { until_ms: 0 };
        let known = BTreeMap::new();
        Feed { path, selector, metadata_only: false, state, known, round: 0, failures: 0, synced: false }
    }

    /// Follows the metadata alone of a collection: the contents do not leave the API server.
    pub fn of_metadata(path: String) -> Self {
        Feed { metadata_only: true, ..Feed::new(path, None) }
    }

    /// Whether a whole list has been told since the start.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether the API server refuses or cannot be reached. A watch that is opened again says nothing of that: each ends
    /// after its time, and the first that is told by the next may be a bookmark a minute later.
    pub fn is_failing(&self) -> bool {
        let opens_again = matches!(self.state, FeedState::Watching { .. } | FeedState::Reopening { .. });
        self.failures > u32::from(opens_again)
    }

    /// Lists anew: what was told may be long past.
    pub fn begin_anew(&mut self, now: Now) {
        self.state = FeedState::Pausing { until_ms: now.monotonic_ms };
        self.synced = false;
    }

    /// Whether an object was told of, and not that it is gone.
    pub fn knows(&self, name: &ObjectName) -> bool {
        self.known.contains_key(name)
    }

    /// The objects known.
    pub fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.known.keys()
    }

    /// What to ask for next; called at the start, after each fault and at the time of a wait.
    pub fn next(&mut self, now: Now) -> FeedRequest {
        match &self.state {
            FeedState::Pausing { until_ms } | FeedState::Reopening { until_ms, .. } if now.monotonic_ms < *until_ms => {
                FeedRequest::Wait(*until_ms)
            }
            FeedState::Reopening { resource_version, .. } => {
                self.state = FeedState::Watching { resource_version: resource_version.clone() };
                self.watch()
            }
            FeedState::Pausing { .. } => {
                self.round += 1;
                self.state = FeedState::Listing { resume: None };
                FeedRequest::List(self.get(self.list_path(None)))
            }
            FeedState::Listing { resume } => FeedRequest::List(self.get(self.list_path(resume.as_deref()))),
            FeedState::Watching { .. } => self.watch(),
        }
    }

    fn get(&self, path: String) -> ApiRequest {
        ApiRequest { metadata_only: self.metadata_only, ..ApiRequest::get(path) }
    }

    fn query(&self, parameters: &str) -> String {
        let selector = self.selector.as_ref().map(|selector| format!("&labelSelector={}", percent_encode(selector)));
        format!("{}?{parameters}{}", self.path, selector.unwrap_or_default())
    }

    // No resourceVersion: a consistent read, never one from a stale watch cache.
    fn list_path(&self, resume: Option<&str>) -> String {
        let resume = resume.map(|token| format!("&continue={}", percent_encode(token))).unwrap_or_default();
        self.query(&format!("limit={PAGE}{resume}"))
    }

    fn watch(&self) -> FeedRequest {
        let FeedState::Watching { resource_version } = &self.state else {
            unreachable!("a watch is opened in the watching state only");
        };
        let parameters =
            format!("watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={resource_version}");
        FeedRequest::Watch(self.get(self.query(&parameters)))
    }

    /// Takes a page of the list: its objects are to be told in order, then its end; `next` says what follows.
    ///
    /// # Errors
    /// When it was refused or does not read; the feed pauses, then lists anew.
    pub fn listed<'a>(&mut self, answer: Result<(u16, &'a [u8]), String>, now: Now) -> Result<Page<'a>, FeedFault> {
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(reason) => return Err(self.fault(None, reason, now)),
        };
        if status != 200 {
            return Err(self.fault(Some(status), message_of(body), now));
        }
        let read = serde_json::from_slice(body).and_then(|list: ListAnswer<'_>| {
            let names = list.items.iter().map(|item| serde_json::from_str::<Named>(item.get()));
            Ok((names.collect::<Result<Vec<_>, _>>()?, list))
        });
        let (names, list) = match read {
            Ok(read) => read,
            Err(error) => return Err(self.fault(None, format!("the list does not read: {error}"), now)),
        };
        for Named { metadata } in names {
            self.known.insert((metadata.namespace, metadata.name), self.round);
        }
        let mut end = Vec::new();
        if list.metadata.r#continue.is_empty() {
            let round = self.round;
            let gone: Vec<ObjectName> =
                self.known.iter().filter(|(_, seen)| **seen != round).map(|(name, _)| name.clone()).collect();
            for name in gone {
                self.known.remove(&name);
                end.push(FeedChange::Gone(name, None));
            }
            end.push(FeedChange::Synced);
            self.synced = true;
            self.failures = 0;
            self.state = FeedState::Watching { resource_version: list.metadata.resource_version };
        } else {
            self.state = FeedState::Listing { resume: Some(list.metadata.r#continue) };
        }
        Ok(Page { items: list.items.into_iter().map(Item).collect(), end })
    }

    /// Takes a line of the watch.
    ///
    /// # Errors
    /// When the API server ends the history (410) or the line does not read; the feed lists anew.
    pub fn line(&mut self, line: &[u8], now: Now) -> Result<Option<FeedChange>, FeedFault> {
        let event: WatchEvent = match serde_json::from_slice(line) {
            Ok(event) => event,
            Err(error) => return Err(self.fault(None, format!("a watch event does not read: {error}"), now)),
        };
        if event.r#type == "ERROR" {
            let status = event.object["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let reason = event.object["message"].as_str().unwrap_or("the watch failed").to_owned();
            let fault = self.fault(status, reason, now);
            if status == Some(410) {
                self.state = FeedState::Pausing { until_ms: now.monotonic_ms };
            }
            return Err(fault);
        }
        if let Some(version) = event.object["metadata"]["resourceVersion"].as_str() {
            if let FeedState::Watching { resource_version } = &self.state
                && is_before(version, resource_version)
            {
                let reason = format!("the watch went back from {resource_version} to {version}");
                return Err(self.fault(None, reason, now));
            }
            self.state = FeedState::Watching { resource_version: version.to_owned() };
        }
        self.failures = 0;
        let name = object_name(&event.object);
        Ok(match event.r#type.as_str() {
            "BOOKMARK" => None,
            "DELETED" => {
                self.known.remove(&name);
                Some(FeedChange::Gone(name, Some(event.object)))
            }
            _ => {
                self.known.insert(name, self.round);
                Some(FeedChange::Object(event.object))
            }
        })
    }

    /// The watch closed. A watch that merely timed out is opened again from where it was.
    pub fn closed(&mut self, status: Option<u16>, reason: &str, now: Now) -> Option<FeedFault> {
        match (&self.state, status) {
            (FeedState::Watching { resource_version }, None | Some(200)) => {
                let resource_version = resource_version.clone();
                // A server that was away may come back with an older state (restored from a backup), and
                // from a resourceVersion that it has not reached yet a watch tells nothing: list anew.
                if self.failures > 0 {
                    let fault = self.fault(status, reason.to_owned(), now);
                    return (self.failures > 2).then_some(fault);
                }
                self.failures = 1;
                self.state = FeedState::Reopening { resource_version, until_ms: now.monotonic_ms };
                None
            }
            (FeedState::Watching { .. }, Some(_)) => Some(self.fault(status, reason.to_owned(), now)),
            _ => None,
        }
    }

    fn fault(&mut self, status: Option<u16>, reason: String, now: Now) -> FeedFault {
        self.failures += 1;
        let until_ms = now.monotonic_ms + pause_ms(self.failures, 100, 30_000, now.entropy);
        self.state = FeedState::Pausing { until_ms };
        FeedFault { status, reason, failures: self.failures }
    }
}

/// Whether a resourceVersion is an earlier one; where both are numbers they compare (KEP-5504).
pub fn is_before(one: &str, other: &str) -> bool {
    matches!((one.parse::<u128>(), other.parse::<u128>()), (Ok(one), Ok(other)) if one < other)
}

/// Whether a state of an object, by its uid and resourceVersion, is an earlier one than that known:
/// answers and watch events come by different ways and overtake one another. Another object of the
/// name (another uid) is none of it, whatever its version.
pub fn is_overtaken(shown: (&str, &str), known: (&str, &str)) -> bool {
    shown.0 == known.0 && is_before(shown.1, known.1)
}

/// The message of a Status body, or the beginning of whatever it is.
pub fn message_of(body: &[u8]) -> String {
    let message =
        serde_json::from_slice::<Value>(body).ok().and_then(|status| status["message"].as_str().map(str::to_owned));
    message.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned())
}

/// Encodes a text for a query or a path segment (RFC 3986, unreserved characters stay).
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Now = Now { monotonic_ms: 1_000, wall_ms: 0, entropy: 7 };

    fn page(names: &[&str], version: &str, resume: &str) -> Vec<u8> {
        let items: Vec<_> = names.iter().map(|name| json!({"metadata": {"namespace": "n", "name": name}})).collect();
        json!({"metadata": {"resourceVersion": version, "continue": resume}, "items": items}).to_string().into_bytes()
    }

    fn told(page: Page<'_>) -> Vec<String> {
        let tell = |change| match change {
            FeedChange::Object(object) | FeedChange::Listed(object) => format!("+{}", object_name(&object).1),
            FeedChange::Gone((_, name), _) => format!("-{name}"),
            FeedChange::Synced => "synced".to_owned(),
        };
        let items = page.items.into_iter().map(|item| FeedChange::Listed(item.read().unwrap()));
        items.chain(page.end).map(tell).collect()
    }

    #[test]
    fn a_missed_delete_is_made_good_by_the_next_list() {
        let mut feed = Feed::new("/api/v1/configmaps".into(), Some("a=b".into()));
        let FeedRequest::List(request) = feed.next(NOW) else { panic!("lists first") };
        assert_eq!(request.path, "/api/v1/configmaps?limit=500&labelSelector=a%3Db");
        assert_eq!(told(feed.listed(Ok((200, &page(&["x", "y"], "7", "more"))), NOW).unwrap()), ["+x", "+y"]);
        let FeedRequest::List(request) = feed.next(NOW) else { panic!("goes on with the list") };
        assert!(request.path.contains("continue=more"), "{}", request.path);
        assert_eq!(told(feed.listed(Ok((200, &page(&["z"], "7", ""))), NOW).unwrap()), ["+z", "synced"]);
        let FeedRequest::Watch(request) = feed.next(NOW) else { panic!("then watches") };
        assert!(request.path.contains("resourceVersion=7"), "{}", request.path);

        let expired = json!({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).to_string();
        assert_eq!(feed.line(expired.as_bytes(), NOW).unwrap_err().status, Some(410));
        assert!(matches!(feed.next(NOW), FeedRequest::List(_)));
        assert_eq!(
            told(feed.listed(Ok((200, &page(&["x", "z"], "9", ""))), NOW).unwrap()),
            ["+x", "+z", "-y", "synced"]
        );
    }

    #[test]
    fn of_metadata_no_contents_are_asked_for() {
        let mut feed = Feed::of_metadata("/api/v1/secrets".into());
        let FeedRequest::List(list) = feed.next(NOW) else { panic!("lists first") };
        feed.listed(Ok((200, &page(&[], "7", ""))), NOW).unwrap();
        let FeedRequest::Watch(watch) = feed.next(NOW) else { panic!("then watches") };
        assert!(list.accept().starts_with("application/json;as=PartialObjectMetadataList;"), "{}", list.accept());
        assert!(watch.accept().starts_with("application/json;as=PartialObjectMetadata;"), "{}", watch.accept());
    }

    #[test]
    fn a_watch_that_timed_out_goes_on_from_where_it_was() {
        let mut feed = Feed::new("/api/v1/configmaps".into(), None);
        feed.next(NOW);
        feed.listed(Ok((200, &page(&[], "7", ""))), NOW).unwrap();
        let bookmark = json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}}).to_string();
        assert_eq!(feed.line(bookmark.as_bytes(), NOW).unwrap(), None);
        assert_eq!(feed.closed(None, "end of stream", NOW), None);
        assert!(!feed.is_failing(), "its time was up");
        let FeedRequest::Watch(request) = feed.next(NOW) else { panic!("watches again") };
        assert!(!feed.is_failing(), "nothing may be told for a minute");
        assert!(request.path.contains("resourceVersion=12"), "{}", request.path);
    }

    #[test]
    fn a_server_that_was_away_is_listed_anew() {
        let mut feed = Feed::new("/api/v1/configmaps".into(), None);
        feed.next(NOW);
        feed.listed(Ok((200, &page(&[], "7", ""))), NOW).unwrap();
        feed.closed(None, "connection reset", NOW);
        assert!(matches!(feed.next(NOW), FeedRequest::Watch(_)), "it may have been the connection alone");
        feed.closed(None, "connection refused", NOW);
        assert!(feed.is_failing());
        assert!(matches!(feed.next(NOW), FeedRequest::Wait(_)));
        let later = Now { monotonic_ms: 10_000, ..NOW };
        assert!(matches!(feed.next(later), FeedRequest::List(_)), "it may have been restored from a backup");
    }

    #[test]
    fn a_watch_that_goes_back_is_not_believed() {
        let mut feed = Feed::new("/api/v1/configmaps".into(), None);
        feed.next(NOW);
        feed.listed(Ok((200, &page(&[], "70", ""))), NOW).unwrap();
        let object =
            json!({"type": "ADDED", "object": {"metadata": {"name": "x", "resourceVersion": "9"}}}).to_string();
        assert!(feed.line(object.as_bytes(), NOW).unwrap_err().reason.contains("went back"));
    }

    #[test]
    fn refusals_pause_longer_and_longer() {
        let mut feed = Feed::new("/apis/x/v1/things".into(), None);
        let mut last = 0;
        for expected in 1..5 {
            let now = Now { monotonic_ms: 1_000_000 * expected, ..NOW };
            assert!(matches!(feed.next(now), FeedRequest::List(_)));
            assert_eq!(u64::from(feed.listed(Ok((404, b"{}")), now).unwrap_err().failures), expected);
            let FeedRequest::Wait(until) = feed.next(now) else { panic!("waits") };
            assert!(until > now.monotonic_ms && until - now.monotonic_ms >= last / 2);
            last = until - now.monotonic_ms;
        }
        assert!(!feed.is_synced());
    }
}
