//! Three processes decide who is primary, without a leader. Here they are three tasks that share a store
//! inside this process; with `sqlite:/path` or `etcd://…` they are processes or machines.
//!
//! cargo run -p hansa-topo --example decide

use hansa_topo::agree::{Agreement, Options, Rule, Signer, Vote, founders};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names = ["amsterdam", "boston", "cape-town"];
    // A real voter keeps its secret to itself; the others know its public half.
    let signers: Vec<Signer> = (1..).zip(names).map(|(n, name)| Signer::new(name.parse().unwrap(), [n; 32])).collect();
    let voters = founders(signers.iter().map(|signer| (signer.member().clone(), signer.public())));
    let mut tasks = Vec::new();
    for signer in signers {
        let topo = hansa_topo::open("memory:decide", &Default::default()).await?;
        let agreement = Agreement::open(topo, Options::new("example", signer.clone(), voters.clone())).await?;
        tasks.push(tokio::spawn(async move {
            let vote = Vote::value(signer.member()).expect("a name is JSON");
            let decision = agreement.decide("primary", vote, Rule::Quorum).await?;
            let votes: Vec<_> = decision.certificate.keys().collect();
            println!("{}: {} is primary, by {votes:?}", signer.member(), decision.value.as_ref().unwrap().get());
            Ok::<_, hansa_topo::agree::AgreeError>(decision.hash)
        }));
    }
    let mut decided = std::collections::BTreeSet::new();
    for task in tasks {
        decided.insert(task.await??);
    }
    assert_eq!(decided.len(), 1, "all got the same answer");
    Ok(())
}
