//! One event of a watch as a line of JSON.

use super::negotiate::View;
use super::{Source, parse, table};
use api::Status;
use bytes::Bytes;
use serde_json::{Value, json};

/// What happened to an object, as seen by one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// New, or newly selected.
    Added,
    /// Changed.
    Modified,
    /// Gone, or no longer selected.
    Deleted,
}

impl Change {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Frames `object` as it is.
pub fn plain(change: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(change.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

/// Frames an object in the form that was agreed on. `first` says whether nothing was sent before: later
/// Tables repeat no columns.
pub fn event(source: &Source, change: Change, object: &[u8], first: bool) -> Result<Bytes, Status> {
    match source.form.view {
        View::Whole => Ok(plain(change.name(), object)),
        View::Metadata(version) | View::MetadataList(version) => {
            if let Some(bytes) = table::metadata_bytes(source.row, object, version) {
                return Ok(plain(change.name(), bytes.as_bytes()));
            }
            let value = table::metadata(&parse(object)?, version);
            Ok(plain(change.name(), value.to_string().as_bytes()))
        }
        View::Table(version) => {
            let object = parse(object)?;
            let revision =
                object.pointer("/metadata/resourceVersion").cloned().unwrap_or(Value::Null);
            let meta = json!({ "resourceVersion": revision });
            let rows = vec![table::row(source, &object, version)];
            let mut table = table::table(version, meta, source.strategy, rows);
            if let Some(columns) = table.get_mut("columnDefinitions").filter(|_| !first) {
                *columns = Value::Null;
            }
            Ok(plain(change.name(), table.to_string().as_bytes()))
        }
    }
}

/// Says that everything up to `revision` was sent; `initial` marks the end of a watch-list's first part.
pub fn bookmark(source: &Source, revision: u64, initial: bool) -> Bytes {
    let (kind, version) = match source.form.view {
        View::Metadata(version) | View::MetadataList(version) => {
            ("PartialObjectMetadata", format!("meta.k8s.io/{version}"))
        }
        View::Whole | View::Table(_) => {
            (source.row.kind, super::api_version(source.row.group, source.row.version))
        }
    };
    let mut meta = json!({ "resourceVersion": revision.to_string() });
    if let Some(fields) = meta.as_object_mut().filter(|_| initial) {
        fields.insert("annotations".into(), json!({ "k8s.io/initial-events-end": "true" }));
    }
    let mut object = json!({ "kind": kind, "apiVersion": version, "metadata": meta });
    if let View::Table(version) = source.form.view {
        object = json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": { "resourceVersion": revision.to_string() },
            "columnDefinitions": null,
            "rows": [{ "cells": [], "object": table::metadata(&object, version) }],
        });
    }
    plain("BOOKMARK", object.to_string().as_bytes())
}

/// Ends a watch with the reason.
pub fn error(status: &Status) -> Bytes {
    plain("ERROR", serde_json::to_string(status).unwrap_or_default().as_bytes())
}
