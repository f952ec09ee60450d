//! Federated objects of this member: ingesting them, letting them go, telling their users.

mod calls;
mod leaving;
mod telling;

use crate::blobs::Placing;
use crate::events::Tiding;
use crate::feed::ObjectName;
use crate::io::Level;
use crate::machine::{Agreed, Context, Object, Operator, Priority, object_path};
use crate::observed::{HomeState, take_home};
use crate::removal::Decision;
use hansa_ledger::Record;
use hansa_ledger::breaker::{Pending, Scope};
use hansa_ledger::cell::Made;
use hansa_ledger::lives::{self, Departure, HomeObject, Standing};
use hansa_ledger::mutation::{Change, Skipped};
use hansa_ledger::record::Body;
use hansa_model::{
    Compact, DeletionPolicy, FederatedSpec, FederationSpec, Hash, Incarnation, MemberName, NamespacePolicy, RecordKey,
    Revision, Takeover, TypeName,
};
use hansa_place::Placed;
use serde_json::Value;
use std::sync::Arc;

/// What is asked of the API server about a federated object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HomeCall {
    /// Put the finalizer on, or take it off.
    Finalize { on: bool },
    /// Write a status.
    Report(Told),
    /// Is its namespace being deleted?
    Namespace,
    /// Is its CRD being deleted?
    Definition,
    /// It was deleted for all: delete this copy.
    Delete,
    /// It is not shown any more: is it really gone?
    Verify,
    /// It is to be agreed on once more, and its content was let go: what does it hold?
    Recall,
    /// The home moves here: make the object from the agreed intent.
    Create,
}

/// What is remembered of a status that is being written: the answer has the metadata alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    /// Of the status without times.
    hash: Hash,
    conditions: Compact,
    stamp: Option<Revision>,
    stamp_life: Option<Incarnation>,
}

/// Work on a federated object.
#[derive(Debug, Default)]
pub(crate) struct HomeWork {
    busy: bool,
    retry_ms: u64,
    failures: u32,
    /// Whether the object goes with its namespace or its CRD: found out by a linearizable read.
    accident: Option<bool>,
    namespace_stands: bool,
    /// A status is to be written. It is computed when its turn comes: thousands may wait, and each of them is
    /// larger than all else that is kept of its object.
    wanted: bool,
    /// What the status that is being written tells anew, against what stood before it was sent: the watch
    /// may show it before the answer comes.
    tidings: Vec<Tiding>,
    /// The revision and generation that a status waits for, since when, and until when.
    patience: Option<(u64, u64, u64, u64)>,
    written_ms: u64,
    /// The object vanished without our finalizer, and a read said so.
    vanished: bool,
    /// When the page was last read linearizably: before the finalizer goes, it has to be.
    pub(crate) fenced_ms: Option<u64>,
}

impl HomeWork {
    /// Whether a status waits for its time to be written.
    pub fn awaits_report(&self) -> bool {
        self.patience.is_some()
    }

    pub fn is_worth_keeping(&self) -> bool {
        self.busy || self.failures > 0
    }
}

impl Operator {
    pub(crate) fn home_seen(&mut self, type_name: &TypeName, object: &Value, listed: bool) {
        let key = Self::key_of(type_name, &crate::feed::object_name(object));
        let home = HomeState::reduce(type_name, object, &self.config.member);
        // The watch may still be telling what was before the answer to our own write; what came with
        // that, it tells next.
        let known = self.objects.get(&key).and_then(|object| object.home.as_ref());
        if !listed && known.is_some_and(|known| home.is_overtaken_by(known)) {
            return;
        }
        if home.source.is_none() {
            self.forget_source(&key);
        }
        let state = self.objects.entry(key.clone()).or_default();
        if state.home.as_ref().is_some_and(|known| known.object.uid != home.object.uid) {
            state.home_work = HomeWork::default();
        }
        state.home_work.vanished = false;
        state.home = Some(home);
        self.touch(&key);
    }

