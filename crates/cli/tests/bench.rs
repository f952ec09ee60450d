//! The benches run on real parts and answer, shrunk to almost nothing. How fast anything was is not for a
//! test to judge; that a restart wrote nothing is.

use serde_json::Value;
use std::process::Command;

#[test]
fn every_bench_answers_with_its_figures_and_a_restart_writes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_hansa"))
        .args(["bench", "--scale", "0.002", "-o", "json"])
        .env("TMPDIR", folder.path())
        .output()
        .expect("the benches run");
    let told = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    let row = |name: &str| {
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("there is no row {name}: {told}"))
    };
    for name in [
        "edit (median)",
        "edit (p99)",
        "propagate-outputs",
        "propagate-closed",
        "ballot-calls-3",
        "ballot-calls-10: completion",
        "ballot-calls-50: until all know",
        "merge (100 operators)",
        "decide (100 operators)",
        "decide (median)",
        "decide (p99)",
        "load (etcd)",
        "load (S3)",
        "takeover",
        "takeover: decided",
        "idle: requests",
        "idle (S3, 10): requests",
    ] {
        let row = row(name);
        let is_figure = |field: &str| row[field].as_f64().is_some_and(|figure| figure > 0.0);
        assert!(is_figure("value") && is_figure("floor") && is_figure("ratio"), "{row}");
        assert!(row["unit"].is_string() && row["how"].is_string(), "{row}");
    }
    for name in ["restart: requests", "restart: CPU", "footprint: topo bytes", "footprint: topo writes"] {
        assert!(row(name)["value"].as_f64().is_some_and(f64::is_finite), "{told}");
    }
    assert_eq!(row("restart: writes")["value"], 0.0, "{told}");
    for name in ["idle: large objects", "idle (S3, 10): large objects"] {
        assert_eq!(row(name)["value"], 0.0, "heartbeats stay out of the large objects: {told}");
    }
    let beats = row("idle: requests");
    assert!(
        beats["ratio"].as_f64().is_some_and(|ratio| ratio <= 2.5),
        "heartbeats of others are read together: {beats}"
    );
    // These are counted, not timed.
    for (name, most) in [
        ("ballot-calls-3", 5.0),
        ("ballot-calls-10", 23.0),
        ("ballot-calls-50", 130.0),
        ("load (etcd): requests", 300.0),
        ("load (S3): requests", 300.0),
        ("idle: request rate", 1.0),
        ("idle (S3, 10): request rate", 1.0),
    ] {
        assert!(row(name)["value"].as_f64().is_some_and(|figure| figure > 0.0 && figure <= most), "{}", row(name));
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder can be read").collect();
    assert!(left.is_empty(), "{left:?}");
}
