//! Keyed bytes with a history that can be watched.
//!
//! Start reading at [`open`] and [`Writer::commit`]; then [`Store`] for what readers may ask. The medium
//! underneath is a [`Log`].
//!
//! # Promises
//! - What [`Writer::commit`] returned as done was synced first: no crash loses it. The one exception is asked
//!   for by the caller: a `lazy` replacement may be lost until the next flush.
//! - Revisions only grow, by one for each change, also across crashes; none is ever given out twice.
//! - Readers see a batch whole or not at all, and only after its sync.
//! - A row that is not exactly what was written is refused at start with its file and key, and so are rows
//!   that vanished.
//!
//! # Invariants
//! - One writer. It owns the log; readers never touch the medium.
//! - The rows in memory are the rows of the log, but for lazy ones that wait.
//! - Every event of a collection above its floor is in its ring, in order of revision.
//!
//! # Absent
//! Kubernetes, async, clocks (the age of the process comes in with each commit), more than one index for a
//! collection, history
//! across a restart, more than one server on one store.

mod history;
mod key;
mod log;
mod memory;
mod row;
mod sqlite;
mod state;
mod writer;

pub use history::{Event, Happened, Limits};
pub use key::Key;
pub use log::{Batch, EachRow, Log, LogError, Meta, OpenError, Stored};
pub use memory::{Disk, MemoryLog};
pub use row::{Frames, Row, Stamped};
pub use sqlite::SqliteLog;
pub use state::{Compacted, Fill, Filter, Index, Listing, Query, Read, Store};
pub use writer::{
    Action, Change, CommitError, Expected, FactsOf, LAZY_ROWS_MAX, Options, Outcome,
    RESERVE_REVISIONS, Refused, Writer, open,
};
