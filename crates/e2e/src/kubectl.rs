//! The real kubectl, on either kind of API server.

use crate::cluster::User;
use crate::scenarios::scene::Scene;
use anyhow::{Context, Result, ensure};
use hansa_controlplane::binaries;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs kubectl as a member's administrator; gives what it prints.
///
/// # Errors
/// When it fails, with its words.
pub async fn kubectl(scene: &Scene, index: usize, arguments: &[&str], input: Option<&Value>) -> Result<String> {
    let kubeconfig = scene.world.members[index].cluster.read().await.kubeconfig(User::Admin);
    let cache = scene.world.folder().join(format!("discovery-{index}"));
    run(&kubeconfig, &cache, arguments, &input.map(Value::to_string).unwrap_or_default()).await
}

/// Runs kubectl with a kubeconfig and a folder for what it learns of the API server; gives what it
/// prints.
///
/// # Errors
/// When it fails, with its words.
pub async fn run(kubeconfig: &Path, cache: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(binaries()?.join("kubectl"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--cache-dir")
        .arg(cache)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("kubectl cannot be started")?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    // kubectl may refuse its arguments and be gone before it reads this.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
