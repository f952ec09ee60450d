//! The easy API on real stores: decisions, appointments and barriers of several voters, with lost answers,
//! restarts and cancelled calls.

use hansa_topo::agree::{AgreeError, Agreement, FencedError, Options, Outcome, Rule, Signer, Vote, Voters, founders};
use hansa_topo::fault::{Chances, Fault, Rule as FaultRule, wrap};
use hansa_topo::{Topo, memory};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// Two clocks may differ so much that both hold it: then what is written to tells.
#[tokio::test]
async fn where_a_higher_term_stands_nothing_is_written() {
    use hansa_ledger::Envelope;
    let topo = memory::unshared().unwrap();
    let amsterdam = join(&topo, "amsterdam", &["amsterdam"]).await;
    let appointment = amsterdam.appoint("invoices", Duration::from_secs(60)).await.unwrap();
    appointment.write("/v1/invoices", |_| 1.into()).await.unwrap();
    let found = topo.get("/v1/invoices").await.unwrap().unwrap();
    let (envelope, body) = Envelope::open(&found.value).unwrap();
    let later = String::from_utf8(body).unwrap().replace("\"term\":1", "\"term\":9");
    let later = envelope.seal(later.as_bytes());
    topo.compare_and_swap("/v1/invoices", &found.version, later.clone()).await.unwrap();
    assert!(appointment.holds());
    let refused = appointment.write("/v1/invoices", |_| 2.into()).await.unwrap_err();
    assert!(
        matches!(&refused, FencedError::Overtaken { key, found, term }
            if key == "/v1/invoices" && found.0 == 9 && *term == appointment.term()),
        "{refused}"
    );
    assert_eq!(topo.get("/v1/invoices").await.unwrap().unwrap().value, later);
}

