//! RFC 7386.

use serde_json::{Map, Value};

/// Applies a merge patch: objects are merged, null removes, all else replaces. In what is new, nulls are left out,
/// inside lists as well.
pub fn merge_patch(document: &Value, patch: &Value) -> Value {
    match (document, patch) {
        (Value::Object(fields), Value::Object(changes)) => {
            merge_fields(fields.clone(), changes).into()
        }
        (_, patch) => without_nulls(patch),
    }
}

fn merge_fields(
    mut fields: Map<String, Value>,
    changes: &Map<String, Value>,
) -> Map<String, Value> {
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
            continue;
        }
        let merged = fields
            .get(key)
            .map_or_else(|| without_nulls(change), |current| merge_patch(current, change));
        fields.insert(key.clone(), merged);
    }
    fields
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        plain => plain.clone(),
    }
}
