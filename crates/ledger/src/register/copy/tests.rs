use super::*;
use crate::register::ProposerId;
use expect_test::{Expect, expect};

fn ballot(counter: u64) -> Ballot {
    Ballot { counter, proposer: ProposerId { incarnation: 0xabc, name: "aws-use1".into() } }
}

fn example(content: Content) -> Copy {
    let (version, parent) = (Version::new("3-0000000000000abc.7"), Some(Version::new("2-0000000000000abc.6")));
    Copy {
        key: "/v1/control".into(),
        epoch: 2,
        promised: ballot(12),
        accepted: Some(Accepted { ballot: ballot(11), state: State { revision: 3, version, parent, content } }),
        high_water: BTreeMap::from([(StoreId::new("one"), ballot(11))]),
    }
}

fn check(copy: &Copy, expected: Expect) {
    let stored = copy.encode();
    expected.assert_eq(&String::from_utf8_lossy(&stored));
    assert_eq!(Copy::decode_for(&copy.key, &stored).as_ref(), Ok(copy));
}

// What stands in the stores of leagues: a change of these is a new format.
#[test]
fn copies_are_one_line_and_the_value() {
    check(
        &example(Content::Inline(Bytes::from_static(b"two\nlines"))),
        expect![[r#"
            {"format":1,"key":"/v1/control","epoch":2,"promised":"12.0000000000000abc.aws-use1","accepted":{"ballot":"11.0000000000000abc.aws-use1","revision":3,"version":"3-0000000000000abc.7","parent":"2-0000000000000abc.6","bytes":9},"high_water":{"one":"11.0000000000000abc.aws-use1"}}
            two
            lines"#]],
    );
    let blob = Content::Blob { hash: Hash::of_bytes(b"large"), bytes: 1 << 20 };
    check(
        &example(blob),
        expect![[r#"
            {"format":1,"key":"/v1/control","epoch":2,"promised":"12.0000000000000abc.aws-use1","accepted":{"ballot":"11.0000000000000abc.aws-use1","revision":3,"version":"3-0000000000000abc.7","parent":"2-0000000000000abc.6","bytes":1048576,"blob":"6d7c674e5919ac828992537064a1efe41e7cbcb0505ec07fea06c64c9935a8d4"},"high_water":{"one":"11.0000000000000abc.aws-use1"}}
        "#]],
    );
    let promise = Copy { accepted: None, high_water: BTreeMap::new(), ..example(Content::Inline(Bytes::new())) };
    check(
        &promise,
        expect![[r#"
            {"format":1,"key":"/v1/control","epoch":2,"promised":"12.0000000000000abc.aws-use1"}
        "#]],
    );
}

#[test]
fn what_is_no_copy_is_refused() {
    let stored = example(Content::Inline(Bytes::from_static(b"value"))).encode();
    let refused = |bytes: &[u8]| Copy::decode(&Bytes::copy_from_slice(bytes)).unwrap_err();
    assert!(matches!(refused(b""), CopyError::Header(_)));
    assert!(matches!(refused(b"{\"format\":1}\n"), CopyError::Header(_)));
    assert_eq!(refused(b"{\"format\":9,\"more\":1}\n"), CopyError::Format(9));
    assert_eq!(refused(&stored[..stored.len() - 1]), CopyError::Length { expected: 5, found: 4 });
    for end in 0..stored.len() {
        refused(&stored[..end]);
    }
    let other = Copy::decode_for("/v1/other", &stored).unwrap_err();
    assert!(other.to_string().contains("/v1/control") && other.to_string().contains("/v1/other"), "{other}");
}
