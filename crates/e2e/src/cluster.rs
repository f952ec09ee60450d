//! An API server of either kind, as processes of its own.

mod real;
mod sim;

use crate::audit::{Write, read_log, read_record, totals};
use crate::client::Api;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use real::Real;
pub use sim::Sim;

/// Who comes with a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum User {
    /// May do everything.
    Admin,
    /// Hansa's operator.
    Operator,
    /// May write federated objects, and no others.
    Clerk,
    /// May do nothing.
    Stranger,
}

impl User {
    /// All of them.
    pub const ALL: [User; 4] = [User::Admin, User::Operator, User::Clerk, User::Stranger];

    /// The user's name in the API server.
    pub fn name(self) -> &'static str {
        match self {
            User::Admin => "admin",
            User::Operator => "system:serviceaccount:hansa-system:hansa-operator",
            User::Clerk => "clerk",
            User::Stranger => "stranger",
        }
    }

    /// How a kube-apiserver knows the user.
    fn known(self) -> hansa_controlplane::User {
        let groups: &[&str] = match self {
            User::Admin => &["system:masters"],
            User::Operator => &["system:serviceaccounts", "system:serviceaccounts:hansa-system"],
            User::Clerk | User::Stranger => &[],
        };
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        hansa_controlplane::User { groups, ..hansa_controlplane::User::named(self.name()) }
    }
}

/// Which kind of API server a league stands on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// kube-apiserver with its controllers, and etcd as the topology server.
    Real,
    /// kubesim, and a SQLite file as the topology server.
    Sim,
}

impl Kind {
    /// `real` or `sim`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Real => "real",
            Kind::Sim => "sim",
        }
    }
}

/// A point in an API server's audit record.
#[derive(Clone, Debug)]
pub enum Mark {
    /// In the audit log of a kube-apiserver: how long it was.
    Length(usize),
    /// In kubesim's record: how many writes each user had asked for.
    Totals(BTreeMap<String, u64>),
}

/// An API server.
pub enum Cluster {
    /// kube-apiserver.
    Real(Box<Real>),
    /// kubesim.
    Sim(Sim),
}

impl Cluster {
    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        match self {
            Cluster::Real(real) => real.kubeconfig(user),
            Cluster::Sim(sim) => sim.kubeconfig(user),
        }
    }

    /// A user of it.
    ///
    /// # Errors
    /// When the kubeconfig does not read.
    pub async fn api(&self, user: User) -> Result<Api> {
        Api::of(&self.kubeconfig(user)).await
    }

    /// Waits until it serves, controllers included.
    ///
    /// # Errors
    /// When it ended or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.ready().await,
            Cluster::Sim(sim) => sim.ready().await,
        }
    }

    /// Ends the API server as `kill -9` does.
    pub fn kill(&mut self) {
        match self {
            Cluster::Real(real) => real.kill(),
            Cluster::Sim(sim) => sim.kill(),
        }
    }

    /// Starts it again where it was, with what it had.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.start_again(),
            Cluster::Sim(sim) => sim.start_again(),
        }
    }

    /// Copies everything that it has.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn back_up(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.back_up(),
            Cluster::Sim(sim) => sim.back_up(),
        }
    }

    /// Brings it back to the last backup, running.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn restore(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.restore()?,
            Cluster::Sim(sim) => sim.restore()?,
        }
        self.ready().await
    }

    /// Now, in the audit record.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn mark(&self) -> Result<Mark> {
        match self {
            Cluster::Real(real) => Ok(Mark::Length(real.audit()?.len())),
            Cluster::Sim(sim) => Ok(Mark::Totals(totals(&sim.audit().await?))),
        }
    }

    /// What a user wrote since, Leases apart; questions that are asked by a POST are no writes.
    ///
    /// # Errors
    /// When the record cannot be read, or does not reach so far back.
    pub async fn writes(&self, user: User, since: &Mark) -> Result<Vec<Write>> {
        let mut writes = match (self, since) {
            (Cluster::Real(real), Mark::Length(length)) => read_log(real.audit()?.get(*length..).unwrap_or_default()),
            (Cluster::Sim(sim), Mark::Totals(before)) => {
                let record = sim.audit().await?;
                let of = |totals: &BTreeMap<String, u64>| totals.get(user.name()).copied().unwrap_or(0);
                let count = usize::try_from(of(&totals(&record)).saturating_sub(of(before)))?;
                let all = read_record(&record, user.name());
                let first = all.len().checked_sub(count).context("the audit record does not reach so far back")?;
                all[first..].to_vec()
            }
            _ => anyhow::bail!("the mark is one of another kind of API server"),
        };
        let is_meant = |write: &Write| {
            write.user == user.name()
                && write.resource != "leases.coordination.k8s.io"
                && !write.resource.contains("reviews.auth")
        };
        writes.retain(is_meant);
        ensure!(writes.iter().all(|write| !write.verb.is_empty()), "the audit record names every verb");
        Ok(writes)
    }

    /// The last words of its processes.
    pub fn last_words(&self) -> String {
        match self {
            Cluster::Real(real) => real.last_words(),
            Cluster::Sim(sim) => sim.last_words(),
        }
    }
}
