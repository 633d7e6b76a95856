//! Duty: a range of pod addresses for every node.
//!
//! Upstream's controller: `node-ipam-controller` with its range allocator, as `node-controller`. What nodes have is the
//! record: after a restart it is read again from them.

mod plan;

use crate::{Options, words};
use k8s_openapi::api::core::v1::Node;
use kit::{Cache, Events, Note, Queue, QueueLimits, reference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use plan::Ranges;
pub use plan::{BadRange, ClusterRange};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A node that got no range is looked at again after this: another may have gone. Long, because all nodes beyond the
/// range ask.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

struct Allocator {
    client: Client,
    nodes: Cache<Node>,
    events: Events,
    ranges: Mutex<Ranges>,
}

/// Starts the duty's tasks; without a cluster range there is nothing to give.
pub(crate) fn start(options: &Options) {
    let Some(range) = options.cluster_range else { return };
    let setup = &options.setup;
    let client = (options.client_for)(words::COMPONENT_NODES);
    let duty = Arc::new(Allocator {
        nodes: options.caches.of(),
        events: Events::start(client.clone(), setup, words::COMPONENT_RANGES, ""),
        client,
        ranges: Mutex::new(Ranges::new(range)),
    });
    let queue: Queue<String> = Queue::new("ranges", QueueLimits::default(), setup);
    let keys = |node: &Node| node.metadata.name.iter().cloned().collect();
    let (known, nodes, feed_queue) = (Arc::clone(&duty), duty.nodes.clone(), queue.clone());
    setup.tasks.spawn("ranges feed", async move {
        nodes.synced().await;
        // all that is taken, before anything is given
        for node in nodes.list() {
            known.ranges.lock().see(&node);
        }
        let gone = Arc::clone(&known);
        let resync = move || gone.ranges.lock().holders();
        kit::feed(nodes, feed_queue, keys, resync).await;
    });
    let work = kit::work(queue, move |name: String| {
        let duty = Arc::clone(&duty);
        async move { duty.reconcile(&name).await }
    });
    setup.tasks.spawn("ranges", work);
}

impl Allocator {
    async fn reconcile(&self, name: &str) -> Result<Option<Duration>, kube::Error> {
        let Some(node) = self.nodes.find("", name) else {
            self.ranges.lock().release(name);
            return Ok(None);
        };
        if self.ranges.lock().see(&node) {
            return Ok(None);
        }
        let given = self.ranges.lock().take(name);
        let Some(given) = given else {
            let message =
                format!("Node {name} status is now: {}", words::EVENT_RANGE_NOT_AVAILABLE);
            let mut regarding = reference(node.as_ref());
            regarding.uid.clone_from(&regarding.name);
            self.events.publish(Note::normal(regarding, words::EVENT_RANGE_NOT_AVAILABLE, message));
            tracing::debug!(node = name, "no range of pod addresses is left; widen --cluster-cidr");
            return Ok(Some(LOOK_AGAIN));
        };
        let text = given.to_string();
        let patch = json!({"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": text, "podCIDRs": [text]}});
        let api: Api<Node> = Api::all(self.client.clone());
        crate::gone(api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await)?;
        Ok(None)
    }
}
