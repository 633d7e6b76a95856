//! What the server counts, in Prometheus' text form at `/metrics`.

use crate::records::Stats;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper bounds of the latency buckets, seconds: from a cached read (tens of microseconds) to the request
/// timeout, each about three times the one before.
const BUCKETS: [f64; 10] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 60.0];

/// Labels of a request. `resource` is one of those served or empty, so the number of series is bounded by
/// verbs × resources × codes (10 × 40 × 20).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    verb: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    verb: String,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: String,
}

/// The server's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    watchers: Family<ResourceLabels, Gauge>,
    gone: Family<ResourceLabels, Counter>,
    in_flight: Gauge,
    refused: Counter,
    objects: Family<ResourceLabels, Gauge>,
    revision: Gauge,
    history: Gauge,
    changes: Gauge,
    batches: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            watchers: Family::default(),
            gone: Family::default(),
            in_flight: Gauge::default(),
            refused: Counter::default(),
            objects: Family::default(),
            revision: Gauge::default(),
            history: Gauge::default(),
            changes: Gauge::default(),
            batches: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock();
        registry.register("apiserver_request", "Requests answered", self.requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time from the request's head to the answer's head; watches are left out",
            self.latency.clone(),
        );
        registry.register("apiserver_registered_watchers", "Open watches", self.watchers.clone());
        registry.register(
            "apiserver_watch_expired",
            "Watches and lists answered with 410 Gone",
            self.gone.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests being answered, watches left out",
            self.in_flight.clone(),
        );
        registry.register(
            "apiserver_rejected_requests",
            "Requests refused with 429 as too many were being answered",
            self.refused.clone(),
        );
        registry.register("apiserver_storage_objects", "Objects stored", self.objects.clone());
        registry.register("apiserver_storage_revision", "Newest revision", self.revision.clone());
        registry.register(
            "apiserver_storage_history_bytes",
            "Bytes of events remembered for watches",
            self.history.clone(),
        );
        registry.register(
            "apiserver_storage_changes",
            "Writes done since the start",
            self.changes.clone(),
        );
        registry.register(
            "apiserver_storage_batches",
            "Batches the writes were synced in",
            self.batches.clone(),
        );
    }

    /// A request was answered.
    pub(crate) fn answered(
        &self,
        verb: &str,
        resource: &str,
        subresource: &str,
        code: u16,
        took: Duration,
    ) {
        let labels = RequestLabels {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            code,
        };
        self.requests.get_or_create(&labels).inc();
        if verb != "watch" {
            let labels = LatencyLabels { verb: verb.to_owned(), resource: resource.to_owned() };
            self.latency.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// A request came in; it is over when the guard is dropped.
    pub(crate) fn enter(&self) -> Guard {
        Guard::new(&self.in_flight)
    }

    /// A request was refused as too many were being answered.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    /// A watch was opened; it is over when the guard is dropped.
    pub(crate) fn watching(&self, resource: &str) -> Guard {
        let labels = ResourceLabels { resource: resource.to_owned() };
        Guard::new(&self.watchers.get_or_create(&labels))
    }

    /// A list or watch asked for history that is gone.
    pub(crate) fn gone(&self, resource: &str) {
        self.gone.get_or_create(&ResourceLabels { resource: resource.to_owned() }).inc();
    }

    /// How many objects a collection has.
    pub(crate) fn objects(&self, resource: &str, count: usize) {
        let labels = ResourceLabels { resource: resource.to_owned() };
        self.objects.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What the store counts itself.
    pub(crate) fn stats(&self, stats: &Stats) {
        self.revision.set(i64::try_from(stats.revision).unwrap_or(i64::MAX));
        self.history.set(i64::try_from(stats.event_bytes).unwrap_or(i64::MAX));
        self.changes.set(i64::try_from(stats.changes).unwrap_or(i64::MAX));
        self.batches.set(i64::try_from(stats.batches).unwrap_or(i64::MAX));
    }

    /// Everything, as text. Errors only if a metric cannot be written at all.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

/// Holds a gauge up by one.
#[derive(Debug)]
pub(crate) struct Guard(Gauge);

impl Guard {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_appear_under_upstreams_names() {
        let metrics = Metrics::default();
        metrics.answered("list", "pods", "", 200, Duration::from_millis(2));
        let watching = metrics.watching("pods");
        let text = metrics.text().expect("text");
        let line = "apiserver_request_total{verb=\"list\",resource=\"pods\",subresource=\"\",code=\"200\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("apiserver_registered_watchers{resource=\"pods\"} 1"), "{text}");
        drop(watching);
        let text = metrics.text().expect("text");
        assert!(text.contains("apiserver_registered_watchers{resource=\"pods\"} 0"), "{text}");
    }
}
