//! The commands against a league: three members, each an API server and an operator as processes of
//! their own, and a SQLite file as topology server.
//!
//! Each `tests/league/*.golden` is a transcript: a line after `$` is done, and what follows it is what
//! it printed (`!` before what went to standard error). The transcripts are played in the order of
//! their names, on one league. A new case is a new line; `UPDATE_EXPECT=1` writes what it prints.
//!
//! | Line | Does |
//! |---|---|
//! | `hansa …` | runs the command with the transcripts' folder as its own and the first member's context |
//! | `watched hansa …` | runs the command beside an edit of the spec, a restart of the first operator and another edit, and tells which decisions and interruptions it told |
//! | `apply CONTEXT FILE` | applies the objects of a file, as `kubectl apply --server-side` does |
//! | `until WORD+WORD hansa …` | runs the command until it prints a line with these words, and tells such lines |
//! | `operator CONTEXT` | starts an operator in the cluster that is no member yet |
//! | `idle` | waits until no operator has anything left to do |
//! | `safety PERCENT COUNT` | gives the league this budget for removals |
//!
//! | `founded` | gives the league the spec that it began with |
//!
//! `{operator}` stands for the URL of the first member's operator, `{set}` for the set that waits in it,
//! `{damaged}` for a topology server's file that was written by half. `lone` is a cluster that is no
//! member, and `stranger` a user without rights in the first one.

use anyhow::{Context, Result, bail};
use hansa_e2e::cluster::{Cluster, Kind, Sim, User};
use hansa_e2e::contexts::{Contexts, offer};
use hansa_e2e::operator::Operator;
use hansa_e2e::wait::{Seen, when, within};
use hansa_e2e::world::{MEMBERS, World, federation_spec};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::sync::Mutex;

/// How long the operators may take until they have nothing left to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(120);

struct Stage {
    world: World,
    kubeconfig: PathBuf,
    /// The operators' URLs, in the order of the members.
    operators: Vec<String>,
    /// A cluster that is no member, and its operator once it is started.
    lone: Cluster,
    lone_operator: Mutex<Option<Operator>>,
}

impl Stage {
    async fn start() -> Result<Self> {
        let world = World::start(Kind::Sim, Path::new(env!("CARGO_BIN_EXE_hansa"))).await?;
        let mut contexts = Contexts::default();
        let mut operators = Vec::new();
        let mut lone = Cluster::Sim(Sim::start(&world.binary, world.folder().join("lone"))?);
        lone.ready().await?;
        contexts.add("lone", &lone.kubeconfig(User::Admin), None)?;
        for member in &world.members {
            let file = member.cluster.read().await.kubeconfig(User::Admin);
            contexts.add(member.name, &file, None)?;
            if member.name == MEMBERS[0] {
                contexts.add("stranger", &file, Some(User::Stranger.name()))?;
            }
        }
        for member in &world.members {
            let address = member.operator.lock().await.address().context("the operator says where it answers")?;
            offer(&member.admin, &address).await?;
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
            member.admin.apply("/api/v1/namespaces/shop", &namespace).await?;
            operators.push(format!("http://{address}"));
        }
        let kubeconfig = world.folder().join("kubeconfig");
        std::fs::write(&kubeconfig, contexts.kubeconfig(MEMBERS[0]).to_string())?;
        Ok(Stage { world, kubeconfig, operators, lone, lone_operator: Mutex::new(None) })
    }

