//! The file by which clients find the server.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// The text: JSON, which every YAML reader reads. The first user is the current one; the others
/// have contexts `<user>@<cluster>`.
pub fn text(cluster: &str, address: &SocketAddr, authority: &str, users: &[(String, String)]) -> String {
    let user_name = |user: &str| format!("{user}@{cluster}");
    let contexts: Vec<_> = users
        .iter()
        .enumerate()
        .map(|(index, (user, _))| {
            let name = if index == 0 { cluster.to_string() } else { user_name(user) };
            json!({ "name": name, "context": { "cluster": cluster, "user": user_name(user) } })
        })
        .collect();
    let users: Vec<_> =
        users.iter().map(|(user, token)| json!({ "name": user_name(user), "user": { "token": token } })).collect();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": cluster,
            "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority-data": STANDARD.encode(authority),
            },
        }],
        "users": users,
        "contexts": contexts,
        "current-context": cluster,
        "preferences": {},
    });
    format!("{config:#}\n")
}

/// Writes it whole or not at all: whoever waits for the file finds a finished one.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&temporary)?.write_all(text.as_bytes())?;
    fs::rename(&temporary, path)
}
