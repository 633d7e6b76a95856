//! The writing side: one owner, who turns changes into revisions, a sync, and events.

use crate::history::{Event, Happened, Limits};
use crate::key::Key;
use crate::log::{Batch, Log, LogError, Meta, OpenError, Stored};
use crate::row::{Frames, Row, Stamped, checksum, frame};
use crate::state::{Index, State, Store};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Revisions that lazy writes may use up between two reservations. 10,000 heartbeats a second (100,000 nodes,
/// one each 10 s) cost one reservation each ten seconds; a crash skips at most this many revisions of 2^64.
pub const RESERVE_REVISIONS: u64 = 100_000;

/// Lazy rows written in one batch at most, so that a flush delays other writers by one small batch: 2,000 rows
/// of 600 bytes are 1.2 MB.
pub const LAZY_ROWS_MAX: usize = 2_000;

/// What must be true of a key for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing is there.
    Absent,
    /// Something is there.
    Present,
    /// What is there is of this revision.
    Revision(u64),
    /// Nothing is expected.
    Any,
}

/// What to do with a key.
#[derive(Clone, Debug)]
pub enum Action<F> {
    /// Set its value.
    Put {
        /// The value.
        value: Stamped,
        /// What the caller extracted from it.
        facts: F,
        /// May be durable a little later: only when it replaces a value that is there.
        lazy: bool,
    },
    /// Remove it.
    Delete {
        /// The last state to tell watchers of; `None` for the one that is there.
        last: Option<(Stamped, F)>,
    },
}

/// One wish.
#[derive(Clone, Debug)]
pub struct Change<F> {
    /// Where.
    pub key: Key,
    /// On which condition.
    pub expected: Expected,
    /// What.
    pub action: Action<F>,
}

/// Why one change of a batch did not happen. The others are not touched by it.
#[derive(Debug)]
pub enum Refused<F> {
    /// Something is there, and nothing was expected.
    Exists(Arc<Row<F>>),
    /// Something else is there.
    Conflict(Arc<Row<F>>),
    /// Nothing is there.
    Missing,
    /// A slash in a name, or no name.
    BadKey,
}

/// Why nothing of a batch happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The medium refused it and says that nothing was written: trying again makes sense.
    #[error("not written: {0}")]
    NotWritten(String),
    /// Whether it was written is not known. The store has become read-only.
    #[error("outcome unknown, read-only from now on: {0}")]
    Unknown(String),
    /// An earlier commit ended in an unknown outcome.
    #[error("read-only since an earlier commit failed: {0}")]
    ReadOnly(String),
}

/// What became of a change.
pub type Outcome<F> = Result<Arc<Event<F>>, Refused<F>>;

/// The writing side of a store.
#[derive(Debug)]
pub struct Writer<F> {
    log: Box<dyn Log>,
    store: Store<F>,
    frames: Frames,
    meta: Meta,
    /// Keys whose newest value is only in memory, with the checksum of the durable one.
    lazy: BTreeMap<Key, u32>,
    read_only: Option<String>,
}

/// How a store is to behave.
pub struct Options<F> {
    /// How much history is kept.
    pub limits: Limits,
    /// The words around events.
    pub frames: Frames,
    /// Collections in which lazy writes happen. After a crash their history is not whole below the revision
    /// that the crash skipped to; that of all others is, from the last sync on.
    pub lazy_collections: &'static [&'static str],
    /// By which value the rows of a collection are also found; one for a collection.
    pub indexes: Vec<(&'static str, Index<F>)>,
}

impl<F> std::fmt::Debug for Options<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let indexed: Vec<&str> = self.indexes.iter().map(|(collection, _)| *collection).collect();
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("frames", &self.frames)
            .field("lazy_collections", &self.lazy_collections)
            .field("indexes", &indexed)
            .finish()
    }
}

/// Extracts the facts of a row that is found at start; an error refuses the store.
pub type FactsOf<'a, F> = &'a dyn Fn(&Key, &[u8]) -> Result<F, String>;

