//! The rows in memory, and everything that only reads them.

use crate::history::{Event, Limits, Marks, Ring};
use crate::key::Key;
use crate::row::Row;
use parking_lot::RwLock;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// A row that is ordered and found by its key, so that the key is kept once.
#[derive(Debug)]
struct ByKey<F>(Arc<Row<F>>);

impl<F> PartialEq for ByKey<F> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}
impl<F> Eq for ByKey<F> {}
impl<F> Ord for ByKey<F> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
impl<F> PartialOrd for ByKey<F> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<F> Borrow<Key> for ByKey<F> {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

/// The value by which rows of a collection are also found.
pub type Index<F> = Arc<dyn Fn(&F) -> &str + Send + Sync>;

struct Collection<F> {
    rows: BTreeSet<ByKey<F>>,
    index: Option<Index<F>>,
    by_value: BTreeMap<Box<str>, BTreeSet<ByKey<F>>>,
    ring: Ring<F>,
}

impl<F> Collection<F> {
    fn insert(&mut self, row: &Arc<Row<F>>) -> Option<Arc<Row<F>>> {
        let old = self.rows.replace(ByKey(Arc::clone(row))).map(|old| old.0);
        if let Some(index) = self.index.clone() {
            let value = index(&row.facts);
            let before = old.as_ref().filter(|old| index(&old.facts) != value);
            if let Some(old) = before {
                self.forget(index(&old.facts), &old.key);
            }
            match self.by_value.get_mut(value) {
                Some(rows) => {
                    rows.replace(ByKey(Arc::clone(row)));
                }
                None => {
                    self.by_value.insert(value.into(), BTreeSet::from([ByKey(Arc::clone(row))]));
                }
            }
        }
        old
    }

    fn remove(&mut self, key: &Key) {
        if let Some(old) = self.rows.take(key)
            && let Some(index) = self.index.clone()
        {
            self.forget(index(&old.0.facts), key);
        }
    }

