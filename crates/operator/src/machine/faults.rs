//! What is said of feeds that do not go on: the API server once, when it is away as a whole, else each resource by
//! its name; and of each, when it is over.

use super::FeedId;
use crate::feed::FeedFault;
use std::collections::BTreeSet;
use std::fmt;

/// What was said and is not over.
#[derive(Debug, Default)]
pub(super) struct Faults {
    away: bool,
    told: BTreeSet<FeedId>,
}

impl Faults {
    /// What is to be said of a fault; `away` where nothing can be followed any more.
    pub fn met(&mut self, id: &FeedId, fault: &FeedFault, away: bool) -> Option<String> {
        // Once is no outage: one that has just started asks to be called again. Nor is a kind that is not served, or a
        // history that is gone.
        let no_outage = fault.failures < 2 || matches!(fault.status, Some(404 | 410));
        if away && !no_outage && !std::mem::replace(&mut self.away, true) {
            return Some(format!(
                "the member's API server cannot be used ({}): nothing is seen or changed here, and the members are told so",
                fault.reason
            ));
        }
        // The first time is often a restart or an expired history; it is news when it goes on.
        let goes_on = fault.failures == 3 || fault.failures.is_multiple_of(20);
        if !goes_on || (self.away && fault.status.is_none()) {
            return None;
        }
        self.told.insert(id.clone());
        Some(format!("{id} cannot be followed: {} ({} times in a row)", fault.reason, fault.failures))
    }

    /// What is to be said now that a resource is followed again.
    pub fn over(&mut self, id: &FeedId) -> Vec<String> {
        let back = std::mem::take(&mut self.away).then(|| "the member's API server answers again".to_owned());
        let follows = self.told.remove(id).then(|| format!("{id} is followed again"));
        back.into_iter().chain(follows).collect()
    }

    /// It is not to be followed any more.
    pub fn forget(&mut self, id: &FeedId) {
        self.told.remove(id);
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeedId::Federation => f.write_str("federations.hansa.dev"),
            FeedId::Members => f.write_str("members.hansa.dev"),
            FeedId::Requests => f.write_str("requests.hansa.dev"),
            FeedId::Homes(name) => write!(f, "{}.{}", name.federated_plural(), name.federated_group()),
            FeedId::Outputs(name) => name.fmt(f),
            FeedId::Sources => f.write_str("the metadata of secrets"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: Option<u16>, failures: u32) -> FeedFault {
        FeedFault { status, reason: "refused".to_owned(), failures }
    }

    #[test]
    fn an_api_server_that_is_away_is_told_once_and_so_is_its_return() {
        let mut faults = Faults::default();
        let outputs = FeedId::Outputs("deployments.apps".parse().unwrap());
        assert_eq!(faults.met(&FeedId::Members, &fault(None, 2), false), None, "the other feed goes on still");
        assert_eq!(faults.met(&FeedId::Members, &fault(Some(429), 1), true), None, "once is not yet away");
        let told = faults.met(&outputs, &fault(None, 2), true).unwrap();
        assert!(told.starts_with("the member's API server cannot be used (refused)"), "{told}");
        for failures in 3..50 {
            assert_eq!(faults.met(&outputs, &fault(None, failures), true), None);
            assert_eq!(faults.met(&FeedId::Members, &fault(None, failures), true), None);
        }
        assert_eq!(faults.over(&outputs), ["the member's API server answers again"]);
        assert_eq!(faults.over(&FeedId::Members), [""; 0]);
    }

    #[test]
    fn a_resource_that_is_refused_is_named_and_so_is_its_end() {
        let mut faults = Faults::default();
        let homes = FeedId::Homes("configmaps".parse().unwrap());
        let told: Vec<_> =
            (1..=20).filter_map(|failures| faults.met(&homes, &fault(Some(403), failures), false)).collect();
        let name = "federatedconfigmaps.core.types.hansa.dev";
        let says = |times: u32| format!("{name} cannot be followed: refused ({times} times in a row)");
        assert_eq!(told, [says(3), says(20)]);
        assert_eq!(faults.over(&homes), [format!("{name} is followed again")]);
        assert_eq!(faults.over(&homes), [""; 0]);
    }
}
