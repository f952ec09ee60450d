//! Asking the cluster: which member, how long, with which token, and what a failure means.

use super::NAME;
use super::login::{Login, Session};
use super::members::{Member, members};
use super::wire::{self, Answer, AuthenticateRequest, AuthenticateResponse};
use crate::error::{Category, TopoError};
use crate::open::Options;
use crate::url::EtcdUrl;
use crate::usage::{Meter, Operation};
use http::uri::PathAndQuery;
use prost::Message;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Code, ConnectError, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// The cluster, as one handle sees it.
pub(super) struct Cluster {
    members: Vec<Member>,
    /// Which member is asked first: the one that answered last.
    preferred: AtomicUsize,
    timeout: Duration,
    login: Option<Login>,
    /// The cluster's id, known from the first answer on; zero before.
    id: AtomicU64,
    meter: Arc<Meter>,
}

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

/// Why a call has no answer.
pub(super) enum Failure {
    /// It was not done.
    Refused(TopoError),
    /// The revision asked for has been compacted. It was not done.
    Compacted,
    /// It may have been done.
    Unknown(TopoError),
}

impl From<TopoError> for Failure {
    fn from(error: TopoError) -> Self {
        Failure::Refused(error)
    }
}

impl Failure {
    /// The error of a call that changes nothing, which therefore was not done.
    pub(super) fn of_read(self) -> TopoError {
        match self {
            Failure::Refused(error) | Failure::Unknown(error) => error,
            Failure::Compacted => {
                let message = "the revision to read at has been compacted";
                TopoError::new(Category::Stale, NAME, message)
            }
        }
    }
}

