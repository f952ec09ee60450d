//! `hansa topo check`: what a server says of itself, whether it keeps every promise of the contract, how
//! fast it is, and what that means for a league, in plain words.

use super::figures::{Figures, shown};
use super::measure::measure;
use super::verdict::{Evidence, Pace, Verdict, verdict};
use super::{Outcome, plain};
use crate::print::{self, Output, Screen, Table, Tone};
use async_trait::async_trait;
use hansa_topo::conformance::{self, CaseReport, Subject};
use hansa_topo::{Finding, Options, Severity, Topo, TopoError, TopoUrl};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `hansa topo check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The topology server's URL, in place of --topo.
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Only look: try and measure nothing, and write next to nothing.
    #[arg(long)]
    look: bool,
    /// Measure, and leave out the promises of the contract.
    #[arg(long, conflicts_with = "look")]
    quick: bool,
    #[command(flatten)]
    output: Output,
}

/// As many members as race for one key.
const WRITERS: usize = 8;

/// Looks, measures and judges.
pub async fn run(url: &str, topo: Arc<dyn Topo>, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let parsed: TopoUrl = url.parse()?;
    let findings = topo.check().await.map_err(plain)?;
    let mut report = Report { findings, ..Report::default() };
    if !arguments.look && !arguments.quick {
        report.battery = Some(try_battery(&parsed).await);
    }
    let measured = if arguments.look { None } else { Some(measured(url, topo).await) };
    report.judge(measured, parsed.idle_lag());
    print::answer(arguments.output.format, &report.to_json(), |screen| report.text(screen))?;
    Ok(if report.verdict.as_ref().is_some_and(|verdict| verdict.may == Some(false)) {
        Outcome::Wrong
    } else {
        Outcome::Done
    })
}

/// Measures with as many handles as members race.
async fn measured(url: &str, topo: Arc<dyn Topo>) -> anyhow::Result<Figures> {
    let mut handles = vec![topo];
    while handles.len() < WRITERS {
        handles.push(hansa_topo::open(url, &Options::from_env()).await.map_err(plain)?);
    }
    let progress = |what: &str| print::note(Tone::Faint, &format!("{what}…"));
    measure(&handles, hansa_runner::clock::entropy(), progress).await
}

/// All that there is to tell.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
    battery: Option<Vec<CaseReport>>,
    figures: Option<Figures>,
    verdict: Option<Verdict>,
}

impl Report {
    /// Takes what was measured, and judges everything.
    fn judge(&mut self, measured: Option<anyhow::Result<Figures>>, idle_lag: Duration) {
        let (figures, failed) = match measured {
            Some(Ok(figures)) => (Some(figures), None),
            Some(Err(error)) => (None, Some(format!("{error:#}"))),
            None => (None, None),
        };
        let failed_case = |report: &&CaseReport| matches!(report.verdict, conformance::Verdict::Failed(_));
        let broken: Vec<&str> =
            self.battery.iter().flatten().filter(failed_case).map(|report| report.promise).collect();
        let evidence = Evidence {
            findings: &self.findings,
            broken: &broken,
            figures: figures.as_ref().map(Ok).or(failed.as_deref().map(Err)),
            idle_lag,
        };
        self.verdict = Some(verdict(&evidence));
        self.figures = figures;
    }

    fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({"severity": word(finding.severity).0, "subject": finding.subject, "message": finding.message})
        });
        let battery = self.battery.as_ref().map(|reports| {
            let case = |report: &CaseReport| {
                let (verdict, why) = match &report.verdict {
                    conformance::Verdict::Passed => ("passed", None),
                    conformance::Verdict::Failed(why) => ("failed", Some(why)),
                    conformance::Verdict::Skipped(why) => ("skipped", Some(why)),
                };
                json!({"name": report.name, "promise": report.promise, "verdict": verdict, "why": why})
            };
            reports.iter().map(case).collect::<Vec<_>>()
        });
        let verdict = self.verdict.as_ref().map(|verdict| {
            let seconds = |of: fn(&Pace) -> Duration| verdict.pace.as_ref().map(|pace| of(pace).as_secs_f64());
            json!({
                "mayCarryALeague": verdict.may, "reasons": verdict.reasons,
                "heartbeatSeconds": seconds(|pace| pace.heartbeat), "suspectedAfterSeconds": seconds(|pace| pace.suspected),
                "votedLostAfterSeconds": seconds(|pace| pace.lost),
            })
        });
        json!({
            "findings": findings.collect::<Vec<_>>(), "battery": battery,
            "figures": self.figures.as_ref().map(Figures::to_json), "verdict": verdict,
        })
    }

    fn text(&self, screen: &Screen) -> String {
        let mut parts = vec![findings_text(&self.findings, screen)];
        if let Some(reports) = &self.battery {
            parts.push(battery_text(reports, screen));
        }
        if let Some(figures) = &self.figures {
            parts.push(calls_text(figures, screen));
            parts.push(races_text(figures, screen));
        }
        if let Some(verdict) = &self.verdict {
            let columns = screen.width.map_or(100, usize::from);
            let lines = verdict.reasons.iter().flat_map(|reason| print::wrap(reason, columns));
            parts.push(lines.map(|line| line + "\n").collect());
        }
        parts.join("\n")
    }
}

fn word(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Good => ("good", Tone::Good),
        Severity::Warning => ("warning", Tone::Warning),
        Severity::Problem => ("problem", Tone::Bad),
    }
}

fn findings_text(findings: &[Finding], screen: &Screen) -> String {
    let mut table = Table::new(["", "SUBJECT", "FINDING"]);
    for finding in findings {
        let (severity, tone) = word(finding.severity);
        table.toned([
            (severity.to_owned(), tone),
            (finding.subject.to_owned(), Tone::Plain),
            (finding.message.clone(), Tone::Plain),
        ]);
    }
    table.render(screen)
}

fn battery_text(reports: &[CaseReport], screen: &Screen) -> String {
    let mut table = Table::new(["", "PROMISE", "WHY NOT"]);
    for report in reports {
        let (word, tone, why) = match &report.verdict {
            conformance::Verdict::Passed => ("passed", Tone::Good, ""),
            conformance::Verdict::Failed(why) => ("failed", Tone::Bad, why.as_str()),
            conformance::Verdict::Skipped(why) => ("skipped", Tone::Faint, why.as_str()),
        };
        table.toned([(word.to_owned(), tone), (report.promise.to_owned(), Tone::Plain), (why.to_owned(), Tone::Plain)]);
    }
    table.render(screen)
}

fn calls_text(figures: &Figures, screen: &Screen) -> String {
    let mut table = Table::new(["CALL", "P50", "P99", "CALLS"]);
    for (name, latencies) in figures.calls() {
        let at = |share| latencies.quantile(share).map_or(String::new(), shown);
        table.row([name.to_owned(), at(0.5), at(0.99), latencies.count().to_string()]);
    }
    table.render(screen)
}

fn races_text(figures: &Figures, screen: &Screen) -> String {
    let mut table = Table::new(["WRITERS OF ONE KEY", "SWAPS/S", "REFUSED FOR EACH", "THROTTLED"]);
    for race in &figures.races {
        let refused = race.mismatches as f64 / (race.committed as f64).max(1.0);
        table.row([
            race.writers.to_string(),
            format!("{:.1}", race.rate()),
            format!("{refused:.1}"),
            race.throttled.to_string(),
        ]);
    }
    table.render(screen)
}

/// Runs the battery beside the URL's own space.
async fn try_battery(url: &TopoUrl) -> Vec<CaseReport> {
    let spaces = Spaces { url: url.clone(), run: hansa_runner::clock::entropy() };
    let cases = conformance::cases();
    let mut reports = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        print::note(Tone::Faint, &format!("promise {} of {}: {}…", n + 1, cases.len(), case.promise));
        reports.push(conformance::run_case(case, &spaces).await);
    }
    reports
}

struct Spaces {
    url: TopoUrl,
    run: u64,
}

#[async_trait]
impl Subject for Spaces {
    async fn client(&self, space: &str) -> Result<Arc<dyn Topo>, TopoError> {
        hansa_topo::open_url(self.url.beside(&format!("check-{:016x}-{space}", self.run)), &Options::from_env()).await
    }

    async fn forget_changes(&self, _space: &str) -> Result<bool, TopoError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Latencies, Race};
    use super::*;
    use expect_test::expect;

    fn report() -> Report {
        let calls = |ms: u64| Latencies::new((1..=ms).map(Duration::from_millis).collect());
        let race = |writers, committed, mismatches| Race {
            writers,
            committed,
            mismatches,
            throttled: 0,
            took: Duration::from_secs(3),
        };
        let figures = Figures {
            get: calls(20),
            create: calls(10),
            swap: calls(40),
            told: calls(300),
            races: vec![race(1, 60, 0), race(8, 40, 100)],
        };
        let findings = vec![Finding { severity: Severity::Good, subject: "store", message: "it answers".into() }];
        let case = |name, verdict| CaseReport { name, promise: "a promise", verdict, took: Duration::ZERO };
        let battery = vec![
            case("a", conformance::Verdict::Passed),
            case("b", conformance::Verdict::Skipped("it cannot be tried from here".into())),
        ];
        let mut report = Report { findings, battery: Some(battery), ..Report::default() };
        report.judge(Some(Ok(figures)), Duration::from_secs(4));
        report
    }

    #[test]
    fn a_report_reads_well() {
        expect![[r#"
                   SUBJECT   FINDING
            good   store     it answers

                      PROMISE     WHY NOT
            passed    a promise
            skipped   a promise   it cannot be tried from here

            CALL               P50      P99      CALLS
            get                10 ms    20 ms    20
            create             5.0 ms   10 ms    10
            compare-and-swap   20 ms    40 ms    40
            told               150 ms   297 ms   300

            WRITERS OF ONE KEY   SWAPS/S   REFUSED FOR EACH   THROTTLED
            1                    20.0      0.0                0
            8                    13.3      2.5                0

            It may carry a league.
            One member alone writes a key 20 times a second, 8 at once 13 times: when all 8 vote, the last vote
              stands after some 600 ms.
            A write is told to the other members after 150 ms, in quiet times after up to 4.0 s. With heartbeats
              every 5 s a lost member is suspected after some 22 s, and its pages go to others; after some 209 s
              the others vote that it is lost.
        "#]]
        .assert_eq(&report().text(&Screen { colours: false, width: None }));
    }

    #[test]
    fn a_report_is_data_too() {
        let mut report = report();
        let told = report.to_json();
        assert_eq!(told["verdict"]["mayCarryALeague"], true);
        assert_eq!(told["figures"]["calls"][2]["p50"], 20.0);
        assert_eq!(told["battery"][1]["verdict"], "skipped");
        assert_eq!(told["verdict"]["votedLostAfterSeconds"].as_f64().unwrap().floor(), 208.0);
        report.battery.as_mut().unwrap()[0].verdict = conformance::Verdict::Failed("it was not kept".into());
        report.judge(None, Duration::ZERO);
        assert_eq!(report.to_json()["verdict"]["mayCarryALeague"], false);
        assert!(report.text(&Screen::PLAIN).contains("It must not carry a league: it does not keep"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_battery_stays_beside_the_league() {
        let reports = try_battery(&"memory:cli-battery".parse().unwrap()).await;
        let broken: Vec<_> =
            reports.iter().filter(|report| matches!(report.verdict, conformance::Verdict::Failed(_))).collect();
        assert!(reports.len() > 20 && broken.is_empty(), "{broken:?}");
        let league = hansa_topo::open("memory:cli-battery", &Options::default()).await.unwrap();
        assert_eq!(league.list("").await.unwrap(), []);
    }
}
