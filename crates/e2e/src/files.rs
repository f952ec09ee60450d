//! Files that stopped processes leave behind.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

/// Sends a signal to a process.
///
/// # Errors
/// When it does not run.
pub fn signal(id: u32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(id.cast_signed()).context("a process has an id")?, signal)?)
}

/// Does something while a process stands still. What it had written by then is what a crash at this
/// moment leaves behind.
///
/// # Errors
/// When the process does not run, or what is done fails.
pub fn while_stopped<T>(id: u32, act: impl FnOnce() -> Result<T>) -> Result<T> {
    signal(id, Signal::STOP)?;
    let done = act();
    signal(id, Signal::CONT)?;
    done
}

/// Copies a folder; what stood at the target goes.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
