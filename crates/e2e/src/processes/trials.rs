//! What fails: operators and nodes of etcd killed or stopped, networks parted, a disk full.
//!
//! Each trial waits until the fault is felt, proves that those whom it leaves a majority go on, ends it, and proves that
//! all go on. It says what that took; more than [`GOES_ON`] fails it.

use super::league::{GOES_ON, League, MEMBERS, SMALL};
use crate::objects::{CONFIG_MAPS, condition, config, placed};
use crate::wait::{when, within};
use anyhow::{Context, Result, ensure};
use futures::future::LocalBoxFuture;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// A trial.
#[derive(Clone, Copy)]
pub struct Trial {
    /// Its name.
    pub name: &'static str,
    /// The trial itself; gives what was measured.
    pub run: for<'a> fn(&'a mut League) -> LocalBoxFuture<'a, Result<String>>,
}

/// All of them, in the order in which they run.
pub const ALL: &[Trial] = &[
    Trial { name: "etcd-leader-killed", run: |league| Box::pin(etcd_leader_killed(league)) },
    Trial { name: "etcd-leader-stopped", run: |league| Box::pin(etcd_leader_stopped(league)) },
    Trial { name: "etcd-majority-killed", run: |league| Box::pin(etcd_majority_killed(league)) },
    Trial { name: "etcd-disk-full", run: |league| Box::pin(etcd_disk_full(league)) },
    Trial { name: "operators-killed", run: |league| Box::pin(operators_killed(league)) },
    Trial { name: "operator-stopped", run: |league| Box::pin(operator_stopped(league)) },
    Trial { name: "operator-parted", run: |league| Box::pin(operator_parted(league)) },
    Trial { name: "etcd-leader-parted", run: |league| Box::pin(etcd_leader_parted(league)) },
    Trial { name: "etcd-leader-unheard", run: |league| Box::pin(etcd_leader_unheard(league)) },
];

const EVERYBODY: [usize; 5] = [0, 1, 2, 3, 4];

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The end of every trial: all five share the pages again, and everything goes on among them.
async fn recovered(league: &mut League, meanwhile: &str, ended: Instant) -> Result<String> {
    league.seated(0, &EVERYBODY, GOES_ON).await?;
    let on = league.goes_on(&EVERYBODY, ended).await?;
    league.all_run()?;
    Ok(format!("{meanwhile}; after its end all go on within {}", seconds(on)))
}

/// Waits until another node leads.
async fn another_leads(league: &League, not: usize) -> Result<()> {
    within(GOES_ON, "another node of etcd leads", async || {
        let leader = league.leader().await?;
        Ok(when(leader != not, || format!("{leader} leads")))
    })
    .await
}

async fn etcd_leader_killed(league: &mut League) -> Result<String> {
    let leader = league.leader().await?;
    let began = Instant::now();
    league.etcd.nodes[leader].kill();
    let on = league.goes_on(&EVERYBODY, began).await?;
    let ended = Instant::now();
    league.etcd.nodes[leader].start()?;
    league.etcd.nodes[leader].ready().await?;
    recovered(league, &format!("without the leader all go on within {}", seconds(on)), ended).await
}

async fn etcd_leader_stopped(league: &mut League) -> Result<String> {
    let leader = league.leader().await?;
    let id = league.etcd.nodes[leader].process().context("it runs")?.id();
    let began = Instant::now();
    crate::files::signal(id, Signal::STOP)?;
    let on = league.goes_on(&EVERYBODY, began).await?;
    another_leads(league, leader).await?;
    let ended = Instant::now();
    crate::files::signal(id, Signal::CONT)?;
    recovered(league, &format!("beside the stopped leader all go on within {}", seconds(on)), ended).await
}

