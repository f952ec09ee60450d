//! Single values: reading, creating, comparing and swapping.

use super::{Case, Failure, Trial, Verdict, ensure};
use crate::error::Category;
use crate::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use bytes::Bytes;
use hansa_ledger::Version;
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = &[
    Case::new("missing", "a key that was never written is missing", |t| Box::pin(missing(t))),
    Case::new("create", "a created key has its value and version", |t| Box::pin(create(t))),
    Case::new("create-existing", "a key is created once; who comes later is told what stands there", |t| {
        Box::pin(create_existing(t))
    }),
    Case::new("update", "a value is replaced at its version", |t| Box::pin(update(t))),
    Case::new("old-version", "an old version does not match, and what stands there is told", |t| {
        Box::pin(old_version(t))
    }),
    Case::new("update-missing", "an update of a missing key is a mismatch, and makes nothing", |t| {
        Box::pin(update_missing(t))
    }),
    Case::new("made-up-version", "a version that is not the key's never matches", |t| Box::pin(made_up_version(t))),
    Case::new("equal-bytes", "each write changes the version, also of equal bytes", |t| Box::pin(equal_bytes(t))),
    Case::new("aba", "a value that came back has another version", |t| Box::pin(aba(t))),
    Case::new("bytes", "empty values and all bytes are kept", |t| Box::pin(bytes(t))),
    Case::new("largest-value", "the largest allowed value is kept", |t| Box::pin(largest_value(t))),
    Case::new("oversize-value", "a larger value is refused, and changes nothing", |t| Box::pin(oversize_value(t))),
    Case::new("unusual-keys", "every allowed key is kept apart from its neighbours", |t| Box::pin(unusual_keys(t))),
    Case::new("bad-keys", "what is no key is refused", |t| Box::pin(bad_keys(t))),
    Case::new("read-your-write", "an acknowledged write is seen at once by every client", |t| {
        Box::pin(read_your_write(t))
    }),
    Case::new("spaces-apart", "stores with different names do not see each other", |t| Box::pin(spaces_apart(t))),
    Case::new("counted", "calls and bytes are counted", |t| Box::pin(counted(t))),
];

async fn missing(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let found = client.get("/case/nothing").await?;
    ensure!(found.is_none(), "it found {found:?}");
    Ok(Verdict::Passed)
}

async fn create(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let version = client.created("/case/a", "one").await?;
    let found = client.there("/case/a").await?;
    ensure!(found.value == "one" && found.version == version, "it found {found:?}");
    Ok(Verdict::Passed)
}

async fn create_existing(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let version = client.created("/case/a", "one").await?;
    let current = client.mismatched("/case/a", None, "two").await?;
    let right = |found: &hansa_ledger::Versioned| found.value == "one" && found.version == version;
    ensure!(current.as_ref().is_some_and(right), "the mismatch told {current:?}");
    let found = client.there("/case/a").await?;
    ensure!(right(&found), "after the refused create stands {found:?}");
    Ok(Verdict::Passed)
}

async fn update(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let mut version = client.created("/case/a", "0").await?;
    for round in 1..=10 {
        let value = format!("value {round}");
        version = client.updated("/case/a", &version, value.clone()).await?;
        let found = client.there("/case/a").await?;
        ensure!(found.value == value && found.version == version, "it found {found:?}");
    }
    Ok(Verdict::Passed)
}

async fn old_version(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let first = client.created("/case/a", "one").await?;
    let second = client.updated("/case/a", &first, "two").await?;
    let current = client.mismatched("/case/a", Some(&first), "three").await?;
    let right = |found: &hansa_ledger::Versioned| found.value == "two" && found.version == second;
    ensure!(current.as_ref().is_some_and(right), "the mismatch told {current:?}");
    let found = client.there("/case/a").await?;
    ensure!(right(&found), "after the refused update stands {found:?}");
    Ok(Verdict::Passed)
}

async fn update_missing(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let version = client.created("/case/other", "one").await?;
    let current = client.mismatched("/case/a", Some(&version), "two").await?;
    ensure!(current.is_none(), "the mismatch told {current:?}");
    let found = client.get("/case/a").await?;
    ensure!(found.is_none(), "the refused update made {found:?}");
    Ok(Verdict::Passed)
}

