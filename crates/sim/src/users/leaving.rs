//! Users who let a member go in order, as `hansa leave` does: the spec says that it is leaving, what is at home
//! there alone gets another home, and it is taken out once nothing of the league is left in it.

use super::membership::PATH;
use crate::reached::Hazard;
use crate::world::World;
use hansa_kubesim::core::http::Request;
use hansa_model::MemberName;
use serde_json::{Value, json};

impl World {
    /// Somebody says that a member is leaving, or takes that back.
    pub(crate) fn let_one_go(&mut self) {
        let Some(mut object) = self.federation() else { return };
        let Some(entries) = object["spec"]["members"].as_array_mut() else { return };
        let may_go = |index: &usize| entries[*index]["witness"] != true;
        let some: Vec<usize> = (1..entries.len()).filter(may_go).collect();
        if some.is_empty() {
            return;
        }
        let entry = &mut entries[*self.troubles.pick(&some)];
        let name = entry["name"].clone();
        let what = if entry["leaving"].is_null() {
            let keep = self.troubles.chance(500);
            entry["leaving"] = json!({"keepOutputs": keep});
            format!("{name} is leaving, and {} its outputs", if keep { "keeps" } else { "does not keep" })
        } else if self.troubles.chance(300) {
            entry["leaving"] = Value::Null;
            format!("{name} stays")
        } else {
            return self.take_leavers_out();
        };
        self.ask(0, &format!("edits the Federation: {what}"), &Request::put(PATH, &object));
    }

    /// What is at home in leaving members alone gets a home in another.
    pub(crate) fn move_homes_of_leavers(&mut self) {
        for key in self.users.keys.clone() {
            let Some(record) = self.judge.record(&key).filter(|record| record.tombstone.is_none()) else { continue };
            let stays = |name: &MemberName| !self.judge.is_leaving(name);
            if record.homes.is_empty() || record.homes.keys().any(stays) {
                continue;
            }
            if record.moving.as_ref().is_some_and(|to| self.judge.takes_objects(to)) {
                continue;
            }
            let at_home = |index: &usize| record.homes.contains_key(&self.members[*index].name);
            let Some(from) = (0..self.members.len()).find(at_home).filter(|from| !self.members[*from].down) else {
                continue;
            };
            let takes = |index: &usize| self.judge.takes_objects(&self.members[*index].name);
            let Some(to) = (0..self.members.len()).find(takes).map(|to| self.members[to].name.clone()) else {
                continue;
            };
            let about = json!({"resource": key.type_name, "namespace": &*key.namespace, "name": &*key.name});
            let spec = json!({"action": "HomeMove", "object": about, "arguments": {"member": to}});
            self.users.moved.insert(key.clone());
            self.make_request(from, &format!("moves the home of {key} from a leaving member to {to}"), &spec);
        }
    }

    /// A leaving member in which nothing is left is taken out of the spec.
    pub(crate) fn take_leavers_out(&mut self) {
        let Some(mut object) = self.federation() else { return };
        let Some(entries) = object["spec"]["members"].as_array_mut() else { return };
        let goes = |entry: &Value| {
            let name = entry["name"].as_str().and_then(|name| name.parse::<MemberName>().ok());
            !entry["leaving"].is_null() && name.is_some_and(|name| self.judge.is_empty_of(&name))
        };
        let Some(index) = entries.iter().position(goes) else { return };
        let entry = entries.remove(index);
        self.judge.reached.count(Hazard::MemberLeft);
        self.ask(0, &format!("edits the Federation: {} has left", entry["name"]), &Request::put(PATH, &object));
    }

    /// The Federation object in its home.
    fn federation(&mut self) -> Option<Value> {
        let now = self.now;
        if self.members[0].down { None } else { self.members[0].look(now, PATH) }
    }
}
