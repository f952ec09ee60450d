//! What a candidate of the spec comes to in this cluster.
//!
//! A voter says no to what would stop what is at work in its own cluster, and to keys of its own that it has not: no
//! other voter can know that. What a cluster lacks and what is new to it is no reason: of five clusters one may serve a kind
//! later than the others, by a CRD that the league itself brings. That is shown where it matters, in `hansa status` and in
//! the status of each object that waits for it. A no is not a veto either: the spec holds by quorum.
//!
//! | The candidate | In a cluster | Vote |
//! |---|---|---|
//! | another version of a type | with objects of it, that does not serve that version | no |
//! | a type that is not privileged any more | with objects of it that need that | no |
//! | a sealing key for this member | whose operator has another | no |
//! | a new type, or another version of one | without objects of it | yes; what lacks is shown |
//! | anything | whose API server does not tell | yes: nothing is known against it |

use crate::io::{ApiAnswer, ApiRequest};
use crate::machine::{Object, Operator, Purpose, group_version};
use crate::sealing::cipher::sealing_key;
use hansa_ballot::Key;
use hansa_ballot::control::SpecCandidate;
use hansa_model::{FederatedType, FederationSpec, MemberName, RecordKey, TypeName};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a cluster knows against a candidate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    /// What is at home or applied here, by type.
    pub at_work: BTreeMap<TypeName, AtWork>,
    /// Whether its API server serves a type in a version; `None` while that is being asked.
    pub serves: BTreeMap<(TypeName, String), Option<bool>>,
    /// The keys that the operator has.
    pub public_keys: Vec<String>,
}

/// The objects of a type that are at home or applied in a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct AtWork {
    pub namespaced: bool,
    pub count: usize,
    /// One in each namespace.
    pub examples: BTreeMap<Arc<str>, RecordKey>,
}

impl Cluster {
    /// Whether the candidate may hold as far as this cluster is concerned; `None` while it cannot tell.
    pub fn judge(
        &self,
        member: &MemberName,
        agreed: &FederationSpec,
        candidate: &FederationSpec,
    ) -> Option<Result<(), String>> {
        if let Some(why) = self.lacks_the_key(member, candidate) {
            return Some(Err(why));
        }
        for (before, after) in changed_types(agreed, candidate) {
            let Some(at_work) = self.at_work.get(&after.resource) else { continue };
            if let Some(why) = at_work.needs_privilege(member, before, after) {
                return Some(Err(why));
            }
            if before.version == after.version {
                continue;
            }
            let known = self.serves.get(&(after.resource.clone(), after.version.clone())).copied().flatten();
            if !known? {
                let (name, version, count) = (&after.resource, &after.version, at_work.count);
                return Some(Err(format!(
                    "spec.types[{name}].version: {member} has {count} objects of {name} in version {}, and its API server does not serve version {version}: keep {}, or let {member} serve {version} first",
                    before.version, before.version
                )));
            }
        }
        Some(Ok(()))
    }

    fn lacks_the_key(&self, member: &MemberName, candidate: &FederationSpec) -> Option<String> {
        let (text, listed) = sealing_key(&candidate.member(member)?.public_keys)?;
        let has = |key: &String| sealing_key(std::slice::from_ref(key)).is_some_and(|(_, own)| own == listed);
        (!self.public_keys.iter().any(has)).then(|| {
            format!(
                "spec.members[{member}].publicKeys: {text} is not the sealing key of this member's operator, which could open no Secret: write {} there",
                self.public_keys.join(", ")
            )
        })
    }
}

impl AtWork {
    fn needs_privilege(&self, member: &MemberName, before: &FederatedType, after: &FederatedType) -> Option<String> {
        self.examples.iter().find_map(|(namespace, key)| {
            let why = after.refusal(namespace, self.namespaced)?;
            let was_allowed = before.refusal(namespace, self.namespaced).is_none();
            was_allowed.then(|| format!("spec.types[{}]: {member} has {key} at work: {why}", after.resource))
        })
    }
}

/// The types that both list, and differently.
fn changed_types<'a>(
    agreed: &'a FederationSpec,
    candidate: &'a FederationSpec,
) -> impl Iterator<Item = (&'a FederatedType, &'a FederatedType)> {
    let before = |after: &FederatedType| agreed.types.iter().find(|known| known.resource == after.resource);
    candidate.types.iter().filter_map(move |after| Some((before(after).filter(|before| *before != after)?, after)))
}

impl Operator {
    /// What this cluster knows about the spec that is being voted on; what has to be asked is asked.
    pub(super) fn view_cluster(&mut self) -> Cluster {
        let candidate = self.league.as_ref().and_then(|league| {
            let open = league.control.ballots.as_ref()?.open.get(&Key::spec())?;
            let value: SpecCandidate = serde_json::from_str(open.value.get()).ok()?;
            let candidate = self.config.release.read_spec(&value.spec).ok()?;
            Some((Arc::clone(&league.spec), candidate))
        });
        let Some((agreed, candidate)) = candidate else {
            self.ballots.serves.clear();
            return Cluster::default();
        };
        let public_keys = self.config.shown_keys();
        let changed: BTreeSet<&TypeName> =
            changed_types(&agreed, &candidate).map(|(_, after)| &after.resource).collect();
        if changed.is_empty() {
            return Cluster { public_keys, ..Cluster::default() };
        }
        let mut at_work: BTreeMap<TypeName, AtWork> = BTreeMap::new();
        let stands = |object: &Object| object.live.is_some() || object.home.is_some();
        let of_changed = self.objects.iter().filter(|(key, _)| changed.contains(&key.type_name));
        for (key, _) in of_changed.filter(|(_, object)| stands(object)) {
            let installed = self.types.get(&key.type_name).and_then(|state| state.installed.as_ref());
            let of_type = at_work.entry(key.type_name.clone()).or_default();
            of_type.namespaced = installed.is_none_or(|installed| installed.namespaced);
            of_type.count += 1;
            of_type.examples.entry(Arc::clone(&key.namespace)).or_insert_with(|| key.clone());
        }
        for (before, after) in changed_types(&agreed, &candidate) {
            let asked = (after.resource.clone(), after.version.clone());
            if before.version != after.version
                && at_work.contains_key(&after.resource)
                && !self.ballots.serves.contains_key(&asked)
            {
                let path = group_version(after.resource.group(), &after.version);
                self.ballots.serves.insert(asked.clone(), None);
                self.api(Purpose::Survey(asked.0, asked.1), ApiRequest::get(path));
            }
        }
        Cluster { at_work, serves: self.ballots.serves.clone(), public_keys }
    }

    /// What the API server serves of a type that was asked for.
    pub(crate) fn surveyed(&mut self, name: TypeName, version: String, answer: &Result<ApiAnswer, String>) {
        let serves = match answer {
            Ok(answer) if answer.status == 200 => {
                let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let resources = list["resources"].as_array();
                // What does not read tells nothing.
                resources.is_none_or(|all| all.iter().any(|resource| resource["name"] == name.resource()))
            }
            Ok(answer) => answer.status != 404,
            Err(_) => true,
        };
        if let Some(known) = self.ballots.serves.get_mut(&(name, version)) {
            *known = Some(serves);
            self.ballots.look = true;
        }
    }
}
