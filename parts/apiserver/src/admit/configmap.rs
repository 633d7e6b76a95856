//! ConfigMaps.

use super::faults::{Faults, texts};
use super::json::Json;
use super::{Column, Context, Strategy, table, words};
use api::{FieldError, Path};
use base64::Engine as _;
use serde_json::Value;

/// Bytes of all values together: 1 MiB.
pub(crate) const BYTES_MAX: usize = 1024 * 1024;

/// What `immutable` keeps.
pub(crate) const KEPT: &str = "field is immutable when `immutable` is set";

/// The strategy.
#[derive(Debug)]
pub(crate) struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        if old.flag("immutable") {
            if !object.flag("immutable") {
                found.push(FieldError::forbidden(Path::new("immutable"), KEPT));
            }
            for key in ["data", "binaryData"] {
                if entries(object, key) != entries(old, key) {
                    found.push(FieldError::forbidden(Path::new(key), KEPT));
                }
            }
        }
        found.extend(validate(object));
        found
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let count = object.entries("data").len() + object.entries("binaryData").len();
        vec![table::name(object), count.into(), table::age(object, now)]
    }
}

const COLUMNS: &[Column] =
    &[table::NAME, table::column("Data", "string", "How many entries there are."), table::AGE];

/// A map's entries; an empty map is as good as none.
pub(crate) fn entries<'a>(object: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    object.entries(key)
}

/// Bytes that a base64 text stands for.
pub(crate) fn decoded(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

fn validate(object: &Value) -> Faults {
    let mut found = Faults::new();
    let mut bytes = 0;
    for (key, value) in object.entries("data") {
        texts(&mut found, &Path::new("data").key(key), key, words::config_key(key));
        if object.at("binaryData").has(key) {
            let why = "duplicate of key present in binaryData";
            found.push(FieldError::invalid(Path::new("data").key(key), key, why));
        }
        bytes += value.as_str().map_or(0, str::len);
    }
    for (key, value) in object.entries("binaryData") {
        texts(&mut found, &Path::new("binaryData").key(key), key, words::config_key(key));
        bytes += decoded(value).len();
    }
    if bytes > BYTES_MAX {
        found.push(FieldError::too_long(Path::new("[]"), BYTES_MAX));
    }
    found
}
