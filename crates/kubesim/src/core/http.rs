//! Requests and responses without sockets: what the edge hands in and takes out, and what tests
//! and simulations build by hand.

use bytes::Bytes;
use serde_json::Value;

use super::watch::WatchId;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name that rules and the audit record go by.
    pub name: String,
    /// `system:masters` may do everything.
    pub groups: Vec<String>,
}

impl User {
    /// A user of that name among the authenticated.
    pub fn named(name: &str) -> Self {
        User { name: name.to_string(), groups: vec!["system:authenticated".to_string()] }
    }

    /// The user `admin`, who may do everything.
    pub fn admin() -> Self {
        let groups = ["system:masters", "system:authenticated"];
        User { name: "admin".to_string(), groups: groups.map(String::from).to_vec() }
    }
}

/// One request, its target percent-encoded as on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path without the query, decoded.
    pub path: String,
    /// The query, decoded, in its order.
    pub query: Vec<(String, String)>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Accept`.
    pub accept: Option<String>,
    /// `User-Agent`: the field manager where none is given.
    pub user_agent: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub user: User,
}

impl Request {
    /// A request by `admin`; `target` is a path with an optional query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method: method.to_string(),
            path: decode_path(path),
            query: parse_query(query),
            content_type: None,
            accept: None,
            user_agent: None,
            body: Bytes::new(),
            user: User::admin(),
        }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Request::new("GET", target)
    }

    /// `DELETE` without options.
    pub fn delete(target: &str) -> Self {
        Request::new("DELETE", target)
    }

    /// `POST` of a JSON object.
    pub fn post(target: &str, body: &Value) -> Self {
        Request::new("POST", target).body("application/json", body)
    }

    /// `PUT` of a JSON object.
    pub fn put(target: &str, body: &Value) -> Self {
        Request::new("PUT", target).body("application/json", body)
    }

    /// `PATCH`; `kind` is `json-patch`, `merge-patch` or `strategic-merge-patch`.
    pub fn patch(target: &str, kind: &str, body: &Value) -> Self {
        Request::new("PATCH", target).body(&format!("application/{kind}+json"), body)
    }

    /// Server-side apply by a field manager.
    pub fn apply(target: &str, manager: &str, force: bool, body: &Value) -> Self {
        let mut request = Request::new("PATCH", target).body("application/apply-patch+yaml", body);
        request.query.push(("fieldManager".into(), manager.into()));
        if force {
            request.query.push(("force".into(), "true".into()));
        }
        request
    }

    /// The same with this body.
    pub fn body(mut self, content_type: &str, body: &Value) -> Self {
        self.content_type = Some(content_type.to_string());
        self.body = Bytes::from(body.to_string());
        self
    }

    /// The same with this `Accept`.
    pub fn accepting(mut self, accept: &str) -> Self {
        self.accept = Some(accept.to_string());
        self
    }

    /// The same by another user.
    pub fn by(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// The last value of a query parameter; an empty one counts as absent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean query parameter is given and true, as Go's `strconv.ParseBool` reads it;
    /// `?watch` alone is true.
    pub fn flag(&self, name: &str) -> bool {
        self.query
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| matches!(value.as_str(), "" | "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// The path and query as they would be sent, without escapes (for records and messages).
    pub fn target(&self) -> String {
        let query: Vec<String> = self.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, query.join("&")) }
    }
}

/// The answer to everything but a watch.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// `ETag`, on discovery and OpenAPI documents.
    pub etag: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Response::bytes(status, "application/json", Bytes::from(body.to_string()))
    }

    /// An answer of ready bytes.
    pub fn bytes(status: u16, content_type: &str, body: Bytes) -> Self {
        Response {
            status,
            content_type: content_type.to_string(),
            warnings: Vec::new(),
            etag: None,
            retry_after: None,
            body,
        }
    }

    /// A plain-text answer.
    pub fn text(status: u16, body: &str) -> Self {
        Response::bytes(status, "text/plain; charset=utf-8", Bytes::from(body.to_string()))
    }

    /// The body as JSON; `null` when it is not JSON.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What a request comes to.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A whole answer.
    Response(Response),
    /// A stream of lines: poll it with [`super::Core::poll_watch`].
    Watch {
        /// Which one.
        id: WatchId,
        /// `Content-Type` of the stream.
        content_type: String,
        /// Texts for `Warning` headers.
        warnings: Vec<String>,
    },
}

impl Reply {
    /// The same with a warning more, if there is one.
    pub fn warning(mut self, text: Option<String>) -> Self {
        match &mut self {
            Reply::Response(Response { warnings, .. }) | Reply::Watch { warnings, .. } => warnings.extend(text),
        }
        self
    }
}

/// Splits and decodes a query string.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// Undoes percent-encoding in a path.
pub fn decode_path(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_decoded() {
        let request = Request::get("/api/v1/pods?labelSelector=a+in+%28b%2Cc%29&watch&limit=");
        assert_eq!(request.parameter("labelSelector"), Some("a in (b,c)"));
        assert!(request.flag("watch"));
        assert_eq!(request.parameter("limit"), None);
        assert_eq!(decode_path("/a%2Fb+c/100%"), "/a/b+c/100%");
    }
}
