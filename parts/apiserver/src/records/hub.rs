//! Who wants to hear of what: an event wakes only the watches that may want it.

use super::{Facts, Key};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use store::Event;
use tokio::sync::{Notify, watch};

/// Positions that an indexed watch keeps before it scans instead: 1,024 of 8 bytes. An agent's pods change
/// some ten times each while they start; a hundred pods at once just fit.
pub(super) const POSITIONS_MAX: usize = 1_024;

/// What a watch listens for within its collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// Everything.
    All,
    /// One object.
    Name(Key),
    /// Objects with a value in an indexed field.
    Field(&'static str, String),
}

/// The ear of one watch.
#[derive(Debug, Default)]
pub(super) struct Ear {
    wake: Notify,
    heard: Mutex<Heard>,
}

/// Where to look in the ring.
#[derive(Debug, Default)]
struct Heard {
    positions: VecDeque<u64>,
    /// Too many to keep: look at everything from this revision on.
    overflow: Option<u64>,
}

/// What an ear has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is waiting.
    Silence,
    /// The event of this revision.
    Position(u64),
    /// More than are kept, from this revision on.
    Overflow(u64),
}

impl Ear {
    fn tell(&self, revision: u64) {
        let mut heard = self.heard.lock();
        if heard.overflow.is_none() {
            heard.positions.push_back(revision);
        }
        if heard.positions.len() > POSITIONS_MAX {
            heard.overflow = heard.positions.front().copied();
            heard.positions = VecDeque::new();
        }
        drop(heard);
        self.wake.notify_one();
    }

    pub(super) fn next(&self) -> Next {
        let mut heard = self.heard.lock();
        if let Some(first) = heard.overflow.take() {
            return Next::Overflow(first);
        }
        heard.positions.pop_front().map_or(Next::Silence, Next::Position)
    }

    /// Waits until something was said since the last call.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }
}

type Ears = BTreeMap<u64, Arc<Ear>>;

#[derive(Debug, Default)]
struct Audience {
    all: Ears,
    names: BTreeMap<Key, Ears>,
    fields: BTreeMap<&'static str, BTreeMap<String, Ears>>,
}

impl Audience {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.names.is_empty() && self.fields.is_empty()
    }

    /// Tells those who listen for something narrower than everything; gives back how many.
    fn tell(&self, event: &Event<Facts>) -> u64 {
        let mut told = 0;
        let mut tell = |ears: Option<&Ears>| {
            for ear in ears.into_iter().flat_map(BTreeMap::values) {
                ear.tell(event.revision());
                told += 1;
            }
        };
        tell(self.names.get(&event.row.key));
        for (field, values) in &self.fields {
            let value = |facts: &Facts| facts.fields.get(field).cloned().unwrap_or_default();
            let new = value(&event.row.facts);
            let old = event.previous.as_ref().map(|row| value(&row.facts));
            tell(values.get(&new));
            if let Some(old) = old.filter(|old| *old != new) {
                tell(values.get(&old));
            }
        }
        told
    }
}

/// All watches, by what they listen for.
#[derive(Debug)]
pub(super) struct Hub {
    audiences: Mutex<BTreeMap<Arc<str>, Audience>>,
    indexed: Vec<(&'static str, &'static str)>,
    published: watch::Sender<u64>,
    next_id: AtomicU64,
    watches: AtomicUsize,
    told: AtomicU64,
}

impl Hub {
    pub(super) fn new(revision: u64, indexed: Vec<(&'static str, &'static str)>) -> Self {
        Self {
            audiences: Mutex::default(),
            indexed,
            published: watch::Sender::new(revision),
            next_id: AtomicU64::new(0),
            watches: AtomicUsize::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// The name of a field as it was declared, if watchers of it are found by value.
    pub(super) fn indexed(&self, collection: &str, field: &str) -> Option<&'static str> {
        self.indexed.iter().find(|(c, f)| *c == collection && *f == field).map(|(_, f)| *f)
    }

    pub(super) fn subscribe(&self, collection: &Arc<str>, topic: &Topic) -> (u64, Arc<Ear>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let ear = Arc::new(Ear::default());
        let mut audiences = self.audiences.lock();
        let audience = audiences.entry(Arc::clone(collection)).or_default();
        let ears = match topic {
            Topic::All => &mut audience.all,
            Topic::Name(key) => audience.names.entry(key.clone()).or_default(),
            Topic::Field(field, value) => {
                audience.fields.entry(field).or_default().entry(value.clone()).or_default()
            }
        };
        ears.insert(id, Arc::clone(&ear));
        self.watches.fetch_add(1, Ordering::Relaxed);
        (id, ear)
    }

    pub(super) fn unsubscribe(&self, collection: &Arc<str>, topic: &Topic, id: u64) {
        let mut audiences = self.audiences.lock();
        let Some(audience) = audiences.get_mut(collection) else { return };
        match topic {
            Topic::All => {
                audience.all.remove(&id);
            }
            Topic::Name(key) => {
                let ears = audience.names.get_mut(key);
                if ears.is_some_and(|ears| ears.remove(&id).is_some() && ears.is_empty()) {
                    audience.names.remove(key);
                }
            }
            Topic::Field(field, value) => {
                let values = audience.fields.get_mut(field);
                if let Some(values) = values {
                    let ears = values.get_mut(value);
                    if ears.is_some_and(|ears| ears.remove(&id).is_some() && ears.is_empty()) {
                        values.remove(value);
                    }
                    if values.is_empty() {
                        audience.fields.remove(field);
                    }
                }
            }
        }
        if audience.is_empty() {
            audiences.remove(collection);
        }
        self.watches.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells of events that are durable and can be read. What was said before the revision is published can
    /// be taken from the ears once it is.
    pub(super) fn publish<'e>(
        &self,
        events: impl Iterator<Item = &'e Arc<Event<Facts>>>,
        revision: u64,
    ) {
        let (mut touched, mut told) = (BTreeSet::new(), 0);
        let audiences = self.audiences.lock();
        for event in events {
            let collection = &event.row.key.collection;
            if let Some(audience) = audiences.get(collection) {
                told += audience.tell(event);
                touched.insert(Arc::clone(collection));
            }
        }
        self.published.send_replace(revision);
        for collection in &touched {
            let all = audiences.get(collection).map(|audience| &audience.all);
            for ear in all.into_iter().flat_map(BTreeMap::values) {
                ear.wake.notify_one();
                told += 1;
            }
        }
        self.told.fetch_add(told, Ordering::Relaxed);
    }

    pub(super) fn published(&self) -> u64 {
        *self.published.borrow()
    }

    pub(super) async fn reached(&self, revision: u64) {
        let mut published = self.published.subscribe();
        // The sender lives as long as `self`, so this ends only when the revision is there.
        let _seen = published.wait_for(|now| *now >= revision).await.is_ok();
    }

    /// How often a watch was told of something, since start.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn watches(&self) -> usize {
        self.watches.load(Ordering::Relaxed)
    }
}
