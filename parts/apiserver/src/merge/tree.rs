//! Documents walked along their types: which fields they set, how two differ, how one is merged into another,
//! and what is left when fields are taken away. The rules of Kubernetes' structured merge.

mod compare;

pub(super) use compare::{Difference, compare, gained};

use super::set::{Set, Step};
use super::strategic::shown as go_shown;
use api::schema::{List, ListKind, Node, Type};
use compare::is_empty;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How a node is walked.
pub(super) enum Shape {
    /// As one value.
    Leaf,
    /// Field by field.
    Struct(&'static Type),
    /// Key by key.
    Map(Node),
    /// Item by item.
    List(&'static List),
}

fn shape(node: Node) -> Shape {
    match node {
        Node::Struct(kind) if !kind.atomic => Shape::Struct(kind),
        Node::Map(map) if !map.atomic => Shape::Map(map.values),
        Node::Deduced => Shape::Map(Node::Deduced),
        Node::List(list) if list.kind != ListKind::Atomic => Shape::List(list),
        _ => Shape::Leaf,
    }
}

/// The shape of a node that holds these values: what is only deduced goes by what is there.
pub(super) fn shape_of(node: Node, values: &[Option<&Value>]) -> Shape {
    let mut present = values.iter().filter_map(|value| *value);
    if matches!(node, Node::Deduced) && !present.all(Value::is_object) {
        return Shape::Leaf;
    }
    shape(node)
}

/// What a field of an object holds; fields that no type knows are leaves, or deduced where the type is open.
fn child(shape: &Shape, name: &str) -> Node {
    match shape {
        Shape::Struct(kind) => kind.field(name).map_or_else(
            || if kind.is_custom() && kind.is_open() { Node::Deduced } else { Node::Any },
            |field| field.node,
        ),
        Shape::Map(values) => *values,
        Shape::Leaf | Shape::List(_) => Node::Any,
    }
}

/// Whether an item says all keys of its list.
pub(super) fn has_keys(list: &List, item: &Value) -> bool {
    match list.kind {
        ListKind::Map(keys) => {
            keys.iter().all(|key| item.get(key).is_some_and(|value| !value.is_null()))
        }
        _ => true,
    }
}

/// The step to an item.
pub(super) fn step(list: &List, item: &Value) -> Result<Step, String> {
    match list.kind {
        ListKind::Map(keys) => {
            let Some(fields) = item.as_object() else {
                return Err("associative list with keys may not have non-map elements".to_owned());
            };
            let mut found = Map::new();
            for key in keys {
                let default = match list.items {
                    Node::Struct(kind) => kind.field(key).and_then(|field| field.default),
                    _ => None,
                };
                let value = match fields.get(*key) {
                    Some(value) => value.clone(),
                    None => default.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
                        format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)")
                    })?,
                };
                found.insert((*key).to_owned(), value);
            }
            Ok(Step::Keys(Value::Object(found).to_string()))
        }
        _ if item.is_object() || item.is_array() => {
            Err("associative list without keys has an element that's a map type".to_owned())
        }
        _ => Ok(Step::Item(item.to_string())),
    }
}

/// A fault of an applied document, with the path where it lies.
type Fault = String;

/// The fields that a document sets, as the apply of it owns them.
///
/// # Errors
/// Every fault of the document against its type: unknown fields, wrong types, items without their keys, the same
/// key twice.
pub(super) fn field_set(value: &Value, kind: &'static Type) -> Result<Set, Vec<Fault>> {
    let mut faults = Vec::new();
    let (_, set) = fields(value, Node::Struct(kind), "", &mut faults);
    if faults.is_empty() { Ok(set) } else { Err(faults) }
}

/// The same for a document of ours, whose faults (none are expected) are not of interest.
pub(super) fn known_set(value: &Value, kind: &'static Type) -> Set {
    fields(value, Node::Struct(kind), "", &mut Vec::new()).1
}

