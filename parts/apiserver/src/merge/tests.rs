//! Patches and ownership by example and by law.

mod creation;
mod laws;
mod ownership;
mod patches;

use super::*;
use api::schema::{self, Type};
use jiff::Timestamp;
use serde_json::{Value, json};

fn kind(name: &str) -> &'static Type {
    schema::by_name(name).unwrap_or_else(|| panic!("{name}"))
}

fn config() -> &'static Type {
    kind("io.k8s.api.core.v1.ConfigMap")
}

fn daemon() -> &'static Type {
    kind("io.k8s.api.apps.v1.DaemonSet")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn by(name: &'static str, api_version: &'static str, second: i64) -> Manager<'static> {
    Manager { name, api_version, subresource: "", now: at(second) }
}

/// `manager/operation[/subresource]` and the fields, for reading in a test.
fn owned(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| {
            let mut who = format!("{}/{}", text(entry, "manager"), text(entry, "operation"));
            if entry["subresource"].is_string() {
                who = format!("{who}/{}", text(entry, "subresource"));
            }
            (who, entry["fieldsV1"].clone())
        })
        .collect()
}
