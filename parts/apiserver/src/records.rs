//! Objects as the server keeps them: bytes, with a few extracted facts beside them, and a history.
//!
//! The async front of the store. [`Records`] is what requests hold; the one [`Committer`] turns waiting writes
//! into batches with one sync each, publishes their events, and answers the callers, in that order. A
//! [`Watch`] is a cursor in the history, woken only by events that it may want.

mod committer;
mod hub;
mod watch;

pub use committer::Committer;
pub use store::{Compacted, Expected, Key, Limits, Log, OpenError, SqliteLog, Stamped};
pub use watch::{Event, EventKind, Filter, Gone, Start, Watch, WatchRequest};

use committer::Wish;
use hub::Hub;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use store::{Frames, Index, Store};
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait for the committer. 4,096 pods of 4 KiB are 16 MiB; at 2,000 writes a second (a slow
/// disk) the last of them waits two seconds. One more is answered with [`CommitError::Busy`] (429).
pub const WAITING_WRITES_MAX: usize = 4_096;

/// The namespace of heartbeats: its leases are written lazily (design 8.3).
const LAZY_NAMESPACE: &str = "kube-node-lease";
/// The collection of leases.
const LEASES: &str = "coordination.k8s.io/leases";

/// What stands around an object in the JSON stream of a watch.
const FRAMES: Frames = Frames {
    added: "{\"type\":\"ADDED\",\"object\":",
    modified: "{\"type\":\"MODIFIED\",\"object\":",
    deleted: "{\"type\":\"DELETED\",\"object\":",
    suffix: "}\n",
};

/// Extracted once per write, so that reads and watches never parse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Values for field selectors (`spec.nodeName`, `status.phase`, ...), without `metadata.*`.
    pub fields: BTreeMap<&'static str, String>,
    /// When the server deletes the object by itself (events).
    pub expires: Option<jiff::Timestamp>,
    /// The object itself, where requests read it again and again.
    pub parsed: Parsed,
}

/// An object that was parsed once somebody asked for it. It follows from the bytes, so it has no part in comparisons.
#[derive(Clone, Debug, Default)]
pub struct Parsed(pub(crate) OnceLock<Arc<serde_json::Value>>);

impl PartialEq for Parsed {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Parsed {}

/// One object at one revision. `bytes` is the JSON answered to a GET, `metadata.resourceVersion` included.
pub type Record = store::Row<Facts>;

/// Tells the time.
pub type Now = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// How records are kept.
#[derive(Clone)]
pub struct Options {
    /// How much history each collection keeps.
    pub limits: Limits,
    /// One field of a collection whose watchers are found without asking all, and by which objects are listed
    /// without looking at all: `("/pods", "spec.nodeName")`.
    pub indexed: Vec<(&'static str, &'static str)>,
    /// The clock against which [`Facts::expires`] is held.
    pub now: Now,
}

impl Options {
    /// The defaults: agents' pods are indexed.
    pub fn new(now: Now) -> Self {
        Self { limits: Limits::default(), indexed: vec![("/pods", "spec.nodeName")], now }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("indexed", &self.indexed)
            .finish_non_exhaustive()
    }
}

/// What to do with a key.
#[derive(Clone, Debug)]
pub enum Action {
    /// Create or replace.
    Put {
        /// The object, with a gap for the revision.
        value: Stamped,
        /// What was extracted from it.
        facts: Facts,
    },
    /// Remove. The DELETED event carries the object given here, or the one that is there, with the revision
    /// of the deletion in it.
    Delete {
        /// The last state of the object, where it differs from the one that is there.
        last: Option<(Stamped, Facts)>,
    },
}

/// One write.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where.
    pub key: Key,
    /// On which condition; judged by the committer, so no lock spans a request.
    pub expected: Expected,
    /// What.
    pub action: Action,
}

/// A write that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The object as written; for a deletion its last state, with the revision of the deletion.
    pub record: Arc<Record>,
    /// What was there before.
    pub previous: Option<Arc<Record>>,
}

