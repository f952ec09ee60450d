//! Which member of the league a cluster is.

use crate::cluster::Cluster;
use crate::reads::Reads;
use crate::resource::Resource;
use hansa_model::MemberName;

/// The member whose API server is asked: by the word of the operator behind its proxy, else by the
/// cluster's identity. The operator at a URL of the user's may be that of another member, and is
/// believed last.
///
/// `None` when none of them can be asked.
pub async fn at_hand(cluster: &Cluster, reads: Option<&Reads>) -> Option<MemberName> {
    match reads {
        Some(Reads::Proxy(_)) => match told(reads).await {
            Some(member) => Some(member),
            None => by_identity(cluster).await,
        },
        _ => match by_identity(cluster).await {
            Some(member) => Some(member),
            None => told(reads).await,
        },
    }
}

async fn told(reads: Option<&Reads>) -> Option<MemberName> {
    reads?.health().await.ok()?["member"].as_str()?.parse().ok()
}

async fn by_identity(cluster: &Cluster) -> Option<MemberName> {
    let system = cluster.find(&Resource::new("", "v1", "namespaces").named("kube-system")).await.ok()??;
    let members = cluster.list(&Resource::own("members")).await.ok()?;
    let own = members.iter().find(|member| member["status"]["uid"] == system["metadata"]["uid"])?;
    own["metadata"]["name"].as_str()?.parse().ok()
}
