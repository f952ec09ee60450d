//! An API server of either kind, as processes of its own.

mod real;

use crate::audit::Write;
use crate::client::Api;
use anyhow::Result;
use std::path::{Path, PathBuf};

pub use real::Real;

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

    fn token(self) -> &'static str {
        match self {
            User::Admin => "token-of-the-admin",
            User::Operator => "token-of-the-operator",
            User::Clerk => "token-of-the-clerk",
            User::Stranger => "token-of-a-stranger",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            User::Admin => "system:masters",
            User::Operator => "system:serviceaccounts,system:serviceaccounts:hansa-system",
            User::Clerk | User::Stranger => "",
        }
    }

    fn file(self) -> &'static str {
        match self {
            User::Admin => "kubeconfig",
            User::Operator => "operator.kubeconfig",
            User::Clerk => "clerk.kubeconfig",
            User::Stranger => "stranger.kubeconfig",
        }
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
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// An API server.
pub enum Cluster {
    /// kube-apiserver.
    Real(Real),
}

impl Cluster {
    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder().join(user.file())
    }

    fn folder(&self) -> &Path {
        match self {
            Cluster::Real(real) => real.folder(),
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
        }
    }

    /// Ends the API server as `kill -9` does.
    pub fn kill(&mut self) {
        match self {
            Cluster::Real(real) => real.kill(),
        }
    }

    /// Starts it again where it was, with what it had.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.start_again(),
        }
    }

    /// Copies everything that it has.
    ///
    /// # Errors
    /// When the copy fails.
    pub async fn back_up(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.back_up(),
        }
    }

    /// Brings it back to the last backup, running.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn restore(&mut self) -> Result<()> {
        match self {
            Cluster::Real(real) => real.restore()?,
        }
        self.ready().await
    }

    /// Now, in the audit record.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn mark(&self) -> Result<Mark> {
        match self {
            Cluster::Real(real) => Ok(Mark(real.audit()?.len())),
        }
    }

    /// What a user wrote since, Leases apart.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn writes(&self, user: User, since: Mark) -> Result<Vec<Write>> {
        let all = match self {
            Cluster::Real(real) => crate::audit::read_log(real.audit()?.get(since.0..).unwrap_or_default()),
        };
        let wanted = |write: &Write| write.user == user.name() && write.resource != "leases.coordination.k8s.io";
        Ok(all.into_iter().filter(wanted).collect())
    }

    /// The last words of its processes.
    pub fn last_words(&self) -> String {
        match self {
            Cluster::Real(real) => real.last_words(),
        }
    }
}
