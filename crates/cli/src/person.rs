//! A person's key, in a file that its owner alone may read.
//!
//! The public half stands in the league's spec (`spec.people`); the private half signs what no quorum of
//! operators can agree on any more, or what a person has to let count after a restore.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_ballot::Signer;
use hansa_model::MemberName;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The format that this release writes and reads.
const FORMAT: u32 = 1;

/// `--key`, where it may be left out.
#[derive(Clone, Debug, clap::Args)]
pub struct OptionalKey {
    /// The file with a person's key (`hansa ballot key new`), for a league whose spec lists people: it
    /// follows no era that none of them signed for.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

impl OptionalKey {
    /// The key, when one is named.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&self) -> anyhow::Result<Option<Signer>> {
        self.key.as_deref().map(read).transpose()
    }
}

/// What the file holds, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    hansa_person_key: u32,
    /// The person's name, as in `spec.people`.
    name: MemberName,
    public_key: String,
    /// The Ed25519 secret key in base64.
    secret_key: String,
}

/// Makes a new key, and the file for it, which its owner alone may read and write.
///
/// # Errors
/// When the file is there already or cannot be written, or there is no randomness.
pub fn make(name: MemberName, file: &Path) -> anyhow::Result<Signer> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    let signer = Signer::new(name.clone(), secret);
    let stored = Stored {
        hansa_person_key: FORMAT,
        name,
        public_key: signer.public().to_string(),
        secret_key: STANDARD.encode(secret),
    };
    let shown = || format!("-f {}", file.display());
    let mut out = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{}: it is there already, and a key replaces none: name another file", shown())
        }
        opened => opened.with_context(shown)?,
    };
    serde_json::to_writer_pretty(&mut out, &stored).with_context(shown)?;
    out.write_all(b"\n").and_then(|()| out.sync_all()).with_context(shown)?;
    Ok(signer)
}

/// Reads a key.
///
/// # Errors
/// When others may read the file, or it holds no key.
pub fn read(file: &Path) -> anyhow::Result<Signer> {
    let shown = || format!("the key file {}", file.display());
    let mode = std::fs::metadata(file).with_context(shown)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{}: its permissions ({mode:o}) are open to others, and whoever reads it can force the league: chmod 600 it, and make a new key if others may have read it",
            shown()
        );
    }
    // What is wrong in it may be the secret itself: no part of the file is shown.
    let unreadable = |why: &str| anyhow::anyhow!("{}: {why}; make one with `hansa ballot key new`", shown());
    let stored: Stored = serde_json::from_str(&std::fs::read_to_string(file).with_context(shown)?)
        .map_err(|_| unreadable("it is no key of a person"))?;
    if stored.hansa_person_key != FORMAT {
        bail!(
            "{}: it has format {}, this release reads format {FORMAT}: use it with a newer one",
            shown(),
            stored.hansa_person_key
        );
    }
    let secret = STANDARD.decode(&stored.secret_key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let signer = Signer::new(stored.name, secret.ok_or_else(|| unreadable("secretKey is no 32 bytes in base64"))?);
    if signer.public().to_string() != stored.public_key {
        return Err(unreadable("publicKey is not that of secretKey"));
    }
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_its_file_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ada.key");
        let made = make("ada".parse().unwrap(), &file).unwrap();
        let found = read(&file).unwrap();
        assert_eq!((found.member(), found.public()), (made.member(), made.public()));
        let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert!(make("ada".parse().unwrap(), &file).unwrap_err().to_string().contains("a key replaces none"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("(640) are open to others") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        make("ada".parse().unwrap(), &file).unwrap();
        let whole = std::fs::read_to_string(&file).unwrap();
        let stored: Stored = serde_json::from_str(&whole).unwrap();
        let other = STANDARD.encode([7; 32]);
        for (text, expected) in [
            (stored.secret_key.clone(), "it is no key of a person"),
            (whole.replace("\"hansaPersonKey\": 1", "\"hansaPersonKey\": 9"), "format 9"),
            (whole.replace(&stored.secret_key, "AAAA"), "no 32 bytes"),
            (whole.replace(&stored.secret_key, &other), "publicKey is not that of secretKey"),
        ] {
            std::fs::write(&file, &text).unwrap();
            let error = format!("{:#}", read(&file).unwrap_err());
            assert!(error.contains(expected) && !error.contains(&stored.secret_key), "{error}");
        }
    }
}
