//! What only a SQLite file can meet: other processes, `kill -9`, full disks, and files that are not
//! what they should be.

mod support;

use expect_test::{Expect, expect};
use hansa_topo::{Category, Changes, Options, Severity, Swap, Topo, TopoError, open};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{hammer, opened, put};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("topo.db");
    (directory, path)
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

async fn open_error(path: &Path) -> TopoError {
    opened(&url(path)).await.expect_err("it was opened")
}

/// Checks an error's text, in which the directory is called DIR.
fn check(error: &TopoError, directory: &TempDir, expected: Expect) {
    let text = error.chain().replace(&directory.path().display().to_string(), "DIR");
    expected.assert_eq(&text);
}

#[tokio::test]
async fn several_processes_count_together() {
    const PROCESSES: usize = 4;
    const ROUNDS: u64 = 40;
    let (_directory, path) = scratch();
    let url = url(&path);
    let topo = opened(&url).await.unwrap();
    let now = topo.changes(None).await.unwrap();
    let start = |me: usize| {
        let arguments = ["count", &url, &me.to_string(), &PROCESSES.to_string(), &ROUNDS.to_string()];
        hammer(&arguments).spawn().unwrap()
    };
    let mut children: Vec<Child> = (0..PROCESSES).map(start).collect();
    // This process only follows. Of its own it writes nothing, so that all it is told comes from others.
    let all_done = vec![ROUNDS.to_string(); PROCESSES].join(",");
    let mut cursor = now.cursor().clone();
    let mut last = None;
    while last.as_ref().is_none_or(|found: &hansa_topo::Versioned| found.value != all_done) {
        let told = topo.changes(Some(&cursor)).await.unwrap();
        let Changes::Keys { keys, .. } = &told else { panic!("{told:?}") };
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["/hammer/counter"]);
        cursor = told.cursor().clone();
        last = topo.get("/hammer/counter").await.unwrap();
    }
    for child in &mut children {
        assert!(child.wait().await.unwrap().success());
    }
}

/// What a `topo-hammer write` has acknowledged: the last number of each key.
type Acknowledged = BTreeMap<usize, u64>;

async fn read_acknowledgements(
    lines: &mut Lines<BufReader<ChildStdout>>,
    count: u64,
    acknowledged: &mut Acknowledged,
) -> bool {
    for _ in 0..count {
        let Some(line) = lines.next_line().await.unwrap() else { return false };
        let (key, number) = line.split_once(' ').expect(&line);
        acknowledged.insert(key.parse().unwrap(), number.parse().unwrap());
    }
    true
}

/// Each key has its last acknowledged value, or the one that was under way, whole. What is seen now
/// counts as acknowledged.
async fn assert_nothing_lost(topo: &dyn Topo, acknowledged: &mut Acknowledged, bytes: usize) {
    for (key, number) in acknowledged {
        let found = topo.get(&format!("/hammer/{key}")).await.unwrap().expect("a key is lost");
        let text = String::from_utf8(found.value.to_vec()).unwrap();
        let (stored, filling) = text.split_once(' ').unwrap();
        let stored: u64 = stored.parse().unwrap();
        assert!((*number..=*number + 1).contains(&stored), "{key}: {stored} instead of {number}");
        assert!(filling.len() == bytes * (key + 1) && filling.bytes().all(|byte| byte == b'a' + (stored % 26) as u8));
        *number = stored;
    }
    let findings = topo.check().await.unwrap();
    assert!(findings.iter().all(|f| f.severity < Severity::Problem), "{findings:?}");
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    const BYTES: usize = 40_000;
    let (_directory, path) = scratch();
    let url = url(&path);
    let mut acknowledged = Acknowledged::new();
    // A process that lives through it all, beside those that are killed, in every second round.
    let mut witness = None;
    for round in 0..50_u64 {
        let mut child = hammer(&["write", &url, "3", &BYTES.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The kill comes somewhere between two acknowledgements: after a number of them that
        // differs by round, and then at whatever point the writer has reached.
        read_acknowledgements(&mut lines, (round * 7) % 101, &mut acknowledged).await;
        for _ in 0..(round * 7919) % 20_000 {
            std::hint::spin_loop();
        }
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        // What it had printed before it died was acknowledged.
        while read_acknowledgements(&mut lines, 1, &mut acknowledged).await {}
        let topo = opened(&url).await.unwrap();
        assert_nothing_lost(&*topo, &mut acknowledged, BYTES).await;
        put(&*topo, "/survivor", &round.to_string()).await;
        witness = (round % 2 == 0).then_some(topo);
    }
    drop(witness);
    assert!(acknowledged.values().sum::<u64>() > 100, "hardly anything was written");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    // Some writes of the three keys fill the log before it is moved into the file for the first time.
    const BYTES: usize = 60_000;
    let (_directory, path) = scratch();
    let url = url(&path);
    // No file of this process may grow beyond a limit; the signal for it is ignored, so that
    // writing fails as it does on a full disk.
    let script = "ulimit -f 4096; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_topo-hammer")])
        .args(["write", &url, "3", &BYTES.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Acknowledged::new();
    while read_acknowledgements(&mut lines, 1, &mut acknowledged).await {}
    let output = child.wait_with_output().await.unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("reading or writing it failed; look at the disk"), "{told}");
    assert!(acknowledged.len() == 3, "{acknowledged:?}");
    let topo = opened(&url).await.unwrap();
    assert_nothing_lost(&*topo, &mut acknowledged, BYTES).await;
    put(&*topo, "/survivor", "writable again").await;
}

