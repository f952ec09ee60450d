//! The power is cut while a process writes to a SQLite file: nothing that was acknowledged is lost, whatever of the
//! writes that were not synced reaches the disk.
//!
//! A preloaded library (`support/power.c`) writes down what `topo-hammer` does to its files. From that the disk is made
//! as it may be after a cut at any point: what was synced stands; of what was not, all, nothing, a part, or all but one
//! piece, the last of it torn. Names count as the rest does: a directory is synced, too.

mod support;

use hansa_model::Hash;
use hansa_topo::Severity;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{hammer, opened, put};
use tokio::io::{AsyncBufReadExt, BufReader};

/// How many writes are acknowledged before the process is ended; the log is moved into the file meanwhile.
const ACKNOWLEDGED: usize = 60;
const KEYS: usize = 3;
/// The values of the keys have once, twice and three times so many bytes.
const BYTES: usize = 40_000;
/// Every so many of the deeds between two syncs the power is cut.
const EVERY: usize = 29;

/// What the process did.
#[derive(Clone, Debug)]
enum Deed {
    Created(String),
    Written { path: String, at: usize, data: Vec<u8> },
    Truncated { path: String, size: usize },
    Synced(String),
    Linked { path: String, name: String },
    Renamed { path: String, name: String },
    Unlinked(String),
    Acknowledged { key: usize, number: u64 },
}

/// Reads what the library has written down.
fn deeds(mut bytes: &[u8]) -> Vec<Deed> {
    fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken
    }
    fn sized<'b>(bytes: &mut &'b [u8]) -> &'b [u8] {
        let size = u32::from_ne_bytes(take(bytes, 4).try_into().unwrap());
        take(bytes, size as usize)
    }
    let mut deeds = Vec::new();
    while !bytes.is_empty() {
        let letter = take(&mut bytes, 1)[0];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (path, name) = (text(sized(&mut bytes)), text(sized(&mut bytes)));
        let number = u64::from_ne_bytes(take(&mut bytes, 8).try_into().unwrap()) as usize;
        let data = sized(&mut bytes).to_vec();
        // What processes share while they run is made anew after a cut.
        if path.ends_with("-shm") {
            continue;
        }
        deeds.push(match letter {
            b'c' => Deed::Created(path),
            b'w' => Deed::Written { path, at: number, data },
            b't' => Deed::Truncated { path, size: number },
            b's' => Deed::Synced(path),
            b'l' => Deed::Linked { path, name },
            b'r' => Deed::Renamed { path, name },
            b'u' => Deed::Unlinked(path),
            b'a' => {
                let line = text(&data);
                let (key, number) = line.trim_end().split_once(' ').expect("one line, one acknowledgement");
                Deed::Acknowledged { key: key.parse().unwrap(), number: number.parse().unwrap() }
            }
            other => panic!("{other} is no deed"),
        });
    }
    deeds
}

/// A change of a file's content that was not synced.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Truncate(size) => content.resize(*size, 0),
            Change::Write(at, data) => {
                content.resize(content.len().max(at + data.len()), 0);
                content[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }

    /// The first so many bytes of it.
    fn torn(&self, bytes: usize) -> Change {
        match self {
            Change::Truncate(size) => Change::Truncate(*size),
            Change::Write(at, data) => Change::Write(*at, data[..bytes.min(data.len())].to_vec()),
        }
    }
}

/// A file's content.
#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

/// A disk, and what is not on it yet. Files are numbered; names point at them.
#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
}

impl Disk {
    fn file(&mut self, path: &str) -> &mut File {
        let number = *self.names.get(path).unwrap_or_else(|| panic!("{path} was made before it is used"));
        &mut self.files[number]
    }

