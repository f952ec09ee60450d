//! In plain words: whether a topology server may carry a league, and how fast a lost member can be
//! noticed on it. A function of what was found and measured.

use super::figures::{Figures, shown};
use hansa_ballot::silence::{HEARTBEAT_MS, lost_after_ms, suspect_after_ms};
use hansa_topo::{Finding, Severity};
use std::time::Duration;

/// The judgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether a league may stand on it; `None`: nothing speaks against it, and it was not measured.
    pub may: Option<bool>,
    /// Why, and what to expect, a sentence or two each.
    pub reasons: Vec<String>,
    /// How fast a lost member is noticed, where it was measured.
    pub pace: Option<Pace>,
}

/// How fast a lost member is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// How often members should say that they live.
    pub heartbeat: Duration,
    /// How long it takes until the others suspect it, at that pace.
    pub suspected: Duration,
    /// How long it takes until they vote that it is lost.
    pub lost: Duration,
}

/// A write of a heartbeat that takes a greater part of the time between two of them leaves no room
/// for a bad day.
const ROOM: u32 = 4;
/// Slower than that, and every edit and vote is a matter of minutes.
const SLOWEST_SWAPS: f64 = 0.05;

/// What was looked at.
pub struct Evidence<'a> {
    /// What the server says of itself.
    pub findings: &'a [Finding],
    /// The promises of the contract that it does not keep.
    pub broken: &'a [&'a str],
    /// What was measured, or why it could not be; `None`: nothing was to be.
    pub figures: Option<Result<&'a Figures, &'a str>>,
    /// How late an idle member may be told of a change, beside what was measured.
    pub idle_lag: Duration,
}

/// Judges.
pub fn verdict(evidence: &Evidence<'_>) -> Verdict {
    let mut reasons = Vec::new();
    let problems = evidence.findings.iter().filter(|finding| finding.severity == Severity::Problem);
    let problems: Vec<_> = problems.map(|finding| finding.subject).collect();
    if !problems.is_empty() {
        reasons.push(format!("It must not carry a league before this is mended: {}.", problems.join(", ")));
    }
    if !evidence.broken.is_empty() {
        reasons.push(format!(
            "It must not carry a league: it does not keep what a league rests on ({}).",
            evidence.broken.join("; ")
        ));
    }
    let is_bad = !reasons.is_empty();
    let figures = match evidence.figures {
        Some(Ok(figures)) => figures,
        Some(Err(why)) => {
            reasons.push(format!("It must not carry a league: measuring it failed ({why})."));
            return Verdict { may: Some(false), reasons, pace: None };
        }
        None => {
            let so_far = match is_bad {
                true => "How fast a lost member is noticed on it was not measured.",
                false => {
                    "Nothing that was looked at speaks against it. Whether it may carry a league, and how fast a \
                          lost member is noticed on it, shows when it is measured: leave out --look."
                }
            };
            reasons.push(so_far.to_owned());
            return Verdict { may: is_bad.then_some(false), reasons, pace: None };
        }
    };
    let alone = figures.races.iter().find(|race| race.writers == 1);
    let race = figures.races.iter().max_by_key(|race| race.writers);
    let too_slow = race.is_some_and(|race| race.rate() < SLOWEST_SWAPS);
    if let (true, Some(race)) = (too_slow, race) {
        reasons.push(format!(
            "It must not carry a league: {} members that write one key at once get {:.2} writes a second.",
            race.writers,
            race.rate()
        ));
    }
    let may = !is_bad && !too_slow;
    if may {
        reasons.push("It may carry a league.".to_owned());
    }
    if let (Some(alone), Some(race), false) = (alone, race, too_slow) {
        reasons.push(format!(
            "One member alone writes a key {} times a second, {} at once {} times: when all {} vote, the last vote \
             stands after some {}.",
            rate(alone.rate()),
            race.writers,
            rate(race.rate()),
            race.writers,
            shown(Duration::from_secs_f64(race.writers as f64 / race.rate()))
        ));
    }
    let throttled: u64 = figures.races.iter().map(|race| race.throttled).sum();
    if throttled > 0 {
        reasons.push(format!(
            "It asked {throttled} times to be called less often: these figures are its limit, not its speed."
        ));
    }
    let longest = |latencies: &super::figures::Latencies| latencies.quantile(0.99).unwrap_or_default();
    let usual = Duration::from_millis(HEARTBEAT_MS);
    let heartbeat = usual.max(Duration::from_secs((longest(&figures.swap) * ROOM).as_secs_f64().ceil() as u64));
    // The last heartbeat was told that late, and the silence is counted from there.
    let latest = longest(&figures.told).max(evidence.idle_lag);
    let late = latest + longest(&figures.get);
    let after = |silence: fn(u64) -> u64| Duration::from_secs(silence(heartbeat.as_secs() * 1_000) / 1_000);
    let pace = Pace { heartbeat, suspected: after(suspect_after_ms) + late, lost: after(lost_after_ms) + late };
    let mut sentence = format!(
        "A write is told to the other members after {}, in quiet times after up to {}. With heartbeats every {} a lost \
         member is suspected after some {}, and its pages go to others; after some {} the others vote that it is lost",
        shown(figures.told.quantile(0.5).unwrap_or_default()),
        shown(latest),
        whole(heartbeat),
        whole(pace.suspected),
        whole(pace.lost)
    );
    sentence.push_str(match heartbeat > usual {
        true => "; writes take too long for the usual ones: start operators with that --heartbeat.",
        false => ".",
    });
    reasons.push(sentence);
    Verdict { may: Some(may), reasons, pace: Some(pace) }
}

