//! From text to [`TopoUrl`].

use super::{Cloud, EtcdUrl, Secret, TopoUrl, objects};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What is wrong with a URL, and the mend.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) mend: String,
}

pub(super) fn wrong<T>(what: impl Into<String>, mend: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { what: what.into(), mend: mend.into() })
}

const SCHEMES: &str = "use memory:NAME, sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX, \
                       s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or quorum:URL,URL,URL";
const ENCODE: &str = "write each / : , ? # % & @ in a user or password as %XX, or give the password in a file";
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const ETCD_PORT: u16 = 2379;

/// `text` without what stands between its scheme and its last `@`, and without the values of options
/// that sound like credentials: also where it is malformed, no password is shown.
pub(super) fn redacted(text: &str) -> String {
    let text = match text.split_once('?') {
        None => text.to_owned(),
        Some((body, options)) => {
            let shown = options.split('&').map(|pair| match pair.split_once('=') {
                // An address with an @ in it holds a user and a password.
                Some((name, value)) if is_secret(name) || value.contains("%40") => format!("{name}=***"),
                _ => pair.to_owned(),
            });
            format!("{body}?{}", shown.collect::<Vec<_>>().join("&"))
        }
    };
    let (scheme, rest) = text.split_once(':').unwrap_or(("", &text));
    let Some((_, hosts)) = rest.rsplit_once('@') else {
        return text;
    };
    let slashes = if rest.starts_with("//") { "//" } else { "" };
    format!("{scheme}:{slashes}***@{hosts}")
}

/// Whether an option's name says that its value is a credential itself, not a file that holds one.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let words = ["secret", "token", "password", "sas", "signature", "credential", "access_key", "account_key"];
    words.iter().any(|word| name.contains(word)) && !name.ends_with("_file")
}

pub(super) fn parse(text: &str) -> Result<TopoUrl, Wrong> {
    let Some((scheme, rest)) = text.split_once(':') else {
        let mend = if text.contains('/') || text.contains(".db") {
            format!("for a file write sqlite:{text}")
        } else {
            SCHEMES.to_owned()
        };
        return wrong("it has no scheme", mend);
    };
    if scheme == "quorum" {
        return super::quorum::parse(rest);
    }
    let (body, options) = match rest.split_once('?') {
        Some((body, options)) => (body, Options::parse(options)?),
        None => (rest, Options::default()),
    };
    match scheme {
        "memory" => memory(body, options),
        "sqlite" => sqlite(body, options),
        "etcd" => etcd(body, options, false),
        "etcds" => etcd(body, options, true),
        "s3" => objects::parse(Cloud::S3, body, options),
        "gs" => objects::parse(Cloud::Gs, body, options),
        "az" => objects::parse(Cloud::Az, body, options),
        "http" | "https" => wrong(
            format!("{scheme}:// names no kind of topology server"),
            "for etcd write etcd://HOST:PORT/PREFIX, or etcds:// over TLS; for an object store s3://, gs:// or az:// \
             with endpoint=URL",
        ),
        _ if rest.parse::<u16>().is_ok() => wrong("it has no scheme", format!("for etcd write etcd://{text}/hansa")),
        _ => wrong(format!("the scheme {scheme:?} is not known"), SCHEMES),
    }
}

fn memory(body: &str, mut options: Options) -> Result<TopoUrl, Wrong> {
    let name = decoded(body)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return wrong(
            format!("{name:?} is no name for a server in memory"),
            "use letters, digits, '.', '_' and '-', like memory:trial",
        );
    }
    let changes_kept = options.changes_kept()?;
    options.end("memory", "changes-kept")?;
    Ok(TopoUrl::Memory { name, changes_kept })
}

fn sqlite(body: &str, mut options: Options) -> Result<TopoUrl, Wrong> {
    let path = match body.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(path) => {
            return wrong(
                "after sqlite:// a host name would stand, and a file has none",
                format!("write sqlite:{path} or sqlite:/{path}"),
            );
        }
        None => body,
    };
    let path = decoded(path)?;
    if path == ":memory:" {
        return wrong("a file is needed", "for a server in memory write memory:NAME");
    }
    if path.is_empty() || path.ends_with('/') {
        return wrong("it names no file", "write sqlite:PATH, like sqlite:/var/lib/hansa/topo.db");
    }
    if path.contains('\0') {
        return wrong("the path has a zero byte", "leave it out");
    }
    let changes_kept = options.changes_kept()?;
    options.end("sqlite", "changes-kept")?;
    Ok(TopoUrl::Sqlite { path: PathBuf::from(path), changes_kept })
}