/// Why a write did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Something is there and nothing was expected: 409 AlreadyExists.
    #[error("already exists")]
    Exists(Arc<Record>),
    /// Another revision is there: 409 Conflict.
    #[error("the object has been modified")]
    Conflict(Arc<Record>),
    /// Nothing is there and something was expected: 404.
    #[error("not found")]
    Missing,
    /// The name cannot be a key: it is empty or has a slash.
    #[error("the name cannot be stored")]
    BadKey,
    /// [`WAITING_WRITES_MAX`] writes wait already: 429 with Retry-After.
    #[error("too many writes are waiting")]
    Busy,
    /// The disk refused (full, for instance) and nothing was written: 500; trying again makes sense.
    #[error("the store did not write: {0}")]
    NotWritten(String),
    /// It is not known whether it was written, or an earlier such fault made the store read-only: 500; the
    /// server has to be restarted.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The server is shutting down: 503.
    #[error("the server is stopping")]
    Stopped,
}

/// Which objects to list.
pub struct Query<'a> {
    /// The collection.
    pub collection: &'a str,
    /// One namespace, or empty for all.
    pub namespace: &'a str,
    /// As things were at this revision; `None` for now.
    pub at: Option<u64>,
    /// Only objects after this namespace and name (a continue token).
    pub after: Option<(&'a str, &'a str)>,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// Only objects whose fact of this name has this value.
    pub field: Option<(&'a str, &'a str)>,
    /// Only objects that pass.
    pub filter: Option<&'a dyn Fn(&Record) -> bool>,
}

impl<'a> Query<'a> {
    /// Everything in a collection, now.
    pub fn all(collection: &'a str) -> Self {
        Self {
            collection,
            namespace: "",
            at: None,
            after: None,
            limit: 0,
            field: None,
            filter: None,
        }
    }
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("collection", &self.collection)
            .field("namespace", &self.namespace)
            .field("at", &self.at)
            .field("after", &self.after)
            .field("limit", &self.limit)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

/// Objects as they were together at one revision.
#[derive(Debug)]
pub struct Snapshot {
    /// That revision.
    pub revision: u64,
    /// The objects, in the order of their keys.
    pub records: Vec<Arc<Record>>,
    /// How many objects that pass come after the last one here; 0 when the limit cut nothing off.
    pub remaining: usize,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The last revision.
    pub revision: u64,
    /// Objects.
    pub objects: usize,
    /// Events remembered.
    pub events: usize,
    /// What they weigh, in bytes.
    pub event_bytes: usize,
    /// Watches open.
    pub watches: usize,
    /// How often a watch was woken since start.
    pub told: u64,
    /// Changes made since start.
    pub changes: u64,
    /// Batches committed since start.
    pub batches: u64,
    /// Writes refused because too many were waiting.
    pub busy: u64,
    /// Watches that fell off the end of history.
    pub gone: u64,
}

#[derive(Debug, Default)]
struct Counts {
    changes: AtomicU64,
    batches: AtomicU64,
    busy: AtomicU64,
    gone: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    store: Store<Facts>,
    hub: Hub,
    counts: Counts,
    /// Why nothing can be written, if so.
    fault: RwLock<Option<String>>,
}

/// The objects of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Records {
    shared: Arc<Shared>,
    wishes: mpsc::Sender<Wish>,
}

impl Records {
    /// Opens a log. `facts_of` is asked about every object found in it; an error refuses the store.
    /// Nothing is written until the [`Committer`] runs.
    pub fn open(
        log: Box<dyn Log>,
        options: Options,
        facts_of: store::FactsOf<'_, Facts>,
    ) -> Result<(Self, Committer), OpenError> {
        let indexes = options.indexed.iter().map(|(collection, field)| {
            let index: Index<Facts> = Arc::new(|facts| value_of(facts, field));
            (*collection, index)
        });
        let how = store::Options {
            limits: options.limits,
            frames: FRAMES,
            lazy_collections: &[LEASES],
            indexes: indexes.collect(),
        };
        let (store, writer) = store::open(log, how, facts_of)?;
        let shared = Arc::new(Shared {
            hub: Hub::new(store.revision(), options.indexed),
            store,
            counts: Counts::default(),
            fault: RwLock::new(None),
        });
        let (wishes, waiting) = mpsc::channel(WAITING_WRITES_MAX);
        let committer = Committer::new(Arc::clone(&shared), writer, waiting, options.now);
        Ok((Self { shared, wishes }, committer))
    }

