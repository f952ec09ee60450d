//! The scenarios.

pub mod accidents;
pub mod admission;
pub mod adoption;
pub mod bad_input;
pub mod ballots;
pub mod basics;
pub mod blobs;
pub mod definitions;
pub mod drift;
pub mod failures;
pub mod forced;
pub mod homes;
pub mod lives;
pub mod plans;
pub mod requests;
pub mod rollouts;
pub mod scene;
pub mod secrets;
pub mod shop;
pub mod spec;

use crate::cluster::Kind;
use crate::runner::{Manner, Scenario};

/// The kinds of league, in the order in which they run.
pub const KINDS: &[Kind] = &[Kind::Sim, Kind::Real];

const BOTH: &[Kind] = &[Kind::Real, Kind::Sim];

/// What kubesim has no part of: rights by RBAC, and policies that are evaluated.
const REAL: &[Kind] = &[Kind::Real];

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
        scenario!("secret", Beside, BOTH, secrets::sealed),
        scenario!("secret-two-homes", Beside, BOTH, secrets::two_homes),
        scenario!("drift-repaired", Beside, BOTH, drift::repaired),
        scenario!("others-fields", Beside, BOTH, drift::others_fields),
        scenario!("fight", Beside, BOTH, drift::fight),
        scenario!("strays", Beside, BOTH, drift::strays),
        scenario!("adoption", Beside, BOTH, adoption::running_deployment),
        scenario!("adoption-differing", Beside, BOTH, adoption::differing),
        scenario!("adoption-never", Beside, BOTH, adoption::never_and_orphan),
        scenario!("delete-request", Beside, BOTH, requests::delete),
        scenario!("home-move", Beside, BOTH, requests::home_move),
        scenario!("home-move-differs", Beside, BOTH, requests::home_move_differs),
        scenario!("namespace-deleted", Beside, BOTH, accidents::namespace_deleted),
        scenario!("waves", Beside, BOTH, rollouts::waves),
        scenario!("reborn-name", Beside, BOTH, lives::reborn_name),
        scenario!("finished-job", Beside, BOTH, lives::finished_job),
        scenario!("immutable-field", Beside, BOTH, lives::immutable_field),
        scenario!("without-rights", Beside, REAL, admission::without_rights),
        scenario!("autoscaler", Beside, BOTH, admission::autoscaler),
        scenario!("sidecar", Beside, REAL, admission::sidecar),
        scenario!("bad-objects", Beside, BOTH, bad_input::refused_objects),
        scenario!("bad-placement", Beside, BOTH, bad_input::contradictions),
        scenario!("bad-namespace", Beside, BOTH, bad_input::system_namespace),
        scenario!("bad-kubeconfig", Beside, REAL, bad_input::kubeconfig_without_rights),
        scenario!("bad-federation", Alone, BOTH, bad_input::clashing_federations),
        scenario!("bad-league", Alone, BOTH, bad_input::second_league),
        scenario!("restart-writes-nothing", Alone, BOTH, basics::restart_writes_nothing),
        scenario!("spec-by-vote", Alone, BOTH, ballots::spec_by_vote),
        scenario!("forged-cell", Alone, BOTH, ballots::forged_cell),
        scenario!("silent-member", Alone, BOTH, ballots::silent_member),
        scenario!("left-and-joined", Alone, BOTH, ballots::left_and_joined),
        scenario!("forced", Alone, BOTH, forced::forced),
        scenario!("shop", Alone, BOTH, shop::shop),
        scenario!("restored-home", Alone, BOTH, homes::restored_home),
        scenario!("definition-deleted", Alone, BOTH, accidents::definition_deleted),
        scenario!("missing-definition", Alone, BOTH, definitions::missing_in_members),
        scenario!("plan", Alone, BOTH, plans::every_member),
        scenario!("required-namespaces", Alone, BOTH, spec::required_namespaces),
        scenario!("relabelled", Alone, BOTH, spec::relabelled),
        scenario!("paused", Alone, BOTH, spec::paused),
        scenario!("observed", Alone, BOTH, spec::observed),
        scenario!("small-deletion", Alone, BOTH, requests::small_deletion),
        scenario!("breaker", Alone, BOTH, requests::breaker),
        scenario!("secret-without-home", Alone, BOTH, secrets::joined_without_home),
        scenario!("secret-rotated-keys", Alone, BOTH, secrets::rotated_keys),
        scenario!("keys-rotated", Alone, BOTH, secrets::rotated_in_order),
        scenario!("damaged-blob", Alone, BOTH, blobs::damaged),
        scenario!("confirmed-beside-others", Alone, BOTH, requests::confirmed_beside_others),
        scenario!("topology-server-replaced", Alone, BOTH, failures::topology_server_replaced),
        scenario!("topology-server-away", Alone, BOTH, failures::topology_server_away),
        scenario!("api-server-away", Alone, BOTH, failures::api_server_away),
        scenario!("standby", Alone, BOTH, failures::standby),
        scenario!("stale-operator", Alone, BOTH, failures::stale_operator),
        scenario!("killed-in-the-middle", Alone, BOTH, failures::killed_in_the_middle),
    ]
}