    fn does(&mut self, deed: &Deed) {
        match deed {
            Deed::Created(path) => {
                self.names.insert(path.clone(), self.files.len());
                self.files.push(File::default());
            }
            Deed::Written { path, at, data } => self.file(path).unsynced.push(Change::Write(*at, data.clone())),
            Deed::Truncated { path, size } => self.file(path).unsynced.push(Change::Truncate(*size)),
            Deed::Synced(path) if !self.names.contains_key(path) => self.synced_names = self.names.clone(),
            Deed::Synced(path) => {
                let file = self.file(path);
                let unsynced = std::mem::take(&mut file.unsynced);
                unsynced.iter().for_each(|change| change.apply(&mut file.synced));
            }
            Deed::Linked { path, name } => {
                self.names.insert(name.clone(), self.names[path]);
            }
            Deed::Renamed { path, name } => {
                let number = self.names.remove(path).expect("what is renamed has a name");
                self.names.insert(name.clone(), number);
            }
            Deed::Unlinked(path) => {
                self.names.remove(path);
            }
            Deed::Acknowledged { .. } => {}
        }
    }
}

/// What becomes of the things that were not synced.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// They are lost.
    Lost,
    /// They reach the disk: so it is after `kill -9`.
    Kept,
    /// They reach the disk, the last of each file up to this part of it, in percent.
    Torn(usize),
    /// They reach the disk but for the first of each file.
    WithoutFirst,
    /// They reach the disk but for the last but one of each file.
    WithoutLastButOne,
}

const FATES: [Fate; 6] =
    [Fate::Lost, Fate::Kept, Fate::Torn(1), Fate::Torn(60), Fate::WithoutFirst, Fate::WithoutLastButOne];

impl Fate {
    fn of(self, changes: &[Change]) -> Vec<Change> {
        let mut changes = changes.to_vec();
        match self {
            Fate::Lost => changes.clear(),
            Fate::Kept => {}
            Fate::Torn(percent) => {
                if let Some(last) = changes.pop() {
                    let size = if let Change::Write(_, data) = &last { data.len() } else { 0 };
                    changes.push(last.torn(size * percent / 100));
                }
            }
            Fate::WithoutFirst if changes.is_empty() => {}
            Fate::WithoutFirst => drop(changes.remove(0)),
            Fate::WithoutLastButOne if changes.len() < 2 => {}
            Fate::WithoutLastButOne => drop(changes.remove(changes.len() - 2)),
        }
        changes
    }
}

/// The files after a cut.
fn after_cut(disk: &Disk, fate: Fate) -> BTreeMap<String, Vec<u8>> {
    let names = if fate == Fate::Lost { &disk.synced_names } else { &disk.names };
    let content = |number: usize| {
        let file = &disk.files[number];
        let mut content = file.synced.clone();
        fate.of(&file.unsynced).iter().for_each(|change| change.apply(&mut content));
        content
    };
    names.iter().map(|(name, number)| (name.clone(), content(*number))).collect()
}

/// What was acknowledged and is not there.
#[derive(Debug)]
struct Loss(String);

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Starts after a cut, and looks for what was acknowledged before it.
async fn start_again(files: &BTreeMap<String, Vec<u8>>, acknowledged: &BTreeMap<usize, u64>) -> Result<(), Loss> {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        std::fs::write(folder.path().join(Path::new(path).file_name().unwrap()), content).unwrap();
    }
    let url = format!("sqlite:{}/topo.db", folder.path().display());
    let topo = opened(&url).await.map_err(|error| Loss(format!("it does not open: {}", error.chain())))?;
    for (key, number) in acknowledged {
        let found = topo.get(&format!("/hammer/{key}")).await.map_err(|error| Loss(error.chain()))?;
        let found = found.ok_or_else(|| Loss(format!("/hammer/{key} is gone, which was {number}")))?;
        let text = String::from_utf8_lossy(&found.value).into_owned();
        let (stored, filling) = text.split_once(' ').unwrap();
        let stored: u64 = stored.parse().unwrap();
        if stored < *number {
            return Err(Loss(format!("/hammer/{key} is {stored} again, which was {number}")));
        }
        let letter = b'a' + (stored % 26) as u8;
        assert!(filling.len() == BYTES * (key + 1) && filling.bytes().all(|byte| byte == letter), "a value is mixed");
    }
    let findings = topo.check().await.map_err(|error| Loss(error.chain()))?;
    if findings.iter().any(|finding| finding.severity >= Severity::Problem) {
        return Err(Loss(format!("{findings:?}")));
    }
    put(&*topo, "/survivor", "writable again").await;
    Ok(())
}

