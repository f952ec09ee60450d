//! `quorum:URL,URL,URL`.

use super::TopoUrl;
use super::parse::{Wrong, wrong};

const MEND: &str = "write quorum:URL,URL,URL with three, five or seven different stores, best in different clouds";

/// The stores behind `quorum:`.
pub(super) fn parse(rest: &str) -> Result<TopoUrl, Wrong> {
    if rest.is_empty() {
        return wrong("it names no stores", MEND);
    }
    let mut stores = Vec::new();
    for text in split(rest) {
        let number = stores.len() + 1;
        if text.starts_with("quorum:") {
            return wrong(format!("store {number} is itself a quorum"), "name the stores of both behind one quorum:");
        }
        match super::parse::parse(text) {
            Ok(store) if stores.contains(&store) || stores.iter().any(|other: &TopoUrl| alike(other, &store)) => {
                return wrong(format!("store {number} is the same as one before it, {store}"), MEND);
            }
            Ok(store) => stores.push(store),
            Err(Wrong { what, mend }) => return wrong(format!("store {number}: {what}"), mend),
        }
    }
    match stores.len() {
        1 => wrong("a quorum of one store is that store", MEND),
        count if count % 2 == 0 => {
            let lost = count / 2 - 1;
            let what = format!("of {count} stores {lost} may be lost, as of {}", count - 1);
            wrong(what, "name an odd number of stores")
        }
        _ => Ok(TopoUrl::Quorum { stores }),
    }
}

/// Whether two URLs name one place, whatever their options.
fn alike(one: &TopoUrl, other: &TopoUrl) -> bool {
    one.to_string() == other.to_string()
}

/// The URLs: a comma ends one where a scheme follows.
fn split(rest: &str) -> Vec<&str> {
    let begins = rest.match_indices(',').map(|(at, _)| at).filter(|at| begins_with_scheme(&rest[at + 1..]));
    let mut parts = Vec::new();
    let mut from = 0;
    for at in begins {
        parts.push(&rest[from..at]);
        from = at + 1;
    }
    parts.push(&rest[from..]);
    parts
}

/// A scheme, and not a host with its port.
fn begins_with_scheme(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let word = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    word && (rest.starts_with("//") || matches!(scheme, "memory" | "sqlite" | "quorum"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let shown = match text.parse::<TopoUrl>() {
            Ok(url) => format!("{url}\n"),
            Err(error) => format!("{error}\n"),
        };
        assert!(!shown.contains("hunter"), "a password is shown: {shown}");
        expected.assert_eq(&shown);
    }

    #[test]
    fn stores_are_joined_by_commas() {
        check(
            "quorum:sqlite:/a/topo.db,sqlite:/b/topo.db?changes-kept=5,memory:c",
            expect![[r#"
                quorum:sqlite:/a/topo.db,sqlite:/b/topo.db,memory:c
            "#]],
        );
        check(
            "quorum:etcds://me:hunter2@h1,h2:2380/a?timeout=2s,etcd://[::1]:7,g/b,sqlite:x,y.db",
            expect![[r#"
                quorum:etcds://me@h1:2379,h2:2380/a,etcd://[::1]:7,g:2379/b,sqlite:x,y.db
            "#]],
        );
    }

    #[test]
    fn wrong_ones_say_what_is_wrong() {
        check(
            "quorum:",
            expect![[r#"
                URL "quorum:": it names no stores; write quorum:URL,URL,URL with three, five or seven different stores, best in different clouds
            "#]],
        );
        check(
            "quorum:memory:a",
            expect![[r#"
                URL "quorum:memory:a": a quorum of one store is that store; write quorum:URL,URL,URL with three, five or seven different stores, best in different clouds
            "#]],
        );
        check(
            "quorum:memory:a,memory:b",
            expect![[r#"
                URL "quorum:memory:a,memory:b": of 2 stores 0 may be lost, as of 1; name an odd number of stores
            "#]],
        );
        check(
            "quorum:memory:a,memory:b,memory:c,memory:d",
            expect![[r#"
                URL "quorum:memory:a,memory:b,memory:c,memory:d": of 4 stores 1 may be lost, as of 3; name an odd number of stores
            "#]],
        );
        check(
            "quorum:memory:a,memory:b,memory:a?changes-kept=7",
            expect![[r#"
                URL "quorum:memory:a,memory:b,memory:a?changes-kept=7": store 3 is the same as one before it, memory:a; write quorum:URL,URL,URL with three, five or seven different stores, best in different clouds
            "#]],
        );
        check(
            "quorum:memory:a,quorum:memory:b,memory:c",
            expect![[r#"
                URL "quorum:memory:a,quorum:memory:b,memory:c": store 2 is itself a quorum; name the stores of both behind one quorum:
            "#]],
        );
        check(
            "quorum:memory:a,etcd://me:hunter2@h/p,etcd://h",
            expect![[r#"
                URL "quorum:***@h/p,etcd://h": store 3: the prefix is missing, below which the league keeps its keys; add one behind the hosts, like /hansa
            "#]],
        );
        check(
            "quorum:a.db,b.db,c.db",
            expect![[r#"
                URL "quorum:a.db,b.db,c.db": store 1: it has no scheme; for a file write sqlite:a.db,b.db,c.db
            "#]],
        );
    }
}
