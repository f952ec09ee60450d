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
//! | `apply CONTEXT FILE` | applies the federated objects of a file, as `kubectl apply --server-side` does |
//! | `idle` | waits until no operator has anything left to do |
//! | `safety PERCENT COUNT` | gives the league this budget for removals |
//!
//! `{operator}` stands for the URL of the first member's operator, `{set}` for the set that waits in it.

use anyhow::{Context, Result, bail, ensure};
use hansa_e2e::cluster::{Kind, User};
use hansa_e2e::world::{MEMBERS, World};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;

/// How long the operators may take until they have nothing left to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(120);

struct Stage {
    world: World,
    kubeconfig: PathBuf,
    /// The operators' URLs, in the order of the members.
    operators: Vec<String>,
}

impl Stage {
    async fn start() -> Result<Self> {
        let world = World::start(Kind::Sim, Path::new(env!("CARGO_BIN_EXE_hansa"))).await?;
        let (mut clusters, mut users, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
        let mut operators = Vec::new();
        for member in &world.members {
            let file = member.cluster.read().await.kubeconfig(User::Admin);
            let config: Value = serde_json::from_slice(&std::fs::read(file)?)?;
            let mut add = |context: &str, of: &str| -> Result<()> {
                let named = |list: &str, name: &Value| {
                    config[list].as_array().into_iter().flatten().find(|entry| entry["name"] == *name).cloned()
                };
                let found = named("contexts", &json!(of)).with_context(|| format!("no context {of} in {config}"))?;
                let user = named("users", &found["context"]["user"]).context("the context has a user")?;
                clusters.push(json!({"name": context, "cluster": config["clusters"][0]["cluster"]}));
                users.push(json!({"name": context, "user": user["user"]}));
                contexts.push(json!({"name": context, "context": {"cluster": context, "user": context}}));
                Ok(())
            };
            let current = config["current-context"].as_str().context("a kubeconfig has a context")?;
            add(member.name, current)?;
            if member.name == MEMBERS[0] {
                add("stranger", &format!("{}@{current}", User::Stranger.name()))?;
            }
            let address = member.operator.lock().await.address().context("the operator says where it answers")?;
            // Users find it behind the API server's proxy.
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "hansa-operator", "namespace": "hansa-system", "annotations": {"kubesim.hansa.dev/address": address}},
                "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
            });
            member.admin.apply("/api/v1/namespaces/hansa-system/services/hansa-operator", &service).await?;
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
            member.admin.apply("/api/v1/namespaces/shop", &namespace).await?;
            operators.push(format!("http://{address}"));
        }
        let kubeconfig = world.folder().join("kubeconfig");
        let merged = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": MEMBERS[0],
            "clusters": clusters, "users": users, "contexts": contexts,
        });
        std::fs::write(&kubeconfig, merged.to_string())?;
        Ok(Stage { world, kubeconfig, operators })
    }

    async fn play(&self, transcript: &str) -> Result<String> {
        let mut told = String::new();
        for line in transcript.lines().filter_map(|line| line.strip_prefix("$ ")) {
            told.push_str(&format!("$ {line}\n"));
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["hansa", arguments @ ..] => told.push_str(&self.hansa(arguments).await?),
                ["apply", context, file] => self.apply(context, file).await?,
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

    /// The set that waits for a confirmation in the first member.
    async fn waiting(&self) -> Result<String> {
        let output = self.run(&["status".into(), "-o".into(), "json".into()]).await?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        Ok(status["held"][0]["set"].as_str().context("a set waits")?.to_owned())
    }

    async fn apply(&self, context: &str, file: &str) -> Result<()> {
        let member = self.world.members.iter().find(|member| member.name == context).context("a member's context")?;
        let text = std::fs::read_to_string(folder().join(file))?;
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document)?;
            let field = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
            ensure!(field("/kind").starts_with("Federated"), "{file}: a federated object is expected");
            let plural = format!("{}s", field("/kind").to_lowercase());
            let (namespace, name) = (field("/metadata/namespace"), field("/metadata/name"));
            let path = format!("/apis/{}/namespaces/{namespace}/{plural}/{name}", field("/apiVersion"));
            member.admin.apply(&path, &object).await?;
        }
        Ok(())
    }

    /// A text without what differs from run to run.
    fn normal(&self, text: &str) -> String {
        let mut text = text.replace(&self.world.folder().display().to_string(), "FOLDER");
        for operator in &self.operators {
            text = text.replace(operator, "OPERATOR");
        }
        let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.')));
        words.map(normal_word).collect()
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
