//! Which nodes are to be asked again, set by set.

use kit::Key;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Marked nodes of one set before it is looked at as a whole instead. A name is about 50 bytes with its place in
/// the tree: half a megabyte.
const NODES_MAX: usize = 10_000;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// These nodes.
    Nodes(BTreeSet<String>),
    /// Everything.
    All,
}

/// The marks of all sets. Clones are the same marks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Arc<Mutex<BTreeMap<Key, Mark>>>);

impl Marks {
    /// Marks a node, by name; the empty name stands for pods aimed at no node.
    pub(crate) fn node(&self, set: &Key, node: &str) {
        let mut marks = self.0.lock();
        let mark = marks.entry(set.clone()).or_insert_with(|| Mark::Nodes(BTreeSet::new()));
        if let Mark::Nodes(nodes) = mark {
            nodes.insert(node.to_owned());
            if nodes.len() > NODES_MAX {
                *mark = Mark::All;
            }
        }
    }

    /// Marks everything.
    pub(crate) fn all(&self, set: &Key) {
        self.0.lock().insert(set.clone(), Mark::All);
    }

    /// Takes the marks of a set away.
    pub(crate) fn take(&self, set: &Key) -> Mark {
        self.0.lock().remove(set).unwrap_or_else(|| Mark::Nodes(BTreeSet::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_marked_nodes_become_all() {
        let (marks, set) = (Marks::default(), Key::new("a", "b"));
        for number in 0..=NODES_MAX {
            marks.node(&set, &number.to_string());
        }
        assert_eq!(marks.take(&set), Mark::All);
        assert_eq!(marks.take(&set), Mark::Nodes(BTreeSet::new()));
        marks.all(&set);
        marks.node(&set, "n");
        assert_eq!(marks.take(&set), Mark::All);
    }
}