/// Without a majority nothing is agreed on, and what was agreed stands; with it everything goes on.
async fn etcd_majority_killed(league: &mut League) -> Result<String> {
    league.etcd.nodes[0].kill();
    league.etcd.nodes[1].kill();
    for index in EVERYBODY {
        league.knows_topo_away(index, true).await?;
    }
    let waits = "waits-for-majority";
    league.write(1, waits, &placed(config(&[("word", "hello")]), &[MEMBERS[1], MEMBERS[2]])).await?;
    let path = CONFIG_MAPS.federated(super::league::NAMESPACE, waits);
    within(GOES_ON, "an edit says that it waits", async || {
        let home = league.members[1].admin.get(&path).await?;
        let (status, reason, message) = condition(&home, "Agreed");
        Ok(when((status, reason) == ("False", "Frozen"), || format!("{status} {reason} {message}")))
    })
    .await?;
    let ended = Instant::now();
    league.etcd.nodes[0].start()?;
    league.etcd.nodes[1].start()?;
    league.etcd.ready().await?;
    for index in EVERYBODY {
        league.knows_topo_away(index, false).await?;
    }
    league.output_is(2, waits, Some("hello")).await?;
    let landed = format!("no edit is agreed on without a majority, and it lands {} after", seconds(ended.elapsed()));
    recovered(league, &landed, ended).await
}

/// The disk of one node of etcd is full: it ends by itself, the others go on, and with room it comes back.
async fn etcd_disk_full(league: &mut League) -> Result<String> {
    let began = Instant::now();
    let filler = league.data(SMALL).join("filler");
    fill(&filler)?;
    let on = league.goes_on(&EVERYBODY, began).await?;
    // Until it has used the room that its files already have.
    let url = format!("etcd://{}/heavy?timeout=2s", league.etcd.hosts());
    let heavy = hansa_topo::open(&url, &hansa_topo::Options::default()).await?;
    let mut written = 0;
    within(GOES_ON, "etcd ends for want of room", async || {
        let process = league.etcd.nodes[SMALL].process().context("it was started")?;
        if process.is_running() {
            written += 1;
            // What becomes of it does not matter.
            let _ = heavy.create(&format!("/{written}"), vec![b'x'; 400_000].into()).await;
        }
        let process = league.etcd.nodes[SMALL].process().context("it was started")?;
        let runs = process.is_running();
        Ok(when(!runs, || process.tail()))
    })
    .await?;
    let process = league.etcd.nodes[SMALL].process().context("it was started")?;
    ensure!(process.tail().contains("no space left on device"), "it says why: {}", process.tail());
    let without = league.goes_on(&EVERYBODY, Instant::now()).await?;
    let ended = Instant::now();
    std::fs::remove_file(&filler)?;
    league.etcd.nodes[SMALL].kill();
    league.etcd.nodes[SMALL].start()?;
    league.etcd.nodes[SMALL].ready().await?;
    let told = format!(
        "while the disk fills all go on within {}, without the node that it ended within {}",
        seconds(on),
        seconds(without)
    );
    recovered(league, &told, ended).await
}

