//! Many values at once.

use super::{Case, Failure, Trial, Verdict, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

pub(super) const CASES: &[Case] = &[
    Case::new("list-empty", "nothing is listed where nothing is", |t| Box::pin(empty(t))),
    Case::new("list-prefix", "a list has the keys with the prefix and no others, sorted", |t| Box::pin(prefix(t))),
    Case::new("list-many", "a long list is whole, each key once", |t| Box::pin(many(t))),
    Case::new("read-many", "many values come in the order asked for", |t| Box::pin(read_many(t))),
];

async fn empty(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    for prefix in ["", "/", "/case"] {
        let found = client.list(prefix).await?;
        ensure!(found.is_empty(), "below {prefix:?} are {found:?}");
    }
    let found = client.read_many(&[]).await?;
    ensure!(found.is_empty(), "of no keys came {found:?}");
    Ok(Verdict::Passed)
}

async fn prefix(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let keys = [
        "/case/b",
        "/case/a/2",
        "/case/a/10",
        "/case/a",
        "/case/ab",
        "/case0",
        "/case",
        "/case!",
        "/case/ü/\u{10ffff}/x",
        "/case/ü/\u{10ffff}",
        "/case/ü",
        "/d",
    ];
    let mut stored = BTreeMap::new();
    for key in keys {
        stored.insert(key, client.created(key, key).await?);
    }
    let prefixes = ["", "/", "/case", "/case/", "/case/a", "/case/a/", "/case/a/1", "/case/ü/\u{10ffff}", "/x"];
    for prefix in prefixes {
        let listed = client.list(prefix).await?;
        let listed: Vec<_> =
            listed.iter().map(|e| (e.key.as_str(), &e.versioned.version, &e.versioned.value[..])).collect();
        let below = stored.iter().filter(|(key, _)| key.starts_with(prefix));
        let expected: Vec<_> = below.map(|(key, version)| (*key, version, key.as_bytes())).collect();
        ensure!(listed == expected, "below {prefix:?} are listed {listed:?}");
    }
    Ok(Verdict::Passed)
}

/// Creates `count` keys with values of `size` bytes; gives them.
async fn fill(t: &Trial<'_>, count: usize, size: usize) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let client = t.client().await?;
    let pairs = (0..count).map(|n| (format!("/case/{n:05}"), vec![n as u8; size])).collect();
    let writes = stream::iter(&pairs).map(Ok::<_, Failure>);
    writes
        .try_for_each_concurrent(32, |(key, value): (&String, &Vec<u8>)| {
            let client = client.clone();
            async move { client.created(key, value.clone()).await.map(|_| ()) }
        })
        .await?;
    Ok(pairs)
}

async fn many(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let pairs = fill(t, 500, 12_000).await?;
    let client = t.client().await?;
    let listed = client.list("/case/").await?;
    let keys: Vec<_> = listed.iter().map(|entry| &entry.key).collect();
    ensure!(keys == pairs.keys().collect::<Vec<_>>(), "of {} keys came {}", pairs.len(), keys.len());
    for entry in &listed {
        let right = pairs[&entry.key] == entry.versioned.value;
        ensure!(right, "{} was listed with another's value", entry.key);
    }
    Ok(Verdict::Passed)
}

async fn read_many(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let pairs = fill(t, 200, 500).await?;
    let client = t.client().await?;
    let mut keys: Vec<String> = pairs.keys().rev().cloned().collect();
    keys.insert(3, "/case/missing".into());
    keys.push(keys[0].clone());
    let found = client.read_many(&keys).await?;
    ensure!(found.len() == keys.len(), "of {} keys came {} answers", keys.len(), found.len());
    for (key, found) in keys.iter().zip(found) {
        let value = found.map(|found| found.value.to_vec());
        ensure!(value.as_ref() == pairs.get(key), "{key} came with another's value");
    }
    Ok(Verdict::Passed)
}
