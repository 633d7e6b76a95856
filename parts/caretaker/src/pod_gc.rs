//! Pods that nobody will finish: bound to nodes that are gone, terminating without ever having been bound, on nodes
//! declared out of service, and finished ones beyond a bound (spec D20 and the table of section 4.3).

mod apply;
mod plan;

use crate::Options;
use k8s_openapi::api::core::v1::{Node, Pod};
use kit::{Cache, Change, Clock};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two passes that nothing asked for (upstream's gcCheckPeriod).
const PERIOD: Duration = Duration::from_secs(20);
/// Between two passes that changes asked for: many changes at once cost one pass.
const PASS_MIN: Duration = Duration::from_millis(500);

/// Starts the duty's task.
pub(crate) fn start(options: &Options) {
    let collector = Collector {
        clock: options.setup.clock.clone(),
        client: (options.client_for)("pod-garbage-collector"),
        pods: options.caches.of(),
        nodes: options.caches.of(),
    };
    options.setup.tasks.spawn("pod-gc", collector.run());
}

struct Collector {
    clock: Clock,
    client: kube::Client,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
}

impl Collector {
    async fn run(self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        let mut pod_changes = self.pods.subscribe();
        let mut node_changes = self.nodes.subscribe();
        let mut missing_since = BTreeMap::new();
        let mut due = Instant::now();
        let mut last: Option<Instant> = None;
        loop {
            let next = last.map_or(due, |last| due.max(last + PASS_MIN));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(next) => {
                    last = Some(Instant::now());
                    due = Instant::now() + self.pass(&mut missing_since).await;
                }
                change = node_changes.next() => {
                    if matches!(change, Change::Deleted(_) | Change::Resync) {
                        due = due.min(Instant::now());
                    }
                }
                change = pod_changes.next() => {
                    if let Change::Applied { new, .. } = change && plan::wants_a_look(&new) {
                        due = due.min(Instant::now());
                    }
                }
            }
        }
    }

    /// One look at everything; the wait until the next.
    async fn pass(&self, missing_since: &mut BTreeMap<String, jiff::Timestamp>) -> Duration {
        let world = plan::World {
            pods: self.pods.list(),
            nodes: self.nodes.list().iter().filter_map(|node| plan::NodeFacts::of(node)).collect(),
            missing_since: std::mem::take(missing_since),
        };
        let plan = plan::plan(world, self.clock.now());
        *missing_since = plan.missing_since;
        apply::apply(&self.client, &self.clock, plan.actions).await;
        plan.again_in.unwrap_or(PERIOD).min(PERIOD)
    }
}