fn wrong_type(value: &Value, node: Node) -> Option<String> {
    let expected = match (node, value) {
        (_, Value::Null)
        | (Node::Any | Node::Deduced | Node::SchemaOr(_) | Node::Quantity | Node::IntOrString, _)
        | (Node::Text | Node::Bytes | Node::Time | Node::MicroTime, Value::String(_))
        | (Node::Bool, Value::Bool(_))
        | (Node::Int32 | Node::Int64 | Node::Double, Value::Number(_))
        | (Node::Struct(_) | Node::Map(_), Value::Object(_))
        | (Node::List(_), Value::Array(_)) => return None,
        (Node::Text | Node::Bytes | Node::Time | Node::MicroTime, _) => "string",
        (Node::Bool, _) => "boolean",
        (Node::Int32 | Node::Int64 | Node::Double, _) => "numeric (int or float)",
        (Node::Struct(_) | Node::Map(_), _) => "map",
        (Node::List(_), _) => "list",
    };
    // Go prints each of these in a way of its own.
    Some(match expected {
        "map" | "list" => format!("expected {expected}, got &{{{}}}", go_shown(value)),
        "numeric (int or float)" => format!("expected {expected}, got {}", go_type(value)),
        _ => format!(
            "expected {expected}, got &value.valueUnstructured{{Value:{}}}",
            value.as_str().map_or_else(|| go_shown(value), |text| format!("{text:?}"))
        ),
    })
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether the value itself is a member, and the set below it.
fn fields(value: &Value, node: Node, path: &str, faults: &mut Vec<Fault>) -> (bool, Set) {
    if let Some(fault) = wrong_type(value, node) {
        faults.push(format!("{}: {fault}", if path.is_empty() { "." } else { path }));
        return (true, Set::default());
    }
    let mut set = Set::default();
    let shape = shape_of(node, &[Some(value)]);
    match (&shape, value) {
        (Shape::Leaf, value) => {
            check_below(value, node, path, faults);
            return (true, set);
        }
        (Shape::Struct(_) | Shape::Map(_), Value::Object(entries)) => {
            for (name, value) in entries {
                let path = format!("{path}.{name}");
                let mut is_map = matches!(shape, Shape::Map(_));
                if let (Shape::Struct(kind), None) = (&shape, kind_field(&shape, name)) {
                    if !kind.is_open() {
                        faults.push(format!("{path}: field not declared in schema"));
                    }
                    if !kind.is_custom() || !kind.is_open() {
                        continue;
                    }
                    is_map = true;
                }
                let (member, below) = fields(value, child(&shape, name), &path, faults);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if member || empty || is_map {
                    set.insert(Step::field(name));
                }
                set.graft(Step::field(name), below);
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            let known = by_step(list, Some(value));
            for item in items {
                let at = match step(list, item) {
                    Ok(at) => at,
                    Err(fault) => {
                        faults.push(format!("{path}: {fault}"));
                        continue;
                    }
                };
                let shown = shown(&at);
                if set.has(&at) {
                    faults.push(format!("{path}: duplicate entries for key {shown}"));
                    continue;
                }
                let (_, below) = fields(item, list.items, &format!("{path}{shown}"), faults);
                set.insert(at.clone());
                // Items with the same key are owned as one, without their parts.
                if known.get(&at).is_some_and(|same| same.len() == 1) {
                    set.graft(at, below);
                }
            }
        }
        _ => {}
    }
    (false, set)
}

fn shown(at: &Step) -> String {
    let mut alone = Set::default();
    alone.insert(at.clone());
    alone.paths().concat()
}

fn kind_field(shape: &Shape, name: &str) -> Option<&'static api::schema::Field> {
    match shape {
        Shape::Struct(kind) => kind.field(name),
        _ => None,
    }
}

/// The faults inside of a value that is owned as a whole.
fn check_below(value: &Value, node: Node, path: &str, faults: &mut Vec<Fault>) {
    let descend =
        |value: &Value, node: Node, path: String, faults: &mut Vec<Fault>| match wrong_type(
            value, node,
        ) {
            Some(fault) => faults.push(format!("{path}: {fault}")),
            None => check_below(value, node, &path, faults),
        };
    match (node, value) {
        (Node::Struct(kind) | Node::SchemaOr(kind), Value::Object(entries))
            if !kind.fields.is_empty() =>
        {
            for (name, value) in entries {
                match kind.field(name) {
                    Some(field) => descend(value, field.node, format!("{path}.{name}"), faults),
                    None if kind.is_open() => {}
                    None => faults.push(format!("{path}.{name}: field not declared in schema")),
                }
            }
        }
        (Node::Map(map), Value::Object(entries)) => {
            for (name, value) in entries {
                descend(value, map.values, format!("{path}.{name}"), faults);
            }
        }
        (Node::List(list), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                descend(item, list.items, format!("{path}[{at}]"), faults);
            }
        }
        _ => {}
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Items by step; several of one step are there where nobody refuses them (environment variables).
type Items<'v> = BTreeMap<Step, Vec<&'v Value>>;

fn by_step<'v>(list: &List, value: Option<&'v Value>) -> Items<'v> {
    let mut found = Items::new();
    for item in items(value) {
        if let Ok(at) = step(list, item) {
            found.entry(at).or_default().push(item);
        }
    }
    found
}

/// The item of a step, if there is just one: several are not merged with what is applied, but replaced.
fn only<'v>(items: &Items<'v>, at: &Step) -> Option<&'v Value> {
    match items.get(at).map(Vec::as_slice) {
        Some([one]) => Some(one),
        _ => None,
    }
}

/// Merges what is applied into what is there.
pub(super) fn merge(live: &Value, applied: &Value, kind: &'static Type) -> Value {
    merged(Some(live), Some(applied), Node::Struct(kind)).unwrap_or(Value::Null)
}

