//! A full disk below a topology server in a SQLite file.

use super::network::mount_small;
use super::trials::fill;
use crate::wait::{Seen, within};
use anyhow::{Context, Result, bail, ensure};
use hansa_topo::{Category, Options, Swap, Topo, Version};
use std::time::{Duration, Instant};

/// How large the disk is, in MiB.
const SIZE: u32 = 8;

/// How many keys are written in turn.
const KEYS: usize = 4;

/// How many bytes each value has.
const BYTES: usize = 20_000;

/// How long anything may take to go on.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes until the disk is full, sees that everything acknowledged stands, makes room, and writes on.
///
/// # Errors
/// When something acknowledged is lost, the trouble is not named, or writing does not go on.
pub async fn full() -> Result<String> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    mount_small(&disk, SIZE).await?;
    let url = format!("sqlite:{}", disk.join("topo.db").display());
    let topo = hansa_topo::open(&url, &Options::default()).await?;
    let mut keys = [const { None }; KEYS];
    let mut written = 0;
    for number in 0..40 {
        write(&*topo, &mut keys, number).await?;
        written = number;
    }
    let filler = disk.join("filler");
    fill(&filler)?;
    let refused = loop {
        ensure!(written < 10_000, "the disk does not become full");
        match write(&*topo, &mut keys, written + 1).await {
            Ok(()) => written += 1,
            Err(error) => break format!("{error:#}"),
        }
    };
    ensure!(refused.contains("disk"), "the refusal names the disk: {refused}");
    all_stands(&*topo, &keys).await?;
    // Another process opens it, full as it is.
    let another = hansa_topo::open(&url, &Options::default()).await?;
    all_stands(&*another, &keys).await?;
    std::fs::remove_file(&filler)?;
    let ended = Instant::now();
    within(PATIENCE, "writing goes on", async || {
        Ok(match write(&*topo, &mut keys, written + 1).await {
            Ok(()) => Seen::Yes(()),
            Err(error) => Seen::No(format!("{error:#}")),
        })
    })
    .await?;
    let on = ended.elapsed();
    all_stands(&*another, &keys).await?;
    let findings = topo.check().await?;
    ensure!(findings.iter().all(|finding| finding.severity < hansa_topo::Severity::Problem), "{findings:?}");
    Ok(format!("{written} writes acknowledged, none lost; with room writing goes on within {} ms", on.as_millis()))
}

/// What a key holds: its version, and the number of its value.
type Held = Option<(Version, usize)>;

fn value(number: usize) -> String {
    format!("{number} {}", char::from(b'a' + (number % 26) as u8).to_string().repeat(BYTES))
}

/// Writes the value of a number to the key whose turn it is. One of unknown fate is looked up.
async fn write(topo: &dyn Topo, keys: &mut [Held; KEYS], number: usize) -> Result<()> {
    let key = format!("/key/{}", number % KEYS);
    let held = &mut keys[number % KEYS];
    let swap = match held {
        None => topo.create(&key, value(number).into()).await,
        Some((version, _)) => topo.compare_and_swap(&key, version, value(number).into()).await,
    };
    match swap {
        Ok(Swap::Committed(version)) => *held = Some((version, number)),
        Ok(Swap::Mismatch { current: Some(current) }) if current.value == value(number) => {
            *held = Some((current.version, number));
        }
        Ok(Swap::Indeterminate { reason }) => bail!("of unknown fate: {reason}"),
        Ok(other) => bail!("{key}: nobody else writes it, and {other:?}"),
        Err(error) => {
            let named = matches!(error.category(), Category::Full | Category::Unavailable);
            ensure!(named, "{:?}: {}", error.category(), error.chain());
            bail!("{}", error.chain())
        }
    }
    Ok(())
}

/// Everything that was acknowledged stands, whole, or what was under way after it.
async fn all_stands(topo: &dyn Topo, keys: &[Held; KEYS]) -> Result<()> {
    for (key, held) in keys.iter().enumerate() {
        let Some((_, number)) = held else { continue };
        let found = topo.get(&format!("/key/{key}")).await?.with_context(|| format!("/key/{key} is lost"))?;
        let stands = [*number, number + KEYS].iter().any(|number| found.value == value(*number));
        ensure!(stands, "/key/{key} is not what was acknowledged last");
    }
    Ok(())
}
