//! `hansa manifests` on a real kube-apiserver: it takes every object strictly, and the roles are what
//! an operator and its users need, and no more.

use anyhow::{Context, Result, ensure};
use hansa_controlplane::{Cluster, Process, binaries, free_ports};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::Instant;

const HANSA: &str = env!("CARGO_BIN_EXE_hansa");
const OPERATOR: &str = "system:serviceaccount:hansa-system:hansa-operator";
const PATIENCE: Duration = Duration::from_secs(90);

const FEDERATION: &str = "
apiVersion: hansa.dev/v1alpha1
kind: Federation
metadata: {name: league}
spec:
  members: [{name: here}]
  types: [{resource: configmaps, version: v1}, {resource: deployments.apps, version: v1}]
";

const SETTINGS: &str = "
apiVersion: core.types.hansa.dev/v1alpha1
kind: FederatedConfigMap
metadata: {name: settings, namespace: shop}
spec: {template: {data: {currency: EUR}}, placement: {members: [here]}}
";

/// Who has which of the roles, and in which namespace; the empty one stands for the whole cluster.
const BINDINGS: [(&str, &str, &str); 4] =
    [("reader", "", "view"), ("editor", "shop", "edit"), ("editor", "", "hansa-reader"), ("guest", "shop", "view")];

/// User, verb, group, resource with its subresource, namespace, name, and whether it is allowed.
type Right = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, bool);

const RIGHTS: [Right; 18] = [
    ("reader", "get", "", "services/proxy", "hansa-system", "hansa-operator:http", true),
    ("reader", "create", "", "services/proxy", "hansa-system", "hansa-operator:http", false),
    ("reader", "get", "", "services/proxy", "hansa-system", "other:http", false),
    ("reader", "list", "hansa.dev", "federations", "", "", true),
    ("reader", "list", "hansa.dev", "members", "", "", true),
    ("reader", "watch", "core.types.hansa.dev", "federatedconfigmaps", "shop", "", true),
    ("reader", "create", "hansa.dev", "requests", "shop", "", false),
    ("reader", "patch", "core.types.hansa.dev", "federatedconfigmaps", "shop", "", false),
    ("editor", "get", "", "services/proxy", "hansa-system", "hansa-operator:http", true),
    ("editor", "patch", "apps.types.hansa.dev", "federateddeployments", "shop", "", true),
    ("editor", "patch", "apps.types.hansa.dev", "federateddeployments/scale", "shop", "", true),
    ("editor", "create", "hansa.dev", "requests", "shop", "", true),
    ("editor", "patch", "apps.types.hansa.dev", "federateddeployments", "bank", "", false),
    ("editor", "patch", "hansa.dev", "federations", "", "", false),
    ("guest", "get", "core.types.hansa.dev", "federatedconfigmaps", "shop", "", true),
    ("guest", "get", "core.types.hansa.dev", "federatedconfigmaps", "bank", "", false),
    (OPERATOR, "get", "", "secrets", "shop", "", false),
    (OPERATOR, "delete", "", "namespaces", "", "shop", false),
];

struct Stage {
    folder: TempDir,
    cluster: Cluster,
}

impl Stage {
    async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hansa-manifests-").tempdir()?;
        let mut cluster = Cluster::start(folder.path(), "here")?;
        cluster.ready().await?;
        // Rights are aggregated by a controller.
        cluster.start_controllers()?;
        Ok(Stage { folder, cluster })
    }

    /// The kubeconfig of the administrator, who acts as this user.
    fn kubeconfig(&self, user: &str) -> Result<PathBuf> {
        let mut config: Value = serde_json::from_slice(&std::fs::read(&self.cluster.kubeconfig)?)?;
        config["users"][0]["user"]["as"] = json!(user);
        let path = self.folder.path().join(format!("{}.kubeconfig", user.replace(':', "-")));
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = Command::new(binaries()?.join("kubectl"));
        command.arg("--kubeconfig").arg(&self.cluster.kubeconfig).args(arguments);
        run(command, input).await
    }

    async fn expect_kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        text(self.kubectl(arguments, input).await?, arguments)
    }

    async fn hansa(&self, kubeconfig: &Path, operator: u16, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(HANSA);
        command
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            // A real API server's proxy goes to pods alone, and there are none.
            .env("HANSA_OPERATOR", format!("http://127.0.0.1:{operator}"));
        run(command, "").await
    }

    async fn allows(&self, (user, verb, group, resource, namespace, name, _): &Right) -> Result<bool> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                "namespace": namespace, "name": name,
            }},
        });
        let answer = self
            .expect_kubectl(&["create", "-f", "-", "-o", "jsonpath={.status.allowed}"], &review.to_string())
            .await?;
        Ok(answer == "true")
    }
}

async fn run(mut command: Command, input: &str) -> Result<Output> {
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("its input is piped")?;
    // A program that ends without reading its input is told by its output.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    Ok(tokio::time::timeout(PATIENCE, child.wait_with_output()).await??)
}

