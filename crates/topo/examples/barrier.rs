//! Processes roll out in waves: nobody begins a wave before all have finished the one before.
//! `cargo run -p hansa-topo --example barrier` lets three do so in one process; given a URL that they share, and
//! the names of those that run here, they are processes or machines: `… --example barrier sqlite:/tmp/barrier.db boston`.

use hansa_topo::agree::{AgreeError, Agreement, Options, Signer, founders};

const NAMES: [&str; 3] = ["amsterdam", "boston", "cape-town"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("memory:barrier".to_owned());
    let here: Vec<String> = arguments.collect();
    let is_here = |one: &Signer| here.is_empty() || here.iter().any(|name| name == one.member().as_str());
    let signers: Vec<Signer> = (1..).zip(NAMES).map(|(n, name)| Signer::new(name.parse().unwrap(), [n; 32])).collect();
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let mut tasks = Vec::new();
    for signer in signers.into_iter().filter(is_here) {
        let topo = hansa_topo::open(&url, &Default::default()).await?;
        let agreement = Agreement::open(topo, Options::new("example", signer.clone(), voters.clone())).await?;
        tasks.push(tokio::spawn(async move {
            for phase in 0..3 {
                println!("{}: wave {phase} is done", signer.member());
                agreement.barrier("rollout", phase, None).await?;
            }
            Ok::<_, AgreeError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
