//! The operator that was asked: it puts plans into slots, and waits for the others.
//!
//! What is asked while a plan is on its way into a slot goes together into the next one, so that a
//! command about fifty objects takes two slots. The lowest free slot is taken, for the fewer are used,
//! the less stands in the topology server.

use super::PlanCall;
use crate::feed::ObjectName;
use crate::io::TopoRequest;
use crate::machine::{Operator, Timer};
use crate::report::rfc3339;
use crate::sealing::{is_sealed_type, misplaced_content};
use crate::topology::TopoCall;
use crate::writer::{Pen, Writer};
use hansa_ledger::plan::{
    Finding, Findings, MAX_OBJECTS, MAX_PLAN_BYTES, PLAN_FORMAT, Plan, Planned, SLOTS, Verdict, Words,
};
use hansa_ledger::swap::Settled;
use hansa_ledger::{Envelope, OperationId, Swap, Versioned, keys};
use hansa_model::{Compact, FederatedSpec, MemberName, RecordKey};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long members that run may take to answer, unless the Request says so.
pub(super) const TIMEOUT_MS: u64 = 20_000;

/// For how long a slot is kept after that: whoever asked may have died.
const KEPT_MS: u64 = 60_000;

/// How large the findings of a Request may be, as they go into one Secret (1 MiB, in base64).
pub(super) const MAX_FINDINGS_BYTES: usize = 640 << 10;

/// What a Request wants to have planned.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wanted {
    /// The object as it is to be.
    pub planned: Planned,
    /// How long members may take.
    pub timeout_ms: u64,
}

impl Wanted {
    /// Reads the arguments of a Request.
    ///
    /// # Errors
    /// When they are none, or too large for a slot.
    pub fn read(key: RecordKey, arguments: &Value) -> Result<Self, String> {
        let spec = &arguments["spec"];
        if !spec.is_object() {
            return Err("spec.arguments.plan.spec: the spec of the federated object is missing".to_owned());
        }
        if is_sealed_type(&key.type_name) {
            reject_values(&key, arguments)?;
        }
        let compact = Compact::of;
        let planned = Planned { key, spec: compact(spec), outline: compact(&arguments["outline"]) };
        let bytes = planned.bytes();
        if bytes > MAX_PLAN_BYTES {
            return Err(format!(
                "spec.arguments.plan.spec: the object has {bytes} bytes, and a plan of at most {MAX_PLAN_BYTES} goes round: plan it in the member at hand (`hansa plan --local`)"
            ));
        }
        let seconds = arguments["timeoutSeconds"].as_u64().filter(|seconds| *seconds > 0);
        Ok(Wanted { planned, timeout_ms: seconds.map_or(TIMEOUT_MS, |seconds| seconds.saturating_mul(1_000)) })
    }
}

/// A plan is not sealed: what is in a Secret has no place in it.
fn reject_values(key: &RecordKey, arguments: &Value) -> Result<(), String> {
    let spec: FederatedSpec = serde_json::from_value(arguments["spec"].clone())
        .map_err(|error| format!("spec.arguments.plan.spec: {error}"))?;
    if let Some(why) = misplaced_content(&key.type_name, &spec) {
        return Err(format!("spec.arguments.plan: {why}"));
    }
    let outline = &arguments["outline"];
    let fields = outline.as_object().into_iter().flatten();
    let values = fields.flat_map(|(field, value)| match field.as_str() {
        "data" => value.as_object().into_iter().flat_map(|data| data.values()).collect(),
        "type" | "immutable" => Vec::new(),
        _ => vec![value],
    });
    match values.into_iter().all(|value| value == "") {
        true => Ok(()),
        false => Err("spec.arguments.plan.outline: it is `type`, `immutable` and `data` with empty texts: values of a Secret go into no plan".to_owned()),
    }
}

/// Plans that were asked for here.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// What waits for a slot.
    waiting: BTreeMap<ObjectName, Arc<Wanted>>,
    placing: Placing,
    /// What stands in slots, and is not answered by all.
    open: BTreeMap<u32, Open>,
    /// Slots that are being given back.
    freeing: BTreeMap<u32, Writer>,
    /// What came of it, until the Request has it.
    found: BTreeMap<ObjectName, Result<Findings, String>>,
}

