//! A model of the quorum register that runs the code that ships.
//!
//! The stores, the network and the clients are the model's; what a client sends, and what it
//! concludes, is [`hansa_ledger::register::Operation`]. Every order of deliveries is tried, with
//! requests that are lost, repeated and late, proposers that crash and come back, a store that is
//! restored from a backup, and a store that is replaced. Each broken variant takes one rule away at
//! the border between the code and its world, and must be found.
//!
//! What the model leaves out: a request and its answer are one step, except where an answer is lost
//! (the client is then told that the write may have happened); an operation that is over is told
//! nothing more.

mod world;

use stateright::{Checker, Model};
use std::io::Write as _;
use std::time::Instant;
use world::{Backup, Faults, LAWS, Sabotage, Setting, Step};

/// Says how large a model is, past the harness, which keeps to itself what a test that passes prints.
fn tell(line: String) {
    std::io::stderr().write_all(format!("model of the register, {line}\n").as_bytes()).expect("standard error is open");
}

/// Explores every state; every law must hold, and every client be able to finish once the faults
/// stop.
fn assert_holds(name: &str, setting: Setting) {
    let began = Instant::now();
    let checker = setting.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    tell(format!("{name}: {states} states, {} deep, in {:.1?}: exhausted", checker.max_depth(), began.elapsed()));
    for law in LAWS {
        if let Some(path) = checker.discovery(law) {
            panic!("{name}: {law} is broken:\n{}", world::story(path));
        }
    }
    for reached in world::REACHED {
        if checker.model().expects(reached) {
            assert!(checker.discovery(reached).is_some(), "{name}: it never happens that {reached}");
        }
    }
    assert!(checker.is_done());
}

/// The broken variant must break a law.
fn assert_found(name: &str, setting: Setting) {
    let began = Instant::now();
    let checker = setting.checker().threads(2).finish_when(stateright::HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found: Vec<_> = LAWS.iter().filter(|law| checker.discovery(law).is_some()).collect();
    tell(format!("{name}: {} states, in {:.1?}: found {found:?}", checker.unique_state_count(), began.elapsed()));
    assert!(!found.is_empty(), "{name} was not found among {} states", checker.unique_state_count());
}

fn scripts(scripts: &[&[Step]]) -> Setting {
    Setting::new(scripts.iter().map(|script| script.to_vec()).collect())
}

/// Two clients want to make the register, and each tries once.
fn two_writers() -> Setting {
    Setting { wakes: 0, ..scripts(&[&[Step::Write], &[Step::Write]]) }
}

/// One reaches the first two stores, the other one the last two: fewer states, for longer stories.
fn two_apart() -> Setting {
    Setting { unreachable: vec![(0, 2), (1, 0)], ..two_writers() }
}

/// Clients that give way go on.
fn duel() -> Setting {
    Setting { wakes: 2, ..two_apart() }
}

/// Clients that let each other go first.
fn polite() -> Setting {
    Setting { patience: 1, wakes: 3, ..two_apart() }
}

/// The same, and one of them crashes anywhere and starts anew.
fn polite_crash() -> Setting {
    Setting { faults: Faults { crashes: 1, ..Faults::default() }, ..polite() }
}

/// A client writes twice, the second time without preparing; another one reads.
fn writer_and_reader() -> Setting {
    let setting = scripts(&[&[Step::Write, Step::Write], &[Step::Read]]);
    Setting { wakes: 0, unreachable: vec![(0, 2)], ..setting }
}

/// A client that came too late writes again, on top of what it was told.
fn chain() -> Setting {
    Setting { tries: 1, wakes: 1, ..two_apart() }
}

/// Three clients, each of which reaches other two stores.
fn three_clients() -> Setting {
    let setting = scripts(&[&[Step::Write], &[Step::Write], &[Step::Write]]);
    Setting { wakes: 0, tries: 1, unreachable: vec![(0, 2), (1, 0), (2, 1)], ..setting }
}

/// A client crashes anywhere and starts anew, beside another one.
fn crash() -> Setting {
    Setting { faults: Faults { crashes: 1, ..Faults::default() }, ..two_apart() }
}

fn faulty(faults: Faults) -> Setting {
    Setting { faults, ..two_writers() }
}

/// Values are blobs.
fn blobs() -> Setting {
    Setting { blobs: true, wakes: 0, ..scripts(&[&[Step::Write], &[Step::Read]]) }
}

/// The first store is restored while two clients write, of which one reaches the second store and
/// one the third.
fn restore(backup: Backup) -> Setting {
    let setting = scripts(&[&[Step::Write, Step::Write], &[Step::Write, Step::Read]]);
    Setting { prologue: true, backup: Some(backup), unreachable: vec![(0, 2), (1, 1)], wakes: 0, ..setting }
}

const REPLACE: [Step; 5] =
    [Step::BeginReplacement, Step::SettleReplacement, Step::Rescan, Step::EndReplacement, Step::Read];

/// The third store is replaced while a client makes the register with the old set, of which it
/// reaches the last two.
fn replacement() -> Setting {
    let setting = scripts(&[&[Step::Write], &REPLACE]);
    Setting { unreachable: vec![(0, 0), (1, 2)], wakes: 0, ..setting }
}

/// The same, and the register is there already.
fn replacement_of_old() -> Setting {
    let setting = scripts(&[&[Step::Write, Step::Write], &REPLACE]);
    Setting { prologue: true, unreachable: vec![(0, 0), (1, 2)], wakes: 0, ..setting }
}

macro_rules! hold {
    ($($name:ident: $setting:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_holds(stringify!($name), $setting);
        }
    )+};
}

macro_rules! find {
    ($($name:ident: $sabotage:ident in $setting:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_found(stringify!($name), Setting { sabotage: Some(Sabotage::$sabotage), ..$setting });
        }
    )+};
}

hold! {
    two_writers_race: two_writers();
    two_writers_duel: duel();
    two_writers_let_each_other_go_first: polite();
    a_writer_that_was_let_go_first_crashes: polite_crash();
    a_writer_goes_on_beside_a_reader: writer_and_reader();
    writes_form_a_chain: chain();
    three_writers_race: three_clients();
    a_proposer_crashes: crash();
    answers_are_lost: faulty(Faults { lost_answers: 1, ..Faults::default() });
    writes_are_late: faulty(Faults { late_writes: 1, ..Faults::default() });
    writes_are_repeated: faulty(Faults { repeated: 1, ..Faults::default() });
    stores_refuse: faulty(Faults { failures: 1, ..Faults::default() });
    values_are_blobs: blobs();
    a_store_is_restored: restore(Backup::Empty);
    a_store_is_restored_and_nobody_can_tell: restore(Backup::Prologue);
    a_store_is_replaced: replacement_of_old();
    a_store_is_replaced_while_a_register_is_made: replacement();
}

find! {
    without_high_water: HighWater in restore(Backup::Empty);
    without_clock: Clock in restore(Backup::Prologue);
    without_incarnation: Incarnation in crash();
    without_rechecked_promise: Recheck in two_writers();
    without_blob_quorum: BlobQuorum in blobs();
    without_look_up: LookUp in replacement();
}
