//! `hansa topo cost`: what a league costs a month on each kind of server.
//!
//! [`requests`] counts what the members of a league ask of a topology server, [`bill`] multiplies by a
//! cloud's list prices. Both are functions of their arguments. What they count:
//!
//! - each member writes its heartbeat, and spends [`READS_PER_HEARTBEAT`] requests in the time of one on what is in
//!   those of the others: they bring as many values each as the server gives in one;
//! - an edit writes a page, which every other member reads;
//! - a change of status writes the member's cell, which every other member reads;
//! - on object stores each member lists all keys (a request for each thousand) every four seconds while
//!   nothing happens, and some [`LISTS_FOR_NEWS`] times more for each edit and change of status, as if
//!   each came alone, but never more than four times a second;
//! - each member starts so many times a day, once by default, and reads everything;
//! - a quorum asks each of its stores for the same, and keeps everything in each; it tells of heartbeats without a read,
//!   and brings one value a request. What several members write (edits) is promised in each store before it is written,
//!   and so is two writes.

use super::Outcome;
use crate::print::{self, Output, Screen, Table};
use hansa_operator::READS_PER_HEARTBEAT;
use hansa_topo::TopoUrl;
use serde_json::{Value, json};
use std::time::Duration;

/// Arguments of `hansa topo cost`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many members the league has.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    members: u32,
    /// How many of them are not in the server's own region, and pay for what they read.
    #[arg(long, value_name = "NUMBER")]
    remote: Option<u32>,
    /// How many federated objects there are.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    objects: u32,
    /// How many edits are made a day.
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    edits: u32,
    /// How often a day the status of an object changes in a member.
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000)]
    status_changes: u32,
    /// How often each member says that it lives.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    heartbeat: u32,
    #[command(flatten)]
    output: Output,
}

/// A row: one server, or the stores of a quorum.
struct Row {
    server: String,
    scheme: String,
    requests: Requests,
    bill: Bill,
}

/// A league, as far as its cost goes.
#[derive(Clone, Copy, Debug)]
pub struct League {
    members: u32,
    /// How many members are outside of the server's region.
    remote: u32,
    objects: u32,
    edits_a_day: u32,
    status_changes_a_day: u32,
    starts_a_day: u32,
    heartbeat: Duration,
}

/// What is asked of a server in a month.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Requests {
    writes: f64,
    /// Those among the writes whose key several members write.
    shared_writes: f64,
    lists: f64,
    reads: f64,
    /// What members outside of the server's region receive, in GB, the lists apart.
    read_gb: f64,
    /// The entries of lists that they receive.
    listed_entries: f64,
    stored_gb: f64,
}

const DAYS: f64 = 30.0;
const DAY: f64 = 86_400.0;
/// Pages of a league, unless it was made with another number.
const PAGES: f64 = 256.0;
/// Sizes as they are in the server, compressed; measured on leagues of some thousand Deployments and
/// ConfigMaps.
const OBJECT_BYTES: f64 = 1_000.0;
const STATUS_BYTES: f64 = 100.0;
const CELL_BYTES: f64 = 2_000.0;
/// As its handle says it, whatever its stores are.
const VALUES_PER_READ_OF_QUORUM: f64 = 1.0;
/// So many lists more than in quiet times follow on news: eight each after 1/4, 1/2, 1 and 2 seconds,
/// in the time of seven or eight quiet ones.
const LISTS_FOR_NEWS: f64 = 24.0;

/// Counts a month of a league on a server.
pub fn requests(league: &League, server: &Tariff) -> Requests {
    counted(league, server, server.values_per_read)
}

/// Counts a month of a league on one of the stores of a quorum.
fn requests_of_store(league: &League, store: &Tariff) -> Requests {
    let requests = counted(league, store, VALUES_PER_READ_OF_QUORUM);
    Requests { writes: requests.writes + requests.shared_writes, ..requests }
}

