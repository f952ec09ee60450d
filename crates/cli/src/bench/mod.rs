//! `hansa bench`: how fast and how large, against a floor measured in the same run.
//!
//! Everything runs on real parts: kube-apiservers without controllers, an etcd with fsync as the
//! topology server, and operators as processes of their own. Machines differ and are noisy: the
//! ratio to the floor is what counts.

mod ballots;
#[cfg(all(feature = "etcd", feature = "object-stores"))]
mod decide;
mod edit;
#[cfg(all(feature = "etcd", feature = "object-stores"))]
mod idle;
mod lab;
#[cfg(all(feature = "etcd", feature = "object-stores"))]
mod load;
#[cfg(all(feature = "etcd", feature = "object-stores"))]
mod plain;
mod propagate;
#[cfg(all(feature = "etcd", feature = "object-stores"))]
mod takeover;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// Arguments of `hansa bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which benches to run; all of them when none is named.
    names: Vec<Name>,
    /// Shrinks every bench to this part of its size, for a quick look.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How the rows are written.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Name {
    /// One edit, from the home's API server to the output in another member.
    Edit,
    /// 5,000 Deployments and 5,000 ConfigMaps, from two starting operators to 20,000 outputs.
    #[value(alias = "propagate")]
    PropagateOutputs,
    /// The same, until every status is written; one run measures both.
    PropagateClosed,
    /// An operator restarted with all of them and no change.
    Restart,
    /// Memory, topology-server bytes and calls with all of them.
    Footprint,
    /// 10,000 objects read from etcd and from an S3 server: requests and time.
    Load,
    /// Topology-server calls for one decision of three voters, simulated.
    #[value(name = "ballot-calls-3")]
    BallotCalls3,
    /// The same of ten.
    #[value(name = "ballot-calls-10")]
    BallotCalls10,
    /// The same of fifty.
    #[value(name = "ballot-calls-50")]
    BallotCalls50,
    /// One decision on etcd; merge and decide themselves at 100 operators.
    Decide,
    /// An operator is killed: its pages are appointed to others, with terms of five seconds.
    Takeover,
    /// A hundred operators with nothing to do, for ten simulated minutes on etcd.
    Idle,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which figure.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What the same would cost without Hansa, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// How both were measured.
    pub how: String,
}

/// The figures measured so far.
#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// Takes figures in, and says them at once: whoever ends a long run has seen what was measured until then.
    pub fn add(&mut self, rows: Vec<Row>) {
        for row in &rows {
            let ratio = row.ratio().map(|ratio| format!(", {ratio:.2} × floor")).unwrap_or_default();
            tell(&format!("{}: {} {}{ratio}", row.name, number(row.value), row.unit));
        }
        self.0.extend(rows);
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.floor.filter(|floor| *floor > 0.0).map(|floor| self.value / floor)
    }
}

/// A figure with as many digits as mean something.
fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Says what is going on: a bench takes minutes.
pub fn tell(text: &str) {
    eprintln!("  {text}");
}

/// Runs the benches that were asked for.
///
/// # Errors
/// When a part cannot be started, or what was to be measured did not happen.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.scale > 0.0 && arguments.scale <= 1.0,
        "--scale {}: a part between 0 and 1 is expected",
        arguments.scale
    );
    let wants = |name| arguments.names.is_empty() || arguments.names.contains(&name);
    let mut report = Report::default();
    for (name, voters, most) in
        [(Name::BallotCalls3, 3, 5), (Name::BallotCalls10, 10, 23), (Name::BallotCalls50, 50, 130)]
    {
        if wants(name) {
            report.add(ballots::calls(voters, most, arguments.scale));
        }
    }
    if wants(Name::Decide) {
        report.add(ballots::pure(arguments.scale)?);
    }
    on_stores(arguments.scale, &wants, &mut report).await?;
    if wants(Name::Edit) {
        report.add(edit::run(arguments.scale).await?);
    }
    let large = propagate::Wanted {
        propagate: wants(Name::PropagateOutputs) || wants(Name::PropagateClosed),
        restart: wants(Name::Restart),
        footprint: wants(Name::Footprint),
    };
    if large.any() {
        report.add(propagate::run(arguments.scale, large).await?);
    }
    let Report(rows) = report;
    match arguments.output {
        Output::Json => {
            let with_ratio = |row: &Row| {
                let mut value = serde_json::to_value(row).unwrap_or_default();
                value["ratio"] = row.ratio().into();
                value
            };
            println!("{}", serde_json::to_string_pretty(&rows.iter().map(with_ratio).collect::<Vec<_>>())?);
        }
        Output::Table => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["NAME", "VALUE", "UNIT", "FLOOR", "RATIO", "HOW"]);
            for row in &rows {
                table.add_row([
                    row.name.clone(),
                    number(row.value),
                    row.unit.to_owned(),
                    row.floor.map(number).unwrap_or_default(),
                    row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                    row.how.clone(),
                ]);
            }
            println!("{table}");
        }
    }
    Ok(())
}

/// The benches that need etcd, some of them next to plain clients of topology servers.
#[cfg(all(feature = "etcd", feature = "object-stores"))]
async fn on_stores(scale: f64, wants: impl Fn(Name) -> bool, report: &mut Report) -> anyhow::Result<()> {
    if wants(Name::Decide) {
        report.add(decide::run(scale).await?);
    }
    if wants(Name::Load) {
        report.add(load::run(scale).await?);
    }
    if wants(Name::Takeover) {
        report.add(takeover::run(scale).await?);
    }
    if wants(Name::Idle) {
        idle::run(scale, report).await?;
    }
    Ok(())
}

#[cfg(not(all(feature = "etcd", feature = "object-stores")))]
async fn on_stores(_scale: f64, wants: impl Fn(Name) -> bool, _report: &mut Report) -> anyhow::Result<()> {
    anyhow::ensure!(
        ![Name::Decide, Name::Load, Name::Takeover, Name::Idle].into_iter().any(wants),
        "this program was built without etcd or object stores: build it with these features, or name other benches"
    );
    Ok(())
}

/// The value below which this part of all are.
fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get(((last as f64) * part).round() as usize).copied().unwrap_or(0.0)
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}
