//! Credentials of pods: what each cloud gives a pod in place of a password, how it is renewed, and what is said when it
//! is given no more. The stores are real where they can check a credential; proxies between.

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/identity.rs"]
mod identity;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sigv4.rs"]
mod sigv4;
#[path = "support/stores.rs"]
mod stores;
mod support;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use certificates::Certificates;
use hansa_topo::url::Cloud;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use identity::{ForwardProxy, Issuer, Stub, fields};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use stores::{PASSWORD, Server, USER};
use support::hammer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// A process with an environment of its own that reads and writes once for each word that it is given.
struct Tally {
    _child: Child,
    asked: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Tally {
    /// `home` is where a user's own credentials would be.
    fn start(url: &str, home: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = hammer(&["tally", url]);
        command.env_clear().env("HOME", home).envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        Tally { asked: child.stdin.take().unwrap(), told, _child: child }
    }

    async fn raise(&mut self) -> String {
        // One that could not open its store has said so, and is gone.
        let _ = self.asked.write_all(b"once\n").await;
        self.told.next_line().await.unwrap().expect("it tells what came of it")
    }
}

/// The same token serves until it is about to end; then the next one does, and when there is none that is said.
async fn lives_by(issuer: &Issuer, tally: &mut Tally) {
    for count in 1..=3 {
        assert_eq!(tally.raise().await, count.to_string());
    }
    assert_eq!(issuer.issued(), 1);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut count = 3;
    while issuer.issued() < 3 {
        count += 1;
        assert_eq!(tally.raise().await, count.to_string(), "after {} tokens", issuer.issued());
        assert!(Instant::now() < deadline, "only {} tokens were asked for", issuer.issued());
    }
    issuer.close();
    let told = loop {
        let told = tally.raise().await;
        if told.contains("no credentials could be had") {
            break told;
        }
        // What it still has is refused, until it asks for more.
        assert!(told.parse::<u64>().is_ok() || told.starts_with("unauthorized: "), "{told}");
        assert!(Instant::now() < deadline, "it goes on without a token");
    };
    assert!(told.starts_with("unauthorized: ") && told.contains("give the pod a workload identity"), "{told}");
}

fn since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// So many seconds from now, as RFC 3339 has it.
fn rfc3339_in(seconds: u64) -> String {
    let at = since_1970() + seconds;
    let (mut days, rest) = (at / 86_400, at % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}

fn header<'a>(headers: &'a hyper::HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An S3 server behind a guard that wants the newest session token in the signature. The gateway knows no sessions, so
/// that the guard takes the token out and signs anew.
async fn s3_with_sessions(issuer: &Arc<Issuer>) -> Server {
    let server = Server::start(Cloud::S3).await;
    let issuer = issuer.clone();
    server.proxy.guard(Box::new(move |parts| {
        let holds = issuer.holds(header(&parts.headers, "x-amz-security-token")) && sigv4::is_signed(parts, PASSWORD);
        if holds {
            parts.headers.remove("x-amz-security-token");
            sigv4::sign(parts, PASSWORD);
        }
        let error = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
        (!holds).then(|| (StatusCode::BAD_REQUEST.as_u16(), error.to_owned()))
    }));
    server
}

/// AWS renews what holds for less than five minutes.
const AWS_LIFE: u64 = 302;

/// IAM roles for service accounts, as EKS injects them: a file with a token, exchanged at the Security Token Service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_by_a_role_for_a_service_account() {
    let (certificates, issuer, home) = (Certificates::new(), Arc::new(Issuer::default()), tempfile::tempdir().unwrap());
    let server = s3_with_sessions(&issuer).await;
    let file = home.path().join("token");
    std::fs::write(&file, "of the cluster").unwrap();
    let of_the_service = issuer.clone();
    let service = Stub::start(Some(&certificates), move |request: &Request<Bytes>| {
        let asked = fields(request.uri().query().unwrap_or_default());
        assert_eq!(asked["Action"], "AssumeRoleWithWebIdentity");
        assert_eq!(asked["RoleArn"], "arn:aws:iam::123456789012:role/hansa");
        assert_eq!(asked["WebIdentityToken"], "of the cluster");
        let Some(token) = of_the_service.issue() else {
            let refusal = "<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>";
            return (400, refusal.to_owned());
        };
        let credentials = format!(
            "<AccessKeyId>{USER}</AccessKeyId><SecretAccessKey>{PASSWORD}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{}</Expiration>",
            rfc3339_in(AWS_LIFE)
        );
        let result = format!("<Credentials>{credentials}</Credentials>");
        let result = format!("<AssumeRoleWithWebIdentityResult>{result}</AssumeRoleWithWebIdentityResult>");
        (200, format!("<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResponse>"))
    })
    .await;
    let url = format!("{}&ca={}", server.url("irsa"), certificates.path("ca.pem"));
    let environment = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/hansa"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &format!("https://127.0.0.1:{}", service.port)),
    ];
    lives_by(&issuer, &mut Tally::start(&url, home.path(), &environment)).await;
}

