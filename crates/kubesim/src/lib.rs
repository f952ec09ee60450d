//! A Kubernetes API server for demos, tests and simulation.
//!
//! [`core`] is the server itself: synchronous and deterministic, with time and randomness passed
//! in. [`controllers`] make workloads live inside it. [`schema`], [`patch`] and [`apply`] are the
//! pure rules of objects. [`edge`] puts the core behind HTTPS and makes it durable.
//!
//! It serves what real clients (kubectl, kube-rs, client-go) use every day, and refuses by name,
//! with 501, what it leaves out: exec and logs, OpenAPI v2, conversion webhooks. What it keeps and
//! does nothing with (RBAC, admission policies and webhooks, CEL rules, quotas, CronJobs) it says
//! in a `Warning` header at every write.

pub mod apply;
pub mod controllers;
pub mod core;
pub mod edge;
pub mod patch;
pub mod schema;
pub mod value;