    pub(crate) fn home_gone(&mut self, type_name: &TypeName, name: &ObjectName) {
        let key = Self::key_of(type_name, name);
        if let Some(state) = self.objects.get_mut(&key) {
            state.home = None;
            state.home_work = HomeWork { busy: state.home_work.busy, ..HomeWork::default() };
        }
        self.forget_source(&key);
        self.touch(&key);
    }

    /// The API server serves the kind: what it did not take or tell a while ago is tried at once.
    pub(crate) fn retry_homes(&mut self, type_name: &TypeName) {
        let of_type = self.objects.iter_mut().filter(|(key, _)| key.type_name == *type_name);
        of_type.for_each(|(_, object)| object.home_work.retry_ms = 0);
    }

    /// What the league agreed that users want, readable.
    pub(crate) fn intent_spec(&self, record: &Record) -> Result<FederatedSpec, String> {
        serde_json::from_str(self.intent_text(record)?.get()).map_err(|error| format!("spec: {error}"))
    }

    /// What a spec's placement computes to, within the members that its namespace is federated to
    /// where the league requires that.
    pub(crate) fn placement_of(
        &self,
        league: &FederationSpec,
        key: &RecordKey,
        spec: &FederatedSpec,
    ) -> Result<Placed, String> {
        let placed = hansa_place::placed(league, &spec.placement).map_err(|error| error.to_string())?;
        if key.namespace.is_empty() {
            return Ok(placed);
        }
        if let Some(why) = self.unread_namespace(key) {
            return Err(why);
        }
        let namespace = self.namespace_record(key);
        let members = namespace.map(|record| record.placed_members().cloned().collect());
        Ok(hansa_place::within_namespace(placed, members.as_ref(), league.namespaces))
    }

    /// The record of the FederatedNamespace that an object lies in.
    fn namespace_record(&self, key: &RecordKey) -> Option<Arc<Record>> {
        let name = RecordKey { type_name: namespaces(), namespace: "".into(), name: key.namespace.clone() };
        self.record_in_page(&name).filter(|record| record.tombstone.is_none())
    }

    pub(crate) fn process_home(
        &mut self,
        key: &RecordKey,
        context: &Context,
        object: &mut Object,
        record: Option<&Record>,
    ) {
        // What was said of it and not sent yet was so when it was last looked at.
        self.unsay_home(key);
        let Some(home) = &mut object.home else {
            return self.process_absence(key, object, record);
        };

        let stamped = self.status_of(&self.config.member, key).and_then(|status| status.stamped.clone());
        home.object.remembered_stamp =
            stamped.filter(|stamped| stamped.uid == home.object.uid).map(|stamped| stamped.revision);
        home.object.later = record.and_then(|record| self.made_later(key, record));
        home.object.takeover_allowed = match record {
            Some(record) => self.may_take_home(record),
            None => context.spec.homes.takeover == Takeover::Allowed,
        };
        if let Some(record) = record
            && self.disowns(key, &home.object, home.deleting, record)
        {
            return;
        }
        if home.deleting {
            return self.process_departure(key, object, record);
        }
        self.end_is_not_wanted(key);
        if let Some(gone) = replaced_home(record, &self.config.member, &home.object) {
            // The life has ended, and what was its home here has ended, too: another object has its name.
            if object.home_work.vanished {
                self.mutate(key, Change::Vanished { uid: gone.to_owned() });
            } else {
                self.want_home_work(key, &object.home_work, Priority::Finalizers);
            }
        }
        let named = record.is_some_and(|record| {
            record.tombstone.is_none()
                && record.homes.get(&self.config.member).is_some_and(|entry| entry.uid == home.object.uid)
        });
        if named && !home.has_finalizer {
            self.want_home_work(key, &object.home_work, Priority::Finalizers);
        }
        // A source that is not known yet leaves open what the object stands for.
        if !self.settle_source(key, home, record) {
            return;
        }
        if self.is_leaving(&self.config.member) && self.leave_home(key, object, record) {
            return;
        }
        let Some(home) = &mut object.home else { return };
        let standing = lives::standing(record, &self.config.member, &home.object);
        match &standing {
            Standing::InStep => {
                home.intent = None;
                if let Some(record) = record {
                    self.remember_source(key, record);
                    // The word is nobody's, and a user here says the same.
                    let says_so = home.object.take_home == Some(record.revision) && self.is_surely_rejected(key);
                    if !self.config.observe && (says_so || self.wants_a_voucher(key, record)) {
                        let instead_of = record.intent.signature.clone();
                        self.mutate(key, Change::Vouch { of: Made::from(record), instead_of });
                    }
                }
            }
            Standing::Deleted if self.words.rejected(key).is_none() => {
                self.want_fenced_home_work(key, &object.home_work)
            }
            Standing::Born | Standing::Reborn | Standing::Edited | Standing::Taken | Standing::Converged => {
                if home.invalid.is_some() || self.config.observe {
                    return;
                }
                if home.is_let_go(record) {
                    self.want_home_work(key, &object.home_work, Priority::Finalizers);
                } else {
                    self.ingest(key, context, home, &standing, record);
                }
            }
            Standing::Deleted
            | Standing::Differs
            | Standing::Conflicts
            | Standing::Former
            | Standing::Awaited
            | Standing::Frozen(_) => {}
        }
    }

