use super::asking::{MAX_FINDINGS_BYTES, within_a_secret};
use super::summary;
use super::trial::{Next, Setting, Trial};
use crate::classify::{Refusal, Rival};
use hansa_ledger::plan::{Difference, Finding, Findings, Verdict, Word};
use hansa_model::{Adoption, Compact};
use serde_json::{Value, json};

const LABEL: &str = "0123456789abcdef";

fn output(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "labels": {"hansa.dev/league": LABEL}}, "data": {"a": value}})
}

fn foreign(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "uid": "u", "resourceVersion": "7"}, "data": {"a": value}})
}

fn trial(adoption: Adoption, standing: Option<&str>) -> Trial {
    let setting = Setting {
        path: "/api/v1/namespaces/shop/configmaps/conf".to_owned(),
        kind: "ConfigMap".to_owned(),
        standing: standing.map(str::to_owned),
        label: LABEL.to_owned(),
        adoption,
        outlined: false,
        makes_namespace: true,
    };
    Trial::new(setting, output("b"), Word::plain(Verdict::Accepted, ""))
}

/// Plays answers; tells what was sent, and what was said in the end.
fn play(mut trial: Trial, answers: Vec<Result<Value, Refusal>>) -> (Vec<String>, Word) {
    let mut sent = Vec::new();
    for answer in answers {
        let request = trial.request();
        let (_, query) = request.path.split_once('?').unwrap_or((&request.path, "-"));
        assert!(request.body.is_empty() || query.contains("dryRun=All") && query.contains("fieldValidation=Strict"));
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let parts: Vec<String> = ["uid", "resourceVersion"]
            .iter()
            .filter(|field| !body["metadata"][**field].is_null())
            .map(|field| format!(" {field}"))
            .collect();
        let force = if query.contains("force=true") { " force" } else { "" };
        sent.push(format!("{:?}{force}{}", request.method, parts.concat()));
        match trial.answered(answer) {
            Next::Said(word) => return (sent, word),
            Next::Again(again) => trial = again,
        }
    }
    panic!("it goes on after {sent:?}");
}

fn stale() -> Result<Value, Refusal> {
    Err(Refusal::Stale("the object has been modified".to_owned()))
}

#[test]
fn what_is_made_is_made_in_one_request_that_cannot_overwrite() {
    let (sent, word) = play(trial(Adoption::IfNoDifference, None), vec![Ok(output("b"))]);
    assert_eq!(sent, ["Patch force resourceVersion"]);
    assert_eq!(word.verdict, Verdict::Accepted);
}

#[test]
fn what_stands_is_met_by_its_uid_and_rivals_are_named() {
    let rivals = vec![
        Rival { field: ".spec.replicas".to_owned(), manager: "\"hpa\" using apps/v1".to_owned() },
        Rival { field: ".data.a".to_owned(), manager: "\"kubectl-edit\" using v1".to_owned() },
    ];
    let (sent, word) = play(trial(Adoption::Never, Some("u")), vec![Err(Refusal::Rivals(rivals)), Ok(output("b"))]);
    assert_eq!(sent, ["Patch uid", "Patch force uid"]);
    assert_eq!(word.verdict, Verdict::Accepted);
    assert_eq!(
        word.notes,
        [".spec.replicas is left to \"hpa\" using apps/v1", ".data.a is taken back from \"kubectl-edit\" using v1"]
    );
}

#[test]
fn a_foreign_object_is_adopted_by_the_rule() {
    let (_, word) = play(trial(Adoption::Never, None), vec![stale(), Ok(foreign("b"))]);
    assert_eq!(word.verdict, Verdict::Conflicting);
    let adopts = |value: &str, tried: Value| {
        play(trial(Adoption::IfNoDifference, None), vec![stale(), Ok(foreign(value)), Ok(tried)])
    };
    let (sent, word) = adopts("b", output("b"));
    assert_eq!(sent, ["Patch force resourceVersion", "Get", "Patch force"]);
    assert_eq!((word.verdict, word.notes.len()), (Verdict::Accepted, 1));
    let (_, word) = adopts("c", output("b"));
    assert_eq!(word.verdict, Verdict::Conflicting);
    assert!(word.message.contains("would change data.a"), "{word:?}");
    let (_, word) = play(trial(Adoption::Always, None), vec![stale(), Ok(foreign("c")), Ok(output("b"))]);
    assert_eq!(word.verdict, Verdict::Accepted);
}

#[test]
fn of_a_secret_that_stands_there_only_whose_it_is_is_read() {
    let mut of_secret = trial(Adoption::IfNoDifference, None);
    of_secret.outlined = true;
    let Next::Again(looks) = of_secret.answered(stale()) else { panic!("it looks") };
    assert!(looks.request().metadata_only);
    let Next::Said(word) = looks.answered(Ok(foreign("b"))) else { panic!("it says") };
    assert_eq!(word.verdict, Verdict::Untried);
}

#[test]
fn refusals_are_told_and_what_may_pass_is_no_refusal() {
    let of = |refusal: Refusal| play(trial(Adoption::Never, None), vec![Err(refusal)]).1;
    let words = || "no".to_owned();
    for (refusal, verdict) in [
        (Refusal::Refused(words()), Verdict::Refused),
        (Refusal::Forbidden(words()), Verdict::Refused),
        (Refusal::NotYet(words()), Verdict::Untried),
        (Refusal::Transient(words()), Verdict::Untried),
    ] {
        let word = of(refusal);
        assert_eq!((word.verdict, word.message.as_str()), (verdict, "no"));
    }
    let word = of(Refusal::NamespaceMissing(words()));
    assert!(word.verdict == Verdict::Untried && word.message.contains("made with the first output"));
    let mut strict = trial(Adoption::Never, None);
    strict.makes_namespace = false;
    let (_, word) = play(strict, vec![Err(Refusal::NamespaceMissing(words()))]);
    assert_eq!(word.message, "no");
}

#[test]
fn what_changes_all_the_time_ends_and_nothing_of_a_body_is_in_its_debug() {
    let mut trial = trial(Adoption::Never, Some("u"));
    for _ in 0..100 {
        assert!(!format!("{trial:?}").contains("data"));
        let answer = if matches!(trial.request().method, crate::io::Method::Get) { Ok(output("b")) } else { stale() };
        match trial.answered(answer) {
            Next::Again(again) => trial = again,
            Next::Said(word) => return assert_eq!(word.verdict, Verdict::Untried),
        }
    }
    panic!("it does not end");
}

#[test]
fn findings_of_many_members_fit_into_a_secret() {
    let change = Difference {
        path: "p".repeat(300),
        before: Compact::of(&json!("b".repeat(400))),
        after: Compact::of(&json!("a".repeat(400))),
    };
    let word = Word { changes: vec![change; 10], ..Word::plain(Verdict::Refused, "no") };
    let findings: Findings =
        (0..200).map(|index| (format!("m{index}").parse().unwrap(), Finding::Said(word.clone()))).collect();
    let fits = within_a_secret(findings);
    assert!(serde_json::to_vec(&fits).unwrap().len() < MAX_FINDINGS_BYTES + 64 * 1024);
    let untold = fits.values().filter(|finding| matches!(finding, Finding::Said(word) if word.untold == 10)).count();
    assert!(untold > 0 && untold < 200);
    assert_eq!(summary(&fits), "200 of 200 members answered, 200 of them with a refusal");
}