async fn made_up_version(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let version = client.created("/case/a", "one").await?;
    let other = client.created("/case/b", "other").await?;
    let padded = [format!("0{version}"), format!("+{version}"), format!("{version} ")];
    let plain = ["", "0", "1.5", "-1", "nonsense", "\"\"", "99999999999999999999999999"];
    let made_up = padded.into_iter().chain(plain.map(str::to_owned)).map(Version::new);
    for wrong in made_up.chain([other]) {
        let current = client.mismatched("/case/a", Some(&wrong), "two").await?;
        ensure!(current.is_some_and(|c| c.version == version), "{wrong:?} was compared wrongly");
        let current = client.mismatched("/case/missing", Some(&wrong), "two").await?;
        ensure!(current.is_none(), "{wrong:?} on a missing key told {current:?}");
    }
    Ok(Verdict::Passed)
}

async fn equal_bytes(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let mut version = client.created("/case/a", "same").await?;
    let mut seen = BTreeSet::from([version.clone()]);
    for _ in 0..10 {
        version = client.updated("/case/a", &version, "same").await?;
        ensure!(seen.insert(version.clone()), "the version {version:?} came twice");
    }
    Ok(Verdict::Passed)
}

async fn aba(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let first = client.created("/case/a", "A").await?;
    let second = client.updated("/case/a", &first, "B").await?;
    let third = client.updated("/case/a", &second, "A").await?;
    ensure!(first != third, "the version {first:?} came back with the value");
    client.mismatched("/case/a", Some(&first), "C").await?;
    let found = client.there("/case/a").await?;
    ensure!(found.value == "A" && found.version == third, "it found {found:?}");
    Ok(Verdict::Passed)
}

async fn bytes(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let all: Vec<u8> = (0..=u8::MAX).cycle().take(70_000).collect();
    let version = client.created("/case/a", Bytes::new()).await?;
    let found = client.there("/case/a").await?;
    ensure!(found.value.is_empty() && found.version == version, "instead of nothing: {found:?}");
    let version = client.updated("/case/a", &version, all.clone()).await?;
    let found = client.there("/case/a").await?;
    ensure!(found.value == all, "of all bytes came back others");
    client.updated("/case/a", &version, Bytes::new()).await?;
    let found = client.there("/case/a").await?;
    ensure!(found.value.is_empty(), "instead of nothing: {found:?}");
    Ok(Verdict::Passed)
}

async fn largest_value(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let large = Bytes::from(vec![0xa5; MAX_VALUE_BYTES]);
    let larger_key = format!("/case/{}", "k".repeat(MAX_KEY_BYTES - "/case/".len()));
    let version = client.created(&larger_key, "small").await?;
    let version = client.updated(&larger_key, &version, large.clone()).await?;
    let found = client.there(&larger_key).await?;
    ensure!(found.value == large && found.version == version, "it was not kept");
    client.created("/case/b", large.clone()).await?;
    let entries = client.list("/case").await?;
    let whole = entries.iter().filter(|entry| entry.versioned.value == large).count();
    ensure!(whole == 2, "a list told {whole} of 2 large values whole");
    Ok(Verdict::Passed)
}

async fn oversize_value(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let version = client.created("/case/a", "one").await?;
    for (key, expected) in [("/case/a", Some(&version)), ("/case/b", None)] {
        match client.swap(key, expected, vec![0; MAX_VALUE_BYTES + 1]).await {
            Err(error) if error.category() == Category::TooLarge => {}
            other => return Err(format!("writing {key} ended as {other:?}").into()),
        }
    }
    let found = client.there("/case/a").await?;
    ensure!(found.version == version, "it left {:?}", found.version);
    let found = client.get("/case/b").await?;
    ensure!(found.is_none(), "it made a key");
    Ok(Verdict::Passed)
}

