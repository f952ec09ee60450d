//! What differs between two transcripts, and which differences are known.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::case::Case;
use crate::normalise::normalise;
use crate::run::{Entry, Transcript};

/// Values in a report are cut to this many characters.
const SHOWN: usize = 500;

/// One place where kubesim's answer is not the real one, or where a case is wrong about the real one.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The case's name.
    pub case: String,
    /// What the case is about.
    pub about: String,
    /// The entry's place in the transcript, from 1.
    pub step: usize,
    /// What the step did.
    pub action: String,
    /// JSON pointer into the step's entry.
    pub path: String,
    /// What the real server has there.
    pub real: Option<Value>,
    /// What kubesim has there.
    pub kubesim: Option<Value>,
}

/// Compares the two sides of a case.
pub fn compare(case: &Case, real: &Transcript, kubesim: &Transcript) -> Vec<Difference> {
    let mut found = Vec::new();
    if real.fault.is_some() || kubesim.fault.is_some() {
        let stopped = if real.fault.is_some() { real } else { kubesim };
        found.push(Difference {
            case: case.name.clone(),
            about: case.about.clone(),
            step: stopped.entries.len(),
            action: stopped.entries.last().map_or("before its first step", |entry| &entry.action).to_owned(),
            path: "/fault".to_owned(),
            real: real.fault.clone().map(Value::String),
            kubesim: kubesim.fault.clone().map(Value::String),
        });
    }
    let answers = |transcript: &Transcript| {
        normalise(&transcript.entries.iter().map(|entry| entry.answer.clone()).collect::<Vec<_>>())
    };
    let sides = answers(real).into_iter().zip(answers(kubesim));
    for (number, (entry, (real, kubesim))) in real.entries.iter().zip(sides).enumerate() {
        let mut places = Vec::new();
        if let Some(unexpected) = &entry.unexpected {
            places.push(("/unexpected".to_owned(), Some(Value::String(unexpected.clone())), None));
        }
        if real.get("status") != kubesim.get("status") {
            // Everything else follows from this one.
            places.push(("/status".to_owned(), Some(outcome(&real)), Some(outcome(&kubesim))));
        } else {
            walk("", Some(&real), Some(&kubesim), &mut places);
        }
        found.extend(places.into_iter().filter(|(path, _, _)| compared(entry, path)).map(|(path, real, kubesim)| {
            Difference {
                case: case.name.clone(),
                about: case.about.clone(),
                step: number + 1,
                action: entry.action.clone(),
                path,
                real,
                kubesim,
            }
        }));
    }
    found
}

/// Whether a step compares this place.
fn compared(entry: &Entry, path: &str) -> bool {
    let listed = |globs: &[String]| globs.iter().any(|glob| matches(glob, path));
    matches!(path, "/status" | "/unexpected")
        || (!listed(&entry.ignore) && (entry.only.is_empty() || listed(&entry.only)))
}

/// Status and message of an answer.
fn outcome(answer: &Value) -> Value {
    let message = answer.pointer("/body/message").or_else(|| answer.get("body").filter(|body| body.is_string()));
    json!({"status": answer.get("status"), "message": message})
}

/// One place that differs, with both values.
type Place = (String, Option<Value>, Option<Value>);

/// Collects the innermost places that differ.
fn walk(path: &str, real: Option<&Value>, kubesim: Option<&Value>, out: &mut Vec<Place>) {
    match (real, kubesim) {
        (Some(Value::Object(real)), Some(Value::Object(kubesim))) => {
            let keys: BTreeSet<&String> = real.keys().chain(kubesim.keys()).collect();
            for key in keys {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                walk(&format!("{path}/{escaped}"), real.get(key), kubesim.get(key), out);
            }
        }
        (Some(Value::Array(real)), Some(Value::Array(kubesim))) => {
            for at in 0..real.len().max(kubesim.len()) {
                walk(&format!("{path}/{at}"), real.get(at), kubesim.get(at), out);
            }
        }
        (real, kubesim) if real == kubesim => {}
        (real, kubesim) => out.push((path.to_owned(), real.cloned(), kubesim.cloned())),
    }
}

/// Whether a glob over JSON pointers (`*` for one part, `**` for any number) fits a path.
pub fn matches(glob: &str, path: &str) -> bool {
    fn parts(glob: &[&str], path: &[&str]) -> bool {
        match (glob.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| parts(rest, &path[skipped..])),
            (Some((&first, rest)), Some((&part, tail))) => (first == "*" || first == part) && parts(rest, tail),
            _ => false,
        }
    }
    parts(&glob.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
}

/// Whether a value holds a pattern: maps by the keys of the pattern, lists if each element of the pattern is held by
/// some element (the empty list only by the empty list), everything else by equality.
pub fn holds(pattern: &Value, value: &Value) -> bool {
    match (pattern, value) {
        (Value::Object(pattern), Value::Object(value)) => {
            pattern.iter().all(|(key, pattern)| holds(pattern, value.get(key).unwrap_or(&Value::Null)))
        }
        (Value::Array(pattern), Value::Array(items)) if pattern.is_empty() => items.is_empty(),
        (Value::Array(pattern), Value::Array(items)) => {
            pattern.iter().all(|pattern| items.iter().any(|item| holds(pattern, item)))
        }
        (pattern, value) => pattern == value,
    }
}

/// The differences that stay.
#[derive(Debug)]
pub struct Known(Vec<KnownDifference>);

/// One of them; `case` and `path` are globs, and every difference that both fit is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownDifference {
    cases: Vec<String>,
    paths: Vec<String>,
    reason: String,
}

