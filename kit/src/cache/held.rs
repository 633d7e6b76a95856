//! The objects of one kind: what is held, how it is found, and how readers hear of changes.

use super::{Change, Index, Key, Object};
use crate::Setup;
use crate::metrics::named;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Changes that a reader may fall behind before it is told to look at everything again. A change is 24 bytes and two
/// counted references: at most 100 KB for each reader, and nothing while it keeps up. A relist that changes more than
/// half of this is announced by one `Resync`.
pub const CHANGES_BEHIND_MAX: usize = 4096;

/// Failures in a row before one is worth a warning.
const QUIET_FAILURES: u32 = 3;

/// How far a cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) synced: bool,
    pub(crate) revision: u64,
}

/// The objects of one kind and scope, as last seen. Clones are the same cache.
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    name: String,
    setup: Setup,
    state: RwLock<State<K>>,
    readers: Mutex<Vec<Weak<Mailbox<K>>>>,
    progress: watch::Sender<Progress>,
    /// Wakes those who wait for progress in the order in which they began: a watch channel wakes them in any order, and
    /// then what subscribes first, and hears of everything first, would differ by the run.
    moved: Notify,
}

/// What one reader has not seen yet.
struct Mailbox<K> {
    waiting: Mutex<Waiting<K>>,
    wake: Notify,
}

struct Waiting<K> {
    changes: VecDeque<Change<K>>,
    /// Changes thrown away because there were too many.
    missed: usize,
}

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    indexes: BTreeMap<&'static str, Lookup<K>>,
}

struct Lookup<K> {
    of: fn(&K) -> Vec<String>,
    keys: BTreeMap<String, BTreeSet<Key>>,
}

