//! Figures for `/metrics`.

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::sync::Arc;

/// The one label that kit's own figures carry: which queue, cache, ledger or component.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Name {
    /// The name.
    pub name: String,
}

/// A counter for each name.
pub type Counters = Family<Name, Counter>;
/// A gauge for each name.
pub type Gauges = Family<Name, Gauge>;

/// The registry, and kit's own figures.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// Keys put into a queue.
    pub queue_adds: Counters,
    /// Keys put back after a failure.
    pub queue_retries: Counters,
    /// Keys refused by a full queue.
    pub queue_overflows: Counters,
    /// Keys waiting for a worker.
    pub queue_depth: Gauges,
    /// Objects in a cache.
    pub cache_objects: Gauges,
    /// Lists made to fill a cache, the first one included.
    pub cache_lists: Counters,
    /// Lists and watches that ended in an error.
    pub cache_failures: Counters,
    /// Times a reader of a cache fell behind.
    pub cache_lags: Counters,
    /// Passes put off because a cache had not yet seen the part's own write.
    pub ledger_waits: Counters,
    /// Events written.
    pub events_sent: Counters,
    /// Events given up: queue full, spam, or refused by the server.
    pub events_dropped: Counters,
    /// Tasks that panicked.
    pub task_panics: Counters,
}

impl Metrics {
    /// A registry with kit's own figures in it.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            queue_adds: Family::default(),
            queue_retries: Family::default(),
            queue_overflows: Family::default(),
            queue_depth: Family::default(),
            cache_objects: Family::default(),
            cache_lists: Family::default(),
            cache_failures: Family::default(),
            cache_lags: Family::default(),
            ledger_waits: Family::default(),
            events_sent: Family::default(),
            events_dropped: Family::default(),
            task_panics: Family::default(),
        };
        for (name, help, family) in [
            ("pernode_queue_adds", "Keys put into a queue", &metrics.queue_adds),
            ("pernode_queue_retries", "Keys put back after a failure", &metrics.queue_retries),
            ("pernode_queue_overflows", "Keys refused by a full queue", &metrics.queue_overflows),
            ("pernode_cache_lists", "Lists made to fill a cache", &metrics.cache_lists),
            ("pernode_cache_failures", "Failed lists and watches", &metrics.cache_failures),
            ("pernode_cache_lags", "Times a reader fell behind", &metrics.cache_lags),
            (
                "pernode_ledger_waits",
                "Passes put off for news of own writes",
                &metrics.ledger_waits,
            ),
            ("pernode_events_sent", "Events written", &metrics.events_sent),
            ("pernode_events_dropped", "Events given up", &metrics.events_dropped),
            ("pernode_task_panics", "Tasks that panicked", &metrics.task_panics),
        ] {
            metrics.register(name, help, family.clone());
        }
        metrics.register("pernode_queue_depth", "Keys waiting", metrics.queue_depth.clone());
        metrics.register(
            "pernode_cache_objects",
            "Objects in a cache",
            metrics.cache_objects.clone(),
        );
        metrics
    }

    /// Adds a figure of a part; `_total` is appended to counters by the encoder.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().register(name, help, metric);
    }

    /// All figures in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail; a figure that fails to print is left out.
        if text::encode(&mut out, &self.registry.lock()).is_err() {
            tracing::error!("figures could not be printed");
        }
        out
    }
}

/// The label for `name`.
pub fn named(name: &str) -> Name {
    Name { name: name.to_owned() }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
