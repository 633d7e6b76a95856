//! Sets and maps that are written as lists: nothing may be in them twice.

use super::schema::{ListType, Others, Schema};
use crate::admit::faults::{Faults, duplicate_shown};
use crate::decode::node::Node;
use api::{FieldError, Path};
use serde_json::{Map, Value};

/// Every item that is there twice.
pub(crate) fn duplicates(value: &Value, schema: &Schema, path: &Path) -> Faults {
    let mut faults = Faults::new();
    walk(&mut faults, value, schema, path);
    faults
}

fn walk(faults: &mut Faults, value: &Value, schema: &Schema, path: &Path) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let (part, path) = match schema.properties.get(name) {
                    Some(part) => (part, path.child(name)),
                    None => match &schema.others {
                        Others::Of(part) => (&**part, path.key(name)),
                        _ => continue,
                    },
                };
                walk(faults, value, part, &path);
            }
        }
        Value::Array(items) => {
            if let Some(part) = schema.items.as_deref() {
                for (at, item) in items.iter().enumerate() {
                    walk(faults, item, part, &path.index(at));
                }
            }
            twice(faults, items, schema, path);
        }
        _ => {}
    }
}

fn twice(faults: &mut Faults, items: &[Value], schema: &Schema, path: &Path) {
    if schema.list == ListType::Atomic {
        return;
    }
    let mut known: Vec<String> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let key = match (schema.list, item) {
            (ListType::Map, Value::Object(_)) => keys_of(item, schema),
            (ListType::Map, _) => {
                let why = "must be an object for an array of list-type map";
                faults.push(FieldError::invalid(path.index(at), item.clone(), why));
                continue;
            }
            _ => item.clone(),
        };
        let shown = Node::from(&key).to_json();
        if known.contains(&shown) {
            faults.push(duplicate_shown(path.index(at), &shown));
        }
        known.push(shown);
    }
}

/// The keys of an item, as far as it has them.
pub(crate) fn keys_of(item: &Value, schema: &Schema) -> Value {
    let keys = schema.keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(keys.collect::<Map<_, _>>())
}
