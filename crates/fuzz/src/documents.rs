//! What users and API servers write: specs, watch lines, lists, schemas, URLs.

use crate::same_json_again;
use hansa_kubesim::schema::Schema;
use hansa_model::{FederatedSpec, FederationSpec, TypeName};
use hansa_operator::Now;
use hansa_operator::feed::{Feed, FeedChange, FeedRequest};
use hansa_operator::observed::{HomeState, Live};
use hansa_topo::TopoUrl;
use serde_json::{Value, json};

pub fn federation(bytes: &[u8]) -> Result<(), String> {
    let spec: FederationSpec = same_json_again(bytes)?;
    let _ = spec.validate().iter().map(ToString::to_string).count();
    let _ = spec.safety.deletes.window_ms();
    Ok(())
}

pub fn federations() -> Vec<Vec<u8>> {
    let full = json!({
        "members": [
            {"name": "aws-use1", "provider": "aws", "region": "us-east-1", "labels": {"env": "prod"}, "residency": ["us"],
             "publicKeys": ["ed25519:AAAA", "x25519:AAAA"]},
            {"name": "gcp-euw4", "leaving": {"keepOutputs": true}, "witness": false},
        ],
        "types": [{"resource": "deployments.apps", "version": "v1"}, {"resource": "configmaps", "version": "v1"}],
        "namespaces": "Create", "homes": {"takeover": "Consent"},
        "safety": {"deletes": {"percent": 10, "atLeast": 20, "window": "10m"}}, "paused": false,
    });
    vec![full.to_string().into_bytes(), b"{}".to_vec()]
}

pub fn federated(bytes: &[u8]) -> Result<(), String> {
    same_json_again::<FederatedSpec>(bytes).map(drop)
}

pub fn all_federated() -> Vec<Vec<u8>> {
    let full = json!({
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}},
        "placement": {
            "memberSelector": {"matchLabels": {"env": "prod"},
                "matchExpressions": [{"key": "region", "operator": "In", "values": ["eu"]}]},
            "exclude": ["azure-sea"],
        },
        "overrides": [{"members": ["gcp-euw4"], "merge": {"spec": {"replicas": null}},
            "patches": [{"op": "replace", "path": "/spec/replicas", "value": 5}, {"op": "remove", "path": "/a~1b"}]}],
        "rollout": {"waves": [{"members": ["aws-use1"]}, {"memberSelector": {"matchLabels": {"env": "prod"}}}]},
        "adoption": "IfNoDifference", "deletionPolicy": "Orphan", "paused": true,
    });
    let secret = json!({"templateFrom": {"secretRef": {"name": "s"}}, "placement": {"members": ["gcp-euw4"]}});
    vec![full.to_string().into_bytes(), secret.to_string().into_bytes()]
}

const NOW: Now = Now { monotonic_ms: 1_000, wall_ms: 1_000, entropy: 7 };

/// A feed that watches.
fn watching() -> Feed {
    let mut feed = Feed::new("/apis/core.types.hansa.dev/v1alpha1/federatedconfigmaps".to_owned(), None);
    let FeedRequest::List(_) = feed.next(NOW) else { panic!("a feed begins with a list") };
    let empty = br#"{"metadata":{"resourceVersion":"5"},"items":[]}"#;
    feed.listed(Ok((200, empty)), NOW).expect("an empty list reads");
    feed
}

/// Everything that is made of an object that was shown. No API server shows a status that is none: the schema of every
/// federated kind says that it is an object.
fn reduce(object: &Value) {
    let type_name: TypeName = "configmaps".parse().expect("a type");
    let author = "aws-use1".parse().expect("a name");
    let home = HomeState::reduce(&type_name, object, &author);
    let live = Live::reduce(&type_name, "ConfigMap", object);
    let _ = (home.has_finalizer, live);
}

pub fn watch_line(bytes: &[u8]) -> Result<(), String> {
    match watching().line(bytes, NOW) {
        Ok(Some(FeedChange::Object(object))) => reduce(&object),
        Ok(Some(FeedChange::Gone(_, Some(object)))) => reduce(&object),
        Ok(_) => {}
        // The reason is the API server's own, which may give none.
        Err(fault) => return Err(format!("{:?}: {}", fault.status, fault.reason)),
    }
    Ok(())
}

