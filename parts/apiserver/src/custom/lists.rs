//! Sets and maps that are written as lists: nothing may be in them twice.

use super::schema::{ListType, Others, Schema};
use crate::admit::faults::{Faults, duplicate_shown};
use crate::decode::node::Node;
use api::{FieldError, Path};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

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
    let mut known: BTreeSet<String> = BTreeSet::new();
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
        known.insert(shown);
    }
}

/// The keys of an item, as far as it has them.
fn keys_of(item: &Value, schema: &Schema) -> Value {
    let keys = schema.keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(keys.collect::<Map<_, _>>())
}

/// The items of a list as it was, by their keys; the first where there are several. Empty where items have no keys.
pub(crate) struct Before<'v>(BTreeMap<String, &'v Value>);

impl<'v> Before<'v> {
    pub(crate) fn of(old: Option<&'v Value>, schema: &Schema) -> Self {
        let mut known = BTreeMap::new();
        if schema.list == ListType::Map {
            for item in old.and_then(Value::as_array).into_iter().flatten() {
                known.entry(keys_of(item, schema).to_string()).or_insert(item);
            }
        }
        Self(known)
    }

    /// What an item was.
    pub(crate) fn item(&self, now: &Value, schema: &Schema) -> Option<&'v Value> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&keys_of(now, schema).to_string()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_find_what_they_were_and_twins_are_found() {
        let schema = Schema::read(&json!({"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}}}}));
        let list = |from: u64, to: u64| -> Value {
            (from..to).map(|n| json!({"name": n.to_string(), "was": n})).collect()
        };
        let old = list(0, 20_000);
        let before = Before::of(Some(&old), &schema);
        assert_eq!(
            before.item(&json!({"name": "19999"}), &schema).map(|item| &item["was"]),
            Some(&json!(19_999))
        );
        assert_eq!(before.item(&json!({"name": "20000"}), &schema), None);
        assert!(duplicates(&old, &schema, &Path::root()).is_empty());
        let mut twice = list(0, 5);
        twice[4] = twice[0].clone();
        assert_eq!(duplicates(&twice, &schema, &Path::root()).len(), 1);
    }
}
