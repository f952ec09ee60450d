//! What users do in a storm.

use crate::judge::Violation;
use crate::kinds::{Kind, home_path, output_path};
use crate::reached::Hazard;
use crate::settings::Trouble;
use crate::world::World;
use hansa_kubesim::core::http::{Request, Response};
use hansa_model::{MemberName, RecordKey, Revision};
use serde_json::{Value, json};

/// The annotation by which a user makes an object the home.
pub(crate) const TAKE_HOME: &str = "hansa.dev/take-home";

/// The Federation's name.
const LEAGUE: &str = "league";

fn said(response: &Response) -> String {
    match response.status {
        status if status < 300 => status.to_string(),
        status => format!("{status} {}", response.value()["message"].as_str().unwrap_or_default()),
    }
}

impl World {
    /// Makes the Federation object from which the league comes.
    pub(crate) fn found(&mut self) -> Value {
        let spec = json!({
            "members": (0..self.settings.founders).map(|index| self.entry(index)).collect::<Vec<_>>(),
            "types": self.settings.kinds().iter().map(|kind| json!({"resource": kind.type_name, "version": kind.version})).collect::<Vec<_>>(),
            "homes": {"takeover": if self.users.random.chance(500) { "Allowed" } else { "Consent" }},
            "safety": {"deletes": {"percent": 10, "atLeast": self.settings.budget, "window": "10m"}},
        });
        let body = json!({"apiVersion": "hansa.dev/v1alpha1", "kind": "Federation", "metadata": {"name": LEAGUE}, "spec": spec});
        self.ask(0, "founds the league", &Request::post("/apis/hansa.dev/v1alpha1/federations", &body)).value()
    }

    /// A member as the spec lists it.
    pub(super) fn entry(&self, index: usize) -> Value {
        let name = &self.members[index].name;
        json!({
            "name": name, "provider": name, "region": "r",
            "labels": {"env": if index.is_multiple_of(2) { "prod" } else { "test" }},
            "witness": self.settings.witness() == Some(index),
        })
    }

    /// A request by a user, who sees its answer at once.
    pub(crate) fn ask(&mut self, member: usize, what: &str, request: &Request) -> Response {
        let now = self.now;
        let here = &mut self.members[member];
        let name = here.name.clone();
        let mut request = request.clone();
        request.user_agent.get_or_insert_with(|| "kubectl-user".to_owned());
        let response = here.ask(now, &request);
        self.after_change(member);
        self.tell("user", format!("in {name} {what}: {}", said(&response)));
        response
    }

    /// # Errors
    /// When an operator that is asked breaks an invariant.
    pub(crate) fn user_acts(&mut self) -> Result<(), Violation> {
        let up: Vec<usize> = (0..self.members.len()).filter(|member| !self.members[*member].down).collect();
        if up.is_empty() {
            return Ok(());
        }
        let random = &mut self.users.random;
        let member = *random.pick(&up);
        let kind = random.below(100);
        let keys = self.users.keys.clone();
        let key = self.users.random.pick(&keys).clone();
        // Most of what users do, they do where the object is at home.
        let home = self.some_home(&key, &up);
        match kind {
            0..=27 => self.write_spec(home.unwrap_or(member), &key),
            28..=31 => self.write_spec(member, &key),
            32..=37 => self.copy(&key, member, &up),
            38..=41 => self.apply_old(member, &key),
            42..=51 => self.edit(home, &key, "placement"),
            52..=54 => self.edit(home, &key, "paused"),
            55..=57 => self.edit(home, &key, "deletionPolicy"),
            58..=63 => self.delete(home, &key),
            64..=65 => self.request(member, &key, "Delete"),
            66..=68 => self.request(member, &key, "HomeMove"),
            69..=72 => self.take_home(member, &key),
            73..=75 => self.delete_namespace(member, &key),
            76..=82 => self.meddle(member, &key),
            83..=86 => self.delete_output(member, &key),
            87..=88 => self.unlabel(member, &key),
            89..=90 => self.make_foreign(member, &key),
            91..=95 => self.edit_federation(),
            _ => {
                // Somebody confirms what was shown some time ago, and looks at what waits now.
                self.confirm_held(member);
                if let Some(id) = self.members[member].leader {
                    self.ask_held(id)?;
                }
            }
        }
        Ok(())
    }

