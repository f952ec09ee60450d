//! Voters of several releases.

use super::{LOST_MS, League, name, signer, spec_of, voter};
use crate::ballots::judging::judge_change;
use crate::release::Release;
use hansa_ballot::Document;
use hansa_ballot::membership::{Change, consent};

#[test]
fn a_voter_below_the_agreed_level_says_so_and_nothing_else() {
    let mut league = League::new(&spec_of(&["a", "b", "c"]));
    let next = Release { level: 2, ..Release::this("1") };
    for who in ["a", "b", "c"] {
        league.releases.insert(who, next.clone());
    }
    league.all_say(2);
    assert_eq!(league.control.ballots().feature, 2);
    league.releases.remove("b");
    league.silence("c", LOST_MS);
    league.edit = Some(league.candidate("a", &spec_of(&["a", "b", "c", "d"])));
    league.says("a");
    assert_eq!(league.topics("b"), ["speaks 1"]);
    league.says("b");
    assert!(league.topics("b").is_empty());
    let ballots = league.control.ballots();
    assert_eq!(ballots.feature, 2, "it never falls");
    let seats = ballots.appointments.pages.iter().filter_map(|run| run.seat.member.as_ref());
    assert!(seats.clone().all(|member| *member != name("b")), "{:?}", seats.collect::<Vec<_>>());
}

#[test]
fn a_newcomer_below_the_agreed_level_is_voted_down() {
    let mut league = League::new(&spec_of(&["a", "b", "c", "d"]));
    league.all_say(2);
    league.releases.insert("d", Release { level: 0, ..Release::this("0-beta") });
    league.says("d");
    let change = Change::Join {
        consent: consent(&signer("d"), league.id, "uid-d", false),
        name: name("d"),
        user: String::new(),
        voter: voter("d"),
    };
    let judged = |league: &League| {
        let spec = league.control.spec().unwrap();
        league.with("a", |views| judge_change(&spec, league.control.ballots(), &change, &views))
    };
    assert_eq!(
        judged(&league).unwrap_err(),
        "d's release speaks feature level 0, and the league has agreed on 1: let it run a newer operator, and it asks again"
    );
    league.releases.remove("d");
    league.says("d");
    assert_eq!(judged(&league), Ok(()));
}
