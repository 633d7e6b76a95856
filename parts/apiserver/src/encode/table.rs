//! Tables for people and metadata for machines, both of `meta.k8s.io`.

use super::Source;
use crate::admit::Strategy;
use api::Status;
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
    json!({ "cells": source.strategy.cells(object, source.now), "object": shown })
}

/// The metadata of one object.
pub fn metadata(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}
