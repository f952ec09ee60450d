//! What a member is told that does not vote.

use super::{name, signer, spec_of};
use crate::ballots::standing::has_asked;
use hansa_model::FederationSpec;
use serde_json::json;

#[test]
fn who_has_asked_to_join_is_told_to_be_listed_only_where_it_is_not() {
    let key = signer("c").public();
    let says = |spec| {
        let spec: FederationSpec = serde_json::from_value(spec).unwrap();
        has_asked(&name("c"), &key, spec.member(&name("c")), &name("a"))
    };
    let asks = format!("c has asked to join with the key {key} ");
    let waits = "and waits for the league's vote: list it under spec.members of the Federation in a";
    assert_eq!(says(spec_of(&["a", "b"])), asks.clone() + waits);
    let awaits = asks.clone() + "and is listed: the members' vote is awaited";
    assert_eq!(says(spec_of(&["a", "b", "c"])), awaits);
    let with = |key: &str| says(json!({"members": [{"name": "a"}, {"name": "c", "publicKeys": [key]}]}));
    assert_eq!(with(&key.to_string()), awaits);
    assert_eq!(
        with(&signer("d").public().to_string()),
        asks + "and spec.members[c].publicKeys lists another: write its keys there, in the Federation in a"
    );
}
