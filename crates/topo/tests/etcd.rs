//! The battery on real etcd servers.
