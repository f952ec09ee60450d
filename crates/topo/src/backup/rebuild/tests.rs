use super::*;
use hansa_ballot::Signer;
use hansa_ledger::lives::{Duty, HomeObject, Standing, duty, standing};
use serde_json::json;

fn name(text: &str) -> MemberName {
    text.parse().unwrap()
}

fn key(text: &str) -> RecordKey {
    format!("configmaps/shop/{text}").parse().unwrap()
}

fn known(of: &str) -> Known {
    let key = Signer::new(name(of), *Hash::of_bytes(of.as_bytes()).as_bytes()).public();
    Known { uid: format!("uid-{of}"), keys: vec!["x25519:AA".to_owned(), key.to_string()] }
}

fn report(member: &str) -> Report {
    let members = ["a", "b", "c"];
    let listed: Vec<Value> = members.iter().map(|name| json!({"name": name})).collect();
    Report {
        member: name(member),
        federation: Federation {
            league: LeagueId(Hash::of_bytes(b"league")),
            era: Era(2),
            generation: Generation(4),
            home: name("a"),
            uid: format!("federation-{member}"),
            object_generation: 7,
            spec: json!({"members": listed}),
        },
        members: members.iter().map(|of| (name(of), known(of))).collect(),
        objects: Vec::new(),
        outputs: BTreeMap::new(),
    }
}

fn spec(word: &str) -> Value {
    json!({"template": {"data": {"word": word}}, "placement": {"memberSelector": {}}})
}

/// An object of life 5 at a revision that was agreed to say `agreed`, and says `says`.
fn object(text: &str, says: &str, agreed: &str, revision: u64, homes: &[&str]) -> Object {
    Object {
        key: key(text),
        uid: format!("{text}-{says}"),
        generation: 3,
        spec: spec(says),
        stamp: Some(Stamp {
            incarnation: Incarnation(5),
            revision: Revision(revision),
            hash: Some(Hash::of(&spec(agreed))),
            homes: homes.iter().map(|home| name(home)).collect(),
            differs: says != agreed,
        }),
    }
}

fn league(change: impl FnOnce(&mut [Report; 3])) -> Result<Rebuilt, RebuildError> {
    let mut reports = ["a", "b", "c"].map(report);
    change(&mut reports);
    rebuild(&reports, &BTreeSet::new())
}

fn record<'a>(rebuilt: &'a Rebuilt, text: &str) -> &'a Record {
    let key = key(text);
    rebuilt.pages[&key.page(DEFAULT_PAGES)].record(&key).unwrap()
}

#[test]
fn what_was_in_step_is_in_step() {
    let rebuilt = league(|reports| {
        reports[1].objects.push(object("web", "x", "x", 9, &["b"]));
        for report in &mut reports[..2] {
            report.outputs.insert(key("web"), Incarnation(5));
        }
    })
    .unwrap();
    let record = record(&rebuilt, "web");
    assert_eq!((record.incarnation, record.revision), (Incarnation(5), Revision(9)));
    assert_eq!(duty(record, &name("a")), Duty::Keep);
    assert_eq!(duty(record, &name("c")), Duty::None, "it has no output: placement gives it one");
    let seen = HomeObject {
        uid: "web-x".into(),
        generation: 3,
        hash: Hash::of(&spec("x")),
        stamp: Some(Revision(9)),
        stamp_life: Some(Incarnation(5)),
        later: None,
        remembered_stamp: None,
        take_home: None,
        unwritten: false,
        takeover_allowed: false,
    };
    assert_eq!(standing(Some(record), &name("b"), &seen), Standing::InStep);
    assert_eq!(rebuilt.findings, Findings { records: 1, ..Findings::default() });
    assert_eq!((rebuilt.era, rebuilt.control.generation), (Era(2), Generation(4)));
    assert_eq!(rebuilt.control.home.member, name("a"));
    assert_eq!(rebuilt.control.ballots.as_ref().unwrap().voters.set.len(), 3);
}

#[test]
fn the_present_content_counts_where_the_agreed_one_is_gone() {
    // Agreed on as x, edited since, while nothing could be agreed on.
    let mut edited = object("web", "y", "x", 9, &["b"]);
    edited.stamp.as_mut().unwrap().differs = false;
    let rebuilt = league(|reports| reports[1].objects.push(edited)).unwrap();
    let found = record(&rebuilt, "web");
    assert_eq!((found.revision, found.intent.hash), (Revision(10), Hash::of(&spec("y"))));
    assert_eq!(rebuilt.findings.edited, [key("web")].into());
    // Only a home that is behind was read: what it holds was not agreed on.
    let behind = object("web", "old", "new", 9, &["b", "c"]);
    let rebuilt = league(|reports| reports[1].objects.push(behind)).unwrap();
    assert!(rebuilt.pages.is_empty());
    assert_eq!(rebuilt.findings.unknown, [key("web")].into());
}

