//! From a URL to a handle.

use crate::contract::Topo;
use crate::error::{Category, TopoError};
use crate::url::{Secret, TopoUrl};
use crate::{memory, quorum, sqlite};
use std::ffi::OsString;
#[cfg(any(feature = "etcd", feature = "object-stores"))]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Credentials that need not stand in a URL. Where the URL says something, the URL holds.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whom to log in as.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Where to read the password, anew at every log-in.
    pub password_file: Option<PathBuf>,
    /// The certificates (PEM) that sign the servers'; for TLS only.
    pub ca: Option<PathBuf>,
    /// The client's certificate (PEM); for TLS only.
    pub cert: Option<PathBuf>,
    /// The key (PEM) of the client's certificate; for TLS only.
    pub key: Option<PathBuf>,
}

impl Options {
    /// What the environment says: `HANSA_TOPO_USER`, `HANSA_TOPO_PASSWORD`,
    /// `HANSA_TOPO_PASSWORD_FILE`, `HANSA_TOPO_CA`, `HANSA_TOPO_CERT` and `HANSA_TOPO_KEY`.
    pub fn from_env() -> Self {
        Options::from_variables(|name| std::env::var_os(name))
    }

    /// The same, from any source of variables. Empty ones count as absent.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let path = |name: &str| set(name).map(PathBuf::from);
        Options {
            user: text("HANSA_TOPO_USER"),
            password: text("HANSA_TOPO_PASSWORD").map(Secret::new),
            password_file: path("HANSA_TOPO_PASSWORD_FILE"),
            ca: path("HANSA_TOPO_CA"),
            cert: path("HANSA_TOPO_CERT"),
            key: path("HANSA_TOPO_KEY"),
        }
    }
}

/// Opens the topology server at `url`.
///
/// A SQLite file is made if it does not exist, and must be usable. An etcd or an object store is not
/// asked anything yet, so that an operator can start while its topology server is away; but the files that the URL
/// names must be readable.
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Topo>, TopoError> {
    let url: TopoUrl = url
        .parse()
        .map_err(|error: crate::UrlError| TopoError::new(Category::Configuration, "topo", error.to_string()))?;
    open_url(url, options).await
}

/// The same, of a URL that has been read already.
pub async fn open_url(url: TopoUrl, options: &Options) -> Result<Arc<dyn Topo>, TopoError> {
    open_to_follow(url, options, "").await
}

/// The same, where changes are wanted below this prefix alone: an object store, which lists for them, lists no more.
pub(crate) async fn open_to_follow(
    url: TopoUrl,
    options: &Options,
    prefix: &'static str,
) -> Result<Arc<dyn Topo>, TopoError> {
    match url {
        TopoUrl::Quorum { stores } => quorum::open(stores, options),
        TopoUrl::Memory { name, changes_kept } => memory::shared(&name, changes_kept),
        TopoUrl::Sqlite { path, changes_kept } => sqlite::open(path, changes_kept).await,
        #[cfg(feature = "etcd")]
        TopoUrl::Etcd(etcd) => crate::etcd::open(etcd, options),
        #[cfg(not(feature = "etcd"))]
        TopoUrl::Etcd(_) => {
            let _ = options;
            let message = "this program was built without etcd; build it with the cargo feature \
                           `etcd`, or use sqlite:PATH";
            Err(TopoError::new(Category::Configuration, "etcd", message))
        }
        #[cfg(feature = "object-stores")]
        TopoUrl::Objects(objects) => crate::objects::open(objects, options, prefix),
        #[cfg(not(feature = "object-stores"))]
        TopoUrl::Objects(objects) => {
            let _ = prefix;
            let message = "this program was built without object stores; build it with the cargo feature \
                           `object-stores`, or use sqlite:PATH";
            Err(TopoError::new(Category::Configuration, objects.cloud.scheme(), message))
        }
    }
}

/// The password in a file as it is now, without its line end. Such files are small, and seldom read.
#[cfg(any(feature = "etcd", feature = "object-stores"))]
pub(crate) fn read_password(backend: &'static str, file: &Path) -> Result<String, TopoError> {
    let failed = |error: std::io::Error| {
        let message =
            format!("file {}: the password cannot be read from it; mend the path or its permissions", file.display());
        TopoError::new(Category::Configuration, backend, message).caused_by(error)
    };
    check_private(backend, file, &std::fs::metadata(file).map_err(failed)?)?;
    let text = std::fs::read_to_string(file).map_err(failed)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Refuses a file with a secret in it that others than its owner and group may read, or others than its owner write.
/// The group may read: so it is with what a pod that is not root mounts.
#[cfg(any(feature = "etcd", feature = "object-stores"))]
pub(crate) fn check_private(backend: &'static str, file: &Path, metadata: &std::fs::Metadata) -> Result<(), TopoError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    let name = file.display();
    let message = format!(
        "file {name}: it holds a secret, and its permissions ({mode:o}) are open to others on this machine; \
         chmod 600 it, or mount a Secret with defaultMode: 0440"
    );
    Err(TopoError::new(Category::Configuration, backend, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_gives_credentials_and_shows_none() {
        let variables = [
            ("HANSA_TOPO_USER", "league"),
            ("HANSA_TOPO_PASSWORD", "hunter2"),
            ("HANSA_TOPO_PASSWORD_FILE", ""),
            ("HANSA_TOPO_CA", "/ca.pem"),
        ];
        let options = Options::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        });
        let expected = Options {
            user: Some("league".into()),
            password: Some(Secret::new("hunter2")),
            ca: Some("/ca.pem".into()),
            ..Options::default()
        };
        assert_eq!(options, expected);
        assert!(!format!("{options:?}").contains("hunter2"), "{options:?}");
    }
}
