//! The pages under docs/crds are what the types say.

use std::fs;
use std::path::Path;

#[test]
fn the_reference_pages_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/crds");
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    for (name, text) in hansa_api::docs::pages() {
        let path = folder.join(name);
        if update {
            fs::write(&path, &text).expect("the page is written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/crds/{name} is not what the types say: run UPDATE_DOCS=1 cargo test -p hansa-api --test docs"
        );
    }
}
