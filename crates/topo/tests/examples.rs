//! The examples of the easy API as they are shown: in one process, and as processes of their own on a SQLite
//! file, one of which is killed at work and started again.

use hansa_ledger::Envelope;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(|folder| folder.parent()).expect("tests lie in target/<profile>/deps");
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "{} is not there: `cargo build --all-features --examples`", program.display());
    Command::new(program)
}

/// An example that runs; it ends with this.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(name: &str, url: &str, voters: &[&str]) -> Self {
        let mut command = example(name);
        let mut child = command.arg(url).args(voters).stdout(Stdio::piped()).spawn().expect("the example starts");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        Running { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it says something").expect("it says it in UTF-8")
    }

    /// Everything that it still says, when it ends well.
    fn end(mut self) -> Vec<String> {
        let said = self.lines.by_ref().map(|line| line.expect("UTF-8")).collect();
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        said
    }

    /// Ends it as `kill -9` does.
    fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store for processes; the folder goes with the test.
fn store() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file: PathBuf = folder.path().join("topo.db");
    (folder, format!("sqlite:{}", file.display()))
}

/// Waits until what stands under a key says so.
async fn until(url: &str, key: &str, says: impl Fn(&str) -> bool) {
    let topo = hansa_topo::open(url, &Default::default()).await.expect("the store opens");
    loop {
        if let Some(found) = topo.get(key).await.expect("it reads") {
            let (_, body) = Envelope::open(&found.value).expect("an envelope");
            if says(std::str::from_utf8(&body).expect("JSON")) {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn each_runs_in_one_process() {
    for name in ["decide", "appoint", "barrier"] {
        let output = example(name).output().expect("the example runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.iter().filter(|byte| **byte == b'\n').count() >= 3, "{name} says what it does");
    }
}

#[tokio::test]
async fn who_is_killed_while_it_waits_for_a_decision_gets_the_same_one_later() {
    let (_folder, url) = store();
    let first = Running::start("decide", &url, &["amsterdam"]);
    until(&url, "/v1/ballots", |ballots| ballots.contains(r#""open":{"primary""#)).await;
    first.kill();
    let others = Running::start("decide", &url, &["boston", "cape-town"]).end();
    let again = Running::start("decide", &url, &["amsterdam"]).end();
    let answers: BTreeSet<&str> = others.iter().chain(&again).map(|line| line.split_once(": ").unwrap().1).collect();
    // What the killed one had proposed stood there, with its vote.
    assert_eq!(answers, [r#""amsterdam" is primary"#].into(), "{others:?} {again:?}");
    assert_eq!((others.len(), again.len()), (2, 1));
}

#[tokio::test]
async fn who_is_killed_while_it_is_appointed_is_followed_under_higher_terms() {
    let (_folder, url) = store();
    let mut first = Running::start("appoint", &url, &["amsterdam"]);
    let said = first.line();
    first.kill();
    let (again, other) =
        (Running::start("appoint", &url, &["amsterdam"]), Running::start("appoint", &url, &["boston"]));
    let (again, other) = (again.end(), other.end());
    let terms = |said: &[String]| -> BTreeSet<u64> {
        said.iter().map(|line| line.rsplit(' ').next().unwrap().parse().expect("a term")).collect()
    };
    let (killed, again, other) = (terms(&[said]), terms(&again), terms(&other));
    assert_eq!((killed.len(), again.len(), other.len()), (1, 1, 1), "each holds it under one term");
    let (killed, later) = (killed.first().unwrap(), again.union(&other).collect::<Vec<_>>());
    assert!(later.len() == 2 && later.iter().all(|term| *term > killed), "{killed} {later:?}");
    // Nobody's invoice was overwritten: three each, and what the killed one had sent, once or twice.
    until(&url, "/v1/invoices", |page| page.contains(r#""body":7"#) || page.contains(r#""body":8"#)).await;
}

#[tokio::test]
async fn who_is_killed_at_a_barrier_begins_again_and_nobody_goes_ahead() {
    let (_folder, url) = store();
    let mut first = Running::start("barrier", &url, &["amsterdam"]);
    assert_eq!(first.line(), "amsterdam: wave 0 is done");
    until(&url, "/v1/ballots", |ballots| ballots.contains(r#""barriers":{"rollout""#)).await;
    first.kill();
    let mut others = Running::start("barrier", &url, &["boston", "cape-town"]);
    // Their first wave is done, and amsterdam had done it, too; the second one waits for amsterdam.
    let mut said: Vec<String> = (0..4).map(|_| others.line()).collect();
    said.sort();
    assert!(said.iter().all(|line| line.contains("wave 0") || line.contains("wave 1")), "{said:?}");
    let again = Running::start("barrier", &url, &["amsterdam"]).end();
    assert_eq!(again.len(), 3, "{again:?}");
    assert_eq!(others.end().len(), 2, "the last wave of both");
}