    fn forget(&mut self, value: &str, key: &Key) {
        if let Some(rows) = self.by_value.get_mut(value) {
            rows.remove(key);
            if rows.is_empty() {
                self.by_value.remove(value);
            }
        }
    }
}

pub(crate) struct State<F> {
    revision: u64,
    /// The floor of collections that have none of their own yet.
    floor: u64,
    collections: BTreeMap<Arc<str>, Collection<F>>,
    indexes: Vec<(&'static str, Index<F>)>,
    limits: Limits,
    marks: Marks,
}

impl<F> std::fmt::Debug for State<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl<F> State<F> {
    pub(crate) fn new(limits: Limits, indexes: Vec<(&'static str, Index<F>)>) -> Self {
        Self {
            revision: 0,
            floor: 0,
            collections: BTreeMap::new(),
            indexes,
            limits,
            marks: Marks::default(),
        }
    }

    fn collection(&mut self, name: &Arc<str>) -> &mut Collection<F> {
        let floor = self.floor;
        self.collections.entry(Arc::clone(name)).or_insert_with(|| Collection {
            rows: BTreeSet::new(),
            index: self.indexes.iter().find(|(c, _)| **c == **name).map(|(_, i)| Arc::clone(i)),
            by_value: BTreeMap::new(),
            ring: Ring::new(floor),
        })
    }

    /// A row found at start.
    pub(crate) fn restore(&mut self, mut row: Row<F>) -> bool {
        self.share_names(&mut row.key);
        let name = Arc::clone(&row.key.collection);
        self.collection(&name).insert(&Arc::new(row)).is_none()
    }

    /// After the last row was restored: where revisions go on, and from where history is whole.
    pub(crate) fn begin(&mut self, revision: u64, floor: impl Fn(&str) -> u64) {
        self.revision = revision;
        self.floor = floor("");
        for (name, collection) in &mut self.collections {
            collection.ring = Ring::new(floor(name));
        }
    }

    /// Takes over a batch that is durable.
    pub(crate) fn apply(&mut self, events: &[Arc<Event<F>>], revision: u64, now: Duration) {
        let limits = self.limits;
        for event in events {
            let collection = self.collection(&event.row.key.collection);
            match event.happened {
                crate::Happened::Deleted => {
                    collection.remove(&event.row.key);
                }
                crate::Happened::Added | crate::Happened::Modified => {
                    collection.insert(&event.row);
                }
            }
            collection.ring.push(Arc::clone(event), now, &limits);
        }
        self.revision = revision;
    }

    /// Lets a key share the names of its neighbours instead of holding its own.
    pub(crate) fn share_names(&self, key: &mut Key) {
        let Some((name, collection)) = self.collections.get_key_value(&key.collection) else {
            return;
        };
        key.collection = Arc::clone(name);
        if let Some(neighbour) = collection.rows.range::<Key, _>(&first_of(key)..).next()
            && neighbour.0.key.namespace == key.namespace
        {
            key.namespace = Arc::clone(&neighbour.0.key.namespace);
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Row<F>>> {
        self.collections.get(&key.collection)?.rows.get(key).map(|row| &row.0)
    }
}

fn first_of(key: &Key) -> Key {
    Key {
        collection: Arc::clone(&key.collection),
        namespace: Arc::clone(&key.namespace),
        name: Arc::from(""),
    }
}

/// The revision asked about is older than what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({floor})")]
pub struct Compacted {
    /// What was asked about.
    pub asked: u64,
    /// The oldest that can be asked about.
    pub floor: u64,
}

/// Decides which rows are wanted.
pub type Filter<'a, F> = &'a dyn Fn(&Row<F>) -> bool;

/// Which rows to list.
pub struct Query<'a, F> {
    /// The collection.
    pub collection: &'a str,
    /// One namespace, or empty for all.
    pub namespace: &'a str,
    /// As things were at this revision; `None` for now.
    pub at: Option<u64>,
    /// Only rows after this namespace and name.
    pub after: Option<(&'a str, &'a str)>,
    /// At most so many rows; 0 for all.
    pub limit: usize,
    /// Only rows with this value in the collection's [`Index`]; without an index it says nothing.
    pub value: Option<&'a str>,
    /// Only rows that pass.
    pub filter: Option<Filter<'a, F>>,
}

impl<F> std::fmt::Debug for Query<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("collection", &self.collection)
            .field("namespace", &self.namespace)
            .field("at", &self.at)
            .field("after", &self.after)
            .field("limit", &self.limit)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// Rows as they were together at one revision.
#[derive(Debug)]
pub struct Listing<F> {
    /// That revision.
    pub revision: u64,
    /// The rows, in the order of their keys.
    pub rows: Vec<Arc<Row<F>>>,
    /// How many rows that pass come after the last one here; 0 when the limit cut nothing off.
    pub remaining: usize,
}

/// Events read from a ring.
#[derive(Debug)]
pub struct Read<F> {
    /// In order of revision.
    pub events: Vec<Arc<Event<F>>>,
    /// Every event of the collection up to this revision has now been read.
    pub upto: u64,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Rows.
    pub rows: usize,
    /// Events remembered.
    pub events: usize,
    /// What they weigh.
    pub event_bytes: usize,
}

/// The reading side. Cheap to clone; every answer is of one revision.
#[derive(Debug)]
pub struct Store<F>(pub(crate) Arc<RwLock<State<F>>>);

impl<F> Clone for Store<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> Store<F> {
    /// The revision of the last commit.
    pub fn revision(&self) -> u64 {
        self.0.read().revision
    }

    /// The row at a key.
    pub fn get(&self, key: &Key) -> Option<Arc<Row<F>>> {
        self.0.read().get(key).cloned()
    }

    /// The oldest revision that a collection can be asked about.
    pub fn floor(&self, collection: &str) -> u64 {
        let state = self.0.read();
        state.collections.get(collection).map_or(state.floor, |c| c.ring.floor())
    }

    /// Rows as they are, or as they were at a revision that is still remembered.
    /// A revision of the future is taken for now: callers that care wait for it first.
    pub fn list(&self, query: &Query<'_, F>) -> Result<Listing<F>, Compacted> {
        let state = self.0.read();
        let revision = query.at.unwrap_or(state.revision).min(state.revision);
        if revision < state.marks.floor() {
            return Err(Compacted { asked: revision, floor: state.marks.floor() });
        }
        let Some(collection) = state.collections.get(query.collection) else {
            return if revision < state.floor {
                Err(Compacted { asked: revision, floor: state.floor })
            } else {
                Ok(Listing { revision, rows: Vec::new(), remaining: 0 })
            };
        };
        if revision < collection.ring.floor() {
            return Err(Compacted { asked: revision, floor: collection.ring.floor() });
        }
        let mut listing = Listing { revision, rows: Vec::new(), remaining: 0 };
        collection.each_at(query, revision, |row| {
            if !collection.wants(query, row) {
                return;
            }
            if query.limit == 0 || listing.rows.len() < query.limit {
                listing.rows.push(Arc::clone(row));
            } else {
                listing.remaining += 1;
            }
        });
        Ok(listing)
    }

    /// The next events of a collection after a revision, at most `limit`.
    pub fn events_after(
        &self,
        collection: &str,
        revision: u64,
        limit: usize,
    ) -> Result<Read<F>, Compacted> {
        let state = self.0.read();
        let Some(found) = state.collections.get(collection) else {
            return if revision < state.floor {
                Err(Compacted { asked: revision, floor: state.floor })
            } else {
                Ok(Read { events: Vec::new(), upto: state.revision })
            };
        };
        if revision < found.ring.floor() {
            return Err(Compacted { asked: revision, floor: found.ring.floor() });
        }
        let events: Vec<_> = found.ring.after(revision).take(limit).cloned().collect();
        let upto = match events.last() {
            Some(last) if events.len() == limit => last.revision(),
            _ => state.revision,
        };
        Ok(Read { events, upto })
    }

    /// The event of exactly this revision, unless it is forgotten or was in another collection.
    pub fn event_at(&self, collection: &str, revision: u64) -> Option<Arc<Event<F>>> {
        self.0.read().collections.get(collection)?.ring.at(revision).cloned()
    }

    /// Forgets events that are too old, and lets no list be made any more as things were that long ago. Watches go
    /// on from any revision after which all events are there.
    pub fn trim(&self, now: Duration) {
        let mut state = self.0.write();
        let (limits, revision) = (state.limits, state.revision);
        state.marks.note(now, revision, limits.age_max);
        for collection in state.collections.values_mut() {
            collection.ring.trim(now, &limits);
        }
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        let state = self.0.read();
        state.collections.values().fold(Fill::default(), |sum, collection| Fill {
            rows: sum.rows + collection.rows.len(),
            events: sum.events + collection.ring.len(),
            event_bytes: sum.event_bytes + collection.ring.bytes(),
        })
    }

    /// Every row of every collection, for those who build indexes at start.
    pub fn each(&self, mut see: impl FnMut(&Arc<Row<F>>)) {
        let state = self.0.read();
        for collection in state.collections.values() {
            collection.rows.iter().for_each(|row| see(&row.0));
        }
    }
}

impl<F> Collection<F> {
    /// Whether a row, perhaps of the past, is asked for.
    fn wants(&self, query: &Query<'_, F>, row: &Row<F>) -> bool {
        let indexed = self.index.as_ref().zip(query.value);
        indexed.is_none_or(|(index, value)| index(&row.facts) == value)
            && query.filter.is_none_or(|passes| passes(row))
    }

    /// Walks the rows of a query as they were at a revision: the rows of now, with what the ring says
    /// happened since undone.
    fn each_at<'s>(
        &'s self,
        query: &Query<'_, F>,
        revision: u64,
        mut see: impl FnMut(&'s Arc<Row<F>>),
    ) {
        let mut undone: BTreeMap<&Key, Option<&Arc<Row<F>>>> = BTreeMap::new();
        for event in self.ring.back_to(revision) {
            undone.insert(&event.row.key, event.previous.as_ref());
        }
        let wanted = |key: &Key| {
            (query.namespace.is_empty() || &*key.namespace == query.namespace)
                && query.after.is_none_or(|(namespace, name)| {
                    let after = Key::new(Arc::clone(&key.collection), namespace, name);
                    key.cmp_within(&after) == Ordering::Greater
                })
        };
        undone.retain(|key, _| wanted(key));
        let mut undone = undone.into_iter().peekable();
        let start = match query.after {
            Some((namespace, name)) => Bound::Excluded(Key::new(query.collection, namespace, name)),
            None => Bound::Included(Key::new(query.collection, query.namespace, "")),
        };
        let rows = match query.value {
            Some(value) if self.index.is_some() => self.by_value.get(value),
            _ => Some(&self.rows),
        };
        let range = (start, Bound::Unbounded);
        for row in rows.into_iter().flat_map(|rows| rows.range::<Key, _>(range.clone())) {
            let row = &row.0;
            if !query.namespace.is_empty() && &*row.key.namespace != query.namespace {
                break;
            }
            while let Some((_, old)) = undone.next_if(|(key, _)| **key < row.key) {
                old.into_iter().for_each(&mut see);
            }
            match undone.next_if(|(key, _)| **key == row.key) {
                Some((_, old)) => old.into_iter().for_each(&mut see),
                None => see(row),
            }
        }
        undone.for_each(|(_, old)| old.into_iter().for_each(&mut see));
    }
}