fn merged(live: Option<&Value>, applied: Option<&Value>, node: Node) -> Option<Value> {
    let shape = shape_of(node, &[live, applied]);
    if matches!(shape, Shape::Leaf) || (is_empty(live) && is_empty(applied)) {
        return applied.or(live).cloned();
    }
    if let Shape::List(list) = &shape {
        return Some(Value::Array(merged_list(live, applied, list)));
    }
    let none = Map::new();
    let live = live.and_then(Value::as_object).unwrap_or(&none);
    let applied = applied.and_then(Value::as_object).unwrap_or(&none);
    let names = live.keys().chain(applied.keys().filter(|name| !live.contains_key(*name)));
    let fields = names.filter_map(|name| {
        let value = merged(live.get(name), applied.get(name), child(&shape, name))?;
        Some((name.clone(), value))
    });
    Some(Value::Object(fields.collect()))
}

/// Items in the applied order, with those that only the live list has where they stood between them.
fn merged_list(live: Option<&Value>, applied: Option<&Value>, list: &List) -> Vec<Value> {
    let at = |item: &Value| step(list, item).ok();
    let (left, right): (Vec<_>, Vec<_>) =
        (items(live).iter().map(at).collect(), items(applied).iter().map(at).collect());
    let (live_by, applied_by) = (by_step(list, live), by_step(list, applied));
    let in_applied = |at: &Option<Step>| at.as_ref().is_some_and(|at| applied_by.contains_key(at));
    let mut shared = right
        .iter()
        .filter(|at| at.as_ref().is_some_and(|at| live_by.contains_key(at)))
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    let pair = |at: &Option<Step>| {
        let at = at.as_ref()?;
        merged(only(&live_by, at), only(&applied_by, at), list.items)
    };
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some(mine), Some(theirs)) = (left.get(l), right.get(r)) {
            if mine.is_some() && mine == theirs {
                out.extend(pair(mine));
                shared.next_if(|next| *next == mine);
                l += 1;
                r += 1;
                continue;
            }
            if in_applied(mine) && shared.peek().is_some_and(|next| *next != mine) {
                // Named by the applied list, but not at this place.
                l += 1;
                continue;
            }
        }
        if let Some(mine) = left.get(l) {
            if !in_applied(mine) {
                out.extend(items(live).get(l).cloned());
                l += 1;
                continue;
            }
            if r >= right.len() {
                // Merged where the applied list has it.
                l += 1;
                continue;
            }
        }
        if let Some(theirs) = right.get(r) {
            out.extend(pair(theirs));
            shared.next_if(|next| *next == theirs);
            r += 1;
        }
    }
    out
}

/// The document without the fields of a set. What becomes empty becomes null: see `form::without_nulls`.
pub(super) fn remove(value: &Value, gone: &Set, kind: &'static Type) -> Value {
    removed(value, gone, Node::Struct(kind))
}

fn removed(value: &Value, gone: &Set, node: Node) -> Value {
    let shape = shape_of(node, &[Some(value)]);
    match (&shape, value) {
        (Shape::Leaf, Value::Object(_) | Value::Array(_)) => Value::Null,
        (Shape::List(list), Value::Array(all)) => {
            let mut left = Vec::new();
            for item in all {
                match step(list, item) {
                    Ok(at) if gone.has(&at) => {}
                    Ok(at) => left.push(match gone.below(&at) {
                        Some(below) => removed(item, below, list.items),
                        None => item.clone(),
                    }),
                    Err(_) => left.push(item.clone()),
                }
            }
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        (Shape::Struct(_) | Shape::Map(_), Value::Object(entries)) => {
            let mut left = Map::new();
            for (name, value) in entries {
                let at = Step::field(name);
                if gone.has(&at) {
                    continue;
                }
                let value = match gone.below(&at) {
                    Some(below) => removed(value, below, child(&shape, name)),
                    None => value.clone(),
                };
                left.insert(name.clone(), value);
            }
            if left.is_empty() { Value::Null } else { Value::Object(left) }
        }
        (_, value) => value.clone(),
    }
}

/// The set with every struct field made a member that has members below it: fields of structs have no `.` of their
/// own, but count as there when something in them is.
pub(super) fn with_named(set: &Set, kind: &'static Type) -> Set {
    named(set, Node::Struct(kind))
}

fn named(set: &Set, node: Node) -> Set {
    let shape = shape(node);
    let mut out = Set::default();
    for (at, below) in set.steps() {
        let node = match (&shape, at) {
            (_, Step::Field(name)) => child(&shape, name),
            (Shape::List(list), _) => list.items,
            _ => Node::Any,
        };
        let is_named = match at {
            Step::Field(name) => kind_field(&shape, name).is_some(),
            _ => false,
        };
        if set.has(at) || (is_named && below.is_some()) {
            out.insert(at.clone());
        }
        if let Some(below) = below {
            out.graft(at.clone(), named(below, node));
        }
    }
    out
}
