//! Substitution outputs, computed by the code that operators compute them with.

use crate::cluster::Cluster;
use crate::kinds::Kind;
use crate::league::League;
use crate::resource::Resource;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hansa_api::TargetKind;
use hansa_model::{FederatedSpec, FederatedType, Hash, LeagueId, MemberName, RecordKey};
use hansa_render::{BuiltInKeys, Identity, ListKeys, Marks, SchemaKeys};
use serde_json::Value;

/// A type as the league federates it, with what rendering needs to know of it.
pub struct Rendering {
    /// The version of the target.
    pub version: String,
    /// The type, as the league's spec lists it.
    pub federated_type: FederatedType,
    /// The kind.
    pub kind: Kind,
    api_version: String,
    keys: Box<dyn ListKeys + Send + Sync>,
    league: LeagueId,
}

impl Rendering {
    /// What the league, and where the kind is not built in the cluster's schema, say of a kind.
    ///
    /// # Errors
    /// When the league does not federate the type.
    pub async fn of(cluster: &Cluster, league: &League, kind: &Kind) -> anyhow::Result<Self> {
        let type_name = &kind.type_name;
        let listed = league.spec.types.iter().find(|federated| &federated.resource == type_name);
        let federated_type = listed.cloned().with_context(|| {
            format!("{type_name} are not federated in this league: enable them first (`hansa type enable {type_name}`)")
        })?;
        let version = federated_type.version.clone();
        let api_version = match type_name.group() {
            "" => version.clone(),
            group => format!("{group}/{version}"),
        };
        let keys: Box<dyn ListKeys + Send + Sync> = match schema_keys(cluster, kind, &version).await? {
            Some(keys) => Box::new(keys),
            None => Box::new(BuiltInKeys::of(&api_version, &kind.kind)),
        };
        // Before the league is founded there are no marks; they are left out of every comparison.
        let league = league.id.unwrap_or(LeagueId(Hash::of_bytes(b"")));
        Ok(Rendering { version, federated_type, kind: kind.clone(), api_version, keys, league })
    }

    /// Which object an output is.
    pub fn identity(&self, key: &RecordKey) -> Identity {
        Identity { api_version: self.api_version.clone(), kind: self.kind.kind.clone(), key: key.clone() }
    }

    /// The keys of the kind's lists.
    pub fn keys(&self) -> &dyn ListKeys {
        self.keys.as_ref()
    }

    /// The output for a member.
    ///
    /// # Errors
    /// When the member is none of the league, or the template or an override gives no output.
    pub fn output(
        &self,
        league: &League,
        key: &RecordKey,
        spec: &FederatedSpec,
        template: &Value,
        member: &MemberName,
        life: Life,
    ) -> anyhow::Result<Value> {
        let member = league
            .spec
            .member(member)
            .with_context(|| format!("{member} is no member of the league: `hansa status` lists them"))?;
        let marks = Marks { league: self.league, incarnation: life.incarnation, revision: life.revision };
        let output = hansa_render::output(&self.identity(key), template, &spec.overrides, member, &marks, self.keys())?;
        Ok(output.object)
    }
}

/// The life and revision that an output is marked with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Life {
    /// The life of the federated object.
    pub incarnation: hansa_model::Incarnation,
    /// The record's revision.
    pub revision: hansa_model::Revision,
}

/// By which keys the lists of a custom resource are merged; `None` for a built-in kind.
async fn schema_keys(cluster: &Cluster, kind: &Kind, version: &str) -> anyhow::Result<Option<SchemaKeys>> {
    let group = kind.type_name.group();
    // As the operators tell them apart.
    if !group.contains('.') || group.ends_with(".k8s.io") {
        return Ok(None);
    }
    let list = document(cluster, &format!("/apis/{group}/{version}")).await?;
    let target =
        TargetKind::discovered(&list).into_iter().find(|target| target.name == kind.type_name).with_context(|| {
            format!(
                "this cluster does not serve {} in version {version}: install its CustomResourceDefinition here",
                kind.type_name
            )
        })?;
    let openapi = document(cluster, &target.openapi_path()).await?;
    Ok(Some(SchemaKeys(hansa_api::list_map_keys(&target, &openapi)?)))
}

async fn document(cluster: &Cluster, path: &str) -> anyhow::Result<Value> {
    let (status, body) = cluster.raw(path, "application/json").await?;
    if status != 200 {
        let words = String::from_utf8_lossy(&body);
        bail!("{path}: the API server answers {status}: {}", words.trim());
    }
    serde_json::from_slice(&body).with_context(|| format!("{path}: the API server's answer"))
}

/// The template of a federated object: its own, or that of the Secret that it names, from `secrets`
/// or from the cluster.
///
/// # Errors
/// When the Secret cannot be read.
pub async fn template(
    cluster: &Cluster,
    key: &RecordKey,
    spec: &FederatedSpec,
    secrets: &[Value],
) -> anyhow::Result<Value> {
    if let Some(template) = &spec.template {
        return Ok(template.clone());
    }
    let Some(source) = &spec.template_from else {
        bail!("spec.template: it is required (or spec.templateFrom, for a Secret)");
    };
    let name = &source.secret_ref.name;
    let is_it = |secret: &&Value| {
        let namespace = secret["metadata"]["namespace"].as_str().unwrap_or(&key.namespace);
        secret["metadata"]["name"] == **name && namespace == &*key.namespace
    };
    let secret = match secrets.iter().find(is_it) {
        Some(secret) => secret.clone(),
        None => {
            let resource = Resource::new("", "v1", "secrets").in_namespace(&key.namespace).named(name);
            cluster.get(&resource).await.context("spec.templateFrom.secretRef")?
        }
    };
    of_secret(secret)
}

/// The template that a Secret gives: with everything in `data`, as an API server keeps it.
fn of_secret(mut secret: Value) -> anyhow::Result<Value> {
    for (field, fallback) in [("apiVersion", "v1"), ("kind", "Secret")] {
        if secret[field].is_null() {
            secret[field] = fallback.into();
        }
    }
    let (mut template, _) = hansa_render::strip(&secret)?;
    let Some(fields) = template.as_object_mut() else { return Ok(template) };
    if let Some(Value::Object(texts)) = fields.remove("stringData") {
        for (name, text) in texts {
            fields.entry("data").or_insert_with(|| Value::Object(Default::default()))[name] =
                STANDARD.encode(text.as_str().unwrap_or_default()).into();
        }
    }
    fields.entry("type").or_insert_with(|| "Opaque".into());
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_gives_its_template_as_an_api_server_keeps_it() {
        let template = of_secret(json!({
            "metadata": {"name": "keys", "namespace": "shop", "uid": "u", "resourceVersion": "1", "labels": {"app": "shop"}},
            "data": {"a": "YQ=="}, "stringData": {"b": "b"},
        }))
        .unwrap();
        assert_eq!(
            template,
            json!({"metadata": {"labels": {"app": "shop"}}, "type": "Opaque", "data": {"a": "YQ==", "b": "Yg=="}})
        );
    }
}
