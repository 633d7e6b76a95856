//! OpenAPI documents, made from the table of resources, the table of types and what the types say of themselves: v3,
//! one for each group and version, and v2, one for all, as JSON and as protobuf. What kubectl needs to validate, to
//! explain and to compute patches.
//!
//! A document is made when it is first asked for and kept compressed: all of v3 is 7 MiB of JSON and half a MiB
//! compressed, which is how nearly every client takes it.

mod custom;
mod descriptions;
mod legacy;
mod paths;
mod schemas;
mod served;

pub(crate) use served::{Asked, answer};

use api::{Resource, resource};
use bytes::Bytes;
use descriptions::Descriptions;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{LazyLock, OnceLock};

/// The documents of the table alone.
static TABLE: LazyLock<Documents> = LazyLock::new(|| Documents::of(resource::ALL.iter().collect()));

/// A document as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Compressed (gzip).
    packed: Bytes,
    /// The digest of its content.
    etag: String,
}

impl Document {
    fn of(body: &[u8]) -> Self {
        Self { packed: crate::encode::compress(body).unwrap_or_default(), etag: digest(body) }
    }
}

/// Upstream's tag of a content: SHA-512 in capitals.
pub(crate) fn digest(body: &[u8]) -> String {
    Sha512::digest(body).iter().fold(String::with_capacity(128), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// The documents of some kinds, those of the table always among them; each made when it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// None at all stands for those of the table.
    rows: Vec<&'static Resource>,
    /// v3 by name, `apis/apps/v1`.
    versions: OnceLock<BTreeMap<String, Document>>,
    index: OnceLock<Document>,
    legacy: OnceLock<Document>,
    legacy_binary: OnceLock<Document>,
}

impl Documents {
    /// Of these custom kinds.
    pub(crate) fn of(rows: Vec<&'static Resource>) -> Self {
        Self { rows, ..Self::default() }
    }

    fn chosen(&self) -> &Self {
        if self.rows.is_empty() { &TABLE } else { self }
    }

    fn versions(&self) -> &BTreeMap<String, Document> {
        self.versions.get_or_init(|| {
            let said = Descriptions::read();
            self.rows_by_name()
                .into_iter()
                .map(|(name, rows)| {
                    (name, Document::of(document(&rows, &said).to_string().as_bytes()))
                })
                .collect()
        })
    }

    /// The v3 document of a group and version: `api/v1`, `apis/apps/v1`.
    fn version(&self, name: &str) -> Option<&Document> {
        let own = self.chosen().versions().get(name);
        own.or_else(|| TABLE.versions().get(name))
    }

    /// Where each v3 document is.
    fn index(&self) -> &Document {
        let this = self.chosen();
        this.index.get_or_init(|| {
            let all = TABLE.versions().iter().chain(this.versions());
            let paths: Map<String, Value> = all
                .map(|(name, document)| {
                    let url = format!("/openapi/v3/{name}?hash={}", document.etag);
                    (name.clone(), json!({"serverRelativeURL": url}))
                })
                .collect();
            Document::of(json!({"paths": paths}).to_string().as_bytes())
        })
    }

    /// v2 as JSON.
    fn legacy(&self) -> &Document {
        let this = self.chosen();
        this.legacy.get_or_init(|| Document::of(this.legacy_value().to_string().as_bytes()))
    }

    /// v2 as protobuf. Its tag is that of the JSON, as upstream's.
    fn legacy_binary(&self) -> &Document {
        let this = self.chosen();
        this.legacy_binary.get_or_init(|| {
            let value = this.legacy_value();
            let etag = digest(value.to_string().as_bytes());
            Document { etag, ..Document::of(&legacy::binary(&value)) }
        })
    }

    /// These kinds by the name of their document, with those of the table that it is about too: a custom kind may lie
    /// in a group of ours.
    fn rows_by_name(&self) -> BTreeMap<String, Vec<&'static Resource>> {
        let mut found = versions(&self.rows);
        let is_own = self.rows.iter().any(|row| row.custom.is_some());
        for (name, rows) in versions(&TABLE.rows).into_iter().filter(|_| is_own) {
            if let Some(own) = found.get_mut(&name) {
                let known = std::mem::replace(own, rows);
                own.extend(known.into_iter().filter(|row| row.custom.is_some()));
            }
        }
        found
    }

    fn legacy_value(&self) -> Value {
        let said = Descriptions::read();
        let mut all = versions(&TABLE.rows);
        all.extend(self.rows_by_name());
        legacy::of(all.values().map(|rows| document(rows, &said)))
    }
}

/// Rows by the name of their document.
fn versions(rows: &[&'static Resource]) -> BTreeMap<String, Vec<&'static Resource>> {
    let mut found: BTreeMap<String, Vec<&'static Resource>> = BTreeMap::new();
    for row in rows {
        let prefix = if row.group.is_empty() { "api" } else { "apis" };
        found.entry(format!("{prefix}/{}", row.api_version())).or_default().push(row);
    }
    found
}

/// The v3 document of one group and version.
fn document(rows: &[&'static Resource], said: &Descriptions) -> Value {
    let mut known = schemas::of(rows, said);
    custom::add(rows, &mut known, said);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths::of(rows),
        "components": {"schemas": known},
    })
}

#[cfg(test)]
mod tests;