fn rate(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn whole(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64().ceil())
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Latencies, Race};
    use super::*;
    use expect_test::{Expect, expect};

    fn figures(call_ms: u64, told_ms: u64, alone: u64, race: u64, throttled: u64) -> Figures {
        let calls = |ms| Latencies::new(vec![Duration::from_millis(ms); 10]);
        let took = Duration::from_secs(10);
        let of = |writers, committed, throttled| Race { writers, committed, mismatches: 0, throttled, took };
        Figures {
            get: calls(call_ms / 2),
            create: calls(call_ms),
            swap: calls(call_ms),
            told: calls(told_ms),
            races: vec![of(1, alone, 0), of(8, race, throttled)],
        }
    }

    fn check(findings: &[Finding], figures: &Figures, expected: Expect) {
        judge(findings, &[], Some(Ok(figures)), expected);
    }

    fn judge(findings: &[Finding], broken: &[&str], figures: Option<Result<&Figures, &str>>, expected: Expect) {
        let verdict = verdict(&Evidence { findings, broken, figures, idle_lag: Duration::ZERO });
        let may = match verdict.may {
            Some(true) => "may",
            Some(false) => "must not",
            None => "unknown",
        };
        let mut text = format!("{may}\n");
        verdict.reasons.iter().for_each(|reason| text.push_str(&format!("{reason}\n")));
        expected.assert_eq(&text);
    }

    #[test]
    fn verdicts() {
        check(
            &[],
            &figures(2, 3, 4000, 3000, 0),
            expect![[r#"
                may
                It may carry a league.
                One member alone writes a key 400 times a second, 8 at once 300 times: when all 8 vote, the last vote stands after some 27 ms.
                A write is told to the other members after 3.0 ms, in quiet times after up to 3.0 ms. With heartbeats every 5 s a lost member is suspected after some 18 s, and its pages go to others; after some 205 s the others vote that it is lost.
            "#]],
        );
        check(
            &[],
            &figures(80, 2100, 120, 60, 0),
            expect![[r#"
                may
                It may carry a league.
                One member alone writes a key 12 times a second, 8 at once 6.0 times: when all 8 vote, the last vote stands after some 1.3 s.
                A write is told to the other members after 2.1 s, in quiet times after up to 2.1 s. With heartbeats every 5 s a lost member is suspected after some 20 s, and its pages go to others; after some 207 s the others vote that it is lost.
            "#]],
        );
        check(
            &[],
            &figures(1500, 4000, 10, 8, 40),
            expect![[r#"
                may
                It may carry a league.
                One member alone writes a key 1.0 times a second, 8 at once 0.8 times: when all 8 vote, the last vote stands after some 10 s.
                It asked 40 times to be called less often: these figures are its limit, not its speed.
                A write is told to the other members after 4.0 s, in quiet times after up to 4.0 s. With heartbeats every 6 s a lost member is suspected after some 25 s, and its pages go to others; after some 245 s the others vote that it is lost; writes take too long for the usual ones: start operators with that --heartbeat.
            "#]],
        );
        let problem = |subject| Finding { severity: Severity::Problem, subject, message: "bad".into() };
        check(
            &[problem("conditions")],
            &figures(2, 3, 4000, 3000, 0),
            expect![[r#"
                must not
                It must not carry a league before this is mended: conditions.
                One member alone writes a key 400 times a second, 8 at once 300 times: when all 8 vote, the last vote stands after some 27 ms.
                A write is told to the other members after 3.0 ms, in quiet times after up to 3.0 ms. With heartbeats every 5 s a lost member is suspected after some 18 s, and its pages go to others; after some 205 s the others vote that it is lost.
            "#]],
        );
        check(
            &[],
            &figures(2000, 4000, 10, 0, 40),
            expect![[r#"
                must not
                It must not carry a league: 8 members that write one key at once get 0.00 writes a second.
                It asked 40 times to be called less often: these figures are its limit, not its speed.
                A write is told to the other members after 4.0 s, in quiet times after up to 4.0 s. With heartbeats every 8 s a lost member is suspected after some 31 s, and its pages go to others; after some 317 s the others vote that it is lost; writes take too long for the usual ones: start operators with that --heartbeat.
            "#]],
        );
    }

    #[test]
    fn there_is_a_word_whatever_could_not_be_looked_at() {
        let problem = |subject| Finding { severity: Severity::Problem, subject, message: "bad".into() };
        judge(
            &[],
            &[],
            None,
            expect![[r#"
            unknown
            Nothing that was looked at speaks against it. Whether it may carry a league, and how fast a lost member is noticed on it, shows when it is measured: leave out --look.
        "#]],
        );
        judge(
            &[problem("conditions")],
            &[],
            None,
            expect![[r#"
            must not
            It must not carry a league before this is mended: conditions.
            How fast a lost member is noticed on it was not measured.
        "#]],
        );
        let broken = ["a write on an old version is refused", "changes tell every key"];
        judge(
            &[],
            &broken,
            Some(Ok(&figures(2, 3, 4000, 3000, 0))),
            expect![[r#"
            must not
            It must not carry a league: it does not keep what a league rests on (a write on an old version is refused; changes tell every key).
            One member alone writes a key 400 times a second, 8 at once 300 times: when all 8 vote, the last vote stands after some 27 ms.
            A write is told to the other members after 3.0 ms, in quiet times after up to 3.0 ms. With heartbeats every 5 s a lost member is suspected after some 18 s, and its pages go to others; after some 205 s the others vote that it is lost.
        "#]],
        );
        judge(
            &[],
            &[],
            Some(Err("connection reset")),
            expect![[r#"
            must not
            It must not carry a league: measuring it failed (connection reset).
        "#]],
        );
    }
}
