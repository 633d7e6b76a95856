//! A watch: a cursor in the history of a collection, and what its selectors make of each event.

use super::hub::{Ear, Next, Topic};
use super::{FRAMES, Facts, Key, Record, Shared, has_field};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{Compacted, Happened};

/// Events taken from the ring at a time: a short hold of the lock, and all that a slow reader keeps alive.
const READ_AHEAD: usize = 64;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on.
    Now,
    /// With what happened after this revision. One of the future waits for it.
    After(u64),
}

/// Decides which objects a watch is about, beside collection, namespace, name and field.
pub type Filter = Arc<dyn Fn(&Record) -> bool + Send + Sync>;

/// What to watch.
#[derive(Clone)]
pub struct WatchRequest {
    /// The collection.
    pub collection: Arc<str>,
    /// One namespace, or empty for all.
    pub namespace: Arc<str>,
    /// One name (`metadata.name=x`), or empty for all.
    pub name: Arc<str>,
    /// Where to begin.
    pub start: Start,
    /// Only objects whose fact of this name has this value. An indexed one costs nothing for other events.
    pub field: Option<(String, String)>,
    /// Only objects that pass.
    pub filter: Option<Filter>,
}

impl WatchRequest {
    /// Everything in a collection.
    pub fn all(collection: impl Into<Arc<str>>, start: Start) -> Self {
        Self {
            collection: collection.into(),
            namespace: Arc::from(""),
            name: Arc::from(""),
            start,
            field: None,
            filter: None,
        }
    }

    fn wants_key(&self, key: &Key) -> bool {
        (self.namespace.is_empty() || self.namespace == key.namespace)
            && (self.name.is_empty() || self.name == key.name)
    }

    fn wants(&self, record: &Record) -> bool {
        self.field.as_ref().is_none_or(|(field, value)| has_field(record, field, value))
            && self.filter.as_ref().is_none_or(|filter| filter(record))
    }
}

impl fmt::Debug for WatchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchRequest")
            .field("collection", &self.collection)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("start", &self.start)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

/// What a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// It is new, or newly selected.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or no longer selected.
    Deleted,
}

/// One event as one watcher sees it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What to say happened.
    pub kind: EventKind,
    /// The object to show. When it left the selection: its state before, with the revision of the change.
    pub record: Arc<Record>,
    /// The object before the change, selected or not.
    pub previous: Option<Arc<Record>>,
    /// The line of a JSON watch stream, line feed included; shared by all who are told the same.
    pub frame: Bytes,
}

impl Event {
    /// The revision of the change.
    pub fn revision(&self) -> u64 {
        self.record.revision
    }
}

/// The watch was too slow, or began too far back: 410.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {revision} ({oldest})")]
pub struct Gone {
    /// Where the watch was.
    pub revision: u64,
    /// The oldest revision to start from.
    pub oldest: u64,
}

/// A cursor. Holds no events but the few it read ahead.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    request: WatchRequest,
    topic: Topic,
    ear: Arc<Ear>,
    id: u64,
    /// Every event up to here was read from the ring.
    cursor: u64,
    /// Every event up to here was given out or was not wanted.
    seen: u64,
    /// The ring has to be looked at from the cursor on.
    behind: bool,
    ahead: VecDeque<Arc<store::Event<Facts>>>,
}

impl Watch {
    pub(super) fn open(shared: Arc<Shared>, request: WatchRequest) -> Result<Self, Compacted> {
        let field = request.field.as_ref();
        let topic = if !request.name.is_empty() && !request.namespace.is_empty() {
            Topic::Name(Key::new(
                Arc::clone(&request.collection),
                Arc::clone(&request.namespace),
                Arc::clone(&request.name),
            ))
        } else {
            let indexed = field.and_then(|(field, value)| {
                Some((shared.hub.indexed(&request.collection, field)?, value.clone()))
            });
            indexed.map_or(Topic::All, |(field, value)| Topic::Field(field, value))
        };
        // First listen, then look: what happens between the two is heard, or seen, or both.
        let (id, ear) = shared.hub.subscribe(&request.collection, &topic);
        let now = shared.store.revision();
        let cursor = match request.start {
            Start::Now => now,
            Start::After(revision) => revision,
        };
        let mut watch = Self {
            shared,
            request,
            topic,
            ear,
            id,
            cursor,
            seen: cursor,
            // All that happens after now is heard.
            behind: cursor < now,
            ahead: VecDeque::new(),
        };
        let floor = watch.shared.store.floor(&watch.request.collection);
        if cursor < floor {
            return Err(Compacted { asked: cursor, floor });
        }
        if watch.behind {
            watch.scan().map_err(|gone| Compacted { asked: cursor, floor: gone.oldest })?;
        }
        Ok(watch)
    }

