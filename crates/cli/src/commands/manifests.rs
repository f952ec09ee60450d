//! `hansa manifests`: everything that one member needs, to apply.

use super::Outcome;
use crate::kinds::{Kinds, builtin};
use crate::print::{self, ManifestOutput, Tone};
use anyhow::{Context, bail};
use hansa_api::manifests::{Identity, Options, TOPO_VARIABLE};
use hansa_model::{FederatedType, MemberName, TypeName};
use hansa_topo::TopoUrl;
use std::collections::BTreeMap;

/// Arguments of `hansa manifests`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The member that they are for, as the Federation names it.
    #[arg(long, env = "HANSA_MEMBER")]
    member: MemberName,
    /// The topology server's URL. It is printed in a Secret.
    #[arg(long, env = "HANSA_TOPO", hide_env_values = true)]
    topo: String,
    /// The types to federate, such as configmaps,deployments.apps or widgets.example.org/v1; the
    /// operator's rights are made from them. A built-in kind's version may be left out.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Those of the types that may change who may do what: cluster-scoped ones, RBAC, webhooks,
    /// policies, and objects in kube-* namespaces.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    privileged: Vec<TypeName>,
    /// The operator's image.
    #[arg(long, default_value = concat!("hansa:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// The namespace to run in.
    #[arg(long, default_value = hansa_api::SYSTEM_NAMESPACE)]
    namespace: String,
    /// How many operators stand: one leads, the others wait for its Lease.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=9))]
    replicas: u32,
    /// Let the API server put the finalizer on federated objects, which saves a write for each:
    /// from Kubernetes 1.36 on.
    #[arg(long)]
    finalizer_policy: bool,
    /// An annotation of the operator's ServiceAccount, by which a cloud knows it, such as
    /// eks.amazonaws.com/role-arn=ARN, azure.workload.identity/client-id=ID or
    /// iam.gke.io/gcp-service-account=EMAIL.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    service_account_annotation: Vec<(String, String)>,
    /// A label of the operator's pods; Azure's workload identity needs azure.workload.identity/use=true.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pod_label: Vec<(String, String)>,
    /// A Secret in the operator's namespace whose entries are the pods' environment, such as
    /// AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS or HTTPS_PROXY. It is not printed here.
    #[arg(long, value_name = "SECRET")]
    environment_secret: Option<String>,
    /// Put a token of the ServiceAccount for this audience to /var/run/secrets/hansa/identity/token, for
    /// Google's workload identity federation: //iam.googleapis.com/projects/…/providers/….
    #[arg(long, value_name = "AUDIENCE")]
    identity_token: Option<String>,
    /// Further arguments of the operator, after --.
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
    #[command(flatten)]
    output: ManifestOutput,
}

/// Prints the manifests.
pub fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let url: TopoUrl = arguments.topo.parse().with_context(|| format!("--topo (or ${TOPO_VARIABLE})"))?;
    if matches!(url, TopoUrl::Memory { .. } | TopoUrl::Sqlite { .. }) {
        print::note(
            Tone::Warning,
            &format!(
                "warning: --topo {url}: a {} is shared by the processes of one host at most; operators in pods need an etcd",
                url.scheme()
            ),
        );
    }
    let types = types(&arguments.types, &arguments.privileged)?;
    let objects = hansa_api::manifests(&Options {
        namespace: arguments.namespace,
        replicas: arguments.replicas,
        types,
        finalizing: arguments.finalizer_policy,
        identity: Identity {
            annotations: arguments.service_account_annotation.into_iter().collect(),
            pod_labels: labels(arguments.pod_label)?,
            environment_secret: arguments.environment_secret,
            token_audience: arguments.identity_token,
        },
        arguments: arguments.arguments,
        ..Options::new(arguments.member, &arguments.topo, &arguments.image)
    });
    print::manifests(arguments.output.format, &objects)?;
    Ok(Outcome::Done)
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn labels(pairs: Vec<(String, String)>) -> anyhow::Result<BTreeMap<String, String>> {
    if let Some((name, _)) = pairs.iter().find(|(name, _)| name.starts_with("app.kubernetes.io/")) {
        bail!("--pod-label {name}: the operator's pods are known by it: choose another name");
    }
    Ok(pairs.into_iter().collect())
}

/// The types that are written as `configmaps`, `deployments.apps` or `widgets.example.org/v1`; those of
/// `privileged` are among them.
///
/// # Errors
/// When a word is no type that may be federated.
pub fn types(words: &[String], privileged: &[TypeName]) -> anyhow::Result<Vec<FederatedType>> {
    let kinds = Kinds::new(builtin());
    let mut types = Vec::new();
    for word in words {
        let (name, version) =
            word.split_once('/').map_or((word.as_str(), None), |(name, version)| (name, Some(version)));
        let known = kinds.of_word(name).context("--types")?;
        let resource = match known {
            Some(kind) => kind.type_name.clone(),
            None => name.parse().with_context(|| format!("--types {word}"))?,
        };
        let version = match (version, known) {
            (Some(version), _) => version.to_owned(),
            (None, Some(kind)) => kind.versions[0].clone(),
            (None, None) => {
                bail!("--types {word}: {resource} is not built in: write its version, such as {resource}/v1")
            }
        };
        hansa_render::federable(&resource).map_err(|refusal| anyhow::anyhow!("--types {word}: {}", refusal.message))?;
        types.push(FederatedType { privileged: privileged.contains(&resource), resource, version });
    }
    if let Some(stray) = privileged.iter().find(|name| !types.iter().any(|federated| &federated.resource == *name)) {
        bail!("--privileged {stray}: it is not among --types: name it there, too");
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], privileged: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let privileged: Vec<TypeName> = privileged.iter().map(|name| name.parse().unwrap()).collect();
        let types = types(&words, &privileged).map_err(|error| format!("{error:#}"))?;
        Ok(types
            .iter()
            .map(|one| format!("{}/{}{}", one.resource, one.version, if one.privileged { "!" } else { "" }))
            .collect())
    }

    #[test]
    fn types_are_words_with_versions_where_they_are_needed() {
        assert_eq!(
            read(&["cm", "deployments.apps", "hpa", "widgets.example.org/v1beta1", "ns"], &["namespaces"]).unwrap(),
            [
                "configmaps/v1",
                "deployments.apps/v1",
                "horizontalpodautoscalers.autoscaling/v2",
                "widgets.example.org/v1beta1",
                "namespaces/v1!"
            ]
        );
        for (words, privileged, expected) in [
            (
                &["widgets.example.org"][..],
                &[][..],
                "--types widgets.example.org: widgets.example.org is not built in: write its version",
            ),
            (&["pods"], &[], "--types pods: pods run where a workload"),
            (&["cm"], &["secrets"], "--privileged secrets: it is not among --types"),
            (&["Not/a/type"], &[], "--types Not/a/type: "),
        ] {
            let error = read(words, privileged).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
