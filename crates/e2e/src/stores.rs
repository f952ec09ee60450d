//! Leagues of three kubesims with real operators on the topology servers that the scenarios do not use: a bucket, a quorum of
//! three kinds of store, a bucket that loses everything and is filled from a backup, and an etcd cluster with another in its place.
//!
//! Each trial has a league of its own, and all run beside each other.

use crate::cluster::Kind;
use crate::objects::{CONFIG_MAPS, condition, config, everywhere};
use crate::operator::Environment;
use crate::runner::{Asked, Scene, on_one_thread};
use crate::wait::{Seen, eventually};
use crate::world::{MEMBERS, World};
use anyhow::{Context, Result, ensure};
use futures::future::{LocalBoxFuture, join_all};
use hansa_controlplane::{Etcd, S3};
use serde_json::Value;
use std::cell::Cell;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long one trial may take.
const LIMIT: Duration = Duration::from_secs(240);

/// A trial: what it is called, and what it does with this binary.
type Trial = (&'static str, for<'a> fn(&'a Path) -> LocalBoxFuture<'a, Result<()>>);

const TRIALS: [Trial; 4] = [
    ("bucket", |binary| Box::pin(bucket(binary))),
    ("quorum-store-replaced", |binary| Box::pin(quorum_store_replaced(binary))),
    ("restored-from-backup", |binary| Box::pin(restored_from_backup(binary))),
    ("restored-into-another-etcd", |binary| Box::pin(restored_into_another_etcd(binary))),
];

/// Runs the trials with this `hansa` binary. The process's arguments select by parts of names; `--list` names them all.
pub fn main(binary: &Path) -> ExitCode {
    let asked = Asked::read();
    let selected = TRIALS.into_iter().filter(|(name, _)| asked.wants(name));
    if asked.lists {
        selected.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let held = on_one_thread(join_all(selected.map(|(name, trial)| run(name, trial(binary)))));
    if held.is_some_and(|held| held.into_iter().all(|held| held)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(name: &str, trial: impl Future<Output = Result<()>>) -> bool {
    let began = Instant::now();
    let outcome = tokio::time::timeout(LIMIT, trial).await;
    let outcome = outcome.with_context(|| format!("it takes longer than {} s", LIMIT.as_secs()));
    let seconds = began.elapsed().as_secs_f64();
    match outcome.and_then(|outcome| outcome) {
        Ok(()) => {
            println!("{name} ... ok ({seconds:.1} s)");
            true
        }
        Err(error) => {
            println!("{name} ... FAILED ({seconds:.1} s)\n{error:#}");
            false
        }
    }
}

/// A league, and the objects that a trial makes in it.
struct League {
    scene: Scene,
}

/// What the outputs of an object say.
fn greets(word: &str) -> Value {
    everywhere(config(&[("greeting", word)]))
}

impl League {
    async fn on(binary: &Path, folder: TempDir, topo: &str, environment: Environment) -> Result<Self> {
        let world = World::start_on(Kind::Sim, binary, folder, topo, environment).await?;
        Ok(League { scene: Scene::new(Rc::new(world), "stores").await })
    }

    /// Runs a trial in it; when it fails, with what the operators said last.
    async fn tried(self, trial: impl AsyncFnOnce(&League) -> Result<()>) -> Result<()> {
        match trial(&self).await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.scene.world.last_words().await)),
        }
    }

    /// Writes an object in its home.
    async fn write(&self, name: &str, word: &str) -> Result<()> {
        self.scene.federate(0, CONFIG_MAPS, name, &greets(word)).await.map(|_| ())
    }

    /// Waits until a member has the output.
    async fn has(&self, index: usize, name: &str, word: &str) -> Result<()> {
        let output = self.scene.output_is(index, CONFIG_MAPS, name, word, |output| output["data"]["greeting"] == word);
        output.await.map(|_| ())
    }

    /// Edits an object, and waits until that is applied everywhere and agreed.
    async fn edit(&self, name: &str, word: &str) -> Result<()> {
        self.write(name, word).await?;
        for index in 0..MEMBERS.len() {
            self.has(index, name, word).await?;
        }
        self.scene.settled(0, CONFIG_MAPS, name).await.map(|_| ())
    }

    /// Deletes an object in its home, and waits until it is gone everywhere.
    async fn delete(&self, name: &str) -> Result<()> {
        self.scene.admin(0).delete(&CONFIG_MAPS.federated(&self.scene.namespace, name)).await?;
        for index in 0..MEMBERS.len() {
            self.scene.output_goes(index, CONFIG_MAPS, name).await?;
        }
        self.scene.home_goes(0, CONFIG_MAPS, name).await
    }

    /// Proves that no operator ended by itself.
    async fn all_run(&self) -> Result<()> {
        for member in &self.scene.world.members {
            ensure!(!member.operator.lock().await.has_died(), "the operator of {} ended by itself", member.name);
        }
        Ok(())
    }
}

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("hansa-stores-").tempdir()?)
}

/// The bucket's URL, and who asks.
fn in_bucket(bucket: &S3) -> (String, Environment) {
    let url = format!("s3://{}/league?endpoint={}", S3::BUCKET, bucket.endpoint);
    (url, vec![("HANSA_TOPO_USER", S3::USER.to_owned()), ("HANSA_TOPO_PASSWORD", S3::SECRET.to_owned())])
}

/// A bucket and nothing else.
async fn bucket(binary: &Path) -> Result<()> {
    let servers = folder()?;
    let mut server = S3::start(servers.path(), "bucket")?;
    server.ready().await?;
    let (url, environment) = in_bucket(&server);
    let league = League::on(binary, folder()?, &url, environment).await?;
    league
        .tried(async |league| {
            league.edit("edited", "hello").await?;
            league.edit("edited", "good day").await?;
            let marks = league.scene.world.mark().await?;
            league.scene.world.restart_operator(1, &[]).await?;
            league.scene.world.operator_ready(1, LIMIT).await?;
            league.scene.world.no_writes(&marks).await?;
            league.edit("edited", "good evening").await?;
            league.delete("edited").await?;
            league.all_run().await
        })
        .await
}