    fn some_home(&mut self, key: &RecordKey, up: &[usize]) -> Option<usize> {
        let now = self.now;
        let homes: Vec<usize> =
            up.iter().copied().filter(|member| self.members[*member].look(now, &home_path(key)).is_some()).collect();
        (!homes.is_empty()).then(|| *self.users.random.pick(&homes))
    }

    fn some_members(&mut self) -> Vec<MemberName> {
        let random = &mut self.users.random;
        let mut some: Vec<MemberName> =
            self.members.iter().filter(|_| random.chance(600)).map(|member| member.name.clone()).collect();
        if some.is_empty() && !random.chance(100) {
            some.push(random.pick(&self.members).name.clone());
        }
        some
    }

    fn some_placement(&mut self) -> Value {
        match self.users.random.below(10) {
            0..=4 => json!({"members": self.some_members()}),
            5..=6 => json!({"memberSelector": {}}),
            7..=8 => json!({"memberSelector": {"matchLabels": {"env": "prod"}}}),
            _ => {
                let members = &self.members;
                json!({"memberSelector": {}, "exclude": [self.users.random.pick(members).name]})
            }
        }
    }

    /// Users go on where an API server answers.
    pub(crate) fn users_go_on(&mut self) {
        let up: Vec<usize> = (0..self.members.len()).filter(|member| !self.members[*member].down).collect();
        for key in self.users.keys.clone() {
            if let Some(home) = self.some_home(&key, &up) {
                self.write_spec(home, &key);
            }
        }
    }

    fn write_spec(&mut self, member: usize, key: &RecordKey) {
        self.users.edition += 1;
        let edition = self.users.edition;
        let kind = Kind::of(&key.type_name);
        let mut spec = json!({"template": kind.template(edition), "placement": self.some_placement()});
        if self.users.random.chance(300) {
            spec["overrides"] = json!([{"members": self.some_members(), "merge": kind.change(edition)}]);
        }
        if self.users.random.chance(100) {
            spec["deletionPolicy"] = json!("Orphan");
        }
        if self.users.random.chance(250) {
            spec["adoption"] = json!(*self.users.random.pick(&["Always", "Never"]));
        }
        if self.settings.has(Trouble::Waves) && self.troubles.chance(500) {
            spec["rollout"] = self.some_rollout();
        }
        self.users.manifests.entry(key.clone()).or_default().push(spec.clone());
        self.apply(member, key, &spec, "writes");
    }

    /// A few members, then those of an environment, then the others; or the other way round.
    fn some_rollout(&mut self) -> Value {
        let first: Vec<MemberName> =
            self.members.iter().filter(|_| self.troubles.chance(400)).map(|member| member.name.clone()).collect();
        let env = *self.troubles.pick(&["prod", "test"]);
        let mut waves = vec![json!({"members": first}), json!({"memberSelector": {"matchLabels": {"env": env}}})];
        if self.troubles.chance(300) {
            waves.reverse();
        }
        json!({"waves": waves})
    }

    pub(super) fn apply(&mut self, member: usize, key: &RecordKey, spec: &Value, how: &str) {
        let kind = Kind::of(&key.type_name).kind;
        let now = self.now;
        if self.members[member].look(now, &format!("/api/v1/namespaces/{}", key.namespace)).is_none() {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": &*key.namespace}});
            self.ask(
                member,
                &format!("makes namespace {}", key.namespace),
                &Request::post("/api/v1/namespaces", &body),
            );
        }
        let body = json!({
            "apiVersion": format!("{}/v1alpha1", key.type_name.federated_group()), "kind": format!("Federated{kind}"),
            "metadata": {"name": &*key.name, "namespace": &*key.namespace}, "spec": spec,
        });
        let request = Request::apply(&home_path(key), "kubectl", true, &body);
        let response = self.ask(member, &format!("{how} {key} {}", brief(spec)), &request);
        self.heard(member, key, &response);
    }

    /// Keeps what a user wrote, when it was taken.
    pub(crate) fn heard(&mut self, member: usize, key: &RecordKey, response: &Response) {
        if response.status < 300 {
            let name = self.members[member].name.clone();
            self.users.spoke(key, &name, &response.value());
        }
    }

