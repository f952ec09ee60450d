//! `hansa topo`: looks into a topology server, without an operator between.

mod backup;
mod check;
mod cost;
mod figures;
mod measure;
mod quorum;
mod rebuild;
mod verdict;

use super::Outcome;
use crate::print::{self, Format, Output, Table, Tone};
use anyhow::{Context, bail};
use bytes::Bytes;
use hansa_ledger::{Envelope, Swap, Version, keys};
use hansa_topo::{Changes, Topo, TopoError, TopoUrl};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `hansa topo`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology server's URL: sqlite:PATH, etcd://HOST:PORT/PREFIX, etcds://…, s3://BUCKET/PREFIX, gs://…, az://…, quorum:URL,URL,URL
    #[arg(long, env = "HANSA_TOPO", hide_env_values = true, global = true, value_name = "URL")]
    topo: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show a value: its envelope and its body.
    Get {
        /// The key, such as /v1/control.
        key: String,
        #[command(flatten)]
        output: Output,
    },
    /// List keys.
    Ls {
        /// What the keys begin with.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        output: Output,
    },
    /// Follow what is written, until interrupted.
    Changes {
        /// What the keys begin with.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        output: Output,
    },
    /// Write a value, to repair what the league agrees through.
    ///
    /// The operators act on what is written: this is for someone who knows what stands there.
    Put(Put),
    /// Look at the server itself: what endangers a league, whether it keeps its promises, how fast it is, and
    /// in plain words whether it may carry one, and how fast a lost member is noticed on it.
    ///
    /// The measuring writes some small keys below /check, which stay. The promises are tried in spaces of
    /// their own beside the URL's: some 2,000 small keys, and a few of a megabyte, which stay, too (--quick: without).
    Check(check::Arguments),
    /// What a league costs a month: on the server of --topo, with all stores of a quorum, else on each kind.
    Cost(cost::Arguments),
    /// Put everything that the league keeps there into one file.
    ///
    /// Operators may go on meanwhile. The control document is read first and last, and the last
    /// reading is kept.
    Backup(backup::Backup),
    /// Write a backup into an empty topology server, under a higher era.
    ///
    /// The file is checked before anything is written, and the control document comes last. If it is
    /// interrupted, the same command goes on.
    Restore(backup::Restore),
    /// Make a backup from what the members' own API servers show, when the topology server is lost and there is none.
    ///
    /// It reads the stamps of homes, the marks of outputs, the spec and the members' keys, with the user's own rights, and
    /// writes nothing but the file; `restore` then writes that into an empty topology server. Nothing is deleted by it:
    /// outputs that no home speaks for are left alone, and told.
    Rebuild(rebuild::Arguments),
    /// Say that what stands there counts, after it was put back by other means (an etcd snapshot).
    RaiseEra(backup::RaiseEra),
    /// Change the stores of a quorum.
    #[command(subcommand)]
    Quorum(quorum::Command),
}

#[derive(Debug, clap::Args)]
struct Put {
    /// The key.
    key: String,
    /// The file with the body in JSON, or - for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// Yes, write what the league agrees through.
    #[arg(long)]
    force: bool,
    /// The version that the key must be at, as `get` shows it.
    #[arg(long, value_name = "VERSION", conflicts_with = "create", required_unless_present = "create")]
    expect: Option<String>,
    /// The key must not exist yet.
    #[arg(long)]
    create: bool,
    /// Write the bytes of the file as they are, without an envelope.
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    output: Output,
}

