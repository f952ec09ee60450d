//! Waiting for a state of one object: a consistent read, then a watch from there, again when it ends.

use super::{Body, CallError, Cluster, Verb};
use crate::resource::{Resource, encode};
use bytes::BytesMut;
use futures::StreamExt;
use hansa_runner::api_server::one_line;
use http::header::ACCEPT;
use http_body_util::BodyExt;
use kube::client::Body as HttpBody;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How long to leave an API server alone that has gone away meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

impl Cluster {
    /// Waits until `judge` is content with the object, which is `None` while it does not exist.
    /// Answers `None` when the deadline comes first.
    ///
    /// # Errors
    /// When the object cannot be read in the first place.
    pub async fn until<T>(
        &self,
        resource: &Resource,
        deadline: Instant,
        mut judge: impl FnMut(Option<&Value>) -> Option<T>,
    ) -> Result<Option<T>, CallError> {
        let waiting = async {
            let mut first = true;
            loop {
                match self.follow(resource, &mut judge).await {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    // Refusals stay, and what never worked will not; a server that restarts comes back.
                    Err(error) if first || error.is_forbidden() => return Err(error),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
                first = false;
            }
        };
        tokio::time::timeout_at(deadline, waiting).await.map_or(Ok(None), |ended| ended.map(Some))
    }

    /// Reads, and watches until the watch ends.
    async fn follow<T>(
        &self,
        resource: &Resource,
        judge: &mut impl FnMut(Option<&Value>) -> Option<T>,
    ) -> Result<Option<T>, CallError> {
        let selector = format!("fieldSelector=metadata.name%3D{}", encode(resource.name()));
        let collection = resource.collection();
        let list = self.request(Verb::List, &collection, &selector, Body::None).await?.object;
        if let Some(found) = judge(list["items"].as_array().and_then(|items| items.first())) {
            return Ok(Some(found));
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let unsent = |reason: String| CallError::unsent(Verb::Watch, resource, &self.server, reason);
        let path = format!(
            "{}?{selector}&watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={}",
            collection.path(),
            encode(version)
        );
        let request = http::Request::builder()
            .uri(path)
            .header(ACCEPT, "application/json")
            .body(HttpBody::empty())
            .map_err(|error| unsent(error.to_string()))?;
        let response = self.client.send(request).await.map_err(|error| unsent(one_line(&error)))?;
        let status = response.status().as_u16();
        if status >= 300 {
            let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            return Err(CallError::refused(Verb::Watch, &collection, &self.server, status, &body));
        }
        let mut frames = response.into_body().into_data_stream();
        let mut buffer = BytesMut::new();
        while let Some(frame) = frames.next().await {
            buffer.extend_from_slice(&frame.map_err(|error| unsent(one_line(&error)))?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                let found = match event["type"].as_str() {
                    Some("ADDED" | "MODIFIED") => judge(Some(&event["object"])),
                    Some("DELETED") => judge(None),
                    // The history is gone: read anew.
                    Some("ERROR") => return Ok(None),
                    _ => None,
                };
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}
