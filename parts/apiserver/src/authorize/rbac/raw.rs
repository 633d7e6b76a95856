//! RBAC objects as they stand in the records; only what decisions need.

use super::{RoleRef, Rule, list};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::authorize) struct RawRole {
    pub(super) metadata: RawMeta,
    #[serde(deserialize_with = "list")]
    pub(super) rules: Vec<Rule>,
    pub(super) aggregation_rule: Option<RawAggregation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::authorize) struct RawMeta {
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::authorize) struct RawAggregation {
    #[serde(deserialize_with = "list")]
    pub(super) cluster_role_selectors: Vec<RawSelector>,
}

/// A label selector. Only what is needed here: equality and the four operators.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::authorize) struct RawSelector {
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "list")]
    pub(super) match_expressions: Vec<RawExpression>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::authorize) struct RawExpression {
    pub(super) key: String,
    pub(super) operator: String,
    #[serde(deserialize_with = "list")]
    pub(super) values: Vec<String>,
}

impl RawSelector {
    pub(super) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal =
            self.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
        equal
            && self.match_expressions.iter().all(|term| {
                let found = labels.get(&term.key);
                match term.operator.as_str() {
                    "In" => found.is_some_and(|value| term.values.contains(value)),
                    "NotIn" => found.is_none_or(|value| !term.values.contains(value)),
                    "Exists" => found.is_some(),
                    "DoesNotExist" => found.is_none(),
                    _ => false,
                }
            })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::authorize) struct RawBinding {
    #[serde(deserialize_with = "list")]
    pub(in crate::authorize) subjects: Vec<RawSubject>,
    pub(in crate::authorize) role_ref: RoleRef,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::authorize) struct RawSubject {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}
