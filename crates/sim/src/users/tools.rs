//! Tools of users: a pipeline that re-creates what is missing, and plans.

use crate::kinds::home_path;
use crate::reached::Hazard;
use crate::world::World;
use hansa_model::RecordKey;
use serde_json::{Value, json};

impl World {
    /// A tool looks at what it keeps: it makes anew what is missing, and follows its repository now and then.
    pub(crate) fn gitops_syncs(&mut self) {
        let now = self.now;
        if self.users.kept.is_empty() {
            for key in self.users.keys.clone() {
                let member = self.troubles.below(self.members.len() as u64) as usize;
                self.users.kept.push((member, key, None));
            }
        }
        let mut kept = std::mem::take(&mut self.users.kept);
        for (member, key, content) in &mut kept {
            if self.members[*member].down {
                continue;
            }
            let newest = self.users.manifests.get(key).and_then(|manifests| manifests.last()).cloned();
            let follows = content.is_none() || self.troubles.chance(100);
            let missing = self.members[*member].look(now, &home_path(key)).is_none();
            if follows {
                *content = newest;
            }
            let Some(spec) = content.as_ref().filter(|_| missing || follows) else { continue };
            if missing && self.users.has_deleted(key, &self.members[*member].name) {
                self.judge.reached.count(Hazard::MadeAgainByATool);
            }
            self.apply(*member, key, spec, if missing { "(a tool) makes again" } else { "(a tool) applies" });
        }
        self.users.kept = kept;
    }

    /// Somebody asks what would become of an object.
    pub(crate) fn ask_for_a_plan(&mut self, member: usize) {
        if self.members[member].down {
            return;
        }
        let key: RecordKey = self.troubles.pick(&self.users.keys).clone();
        let Some(spec) = self.users.manifests.get(&key).map(|manifests| self.troubles.pick(manifests).clone()) else {
            return;
        };
        let object = json!({"resource": key.type_name, "namespace": &*key.namespace, "name": &*key.name});
        let spec: Value = json!({"action": "Plan", "object": object, "arguments": {"plan": {"spec": spec}}});
        self.make_request(member, &format!("asks for a plan of {key}"), &spec);
    }
}
