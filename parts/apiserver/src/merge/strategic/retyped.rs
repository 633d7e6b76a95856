//! Whether a merged document still fits its type, with the words of Go's converter from unstructured data.

use api::schema::Node;
use serde_json::Value;

/// The first misfit.
pub(super) fn check(value: &Value, node: Node) -> Result<(), String> {
    let fits = match (value, node) {
        (Value::Null, _)
        | (_, Node::Any | Node::Deduced | Node::SchemaOr(_) | Node::Quantity | Node::IntOrString) => {
            true
        }
        (Value::Object(fields), Node::Struct(kind)) => {
            for (name, value) in fields {
                if let Some(field) = kind.field(name) {
                    check(value, field.node)?;
                }
            }
            true
        }
        (Value::Object(fields), Node::Map(map)) => {
            fields.values().try_for_each(|value| check(value, map.values))?;
            true
        }
        (Value::Array(items), Node::List(list)) => {
            items.iter().try_for_each(|item| check(item, list.items))?;
            true
        }
        (value, Node::Text | Node::Time | Node::MicroTime | Node::Bytes) => value.is_string(),
        (value, Node::Bool) => value.is_boolean(),
        (value, Node::Int32 | Node::Int64) => value.is_i64(),
        (value, Node::Double) => value.is_number(),
        (_, Node::Struct(_) | Node::Map(_) | Node::List(_)) => false,
    };
    if fits {
        return Ok(());
    }
    Err(match node {
        Node::Struct(_) => format!("cannot restore struct from: {}", kind(value)),
        Node::Map(_) => format!("cannot restore map from {}", kind(value)),
        Node::List(_) => format!("cannot restore slice from {}", kind(value)),
        scalar => format!("unrecognized type: {}", scalar.go_type()),
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}