/// A slot that is looked for, or written.
#[derive(Debug, Default)]
enum Placing {
    #[default]
    Nothing,
    Looking,
    Writing(Box<Batch>),
}

/// A plan on its way, and whose it is.
#[derive(Debug)]
struct Batch {
    slot: u32,
    writer: Writer,
    plan: Plan,
    requests: Vec<(ObjectName, Arc<Wanted>)>,
    /// Who answered before the answer to the write came.
    early: Vec<(MemberName, Words)>,
}

/// A plan in its slot.
#[derive(Debug)]
struct Open {
    id: OperationId,
    writer: Writer,
    /// In the order of the objects; `None`: nobody waits for it any more.
    requests: Vec<Option<ObjectName>>,
    deadline_ms: u64,
    timeout_ms: u64,
    words: BTreeMap<MemberName, Words>,
}

impl Asking {
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && matches!(self.placing, Placing::Nothing)
    }

    /// What was called is not answered any more, and slots may hold something else: one that is not given back is
    /// free once it has expired.
    pub fn begin_anew(&mut self) {
        if let Placing::Writing(batch) = std::mem::take(&mut self.placing) {
            self.put_back(batch.requests);
        }
        self.freeing.clear();
        self.open.values_mut().for_each(|open| open.writer.begin_anew());
    }

    pub fn repeated(&mut self) -> Option<TopoRequest> {
        let Placing::Writing(batch) = &mut self.placing else { return None };
        batch.writer.repeated()
    }

    pub fn repeated_freeing(&mut self, slot: u32) -> Option<TopoRequest> {
        self.freeing.get_mut(&slot)?.repeated()
    }

    fn knows(&self, request: &ObjectName) -> bool {
        self.waiting.contains_key(request)
            || matches!(&self.placing, Placing::Writing(batch) if batch.requests.iter().any(|(name, _)| name == request))
            || self.place(request).is_some()
    }

    fn place(&self, request: &ObjectName) -> Option<(&Open, usize)> {
        self.open.values().find_map(|open| {
            let at = open.requests.iter().position(|known| known.as_ref() == Some(request))?;
            Some((open, at))
        })
    }

    /// Takes as much of what waits as fits into one slot.
    fn next_batch(&mut self) -> Vec<(ObjectName, Arc<Wanted>)> {
        let mut batch = Vec::new();
        let mut room = MAX_PLAN_BYTES;
        while let Some(entry) = self.waiting.first_entry() {
            let bytes = entry.get().planned.bytes();
            if batch.len() == MAX_OBJECTS || (bytes > room && !batch.is_empty()) {
                break;
            }
            room = room.saturating_sub(bytes);
            batch.push(entry.remove_entry());
        }
        batch
    }

    fn put_back(&mut self, batch: Vec<(ObjectName, Arc<Wanted>)>) {
        for (name, wanted) in batch {
            self.waiting.entry(name).or_insert(wanted);
        }
    }
}

pub(super) fn look(slot: u32) -> TopoRequest {
    TopoRequest::Read { keys: vec![keys::plan(slot)] }
}

impl Operator {
    /// What is known of the plan of a Request; begins to ask when that is not under way.
    pub(crate) fn findings(&mut self, request: &ObjectName, wanted: &Arc<Wanted>) -> Option<Result<Findings, String>> {
        let asking = &mut self.plans.asking;
        if let Some(found) = asking.found.get(request) {
            return Some(found.clone());
        }
        if !asking.knows(request) {
            asking.waiting.insert(request.clone(), Arc::clone(wanted));
        }
        None
    }

    /// Whether the plan of a Request stands where others can see it.
    pub(crate) fn is_asked(&self, request: &ObjectName) -> bool {
        self.plans.asking.place(request).is_some()
    }

