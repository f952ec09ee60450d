//! Waiting for changes: one of those who wait lists for all of them.

use super::Objects;
use crate::contract::{Changes, Cursor};
use crate::error::TopoError;
use crate::place;
use crate::usage::Operation;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

/// A server that asks to be left alone longer is asked after this time all the same.
const LONGEST_REST: Duration = Duration::from_secs(60);

impl Objects {
    pub(super) async fn follow(&self, cursor: Option<&Cursor>) -> Result<Changes, TopoError> {
        let mut moved = self.moved.subscribe();
        let after = cursor.map(|cursor| place::read(cursor, &self.history));
        loop {
            moved.borrow_and_update();
            {
                let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(now) = feed.place() {
                    let cursor = place::write(&self.history, now);
                    match after.map(|after| after.and_then(|after| feed.since(after))) {
                        None => return Ok(Changes::Keys { cursor, keys: BTreeMap::new() }),
                        Some(None) => return Ok(Changes::Reset { cursor }),
                        Some(Some(keys)) if keys.is_empty() => {}
                        Some(Some(keys)) => return Ok(Changes::Keys { cursor, keys }),
                    }
                }
            }
            let _turn = tokio::select! {
                biased;
                _ = moved.changed() => continue,
                turn = self.turn.lock() => turn,
            };
            let due = self.feed.lock().unwrap_or_else(PoisonError::into_inner).due();
            tokio::select! {
                biased;
                // News may have made the list due earlier.
                _ = moved.changed() => continue,
                () = tokio::time::sleep_until(self.started + due) => {}
            }
            // A list that has begun is not given up for an own write: a handle that writes all the
            // time would never see what others write.
            self.look().await?;
        }
    }

    async fn look(&self) -> Result<(), TopoError> {
        let look = self.feed.lock().unwrap_or_else(PoisonError::into_inner).begin(self.started.elapsed());
        let mut requests = 0;
        let listed = self.names(Operation::Changes, self.follows, || requests += 1).await;
        let now = self.started.elapsed();
        {
            let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
            match listed {
                // What is no key of ours nobody looks for.
                Ok(objects) => {
                    let keys = objects.into_iter().filter_map(|object| Some((object.key.ok()?, object.version)));
                    feed.seen(look, keys.collect(), requests, now);
                }
                Err(error) => {
                    if let Some(wait) = error.wait() {
                        feed.rest(now + wait.min(LONGEST_REST));
                    }
                    return Err(error);
                }
            }
        }
        self.moved.send_replace(());
        Ok(())
    }

    /// Tells those who wait at this handle of its own write.
    pub(super) fn wrote(&self, key: &str, version: &hansa_ledger::Version) {
        if !key.starts_with(self.follows) {
            return;
        }
        let now = self.started.elapsed();
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).wrote(key, version, now);
        self.moved.send_replace(());
    }
}