/// Counts a month of a league on a server that says it gives so many values in one request.
fn counted(league: &League, server: &Tariff, values_per_read: f64) -> Requests {
    let month = DAYS * DAY;
    let (members, others) = (f64::from(league.members), f64::from(league.members - 1));
    let remote_share = f64::from(league.remote.min(league.members)) / members;
    let keys = PAGES + members * (PAGES + 1.0) + 10.0;
    let heartbeats = members * month / league.heartbeat.as_secs_f64();
    let most_reads = READS_PER_HEARTBEAT as f64;
    let heard = others.min(most_reads * values_per_read);
    // In a small league each is read by itself.
    let hearing = if others <= most_reads { others } else { (heard / server.values_per_read).ceil() };
    let (edits, changes) = (f64::from(league.edits_a_day) * DAYS, f64::from(league.status_changes_a_day) * DAYS);
    let objects = f64::from(league.objects);
    let page = (objects / PAGES * OBJECT_BYTES).max(200.0);
    let status = (objects / PAGES * STATUS_BYTES).max(200.0);
    let loads = members * DAYS * f64::from(league.starts_a_day);
    let looks = (month / 4.0 + (edits + changes) * LISTS_FOR_NEWS).min(month * 4.0);
    let lists_a_look = (keys / 1000.0).ceil();
    // A list that takes more requests is made less often in proportion.
    let lists = if server.entry_bytes > 0.0 { members * looks } else { 0.0 };
    let read_bytes = heartbeats * heard * CELL_BYTES
        + edits * others * page
        + changes * others * status
        + loads * (PAGES * (page + members * status) + members * CELL_BYTES);
    Requests {
        writes: heartbeats + edits + changes,
        shared_writes: edits,
        lists: lists + loads * lists_a_look,
        reads: heartbeats * hearing + (edits + changes) * others + loads * (keys / server.values_per_read).ceil(),
        read_gb: read_bytes * remote_share / 1e9,
        listed_entries: lists * keys / lists_a_look * remote_share,
        stored_gb: (PAGES * (page + status * members) + members * CELL_BYTES) / 1e9,
    }
}

impl Requests {
    fn plus(self, other: &Requests) -> Requests {
        Requests {
            writes: self.writes + other.writes,
            shared_writes: self.shared_writes + other.shared_writes,
            lists: self.lists + other.lists,
            reads: self.reads + other.reads,
            read_gb: self.read_gb + other.read_gb,
            listed_entries: self.listed_entries + other.listed_entries,
            stored_gb: self.stored_gb + other.stored_gb,
        }
    }
}

/// A provider's list prices in US dollars.
#[derive(Clone, Copy, Debug)]
pub struct Tariff {
    server: &'static str,
    scheme: &'static str,
    /// For a million requests.
    writes: f64,
    lists: f64,
    reads: f64,
    /// For a GB that leaves the region towards the internet.
    egress: f64,
    /// For a GB kept for a month.
    storage: f64,
    /// How many values it gives in one request.
    values_per_read: f64,
    /// What an entry of a list of names takes, in bytes; zero where lists are not needed.
    entry_bytes: f64,
    /// What runs whether it is used or not, for a month.
    fixed: f64,
}

/// When the tariffs below were looked up.
const TARIFFS_OF: &str = "2025-06";

/// The clouds' public price lists for their largest regions in the United States, first tier, without
/// free allowances: <https://aws.amazon.com/s3/pricing>, <https://cloud.google.com/storage/pricing>,
/// <https://azure.microsoft.com/pricing/details/storage/blobs>. The etcd is three virtual machines of
/// two processors and 4 GiB with 20 GB disks each (AWS t3.medium and gp3) in three zones.
pub const TARIFFS: [Tariff; 4] = [
    Tariff {
        server: "Amazon S3 Standard",
        scheme: "s3",
        writes: 5.0,
        lists: 5.0,
        reads: 0.4,
        egress: 0.09,
        storage: 0.023,
        values_per_read: 1.0,
        entry_bytes: 330.0,
        fixed: 0.0,
    },
    Tariff {
        server: "Google Cloud Storage Standard",
        scheme: "gs",
        writes: 5.0,
        lists: 5.0,
        reads: 0.4,
        egress: 0.12,
        storage: 0.020,
        values_per_read: 1.0,
        entry_bytes: 300.0,
        fixed: 0.0,
    },
    Tariff {
        server: "Azure Blob Storage Hot LRS",
        scheme: "az",
        writes: 5.0,
        lists: 5.0,
        reads: 0.4,
        egress: 0.087,
        storage: 0.018,
        values_per_read: 1.0,
        entry_bytes: 900.0,
        fixed: 0.0,
    },
    Tariff {
        server: "etcd of one's own",
        scheme: "etcd",
        writes: 0.0,
        lists: 0.0,
        reads: 0.0,
        egress: 0.09,
        storage: 0.0,
        values_per_read: 64.0,
        entry_bytes: 0.0,
        fixed: 3.0 * (730.0 * 0.0416 + 20.0 * 0.08),
    },
];

/// What a month costs, in US dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bill {
    writes: f64,
    lists: f64,
    reads: f64,
    egress: f64,
    /// Storage and machines.
    standing: f64,
}

