//! Backups of a league, and what they are restored to.

use hansa_ballot::audit::audit;
use hansa_ballot::{Control, Document, FederationHome, Signer, Verifier, Voter, Voters};
use hansa_ledger::{Envelope, OperationId, Swap, keys};
use hansa_model::{Era, Hash, Incarnation, LeagueId, MemberName, Revision};
use hansa_topo::backup::{BackupError, Manifest, Progress, Raise, Reader, Word, backup, raise_era, restore};
use hansa_topo::fault::{Fault, Rule, wrap};
use hansa_topo::{Operation, Topo, memory};
use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

const SCHEMA: (&str, &[u8]) = ("/v1/types/configmaps", br#"{"format":1,"schema":{}}"#);

fn league(name: &str) -> LeagueId {
    LeagueId(Hash::of_bytes(name.as_bytes()))
}

fn envelope(of: &str, revision: u64) -> Envelope {
    let writer: MemberName = "a".parse().unwrap();
    let operation = OperationId { incarnation: Incarnation(7), sequence: revision };
    let first = Envelope { revision: Revision(revision - 1), ..Envelope::first(league(of), Era(1), 0) };
    first.next(revision * 31, &writer, operation)
}

/// An unsigned word for an era.
fn to(era: u64) -> Word<'static> {
    Word { era: Some(Era(era)), person: None }
}

async fn put(topo: &dyn Topo, key: &str, value: &[u8]) {
    let value = value.to_vec().into();
    let swap = match topo.get(key).await.unwrap() {
        None => topo.create(key, value).await.unwrap(),
        Some(found) => topo.compare_and_swap(key, &found.version, value).await.unwrap(),
    };
    assert!(matches!(swap, Swap::Committed(_)), "{swap:?}");
}

