//! The task that carries out what a proposer asks for: calls, wake-ups, notes; and tells it what changed.

use super::{Options, View, notes};
use crate::contract::{Changes, Cursor, Topo};
use futures::future::{BoxFuture, FutureExt};
use hansa_ballot::motion::Answer;
use hansa_ballot::proposer::{Act, Event, Ticket, Told};
use hansa_ballot::{Ballots, Motion, Proposer};
use hansa_ledger::Version;
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How long to wait before calls that are not the proposer's own are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A motion, and where its answer goes.
#[derive(Debug)]
pub(super) struct Command {
    pub motion: Motion,
    /// Nobody waits for the answer to what has none.
    pub reply: Option<oneshot::Sender<Answer>>,
}

pub(super) struct Driver {
    topo: Arc<dyn Topo>,
    options: Arc<Options>,
    proposer: Proposer<Ballots>,
    view: watch::Sender<View>,
    replies: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    /// The call that is under way, and what it ends with.
    call: Option<BoxFuture<'static, (Event, Option<String>)>>,
    /// What was told while the call is under way: its answer shows whether that is news. A change is often
    /// told before the write that made it is answered.
    told: Changed,
    wake_ms: Option<u64>,
    /// The version of the document in the view.
    shown: Option<Version>,
}

impl Driver {
    pub fn new(
        topo: Arc<dyn Topo>,
        options: Arc<Options>,
        proposer: Proposer<Ballots>,
        view: watch::Sender<View>,
    ) -> Self {
        Driver {
            topo,
            options,
            proposer,
            view,
            replies: BTreeMap::new(),
            call: None,
            told: Changed::Not,
            wake_ms: None,
            shown: None,
        }
    }

    /// Drives the proposer until nobody can want anything any more.
    pub async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut changes = follow(self.topo.clone(), self.options.clone(), None);
        self.step(Event::Wanted);
        loop {
            let call = async {
                match &mut self.call {
                    Some(call) => call.await,
                    None => pending().await,
                }
            };
            let wake = async {
                match self.wake_ms {
                    Some(at_ms) => tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()))).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => {
                    let Some(Command { motion, reply }) = command else { return };
                    let ticket = self.proposer.want(motion);
                    self.replies.extend(reply.map(|reply| (ticket, reply)));
                    self.step(Event::Wanted);
                }
                (event, trouble) = call => {
                    self.call = None;
                    self.view.send_if_modified(|view| std::mem::replace(&mut view.trouble, trouble.clone()) != trouble);
                    self.step(event);
                    let told = std::mem::replace(&mut self.told, Changed::Not);
                    self.hear(told);
                }
                () = wake => {
                    self.wake_ms = None;
                    self.step(Event::Woke);
                }
                (cursor, changed) = &mut changes => {
                    changes = follow(self.topo.clone(), self.options.clone(), cursor);
                    match (&self.call, &self.told) {
                        (None, _) => self.hear(changed),
                        (Some(_), Changed::Maybe) => {}
                        (Some(_), _) if matches!(changed, Changed::Not) => {}
                        (Some(_), _) => self.told = changed,
                    }
                }
            }
        }
    }

    fn hear(&mut self, changed: Changed) {
        let news = match &changed {
            Changed::Not => false,
            // What it wrote itself it knows already.
            Changed::To(version) => self.proposer.version() != Some(version),
            Changed::Maybe => true,
        };
        if news {
            self.step(Event::Changed);
        }
    }

    fn step(&mut self, event: Event) {
        let dropped: Vec<Ticket> =
            self.replies.iter().filter(|(_, reply)| reply.is_closed()).map(|(ticket, _)| *ticket).collect();
        for ticket in dropped {
            self.replies.remove(&ticket);
            self.proposer.cancel(ticket);
        }
        for act in self.proposer.step(event, now_ms(), entropy()) {
            match act {
                Act::Wake { at_ms } => self.wake_ms = Some(at_ms),
                call => self.call = Some(self.carry_out(call)),
            }
        }
        for told in self.proposer.told() {
            match told {
                Told::Answer(ticket, answer) => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        // Whoever asked may have stopped waiting.
                        let _ = reply.send(answer);
                    }
                }
                Told::Rejected(rejected) => {
                    for one in &rejected {
                        tracing::warn!(member = %one.who, "ignored: {one}");
                    }
                    self.view.send_modify(|view| view.rejected = rejected);
                }
                Told::Frozen(frozen) => {
                    tracing::error!("frozen: {frozen}");
                    self.view.send_modify(|view| view.frozen = Some(frozen.to_string()));
                }
                Told::Thawed => self.view.send_modify(|view| view.frozen = None),
            }
        }
        self.show();
    }

    fn show(&mut self) {
        // A version stands for the bytes, and costs less to compare.
        if self.proposer.version() != self.shown.as_ref() {
            self.shown = self.proposer.version().cloned();
            let known = self.proposer.document().cloned().map(Arc::new);
            self.view.send_modify(|view| view.ballots = known);
        }
    }

    fn carry_out(&self, act: Act) -> BoxFuture<'static, (Event, Option<String>)> {
        let (topo, options, view) = (self.topo.clone(), self.options.clone(), self.view.clone());
        async move {
            let done = match act {
                Act::Read => topo.get(&options.key).await.map(Event::Read),
                Act::Write { expected: Some(expected), value } => {
                    topo.compare_and_swap(&options.key, &expected, value).await.map(Event::Swapped)
                }
                Act::Write { expected: None, value } => topo.create(&options.key, value).await.map(Event::Swapped),
                Act::Persist(notes) => {
                    while let Err(error) = notes::write(options.notes.as_deref(), &notes).await {
                        tracing::error!("{error}");
                        view.send_modify(|view| view.trouble = Some(error));
                        tokio::time::sleep(RETRY).await;
                    }
                    Ok(Event::Persisted)
                }
                Act::Wake { .. } => pending().await,
            };
            match done {
                Ok(event) => (event, None),
                Err(error) => {
                    // A server that asks to be let alone is asked nothing else meanwhile.
                    if let Some(wait) = error.wait() {
                        view.send_modify(|view| view.trouble = Some(error.chain()));
                        tokio::time::sleep(wait).await;
                    }
                    (Event::Failed, Some(error.chain()))
                }
            }
        }
        .boxed()
    }
}

/// What became of the object.
enum Changed {
    Not,
    To(Version),
    /// Changes were missed.
    Maybe,
}

/// Waits for the next change of anything since `cursor`.
fn follow(
    topo: Arc<dyn Topo>,
    options: Arc<Options>,
    cursor: Option<Cursor>,
) -> BoxFuture<'static, (Option<Cursor>, Changed)> {
    async move {
        match topo.changes(cursor.as_ref()).await {
            // What was written before there was a cursor is told by nobody.
            Ok(now) if cursor.is_none() => (Some(now.cursor().clone()), Changed::Maybe),
            Ok(Changes::Keys { cursor, mut keys }) => {
                (Some(cursor), keys.remove(&options.key).map_or(Changed::Not, Changed::To))
            }
            Ok(Changes::Reset { cursor }) => (Some(cursor), Changed::Maybe),
            Err(error) => {
                tracing::debug!("changes: {}", error.chain());
                tokio::time::sleep(error.wait().unwrap_or(RETRY)).await;
                (cursor, Changed::Not)
            }
        }
    }
    .boxed()
}

/// Milliseconds on a clock that goes on while the machine is suspended: a lease ends then, too.
pub(super) fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000 + nanoseconds / 1_000_000
}

/// Random bits; without them (no system that Hansa runs on lacks them) time alone tells voters apart.
fn entropy() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => now_ms(),
    }
}
