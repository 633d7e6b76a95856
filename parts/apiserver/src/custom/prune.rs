//! Fields that a schema does not know go; fields that it has a default for come.

use super::schema::{Others, Schema};
use serde_json::{Map, Value};

/// Fields of every whole object.
const OF_OBJECTS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops what the schema does not know; answers the paths of what went, sorted. `whole` says that the value is an
/// object of its own, with kind and metadata.
pub(crate) fn prune(value: &mut Value, schema: &Schema, whole: bool) -> Vec<String> {
    let mut gone = Vec::new();
    drop_unknown(value, Some(schema), whole, "", &mut gone);
    gone.sort();
    gone
}

fn drop_unknown(
    value: &mut Value,
    schema: Option<&Schema>,
    whole: bool,
    path: &str,
    gone: &mut Vec<String>,
) {
    match value {
        Value::Object(fields) => drop_fields(fields, schema, whole, path, gone),
        Value::Array(items) => {
            let open = schema.is_some_and(|schema| schema.open && schema.items.is_none());
            let of_items = schema.and_then(|schema| schema.items.as_deref());
            for (at, item) in items.iter_mut().enumerate().filter(|_| !open) {
                drop_unknown(item, of_items, false, &format!("{path}[{at}]"), gone);
            }
        }
        _ => {}
    }
}

fn drop_fields(
    fields: &mut Map<String, Value>,
    schema: Option<&Schema>,
    whole: bool,
    path: &str,
    gone: &mut Vec<String>,
) {
    let whole = whole || schema.is_some_and(|schema| schema.embedded);
    let keeps = schema.is_some_and(|schema| schema.open || matches!(schema.others, Others::Kept));
    fields.retain(|name, value| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if whole && OF_OBJECTS.contains(&name.as_str()) {
            return true;
        }
        match schema.and_then(|schema| schema.field(name)) {
            Some(part) => {
                drop_unknown(value, Some(part), false, &path, gone);
                true
            }
            None if keeps => true,
            None => {
                gone.push(path);
                false
            }
        }
    });
}

/// Sets defaults, and drops nulls that mean nothing.
pub(crate) fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            for (name, part) in &schema.properties {
                let Some(default) = &part.default else { continue };
                let missing =
                    fields.get(name).is_none_or(|value| value.is_null() && !part.nullable);
                if missing {
                    fields.insert(name.clone(), default.clone());
                }
            }
            fields.retain(|name, value| {
                let known = schema.field(name);
                !(value.is_null() && known.is_some_and(|part| !part.nullable))
            });
            for (name, value) in fields.iter_mut() {
                if let Some(part) = schema.field(name) {
                    default(value, part);
                }
            }
        }
        Value::Array(list) => {
            if let Some(part) = schema.items.as_deref() {
                for item in list {
                    default(item, part);
                }
            }
        }
        _ => {}
    }
}