#[test]
fn homes_that_are_behind_stay_homes_and_copies_that_were_moved_away_count_no_more() {
    let rebuilt = league(|reports| {
        reports[0].objects.push(object("web", "x", "x", 9, &["a", "b"]));
        reports[1].objects.push(object("web", "older", "x", 8, &["a", "b"]));
        reports[2].objects.push(object("web", "oldest", "x", 3, &["c"]));
    })
    .unwrap();
    let record = record(&rebuilt, "web");
    assert_eq!(record.intent.hash, Hash::of(&spec("x")));
    let revisions: Vec<_> = record.homes.iter().map(|(member, home)| (member.as_str(), home.revision.0)).collect();
    assert_eq!(revisions, [("a", 9), ("b", 8)]);
    assert_eq!(record.former.keys().map(MemberName::as_str).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn an_earlier_life_is_no_part_of_the_later_one() {
    let rebuilt = league(|reports| {
        reports[0].objects.push(object("web", "x", "x", 2, &["a"]));
        let mut earlier = object("web", "x", "x", 40, &["b"]);
        earlier.stamp.as_mut().unwrap().incarnation = Incarnation(4);
        reports[1].objects.push(earlier);
        reports[1].outputs.insert(key("web"), Incarnation(4));
        reports[2].outputs.insert(key("web"), Incarnation(6));
    })
    .unwrap();
    let record = record(&rebuilt, "web");
    assert_eq!((record.incarnation, record.revision), (Incarnation(5), Revision(2)));
    assert_eq!((record.homes.len(), record.placed.len()), (1, 0));
    assert_eq!(
        rebuilt.findings.strays,
        [(name("c"), [key("web")].into())].into(),
        "a later life's output has no record"
    );
    assert_eq!(rebuilt.revision, Revision(6), "no later life has the number of one that was seen");
}

#[test]
fn what_nobody_keeps_is_a_stray_and_what_was_never_agreed_on_begins() {
    let rebuilt = league(|reports| {
        reports[0].objects.push(Object { stamp: None, ..object("new", "x", "x", 1, &[]) });
        reports[2].outputs.insert(key("homeless"), Incarnation(5));
    })
    .unwrap();
    assert!(rebuilt.pages.is_empty());
    assert_eq!(rebuilt.findings.strays, [(name("c"), [key("homeless")].into())].into());
}

#[test]
fn a_sealed_object_is_sealed_anew_by_its_home() {
    let mut secret = object("token", "x", "x", 9, &["a"]);
    secret.spec = json!({"templateFrom": {"secretRef": {"name": "token"}}, "placement": {"memberSelector": {}}});
    let rebuilt = league(|reports| reports[0].objects.push(secret)).unwrap();
    let record = record(&rebuilt, "token");
    assert!(record.sealed.is_none() && rebuilt.findings.edited.is_empty());
    // The object's own hash covers what was sealed, too: with this one, its home takes it for edited.
    let plain = json!({"templateFrom": {"secretRef": {"name": "token"}}, "placement": {"memberSelector": {}}});
    assert_eq!(record.homes[&name("a")].hash, Hash::of(&plain));
}

#[test]
fn nobody_is_forgotten_by_chance() {
    let two = [report("a"), report("b")];
    assert_eq!(rebuild(&two, &BTreeSet::new()).unwrap_err(), RebuildError::Missing([name("c")].into()));
    let waived = rebuild(&two, &[name("c")].into()).unwrap();
    assert_eq!(waived.control.ballots.as_ref().unwrap().voters.set.len(), 3, "it still votes");
    let without_home = rebuild(&[report("b"), report("c")], &[name("a")].into()).unwrap();
    assert_eq!(without_home.control.home.member, name("b"));
    assert_eq!(rebuild(&[], &BTreeSet::new()).unwrap_err(), RebuildError::Nothing);
    assert_eq!(league(|reports| reports[2].member = name("b")).unwrap_err(), RebuildError::Twice(name("b")));
    let other = league(|reports| reports[1].federation.league = LeagueId(Hash::of_bytes(b"other")));
    assert!(other.unwrap_err().to_string().contains("name members of one league"));
    let keyless = league(|reports| reports.iter_mut().for_each(|report| drop(report.members.remove(&name("c")))));
    assert_eq!(keyless.unwrap_err(), RebuildError::Keyless(name("c")));
}

#[tokio::test]
async fn it_is_restored_like_any_backup() {
    let rebuilt = league(|reports| {
        reports[1].objects.push(object("web", "x", "x", 9, &["b"]));
        let noise: String = (0..9_000u32).map(|number| format!("{:x}", number.wrapping_mul(2_654_435_761))).collect();
        reports[1].objects.push(object("large", &noise, &noise, 9, &["b"]));
    })
    .unwrap();
    let mut file = Vec::new();
    let manifest = rebuilt.write(&mut file).unwrap();
    assert_eq!(manifest.era, Era(2));
    assert_eq!((rebuilt.pages.len(), rebuilt.blobs.len()), (2, 1), "what is large lies apart");
    let topo = crate::open("memory:rebuilt", &crate::Options::default()).await.unwrap();
    let word = super::super::Word { era: Some(Era(9)), person: None };
    let restored = super::super::restore(&*topo, &mut std::io::Cursor::new(file), word, |_| ()).await.unwrap();
    assert_eq!((restored.era, restored.written), (Era(9), manifest.count));
}
