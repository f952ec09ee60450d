//! An operator as a process of its own.

use crate::wait::{Seen, eventually, when};
use anyhow::{Context, Result, bail};
use hansa_controlplane::command_within;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an operator may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// How an operator is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `hansa` binary.
    pub binary: PathBuf,
    /// The member's name.
    pub member: String,
    /// The kubeconfig of the operator's user.
    pub kubeconfig: PathBuf,
    /// Whether it is one of several replicas, which agree by a Lease who leads.
    pub lease: bool,
    /// The topology server's URL.
    pub topo: String,
    /// As long as this file exists, the topology server is away for this operator alone.
    pub away: PathBuf,
    /// Where its log goes.
    pub log: PathBuf,
    /// Where it answers questions.
    pub listen: IpAddr,
    /// The file of the network namespace that it runs in; without one, that of this process.
    pub namespace: Option<PathBuf>,
    /// What is added to its environment: the credentials of a topology server.
    pub environment: Environment,
}

/// Variables and their values.
pub type Environment = Vec<(&'static str, String)>;

impl Settings {
    /// Those of a member's one operator, with its files in a folder.
    pub fn new(binary: &Path, member: &str, kubeconfig: PathBuf, topo: &str, folder: &Path) -> Self {
        Settings {
            binary: binary.to_owned(),
            member: member.to_owned(),
            kubeconfig,
            lease: false,
            topo: topo.to_owned(),
            away: folder.join(format!("{member}.away")),
            log: folder.join(format!("{member}.log")),
            listen: Ipv4Addr::LOCALHOST.into(),
            namespace: None,
            environment: Environment::new(),
        }
    }
}

/// An operator; it ends with its handle.
pub struct Operator {
    settings: Settings,
    child: Option<Child>,
    /// How long the log was when the process started.
    start_of_log: u64,
}

impl Operator {
    /// One that does not run yet.
    pub fn new(settings: Settings) -> Self {
        Operator { settings, child: None, start_of_log: 0 }
    }

    /// Starts the process, with further arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, arguments: &[&str]) -> Result<()> {
        if self.child.is_some() {
            bail!("the operator of {} runs already", self.settings.member);
        }
        let Settings { binary, member, kubeconfig, lease, topo, away, log, listen, namespace, environment } =
            &self.settings;
        let file = File::options().create(true).append(true).open(log)?;
        self.start_of_log = file.metadata()?.len();
        let child = command_within(namespace.as_deref())
            .arg(binary)
            .args(["operator", "--log", "json", "--listen", &SocketAddr::new(*listen, 0).to_string()])
            .args(["--member", member])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--topo", topo])
            .arg("--topo-fault")
            .arg(away)
            .args(if *lease { &[][..] } else { &["--no-lease"] })
            .args(arguments)
            .env_remove("HANSA_TOPO")
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} cannot be started (setpriv is in util-linux)", binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Gives it another topology server's URL from its next start on.
    pub fn set_topo(&mut self, url: &str) {
        url.clone_into(&mut self.settings.topo);
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, as a Deployment's rollout does, and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn end(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        eventually(&format!("the operator of {} ends", self.settings.member), async || {
            Ok(when(self.has_died(), || "it still runs".to_owned()))
        })
        .await?;
        self.child = None;
        Ok(())
    }

    /// Stops it in its tracks, as a machine that sleeps does; but not while it holds the lock of a file
    /// that others need too, for two machines share none.
    ///
    /// # Errors
    /// When it does not run, or does not stand still.
    pub async fn stop(&self) -> Result<()> {
        let id = self.child.as_ref().context("the operator runs")?.id();
        eventually(&format!("the operator of {} stands still", self.settings.member), async || {
            self.signal(Signal::STOP)?;
            if !is_stopped(id)? {
                return Ok(Seen::No("it still runs".to_owned()));
            }
            if holds_a_lock(id)? {
                self.signal(Signal::CONT)?;
                return Ok(Seen::No("it holds a lock".to_owned()));
            }
            Ok(Seen::Yes(()))
        })
        .await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        crate::files::signal(self.child.as_ref().context("the operator runs")?.id(), signal)
    }

    /// Whether it was started and not ended by a scenario.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it ended by itself.
    pub fn has_died(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Takes the topology server away from this operator alone, or gives it back.
    ///
    /// # Errors
    /// When the switch cannot be moved.
    pub fn set_topo_away(&self, away: bool) -> Result<()> {
        let path = &self.settings.away;
        match away {
            true => std::fs::write(path, "")?,
            false if path.exists() => std::fs::remove_file(path)?,
            false => {}
        }
        Ok(())
    }

    /// Where it answers questions, once it has said so.
    pub fn address(&self) -> Option<String> {
        let said = self.log_since(self.start_of_log).into_iter().find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            line["fields"]["address"].as_str().map(str::to_owned)
        });
        said.filter(|_| self.child.is_some())
    }

    /// Where its log ends now.
    pub fn end_of_log(&self) -> u64 {
        std::fs::metadata(&self.settings.log).map_or(0, |found| found.len())
    }

    /// The lines of its log since.
    pub fn log_since(&self, start: u64) -> Vec<String> {
        let text = std::fs::read(&self.settings.log).unwrap_or_default();
        let rest = text.get(start as usize..).unwrap_or_default();
        String::from_utf8_lossy(rest).lines().map(str::to_owned).collect()
    }

    /// The member that it acts for.
    pub fn member(&self) -> &str {
        &self.settings.member
    }

    /// The kubeconfig that it uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.settings.kubeconfig
    }
}

/// Asks an operator over HTTP: status and body, `None` when it does not answer.
pub async fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    tokio::time::timeout(ANSWER, exchange).await.ok()?
}

/// Whether a process has stopped (proc(5): the state stands after the name in brackets).
fn is_stopped(id: u32) -> Result<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    Ok(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

/// Whether a process keeps others from a file (proc(5): `1: POSIX ADVISORY WRITE PID …`).
fn holds_a_lock(id: u32) -> Result<bool> {
    let locks = std::fs::read_to_string("/proc/locks")?;
    let id = id.to_string();
    Ok(locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(3) == Some(&"WRITE") && words.get(4) == Some(&id.as_str())
    }))
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}
