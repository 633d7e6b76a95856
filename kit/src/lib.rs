//! How a part talks to the API: one shared cache per kind, a queue of work, a memory of its own writes, events,
//! tasks and the clock.
//!
//! # Promises
//! - One list and one watch per kind and process, however many parts read it ([`Caches`]).
//! - Objects are handed out as `Arc`, sorted by namespace and name.
//! - A reader who falls behind is told to look again ([`Change::Resync`]); nothing is lost in silence.
//! - A key is worked on by one worker at a time, and again if it was asked for meanwhile ([`Queue`]).
//! - Recording an event never waits ([`Events`]).
//! - A task that panics ends the whole task set, with its name ([`Tasks`]).
//!
//! # Invariants
//! - Every wait is on tokio's clock and every wish for the time of day goes through [`Clock`], so a paused runtime
//!   moves both.
//! - No chance but the salt handed in by [`Setup`].
//! - Every queue, cache and retry has a named limit; reaching it is logged and counted.
//!
//! # Absent
//! - No framework: a part owns its loop and calls what it needs from here.
//! - No knowledge of what any part decides, and none of who the client's user is.
//! - No leader election, no configuration.
//!
//! Start with [`Setup`], then [`cache`], then [`queue`].

pub mod backoff;
pub mod cache;
pub mod clock;
pub mod correlate;
pub mod events;
mod informer;
pub mod ledger;
pub mod metrics;
pub mod queue;
pub mod tasks;
pub mod work;

pub use backoff::Backoff;
pub use cache::{Cache, Caches, Change, Changes, Index, Key, Object, Scope, revision_of};
pub use clock::Clock;
pub use events::{Events, Note, reference};
pub use ledger::{Behind, Ledger};
pub use metrics::Metrics;
pub use queue::{Job, Queue, QueueLimits};
pub use tasks::Tasks;
pub use work::{brief, feed, work};

/// The API's own words of an error, which conditions and events repeat.
pub fn words_of(error: &kube::Error) -> String {
    if let kube::Error::Api(said) = error { said.message.clone() } else { error.to_string() }
}

/// What `app` builds once and hands to every part: time, chance, tasks and figures.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The time of day.
    pub clock: Clock,
    /// Where tasks live.
    pub tasks: Tasks,
    /// Figures for `/metrics`.
    pub metrics: Metrics,
    /// Spreads the retries of many processes; any number, the same number gives the same run.
    pub salt: u64,
}

impl Setup {
    /// The ordinary setup of a process.
    pub fn new(clock: Clock, salt: u64) -> Self {
        Self { clock, tasks: Tasks::new(), metrics: Metrics::new(), salt }
    }
}
