//! Several clients at once.

use super::client::Client;
use super::{Case, Failure, Trial, Verdict, ensure};
use hansa_ledger::Swap;
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = &[
    Case::new("create-race", "of several who create a key at once, exactly one does", |t| Box::pin(create_race(t))),
    Case::new("swap-race", "of several who swap one version at once, exactly one does", |t| Box::pin(swap_race(t))),
    Case::new("counter", "no increment is lost or done twice among several writers", |t| Box::pin(counter(t))),
];

const WRITERS: usize = 5;

/// Runs all at once, on as many threads as the runtime has; the outcomes are in order.
async fn together<T: Send + 'static>(
    works: impl Iterator<Item = impl Future<Output = Result<T, Failure>> + Send + 'static>,
) -> Result<Vec<T>, Failure> {
    let tasks: Vec<_> = works.map(tokio::spawn).collect();
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        outcomes.push(task.await.map_err(|panic| panic.to_string())??);
    }
    Ok(outcomes)
}

async fn create_race(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let clients = t.clients(WRITERS).await?;
    for round in 0..8 {
        one_wins(&clients, &format!("/case/{round}"), None).await?;
    }
    Ok(Verdict::Passed)
}

async fn swap_race(t: &Trial<'_>) -> Result<Verdict, Failure> {
    let clients = t.clients(WRITERS).await?;
    let mut version = clients[0].created("/case/a", "0").await?;
    for _ in 0..8 {
        version = one_wins(&clients, "/case/a", Some(version)).await?;
    }
    Ok(Verdict::Passed)
}

/// Lets all clients write `key` at once; gives the version of the one that may.
async fn one_wins(
    clients: &[Client],
    key: &str,
    expected: Option<hansa_ledger::Version>,
) -> Result<hansa_ledger::Version, Failure> {
    let before = expected.as_ref().map_or("new", |version| version.as_str());
    let values: Vec<_> = (0..clients.len()).map(|n| format!("{n} after {before}")).collect();
    let writes = clients.iter().zip(&values).map(|(client, value)| {
        let (client, key, value) = (client.clone(), key.to_owned(), value.clone());
        let expected = expected.clone();
        async move { Ok(client.swap(&key, expected.as_ref(), value).await?) }
    });
    let outcomes = together(writes).await?;
    let mut won = Vec::new();
    for (outcome, value) in outcomes.iter().zip(&values) {
        if let Swap::Committed(version) = outcome {
            won.push((version, value));
        }
    }
    let [(version, value)] = won[..] else {
        return Err(format!("{} of {} have won: {outcomes:?}", won.len(), clients.len()).into());
    };
    let found = clients[0].there(key).await?;
    ensure!(found.version == *version && found.value == *value, "there stands {found:?}");
    let told = |outcome: &Swap| match outcome {
        Swap::Mismatch { current } => current.as_ref() == Some(&found),
        _ => true,
    };
    ensure!(outcomes.iter().all(told), "who lost was told {outcomes:?}, not {found:?}");
    Ok(version.clone())
}

/// The document of the counter: each writer's own count, and the sum that all of them raise. A write
/// that is lost or done twice shows as a sum that differs from its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Counter {
    sum: u64,
    own: [u64; WRITERS],
}

impl Counter {
    fn encode(&self) -> String {
        let own: Vec<_> = self.own.iter().map(u64::to_string).collect();
        format!("{};{}", self.sum, own.join(","))
    }

    fn decode(value: &[u8]) -> Result<Self, Failure> {
        let parse = || {
            let (sum, own) = std::str::from_utf8(value).ok()?.split_once(';')?;
            let own: Option<Vec<u64>> = own.split(',').map(|count| count.parse().ok()).collect();
            Some(Counter { sum: sum.parse().ok()?, own: own?.try_into().ok()? })
        };
        let counter = parse().ok_or_else(|| format!("the counter reads {value:?}"))?;
        let parts: u64 = counter.own.iter().sum();
        ensure!(counter.sum == parts, "a write was lost or done twice: {counter:?}");
        Ok(counter)
    }
}

async fn counter(t: &Trial<'_>) -> Result<Verdict, Failure> {
    const ROUNDS: u64 = 12;
    let clients = t.clients(WRITERS).await?;
    let zero = Counter { sum: 0, own: [0; WRITERS] };
    clients[0].created("/case/counter", zero.encode()).await?;
    let work = clients.iter().cloned().enumerate().map(|(me, client)| async move {
        let mut versions = BTreeSet::new();
        let mut last = 0;
        for round in 1..=ROUNDS {
            let mut found = client.there("/case/counter").await?;
            loop {
                let mut counter = Counter::decode(&found.value)?;
                ensure!(counter.sum >= last, "a read went back from {last} to {counter:?}");
                last = counter.sum;
                // Others may come in between here, also where no call ever waits.
                tokio::task::yield_now().await;
                ensure!(counter.own[me] < round, "{me}'s round {round} was counted early");
                counter.own[me] += 1;
                counter.sum += 1;
                match client.swap("/case/counter", Some(&found.version), counter.encode()).await? {
                    Swap::Committed(version) => {
                        ensure!(versions.insert(version), "a version came twice");
                        break;
                    }
                    Swap::Mismatch { current: Some(current) } => {
                        // A lost answer, overtaken by others: one's own count tells it.
                        let now = Counter::decode(&current.value)?;
                        if now.own[me] == round {
                            break;
                        }
                        found = current;
                    }
                    other => return Err(format!("a swap ended as {other:?}").into()),
                }
            }
        }
        Ok::<_, Failure>(())
    });
    together(work).await?;
    let end = Counter::decode(&clients[0].there("/case/counter").await?.value)?;
    let expected = Counter { sum: ROUNDS * WRITERS as u64, own: [ROUNDS; WRITERS] };
    ensure!(end == expected, "it counted {end:?}");
    Ok(Verdict::Passed)
}