fn shown() -> Value {
    json!({
        "apiVersion": "core.types.hansa.dev/v1alpha1", "kind": "FederatedConfigMap",
        "metadata": {
            "name": "a", "namespace": "shop", "uid": "1-2-3", "generation": 4, "resourceVersion": "17",
            "finalizers": ["hansa.dev/federated"], "labels": {"x": "y"}, "annotations": {"hansa.dev/take-home": "3"},
            "managedFields": [{"manager": "hansa", "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}}}}],
        },
        "spec": {"template": {"data": {"a": "b"}}, "placement": {"memberSelector": {}}},
        "status": {"agreed": {"revision": 3, "hash": "h"}, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

pub fn watch_lines() -> Vec<Vec<u8>> {
    let lines = [
        json!({"type": "MODIFIED", "object": shown()}),
        json!({"type": "DELETED", "object": shown()}),
        json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}}),
        json!({"type": "ERROR", "object": {"code": 410, "message": "too old"}}),
    ];
    lines.iter().map(|line| line.to_string().into_bytes()).collect()
}

pub fn list(bytes: &[u8]) -> Result<(), String> {
    let mut feed = Feed::new("/api/v1/configmaps".to_owned(), None);
    let FeedRequest::List(_) = feed.next(NOW) else { panic!("a feed begins with a list") };
    let page = feed.listed(Ok((200, bytes)), NOW).map_err(|fault| fault.reason)?;
    for item in page.items {
        reduce(&item.read().map_err(|error| error.to_string())?);
    }
    Ok(())
}

pub fn lists() -> Vec<Vec<u8>> {
    let whole = json!({"metadata": {"resourceVersion": "9"}, "items": [shown(), shown()]});
    let part = json!({"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [shown()]});
    vec![whole.to_string().into_bytes(), part.to_string().into_bytes()]
}

pub fn topo_url(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let url: TopoUrl = text.parse().map_err(|error: hansa_topo::UrlError| error.to_string())?;
    let is_password = matches!(&url, TopoUrl::Etcd(etcd)
        if etcd.password.as_ref().is_some_and(|password| password.reveal() == "hunter2"));
    if is_password && text.matches("hunter2").count() == 1 {
        assert!(!format!("{url} {url:?}").contains("hunter2"), "a password is shown: {text:?}");
    }
    Ok(())
}

pub fn topo_urls() -> Vec<Vec<u8>> {
    let urls = [
        "memory:trial?changes-kept=32",
        "sqlite:/var/lib/hansa/topo.db",
        "etcds://league:hunter2@[::1]:2379,b:2379/prod/hansa?timeout=250ms&server-name=etcd&ca=/ca.pem",
        "etcd://a/hansa?user=x&password-file=/p",
        "s3://bucket/league?endpoint=http://127.0.0.1:9000&region=eu-1",
        "gs://bucket/league?anonymous=true",
        "az://container/league?account=a",
        "quorum:s3://b/l,gs://b/l,az://c/l",
    ];
    urls.iter().map(|url| url.as_bytes().to_vec()).collect()
}

pub fn crd_schema(bytes: &[u8]) -> Result<(), String> {
    let text: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let schema = Schema::from_crd(&text).map_err(|errors| {
        errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect::<Vec<_>>().join("; ")
    })?;
    let mut object = shown();
    let _ = (schema.decode_error(&object), schema.validate(&object).len());
    schema.apply_defaults(&mut object);
    let _ = schema.prune(&mut object);
    Ok(())
}

pub fn crd_schemas() -> Vec<Vec<u8>> {
    let full = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "mode": {"type": "string", "enum": ["a", "b"], "pattern": "^[a-z]+$", "maxLength": 5},
            "list": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "maxItems": 4},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "either": {"x-kubernetes-int-or-string": true},
            "map": {"type": "object", "additionalProperties": {"type": "string", "nullable": true}},
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    vec![full.to_string().into_bytes(), br#"{"type":"object"}"#.to_vec()]
}