    /// Nobody waits for the plan of a Request any more.
    pub(crate) fn plan_forgotten(&mut self, request: &ObjectName) {
        let asking = &mut self.plans.asking;
        asking.found.remove(request);
        asking.waiting.remove(request);
        let places = asking.open.values_mut().flat_map(|open| open.requests.iter_mut());
        places.filter(|known| known.as_ref() == Some(request)).for_each(|known| *known = None);
        self.judge_plans();
    }

    /// Who has answered a Request for a plan, who is waited for, and who is silent.
    pub(crate) fn plan_progress(&self, uid: &str) -> Value {
        let Some(request) = self.requests.named(uid) else { return json!({"found": false}) };
        let place = self.plans.asking.place(request);
        let state = |member: &MemberName| match place {
            Some((open, _)) if open.words.contains_key(member) => "Answered",
            _ if !self.is_heard(member) => "Silent",
            _ => "Awaited",
        };
        let members = self.league.iter().flat_map(|league| &league.spec.members);
        let members: serde_json::Map<String, Value> =
            members.map(|member| (member.name.to_string(), json!(state(&member.name)))).collect();
        json!({"found": true, "members": members})
    }

    pub(super) fn continue_asking(&mut self) {
        let asking = &self.plans.asking;
        if matches!(asking.placing, Placing::Nothing) && !asking.waiting.is_empty() {
            self.look_at_slot(0);
        }
    }

    fn look_at_slot(&mut self, from: u32) {
        let asking = &mut self.plans.asking;
        let taken = |slot: &u32| asking.open.contains_key(slot) || asking.freeing.contains_key(slot);
        let Some(slot) = (from..SLOTS).find(|slot| !taken(slot)) else {
            asking.placing = Placing::Nothing;
            let waiting = std::mem::take(&mut asking.waiting);
            let why = format!("all {SLOTS} slots for plans are taken: ask again in a minute");
            asking.found.extend(waiting.into_keys().map(|request| (request, Err(why.clone()))));
            return self.tell_findings();
        };
        asking.placing = Placing::Looking;
        self.call_for_plan(PlanCall::Look(slot), look(slot));
    }

    pub(super) fn slot_read(&mut self, slot: u32, value: Option<Versioned>) {
        let Some(league) = self.league.as_ref().map(|league| league.id) else { return };
        let mut writer = Writer::new(keys::plan(slot));
        let free = match &value {
            None => true,
            Some(value) => {
                let opened = Envelope::open(&value.value);
                let opened = opened.and_then(|(envelope, body)| envelope.belongs_to(league).map(|()| (envelope, body)));
                match opened.map(|(envelope, body)| (envelope, Plan::from_slice(&body))) {
                    Ok((envelope, Ok(plan))) => {
                        writer.saw(&value.version, &envelope);
                        plan.is_over(self.now.wall_ms)
                    }
                    // What does not read may be a newer release's.
                    Ok((_, Err(_))) => false,
                    Err(error) => {
                        self.misfit(&keys::plan(slot), &error);
                        false
                    }
                }
            }
        };
        if !free {
            return self.look_at_slot(slot + 1);
        }
        let requests = self.plans.asking.next_batch();
        let Some((league, era, id, nonce)) = self.pen_parts().filter(|_| !requests.is_empty()) else {
            self.plans.asking.placing = Placing::Nothing;
            return self.plans.asking.put_back(requests);
        };
        let member = self.config.member.clone();
        let timeout = requests.iter().map(|(_, wanted)| wanted.timeout_ms).max().unwrap_or(TIMEOUT_MS);
        let plan = Plan {
            format: PLAN_FORMAT,
            author: member.clone(),
            id,
            expires_ms: self.now.wall_ms.saturating_add(timeout).saturating_add(KEPT_MS),
            objects: requests.iter().map(|(_, wanted)| wanted.planned.clone()).collect(),
        };
        let body = serde_json::to_vec(&plan).expect("a plan always encodes into memory");
        let request = writer.begin(Pen { league, era, member: &member, operation: id, nonce }, &body);
        self.plans.asking.placing =
            Placing::Writing(Box::new(Batch { slot, writer, plan, requests, early: Vec::new() }));
        self.call_for_plan(PlanCall::Place(slot), request);
    }