/// Looks, or writes.
pub async fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    if let Command::Cost(cost) = &arguments.command {
        return cost::run(arguments.topo.as_deref(), cost);
    }
    if let Command::Rebuild(rebuild) = arguments.command {
        return rebuild::run(rebuild).await;
    }
    let url = match (&arguments.command, &arguments.topo) {
        (
            Command::Check(check::Arguments { url: Some(url), .. })
            | Command::Backup(backup::Backup { url: Some(url), .. })
            | Command::Restore(backup::Restore { url: Some(url), .. })
            | Command::RaiseEra(backup::RaiseEra { url: Some(url), .. }),
            _,
        )
        | (_, Some(url)) => url.clone(),
        _ => bail!("name the topology server: --topo URL, or $HANSA_TOPO"),
    };
    if !matches!(arguments.command, Command::Put(_) | Command::Quorum(_) | Command::Restore(_)) {
        exists(&url)?;
    }
    let topo = hansa_topo::open(&url, &hansa_topo::Options::from_env()).await.map_err(plain)?;
    match arguments.command {
        Command::Get { key, output } => get(&*topo, &key, output).await,
        Command::Ls { prefix, output } => list(&*topo, &prefix, output).await,
        Command::Changes { prefix, output } => changes(topo, &prefix, output.format).await,
        Command::Put(put) => {
            let version = put_value(&*topo, &put).await?;
            let words = format!("{} is written, at version {version}", put.key);
            print::done(put.output, &json!({"key": put.key, "version": version.as_str()}), &words)?;
            Ok(Outcome::Done)
        }
        Command::Check(arguments) => check::run(&url, topo, &arguments).await,
        Command::Cost(cost) => cost::run(Some(&url), &cost),
        Command::Rebuild(rebuild) => rebuild::run(rebuild).await,
        Command::Backup(arguments) => backup::backup(&*topo, arguments).await,
        Command::Restore(arguments) => backup::restore(&*topo, arguments).await,
        Command::RaiseEra(arguments) => backup::raise_era(&*topo, arguments).await,
        Command::Quorum(command) => quorum::run(&url, command).await,
    }
}

/// A file that is only looked into has to be there: opening would make an empty one.
pub(super) fn exists(url: &str) -> anyhow::Result<()> {
    match url.parse() {
        Ok(TopoUrl::Sqlite { path, .. }) if !path.exists() => {
            bail!("{url}: there is no such file: check the path, or start an operator with it (`hansa operator`)")
        }
        _ => Ok(()),
    }
}

/// The whole chain of causes in one line.
pub(super) fn plain(error: TopoError) -> anyhow::Error {
    anyhow::anyhow!("{}", error.chain())
}

async fn get(topo: &dyn Topo, key: &str, output: Output) -> anyhow::Result<Outcome> {
    let Some(found) = topo.get(key).await.map_err(plain)? else {
        bail!("{key}: there is no such key (`hansa topo ls` lists them)");
    };
    let value = described(key, &found.version, &found.value);
    print::answer(output.format, &value, |screen| {
        let mut text = String::new();
        for field in ["key", "version", "bytes", "envelope"] {
            if !value[field].is_null() {
                let shown = match &value[field] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                text.push_str(&format!("{} {shown}\n", screen.paint(Tone::Strong, &format!("{field:<9}"))));
            }
        }
        text.push('\n');
        text + &print::json(&value["body"])
    })?;
    Ok(Outcome::Done)
}

/// A value with its envelope, where it has one, and its body as JSON, where it is.
fn described(key: &str, version: &Version, value: &Bytes) -> Value {
    let (envelope, body) = match Envelope::open(value) {
        Ok((envelope, body)) => (json!(envelope), readable(&body)),
        // Agreed schemas and blobs have no envelope.
        Err(error) => match serde_json::from_slice::<Value>(value) {
            Ok(body) => (Value::Null, body),
            Err(_) => (Value::Null, json!({"unreadable": error.to_string(), "text": String::from_utf8_lossy(value)})),
        },
    };
    json!({"key": key, "version": version.as_str(), "bytes": value.len(), "envelope": envelope, "body": body})
}

fn readable(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

async fn list(topo: &dyn Topo, prefix: &str, output: Output) -> anyhow::Result<Outcome> {
    let entries = topo.list(prefix).await.map_err(plain)?;
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let envelope = Envelope::open_header(&entry.versioned.value).ok().map(|(envelope, _)| envelope);
            json!({
                "key": entry.key, "version": entry.versioned.version.as_str(), "bytes": entry.versioned.value.len(),
                "era": envelope.as_ref().map(|envelope| envelope.era), "revision": envelope.as_ref().map(|envelope| envelope.revision),
                "league": envelope.as_ref().map(|envelope| envelope.league),
            })
        })
        .collect();
    print::answer(output.format, &Value::from(rows.clone()), |screen| table(&rows).render(screen))?;
    Ok(Outcome::Done)
}

