//! The keys of the topology server.

use crate::plan::SLOTS;
use hansa_model::{Hash, MemberName};

/// The control document.
pub const CONTROL: &str = "/v1/control";
/// The prefix of all pages (and of their summaries).
pub const PAGES: &str = "/v1/pages/";
/// The prefix of everything that members write alone.
pub const MEMBERS: &str = "/v1/members/";
/// The prefix of the agreed schemas of federated types.
pub const TYPES: &str = "/v1/types/";
/// The prefix of the slots of plans.
pub const PLANS: &str = "/v1/plans/";

/// A page of records.
pub fn page(number: u32) -> String {
    format!("{PAGES}{number}")
}

/// A member's heartbeat and word about itself.
pub fn cell(member: &MemberName) -> String {
    format!("{MEMBERS}{member}/cell")
}

/// A member's propagation status of one page.
pub fn status(member: &MemberName, page: u32) -> String {
    format!("{MEMBERS}{member}/status/{page}")
}

/// What people confirmed of what a member shows.
pub fn confirmations(member: &MemberName) -> String {
    format!("{MEMBERS}{member}/confirmations")
}

/// A plan that was asked for.
pub fn plan(slot: u32) -> String {
    format!("{PLANS}{slot}")
}

/// What a member says to the plan in a slot.
pub fn plan_words(slot: u32, member: &MemberName) -> String {
    format!("{PLANS}{slot}/{member}")
}

/// A large template, immutable.
pub fn blob(hash: &Hash) -> String {
    format!("/v1/blobs/{hash}")
}

/// What a key is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// [`CONTROL`].
    Control,
    /// [`page`].
    Page(u32),
    /// [`cell`].
    Cell(MemberName),
    /// [`confirmations`].
    Confirmations(MemberName),
    /// [`status`].
    Status(MemberName, u32),
    /// [`plan`].
    Plan(u32),
    /// [`plan_words`].
    PlanWords(u32, MemberName),
    /// Any other.
    Other,
}

/// Reads a key.
pub fn parse(key: &str) -> Key {
    if key == CONTROL {
        return Key::Control;
    }
    if let Some(number) = key.strip_prefix(PAGES) {
        return number.parse().map_or(Key::Other, Key::Page);
    }
    if let Some(rest) = key.strip_prefix(PLANS) {
        return plan_key(rest).unwrap_or(Key::Other);
    }
    let Some((member, rest)) = key.strip_prefix(MEMBERS).and_then(|rest| rest.split_once('/')) else {
        return Key::Other;
    };
    let Ok(member) = member.parse() else {
        return Key::Other;
    };
    match rest.strip_prefix("status/") {
        Some(number) => number.parse().map_or(Key::Other, |number| Key::Status(member, number)),
        None if rest == "cell" => Key::Cell(member),
        None if rest == "confirmations" => Key::Confirmations(member),
        None => Key::Other,
    }
}

fn plan_key(rest: &str) -> Option<Key> {
    let (slot, member) = rest.split_once('/').map_or((rest, None), |(slot, member)| (slot, Some(member)));
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
    match member {
        None => Some(Key::Plan(slot)),
        Some(member) => Some(Key::PlanWords(slot, member.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        let member: MemberName = "aws-use1".parse().unwrap();
        assert_eq!(parse(CONTROL), Key::Control);
        assert_eq!(parse(&page(7)), Key::Page(7));
        assert_eq!(parse(&cell(&member)), Key::Cell(member.clone()));
        assert_eq!(parse(&confirmations(&member)), Key::Confirmations(member.clone()));
        assert_eq!(parse(&plan(7)), Key::Plan(7));
        assert_eq!(parse(&plan_words(7, &member)), Key::PlanWords(7, member.clone()));
        assert_eq!(parse(&status(&member, 255)), Key::Status(member, 255));
        assert_eq!(parse(&plan(SLOTS)), Key::Other);
        assert_eq!(parse("/v1/pages/7/summary"), Key::Other);
        assert_eq!(parse("/v1/members/Not A Name/cell"), Key::Other);
    }
}
