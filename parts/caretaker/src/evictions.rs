//! Duty: pods leave nodes whose NoExecute taints they do not tolerate, or no longer.
//!
//! Upstream's controller: `taint-eviction-controller`, as `node-controller`.

mod plan;

use crate::{Options, words};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kit::{Cache, Change, Clock, Events, Index, Key, Note, Queue, QueueLimits, reference};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use plan::Fate;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Pods evicted at once (upstream: 8 workers).
const WORKERS: usize = 8;

struct Evictions {
    clock: Clock,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    client: kube::Client,
    events: Events,
    queue: Queue<Key>,
    /// Pods that are to leave later, by what uid, and since when they are known beside the taints.
    leaving: Mutex<BTreeMap<Key, (String, Timestamp)>>,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let (setup, caches) = (&options.setup, &options.caches);
    let client = (options.client_for)(words::COMPONENT_NODES);
    let duty = Arc::new(Evictions {
        clock: setup.clock.clone(),
        nodes: caches.of(),
        pods: caches.of(),
        events: Events::start(client.clone(), setup, words::COMPONENT_EVICTIONS, ""),
        client,
        queue: Queue::new("evictions", QueueLimits::default(), setup),
        leaving: Mutex::default(),
    });
    setup.tasks.spawn("evictions feed", Arc::clone(&duty).feed());
    for worker in 0..WORKERS {
        let duty = Arc::clone(&duty);
        let queue = duty.queue.clone();
        let reconcile = move |key: Key| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&key).await }
        };
        setup.tasks.spawn(format!("evictions {worker}"), kit::work(queue, reconcile));
    }
}

impl Evictions {
    async fn feed(self: Arc<Self>) {
        self.pods.index(&Index::NODE);
        self.pods.synced().await;
        self.nodes.synced().await;
        let mut pods = self.pods.subscribe();
        let mut nodes = self.nodes.subscribe();
        loop {
            tokio::select! {
                biased;
                change = nodes.next() => self.node(change),
                change = pods.next() => self.pod(change),
            }
        }
    }

    fn node(&self, change: Change<Node>) {
        match change {
            Change::Applied { old, new } => {
                let before = old.iter().flat_map(|old| plan::no_execute(old));
                if !before.eq(plan::no_execute(&new)) {
                    self.look_at_node(&new);
                }
            }
            // pods of a node that is gone are the pod garbage collector's
            Change::Deleted(_) => {}
            Change::Resync => self.nodes.list().iter().for_each(|node| self.look_at_node(node)),
        }
    }

    fn look_at_node(&self, node: &Node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        for pod in self.pods.by(&Index::NODE, name) {
            self.queue.add(Key::of(pod.as_ref()));
        }
    }

    fn pod(&self, change: Change<Pod>) {
        match change {
            Change::Applied { old, new } => {
                if old.is_none_or(|old| plan::matters(&old, &new)) {
                    self.queue.add(Key::of(new.as_ref()));
                }
            }
            Change::Deleted(old) => drop(self.leaving.lock().remove(&Key::of(old.as_ref()))),
            Change::Resync => {
                for node in self.nodes.list() {
                    self.look_at_node(&node);
                }
            }
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(pod) = self.pods.get(key) else {
            self.leaving.lock().remove(key);
            return Ok(None);
        };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = node.and_then(|name| self.nodes.find("", name));
        let going = pod.metadata.deletion_timestamp.is_some();
        let Some(node) = node.filter(|_| !going && !fit::filter::is_finished(&pod)) else {
            self.leaving.lock().remove(key);
            return Ok(None);
        };
        let now = self.clock.now();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let since = {
            let leaving = self.leaving.lock();
            leaving.get(key).filter(|known| known.0 == uid).map_or(now, |known| known.1)
        };
        let at = match plan::plan(&pod, &node, since) {
            Fate::Stay => {
                if self.leaving.lock().remove(key).is_some() {
                    self.note(&pod, format!("Cancelling deletion of Pod {key}"));
                }
                return Ok(None);
            }
            Fate::Leave(at) => at,
        };
        if at > now {
            self.leaving.lock().insert(key.clone(), (uid, since));
            return Ok(Some(Duration::try_from(at.duration_since(now)).unwrap_or_default()));
        }
        self.evict(key, &pod).await?;
        self.leaving.lock().remove(key);
        Ok(None)
    }

    /// As spec D11: event, condition, graceful delete; budgets are not asked.
    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), kube::Error> {
        self.note(pod, format!("Marking for deletion Pod {key}"));
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": words::DISRUPTION_TARGET, "status": "True", "reason": words::REASON_TAINT,
            "message": words::MESSAGE_TAINT, "lastTransitionTime": Time(self.clock.now()),
            "observedGeneration": pod.metadata.generation,
        }]}});
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Strategic(patch);
        crate::gone(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
        let only = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        crate::gone(api.delete(&key.name, &params).await)
    }

    fn note(&self, pod: &Pod, message: String) {
        self.events.publish(Note::normal(reference(pod), words::EVENT_EVICTION, message));
    }
}
