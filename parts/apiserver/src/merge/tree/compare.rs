//! How two documents of one type differ, field by field.

use super::{Shape, by_step, child, shape_of};
use crate::merge::set::{Set, Step};
use api::schema::{Node, Type};
use serde_json::{Map, Value};

/// How two documents differ.
#[derive(Debug, Default)]
pub(in crate::merge) struct Difference {
    pub(in crate::merge) added: Set,
    pub(in crate::merge) removed: Set,
    pub(in crate::merge) modified: Set,
}

impl Difference {
    /// Without the fields of a set and what is below them.
    pub(in crate::merge) fn without(&self, ignored: &Set) -> Self {
        Self {
            added: self.added.without(ignored),
            removed: self.removed.without(ignored),
            modified: self.modified.without(ignored),
        }
    }

    pub(in crate::merge) fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }
}

/// How `new` differs from `old`.
pub(in crate::merge) fn compare(old: &Value, new: &Value, kind: &'static Type) -> Difference {
    differ(Some(old), Some(new), Node::Struct(kind)).1
}

/// Whether a value is new or another than before, and which fields below it are.
pub(in crate::merge) fn gained(old: Option<&Value>, new: &Value, node: Node) -> (bool, Set) {
    let (fate, found) = differ(old, Some(new), node);
    (matches!(fate, Fate::Added | Fate::Modified), found.added.union(&found.modified))
}

/// What became of a value itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    Added,
    Removed,
    Modified,
}

pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(_) => false,
    }
}

fn differ(old: Option<&Value>, new: Option<&Value>, node: Node) -> (Fate, Difference) {
    let fate = match (old, new) {
        (None, _) => Fate::Added,
        (_, None) => Fate::Removed,
        (Some(old), Some(new)) if same(old, new) => return (Fate::Same, Difference::default()),
        _ => Fate::Modified,
    };
    let shape = shape_of(node, &[old, new]);
    let mut found = Difference::default();
    if matches!(shape, Shape::Leaf) || (is_empty(old) && is_empty(new)) {
        return (fate, found);
    }
    if let Shape::List(list) = &shape {
        let (old, new) = (by_step(list, old), by_step(list, new));
        for at in old.keys().chain(new.keys().filter(|at| !old.contains_key(*at))) {
            let (old, new) = (old.get(at), new.get(at));
            let pair = (old.map_or(&[][..], Vec::as_slice), new.map_or(&[][..], Vec::as_slice));
            differ_items(&mut found, at, pair, list.items);
        }
    } else {
        let none = Map::new();
        let old = old.and_then(Value::as_object).unwrap_or(&none);
        let new = new.and_then(Value::as_object).unwrap_or(&none);
        for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
            let outcome = differ(old.get(name), new.get(name), child(&shape, name));
            record(&mut found, Step::field(name), outcome);
        }
    }
    // What is walked is never modified itself; only its parts are.
    (if fate == Fate::Modified { Fate::Same } else { fate }, found)
}

/// Compares items of one key. Several items of one key count as one value, without parts.
fn differ_items(found: &mut Difference, at: &Step, items: (&[&Value], &[&Value]), node: Node) {
    let mut one = |old: Option<&Value>, new: Option<&Value>| {
        record(found, at.clone(), differ(old, new, node));
    };
    match items {
        ([], []) => {}
        ([old], [new]) => one(Some(old), Some(new)),
        ([old], []) => one(Some(old), None),
        ([], [new]) => one(None, Some(new)),
        ([_, _, ..], []) => found.removed.insert(at.clone()),
        ([_, _, ..], [new]) => {
            one(None, Some(new));
            found.removed.insert(at.clone());
        }
        ([], [_, _, ..]) => found.added.insert(at.clone()),
        ([old], [_, _, ..]) => {
            one(Some(old), None);
            found.added.insert(at.clone());
        }
        (old, new) => {
            let equal = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b));
            if !equal {
                found.modified.insert(at.clone());
            }
        }
    }
}

fn record(found: &mut Difference, at: Step, (fate, below): (Fate, Difference)) {
    match fate {
        Fate::Same => {}
        Fate::Added => found.added.insert(at.clone()),
        Fate::Removed => found.removed.insert(at.clone()),
        Fate::Modified => found.modified.insert(at.clone()),
    }
    found.added.graft(at.clone(), below.added);
    found.removed.graft(at.clone(), below.removed);
    found.modified.graft(at, below.modified);
}

/// Equality where a number is its value: `1` and `1.0` are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        (a, b) => a == b,
    }
}
