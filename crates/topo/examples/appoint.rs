//! One process sends invoices at a time; who follows it does so under a higher term, and it can then send
//! none any more. `cargo run -p hansa-topo --example appoint` lets two take turns in one process; given a URL
//! that they share, and a name, it is one of them: `… --example appoint sqlite:/tmp/appoint.db amsterdam`.

use hansa_topo::agree::{Agreement, Options, Signer, founders};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("memory:appoint".to_owned());
    let here: Vec<String> = arguments.collect();
    let is_here = |one: &Signer| here.is_empty() || here.iter().any(|name| name == one.member().as_str());
    let signers = ["amsterdam", "boston"].map(|name| Signer::new(name.parse().unwrap(), [name.len() as u8; 32]));
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let mut tasks = Vec::new();
    for signer in signers.into_iter().filter(is_here) {
        let topo = hansa_topo::open(&url, &Default::default()).await?;
        let agreement = Agreement::open(topo, Options::new("example", signer.clone(), voters.clone())).await?;
        tasks.push(tokio::spawn(async move {
            let turn = agreement.appoint("invoices", Duration::from_secs(1)).await.expect("it votes");
            for _ in 0..3 {
                let next = |now: serde_json::Value| (now.as_u64().unwrap_or(0) + 1).into();
                turn.write("/v1/invoices", next).await.expect("it holds its turn");
                println!("{} sends an invoice under term {}", signer.member(), turn.term());
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            turn.resign().await
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
