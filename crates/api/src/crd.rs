//! CustomResourceDefinitions as JSON.

use crate::VERSION;
use serde_json::{Map, Value, json};

/// A column of `kubectl get`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub type_: &'static str,
    /// Where the value stands.
    pub json_path: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: u8,
    /// What the column tells.
    pub description: &'static str,
}

impl Column {
    /// The age of the object, as every kind has it.
    pub const AGE: Column = Column {
        name: "AGE",
        type_: "date",
        json_path: ".metadata.creationTimestamp",
        priority: 0,
        description: "When the object was created.",
    };

    fn to_json(&self) -> Value {
        let mut column = json!({
            "name": self.name, "type": self.type_, "jsonPath": self.json_path, "description": self.description,
        });
        if self.priority > 0 {
            column["priority"] = self.priority.into();
        }
        column
    }
}

/// What a CustomResourceDefinition is made of; there is one version, and it has a status.
#[derive(Clone, PartialEq, Debug)]
pub struct Definition {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The plural, in lower case.
    pub plural: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
    /// What an object of this kind is.
    pub description: String,
    /// The schema of `spec`.
    pub spec: Value,
    /// The schema of `status`.
    pub status: Value,
    /// Rules about the whole object.
    pub rules: Vec<Value>,
    /// Columns of `kubectl get`.
    pub columns: Vec<Column>,
    /// The scale subresource, if there is one.
    pub scale: Option<Value>,
    /// Annotations of the CustomResourceDefinition.
    pub annotations: Map<String, Value>,
}

impl Definition {
    /// The object's name: `<plural>.<group>`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The CustomResourceDefinition.
    pub fn to_json(&self) -> Value {
        let singular = self.kind.to_lowercase();
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": singular,
            "categories": [crate::CATEGORY],
        });
        if !self.short_names.is_empty() {
            names["shortNames"] = self.short_names.clone().into();
        }
        let mut status = self.status.clone();
        // One operator writes it, as a whole. With an owner for each field, managedFields would outgrow the
        // status itself, and keeping their books would be most of what a write of it costs an API server.
        status["x-kubernetes-map-type"] = "atomic".into();
        let mut schema = json!({
            "type": "object",
            "description": self.description,
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": self.spec,
                "status": status,
            },
        });
        for rule in &self.rules {
            crate::structural::add_rule(&mut schema, rule.clone());
        }
        let mut subresources = json!({"status": {}});
        if let Some(scale) = &self.scale {
            subresources["scale"] = scale.clone();
        }
        let mut metadata = json!({
            "name": self.name(),
            "labels": {"app.kubernetes.io/part-of": "hansa"},
        });
        if !self.annotations.is_empty() {
            metadata["annotations"] = self.annotations.clone().into();
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": metadata,
            "spec": {
                "group": self.group,
                "names": names,
                "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
                "versions": [{
                    "name": VERSION,
                    "served": true,
                    "storage": true,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": subresources,
                    "additionalPrinterColumns": self.columns.iter().map(Column::to_json).collect::<Vec<_>>(),
                }],
            },
        })
    }
}
