//! The concrete object for this member.

use crate::machine::{Context, Operator};
use hansa_ledger::Record;
use hansa_model::{FederatedSpec, MemberName, RecordKey};
use hansa_render::{BuiltInKeys, Identity, ListKeys, Marks, SchemaKeys};
use serde_json::Value;

impl Operator {
    /// The concrete object for this member.
    pub(crate) fn render(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
    ) -> Result<hansa_render::Output, String> {
        self.render_for(key, context, record, spec, &self.config.member)
    }

    /// The concrete object for a member.
    pub(crate) fn render_for(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
        member: &MemberName,
    ) -> Result<hansa_render::Output, String> {
        let template = self.template(key, context, record, spec)?;
        self.render_template(key, context, record, spec, &template, member)
    }

    /// The concrete object that a template gives for a member.
    pub(super) fn render_template(
        &self,
        key: &RecordKey,
        context: &Context,
        record: &Record,
        spec: &FederatedSpec,
        template: &Value,
        member: &MemberName,
    ) -> Result<hansa_render::Output, String> {
        let group = key.type_name.group();
        let version = &context.federated_type.version;
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let identity =
            Identity { api_version: api_version.clone(), kind: context.installed.kind.clone(), key: key.clone() };
        let member = context.spec.member(member).ok_or_else(|| format!("{member} is no member of the league"))?;
        let marks = Marks { league: context.league, incarnation: record.incarnation, revision: record.revision };
        let built_in = BuiltInKeys::of(&api_version, &context.installed.kind);
        let schema = SchemaKeys(context.installed.list_keys.clone());
        let keys: &dyn ListKeys = if context.installed.list_keys.is_empty() { &built_in } else { &schema };
        let mut output = hansa_render::output(&identity, template, &spec.overrides, member, &marks, keys)
            .map_err(|error| error.to_string())?;
        output.hash = self.remembered_hash(&key.type_name, output.hash);
        Ok(output)
    }
}
