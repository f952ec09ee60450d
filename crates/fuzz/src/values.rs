//! Values of the topology server but for the ballots: envelopes, pages, cells, blobs, copies of registers.

use crate::{same_again, same_json_again};
use bytes::Bytes;
use hansa_ledger::cell::{MemberCell, StatusCell};
use hansa_ledger::confirmation::Confirmations;
use hansa_ledger::envelope::{MAX_BODY, pack, unpack};
use hansa_ledger::plan::{MAX_OBJECTS, Plan, Words};
use hansa_ledger::register::{Copy, StoreId, StoreSet};
use hansa_ledger::{Envelope, OperationId, Page, Record, keys};
use hansa_model::{Era, Hash, Incarnation, LeagueId};
use hansa_topo::backup::{self, Reader};
use hansa_topo::{MAX_KEY_BYTES, MAX_VALUE_BYTES, memory};
use serde_json::json;
use std::collections::BTreeMap;

pub fn league() -> LeagueId {
    LeagueId(Hash::of_bytes(b"fuzz"))
}

pub fn envelope(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| Envelope::open(bytes).map_err(|error| error.to_string());
    let (envelope, body) = same_again(bytes, read, |(envelope, body)| envelope.seal(body).to_vec())?;
    assert!(body.len() as u64 <= MAX_BODY, "a body of {} bytes was unpacked", body.len());
    let writer = "fuzz".parse().expect("a name");
    let operation = OperationId { incarnation: Incarnation(1), sequence: 1 };
    let next = envelope.next(1, &writer, operation);
    assert!(next.includes(&writer, operation) && next.revision >= envelope.revision);
    Ok(())
}

pub fn envelopes() -> Vec<Vec<u8>> {
    let first = Envelope::first(league(), Era(1), 7);
    let operation = OperationId { incarnation: Incarnation(3), sequence: 4 };
    let next = first.next(8, &"aws-use1".parse().expect("a name"), operation);
    let body = pages().remove(0);
    vec![first.seal(b"").to_vec(), next.seal(&body).to_vec(), next.seal(&body.repeat(200)).to_vec()]
}

pub fn page(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| Page::from_slice(bytes).map_err(|error| error.to_string());
    let page = same_again(bytes, read, Page::to_vec)?;
    for (key, slot) in &page.records {
        assert!(key.page(256) < 256);
        if let Some(record) = slot.record() {
            let _ = (record.is_finished(), record.is_homeless(), record.placed_members().count());
        }
    }
    Ok(())
}

pub fn pages() -> Vec<Vec<u8>> {
    let record: serde_json::Value = serde_json::from_slice(&records()[0]).expect("JSON");
    let page = json!({
        "format": 1, "header": {"member": "aws-use1", "term": 4},
        "records": {"configmaps/shop/a": record, "deployments.apps/shop/b": {"format": 9, "novelty": [1, {"x": 2}]}},
    });
    vec![Page::empty().to_vec(), page.to_string().into_bytes()]
}

pub fn record(bytes: &[u8]) -> Result<(), String> {
    same_json_again::<Record>(bytes).map(drop)
}

pub fn records() -> Vec<Vec<u8>> {
    let hash = Hash::of_bytes(b"content").to_string();
    let home = json!({"uid": "1-2-3", "generation": 4, "hash": hash, "revision": 2});
    let full = json!({
        "format": 1, "incarnation": 3, "revision": 2,
        "intent": {"hash": hash, "author": "aws-use1", "body": {"inline": {"template": {"data": {"a": "b"}}}}, "signature": "s"},
        "homes": {"aws-use1": home}, "moving": "gcp-euw4", "former": {"azure-sea": "uid"},
        "placed": {
            "aws-use1": {"state": "placed", "incarnation": 3}, "gcp-euw4": {"state": "withdrawing", "incarnation": 2},
            "azure-sea": {"state": "gone", "incarnation": 1},
        },
        "tombstone": {"author": "aws-use1", "policy": "Delete"},
        "sealed": {
            "incarnation": 3, "digest": hash, "body": {"inline": "AAAA"},
            "wraps": {"gcp-euw4": {"to": "f", "key": "AAAA"}},
        },
    });
    let blob = json!({
        "format": 1, "incarnation": 1, "revision": 1,
        "intent": {"hash": hash, "author": "aws-use1", "body": {"blob": hash}},
    });
    vec![full.to_string().into_bytes(), blob.to_string().into_bytes()]
}