    /// A pipeline that writes to several clusters, or a clone, status and all.
    fn copy(&mut self, key: &RecordKey, to: usize, up: &[usize]) {
        let now = self.now;
        let Some(from) = self.some_home(key, up).filter(|from| *from != to) else { return };
        let Some(object) = self.members[from].look(now, &home_path(key)) else { return };
        self.apply(to, key, &object["spec"], "copies");
        if self.users.random.chance(300) {
            let status = json!({"status": object["status"]});
            let path = format!("{}/status", home_path(key));
            self.ask(to, &format!("copies the status of {key}"), &Request::patch(&path, "merge-patch", &status));
        }
    }

    /// A tool that applies what it has in its repository, whatever was agreed since.
    fn apply_old(&mut self, member: usize, key: &RecordKey) {
        let Some(manifests) = self.users.manifests.get(key).cloned() else { return };
        let spec = self.users.random.pick(&manifests).clone();
        self.apply(member, key, &spec, "applies again");
    }

    fn edit(&mut self, home: Option<usize>, key: &RecordKey, field: &str) {
        let Some(member) = home else { return };
        let now = self.now;
        let Some(object) = self.members[member].look(now, &home_path(key)) else { return };
        let value = match field {
            "placement" => {
                // A merge patch leaves what it does not name.
                let mut placement = json!({"members": null, "memberSelector": null, "exclude": null});
                for (field, value) in self.some_placement().as_object().into_iter().flatten() {
                    placement[field] = value.clone();
                }
                placement
            }
            "paused" => json!(object["spec"]["paused"] != true),
            _ => json!(*self.users.random.pick(&["Delete", "Orphan"])),
        };
        let request = Request::patch(&home_path(key), "merge-patch", &json!({"spec": {field: value}}));
        let response = self.ask(member, &format!("edits {field} of {key} to {value}"), &request);
        self.heard(member, key, &response);
    }

