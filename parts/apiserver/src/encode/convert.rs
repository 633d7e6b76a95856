//! Two groups, one storage: events are kept as `v1` and shown as `events.k8s.io/v1` to those who ask there.

use super::{api_version, object_bytes, parse};
use crate::custom;
use api::Resource;
use bytes::Bytes;
use serde_json::Value;
use std::borrow::Cow;

/// Field names of `v1` events and theirs in `events.k8s.io/v1`; all others agree.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Texts that `v1` writes even when they are empty, and the other group does not.
const ALWAYS_IN_V1: [&str; 2] = ["reportingComponent", "reportingInstance"];

/// Whether objects are shown as they are stored.
pub(crate) fn is_plain(row: &Resource) -> bool {
    match custom::kind_of(row) {
        Some(kind) => kind.reads_plain,
        None => !shares_storage(row),
    }
}

fn shares_storage(row: &Resource) -> bool {
    row.storage.split_once('/') != Some((row.group, row.plural))
}

/// An object of `row` in the form it is stored in: most are stored as they are.
pub(crate) fn stored<'o>(row: &Resource, object: &'o Value) -> Cow<'o, Value> {
    let kind = custom::kind_of(row);
    if kind.is_none() && !shares_storage(row) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(kind) = kind {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), kind.stored_as.into());
        }
    } else {
        rename(&mut object, EVENT_FIELDS.iter().map(|(core, new)| (*new, *core)), "v1");
        for name in ALWAYS_IN_V1 {
            if let Some(fields) = object.as_object_mut() {
                fields.entry(name).or_insert_with(|| "".into());
            }
        }
    }
    Cow::Owned(object)
}

/// Stored bytes in the form of `row`.
pub(crate) fn shown(row: &Resource, bytes: &Bytes) -> Bytes {
    if is_plain(row) {
        return bytes.clone();
    }
    let Ok(mut object) = parse(bytes) else { return bytes.clone() };
    if let Some(kind) = custom::kind_of(row) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), kind.api_version.into());
        }
        // The schema may be a newer one than that by which the object was written.
        custom::prune(&mut object, &kind.schema, true);
        custom::default(&mut object, &kind.schema);
        return object_bytes(&object).into();
    }
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, value| !(ALWAYS_IN_V1.contains(&name.as_str()) && *value == ""));
    }
    rename(&mut object, EVENT_FIELDS.iter().copied(), &api_version(row.group, row.version));
    object_bytes(&object).into()
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>, version: &str) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    fields.insert("apiVersion".to_owned(), version.into());
}
