//! Asking the cluster: which member, how long, with which token, and what a failure means.

use super::NAME;
use super::line::{self, Line};
use super::login::{Login, Session};
use super::meaning::{Meaning, meaning, told};
use super::members::{Member, members};
use super::wire::{self, Answer, AuthenticateRequest, AuthenticateResponse, StatusRequest, StatusResponse};
use crate::error::{Category, TopoError};
use crate::open::Options;
use crate::url::EtcdUrl;
use crate::usage::{Meter, Operation};
use http::uri::PathAndQuery;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
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
                Err(Trouble::Elsewhere(error) | Trouble::Unknown(error)) => note(&mut failure, error),
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
            let answered = self.unary(member, path, || prepared(question.clone(), &session)).await;
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
        let on_line = async |line: &Line| {
            // The stream of questions stays open after its only one, for its end would end the answers.
            let questions = futures::StreamExt::chain(
                futures::stream::once(futures::future::ready(question.clone())),
                futures::stream::pending(),
            );
            let request = prepared(questions, &session);
            let codec = ProstCodec::<Q, A>::default();
            let mut grpc = grpc(&line.channel).await?;
            let mut answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner();
            match answers.message().await? {
                Some(first) => Ok((answers, first)),
                None => Err(Status::unavailable("the stream ended at once")),
            }
        };
        let opened = self.timed(async {
            loop {
                let line = self.line(member).await?;
                match on_line(&line).await {
                    Err(status) if line::has_ended(&status) => self.forget(member, &line).await,
                    outcome => return Ok(outcome?),
                }
            }
        });
        let opened = opened.await;
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

    /// The line to a member, made if there is none: on it the member has said of which cluster it is.
    async fn line(&self, member: usize) -> Result<Line, Broken> {
        let member = &self.members[member];
        let mut line = member.line.lock().await;
        if let Some(line) = &*line {
            return Ok(line.clone());
        }
        let channel = line::connect(&member.endpoint, member.patience).await?;
        let codec = ProstCodec::<StatusRequest, StatusResponse>::default();
        let mut grpc = grpc(&channel).await?;
        let asked = grpc.unary(Request::new(StatusRequest {}), PathAndQuery::from_static(wire::STATUS), codec);
        self.same_cluster(&asked.await?.into_inner()).map_err(Broken::Replaced)?;
        let number = member.lines.fetch_add(1, Ordering::Relaxed);
        Ok(line.insert(Line { number, channel }).clone())
    }

    /// This line has ended.
    async fn forget(&self, member: usize, ended: &Line) {
        self.members[member].line.lock().await.take_if(|line| line.number == ended.number);
    }

    async fn unary<Q: Message + 'static, A: Answer>(
        &self,
        member: usize,
        path: &'static str,
        request: impl Fn() -> Request<Q>,
    ) -> Result<A, Broken> {
        let on_line = async |line: &Line| {
            let codec = ProstCodec::<Q, A>::default();
            let mut grpc = grpc(&line.channel).await?;
            Ok(grpc.unary(request(), PathAndQuery::from_static(path), codec).await?.into_inner())
        };
        self.timed(async {
            loop {
                let line = self.line(member).await?;
                match on_line(&line).await {
                    // Nothing was sent on it.
                    Err(status) if line::has_ended(&status) => self.forget(member, &line).await,
                    outcome => return Ok(outcome?),
                }
            }
        })
        .await
    }

    /// The outcome within the time.
    async fn timed<T>(&self, call: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
        tokio::time::timeout(self.timeout, call).await.unwrap_or(Err(Broken::Late))
    }

    /// What an attempt's outcome means.
    fn settled<T>(&self, member: usize, outcome: Result<T, Broken>, session: &Session) -> Result<T, Settled> {
        let address = &self.members[member].address;
        let status = match outcome {
            Ok(answer) => return Ok(answer),
            Err(Broken::Status(status)) => status,
            Err(Broken::Late) => {
                self.distrust(member);
                let message = format!("{address} did not answer within {:?}", self.timeout);
                let error = TopoError::new(Category::Timeout, NAME, message);
                return Err(Settled::Trouble(Trouble::Unknown(error)));
            }
            Err(Broken::Replaced(error)) => {
                self.distrust(member);
                return Err(Settled::Trouble(Trouble::Elsewhere(error)));
            }
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
            self.unary(member, path, || prepared(question.clone(), &Session::default())).await;
        let token = match answered {
            Ok(answer) => {
                let token = MetadataValue::try_from(answer.token).map_err(|_| {
                    let message = "the log-in gave a token that cannot be sent";
                    Trouble::Final(TopoError::new(Category::Internal, NAME, message).into())
                })?;
                Some(token)
            }
            // Whoever has credentials for a cluster that asks for none is let in.
            Err(Broken::Status(status)) if status.message().ends_with("authentication is not enabled") => None,
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
                let message =
                    format!("another cluster answers now ({id:x}, not {known:x}): it was restored or made anew");
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

/// Why a call on a line has no answer.
enum Broken {
    Status(Status),
    /// The time is over.
    Late,
    /// The member is of another cluster. It was asked nothing else.
    Replaced(TopoError),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Broken::Status(status)
    }
}

enum Settled {
    /// The session with this number is not accepted.
    LogIn(u64),
    Trouble(Trouble),
}

/// Keeps what tells most of why no member answered: that one is of another cluster, or what the first one said.
pub(super) fn note(failure: &mut Option<TopoError>, error: TopoError) {
    if failure.is_none() || error.category() == Category::Replaced {
        *failure = Some(error);
    }
}

async fn grpc(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    // A list of large values is larger than gRPC's usual four megabytes.
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok(grpc)
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