/// Fills the file system that a file is on.
pub(super) fn fill(file: &std::path::Path) -> Result<()> {
    use std::io::{ErrorKind, Write};
    let mut file = std::fs::File::create(file)?;
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![b'x'; size];
        loop {
            match file.write_all(&bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// What waits for the decision of members that are going to be silent: an object in a page of each, placed in the first
/// two of those that stay.
async fn decisions_due(league: &mut League, silent: &[usize], staying: &[usize]) -> Result<Vec<String>> {
    let (home, other) = (staying[0], staying[1]);
    let mut names = Vec::new();
    for member in silent {
        let name = league.name_in_page_of(*member).await?;
        let both = placed(config(&[("word", "hello")]), &[MEMBERS[home], MEMBERS[other]]);
        league.write(home, &name, &both).await?;
        league.output_is(other, &name, Some("hello")).await?;
        league.agreed(home, &name).await?;
        names.push(name);
    }
    Ok(names)
}

/// Waits until others decided what was due: the object is withdrawn from the second of those who stay.
async fn decided(league: &League, names: &[String], staying: &[usize]) -> Result<()> {
    let (home, other) = (staying[0], staying[1]);
    for name in names {
        league.write(home, name, &placed(config(&[("word", "hello")]), &[MEMBERS[home]])).await?;
    }
    for name in names {
        league.output_is(other, name, None).await?;
        league.output_is(home, name, Some("hello")).await?;
    }
    Ok(())
}

async fn operators_killed(league: &mut League) -> Result<String> {
    let (killed, staying) = ([1, 4], [0, 2, 3]);
    let due = decisions_due(league, &killed, &staying).await?;
    let began = Instant::now();
    for index in killed {
        league.members[index].operator.kill();
    }
    let on = league.goes_on(&staying, began).await?;
    decided(league, &due, &staying).await?;
    let taken = began.elapsed();
    league.seated(0, &staying, GOES_ON).await?;
    let ended = Instant::now();
    for index in killed {
        league.start_operator(index)?;
    }
    let told = format!(
        "the three others go on within {}, and decide in the pages of the two within {}",
        seconds(on),
        seconds(taken)
    );
    recovered(league, &told, ended).await
}

async fn operator_stopped(league: &mut League) -> Result<String> {
    let (stopped, staying) = (3, [0, 1, 2, 4]);
    let due = decisions_due(league, &[stopped], &staying).await?;
    let began = Instant::now();
    league.members[stopped].operator.stop().await?;
    decided(league, &due, &staying).await?;
    let taken = began.elapsed();
    league.seated(0, &staying, GOES_ON).await?;
    let ended = Instant::now();
    league.members[stopped].operator.go_on()?;
    recovered(league, &format!("the others decide in its pages within {}", seconds(taken)), ended).await
}

/// An operator that reaches no node of etcd says so and keeps up what was agreed; the others go on without it.
async fn operator_parted(league: &mut League) -> Result<String> {
    let (parted, staying) = (2, [0, 1, 3, 4]);
    let due = decisions_due(league, &[parted], &staying).await?;
    let stands = "stands-while-parted";
    league.write(0, stands, &placed(config(&[("word", "hello")]), &[MEMBERS[0], MEMBERS[parted]])).await?;
    league.output_is(parted, stands, Some("hello")).await?;
    league.agreed(0, stands).await?;
    let began = Instant::now();
    league.network.part(&[league.members[parted].address], &league.etcd_addresses(&[0, 1, 2])).await?;
    decided(league, &due, &staying).await?;
    let taken = began.elapsed();
    league.knows_topo_away(parted, true).await?;
    league.members[parted].admin.delete(&CONFIG_MAPS.path(super::league::NAMESPACE, stands)).await?;
    league.output_is(parted, stands, Some("hello")).await?;
    league.seated(0, &staying, GOES_ON).await?;
    let ended = Instant::now();
    league.network.heal().await?;
    let told = format!("the others decide in its pages within {}, and it keeps up what was agreed", seconds(taken));
    recovered(league, &told, ended).await
}

/// The leader of etcd hears none of the other nodes, nor they it; all operators reach all of them.
async fn etcd_leader_parted(league: &mut League) -> Result<String> {
    let leader = league.leader().await?;
    let others: Vec<usize> = (0..league.etcd.nodes.len()).filter(|node| *node != leader).collect();
    let began = Instant::now();
    league.network.part(&league.etcd_addresses(&[leader]), &league.etcd_addresses(&others)).await?;
    let on = league.goes_on(&EVERYBODY, began).await?;
    another_leads(league, leader).await?;
    let ended = Instant::now();
    league.network.heal().await?;
    recovered(league, &format!("beside the parted leader all go on within {}", seconds(on)), ended).await
}

/// One way only: what the leader of etcd sends reaches no other node.
async fn etcd_leader_unheard(league: &mut League) -> Result<String> {
    let leader = league.leader().await?;
    let others: Vec<usize> = (0..league.etcd.nodes.len()).filter(|node| *node != leader).collect();
    let began = Instant::now();
    league.network.cut(&league.etcd_addresses(&[leader]), &league.etcd_addresses(&others)).await?;
    let on = league.goes_on(&EVERYBODY, began).await?;
    another_leads(league, leader).await?;
    let ended = Instant::now();
    league.network.heal().await?;
    recovered(league, &format!("beside the unheard leader all go on within {}", seconds(on)), ended).await
}
