//! Calls of the topology server.

use hansa_operator::{TopoAnswer, TopoFailure, TopoRequest};
use hansa_topo::{Category, Changes, Cursor, Topo, TopoError};

/// Carries out one call.
pub async fn call(topo: &dyn Topo, request: TopoRequest) -> TopoAnswer {
    let answer = match request {
        TopoRequest::Read { keys } => topo.read_many(&keys).await.map(TopoAnswer::Values),
        TopoRequest::List { prefix } => topo
            .list(&prefix)
            .await
            .map(|entries| TopoAnswer::Listed(entries.into_iter().map(|entry| (entry.key, entry.versioned)).collect())),
        TopoRequest::Write { key, expected: None, value } => topo.create(&key, value).await.map(TopoAnswer::Swapped),
        TopoRequest::Write { key, expected: Some(expected), value } => {
            topo.compare_and_swap(&key, &expected, value).await.map(TopoAnswer::Swapped)
        }
        TopoRequest::Changes { cursor } => {
            let cursor = cursor.map(Cursor::new);
            topo.changes(cursor.as_ref()).await.map(|changes| match changes {
                Changes::Keys { cursor, keys } => TopoAnswer::Changed { cursor: cursor.as_str().into(), keys },
                Changes::Reset { cursor } => TopoAnswer::Reset { cursor: cursor.as_str().into() },
            })
        }
    };
    answer.unwrap_or_else(|error: TopoError| {
        let reason = crate::api_server::one_line(&error);
        if error.category() == Category::Replaced {
            TopoAnswer::Replaced { reason }
        } else {
            let throttled = error.category() == Category::Throttled;
            let failure = if throttled { TopoFailure::Throttled } else { TopoFailure::Away };
            let wait = error.wait().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            TopoAnswer::Failed { reason, failure, retry_after_ms: wait }
        }
    })
}
