//! `hansa init`, `join` and `leave`: a league begins in one cluster, takes two more in, and lets them go again, by
//! the commands alone. On three kubesims with an operator each, and a SQLite file.

use anyhow::{Context, Result, ensure};
use hansa_e2e::client::{Api, Resource};
use hansa_e2e::cluster::{Cluster, Sim, User};
use hansa_e2e::command::end_of;
use hansa_e2e::contexts::{Contexts, offer};
use hansa_e2e::objects::{CONFIG_MAPS, NAMESPACES, SECRETS, config, everywhere, federated};
use hansa_e2e::operator::{Operator, Settings};
use hansa_e2e::wait::{PATIENCE, Seen, eventually, within};
use hansa_e2e::world::install;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;

const NAMES: [&str; 3] = ["aws", "gcp", "azure"];
const NAMESPACE: &str = "shop";
const TOPO: &str = "topo.db";
const KEYS: &str = "/api/v1/namespaces/hansa-system/secrets/hansa-operator-keys";
/// With it a member that says nothing for a minute is voted lost.
const HEARTBEAT: [&str; 2] = ["--heartbeat", "1s"];
const LEAGUE: &str = "/apis/hansa.dev/v1alpha1/federations/league";

/// A cluster with an operator that is in no league yet.
struct Place {
    admin: Api,
    // In this order they end.
    operator: Mutex<Operator>,
    _cluster: Cluster,
}

/// Starts an operator, and puts it behind its API server's proxy.
async fn start(operator: &mut Operator, admin: &Api, arguments: &[&str]) -> Result<()> {
    operator.start(arguments)?;
    let address = within(PATIENCE, "the operator says where it answers", async || {
        Ok(operator.address().map_or_else(|| Seen::No(operator.log_since(0).join("\n")), Seen::Yes))
    })
    .await?;
    offer(admin, &address).await
}

struct Stage {
    places: Vec<Place>,
    kubeconfig: PathBuf,
    folder: TempDir,
}

impl Stage {
    async fn start(arguments: &[&str]) -> Result<Self> {
        let binary = Path::new(env!("CARGO_BIN_EXE_hansa"));
        let folder = tempfile::Builder::new().prefix("hansa-membership-").tempdir()?;
        let topo = format!("sqlite:{}", folder.path().join(TOPO).display());
        let types =
            json!({"types": [{"resource": "configmaps", "version": "v1"}, {"resource": "secrets", "version": "v1"}]});
        let (mut places, mut contexts) = (Vec::new(), Contexts::default());
        for name in NAMES {
            let mut cluster = Cluster::Sim(Sim::start(binary, folder.path().join(name))?);
            cluster.ready().await?;
            let file = cluster.kubeconfig(User::Admin);
            install(binary, name, &topo, &file, &types).await?;
            contexts.add(name, &file, None)?;
            let admin = cluster.api(User::Admin).await?;
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
            admin.create(&NAMESPACES.collection(""), &namespace).await?.ok()?;
            let settings = Settings::new(binary, name, cluster.kubeconfig(User::Operator), &topo, folder.path());
            let mut operator = Operator::new(settings);
            start(&mut operator, &admin, arguments).await?;
            places.push(Place { admin, operator: Mutex::new(operator), _cluster: cluster });
        }
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, contexts.kubeconfig(NAMES[0]).to_string())?;
        Ok(Stage { places, kubeconfig, folder })
    }

    /// Runs a command; answers with its exit code and all that it printed.
    async fn hansa(&self, line: &str) -> Result<(i32, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hansa"));
        command.args(line.split_whitespace()).env_clear().env("KUBECONFIG", &self.kubeconfig);
        let ended = end_of(command, line, "").await?;
        let text = [ended.stdout, ended.stderr].concat();
        Ok((ended.status.code().context("it was killed")?, String::from_utf8_lossy(&text).into_owned()))
    }

    async fn says(&self, line: &str, code: i32, words: &[&str]) -> Result<String> {
        let (ended, told) = self.hansa(line).await?;
        ensure!(
            ended == code && words.iter().all(|word| told.contains(word)),
            "`hansa {line}` ended with {ended}, wanted {code} and {words:?}:\n{told}"
        );
        Ok(told)
    }

    fn admin(&self, index: usize) -> &Api {
        &self.places[index].admin
    }

    /// The public keys that a member's operator uses.
    async fn keys(&self, index: usize) -> Result<Value> {
        let told = self.hansa(&format!("status --context {} -o json", NAMES[index])).await?.1;
        let status: Value = serde_json::from_str(&told).with_context(|| told.clone())?;
        Ok(status["operator"]["publicKeys"].clone())
    }

    async fn federate(&self, index: usize, resource: Resource, name: &str, spec: &Value) -> Result<()> {
        let object = federated(resource, NAMESPACE, name, spec);
        eventually(&format!("{name} is taken in {}", NAMES[index]), async || {
            let answer = self.admin(index).try_apply(&resource.federated(NAMESPACE, name), &object).await?;
            Ok(if answer.status < 300 { Seen::Yes(()) } else { Seen::No(answer.message().to_owned()) })
        })
        .await
    }

    /// A Secret of the user's own, in the first cluster.
    async fn keep_token(&self, content: &str) -> Result<()> {
        let metadata = json!({"name": "token", "namespace": NAMESPACE});
        let token =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": content}});
        self.admin(0).apply(&SECRETS.path(NAMESPACE, "token"), &token).await.map(|_| ())
    }

    async fn output_is(
        &self,
        index: usize,
        resource: Resource,
        name: &str,
        what: &str,
        is: impl Fn(Option<&Value>) -> bool,
    ) -> Result<()> {
        eventually(&format!("{name} in {} {what}", NAMES[index]), async || {
            let output = self.admin(index).find(&resource.path(NAMESPACE, name)).await?;
            Ok(if is(output.as_ref()) { Seen::Yes(()) } else { Seen::No(format!("{output:?}")) })
        })
        .await
    }

    async fn settled(&self, name: &str, homes: &str) -> Result<()> {
        self.says(&format!("wait configmaps/{NAMESPACE}/{name} --context {homes} --timeout 60s"), 0, &["Ready is True"])
            .await
            .map(|_| ())
    }
}

