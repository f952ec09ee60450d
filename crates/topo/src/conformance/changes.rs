//! Following what changes.

use super::client::Client;
use super::{Case, Failure, Trial, Verdict, ensure};
use crate::contract::{Changes, Cursor};
use futures::future::{join_all, try_join_all};
use futures::poll;
use hansa_ledger::Version;
use std::collections::BTreeMap;
use std::pin::pin;

pub(super) const CASES: &[Case] = &[
    Case::new("changes-told", "creations and updates are told, with their versions", |t| Box::pin(told(t))),
    Case::new("changes-wait", "who waits is told as soon as there is something", |t| Box::pin(wait(t))),
    Case::new("changes-cancelled", "a wait that is cancelled loses nothing", |t| Box::pin(cancelled(t))),
    Case::new("changes-resumed", "a cursor goes on where it was, also at another client", |t| Box::pin(resumed(t))),
    Case::new("changes-all", "nothing is left out while several write", |t| Box::pin(all(t))),
    Case::new("changes-many-followers", "everyone who waits is told", |t| Box::pin(followers(t))),
    Case::new("changes-forgotten", "what is forgotten is a reset with a cursor that works", |t| Box::pin(forgotten(t))),
    Case::new("changes-unknown-cursor", "an unknown cursor is a reset", |t| Box::pin(unknown_cursor(t))),
];

async fn told(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    client.created("/case/before", "one").await?;
    let cursor = client.now().await?;
    let mut told = BTreeMap::new();
    let first = client.created("/case/a", "one").await?;
    let cursor = client.follow(cursor, &mut told, |told| told.contains_key("/case/a")).await?;
    ensure!(told["/case/a"] == first, "a creation at {first:?} was told as {told:?}");
    let second = client.updated("/case/a", &first, "two").await?;
    let is_second = |told: &BTreeMap<_, _>| told.get("/case/a") == Some(&second);
    client.follow(cursor, &mut told, is_second).await?;
    Ok(Verdict::Passed)
}

async fn wait(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let (follower, writer) = (t.client().await?, t.client().await?);
    let cursor = follower.now().await?;
    let mut version = writer.created("/case/a", "0").await?;
    let mut told = BTreeMap::new();
    let mut cursor = follower.follow(cursor, &mut told, |told| !told.is_empty()).await?;
    for round in 1..=10 {
        // Now there is nothing to tell: the wait must not end before the next write.
        let target = version.clone();
        let from = cursor.clone();
        let follower = &follower;
        let mut waiting = Box::pin(async move {
            let mut told = BTreeMap::new();
            let news = |told: &BTreeMap<String, Version>| told.get("/case/a").is_some_and(|v| *v != target);
            follower.follow(from, &mut told, news).await.map(|next| (next, told))
        });
        // Gives the wait time for a round trip.
        for _ in 0..3 {
            ensure!(poll!(&mut waiting).is_pending(), "a wait ended without a change");
            writer.there("/case/a").await?;
        }
        version = writer.updated("/case/a", &version, round.to_string()).await?;
        let (next, told) = waiting.await?;
        ensure!(told["/case/a"] == version, "round {round}: {told:?} instead of {version:?}");
        cursor = next;
    }
    Ok(Verdict::Passed)
}

async fn cancelled(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let (follower, writer) = (t.client().await?, t.client().await?);
    let cursor = follower.now().await?;
    for round in 0..8 {
        {
            let mut waiting = pin!(follower.changes(Some(&cursor)));
            // Abandoned before, while and after there is something to tell.
            let early = poll!(&mut waiting).is_ready();
            writer.created(&format!("/case/{round}"), "one").await?;
            if !early {
                let _ = poll!(&mut waiting);
            }
        }
        // Not only until the last one is told: the answers need not come in the order of the writes.
        let mut told = BTreeMap::new();
        follower.follow(cursor.clone(), &mut told, |told| told.len() > round).await?;
    }
    Ok(Verdict::Passed)
}

