//! A real S3 server as a process: versitygw, on a folder.

use crate::{Process, cache, connects, free_ports};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The server with an empty bucket.
#[derive(Debug)]
pub struct S3 {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The process.
    pub process: Process,
    address: String,
}

impl S3 {
    /// The bucket.
    pub const BUCKET: &str = "league";
    /// Whom it takes requests from.
    pub const USER: &str = "hansa";
    /// The secret that they are signed with.
    pub const SECRET: &str = "a long secret";

    /// The server's program: in `HANSA_STORE_SERVERS`, else where `make store-servers` puts it.
    ///
    /// # Errors
    /// When it is nowhere, with the mend.
    pub fn program() -> Result<PathBuf> {
        let given = std::env::var_os("HANSA_STORE_SERVERS").map(PathBuf::from);
        let built = cache().and_then(|cache| cache.join("store-servers").read_dir().ok());
        let mut folders: Vec<PathBuf> = built.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        // Of several builds the newest, which is the last by its name.
        folders.sort();
        let mut candidates = given.into_iter().chain(folders.into_iter().rev()).map(|folder| folder.join("versitygw"));
        candidates.find(|path| path.is_file()).context(
            "there is no versitygw: run `make store-servers` (once, about 5 minutes), or set HANSA_STORE_SERVERS",
        )
    }

    /// Starts one with its data below `folder`; [`S3::ready`] waits for it.
    ///
    /// # Errors
    /// When there is no program, or it cannot be started.
    pub fn start(folder: &Path, name: &str) -> Result<Self> {
        let program = Self::program()?;
        let data = folder.join(name);
        std::fs::create_dir_all(data.join(Self::BUCKET))?;
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let mut arguments: Vec<String> = ["--access", Self::USER, "--secret", Self::SECRET].map(str::to_owned).into();
        arguments.extend(["--quiet", "--keep-alive", "--port", &address, "posix"].map(str::to_owned));
        arguments.push(data.display().to_string());
        let process = Process::start(&program, name, &arguments, folder)?;
        Ok(S3 { endpoint: format!("http://{address}"), process, address })
    }

    /// Waits until it takes connections.
    ///
    /// # Errors
    /// When it ended, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        connects(&mut self.process, &self.address).await
    }
}
