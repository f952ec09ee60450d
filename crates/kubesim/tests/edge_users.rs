//! Users at the server's door: tokens, impersonation, and the service proxy.

use std::time::Duration;

use hansa_controlplane::kubectl;
use hansa_kubesim::core::access::Rule;
use hansa_kubesim::edge::{Account, Options, Running, serve};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn rule(verbs: &[&str], resources: &[&str]) -> Rule {
    let of = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
    Rule { verbs: of(verbs), groups: of(&[""]), resources: of(resources), namespaces: of(&["default"]) }
}

/// A server with `admin`, and `bob`, who may read ConfigMaps and call Services of `default`.
async fn server() -> Running {
    let rules = Some(vec![rule(&["get", "list"], &["configmaps"]), rule(&["get"], &["services/proxy"])]);
    let bob = Account { name: "bob".to_owned(), token: Some("token-of-bob".to_owned()), rules };
    serve(Options { accounts: vec![bob], ..Options::default() }).await.expect("starts")
}

/// A client with a context of the kubeconfig, or with another token.
async fn client(running: &Running, context: &str, token: Option<&str>) -> Client {
    let mut kubeconfig = Kubeconfig::from_yaml(&running.kubeconfig).expect("a kubeconfig");
    if let Some(token) = token {
        for user in &mut kubeconfig.auth_infos {
            user.auth_info.as_mut().expect("a user").token = Some(token.to_owned().into());
        }
    }
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a config");
    // A 503 is an answer here, not something to ask about again.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// Status and body of an answer; `headers` go with the request.
async fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let response = client.send(request.body(body.into()).expect("a request")).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_token_tells_who_asks_and_the_rules_what_they_may() {
    let running = server().await;
    let bob = client(&running, "bob@kubesim", None).await;
    assert_eq!(ask(&bob, "GET", MAPS, &[], &Value::Null).await.0, 200);
    let (status, refused) = ask(&bob, "POST", MAPS, &[], &json!({"metadata": {"name": "a"}})).await;
    assert_eq!((status, &refused["reason"]), (403, &json!("Forbidden")));
    let stranger = client(&running, "kubesim", Some("a-token-of-nobody")).await;
    let (status, refused) = ask(&stranger, "GET", MAPS, &[], &Value::Null).await;
    assert_eq!((status, &refused["reason"]), (401, &json!("Unauthorized")));
    let admin = client(&running, "kubesim", None).await;
    let (_, audit) = ask(&admin, "GET", "/kubesim/audit", &[], &Value::Null).await;
    assert_eq!(audit["users"]["bob"]["requests"], json!({"create": {"configmaps": 1}, "list": {"configmaps": 1}}));
    running.shutdown().await;
}

#[tokio::test]
async fn who_may_impersonates_and_has_the_rights_of_the_other_then() {
    let running = server().await;
    let admin = client(&running, "kubesim", None).await;
    let as_bob = [("impersonate-user", "bob")];
    assert_eq!(ask(&admin, "GET", MAPS, &as_bob, &Value::Null).await.0, 200);
    let (status, refused) = ask(&admin, "POST", MAPS, &as_bob, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(status, 403);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains(r#"User "bob" cannot create"#)), "{refused}");
    let masters = [("impersonate-user", "eve"), ("impersonate-group", "system:masters")];
    assert_eq!(ask(&admin, "POST", MAPS, &masters, &json!({"metadata": {"name": "a"}})).await.0, 201);
    assert_eq!(ask(&admin, "GET", MAPS, &masters[1..], &Value::Null).await.0, 400);
    let bob = client(&running, "bob@kubesim", None).await;
    let (status, refused) = ask(&bob, "GET", MAPS, &[("impersonate-user", "admin")], &Value::Null).await;
    assert_eq!(status, 403);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("cannot impersonate resource")), "{refused}");

    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, &running.kubeconfig).expect("writes");
    let can = async |verb: &str| {
        let mut command =
            tokio::process::Command::from(kubectl(&kubeconfig, folder.path()).expect("there is a kubectl"));
        let output = command.args(["auth", "can-i", verb, "configmaps", "--as=bob"]).output().await.expect("it runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!((can("list").await, can("delete").await), ("yes".to_owned(), "no".to_owned()));
    running.shutdown().await;
}

/// Answers one request, and gives its head and body.
async fn answer_once(listener: TcpListener) -> String {
    let (mut socket, _) = listener.accept().await.expect("a caller");
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while !heard.windows(4).any(|four| four == b"\r\n\r\n") {
        let length = socket.read(&mut piece).await.expect("reads");
        heard.extend_from_slice(&piece[..length]);
    }
    let answer = b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 4\r\nx-of: the-service\r\n\r\nshop";
    socket.write_all(answer).await.expect("writes");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn the_service_proxy_goes_to_a_local_address_and_tells_nothing_of_the_caller() {
    let running = server().await;
    let admin = client(&running, "kubesim", None).await;
    let bob = client(&running, "bob@kubesim", None).await;
    let services = "/api/v1/namespaces/default/services";
    let proxy = format!("{services}/shop/proxy/a%20b/c?d=e%2Ff");
    assert_eq!(ask(&bob, "GET", &proxy, &[], &Value::Null).await.0, 404, "there is no such Service");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let service = json!({
        "metadata": {"name": "shop", "annotations": {"kubesim.hansa.dev/address": address.to_string()}},
        "spec": {"ports": [{"port": 80}]},
    });
    assert_eq!(ask(&admin, "POST", services, &[], &service).await.0, 201);
    let heard = tokio::spawn(answer_once(listener));
    let (status, body) = ask(&bob, "GET", &proxy, &[("x-own", "kept")], &Value::Null).await;
    assert_eq!((status, body), (418, json!("shop")));
    let heard = tokio::time::timeout(Duration::from_secs(20), heard).await.expect("in time").expect("it was called");
    assert!(heard.starts_with("GET /a%20b/c?d=e%2Ff HTTP/1.1\r\n"), "{heard}");
    let heard = heard.to_lowercase();
    assert!(heard.contains("x-own: kept") && !heard.contains("authorization"), "{heard}");

    let (status, refused) = ask(&bob, "POST", &format!("{services}/shop/proxy/"), &[], &json!({})).await;
    assert_eq!((status, &refused["reason"]), (403, &json!("Forbidden")), "the verb counts");
    let (status, refused) = ask(&bob, "GET", &proxy, &[], &Value::Null).await;
    assert_eq!(status, 503, "nobody listens any more: {refused}");
    let without =
        json!({"metadata": {"name": "empty"}, "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]}});
    assert_eq!(ask(&admin, "POST", services, &[], &without).await.0, 201);
    let (status, refused) = ask(&bob, "GET", &format!("{services}/empty/proxy/"), &[], &Value::Null).await;
    assert_eq!(status, 503);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("no endpoints available")), "{refused}");
    running.shutdown().await;
}
