//! Two processes, one of which does a job at a time; the other follows under a higher term, and the
//! first can then write nothing any more. Here they share a store inside this process.
//!
//! cargo run -p hansa-topo --example appoint

use hansa_topo::agree::{Agreement, Options, Signer, founders};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signers = ["amsterdam", "boston"].map(|name| Signer::new(name.parse().unwrap(), [name.len() as u8; 32]));
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let mut agreements = Vec::new();
    for signer in signers {
        let topo = hansa_topo::open("memory:appoint", &Default::default()).await?;
        agreements.push(Agreement::open(topo, Options::new("example", signer, voters.clone())).await?);
    }
    let ttl = Duration::from_secs(1);
    let first = agreements[0].appoint("invoices", ttl).await?;
    first.write("/v1/invoices", |_| serde_json::json!({"sent": 1})).await?;
    println!("amsterdam sends invoices under term {}", first.term());

    let waiting = tokio::spawn({
        let boston = agreements[1].clone();
        async move { boston.appoint("invoices", ttl).await }
    });
    first.resign().await?;
    let second = waiting.await??;
    second.write("/v1/invoices", |now| serde_json::json!({"sent": now["sent"].as_u64().unwrap_or(0) + 1})).await?;
    println!("boston goes on under term {}: {}", second.term(), second.holds());
    assert!(second.holds());
    Ok(())
}
