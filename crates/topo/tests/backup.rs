//! Backups of a league, and what they are restored to.

use hansa_ballot::{Control, FederationHome, PublicKey, Signer, Voter, Voters};
use hansa_ledger::{Envelope, OperationId, Swap, keys};
use hansa_model::{Era, Hash, Incarnation, LeagueId, MemberName, Revision};
use hansa_topo::backup::{BackupError, Manifest, Progress, Reader, backup, raise_era, restore};
use hansa_topo::fault::{Fault, Rule, wrap};
use hansa_topo::{Operation, Topo, memory};
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
    let restored = restore(&*to, &mut Cursor::new(&file), None, |step| steps.push(step)).await.unwrap();
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
    restore(&*whole, &mut Cursor::new(&file), None, |_| {}).await.unwrap();

    let to = memory::unshared().unwrap();
    // The server goes away after some writes.
    let (faulty, faults) = wrap(to.clone(), 1);
    let of = |skip, fault| Rule { operation: Some(Operation::Create), skip, times: 3, ..Rule::once(fault) };
    faults.add_rule(of(4, Fault::LostAnswer));
    faults.add_rule(Rule { times: 100, ..of(20, Fault::Unavailable) });
    restore(&*faulty, &mut Cursor::new(&file), None, |_| {}).await.unwrap_err();
    let broken = listed(&*to).await;
    assert!((1..42).contains(&broken.len()), "{}", broken.len());
    assert!(!broken.iter().any(|(key, _)| key == keys::CONTROL));

    let restored = restore(&*to, &mut Cursor::new(&file), None, |_| {}).await.unwrap();
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
    let again = restore(&*to, &mut Cursor::new(&file), None, |_| {}).await.unwrap();
    assert_eq!(again.written, 0);
    assert_eq!(listed(&*to).await, standing);
}

#[tokio::test]
async fn what_is_not_empty_or_another_leagues_is_left_alone() {
    let from = store().await;
    let (file, _) = taken(&*from).await;
    let refused = async |topo: &dyn Topo, era: Option<u64>| {
        let before = listed(topo).await;
        let error = restore(topo, &mut Cursor::new(&file), era.map(Era), |_| {}).await.unwrap_err();
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
        let ended = restore(&*to, &mut Cursor::new(&bytes), None, |_| {}).await;
        let error = ended.expect_err("a damaged file is refused");
        assert!(matches!(error, BackupError::Damaged { .. } | BackupError::Format(_)), "{error}");
    }
    assert!(listed(&*to).await.is_empty());
}

#[tokio::test]
async fn raising_the_era_rewrites_the_control_document_alone() {
    let topo = store().await;
    let before = listed(&*topo).await;
    let raised = raise_era(&*topo, None).await.unwrap();
    assert_eq!((raised.from, raised.to, raised.revision), (Era(1), Era(2), Revision(13)));
    assert_eq!(raise_era(&*topo, Some(Era(9))).await.unwrap().to, Era(9));
    let error = raise_era(&*topo, Some(Era(9))).await.unwrap_err();
    assert!(matches!(error, BackupError::EraNotHigher { .. }), "{error}");
    let after = listed(&*topo).await;
    let changed: Vec<&str> =
        before.iter().zip(&after).filter(|(one, other)| one != other).map(|(one, _)| one.0.as_str()).collect();
    assert_eq!(changed, [keys::CONTROL]);
    let control = &after.iter().find(|(key, _)| key == keys::CONTROL).unwrap().1;
    let (found, body) = Envelope::open(control).unwrap();
    assert_eq!((body, found.operations), (b"whatever format stands here".to_vec(), envelope("league", 12).operations));

    let error = raise_era(&*memory::unshared().unwrap(), None).await.unwrap_err();
    assert!(error.to_string().contains("holds no league"), "{error}");
}

#[tokio::test]
async fn ballots_begin_anew_in_a_higher_era() {
    let home = FederationHome {
        member: "a".parse().unwrap(),
        uid: "uid".to_owned(),
        generation: 1,
        hash: Hash::of_bytes(b"spec"),
    };
    let spec = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
    let key: PublicKey = Signer::new("a".parse().unwrap(), [7; 32]).public();
    let voter = Voter { key, uid: "uid".to_owned(), witness: false };
    let voters = Voters::found([("a".parse().unwrap(), voter)].into(), Default::default());
    let control = Control::found(spec.into(), home, 4).1.voting(voters);
    let topo = memory::unshared().unwrap();
    put(&*topo, keys::CONTROL, &envelope("league", 3).seal(&control.to_vec())).await;
    let (file, _) = taken(&*topo).await;

    let restored = memory::unshared().unwrap();
    restore(&*restored, &mut Cursor::new(&file), Some(Era(5)), |_| {}).await.unwrap();
    raise_era(&*topo, Some(Era(5))).await.unwrap();
    for (store, revision) in [(restored, 3), (topo, 4)] {
        let (found, body) = Envelope::open(&store.get(keys::CONTROL).await.unwrap().unwrap().value).unwrap();
        assert_eq!((found.era, found.revision), (Era(5), Revision(revision)));
        let (before, after) = (control.ballots.clone().unwrap(), Control::from_slice(&body).unwrap().ballots.unwrap());
        assert_eq!((after.era, after.epoch), (Era(5), before.epoch.next()));
        assert_eq!(after.voters.set, before.voters.set);
        assert!(after.cells.is_empty() && after.open.is_empty());
    }
}
