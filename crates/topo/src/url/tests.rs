use super::*;
use expect_test::{Expect, expect};

pub(super) fn check(text: &str, expected: Expect) {
    let shown = match text.parse::<TopoUrl>() {
        Ok(url) => format!("{url}\n{url:?}\n"),
        Err(error) => format!("{error}\n"),
    };
    assert!(!shown.contains("hunter"), "a password is shown: {shown}");
    expected.assert_eq(&shown);
}

#[test]
fn good_urls() {
    check(
        "memory:trial-1",
        expect![[r#"
        memory:trial-1
        Memory { name: "trial-1", changes_kept: None }
    "#]],
    );
    check(
        "sqlite:topo.db?changes-kept=100",
        expect![[r#"
        sqlite:topo.db
        Sqlite { path: "topo.db", changes_kept: Some(100) }
    "#]],
    );
    check(
        "sqlite:///var/lib/with%20space.db",
        expect![[r#"
        sqlite:/var/lib/with space.db
        Sqlite { path: "/var/lib/with space.db", changes_kept: None }
    "#]],
    );
    check(
        "etcd://127.0.0.1/hansa",
        expect![[r#"
        etcd://127.0.0.1:2379/hansa
        Etcd(EtcdUrl { tls: false, endpoints: ["127.0.0.1:2379"], prefix: "/hansa", user: None, password: None, password_file: None, ca: None, cert: None, key: None, server_name: None, timeout: 5s })
    "#]],
    );
    check(
        "etcds://root:hunter%2F2@a.example:2380,[::1]:7,[fe80::1]/prod/hansa/?ca=/ca.pem&cert=c.pem&key=k.pem&server-name=etcd&timeout=250ms",
        expect![[r#"
            etcds://root@a.example:2380,[::1]:7,[fe80::1]:2379/prod/hansa
            Etcd(EtcdUrl { tls: true, endpoints: ["a.example:2380", "[::1]:7", "[fe80::1]:2379"], prefix: "/prod/hansa", user: Some("root"), password: Some(***), password_file: None, ca: Some("/ca.pem"), cert: Some("c.pem"), key: Some("k.pem"), server_name: Some("etcd"), timeout: 250ms })
        "#]],
    );
    check(
        "etcd://h:1/p?user=me&password-file=/run/secret",
        expect![[r#"
        etcd://me@h:1/p
        Etcd(EtcdUrl { tls: false, endpoints: ["h:1"], prefix: "/p", user: Some("me"), password: None, password_file: Some("/run/secret"), ca: None, cert: None, key: None, server_name: None, timeout: 5s })
    "#]],
    );
}

#[test]
fn urls_without_a_known_scheme() {
    check(
        "",
        expect![[r#"
            URL "": it has no scheme; use memory:NAME, sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or quorum:URL,URL,URL
        "#]],
    );
    check(
        "/var/lib/topo.db",
        expect![[r#"
        URL "/var/lib/topo.db": it has no scheme; for a file write sqlite:/var/lib/topo.db
    "#]],
    );
    check(
        "localhost:2379",
        expect![[r#"
        URL "localhost:2379": it has no scheme; for etcd write etcd://localhost:2379/hansa
    "#]],
    );
    check(
        "https://localhost:2379",
        expect![[r#"
            URL "https://localhost:2379": https:// names no kind of topology server; for etcd write etcd://HOST:PORT/PREFIX, or etcds:// over TLS; for an object store s3://, gs:// or az:// with endpoint=URL
        "#]],
    );
    check(
        "redis://h/1",
        expect![[r#"
            URL "redis://h/1": the scheme "redis" is not known; use memory:NAME, sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or quorum:URL,URL,URL
        "#]],
    );
}

#[test]
fn wrong_files_and_names() {
    check(
        "memory:",
        expect![[r#"
        URL "memory:": "" is no name for a server in memory; use letters, digits, '.', '_' and '-', like memory:trial
    "#]],
    );
    check(
        "memory://x",
        expect![[r#"
        URL "memory://x": "//x" is no name for a server in memory; use letters, digits, '.', '_' and '-', like memory:trial
    "#]],
    );
    check(
        "sqlite:",
        expect![[r#"
        URL "sqlite:": it names no file; write sqlite:PATH, like sqlite:/var/lib/hansa/topo.db
    "#]],
    );
    check(
        "sqlite:dir/",
        expect![[r#"
        URL "sqlite:dir/": it names no file; write sqlite:PATH, like sqlite:/var/lib/hansa/topo.db
    "#]],
    );
    check(
        "sqlite://dir/file",
        expect![[r#"
        URL "sqlite://dir/file": after sqlite:// a host name would stand, and a file has none; write sqlite:dir/file or sqlite:/dir/file
    "#]],
    );
    check(
        "sqlite::memory:",
        expect![[r#"
        URL "sqlite::memory:": a file is needed; for a server in memory write memory:NAME
    "#]],
    );
    check(
        "sqlite:a%zz",
        expect![[r#"
        URL "sqlite:a%zz": "a%zz" has a % that is not followed by two hexadecimal digits of UTF-8; write % itself as %25
    "#]],
    );
    check(
        "sqlite:a?changes-kept=0",
        expect![[r#"
        URL "sqlite:a?changes-kept=0": changes-kept=0 is no number above zero; write one like changes-kept=65536
    "#]],
    );
    check(
        "sqlite:a?changes-kept=1&changes-kept=2",
        expect![[r#"
        URL "sqlite:a?changes-kept=1&changes-kept=2": the option "changes-kept" is given twice; leave out one of them
    "#]],
    );
    check(
        "sqlite:a?cache=shared",
        expect![[r#"
        URL "sqlite:a?cache=shared": the option "cache" is not known for sqlite; the options are changes-kept
    "#]],
    );
    check(
        "sqlite:a?wal",
        expect![[r#"
        URL "sqlite:a?wal": the option "wal" has no value; write NAME=VALUE
    "#]],
    );
}

#[test]
fn wrong_etcd_urls() {
    check(
        "etcd:h:1/p",
        expect![[r#"
        URL "etcd:h:1/p": // is missing after etcd:; write etcd://HOST:PORT/PREFIX
    "#]],
    );
    check(
        "etcd://h:1",
        expect![[r#"
        URL "etcd://h:1": the prefix is missing, below which the league keeps its keys; add one behind the hosts, like /hansa
    "#]],
    );
    check(
        "etcd:///p",
        expect![[r#"
        URL "etcd:///p": "" is no host; write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas
    "#]],
    );
    check(
        "etcd://h:1//p",
        expect![[r#"
        URL "etcd://h:1//p": the prefix "//p" is not usable; use one like /hansa or /prod/hansa
    "#]],
    );
    check(
        "etcd://h:0/p",
        expect![[r#"
        URL "etcd://h:0/p": "0" is no port; write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas
    "#]],
    );
    check(
        "etcd://h:x/p",
        expect![[r#"
        URL "etcd://h:x/p": "x" is no port; write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas
    "#]],
    );
    check(
        "etcd://[::1/p",
        expect![[r#"
        URL "etcd://[::1/p": "[" is no host; write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas
    "#]],
    );
    check(
        "etcd://[zz]:1/p",
        expect![[r#"
        URL "etcd://[zz]:1/p": "zz" is no IPv6 address; write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas
    "#]],
    );
    check(
        "etcd://h:1,,g:2/p",
        expect![[r#"
        URL "etcd://h:1,,g:2/p": "" is no host; write HOST or HOST:PORT, IPv6 addresses in brackets, several joined by commas
    "#]],
    );
    check(
        "etcd://h:1/p?timeout=5",
        expect![[r#"
        URL "etcd://h:1/p?timeout=5": "5" is no duration above zero; write one like timeout=5s or timeout=250ms
    "#]],
    );
    check(
        "etcd://h:1/p?ca=/ca.pem",
        expect![[r#"
        URL "etcd://h:1/p?ca=/ca.pem": ca=, cert=, key= and server-name= are for TLS, and etcd:// is a plain connection; write etcds://
    "#]],
    );
    check(
        "etcds://h:1/p?cert=/c.pem",
        expect![[r#"
        URL "etcds://h:1/p?cert=/c.pem": cert= and key= need each other; give both, or none
    "#]],
    );
    check(
        "etcd://me@h:1/p?user=you",
        expect![[r#"
        URL "etcd://***@h:1/p?user=you": the user is named twice; leave out user= or what stands before the @
    "#]],
    );
    check(
        "etcd://me:hunter2@h:1/p?password-file=x",
        expect![[r#"
        URL "etcd://***@h:1/p?password-file=x": there is a password and a password-file; leave out one of them
    "#]],
    );
    check(
        "etcd://h:1/p?lease=3",
        expect![[r#"
        URL "etcd://h:1/p?lease=3": the option "lease" is not known for etcd; the options are timeout, user, password-file, ca, cert, key, server-name
    "#]],
    );
}

#[test]
fn a_torn_password_is_not_shown() {
    check(
        "etcd://me:hunter/2@h:1/p",
        expect![[r#"
        URL "etcd://***@h:1/p": there is an @ behind the hosts; write each / : , ? # % & @ in a user or password as %XX, or give the password in a file
    "#]],
    );
    check(
        "etcd://me:hunter?2@h:1/p",
        expect![[r#"
        URL "etcd://***@h:1/p": there is an @ behind the hosts; write each / : , ? # % & @ in a user or password as %XX, or give the password in a file
    "#]],
    );
    check(
        "etcd://me:hunter@2@h:1/p",
        expect![[r#"
        URL "etcd://***@h:1/p": what stands before the last @ is not USER or USER:PASSWORD; write each / : , ? # % & @ in a user or password as %XX, or give the password in a file
    "#]],
    );
    check(
        "etcd://me:hunter%2@h:1/p",
        expect![[r#"
        URL "etcd://***@h:1/p": a % in the password is not followed by two hexadecimal digits; write each / : , ? # % & @ in a user or password as %XX, or give the password in a file
    "#]],
    );
    check(
        "etcd://me:hunter:2@h:1/p",
        expect![[r#"
        URL "etcd://***@h:1/p": what stands before the last @ is not USER or USER:PASSWORD; write each / : , ? # % & @ in a user or password as %XX, or give the password in a file
    "#]],
    );
    check(
        "etcd://:hunter2@h:1/p",
        expect![[r#"
        URL "etcd://***@h:1/p": what stands before the last @ is not USER or USER:PASSWORD; write each / : , ? # % & @ in a user or password as %XX, or give the password in a file
    "#]],
    );
    check(
        "postgres://me:hunter2@h:1/p",
        expect![[r#"
            URL "postgres://***@h:1/p": the scheme "postgres" is not known; use memory:NAME, sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://HOST:PORT/PREFIX, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or quorum:URL,URL,URL
        "#]],
    );
    check(
        "etcd:me:hunter2@h:1/p",
        expect![[r#"
        URL "etcd:***@h:1/p": // is missing after etcd:; write etcd://HOST:PORT/PREFIX
    "#]],
    );
}
