//! Watches on their way to clients.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};

use super::hub::{self, Hub, wall_clock};
use crate::core::WatchId;

/// Sends the events of a watch until it ends, the client goes, or the server stops.
pub async fn feed(hub: Arc<Hub>, id: WatchId, pieces: mpsc::Sender<Bytes>, mut stopped: watch::Receiver<bool>) {
    let Some(mut topic) = hub.topic(id) else { return };
    loop {
        topic.mark_unchanged();
        let poll = hub.poll(id);
        if !poll.lines.is_empty() {
            let mut piece = BytesMut::with_capacity(poll.lines.iter().map(Bytes::len).sum());
            poll.lines.iter().for_each(|line| piece.extend_from_slice(line));
            // A client that reads slowly holds up its own watch only.
            if pieces.send(piece.freeze()).await.is_err() {
                break;
            }
        }
        if poll.closed {
            return;
        }
        let pause =
            poll.wake.map_or(Duration::from_secs(60), |at| Duration::from_millis(at.saturating_sub(wall_clock())));
        tokio::select! {
            moved = topic.changed() => if moved.is_err() { break },
            () = tokio::time::sleep(pause) => {}
            () = pieces.closed() => break,
            () = hub::stop(&mut stopped) => break,
        }
    }
    hub.close_watch(id);
}
