//! Documents of custom kinds, made from their definitions.

use super::{DOCUMENTS, hash, paths, schemas};
use crate::custom::{document, kind_of};
use api::Resource;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The documents of the custom kinds that are served, made when one is asked for.
#[derive(Debug, Default)]
pub(crate) struct Custom {
    rows: Vec<&'static Resource>,
    made: OnceLock<BTreeMap<String, Bytes>>,
}

impl Custom {
    /// Of these rows.
    pub(crate) fn of(rows: &[&'static Resource]) -> Self {
        Self { rows: rows.to_vec(), made: OnceLock::new() }
    }

    /// The document at a path: one of a custom group, or the index of all; `None` leaves the answer to the table.
    pub(crate) fn answer(&self, path: &str) -> Option<Bytes> {
        if self.rows.is_empty() || !path.starts_with("/openapi/v3") {
            return None;
        }
        self.made.get_or_init(|| self.make()).get(path.trim_end_matches('/')).cloned()
    }

    fn make(&self) -> BTreeMap<String, Bytes> {
        let mut found = BTreeMap::new();
        let table =
            DOCUMENTS.get("/openapi/v3").and_then(|index| serde_json::from_slice(index).ok());
        let mut index: Value = table.unwrap_or_else(|| json!({"paths": {}}));
        let mut versions: Vec<(&str, &str)> =
            self.rows.iter().map(|row| (row.group, row.version)).collect();
        versions.dedup();
        for (group, version) in versions {
            let rows: Vec<&'static Resource> = self
                .rows
                .iter()
                .copied()
                .filter(|row| row.group == group && row.version == version)
                .collect();
            let body = Bytes::from(of_version(&rows).to_string());
            let name = format!("apis/{group}/{version}");
            let url = format!("/openapi/v3/{name}?hash={}", hash(&body));
            index["paths"][name.as_str()] = json!({"serverRelativeURL": url});
            found.insert(format!("/openapi/v3/{name}"), body);
        }
        found.insert("/openapi/v3".to_owned(), Bytes::from(index.to_string()));
        found
    }
}

fn of_version(rows: &[&'static Resource]) -> Value {
    let mut known: Map<String, Value> = schemas::of(rows);
    for row in rows {
        let Some(kind) = kind_of(row) else { continue };
        let about = (row.group, row.version, row.kind);
        known.insert(row.schema.to_owned(), document(&kind.written, about));
        let items = json!({"$ref": format!("#/components/schemas/{}", row.schema)});
        let list = json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "items": {"type": "array", "items": items},
            },
            "x-kubernetes-group-version-kind":
                [{"group": row.group, "version": row.version, "kind": row.list_kind()}],
        });
        known.insert(format!("{}List", row.schema), list);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths::of(rows),
        "components": {"schemas": known},
    })
}
