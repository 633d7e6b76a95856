//! Schemas of custom kinds, made from their definitions.

use super::descriptions::Descriptions;
use crate::custom::{document, kind_of};
use api::Resource;
use serde_json::{Map, Value, json};

/// Adds the custom kinds among the rows, and their lists.
pub(super) fn add(rows: &[&'static Resource], known: &mut Map<String, Value>, said: &Descriptions) {
    for row in rows {
        let Some(kind) = kind_of(row) else { continue };
        let about = (row.group, row.version, row.kind);
        known.insert(
            row.schema.to_owned(),
            document(&kind.written, about, |field| said.of(USUAL, field)),
        );
        let items = json!({"$ref": format!("#/components/schemas/{}", row.schema)});
        let mut list = json!({
            "description": format!("{} is a list of {}", row.list_kind(), row.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"$ref": format!("#/components/schemas/{LIST_META}")},
                "items": {"type": "array", "items": items},
            },
            "x-kubernetes-group-version-kind":
                [{"group": row.group, "version": row.version, "kind": row.list_kind()}],
        });
        for field in ["apiVersion", "kind"] {
            if let Some(text) = said.of(USUAL, field) {
                list["properties"][field]["description"] = text.into();
            }
        }
        known.insert(format!("{}List", row.schema), list);
    }
}

/// The kind whose texts about the fields that every kind has are taken.
const USUAL: &str = "io.k8s.api.core.v1.ConfigMap";

/// The type of a list's metadata.
pub(super) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
