//! Observe and apply around [`plan`](crate::plan): the pods of all pretend nodes.

use crate::plan::{report, stage_of};
use crate::stage::{Next, Stage};
use crate::{NodeShape, Options};
use k8s_openapi::api::core::v1::Pod;
use kit::{Cache, Key, Queue, QueueLimits, Setup};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{Request, Resource};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pods reported at once: enough to keep a server busy, few enough not to be its only client.
const WORKERS: usize = 16;

struct Pods {
    client: kube::Client,
    setup: Setup,
    cache: Cache<Pod>,
    nodes: BTreeMap<String, NodeShape>,
    stages: Vec<Stage>,
    /// Since when a pod (by uid) waits in which stage.
    waits: Mutex<BTreeMap<Key, Wait>>,
}

#[derive(Clone, PartialEq)]
struct Wait {
    uid: String,
    stage: String,
    due: Instant,
}

pub(crate) fn start(client: &kube::Client, options: &Options, cache: Cache<Pod>) {
    let setup = &options.setup;
    let nodes: BTreeMap<_, _> =
        options.nodes.iter().map(|node| (node.name.clone(), node.clone())).collect();
    let pods = Arc::new(Pods {
        client: client.clone(),
        setup: setup.clone(),
        cache: cache.clone(),
        nodes,
        stages: options.stages.clone(),
        waits: Mutex::default(),
    });
    let queue: Queue<Key> = Queue::new("hollow pods", QueueLimits::default(), setup);
    let mine = Arc::clone(&pods);
    let keys =
        move |pod: &Pod| if mine.node_of(pod).is_some() { vec![Key::of(pod)] } else { vec![] };
    setup.tasks.spawn("hollow pods feed", kit::feed(cache, queue.clone(), keys, Vec::new));
    for worker in 0..WORKERS {
        let pods = Arc::clone(&pods);
        let reconcile = move |key: Key| {
            let pods = Arc::clone(&pods);
            async move { pods.reconcile(key).await }
        };
        setup.tasks.spawn(format!("hollow pods {worker}"), kit::work(queue.clone(), reconcile));
    }
}

impl Pods {
    fn node_of(&self, pod: &Pod) -> Option<&NodeShape> {
        self.nodes.get(pod.spec.as_ref()?.node_name.as_ref()?)
    }

    async fn reconcile(&self, key: Key) -> Result<Option<Duration>, kube::Error> {
        let Some(pod) = self.cache.get(&key) else {
            self.waits.lock().remove(&key);
            return Ok(None);
        };
        let Some(node) = self.node_of(&pod) else { return Ok(None) };
        let Some(stage) = stage_of(&pod, &self.stages, self.setup.salt) else {
            self.waits.lock().remove(&key);
            return Ok(None);
        };
        let wait = self.wait(&key, &pod, stage);
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
        self.enter(&key, &pod, stage, node).await?;
        self.waits.lock().remove(&key);
        Ok(None)
    }

    /// How long the pod still waits in its stage; the first look starts the wait.
    fn wait(&self, key: &Key, pod: &Pod, stage: &Stage) -> Duration {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let now = Instant::now();
        let mut waits = self.waits.lock();
        let known = waits.get(key).filter(|wait| wait.uid == uid && wait.stage == stage.name);
        let due = known.map_or_else(|| now + stage.wait(&uid, self.setup.salt), |wait| wait.due);
        waits.insert(key.clone(), Wait { uid, stage: stage.name.clone(), due });
        due.saturating_duration_since(now)
    }

    async fn enter(
        &self,
        key: &Key,
        pod: &Pod,
        stage: &Stage,
        node: &NodeShape,
    ) -> Result<(), kube::Error> {
        let pods = Request::new(Pod::url_path(&(), Some(&key.namespace)));
        tracing::debug!(pod = %key, stage = stage.name, "stage");
        let request = if stage.next == Next::Gone {
            let only = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
            let now = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(only),
                ..DeleteParams::default()
            };
            pods.delete(&key.name, &now)
        } else {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let ip = node.pod_ip(uid);
            let Some(patch) = report(pod, &stage.next, &node.address, &ip, self.setup.clock.now())
            else {
                return Ok(());
            };
            let patch = Patch::Strategic(patch);
            pods.patch_subresource("status", &key.name, &PatchParams::default(), &patch)
        };
        // what becomes of the pod is told by the watch
        let request = request.map_err(kube::Error::BuildRequest)?;
        let done = self.client.request::<IgnoredAny>(request).await.map(drop);
        match done {
            // gone, or another pod of that name: news is on its way
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(kube::Error::Api(status))
                if status.code == 409 && status.message.contains("UID") =>
            {
                Ok(())
            }
            other => other,
        }
    }
}
