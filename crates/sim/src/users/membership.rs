//! Users who let members in, take them out, and care for what those leave behind.

use crate::judge::spec_of;
use crate::kinds::home_path;
use crate::world::{Due, Heal, World};
use hansa_ballot::Signer;
use hansa_kubesim::core::http::Request;
use hansa_model::{MemberName, RecordKey};
use hansa_operator::PrivateKeys;
use serde_json::{Value, json};

/// What an operator says where an object has several homes, and none may speak for the others.
const ONLY_HOME: &str = "make one of its homes";

/// The Federation object.
pub(super) const PATH: &str = "/apis/hansa.dev/v1alpha1/federations/league";

impl World {
    /// Somebody lists a member in the spec, or takes one out of it. The spec's home stays.
    pub(crate) fn change_members(&mut self) {
        let now = self.now;
        if self.members[0].down {
            return;
        }
        let Some(mut object) = self.members[0].look(now, PATH) else { return };
        let Some(entries) = object["spec"]["members"].as_array_mut() else { return };
        let listed = |entries: &[Value], name: &MemberName| entries.iter().any(|entry| entry["name"] == name.as_str());
        let absent: Vec<usize> =
            (1..self.members.len()).filter(|index| !listed(entries, &self.members[*index].name)).collect();
        let what = if !absent.is_empty() && self.troubles.chance(600) {
            let index = *self.troubles.pick(&absent);
            entries.push(self.entry(index));
            self.renew_keys(index);
            format!("lists {}", self.members[index].name)
        } else if entries.len() > 2 {
            let index = self.troubles.within(1..entries.len() as u64) as usize;
            format!("takes {} out", entries.remove(index)["name"])
        } else {
            return;
        };
        self.ask(0, &format!("edits the Federation: {what}"), &Request::put(PATH, &object));
    }

    /// A member that was taken out comes back with keys of its own that nobody has revoked.
    pub(super) fn renew_keys(&mut self, index: usize) {
        let here = &self.members[index];
        if !self.judge.was_removed(&here.signer.public()) {
            return;
        }
        let name = here.name.clone();
        self.tell("user", format!("deletes the keys of {name}, whose operator makes new ones"));
        let (first, second, third) = (self.troubles.bytes(), self.troubles.bytes(), self.troubles.bytes());
        self.start_with(index, PrivateKeys::new(first, second), Signer::new(name, third));
    }

    fn start_with(&mut self, index: usize, keys: PrivateKeys, signer: Signer) {
        if let Some(id) = self.members[index].leader {
            self.kill(id, "is restarted");
        }
        let here = &mut self.members[index];
        let keys = std::mem::replace(&mut here.keys, keys);
        let signer = std::mem::replace(&mut here.signer, signer);
        here.former.push((keys, signer));
        self.after(100, Due::Heal(Heal::Start(index)));
    }

    /// A control document that was restored knows a member by keys that it had then: somebody puts its Secret of
    /// keys back.
    pub(crate) fn restore_known_keys(&mut self) {
        for index in 0..self.members.len() {
            let here = &self.members[index];
            let Some(known) = self.judge.voter_key(&here.name).filter(|known| *known != here.signer.public()) else {
                continue;
            };
            let kept = here.former.iter().find(|(_, signer)| signer.public() == known).cloned();
            if let Some((keys, signer)) = kept.filter(|_| !here.down) {
                let name = here.name.clone();
                self.tell("user", format!("restores the keys of {name} that the league knows"));
                self.start_with(index, keys, signer);
            }
        }
    }

    /// A member that was listed again while the vote on its leave went on asks for new keys, and gets them.
    pub(crate) fn renew_revoked_keys(&mut self) {
        for index in 0..self.members.len() {
            if self.judge.lists(&self.members[index].name) {
                self.renew_keys(index);
            }
        }
    }