pub fn member_cell(bytes: &[u8]) -> Result<(), String> {
    same_json_again::<MemberCell>(bytes).map(drop)
}

pub fn member_cells() -> Vec<Vec<u8>> {
    let cell = json!({
        "format": 1, "member": "aws-use1", "clusterUid": "1-2-3", "incarnation": 1, "sequence": 9, "release": "0.1.0",
        "kubernetes": "v1.37.2", "publicKeys": ["ed25519:AAAA", "x25519:AAAA"], "apiServerReady": true,
        "removals": [{"atMs": 5, "weight": 1}],
    });
    vec![cell.to_string().into_bytes()]
}

pub fn status_cell(bytes: &[u8]) -> Result<(), String> {
    let cell = same_json_again::<StatusCell>(bytes)?;
    for status in cell.records.values() {
        let _ = status.summary.read();
    }
    Ok(())
}

pub fn status_cells() -> Vec<Vec<u8>> {
    let hash = Hash::of_bytes(b"output").to_string();
    let cell = json!({"format": 1, "records": {"deployments.apps/shop/web": {
        "incarnation": 1, "revision": 2, "state": "Applied", "message": "m", "health": "Healthy",
        "output": {"uid": "u", "output": hash, "owned": hash, "yielded": [".spec.replicas"]},
        "healthMessage": "h", "summary": {"replicas": 3, "conditions": [{"type": "Available", "status": "True"}]},
        "stamped": {"uid": "u", "revision": 2}, "home": "", "source": {"content": hash, "digest": hash},
    }}});
    vec![cell.to_string().into_bytes()]
}

pub fn confirmations(bytes: &[u8]) -> Result<(), String> {
    let all = same_json_again::<Confirmations>(bytes)?;
    for set in all.sets.values() {
        let _ = all.has_room_for(&set.removals);
    }
    Ok(())
}

pub fn all_confirmations() -> Vec<Vec<u8>> {
    let (one, two) = (Hash::of_bytes(b"1").to_string(), Hash::of_bytes(b"2").to_string());
    let removals =
        json!({"configmaps/shop/a": {"incarnation": 7}, "configmaps/shop/b": {"incarnation": 9, "members": ["gcp"]}});
    let all = json!({"format": 1, "asked": {one: "aws: yes"}, "sets": {two: {"by": "ada", "removals": removals}}});
    vec![all.to_string().into_bytes()]
}

pub fn plan(bytes: &[u8]) -> Result<(), String> {
    let plan =
        same_again(bytes, Plan::from_slice, |plan| serde_json::to_vec(plan).expect("what was read can be written"))?;
    assert!(plan.objects.len() <= MAX_OBJECTS);
    let _ = (plan.is_over(0), plan.is_over(u64::MAX), plan.is(&plan.author, plan.id));
    for planned in &plan.objects {
        let _ = (planned.bytes(), planned.spec.read(), planned.outline.read());
    }
    Ok(())
}

pub fn plans() -> Vec<Vec<u8>> {
    let spec = json!({"template": {"data": {"a": "b"}}, "placement": {"memberSelector": {}}});
    let secret = json!({"templateFrom": {"secretRef": {"name": "keys"}}, "placement": {"members": ["gcp-euw4"]}});
    let id = json!({"incarnation": 7, "sequence": 9});
    let plan = json!({"format": 1, "author": "aws-use1", "id": id, "expiresMs": 5, "objects": [
        {"key": "configmaps/shop/a", "spec": spec},
        {"key": "secrets/shop/keys", "spec": secret, "outline": {"type": "Opaque", "data": {"token": ""}}},
    ]});
    let free = json!({"format": 1, "author": "aws-use1", "id": id, "expiresMs": 0});
    vec![plan.to_string().into_bytes(), free.to_string().into_bytes()]
}

pub fn plan_words(bytes: &[u8]) -> Result<(), String> {
    let words =
        same_again(bytes, Words::from_slice, |words| serde_json::to_vec(words).expect("what was read can be written"))?;
    assert!(words.words.len() <= MAX_OBJECTS);
    for word in words.words {
        assert!(word.clone().cut() == word, "what was read is within its bounds");
    }
    Ok(())
}