fn text(output: Output, arguments: &[&str]) -> Result<String> {
    ensure!(output.status.success(), "{}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_what_is_needed() -> Result<()> {
    let stage = Stage::start().await?;
    let mut command = Command::new(HANSA);
    command.args(["manifests", "--member", "here", "--topo", "etcd://topo:2379/league"]);
    command.args(["--types", "configmaps,deployments.apps"]);
    command.args(["--service-account-annotation", "eks.amazonaws.com/role-arn=arn:aws:iam::1:role/hansa"]);
    command.args(["--pod-label", "azure.workload.identity/use=true"]);
    command.args(["--environment-secret", "hansa-topo-credentials"]);
    command.args([
        "--identity-token",
        "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/e",
    ]);
    let manifests = text(run(command, "").await?, &["hansa", "manifests"])?;
    stage.expect_kubectl(&["apply", "--server-side", "--validate=strict", "-f", "-"], &manifests).await?;

    for namespace in ["shop", "bank"] {
        stage.expect_kubectl(&["create", "namespace", namespace], "").await?;
    }
    for (user, namespace, role) in BINDINGS {
        let (user, name) = (format!("--user={user}"), format!("{user}-{role}"));
        let (role, namespace) = (format!("--clusterrole={role}"), format!("--namespace={namespace}"));
        let arguments: &[&str] = match namespace.as_str() {
            "--namespace=" => &["create", "clusterrolebinding", &name, &role, &user],
            _ => &["create", "rolebinding", &name, &role, &user, &namespace],
        };
        stage.expect_kubectl(arguments, "").await?;
    }
    for right in &RIGHTS {
        let wanted = right.6;
        if wanted {
            eventually(&format!("{right:?}"), async || stage.allows(right).await).await?;
        } else {
            ensure!(!stage.allows(right).await?, "{right:?}");
        }
    }
    work(&stage).await
}

/// With these rights and no others, an operator does its work, and a user's commands theirs.
async fn work(stage: &Stage) -> Result<()> {
    let folder = stage.folder.path();
    let [port] = free_ports()?;
    let arguments = [
        "operator".to_owned(),
        "--member=here".to_owned(),
        format!("--topo=sqlite:{}", folder.join("topo.db").display()),
        format!("--kubeconfig={}", stage.kubeconfig(OPERATOR)?.display()),
        format!("--listen=127.0.0.1:{port}"),
    ];
    let operator = Process::start(Path::new(HANSA), "operator", &arguments, folder)?;
    stage.expect_kubectl(&["apply", "--server-side", "-f", "-"], FEDERATION).await?;
    let editor = stage.kubeconfig("editor")?;
    let expect = async |arguments: &[&str]| -> Result<String> {
        let output = stage.hansa(&editor, port, arguments).await?;
        text(output, arguments).with_context(|| operator.tail())
    };
    eventually("FederatedConfigMaps are served", async || {
        let found = stage.kubectl(&["get", "federatedconfigmaps.core.types.hansa.dev", "-A"], "").await?;
        Ok(found.status.success())
    })
    .await
    .with_context(|| operator.tail())?;
    stage.expect_kubectl(&["apply", "--server-side", "--as=editor", "-f", "-"], SETTINGS).await?;
    expect(&["wait", "configmaps/shop/settings", "--timeout=60s"]).await?;
    let copy =
        stage.expect_kubectl(&["get", "configmap", "settings", "-n", "shop", "-o", "jsonpath={.data.currency}"], "");
    ensure!(copy.await? == "EUR");

    let file = folder.join("settings.yaml");
    std::fs::write(&file, SETTINGS)?;
    let plan = expect(&["plan", "-f", &file.display().to_string()]).await?;
    ensure!(plan.contains("accepted in here") && plan.contains("Nothing would change."), "{plan}");
    expect(&["pause", "configmaps/shop/settings"]).await?;
    expect(&["resume", "configmaps/shop/settings"]).await?;
    let output = expect(&["output", "configmaps/shop/settings", "--member", "here"]).await?;
    ensure!(output.contains("currency: EUR"), "{output}");
    for refused in [&["pause"][..], &["type", "enable", "secrets"], &["delete", "configmaps/bank/settings"]] {
        let told = stage.hansa(&editor, port, refused).await?;
        let words = String::from_utf8_lossy(&told.stderr).into_owned();
        ensure!(told.status.code() == Some(1) && words.contains("ask for a role"), "{refused:?}: {words}");
    }
    expect(&["delete", "configmaps/shop/settings"]).await?;
    expect(&["wait", "configmaps/shop/settings", "--for=deleted", "--timeout=60s"]).await?;
    eventually("the output is gone", async || {
        Ok(!stage.kubectl(&["get", "configmap", "settings", "-n", "shop"], "").await?.status.success())
    })
    .await
    .with_context(|| operator.tail())?;
    let log = std::fs::read_to_string(folder.join("operator.log"))?;
    ensure!(!log.contains("forbidden"), "{log}");
    Ok(())
}