/// EKS Pod Identity: an agent on the node gives credentials for the token of a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_by_a_pod_identity() {
    let (issuer, home) = (Arc::new(Issuer::default()), tempfile::tempdir().unwrap());
    let server = s3_with_sessions(&issuer).await;
    let file = home.path().join("token");
    std::fs::write(&file, "of-the-pod").unwrap();
    let of_the_agent = issuer.clone();
    let agent = Stub::start(None, move |request: &Request<Bytes>| {
        assert_eq!(
            (request.uri().path(), header(request.headers(), "authorization")),
            ("/v1/credentials", "of-the-pod")
        );
        let Some(token) = of_the_agent.issue() else { return (403, "the association was removed".to_owned()) };
        let expiration = rfc3339_in(AWS_LIFE);
        let answer =
            json!({"AccessKeyId": USER, "SecretAccessKey": PASSWORD, "Token": token, "Expiration": expiration});
        (200, answer.to_string())
    })
    .await;
    let environment = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*format!("http://127.0.0.1:{}/v1/credentials", agent.port)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    lives_by(&issuer, &mut Tally::start(&server.url("pod"), home.path(), &environment)).await;
}

/// A Google server behind a guard that wants the newest token.
async fn gs_with_tokens(issuer: &Arc<Issuer>) -> (Server, String) {
    let server = Server::start(Cloud::Gs).await;
    let issuer = issuer.clone();
    server.proxy.guard(Box::new(move |parts| {
        let token = header(&parts.headers, "authorization").trim_start_matches("Bearer ");
        (!issuer.holds(token)).then(|| (401, "Invalid Credentials".to_owned()))
    }));
    let url = server.url("identity").replace("&anonymous=true", "");
    (server, url)
}

/// GKE: the metadata server gives tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gs_by_the_metadata_server() {
    let (issuer, home) = (Arc::new(Issuer::default()), tempfile::tempdir().unwrap());
    let (_server, url) = gs_with_tokens(&issuer).await;
    let of_the_server = issuer.clone();
    let metadata = Stub::start(None, move |request: &Request<Bytes>| {
        assert_eq!(header(request.headers(), "metadata-flavor"), "Google");
        assert_eq!(request.uri().path(), "/computeMetadata/v1/instance/service-accounts/default/token");
        let Some(token) = of_the_server.issue() else { return (404, "no service account".to_owned()) };
        // Renewed four minutes before its end.
        (200, json!({"access_token": token, "expires_in": 242, "token_type": "Bearer"}).to_string())
    })
    .await;
    let host = format!("127.0.0.1:{}", metadata.port);
    let environment = [("GCE_METADATA_HOST", &*host), ("GCE_METADATA_IP", &*host)];
    lives_by(&issuer, &mut Tally::start(&url, home.path(), &environment)).await;
}

const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/clusters/providers/eks-use1";