/// Opens a store: reads every row, checks it, and asks `facts` about it.
pub fn open<F: Clone>(
    mut log: Box<dyn Log>,
    options: Options<F>,
    facts: FactsOf<'_, F>,
) -> Result<(Store<F>, Writer<F>), OpenError> {
    let place = log.place();
    let mut state = State::new(options.limits, options.indexes);
    let mut found = Meta::default();
    let damaged = |key: Option<String>, why: &str| OpenError::Damaged {
        place: place.clone(),
        key,
        why: why.to_owned(),
    };
    let meta = log.replay(&mut |stored: Stored| {
        let row = check(&stored, facts).map_err(|why| damaged(Some(shown(&stored.key)), &why))?;
        found.count += 1;
        found.digest = found.digest.wrapping_add(u64::from(stored.crc));
        found.last = found.last.max(row.revision);
        if state.restore(row) {
            Ok(())
        } else {
            Err(damaged(Some(shown(&stored.key)), "the key is there twice"))
        }
    })?;
    let meta = match meta {
        Some(meta) => meta,
        None if found.count == 0 => Meta::default(),
        None => return Err(damaged(None, "there are rows, but no record of how many")),
    };
    if (found.count, found.digest) != (meta.count, meta.digest) {
        let why = format!(
            "{} rows were written and {} were found, or not the same ones",
            meta.count, found.count
        );
        return Err(damaged(None, &why));
    }
    if found.last > meta.last {
        return Err(damaged(None, "a row is of a revision that was never given out"));
    }
    let revision = if meta.clean { meta.last } else { meta.last.max(meta.reserved) };
    state.begin(revision, |collection| {
        let lazy = options.lazy_collections.contains(&collection);
        if lazy { revision } else { meta.last }
    });
    let store = Store(Arc::new(RwLock::new(state)));
    let writer = Writer {
        log,
        store: store.clone(),
        frames: options.frames,
        meta: Meta { last: revision, reserved: revision, clean: false, ..meta },
        lazy: BTreeMap::new(),
        read_only: None,
    };
    Ok((store, writer))
}

fn shown(key: &str) -> String {
    Key::from_text(key).map_or_else(|| format!("{key:?}"), |key| key.to_string())
}

fn check<F>(stored: &Stored, facts: FactsOf<'_, F>) -> Result<Row<F>, String> {
    if checksum(&stored.key, stored.revision, stored.stamp, &stored.bytes) != stored.crc {
        return Err("its checksum does not match its content".to_owned());
    }
    let key = Key::from_text(&stored.key).ok_or("its key is not a key")?;
    let at = stored.stamp as usize;
    let digits = stored.revision.to_string();
    if stored.bytes.get(at..at + digits.len()) != Some(digits.as_bytes()) {
        return Err("its revision does not stand where it should".to_owned());
    }
    let facts = facts(&key, &stored.bytes)?;
    Ok(Row {
        key,
        revision: stored.revision,
        bytes: stored.bytes.clone(),
        facts,
        stamp: stored.stamp,
    })
}

/// A batch while it is being put together.
struct Plan<F> {
    revision: u64,
    now: BTreeMap<Key, Option<Arc<Row<F>>>>,
    durable: BTreeSet<Key>,
    lazy: BTreeSet<Key>,
    events: Vec<Arc<Event<F>>>,
}

impl<F: Clone> Writer<F> {
    /// Gives each change the next revision, writes them with one sync, and only then lets readers see them.
    ///
    /// Changes are judged in order, each seeing those before it. `now` is the age of the process, for the
    /// age of history. With `flush`, lazy rows that wait are written too, at most [`LAZY_ROWS_MAX`].
    pub fn commit(
        &mut self,
        changes: Vec<Change<F>>,
        now: Duration,
        flush: bool,
    ) -> Result<Vec<Outcome<F>>, CommitError> {
        if let Some(why) = &self.read_only {
            return Err(CommitError::ReadOnly(why.clone()));
        }
        let mut plan = Plan {
            revision: self.meta.last,
            now: BTreeMap::new(),
            durable: BTreeSet::new(),
            lazy: BTreeSet::new(),
            events: Vec::new(),
        };
        let outcomes: Vec<Outcome<F>> =
            changes.into_iter().map(|change| self.judge(&mut plan, change)).collect();
        let keys = self.keys_to_write(&plan, flush);
        let mut meta = Meta { last: plan.revision, ..self.meta };
        if !plan.lazy.is_empty() && plan.revision > meta.reserved {
            meta.reserved = plan.revision + RESERVE_REVISIONS;
        }
        if !keys.is_empty() || meta.reserved != self.meta.reserved {
            let batch = self.batch(&plan, &keys, meta);
            self.write(&batch)?;
            meta = batch.meta;
        }
        self.remember_lazy(&plan, &keys);
        self.store.0.write().apply(&plan.events, plan.revision, now);
        self.meta = meta;
        Ok(outcomes)
    }

    /// How many rows wait to be written lazily.
    pub fn lazy_rows(&self) -> usize {
        self.lazy.len()
    }

    /// Why the store is read-only, if it is.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Whether commits may block the thread for long.
    pub fn blocks(&self) -> bool {
        self.log.blocks()
    }

    /// Writes what was held back and marks the end as orderly. The store can be read on.
    pub fn close(&mut self) -> Result<(), CommitError> {
        while !self.lazy.is_empty() {
            self.commit(Vec::new(), Duration::ZERO, true)?;
        }
        if let Some(why) = &self.read_only {
            return Err(CommitError::ReadOnly(why.clone()));
        }
        let meta = Meta { clean: true, reserved: self.meta.last, ..self.meta };
        self.write(&Batch { meta, ..Batch::default() })?;
        self.read_only = Some("closed".to_owned());
        self.log.close().map_err(|error| CommitError::NotWritten(error.to_string()))
    }

