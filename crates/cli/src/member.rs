//! Which member of the league a cluster is.

use crate::cluster::Cluster;
use crate::reads::Reads;
use crate::resource::Resource;
use hansa_model::MemberName;

/// The member whose API server is asked: by its operator's word, else by the cluster's identity.
///
/// `None` when neither can be asked.
pub async fn at_hand(cluster: &Cluster, reads: Option<&Reads>) -> Option<MemberName> {
    let told = match reads {
        Some(reads) => reads.health().await.ok(),
        None => None,
    };
    if let Some(member) = told.and_then(|health| health["member"].as_str()?.parse().ok()) {
        return Some(member);
    }
    let system = cluster.find(&Resource::new("", "v1", "namespaces").named("kube-system")).await.ok()??;
    let members = cluster.list(&Resource::own("members")).await.ok()?;
    let own = members.iter().find(|member| member["status"]["uid"] == system["metadata"]["uid"])?;
    own["metadata"]["name"].as_str()?.parse().ok()
}
