//! The scenarios.

pub mod basics;
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
        scenario!("restart-writes-nothing", Alone, BOTH, basics::restart_writes_nothing),
    ]
}