    /// A forged end stands as long as no home says that the life goes on: by its user's word, or because it is
    /// to end by that one's. Whether it does is judged again when the end is gone.
    fn disowns(&mut self, key: &RecordKey, object: &HomeObject, deleting: bool, record: &Record) -> bool {
        let Some(tombstone) = record.tombstone.as_ref().filter(|_| self.words.rejected(key).is_some()) else {
            return false;
        };
        let is_home = record.homes.get(&self.config.member).is_some_and(|home| home.uid == object.uid);
        let speaks = is_home && (deleting || object.take_home == Some(record.revision)) && !self.config.observe;
        // Until the voters are read anew, nothing is done on that ground, and nothing against it.
        if speaks && self.is_surely_rejected(key) {
            let instead_of = tombstone.signature.clone();
            self.mutate(key, Change::Disown { incarnation: record.incarnation, instead_of });
        }
        speaks
    }

    /// Tells the others what keeps this member from becoming the home that it is to be: whoever asked
    /// for the move may have done so there.
    pub(crate) fn process_awaited(&mut self, key: &RecordKey, object: &Object, record: Option<&Record>) {
        let Some(record) = record else { return };
        let hindrance = object.home.as_ref().and_then(|home| self.hindrance(key, home, record)).unwrap_or_default();
        let known = self.status_of(&self.config.member, key).map_or("", |status| &status.home);
        if known != hindrance {
            let mut status = self.base_status(key, record);
            status.home = hindrance;
            self.set_status(key, Some(status));
        }
    }

    /// Why an object does not become the home that it is to be, with the mend.
    fn hindrance(&self, key: &RecordKey, home: &HomeState, record: &Record) -> Option<String> {
        let member = &self.config.member;
        if home.deleting || lives::standing(Some(record), member, &home.object) != Standing::Awaited {
            return None;
        }
        let agreed = self.intent_text(record).ok();
        let paths = telling::differences(home, record, agreed.as_deref());
        let differs = if paths.is_empty() { String::new() } else { format!(" (differs at {})", paths.join(", ")) };
        let revision = record.revision;
        Some(format!(
            "the home is to move to {member}, and another content stands there{differs}: make it equal to revision {revision}, or let it count instead with {} there; `hansa home move` to the present home takes the move back",
            take_home(key, revision)
        ))
    }

    /// Why a move of the home to a member does not go on, as that member says.
    pub(crate) fn move_hindrance(&self, key: &RecordKey, to: &MemberName) -> Option<String> {
        let said = self.status_of(to, key).map(|status| status.home.as_str()).filter(|said| !said.is_empty())?;
        Some(format!("{key}: {said}"))
    }

