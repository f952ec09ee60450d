//! The value rules of a schema: bounds, patterns, formats, enumerations and the logical junctors.

use regex::Regex;
use serde_json::Value;

use super::node::NodeId;

/// What a node's values must satisfy beside their type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub enumeration: Vec<Value>,
    pub format: Option<Box<str>>,
    pub pattern: Option<(Box<str>, Regex)>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<NodeId>,
    pub any_of: Vec<NodeId>,
    pub one_of: Vec<NodeId>,
    pub not: Option<NodeId>,
}

impl Checks {
    /// Whether there is nothing to check.
    pub(crate) fn is_empty(&self) -> bool {
        self.enumeration.is_empty()
            && self.format.is_none()
            && self.pattern.is_none()
            && self.min_length.is_none()
            && self.max_length.is_none()
            && self.minimum.is_none()
            && self.maximum.is_none()
            && self.multiple_of.is_none()
            && self.min_items.is_none()
            && self.max_items.is_none()
            && !self.unique_items
            && self.min_properties.is_none()
            && self.max_properties.is_none()
            && self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.not.is_none()
    }
}