fn table(rows: &[Value]) -> Table {
    let mut table = Table::new(["KEY", "VERSION", "BYTES", "LEAGUE", "ERA", "REVISION"]);
    for row in rows {
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| row[field].as_u64().map_or(String::new(), |number| number.to_string());
        table.row([
            text("key"),
            text("version"),
            number("bytes"),
            text("league").chars().take(16).collect(),
            number("era"),
            number("revision"),
        ]);
    }
    table
}

async fn changes(topo: Arc<dyn Topo>, prefix: &str, format: Format) -> anyhow::Result<Outcome> {
    let mut cursor = topo.changes(None).await.map_err(plain)?.cursor().clone();
    print::note(Tone::Faint, "following; Ctrl-C ends");
    loop {
        let changed = tokio::select! {
            changed = topo.changes(Some(&cursor)) => changed.map_err(plain)?,
            ended = tokio::signal::ctrl_c() => {
                ended?;
                return Ok(Outcome::Done);
            }
        };
        match &changed {
            Changes::Keys { keys, .. } => {
                for (key, version) in keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
                    print::stdout(&match format {
                        Format::Table => format!("{version}  {key}\n"),
                        Format::Json => format!("{}\n", json!({"key": key, "version": version.as_str()})),
                        Format::Yaml => format!("- {{key: {}, version: {}}}\n", json!(key), json!(version.as_str())),
                    })?;
                }
            }
            Changes::Reset { .. } => {
                print::note(Tone::Warning, "the history since then is gone: some changes were not told")
            }
        }
        cursor = changed.cursor().clone();
    }
}

/// Writes, and answers with the version that the key is at then.
async fn put_value(topo: &dyn Topo, put: &Put) -> anyhow::Result<Version> {
    if !put.force {
        bail!("{}: the operators of the league act on what is written here: add --force if that is meant", put.key);
    }
    let bytes = read(&put.file)?;
    let standing = topo.get(&put.key).await.map_err(plain)?;
    let value: Bytes = if put.raw {
        bytes.into()
    } else {
        let body: Value = serde_json::from_slice(&bytes).with_context(|| {
            format!("-f {}: the body is no JSON; --raw writes bytes as they are", put.file.display())
        })?;
        let control = topo.get(keys::CONTROL).await.map_err(plain)?;
        enveloped(
            &put.key,
            standing.as_ref().map(|found| &found.value),
            control.as_ref().map(|found| &found.value),
            &body,
            hansa_runner::clock::entropy(),
        )?
    };
    let swap = match &put.expect {
        None => topo.create(&put.key, value).await,
        Some(version) => topo.compare_and_swap(&put.key, &Version::new(version.as_str()), value).await,
    };
    match swap.map_err(plain)? {
        Swap::Committed(version) => Ok(version),
        Swap::Mismatch { current: None } => bail!("{}: it does not exist: write it by --create", put.key),
        Swap::Mismatch { current: Some(current) } => {
            bail!(
                "{}: it is at version {} by now, and nothing was written: read it again, and decide anew",
                put.key,
                current.version
            )
        }
        Swap::Indeterminate { reason } => {
            bail!("{}: the write may have happened, or may yet ({reason}): read it before anything else", put.key)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).context("standard input")?;
    } else {
        bytes = std::fs::read(path).with_context(|| format!("-f {}", path.display()))?;
    }
    Ok(bytes)
}