pub fn all_plan_words() -> Vec<Vec<u8>> {
    let change = json!({"path": "spec.replicas", "before": 2, "after": 3});
    let words = json!({"format": 1, "author": "aws-use1", "id": {"incarnation": 7, "sequence": 9}, "words": [
        {"verdict": "Accepted", "effect": "Change", "changes": [change], "untold": 2, "restartsPods": true, "notes": ["n"]},
        {"verdict": "Refused", "message": "data: a policy refuses it"},
    ]});
    vec![words.to_string().into_bytes()]
}

/// The file of a backup, read to its end.
pub fn backup(bytes: &[u8]) -> Result<(), String> {
    let mut reader = Reader::new(bytes).map_err(|error| error.to_string())?;
    while let Some((key, value)) = reader.entry().map_err(|error| error.to_string())? {
        assert!(key.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES);
    }
    assert!(reader.manifest().is_some(), "what was read to its end is whole");
    Ok(())
}

pub fn backups() -> Vec<Vec<u8>> {
    let made = async {
        let topo = memory::unshared().expect("a store in memory opens");
        for (key, value) in [(keys::CONTROL.to_owned(), &crate::ballots::controls()[0]), (keys::page(7), &pages()[0])] {
            topo.create(&key, Envelope::first(league(), Era(1), 7).seal(value)).await.expect("it is empty");
        }
        let mut file = Vec::new();
        backup::backup(&*topo, &mut file, |_| ()).await.expect("it holds a league");
        file
    };
    vec![futures::executor::block_on(made)]
}

/// A large body as it stands beside its page: packed, and called by the hash of what is in it.
pub fn blob(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| unpack(bytes).map_err(|error| error.to_string());
    let body = same_again(bytes, read, |body| pack(body))?;
    assert!(body.len() as u64 <= MAX_BODY, "a body of {} bytes was unpacked", body.len());
    Ok(())
}

pub fn blobs() -> Vec<Vec<u8>> {
    vec![pack(b""), pack(&records()[0]), pack(&vec![7; 300_000])]
}

pub fn register_copy(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| Copy::decode(&Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string());
    same_again(bytes, read, |copy| copy.encode().to_vec()).map(drop)
}

pub fn register_copies() -> Vec<Vec<u8>> {
    let hash = Hash::of_bytes(b"blob").to_string();
    let ballot = |counter: u64| ballot_text(counter);
    let copy = |accepted: serde_json::Value, value: &[u8]| {
        let header = json!({
            "format": 1, "key": "/v1/control", "epoch": 2, "promised": ballot(9), "accepted": accepted,
            "high_water": {"store-1": ballot(9), "store-2": ballot(8)},
        });
        [header.to_string().as_bytes(), b"\n", value].concat()
    };
    let inline = json!({"ballot": ballot(8), "revision": 3, "version": "v3", "parent": "v2", "bytes": 5});
    let large = json!({"ballot": ballot(8), "revision": 3, "version": "v3", "bytes": 500_000, "blob": hash});
    vec![copy(inline, b"hello"), copy(large, b""), copy(serde_json::Value::Null, b"")]
}

fn ballot_text(counter: u64) -> String {
    use hansa_ledger::register::{Ballot, ProposerId};
    Ballot { counter, proposer: ProposerId { incarnation: 77, name: "aws-use1".into() } }.to_string()
}

pub fn store_set(bytes: &[u8]) -> Result<(), String> {
    let read = |bytes: &[u8]| StoreSet::decode(bytes).map_err(|error| error.to_string());
    let set = same_again(bytes, read, StoreSet::encode)?;
    let _ = (set.is_quorum(|_| true), set.counting().count(), set.all().len());
    Ok(())
}

pub fn store_sets() -> Vec<Vec<u8>> {
    let stores: BTreeMap<StoreId, String> =
        ["s1", "s2", "s3"].iter().map(|name| (StoreId::new(*name), format!("memory:{name}"))).collect();
    let first = StoreSet::first(stores);
    let (old, new) = (StoreId::new("s1"), StoreId::new("s4"));
    let replacing = first.replacing(&old, &new, "memory:s4").barring(&old, "it forgot");
    vec![first.encode(), replacing.encode()]
}
