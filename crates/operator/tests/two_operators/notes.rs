//! What operators say in their logs.

use super::world::{World, federated};
use hansa_ledger::Envelope;
use hansa_ledger::page::Page;
use serde_json::json;

#[test]
fn a_note_about_an_object_names_the_term_of_its_page() {
    let mut world = World::new();
    world.found(&["configmaps"]);
    world.failing = Some("/api/v1/namespaces/shop/configmaps/conf");
    let spec = json!({"template": {"data": {"greeting": "hello"}}, "placement": {"members": ["b"]}});
    let path = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps/conf";
    world.put(0, path, federated("ConfigMap", "conf", spec));
    world.run_until("it is told of", |world| world.notes.iter().any(|note| note.key.is_some()));
    let pages = world.topo.iter().filter(|(key, _)| key.starts_with("/v1/pages/"));
    let pages = pages.map(|(_, (_, value))| Page::from_slice(&Envelope::open(value).unwrap().1).unwrap());
    let pages: Vec<Page> = pages.collect();
    for note in &world.notes {
        let page = note.key.as_ref().map(|key| pages.iter().find(|page| page.records.contains_key(key)).unwrap());
        assert_eq!(note.term, page.map(|page| page.header.term), "{note:?}");
    }
}
