//! How large values may be that a schema describes, where it sets no bound: as large as a request.

use crate::admit::json::Json;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The largest request, bytes.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// The longest text in quotes.
const TEXT_MAX: u64 = REQUEST_BYTES_MAX - 2;
/// The longest moment or duration in quotes, characters.
const MOMENT_MAX: u64 = 32;
/// A date in quotes.
const DATE: u64 = 12;
/// Bytes of one character.
const CHARACTER_BYTES_MAX: u64 = 4;

static TEXT: LazyLock<Value> = LazyLock::new(|| json!({"type": "string"}));
static METADATA: LazyLock<Value> = LazyLock::new(
    || json!({"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}),
);

/// A part of a schema; `whole` says that it is an object with metadata.
#[derive(Clone, Copy)]
pub(super) struct Part<'s> {
    pub(super) schema: &'s Value,
    pub(super) whole: bool,
}

impl<'s> Part<'s> {
    fn inner(schema: &'s Value) -> Self {
        Self { schema, whole: schema.flag("x-kubernetes-embedded-resource") }
    }

    /// What a field holds.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        if self.schema.at("additionalProperties").is_object() {
            return None;
        }
        match name {
            "apiVersion" | "kind" if self.whole => Some(Self::inner(&TEXT)),
            "metadata" if self.whole => Some(Self::inner(&METADATA)),
            name => {
                let name = super::super::types::field_name(name);
                self.schema.at("properties").get(name).map(Self::inner)
            }
        }
    }

    /// What an item or a map's value is.
    pub(super) fn items(self) -> Option<Self> {
        let found = match self.schema.text("type") {
            "array" => self.schema.at("items"),
            _ => self.schema.at("additionalProperties"),
        };
        found.is_object().then(|| Self::inner(found))
    }

    /// Most items, entries or characters; 0 for what has no size of its own.
    pub(super) fn most(self) -> u64 {
        let schema = self.schema;
        let said =
            |word: &str| schema.at(word).as_i64().map(|most| u64::try_from(most).unwrap_or(0));
        let letters = || said("maxLength").map(|most| most.saturating_mul(CHARACTER_BYTES_MAX));
        if schema.flag("x-kubernetes-int-or-string") {
            return letters().unwrap_or(TEXT_MAX);
        }
        match (schema.text("type"), schema.text("format")) {
            ("array", _) => said("maxItems")
                .unwrap_or_else(|| TEXT_MAX / (self.items().map_or(1, Self::least_bytes) + 1)),
            ("object", _) if schema.at("additionalProperties").is_object() => {
                // A key, its quotes, a colon and a comma.
                said("maxProperties")
                    .unwrap_or_else(|| TEXT_MAX / (self.items().map_or(1, Self::least_bytes) + 6))
            }
            ("string", "byte") => said("maxLength").unwrap_or(TEXT_MAX),
            ("string", "duration" | "date-time") => MOMENT_MAX,
            ("string", "date") => DATE,
            ("string", _) => letters().unwrap_or_else(|| {
                let known = schema.list("enum");
                let lengths = known.iter().map(|one| one.as_str().map_or(0, str::len) as u64);
                lengths.max().unwrap_or(TEXT_MAX)
            }),
            _ => 0,
        }
    }

    /// Bytes of the shortest value in JSON.
    pub(super) fn least_bytes(self) -> u64 {
        let schema = self.schema;
        if schema.flag("x-kubernetes-int-or-string") {
            return 1;
        }
        match (schema.text("type"), schema.text("format")) {
            ("string", "duration") => 3,
            ("string", "date") => DATE,
            ("string", "date-time") => 21,
            ("boolean", _) => 4,
            ("string" | "array", _) => 2,
            ("object", _) if schema.at("additionalProperties").is_object() => 2,
            ("object", _) => {
                let required = schema.list("required").iter().filter_map(Value::as_str);
                let bytes = required.map(|name| match self.field(name) {
                    Some(part) if part.schema.at("default").is_null() => {
                        name.len() as u64 + part.least_bytes() + 4
                    }
                    _ => 0,
                });
                bytes.sum::<u64>() + 2
            }
            _ => 1,
        }
    }
}

/// How often values of that shortest form fit into one request.
pub(super) fn fitting(least_bytes: u64) -> u64 {
    REQUEST_BYTES_MAX / (least_bytes + 1)
}