/// A body in the envelope that follows the standing one, or for a new key in the first of the league
/// that `/v1/control` belongs to. What stands without an envelope is written without one.
fn enveloped(
    key: &str,
    standing: Option<&Bytes>,
    control: Option<&Bytes>,
    body: &Value,
    nonce: u64,
) -> anyhow::Result<Bytes> {
    let bytes = body.to_string().into_bytes();
    let header = |value: &Bytes| Envelope::open_header(value).map(|(envelope, _)| envelope);
    let envelope = match (standing.map(header), standing, control.map(header)) {
        (Some(Ok(envelope)), ..) => {
            // The writers' operations stay: this write is none of theirs.
            Envelope { revision: envelope.revision.next(), nonce, ..envelope }
        }
        (Some(Err(_)), Some(value), _) if serde_json::from_slice::<Value>(value).is_ok() => return Ok(bytes.into()),
        (Some(Err(error)), ..) => bail!("{key}: {error}; --raw writes over it all the same"),
        (None, _, Some(Ok(control))) => Envelope::first(control.league, control.era, nonce),
        (None, _, Some(Err(error))) => bail!("{}: {error}", keys::CONTROL),
        (None, _, None) => bail!(
            "{key}: there is no league here ({} is missing) to write this in the name of: --raw writes bytes as they are",
            keys::CONTROL
        ),
    };
    Ok(envelope.seal(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_model::{Era, Hash, LeagueId};

    fn first() -> Envelope {
        Envelope::first(LeagueId(Hash::of_bytes(b"league")), Era(2), 7)
    }

    #[test]
    fn a_value_is_shown_with_its_envelope() {
        let sealed = first().seal(br#"{"format":1}"#);
        let shown = described("/v1/control", &Version::new("12"), &sealed);
        assert_eq!(
            (&shown["version"], &shown["body"], &shown["envelope"]["era"]),
            (&json!("12"), &json!({"format": 1}), &json!(2))
        );
        let schema = described("/v1/types/x", &Version::new("1"), &Bytes::from_static(b"{\"format\":1}"));
        assert_eq!((&schema["envelope"], &schema["body"]), (&Value::Null, &json!({"format": 1})));
        let broken = described("/v1/x", &Version::new("1"), &sealed.slice(..sealed.len() - 3));
        assert!(broken["body"]["unreadable"].as_str().unwrap().contains("damaged"), "{broken}");
    }

    #[test]
    fn a_write_goes_on_from_what_stands() {
        let body = json!({"format": 1});
        let standing = first().seal(b"{}");
        let (envelope, written) = Envelope::open(&enveloped("/k", Some(&standing), None, &body, 9).unwrap()).unwrap();
        assert_eq!(
            (envelope.revision.0, envelope.nonce, envelope.era, written),
            (2, 9, Era(2), body.to_string().into_bytes())
        );
        let (new, _) = Envelope::open(&enveloped("/k", None, Some(&standing), &body, 9).unwrap()).unwrap();
        assert_eq!((new.revision.0, new.league), (1, first().league));
        let bare = Bytes::from_static(b"{}");
        assert_eq!(enveloped("/k", Some(&bare), None, &body, 9).unwrap(), body.to_string());
        assert!(enveloped("/k", None, None, &body, 9).unwrap_err().to_string().contains("there is no league here"));
        assert!(
            enveloped("/k", Some(&Bytes::from_static(b"\x00")), None, &body, 9)
                .unwrap_err()
                .to_string()
                .contains("--raw")
        );
    }

    #[tokio::test]
    async fn a_put_says_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.json");
        std::fs::write(&file, "{\"a\": 1}").unwrap();
        let topo = hansa_topo::open("memory:cli-put", &hansa_topo::Options::default()).await.unwrap();
        let put = |expect: Option<&str>, force| Put {
            key: "/v1/x".into(),
            file: file.clone(),
            force,
            expect: expect.map(str::to_owned),
            create: expect.is_none(),
            raw: true,
            output: Output { format: Format::Table },
        };
        let said = |result: anyhow::Result<Version>| result.unwrap_err().to_string();
        assert!(said(put_value(&*topo, &put(None, false)).await).contains("--force"));
        assert!(said(put_value(&*topo, &put(Some("1"), true)).await).contains("it does not exist"));
        let version = put_value(&*topo, &put(None, true)).await.unwrap();
        assert!(said(put_value(&*topo, &put(None, true)).await).contains("nothing was written"));
        let next = put_value(&*topo, &put(Some(version.as_str()), true)).await.unwrap();
        assert_ne!(next, version);
    }
}
