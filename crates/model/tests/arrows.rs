//! Which room may depend on which, and what a pure room may not touch.
//!
//! The direction of the arrows is the design: see ARCHITECTURE.md. A new arrow is added here on
//! purpose, or not at all.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms without I/O, clock or randomness.
const PURE: [&str; 6] =
    ["hansa-model", "hansa-ledger", "hansa-ballot", "hansa-render", "hansa-place", "hansa-operator"];

/// What each room may use in the code that ships.
const ARROWS: [(&str, &[&str]); 15] = [
    ("hansa-model", &[]),
    ("hansa-ledger", &["model"]),
    ("hansa-ballot", &["model", "ledger"]),
    ("hansa-render", &["model"]),
    ("hansa-place", &["model"]),
    ("hansa-operator", &["model", "ledger", "ballot", "render", "place"]),
    ("hansa-topo", &["model", "ledger", "ballot"]),
    ("hansa-api", &["model"]),
    ("hansa-runner", &["model", "ledger", "ballot", "operator", "topo", "api"]),
    ("hansa-kubesim", &[]),
    ("hansa-controlplane", &[]),
    ("hansa-sim", &["model", "ledger", "ballot", "render", "place", "operator", "api", "kubesim"]),
    ("hansa-e2e", &["model", "ledger", "ballot", "render", "topo", "api", "kubesim", "controlplane"]),
    ("hansa-fuzz", &["model", "ledger", "ballot", "operator", "topo", "kubesim"]),
    (
        "hansa",
        &[
            "model",
            "ledger",
            "ballot",
            "render",
            "place",
            "operator",
            "topo",
            "api",
            "runner",
            "kubesim",
            "controlplane",
        ],
    ),
];

const BANNED_CRATES: [&str; 8] = ["tokio", "async-trait", "futures", "getrandom", "rand", "hyper", "kube", "rustix"];

const BANNED_WORDS: [&str; 8] =
    ["Instant::", "SystemTime", "std::fs", "std::net", "std::process", "std::thread", "HashMap", "async fn"];

fn packages() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/model lies in the workspace");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("a workspace has packages").clone()
}

/// The names of the packages that the shipped code of one uses.
fn shipped(package: &Value) -> impl Iterator<Item = &str> {
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|dependency| dependency["kind"] != "dev").filter_map(|dependency| dependency["name"].as_str())
}

#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for package in packages() {
        let room = package["name"].as_str().expect("a package has a name");
        match ARROWS.iter().find(|(name, _)| *name == room) {
            None => wrong.push(format!("{room} is a new room: say in this test what it may use")),
            Some((_, allowed)) => {
                let used = shipped(&package).filter_map(|name| name.strip_prefix("hansa-"));
                wrong.extend(
                    used.filter(|used| !allowed.contains(used)).map(|used| format!("{room} may not use {used}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_have_no_runtime_clock_randomness_or_unordered_maps() {
    let mut wrong = Vec::new();
    for package in packages() {
        let room = package["name"].as_str().unwrap_or_default();
        if !PURE.contains(&room) {
            continue;
        }
        wrong.extend(
            shipped(&package)
                .filter(|name| BANNED_CRATES.contains(name))
                .map(|name| format!("{room} may not use {name}")),
        );
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        let mut files = vec![manifest.with_file_name("src")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).expect("a source folder can be read");
                files.extend(entries.map(|entry| entry.expect("a source file").path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let found = BANNED_WORDS.iter().filter(|word| code.contains(**word));
                wrong.extend(found.map(|word| format!("{}:{}: {word} in a pure room", path.display(), number + 1)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
