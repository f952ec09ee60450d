//! Sending a request, and what became of it.

use super::Objects;
use super::clouds;
use super::line::{Answer, Fate, Trace};
use super::meaning::{Meaning, meaning};
use crate::error::{Category, TopoError};
use crate::url::Cloud;
use crate::usage::Operation;
use futures::future::BoxFuture;
use std::sync::PoisonError;
use std::time::Duration;

/// How often a read is tried where the connection broke or the server said no for the moment.
const ATTEMPTS: u32 = 3;
/// A longer wait than this is the caller's.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Why a request has no result.
pub(super) enum Failure {
    /// It was not sent.
    NotSent(TopoError),
    /// It was answered so.
    Answered(Answer),
    /// It may have been received.
    Open(TopoError),
}

impl Objects {
    /// An error of this backend.
    pub(super) fn error(&self, category: Category, message: impl Into<String>) -> TopoError {
        TopoError::new(category, self.url.cloud.scheme(), message)
    }

    /// Sends one request, and tells what became of it.
    pub(super) async fn ask<'a, T>(
        &'a self,
        operation: Operation,
        request: impl FnOnce(Trace) -> BoxFuture<'a, object_store::Result<T>>,
    ) -> Result<T, Failure> {
        let trace = Trace::new(operation);
        let timeout = self.url.timeout;
        let asked = tokio::time::timeout(timeout, request(trace.clone())).await;
        let (late, cause) = match asked {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(error)) => (false, Some(error)),
            Err(_) => (true, None),
        };
        let caused = |error: TopoError| match cause {
            // Its text has those of its causes already.
            Some(cause) => error.caused_by(cause.to_string()),
            None => error,
        };
        Err(match trace.fate() {
            Fate::NoCredentials => Failure::NotSent(caused(self.no_credentials(late))),
            Fate::NotSent => {
                let message = format!("{} cannot be reached; look at the network and at endpoint=", self.place());
                Failure::NotSent(caused(self.error(Category::Unavailable, message)))
            }
            Fate::Answered(answer) if !answer.status.is_success() => Failure::Answered(answer),
            Fate::Answered(_) | Fate::Open if late => {
                let message = format!("{} did not answer within {timeout:?}", self.place());
                Failure::Open(self.error(Category::Timeout, message))
            }
            Fate::Answered(_) | Fate::Open => {
                let message = format!("the connection to {} broke, or its answer was not whole", self.place());
                Failure::Open(caused(self.error(Category::Unavailable, message)))
            }
        })
    }

    /// The server, for messages.
    pub(super) fn place(&self) -> &str {
        match (&self.url.endpoint, self.url.cloud) {
            (Some(endpoint), _) => endpoint,
            (None, Cloud::S3) => "Amazon S3",
            (None, Cloud::Gs) => "Google Cloud Storage",
            (None, Cloud::Az) => "Azure Blob Storage",
        }
    }

    fn no_credentials(&self, late: bool) -> TopoError {
        let status = *self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = status.is_some_and(|status| status.is_client_error() && status.as_u16() != 429);
        let category = match refused {
            true => Category::Unauthorized,
            false if late => Category::Timeout,
            false => Category::Unavailable,
        };
        let variables = clouds::variables(self.url.cloud);
        self.error(
            category,
            format!("no credentials could be had; set {variables}, or give the pod a workload identity"),
        )
    }

    /// The error of an answer to a request that certainly changed nothing.
    pub(super) fn refused(&self, answer: &Answer, category: Category, mend: &str) -> TopoError {
        let error = self.error(category, mend).caused_by(answer.to_string());
        match answer.retry_after {
            Some(wait) => error.retry_after(wait),
            None => error,
        }
    }

    /// A read, tried again where that may help at once. None: there is no such object.
    pub(super) async fn read<'a, T>(
        &'a self,
        operation: Operation,
        request: impl Fn(Trace) -> BoxFuture<'a, object_store::Result<T>>,
    ) -> Result<Option<T>, TopoError> {
        let mut attempt = 1;
        loop {
            let error = match self.ask(operation, &request).await {
                Ok(result) => return Ok(Some(result)),
                Err(Failure::NotSent(error) | Failure::Open(error)) => error,
                Err(Failure::Answered(answer)) => match meaning(&answer) {
                    Meaning::Missing => return Ok(None),
                    Meaning::Condition => {
                        self.refused(&answer, Category::Internal, "a read was refused as if it wrote")
                    }
                    Meaning::Refused(category, mend) | Meaning::Unknown(category, mend) => {
                        self.refused(&answer, category, mend)
                    }
                },
            };
            let wait = error.wait().unwrap_or(Duration::from_millis(50) * attempt * attempt);
            let helps = matches!(error.category(), Category::Unavailable | Category::Throttled);
            if !helps || attempt == ATTEMPTS || wait > LONGEST_WAIT {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(wait).await;
        }
    }
}
