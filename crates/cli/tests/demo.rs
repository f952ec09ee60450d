//! The demo, as a pipe sees it: it checks its own claims against the API servers' records, and ends
//! with 0 only if every one of them held.

use std::process::Command;

#[test]
fn every_claim_of_the_demo_holds_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_hansa"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .output()
        .expect("the demo runs");
    let story = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{story}\n{errors}");
    for step in ["a. ", "b. ", "c. ", "d. ", "e. ", "f. ", "g. "] {
        assert!(story.lines().any(|line| line.contains(&format!(" s {step}"))), "step {step}is told:\n{story}");
    }
    assert!(!story.contains('✗') && !story.contains('\x1b'), "{story}");
    assert!(!story.contains("correct-horse-battery-staple"), "no secret is printed");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder can be read").collect();
    assert!(left.is_empty(), "{left:?}");
}
