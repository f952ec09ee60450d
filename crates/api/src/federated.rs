//! `Federated<Kind>`: a CustomResourceDefinition made from the target's OpenAPI document.
//!
//! Every operator makes the same bytes from the same document, whatever order its fields came in, so
//! that the league can agree on a schema by its hash.

use crate::crd::{Column, Definition};
use crate::openapi::Document;
use crate::status::FederatedStatus;
use crate::structural::{PRESERVE, add_rule, limit, node, object, rule, structural_schema};
use crate::target::{GenerateError, TargetKind};
use hansa_model::{Adoption, DeletionPolicy, Hash, Override, Placement, Rollout, TemplateSource};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// The annotation of a generated CustomResourceDefinition with the hash of what it defines.
pub const SCHEMA_HASH_ANNOTATION: &str = "hansa.dev/schema-hash";

/// The annotation of a generated CustomResourceDefinition with the target's type and version.
pub const TARGET_ANNOTATION: &str = "hansa.dev/target";

/// The most overrides that one object may have.
const OVERRIDES_LIMIT: usize = 256;

/// A template's schema above this many bytes is left open. An API server keeps an object of at most
/// 1.5 MiB, and the CustomResourceDefinition has more to hold than the schema.
const SCHEMA_LIMIT: usize = 900 * 1024;

/// The CustomResourceDefinition of the `Federated<Kind>` of a kind, from the OpenAPI v3 document of
/// the kind's group and version ([`TargetKind::openapi_path`]).
///
/// # Errors
/// When the kind is never federated, a generated name is too long, or the document does not describe
/// the kind.
pub fn federated_crd(target: &TargetKind, openapi: &Value) -> Result<Value, GenerateError> {
    target.federable()?;
    let template = template_schema(target, openapi)?;
    let mut crd = definition(target, template).to_json();
    let hash = schema_hash(&crd).to_string();
    crd["metadata"]["annotations"][SCHEMA_HASH_ANNOTATION] = hash.into();
    Ok(crd)
}

/// The hash of what a CustomResourceDefinition defines: equal in two members when they serve the
/// very same kind.
pub fn schema_hash(crd: &Value) -> Hash {
    Hash::of(&crd["spec"])
}

fn template_schema(target: &TargetKind, openapi: &Value) -> Result<Value, GenerateError> {
    let document = Document::new(openapi);
    let (name, schema) = target.schema_in(&document)?;
    let mut template =
        document.template(&target.api_version(), &target.kind, name, schema).map_err(|broken| target.broken(broken))?;
    if hansa_model::canonical::to_vec(&template).len() > SCHEMA_LIMIT {
        template = opened(&template);
    }
    Ok(template)
}

/// What is left of a template's schema that is too large to be kept: identity and replicas.
fn opened(template: &Value) -> Value {
    let identity: Map<String, Value> = ["apiVersion", "kind", "metadata"]
        .iter()
        .map(|field| ((*field).to_owned(), template["properties"][*field].clone()))
        .collect();
    let mut open = json!({"type": "object", PRESERVE: true, "properties": identity});
    if let Some(replicas) = template.pointer(REPLICAS) {
        open["properties"]["spec"] = json!({"type": "object", PRESERVE: true, "properties": {"replicas": replicas}});
    }
    open
}

/// Where a template says how many replicas it has.
const REPLICAS: &str = "/properties/spec/properties/replicas";

