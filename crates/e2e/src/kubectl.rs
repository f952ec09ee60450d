//! The real kubectl, on either kind of API server.

use crate::cluster::User;
use crate::command::output_of;
use crate::scenarios::scene::Scene;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use tokio::process::Command;

/// Runs kubectl as a member's administrator; gives what it prints.
///
/// # Errors
/// When it fails, with its words.
pub async fn kubectl(scene: &Scene, index: usize, arguments: &[&str], input: Option<&Value>) -> Result<String> {
    let kubeconfig = scene.world.members[index].cluster.read().await.kubeconfig(User::Admin);
    run(&kubeconfig, arguments, &input.map(Value::to_string).unwrap_or_default()).await
}

/// Runs kubectl with a kubeconfig; gives what it prints.
///
/// # Errors
/// When it fails, with its words.
pub async fn run(kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let folder = kubeconfig.parent().context("a kubeconfig lies in its cluster's folder")?;
    let mut command = Command::from(hansa_controlplane::kubectl(kubeconfig, folder)?);
    command.args(arguments);
    output_of(command, &format!("kubectl {}", arguments.join(" ")), input).await
}