    fn judge(&self, plan: &mut Plan<F>, change: Change<F>) -> Outcome<F> {
        let Change { mut key, expected, action } = change;
        if !key.is_sound() {
            return Err(Refused::BadKey);
        }
        let current = match plan.now.get(&key) {
            Some(row) => row.clone(),
            None => self.store.get(&key),
        };
        match (&current, expected) {
            (Some(row), Expected::Absent) => return Err(Refused::Exists(Arc::clone(row))),
            (Some(row), Expected::Revision(r)) if row.revision != r => {
                return Err(Refused::Conflict(Arc::clone(row)));
            }
            (None, Expected::Present | Expected::Revision(_)) => return Err(Refused::Missing),
            _ => {}
        }
        match &current {
            Some(row) => key = row.key.clone(),
            None => self.store.0.read().share_names(&mut key),
        }
        let revision = plan.revision + 1;
        let (happened, lazy, value, facts) = match (action, &current) {
            (Action::Put { value, facts, .. }, None) => (Happened::Added, false, value, facts),
            (Action::Put { value, facts, lazy }, Some(_)) => {
                (Happened::Modified, lazy, value, facts)
            }
            (Action::Delete { .. }, None) => return Err(Refused::Missing),
            (Action::Delete { last: Some((value, facts)) }, Some(_)) => {
                (Happened::Deleted, false, value, facts)
            }
            (Action::Delete { last: None }, Some(row)) => {
                (Happened::Deleted, false, row.halves(), row.facts.clone())
            }
        };
        let prefix = match happened {
            Happened::Added => self.frames.added,
            Happened::Modified => self.frames.modified,
            Happened::Deleted => self.frames.deleted,
        };
        let (line, at) = frame(&value, revision, prefix, self.frames.suffix);
        let bytes = line.slice(prefix.len()..line.len() - self.frames.suffix.len());
        let Ok(stamp) = u32::try_from(at - prefix.len()) else { return Err(Refused::BadKey) };
        let row = Arc::new(Row { key, revision, bytes, facts, stamp });
        plan.revision = revision;
        let keep = (happened != Happened::Deleted).then(|| Arc::clone(&row));
        plan.now.insert(row.key.clone(), keep);
        if lazy {
            plan.lazy.insert(row.key.clone())
        } else {
            plan.durable.insert(row.key.clone())
        };
        let event = Arc::new(Event { happened, row, previous: current, frame: line });
        plan.events.push(Arc::clone(&event));
        Ok(event)
    }

    /// The keys whose newest value goes into this batch.
    fn keys_to_write(&self, plan: &Plan<F>, flush: bool) -> BTreeSet<Key> {
        let mut keys = plan.durable.clone();
        if flush {
            keys.extend(self.lazy.keys().take(LAZY_ROWS_MAX).cloned());
        }
        keys
    }

    /// The batch, and the account of all rows after it.
    fn batch(&self, plan: &Plan<F>, keys: &BTreeSet<Key>, mut meta: Meta) -> Batch {
        let mut batch = Batch::default();
        for key in keys {
            let before = self.store.get(key);
            let durable = match (self.lazy.get(key), &before) {
                (Some(crc), _) => Some(*crc),
                (None, Some(row)) => Some(row.checksum()),
                (None, None) => None,
            };
            if let Some(crc) = durable {
                meta.digest = meta.digest.wrapping_sub(u64::from(crc));
                meta.count -= 1;
            }
            let after = match plan.now.get(key) {
                Some(row) => row.as_ref(),
                None => before.as_ref(),
            };
            match after {
                Some(row) => {
                    let stored = stored(row);
                    meta.digest = meta.digest.wrapping_add(u64::from(stored.crc));
                    meta.count += 1;
                    batch.puts.push(stored);
                }
                None if durable.is_some() => batch.deletes.push(key.to_text()),
                None => {}
            }
        }
        batch.meta = meta;
        batch
    }

    /// One append, one sync.
    fn write(&mut self, batch: &Batch) -> Result<(), CommitError> {
        match self.log.append(batch).and_then(|()| self.log.sync()) {
            Ok(()) => Ok(()),
            Err(LogError::NotWritten(why)) => Err(CommitError::NotWritten(why)),
            Err(LogError::Unknown(why)) => {
                self.read_only = Some(why.clone());
                Err(CommitError::Unknown(why))
            }
        }
    }

    fn remember_lazy(&mut self, plan: &Plan<F>, written: &BTreeSet<Key>) {
        for key in written {
            self.lazy.remove(key);
        }
        for key in plan.lazy.difference(written) {
            if !self.lazy.contains_key(key)
                && let Some(row) = self.store.get(key)
            {
                self.lazy.insert(key.clone(), row.checksum());
            }
        }
    }
}

fn stored<F>(row: &Row<F>) -> Stored {
    Stored {
        key: row.key.to_text(),
        revision: row.revision,
        stamp: row.stamp,
        bytes: row.bytes.clone(),
        crc: row.checksum(),
    }
}