pub(crate) fn definition(target: &TargetKind, template: Value) -> Definition {
    let scalable = target.scale && template.pointer(REPLICAS).is_some_and(|replicas| replicas["type"] == "integer");
    let kind = &target.kind;
    let is_secret = target.name.resource() == "secrets" && target.name.group().is_empty();
    let spec = if is_secret { secret_spec() } else { spec(template) };
    let rules = if is_secret {
        Vec::new()
    } else {
        vec![json!({
            "rule": "!has(self.spec.template.metadata) || !has(self.spec.template.metadata.name) || \
                     self.spec.template.metadata.name == self.metadata.name",
            "message": "the target has the name of the federated object: make the two equal, or leave this one out",
            "fieldPath": ".spec.template.metadata.name",
        })]
    };
    Definition {
        group: target.name.federated_group(),
        kind: target.federated_kind(),
        plural: target.name.federated_plural(),
        short_names: target.federated_short_names(),
        namespaced: target.namespaced,
        description: format!(
            "A {kind} in several members of the league: a template, where it is placed, and what differs there."
        ),
        spec,
        status: structural_schema::<FederatedStatus>(),
        rules,
        columns: columns(),
        // There is no labelSelectorPath, and none may be added: with one, an autoscaler could attach
        // here and would count the pods of this cluster alone.
        scale: scalable.then(|| {
            json!({
                "specReplicasPath": ".spec.template.spec.replicas",
                "statusReplicasPath": ".status.aggregate.replicas",
            })
        }),
        annotations: Map::from_iter([(
            TARGET_ANNOTATION.to_owned(),
            format!("{}/{}", target.name, target.version).into(),
        )]),
    }
}

fn spec(template: Value) -> Value {
    let mut properties = common();
    properties["template"] = template;
    limit(
        &mut properties["template"],
        json!({"description": "The target object without its status. It gets the name and namespace of this object."}),
    );
    json!({"type": "object", "required": ["placement", "template"], "properties": properties})
}

/// A Secret's values never stand in a federated object: custom resources are covered neither by the
/// encryption at rest nor by the access rules that a cluster has for Secrets.
fn secret_spec() -> Value {
    const MEND: &str = "a Secret's values do not belong here: keep them in a Secret of this namespace and name it in \
                        spec.templateFrom.secretRef";
    let mut properties = common();
    properties["templateFrom"] = structural_schema::<TemplateSource>();
    // Declared so that it can be refused with the mend instead of being dropped as an unknown field.
    properties["template"] = json!({
        "type": "object",
        PRESERVE: true,
        "description": "Never allowed: name a Secret in templateFrom.",
    });
    let open = json!({"type": "object", PRESERVE: true, "nullable": true});
    node(&mut properties["overrides"], &["[]", "merge"])["properties"] = json!({"data": open, "stringData": open});
    add_rule(
        node(&mut properties["overrides"], &["[]", "merge"]),
        rule("!has(self.data) && !has(self.stringData)", MEND),
    );
    add_rule(
        node(&mut properties["overrides"], &["[]", "patches", "[]", "path"]),
        rule("!self.startsWith('/data') && !self.startsWith('/stringData')", MEND),
    );
    let mut spec = json!({
        "type": "object",
        "required": ["placement"],
        "properties": properties,
    });
    add_rule(&mut spec, rule("!has(self.template) && has(self.templateFrom)", MEND));
    spec
}

/// What every federated object has beside its template: the fields of `hansa_model::FederatedSpec`
/// that do not depend on the target.
#[expect(dead_code, reason = "only the schema of this type is used")]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Common {
    /// Which members have the object.
    placement: Placement,
    /// What differs from the template, and in which members; applied in list order.
    #[schemars(extend("maxItems" = OVERRIDES_LIMIT))]
    overrides: Vec<Override>,
    /// What to do where the object exists already; IfNoDifference when it is left out.
    adoption: Adoption,
    /// What becomes of the outputs when the federated object is deleted; Delete when it is left out.
    deletion_policy: DeletionPolicy,
    /// In which order the members get a new revision; all at once when it is left out.
    rollout: Rollout,
    /// While true, the outputs of this object are left as they are.
    paused: bool,
}

fn common() -> Value {
    let mut common = structural_schema::<Common>();
    let placement = node(&mut common, &["placement"]);
    bound_selector(node(placement, &["memberSelector"]));
    add_rule(
        placement,
        rule(
            "!(has(self.members) && has(self.memberSelector))",
            "members are chosen by name or by label, not both: remove members or memberSelector",
        ),
    );
    let wave = node(&mut common, &["rollout", "waves", "[]"]);
    bound_selector(node(wave, &["memberSelector"]));
    add_rule(
        wave,
        rule(
            "has(self.members) != has(self.memberSelector)",
            "a wave chooses members by name or by label: give one of members and memberSelector",
        ),
    );
    let item = node(&mut common, &["overrides", "[]"]);
    bound_selector(node(item, &["memberSelector"]));
    // What a user leaves out stays out of the stored object.
    object(node(item, &["patches", "[]", "op"])).remove("default");
    // A patch may set a field to null.
    limit(node(item, &["patches", "[]", "value"]), json!({"nullable": true}));
    common["properties"].take()
}

