//! RBAC objects as they stand in the records; only what decisions need.

use super::{RoleRef, Rule, list};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::authorize) struct RawRole {
    #[serde(deserialize_with = "list")]
    pub(super) rules: Vec<Rule>,
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
