//! Processes decide who is primary, without a leader. `cargo run -p hansa-topo --example decide` lets three vote
//! in one process; given a URL that they share, and the names of those that vote here, they are processes or
//! machines: `… --example decide sqlite:/tmp/decide.db amsterdam`.

use hansa_topo::agree::{AgreeError, Agreement, Options, Rule, Signer, Vote, founders};

const NAMES: [&str; 3] = ["amsterdam", "boston", "cape-town"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("memory:decide".to_owned());
    let here: Vec<String> = arguments.collect();
    let is_here = |one: &Signer| here.is_empty() || here.iter().any(|name| name == one.member().as_str());
    // A real voter keeps its secret to itself; the others know its public half.
    let signers: Vec<Signer> = (1..).zip(NAMES).map(|(n, name)| Signer::new(name.parse().unwrap(), [n; 32])).collect();
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let mut tasks = Vec::new();
    for signer in signers.into_iter().filter(is_here) {
        let topo = hansa_topo::open(&url, &Default::default()).await?;
        let agreement = Agreement::open(topo, Options::new("example", signer.clone(), voters.clone())).await?;
        tasks.push(tokio::spawn(async move {
            let vote = Vote::value(signer.member()).expect("a name is JSON");
            let decision = agreement.decide("primary", vote, Rule::Quorum).await?;
            println!("{}: {} is primary", signer.member(), decision.value.as_ref().unwrap().get());
            Ok::<_, AgreeError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