    pub(super) fn plan_placed(&mut self, slot: u32, swap: Swap) {
        let member = self.config.member.clone();
        let Placing::Writing(mut batch) = std::mem::take(&mut self.plans.asking.placing) else { return };
        match batch.writer.settle(&member, swap) {
            Ok(Settled::Repeat { reason }) => {
                self.plans.asking.placing = Placing::Writing(batch);
                self.repeat_later(TopoCall::Plan(PlanCall::Place(slot)), &reason)
            }
            Ok(Settled::Committed(_)) => {
                let timeout_ms = batch.requests.iter().map(|(_, wanted)| wanted.timeout_ms).max().unwrap_or(TIMEOUT_MS);
                let open = Open {
                    id: batch.plan.id,
                    writer: batch.writer,
                    requests: batch.requests.into_iter().map(|(name, _)| Some(name)).collect(),
                    deadline_ms: self.now.monotonic_ms.saturating_add(timeout_ms),
                    timeout_ms,
                    words: BTreeMap::new(),
                };
                self.plans.asking.open.insert(slot, open);
                for (member, words) in batch.early {
                    self.words_heard(slot, member, words);
                }
                self.judge_plans();
            }
            // Another one was faster.
            Ok(Settled::CommittedBefore(_) | Settled::Lost(_)) | Err(_) => {
                self.plans.asking.put_back(batch.requests);
                self.look_at_slot(slot + 1);
            }
        }
    }

    /// Whether what a member says in a slot is waited for here.
    pub(crate) fn awaits_words(&self, slot: u32, member: &MemberName) -> bool {
        let asking = &self.plans.asking;
        let is_written = matches!(&asking.placing, Placing::Writing(batch) if batch.slot == slot);
        *member != self.config.member && (is_written || asking.open.contains_key(&slot))
    }

    /// # Errors
    /// When it cannot be read.
    pub(crate) fn words_seen(&mut self, slot: u32, member: MemberName, body: &[u8]) -> Result<(), String> {
        if self.awaits_words(slot, &member) {
            self.words_heard(slot, member, Words::from_slice(body)?);
        }
        Ok(())
    }

    pub(super) fn words_heard(&mut self, slot: u32, member: MemberName, words: Words) {
        let own = &self.config.member;
        if let Placing::Writing(batch) = &mut self.plans.asking.placing
            && words.author == *own
            && words.id == batch.plan.id
        {
            return batch.early.push((member, words));
        }
        let Some(open) = self.plans.asking.open.get_mut(&slot) else { return };
        // What stands there may be about the plan before.
        if words.author == *own && words.id == open.id && words.words.len() == open.requests.len() {
            open.words.insert(member, words);
            self.judge_plans();
        }
    }

    /// Ends the plans that all have answered who can, or that were waited for long enough.
    pub(crate) fn judge_plans(&mut self) {
        let Some(league) = self.league.as_ref() else { return };
        let (now, patience) = (self.now.monotonic_ms, self.suspect_after_ms());
        let members: Vec<MemberName> = league.spec.members.iter().map(|member| member.name.clone()).collect();
        let (mut over, mut due) = (Vec::new(), None::<u64>);
        for (slot, open) in &self.plans.asking.open {
            let awaited = members.iter().filter(|member| !open.words.contains_key(*member) && self.is_heard(member));
            // When the first of them will have been silent for too long.
            let silent = |member: &MemberName| now + patience.saturating_sub(self.silent_ms(member));
            let next = awaited.clone().map(silent).chain([open.deadline_ms]).min();
            if awaited.count() == 0 || open.requests.iter().all(Option::is_none) || now >= open.deadline_ms {
                over.push(*slot);
            } else {
                due = due.into_iter().chain(next).min();
            }
        }
        if let Some(due) = due {
            self.at(due.max(now + 1), Timer::Plans);
        }
        for slot in over {
            self.conclude(slot, &members);
        }
    }