    /// The revision of the last commit.
    pub fn revision(&self) -> u64 {
        self.shared.store.revision()
    }

    /// Waits until that revision was published. Put a time-out around it.
    pub async fn reached(&self, revision: u64) {
        self.shared.hub.reached(revision).await;
    }

    /// The object at a key.
    pub fn get(&self, key: &Key) -> Option<Arc<Record>> {
        self.shared.store.get(key)
    }

    /// Objects as they are, or as they were at a revision that is still remembered. A revision of the
    /// future is taken for now: see [`Records::reached`].
    pub fn list(&self, query: &Query<'_>) -> Result<Snapshot, Compacted> {
        let passes = |record: &Record| {
            query.field.is_none_or(|(field, value)| has_field(record, field, value))
                && query.filter.is_none_or(|filter| filter(record))
        };
        let filter: &dyn Fn(&Record) -> bool = &passes;
        let indexed = query
            .field
            .filter(|(field, _)| self.shared.hub.indexed(query.collection, field).is_some());
        let listing = self.shared.store.list(&store::Query {
            collection: query.collection,
            namespace: query.namespace,
            at: query.at,
            after: query.after,
            limit: query.limit,
            value: indexed.map(|(_, value)| value),
            filter: (query.field.is_some() || query.filter.is_some()).then_some(filter),
        })?;
        Ok(Snapshot {
            revision: listing.revision,
            records: listing.rows,
            remaining: listing.remaining,
        })
    }

    /// Makes a change, durably. Once sent, it happens even if the caller no longer waits.
    pub async fn commit(&self, change: Change) -> Result<Committed, CommitError> {
        let (answer, answered) = oneshot::channel();
        let wish = Wish { change, answer };
        self.wishes.try_send(wish).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.shared.counts.busy.fetch_add(1, Ordering::Relaxed);
                CommitError::Busy
            }
            mpsc::error::TrySendError::Closed(_) => self.shared.stopped(),
        })?;
        answered.await.unwrap_or_else(|_| Err(self.shared.stopped()))
    }

    /// Opens a cursor in the history of a collection.
    pub fn watch(&self, request: WatchRequest) -> Result<Watch, Compacted> {
        Watch::open(Arc::clone(&self.shared), request)
    }

    /// The oldest revision of a collection that lists and watches can start from.
    pub fn oldest(&self, collection: &str) -> u64 {
        self.shared.store.floor(collection)
    }

    /// Whether writes are possible; the reason if not, for `/readyz`.
    pub fn health(&self) -> Result<(), String> {
        self.shared.fault.read().clone().map_or(Ok(()), Err)
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> Stats {
        let fill = self.shared.store.fill();
        let counts = &self.shared.counts;
        Stats {
            revision: self.revision(),
            objects: fill.rows,
            events: fill.events,
            event_bytes: fill.event_bytes,
            watches: self.shared.hub.watches(),
            told: self.shared.hub.told(),
            changes: counts.changes.load(Ordering::Relaxed),
            batches: counts.batches.load(Ordering::Relaxed),
            busy: counts.busy.load(Ordering::Relaxed),
            gone: counts.gone.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn stopped(&self) -> CommitError {
        self.fault.read().clone().map_or(CommitError::Stopped, CommitError::ReadOnly)
    }
}

fn has_field(record: &Record, field: &str, value: &str) -> bool {
    match field {
        "metadata.name" => &*record.key.name == value,
        "metadata.namespace" => &*record.key.namespace == value,
        _ => value_of(&record.facts, field) == value,
    }
}

/// The value of a field, empty where there is none.
fn value_of<'f>(facts: &'f Facts, field: &str) -> &'f str {
    facts.fields.get(field).map_or("", String::as_str)
}

/// The one rule of what may be written lazily: heartbeats.
fn is_lazy(key: &Key) -> bool {
    &*key.namespace == LAZY_NAMESPACE && &*key.collection == LEASES
}
