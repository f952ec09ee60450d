//! The judge can find what it is there for: every broken variant of the operator breaks the rule that
//! it is to break, within a bounded number of seeds.

use hansa_sim::{Sabotage, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many seeds a defect may stay hidden for.
const SEEDS: u64 = 120;

/// Where the search begins. A defect that needs rare circumstances is looked for first where they were
/// met; everything else is found within the first few seeds.
fn first_seed(sabotage: Sabotage) -> u64 {
    match sabotage {
        Sabotage::ActsThoughRemoved => 420,
        Sabotage::BelievesRestoredHomes => 150,
        Sabotage::CutOffUnnoticed => 70,
        Sabotage::DeletesStrays => 150,
        Sabotage::OneYesForAll => 57,
        Sabotage::UnfencedRemoval => 45,
        Sabotage::WritesThoughFrozen => 200,
        _ => 1,
    }
}

/// Why a defect is not found, if it is not.
fn hidden(name: &str, sabotage: Sabotage, rules: &[&str]) -> Option<String> {
    let first = first_seed(sabotage);
    let mut others = Vec::new();
    for seed in first..first + SEEDS {
        match run(seed, Some(sabotage)).violation {
            Some(violation) if rules.contains(&violation.rule) => return None,
            Some(violation) => others.push(format!("{seed}: {}", violation.rule)),
            None => {}
        }
    }
    let others = others.join(", ");
    Some(format!("{name}: no seed of {first} to {} breaks {rules:?}; what broke: {others}", first + SEEDS - 1))
}

#[test]
fn every_defect_is_found() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((name, sabotage, rules)) = Sabotage::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Looked for before the lock is taken, or one would wait for the other.
                    let why = hidden(name, *sabotage, rules);
                    missed.lock().expect("no seed panics").extend(why);
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no seed panics");
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