    fn conclude(&mut self, slot: u32, members: &[MemberName]) {
        let Some(open) = self.plans.asking.open.remove(&slot) else { return };
        for (index, request) in open.requests.iter().enumerate() {
            let Some(request) = request else { continue };
            let finding = |member: &MemberName| match open.words.get(member).and_then(|words| words.words.get(index)) {
                Some(word) => Finding::Said(word.clone()),
                None => Finding::Silent(self.why_silent(member, open.timeout_ms)),
            };
            let findings = members.iter().map(|member| (member.clone(), finding(member))).collect();
            self.plans.asking.found.insert(request.clone(), Ok(within_a_secret(findings)));
        }
        self.free(slot, open.writer);
        self.tell_findings();
    }

    fn why_silent(&self, member: &MemberName, timeout_ms: u64) -> String {
        if let Some(since) = self.topology.down_since_ms {
            return format!("the topology server cannot be used since {}", rfc3339(since));
        }
        match self.topology.cells.get(member) {
            None => "no operator of this member was ever heard".to_owned(),
            Some(_) if !self.is_heard(member) => {
                let silent = self.silent_ms(member);
                format!("silent since {}", rfc3339(self.now.wall_ms.saturating_sub(silent)))
            }
            Some(cell) => format!(
                "it runs release {}, and has not answered within {} s: it is slow, or of a release that knows no plans",
                cell.value.release,
                timeout_ms / 1_000
            ),
        }
    }

    /// The Requests whose plans are known are answered.
    fn tell_findings(&mut self) {
        let known: Vec<ObjectName> = self.plans.asking.found.keys().cloned().collect();
        for request in known {
            self.continue_request(&request);
        }
    }

    fn free(&mut self, slot: u32, mut writer: Writer) {
        let Some((league, era, id, nonce)) = self.pen_parts() else { return };
        let member = self.config.member.clone();
        let free = Plan { format: PLAN_FORMAT, author: member.clone(), id, expires_ms: 0, objects: Vec::new() };
        let body = serde_json::to_vec(&free).expect("a plan always encodes into memory");
        let request = writer.begin(Pen { league, era, member: &member, operation: id, nonce }, &body);
        self.plans.asking.freeing.insert(slot, writer);
        self.call_for_plan(PlanCall::Free(slot), request);
    }

    pub(super) fn slot_freed(&mut self, slot: u32, swap: Swap) {
        let member = self.config.member.clone();
        let Some(writer) = self.plans.asking.freeing.get_mut(&slot) else { return };
        if let Ok(Settled::Repeat { reason }) = writer.settle(&member, swap) {
            return self.repeat_later(TopoCall::Plan(PlanCall::Free(slot)), &reason);
        }
        // Freed, or another's by now.
        self.plans.asking.freeing.remove(&slot);
    }
}

/// Findings as they fit into one Secret: changes are left out, member by member, and counted.
pub(super) fn within_a_secret(mut findings: Findings) -> Findings {
    let bytes = |finding: &Finding| serde_json::to_vec(finding).expect("findings always encode into memory").len();
    let mut room = MAX_FINDINGS_BYTES;
    for finding in findings.values_mut() {
        if let Finding::Said(word) = finding
            && bytes(&Finding::Said(word.clone())) > room
        {
            word.untold = word.untold.saturating_add(word.changes.len() as u64);
            (word.changes, word.notes) = (Vec::new(), Vec::new());
        }
        room = room.saturating_sub(bytes(finding));
    }
    findings
}

/// What was found, in one sentence.
pub(crate) fn summary(findings: &Findings) -> String {
    let said =
        || findings.values().filter_map(|finding| if let Finding::Said(word) = finding { Some(word) } else { None });
    let refusing = said().filter(|word| matches!(word.verdict, Verdict::Refused | Verdict::Conflicting)).count();
    let refusals = if refusing > 0 { format!(", {refusing} of them with a refusal") } else { String::new() };
    format!("{} of {} members answered{refusals}", said().count(), findings.len())
}
