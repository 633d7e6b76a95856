//! A body of a custom kind: metadata as every object has it, the rest by the schema.

use super::prune::prune;
use super::{Kind, Schema};
use crate::admit::OBJECT_META;
use crate::admit::json::JsonMut;
use crate::decode::node::Node;
use crate::decode::strict::{self, Typed};
use api::Path;
use api::field::FieldError;
use serde_json::{Map, Value};

/// Reads a document. Kind and version stay as they are written: validation judges them.
pub(crate) fn object(kind: &Kind, node: &Node) -> Result<Typed, String> {
    let Node::Object(fields) = node else {
        return Ok(Typed { object: Value::Object(Map::new()), faults: Vec::new() });
    };
    let rest: Vec<(String, Node)> =
        fields.iter().filter(|(name, _)| name != "metadata").cloned().collect();
    let Typed { mut object, mut faults } = strict::object(&Node::Object(rest), "")?;
    let metas: Vec<&Node> =
        fields.iter().filter(|(name, _)| name == "metadata").map(|(_, node)| node).collect();
    if metas.len() > 1 {
        faults.push("duplicate field \"metadata\"".to_owned());
    }
    if let Some(metadata_node) = metas.last() {
        let read = metadata(metadata_node, "metadata")?;
        faults.extend(read.faults);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("metadata".to_owned(), read.object);
        }
    }
    let gone = prune(&mut object, &kind.schema, true);
    faults.extend(gone.into_iter().map(|path| format!("unknown field \"{path}\"")));
    if kind.schema.has_embedded {
        let mut unknown = Vec::new();
        coerce(&mut object, &kind.schema, None, &mut unknown)?;
        unknown.sort();
        faults.extend(unknown);
    }
    Ok(Typed { object, faults })
}

/// Metadata as every object has it; its faults name the path that it lies at.
fn metadata(node: &Node, path: &str) -> Result<Typed, String> {
    let Typed { object, faults } = strict::object(node, OBJECT_META)?;
    let placed = |fault: String| fault.replacen("field \"", &format!("field \"{path}."), 1);
    Ok(Typed { object, faults: faults.into_iter().map(placed).collect() })
}

/// Objects within the object say what they are by text, and have metadata as every object. The error is that of a fault
/// of a field.
fn coerce(
    value: &mut Value,
    schema: &Schema,
    path: Option<&Path>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    if !schema.has_embedded {
        return Ok(());
    }
    let below = |name: &str| path.map_or_else(|| Path::new(name), |path| path.child(name));
    if schema.embedded && value.is_object() {
        for key in ["apiVersion", "kind"] {
            if let Some(other) = value.get(key).filter(|found| !found.is_string()) {
                let fault = FieldError::invalid(below(key), other.clone(), "must be a string");
                return Err(fault.to_string());
            }
        }
        if let Some(found) = value.get("metadata").cloned() {
            let at = below("metadata");
            let read = metadata(&Node::from(&found), &at.to_string())
                .map_err(|why| FieldError::invalid(at.clone(), found.clone(), &why).to_string())?;
            unknown.extend(read.faults);
            value.set("metadata", read.object);
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let Some(part) = schema.field(name) else { continue };
                let known = schema.properties.contains_key(name);
                let root = Path::root();
                let path = if known { below(name) } else { path.unwrap_or(&root).key(name) };
                coerce(value, part, Some(&path), unknown)?;
            }
        }
        Value::Array(items) => {
            let root = Path::root();
            for (at, item) in items.iter_mut().enumerate() {
                if let Some(part) = schema.items.as_deref() {
                    let path = path.unwrap_or(&root).index(at);
                    coerce(item, part, Some(&path), unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}
