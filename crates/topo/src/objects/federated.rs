//! Google's workload identity federation: the token of another identity provider, a cluster in another cloud
//! say, becomes one of Google's (<https://google.aip.dev/auth/4117>).
//!
//! `object_store` knows files of the types `service_account` and `authorized_user`; of the type
//! `external_account` this module reads what a pod needs. The subject token is read from a file, which Kubernetes renews,
//! or from a URL; it is exchanged at a Security Token Service (RFC 8693), and where the file says so that token is
//! exchanged once more for one of a service account.

use super::line::Line;
use crate::error::{Category, TopoError};
use crate::open::check_private;
use crate::url::Cloud;
use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, Request};
use object_store::client::{HttpClient, HttpConnector, HttpRequestBody};
use object_store::gcp::{GcpCredential, GcpCredentialProvider};
use object_store::{ClientOptions, CredentialProvider};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long before its end a token is renewed, unless its whole life is short.
const MARGIN: Duration = Duration::from_secs(240);
/// A token that could not be renewed is tried to be again after this time, as long as it holds.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a token holds of which the service does not say it.
const UNSAID: Duration = Duration::from_secs(300);
const MEND: &str = "name a file to which Kubernetes projects a token of the pod's service account, as `gcloud iam \
                    workload-identity-pools create-cred-config --credential-source-file` does";

/// What a file of the type `external_account` says.
#[derive(Deserialize)]
struct Configuration {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: Value,
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    service_account_impersonation: Impersonation,
}

#[derive(Deserialize)]
struct Impersonation {
    token_lifetime_seconds: u64,
}

impl Default for Impersonation {
    fn default() -> Self {
        Impersonation { token_lifetime_seconds: 3_600 }
    }
}

/// Where the subject token is read.
#[derive(Deserialize)]
struct Place {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, Default)]
struct Format {
    #[serde(rename = "type", default)]
    kind: String,
    subject_token_field_name: Option<String>,
}

/// The credentials that the file at `path` describes; none when it is of another type, or cannot be read at all: that
/// `object_store` says. One of another type holds a secret, which nobody else may read.
pub(super) fn credentials(path: &Path, line: &Line) -> Result<Option<GcpCredentialProvider>, TopoError> {
    let wrong = |what: String| {
        let message = format!("file {} (GOOGLE_APPLICATION_CREDENTIALS): {what}", path.display());
        TopoError::new(Category::Configuration, Cloud::Gs.scheme(), message)
    };
    let Some(file) = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok()) else {
        return Ok(None);
    };
    if file["type"] != "external_account" {
        check_private_file(path)?;
        return Ok(None);
    }
    let configuration: Configuration = serde_json::from_value(file).map_err(|error| wrong(error.to_string()))?;
    let source = &configuration.credential_source;
    if let Some(other) = ["environment_id", "executable", "certificate"].iter().find(|name| source.get(name).is_some())
    {
        return Err(wrong(format!("credential_source.{other} is not supported; {MEND}")));
    }
    let place: Place =
        serde_json::from_value(source.clone()).map_err(|error| wrong(format!("credential_source: {error}; {MEND}")))?;
    if place.file.is_some() == place.url.is_some() {
        return Err(wrong(format!("credential_source has neither a file nor a URL, or both; {MEND}")));
    }
    match (&*place.format.kind, &place.format.subject_token_field_name) {
        ("" | "text", _) | ("json", Some(_)) => {}
        ("json", None) => {
            let what = "credential_source.format is json without subject_token_field_name; add the field's name";
            return Err(wrong(what.to_owned()));
        }
        (other, _) => return Err(wrong(format!("credential_source.format.type {other:?} is neither text nor json"))),
    }
    let urls = [
        ("token_url", Some(&configuration.token_url)),
        ("service_account_impersonation_url", configuration.service_account_impersonation_url.as_ref()),
    ];
    for (field, url) in urls {
        if url.is_some_and(|url| !url.starts_with("https://")) {
            return Err(wrong(format!("{field} is no https:// URL; a token would be seen on its way")));
        }
    }
    // The source may be a metadata server, which speaks no TLS.
    let client = line
        .connect(&ClientOptions::new().with_allow_http(true))
        .map_err(|error| wrong("no client could be made".to_owned()).caused_by(error))?;
    let patience = line.timeout / 2;
    Ok(Some(Arc::new(Federated { configuration, place, client, patience, held: Mutex::default() })))
}

/// Refuses a file of Google's with a secret in it that others may read. One that is not there `object_store` names.
pub(super) fn check_private_file(path: &Path) -> Result<(), TopoError> {
    std::fs::metadata(path).map_or(Ok(()), |metadata| check_private(Cloud::Gs.scheme(), path, &metadata))
}

struct Federated {
    configuration: Configuration,
    place: Place,
    client: HttpClient,
    /// How long a renewal may take while a token still holds: a call that waits for it has its own time.
    patience: Duration,
    held: Mutex<Option<Held>>,
}