/// What stands in a file of Google's for a member in another cloud.
fn external_account(service: &Stub, source: serde_json::Value) -> serde_json::Value {
    json!({
        "type": "external_account",
        "universe_domain": "googleapis.com",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("https://127.0.0.1:{}/v1/token", service.port),
        "credential_source": source,
    })
}

/// Google's Security Token Service, which takes `subject`; and the service account that its tokens may speak for.
async fn security_token_service(issuer: &Arc<Issuer>, certificates: &Certificates, subject: &'static str) -> Stub {
    let issuer = issuer.clone();
    Stub::start(Some(certificates), move |request: &Request<Bytes>| match request.uri().path() {
        "/v1/token" => {
            let asked = fields(std::str::from_utf8(request.body()).unwrap());
            assert_eq!(asked["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
            assert_eq!(asked["requested_token_type"], "urn:ietf:params:oauth:token-type:access_token");
            assert_eq!(asked["subject_token_type"], "urn:ietf:params:oauth:token-type:jwt");
            assert_eq!(asked["scope"], "https://www.googleapis.com/auth/cloud-platform");
            assert_eq!((&*asked["audience"], &*asked["subject_token"]), (AUDIENCE, subject));
            let Some(token) = issuer.issue() else { return (400, json!({"error": "invalid_grant"}).to_string()) };
            let issued = "urn:ietf:params:oauth:token-type:access_token";
            let answer =
                json!({"access_token": token, "issued_token_type": issued, "token_type": "Bearer", "expires_in": 3});
            (200, answer.to_string())
        }
        "/v1/projects/-/serviceAccounts/hansa@p.iam.gserviceaccount.com:generateAccessToken" => {
            let asked: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            assert_eq!(asked, json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "2s"}));
            let token = header(request.headers(), "authorization").trim_start_matches("Bearer ");
            if !issuer.holds(token) {
                return (403, "no".to_owned());
            }
            (200, json!({"accessToken": token, "expireTime": rfc3339_in(2)}).to_string())
        }
        other => panic!("nobody asks for {other}"),
    })
    .await
}