#[tokio::test]
async fn a_new_file_is_private_and_keeps_its_values() {
    let (directory, path) = scratch();
    let topo = opened(&url(&path)).await.unwrap();
    put(&*topo, "/a", "one").await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let names = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = directory.path().read_dir().unwrap().map(names).collect();
    names.sort();
    assert_eq!(names, ["topo.db", "topo.db-shm", "topo.db-wal"]);
    // The same file by another name is the same store.
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let other = opened(&url(&link)).await.unwrap();
    assert_eq!(other.get("/a").await.unwrap().unwrap().value, "one");
    drop((topo, other));
    let again = opened(&url(&path)).await.unwrap();
    assert_eq!(again.get("/a").await.unwrap().unwrap().value, "one");
}

#[tokio::test]
async fn a_relative_path_outlives_a_change_of_directory() {
    let (_directory, path) = scratch();
    // Relative to the directory of the test's process, which stays: other tests run in it.
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    let relative = PathBuf::from(format!("{up}{}", path.display()));
    let topo = opened(&url(&relative)).await.unwrap();
    put(&*topo, "/a", "one").await;
    let absolute = opened(&url(&path)).await.unwrap();
    assert_eq!(absolute.get("/a").await.unwrap().unwrap().value, "one");
}

/// Files that are no topology server's stay as they are, byte for byte.
#[tokio::test]
async fn a_foreign_file_is_refused_and_kept() {
    let (directory, path) = scratch();
    let text = "league: [a, b, c]\n".repeat(40);
    std::fs::write(&path, &text).unwrap();
    let error = open_error(&path).await;
    assert_eq!(error.category(), Category::Corrupt);
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/topo.db: it is no topology server's file, or its beginning is damaged; name another path, or restore it from a backup: file is not a database"
        ],
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    let database = directory.path().join("other.db");
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE shop (item TEXT); INSERT INTO shop VALUES ('x')").unwrap();
    drop(connection);
    let before = std::fs::read(&database).unwrap();
    let error = open_error(&database).await;
    assert_eq!(error.category(), Category::Configuration);
    check(
        &error,
        &directory,
        expect!["sqlite: file DIR/other.db: it is some other program's SQLite database; name another path"],
    );
    assert_eq!(std::fs::read(&database).unwrap(), before);
}

#[tokio::test]
async fn a_half_written_file_is_refused_and_kept() {
    let (directory, path) = scratch();
    let topo = opened(&url(&path)).await.unwrap();
    for n in 0..30 {
        put(&*topo, &format!("/key/{n}"), &"v".repeat(10_000)).await;
    }
    let copy = |name: &str| {
        let target = directory.path().join(name);
        let connection = Connection::open(&path).unwrap();
        connection.execute("VACUUM INTO ?1", [target.to_str().unwrap()]).unwrap();
        target
    };
    // A copy as it should be is a store.
    let whole = copy("whole.db");
    assert_eq!(opened(&url(&whole)).await.unwrap().list("").await.unwrap().len(), 30);

    let cut = copy("cut.db");
    let half = std::fs::metadata(&cut).unwrap().len() / 2;
    std::fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(half).unwrap();
    let error = open_error(&cut).await;
    assert_eq!(error.category(), Category::Corrupt);
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/cut.db: it is damaged or cut short; restore it from a backup: database disk image is malformed"
        ],
    );
    assert_eq!(std::fs::metadata(&cut).unwrap().len(), half);

    let empty = directory.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let error = open_error(&empty).await;
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/empty.db: it is empty, which a topology server's file never is; restore it from a backup, or remove it to begin anew"
        ],
    );
    assert_eq!(std::fs::metadata(&empty).unwrap().len(), 0);

    // Damage that opening does not meet is met by reading, or by the check.
    let damaged = copy("damaged.db");
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[4096..middle].fill(0xff);
    std::fs::write(&damaged, &bytes).unwrap();
    let error = match opened(&url(&damaged)).await {
        Err(error) => error,
        Ok(topo) => topo.list("").await.unwrap_err(),
    };
    assert_eq!(error.category(), Category::Corrupt);
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/damaged.db: it is damaged or cut short; restore it from a backup: database disk image is malformed"
        ],
    );
    assert_eq!(std::fs::read(&damaged).unwrap(), bytes);
}