    async fn play(&self, transcript: &str) -> Result<String> {
        let mut told = String::new();
        for line in transcript.lines().filter_map(|line| line.strip_prefix("$ ")) {
            told.push_str(&format!("$ {line}\n"));
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["hansa", arguments @ ..] => told.push_str(&self.hansa(arguments).await?),
                ["until", word, "hansa", arguments @ ..] => told.push_str(&self.until(word, arguments).await?),
                ["watched", "hansa", arguments @ ..] => told.push_str(&self.watched(arguments).await?),
                ["apply", context, file] => told.push_str(&self.apply(context, file).await?),
                ["operator", context] => self.operate(context).await?,
                ["founded"] => self.world.edit_federation(|spec| *spec = federation_spec()).await?,
                ["idle"] => self.world.ready(PATIENCE).await?,
                ["safety", percent, count] => {
                    let (percent, count): (u64, u64) = (percent.parse()?, count.parse()?);
                    let wanted = json!({"percent": percent, "atLeast": count, "window": "10m"});
                    self.world.edit_federation(|spec| spec["safety"]["deletes"] = wanted).await?;
                }
                _ => bail!("`{line}` is no line of a transcript"),
            }
        }
        Ok(told)
    }

    async fn hansa(&self, arguments: &[&str]) -> Result<String> {
        let mut words = Vec::new();
        for word in arguments {
            words.push(match *word {
                "{operator}" => self.operators[0].clone(),
                "{set}" => self.waiting().await?,
                "{damaged}" => {
                    let file = self.world.folder().join("damaged.db");
                    std::fs::write(&file, "SQLite format 3\0 and then nothing more")?;
                    format!("sqlite:{}", file.display())
                }
                word => word.to_owned(),
            });
        }
        let output = self.run(&words).await?;
        let mut told = self.normal(&String::from_utf8_lossy(&output.stdout));
        for line in self.normal(&String::from_utf8_lossy(&output.stderr)).lines() {
            told.push_str(format!("! {line}").trim_end());
            told.push('\n');
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => told.push_str(&format!("(exit code {code})\n")),
            None => bail!("`hansa {}` was killed", words.join(" ")),
        }
        Ok(told)
    }

    async fn run(&self, words: &[String]) -> Result<Output> {
        let output = Command::new(env!("CARGO_BIN_EXE_hansa"))
            .args(words)
            .current_dir(folder())
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HANSA_TOPO", &self.world.topo)
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(COMMAND, output).await;
        Ok(ended.with_context(|| format!("`hansa {}` does not end", words.join(" ")))??)
    }

    async fn until(&self, words: &str, arguments: &[&str]) -> Result<String> {
        let what = format!("`hansa {}` prints {words}", arguments.join(" "));
        within(PATIENCE, &what, async || {
            let told = self.hansa(arguments).await?;
            let is_it = |line: &&str| words.split('+').all(|word| line.contains(word));
            // How far columns stand apart depends on the lines that are not told.
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let lines: Vec<String> = told.lines().filter(is_it).map(|line| format!("{}\n", words(line))).collect();
            Ok(if lines.is_empty() { Seen::No(told) } else { Seen::Yes(lines.concat()) })
        })
        .await
    }

    /// A command that goes on, while its operator is killed and comes back.
    async fn watched(&self, arguments: &[&str]) -> Result<String> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hansa"))
            .args(arguments)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let mut noted = BufReader::new(child.stderr.take().context("its notes are piped")?).lines();
        let mut told = self.decision(&mut said).await?;
        let operator = &self.world.members[0].operator;
        operator.lock().await.kill();
        told.push_str(&format!("! {}\n", first_words(&next_line(&mut noted).await?)));
        operator.lock().await.start(&[])?;
        let address = within(PATIENCE, "the operator says where it answers", async || {
            Ok(operator.lock().await.address().map_or_else(|| Seen::No("not yet".to_owned()), Seen::Yes))
        })
        .await?;
        offer(&self.world.members[0].admin, &address).await?;
        told.push_str(&format!("! {}\n", next_line(&mut noted).await?));
        told.push_str(&self.decision(&mut said).await?);
        child.kill().await?;
        Ok(told)
    }

    /// Edits the spec until a decision on it is told, for who has just begun may have missed the first.
    async fn decision(&self, said: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
        for number in 0.. {
            let tier = json!(format!("t{number}"));
            self.world.edit_federation(|spec| spec["members"][0]["labels"]["tier"] = tier).await?;
            self.world.edit_federation(|spec| *spec = federation_spec()).await?;
            let line = tokio::time::timeout(Duration::from_secs(5), async {
                loop {
                    let line = next_line(said).await?;
                    if line.contains("adopted") && line.contains("spec") {
                        return anyhow::Ok(line);
                    }
                }
            });
            if let Ok(line) = line.await {
                return Ok(format!("{}\n", without_chance(&line?)));
            }
        }
        unreachable!("it goes on until it is told")
    }

    /// Starts an operator in the cluster that is no member, on the league's topology server.
    async fn operate(&self, context: &str) -> Result<()> {
        let mut operator = self.world.another_operator(context, self.lone.kubeconfig(User::Operator));
        operator.start(&[])?;
        let address = within(PATIENCE, "the operator says where it answers", async || {
            Ok(operator.address().map_or_else(|| Seen::No(operator.log_since(0).join("\n")), Seen::Yes))
        })
        .await?;
        let admin = self.lone.api(User::Admin).await?;
        within(PATIENCE, "the operator shows the spec of the league that it found", async || {
            let answer = admin.look("/apis/hansa.dev/v1alpha1/federations/league").await?;
            Ok(when(answer.status == 200, || answer.message().to_owned()))
        })
        .await?;
        offer(&admin, &address).await?;
        *self.lone_operator.lock().await = Some(operator);
        Ok(())
    }

    /// The set that waits for a confirmation in the first member.
    async fn waiting(&self) -> Result<String> {
        let output = self.run(&["status".into(), "-o".into(), "json".into()]).await?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        Ok(status["held"][0]["set"].as_str().context("a set waits")?.to_owned())
    }

    /// Applies; tells what was refused.
    async fn apply(&self, context: &str, file: &str) -> Result<String> {
        let admin = match self.world.members.iter().find(|member| member.name == context) {
            Some(member) => member.admin.clone(),
            None => self.lone.api(User::Admin).await?,
        };
        let text = std::fs::read_to_string(folder().join(file))?;
        let mut told = String::new();
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document)?;
            let field = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
            let plural = format!("{}s", field("/kind").to_lowercase());
            let place = match field("/metadata/namespace") {
                "" => String::new(),
                namespace => format!("/namespaces/{namespace}"),
            };
            let root = if field("/apiVersion").contains('/') { "apis" } else { "api" };
            let path = format!("/{root}/{}{place}/{plural}/{}", field("/apiVersion"), field("/metadata/name"));
            let answer = admin.try_apply(&path, &object).await?;
            if answer.status >= 300 {
                told.push_str(&format!("! {} {}\n", answer.status, answer.message()));
            }
        }
        Ok(self.normal(&told))
    }

    /// A text without what differs from run to run.
    fn normal(&self, text: &str) -> String {
        let mut text = text.replace(&self.world.folder().display().to_string(), "FOLDER");
        for operator in &self.operators {
            text = text.replace(operator, "OPERATOR");
        }
        let text: String = text.split_inclusive('\n').map(normal_line).collect();
        let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.')));
        // YAML quotes what could be read as a number, which depends on chance.
        words.map(normal_word).collect::<String>().replace("\"UID\"", "UID").replace("\"HASH\"", "HASH")
    }
}