/// A member elsewhere: the cluster's token, from a file or a URL, becomes one of Google's, or of a service account there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gs_by_workload_identity_federation() {
    let certificates = Certificates::new();
    for (from_a_url, impersonates) in [(false, false), (false, true), (true, false)] {
        let (issuer, home) = (Arc::new(Issuer::default()), tempfile::tempdir().unwrap());
        let (_server, url) = gs_with_tokens(&issuer).await;
        let service = security_token_service(&issuer, &certificates, "of.the.cluster").await;
        let node = Stub::start(None, |request: &Request<Bytes>| {
            assert_eq!((request.uri().path(), header(request.headers(), "metadata")), ("/identity", "True"));
            (200, json!({"access_token": "of.the.cluster"}).to_string())
        })
        .await;
        let source = if from_a_url {
            let format = json!({"type": "json", "subject_token_field_name": "access_token"});
            json!({"url": format!("http://127.0.0.1:{}/identity", node.port), "headers": {"Metadata": "True"}, "format": format})
        } else {
            let file = home.path().join("token");
            std::fs::write(&file, "of.the.cluster\n").unwrap();
            json!({"file": file})
        };
        let mut configuration = external_account(&service, source);
        if impersonates {
            let account = "v1/projects/-/serviceAccounts/hansa@p.iam.gserviceaccount.com:generateAccessToken";
            configuration["service_account_impersonation_url"] =
                json!(format!("https://127.0.0.1:{}/{account}", service.port));
            configuration["service_account_impersonation"] = json!({"token_lifetime_seconds": 2});
        }
        let file = home.path().join("credentials.json");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let url = format!("{url}&ca={}", certificates.path("ca.pem"));
        let environment = [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())];
        lives_by(&issuer, &mut Tally::start(&url, home.path(), &environment)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_federated_file_cannot_be_is_named() {
    let (issuer, home) = (Arc::new(Issuer::default()), tempfile::tempdir().unwrap());
    let certificates = Certificates::new();
    let service = security_token_service(&issuer, &certificates, "").await;
    let good = external_account(&service, json!({"file": "/token"}));
    let with = |field: &str, value: serde_json::Value| {
        let mut file = good.clone();
        file[field] = value;
        file
    };
    let cases = [
        (with("credential_source", json!({"environment_id": "aws1"})), "credential_source.environment_id"),
        (with("credential_source", json!({"executable": {"command": "/bin/true"}})), "credential_source.executable"),
        (with("credential_source", json!({"format": {}})), "neither a file nor a URL"),
        (with("credential_source", json!({"file": "/t", "format": {"type": "json"}})), "subject_token_field_name"),
        (with("credential_source", json!({"file": "/t", "format": {"type": "xml"}})), "neither text nor json"),
        (with("token_url", json!("http://sts.googleapis.com/v1/token")), "token_url is no https:// URL"),
        (with("audience", json!(7)), "expected a string"),
    ];
    for (file, word) in cases {
        let path = home.path().join("credentials.json");
        std::fs::write(&path, file.to_string()).unwrap();
        let environment = [("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap())];
        let told = Tally::start("gs://league/hansa", home.path(), &environment).raise().await;
        assert!(
            told.starts_with("configuration: ") && told.contains(word) && told.contains("credentials.json"),
            "{told}"
        );
    }
    // A file with a key in it is refused where others may read it, whichever variable names it.
    let path = home.path().join("key.json");
    std::fs::write(&path, json!({"type": "service_account", "private_key": "hunter2"}).to_string()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    for variable in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"] {
        let environment = [(variable, path.to_str().unwrap())];
        let told = Tally::start("gs://league/hansa", home.path(), &environment).raise().await;
        assert!(told.contains("key.json") && told.contains("(644) are open to others"), "{variable}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    // A token that is not there is named when it is needed.
    let path = home.path().join("credentials.json");
    std::fs::write(&path, external_account(&service, json!({"file": "/no/such/token"})).to_string()).unwrap();
    let environment = [("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap())];
    let told = Tally::start("gs://league/hansa", home.path(), &environment).raise().await;
    assert!(told.contains("/no/such/token") && told.contains("no credentials could be had"), "{told}");
}

/// A token as Microsoft Entra writes it. Azurite checks who made it, for whom, and from when to when it holds, and not the
/// signature.
fn entra_token(name: &str, seconds: u64) -> String {
    let now = since_1970();
    let claims = json!({"iss": "https://sts.windows.net/tenant/", "aud": "https://storage.azure.com", "sub": name, "nbf": now - 5,
                        "iat": now - 5, "exp": now + seconds});
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmVk", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims))
}

/// AKS: the file that the webhook projects, exchanged at Microsoft Entra, with the address as the webhook writes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn az_by_a_workload_identity() {
    let (certificates, issuer, home) = (Certificates::new(), Arc::new(Issuer::default()), tempfile::tempdir().unwrap());
    let server = Server::start_with_tls(Cloud::Az, &certificates).await;
    let file = home.path().join("token");
    std::fs::write(&file, "of.the.cluster").unwrap();
    let of_the_authority = issuer.clone();
    let authority = Stub::start(Some(&certificates), move |request: &Request<Bytes>| {
        assert_eq!(request.uri().path(), "/tenant/oauth2/v2.0/token");
        let asked = fields(std::str::from_utf8(request.body()).unwrap());
        assert_eq!(asked["client_id"], "client");
        assert_eq!(asked["client_assertion"], "of.the.cluster");
        assert_eq!(asked["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(
            (&*asked["grant_type"], &*asked["scope"]),
            ("client_credentials", "https://storage.azure.com/.default")
        );
        let Some(name) = of_the_authority.issue() else { return (401, json!({"error": "invalid_client"}).to_string()) };
        // Renewed five minutes before what is said here. The server refuses it a few seconds later: to go on, it must be.
        let token = entra_token(&name, 4);
        (200, json!({"access_token": token, "expires_in": 302, "token_type": "Bearer"}).to_string())
    })
    .await;
    let url = format!("{}&ca={}", server.direct_url("identity"), certificates.path("ca.pem"));
    let environment = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", &format!("https://127.0.0.1:{}/", authority.port)),
    ];
    lives_by(&issuer, &mut Tally::start(&url, home.path(), &environment)).await;
}

/// `proxy:secret` in base64, for `Proxy-Authorization`.
const PROXY_WORD: &str = "cHJveHk6c2VjcmV0";

/// The server under a name that only the proxy knows. Azure has the account in its name, as an Azurite expects of names.
fn internal(cloud: Cloud, url: &str) -> String {
    let host = if cloud == Cloud::Az { "devstoreaccount1.store.internal" } else { "store.internal" };
    url.replace("/devstoreaccount1", "").replace("//127.0.0.1:", &format!("//{host}:"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cloud_is_reached_through_a_proxy() {
    let proxy = ForwardProxy::start(PROXY_WORD).await;
    let home = tempfile::tempdir().unwrap();
    let through = format!("http://proxy:secret@127.0.0.1:{}", proxy.port);
    let without = format!("http://127.0.0.1:{}", proxy.port);
    for cloud in [Cloud::S3, Cloud::Gs, Cloud::Az] {
        let server = Server::start(cloud).await;
        let url = internal(cloud, &server.url("proxied"));
        let before = proxy.forwarded.load(Ordering::SeqCst);
        let mut environment = vec![("HTTP_PROXY", &*through), ("HTTPS_PROXY", &*through)];
        if cloud != Cloud::Gs {
            let user = if cloud == Cloud::S3 { USER } else { "devstoreaccount1" };
            let password = if cloud == Cloud::S3 { PASSWORD } else { stores::AZURITE_KEY };
            environment.extend([("HANSA_TOPO_USER", user), ("HANSA_TOPO_PASSWORD", password)]);
        }
        let mut tally = Tally::start(&url, home.path(), &environment);
        assert_eq!([tally.raise().await, tally.raise().await], ["1", "2"], "{cloud:?}");
        assert!(proxy.forwarded.load(Ordering::SeqCst) >= before + 4, "{cloud:?}");
        // Without the proxy nobody knows the name, and one that does not let us in is named by its status.
        let mut tally = Tally::start(&url, home.path(), &environment[2..]);
        let told = tally.raise().await;
        assert!(told.starts_with("unavailable: ") && told.contains("cannot be reached"), "{cloud:?}: {told}");
        environment[0].1 = &without;
        let told = Tally::start(&url, home.path(), &environment).raise().await;
        assert!(told.parse::<u64>().is_err() && told.contains("407"), "{cloud:?}: {told}");
    }
}

/// With TLS the proxy passes on what it cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_a_tunnel_for_tls() {
    let (proxy, certificates) = (ForwardProxy::start(PROXY_WORD).await, Certificates::new());
    let home = tempfile::tempdir().unwrap();
    let through = format!("http://proxy:secret@127.0.0.1:{}", proxy.port);
    for (cloud, user, password) in [(Cloud::S3, USER, PASSWORD), (Cloud::Az, "devstoreaccount1", stores::AZURITE_KEY)] {
        let server = Server::start_with_tls(cloud, &certificates).await;
        let url = internal(cloud, &server.direct_url("proxied"));
        let url = format!("{url}&ca={}", certificates.path("ca.pem"));
        let before = proxy.tunnels.load(Ordering::SeqCst);
        let environment = [("HTTPS_PROXY", &*through), ("HANSA_TOPO_USER", user), ("HANSA_TOPO_PASSWORD", password)];
        let mut tally = Tally::start(&url, home.path(), &environment);
        assert_eq!([tally.raise().await, tally.raise().await], ["1", "2"], "{cloud:?}");
        assert!(proxy.tunnels.load(Ordering::SeqCst) > before, "{cloud:?}");
    }
    assert_eq!(proxy.forwarded.load(Ordering::SeqCst), 0);
}
