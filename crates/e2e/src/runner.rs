//! Which scenarios run, when, and what is told of them.
//!
//! Scenarios that leave the league as it is run beside each other, each in a namespace of its own;
//! those that disturb it (kill, restore, edit the spec) run alone in their league, after them.

use crate::cluster::Kind;
use crate::scenarios;
use crate::world::World;
use anyhow::{Result, anyhow};
use futures::future::{LocalBoxFuture, join_all};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

pub use crate::scenarios::scene::Scene;

/// How many scenarios run beside each other.
const BESIDE: usize = 6;

/// How long one scenario may take.
const LIMIT: Duration = Duration::from_secs(180);

/// How long all that one test program runs may take, some three times what it takes on two cores.
const WHOLE: Duration = Duration::from_secs(20 * 60);

/// What a scenario does to the league.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It keeps to its own namespace.
    Beside,
    /// It disturbs others.
    Alone,
}

/// A scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, and that of its namespace.
    pub name: &'static str,
    /// What it does to the league.
    pub manner: Manner,
    /// On which kinds it runs.
    pub kinds: &'static [Kind],
    /// The scenario itself.
    pub run: for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, Result<()>>,
}

/// What the process's arguments ask for.
pub(crate) struct Asked {
    words: Vec<String>,
    /// To name what there is, instead of running it.
    pub lists: bool,
}

impl Asked {
    /// `--list`, other options of test programs, and parts of names.
    pub fn read() -> Self {
        let (options, words): (Vec<String>, Vec<String>) =
            std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
        Asked { words, lists: options.iter().any(|option| option == "--list") }
    }

    /// Whether something of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Does this on one thread: it starts every process, and they end with the thread that started them. `None` when there
/// is no runtime, which is said.
pub(crate) fn on_one_thread<T>(work: impl Future<Output = T>) -> Option<T> {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || ends_what_hangs(&is_done));
    // Dropped at the end, which is what the watching thread waits for.
    let _done = done;
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => Some(tokio::task::LocalSet::new().block_on(&runtime, work)),
        Err(error) => {
            eprintln!("no runtime: {error}");
            None
        }
    }
}

/// Ends the program when the work is not done within [`WHOLE`]: a thread that is busy for ever never looks at a time
/// limit of its own.
#[expect(clippy::disallowed_methods, reason = "the thread that would return from main is the one that hangs")]
fn ends_what_hangs(is_done: &Receiver<()>) {
    if is_done.recv_timeout(WHOLE) == Err(RecvTimeoutError::Timeout) {
        println!("\nFAILED: not done after {} s; what was under way comes after what was told last", WHOLE.as_secs());
        std::process::exit(1);
    }
}

/// Runs the scenarios with this `hansa` binary. The process's arguments select by parts of names
/// (`real::`, `drift`); `--list` names them all.
pub fn main(binary: &Path) -> ExitCode {
    let asked = Asked::read();
    let full_name = |kind: Kind, scenario: &Scenario| format!("{}::{}", kind.name(), scenario.name);
    let mut plan = Vec::new();
    for kind in scenarios::KINDS {
        let selected: Vec<Scenario> = scenarios::all()
            .into_iter()
            .filter(|scenario| scenario.kinds.contains(kind))
            .filter(|scenario| asked.wants(&full_name(*kind, scenario)))
            .collect();
        plan.push((*kind, selected));
    }
    if asked.lists {
        for (kind, selected) in &plan {
            selected.iter().for_each(|scenario| println!("{}: test", full_name(*kind, scenario)));
        }
        return ExitCode::SUCCESS;
    }
    // The kinds beside each other, in leagues of their own: a scenario mostly waits.
    let plan = plan.into_iter().filter(|(_, selected)| !selected.is_empty());
    let kinds = plan.map(|(kind, selected)| run_kind(kind, binary, selected));
    let Some(failed) = on_one_thread(join_all(kinds)) else { return ExitCode::FAILURE };
    let failed = failed.concat();
    if failed.is_empty() {
        println!("\ne2e: all scenarios hold");
        return ExitCode::SUCCESS;
    }
    println!("\ne2e: {} failed: {}", failed.len(), failed.join(", "));
    ExitCode::FAILURE
}

/// Runs the scenarios of one kind; gives the names of those that failed.
async fn run_kind(kind: Kind, binary: &Path, selected: Vec<Scenario>) -> Vec<String> {
    let began = Instant::now();
    let world = match World::start(kind, binary).await {
        Ok(world) => Rc::new(world),
        Err(error) => {
            println!("{}: the league does not start: {error:#}", kind.name());
            return vec![format!("{}::*", kind.name())];
        }
    };
    println!("{}: a league of three stands after {:.1} s", kind.name(), began.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    let (beside, alone): (Vec<_>, Vec<_>) =
        selected.into_iter().partition(|scenario| scenario.manner == Manner::Beside);

    let places = Rc::new(Semaphore::new(BESIDE));
    let mut running = Vec::new();
    for scenario in beside {
        let (world, places) = (Rc::clone(&world), Rc::clone(&places));
        running.push(tokio::task::spawn_local(async move {
            let _place = places.acquire().await;
            (scenario, run_one(&world, scenario).await)
        }));
    }
    for task in running {
        match task.await {
            Ok((scenario, fine)) => failed.extend((!fine).then(|| format!("{}::{}", kind.name(), scenario.name))),
            Err(error) => failed.push(format!("{}: {error}", kind.name())),
        }
    }
    for scenario in alone {
        let mut fine = run_one(&world, scenario).await;
        if fine && let Err(error) = world.is_fit().await {
            println!("{}::{} leaves the league unfit: {error:#}", kind.name(), scenario.name);
            fine = false;
        }
        if fine {
            continue;
        }
        failed.push(format!("{}::{}", kind.name(), scenario.name));
        if let Err(error) = world.mend().await {
            println!(
                "{}: the league cannot be mended, the rest is not run: {error:#}\n{}",
                kind.name(),
                world.last_words().await
            );
            failed.push(format!("{}::*", kind.name()));
            break;
        }
    }
    println!("{}: {:.1} s in all", kind.name(), began.elapsed().as_secs_f64());
    if std::env::var_os("HANSA_E2E_KEEP").is_some()
        && let Some(world) = Rc::into_inner(world)
    {
        println!("{}: logs are kept in {}", kind.name(), world.keep().display());
    }
    failed
}

/// Runs one scenario, tells of it, and says whether it held.
async fn run_one(world: &Rc<World>, scenario: Scenario) -> bool {
    let began = Instant::now();
    let scene = Rc::new(Scene::new(Rc::clone(world), scenario.name).await);
    let task = {
        let scene = Rc::clone(&scene);
        tokio::task::spawn_local(async move {
            let held = tokio::time::timeout(LIMIT, (scenario.run)(&scene)).await;
            held.unwrap_or_else(|_| Err(anyhow!("it takes longer than {} s", LIMIT.as_secs())))
        })
    };
    let outcome = task.await.unwrap_or_else(|panic| Err(anyhow!("{panic}")));
    let name = format!("{}::{}", world.kind.name(), scenario.name);
    let seconds = began.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("{name} ... ok ({seconds:.1} s)");
            true
        }
        Err(error) => {
            let scenery = scene.describe().await;
            println!("{name} ... FAILED ({seconds:.1} s)\n{error:#}\n{scenery}\n--- end of {name}");
            false
        }
    }
}
