//! Which topology server: the URL syntax.
//!
//! | URL | Server |
//! |---|---|
//! | `memory:NAME` | inside this process, shared by its parts under that name |
//! | `sqlite:PATH` | a file, shared by the processes of one host (not over a network file system) |
//! | `etcd://HOST[:PORT][,HOST[:PORT]…]/PREFIX` | etcd over plain connections |
//! | `etcds://HOST[:PORT][,HOST[:PORT]…]/PREFIX` | etcd over TLS |
//! | `s3://BUCKET/PREFIX` | Amazon S3, or any store that speaks its protocol with conditional writes |
//! | `gs://BUCKET/PREFIX` | Google Cloud Storage |
//! | `az://CONTAINER/PREFIX` | Azure Blob Storage |
//! | `quorum:URL,URL,URL` | three, five or seven of the others, of which one, two or three may be lost |
//!
//! Options follow a `?`, joined by `&`:
//!
//! | Option | For | Meaning |
//! |---|---|---|
//! | `changes-kept=N` | memory, sqlite, s3, gs, az | how many changes are remembered for those who follow them (65536) |
//! | `timeout=5s` | etcd, s3, gs, az | how long one request may take; also `250ms` |
//! | `user=NAME` | etcd | the same as `NAME@` before the hosts |
//! | `password-file=FILE` | etcd | the password, read anew at every log-in, without its line end |
//! | `ca=FILE` | etcds, s3, gs, az | certificates (PEM) that sign the servers'; without it, those of the operating system (object stores trust these, too) |
//! | `cert=FILE`, `key=FILE` | etcds | the client's certificate and key (PEM) |
//! | `server-name=NAME` | etcds | the name in the servers' certificates, where it is not the host |
//! | `endpoint=URL` | s3, gs, az | another server than the cloud's own; `http://…` is a plain connection |
//! | `region=NAME` | s3 | the bucket's region (us-east-1) |
//! | `style=virtual` | s3 | the bucket stands in the host's name; with `endpoint=` it must stand there already |
//! | `account=NAME` | az | the storage account |
//! | `anonymous=true` | s3, gs, az | requests carry no credentials, for emulators that ask for none |
//!
//! Whatever else an object store needs comes from the environment that the clouds' own programs use, and
//! that workload identities set: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
//! `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, `AWS_CONTAINER_CREDENTIALS_FULL_URI`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL`, `AWS_SERVER_SIDE_ENCRYPTION`; `GOOGLE_APPLICATION_CREDENTIALS`,
//! `GOOGLE_SERVICE_ACCOUNT`; `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`,
//! `AZURE_STORAGE_SAS_TOKEN`, `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_FEDERATED_TOKEN_FILE`; and
//! the other keys of the `object_store` crate with these beginnings (`AWS_PROXY_URL`,
//! `AZURE_PROXY_EXCLUDES`, …). Without any, the metadata service of the machine is asked. `HTTPS_PROXY`,
//! `HTTP_PROXY` and `NO_PROXY` hold. `HANSA_TOPO_USER` with `HANSA_TOPO_PASSWORD` or its file, read when the
//! server is opened, stand for an access key and its secret at s3, for an account and its key at az.
//!
//! In a `quorum:` each store has its own options. A comma begins the next store where a scheme follows it; any other
//! belongs to the store before it, as between the hosts of an etcd.
//!
//! Certificates and keys are read when the server is opened. Keys and passwords are refused when others than the file's
//! owner and group may read it. `%XX` stands for a byte anywhere, and must be used for `%`, `?`, `#`, `&` and `@` in names, paths
//! and passwords, and for `/`, `:` and `,` in users and passwords. `USER:PASSWORD@` before the hosts
//! works, but a URL is seen by everyone who can list processes; [`crate::Options`] takes credentials
//! from the environment instead. Whatever is printed of a URL shows no password.

mod objects;
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
    /// `s3://…`, `gs://…` and `az://…`
    Objects(ObjectsUrl),
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

/// Whose object store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cloud {
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl Cloud {
    /// The URL's scheme, which is the backend's name, too.
    pub fn scheme(self) -> &'static str {
        match self {
            Cloud::S3 => "s3",
            Cloud::Gs => "gs",
            Cloud::Az => "az",
        }
    }
}

/// The parts of an `s3://`, `gs://` or `az://` URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectsUrl {
    /// The scheme.
    pub cloud: Cloud,
    /// The bucket; the container at Azure.
    pub bucket: String,
    /// Stands before every object's name; neither begins nor ends with `/`.
    pub prefix: String,
    /// The server, where it is not the cloud's own.
    pub endpoint: Option<String>,
    /// The bucket's region (s3).
    pub region: Option<String>,
    /// Whether the bucket stands in the host's name (s3).
    pub virtual_hosted: bool,
    /// The storage account (az).
    pub account: Option<String>,
    /// Whether requests carry no credentials.
    pub anonymous: bool,
    /// Certificates to trust beside those of the operating system.
    pub ca: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How many changes a handle remembers, when that is said.
    pub changes_kept: Option<usize>,
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
            TopoUrl::Objects(objects) => objects.cloud.scheme(),
            TopoUrl::Quorum { .. } => "quorum",
        }
    }

    /// Another, new store at the same server: with `-NAME` behind its name, path or prefix.
    pub fn beside(&self, name: &str) -> TopoUrl {
        let mut beside = self.clone();
        let suffix = format!("-{name}");
        match &mut beside {
            TopoUrl::Memory { name, .. } => name.push_str(&suffix),
            TopoUrl::Sqlite { path, .. } => path.as_mut_os_string().push(&suffix),
            TopoUrl::Etcd(etcd) => etcd.prefix.push_str(&suffix),
            TopoUrl::Objects(objects) => objects.prefix.push_str(&suffix),
            TopoUrl::Quorum { stores } => stores.iter_mut().for_each(|store| *store = store.beside(name)),
        }
        beside
    }

    /// How late an idle handle may be told of a change, beside what a request takes: object stores do
    /// not tell, they are asked every so often. With more than a thousand keys it is up to twice as much.
    pub fn idle_lag(&self) -> Duration {
        match self {
            TopoUrl::Memory { .. } | TopoUrl::Sqlite { .. } | TopoUrl::Etcd(_) => Duration::ZERO,
            TopoUrl::Objects(_) => crate::IDLE_LOOK,
            TopoUrl::Quorum { stores } => stores.iter().map(TopoUrl::idle_lag).max().unwrap_or_default(),
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
            TopoUrl::Objects(objects) => objects.fmt(f),
            TopoUrl::Quorum { stores } => {
                let stores: Vec<String> = stores.iter().map(TopoUrl::to_string).collect();
                write!(f, "quorum:{}", stores.join(","))
            }
        }
    }
}

impl fmt::Display for ObjectsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.cloud.scheme(), self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests;