async fn unusual_keys(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let longest = format!("/{}", "k".repeat(MAX_KEY_BYTES - 1));
    let keys = [
        "/case",
        "/case/",
        "/Case",
        "/case-",
        "/case0",
        "/case/a",
        "/case/A",
        "/case/a b",
        "/case/a%20b",
        "/case/a'b\"c",
        "/case/a_b",
        "/case/a*?[]",
        "/case/...",
        "/case/ü",
        "/case/u\u{308}",
        "/case/\u{10ffff}",
        "/case/\u{e000}",
        "/case/:;,=&#@!$()+~",
        "/case/back\\slash",
        &longest,
    ];
    let keys: Vec<_> = keys.into_iter().filter(|key| !key.ends_with('/')).collect();
    for key in &keys {
        client.created(key, format!("value of {key}")).await?;
    }
    for key in &keys {
        let found = client.there(key).await?;
        ensure!(found.value == format!("value of {key}"), "{key:?} has the value {:?}", found.value);
    }
    let listed: Vec<_> = client.list("").await?.into_iter().map(|entry| entry.key).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    ensure!(listed == sorted, "they are listed as {listed:?}");
    Ok(Verdict::Passed)
}

async fn bad_keys(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let too_long = format!("/{}", "k".repeat(MAX_KEY_BYTES));
    let bad = ["", "case", "/", "/case/", "//case", "/case//a", "/case/../a", "/./a", "/case/\n", "/a\0", &too_long];
    for key in bad {
        let refused = [
            client.get(key).await.err(),
            client.swap(key, None, "one").await.err(),
            client.swap(key, Some(&Version::new("1")), "one").await.err(),
            client.read_many(&[key.to_owned()]).await.err(),
        ];
        for error in refused {
            let category = error.as_ref().map(|error| error.category());
            ensure!(category == Some(Category::InvalidKey), "{key:?} gave {error:?}");
        }
    }
    let error = client.list("case").await.err().map(|error| error.category());
    ensure!(error == Some(Category::InvalidKey), "the prefix \"case\" gave {error:?}");
    let all = client.list("").await?;
    ensure!(all.is_empty(), "there are {all:?}");
    Ok(Verdict::Passed)
}

async fn read_your_write(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let clients = t.clients(3).await?;
    let mut version = clients[0].created("/case/a", "0").await?;
    for round in 1..=30 {
        let value = round.to_string();
        let writer = &clients[round % clients.len()];
        version = writer.updated("/case/a", &version, value.clone()).await?;
        let keys = ["/case/a".to_owned()];
        for reader in &clients {
            let found = reader.there("/case/a").await?;
            ensure!(found.version == version, "round {round}: a get found {found:?}");
            let listed = reader.list("/case").await?;
            ensure!(listed[0].versioned == found, "round {round}: a list told {listed:?}");
            let many = reader.read_many(&keys).await?;
            ensure!(many[0].as_ref() == Some(&found), "round {round}: of many came {many:?}");
        }
    }
    Ok(Verdict::Passed)
}

async fn spaces_apart(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    // A longer name that begins with this one's, as one prefix with another.
    let other = t.subject.client("spaces-apart-other").await?;
    let cursor = client.now().await?;
    let stranger = super::client::Client::new(other);
    stranger.created("/case/a", "theirs").await?;
    let found = client.get("/case/a").await?;
    ensure!(found.is_none(), "it found another store's {found:?}");
    let all = client.list("").await?;
    ensure!(all.is_empty(), "it listed another store's {all:?}");
    client.created("/case/b", "ours").await?;
    let mut told = std::collections::BTreeMap::new();
    client.follow(cursor, &mut told, |told| told.contains_key("/case/b")).await?;
    ensure!(told.len() == 1, "it was told {told:?}");
    Ok(Verdict::Passed)
}

async fn counted(t: &Trial<'_>) -> Result<Verdict, Failure> {
    use crate::usage::Operation::{Create, Get, List};
    let client = t.client().await?;
    client.created("/case/a", "four").await?;
    client.there("/case/a").await?;
    client.list("/case").await?;
    let _ = client.get("bad").await;
    let usage = client.topo().usage();
    let created = usage.of(Create);
    ensure!(created.calls > 0 && created.requests > 0, "of creates are counted {created:?}");
    ensure!(created.written_bytes % 11 == 0 && created.written_bytes > 0, "{created:?}");
    ensure!(usage.of(Get).read_bytes >= 4 && usage.of(Get).errors > 0, "{:?}", usage.of(Get));
    ensure!(usage.of(List).read_bytes >= 11, "{:?}", usage.of(List));
    let findings = client.topo().check().await;
    ensure!(findings.is_ok_and(|found| !found.is_empty()), "a look at the server found nothing");
    Ok(Verdict::Passed)
}
