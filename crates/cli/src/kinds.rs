//! Which plural, group and version a word or a manifest means.
//!
//! The stable built-in kinds are known without asking anyone; others come from the
//! CustomResourceDefinitions of the same input, or from the discovery of an API server.

mod builtin;
mod discovery;

use anyhow::bail;
use hansa_model::TypeName;
use serde_json::Value;

pub use builtin::builtin;
pub use discovery::discover;

/// A kind, by all its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kind {
    /// The plural and the group.
    pub type_name: TypeName,
    /// The versions, the preferred one first.
    pub versions: Vec<String>,
    /// The kind.
    pub kind: String,
    /// The word for one of them.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
}

impl Kind {
    fn answers_to(&self, word: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(word);
        is(self.type_name.resource())
            || is(&self.singular)
            || is(&self.kind)
            || self.short_names.iter().any(|name| is(name))
    }
}

/// Kinds that are known.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    kinds: Vec<Kind>,
}

impl Kinds {
    /// The kinds of this list; of two with one name the first holds.
    pub fn new(kinds: Vec<Kind>) -> Self {
        let mut known = Kinds::default();
        known.extend(kinds);
        known
    }

    /// Adds kinds that are not known yet.
    pub fn extend(&mut self, kinds: Vec<Kind>) {
        for kind in kinds {
            if self.of_type(&kind.type_name).is_none() {
                self.kinds.push(kind);
            }
        }
    }

    /// Adds what CustomResourceDefinitions define.
    pub fn extend_by_definitions<'a>(&mut self, objects: impl IntoIterator<Item = &'a Value>) {
        self.extend(objects.into_iter().filter_map(of_definition).collect());
    }

    /// The kind of an object by its apiVersion and kind.
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.kinds.iter().find(|known| known.type_name.group() == group && known.kind == kind)
    }

    /// The kind of a type.
    pub fn of_type(&self, type_name: &TypeName) -> Option<&Kind> {
        self.kinds.iter().find(|known| &known.type_name == type_name)
    }

    /// The kind that a user's word means: its plural, singular, kind or a short name, its group behind
    /// a dot where it matters, or any of these of its federated kind. `None` when there is none.
    ///
    /// # Errors
    /// When several are meant.
    pub fn of_word(&self, word: &str) -> anyhow::Result<Option<&Kind>> {
        let (name, group) = word.split_once('.').map_or((word, None), |(name, group)| (name, Some(group)));
        if let Some(found) = self.unique(word, name, group)? {
            return Ok(Some(found));
        }
        // federateddeployments.apps.types.hansa.dev, FederatedDeployment, fdeploy
        let group = group.map(|group| match group.strip_suffix(hansa_api::target::GROUP_SUFFIX) {
            Some("core") => "",
            Some(group) => group,
            None => group,
        });
        let lower = name.to_ascii_lowercase();
        for prefix in ["federated", "f"] {
            if let Some(rest) = lower.strip_prefix(prefix)
                && let Some(found) = self.unique(word, rest, group)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn unique(&self, word: &str, name: &str, group: Option<&str>) -> anyhow::Result<Option<&Kind>> {
        let of_group = |known: &&Kind| group.is_none_or(|group| known.type_name.group() == group);
        let found: Vec<&Kind> = self.kinds.iter().filter(of_group).filter(|known| known.answers_to(name)).collect();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            several => {
                // A plural is what a plain word means before anything else.
                let by_plural: Vec<&&Kind> =
                    several.iter().filter(|known| known.type_name.resource() == name).collect();
                if let [one] = by_plural.as_slice() {
                    return Ok(Some(one));
                }
                let names: Vec<String> = several.iter().map(|known| known.type_name.to_string()).collect();
                bail!("`{word}` may be {}: say which", names.join(" or "))
            }
        }
    }
}

/// The kind that a CustomResourceDefinition defines.
fn of_definition(object: &Value) -> Option<Kind> {
    if object["kind"] != "CustomResourceDefinition" {
        return None;
    }
    let (spec, names) = (&object["spec"], &object["spec"]["names"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&names["kind"]);
    let versions = spec["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    Some(Kind {
        type_name: TypeName::new(&text(&names["plural"]), &text(&spec["group"])).ok()?,
        versions: versions.map(|version| text(&version["name"])).collect(),
        singular: names["singular"].as_str().map_or_else(|| kind.to_ascii_lowercase(), str::to_owned),
        short_names: names["shortNames"].as_array().into_iter().flatten().map(text).collect(),
        namespaced: spec["scope"] == "Namespaced",
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds() -> Kinds {
        let mut kinds = Kinds::new(builtin());
        kinds.extend_by_definitions(&[
            json!({"kind": "CustomResourceDefinition", "spec": {
                "group": "example.org", "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
                "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}],
            }}),
            json!({"kind": "CustomResourceDefinition", "spec": {
                "group": "other.org", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v2", "served": true}],
            }}),
        ]);
        kinds
    }

    #[test]
    fn words_mean_kinds() {
        let kinds = kinds();
        for (word, expected) in [
            ("deploy", "deployments.apps"),
            ("Deployment", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("federateddeployments", "deployments.apps"),
            ("federateddeployments.apps.types.hansa.dev", "deployments.apps"),
            ("FederatedConfigMap", "configmaps"),
            ("federatedconfigmaps.core.types.hansa.dev", "configmaps"),
            ("fdeploy", "deployments.apps"),
            ("cm", "configmaps"),
            ("netpol", "networkpolicies.networking.k8s.io"),
            ("wd", "widgets.example.org"),
            ("widget.other.org", "widgets.other.org"),
        ] {
            let found = kinds.of_word(word).unwrap().map(|kind| kind.type_name.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{word}");
        }
        assert_eq!(kinds.of_word("gadgets").unwrap(), None);
        assert_eq!(kinds.of_word("deployments.extensions").unwrap(), None);
        let error = kinds.of_word("widgets").unwrap_err().to_string();
        assert_eq!(error, "`widgets` may be widgets.example.org or widgets.other.org: say which");
    }

    #[test]
    fn definitions_tell_of_their_kind() {
        let kinds = kinds();
        let widget = kinds.of_object("example.org/v1", "Widget").unwrap();
        assert_eq!(
            (widget.versions.as_slice(), widget.namespaced, widget.singular.as_str()),
            (&["v1".to_owned()][..], true, "widget")
        );
        assert!(!kinds.of_object("other.org/v2", "Widget").unwrap().namespaced);
        assert_eq!(kinds.of_object("v1", "Widget"), None);
    }
}
