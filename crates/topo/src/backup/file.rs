//! The file of a backup.
//!
//! ```text
//! {"hansaTopoBackup":1,"league":"…","era":1,"controlRevision":12}
//! {"entry":{"key":"/v1/pages/7","bytes":812}}
//! …812 bytes, as they stood in the topology server, and a line end
//! {"entry":{"key":"/v1/control","bytes":640}}
//! …
//! {"manifest":{"format":1,"league":"…","era":1,"controlRevisions":[12,12],"count":2,"leftOut":0,"digest":"…"}}
//! ```
//!
//! It can be written to a pipe: what is known only at the end stands at the end. The control document
//! is the last entry. The digest is a chain over the first line and all keys and values in their
//! order: `blake3(digest so far ‖ blake3(key) ‖ blake3(value))`.

use super::BackupError;
use crate::key::{MAX_VALUE_BYTES, check_key};
use hansa_ledger::{Envelope, keys};
use hansa_model::{Era, Hash, LeagueId, Revision};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Write};

/// The format this release writes and reads.
pub const FORMAT: u32 = 1;

/// The longest line: a key and a number.
const MAX_LINE: u64 = 4_096;

/// What a backup holds, as its last line says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The file's format.
    pub format: u32,
    /// The league.
    pub league: LeagueId,
    /// Its era when the backup was made.
    pub era: Era,
    /// The control document's revision when it was read first, and last; the last is in the file.
    pub control_revisions: [Revision; 2],
    /// How many values are in the file.
    pub count: u64,
    /// How many values of other leagues stood under the same keys, and are not.
    pub left_out: u64,
    /// Of everything.
    pub digest: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    hansa_topo_backup: u32,
    league: LeagueId,
    era: Era,
    control_revision: Revision,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Entry { key: String, bytes: u64 },
    Manifest(Manifest),
}

fn chained(digest: &Hash, key: &str, value: &[u8]) -> Hash {
    let parts = [*digest, Hash::of_bytes(key.as_bytes()), Hash::of_bytes(value)];
    Hash::of_bytes(&parts.map(|part| *part.as_bytes()).concat())
}

/// Writes a backup.
pub(super) struct Writer<'a> {
    out: &'a mut (dyn Write + Send),
    league: LeagueId,
    era: Era,
    revision: Revision,
    count: u64,
    digest: Hash,
}

impl<'a> Writer<'a> {
    /// Begins the file of the league that this control document is of.
    pub fn new(out: &'a mut (dyn Write + Send), control: &Envelope) -> Result<Self, BackupError> {
        let header = Header {
            hansa_topo_backup: FORMAT,
            league: control.league,
            era: control.era,
            control_revision: control.revision,
        };
        let line = serde_json::to_vec(&header).expect("a header always encodes into memory");
        let digest = Hash::of_bytes(&line);
        let mut writer =
            Writer { out, league: control.league, era: control.era, revision: control.revision, count: 0, digest };
        writer.line(&line)?;
        Ok(writer)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BackupError> {
        self.out.write_all(line).and_then(|()| self.out.write_all(b"\n")).map_err(BackupError::File)
    }

    pub fn entry(&mut self, key: &str, value: &[u8]) -> Result<(), BackupError> {
        let line = Line::Entry { key: key.to_owned(), bytes: value.len() as u64 };
        self.line(&serde_json::to_vec(&line).expect("a line always encodes into memory"))?;
        self.line(value)?;
        self.count += 1;
        self.digest = chained(&self.digest, key, value);
        Ok(())
    }

    /// Writes the last line; the control document was at this revision at the end.
    pub fn finish(mut self, revision: Revision, left_out: u64) -> Result<Manifest, BackupError> {
        let manifest = Manifest {
            format: FORMAT,
            league: self.league,
            era: self.era,
            control_revisions: [self.revision, revision],
            count: self.count,
            left_out,
            digest: self.digest,
        };
        let line = Line::Manifest(manifest.clone());
        self.line(&serde_json::to_vec(&line).expect("a line always encodes into memory"))?;
        self.out.flush().map_err(BackupError::File)?;
        Ok(manifest)
    }
}

/// Reads a backup, entry by entry. Only after the last one is it known that the file is whole.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    at: u64,
    league: LeagueId,
    era: Era,
    revision: Revision,
    count: u64,
    digest: Hash,
    last_key: String,
    manifest: Option<Manifest>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// When the file is no backup in this format.
    pub fn new(input: R) -> Result<Self, BackupError> {
        let none = Hash::of_bytes(b"");
        let mut reader = Reader {
            input,
            at: 0,
            league: LeagueId(none),
            era: Era(0),
            revision: Revision(0),
            count: 0,
            digest: none,
            last_key: String::new(),
            manifest: None,
        };
        let line = reader.line()?;
        let header: Header = serde_json::from_slice(&line)
            .map_err(|error| reader.damaged(format!("it does not begin as a backup does ({error})")))?;
        if header.hansa_topo_backup != FORMAT {
            return Err(BackupError::Format(header.hansa_topo_backup));
        }
        reader.digest = Hash::of_bytes(&line);
        (reader.league, reader.era, reader.revision) = (header.league, header.era, header.control_revision);
        Ok(reader)
    }

