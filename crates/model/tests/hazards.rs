//! `docs/hazards.md` names the tests that show how each hazard is met: they exist.

use std::path::Path;

/// Whether there is what a name of the page stands for.
fn exists(root: &Path, name: &str) -> bool {
    let holds =
        |file: &str, text: &str| std::fs::read_to_string(root.join(file)).is_ok_and(|found| found.contains(text));
    match name.split_once(": ") {
        Some(("e2e", name)) => holds("crates/e2e/src/scenarios/mod.rs", &format!("scenario!(\"{name}\",")),
        Some(("processes", name)) => ["trials.rs", "mod.rs"]
            .iter()
            .any(|file| holds(&format!("crates/e2e/src/processes/{file}"), &format!("\"{name}\""))),
        Some(("sim", name)) => holds("crates/sim/src/sabotage.rs", &format!("\"{name}\"")),
        Some(("storm", name)) => holds("crates/sim/src/reached.rs", &format!("\"{name}\"")),
        Some(("battery", name)) => root.join(format!("crates/kubesim/tests/battery/cases/{name}.yaml")).is_file(),
        Some(("league", name)) => root.join(format!("crates/cli/tests/league/{name}.golden")).is_file(),
        Some(_) => false,
        None => name.split_once("::").is_some_and(|(file, function)| holds(file, &format!("fn {function}("))),
    }
}

#[test]
fn every_hazard_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/model lies in the workspace");
    let page = std::fs::read_to_string(root.join("docs/hazards.md")).expect("the page");
    let rows: Vec<&str> =
        page.lines().skip_while(|line| *line != "## Agreement").filter(|line| line.starts_with("| ")).collect();
    let mut wrong = Vec::new();
    for row in rows.iter().filter(|row| !row.starts_with("| Hazard |")) {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            wrong.push(format!("{row}: no test is named"));
        }
        wrong.extend(
            names.iter().filter(|name| !exists(root, name)).map(|name| format!("{name}: there is no such test")),
        );
    }
    assert!(rows.len() > 20 && wrong.is_empty(), "{}", wrong.join("\n"));
}