async fn resumed(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let writer = t.client().await?;
    let mut cursor = writer.now().await?;
    for round in 0..6 {
        let key = format!("/case/{round}");
        writer.created(&key, "one").await?;
        // Kept as text, and taken up by somebody new.
        let kept = Cursor::new(cursor.as_str());
        let mut told = BTreeMap::new();
        let follower = t.client().await?;
        cursor = follower.follow(kept, &mut told, |told| told.contains_key(&key)).await?;
    }
    Ok(Verdict::Passed)
}

async fn all(t: &Trial<'_>) -> Result<Verdict, Failure> {
    const WRITERS: usize = 4;
    const KEYS: usize = 12;
    let follower = t.client().await?;
    let cursor = follower.now().await?;
    let writers = t.clients(WRITERS).await?;
    let writing = writers.iter().enumerate().map(|(me, client)| async move {
        let mut last = Vec::new();
        for n in 0..KEYS {
            let key = format!("/case/{me}/{n}");
            let first = client.created(&key, "one").await?;
            let version = client.updated(&key, &first, "two").await?;
            last.push((key, version));
        }
        Ok::<_, Failure>(last)
    });
    let following = async {
        // Until the last version of every key was told: a version lists after its predecessor.
        let mut told: BTreeMap<String, Version> = BTreeMap::new();
        let cursor = follower.follow(cursor, &mut told, |told| told.len() == WRITERS * KEYS).await?;
        Ok((cursor, told))
    };
    let (written, (cursor, mut told)) = futures::try_join!(try_join_all(writing), following)?;
    let written: BTreeMap<_, _> = written.into_iter().flatten().collect();
    follower.follow(cursor, &mut told, |told| *told == written).await?;
    Ok(Verdict::Passed)
}

async fn followers(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let writer = t.client().await?;
    let clients = t.clients(4).await?;
    let cursor = writer.now().await?;
    let one = |client: Client| {
        let cursor = cursor.clone();
        async move {
            let mut told = BTreeMap::new();
            client.follow(cursor, &mut told, |told| told.contains_key("/case/a")).await.is_ok()
        }
    };
    // Several waits at one client, too.
    let waits = join_all(clients.iter().cycle().take(12).cloned().map(one));
    let mut waits = pin!(waits);
    ensure!(poll!(&mut waits).is_pending(), "waits ended without a change");
    writer.created("/case/a", "one").await?;
    let told = waits.await;
    ensure!(told.iter().all(|told| *told), "of those who waited were told {told:?}");
    Ok(Verdict::Passed)
}

async fn forgotten(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    let old = client.now().await?;
    client.created("/case/a", "one").await?;
    if !t.subject.forget_changes(t.space).await? {
        return Ok(Verdict::Skipped("this server cannot be made to forget from here".into()));
    }
    // Another client, too, which has not followed so far.
    for follower in [t.client().await?, client.clone()] {
        let cursor = match follower.changes(Some(&old)).await? {
            Changes::Reset { cursor } => cursor,
            Changes::Keys { keys, .. } => {
                return Err(format!("what is forgotten was told as {keys:?}").into());
            }
        };
        let found = follower.there("/case/a").await?;
        let version = client.updated("/case/a", &found.version, cursor.as_str().to_owned()).await?;
        let mut told = BTreeMap::new();
        let seen = |told: &BTreeMap<_, _>| told.get("/case/a") == Some(&version);
        follower.follow(cursor, &mut told, seen).await?;
    }
    Ok(Verdict::Passed)
}

async fn unknown_cursor(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let client = t.client().await?;
    client.created("/case/a", "one").await?;
    let now = client.now().await?;
    let (store, _) = now.as_str().rsplit_once(':').unwrap_or((now.as_str(), ""));
    // The last one: a place that this store has not reached, as after a restore from a backup.
    let unknown = ["", "nonsense", "1", "other:1", ":", &format!("{store}:1000000000")].map(Cursor::new);
    for cursor in unknown {
        let changes = client.changes(Some(&cursor)).await?;
        ensure!(matches!(changes, Changes::Reset { .. }), "{cursor:?} gave {changes:?}");
    }
    Ok(Verdict::Passed)
}