async fn next_line<R: AsyncBufRead + Unpin>(lines: &mut Lines<R>) -> Result<String> {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("nothing is told")??;
    line.context("it ended")
}

/// What is wrong, without the causes, which depend on when it is noticed.
fn first_words(line: &str) -> &str {
    line.split(": ").next().unwrap_or(line)
}

/// A decision without its number and who was first to vote.
fn without_chance(line: &str) -> String {
    if let Ok(mut event) = serde_json::from_str::<Value>(line) {
        event["ballot"] = "NUMBER".into();
        event["certificate"] = "VOTERS".into();
        return event.to_string();
    }
    let line = line.split(" by ").next().unwrap_or(line);
    let (_, rest) = line.split_once(' ').unwrap_or(("", line));
    format!("#NUMBER {rest} by VOTERS")
}

/// Counts of the topology server, which depend on who was first, and signatures by keys of this run.
fn normal_line(line: &str) -> String {
    const COUNTS: [&str; 5] = ["nonce", "bytes", "version", "sequence", "incarnation"];
    let name = |field: &str| field.trim_start_matches([' ', '-', '"']).trim_end_matches('"').to_owned();
    // How long ago a member was heard, and how many ballots there were before.
    if let Some((before, after)) = line.split_once(" s ago") {
        return format!("{} SOME s ago{after}", before.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end());
    }
    if let Some((before, after)) = line.split_once("ballot #") {
        return format!("{before}ballot #NUMBER{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    match line.trim_end().split_once(": ") {
        Some((field, _)) if name(field) == "signature" => format!("{field}: SIGNATURE\n"),
        Some((field, value)) if value.trim_matches('"').bytes().all(|byte| byte.is_ascii_digit()) => {
            let is_count = COUNTS.contains(&name(field).as_str());
            // How often an object was born under its name is told, not when its operator started.
            if is_count && (value.len() > 1 || field.trim() == "sequence") {
                format!("{field}: COUNT\n")
            } else {
                line.to_owned()
            }
        }
        _ => line.to_owned(),
    }
}

/// Hashes, uids, times, loopback ports, how long ago something was.
fn normal_word(word: &str) -> String {
    let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len();
    let (word, rest) = word.split_at(end);
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time = word.len() == 20 && word.ends_with('Z') && word.contains('T') && word.matches(':').count() == 2;
    let is_uid = word.len() == 36 && word.matches('-').count() == 4 && is_hex(&word.replace('-', ""));
    let is_ago = word.strip_suffix('s').is_some_and(|number| number.parse::<u64>().is_ok());
    let known = match word {
        _ if is_time => "TIME".to_owned(),
        _ if is_uid => "UID".to_owned(),
        // A hash is shown as a whole, or by its beginning.
        _ if is_hex(word) && (word.len() == 64 || word.len() == 16) && word.bytes().any(|byte| byte != b'0') => {
            "HASH".to_owned()
        }
        _ if is_hex(word) && word.len() == 12 => "HASH".to_owned(),
        _ if is_ago && rest.starts_with(' ') => "SOME".to_owned(),
        _ => match word.split_once("127.0.0.1:") {
            Some((before, port)) if port.len() > 1 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{before}127.0.0.1:PORT")
            }
            _ => word.to_owned(),
        },
    };
    format!("{known}{rest}")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/league")
}

#[tokio::test(flavor = "multi_thread")]
async fn transcripts() {
    let stage = Stage::start().await.expect("the league starts");
    let entries = std::fs::read_dir(folder()).expect("the transcripts are there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry reads").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "golden"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let transcript = std::fs::read_to_string(&file).expect("a transcript reads");
        match stage.play(&transcript).await {
            Ok(told) => expect_test::expect_file![&file].assert_eq(&told),
            Err(error) => panic!("{}: {error:#}\n{}", file.display(), stage.world.last_words().await),
        }
    }
}
