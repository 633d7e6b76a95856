//! What the maker of an object owns is told in one walk; the difference to nothing says the same.

use super::*;
use crate::merge::apply::updated;
use crate::merge::owners::{self, Owners};
use api::schema::{List, ListKind, Node};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Objects of each kind.
const OBJECTS: u64 = 60;
/// Below it nothing is nested, so that objects stay small.
const DEPTH_MAX: usize = 7;

/// Draws values of types: often what is empty, doubled, missing or of the wrong kind.
struct Draw(StdRng);

impl Draw {
    fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }

    fn text(&mut self) -> Value {
        ["", "a", "b", "c"][self.below(4) as usize].into()
    }

    fn value(&mut self, node: Node, depth: usize) -> Value {
        match (self.below(24), node) {
            (0, _) => Value::Null,
            (1, _) => json!({}),
            (2, _) => json!([]),
            (3, _) => self.text(),
            (_, Node::Struct(kind)) => self.object(kind, depth),
            (_, Node::Map(map)) => (0..self.below(3))
                .map(|at| (format!("k{at}"), self.value(map.values, depth + 1)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            (_, Node::List(list)) => {
                (0..self.below(4)).map(|_| self.item(list, depth + 1)).collect::<Vec<_>>().into()
            }
            (_, Node::Bool) => (self.below(2) == 0).into(),
            (_, Node::Int32 | Node::Int64 | Node::Double) => self.below(3).into(),
            _ => self.text(),
        }
    }

    /// An item that mostly says its keys.
    fn item(&mut self, list: &'static List, depth: usize) -> Value {
        let mut item = self.value(list.items, depth);
        if let (ListKind::Map(keys), Some(fields)) = (list.kind, item.as_object_mut()) {
            for key in keys {
                if self.below(8) > 0 {
                    fields.insert((*key).to_owned(), self.text());
                }
            }
        }
        item
    }

    fn object(&mut self, kind: &'static Type, depth: usize) -> Value {
        let mut out = serde_json::Map::new();
        // Few fields of large types, or no object would ever be drawn to its end.
        let width = u32::try_from(kind.fields.len()).unwrap_or(u32::MAX).max(1);
        for field in kind.fields {
            if depth < DEPTH_MAX && (depth == 0 || self.below(width) < 4) {
                out.insert(field.name.to_owned(), self.value(field.node, depth + 1));
            }
        }
        out.into()
    }
}

#[test]
fn who_makes_an_object_owns_what_differs_from_nothing() {
    let mut owned_by_somebody = 0;
    for row in api::resource::ALL {
        let Some(kind) = schema::of(row) else { continue };
        for seed in 0..OBJECTS {
            let mut object = Draw(StdRng::seed_from_u64(seed)).object(kind, 0);
            if !object["metadata"].is_object() {
                object["metadata"] = json!({"labels": {"a": "b"}});
            }
            object["metadata"].as_object_mut().unwrap().remove("managedFields");
            let manager = by("m", "v1", 7);
            let mut slow = object.clone();
            let found = updated(Owners::new(), &json!({}), &object, &manager, kind);
            owners::write(&mut slow, &found);
            let mut quick = object.clone();
            track_update(None, &mut quick, &manager, kind);
            assert_eq!(owned(&quick), owned(&slow), "{} seed {seed}: {object}", row.kind);
            owned_by_somebody += owned(&quick).len();
        }
    }
    assert!(owned_by_somebody > 1_000, "{owned_by_somebody}");
}
