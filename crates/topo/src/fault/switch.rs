//! Whether the server is there.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;

/// How often to look at the file while something is under way.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Switch {
    on: watch::Sender<bool>,
    /// The server is away as long as this file exists.
    file: OnceLock<PathBuf>,
}

impl Default for Switch {
    fn default() -> Self {
        Switch { on: watch::Sender::new(true), file: OnceLock::new() }
    }
}

impl Switch {
    pub(super) fn set(&self, on: bool) {
        self.on.send_replace(on);
    }

    /// Follows a file. Only the first one given is followed.
    pub(super) fn follow(&self, path: PathBuf) {
        let _ = self.file.set(path);
        // Whatever is under way learns that there is a file.
        self.on.send_modify(|_| ());
    }

    pub(super) fn is_on(&self) -> bool {
        *self.on.borrow() && !self.file.get().is_some_and(|path| path.exists())
    }

    /// Ends when the server is away.
    pub(super) async fn off(&self) {
        let mut on = self.on.subscribe();
        loop {
            on.borrow_and_update();
            if !self.is_on() {
                return;
            }
            let moved = on.changed();
            if self.file.get().is_none() {
                // The sender is `self.on`, so it cannot have gone.
                let _ = moved.await;
            } else {
                let _ = tokio::time::timeout(LOOK, moved).await;
            }
        }
    }
}