/// What a member's refusal means for the call.
enum Meaning {
    /// Not done; another member may do it.
    Elsewhere,
    /// Not done; logging in may help.
    LogIn,
    /// Not done, wherever it is asked.
    Refused(Category, &'static str),
    Compacted,
    /// May have been done.
    Unknown,
}

impl Cluster {
    pub(super) fn new(url: &EtcdUrl, options: &Options, meter: Arc<Meter>) -> Result<Self, TopoError> {
        let login = Login::new(url, options)?;
        if login.is_some() && !url.tls {
            tracing::warn!("the password of the topology server travels in clear text; use etcds://");
        }
        Ok(Cluster {
            members: members(url, options)?,
            preferred: AtomicUsize::new(0),
            timeout: url.timeout,
            login,
            id: AtomicU64::new(0),
            meter,
        })
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.address.as_str())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks each member until one answers; what writes is asked of no other once it may have been
    /// done.
    pub(super) async fn call<Q: Message + Clone + 'static, A: Answer>(
        &self,
        operation: Operation,
        effect: Effect,
        path: &'static str,
        question: &Q,
    ) -> Result<A, Failure> {
        let mut failure = None;
        for member in self.order() {
            match self.ask(operation, member, path, question).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Final(final_failure)) => return Err(final_failure),
                Err(Trouble::Unknown(error)) if effect == Effect::Writes => {
                    return Err(Failure::Unknown(error));
                }
                Err(Trouble::Elsewhere(error) | Trouble::Unknown(error)) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(no_members).into())
    }

    /// Asks one member, logging in as need be.
    pub(super) async fn ask<Q: Message + Clone + 'static, A: Answer>(
        &self,
        operation: Operation,
        member: usize,
        path: &'static str,
        question: &Q,
    ) -> Result<A, Trouble> {
        let mut session = self.session(operation, member).await?;
        let mut again = true;
        loop {
            self.meter.request(operation);
            let request = prepared(question.clone(), &session);
            let answered = self.unary(member, path, request).await;
            match self.settled(member, answered, &session) {
                Err(Settled::LogIn(number)) if again => {
                    again = false;
                    session = self.log_in(operation, member, number).await?;
                }
                Err(Settled::LogIn(_)) => return Err(self.not_logged_in(member).into()),
                Err(Settled::Trouble(trouble)) => return Err(trouble),
                Ok(answer) => {
                    self.same_cluster(&answer).map_err(Trouble::Unknown)?;
                    self.preferred.store(member, Ordering::Relaxed);
                    return Ok(answer);
                }
            }
        }
    }

    /// Opens a stream at one member, and gives it with its first answer.
    pub(super) async fn stream<Q: Message + Clone + 'static, A: Answer>(
        &self,
        operation: Operation,
        member: usize,
        path: &'static str,
        question: &Q,
    ) -> Result<(Streaming<A>, A), Trouble> {
        let session = self.session(operation, member).await?;
        self.meter.request(operation);
        let question = question.clone();
        // The stream of questions stays open after its only one, for its end would end the answers.
        let questions = futures::StreamExt::chain(
            futures::stream::once(futures::future::ready(question)),
            futures::stream::pending(),
        );
        let opened = async {
            let mut grpc = self.ready(member).await?;
            let request = prepared(questions, &session);
            let codec = ProstCodec::<Q, A>::default();
            let mut answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner();
            match answers.message().await? {
                Some(first) => Ok((answers, first)),
                None => Err(Status::unavailable("the stream ended at once")),
            }
        };
        let opened = self.timed(opened).await;
        let opened = match self.settled(member, opened, &session) {
            Ok(opened) => opened,
            Err(Settled::LogIn(number)) => {
                // The next attempt opens it with the new token.
                self.log_in(operation, member, number).await?;
                return Err(Trouble::Elsewhere(self.not_logged_in(member)));
            }
            Err(Settled::Trouble(trouble)) => return Err(trouble),
        };
        self.same_cluster(&opened.1).map_err(Trouble::Unknown)?;
        self.preferred.store(member, Ordering::Relaxed);
        Ok(opened)
    }

    /// The members in the order in which to try them.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.members.len());
        (0..count).map(move |turn| (first + turn) % count)
    }

    /// Forgets the token that a stream was refused with; the next call logs in.
    pub(super) async fn refused_token(&self, operation: Operation, member: usize) -> Result<(), Trouble> {
        let number = self.login.as_ref().map_or(0, |login| login.session().number);
        self.log_in(operation, member, number).await.map(|_| ())
    }

    async fn ready(&self, member: usize) -> Result<Grpc<tonic::transport::Channel>, Status> {
        let channel = self.members[member].channel.clone();
        // A list of large values is larger than gRPC's usual four megabytes.
        let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    async fn unary<Q: Message + 'static, A: Answer>(
        &self,
        member: usize,
        path: &'static str,
        request: Request<Q>,
    ) -> Result<A, Option<Status>> {
        self.timed(async {
            let mut grpc = self.ready(member).await?;
            let codec = ProstCodec::<Q, A>::default();
            Ok(grpc.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
        })
        .await
    }

    /// The outcome within the time; no status when the time is over.
    async fn timed<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Option<Status>> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(outcome) => outcome.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// What an attempt's outcome means.
    fn settled<T>(&self, member: usize, outcome: Result<T, Option<Status>>, session: &Session) -> Result<T, Settled> {
        let status = match outcome {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let address = &self.members[member].address;
        let Some(status) = status else {
            self.distrust(member);
            let message = format!("{address} did not answer within {:?}", self.timeout);
            let error = TopoError::new(Category::Timeout, NAME, message);
            return Err(Settled::Trouble(Trouble::Unknown(error)));
        };
        let error = |category, mend: &str| {
            let message = match mend {
                "" => address.clone(),
                mend => format!("{address}: {mend}"),
            };
            TopoError::new(category, NAME, message).caused_by(told(&status))
        };
        Err(match meaning(&status) {
            Meaning::LogIn => Settled::LogIn(session.number),
            Meaning::Elsewhere => {
                self.distrust(member);
                let mend = "it cannot be reached, or has no leader; look at the network and the cluster";
                Settled::Trouble(Trouble::Elsewhere(error(Category::Unavailable, mend)))
            }
            Meaning::Refused(category, mend) => Settled::Trouble(Trouble::Final(error(category, mend).into())),
            Meaning::Compacted => Settled::Trouble(Trouble::Final(Failure::Compacted)),
            Meaning::Unknown => {
                self.distrust(member);
                let mend = "the call was cut off";
                Settled::Trouble(Trouble::Unknown(error(Category::Unavailable, mend)))
            }
        })
    }

    /// After a call that failed at a member, others are asked first, and those who wait for changes
    /// there look elsewhere, rather than wait until the connection counts as dead.
    fn distrust(&self, member: usize) {
        self.preferred.store((member + 1) % self.members.len(), Ordering::Relaxed);
        self.members[member].troubles.send_modify(|count| *count += 1);
    }

    /// Changes when a call fails at a member.
    pub(super) fn troubles(&self, member: usize) -> watch::Receiver<u64> {
        self.members[member].troubles.subscribe()
    }

    /// The session to ask with; logs in if nobody has yet.
    async fn session(&self, operation: Operation, member: usize) -> Result<Session, Trouble> {
        match self.login.as_ref().map(Login::session) {
            None => Ok(Session::default()),
            Some(session) if session.number > 0 => Ok(session),
            Some(_) => self.log_in(operation, member, 0).await,
        }
    }

    /// Logs in, unless another call has since the session with this number.
    async fn log_in(&self, operation: Operation, member: usize, number: u64) -> Result<Session, Trouble> {
        let Some(login) = &self.login else {
            return Err(self.not_logged_in(member).into());
        };
        let _turn = login.turnstile.lock().await;
        let session = login.session();
        if session.number > number {
            return Ok(session);
        }
        let password = login.read_password().map_err(|error| Trouble::Final(error.into()))?;
        let question = AuthenticateRequest { name: login.user.clone(), password };
        self.meter.request(operation);
        let path = wire::AUTHENTICATE;
        let answered: Result<AuthenticateResponse, _> =
            self.unary(member, path, prepared(question, &Session::default())).await;
        let token = match answered {
            Ok(answer) => {
                let token = MetadataValue::try_from(answer.token).map_err(|_| {
                    let message = "the log-in gave a token that cannot be sent";
                    Trouble::Final(TopoError::new(Category::Internal, NAME, message).into())
                })?;
                Some(token)
            }
            // Whoever has credentials for a cluster that asks for none is let in.
            Err(Some(status)) if status.message().ends_with("authentication is not enabled") => None,
            Err(status) => {
                return Err(match self.settled::<()>(member, Err(status), &session) {
                    Err(Settled::Trouble(trouble)) => trouble,
                    _ => self.not_logged_in(member).into(),
                });
            }
        };
        login.renew(token);
        Ok(login.session())
    }

    fn not_logged_in(&self, member: usize) -> TopoError {
        let address = &self.members[member].address;
        let message = match &self.login {
            None => format!(
                "{address} asks for a log-in; set HANSA_TOPO_USER and HANSA_TOPO_PASSWORD_FILE, or give \
                 user= and password-file= in the URL"
            ),
            Some(login) => format!(
                "{address} does not take the log-in of user {:?}; look at its user, password and roles",
                login.user
            ),
        };
        TopoError::new(Category::Unauthorized, NAME, message)
    }

    /// A handle stays with one cluster: numbers of another one mean nothing here.
    fn same_cluster(&self, answer: &impl Answer) -> Result<(), TopoError> {
        let id = answer.header().map_or(0, |header| header.cluster_id);
        let known = self.id.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed);
        match known {
            Err(known) if known != id => {
                let message = format!(
                    "another cluster answers now ({id:x}, not {known:x}): it was restored or made anew; \
                     restart to use it"
                );
                Err(TopoError::new(Category::Replaced, NAME, message))
            }
            _ => Ok(()),
        }
    }
}

