//! What users do when the storm is over, so that it is plain what has to come of it all.

use crate::judge::{Violation, notes};
use crate::kinds::{home_path, output_path};
use crate::member::{Ask, Member};
use crate::process::ProcessId;
use crate::world::World;
use hansa_kubesim::core::http::Request;
use hansa_model::RecordKey;
use hansa_render::LEAGUE_LABEL;
use serde_json::{Value, json};

impl World {
    /// Nothing is paused any more.
    pub(crate) fn unpause(&mut self) {
        let now = self.now;
        let path = "/apis/hansa.dev/v1alpha1/federations/league";
        if let Some(mut object) = self.members[0].look(now, path).filter(|_| !self.members[0].down) {
            let before = object.clone();
            object["spec"]["paused"] = json!(false);
            for member in object["spec"]["members"].as_array_mut().into_iter().flatten() {
                member["paused"] = json!(false);
            }
            if object != before {
                self.ask(0, "lets the league go on", &Request::put(path, &object));
            }
        }
        for key in self.users.keys.clone() {
            for member in (0..self.members.len()).filter(|member| !self.members[*member].down).collect::<Vec<_>>() {
                let paused = self.members[member]
                    .look(now, &home_path(&key))
                    .is_some_and(|object| object["spec"]["paused"] == true);
                if paused {
                    let body = json!({"spec": {"paused": false}});
                    let request = Request::patch(&home_path(&key), "merge-patch", &body);
                    let response = self.ask(member, &format!("lets {key} go on"), &request);
                    self.heard(member, &key, &response);
                }
            }
        }
    }

    /// What is held gets its confirmation; what stands in Hansa's way by hand, and was reported, goes.
    pub(crate) fn clear_the_way(&mut self) -> Result<(), Violation> {
        let leaders: Vec<ProcessId> = self.members.iter().filter_map(|member| member.leader).collect();
        for id in leaders {
            self.ask_held(id)?;
        }
        let up = (0..self.members.len()).find(|member| !self.members[*member].down);
        if let Some(member) = up {
            self.confirm_held(member);
        }
        for key in self.users.keys.clone() {
            self.clear_rivals(&key);
            self.correct_placement(&key);
        }
        self.renew_revoked_keys();
        self.restore_known_keys();
        self.speak_for_the_absent();
        self.move_homes_of_leavers();
        // Who takes one out the moment after another died may be left with too few to decide anything.
        if self.members.iter().all(|member| !member.down) {
            self.take_leavers_out();
        }
        self.answer_homes_that_ask();
        self.do_as_asked()
    }

    /// An operator says what people are to do about it.
    pub(crate) fn asks_of_people(&mut self, id: ProcessId, message: &str) {
        let Some(member) = self.processes.get(&id).map(|process| process.member) else { return };
        let asks = [
            ("restart the operator here", Ask::Restart),
            ("begin with a fresh memory", Ask::Forget),
            ("delete its Secret of keys", Ask::Renew),
        ];
        if let Some((_, ask)) = asks.iter().find(|(words, _)| message.contains(words)) {
            self.members[member].asks = Some(*ask);
        }
    }

    fn do_as_asked(&mut self) -> Result<(), Violation> {
        for member in 0..self.members.len() {
            let here = &self.members[member];
            let (Some(ask), Some(id)) = (here.asks.filter(|_| !here.down), here.leader) else { continue };
            match ask {
                Ask::Renew if self.judge.lists(&here.name) => self.renew_keys(member),
                Ask::Renew => {}
                Ask::Restart | Ask::Forget => {
                    self.kill(id, "is restarted, as it asks");
                    if ask == Ask::Forget {
                        self.ask(
                            member,
                            "deletes what its operator remembers",
                            &Request::delete(&output_path(&notes())),
                        );
                    }
                    self.start(member)?;
                }
            }
        }
        Ok(())
    }

    /// Two tools have each said where an object is to be, and both stand.
    fn correct_placement(&mut self, key: &RecordKey) {
        let now = self.now;
        for member in 0..self.members.len() {
            let here = &mut self.members[member];
            let Some(object) = (!here.down).then(|| here.look(now, &home_path(key))).flatten() else { continue };
            let placement = &object["spec"]["placement"];
            if placement["members"].is_null() || placement["memberSelector"].is_null() {
                continue;
            }
            let body = json!({"spec": {"placement": {"memberSelector": null}}});
            let request = Request::patch(&home_path(key), "merge-patch", &body);
            let response = self.ask(member, &format!("corrects the placement of {key}"), &request);
            self.heard(member, key, &response);
        }
    }

    fn clear_rivals(&mut self, key: &RecordKey) {
        let now = self.now;
        for member in 0..self.members.len() {
            let here = &mut self.members[member];
            let name = here.name.clone();
            if here.down || !self.judge.keeps(key, &name) || !self.judge.says_conflicting(key, &name) {
                continue;
            }
            let foreign = |object: &Value| object["metadata"]["labels"][LEAGUE_LABEL].is_null();
            let here: &mut Member = &mut self.members[member];
            if here.look(now, &output_path(key)).as_ref().is_some_and(foreign) {
                let what = format!("deletes what stands in the way of {key}");
                self.ask(member, &what, &Request::delete(&output_path(key)));
            }
        }
    }
}