    /// The next key and its value; `None` at the end of a whole file.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn entry(&mut self) -> Result<Option<(String, Vec<u8>)>, BackupError> {
        if self.manifest.is_some() {
            return Ok(None);
        }
        let raw = self.line()?;
        let line: Line =
            serde_json::from_slice(&raw).map_err(|error| self.damaged(format!("a line reads as {error}")))?;
        // Lines are no part of the digest: they are exactly what this format writes.
        if serde_json::to_vec(&line).expect("a line always encodes into memory") != raw {
            return Err(self.damaged("a line is not as it was written".to_owned()));
        }
        let (key, bytes) = match line {
            Line::Entry { key, bytes } => (key, bytes),
            Line::Manifest(manifest) => return self.end(manifest).map(|()| None),
        };
        check_key("backup", &key).map_err(|error| self.damaged(error.to_string()))?;
        if bytes > MAX_VALUE_BYTES as u64 {
            return Err(self.damaged(format!("{key} has {bytes} bytes, more than any topology server takes")));
        }
        let mut value = vec![0; bytes as usize + 1];
        self.input.read_exact(&mut value).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged(format!("it ends within {key}")),
            _ => BackupError::File(error),
        })?;
        self.at += value.len() as u64;
        if value.pop() != Some(b'\n') {
            return Err(self.damaged(format!("{key} is longer than its line says")));
        }
        self.count += 1;
        self.digest = chained(&self.digest, &key, &value);
        self.last_key.clone_from(&key);
        Ok(Some((key, value)))
    }

    /// The league and its era, as the first line tells them.
    pub fn told(&self) -> (LeagueId, Era) {
        (self.league, self.era)
    }

    /// What the file holds, once its end was reached.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    fn end(&mut self, manifest: Manifest) -> Result<(), BackupError> {
        let told = (manifest.format, manifest.league, manifest.era, manifest.control_revisions[0]);
        if told != (FORMAT, self.league, self.era, self.revision) {
            return Err(self.damaged("its first and its last line differ".to_owned()));
        }
        if (manifest.count, manifest.digest) != (self.count, self.digest) {
            return Err(self.damaged(format!(
                "it holds {} values with digest {}, and is to hold {} with digest {}",
                self.count,
                self.digest.short(),
                manifest.count,
                manifest.digest.short()
            )));
        }
        if self.last_key != keys::CONTROL {
            return Err(self.damaged(format!("its last value is not {}", keys::CONTROL)));
        }
        if self.input.fill_buf().map_err(BackupError::File)? != b"" {
            return Err(self.damaged("it goes on after its end".to_owned()));
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut line = Vec::new();
        self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(BackupError::File)?;
        if line.pop() != Some(b'\n') {
            return Err(self.damaged("it ends, or is no backup".to_owned()));
        }
        self.at += line.len() as u64 + 1;
        Ok(line)
    }

    fn damaged(&self, why: String) -> BackupError {
        BackupError::Damaged { at: self.at, why }
    }
}
