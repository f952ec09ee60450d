//! Real clients: `kubectl` and the Go libraries, on kubesim and on a real kube-apiserver.
//!
//! - `*.console`: what a user types, and what `kubectl` answers ([`console`] has the format). `objects.console` is the
//!   same on both servers; `workloads.console` is kubesim's alone, since nothing runs pods beside the real one.
//! - `programs.json`: what the program in `tools/kube-clients` sees (informers, work queues, elections, a manager with
//!   its cache), the same on both.
//!
//! `UPDATE_EXPECT=1` writes all of them anew, those that both share from the real server.

mod console;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use console::Terminal;
use hansa_controlplane::Cluster;
use hansa_kubesim::core::Config;
use hansa_kubesim::edge::{Options, Running, serve};
use tempfile::TempDir;

/// How long a client may take for everything it does.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where the consoles are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A kubesim with its kubeconfig in a folder.
async fn kubesim(workloads: bool) -> (Running, TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let core = Config { workloads, ..Config::default() };
    let options = Options { core, kubeconfig: Some(kubeconfig.clone()), ..Options::default() };
    (serve(options).await.expect("kubesim starts"), folder, kubeconfig)
}

/// A real API server without controllers.
async fn real() -> (Cluster, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start(folder.path(), "real").expect("the control plane starts");
    cluster.serves("/api/v1/namespaces/default").await.expect("the API server works");
    (cluster, folder)
}

/// Whether the files are written anew.
fn updates() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

/// Plays a console on a server and compares what it prints with what is written in the file.
async fn play(name: &str, kubeconfig: &Path) {
    let path = folder().join(name);
    let text = std::fs::read_to_string(&path).expect("the console");
    let terminal = Terminal::new(kubeconfig, &folder().join("files")).expect("a terminal");
    let played = terminal.play(&text).await.expect("the console is played");
    if updates() {
        return std::fs::write(&path, played).expect("the console is written");
    }
    let differences = console::differences(&text, &played);
    assert!(differences.is_empty(), "{name}, `-` as it is in the file and `+` as it was played:\n{differences}");
}

#[tokio::test]
async fn kubectl_does_with_objects_what_it_does_on_a_real_server() {
    let (running, _folder, kubeconfig) = kubesim(false).await;
    let (cluster, _real_folder) = real().await;
    play("objects.console", &cluster.kubeconfig).await;
    if !updates() {
        play("objects.console", &kubeconfig).await;
    }
    running.shutdown().await;
}

#[tokio::test]
async fn kubectl_follows_live_workloads() {
    let (running, _folder, kubeconfig) = kubesim(true).await;
    play("workloads.console", &kubeconfig).await;
    running.shutdown().await;
}

/// The report of `tools/kube-clients`.
async fn report(kubeconfig: &Path) -> Result<String> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/control-plane");
    let found = tokio::process::Command::new(&tool).arg("--find-clients").output().await?;
    if !found.status.success() {
        bail!("{}", String::from_utf8_lossy(&found.stderr).trim());
    }
    let program = String::from_utf8(found.stdout)?;
    let mut command = tokio::process::Command::new(program.trim());
    command.arg(kubeconfig).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.context("the program does not end")??;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn programs_in_go_see_what_they_see_on_a_real_server() {
    let (running, _folder, kubeconfig) = kubesim(false).await;
    let (cluster, _real_folder) = real().await;
    let expected = expect_test::expect_file![folder().join("programs.json")];
    let (real, simulated) = tokio::join!(report(&cluster.kubeconfig), report(&kubeconfig));
    expected.assert_eq(&real.expect("on the real server"));
    if !updates() {
        expected.assert_eq(&simulated.expect("on kubesim"));
    }
    running.shutdown().await;
}
