//! The clouds' own clients, from URL, options and environment.

use super::federated;
use super::line::Line;
use crate::error::{Category, TopoError};
use crate::open::Options;
use crate::url::{Cloud, ObjectsUrl};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::ClientConfigKey;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::{Certificate, ObjectStore, RetryConfig, StaticCredentialProvider};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What Hansa needs of an object store.
pub(super) trait Store: ObjectStore + PaginatedListStore {}

impl<S: ObjectStore + PaginatedListStore> Store for S {}

/// A client of the store at `url`. Nothing is asked yet.
pub(super) fn store(url: &ObjectsUrl, options: &Options, line: Line) -> Result<Arc<dyn Store>, TopoError> {
    // Nothing is repeated behind our back: a repeated write that was received twice would be refused
    // for its own sake.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let login = login(url, options)?;
    let allow_http = url.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let built: object_store::Result<Arc<dyn Store>> = match url.cloud {
        Cloud::S3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(&url.bucket)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .with_retry(retry)
                .with_http_connector(line);
            if let Some(region) = &url.region {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) = &url.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if url.virtual_hosted {
                builder = builder.with_virtual_hosted_style_request(true);
            }
            if let Some((user, password)) = login {
                builder = builder.with_access_key_id(user).with_secret_access_key(password);
            }
            if allow_http {
                builder = builder.with_allow_http(true);
            }
            if url.anonymous {
                builder = builder.with_skip_signature(true);
            }
            builder.build().map(|store| Arc::new(store) as Arc<dyn Store>)
        }
        Cloud::Gs => {
            if login.is_some() {
                let message = "a user and a password are not how one logs in there; name a service account's file in \
                               GOOGLE_APPLICATION_CREDENTIALS, or give the pod a workload identity";
                return Err(TopoError::new(Category::Configuration, url.cloud.scheme(), message));
            }
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(&url.bucket)
                .with_retry(retry)
                .with_http_connector(line.clone());
            if let Some(endpoint) = &url.endpoint {
                builder = builder.with_config(GoogleConfigKey::BaseUrl, endpoint);
            }
            if url.anonymous {
                // Its `skip_signature` does not hold for writes.
                let nobody = GcpCredential { bearer: String::new() };
                builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
            } else if let Some(file) = google_key_file() {
                federated::check_private_file(&file)?;
            } else if let Some(file) = google_file()
                && let Some(credentials) = federated::credentials(&file, &line)?
            {
                builder = builder.with_credentials(credentials);
            }
            builder.build().map(|store| Arc::new(store) as Arc<dyn Store>)
        }
        Cloud::Az => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(&url.bucket)
                .with_retry(retry)
                .with_http_connector(line);
            if let Some(endpoint) = &url.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            if let Some((user, password)) = login {
                builder = builder.with_account(user).with_access_key(password);
            }
            if let Some(account) = &url.account {
                builder = builder.with_account(account);
            }
            // As Azure's webhook writes it, and `object_store` adds one of its own.
            if let Some(host) = std::env::var("AZURE_AUTHORITY_HOST").ok().filter(|host| host.ends_with('/')) {
                builder = builder.with_authority_host(host.trim_end_matches('/'));
            }
            if allow_http {
                builder = builder
                    .with_config(object_store::azure::AzureConfigKey::Client(ClientConfigKey::AllowHttp), "true");
            }
            if url.anonymous {
                builder = builder.with_skip_signature(true);
            }
            builder.build().map(|store| Arc::new(store) as Arc<dyn Store>)
        }
    };
    built.map_err(|error| {
        let message = format!("{url}: the settings do not do; look at the URL and at {}", variables(url.cloud));
        TopoError::new(Category::Configuration, url.cloud.scheme(), message).caused_by(error)
    })
}

/// The file with a service account's key, where the environment names one as such.
fn google_key_file() -> Option<PathBuf> {
    let named = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"].iter().find_map(std::env::var_os);
    named.map(PathBuf::from)
}

/// The file of Google's application default credentials, unless the environment holds a service account's key itself.
fn google_file() -> Option<PathBuf> {
    if std::env::var_os("GOOGLE_SERVICE_ACCOUNT_KEY").is_some() {
        return None;
    }
    std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from)
}

/// Where a cloud's settings come from, for messages.
pub(super) fn variables(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::S3 => "the variables AWS_…",
        Cloud::Gs => "the variables GOOGLE_…",
        Cloud::Az => "the variables AZURE_…",
    }
}

/// The user and the password of the options.
fn login(url: &ObjectsUrl, options: &Options) -> Result<Option<(String, String)>, TopoError> {
    let backend = url.cloud.scheme();
    let password = match (&options.password, &options.password_file) {
        (Some(password), _) => Some(password.reveal().to_owned()),
        (None, Some(file)) => Some(crate::open::read_password(backend, file)?),
        (None, None) => None,
    };
    match (options.user.clone(), password) {
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            let message = "HANSA_TOPO_USER and HANSA_TOPO_PASSWORD (or its file) need each other; give both, or none";
            Err(TopoError::new(Category::Configuration, backend, message))
        }
    }
}

/// The certificates in a PEM file.
pub(super) fn certificates(cloud: Cloud, file: &Path) -> Result<Vec<Certificate>, TopoError> {
    let wrong = |what: &str| {
        TopoError::new(Category::Configuration, cloud.scheme(), format!("file {}: {what}", file.display()))
    };
    let text = std::fs::read(file)
        .map_err(|error| wrong("it cannot be read; mend the path or its permissions").caused_by(error))?;
    match Certificate::from_pem_bundle(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong("it has no CERTIFICATE in PEM form; name another file")),
        Err(error) => Err(wrong("it has no CERTIFICATE in PEM form; name another file").caused_by(error)),
    }
}
