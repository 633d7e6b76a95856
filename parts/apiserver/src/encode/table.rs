//! Tables for people and metadata for machines, both of `meta.k8s.io`.

use super::Source;
use crate::admit::Strategy;
use api::{Resource, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    Nothing,
}

impl Include {
    /// Of the query parameter `includeObject`.
    pub fn read(asked: &str) -> Result<Self, Status> {
        match asked {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::Nothing),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: \
                 must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// A Table of rows.
pub fn table(version: &str, meta: Value, strategy: &dyn Strategy, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": meta,
        "columnDefinitions": columns(strategy),
        "rows": rows,
    })
}

/// The columns of a kind.
fn columns(strategy: &dyn Strategy) -> Value {
    let columns = strategy.columns().iter().map(|column| {
        json!({
            "name": column.name,
            "type": column.r#type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    });
    Value::Array(columns.collect())
}

/// The row of one object.
pub fn row(source: &Source, object: &Value, version: &str) -> Value {
    let shown = match source.include {
        Include::Metadata => metadata(object, version),
        Include::Object => object.clone(),
        Include::Nothing => Value::Null,
    };
    let mut row = json!({ "cells": source.strategy.cells(object, source.now), "object": shown });
    if let Some(condition) = source.strategy.row_condition(object) {
        row["conditions"] = json!([condition]);
    }
    row
}

/// A field of old that `apps/v1` shows as an annotation; it is no part of the metadata proper.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The metadata of one object as it is stored, taken out without reading the rest; `None` where it must be read.
pub fn metadata_bytes(row: &Resource, object: &[u8], version: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Outline<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    if row.kind == "DaemonSet" {
        return None;
    }
    let outline: Outline<'_> = serde_json::from_slice(object).ok()?;
    let meta = outline.metadata.get();
    Some(format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{meta}}}"
    ))
}

/// The metadata of one object.
pub fn metadata(object: &Value, version: &str) -> Value {
    let mut meta = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
    if let Some(fields) = meta.as_object_mut().filter(|_| object["kind"] == "DaemonSet") {
        let annotations = fields.get_mut("annotations").and_then(Value::as_object_mut);
        let emptied = annotations.is_some_and(|annotations| {
            annotations.remove(TEMPLATE_GENERATION);
            annotations.is_empty()
        });
        if emptied {
            fields.remove("annotations");
        }
    }
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": meta,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_taken_out_is_metadata_read() {
        let row = |group, plural| api::resource::by_plural(group, "v1", plural).expect("served");
        let object = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"resourceVersion": "7", "name": "p", "labels": {"a": "{\"metadata\":1}"}},
            "spec": {"metadata": 1}});
        let taken = metadata_bytes(row("", "pods"), object.to_string().as_bytes(), "v1");
        let taken: Value = serde_json::from_str(&taken.expect("taken out")).expect("JSON");
        assert_eq!(taken, metadata(&object, "v1"));
        assert_eq!(metadata_bytes(row("", "pods"), b"{}", "v1"), None);
        assert_eq!(metadata_bytes(row("apps", "daemonsets"), b"{\"metadata\":{}}", "v1"), None);
    }
}