impl Bill {
    fn plus(self, other: &Bill) -> Bill {
        Bill {
            writes: self.writes + other.writes,
            lists: self.lists + other.lists,
            reads: self.reads + other.reads,
            egress: self.egress + other.egress,
            standing: self.standing + other.standing,
        }
    }

    fn total(&self) -> f64 {
        self.writes + self.lists + self.reads + self.egress + self.standing
    }
}

/// Prices what was counted.
pub fn bill(requests: &Requests, tariff: &Tariff) -> Bill {
    Bill {
        writes: requests.writes / 1e6 * tariff.writes,
        lists: requests.lists / 1e6 * tariff.lists,
        reads: requests.reads / 1e6 * tariff.reads,
        egress: (requests.read_gb + requests.listed_entries * tariff.entry_bytes / 1e9) * tariff.egress,
        standing: requests.stored_gb * tariff.storage + tariff.fixed,
    }
}

/// What is priced: each kind of server, or the server that is named, with all stores of a quorum.
fn rows(league: &League, url: Option<&TopoUrl>) -> Vec<Row> {
    let row = |tariff: &Tariff, requests: Requests| Row {
        server: tariff.server.to_owned(),
        scheme: tariff.scheme.to_owned(),
        bill: bill(&requests, tariff),
        requests,
    };
    match url {
        None => TARIFFS.iter().map(|tariff| row(tariff, requests(league, tariff))).collect(),
        Some(TopoUrl::Quorum { stores }) => {
            let tariffs: Vec<Tariff> = stores.iter().map(tariff_of).collect();
            let mut rows: Vec<Row> =
                tariffs.iter().map(|tariff| row(tariff, requests_of_store(league, tariff))).collect();
            let bill = rows.iter().fold(Bill::default(), |sum, row| sum.plus(&row.bill));
            let requests = rows.iter().fold(Requests::default(), |sum, row| sum.plus(&row.requests));
            let schemes: Vec<&str> = tariffs.iter().map(|tariff| tariff.scheme).collect();
            let server = format!("quorum of {}", schemes.join(", "));
            rows.push(Row { server, scheme: "quorum".to_owned(), requests, bill });
            rows
        }
        Some(url) => {
            let tariff = tariff_of(url);
            vec![row(&tariff, requests(league, &tariff))]
        }
    }
}

/// The price list of a server. A file costs no more than the disk that it is on.
fn tariff_of(url: &TopoUrl) -> Tariff {
    let scheme = match url.scheme() {
        "etcds" => "etcd",
        other => other,
    };
    TARIFFS.into_iter().find(|tariff| tariff.scheme == scheme).unwrap_or(Tariff {
        server: "a file of one's own",
        scheme: url.scheme(),
        writes: 0.0,
        lists: 0.0,
        reads: 0.0,
        egress: 0.0,
        storage: 0.0,
        values_per_read: f64::INFINITY,
        entry_bytes: 0.0,
        fixed: 0.0,
    })
}

/// Counts and prices.
///
/// # Errors
/// When the URL is none.
pub fn run(url: Option<&str>, arguments: &Arguments) -> anyhow::Result<Outcome> {
    let url: Option<TopoUrl> = url.map(str::parse).transpose()?;
    let league = League {
        members: arguments.members,
        remote: arguments.remote.unwrap_or(arguments.members - 1),
        objects: arguments.objects,
        edits_a_day: arguments.edits,
        status_changes_a_day: arguments.status_changes,
        starts_a_day: 1,
        heartbeat: Duration::from_secs(arguments.heartbeat.into()),
    };
    let rows = rows(&league, url.as_ref());
    print::answer(arguments.output.format, &to_json(&rows), |screen| text(&league, &rows, screen))?;
    Ok(Outcome::Done)
}

fn to_json(rows: &[Row]) -> Value {
    let servers = rows.iter().map(|Row { server, scheme, requests, bill }| {
        let cents = |dollars: f64| (dollars * 100.0).round() / 100.0;
        json!({
            "server": server, "scheme": scheme, "writes": cents(bill.writes), "lists": cents(bill.lists),
            "reads": cents(bill.reads), "egress": cents(bill.egress), "standing": cents(bill.standing),
            "total": cents(bill.total()),
            "requests": {
                "writes": requests.writes.round(), "lists": requests.lists.round(), "reads": requests.reads.round(),
            },
        })
    });
    let servers: Vec<Value> = servers.collect();
    json!({"currency": "USD", "per": "month", "pricesOf": TARIFFS_OF, "servers": servers})
}

