//! Who uses the league while everything fails: a user of each member who edits an object of their own again and again,
//! and clients of a register in the same etcd.

use super::judge::Edit;
use super::league::{League, MEMBERS, NAMESPACE, agreed};
use crate::client::Api;
use crate::objects::{CONFIG_MAPS, config, everywhere, federated};
use crate::wait::{LOOK, Seen};
use anyhow::{Context, Result};
use hansa_topo::conformance::linear::{self, Event, Operation};
use hansa_topo::{Options, Topo};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Users at work.
pub struct Users {
    done: Rc<Cell<bool>>,
    edits: Rc<RefCell<Vec<Edit>>>,
    tasks: Vec<JoinHandle<Result<u64>>>,
}

/// What users did.
pub struct Done {
    /// Everything that they were told is agreed.
    pub edits: Vec<Edit>,
    /// The last word of each, by member, which was agreed.
    pub last: Vec<String>,
}

/// The object of the user of a member.
pub fn object_of(index: usize) -> String {
    format!("of-{}", MEMBERS[index])
}

impl Users {
    /// Sets one to work in each member.
    pub fn of(league: &League) -> Self {
        let (done, edits) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let work = |index: usize| {
            let (admin, done, edits) = (league.members[index].admin.clone(), done.clone(), edits.clone());
            tokio::task::spawn_local(async move { edit(&admin, &object_of(index), &done, &edits).await })
        };
        let tasks = (0..MEMBERS.len()).map(work).collect();
        Users { done, edits, tasks }
    }

    /// Lets them finish the edit that each is at.
    ///
    /// # Errors
    /// When an API server refused one.
    pub async fn finish(self) -> Result<Done> {
        self.done.set(true);
        let mut last = Vec::new();
        for task in self.tasks {
            last.push(task.await??.to_string());
        }
        Ok(Done { edits: self.edits.take(), last })
    }
}

/// Edits an object until it is enough, each time after the last edit was agreed; gives the last word.
async fn edit(admin: &Api, name: &str, done: &Cell<bool>, edits: &RefCell<Vec<Edit>>) -> Result<u64> {
    for number in 1.. {
        let spec = everywhere(config(&[("word", &number.to_string())]));
        let object = federated(CONFIG_MAPS, NAMESPACE, name, &spec);
        admin.apply(&CONFIG_MAPS.federated(NAMESPACE, name), &object).await?;
        // As long as it takes: whether it takes too long, the trials judge.
        loop {
            match agreed(admin, name).await? {
                Seen::Yes(edit) => break edits.borrow_mut().push(edit),
                Seen::No(_) => tokio::time::sleep(LOOK).await,
            }
        }
        if done.get() {
            return Ok(number);
        }
        tokio::time::sleep(REST).await;
    }
    unreachable!("numbers do not end")
}

/// How many clients a register has.
const CLIENTS: usize = 4;

/// How long a client rests between two operations.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a user rests between two edits.
const REST: Duration = Duration::from_millis(200);

/// Clients of one register, at work.
pub struct Register {
    done: Arc<AtomicBool>,
    task: JoinHandle<Vec<Event>>,
}

impl Register {
    /// Sets clients to work on a register of this name, through every node of the league's etcd.
    ///
    /// # Errors
    /// When the URL is refused.
    pub async fn start(league: &League, name: &str) -> Result<Self> {
        let url = format!("etcd://{}/registers?timeout=2s", league.etcd.hosts());
        let mut handles: Vec<Arc<dyn Topo>> = Vec::new();
        for _ in 0..CLIENTS {
            handles.push(hansa_topo::open(&url, &Options::default()).await?);
        }
        let done = Arc::new(AtomicBool::new(false));
        let (stop, key) = (done.clone(), format!("/{name}"));
        let task = tokio::spawn(async move {
            linear::record_while(&handles, &key, PAUSE, move |_| !stop.load(Ordering::Relaxed)).await
        });
        Ok(Register { done, task })
    }

    /// Lets the clients finish, and proves that what they were told is what a register would tell. Says how many
    /// operations of which kind there were.
    ///
    /// # Errors
    /// When no register would answer so.
    pub async fn finish(self) -> Result<String> {
        self.done.store(true, Ordering::Relaxed);
        let history = self.task.await?;
        linear::check(&history).map_err(|why| anyhow::anyhow!("{why}")).context("the register is not linearizable")?;
        let count = |is: fn(&Operation) -> bool| history.iter().filter(|event| is(&event.operation)).count();
        Ok(format!(
            "register: {} reads, {} committed, {} refused, {} of unknown fate",
            count(|operation| matches!(operation, Operation::Read(_))),
            count(|operation| matches!(operation, Operation::Committed { .. })),
            count(|operation| matches!(operation, Operation::Mismatch { .. })),
            count(|operation| matches!(operation, Operation::Unknown { .. })),
        ))
    }
}