impl Known {
    /// No difference is known.
    pub fn none() -> Known {
        Known(Vec::new())
    }

    /// Reads the file.
    pub fn load(file: &Path) -> Result<Known, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let entries: Vec<KnownDifference> =
            serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        match entries.iter().find(|entry| entry.reason.trim().len() < 20) {
            Some(entry) => Err(format!("{}: {:?} needs a reason", file.display(), entry.cases)),
            None => Ok(Known(entries)),
        }
    }

    /// The report: differences that are not known, and (after a run of all cases) entries that no longer differ. Empty
    /// when all is well.
    pub fn judge(&self, found: Vec<Difference>, all: bool) -> String {
        let mut used = BTreeSet::new();
        let mut unknown = Vec::new();
        for difference in found {
            // The step's number leads: an entry may mean one step (`3/body/…`) or all (`*/body/…`).
            let path = format!("{}{}", difference.step, difference.path);
            let mut meant = false;
            for (number, entry) in self.0.iter().enumerate() {
                for case in entry.cases.iter().filter(|case| fits_name(case, &difference.case)) {
                    for glob in entry.paths.iter().filter(|glob| matches(glob, &path)) {
                        used.insert((number, "case", case));
                        used.insert((number, "path", glob));
                        meant = true;
                    }
                }
            }
            if !meant {
                unknown.push(difference);
            }
        }
        let mut report = String::new();
        describe(&unknown, &mut report);
        if all {
            for (number, entry) in self.0.iter().enumerate() {
                let named =
                    entry.cases.iter().map(|case| ("case", case)).chain(entry.paths.iter().map(|path| ("path", path)));
                for (what, name) in named.filter(|(what, name)| !used.contains(&(number, *what, *name))) {
                    let _ = writeln!(report, "differences.yaml: {what} {name:?} no longer differs: take it out");
                }
            }
        }
        report
    }
}

/// `*` at the end of a case's name in the list stands for any rest.
fn fits_name(glob: &str, name: &str) -> bool {
    match glob.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => glob == name,
    }
}

/// Writes differences for people, grouped by case and step.
fn describe(differences: &[Difference], out: &mut String) {
    if differences.is_empty() {
        return;
    }
    let cases: BTreeSet<&str> = differences.iter().map(|difference| difference.case.as_str()).collect();
    let _ = writeln!(out, "{} differences in {} cases\n", differences.len(), cases.len());
    let (mut case, mut step) = ("", 0);
    for difference in differences {
        if difference.case != case {
            (case, step) = (&difference.case, 0);
            let _ = writeln!(out, "{case}: {}", difference.about);
        }
        if difference.step != step {
            step = difference.step;
            let _ = writeln!(out, "  step {step}: {}", difference.action);
        }
        let _ = writeln!(out, "    {}", difference.path);
        let _ = writeln!(out, "      real:    {}", shown(difference.real.as_ref()));
        let _ = writeln!(out, "      kubesim: {}", shown(difference.kubesim.as_ref()));
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(absent)".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_parts_of_pointers() {
        assert!(matches("/body/*/name", "/body/metadata/name"));
        assert!(matches("/body/**", "/body"));
        assert!(matches("**/managedFields/**", "/body/items/0/metadata/managedFields/1/time"));
        assert!(!matches("/body/*", "/body/metadata/name"));
        assert!(!matches("/body/spec", "/body/spec/replicas"));
    }

    #[test]
    fn a_pattern_is_held_by_what_has_more() {
        let value = json!({"status": {"conditions": [{"type": "A", "status": "True"}, {"type": "B"}]}, "items": [1]});
        assert!(holds(&json!({"status": {"conditions": [{"type": "B"}]}}), &value));
        assert!(!holds(&json!({"status": {"conditions": [{"type": "B", "status": "True"}]}}), &value));
        assert!(!holds(&json!({"items": []}), &value));
        assert!(holds(&json!({"gone": null}), &value));
    }

    fn difference(step: usize, path: &str) -> Difference {
        let (real, kubesim) = (Some(json!(1)), Some(json!(2)));
        Difference {
            case: "one".into(),
            about: "it".into(),
            step,
            action: "GET".into(),
            path: path.into(),
            real,
            kubesim,
        }
    }

    #[test]
    fn an_unknown_difference_is_reported_and_a_known_one_is_not() {
        let entry = |path: &str| KnownDifference {
            cases: vec!["one".into()],
            paths: vec![path.into()],
            reason: "a reason that says why".into(),
        };
        let known = Known(vec![entry("*/body/spec/**")]);
        assert_eq!(known.judge(vec![difference(1, "/body/spec/replicas")], true), "");
        assert!(known.judge(vec![difference(1, "/body/status")], false).contains("one: it\n  step 1: GET\n"));
        let stale = Known(vec![entry("*/body/spec/**"), entry("2/body/**")]);
        let report = stale.judge(vec![difference(1, "/body/spec/replicas")], true);
        assert!(report.contains("\"2/body/**\" no longer differs"), "{report}");
        assert_eq!(stale.judge(vec![difference(1, "/body/spec/replicas")], false), "");
    }

    #[test]
    fn the_innermost_places_are_found() {
        let mut places = Vec::new();
        walk(
            "",
            Some(&json!({"a": {"b": [1, 2]}, "c": 1})),
            Some(&json!({"a": {"b": [1, 3, 4]}, "d": 1})),
            &mut places,
        );
        let paths: Vec<&str> = places.iter().map(|place| place.0.as_str()).collect();
        assert_eq!(paths, ["/a/b/1", "/a/b/2", "/c", "/d"]);
    }
}
