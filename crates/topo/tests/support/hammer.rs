//! A process that writes to a topology server, for tests that need several of them or kill one.
//!
//! `topo-hammer count URL ME OF ROUNDS` raises a shared counter; `topo-hammer write URL KEYS BYTES`
//! writes keys again and again, and prints each write when it was acknowledged; `topo-hammer replace URL OLD
//! NEW STEP` replaces a store of a quorum, prints each step, and stays in that one; `topo-hammer tally URL` raises a counter
//! by one for each line that it is given, and prints the count or what went wrong.

use hansa_topo::{Options, Swap, Topo, TopoError, open, quorum};
use std::sync::Arc;
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["count", url, me, of, rounds] => {
            let topo = open(url, &Options::from_env()).await?;
            count(&*topo, me.parse()?, of.parse()?, rounds.parse()?).await
        }
        ["write", url, keys, bytes] => {
            let topo = open(url, &Options::from_env()).await?;
            write(topo, keys.parse()?, bytes.parse()?).await
        }
        ["replace", url, old, new, step] => {
            let stay_in = |progress| {
                let now = match progress {
                    quorum::Progress::Began { .. } => "began".to_owned(),
                    quorum::Progress::Rewriting { done, .. } => done.to_string(),
                    quorum::Progress::Ended { .. } => "ended".to_owned(),
                };
                println!("{now}");
                if now == step {
                    loop {
                        std::thread::park();
                    }
                }
            };
            quorum::replace(url, old, new, &Options::from_env(), stay_in).await?;
            Ok(())
        }
        ["tally", url] => match open(url, &Options::from_env()).await {
            Ok(topo) => tally(&*topo).await,
            Err(error) => {
                println!("{}: {}", error.category().label(), error.chain());
                Ok(())
            }
        },
        _ => {
            let usage =
                "topo-hammer count URL ME OF ROUNDS | write URL KEYS BYTES | replace URL OLD NEW STEP | tally URL";
            Err(format!("usage: {usage}").into())
        }
    }
}

/// The counts of all writers, each one's in its place; each writer raises its own.
async fn count(topo: &dyn Topo, me: usize, of: usize, rounds: u64) -> Outcome {
    const KEY: &str = "/hammer/counter";
    let mut round = 1;
    while round <= rounds {
        let attempt = async {
            let Some(found) = topo.get(KEY).await? else {
                let zero = vec!["0"; of].join(",");
                return topo.create(KEY, zero.into()).await.map(|_| false);
            };
            let text = String::from_utf8_lossy(&found.value);
            let mut counts: Vec<u64> = text.split(',').filter_map(|n| n.parse().ok()).collect();
            if counts[me] == round {
                return Ok(true);
            }
            assert_eq!(counts[me] + 1, round, "a count of {me} was lost or done twice");
            counts[me] += 1;
            let counts: Vec<_> = counts.iter().map(u64::to_string).collect();
            let raised = counts.join(",").into();
            let outcome = topo.compare_and_swap(KEY, &found.version, raised).await?;
            // Of an unknown fate the next look tells: the version was read, and will be consumed.
            Ok::<_, TopoError>(matches!(outcome, Swap::Committed(_)))
        };
        match attempt.await {
            Ok(true) => round += 1,
            Ok(false) => {}
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// One read and one write for each line of the standard input.
async fn tally(topo: &dyn Topo) -> Outcome {
    const KEY: &str = "/hammer/tally";
    for line in std::io::stdin().lines() {
        line?;
        let raise = async {
            let found = topo.get(KEY).await?;
            let text = found.as_ref().map(|found| String::from_utf8_lossy(&found.value).into_owned());
            let next = text.map_or(1, |text| text.parse::<u64>().unwrap_or_default() + 1);
            let swap = match found {
                None => topo.create(KEY, next.to_string().into()).await?,
                Some(found) => topo.compare_and_swap(KEY, &found.version, next.to_string().into()).await?,
            };
            Ok::<_, TopoError>(match swap {
                Swap::Committed(_) => next.to_string(),
                other => format!("{other:?}"),
            })
        };
        match raise.await {
            Ok(told) => println!("{told}"),
            Err(error) => println!("{}: {}", error.category().label(), error.chain().replace('\n', " ")),
        }
    }
    Ok(())
}

/// Writes `keys` keys at once, each with values that begin with their number. Ends when a write does
/// not succeed.
async fn write(topo: Arc<dyn Topo>, keys: usize, bytes: usize) -> Outcome {
    let mut writers = tokio::task::JoinSet::new();
    for key in 0..keys {
        let topo = topo.clone();
        writers.spawn(async move {
            let path = format!("/hammer/{key}");
            let mut found = topo.get(&path).await?;
            loop {
                let number: u64 = match &found {
                    None => 0,
                    Some(found) => {
                        1 + String::from_utf8_lossy(&found.value)
                            .split(' ')
                            .next()
                            .unwrap_or_default()
                            .parse::<u64>()?
                    }
                };
                // Other bytes each time: SQLite writes no page that stays as it was.
                let letter = char::from(b'a' + (number % 26) as u8).to_string();
                let value = format!("{number} {}", letter.repeat(bytes * (key + 1)));
                let outcome = match &found {
                    None => topo.create(&path, value.into()).await?,
                    Some(found) => topo.compare_and_swap(&path, &found.version, value.into()).await?,
                };
                match outcome {
                    Swap::Committed(version) => {
                        println!("{key} {number}");
                        let value = number.to_string().into();
                        found = Some(hansa_topo::Versioned { version, value });
                    }
                    other => return Err::<(), _>(format!("{other:?}").into()),
                }
            }
        });
    }
    match writers.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(panic)) => Err(panic.into()),
        None => Ok(()),
    }
}