/// Why one member gave no answer.
pub(super) enum Trouble {
    /// Asking others makes no sense.
    Final(Failure),
    /// It was not done here.
    Elsewhere(TopoError),
    /// It may have been done here.
    Unknown(TopoError),
}

impl From<TopoError> for Trouble {
    fn from(error: TopoError) -> Self {
        Trouble::Final(Failure::Refused(error))
    }
}

enum Settled {
    /// The session with this number is not accepted.
    LogIn(u64),
    Trouble(Trouble),
}

pub(super) fn no_members() -> TopoError {
    TopoError::new(Category::Configuration, NAME, "the URL names no member")
}

fn prepared<T>(message: T, session: &Session) -> Request<T> {
    let mut request = Request::new(message);
    // A member without a leader says so at once, instead of waiting for one.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    if let Some(token) = &session.token {
        request.metadata_mut().insert("token", token.clone());
    }
    request
}

/// Sorts the statuses of etcd's `rpctypes`, and those that arise on the way to it.
fn meaning(status: &Status) -> Meaning {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return Meaning::Elsewhere;
        }
        cause = error.source();
    }
    let says = |words: &str| status.message().contains(words);
    match status.code() {
        // Said before the request goes any further, because it carries `hasleader`.
        Code::Unavailable if says("etcdserver: no leader") => Meaning::Elsewhere,
        Code::Unauthenticated => Meaning::LogIn,
        Code::InvalidArgument if says("user name is empty") || says("auth store is old") => Meaning::LogIn,
        Code::InvalidArgument if says("authentication failed") => {
            Meaning::Refused(Category::Unauthorized, "look at the user and the password")
        }
        Code::InvalidArgument if says("too large") => {
            let mend = "raise the cluster's --max-request-bytes to its default of 1.5 MiB";
            Meaning::Refused(Category::TooLarge, mend)
        }
        Code::PermissionDenied => {
            let mend = "grant the user's role readwrite on the range of the prefix, from PREFIX/ to PREFIX0";
            Meaning::Refused(Category::Unauthorized, mend)
        }
        Code::ResourceExhausted if says("database space exceeded") => {
            let mend = "compact and defragment it, raise its quota, and disarm its alarm";
            Meaning::Refused(Category::Full, mend)
        }
        Code::ResourceExhausted if says("etcdserver:") => Meaning::Refused(Category::Throttled, ""),
        Code::OutOfRange if says("has been compacted") => Meaning::Compacted,
        Code::FailedPrecondition if says("cluster ID mismatch") || says("learner") => Meaning::Elsewhere,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented => Meaning::Refused(Category::Internal, "it refused the call"),
        _ => Meaning::Unknown,
    }
}

/// All that a status tells, in one line.
fn told(status: &Status) -> String {
    let mut line = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}
