//! A command of users: it is given input, ends, and has printed something.

use anyhow::{Context, Result, ensure};
use std::process::{Output, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a command; `told` is what a failure calls it. Gives what it prints.
///
/// # Errors
/// When it cannot be started or fails, with its words.
pub async fn output_of(command: Command, told: &str, input: &str) -> Result<String> {
    let output = end_of(command, told, input).await?;
    ensure!(output.status.success(), "{told}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command that may fail; gives how it ended.
///
/// # Errors
/// When it cannot be started.
pub async fn end_of(mut command: Command, told: &str, input: &str) -> Result<Output> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = piped.spawn().with_context(|| format!("{told} cannot be started"))?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    // It may refuse its arguments and be gone before it reads this.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    Ok(child.wait_with_output().await?)
}