/// A quorum of an etcd, a bucket and a file. The etcd is lost while objects are edited, and another one takes its place; then
/// the bucket is lost.
async fn quorum_store_replaced(binary: &Path) -> Result<()> {
    let servers = folder()?;
    let mut bucket = S3::start(servers.path(), "bucket")?;
    let mut lost = Etcd::start(servers.path(), "lost", false)?;
    let mut new = Etcd::start(servers.path(), "new", false)?;
    bucket.ready().await?;
    lost.ready().await?;
    new.ready().await?;
    let (in_bucket, environment) = in_bucket(&bucket);
    let file = format!("sqlite:{}", servers.path().join("store.db").display());
    let [old, next] = [&lost, &new].map(|etcd| format!("etcd://{}/league", etcd.address));
    let [before, after] = [&old, &next].map(|etcd| format!("quorum:{etcd},{in_bucket},{file}"));
    let league = League::on(binary, folder()?, &before, environment).await?;
    league
        .tried(async |league| {
            league.edit("edited", "hello").await?;
            lost.process.kill();
            league.edit("edited", "good day").await?;
            let (replaced, edits) = (Cell::new(false), Cell::new(0));
            let editing = async {
                while !replaced.get() || edits.get() < 2 {
                    league.edit("busy", &format!("edit {}", edits.get())).await?;
                    edits.set(edits.get() + 1);
                }
                anyhow::Ok(())
            };
            let replacing = async {
                let arguments = ["quorum", "replace", "--old", &old, "--new", &next];
                let told = league.scene.world.topo_command(&arguments, "").await;
                replaced.set(true);
                told
            };
            let (edited, told) = futures::join!(editing, replacing);
            edited?;
            ensure!(told?["epoch"] == 4, "three changes of the set of stores");
            // Who still has the old URL goes on with the stores that both name.
            league.edit("edited", "good evening").await?;
            for (index, member) in league.scene.world.members.iter().enumerate() {
                member.operator.lock().await.set_topo(&after);
                league.scene.world.restart_operator(index, &[]).await?;
                league.scene.world.operator_ready(index, LIMIT).await?;
            }
            bucket.process.kill();
            league.edit("edited", "good night").await?;
            league.edit("busy", "no more").await?;
            league.delete("edited").await?;
            league.all_run().await
        })
        .await
}

/// Waits until every operator's health is as wanted.
async fn every_health(league: &League, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    for (index, name) in MEMBERS.iter().enumerate() {
        eventually(&format!("{name} {what}"), async || {
            let health = league.scene.world.ask(index, "/read/health").await?.unwrap_or_default();
            Ok(if wanted(&health) { Seen::Yes(()) } else { Seen::No(health.to_string()) })
        })
        .await?;
    }
    Ok(())
}

/// A bucket loses everything, and gets the backup.
async fn restored_from_backup(binary: &Path) -> Result<()> {
    let servers = folder()?;
    let mut server = S3::start(servers.path(), "bucket")?;
    server.ready().await?;
    let (url, environment) = in_bucket(&server);
    let league = League::on(binary, folder()?, &url, environment).await?;
    let objects = servers.path().join("bucket").join(S3::BUCKET).join("league");
    let lost = async { std::fs::remove_dir_all(&objects).context("what stood in the bucket") };
    restored(league, &servers.path().join("league.backup"), lost).await
}

/// Another etcd cluster stands where the league's stood, and gets the backup.
async fn restored_into_another_etcd(binary: &Path) -> Result<()> {
    let servers = folder()?;
    let mut server = Etcd::start(servers.path(), "etcd", false)?;
    server.ready().await?;
    let url = format!("etcd://{}/league", server.address);
    let league = League::on(binary, folder()?, &url, Environment::default()).await?;
    let lost = async {
        server.replace(servers.path(), "another")?;
        server.ready().await
    };
    restored(league, &servers.path().join("league.backup"), lost).await
}

/// The topology server is lost, and another one gets the backup. The operators run all the time, and go on by themselves
/// in the new era; what was agreed after the backup is told, and undone nowhere.
async fn restored(league: League, file: &Path, lost: impl Future<Output = Result<()>>) -> Result<()> {
    league
        .tried(async |league| {
            league.edit("kept", "hello").await?;
            league.edit("ahead", "hello").await?;
            league.scene.quiet().await?;
            let file = file.display().to_string();
            league.scene.world.topo_command(&["backup", "-f", &file], "").await?;
            league.edit("ahead", "good day").await?;
            league.scene.quiet().await?;
            let marks = league.scene.world.mark().await?;
            lost.await?;
            every_health(league, "sees that it was emptied", |health| health["frozen"].is_string()).await?;
            league.scene.world.topo_command(&["restore", "-f", &file], "").await?;
            every_health(league, "goes on", |health| health["frozen"].is_null() && health["ready"] == true).await?;
            league.all_run().await?;
            // What is ahead of the backup stands, and its home asks.
            for index in 0..MEMBERS.len() {
                league.has(index, "ahead", "good day").await?;
            }
            let (name, home) = ("ahead", &league.scene);
            home.home_is(0, CONFIG_MAPS, name, "asks", |home| condition(home, "Agreed").0 == "False").await?;
            league.edit("kept", "good evening").await?;
            league.edit("made", "afterwards").await?;
            league.scene.no_deletes(&marks).await?;
            league.delete("kept").await?;
            league.all_run().await
        })
        .await
}
