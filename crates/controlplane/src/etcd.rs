//! Real etcd: one node, or a cluster of several.

use crate::{Process, binaries, connects, free_ports};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// A real etcd of one node.
#[derive(Debug)]
pub struct Etcd {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The process.
    pub process: Process,
    peer: u16,
    durable: bool,
}

impl Etcd {
    /// Starts one in a folder. `durable`: with fsync, as a topology server has it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(folder: &Path, name: &str, durable: bool) -> Result<Self> {
        let [client, peer] = free_ports()?;
        let address = format!("127.0.0.1:{client}");
        let process = Self::run(folder, name, &address, peer, durable)?;
        Ok(Etcd { address, process, peer, durable })
    }

    /// Ends it, and starts one with the data of this name in its place.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn replace(&mut self, folder: &Path, name: &str) -> Result<()> {
        self.process.kill();
        self.process = Self::run(folder, name, &self.address, self.peer, self.durable)?;
        Ok(())
    }

    fn run(folder: &Path, name: &str, client: &str, peer: u16, durable: bool) -> Result<Process> {
        let mut arguments = vec![
            format!("--data-dir={}", folder.join(name).display()),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            // Two clusters of the same addresses are the same to etcd without it.
            format!("--initial-cluster-token={name}"),
            "--auto-compaction-mode=revision".to_owned(),
            "--auto-compaction-retention=10000".to_owned(),
        ];
        if !durable {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        Process::start(&binaries()?.join("etcd"), name, &arguments, folder)
    }

    /// Waits until it takes connections.
    ///
    /// # Errors
    /// When it ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        connects(&mut self.process, &self.address).await
    }
}

/// Where a node of a cluster is.
#[derive(Clone, Debug)]
pub struct Seat {
    /// `HOST:PORT` for clients.
    pub client: String,
    /// `HOST:PORT` for the other nodes.
    pub peer: String,
    /// The file of the network namespace that it runs in; without one, that of this process.
    pub namespace: Option<PathBuf>,
    /// Where its data is.
    pub data: PathBuf,
}

/// A real etcd of several nodes, with fsync, that keeps its whole history.
#[derive(Debug)]
pub struct EtcdCluster {
    /// The nodes, in the order of their seats.
    pub nodes: Vec<EtcdNode>,
}

/// A node of a cluster, running or not.
#[derive(Debug)]
pub struct EtcdNode {
    /// Where it is.
    pub seat: Seat,
    name: String,
    process: Option<Process>,
    arguments: Vec<String>,
    folder: PathBuf,
}

impl EtcdCluster {
    /// Starts three nodes on free ports of the loopback, with their data and logs in a folder;
    /// [`EtcdCluster::ready`] waits for them.
    ///
    /// # Errors
    /// When a node cannot be started.
    pub fn start(folder: &Path) -> Result<Self> {
        let ports: [u16; 6] = free_ports()?;
        let seats = ports.chunks(2).enumerate().map(|(number, ports)| Seat {
            client: format!("127.0.0.1:{}", ports[0]),
            peer: format!("127.0.0.1:{}", ports[1]),
            namespace: None,
            data: folder.join(format!("etcd-{number}")),
        });
        Self::start_at(folder, seats.collect())
    }

    /// Starts a node on each seat, with the logs in a folder.
    ///
    /// # Errors
    /// When a node cannot be started.
    pub fn start_at(folder: &Path, seats: Vec<Seat>) -> Result<Self> {
        let names: Vec<String> = (0..seats.len()).map(|number| format!("etcd-{number}")).collect();
        let peers: Vec<String> =
            names.iter().zip(&seats).map(|(name, seat)| format!("{name}=http://{}", seat.peer)).collect();
        let peers = peers.join(",");
        let node = |(name, seat): (String, Seat)| EtcdNode {
            arguments: vec![
                format!("--name={name}"),
                format!("--data-dir={}", seat.data.display()),
                format!("--listen-client-urls=http://{}", seat.client),
                format!("--advertise-client-urls=http://{}", seat.client),
                format!("--listen-peer-urls=http://{}", seat.peer),
                format!("--initial-advertise-peer-urls=http://{}", seat.peer),
                format!("--initial-cluster={peers}"),
            ],
            seat,
            name,
            process: None,
            folder: folder.to_owned(),
        };
        let mut cluster = EtcdCluster { nodes: names.into_iter().zip(seats).map(node).collect() };
        cluster.nodes.iter_mut().try_for_each(EtcdNode::start)?;
        Ok(cluster)
    }

    /// `HOST:PORT,…` of all nodes, for clients.
    pub fn hosts(&self) -> String {
        self.nodes.iter().map(|node| node.seat.client.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Waits until every node takes connections of clients.
    ///
    /// # Errors
    /// When one ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.ready().await?;
        }
        Ok(())
    }
}

impl EtcdNode {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process, while it was not killed.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Starts it, with what its folder holds.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let Seat { namespace, .. } = &self.seat;
        let program = binaries()?.join("etcd");
        let process = Process::start_within(namespace.as_deref(), &program, &self.name, &self.arguments, &self.folder)?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Waits until it takes connections of clients.
    ///
    /// # Errors
    /// When it ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().with_context(|| format!("{} was not started", self.name))?;
        connects(process, &self.seat.client).await
    }
}