/// Limits that Kubernetes has for labels, so that the cost of rules stays countable.
fn bound_selector(selector: &mut Value) {
    limit(node(selector, &["matchLabels"]), json!({"maxProperties": 64}));
    limit(node(selector, &["matchLabels", "{}"]), json!({"maxLength": 63}));
    limit(node(selector, &["matchExpressions"]), json!({"maxItems": 64}));
    let requirement = node(selector, &["matchExpressions", "[]"]);
    limit(node(requirement, &["key"]), json!({"maxLength": 317}));
    limit(node(requirement, &["values"]), json!({"maxItems": 256}));
    limit(node(requirement, &["values", "[]"]), json!({"maxLength": 63}));
}

fn columns() -> Vec<Column> {
    vec![
        Column {
            name: "PLACED",
            type_: "integer",
            json_path: ".status.summary.placed",
            priority: 0,
            description: "How many members shall have the object.",
        },
        Column {
            name: "APPLIED",
            type_: "integer",
            json_path: ".status.summary.applied",
            priority: 0,
            description: "How many of them have applied this revision.",
        },
        Column {
            name: "READY",
            type_: "integer",
            json_path: ".status.summary.ready",
            priority: 0,
            description: "How many of them report their output healthy.",
        },
        Column {
            name: "AGREED",
            type_: "string",
            json_path: ".status.conditions[?(@.type==\"Agreed\")].status",
            priority: 0,
            description: "Whether this object's spec is the league's.",
        },
        Column::AGE,
        Column {
            name: "REVISION",
            type_: "integer",
            json_path: ".status.agreed.revision",
            priority: 1,
            description: "The revision that this home last brought in.",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structural::VALIDATIONS;
    use hansa_model::FederatedSpec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn target(name: &str, kind: &str) -> TargetKind {
        TargetKind {
            name: name.parse().unwrap(),
            version: "v1".into(),
            kind: kind.into(),
            namespaced: true,
            scale: true,
            short_names: vec!["wd".into()],
        }
    }

    /// A document with one kind, whose spec has these properties.
    fn openapi(target: &TargetKind, properties: Value) -> Value {
        json!({"components": {"schemas": {"some.Kind": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": target.name.group(), "version": "v1", "kind": target.kind}],
            "properties": {"spec": {"type": "object", "properties": properties}},
        }}}})
    }

    fn version(crd: &Value) -> &Value {
        &crd["spec"]["versions"][0]
    }

    #[test]
    fn the_crd_has_names_of_the_target_and_tells_what_it_was_made_of() {
        let widget = target("widgets.example.org", "Widget");
        let crd = federated_crd(&widget, &openapi(&widget, json!({"replicas": {"type": "integer"}}))).unwrap();
        assert_eq!(crd["metadata"]["name"], "federatedwidgets.example.org.types.hansa.dev");
        assert_eq!(crd["metadata"]["annotations"][TARGET_ANNOTATION], "widgets.example.org/v1");
        assert_eq!(crd["metadata"]["annotations"][SCHEMA_HASH_ANNOTATION], schema_hash(&crd).to_string());
        let names = &crd["spec"]["names"];
        assert_eq!((&names["kind"], &names["singular"]), (&json!("FederatedWidget"), &json!("federatedwidget")));
        assert_eq!((&names["shortNames"], &names["categories"]), (&json!(["fwd"]), &json!(["federated"])));
    }

    #[test]
    fn only_what_has_replicas_scales_and_without_a_selector() {
        let widget = target("widgets.example.org", "Widget");
        let scale = |target: &TargetKind, properties: Value| {
            let crd = federated_crd(target, &openapi(target, properties)).unwrap();
            version(&crd)["subresources"].get("scale").cloned()
        };
        let scaled = scale(&widget, json!({"replicas": {"type": "integer"}})).unwrap();
        assert_eq!(scaled["specReplicasPath"], ".spec.template.spec.replicas");
        assert_eq!(scaled.get("labelSelectorPath"), None);
        assert_eq!(scale(&widget, json!({"size": {"type": "integer"}})), None);
        let unscaled = TargetKind { scale: false, ..widget };
        assert_eq!(scale(&unscaled, json!({"replicas": {"type": "integer"}})), None);
    }

    #[test]
    fn a_schema_that_no_api_server_could_keep_is_left_open() {
        let widget = target("widgets.example.org", "Widget");
        let mut properties: Map<String, Value> =
            (0..30_000).map(|index| (format!("field{index}"), json!({"type": "string", "maxLength": 10}))).collect();
        properties.insert("replicas".into(), json!({"type": "integer"}));
        let crd = federated_crd(&widget, &openapi(&widget, properties.into())).unwrap();
        assert!(crd.to_string().len() < 20_000);
        let template = version(&crd).pointer("/schema/openAPIV3Schema/properties/spec/properties/template").unwrap();
        assert_eq!(template[PRESERVE], true);
        assert_eq!(template["properties"]["kind"]["enum"], json!(["Widget"]));
        assert!(version(&crd)["subresources"]["scale"].is_object());
    }

    #[test]
    fn a_missing_schema_says_where_to_look() {
        let widget = target("widgets.example.org", "Widget");
        let message = federated_crd(&widget, &json!({})).unwrap_err().to_string();
        for words in ["widgets.example.org", "kind Widget", "kubectl get --raw /openapi/v3/apis/example.org/v1"] {
            assert!(message.contains(words), "{message}");
        }
    }

    /// The fields of the generated kinds are those that the operators read.
    #[test]
    fn the_spec_has_the_fields_of_the_model() {
        let full: FederatedSpec = serde_json::from_value(json!({
            "template": {}, "templateFrom": {"secretRef": {"name": "s"}}, "placement": {},
            "overrides": [{}], "adoption": "Always", "deletionPolicy": "Orphan", "paused": true,
            "rollout": {"waves": [{}]},
        }))
        .unwrap();
        let known =
            |schema: Value| -> BTreeSet<String> { schema["properties"].as_object().unwrap().keys().cloned().collect() };
        let model: BTreeSet<String> =
            serde_json::to_value(&full).unwrap().as_object().unwrap().keys().cloned().collect();
        let generated = &known(spec(json!({}))) | &known(secret_spec());
        assert_eq!(generated, model);
        assert!(!known(spec(json!({}))).contains("templateFrom"));
    }

    #[test]
    fn rules_stand_where_they_apply() {
        let rules = |spec: &Value, pointer: &str| spec.pointer(pointer).unwrap()[VALIDATIONS].is_array();
        assert!(rules(&spec(json!({})), "/properties/placement"));
        let secret = secret_spec();
        for pointer in [
            "",
            "/properties/overrides/items/properties/merge",
            "/properties/overrides/items/properties/patches/items/properties/path",
        ] {
            assert!(rules(&secret, pointer), "{pointer}");
        }
    }

    proptest! {
        /// Documents come in any order of fields; operators must agree on the hash.
        #[test]
        fn the_order_of_a_document_does_not_count(
            fields in prop::collection::btree_map("[a-z]{1,6}", "string|integer|boolean", 1..12),
            cut in 0usize..12,
        ) {
            let widget = target("widgets.example.org", "Widget");
            let entries: Vec<String> =
                fields.iter().map(|(name, type_)| format!(r#""{name}": {{"type": "{type_}"}}"#)).collect();
            let (head, tail) = entries.split_at(cut.min(entries.len()));
            let made = |entries: Vec<&String>| {
                let entries: Vec<&str> = entries.into_iter().map(String::as_str).collect();
                let properties = serde_json::from_str(&format!("{{{}}}", entries.join(","))).unwrap();
                schema_hash(&federated_crd(&widget, &openapi(&widget, properties)).unwrap())
            };
            prop_assert_eq!(made(head.iter().chain(tail).collect()), made(tail.iter().chain(head).rev().collect()));
        }
    }
}
