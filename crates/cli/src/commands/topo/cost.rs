//! `hansa topo cost`: what a league costs a month on each kind of server.
//!
//! [`count`] says what the members of a league ask of a topology server, [`price`] what a cloud takes for it. Both
//! are functions of their arguments.

mod count;
mod price;

use super::Outcome;
use crate::print::{self, Output, Screen, Table};
use count::{League, Requests, requests, requests_of_store};
use hansa_topo::TopoUrl;
use price::{Bill, TARIFFS, TARIFFS_OF, Tariff, bill, tariff_of};
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
    use super::count::{DAY, DAYS};
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
