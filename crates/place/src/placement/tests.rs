use super::*;
use crate::generated::{any_placement, any_spec};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

fn league() -> FederationSpec {
    serde_json::from_value(json!({"members": [
        {"name": "aws-use1", "labels": {"env": "prod", "cloud": "aws"}},
        {"name": "azure-sea", "labels": {"env": "test", "cloud": "azure"}},
        {"name": "gcp-euw4", "labels": {"env": "prod"}},
    ]}))
    .unwrap()
}

fn placement(value: Value) -> Placement {
    serde_json::from_value(value).unwrap()
}

fn told(placed: &Placed) -> String {
    let sign = |name: &MemberName| if placed.members.contains(name) { '+' } else { '-' };
    placed.reasons.iter().map(|(name, reason)| format!("{} {name}: {reason}\n", sign(name))).collect()
}

fn places(value: Value, expected: Expect) {
    expected.assert_eq(&told(&placed(&league(), &placement(value)).unwrap()));
}

#[test]
fn by_name() {
    places(
        json!({"members": ["aws-use1", "nowhere", "gcp-euw4"], "exclude": ["gcp-euw4", "elsewhere"]}),
        expect![[r#"
            + aws-use1: named in spec.placement.members
            - azure-sea: not named in spec.placement.members
            - elsewhere: named in spec.placement.exclude[1], but the league has no such member: correct the name or let the member join
            - gcp-euw4: excluded by spec.placement.exclude
            - nowhere: named in spec.placement.members[1], but the league has no such member: correct the name or let the member join
        "#]],
    );
    places(
        json!({"members": []}),
        expect![[r#"
        - aws-use1: not named in spec.placement.members
        - azure-sea: not named in spec.placement.members
        - gcp-euw4: not named in spec.placement.members
    "#]],
    );
}

#[test]
fn by_label() {
    places(
        json!({"memberSelector": {"matchLabels": {"env": "prod"}, "matchExpressions": [{"key": "cloud", "operator": "Exists"}]}}),
        expect![[r#"
            + aws-use1: selected by spec.placement.memberSelector
            - azure-sea: not selected by spec.placement.memberSelector: `env=prod` is wanted, and the label is `test`
            - gcp-euw4: not selected by spec.placement.memberSelector: `cloud` is wanted, and there is no such label
        "#]],
    );
    places(
        json!({"memberSelector": {}, "exclude": ["azure-sea"]}),
        expect![[r#"
        + aws-use1: selected by spec.placement.memberSelector
        - azure-sea: excluded by spec.placement.exclude
        + gcp-euw4: selected by spec.placement.memberSelector
    "#]],
    );
}

#[test]
fn a_placement_that_asks_for_nobody_says_so() {
    places(
        json!({}),
        expect![[r#"
        - aws-use1: spec.placement asks for no member: add `members` or `memberSelector` (`{}` is every member)
        - azure-sea: spec.placement asks for no member: add `members` or `memberSelector` (`{}` is every member)
        - gcp-euw4: spec.placement asks for no member: add `members` or `memberSelector` (`{}` is every member)
    "#]],
    );
    places(
        json!({"exclude": ["aws-use1"]}),
        expect![[r#"
        - aws-use1: excluded by spec.placement.exclude
        - azure-sea: spec.placement asks for no member: add `members` or `memberSelector` (`{}` is every member)
        - gcp-euw4: spec.placement asks for no member: add `members` or `memberSelector` (`{}` is every member)
    "#]],
    );
}

#[test]
fn what_means_nothing_is_refused_with_field_and_mend() {
    let expressions = |expression: Value| json!({"memberSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}, expression]}});
    let cases = [
        json!({"members": [], "memberSelector": {}}),
        expressions(json!({"key": "", "operator": "Exists"})),
        expressions(json!({"key": "env", "operator": "In"})),
        expressions(json!({"key": "env", "operator": "DoesNotExist", "values": ["x"]})),
    ];
    let said: String = cases.map(|case| format!("{}\n", placed(&league(), &placement(case)).unwrap_err())).concat();
    expect![[r#"
        spec.placement.memberSelector: members are named in spec.placement.members already: keep one of the two
        spec.placement.memberSelector.matchExpressions[1].key: it is empty: name a label
        spec.placement.memberSelector.matchExpressions[1].values: `In` and `NotIn` compare with values: add some, or use `Exists` or `DoesNotExist`
        spec.placement.memberSelector.matchExpressions[1].values: `Exists` and `DoesNotExist` take no values: leave them out, or use `In` or `NotIn`
    "#]].assert_eq(&said);
}

#[test]
fn a_namespace_that_must_be_federated_bounds_its_objects() {
    let all = || placed(&league(), &placement(json!({"memberSelector": {}, "exclude": ["azure-sea"]}))).unwrap();
    let namespace = BTreeSet::from(["aws-use1".parse().unwrap(), "azure-sea".parse().unwrap()]);
    let within = |namespace: Option<&BTreeSet<MemberName>>, policy| within_namespace(all(), namespace, policy);
    assert_eq!(within(Some(&namespace), NamespacePolicy::Create), all());
    assert_eq!(within(None, NamespacePolicy::Create), all());
    expect![[r#"
        + aws-use1: selected by spec.placement.memberSelector
        - azure-sea: excluded by spec.placement.exclude
        - gcp-euw4: its namespace is not federated to this member, which the Federation's spec requires: place the FederatedNamespace there too
    "#]].assert_eq(&told(&within(Some(&namespace), NamespacePolicy::RequireFederated)));
    expect![[r#"
        - aws-use1: its namespace is not federated to this member, which the Federation's spec requires: place the FederatedNamespace there too
        - azure-sea: excluded by spec.placement.exclude
        - gcp-euw4: its namespace is not federated to this member, which the Federation's spec requires: place the FederatedNamespace there too
    "#]].assert_eq(&told(&within(None, NamespacePolicy::RequireFederated)));
}

#[test]
fn reasons_are_data() {
    let placed = placed(
        &league(),
        &placement(json!({"memberSelector": {"matchLabels": {"cloud": "aws"}}, "exclude": ["nowhere"]})),
    )
    .unwrap();
    expect![[r#"
        {
          "members": [
            "aws-use1"
          ],
          "reasons": {
            "aws-use1": {
              "reason": "Selected"
            },
            "azure-sea": {
              "reason": "NotSelected",
              "mismatch": {
                "requirement": "cloud=aws",
                "has": "azure"
              }
            },
            "gcp-euw4": {
              "reason": "NotSelected",
              "mismatch": {
                "requirement": "cloud=aws"
              }
            },
            "nowhere": {
              "reason": "NotAMember",
              "field": "spec.placement.exclude[0]"
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&placed).unwrap());
}

proptest! {
    #[test]
    fn every_member_has_a_reason_that_fits(spec in any_spec(), placement in any_placement()) {
        let Ok(placed) = placed(&spec, &placement) else { return Ok(()) };
        for member in &spec.members {
            let reason = &placed.reasons[&member.name];
            prop_assert_eq!(reason.places(), placed.members.contains(&member.name));
        }
        for name in &placed.members {
            prop_assert!(spec.member(name).is_some());
            prop_assert!(!placement.exclude.contains(name));
        }
    }

    #[test]
    fn the_order_of_members_and_names_does_not_count(spec in any_spec(), placement in any_placement()) {
        let mut other = (spec.clone(), placement.clone());
        other.0.members.reverse();
        if let Some(names) = &mut other.1.members { names.reverse() }
        other.1.exclude.reverse();
        let members = |spec, placement| placed(spec, placement).map(|placed| placed.members);
        prop_assert_eq!(members(&spec, &placement), members(&other.0, &other.1));
    }

    /// A member that joins, leaves or is relabelled changes nobody else's placement.
    #[test]
    fn members_are_judged_one_by_one(spec in any_spec(), placement in any_placement()) {
        let Ok(all) = placed(&spec, &placement) else { return Ok(()) };
        for member in &spec.members {
            let alone = FederationSpec { members: vec![member.clone()], ..spec.clone() };
            let alone = placed(&alone, &placement).unwrap();
            prop_assert_eq!(&alone.reasons[&member.name], &all.reasons[&member.name]);
        }
    }

    #[test]
    fn a_namespace_only_takes_away_and_asking_twice_is_asking_once(
        spec in any_spec(), placement in any_placement(), namespace in any_placement(),
    ) {
        let (Ok(before), Ok(namespace)) = (placed(&spec, &placement), placed(&spec, &namespace)) else { return Ok(()) };
        let within = |placed: Placed| within_namespace(placed, Some(&namespace.members), spec.namespaces);
        let once = within(before.clone());
        prop_assert!(once.members.is_subset(&before.members));
        prop_assert_eq!(within(once.clone()), once);
    }
}
