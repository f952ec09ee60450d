//! Which federated object a user means.

use crate::cluster::Cluster;
use crate::kinds::{Kind, Kinds, builtin, discover};
use crate::reads::Reads;
use anyhow::{anyhow, bail};
use hansa_model::RecordKey;

/// Who is asked about kinds that are not built in.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The API server: every kind that it serves.
    Cluster(&'a Cluster),
    /// An operator, where there is no API server to ask: every kind that the league federates.
    Operator(&'a Reads),
}

/// An object on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct ObjectArguments {
    /// The object: TYPE/NAME, TYPE NAME, or its whole key TYPE/NAMESPACE/NAME. TYPE is a plural with
    /// its group (deployments.apps), or any word that kubectl takes (deploy, fdeploy).
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT")]
    pub words: Vec<String>,
    /// The object's namespace; without it, that of the kubeconfig's context.
    #[arg(short, long)]
    pub namespace: Option<String>,
}

/// An object on the command line that may be left out.
#[derive(Clone, Debug, clap::Args)]
pub struct OptionalObject {
    /// The object: TYPE/NAME, TYPE NAME, or its whole key TYPE/NAMESPACE/NAME.
    #[arg(num_args = 0..=2, value_name = "OBJECT")]
    pub words: Vec<String>,
    /// The object's namespace; without it, that of the kubeconfig's context.
    #[arg(short, long)]
    pub namespace: Option<String>,
}

impl OptionalObject {
    /// The object, when one is named.
    pub fn given(&self) -> Option<ObjectArguments> {
        (!self.words.is_empty())
            .then(|| ObjectArguments { words: self.words.clone(), namespace: self.namespace.clone() })
    }
}

impl ObjectArguments {
    /// The key of the object, with a type that is built in or that the source knows.
    ///
    /// # Errors
    /// When no object or type is meant, or several are.
    pub async fn key(&self, source: Option<Source<'_>>) -> anyhow::Result<RecordKey> {
        let parts = Parts::read(&self.words)?;
        let kind = kind(&parts.type_word, source).await?;
        let default = match source {
            Some(Source::Cluster(cluster)) => cluster.namespace.as_str(),
            Some(Source::Operator(_)) | None => "default",
        };
        parts.key(&kind, self.namespace.as_deref(), default)
    }
}

/// The kind that a word means: a built-in one, or one that the source knows.
///
/// # Errors
/// When there is none, or several.
pub async fn kind(word: &str, source: Option<Source<'_>>) -> anyhow::Result<Kind> {
    let mut kinds = Kinds::new(builtin());
    if let Some(found) = kinds.of_word(word)? {
        return Ok(found.clone());
    }
    let known = match source {
        Some(Source::Cluster(cluster)) => {
            kinds.extend(discover(cluster).await?);
            "the cluster serves none of that name"
        }
        Some(Source::Operator(reads)) => {
            kinds.extend(reads.kinds().await?);
            "it is not built in, and the league federates none of that name"
        }
        None => "it is not built in, and there is no cluster to ask (--kubeconfig, --context)",
    };
    let found = kinds.of_word(word)?.cloned();
    found.ok_or_else(|| {
        anyhow!("there is no type `{word}`: {known}; write the plural and the group, such as deployments.apps, or see `hansa type list`")
    })
}

/// An object as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Parts {
    type_word: String,
    namespace: Option<String>,
    name: String,
}

impl Parts {
    fn read(words: &[String]) -> anyhow::Result<Self> {
        let parts: Vec<&str> = words.iter().flat_map(|word| word.split('/')).collect();
        let (type_word, namespace, name) = match (words.len(), parts.as_slice()) {
            (_, [type_word, name]) => (*type_word, None, *name),
            (1, [type_word, namespace, name]) => (*type_word, Some(*namespace), *name),
            _ => ("", None, ""),
        };
        if type_word.is_empty() || name.is_empty() {
            bail!(
                "`{}` names no object: write TYPE/NAME, TYPE/NAMESPACE/NAME or TYPE NAME, such as deploy/web",
                words.join(" ")
            );
        }
        Ok(Parts { type_word: type_word.to_owned(), namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    fn key(&self, kind: &Kind, namespace: Option<&str>, default: &str) -> anyhow::Result<RecordKey> {
        let type_name = &kind.type_name;
        let namespace = match (kind.namespaced, self.namespace.as_deref(), namespace) {
            (false, Some(stated), _) if !stated.is_empty() => {
                bail!("{type_name} have no namespace: write {type_name}/{}", self.name)
            }
            (false, ..) => "",
            (true, Some(stated), Some(other)) if stated != other => {
                bail!("the object is in namespace `{stated}` and -n says `{other}`: keep one of the two")
            }
            (true, stated, option) => stated.or(option).unwrap_or(default),
        };
        if kind.namespaced && namespace.is_empty() {
            bail!("{type_name} lie in namespaces: write {type_name}/NAMESPACE/{}", self.name);
        }
        Ok(RecordKey::new(type_name.clone(), namespace, &self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(words: &[&str], namespace: Option<&str>) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let kinds = Kinds::new(builtin());
        let read = || {
            let parts = Parts::read(&words)?;
            let kind = kinds.of_word(&parts.type_word)?.ok_or_else(|| anyhow!("no such type"))?;
            parts.key(kind, namespace, "default")
        };
        read().map(|key| key.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn objects_are_named_in_several_ways() {
        for (words, namespace, expected) in [
            (&["deploy/web"][..], None, "deployments.apps/default/web"),
            (&["deploy", "web"], Some("shop"), "deployments.apps/shop/web"),
            (&["deployments.apps/shop/web"], None, "deployments.apps/shop/web"),
            (&["fdeploy/shop/web"], Some("shop"), "deployments.apps/shop/web"),
            (&["ns/shop"], None, "namespaces//shop"),
            (&["namespaces//shop"], Some("other"), "namespaces//shop"),
        ] {
            assert_eq!(key(words, namespace).as_deref(), Ok(expected), "{words:?}");
        }
    }

    #[test]
    fn what_names_no_object_is_told() {
        for (words, namespace, expected) in [
            (&["web"][..], None, "`web` names no object"),
            (&["deploy/"], None, "`deploy/` names no object"),
            (&["deploy/a", "b"], None, "names no object"),
            (&["deploy/shop/web"], Some("other"), "keep one of the two"),
            (&["ns/shop/web"], None, "namespaces have no namespace: write namespaces/web"),
            (&["deploy//web"], None, "deployments.apps lie in namespaces"),
        ] {
            let error = key(words, namespace).unwrap_err();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }

    #[tokio::test]
    async fn an_unknown_type_without_a_cluster_says_how_to_go_on() {
        let error = kind("gadgets", None).await.unwrap_err().to_string();
        assert!(error.starts_with("there is no type `gadgets`: it is not built in"), "{error}");
    }
}
