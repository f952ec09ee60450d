//! Names: of members, leagues, federated types and records, each checked where it is made.

use crate::canonical::Hash;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A name that breaks its rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} `{name}` is not valid: {rule}")]
pub struct InvalidName {
    /// What is being named, for people: "member name".
    pub what: &'static str,
    /// The refused text.
    pub name: String,
    /// What is expected instead.
    pub rule: &'static str,
}

/// As much of a refused text as an error shows: what others wrote may be of any length.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| alphanumeric(&byte) || byte == b'-')
        && text.as_bytes().first().is_some_and(alphanumeric)
        && text.as_bytes().last().is_some_and(alphanumeric)
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

/// The name of a member: a DNS label (RFC 1123), for it stands in keys, labels and host names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName(Arc<str>);

impl MemberName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MemberName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_dns_label(text) {
            Ok(MemberName(text.into()))
        } else {
            Err(InvalidName {
                what: "member name",
                name: shown(text),
                rule: "a DNS label is expected: at most 63 of a-z, 0-9 and -, with a letter or digit at both ends",
            })
        }
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(MemberName);

impl JsonSchema for MemberName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MemberName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
        })
    }
}

/// The id of a league: the hash of its first spec, pinned in every member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeagueId(pub Hash);

impl LeagueId {
    /// The value of the label `hansa.dev/league` on outputs.
    pub fn label(&self) -> String {
        self.0.short()
    }
}

impl FromStr for LeagueId {
    type Err = crate::canonical::InvalidHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(LeagueId)
    }
}

impl fmt::Display for LeagueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_serde!(LeagueId);

/// A federated type by the plural and group of its target: `deployments.apps`, `configmaps`.
///
/// The version is not part of the name: a type is federated in one version at a time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName {
    resource: Arc<str>,
    group: Arc<str>,
}

impl TypeName {
    /// Names a type by its lower-case plural and its group (empty for the core group).
    ///
    /// # Errors
    /// When the plural is not a DNS label, or the group is not a series of DNS labels.
    pub fn new(resource: &str, group: &str) -> Result<Self, InvalidName> {
        if is_dns_label(resource) && (group.is_empty() || group.split('.').all(is_dns_label)) {
            Ok(TypeName { resource: resource.into(), group: group.into() })
        } else {
            Err(InvalidName {
                what: "type",
                name: shown(&format!("{resource}.{group}")),
                rule: "`plural.group` is expected, such as `deployments.apps`, or the plural alone for the core group",
            })
        }
    }

    /// The plural of the target kind: `deployments`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The group of the target kind; empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The plural of the generated kind: `federateddeployments`.
    pub fn federated_plural(&self) -> String {
        format!("federated{}", self.resource)
    }

    /// The group of the generated kind: `apps.types.hansa.dev`; the core group is called `core`.
    pub fn federated_group(&self) -> String {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        format!("{group}.types.hansa.dev")
    }
}

impl FromStr for TypeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('.') {
            Some((resource, group)) if !group.is_empty() => TypeName::new(resource, group),
            _ => TypeName::new(text, ""),
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

text_serde!(TypeName);

impl JsonSchema for TypeName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TypeName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 253})
    }
}

/// The key of a record: type, namespace (empty for cluster-scoped kinds) and name of the target
/// object, written `resource.group/namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The federated type.
    pub type_name: TypeName,
    /// The namespace, the same in every member; empty when the kind is cluster-scoped.
    pub namespace: Arc<str>,
    /// The object's name, the same in every member.
    pub name: Arc<str>,
}

impl RecordKey {
    /// Makes a key; names are checked by the API server that holds the object.
    pub fn new(type_name: TypeName, namespace: &str, name: &str) -> Self {
        RecordKey { type_name, namespace: namespace.into(), name: name.into() }
    }

    /// The page that holds this record, of `pages` pages: BLAKE3 of the key, modulo.
    ///
    /// # Panics
    /// When `pages` is 0; the number of pages is checked when a league is made.
    pub fn page(&self, pages: u32) -> u32 {
        let hash = Hash::of_bytes(self.to_string().as_bytes());
        let prefix = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
        (prefix % u64::from(pages)) as u32
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.type_name, self.namespace, self.name)
    }
}

impl FromStr for RecordKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "record key",
            name: shown(text),
            rule: "`resource.group/namespace/name` is expected (the namespace is empty for cluster-scoped kinds)",
        };
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(type_name), Some(namespace), Some(name)) if !name.is_empty() && !name.contains('/') => {
                Ok(RecordKey::new(type_name.parse()?, namespace, name))
            }
            _ => Err(invalid()),
        }
    }
}

text_serde!(RecordKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_are_dns_labels() {
        assert!("aws-use1".parse::<MemberName>().is_ok());
        for wrong in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(wrong.parse::<MemberName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_name_their_generated_kind() {
        let deployments: TypeName = "deployments.apps".parse().unwrap();
        assert_eq!(deployments.federated_group(), "apps.types.hansa.dev");
        assert_eq!(deployments.federated_plural(), "federateddeployments");
        let core: TypeName = "configmaps".parse().unwrap();
        assert_eq!(
            (core.to_string().as_str(), core.federated_group().as_str()),
            ("configmaps", "core.types.hansa.dev")
        );
    }

    #[test]
    fn keys_read_back_and_stay_in_their_page() {
        for text in ["deployments.apps/shop/web", "configmaps/shop/a.b-c", "namespaces//shop"] {
            let key: RecordKey = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
            assert!(key.page(256) < 256);
        }
        // Pinned: a changed page function would strand every record of a standing league.
        let key: RecordKey = "deployments.apps/shop/web".parse().unwrap();
        assert_eq!(key.page(256), 111);
    }
}