/// Wherever a call is dropped, nobody waits for it longer than its lease.
#[tokio::test]
async fn an_appointment_that_is_not_waited_for_holds_nobody_up() {
    let topo = memory::unshared().unwrap();
    let ttl = Duration::from_millis(100);
    let (amsterdam, boston) = (join(&topo, "amsterdam", &NAMES).await, join(&topo, "boston", &NAMES).await);
    for steps in 0..12 {
        let key = format!("invoices-{steps}");
        {
            let dropped = amsterdam.appoint(&key, ttl);
            tokio::pin!(dropped);
            for _ in 0..steps {
                tokio::select! {
                    biased;
                    _ = &mut dropped => break,
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        let appointment = tokio::time::timeout(Duration::from_secs(30), boston.appoint(&key, ttl)).await;
        assert!(appointment.expect("it is free again").unwrap().holds());
    }
    // Who waits for a holder, and is dropped, leaves nothing behind.
    let held = amsterdam.appoint("orders", Duration::from_secs(60)).await.unwrap();
    {
        let dropped = boston.appoint("orders", ttl);
        tokio::pin!(dropped);
        tokio::select! {
            term = &mut dropped => panic!("amsterdam holds it: {term:?}"),
            () = waiting(&boston, "orders", "amsterdam holds it, under term") => {}
        }
    }
    held.resign().await.unwrap();
    let again = amsterdam.appoint("orders", ttl).await.unwrap();
    assert!(again.holds());
}

#[tokio::test]
async fn an_appointment_that_is_dropped_is_resigned() {
    let topo = memory::unshared().unwrap();
    let (amsterdam, boston) = (join(&topo, "amsterdam", &NAMES).await, join(&topo, "boston", &NAMES).await);
    let day = Duration::from_secs(24 * 3_600);
    let held = amsterdam.appoint("invoices", day).await.unwrap();
    let term = held.term();
    drop(held);
    let next = tokio::time::timeout(Duration::from_secs(60), boston.appoint("invoices", day)).await;
    assert!(next.expect("nobody waits for its lease").unwrap().term() > term);
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

#[tokio::test]
async fn what_was_said_at_a_barrier_stays_said_when_the_call_is_dropped() {
    let topo = memory::unshared().unwrap();
    let names = ["amsterdam", "boston"];
    let (amsterdam, boston) = (join(&topo, names[0], &names).await, join(&topo, names[1], &names).await);
    {
        let dropped = amsterdam.barrier("rollout", 0, None);
        tokio::pin!(dropped);
        tokio::select! {
            done = &mut dropped => panic!("boston has not finished: {done:?}"),
            () = waiting(&amsterdam, "rollout", "waits for 1 of boston") => {}
        }
    }
    boston.barrier("rollout", 0, None).await.unwrap();
    amsterdam.barrier("rollout", 0, None).await.unwrap();
}

#[tokio::test]
async fn a_barrier_for_some_opens_without_the_others_and_for_as_many_as_all_say() {
    let topo = memory::unshared().unwrap();
    let (amsterdam, boston, cape_town) =
        (join(&topo, NAMES[0], &NAMES).await, join(&topo, NAMES[1], &NAMES).await, join(&topo, NAMES[2], &NAMES).await);
    let (one, two) = tokio::join!(amsterdam.barrier("rollout", 0, Some(2)), boston.barrier("rollout", 0, Some(2)));
    one.and(two).unwrap();
    cape_town.barrier("rollout", 0, Some(2)).await.unwrap();
    for (count, words) in [(Some(3), "not for 3 of those"), (None, "not for all that are at work")] {
        let error = cape_town.barrier("rollout", 1, count).await.unwrap_err().to_string();
        assert!(error.contains("rollout opens for 2 of those that are at work") && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn barriers_that_all_have_forgotten_make_room_for_others() {
    let topo = memory::unshared().unwrap();
    let names = ["amsterdam", "boston"];
    let (amsterdam, boston) = (join(&topo, names[0], &names).await, join(&topo, names[1], &names).await);
    let both = async |key: &str| {
        let (one, two) = tokio::join!(amsterdam.barrier(key, 0, None), boston.barrier(key, 0, None));
        one.and(two)
    };
    for number in 0..64 {
        both(&format!("rollout-{number}")).await.unwrap();
    }
    let error = both("one-more").await.unwrap_err().to_string();
    assert!(error.contains("64 barriers are in use, and one-more would be one more"), "{error}");
    // One of the two still may want to know how far it is.
    amsterdam.forget("rollout-7").await.unwrap();
    assert!(both("one-more").await.is_err());
    boston.barrier("rollout-7", 0, None).await.unwrap();
    boston.forget("rollout-7").await.unwrap();
    both("one-more").await.unwrap();
    // Its key begins anew.
    amsterdam.forget("rollout-8").await.unwrap();
    boston.forget("rollout-8").await.unwrap();
    both("rollout-8").await.unwrap();
}

#[tokio::test]
async fn notes_that_cannot_be_written_are_named_and_nothing_is_voted() {
    let topo = memory::unshared().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("amsterdam.notes");
    // A folder stands where the next notes are drafted.
    let in_the_way = notes.with_extension("new");
    std::fs::create_dir(&in_the_way).unwrap();
    let options = Options::new("test", signer("amsterdam"), voters(&["amsterdam"]));
    let options = Options { notes: Some(notes), ..options };
    let amsterdam = Agreement::open(topo.clone(), options).await.unwrap();
    let asked = amsterdam.decide("primary", value("x"), Rule::Quorum);
    tokio::pin!(asked);
    tokio::select! {
        decided = &mut asked => panic!("it could not keep its notes: {decided:?}"),
        () = waiting(&amsterdam, "primary", "nothing is voted until the notes can be kept") => {}
    }
    std::fs::remove_dir(&in_the_way).unwrap();
    asked.await.unwrap();
    assert_eq!(amsterdam.waiting("primary").filter(|waits| waits.contains("notes")), None);
}

#[tokio::test]
async fn a_store_that_asks_to_be_let_alone_is() {
    let (topo, faults) = wrap(memory::unshared().unwrap(), 1);
    let amsterdam = join(&topo, "amsterdam", &["amsterdam"]).await;
    let wait = Duration::from_millis(700);
    faults.add_rule(FaultRule { key_prefix: "/v1/ballots".into(), ..FaultRule::once(Fault::Throttled(wait)) });
    let began = Instant::now();
    let asked = amsterdam.decide("primary", value("x"), Rule::Quorum);
    tokio::pin!(asked);
    tokio::select! {
        decided = &mut asked => panic!("it was turned away: {decided:?}"),
        () = waiting(&amsterdam, "primary", "throttling was injected") => {}
    }
    asked.await.unwrap();
    assert!(began.elapsed() >= wait);
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
