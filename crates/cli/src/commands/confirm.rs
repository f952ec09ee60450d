//! `hansa confirm`: lets exactly the removals go that were shown.

use super::{Outcome, Patience};
use crate::cluster::Connection;
use crate::print::{self, Output, Tone};
use crate::reads::Reads;
use crate::request;
use anyhow::bail;
use hansa_api::{Action, Arguments as RequestArguments};
use hansa_model::Hash;
use serde_json::Value;

/// How many objects of a set are named.
const SHOWN: usize = 20;

/// Arguments of `hansa confirm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The set's hash, as `hansa status` shows it; its beginning will do.
    #[arg(value_name = "SET")]
    set: String,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Confirms a set.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let cluster = arguments.connection.cluster().await?;
    let reads = Reads::open(&arguments.connection).await?;
    let held = reads.held().await?;
    let (set, shown) = resolve(&arguments.set, &held)?;
    if let Some(shown) = shown {
        let keys: Vec<&str> = shown["objects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        print::note(Tone::Plain, &format!("set {}: {}", set.short(), print::count(keys.len(), "removal")));
        for key in keys.iter().take(SHOWN) {
            print::note(Tone::Faint, &format!("  {key}"));
        }
        if keys.len() > SHOWN {
            print::note(Tone::Faint, &format!("  and {} more", keys.len() - SHOWN));
        }
    }
    let spec = request::spec(Action::Confirm, None, RequestArguments { set: Some(set), ..RequestArguments::default() });
    let reply = request::ask(&cluster, &spec, arguments.patience.timeout).await?;
    reply.tell(arguments.output, None)?;
    Ok(Outcome::Done)
}

/// The whole hash that a text means, and what waits under it here.
fn resolve<'a>(text: &str, held: &'a [Value]) -> anyhow::Result<(Hash, Option<&'a Value>)> {
    let text = text.to_ascii_lowercase();
    if text.len() < 8 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{text}` is no set: give at least 8 hexadecimal digits of its hash, as `hansa status` shows it");
    }
    let of = |waiting: &Value| waiting["set"].as_str().and_then(|set| set.parse::<Hash>().ok());
    let found: Vec<(Hash, &Value)> = held
        .iter()
        .filter_map(|waiting| Some((of(waiting)?, waiting)))
        .filter(|(set, _)| set.to_string().starts_with(&text))
        .collect();
    match found.as_slice() {
        [(set, waiting)] => Ok((*set, Some(waiting))),
        [] => match text.parse() {
            // It may wait in another member only: the confirmation is the league's.
            Ok(set) => Ok((set, None)),
            Err(_) => {
                let known: Vec<String> = held.iter().filter_map(of).map(|set| set.short()).collect();
                let known = if known.is_empty() {
                    "nothing waits here".to_owned()
                } else {
                    format!("here wait {}", known.join(", "))
                };
                bail!(
                    "no set {text} waits in this member: {known}; ask in the member that shows it, or give all 64 digits"
                )
            }
        },
        _ => bail!("several sets begin with {text}: give more digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_beginning_names_a_set() {
        let (one, other) = (Hash::of_bytes(b"1"), Hash::of_bytes(b"2"));
        let held = [json!({"set": one, "objects": []}), json!({"set": other, "objects": []})];
        let (set, shown) = resolve(&one.short(), &held).unwrap();
        assert_eq!((set, shown), (one, Some(&held[0])));
        let elsewhere = Hash::of_bytes(b"3");
        assert_eq!(resolve(&elsewhere.to_string(), &held).unwrap(), (elsewhere, None));
        let error = resolve(&elsewhere.short(), &held).unwrap_err().to_string();
        assert!(error.contains(&one.short()) && error.contains("all 64 digits"), "{error}");
        assert!(resolve("abc", &held).unwrap_err().to_string().contains("at least 8"));
        assert!(resolve("not-hex-at-all", &held).is_err());
    }
}