struct Held {
    credential: Arc<GcpCredential>,
    renew: Instant,
    end: Instant,
}

impl fmt::Debug for Federated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Federated({})", self.configuration.audience)
    }
}

#[async_trait]
impl CredentialProvider for Federated {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        let mut held = self.held.lock().await;
        let now = Instant::now();
        if let Some(held) = held.as_ref().filter(|held| now < held.renew) {
            return Ok(held.credential.clone());
        }
        let Some(holds) = held.as_mut().filter(|held| now < held.end) else {
            // Whoever needs one meanwhile waits for the same.
            let new = self.renewed().await.map_err(|source| object_store::Error::Generic { store: "GCS", source })?;
            return Ok(held.insert(new).credential.clone());
        };
        // While this call asks, and for a time after it, the others go on with what holds. It may be dropped.
        holds.renew = now + self.patience + AGAIN;
        let credential = holds.credential.clone();
        drop(held);
        let late = |_| Err(format!("no token within {:?}", self.patience).into());
        match timeout(self.patience, self.renewed()).await.unwrap_or_else(late) {
            Ok(new) => Ok(self.held.lock().await.insert(new).credential.clone()),
            Err(error) => {
                tracing::warn!(%error, "the access token could not be renewed yet");
                Ok(credential)
            }
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The answer of the Security Token Service (RFC 8693, 2.2.1).
#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    expires_in: Option<u64>,
}

/// The answer to `generateAccessToken`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: String,
}

impl Federated {
    async fn renewed(&self) -> Result<Held, Failure> {
        let now = Instant::now();
        let (bearer, lifetime) = self.exchanged().await?;
        let margin = MARGIN.min(lifetime / 4);
        let credential = Arc::new(GcpCredential { bearer });
        Ok(Held { credential, renew: now + lifetime - margin, end: now + lifetime })
    }

    /// A token, and how long it holds.
    async fn exchanged(&self) -> Result<(String, Duration), Failure> {
        let configuration = &self.configuration;
        let subject = self.subject_token().await?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .append_pair("audience", &configuration.audience)
            .append_pair("scope", SCOPE)
            .append_pair("requested_token_type", "urn:ietf:params:oauth:token-type:access_token")
            .append_pair("subject_token_type", &configuration.subject_token_type)
            .append_pair("subject_token", &subject)
            .finish();
        let request = Request::post(&configuration.token_url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(HttpRequestBody::from(form))?;
        let token: Exchanged = self.answer("the exchange of the subject token at token_url", request).await?;
        let lifetime = token.expires_in.map_or(UNSAID, Duration::from_secs);
        let Some(url) = &configuration.service_account_impersonation_url else {
            return Ok((token.access_token, lifetime));
        };
        let lifetime = configuration.service_account_impersonation.token_lifetime_seconds;
        let body = json!({"scope": [SCOPE], "lifetime": format!("{lifetime}s")}).to_string();
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", token.access_token))
            .body(HttpRequestBody::from(body))?;
        let token: Impersonated = self.answer("service_account_impersonation_url", request).await?;
        Ok((token.access_token, Duration::from_secs(lifetime)))
    }

    async fn subject_token(&self) -> Result<String, Failure> {
        let text = match (&self.place.file, &self.place.url) {
            (Some(file), _) => tokio::fs::read_to_string(file)
                .await
                .map_err(|error| format!("credential_source.file {}: {error}", file.display()))?,
            (None, Some(url)) => {
                let mut request = Request::get(url);
                for (name, value) in &self.place.headers {
                    request = request.header(HeaderName::try_from(name)?, value);
                }
                let body = self.body("credential_source.url", request.body(HttpRequestBody::empty())?).await?;
                String::from_utf8(body)?
            }
            (None, None) => return Err("credential_source has neither a file nor a URL".into()),
        };
        let token = match &self.place.format.subject_token_field_name {
            Some(field) if self.place.format.kind == "json" => {
                let object: Value = serde_json::from_str(&text)?;
                object[field].as_str().map(str::to_owned)
            }
            _ => Some(text),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        token.ok_or_else(|| "there is no token in what credential_source names".into())
    }

    async fn answer<T: DeserializeOwned>(&self, what: &str, request: Request<HttpRequestBody>) -> Result<T, Failure> {
        let body = self.body(what, request).await?;
        // Not the error's own words, which may show parts of a token.
        serde_json::from_slice(&body).map_err(|_| format!("{what}: the answer has no token").into())
    }

    async fn body(&self, what: &str, request: Request<HttpRequestBody>) -> Result<Vec<u8>, Failure> {
        let answer = self.client.execute(request).await.map_err(|error| format!("{what}: {error}"))?;
        let (parts, body) = answer.into_parts();
        let body = body.bytes().await?;
        if parts.status.is_success() {
            return Ok(body.to_vec());
        }
        let told = String::from_utf8_lossy(&body[..body.len().min(300)]).replace(char::is_control, " ");
        Err(format!("{what}: {}: {}", parts.status, told.trim()).into())
    }
}

#[cfg(test)]
mod tests;
