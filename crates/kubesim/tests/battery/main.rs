//! The battery: the same requests go to kubesim and to a real kube-apiserver with its kube-controller-manager, and
//! what both answer is compared field by field.
//!
//! - `cases/*.yaml`: one file a behaviour; [`case`] has the format. A case runs in a namespace of its own, named after
//!   the file, so that cases run side by side and the names they use are the same on both servers.
//! - `before/*.yaml`: steps that several cases need first, not compared.
//! - `differences.yaml`: the differences that stay, each with its reason. An entry that no longer differs fails the
//!   test, so the file tells the truth.
//!
//! Values that no two servers share (uids, times, versions, addresses, generated names) become placeholders named
//! after the place of their first appearance: equal values have equal placeholders, see [`normalise`].
//!
//! While working on a case: `BATTERY=name` runs the cases whose name contains it (several, comma-separated), and
//! `BATTERY_ITSELF=1` compares the real control plane with a second one instead of kubesim: what differs there is
//! chance, not behaviour, and is for the case to leave out. Every run leaves what both answered in `target/tmp/battery/`.

mod case;
mod client;
mod compare;
mod control_plane;
mod normalise;
mod run;
mod substitute;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Error, Result};
use client::Target;
use compare::{Difference, Known};
use control_plane::ControlPlane;
use futures::StreamExt;
use hansa_kubesim::core::Config;
use hansa_kubesim::edge;

/// Cases under way at a time: most of a case is waiting for controllers, so more than there are cores.
const AT_A_TIME: usize = 24;

/// Where cases, fixtures and the list of differences are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/battery")
}

#[test]
fn kubesim_answers_as_a_real_control_plane() -> Result<()> {
    let mut cases = case::load(&folder()).map_err(Error::msg)?;
    let known = Known::load(&folder().join("differences.yaml")).map_err(Error::msg)?;
    assert!(cases.len() >= 120, "only {} cases were found", cases.len());
    let chosen = std::env::var("BATTERY").unwrap_or_default();
    if !chosen.is_empty() {
        cases.retain(|case| chosen.split(',').any(|part| case.name.contains(part)));
        assert!(!cases.is_empty(), "no case's name contains BATTERY={chosen}");
    }

    let began = Instant::now();
    // Held to the end, and dropped (which ends the processes) on a panic as well.
    let mut real = ControlPlane::start()?;
    let mut second = if std::env::var_os("BATTERY_ITSELF").is_some() { Some(ControlPlane::start()?) } else { None };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let differences = runtime.block_on(async {
        real.ready().await?;
        let kubesim = edge::serve(options()).await?;
        let other = match &mut second {
            Some(second) => {
                second.ready().await?;
                second.kubeconfig()
            }
            None => &kubesim.kubeconfig,
        };
        let (real, other) = (Target::of(real.kubeconfig())?, Target::of(other)?);
        println!("ready after {:.1?}", began.elapsed());
        let differences = compare_all(&cases, Arc::new(real), Arc::new(other)).await?;
        kubesim.shutdown().await;
        anyhow::Ok(differences)
    })?;
    println!("{} cases in {:.1?}", cases.len(), began.elapsed());

    let known = if second.is_some() { Known::none() } else { known };
    let report = known.judge(differences, chosen.is_empty());
    assert!(report.is_empty(), "{report}");
    Ok(())
}

/// kubesim as the cases need it: without nodes, so that on neither side a pod runs but by what the case does.
fn options() -> edge::Options {
    let (name, token) = client::STRANGER;
    let stranger = edge::Account { name: name.to_owned(), token: Some(token.to_owned()), rules: Some(Vec::new()) };
    let core = Config { nodes: Vec::new(), ..Config::default() };
    edge::Options { accounts: vec![stranger], core, ..edge::Options::default() }
}

/// Runs every case on both servers; what differs, in the order of the cases.
async fn compare_all(cases: &[case::Case], real: Arc<Target>, kubesim: Arc<Target>) -> Result<Vec<Difference>> {
    let transcripts = Path::new(env!("CARGO_TARGET_TMPDIR")).join("battery");
    std::fs::create_dir_all(&transcripts)?;
    let one = |case: &case::Case| {
        let (case, real, kubesim, transcripts) = (case.clone(), real.clone(), kubesim.clone(), transcripts.clone());
        async move {
            let (real, kubesim) = tokio::join!(run::run(&case, &real), run::run(&case, &kubesim));
            for (transcript, side) in [(&real, "real"), (&kubesim, "kubesim")] {
                let path = transcripts.join(format!("{}.{side}.json", case.name));
                std::fs::write(path, serde_json::to_string_pretty(&transcript.as_json())?)?;
            }
            anyhow::Ok(compare::compare(&case, &real, &kubesim))
        }
    };
    let (alone, together): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.alone);
    let mut differences = Vec::new();
    for case in alone {
        differences.extend(one(case).await?);
    }
    let mut results = futures::stream::iter(together.into_iter().map(one)).buffered(AT_A_TIME);
    while let Some(found) = results.next().await {
        differences.extend(found?);
    }
    Ok(differences)
}
