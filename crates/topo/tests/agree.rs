//! The easy API on real stores: decisions, appointments and barriers of several voters, with lost answers,
//! restarts and cancelled calls.

use hansa_topo::agree::{AgreeError, Agreement, FencedError, Options, Outcome, Rule, Signer, Vote, Voters, founders};
use hansa_topo::fault::{Chances, wrap};
use hansa_topo::{Topo, memory};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 3] = ["amsterdam", "boston", "cape-town"];

fn signer(name: &str) -> Signer {
    Signer::new(name.parse().unwrap(), [name.as_bytes()[0]; 32])
}

fn voters(names: &[&str]) -> Voters {
    founders(names.iter().map(|name| (signer(name).member().clone(), signer(name).public())))
}

async fn join(topo: &Arc<dyn Topo>, name: &str, names: &[&str]) -> Agreement {
    Agreement::open(topo.clone(), Options::new("test", signer(name), voters(names))).await.unwrap()
}

fn value(name: &str) -> Vote {
    Vote::value(&name).unwrap()
}

/// Waits until something about a key waits, and says on what.
async fn waiting(agreement: &Agreement, key: &str, on: &str) {
    loop {
        if agreement.waiting(key).is_some_and(|waits| waits.contains(on)) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Lets all decide one key at once; `then` comes when all have joined.
async fn all_decide(topo: &Arc<dyn Topo>, then: impl FnOnce()) {
    let mut agreements = Vec::new();
    for name in NAMES {
        agreements.push((name, join(topo, name, &NAMES).await));
    }
    then();
    let mut tasks = Vec::new();
    for (name, agreement) in agreements {
        tasks.push(tokio::spawn(async move { agreement.decide("primary", value(name), Rule::Quorum).await.unwrap() }));
    }
    let mut hashes = BTreeSet::new();
    for task in tasks {
        let decision = task.await.unwrap();
        assert_eq!(decision.outcome, Outcome::Adopted);
        assert!(decision.certificate.len() >= 2);
        hashes.insert(decision.hash);
    }
    assert_eq!(hashes.len(), 1);
}

#[tokio::test]
async fn all_get_the_same_answer() {
    all_decide(&memory::unshared().unwrap(), || {}).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("topo.db").display());
    all_decide(&hansa_topo::open(&url, &Default::default()).await.unwrap(), || {}).await;
}

#[tokio::test]
async fn all_get_the_same_answer_over_a_bad_connection() {
    for seed in 0..5 {
        let (topo, faults) = wrap(memory::unshared().unwrap(), seed);
        let chances = Chances { unavailable: 100, lost_answer: 200, late_write: 100, rival: 100, ..Chances::default() };
        all_decide(&topo, || faults.set_chances(chances)).await;
    }
}

#[tokio::test]
async fn who_comes_later_or_again_gets_what_was_decided() {
    let topo = memory::unshared().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = |name: &str| Options {
        notes: Some(folder.path().join(name)),
        ..Options::new("test", signer(name), voters(&NAMES))
    };
    let boston = join(&topo, "boston", &NAMES).await;
    {
        let amsterdam = Agreement::open(topo.clone(), options("amsterdam")).await.unwrap();
        let asked = amsterdam.decide("primary", value("amsterdam").only(), Rule::Quorum);
        tokio::pin!(asked);
        tokio::select! {
            decided = &mut asked => panic!("one vote is no quorum: {decided:?}"),
            () = waiting(&amsterdam, "primary", "adopted with 1 more yes of boston, cape-town") => {}
        }
        // It ends here, while it waits.
    }
    let decided = boston.decide("primary", value("boston"), Rule::Quorum).await.unwrap();
    assert_eq!(decided.value.as_ref().unwrap().get(), r#""amsterdam""#);
    let amsterdam = Agreement::open(topo.clone(), options("amsterdam")).await.unwrap();
    let again = amsterdam.decide("primary", value("elsewhere"), Rule::Quorum).await.unwrap();
    assert_eq!((again.epoch, again.hash), (decided.epoch, decided.hash));
    // Asked once more, it is another ballot.
    let next = value("boston").after(&decided);
    let (one, two) = tokio::join!(
        amsterdam.decide("primary", next.clone(), Rule::Quorum),
        boston.decide("primary", next, Rule::Quorum)
    );
    assert_eq!((one.unwrap().epoch, two.as_ref().unwrap().epoch > decided.epoch), (two.unwrap().epoch, true));
}

#[tokio::test]
async fn who_is_against_says_why() {
    let topo = memory::unshared().unwrap();
    let names = ["amsterdam", "boston"];
    let (amsterdam, boston) = (join(&topo, names[0], &names).await, join(&topo, names[1], &names).await);
    let (one, two) = tokio::join!(
        amsterdam.decide("release", value("v1").only(), Rule::All),
        boston.decide("release", value("v2").only(), Rule::All)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.outcome, two.outcome, one.epoch), (Outcome::Rejected, Outcome::Rejected, two.epoch));
    assert!(one.reasons.values().any(|reason| reason.starts_with("would have")), "{one:?}");
}

#[tokio::test]
async fn strangers_and_wrong_keys_are_told_the_mend() {
    let topo = memory::unshared().unwrap();
    let mallory = Agreement::open(topo.clone(), Options::new("test", signer("mallory"), voters(&NAMES))).await.unwrap();
    let error = mallory.decide("primary", value("mallory"), Rule::Quorum).await.unwrap_err();
    assert!(matches!(&error, AgreeError::Refused(why) if why.contains("join first")), "{error}");
    let amsterdam = join(&topo, "amsterdam", &NAMES).await;
    assert!(amsterdam.decide("Not A Key", value("x"), Rule::Quorum).await.is_err());
    let large = Vote::value(&"x".repeat(5_000)).unwrap();
    let error = amsterdam.decide("primary", large, Rule::Quorum).await.unwrap_err();
    assert!(error.to_string().contains("decide its hash"), "{error}");
}

#[tokio::test]
async fn a_holder_that_vanishes_is_followed_and_can_write_no_more() {
    let topo = memory::unshared().unwrap();
    let ttl = Duration::from_millis(400);
    let boston = join(&topo, "boston", &NAMES).await;
    // A process of its own: when its runtime ends, nothing of it resigns.
    let first = {
        let topo = topo.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let holding = runtime.spawn(async move {
            let appointment = join(&topo, "amsterdam", &NAMES).await.appoint("invoices", ttl).await.unwrap();
            appointment.write("/v1/invoices", |_| 1.into()).await.unwrap();
            appointment
        });
        let appointment = holding.await.unwrap();
        runtime.shutdown_background();
        appointment
    };
    assert!(first.holds());
    let second = boston.appoint("invoices", ttl);
    tokio::pin!(second);
    tokio::select! {
        term = &mut second => panic!("amsterdam holds it: {term:?}"),
        () = waiting(&boston, "invoices", "amsterdam holds it, under term 1") => {}
    }
    let second = second.await.unwrap();
    assert!(!first.holds() && second.holds() && second.term() > first.term());
    first.lost().await;
    assert!(matches!(first.write("/v1/invoices", |_| 2.into()).await, Err(FencedError::Over(_))));
    second.write("/v1/invoices", |now| (now.as_u64().unwrap() + 10).into()).await.unwrap();
    // It is renewed: it holds on beyond one lease.
    let mut hold = tokio::time::interval(ttl);
    for _ in 0..3 {
        hold.tick().await;
        assert!(second.holds());
    }
    second.resign().await.unwrap();
    let third = boston.appoint("invoices", ttl).await.unwrap();
    assert!(third.holds());
}

#[tokio::test]
async fn who_comes_back_waits_for_its_own_earlier_start_and_says_so() {
    let topo = memory::unshared().unwrap();
    let ttl = Duration::from_millis(400);
    let first = {
        let topo = topo.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let holding = runtime
            .spawn(async move { join(&topo, "amsterdam", &NAMES).await.appoint("invoices", ttl).await.unwrap() });
        let appointment = holding.await.unwrap();
        runtime.shutdown_background();
        appointment
    };
    let amsterdam = join(&topo, "amsterdam", &NAMES).await;
    let again = amsterdam.appoint("invoices", ttl);
    tokio::pin!(again);
    tokio::select! {
        term = &mut again => panic!("its lease has not ended: {term:?}"),
        () = waiting(&amsterdam, "invoices", "an earlier start of amsterdam holds it, under term 1") => {}
    }
    let again = again.await.unwrap();
    assert!(!first.holds() && again.term() > first.term());
    assert_eq!(amsterdam.waiting("invoices"), None, "it holds it now");
}

#[tokio::test]
async fn a_barrier_says_on_whom_it_waits() {
    let topo = memory::unshared().unwrap();
    let (amsterdam, boston, cape_town) =
        (join(&topo, NAMES[0], &NAMES).await, join(&topo, NAMES[1], &NAMES).await, join(&topo, NAMES[2], &NAMES).await);
    assert!(amsterdam.barrier("rollout", 1, None).await.unwrap_err().to_string().contains("in order"));
    let waits = amsterdam.barrier("rollout", 0, None);
    tokio::pin!(waits);
    tokio::select! {
        done = &mut waits => panic!("the others have not finished: {done:?}"),
        () = waiting(&amsterdam, "rollout", "waits for 2 of boston, cape-town") => {}
    }
    let (one, two, three) =
        tokio::join!(waits, boston.barrier("rollout", 0, None), cape_town.barrier("rollout", 0, None));
    one.and(two).and(three).unwrap();
}

/// The bytes of the ballots in a store.
async fn stored(topo: &Arc<dyn Topo>) -> bytes::Bytes {
    topo.get("/v1/ballots").await.unwrap().expect("the ballots are there").value
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_left_as_it_is() {
    use hansa_ledger::Envelope;
    use hansa_model::{Era, Hash, LeagueId};
    let topo = memory::unshared().unwrap();
    join(&topo, "amsterdam", &["amsterdam"]).await.decide("primary", value("x"), Rule::Quorum).await.unwrap();
    let good = stored(&topo).await;
    let (envelope, body) = Envelope::open(&good).unwrap();
    let text = String::from_utf8(body.clone()).unwrap();
    let seal = |text: &str| envelope.seal(text.as_bytes());
    let packed_away = &good[..good.len() - 5];
    let foreign = Envelope::first(LeagueId(Hash::of_bytes(b"another")), Era(1), 1).seal(&body);
    let cases: [(&str, bytes::Bytes, &str); 9] = [
        ("no value of Hansa's", "hello".into(), "it was not written by Hansa"),
        ("half of a value", bytes::Bytes::copy_from_slice(packed_away), "does not unpack"),
        ("no JSON", seal("{\"format\":1,"), "the ballots do not read"),
        ("nested without end", seal(&"[".repeat(100_000)), "the ballots do not read"),
        (
            "deep within",
            seal(&text.replacen("\"voters\":{", &format!("\"voters\":{{\"x\":{}", "[".repeat(100_000)), 1)),
            "the ballots do not read",
        ),
        ("a newer format", seal(&text.replace("\"format\":1,", "\"format\":7,")), "run a newer release"),
        ("larger than any", seal(&format!("{}{text}", " ".repeat(9 << 20))), "Hansa writes no such document"),
        (
            "a count without end",
            seal(&text.replace("\"epoch\":1,", "\"epoch\":18446744073709551615,")),
            "no league counts that far",
        ),
        ("another league's", foreign, "a topology server or prefix of its own"),
    ];
    for (what, bytes, words) in cases {
        let topo = memory::unshared().unwrap();
        topo.create("/v1/ballots", bytes.clone()).await.unwrap();
        let boston = join(&topo, "amsterdam", &["amsterdam"]).await;
        let asked = boston.decide("primary", value("y"), Rule::Quorum);
        tokio::pin!(asked);
        tokio::select! {
            decided = &mut asked => panic!("{what}: {decided:?}"),
            () = waiting(&boston, "primary", words) => {}
        }
        assert!(stored(&topo).await == bytes, "{what} was written over");
    }
}

#[tokio::test]
async fn a_clock_that_is_a_day_behind_does_no_harm() {
    use hansa_ledger::{Envelope, OperationId};
    use hansa_model::Incarnation;
    let topo = memory::unshared().unwrap();
    let names = ["amsterdam"];
    let decided = {
        let amsterdam = join(&topo, "amsterdam", &names).await;
        amsterdam.decide("primary", value("x"), Rule::Quorum).await.unwrap()
    };
    // An earlier start of it had a clock that was a day ahead of today's.
    let found = topo.get("/v1/ballots").await.unwrap().unwrap();
    let (envelope, body) = Envelope::open(&found.value).unwrap();
    let member = signer("amsterdam").member().clone();
    let tomorrow = Incarnation(envelope.operations[&member].incarnation.0 + 24 * 3_600 * 1_000);
    let next = envelope.next(1, &member, OperationId { incarnation: tomorrow, sequence: 3 });
    topo.compare_and_swap("/v1/ballots", &found.version, next.seal(&body)).await.unwrap();
    let amsterdam = join(&topo, "amsterdam", &names).await;
    let again = amsterdam.decide("primary", value("y").after(&decided), Rule::Quorum).await.unwrap();
    assert!(again.epoch > decided.epoch);
    let (envelope, _) = Envelope::open(&stored(&topo).await).unwrap();
    assert!(envelope.operations[&member].incarnation > tomorrow, "{envelope:?}");
}
