//! Which topology server: the URL syntax.
//!
//! | URL | Server |
//! |---|---|
//! | `memory:NAME` | inside this process, shared by its parts under that name |
//! | `sqlite:PATH` | a file, shared by the processes of one host (not over a network file system) |
//! | `etcd://HOST[:PORT][,HOST[:PORT]…]/PREFIX` | etcd over plain connections |
//! | `etcds://HOST[:PORT][,HOST[:PORT]…]/PREFIX` | etcd over TLS |
//! | `quorum:URL,URL,URL` | three, five or seven of the others, of which one, two or three may be lost |
//!
//! Options follow a `?`, joined by `&`:
//!
//! | Option | For | Meaning |
//! |---|---|---|
//! | `changes-kept=N` | memory, sqlite | how many changes the store remembers for those who follow it (65536) |
//! | `timeout=5s` | etcd | how long one request may take; also `250ms` |
//! | `user=NAME` | etcd | the same as `NAME@` before the hosts |
//! | `password-file=FILE` | etcd | the password, read anew at every log-in, without its line end |
//! | `ca=FILE` | etcds | the certificates (PEM) that sign the servers'; without it, those of the operating system |
//! | `cert=FILE`, `key=FILE` | etcds | the client's certificate and key (PEM) |
//! | `server-name=NAME` | etcds | the name in the servers' certificates, where it is not the host |
//!
//! In a `quorum:` each store has its own options. A comma begins the next store where a scheme follows it; any other
//! belongs to the store before it, as between the hosts of an etcd.
//!
//! Certificates and keys are read when the server is opened. `%XX` stands for a byte anywhere, and must be used for `%`, `?`, `#`, `&` and `@` in names, paths
//! and passwords, and for `/`, `:` and `,` in users and passwords. `USER:PASSWORD@` before the hosts
//! works, but a URL is seen by everyone who can list processes; [`crate::Options`] takes credentials
//! from the environment instead. Whatever is printed of a URL shows no password.

mod parse;
mod quorum;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A topology server's URL, checked. Prints without its password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TopoUrl {
    /// `memory:NAME`
    Memory {
        /// The server's name in this process.
        name: String,
        /// How many changes it remembers, when that is said.
        changes_kept: Option<usize>,
    },
    /// `sqlite:PATH`
    Sqlite {
        /// The file.
        path: PathBuf,
        /// How many changes it remembers, when that is said.
        changes_kept: Option<usize>,
    },
    /// `etcd://…` and `etcds://…`
    Etcd(EtcdUrl),
    /// `quorum:…`
    Quorum {
        /// The stores: an odd number of different ones, none of them a quorum.
        stores: Vec<TopoUrl>,
    },
}

/// The parts of an `etcd://` or `etcds://` URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdUrl {
    /// Whether to speak TLS: the scheme is `etcds`.
    pub tls: bool,
    /// `host:port` of each member, IPv6 addresses in brackets.
    pub endpoints: Vec<String>,
    /// Stands before every key; begins with `/` and does not end with one.
    pub prefix: String,
    /// Whom to log in as.
    pub user: Option<String>,
    /// The password, where the URL has it.
    pub password: Option<Secret>,
    /// Where to read the password.
    pub password_file: Option<PathBuf>,
    /// The certificates that sign the servers'.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
    /// The name to expect in the servers' certificates.
    pub server_name: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// Text that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a text is no topology server's URL, and the mend. Shows no password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("URL {url:?}: {what}; {mend}")]
pub struct UrlError {
    url: String,
    what: String,
    mend: String,
}

impl FromStr for TopoUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        parse::parse(text).map_err(|parse::Wrong { what, mend }| UrlError { url: parse::redacted(text), what, mend })
    }
}

impl TopoUrl {
    /// The URL's scheme.
    pub fn scheme(&self) -> &'static str {
        match self {
            TopoUrl::Memory { .. } => "memory",
            TopoUrl::Sqlite { .. } => "sqlite",
            TopoUrl::Etcd(EtcdUrl { tls: false, .. }) => "etcd",
            TopoUrl::Etcd(EtcdUrl { tls: true, .. }) => "etcds",
            TopoUrl::Quorum { .. } => "quorum",
        }
    }
}

/// What identifies the server, for people; options and passwords are left out.
impl fmt::Display for TopoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopoUrl::Memory { name, .. } => write!(f, "memory:{name}"),
            TopoUrl::Sqlite { path, .. } => write!(f, "sqlite:{}", path.display()),
            TopoUrl::Etcd(etcd) => {
                write!(f, "{}://", self.scheme())?;
                if let Some(user) = &etcd.user {
                    write!(f, "{user}@")?;
                }
                write!(f, "{}{}", etcd.endpoints.join(","), etcd.prefix)
            }
            TopoUrl::Quorum { stores } => {
                let stores: Vec<String> = stores.iter().map(TopoUrl::to_string).collect();
                write!(f, "quorum:{}", stores.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests;
