//! `hansa-sim`: many seeds, or one told in full.

use anyhow::bail;
use clap::{Parser, Subcommand};
use hansa_sim::{Hazard, Outcome, Reached, Sabotage, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Simulates whole leagues, each from one seed.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells one seed's story.
    Replay {
        /// The seed.
        seed: u64,
        /// Only the lines that hold one of these words.
        #[arg(long)]
        about: Vec<String>,
        /// The defect that the operators have.
        #[arg(long)]
        broken: Option<String>,
    },
    /// Runs seed after seed until the time is up, the seeds are through, or one fails.
    Soak {
        /// For how long.
        #[arg(long)]
        seconds: Option<u64>,
        /// How many seeds.
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Goes on after a failure, and lists all of them.
        #[arg(long)]
        keep_going: bool,
        /// The defect that the operators have.
        #[arg(long)]
        broken: Option<String>,
    },
}

/// After how many seeds a soak says how far it is.
const PROGRESS: u64 = 500;

/// In so many seeds every hazard is met; the rarest is in two of 1,000.
const ENOUGH: u64 = 10_000;

fn defect(name: Option<&str>) -> anyhow::Result<Option<Sabotage>> {
    let Some(name) = name else { return Ok(None) };
    match Sabotage::ALL.iter().find(|(known, ..)| *known == name) {
        Some((_, sabotage, _)) => Ok(Some(*sabotage)),
        None => {
            let known: Vec<&str> = Sabotage::ALL.iter().map(|(name, ..)| *name).collect();
            bail!("--broken {name}: there is no such defect; choose one of {}", known.join(", "))
        }
    }
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Replay { seed, about, broken } => {
            let outcome = run(seed, defect(broken.as_deref())?);
            for line in outcome.story.about(&about) {
                println!("{line}");
            }
            println!("story {}", outcome.story.hash());
            match outcome.violation {
                None => Ok(()),
                Some(violation) => bail!("seed {seed}: {violation}"),
            }
        }
        Command::Soak { seconds, seeds, first, keep_going, broken } => {
            soak(seconds, seeds, first, keep_going, defect(broken.as_deref())?)
        }
    }
}

fn soak(
    seconds: Option<u64>,
    seeds: Option<u64>,
    first: u64,
    keep_going: bool,
    sabotage: Option<Sabotage>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let deadline = seconds.map(|seconds| started + Duration::from_secs(seconds));
    let seeds = seeds.unwrap_or(if seconds.is_some() { u64::MAX - first } else { 10_000 });
    let next = AtomicU64::new(first);
    let (told, events, virtual_ms) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(Vec::<Outcome>::new());
    // How often each hazard was met, and in how many stories.
    let reached = Mutex::new((Reached::default(), Reached::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let stopped = !keep_going && !failed.lock().expect("no seed panics").is_empty();
                    if stopped || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return;
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - first >= seeds {
                        return;
                    }
                    let outcome = run(seed, sabotage);
                    let so_far = told.fetch_add(1, Ordering::Relaxed) + 1;
                    if so_far.is_multiple_of(PROGRESS) {
                        eprintln!("{so_far} seeds told, {:.0} s", started.elapsed().as_secs_f64());
                    }
                    events.fetch_add(outcome.events, Ordering::Relaxed);
                    virtual_ms.fetch_add(outcome.virtual_ms, Ordering::Relaxed);
                    {
                        let mut reached = reached.lock().expect("no seed panics");
                        reached.0.add(&outcome.reached);
                        reached.1.add_story(&outcome.reached);
                    }
                    if let Some(violation) = &outcome.violation {
                        println!("seed {seed}: {violation}");
                        failed.lock().expect("no seed panics").push(outcome);
                    }
                }
            });
        }
    });
    let told = told.into_inner();
    println!(
        "{told} seeds, {} events, {:.1} hours of virtual time in {:.1} s",
        events.into_inner(),
        virtual_ms.into_inner() as f64 / 3_600_000.0,
        started.elapsed().as_secs_f64()
    );
    let (reached, stories) = reached.into_inner().expect("no seed panics");
    println!("\n{:>10} {:>10}  hazard (docs/hazards.md)", "met", "in seeds");
    for (hazard, name) in Hazard::ALL {
        println!("{:>10} {:>10}  {name}", reached.times(hazard), stories.times(hazard));
    }
    let failed = failed.into_inner().expect("no seed panics");
    let Some(first) = failed.first() else {
        let missing = reached.missing();
        if sabotage.is_none() && told >= ENOUGH && !missing.is_empty() {
            bail!("in {told} seeds these hazards were never met: {}", missing.join(", "));
        }
        return Ok(());
    };
    if !keep_going {
        let lines: Vec<&str> = first.story.about(&[]).collect();
        for line in &lines[lines.len().saturating_sub(200)..] {
            println!("{line}");
        }
    }
    bail!("{} of {told} seeds failed; `hansa-sim replay {}` tells the first in full", failed.len(), first.seed)
}