/// A store with a league of forty pages.
async fn store() -> Arc<dyn Topo> {
    let topo = memory::unshared().unwrap();
    for page in 0..40 {
        let body = format!(r#"{{"format":1,"header":{{"term":0}},"records":{{}},"page":{page}}}"#);
        put(&*topo, &keys::page(page), &envelope("league", u64::from(page) + 2).seal(body.as_bytes())).await;
    }
    put(&*topo, SCHEMA.0, SCHEMA.1).await;
    put(&*topo, "/check/latency", b"left by a measurement").await;
    put(&*topo, keys::CONTROL, &envelope("league", 12).seal(b"whatever format stands here")).await;
    topo
}

async fn taken(topo: &dyn Topo) -> (Vec<u8>, Manifest) {
    let mut file = Vec::new();
    let manifest = backup(topo, &mut file, |_| {}).await.unwrap();
    (file, manifest)
}

async fn listed(topo: &dyn Topo) -> Vec<(String, Vec<u8>)> {
    let entries = topo.list("/v1/").await.unwrap();
    entries.into_iter().map(|entry| (entry.key, entry.versioned.value.to_vec())).collect()
}

#[tokio::test]
async fn a_backup_holds_every_value_and_is_restored_under_the_next_era() {
    let from = store().await;
    let (file, manifest) = taken(&*from).await;
    assert_eq!((manifest.league, manifest.era, manifest.count), (league("league"), Era(1), 42));
    assert_eq!(manifest.control_revisions, [Revision(12), Revision(12)]);

    let to = memory::unshared().unwrap();
    let mut steps = Vec::new();
    let restored = restore(&*to, &mut Cursor::new(&file), Word::default(), |step| steps.push(step)).await.unwrap();
    assert_eq!((restored.era, restored.written), (Era(2), 42));
    assert_eq!(steps.last(), Some(&Progress { done: 42, of: 42 }));
    let (before, after) = (listed(&*from).await, listed(&*to).await);
    assert_eq!(before.len(), after.len());
    for ((key, value), (restored_key, restored)) in before.iter().zip(&after) {
        assert_eq!(key, restored_key);
        match Envelope::open(value) {
            Ok((envelope, body)) => {
                // What was written since the backup is lost, and its numbers are not used again.
                let lost = if key == keys::CONTROL { 0 } else { 1 << 20 };
                let raised = Envelope { era: Era(2), revision: Revision(envelope.revision.0 + lost), ..envelope };
                assert_eq!(Envelope::open(restored).unwrap(), (raised, body), "{key}");
            }
            Err(_) => assert_eq!(value, restored, "{key}"),
        }
    }
    assert!(to.list("/check/").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_control_document_is_read_last_and_no_backup_spans_two_eras() {
    let from = store().await;
    let decorated = Interrupted { inner: from.clone(), era: Era(1) };
    let (file, manifest) = taken(&decorated).await;
    assert_eq!(manifest.control_revisions, [Revision(12), Revision(13)]);
    let mut reader = Reader::new(Cursor::new(&file)).unwrap();
    let mut last = None;
    while let Some(entry) = reader.entry().unwrap() {
        last = Some(entry);
    }
    let (key, value) = last.unwrap();
    assert_eq!((&*key, Envelope::open(&value).unwrap().1), (keys::CONTROL, b"written meanwhile".to_vec()));

    let decorated = Interrupted { inner: from, era: Era(2) };
    let error = backup(&decorated, &mut Vec::new(), |_| {}).await.unwrap_err();
    assert!(matches!(error, BackupError::Turned { .. }), "{error}");
}

/// Somebody writes the control document while everything is listed.
#[derive(Debug)]
struct Interrupted {
    inner: Arc<dyn Topo>,
    era: Era,
}

#[async_trait::async_trait]
impl Topo for Interrupted {
    async fn get(&self, key: &str) -> Result<Option<hansa_topo::Versioned>, hansa_topo::TopoError> {
        self.inner.get(key).await
    }

    async fn create(&self, key: &str, value: bytes::Bytes) -> Result<Swap, hansa_topo::TopoError> {
        self.inner.create(key, value).await
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        expected: &hansa_topo::Version,
        value: bytes::Bytes,
    ) -> Result<Swap, hansa_topo::TopoError> {
        self.inner.compare_and_swap(key, expected, value).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<hansa_topo::Entry>, hansa_topo::TopoError> {
        let listed = self.inner.list(prefix).await;
        let written = Envelope { era: self.era, ..envelope("league", 13) };
        put(&*self.inner, keys::CONTROL, &written.seal(b"written meanwhile")).await;
        listed
    }

    async fn read_many(&self, keys: &[String]) -> Result<Vec<Option<hansa_topo::Versioned>>, hansa_topo::TopoError> {
        self.inner.read_many(keys).await
    }

    async fn changes(&self, cursor: Option<&hansa_topo::Cursor>) -> Result<hansa_topo::Changes, hansa_topo::TopoError> {
        self.inner.changes(cursor).await
    }

    async fn check(&self) -> Result<Vec<hansa_topo::Finding>, hansa_topo::TopoError> {
        self.inner.check().await
    }

    fn values_per_read(&self) -> usize {
        self.inner.values_per_read()
    }

    fn usage(&self) -> hansa_topo::Usage {
        self.inner.usage()
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }
}

#[tokio::test]
async fn a_restore_that_broke_off_is_repeated_and_the_control_document_comes_last() {
    let (file, _) = taken(&*store().await).await;
    let whole = memory::unshared().unwrap();
    restore(&*whole, &mut Cursor::new(&file), Word::default(), |_| {}).await.unwrap();

    let to = memory::unshared().unwrap();
    // The server goes away after some writes.
    let (faulty, faults) = wrap(to.clone(), 1);
    let of = |skip, fault| Rule { operation: Some(Operation::Create), skip, times: 3, ..Rule::once(fault) };
    faults.add_rule(of(4, Fault::LostAnswer));
    faults.add_rule(Rule { times: 100, ..of(20, Fault::Unavailable) });
    restore(&*faulty, &mut Cursor::new(&file), Word::default(), |_| {}).await.unwrap_err();
    let broken = listed(&*to).await;
    assert!((1..42).contains(&broken.len()), "{}", broken.len());
    assert!(!broken.iter().any(|(key, _)| key == keys::CONTROL));

    let restored = restore(&*to, &mut Cursor::new(&file), Word::default(), |_| {}).await.unwrap();
    assert_eq!(restored.written, 42 - broken.len() as u64);
    assert_eq!(listed(&*to).await, listed(&*whole).await);

    // Once more changes nothing, also when the league has gone on since.
    let (version, envelope, body) = {
        let found = to.get(&keys::page(3)).await.unwrap().unwrap();
        let (envelope, body) = Envelope::open(&found.value).unwrap();
        (found.version, envelope, body)
    };
    let next = Envelope { revision: envelope.revision.next(), nonce: 99, ..envelope };
    to.compare_and_swap(&keys::page(3), &version, next.seal(&body)).await.unwrap();
    let standing = listed(&*to).await;
    let again = restore(&*to, &mut Cursor::new(&file), Word::default(), |_| {}).await.unwrap();
    assert_eq!(again.written, 0);
    assert_eq!(listed(&*to).await, standing);
}

#[tokio::test]
async fn what_is_not_empty_or_another_leagues_is_left_alone() {
    let from = store().await;
    let (file, _) = taken(&*from).await;
    let refused = async |topo: &dyn Topo, era: Option<u64>| {
        let before = listed(topo).await;
        let error =
            restore(topo, &mut Cursor::new(&file), Word { era: era.map(Era), person: None }, |_| {}).await.unwrap_err();
        assert_eq!(listed(topo).await, before);
        error.to_string()
    };
    // Where it came from.
    let message = refused(&*from, None).await;
    assert!(message.contains("is not empty") && message.contains("/v1/control"), "{message}");
    let other = memory::unshared().unwrap();
    put(&*other, keys::CONTROL, &envelope("another", 3).seal(b"{}")).await;
    let message = refused(&*other, None).await;
    let (found, wanted) = (league("another").label(), league("league").label());
    assert!(message.contains(&found) && message.contains(&wanted), "{message}");
    let message = refused(&*memory::unshared().unwrap(), Some(1)).await;
    assert!(message.contains("era 1 is not higher than era 1"), "{message}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_before_anything_is_written() {
    let (file, _) = taken(&*store().await).await;
    let to = memory::unshared().unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..file.len()).step_by(97).map(|end| file[..end].to_vec()).collect();
    damaged.extend((0..file.len()).step_by(41).map(|at| {
        let mut bytes = file.clone();
        bytes[at] ^= 0x20;
        bytes
    }));
    damaged.push([&file[..], b"more"].concat());
    for bytes in damaged {
        let ended = restore(&*to, &mut Cursor::new(&bytes), Word::default(), |_| {}).await;
        let error = ended.expect_err("a damaged file is refused");
        assert!(matches!(error, BackupError::Damaged { .. } | BackupError::Format(_)), "{error}");
    }
    assert!(listed(&*to).await.is_empty());
}

#[tokio::test]
async fn raising_the_era_rewrites_the_control_document_alone() {
    let topo = store().await;
    let before = listed(&*topo).await;
    let raised = raise_era(&*topo, Word::default()).await.unwrap();
    assert_eq!((raised.from, raised.to, raised.revision), (Era(1), Era(2), Revision(13)));
    assert_eq!(raise_era(&*topo, to(9)).await.unwrap().to, Era(9));
    let error = raise_era(&*topo, to(9)).await.unwrap_err();
    assert!(matches!(error, BackupError::EraNotHigher { .. }), "{error}");
    let after = listed(&*topo).await;
    let changed: Vec<&str> =
        before.iter().zip(&after).filter(|(one, other)| one != other).map(|(one, _)| one.0.as_str()).collect();
    assert_eq!(changed, [keys::CONTROL]);
    let control = &after.iter().find(|(key, _)| key == keys::CONTROL).unwrap().1;
    let (found, body) = Envelope::open(control).unwrap();
    assert_eq!((body, found.operations), (b"whatever format stands here".to_vec(), envelope("league", 12).operations));

    let error = raise_era(&*memory::unshared().unwrap(), Word::default()).await.unwrap_err();
    assert!(error.to_string().contains("holds no league"), "{error}");
}

fn control(people: &[&str]) -> Control {
    let home = FederationHome {
        member: "a".parse().unwrap(),
        uid: "uid".to_owned(),
        generation: 1,
        hash: Hash::of_bytes(b"spec"),
    };
    let spec = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
    let voter = |name: &&str| {
        let voter = Voter { key: signer(name).public(), uid: format!("uid-{name}"), witness: false };
        (name.parse().unwrap(), voter)
    };
    let people = people.iter().map(|name| (String::from(*name), signer(name).public())).collect();
    let voters = Voters::found(["a", "b", "c"].iter().map(voter).collect(), people);
    let mut control = Control::found(spec.into(), home, 4).1.voting(voters);
    let everyone = control.ballots().voters.set.keys().cloned().collect();
    control.ballots_mut().appointments.balance(&everyone);
    control
}

fn signer(name: &str) -> Signer {
    Signer::new(name.parse().unwrap(), *Hash::of_bytes(name.as_bytes()).as_bytes())
}

async fn stored(control: &Control) -> Arc<dyn Topo> {
    let topo = memory::unshared().unwrap();
    put(&*topo, keys::CONTROL, &envelope("league", 3).seal(&control.to_vec())).await;
    topo
}

async fn standing(topo: &dyn Topo) -> (Envelope, Control) {
    let (found, body) = Envelope::open(&topo.get(keys::CONTROL).await.unwrap().unwrap().value).unwrap();
    (found, Control::from_slice(&body).unwrap())
}

#[tokio::test]
async fn ballots_begin_anew_in_a_higher_era() {
    let control = control(&[]);
    let topo = stored(&control).await;
    let (file, _) = taken(&*topo).await;
    let restored = memory::unshared().unwrap();
    restore(&*restored, &mut Cursor::new(&file), to(5), |_| {}).await.unwrap();
    raise_era(&*topo, to(5)).await.unwrap();
    for (store, revision) in [(restored, 3), (topo, 4)] {
        let (found, after) = standing(&*store).await;
        assert_eq!((found.era, found.revision), (Era(5), Revision(revision)));
        let (before, after) = (control.ballots(), after.ballots());
        assert_eq!((after.era, after.epoch), (Era(5), before.epoch.next()));
        assert_eq!((&after.voters, &after.appointments), (&before.voters, &before.appointments));
        assert!(after.cells.is_empty() && after.open.is_empty() && after.force().is_none());
        assert_eq!(audit(before, after, league("league"), &Verifier::default()).breaches, []);
    }
}

#[tokio::test]
async fn where_people_have_keys_one_of_them_signs() {
    let control = control(&["ada"]);
    let topo = stored(&control).await;
    let (file, _) = taken(&*topo).await;
    let restored = memory::unshared().unwrap();
    let (ada, eve) = (signer("ada"), signer("eve"));
    let by = |person| Word { era: Some(Era(5)), person: Some(person) };
    for word in [to(5), by(&eve)] {
        let errors = [
            raise_era(&*topo, word).await.unwrap_err(),
            restore(&*restored, &mut Cursor::new(&file), word, |_| {}).await.unwrap_err(),
        ];
        let named = |error: &BackupError| error.to_string().contains("ada");
        assert!(errors.iter().all(named), "{errors:?}");
    }
    assert!(listed(&*restored).await.is_empty());
    restore(&*restored, &mut Cursor::new(&file), by(&ada), |_| {}).await.unwrap();
    let again = restore(&*restored, &mut Cursor::new(&file), by(&ada), |_| {}).await.unwrap();
    assert_eq!(again.written, 0, "an attempt that broke off is repeated");
    raise_era(&*topo, by(&ada)).await.unwrap();
    for store in [restored, topo] {
        let (_, after) = standing(&*store).await;
        assert_eq!(after.ballots().force().unwrap().by, "ada");
        assert_eq!(audit(control.ballots(), after.ballots(), league("league"), &Verifier::default()).breaches, []);
    }
}

#[tokio::test]
async fn a_force_is_looked_at_first_and_discards_by_a_signature() {
    let control = control(&["ada"]);
    let topo = stored(&control).await;
    let before = listed(&*topo).await;
    let discarded: BTreeSet<MemberName> = ["b".parse().unwrap(), "c".parse().unwrap()].into();
    let ada = signer("ada");
    let word = Word { era: None, person: Some(&ada) };
    let raise = Raise::prepare(&*topo, word, &discarded).await.unwrap();
    assert_eq!(listed(&*topo).await, before, "nothing is written yet");
    let (_, after) = raise.documents.clone().unwrap();
    let late = Raise::prepare(&*topo, word, &discarded).await.unwrap();
    let raised = raise.write(&*topo).await.unwrap();
    assert_eq!((raised.from, raised.to), (Era(1), Era(2)));
    let (found, stands) = standing(&*topo).await;
    assert_eq!((found.era, stands.to_vec()), (Era(2), after.to_vec()));
    let ballots = stands.ballots();
    assert_eq!((ballots.voters.set.len(), ballots.voters.quorum, ballots.voters.removed.len()), (1, 1, 2));
    let seats = (0..4).map(|page| ballots.appointments.page(page).unwrap().member.clone().unwrap().to_string());
    assert_eq!(seats.collect::<BTreeSet<_>>(), [String::from("a")].into());
    assert_eq!(audit(control.ballots(), ballots, league("league"), &Verifier::default()).breaches, []);
    let error = late.write(&*topo).await.unwrap_err();
    assert!(matches!(error, BackupError::Raced { .. }), "{error}");

    let nobody = stored(&self::control(&[])).await;
    let unsigned = Raise::prepare(&*nobody, Word::default(), &discarded).await.unwrap_err();
    assert!(unsigned.to_string().contains("spec.people"), "{unsigned}");
    let unknown = Raise::prepare(&*nobody, word, &discarded).await.unwrap_err();
    assert!(unknown.to_string().contains("it knows nobody's"), "{unknown}");
}
