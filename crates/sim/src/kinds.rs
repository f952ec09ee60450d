//! The federated kinds of simulated leagues, and where their objects lie.

use hansa_model::{RecordKey, TypeName};
use serde_json::{Value, json};

/// A kind that is federated here.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `plural.group`.
    pub type_name: &'static str,
    /// The target's version.
    pub version: &'static str,
    /// The target's kind.
    pub kind: &'static str,
}

/// All of them.
pub const KINDS: [Kind; 2] = [
    Kind { type_name: "configmaps", version: "v1", kind: "ConfigMap" },
    Kind { type_name: "deployments.apps", version: "v1", kind: "Deployment" },
];

impl Kind {
    /// The kind of a type.
    pub fn of(type_name: &TypeName) -> Kind {
        let name = type_name.to_string();
        *KINDS.iter().find(|kind| kind.type_name == name).expect("only these kinds are federated here")
    }

    /// The target's apiVersion.
    pub fn api_version(self) -> String {
        match self.type_name.split_once('.') {
            Some((_, group)) => format!("{group}/{}", self.version),
            None => self.version.to_owned(),
        }
    }

    /// A template whose content is an edition's.
    pub fn template(self, edition: u64) -> Value {
        match self.kind {
            "Deployment" => json!({"spec": {
                "replicas": 1 + edition % 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": format!("web:{edition}")}]},
                },
            }}),
            _ => json!({"data": {"edition": edition.to_string(), "colour": "blue"}}),
        }
    }

    /// An override of that template.
    pub fn change(self, edition: u64) -> Value {
        match self.kind {
            "Deployment" => json!({"spec": {"template": {"spec": {"containers": [
                {"name": "web", "image": format!("elsewhere/web:{edition}")},
            ]}}}}),
            _ => json!({"data": {"colour": format!("red-{edition}")}}),
        }
    }

    /// What somebody else writes into an output: a field of Hansa's, or another one.
    pub fn meddling(self, edition: u64, ours: bool) -> Value {
        match (self.kind, ours) {
            ("Deployment", true) => json!({"spec": {"replicas": 7 + edition % 3}}),
            ("Deployment", false) => json!({"spec": {"minReadySeconds": edition % 60}}),
            (_, true) => json!({"data": {"edition": format!("meddled-{edition}")}}),
            (_, false) => json!({"data": {"stranger": edition.to_string()}}),
        }
    }
}

fn object(group: &str, version: &str, plural: &str, key: &RecordKey) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    format!("{root}/namespaces/{}/{plural}/{}", key.namespace, key.name)
}

/// The path of an output.
pub fn output_path(key: &RecordKey) -> String {
    object(key.type_name.group(), Kind::of(&key.type_name).version, key.type_name.resource(), key)
}

/// The path of a federated object.
pub fn home_path(key: &RecordKey) -> String {
    object(&key.type_name.federated_group(), "v1alpha1", &key.type_name.federated_plural(), key)
}

/// The path of a collection of outputs, in all namespaces.
pub fn outputs_path(type_name: &TypeName) -> String {
    let (group, version) = (type_name.group(), Kind::of(type_name).version);
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    format!("{root}/{}", type_name.resource())
}

/// The path of a collection of federated objects, in all namespaces.
pub fn homes_path(type_name: &TypeName) -> String {
    format!("/apis/{}/v1alpha1/{}", type_name.federated_group(), type_name.federated_plural())
}

/// The type of a name that is known to be good.
pub fn type_name(text: &str) -> TypeName {
    text.parse().expect("the types are well named")
}

/// What a request is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    /// A federated object; with the subresource.
    Home(RecordKey, String),
    /// An output.
    Output(RecordKey),
    /// A namespace or a CRD as a whole: `namespaces/shop`.
    Ground(String),
    /// A collection of federated objects.
    Homes,
    /// Hansa's own kinds.
    Own,
    /// The collection of namespaces.
    Namespaces,
    /// Events, by which people are told.
    Events,
    /// All the rest.
    Other,
}

impl About {
    /// Reads a path.
    pub fn read(path: &str) -> About {
        let path = path.split('?').next().unwrap_or(path);
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return About::Other,
        };
        match rest {
            _ if group == "hansa.dev" => About::Own,
            ["namespaces"] => About::Namespaces,
            ["namespaces", _, "events", ..] => About::Events,
            // Answers with data lie in a Secret beside their Request.
            ["namespaces", _, "secrets"] | ["namespaces", _, "secrets", _] => About::Own,
            ["namespaces", _, plural] => {
                let is_homes = |kind: &Kind| {
                    let type_name = type_name(kind.type_name);
                    group == type_name.federated_group() && *plural == type_name.federated_plural()
                };
                if KINDS.iter().any(is_homes) { About::Homes } else { About::Other }
            }
            ["namespaces", name] => About::Ground(format!("namespaces/{name}")),
            ["customresourcedefinitions", name] => About::Ground(format!("customresourcedefinitions/{name}")),
            ["namespaces", namespace, plural, name, below @ ..] => {
                for kind in KINDS {
                    let type_name = type_name(kind.type_name);
                    let key = |type_name: TypeName| RecordKey::new(type_name, namespace, name);
                    if group == type_name.group() && *plural == type_name.resource() {
                        return About::Output(key(type_name));
                    }
                    if group == type_name.federated_group() && *plural == type_name.federated_plural() {
                        return About::Home(key(type_name), below.join("/"));
                    }
                }
                About::Other
            }
            _ => About::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_back() {
        for text in ["configmaps/shop/a", "deployments.apps/shop/a"] {
            let key: RecordKey = text.parse().unwrap();
            assert_eq!(About::read(&output_path(&key)), About::Output(key.clone()));
            let status = format!("{}/status?fieldManager=hansa", home_path(&key));
            assert_eq!(About::read(&status), About::Home(key, "status".to_owned()));
        }
        assert_eq!(About::read("/api/v1/namespaces/shop"), About::Ground("namespaces/shop".to_owned()));
        assert_eq!(About::read("/apis/hansa.dev/v1alpha1/members/aws"), About::Own);
        let homes = "/apis/core.types.hansa.dev/v1alpha1/namespaces/shop/federatedconfigmaps?fieldManager=hansa";
        assert_eq!(About::read(homes), About::Homes);
        assert_eq!(About::read("/api/v1/namespaces/shop/pods/a"), About::Other);
    }
}
