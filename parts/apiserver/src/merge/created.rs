//! What the maker of an object owns: the same as the difference to nothing, told in one walk over the object, without
//! a second document or sets. Creates are the most frequent writes of new fields there are.

use super::form;
use super::set::Step;
use super::tree::{self, Shape};
use api::schema::{Field, List, Node, Type};
use serde_json::{Map, Value, json};

/// A field that is not set, in the form on which ownership is reckoned.
enum Unset {
    /// A struct with nothing in it but its own unset fields.
    Struct(&'static Type),
    /// A value that Go writes all the same.
    Value(Value),
}

/// Fields below `metadata` that belong to nobody.
pub(super) const NOBODYS: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// What was there before: nothing, or what an unset field of that kind is.
type Was<'a> = Option<&'a Unset>;

/// The fields (fieldsV1) of a new object of a built-in kind that belong to who made it; `status` does not, where the
/// kind has one.
pub(super) fn owned(object: &Value, kind: &'static Type) -> Map<String, Value> {
    let none = Map::new();
    let mut out = of_struct(true, object.as_object().unwrap_or(&none), kind);
    for name in ["f:apiVersion", "f:kind", "f:status"] {
        out.remove(name);
    }
    if let Some(Value::Object(metadata)) = out.get_mut("f:metadata") {
        metadata.remove(".");
        for name in NOBODYS {
            metadata.remove(&format!("f:{name}"));
        }
        if metadata.is_empty() {
            out.remove("f:metadata");
        }
    }
    out
}

fn unset(kind: &'static Type, field: &Field) -> Option<Unset> {
    match form::unset(kind, field)? {
        Value::Object(_) if let Node::Struct(below) = field.node => Some(Unset::Struct(below)),
        value => Some(Unset::Value(value)),
    }
}

/// `there`: the struct itself was there before, unset.
fn of_struct(there: bool, fields: &Map<String, Value>, kind: &'static Type) -> Map<String, Value> {
    let mut out = Map::new();
    let is_set = |name: &str, value: &Value| !value.is_null() && !form::left_out(kind, name, value);
    for (name, value) in fields.iter().filter(|(name, value)| is_set(name, value)) {
        let field = kind.field(name);
        let was = if there { field.and_then(|field| unset(kind, field)) } else { None };
        let node = field.map_or(Node::Any, |field| field.node);
        record(&mut out, Step::named(name), of_value(was.as_ref(), value, node));
    }
    if there {
        return out;
    }
    for field in kind.fields {
        let Some(new) = unset(kind, field) else { continue };
        if fields.get(field.name).is_some_and(|value| is_set(field.name, value)) {
            continue;
        }
        let below = match new {
            Unset::Struct(below) if !below.atomic => of_struct(false, &Map::new(), below),
            Unset::Struct(_) => Map::new(),
            Unset::Value(value) => of_value(None, &value, field.node).1,
        };
        record(&mut out, Step::named(field.name), (true, below));
    }
    out
}

/// Whether the value itself is owned, and what of it.
fn of_value(was: Was<'_>, value: &Value, node: Node) -> (bool, Map<String, Value>) {
    match (tree::shape_of(node, &[Some(value)]), value, was) {
        (Shape::Struct(kind), Value::Object(fields), None | Some(Unset::Struct(_))) => {
            (was.is_none(), of_struct(was.is_some(), fields, kind))
        }
        (Shape::Map(values), Value::Object(fields), None | Some(Unset::Value(Value::Null)))
            if !fields.is_empty() =>
        {
            let mut out = Map::new();
            for (name, value) in fields {
                record(&mut out, Step::named(name), of_value(None, value, values));
            }
            (was.is_none(), out)
        }
        (Shape::List(list), Value::Array(items), None | Some(Unset::Value(Value::Null)))
            if !items.is_empty() =>
        {
            (was.is_none(), of_items(items, list).unwrap_or_else(|| told(None, value, node).1))
        }
        (Shape::Leaf, _, None) => (true, Map::new()),
        _ => told(was, value, node),
    }
}

/// The items of a list by their keys; `None` when one has no key of its own.
fn of_items(items: &[Value], list: &'static List) -> Option<Map<String, Value>> {
    let mut out = Map::new();
    for item in items {
        if !tree::has_keys(list, item) {
            return None;
        }
        let at = tree::step(list, item).ok()?.text();
        if out.contains_key(&at) {
            // Items of one key count as one value, which is for the slow way.
            return None;
        }
        record(&mut out, at, of_value(None, item, list.items));
    }
    Some(out)
}

/// The slow way, for what is rare: the difference of two documents.
fn told(was: Was<'_>, value: &Value, node: Node) -> (bool, Map<String, Value>) {
    let was = was.map(|was| match was {
        Unset::Struct(kind) => form::filled(&json!({}), kind),
        Unset::Value(value) => value.clone(),
    });
    let (member, below) = tree::gained(was.as_ref(), &form::fill(value, node), node);
    let below = match below.to_json() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    (member, below)
}

fn record(
    out: &mut Map<String, Value>,
    at: String,
    (member, mut below): (bool, Map<String, Value>),
) {
    if member && !below.is_empty() {
        below.insert(".".to_owned(), Value::Object(Map::new()));
    }
    if member || !below.is_empty() {
        out.insert(at, below.into());
    }
}