    fn ingest(
        &mut self,
        key: &RecordKey,
        context: &Context,
        home: &mut HomeState,
        standing: &Standing,
        record: Option<&Record>,
    ) {
        if self.refusal_here(key, context, standing, record).is_some() {
            return;
        }
        let Some(mut intent) = home.intent.as_deref().cloned().or_else(|| record.map(|record| record.intent.clone()))
        else {
            return;
        };
        let spec = match (&intent.body, record) {
            (Body::Inline(raw), _) => serde_json::from_str(raw.get()).map_err(|error| format!("spec: {error}")),
            // The content was let go when it was agreed on: the agreed intent serves.
            (Body::Blob(_), Some(record)) => self.intent_spec(record),
            (Body::Blob(_), None) => return,
        };
        let Ok(spec) = spec else { return };
        if let (Body::Inline(raw), false) = (&intent.body, *standing == Standing::Converged) {
            match self.place_body(key, raw.get().as_bytes(), false) {
                Placing::Inline => {}
                Placing::Blob(hash) => intent.body = Body::Blob(hash),
                Placing::Waits => return,
                Placing::Impossible(why) => {
                    home.invalid = Some(format!("spec.template: {why}"));
                    return;
                }
            }
        }
        // A placement that is refused places nothing, and takes nothing away.
        let placed = self.placement_of(&context.spec, key, &spec).unwrap_or_default().members;
        let sealed = match &home.source {
            Some(_) => match self.sealed_for(key, context, home, standing, record, &placed) {
                Some(sealed) => Some(sealed),
                None => return,
            },
            None => None,
        };
        let object = home.object.clone();
        intent.hash = object.hash;
        (intent.author, intent.signature) = (self.config.member.clone(), None);
        let reached = record.map_or(Revision(0), |record| self.reached(key, record));
        self.mutate(key, Change::Ingest { object, intent, sealed: sealed.map(Box::new), placed, reached });
    }

    /// The highest revision of the record's life that a member says it has.
    fn reached(&self, key: &RecordKey, record: &Record) -> Revision {
        let said = record.placed.keys().filter_map(|member| self.status_of(member, key));
        let of_this_life = said.filter(|status| status.incarnation == record.incarnation);
        of_this_life.map(|status| status.revision).max().unwrap_or_default()
    }

    /// The record names this member as a home, and no object is shown.
    fn process_absence(&mut self, key: &RecordKey, object: &mut Object, record: Option<&Record>) {
        self.end_is_not_wanted(key);
        let is_new_home =
            |record: &Record| record.tombstone.is_none() && record.moving.as_ref() == Some(&self.config.member);
        if record.is_some_and(is_new_home) {
            return self.want_home_work(key, &object.home_work, Priority::Finalizers);
        }
        let Some(entry) = record.and_then(|record| record.homes.get(&self.config.member)) else { return };
        if object.home_work.vanished {
            self.mutate(key, Change::Vanished { uid: entry.uid.clone() });
        } else {
            self.want_home_work(key, &object.home_work, Priority::Finalizers);
        }
    }

    fn process_departure(&mut self, key: &RecordKey, object: &mut Object, record: Option<&Record>) {
        let home = object.home.as_ref().expect("a departure has an object");
        if !home.has_finalizer {
            return;
        }
        let Some(accident) = object.home_work.accident else {
            return self.want_home_work(key, &object.home_work, Priority::Finalizers);
        };
        match lives::departure(record, &self.config.member, &home.object, accident) {
            Departure::Nothing | Departure::Done => {
                self.end_is_not_wanted(key);
                // The record may name this object by now, and have a later life: an operator that is cut
                // off, or was stopped, would take the word of the user away with the finalizer.
                self.want_fenced_home_work(key, &object.home_work);
            }
            Departure::Leave => {
                self.end_is_not_wanted(key);
                self.depart(key, &home.object.clone(), accident, None, record);
            }
            Departure::End => {
                let record = record.expect("an end has a record");
                let weight = object.live.as_ref().map_or(1, |live| live.weight);
                let pending = Pending { scope: Scope::end(record.incarnation), weight };
                if self.removals.ask(Decision::End, key, pending) {
                    self.depart(key, &home.object.clone(), accident, Some(record.incarnation), Some(record));
                }
            }
        }
    }