    fn delete(&mut self, home: Option<usize>, key: &RecordKey) {
        let Some(member) = home else { return };
        let now = self.now;
        let Some(object) = self.members[member].look(now, &home_path(key)) else { return };
        let others = self.members.iter_mut().enumerate().filter(|(index, _)| *index != member);
        let mut going = others.filter_map(|(_, other)| other.look(now, &home_path(key)));
        if going.any(|other| !other["metadata"]["deletionTimestamp"].is_null()) {
            self.judge.reached.count(Hazard::HomesDeletedTogether);
        }
        self.ask(member, &format!("deletes {key}"), &Request::delete(&home_path(key)));
        self.users.deleted.insert(object["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        self.users.deleted_in.insert((key.clone(), self.members[member].name.clone()));
    }

    fn request(&mut self, member: usize, key: &RecordKey, action: &str) {
        let to = self.users.random.pick(&self.members).name.clone();
        let arguments = if action == "HomeMove" { json!({"member": to}) } else { json!({}) };
        let about = json!({"resource": key.type_name, "namespace": &*key.namespace, "name": &*key.name});
        let spec = json!({"action": action, "object": about, "arguments": arguments});
        self.users.moved.insert(key.clone());
        if action == "Delete" {
            self.users.ended.insert(key.clone());
        }
        self.make_request(member, &format!("asks for {action} of {key} {arguments}"), &spec);
    }

    pub(crate) fn make_request(&mut self, member: usize, what: &str, spec: &Value) {
        self.users.requests += 1;
        let name = format!("request-{}", self.users.requests);
        let body = json!({
            "apiVersion": "hansa.dev/v1alpha1", "kind": "Request",
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        });
        self.ask(member, what, &Request::post("/apis/hansa.dev/v1alpha1/namespaces/default/requests", &body));
    }

    pub(super) fn take_home(&mut self, member: usize, key: &RecordKey) {
        let record = self.judge.record(key);
        if record.is_none() && !self.calm {
            return;
        }
        let revision = record.map_or(Revision(0), |record| record.revision).to_string();
        let body = json!({"metadata": {"annotations": {TAKE_HOME: revision}}});
        let request = Request::patch(&home_path(key), "merge-patch", &body);
        let response = self.ask(member, &format!("takes the home of {key} from revision {revision}"), &request);
        if response.status < 300 {
            self.users.moved.insert(key.clone());
        }
        self.heard(member, key, &response);
    }

    fn delete_namespace(&mut self, member: usize, key: &RecordKey) {
        let path = format!("/api/v1/namespaces/{}", key.namespace);
        self.ask(member, &format!("deletes namespace {}", key.namespace), &Request::delete(&path));
    }

    fn meddle(&mut self, member: usize, key: &RecordKey) {
        self.users.edition += 1;
        let ours = self.users.random.chance(600);
        let body = Kind::of(&key.type_name).meddling(self.users.edition, ours);
        let mut request = Request::patch(&output_path(key), "merge-patch", &body);
        request.query.push(("fieldManager".into(), "meddler".into()));
        let response = self.ask(member, &format!("meddles with the output {key}: {body}"), &request);
        if ours && response.status < 300 {
            self.judge.touched(Hazard::DriftRepaired, &response.value());
        }
    }

    fn delete_output(&mut self, member: usize, key: &RecordKey) {
        self.ask(member, &format!("deletes the output {key} by hand"), &Request::delete(&output_path(key)));
    }

    fn unlabel(&mut self, member: usize, key: &RecordKey) {
        let body = json!({"metadata": {"labels": {hansa_render::LEAGUE_LABEL: null}}});
        let request = Request::patch(&output_path(key), "merge-patch", &body);
        self.ask(member, &format!("takes the label off the output {key}"), &request);
    }

    fn make_foreign(&mut self, member: usize, key: &RecordKey) {
        self.users.edition += 1;
        let kind = Kind::of(&key.type_name);
        let mut body = kind.template(self.users.edition);
        body["apiVersion"] = json!(kind.api_version());
        body["kind"] = json!(kind.kind);
        body["metadata"] = json!({"name": &*key.name, "namespace": &*key.namespace});
        let path = output_path(key);
        let collection = path.rsplit_once('/').map_or("", |(collection, _)| collection);
        let response = self.ask(member, &format!("makes {key} by hand"), &Request::post(collection, &body));
        if response.status < 300 {
            self.judge.touched(Hazard::Adopted, &response.value());
        }
    }

    fn edit_federation(&mut self) {
        let now = self.now;
        if self.members[0].down {
            return;
        }
        let path = format!("/apis/hansa.dev/v1alpha1/federations/{LEAGUE}");
        let Some(mut object) = self.members[0].look(now, &path) else { return };
        let members = object["spec"]["members"].as_array().map_or(0, Vec::len) as u64;
        let random = &mut self.users.random;
        let one = random.below(members) as usize;
        let what = match random.below(10) {
            0..=4 => {
                let env = *random.pick(&["prod", "test"]);
                object["spec"]["members"][one]["labels"]["env"] = json!(env);
                format!("labels member {one} env={env}")
            }
            5 => {
                let paused = object["spec"]["paused"] != true;
                object["spec"]["paused"] = json!(paused);
                format!("sets the league's paused to {paused}")
            }
            6..=7 => {
                let paused = object["spec"]["members"][one]["paused"] != true;
                object["spec"]["members"][one]["paused"] = json!(paused);
                format!("sets member {one}'s paused to {paused}")
            }
            8 => {
                let takeover = *random.pick(&["Allowed", "Consent"]);
                object["spec"]["homes"]["takeover"] = json!(takeover);
                format!("sets homes.takeover to {takeover}")
            }
            _ => {
                let budget = random.within(1..12);
                object["spec"]["safety"]["deletes"]["atLeast"] = json!(budget);
                format!("sets the deletion budget to {budget}")
            }
        };
        self.ask(0, &format!("edits the Federation: {what}"), &Request::put(&path, &object));
    }

    /// Somebody looks at what waits, and confirms what was shown.
    pub(crate) fn confirm_held(&mut self, member: usize) {
        if self.members[member].down {
            return;
        }
        for set in std::mem::take(&mut self.users.held) {
            self.users.confirmed.insert(set.clone());
            if self.users.said.insert(set.clone()) {
                let spec = json!({"action": "Confirm", "arguments": {"set": set}});
                self.make_request(
                    member,
                    &format!("confirms the removals of set {}", &set[..12.min(set.len())]),
                    &spec,
                );
            }
        }
    }
}

/// A spec in a few words.
fn brief(spec: &Value) -> String {
    let mut brief = spec.clone();
    if let Some(image) = brief.pointer("/template/spec/template/spec/containers/0/image").cloned() {
        brief["template"] = image;
    }
    brief.to_string()
}