fn etcd(body: &str, mut options: Options, tls: bool) -> Result<TopoUrl, Wrong> {
    let scheme = if tls { "etcds" } else { "etcd" };
    let Some(rest) = body.strip_prefix("//") else {
        return wrong(format!("// is missing after {scheme}:"), format!("write {scheme}://HOST:PORT/PREFIX"));
    };
    let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // A password with a raw / or ? in it ends the authority early: say so, and quote nothing of it.
    if prefix.contains('@') || options.raw_at {
        return wrong("there is an @ behind the hosts", ENCODE);
    }
    let (mut user, mut password) = (None, None);
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((login, hosts)) => {
            let (name, secret) = match login.split_once(':') {
                Some((name, secret)) => (name, Some(secret)),
                None => (login, None),
            };
            if name.is_empty() || login.contains('@') || secret.is_some_and(|s| s.contains(':')) {
                return wrong("what stands before the last @ is not USER or USER:PASSWORD", ENCODE);
            }
            user = Some(decoded(name)?);
            password = match secret {
                Some(secret) => Some(Secret::new(decoded_secret(secret)?)),
                None => None,
            };
            hosts
        }
    };
    let endpoints = hosts.split(',').map(endpoint).collect::<Result<_, _>>()?;
    if let Some(name) = options.take("user") {
        if user.is_some() {
            return wrong("the user is named twice", "leave out user= or what stands before the @");
        }
        user = Some(name);
    }
    let password_file = options.file("password-file")?;
    if password.is_some() && password_file.is_some() {
        return wrong("there is a password and a password-file", "leave out one of them");
    }
    let (ca, cert, key) = (options.file("ca")?, options.file("cert")?, options.file("key")?);
    let server_name = options.take("server-name");
    if !tls && (ca.is_some() || cert.is_some() || key.is_some() || server_name.is_some()) {
        return wrong(
            "ca=, cert=, key= and server-name= are for TLS, and etcd:// is a plain connection",
            "write etcds://",
        );
    }
    if cert.is_some() != key.is_some() {
        return wrong("cert= and key= need each other", "give both, or none");
    }
    let timeout = match options.take("timeout") {
        None => DEFAULT_TIMEOUT,
        Some(text) => duration(&text)?,
    };
    options.end(scheme, "timeout, user, password-file, ca, cert, key, server-name")?;
    Ok(TopoUrl::Etcd(EtcdUrl {
        tls,
        endpoints,
        prefix: etcd_prefix(prefix)?,
        user,
        password,
        password_file,
        ca,
        cert,
        key,
        server_name,
        timeout,
    }))
}

fn etcd_prefix(text: &str) -> Result<String, Wrong> {
    let prefix = format!("/{}", decoded(text)?.trim_end_matches('/'));
    if prefix == "/" {
        return wrong(
            "the prefix is missing, below which the league keeps its keys",
            "add one behind the hosts, like /hansa",
        );
    }
    let segments = prefix[1..].split('/');
    if prefix.chars().any(char::is_control) || segments.into_iter().any(|s| matches!(s, "" | "." | "..")) {
        return wrong(format!("the prefix {prefix:?} is not usable"), "use one like /hansa or /prod/hansa");
    }
    Ok(prefix)
}

fn endpoint(text: &str) -> Result<String, Wrong> {
    let mend = "write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas";
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return wrong(format!("{host:?} is no IPv6 address"), mend);
            }
            match (rest, rest.strip_prefix(':')) {
                ("", _) => (format!("[{host}]"), None),
                (_, Some(port)) => (format!("[{host}]"), Some(port)),
                (_, None) => return wrong(format!("{rest:?} stands after the address"), mend),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if host.is_empty() || !(host.starts_with('[') && host.ends_with(']') || host.chars().all(plain)) {
        return wrong(format!("{host:?} is no host"), mend);
    }
    let port = match port {
        None => ETCD_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return wrong(format!("{port:?} is no port"), mend),
        },
    };
    Ok(format!("{host}:{port}"))
}

pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let parsed = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse().ok().map(Duration::from_millis),
        (None, Some(number)) => number.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    match parsed {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => wrong(format!("{text:?} is no duration above zero"), "write one like timeout=5s or timeout=250ms"),
    }
}

pub(super) fn decoded(text: &str) -> Result<String, Wrong> {
    match percent_decoded(text) {
        Some(decoded) => Ok(decoded),
        None => wrong(
            format!("{text:?} has a % that is not followed by two hexadecimal digits of UTF-8"),
            "write % itself as %25",
        ),
    }
}

fn decoded_secret(text: &str) -> Result<String, Wrong> {
    match percent_decoded(text) {
        Some(decoded) => Ok(decoded),
        None => wrong("a % in the password is not followed by two hexadecimal digits", ENCODE),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: u8| (byte as char).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

/// What stands behind the `?`.
#[derive(Default)]
pub(super) struct Options {
    values: BTreeMap<String, String>,
    /// Whether an unencoded `@` is among them.
    raw_at: bool,
}

impl Options {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let raw_at = text.contains('@');
        let mut values = BTreeMap::new();
        // The halves of a torn password must not be quoted as options.
        let pairs = text.split('&').filter(|pair| !raw_at && !pair.is_empty());
        for pair in pairs {
            let Some((name, value)) = pair.split_once('=') else {
                return wrong(format!("the option {pair:?} has no value"), "write NAME=VALUE");
            };
            if values.insert(name.to_owned(), decoded(value)?).is_some() {
                return wrong(format!("the option {name:?} is given twice"), "leave out one of them");
            }
        }
        Ok(Options { values, raw_at })
    }

    /// The names of what nobody took yet.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    pub(super) fn file(&mut self, name: &str) -> Result<Option<PathBuf>, Wrong> {
        match self.take(name) {
            Some(path) if path.is_empty() || path.contains('\0') => {
                wrong(format!("{name}= names no file"), format!("write {name}=FILE"))
            }
            path => Ok(path.map(PathBuf::from)),
        }
    }

    pub(super) fn changes_kept(&mut self) -> Result<Option<usize>, Wrong> {
        let Some(text) = self.take("changes-kept") else { return Ok(None) };
        match text.parse() {
            Ok(kept) if kept > 0 => Ok(Some(kept)),
            _ => wrong(format!("changes-kept={text} is no number above zero"), "write one like changes-kept=65536"),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn end(self, scheme: &str, known: &str) -> Result<(), Wrong> {
        if self.raw_at {
            return wrong("there is an @ among the options", "write it as %40");
        }
        match self.values.into_keys().next() {
            Some(name) => {
                wrong(format!("the option {name:?} is not known for {scheme}"), format!("the options are {known}"))
            }
            None => Ok(()),
        }
    }
}
