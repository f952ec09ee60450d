//! The notes of a voter in a file of its own.

use hansa_ballot::proposer::Notes;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Reads the notes; blank ones when there is no file yet, or none is wanted.
pub(super) async fn read(path: Option<&Path>) -> Result<Notes, String> {
    let Some(path) = path else { return Ok(Notes::default()) };
    match tokio::fs::read(path).await {
        Ok(bytes) => Notes::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Notes::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Makes the notes durable: the old file or the new one is there, whatever happens.
pub(super) async fn write(path: Option<&Path>, notes: &Notes) -> Result<(), String> {
    let Some(path) = path.map(Path::to_owned) else { return Ok(()) };
    let bytes = notes.to_vec();
    let name = path.display().to_string();
    let written = tokio::task::spawn_blocking(move || {
        let draft = path.with_extension("new");
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{name}: {error}: nothing is voted until the notes can be kept")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
