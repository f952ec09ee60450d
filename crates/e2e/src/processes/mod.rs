//! Real processes that really fail: five operators on an etcd of three nodes, in network namespaces of their own.
//!
//! While one thing after the other fails ([`trials`]), a user of each member edits ([`users`]), and clients of a register
//! in the same etcd write down what they are told. What is claimed is read from outside: the API servers' objects, the
//! register's history by the checker of `hansa-topo`, and at the end every value that ever stood in etcd ([`judge`]).
//!
//! | Module | Holds |
//! |---|---|
//! | [`network`] | network namespaces, and what cuts them |
//! | [`league`] | the processes |
//! | [`users`] | who uses them meanwhile |
//! | [`trials`] | what fails |
//! | [`store`] | everything that etcd ever held |
//! | [`judge`] | what must hold in it |
//! | [`disk`] | a SQLite file on a full disk |

pub mod disk;
pub mod judge;
pub mod league;
pub mod network;
pub mod store;
pub mod trials;
pub mod users;

use crate::runner::{Asked, on_one_thread};
use anyhow::{Context, Result, anyhow, ensure};
use league::{League, MEMBERS, PREFIX};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use store::Gateway;
use trials::Trial;
use users::{Register, Users, object_of};

/// How long one trial may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The trial that needs no league.
const DISK: &str = "sqlite-disk-full";

/// Runs the trials with this `hansa` binary. The process's arguments select by parts of names; `--list` names them all.
pub fn main(binary: &Path) -> ExitCode {
    let asked = Asked::read();
    let selected: Vec<Trial> = trials::ALL.iter().copied().filter(|trial| asked.wants(trial.name)).collect();
    if asked.lists {
        let names = selected.iter().map(|trial| trial.name).chain(asked.wants(DISK).then_some(DISK));
        names.for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let inside = async {
        if asked.wants(DISK) {
            let began = Instant::now();
            let told = disk::full().await.context(DISK)?;
            println!("{DISK} ... ok ({:.1} s): {told}", began.elapsed().as_secs_f64());
        }
        if selected.is_empty() { Ok(()) } else { run(binary, &selected).await }
    };
    let ended = match network::enter() {
        Ok(Some(ended)) => return ended,
        Ok(None) => on_one_thread(inside).unwrap_or_else(|| Err(anyhow!("nothing was tried"))),
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => {
            println!("\nprocesses: all trials hold");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\nprocesses: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs trials on one league, one after the other, and judges everything that stood in its etcd.
async fn run(binary: &Path, selected: &[Trial]) -> Result<()> {
    let began = Instant::now();
    let mut league = League::start(binary).await?;
    println!("a league of five stands after {:.1} s", began.elapsed().as_secs_f64());
    let outcome = on_league(&mut league, selected).await;
    if std::env::var_os("HANSA_E2E_KEEP").is_some() {
        println!("logs are kept in {}", league.keep().display());
    }
    println!("{:.1} s in all", began.elapsed().as_secs_f64());
    // What is wrong comes last, where it is looked for.
    outcome.inspect_err(|_| println!("{}", league.last_words()))
}

async fn on_league(league: &mut League, selected: &[Trial]) -> Result<()> {
    let users = Users::of(league);
    for trial in selected {
        let began = Instant::now();
        let register = Register::start(league, trial.name).await?;
        let told = tokio::time::timeout(LIMIT, (trial.run)(league)).await;
        let told = told.with_context(|| format!("it takes longer than {} s", LIMIT.as_secs()));
        let told = told.and_then(|told| told).with_context(|| trial.name)?;
        let history = tokio::time::timeout(LIMIT, register.finish()).await;
        let history = history.context("its clients do not end").and_then(|history| history).context(trial.name)?;
        println!("{} ... ok ({:.1} s): {told}; {history}", trial.name, began.elapsed().as_secs_f64());
    }
    let done = tokio::time::timeout(LIMIT, users.finish()).await.context("an edit is never agreed on")??;
    for (user, word) in done.last.iter().enumerate() {
        for index in 0..MEMBERS.len() {
            league.output_is(index, &object_of(user), Some(word)).await?;
        }
    }
    let history = Gateway::of(&league.etcd.nodes[0].seat.client)?.history(&format!("{PREFIX}/")).await?;
    let looked = judge::judge(&history, PREFIX, &done.edits).context("the history of the topology server")?;
    ensure!(looked.edits > 0 && looked.terms > 0, "something was to be judged: {looked:?}");
    println!(
        "history ... ok: {} edits agreed, none lost; {} values, {} of them pages', {} changes of term, one writer each",
        looked.edits, looked.values, looked.pages, looked.terms
    );
    Ok(())
}
