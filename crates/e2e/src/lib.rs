//! The end-to-end scenarios: three members, each with an operator as a process of its own, driven
//! and judged from outside.
//!
//! Every scenario is one function, run on two kinds of league: on three real kube-apiservers with
//! their controllers, a scheduler and a node that kwok plays, and a real etcd as the topology server, and on three kubesims with a SQLite
//! file. What is claimed is read from the API servers: their objects, and their own audit records.
//!
//! | Module | Holds |
//! |---|---|
//! | [`runner`] | which scenarios run, when, and what is told of them |
//! | [`world`] | a league: three members, their operators, the topology server |
//! | [`cluster`] | an API server of either kind |
//! | [`operator`] | an operator as a process |
//! | [`command`] | commands of users |
//! | [`contexts`] | one kubeconfig for all clusters, and operators behind proxies |
//! | [`kubectl`] | the real kubectl |
//! | [`client`] | requests to an API server |
//! | [`audit`] | what a user wrote, by the API server's record |
//! | [`files`] | copies of what stopped processes wrote |
//! | [`wait`] | waiting for states |
//! | [`objects`] | the objects that scenarios are about |
//! | [`scenarios`] | the scenarios |
//! | [`processes`] | another league, whose processes and networks fail |
//! | [`stores`] | leagues on other topology servers, of which one is lost, replaced, or brought back from a backup |
//!
//! The suite is a library, so that the test in the binary's own package can hand over the binary
//! that cargo built for it.

pub mod audit;
pub mod client;
pub mod cluster;
pub mod command;
pub mod contexts;
pub mod files;
pub mod kubectl;
pub mod objects;
pub mod operator;
pub mod processes;
pub mod runner;
pub mod scenarios;
pub mod stores;
pub mod wait;
pub mod world;

pub use runner::main;
