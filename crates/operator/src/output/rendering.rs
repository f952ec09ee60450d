//! The concrete object for this member.

use super::{OutputWork, Rendered};
use crate::machine::{Context, Operator};
use hansa_ledger::Record;
use hansa_ledger::cell::State;
use hansa_model::{FederatedSpec, Hash, MemberName, RecordKey};
use hansa_render::{BuiltInKeys, Identity, ListKeys, Marks, SchemaKeys};
use serde_json::Value;
use std::sync::Arc;

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
        let marks = Marks { league: context.league, incarnation: record.incarnation, revision: record.revision };
        let mut output = substitute(key, context, marks, spec, template, member)?;
        output.hash = self.remembered_hash(&key.type_name, output.hash);
        Ok(output)
    }

    /// The hash of the output for this member, from what was rendered before when nothing of it
    /// changed. What is sealed is opened each time: whether it opens depends on more.
    pub(super) fn output_hash(
        &self,
        key: &RecordKey,
        context: &Context,
        work: &mut OutputWork,
        record: &Record,
        spec: &FederatedSpec,
    ) -> Result<Hash, (State, String)> {
        let known = work.rendered.as_ref().filter(|known| {
            record.sealed.is_none()
                && Arc::ptr_eq(&known.installed, &context.installed)
                && known.generation == context.generation
                && (known.incarnation, known.revision) == (record.incarnation, record.revision)
                && known.intent == record.intent.hash
        });
        if let Some(known) = known {
            return Ok(known.output);
        }
        // What is sealed and does not open may open yet; what stands here is left as it is.
        let unread = if record.sealed.is_some() { State::Waiting } else { State::Refused };
        let template = self.template(key, context, record, spec).map_err(|error| (unread, error))?;
        let rendered = self.render_template(key, context, record, spec, &template, &self.config.member);
        let output = rendered.map_err(|error| (State::Refused, error))?.hash;
        work.rendered = Some(Rendered {
            installed: Arc::clone(&context.installed),
            generation: context.generation,
            incarnation: record.incarnation,
            revision: record.revision,
            intent: record.intent.hash,
            output,
        });
        Ok(output)
    }
}

/// Which object an output is.
pub(crate) fn identity(key: &RecordKey, context: &Context) -> Identity {
    let group = key.type_name.group();
    let version = &context.federated_type.version;
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    Identity { api_version, kind: context.installed.kind.clone(), key: key.clone() }
}

/// By which keys the lists of an output are merged.
pub(crate) fn list_keys(identity: &Identity, context: &Context) -> Box<dyn ListKeys> {
    match &context.installed.list_keys {
        keys if keys.is_empty() => Box::new(BuiltInKeys::of(&identity.api_version, &identity.kind)),
        keys => Box::new(SchemaKeys(keys.clone())),
    }
}

/// The concrete object that a template and overrides give for a member.
pub(crate) fn substitute(
    key: &RecordKey,
    context: &Context,
    marks: Marks,
    spec: &FederatedSpec,
    template: &Value,
    member: &MemberName,
) -> Result<hansa_render::Output, String> {
    let identity = identity(key, context);
    let member = context.spec.member(member).ok_or_else(|| format!("{member} is no member of the league"))?;
    hansa_render::output(&identity, template, &spec.overrides, member, &marks, &*list_keys(&identity, context))
        .map_err(|error| error.to_string())
}