fn text(league: &League, rows: &[Row], screen: &Screen) -> String {
    let mut table = Table::new(["SERVER", "WRITES", "LISTS", "READS", "EGRESS", "STANDING", "USD A MONTH"]);
    for Row { server, bill, .. } in rows {
        let mut cells = vec![server.clone()];
        let dollars = [bill.writes, bill.lists, bill.reads, bill.egress, bill.standing, bill.total()];
        cells.extend(dollars.map(|dollars| format!("{dollars:.2}")));
        table.row(cells);
    }
    let counted = requests(league, &TARIFFS[0]);
    let millions = |count: f64| format!("{:.2} million", count / 1e6);
    let words = format!(
        "A month of {}, {} of them outside of the server's region: on an object store {} writes, {} reads and {} lists. \
         Prices are the clouds' lists of {TARIFFS_OF} for the United States, without free allowances; yours may differ.",
        print::count(league.members as usize, "member"),
        league.remote,
        millions(counted.writes),
        millions(counted.reads),
        millions(counted.lists),
    );
    let lines = print::wrap(&words, screen.width.map_or(100, usize::from));
    table.render(screen) + "\n" + &lines.iter().map(|line| format!("{line}\n")).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const LEAGUE: League = League {
        members: 3,
        remote: 2,
        objects: 10_000,
        edits_a_day: 200,
        status_changes_a_day: 2_000,
        starts_a_day: 1,
        heartbeat: Duration::from_secs(5),
    };

    fn check(league: League, expected: Expect) {
        check_at(league, None, expected);
    }

    fn check_at(league: League, url: Option<&str>, expected: Expect) {
        let url = url.map(|url| url.parse().unwrap());
        let rows = rows(&league, url.as_ref());
        expected.assert_eq(&text(&league, &rows, &Screen { colours: false, width: None }));
    }

    #[test]
    fn what_is_named_is_priced() {
        check_at(
            LEAGUE,
            Some("s3://bucket/league"),
            expect![[r#"
                SERVER               WRITES   LISTS   READS   EGRESS   STANDING   USD A MONTH
                Amazon S3 Standard   8.11     33.48   1.33    69.24    0.00       112.16

                A month of 3 members, 2 of them outside of the server's region: on an object store 1.62 million
                  writes, 3.34 million reads and 6.70 million lists. Prices are the clouds' lists of 2025-06 for the
                  United States, without free allowances; yours may differ.
            "#]],
        );
        check_at(
            LEAGUE,
            Some("quorum:s3://bucket/league,gs://bucket/league,etcds://host/league"),
            expect![[r#"
                SERVER                          WRITES   LISTS   READS   EGRESS   STANDING   USD A MONTH
                Amazon S3 Standard              8.14     33.48   1.33    69.24    0.00       112.19
                Google Cloud Storage Standard   8.14     33.48   1.33    83.99    0.00       126.94
                etcd of one's own               0.00     0.00    0.00    0.50     95.90      96.40
                quorum of s3, gs, etcd          16.27    66.96   2.67    153.73   95.90      335.54

                A month of 3 members, 2 of them outside of the server's region: on an object store 1.62 million
                  writes, 3.34 million reads and 6.70 million lists. Prices are the clouds' lists of 2025-06 for the
                  United States, without free allowances; yours may differ.
            "#]],
        );
        check_at(
            LEAGUE,
            Some("sqlite:topo.db"),
            expect![[r#"
                SERVER                WRITES   LISTS   READS   EGRESS   STANDING   USD A MONTH
                a file of one's own   0.00     0.00    0.00    0.00     0.00       0.00

                A month of 3 members, 2 of them outside of the server's region: on an object store 1.62 million
                  writes, 3.34 million reads and 6.70 million lists. Prices are the clouds' lists of 2025-06 for the
                  United States, without free allowances; yours may differ.
            "#]],
        );
    }

    #[test]
    fn leagues_are_priced() {
        check(
            LEAGUE,
            expect![[r#"
                SERVER                          WRITES   LISTS   READS   EGRESS   STANDING   USD A MONTH
                Amazon S3 Standard              8.11     33.48   1.33    69.24    0.00       112.16
                Google Cloud Storage Standard   8.11     33.48   1.33    83.99    0.00       126.91
                Azure Blob Storage Hot LRS      8.11     33.48   1.33    181.71   0.00       224.64
                etcd of one's own               0.00     0.00    0.00    0.50     95.90      96.40

                A month of 3 members, 2 of them outside of the server's region: on an object store 1.62 million
                  writes, 3.34 million reads and 6.70 million lists. Prices are the clouds' lists of 2025-06 for the
                  United States, without free allowances; yours may differ.
            "#]],
        );
        check(
            League { members: 50, remote: 49, ..LEAGUE },
            expect![[r#"
                SERVER                          WRITES   LISTS    READS   EGRESS    STANDING   USD A MONTH
                Amazon S3 Standard              129.93   558.11   29.90   3062.25   0.00       3780.18
                Google Cloud Storage Standard   129.93   558.11   29.90   3714.13   0.00       4432.07
                Azure Blob Storage Hot LRS      129.93   558.11   29.90   8041.27   0.00       8759.21
                etcd of one's own               0.00     0.00     0.00    234.02    95.90      329.92

                A month of 50 members, 49 of them outside of the server's region: on an object store 25.99 million
                  writes, 74.75 million reads and 111.62 million lists. Prices are the clouds' lists of 2025-06 for
                  the United States, without free allowances; yours may differ.
            "#]],
        );
        check(
            League { edits_a_day: 0, status_changes_a_day: 0, objects: 0, remote: 0, ..LEAGUE },
            expect![[r#"
                SERVER                          WRITES   LISTS   READS   EGRESS   STANDING   USD A MONTH
                Amazon S3 Standard              7.78     9.72    1.28    0.00     0.00       18.78
                Google Cloud Storage Standard   7.78     9.72    1.28    0.00     0.00       18.78
                Azure Blob Storage Hot LRS      7.78     9.72    1.28    0.00     0.00       18.78
                etcd of one's own               0.00     0.00    0.00    0.00     95.90      95.90

                A month of 3 members, 0 of them outside of the server's region: on an object store 1.56 million
                  writes, 3.20 million reads and 1.94 million lists. Prices are the clouds' lists of 2025-06 for the
                  United States, without free allowances; yours may differ.
            "#]],
        );
    }

    #[test]
    fn an_idle_member_asks_less_than_once_a_second_on_every_kind_of_server() {
        let per_second = |of: fn(&League, &Tariff) -> Requests, tariff: &Tariff, members: u32| {
            let idle =
                League { members, remote: 0, edits_a_day: 0, status_changes_a_day: 0, starts_a_day: 0, ..LEAGUE };
            let counted = of(&idle, tariff);
            let each = |count: f64| count / f64::from(members) / (DAYS * DAY);
            let sum = each(counted.writes + counted.reads + counted.lists);
            assert!(sum <= 1.0, "{members} members on {}: {sum} requests a second", tariff.server);
            format!("{:.2} reads, {sum:.2} in all", each(counted.reads))
        };
        for tariff in &TARIFFS {
            let told = [3, 10, 50, 1_000].map(|members| per_second(requests, tariff, members));
            let expected = match tariff.scheme {
                "etcd" => [
                    "0.40 reads, 0.60 in all",
                    "0.20 reads, 0.40 in all",
                    "0.20 reads, 0.40 in all",
                    "0.40 reads, 0.60 in all",
                ],
                _ => ["0.40 reads, 0.85 in all"; 4],
            };
            assert_eq!(told, expected, "{}", tariff.server);
            // So it is at each store of a quorum (crates/topo/tests/quorum_idle.rs counts it there).
            let told = [3, 10, 50].map(|members| per_second(requests_of_store, tariff, members));
            let expected = match tariff.scheme {
                "etcd" => ["0.40 reads, 0.60 in all", "0.20 reads, 0.40 in all", "0.20 reads, 0.40 in all"],
                _ => ["0.40 reads, 0.85 in all"; 3],
            };
            assert_eq!(told, expected, "{} in a quorum", tariff.server);
        }
    }

    #[test]
    fn more_of_anything_costs_no_less() {
        let of = |league: League| TARIFFS.map(|tariff| bill(&requests(&league, &tariff), &tariff).total());
        let base = of(LEAGUE);
        let more = [
            League { members: 4, remote: 3, ..LEAGUE },
            League { remote: 3, ..LEAGUE },
            League { objects: 20_000, ..LEAGUE },
            League { edits_a_day: 10_000, ..LEAGUE },
            League { status_changes_a_day: 100_000, ..LEAGUE },
            League { heartbeat: Duration::from_secs(1), ..LEAGUE },
        ];
        for league in more {
            assert!(of(league).iter().zip(base).all(|(more, less)| *more >= less), "{league:?}");
        }
    }

    #[test]
    fn the_answer_is_data_too() {
        let told = to_json(&rows(&LEAGUE, None));
        assert_eq!(told["servers"].as_array().unwrap().len(), TARIFFS.len());
        assert!(told["servers"][0]["total"].as_f64().unwrap() > 0.0, "{told}");
    }
}