/// One for each disk.
fn digest(files: &BTreeMap<String, Vec<u8>>) -> Hash {
    let sized = |bytes: &[u8]| [&bytes.len().to_ne_bytes()[..], bytes].concat();
    let parts = files.iter().map(|(name, content)| [sized(name.as_bytes()), sized(content)].concat());
    Hash::of_bytes(&parts.collect::<Vec<_>>().concat())
}

/// Cuts the power at many points, once for each fate. Gives how often, and the losses.
async fn cut_everywhere(deeds: &[Deed], fates: &[Fate]) -> (usize, Vec<String>) {
    let (mut disk, mut acknowledged) = (Disk::default(), BTreeMap::new());
    let (mut cuts, mut losses) = (0, Vec::new());
    let mut seen = BTreeSet::new();
    for (at, deed) in deeds.iter().enumerate() {
        disk.does(deed);
        if let Deed::Acknowledged { key, number } = deed {
            acknowledged.insert(*key, *number);
        }
        let marks = |deed: Option<&Deed>| !matches!(deed, Some(Deed::Written { .. }));
        if !(marks(Some(deed)) || marks(deeds.get(at + 1)) || at % EVERY == 0) {
            continue;
        }
        for fate in fates {
            let files = after_cut(&disk, *fate);
            if !seen.insert((digest(&files), acknowledged.clone())) {
                continue;
            }
            cuts += 1;
            if let Err(loss) = start_again(&files, &acknowledged).await {
                losses.push(format!("after deed {at}, unsynced things {fate:?}: {loss}"));
            }
        }
    }
    (cuts, losses)
}

/// Builds the library, and gives its path.
fn library(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/power.c");
    let library = folder.join("power.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let built = std::process::Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .args(["-ldl", "-pthread"])
        .status();
    let built = built.unwrap_or_else(|error| panic!("{compiler}, which SQLite needs, too, cannot be started: {error}"));
    assert!(built.success(), "{} does not compile", source.display());
    library
}

/// Lets a process write, and gives what it did.
async fn recorded() -> Vec<Deed> {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let trace = folder.path().join("trace");
    let url = format!("sqlite:{}/topo.db", data.display());
    let mut child = hammer(&["write", &url, &KEYS.to_string(), &BYTES.to_string()])
        .env("LD_PRELOAD", library(folder.path()))
        .env("POWER_FOLDER", data.canonicalize().unwrap())
        .env("POWER_TRACE", &trace)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..ACKNOWLEDGED {
        lines.next_line().await.unwrap().expect("it writes until it is ended");
    }
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    deeds(&std::fs::read(trace).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut() {
    let deeds = recorded().await;
    let syncs =
        |name: &str| deeds.iter().filter(|deed| matches!(deed, Deed::Synced(path) if path.ends_with(name))).count();
    println!("{} deeds; syncs: {} of the log, {} of the file", deeds.len(), syncs("-wal"), syncs("topo.db"));
    assert!(syncs("-wal") >= ACKNOWLEDGED / KEYS && syncs("topo.db") > 0, "log and file are synced");
    let (cuts, losses) = cut_everywhere(&deeds, &FATES).await;
    println!("{cuts} cuts");
    assert!(losses.is_empty(), "{} of {cuts} cuts lose something:\n{}", losses.len(), losses.join("\n"));
    assert!(cuts > 300, "only {cuts} cuts");

    // A process that syncs nothing of its log after the first time would be found.
    let mut logs = 0;
    let mut unsafe_deeds = deeds;
    unsafe_deeds.retain(|deed| {
        let is_log = matches!(deed, Deed::Synced(path) if path.ends_with("-wal"));
        logs += usize::from(is_log);
        !is_log || logs == 1
    });
    let (cuts, losses) = cut_everywhere(&unsafe_deeds, &[Fate::Lost]).await;
    println!("without syncs of the log {} of {cuts} cuts lose something", losses.len());
    assert!(!losses.is_empty(), "a process that syncs nothing loses something, and it is not found");
}
