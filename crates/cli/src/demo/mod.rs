//! `hansa demo`: a league of three members in about a minute, each claim checked from the API
//! servers' own request records and object uids.

mod proof;
mod screen;
mod stage;
mod story;

use anyhow::{Result, bail};
use screen::Screen;
use stage::Stage;
use std::io::IsTerminal;
use story::tell;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `hansa demo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// End after the story, also on a terminal.
    #[arg(long)]
    no_wait: bool,
}

/// Tells the story; fails when a claim did not hold.
///
/// # Errors
/// When a process cannot be started, something did not come to pass, or a claim did not hold.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut screen = Screen::new();
    // The stage is dropped, and with it every process and file, on each of these ways out.
    let story = async {
        let mut stage = Stage::start().await?;
        if let Err(error) = tell(&mut stage, &mut screen).await {
            bail!("{error:#}\n\n{}", stage.tails());
        }
        if !screen.failures().is_empty() {
            bail!("these claims did not hold:\n  {}", screen.failures().join("\n  "));
        }
        Ok(stage)
    };
    let stage = tokio::select! {
        told = story => told?,
        _ = interrupt.recv() => bail!("interrupted: the story was not told to its end"),
        _ = terminate.recv() => bail!("interrupted: the story was not told to its end"),
    };
    if arguments.no_wait || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    invite(&stage, &mut screen);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn invite(stage: &Stage, screen: &mut Screen) {
    screen.step("Everything still runs: it is yours until Ctrl-C. In another terminal:");
    screen.command(&format!("export KUBECONFIG={}", stage.kubeconfig.display()));
    // Most people run it out of the work tree, where nothing is on the path.
    if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(std::path::Path::parent) {
        screen.command(&format!("export PATH={}:$PATH", folder.display()));
    }
    for (command, why) in [
        ("kubectl --context gcp get members,federated -A", "the league as gcp shows it"),
        ("hansa status", "the league as the operator of aws sees it; --context asks another"),
        ("kubectl --context gcp -n shop edit federateddeployment web", "the others follow"),
        ("kubectl --context azure -n shop delete deployment web", "it comes back"),
        ("hansa home move configmaps/shop/settings --to aws", "a home for what lost its own"),
        ("hansa output deploy/shop/web --member azure", "what a member gets"),
    ] {
        screen.say(&format!("# {why}"));
        screen.command(command);
    }
}
