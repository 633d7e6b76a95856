//! The form of a document on which ownership is reckoned, and the way back.

use api::schema::{Field, Node, Type};
use serde_json::{Map, Value};

/// The document as Go holds it: fields that Go always writes are there, empty if nobody set them. Ownership is
/// reckoned on this form, so that `spec.containers` is not "added" by the first who sets one.
pub(super) fn filled(value: &Value, kind: &'static Type) -> Value {
    fill(value, Node::Struct(kind))
}

/// Two documents of one type without the fields of structs that are equal in both, and without `managedFields`: how
/// they differ is told by what is left, and most writes change little.
pub(super) fn apart(old: &Value, new: &Value, kind: &'static Type) -> (Value, Value) {
    part(old, new, Node::Struct(kind), "")
}

/// `at`: empty at the root, and the name of the field right below it.
fn part(old: &Value, new: &Value, node: Node, at: &str) -> (Value, Value) {
    let (Value::Object(was), Value::Object(is), Node::Struct(kind)) = (old, new, node) else {
        return (old.clone(), new.clone());
    };
    if kind.atomic {
        return (old.clone(), new.clone());
    }
    let counts = |name: &String| at != "metadata" || name != "managedFields";
    let (mut before, mut after) = (Map::new(), Map::new());
    for (name, old) in was.iter().filter(|(name, _)| counts(name)) {
        let Some(new) = is.get(name) else {
            before.insert(name.clone(), old.clone());
            continue;
        };
        if old != new {
            let node = kind.field(name).map_or(Node::Any, |field| field.node);
            let (old, new) = part(old, new, node, if at.is_empty() { name } else { "-" });
            before.insert(name.clone(), old);
            after.insert(name.clone(), new);
        }
    }
    for (name, new) in is.iter().filter(|(name, _)| counts(name) && !was.contains_key(*name)) {
        after.insert(name.clone(), new.clone());
    }
    (before.into(), after.into())
}

/// What Go writes where a field is not set; a struct is told as an empty object. `None` where it writes nothing.
pub(super) fn unset(kind: &Type, field: &Field) -> Option<Value> {
    let default = match field.default {
        Some("{}") => Some(Value::Object(Map::new())),
        Some("\"\"") => Some(Value::String(String::new())),
        text => text.and_then(|text| serde_json::from_str::<Value>(text).ok()),
    };
    match (field.node, default) {
        (Node::Struct(_), Some(Value::Object(_))) => Some(Value::Object(Map::new())),
        (_, default) if field.required => Some(default.unwrap_or(Value::Null)),
        (_, Some(empty)) if empty == "" || empty == 0 => Some(empty),
        (Node::Time, _) if is_moment_of_condition(kind, field) => Some(Value::Null),
        (Node::List(_), _) if kind.name.ends_with("CustomResourceDefinitionStatus") => {
            Some(Value::Null)
        }
        _ => None,
    }
}

pub(super) fn fill(value: &Value, node: Node) -> Value {
    match (value, node) {
        (Value::Object(fields), Node::Struct(kind)) => {
            let mut out: Map<String, Value> = fields
                .iter()
                .filter(|(name, value)| {
                    kind.is_custom() || (!value.is_null() && !left_out(kind, name, value))
                })
                .map(|(name, value)| {
                    let node = kind.field(name).map_or(Node::Any, |field| field.node);
                    (name.clone(), fill(value, node))
                })
                .collect();
            for field in kind.fields {
                if kind.is_custom() || out.contains_key(field.name) {
                    continue;
                }
                let Some(value) = unset(kind, field) else { continue };
                let value = match (&value, field.node) {
                    (Value::Object(_), Node::Struct(_)) => fill(&value, field.node),
                    _ => value,
                };
                out.insert(field.name.to_owned(), value);
            }
            Value::Object(out)
        }
        (Value::Object(fields), Node::Map(map)) => Value::Object(
            fields.iter().map(|(name, value)| (name.clone(), fill(value, map.values))).collect(),
        ),
        (Value::Array(items), Node::List(list)) => {
            Value::Array(items.iter().map(|item| fill(item, list.items)).collect())
        }
        (other, _) => other.clone(),
    }
}

/// Empty lists and maps are not written in Go, unless the field has to be there.
pub(super) fn left_out(kind: &'static Type, name: &str, value: &Value) -> bool {
    kind.field(name).is_some_and(|field| {
        !field.required
            && matches!(field.node, Node::List(_) | Node::Map(_))
            && (value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty))
    })
}

/// Go holds the moments of conditions as values, not pointers, and writes them as null when they are not set. The
/// schema does not tell the two apart.
fn is_moment_of_condition(kind: &Type, field: &Field) -> bool {
    kind.name.ends_with("Condition") && field.name.starts_with("last")
}

/// Drops struct fields that are null: in Go they are the zero value, which is not written.
pub(super) fn without_nulls(value: Value, kind: &'static Type) -> Value {
    strip(value, Node::Struct(kind))
}

fn strip(value: Value, node: Node) -> Value {
    match (value, node) {
        (Value::Object(fields), Node::Struct(kind)) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| kind.is_custom() || !value.is_null())
                .map(|(name, value)| {
                    let node = kind.field(&name).map_or(Node::Any, |field| field.node);
                    (name, strip(value, node))
                })
                .collect(),
        ),
        (Value::Object(fields), Node::Map(map)) => Value::Object(
            fields.into_iter().map(|(name, value)| (name, strip(value, map.values))).collect(),
        ),
        (Value::Array(items), Node::List(list)) => {
            Value::Array(items.into_iter().map(|item| strip(item, list.items)).collect())
        }
        (other, _) => other,
    }
}
