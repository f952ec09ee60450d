//! Three processes roll out in waves: nobody begins a wave before all have finished the one before. Here
//! they share a store inside this process.
//!
//! cargo run -p hansa-topo --example barrier

use hansa_topo::agree::{AgreeError, Agreement, Options, Signer, founders};
use std::sync::atomic::{AtomicU32, Ordering};

static FINISHED: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names = ["amsterdam", "boston", "cape-town"];
    let signers: Vec<Signer> = (1..).zip(names).map(|(n, name)| Signer::new(name.parse().unwrap(), [n; 32])).collect();
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let mut tasks = Vec::new();
    for signer in signers {
        let topo = hansa_topo::open("memory:barrier", &Default::default()).await?;
        let agreement = Agreement::open(topo, Options::new("example", signer.clone(), voters.clone())).await?;
        tasks.push(tokio::spawn(async move {
            for (phase, finished) in (0..).zip(&FINISHED) {
                println!("{}: wave {phase} is done", signer.member());
                finished.fetch_add(1, Ordering::SeqCst);
                agreement.barrier("rollout", phase, None).await?;
                assert_eq!(finished.load(Ordering::SeqCst), 3, "all have finished wave {phase}");
            }
            Ok::<_, AgreeError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
