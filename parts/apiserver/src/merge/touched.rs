//! A patched document as upstream's patch library writes it, which refusals quote: objects that the patch went
//! through have their fields in the order of the alphabet, all others in the order in which Go declares them.

use crate::decode::node::Node;
use api::schema::{Node as Shape, Type};
use serde_json::Value;
use std::collections::BTreeSet;

/// Paths that a patch went through, as JSON pointers; below some of them everything is the patch's own.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    through: BTreeSet<String>,
}

impl Touched {
    /// By a JSON patch: the objects above the places that it names, and the values that it brings.
    pub fn by_operations(patch: &Value) -> Self {
        let mut touched = Self::default();
        for operation in patch.as_array().into_iter().flatten() {
            for key in ["path", "from"] {
                let Some(path) = operation.get(key).and_then(Value::as_str) else { continue };
                touched.ancestors(path);
                if let (Some(value), "path") = (operation.get("value"), key) {
                    touched.below(value, path);
                }
            }
        }
        touched
    }

    /// By a merge patch: all that it holds.
    pub fn by_merge(patch: &Value) -> Self {
        let mut touched = Self::default();
        touched.below(patch, "");
        touched
    }

    fn ancestors(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.through.insert(path[..at].to_owned());
        }
    }

    fn below(&mut self, value: &Value, path: &str) {
        match value {
            Value::Object(fields) => {
                self.through.insert(path.to_owned());
                for (key, value) in fields {
                    self.below(value, &step(path, key));
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.below(item, &format!("{path}/{at}"));
                }
            }
            _ => {}
        }
    }

    /// The document in that order.
    pub fn ordered(&self, document: &Value, kind: &'static Type) -> Node {
        self.node(document, Shape::Struct(kind), "")
    }

    fn node(&self, value: &Value, shape: Shape, path: &str) -> Node {
        match value {
            Value::Object(fields) => {
                let inner = |key: &str| match shape {
                    Shape::Struct(kind) => kind.field(key).map_or(Shape::Any, |field| field.node),
                    Shape::Map(map) => map.values,
                    _ => Shape::Any,
                };
                let declared: Vec<&str> = match shape {
                    Shape::Struct(kind) if !self.through.contains(path) => {
                        kind.declared().map(|field| field.name).collect()
                    }
                    _ => Vec::new(),
                };
                let place = |key: &str| {
                    declared.iter().position(|name| *name == key).unwrap_or(declared.len())
                };
                let mut keys: Vec<&String> = fields.keys().collect();
                keys.sort_by_key(|key| (place(key), key.as_str()));
                let fields = keys.into_iter().map(|key| {
                    (key.clone(), self.node(&fields[key], inner(key), &step(path, key)))
                });
                Node::Object(fields.collect())
            }
            Value::Array(items) => {
                let inner = if let Shape::List(list) = shape { list.items } else { Shape::Any };
                let items = items.iter().enumerate();
                Node::List(
                    items
                        .map(|(at, item)| self.node(item, inner, &format!("{path}/{at}")))
                        .collect(),
                )
            }
            plain => plain.into(),
        }
    }
}

fn step(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}
