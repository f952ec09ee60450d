//! The scenarios.

pub mod adoption;
pub mod basics;
pub mod drift;
pub mod homes;
pub mod scene;

use crate::cluster::Kind;
use crate::runner::{Manner, Scenario};

/// The kinds of league, in the order in which they run.
pub const KINDS: &[Kind] = &[Kind::Sim, Kind::Real];

const BOTH: &[Kind] = &[Kind::Real, Kind::Sim];

macro_rules! scenario {
    ($name:literal, $manner:ident, $kinds:ident, $function:path) => {
        Scenario { name: $name, manner: Manner::$manner, kinds: $kinds, run: |scene| Box::pin($function(scene)) }
    };
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    vec![
        scenario!("create-edit-delete", Beside, BOTH, basics::create_edit_delete),
        scenario!("override", Beside, BOTH, basics::overrides),
        scenario!("move", Beside, BOTH, basics::placement_moves),
        scenario!("two-homes", Beside, BOTH, homes::two_homes),
        scenario!("conflict", Beside, BOTH, homes::conflict),
        scenario!("stranger", Beside, BOTH, homes::stranger),
        scenario!("drift-repaired", Beside, BOTH, drift::repaired),
        scenario!("others-fields", Beside, BOTH, drift::others_fields),
        scenario!("fight", Beside, BOTH, drift::fight),
        scenario!("strays", Beside, BOTH, drift::strays),
        scenario!("adoption", Beside, BOTH, adoption::running_deployment),
        scenario!("adoption-differing", Beside, BOTH, adoption::differing),
        scenario!("adoption-never", Beside, BOTH, adoption::never_and_orphan),
        scenario!("restart-writes-nothing", Alone, BOTH, basics::restart_writes_nothing),
        scenario!("restored-home", Alone, BOTH, homes::restored_home),
    ]
}
