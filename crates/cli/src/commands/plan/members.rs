//! Every member is asked: by a `Request` for each object, which the operator at hand passes on.

use crate::cluster::Cluster;
use crate::plan::{Asked, MemberPlan, ObjectPlan, Standing};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::request;
use anyhow::Context;
use futures::StreamExt;
use futures::stream;
use hansa_api::{Action, Arguments, PlanArguments, RequestSpec};
use hansa_ledger::plan::{Difference, Effect, Finding, Findings, Verdict, Word};
use hansa_model::{FederatedSpec, RecordKey};
use hansa_render::Change;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many objects are asked about at once: as many as go together into a slot.
const CONCURRENCY: usize = 64;

/// How long the operator at hand may take beside what the members take.
const MARGIN: Duration = Duration::from_secs(10);

/// How often it is looked who is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// The Request for the plan of an object; `template`: what its Secret gives.
pub fn spec(
    key: &RecordKey,
    object: &Value,
    spec: &FederatedSpec,
    template: Option<&Value>,
    timeout: Duration,
) -> RequestSpec {
    let outline = template.filter(|_| spec.template_from.is_some()).map(outline);
    let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).clamp(1, 3_600);
    let plan = PlanArguments { spec: object["spec"].clone(), outline, timeout_seconds: Some(seconds) };
    request::spec(Action::Plan, Some(key), Arguments { plan: Some(plan), ..Arguments::default() })
}

/// A Secret without its values.
fn outline(template: &Value) -> Value {
    let mut outline = Map::new();
    for field in ["type", "immutable"] {
        if let Some(value) = template.get(field) {
            outline.insert(field.to_owned(), value.clone());
        }
    }
    let names = template["data"].as_object().into_iter().flat_map(Map::keys);
    outline.insert("data".to_owned(), names.map(|name| (name.clone(), json!(""))).collect::<Map<_, _>>().into());
    outline.into()
}

/// Asks about all of them at once; an answer for each, in their order.
pub async fn ask(
    cluster: &Cluster,
    reads: Option<&Reads>,
    requests: &[&RequestSpec],
    timeout: Duration,
) -> Vec<anyhow::Result<Findings>> {
    let open: Mutex<BTreeSet<String>> = Mutex::default();
    let locked = || open.lock().unwrap_or_else(PoisonError::into_inner);
    let progress = Progress::steps(requests.len(), "asking the members");
    let one = async |spec: &RequestSpec| -> anyhow::Result<Findings> {
        let mut uid = String::new();
        let made = |made: &str| {
            uid = made.to_owned();
            locked().insert(made.to_owned());
        };
        let reply = request::exchange(cluster, spec, timeout + MARGIN, made).await;
        locked().remove(&uid);
        progress.step();
        let reply = reply?;
        let result = reply.result.with_context(|| reply.message.clone())?;
        serde_json::from_value(result).context("what the operator answers is of another release")
    };
    let answers = stream::iter(requests).map(|spec| one(spec)).buffered(CONCURRENCY).collect::<Vec<_>>();
    let watching = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let first = locked().first().cloned();
            if let (Some(reads), Some(uid)) = (reads, first)
                && let Ok(awaited) = reads.plan_awaits(&uid).await
                && !awaited.is_empty()
            {
                progress.say(format!("waiting for {}", awaited.join(", ")));
            }
        }
    };
    tokio::select! {
        answers = answers => answers,
        () = watching => Vec::new(),
    }
}

/// Puts what the members said into a plan that was rendered here.
pub fn take(plan: &mut ObjectPlan, findings: &Findings) {
    for (member, finding) in findings {
        let is_planned = plan.members.contains_key(member);
        let word = match finding {
            Finding::Said(word) => word,
            Finding::Silent(why) => {
                if is_planned {
                    plan.asked.insert(member.clone(), Asked::plain(Standing::RenderedOnly, why));
                }
                continue;
            }
        };
        let keeps_away = matches!(word.effect, None | Some(Effect::Keep | Effect::Absent));
        if !is_planned && keeps_away {
            continue;
        }
        let standing = match word.verdict {
            Verdict::Accepted => Standing::Accepted,
            Verdict::Untried => Standing::NotTried,
            Verdict::Held => Standing::Held,
            Verdict::Frozen => Standing::Frozen,
            Verdict::Refused | Verdict::Conflicting => {
                plan.refuse_in(member, &word.message);
                continue;
            }
        };
        match word.effect {
            Some(Effect::Absent) => {
                plan.members.remove(member);
            }
            Some(effect) => {
                let said = member_plan(effect, word);
                let rendered = plan.members.get(member).filter(|rendered| rendered.effect == said.effect);
                // All of what changes is known here, when what was told there had no room for it.
                if word.untold == 0 || rendered.is_none() {
                    plan.members.insert(member.clone(), said);
                }
            }
            None => {}
        }
        let asked = Asked { standing, message: word.message.clone(), notes: word.notes.clone() };
        plan.asked.insert(member.clone(), asked);
    }
}

fn member_plan(effect: Effect, word: &Word) -> MemberPlan {
    let effect = match effect {
        Effect::Change => crate::plan::Effect::Change,
        Effect::Add => crate::plan::Effect::Add,
        Effect::Withdraw => crate::plan::Effect::Withdraw,
        Effect::Keep | Effect::Absent => crate::plan::Effect::Keep,
    };
    let change = |change: &Difference| Change {
        path: change.path.clone(),
        before: (!change.before.is_null()).then(|| change.before.read()),
        after: (!change.after.is_null()).then(|| change.after.read()),
    };
    MemberPlan { effect, changes: word.changes.iter().map(change).collect(), restarts_pods: word.restarts_pods }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_has_the_names_and_no_values() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "Yg=="}});
        assert_eq!(outline(&template), json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}}));
    }
}