    /// What a member said that votes no more counts no more, and what a hostile hand wrote never did: somebody
    /// says it anew in a member that votes.
    pub(crate) fn speak_for_the_absent(&mut self) {
        let now = self.now;
        for key in self.users.keys.clone() {
            let Some(record) = self.judge.record(&key).cloned() else { continue };
            let forged = self.judge.is_forged(&key, &record);
            let author = record.tombstone.as_ref().map_or(&record.intent.author, |tombstone| &tombstone.author);
            let is_home_left = !record.homes.is_empty() && !record.homes.keys().any(|home| self.judge.votes(home));
            let left = !self.judge.votes(author) || is_home_left;
            let nobody_can_say = record.is_homeless() && self.judge.stands_later(&key);
            let is_told = self.users.rejected.contains(&key);
            if !forged && !left && !nobody_can_say && !is_told && !self.judge.is_asked_for_anew(&key) {
                continue;
            }
            let voting: Vec<usize> = (0..self.members.len())
                .filter(|index| !self.members[*index].down && self.judge.takes_objects(&self.members[*index].name))
                .collect();
            let is_home = |index: &usize| record.homes.contains_key(&self.members[*index].name);
            let home = voting.iter().copied().find(is_home);
            let (object, namespace) = (home_path(&key), format!("/api/v1/namespaces/{}", key.namespace));
            // Elsewhere, where it stands already or can be made.
            let mut has =
                |path: &str| voting.iter().copied().find(|index| self.members[*index].look(now, path).is_some());
            let some = home.or_else(|| has(&object)).or_else(|| has(&namespace)).or(voting.first().copied());
            if let Some(index) = some {
                self.users.rejected.remove(&key);
                self.speak(index, &key, &record, now);
            }
        }
    }

    /// Where the topology server went back, homes and outputs that are ahead of it ask; so does what stands where
    /// a home is to move to, and differs. Somebody says that it counts.
    pub(crate) fn answer_homes_that_ask(&mut self) {
        let now = self.now;
        for key in self.users.keys.clone() {
            for index in 0..self.members.len() {
                let here = &mut self.members[index];
                let Some(object) = (!here.down).then(|| here.look(now, &home_path(&key))).flatten() else { continue };
                let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let record = self.judge.record(&key);
                let is_home = record.is_some_and(|record| record.homes.contains_key(&here.name));
                let moves_here = record.is_some_and(|record| record.moving.as_ref() == Some(&here.name));
                let asks = |one: &Value| {
                    one["message"].as_str().is_some_and(|why| {
                        one["reason"] == "Frozen" && why.contains("take over")
                            || moves_here && why.contains("let it count")
                            || is_home && why.contains("let its home take over")
                    })
                };
                let is_one_of_several =
                    |one: &Value| one["message"].as_str().is_some_and(|why| why.contains(ONLY_HOME));
                if conditions.iter().any(is_one_of_several) && is_home && self.judge.takes_objects(&here.name) {
                    self.make_only_home(index, &key);
                    self.take_home(index, &key);
                    // Of several one speaks.
                    break;
                }
                if conditions.iter().any(asks) {
                    self.take_home(index, &key);
                }
            }
        }
    }

    fn speak(&mut self, index: usize, key: &RecordKey, record: &hansa_ledger::Record, now: u64) {
        if self.members[index].look(now, &home_path(key)).is_none() {
            let Some(spec) = spec_of(record) else { return };
            self.apply(index, key, &json!(spec), "writes what was agreed as");
        }
        let name = self.members[index].name.clone();
        if record.homes.len() > 1 && record.homes.contains_key(&name) {
            self.make_only_home(index, key);
        }
        self.take_home(index, key);
    }

    fn make_only_home(&mut self, index: usize, key: &RecordKey) {
        let name = self.members[index].name.clone();
        let about = json!({"resource": key.type_name, "namespace": &*key.namespace, "name": &*key.name});
        let spec = json!({"action": "HomeMove", "object": about, "arguments": {"member": name}});
        self.users.moved.insert(key.clone());
        self.make_request(index, &format!("makes {name} the only home of {key}"), &spec);
    }
}