#[tokio::test]
async fn a_log_without_its_file_is_not_given_to_a_new_one() {
    let (directory, path) = scratch();
    let log = directory.path().join("topo.db-wal");
    std::fs::write(&log, "the log of a file that is gone").unwrap();
    let error = open_error(&path).await;
    assert_eq!(error.category(), Category::Corrupt);
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/topo.db: it is missing, but its log DIR/topo.db-wal is there; put the file back beside it, or move the log away to begin anew"
        ],
    );
    assert!(!path.exists() && log.exists());
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let (directory, path) = scratch();
    drop(opened(&url(&path)).await.unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    // Another name, for the engine of this one may still be ending.
    let newer = directory.path().join("newer.db");
    Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [newer.to_str().unwrap()]).unwrap();
    let error = open_error(&newer).await;
    assert_eq!(error.category(), Category::Configuration);
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/newer.db: it has the format 2, and this release knows 1; use the release that made it"
        ],
    );
}

#[tokio::test]
async fn what_cannot_be_a_file_is_refused() {
    let (directory, path) = scratch();
    let error = open_error(directory.path()).await;
    check(&error, &directory, expect!["sqlite: file DIR: it is not a file; name another path"]);
    let error = open_error(&path.join("below/a/file")).await;
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/topo.db/below/a/file: it cannot be made; make its directory, or mend its permissions: No such file or directory (os error 2)"
        ],
    );
    let error = opened("redis://h/1").await.unwrap_err();
    check(
        &error,
        &directory,
        expect![[
            r#"topo: URL "redis://h/1": the scheme "redis" is not known; use memory:NAME, sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or quorum:URL,URL,URL"#
        ]],
    );
    #[cfg(not(feature = "etcd"))]
    check(
        &opened("etcd://h/p").await.unwrap_err(),
        &directory,
        expect![
            "etcd: this program was built without etcd; build it with the cargo feature `etcd`, or use sqlite:PATH"
        ],
    );
}

#[tokio::test]
async fn a_file_that_is_replaced_is_noticed() {
    let (directory, path) = scratch();
    let topo = opened(&url(&path)).await.unwrap();
    put(&*topo, "/a", "one").await;
    let cursor = topo.changes(None).await.unwrap().cursor().clone();
    let follower = tokio::spawn({
        let topo = topo.clone();
        let cursor = cursor.clone();
        async move { topo.changes(Some(&cursor)).await }
    });
    for name in ["topo.db", "topo.db-wal", "topo.db-shm"] {
        std::fs::rename(directory.path().join(name), directory.path().join(format!("old-{name}"))).unwrap();
    }
    // Who waits is told, too.
    let error = follower.await.unwrap().unwrap_err();
    assert_eq!(error.category(), Category::Replaced);
    check(
        &error,
        &directory,
        expect![
            "sqlite: file DIR/topo.db: it was removed, moved or replaced while in use; put it back, or restart to use what stands there now"
        ],
    );
    // A new store at the same path is another one.
    let new = opened(&url(&path)).await.unwrap();
    assert_eq!(new.get("/a").await.unwrap(), None);
    for error in [
        topo.get("/a").await.unwrap_err(),
        topo.create("/b", "two".into()).await.unwrap_err(),
        topo.list("").await.unwrap_err(),
    ] {
        assert_eq!(error.category(), Category::Replaced, "{error}");
    }
    // A cursor of the old one is not one of the new one's.
    let told = new.changes(Some(&cursor)).await.unwrap();
    assert!(matches!(told, Changes::Reset { .. }), "{told:?}");
}

#[tokio::test]
async fn a_lock_that_hangs_is_waited_for() {
    let (_directory, path) = scratch();
    let topo = open(&url(&path), &Options::default()).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut write = std::pin::pin!(topo.create("/a", "one".into()));
    assert!(futures::poll!(&mut write).is_pending());
    // Reads do not wait for writers.
    assert_eq!(topo.get("/a").await.unwrap(), None);
    assert!(futures::poll!(&mut write).is_pending());
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(write.await.unwrap(), Swap::Committed(_)));
}

#[tokio::test]
async fn writes_that_wait_together_are_committed_together() {
    let (_directory, path) = scratch();
    let topo = opened(&url(&path)).await.unwrap();
    // While another process holds the lock, writes gather; each gets its own outcome.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let keys: Vec<String> = (0..40).map(|n| format!("/key/{}", n % 20)).collect();
    let writes = keys.iter().map(|key| topo.create(key, "one".into()));
    let mut writes = std::pin::pin!(futures::future::join_all(writes));
    assert!(futures::poll!(&mut writes).is_pending());
    other.execute_batch("COMMIT").unwrap();
    let outcomes = writes.await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome.unwrap() {
            Swap::Committed(_) if n < 20 => {}
            Swap::Mismatch { current: Some(current) } if n >= 20 => assert_eq!(current.value, "one"),
            other => panic!("write {n} ended as {other:?}"),
        }
    }
    let usage = topo.usage().total();
    assert_eq!((usage.calls, usage.requests, usage.mismatches), (40, 40, 20));
}