    /// The next event. Can be dropped at any await and called again; nothing is lost by it.
    pub async fn next(&mut self) -> Result<Event, Gone> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.ear.wait().await;
        }
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Result<Option<Event>, Gone> {
        loop {
            while let Some(event) = self.ahead.pop_front() {
                self.seen = self.seen.max(event.revision());
                if let Some(event) = self.classify(&event) {
                    return Ok(Some(event));
                }
            }
            self.seen = self.seen.max(self.cursor);
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Every event up to this revision was given out: what a bookmark may say. Moves on while nothing happens.
    pub fn bookmark(&mut self) -> u64 {
        loop {
            while let Some(event) = self.ahead.front() {
                if self.classify(event).is_some() {
                    return self.seen;
                }
                self.seen = self.seen.max(event.revision());
                self.ahead.pop_front();
            }
            self.seen = self.seen.max(self.cursor);
            // An error is told by the next call of `next`.
            if !self.read().unwrap_or(false) {
                self.seen = self.seen.max(self.cursor);
                return self.seen;
            }
        }
    }

    /// Reads ahead; false when there is nothing to read.
    fn read(&mut self) -> Result<bool, Gone> {
        if self.topic == Topic::All || self.behind {
            return self.scan();
        }
        // Asked before the ear: all that is published was said to the ear before.
        let published = self.shared.hub.published();
        loop {
            match self.ear.next() {
                Next::Silence => {
                    self.cursor = self.cursor.max(published);
                    return Ok(!self.ahead.is_empty());
                }
                Next::Position(revision) if revision <= self.cursor => {}
                Next::Position(revision) => {
                    let event = self.shared.store.event_at(&self.request.collection, revision);
                    self.ahead.push_back(event.ok_or_else(|| self.gone())?);
                    self.cursor = revision;
                    if self.ahead.len() >= READ_AHEAD {
                        return Ok(true);
                    }
                }
                Next::Overflow(first) => {
                    self.behind = true;
                    self.cursor = self.cursor.max(first - 1);
                    return if self.ahead.is_empty() { self.scan() } else { Ok(true) };
                }
            }
        }
    }

    fn scan(&mut self) -> Result<bool, Gone> {
        let collection = &self.request.collection;
        let read = self.shared.store.events_after(collection, self.cursor, READ_AHEAD);
        let read = read.map_err(|_| self.gone())?;
        self.behind = read.events.len() == READ_AHEAD;
        self.cursor = self.cursor.max(read.upto);
        let any = !read.events.is_empty();
        let wanted = read.events.into_iter().filter(|event| self.request.wants_key(&event.row.key));
        self.ahead.extend(wanted);
        Ok(any)
    }

    fn gone(&self) -> Gone {
        self.shared.counts.gone.fetch_add(1, Ordering::Relaxed);
        let oldest = self.shared.store.floor(&self.request.collection);
        Gone { revision: self.seen, oldest }
    }

    /// What this watcher is told of an event; `None` when it is none of its business.
    fn classify(&self, event: &store::Event<Facts>) -> Option<Event> {
        if !self.request.wants_key(&event.row.key) {
            return None;
        }
        let before = event.previous.as_ref().filter(|row| self.request.wants(row));
        let after = event.happened != Happened::Deleted && self.request.wants(&event.row);
        let revision = event.revision();
        let (kind, record, frame) = match (before, after, event.happened) {
            (Some(_), _, Happened::Deleted) => {
                (EventKind::Deleted, Arc::clone(&event.row), event.frame.clone())
            }
            (Some(_), true, _) => {
                (EventKind::Modified, Arc::clone(&event.row), event.frame.clone())
            }
            (None, true, Happened::Added) => {
                (EventKind::Added, Arc::clone(&event.row), event.frame.clone())
            }
            (None, true, _) => {
                let (_, frame) = event.row.restamped(revision, FRAMES.added, FRAMES.suffix);
                (EventKind::Added, Arc::clone(&event.row), frame)
            }
            (Some(before), false, _) => {
                let (row, frame) = before.restamped(revision, FRAMES.deleted, FRAMES.suffix);
                (EventKind::Deleted, Arc::new(row), frame)
            }
            (None, false, _) => return None,
        };
        Some(Event { kind, record, previous: event.previous.clone(), frame })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.hub.unsubscribe(&self.request.collection, &self.topic, self.id);
    }
}