    /// The object is not being deleted by intent, so its end does not wait for a word, unless a Request
    /// asks for it.
    fn end_is_not_wanted(&mut self, key: &RecordKey) {
        if !self.requests.want_the_end(key) {
            self.removals.forget(Decision::End, key);
        }
    }

    fn depart(
        &mut self,
        key: &RecordKey,
        object: &HomeObject,
        accident: bool,
        ends: Option<Incarnation>,
        record: Option<&Record>,
    ) {
        // What is agreed and cannot be read may have said so.
        let policy = record
            .and_then(|record| self.intent_spec(record).ok())
            .map_or(DeletionPolicy::Orphan, |spec| spec.deletion_policy);
        self.mutate(key, Change::Depart { object: object.clone(), accident, ends, policy });
    }

    pub(crate) fn mutation_skipped(&mut self, key: &RecordKey, why: &Skipped) {
        if matches!(why, Skipped::SealedForAnotherLife | Skipped::Undecided | Skipped::Fenced { .. }) {
            return self.touch(key);
        }
        self.log(Level::Debug, Some(key), "nothing to write: the ground of the change is gone or it stands already");
    }

    /// Gives this member the output that placement computes to it, where it has the kind (`here`); as the page's
    /// appointee, asks the breaker for what is to be withdrawn.
    pub(crate) fn process_placement(
        &mut self,
        key: &RecordKey,
        league: &FederationSpec,
        here: Option<&Context>,
        agreed: Option<Agreed<'_>>,
    ) {
        // Others place by the newer spec: what one gives by the old one, another would take away, for ever.
        if self.ballots.is_behind() {
            return;
        }
        let placed = match agreed.filter(|(record, _)| record.tombstone.is_none() && !self.config.observe) {
            Some((record, Ok(spec))) => self.placement_of(league, key, spec).ok().map(|placed| (record, placed)),
            _ => None,
        };
        // A placement that is refused places nothing and takes nothing away, and what waited to be taken
        // away waits no more.
        let Some((record, Placed { members: wanted, .. })) = placed else {
            return self.removals.forget(Decision::Withdraw, key);
        };
        let member = &self.config.member;
        let has = |member: &MemberName| record.placed_members().any(|placed| placed == member);
        let may_have = here.is_some_and(|context| refusal(key, context).is_none());
        if wanted.contains(member) && !has(member) && may_have {
            let members = [member.clone()].into();
            self.mutate(key, Change::Place { of: Made::from(record), members });
        }
        // That a namespace is not federated at all hinders additions; it is no wish to take away.
        let unfounded = league.namespaces == NamespacePolicy::RequireFederated
            && !key.namespace.is_empty()
            && self.namespace_record(key).is_none();
        if unfounded {
            self.removals.forget(Decision::Withdraw, key);
        } else {
            self.process_withdrawal(key, record, &wanted);
        }
    }
}

/// The uid of the home that an ended life still has in a member, where another object has its name by now.
fn replaced_home<'a>(record: Option<&'a Record>, member: &MemberName, object: &HomeObject) -> Option<&'a str> {
    let ended = record.filter(|record| record.tombstone.is_some())?;
    ended.homes.get(member).map(|home| home.uid.as_str()).filter(|uid| *uid != object.uid)
}

/// The type whose objects are the namespaces of others.
pub(crate) fn namespaces() -> TypeName {
    "namespaces".parse().expect("it is a type's name")
}

/// Why an object of this key may not be federated at all, with the mend.
pub(crate) fn refusal(key: &RecordKey, context: &Context) -> Option<String> {
    context.federated_type.refusal(&key.namespace, context.installed.namespaced)
}

/// The path of a federated object.
pub(crate) fn home_path(key: &RecordKey) -> String {
    object_path(
        &key.type_name.federated_group(),
        "v1alpha1",
        &key.type_name.federated_plural(),
        &key.namespace,
        &key.name,
    )
}
