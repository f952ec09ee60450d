//! What happens in some storms only, and has its own randomness: what is added here moves no other story.

use super::{Due, World};
use crate::judge::Violation;
use crate::member::Reach;
use crate::settings::Trouble;
use hansa_kubesim::core::http::Request;
use hansa_model::RecordKey;

/// The topology server is slow, or throttles.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Until then.
    pub until_ms: u64,
    /// A call and its answer each take up to so much longer.
    pub slow_ms: u64,
    /// So many calls in a thousand are turned away.
    pub throttled: u64,
}

impl World {
    pub(super) fn trouble(&mut self) -> Result<(), Violation> {
        let kinds = self.settings.troubles.clone();
        let member = self.troubles.below(self.members.len() as u64) as usize;
        match *self.troubles.pick(&kinds) {
            Trouble::ReadOnly => {
                let pause = self.troubles.within(500..40_000);
                self.cut_off(member, Reach::ReadOnly, pause);
            }
            Trouble::Weather => {
                let until_ms = self.now + self.troubles.within(1_000..20_000);
                let slow_ms = *self.troubles.pick(&[0, 300, 3_000, 12_000]);
                let throttled = *self.troubles.pick(&[0, 300, 900]);
                self.tell(
                    "topo",
                    format!(
                        "calls take up to {slow_ms} ms longer, {throttled} in 1000 are turned away, until {} s",
                        until_ms / 1000
                    ),
                );
                self.weather = Some(Weather { until_ms, slow_ms, throttled });
            }
            Trouble::Definitions => self.delete_definition(member),
            Trouble::Plans => self.ask_for_a_plan(member),
            Trouble::History => self.history()?,
            Trouble::Forgery => self.forge(),
            Trouble::Membership => self.change_members(),
            Trouble::Leaving => self.let_one_go(),
            // The league has one from the beginning, and users write what they write.
            Trouble::Witness | Trouble::Waves => {}
        }
        Ok(())
    }

    /// Somebody deletes the CRD of a federated kind, and every object of it in this member goes with it.
    fn delete_definition(&mut self, member: usize) {
        if self.members[member].down {
            return;
        }
        let key: RecordKey = self.troubles.pick(&self.users.keys).clone();
        let name = format!("{}.{}", key.type_name.federated_plural(), key.type_name.federated_group());
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        self.ask(member, &format!("deletes the CRD {name}"), &Request::delete(&path));
    }

    pub(crate) fn next_trouble(&mut self) {
        if self.settings.troubles.is_empty() {
            return;
        }
        let pause = self.troubles.within(self.settings.incident_pause_ms.clone());
        self.after(pause, Due::Trouble);
    }
}