async fn story(stage: &Stage) -> Result<()> {
    // A league begins once.
    let init = "init --context aws --types configmaps,secrets --provider aws --label env=prod";
    stage.says(init, 0, &["the league of Federation league is founded, aws is its only member"]).await?;
    stage.says(init, 0, &["is founded"]).await?;
    stage.says("init other --context gcp --timeout 20s", 1, &["holds a league already", "hansa join"]).await?;

    // A newcomer asks; a user of the league lists it; the members vote.
    let told =
        stage.says("join --context gcp --timeout 3s", 1, &["gcp has asked to join", "- name: gcp", "ed25519:"]).await?;
    ensure!(told.contains("--league-context"), "{told}");
    stage.says("join --context gcp --league-context gcp --timeout 3s", 1, &["the spec has its home in"]).await?;
    stage
        .says("join --context gcp --league-context aws --region europe-west4", 0, &["gcp is a member of the league"])
        .await?;
    stage.says("join --context gcp", 0, &["gcp is a member of the league"]).await?;
    stage.says("join --context azure --league-context aws", 0, &["azure is a member of the league"]).await?;
    stage.says("status --context azure", 0, &["aws", "gcp", "azure", "europe-west4"]).await?;

    // One object has its home in each; a Secret is shared.
    stage.federate(0, CONFIG_MAPS, "of-aws", &everywhere(config(&[("from", "aws")]))).await?;
    stage.federate(1, CONFIG_MAPS, "of-gcp", &everywhere(config(&[("from", "gcp")]))).await?;
    let both = everywhere(config(&[("from", "both")]));
    stage.federate(0, CONFIG_MAPS, "of-both", &both).await?;
    stage.settled("of-both", "aws").await?;
    stage.federate(1, CONFIG_MAPS, "of-both", &both).await?;
    stage.keep_token("hush").await?;
    let shared = json!({"templateFrom": {"secretRef": {"name": "token"}}, "placement": {"memberSelector": {}}});
    stage.federate(0, SECRETS, "token", &shared).await?;
    for (name, home) in [("of-aws", "aws"), ("of-gcp", "gcp"), ("of-both", "gcp")] {
        stage.settled(name, home).await?;
    }
    stage.output_is(1, SECRETS, "token", "is opened", |output| output.is_some()).await?;

    // One leaves: what it alone kept is kept on, and it has nothing left.
    stage.says("leave mars --context aws", 1, &["mars is no member of the league"]).await?;
    stage.says("leave gcp --context gcp", 1, &["ask in one that stays"]).await?;
    stage
        .says(
            "leave gcp --context aws",
            0,
            &["gcp has left the league; the home of 1 object moved to aws", "Rotate them:\n  shop/token"],
        )
        .await?;
    for (resource, name) in
        [(CONFIG_MAPS, "of-aws"), (CONFIG_MAPS, "of-gcp"), (CONFIG_MAPS, "of-both"), (SECRETS, "token")]
    {
        stage.output_is(1, resource, name, "is gone", |output| output.is_none()).await?;
        stage.output_is(2, resource, name, "stands", |output| output.is_some()).await?;
    }
    stage.says("home list --context aws", 0, &["configmaps/shop/of-gcp"]).await?;
    for name in ["of-gcp", "of-both"] {
        let copy = stage.admin(1).get(&CONFIG_MAPS.federated(NAMESPACE, name)).await?;
        ensure!(
            copy["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty),
            "nobody could take it off: {copy}"
        );
    }
    stage.federate(0, CONFIG_MAPS, "of-gcp", &everywhere(config(&[("from", "aws now")]))).await?;
    stage
        .output_is(2, CONFIG_MAPS, "of-gcp", "follows", |output| {
            output.is_some_and(|output| output["data"]["from"] == "aws now")
        })
        .await?;
    let members = stage.hansa("status --context aws").await?.1;
    ensure!(!members.contains("gcp"), "it is no member: {members}");
    // Who was interrupted before it was told so is told which Secrets are to be rotated when it asks again.
    stage.says("leave gcp --context aws", 0, &["gcp has left the league.", "Rotate them:\n  shop/token"]).await?;

    // The other leaves, and keeps what it has.
    stage.says("leave azure --context aws --keep-outputs", 0, &["azure has left the league."]).await?;
    let kept = |output: Option<&Value>| {
        output.is_some_and(|output| {
            output["metadata"]["labels"]["hansa.dev/league"].is_null() && output["data"]["from"] == "aws now"
        })
    };
    stage.output_is(2, CONFIG_MAPS, "of-gcp", "stays without marks", kept).await?;
    stage.says("leave aws --context aws", 1, &["aws is the member at hand"]).await?;
    stage.settled("of-both", "aws").await
}

/// Two clusters and a witness: one of the two is lost for good, and the other goes on.
async fn of_two(stage: &Stage) -> Result<()> {
    stage.says("init --context aws --types configmaps,secrets", 0, &["is founded"]).await?;
    stage.says("join --context gcp --league-context aws", 0, &["gcp is a member of the league"]).await?;
    stage.says("join --context azure --league-context aws --witness", 0, &["azure is a member of the league"]).await?;
    stage.says("ballot show --context gcp", 0, &["live (witness)", "2 of 3 voters"]).await?;
    for (index, name) in ["aws", "gcp"].into_iter().enumerate() {
        let object = format!("of-{name}");
        stage.federate(index, CONFIG_MAPS, &object, &everywhere(config(&[("from", name)]))).await?;
        stage.settled(&object, name).await?;
        stage.output_is(1 - index, CONFIG_MAPS, &object, "stands", |output| output.is_some()).await?;
    }
    stage
        .says("explain configmaps/shop/of-aws --context aws", 0, &["a witness, which votes and has no objects"])
        .await?;
    ensure!(stage.admin(2).find(&CONFIG_MAPS.path(NAMESPACE, "of-aws")).await?.is_none(), "a witness has no objects");
    stage.federate(2, CONFIG_MAPS, "of-azure", &everywhere(config(&[("from", "azure")]))).await?;
    eventually("a witness keeps no objects", async || {
        let object = stage.admin(2).get(&CONFIG_MAPS.federated(NAMESPACE, "of-azure")).await?;
        let told = object["status"].to_string();
        Ok(if told.contains("azure is a witness") { Seen::Yes(()) } else { Seen::No(told) })
    })
    .await?;
    stage.says("home move configmaps/shop/of-aws --to azure --context aws", 1, &["azure is a witness"]).await?;

    // Where the spec and an object are at home is lost.
    stage.places[0].operator.lock().await.kill();
    let ballots_are = async |what: &str, are: fn(&Value) -> bool| {
        within(3 * PATIENCE, what, async || {
            let told = stage.hansa("ballot show --context gcp -o json").await?.1;
            Ok(if are(&serde_json::from_str(&told)?) { Seen::Yes(()) } else { Seen::No(told) })
        })
        .await
    };
    ballots_are("who is left decides about all pages", |ballots| {
        let pages = |name: &str| ballots["voters"][name]["pages"].as_u64();
        (pages("aws"), pages("gcp"), pages("azure")) == (Some(0), Some(256), Some(0))
    })
    .await?;
    stage.says("leave aws --context gcp --lost", 1, &["aws is not voted lost"]).await?;
    ballots_are("it is voted lost", |ballots| ballots["voters"]["aws"]["state"] == "lost").await?;
    stage.says("status --context azure", 0, &["aws: voted lost by ballot", "Lost"]).await?;

    // The spec is taken from it, and agreed on with the witness.
    let annotation = json!({"metadata": {"annotations": {"hansa.dev/take-home": "yes"}}});
    stage.admin(1).patch(LEAGUE, "user", &annotation).await?;
    eventually("the spec has its home here", async || {
        let league = stage.admin(1).get(LEAGUE).await?;
        Ok(if league["status"]["home"] == "gcp" { Seen::Yes(()) } else { Seen::No(league["status"].to_string()) })
    })
    .await?;
    stage.says("pause --context gcp", 0, &["the league: paused"]).await?;
    eventually("the edit is agreed on", async || {
        let told = stage.hansa("status --context azure").await?.1;
        Ok(if told.contains("Paused") { Seen::Yes(()) } else { Seen::No(told) })
    })
    .await?;
    stage.says("resume --context gcp", 0, &["the league: resumed"]).await?;

    // It does not come back, and leaves without a word of its own.
    let hint = "aws is voted lost: if it does not come back, `hansa leave aws --lost` goes on without it";
    stage.says("leave aws --context gcp --timeout 20s", 1, &[hint]).await?;
    let words = ["aws has left the league; what stands there is left as it is."];
    stage.says("leave aws --context gcp --lost", 0, &words).await?;
    stage.says("ballot show --context gcp", 0, &["2 of 2 voters"]).await?;
    stage.federate(1, CONFIG_MAPS, "of-aws", &everywhere(config(&[("from", "gcp now")]))).await?;
    stage.settled("of-aws", "gcp").await?;
    for name in ["of-aws", "of-gcp"] {
        let marked = |output: Option<&Value>| {
            output.is_some_and(|output| !output["metadata"]["labels"]["hansa.dev/league"].is_null())
        };
        stage.output_is(0, CONFIG_MAPS, name, "is left as it is", marked).await?;
    }
    Ok(())
}

/// The keys of a member in a league of two: neither can decide without the other, and nothing waits for long.
async fn rotated(stage: &Stage) -> Result<()> {
    stage.says("init --context aws --types configmaps,secrets", 0, &["is founded"]).await?;
    stage.says("join --context gcp --league-context aws", 0, &["gcp is a member of the league"]).await?;
    stage.federate(1, CONFIG_MAPS, "of-gcp", &everywhere(config(&[("from", "gcp")]))).await?;
    stage.keep_token("hush").await?;
    let shared = json!({"templateFrom": {"secretRef": {"name": "token"}}, "placement": {"memberSelector": {}}});
    stage.federate(0, SECRETS, "token", &shared).await?;
    stage.settled("of-gcp", "gcp").await?;
    stage.says("wait secrets/shop/token --context aws --timeout 60s", 0, &["Ready is True"]).await?;
    stage.output_is(1, SECRETS, "token", "is opened", |output| output.is_some()).await?;
    let (first, seed) = (stage.keys(1).await?, stage.admin(1).get(KEYS).await?["data"]["ed25519"].clone());

    // Where the spec's home is not at hand, a user there consents; until then all is as it was.
    let told = stage
        .says("keys rotate --context gcp --timeout 3s", 1, &["list these keys of gcp", "goes on when this is repeated"])
        .await?;
    let listed = |told: &str, key: &Value| told.contains(key.as_str().unwrap_or_default());
    ensure!(listed(&told, &first[0]) && listed(&told, &first[1]), "both pairs are to be listed: {told}");
    ensure!(stage.keys(1).await? == first, "nobody has voted");
    // Crashed in between, and repeated, with the spec's home at hand.
    let mut operator = stage.places[1].operator.lock().await;
    operator.kill();
    start(&mut operator, stage.admin(1), &[]).await?;
    drop(operator);
    stage.says("keys rotate --context gcp --league-context aws", 0, &["the keys of gcp are rotated"]).await?;
    let second = stage.keys(1).await?;
    ensure!(second != first, "{second}");
    let secret = stage.admin(1).get(KEYS).await?;
    let fields: Vec<&String> = secret["data"].as_object().context("it has data")?.keys().collect();
    ensure!(fields == ["ed25519", "x25519"] && secret["data"]["ed25519"] != seed, "{fields:?}");
    let league = stage.admin(0).get(LEAGUE).await?;
    ensure!(league["spec"]["members"][1]["publicKeys"] == second, "{league}");
    let ballots = stage.says("ballot show --context aws", 0, &["2 of 2 voters"]).await?;
    ensure!(!ballots.contains("does not count"), "{ballots}");

    eventually("the others know it by its new keys", async || {
        let member = stage.admin(0).get("/apis/hansa.dev/v1alpha1/members/gcp").await?;
        let known = &member["status"]["publicKeys"];
        Ok(if *known == second { Seen::Yes(()) } else { Seen::No(known.to_string()) })
    })
    .await?;

    // Its word counts, it opens what is sealed from now on, and votes.
    stage.federate(1, CONFIG_MAPS, "of-gcp", &everywhere(config(&[("from", "gcp, again")]))).await?;
    let again = |output: Option<&Value>| output.is_some_and(|output| output["data"]["from"] == "gcp, again");
    stage.output_is(0, CONFIG_MAPS, "of-gcp", "follows", again).await?;
    stage.keep_token("louder").await?;
    let louder = |output: Option<&Value>| output.is_some_and(|output| output["data"]["token"] == "bG91ZGVy");
    stage.output_is(1, SECRETS, "token", "is opened", louder).await?;
    stage.says("pause --context aws", 0, &["the league: paused"]).await?;
    eventually("the edit is agreed on", async || {
        let told = stage.hansa("status --context gcp").await?.1;
        Ok(if told.contains("Paused") { Seen::Yes(()) } else { Seen::No(told) })
    })
    .await?;
    stage.says("resume --context aws", 0, &["the league: resumed"]).await?;

    // The member where the spec is at home consents by the same command, and its Secrets stay its own.
    stage.says("keys rotate --context aws", 0, &["the keys of aws are rotated"]).await?;
    stage.keep_token("loudest").await?;
    let loudest = |output: Option<&Value>| output.is_some_and(|output| output["data"]["token"] == "bG91ZGVzdA==");
    stage.output_is(1, SECRETS, "token", "is opened", loudest).await?;
    for place in &stage.places[..2] {
        let log = place.operator.lock().await.log_since(0).join("\n");
        ensure!(!log.contains("was taken out of the league") && !log.contains("voted aws lost"), "{log}");
    }
    Ok(())
}

/// The topology server is lost, and nobody made a backup: it is rebuilt from the members, and nothing is taken away.
async fn rebuilt(stage: &Stage) -> Result<()> {
    stage.says("init --context aws --types configmaps,secrets", 0, &["is founded"]).await?;
    stage.says("join --context gcp --league-context aws", 0, &["gcp is a member"]).await?;
    stage.says("join --context azure --league-context aws", 0, &["azure is a member"]).await?;
    stage.federate(0, CONFIG_MAPS, "of-aws", &everywhere(config(&[("from", "aws")]))).await?;
    stage.federate(1, CONFIG_MAPS, "of-gcp", &everywhere(config(&[("from", "gcp")]))).await?;
    stage.federate(1, CONFIG_MAPS, "lost", &everywhere(config(&[("from", "gcp")]))).await?;
    stage.keep_token("hush").await?;
    let shared = json!({"templateFrom": {"secretRef": {"name": "token"}}, "placement": {"memberSelector": {}}});
    stage.federate(0, SECRETS, "token", &shared).await?;
    for (name, home) in [("of-aws", "aws"), ("of-gcp", "gcp"), ("lost", "gcp")] {
        stage.settled(name, home).await?;
    }
    stage.says("wait secrets/shop/token --context aws --timeout 60s", 0, &["Ready is True"]).await?;
    let outputs = [(CONFIG_MAPS, "of-aws"), (CONFIG_MAPS, "of-gcp"), (CONFIG_MAPS, "lost"), (SECRETS, "token")];
    let uids = async || -> Result<Vec<Value>> {
        let mut uids = Vec::new();
        for index in 0..NAMES.len() {
            for (resource, name) in outputs {
                uids.push(stage.admin(index).get(&resource.path(NAMESPACE, name)).await?["metadata"]["uid"].clone());
            }
        }
        Ok(uids)
    };
    let before = uids().await?;

    for place in &stage.places {
        place.operator.lock().await.kill();
    }
    for file in std::fs::read_dir(stage.folder.path())? {
        let file = file?.path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TOPO)) {
            std::fs::remove_file(file)?;
        }
    }
    // Meanwhile a user edits, and a home goes with its finalizer taken off by hand.
    stage.federate(0, CONFIG_MAPS, "of-aws", &everywhere(config(&[("from", "aws, edited")]))).await?;
    let lost = CONFIG_MAPS.federated(NAMESPACE, "lost");
    stage.admin(1).patch(&lost, "hand", &json!({"metadata": {"finalizers": null}})).await?;
    stage.admin(1).delete(&lost).await?;

    let file = stage.folder.path().join("league.backup").display().to_string();
    let contexts = "--context aws --context gcp --context azure";
    stage.says(&format!("topo rebuild -f {file} --context aws --context gcp"), 1, &["azure was not read"]).await?;
    let told = stage.says(&format!("topo rebuild -f {file} {contexts}"), 0, &["3 records", "topo restore"]).await?;
    for words in ["configmaps/shop/of-aws", "its home holds a newer content", "configmaps/shop/lost", "as a stray"] {
        ensure!(told.contains(words), "{words}: {told}");
    }
    let topo = stage.folder.path().join(TOPO).display().to_string();
    stage.says(&format!("topo restore sqlite:{topo} -f {file}"), 0, &["is restored in era 2"]).await?;
    for place in &stage.places {
        start(&mut *place.operator.lock().await, &place.admin, &[]).await?;
    }
    for index in 0..NAMES.len() {
        let edited = |output: Option<&Value>| output.is_some_and(|output| output["data"]["from"] == "aws, edited");
        stage.output_is(index, CONFIG_MAPS, "of-aws", "follows", edited).await?;
    }
    for (name, home) in [("of-aws", "aws"), ("of-gcp", "gcp")] {
        stage.settled(name, home).await?;
    }
    stage.says("wait secrets/shop/token --context aws --timeout 60s", 0, &["Ready is True"]).await?;
    // It goes on as before: an edit, and a new Secret's content.
    stage.federate(1, CONFIG_MAPS, "of-gcp", &everywhere(config(&[("from", "gcp, again")]))).await?;
    let again = |output: Option<&Value>| output.is_some_and(|output| output["data"]["from"] == "gcp, again");
    stage.output_is(2, CONFIG_MAPS, "of-gcp", "follows", again).await?;
    stage.keep_token("louder").await?;
    let louder = |output: Option<&Value>| output.is_some_and(|output| output["data"]["token"] == "bG91ZGVy");
    stage.output_is(2, SECRETS, "token", "is opened", louder).await?;
    ensure!(uids().await? == before, "nothing was made anew, and nothing was taken away");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_topology_server_is_rebuilt_from_the_members() {
    let stage = Stage::start(&[]).await.expect("three clusters start");
    if let Err(error) = rebuilt(&stage).await {
        panic!("{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_league_of_two_goes_on_by_a_witness() {
    let stage = Stage::start(&HEARTBEAT).await.expect("three clusters start");
    if let Err(error) = of_two(&stage).await {
        panic!("{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_in_a_league_of_two_whose_vote_goes_on() {
    let stage = Stage::start(&[]).await.expect("three clusters start");
    if let Err(error) = rotated(&stage).await {
        panic!("{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_league_begins_takes_clusters_in_and_lets_them_go() {
    let stage = Stage::start(&[]).await.expect("three clusters start");
    if let Err(error) = story(&stage).await {
        panic!("{error:#}");
    }
}
