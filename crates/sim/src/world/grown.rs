//! A large league that was founded long ago: everybody that its spec lists has a vote from the beginning.
//! How leagues grow, member by member, is what small ones show; fifty joins after each other would be
//! most of a storm.

use super::World;
use crate::judge::Violation;
use hansa_ballot::{Control, FederationHome, Voter, Voters};
use hansa_ledger::{Envelope, keys};
use hansa_model::{Era, Hash};
use serde_json::Value;
use serde_json::value::to_raw_value;
use std::collections::BTreeMap;

impl World {
    /// Puts into the topology server what a league of these founders has agreed to, with this Federation
    /// object in the first of them.
    pub(crate) fn be_grown(&mut self, federation: &Value) -> Result<(), Violation> {
        let now = self.now;
        let mut voters = BTreeMap::new();
        let witness = self.settings.witness();
        for (index, here) in self.members[..self.settings.founders].iter_mut().enumerate() {
            let system = here.look(now, "/api/v1/namespaces/kube-system").unwrap_or_default();
            let uid = system["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            voters.insert(here.name.clone(), Voter { key: here.signer.public(), uid, witness: witness == Some(index) });
        }
        let (spec, metadata) = (&federation["spec"], &federation["metadata"]);
        let home = FederationHome {
            member: self.members[0].name.clone(),
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            generation: metadata["generation"].as_u64().unwrap_or_default(),
            hash: Hash::of(spec),
        };
        let raw = to_raw_value(spec).expect("JSON is JSON");
        let (league, control) = Control::found(raw.into(), home, self.settings.pages);
        let control = control.voting(Voters::found(voters, BTreeMap::new()));
        let value = Envelope::first(league, Era(1), self.troubles.next()).seal(&control.to_vec());
        self.write(0, keys::CONTROL, None, value).map(|_| ())
    }
}