impl<K> Lookup<K> {
    fn add(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

impl<K: Object> State<K> {
    fn put(&mut self, key: &Key, object: Option<&Arc<K>>) -> Option<Arc<K>> {
        let old = match object {
            Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
            None => self.objects.remove(key),
        };
        for lookup in self.indexes.values_mut() {
            if let Some(old) = &old {
                lookup.remove(key, old);
            }
            if let Some(object) = object {
                lookup.add(key, object);
            }
        }
        old
    }
}

impl<K: Object> Cache<K> {
    /// An empty cache that somebody will fill.
    pub(crate) fn new(name: &str, setup: &Setup) -> Self {
        let state = State { objects: BTreeMap::new(), indexes: BTreeMap::new() };
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                setup: setup.clone(),
                state: RwLock::new(state),
                readers: Mutex::default(),
                progress: watch::channel(Progress::default()).0,
                moved: Notify::new(),
            }),
        }
    }

    /// A cache of these objects that no server fills, for tests; see [`Cache::apply`] and [`Cache::remove`].
    pub fn fixed(setup: &Setup, objects: impl IntoIterator<Item = K>) -> Self {
        let cache = Self::new("fixed", setup);
        cache.replace(objects.into_iter().collect(), 0);
        cache
    }

    /// What it holds, in words: `v1/pods`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.state.read().objects.get(key).cloned()
    }

    /// One object by namespace (empty for cluster-wide kinds) and name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&Key::new(namespace, name))
    }

    /// All objects, by namespace, then name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().cloned().collect()
    }

    /// The objects of a namespace, by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let from = Key::new(namespace, "");
        let objects = state.objects.range(from..);
        objects
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, o)| Arc::clone(o))
            .collect()
    }

    /// The objects that carry `value` in `index`, by namespace, then name. The index is built on first use.
    pub fn by(&self, index: &Index<K>, value: &str) -> Vec<Arc<K>> {
        self.index(index);
        let state = self.shared.state.read();
        let keys = state.indexes.get(index.name).and_then(|lookup| lookup.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// Builds an index ahead of its first use.
    pub fn index(&self, index: &Index<K>) {
        if self.shared.state.read().indexes.contains_key(index.name) {
            return;
        }
        let mut state = self.shared.state.write();
        let mut lookup = Lookup { of: index.of, keys: BTreeMap::new() };
        for (key, object) in &state.objects {
            lookup.add(key, object);
        }
        state.indexes.insert(index.name, lookup);
    }

    /// How many objects.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        self.until(|progress| progress.synced).await;
    }

    /// The highest resource version seen, by list, event or bookmark; 0 before the first list.
    pub fn revision(&self) -> u64 {
        self.shared.progress.borrow().revision
    }

    /// Waits until a resource version has been seen.
    pub async fn reached(&self, revision: u64) {
        self.until(|progress| progress.revision >= revision).await;
    }

    async fn until(&self, is_so: impl Fn(&Progress) -> bool) {
        // a wait begins before the question, so that no move is missed between the two
        let mut moved = self.shared.moved.notified();
        while !is_so(&self.shared.progress.borrow()) {
            moved.await;
            moved = self.shared.moved.notified();
        }
    }

    /// Changes from now on. The first is a [`Change::Resync`], given once the first list is there.
    pub fn subscribe(&self) -> Changes<K> {
        let waiting = Waiting { changes: VecDeque::new(), missed: 0 };
        let mailbox = Arc::new(Mailbox { waiting: Mutex::new(waiting), wake: Notify::new() });
        self.shared.readers.lock().push(Arc::downgrade(&mailbox));
        Changes { cache: self.clone(), mailbox, started: false }
    }

    /// Puts an object in, as the watch does.
    pub fn apply(&self, object: K) {
        let revision = revision_of(object.meta().resource_version.as_deref());
        let (key, new) = (Key::of(&object), Arc::new(object));
        let mut state = self.shared.state.write();
        let old = state.put(&key, Some(&new));
        self.send(&Change::Applied { old, new });
        self.moved(&state, revision, false);
    }

    /// Takes an object out, as the watch does.
    pub fn remove(&self, object: &K) {
        let revision = revision_of(object.meta().resource_version.as_deref());
        let mut state = self.shared.state.write();
        if let Some(old) = state.put(&Key::of(object), None) {
            self.send(&Change::Deleted(old));
        }
        self.moved(&state, revision, false);
    }

    /// Makes the cache hold exactly these objects, as a list does.
    pub(crate) fn replace(&self, objects: Vec<K>, revision: u64) {
        let metrics = &self.shared.setup.metrics;
        metrics.cache_lists.get_or_create(&named(&self.shared.name)).inc();
        let mut state = self.shared.state.write();
        let first = !self.shared.progress.borrow().synced;
        let mut gone: BTreeSet<Key> = state.objects.keys().cloned().collect();
        let mut changes = Vec::new();
        for object in objects {
            let (key, new) = (Key::of(&object), Arc::new(object));
            gone.remove(&key);
            let known = state.objects.get(&key);
            if known.is_some_and(|old| same_version(old.as_ref(), new.as_ref())) {
                continue;
            }
            let old = state.put(&key, Some(&new));
            changes.push(Change::Applied { old, new });
        }
        for key in gone {
            changes.extend(state.put(&key, None).map(Change::Deleted));
        }
        if changes.len() > CHANGES_BEHIND_MAX / 2 {
            changes = vec![Change::Resync];
        }
        // before the first list every reader waits for its Resync
        changes.iter().filter(|_| !first).for_each(|change| self.send(change));
        self.moved(&state, revision, true);
    }

    /// Puts a change into every reader's mailbox; called while the state is locked, so that order is one for all.
    fn send(&self, change: &Change<K>) {
        self.shared.readers.lock().retain(|reader| {
            let Some(mailbox) = reader.upgrade() else { return false };
            let mut waiting = mailbox.waiting.lock();
            if waiting.changes.len() >= CHANGES_BEHIND_MAX {
                waiting.missed += waiting.changes.len();
                waiting.changes = VecDeque::new();
            }
            if waiting.missed > 0 {
                waiting.missed += 1;
            } else {
                waiting.changes.push_back(change.clone());
            }
            drop(waiting);
            mailbox.wake.notify_one();
            true
        });
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Notes that everything up to `revision` has been seen.
    pub(crate) fn bookmark(&self, revision: u64) {
        let state = self.shared.state.read();
        self.moved(&state, revision, false);
    }

    /// Counts and reports a failed list or watch. The first failures in a row are quiet: servers restart.
    pub(crate) fn failed(&self, error: &kube::Error, failures: u32, wait: Duration) {
        let cache = &self.shared.name;
        self.shared.setup.metrics.cache_failures.get_or_create(&named(cache)).inc();
        let error = crate::brief(error);
        if failures > QUIET_FAILURES {
            tracing::warn!(cache, %error, ?wait, "cannot list or watch; trying again");
        } else {
            tracing::debug!(cache, %error, ?wait, "cannot list or watch; trying again");
        }
    }

    /// `listed`: the revision is the whole truth, and may even go back when a server was restored.
    fn moved(&self, state: &State<K>, revision: u64, listed: bool) {
        let objects = i64::try_from(state.objects.len()).unwrap_or(i64::MAX);
        let name = named(&self.shared.name);
        self.shared.setup.metrics.cache_objects.get_or_create(&name).set(objects);
        self.shared.progress.send_modify(|progress| {
            if listed && revision < progress.revision {
                let (cache, seen) = (&self.shared.name, progress.revision);
                tracing::error!(cache, seen, listed = revision, "the server's revision went back");
                progress.revision = revision;
            }
            progress.revision = progress.revision.max(revision);
            progress.synced |= listed;
        });
        self.shared.moved.notify_waiters();
    }
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.shared.name)
            .field("objects", &self.shared.state.read().objects.len())
            .finish_non_exhaustive()
    }
}

/// A resource version as a number; 0 for one that is none, which no ledger waits for.
pub fn revision_of(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn same_version<K: Object>(a: &K, b: &K) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.resource_version.is_some() && a.resource_version == b.resource_version && a.uid == b.uid
}

/// The changes of a cache, for one reader.
pub struct Changes<K> {
    cache: Cache<K>,
    mailbox: Arc<Mailbox<K>>,
    started: bool,
}

impl<K: Object> Changes<K> {
    /// The next change. Safe to drop while waiting.
    pub async fn next(&mut self) -> Change<K> {
        if !self.started {
            self.cache.synced().await;
            self.started = true;
            return Change::Resync;
        }
        loop {
            {
                let mut waiting = self.mailbox.waiting.lock();
                let missed = std::mem::take(&mut waiting.missed);
                if missed > 0 {
                    let shared = &self.cache.shared;
                    let cache = &shared.name;
                    tracing::warn!(cache, missed, "a reader fell behind; it looks at everything");
                    shared.setup.metrics.cache_lags.get_or_create(&named(cache)).inc();
                    return Change::Resync;
                }
                if let Some(change) = waiting.changes.pop_front() {
                    if waiting.changes.is_empty() {
                        waiting.changes.shrink_to(64);
                    }
                    return change;
                }
            }
            self.mailbox.wake.notified().await;
        }
    }
}

impl<K> fmt::Debug for Changes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changes({})", self.cache.shared.name)
    }
}
