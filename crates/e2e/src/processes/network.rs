//! A network of the test's own: a network namespace for every node, this process between them as the router, and
//! nftables that drop what is not to pass.
//!
//! The whole test runs in namespaces that it makes for itself ([`enter`]). What it makes in there (links, rules, mounts)
//! nobody else sees, and it is gone with the last of its processes, however that ends.

use crate::command::output_of;
use anyhow::{Context, Result, bail, ensure};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

/// Tells the process that it is inside.
const INSIDE: &str = "HANSA_E2E_INSIDE";

/// Where `ip netns` keeps its files; inside a file system of the test's own stands there.
const NAMESPACES: &str = "/run/netns";

/// The ways to namespaces of one's own: as root, or as whoever is root in a user namespace of their own.
const WAYS: [&[&str]; 2] = [&["--net", "--mount"], &["--map-root-user", "--net", "--mount"]];

/// Runs this program again in namespaces of its own, and gives how that ended; `None` inside.
///
/// # Errors
/// When the machine gives none to this user, with the mend.
pub fn enter() -> Result<Option<ExitCode>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let mut refusals = Vec::new();
    for way in WAYS {
        let tried = std::process::Command::new("unshare").args(way).arg("true").stdin(Stdio::null()).output();
        let tried = tried.context("unshare cannot be started: install util-linux")?;
        if !tried.status.success() {
            refusals.push(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
            continue;
        }
        let status = std::process::Command::new("unshare")
            .args(way)
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(INSIDE, "yes")
            .status()?;
        return Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }));
    }
    bail!(
        "this user may make no network namespace ({}): run the tests as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1 or user.max_user_namespaces)",
        refusals.join("; ")
    )
}

/// A node of the network.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: Ipv4Addr,
    /// The address of this process on the link to it.
    pub router: Ipv4Addr,
    /// The file of its network namespace.
    pub namespace: PathBuf,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    /// The nodes, in the order in which they were named.
    pub nodes: Vec<Node>,
}

impl Network {
    /// Makes nodes of these names. Each reaches each, and this process all of them.
    ///
    /// # Errors
    /// When a command is missing or refused.
    pub async fn of(names: &[String]) -> Result<Self> {
        ensure!(names.len() < 200, "so many nodes have no addresses here");
        std::fs::create_dir_all(NAMESPACES).with_context(|| NAMESPACES.to_owned())?;
        run("mount", &["-t", "tmpfs", "hansa", NAMESPACES], "").await?;
        run("ip", &["link", "set", "lo", "up"], "").await?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("a router forwards")?;
        let rules = "table ip hansa {\n\
             set cut { type ipv4_addr . ipv4_addr; }\n\
             chain forward { type filter hook forward priority 0; policy accept; ip saddr . ip daddr @cut drop; }\n\
             }\n";
        run("nft", &["-f", "-"], rules).await?;
        let mut nodes = Vec::new();
        for (name, number) in names.iter().zip(1u8..) {
            let node = Node {
                name: name.clone(),
                address: Ipv4Addr::new(10, 77, number, 2),
                router: Ipv4Addr::new(10, 77, number, 1),
                namespace: Path::new(NAMESPACES).join(name),
            };
            let Node { address, router, .. } = &node;
            let outside = format!(
                "netns add {name}\n\
                 link add link{number} type veth peer name eth0 netns {name}\n\
                 addr add {router}/30 dev link{number}\n\
                 link set link{number} up\n"
            );
            run("ip", &["-batch", "-"], &outside).await?;
            let inside = format!(
                "addr add {address}/30 dev eth0\nlink set lo up\nlink set eth0 up\nroute add default via {router}\n"
            );
            run("ip", &["-n", name, "-batch", "-"], &inside).await?;
            nodes.push(node);
        }
        Ok(Network { nodes })
    }

    /// From now on nothing that one of these sends reaches one of those.
    ///
    /// # Errors
    /// When the rules are refused.
    pub async fn cut(&self, from: &[Ipv4Addr], to: &[Ipv4Addr]) -> Result<()> {
        let pairs: Vec<String> =
            from.iter().flat_map(|from| to.iter().map(move |to| format!("{from} . {to}"))).collect();
        run("nft", &["-f", "-"], &format!("add element ip hansa cut {{ {} }}\n", pairs.join(", "))).await
    }

    /// From now on nothing passes between these and those.
    ///
    /// # Errors
    /// When the rules are refused.
    pub async fn part(&self, these: &[Ipv4Addr], those: &[Ipv4Addr]) -> Result<()> {
        self.cut(these, those).await?;
        self.cut(those, these).await
    }

    /// From now on everything passes again.
    ///
    /// # Errors
    /// When the rules are refused.
    pub async fn heal(&self) -> Result<()> {
        run("nft", &["flush", "set", "ip", "hansa", "cut"], "").await
    }
}

/// Mounts a file system of this size in memory; it is gone with the test.
///
/// # Errors
/// When the folder cannot be made or the mount is refused.
pub async fn mount_small(folder: &Path, mebibytes: u32) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.display().to_string();
    run("mount", &["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "hansa", &folder], "").await
}

async fn run(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(program);
    // Where administrators' commands are is not on every user's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(arguments).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let told = format!("{program} {}", arguments.join(" "));
    let ended = output_of(command, &told, input).await;
    ended.map(|_| ()).context("the tests need iproute2, nftables and mount: tools/network-namespaces installs them")
}
