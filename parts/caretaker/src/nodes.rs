//! Duty: node health. Leases and heartbeats in; conditions, taints, unready pods and events out.
//!
//! Upstream's controller: `node-lifecycle-controller`, as `node-controller`.

mod plan;
mod zones;

use crate::{Options, words};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kit::{Cache, Change, Clock, Events, Index, Key, Note, Queue, QueueLimits, Scope, reference};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use parking_lot::Mutex;
use plan::{Mood, Ready};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use zones::{Turn, Zones};

/// Nodes looked after at once.
const WORKERS: usize = 8;
/// When a zone may not expel anybody, look again after this (upstream's monitor period).
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two pulses of our own.
const PULSE: Duration = Duration::from_secs(5);
/// A pulse that is late by more says that we were not running: nobody's word could reach us meanwhile.
const PULSE_LATE: Duration = Duration::from_secs(5);

struct Nodes {
    clock: Clock,
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    pods: Cache<Pod>,
    client: kube::Client,
    reader: kube::Client,
    events: Events,
    queue: Queue<String>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    health: BTreeMap<String, Health>,
    zones: Zones,
    /// When we were last known to run.
    pulse: Option<Instant>,
}

/// What was heard of a node, by our own clock, and by one that cannot be set: the time of day may jump by hours while
/// every node speaks as ever (spec D2).
#[derive(Clone, Debug)]
struct Health {
    heard_at: Instant,
    heartbeat: Option<Timestamp>,
    /// As the cache had the lease last.
    renewed: Option<Timestamp>,
    /// As the lease was when it was last read past the cache, if that was news.
    read: Option<Timestamp>,
    ready: Ready,
    /// Whether its pods were told since it stopped being ready (spec D6).
    pods_told: bool,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let (setup, caches) = (&options.setup, &options.caches);
    let client = (options.client_for)(words::COMPONENT_NODES);
    let leases = Scope { namespace: Some(words::NAMESPACE_LEASES.to_owned()), ..Scope::default() };
    let duty = Arc::new(Nodes {
        clock: setup.clock.clone(),
        nodes: caches.of(),
        leases: caches.some(leases),
        pods: caches.of(),
        reader: caches.reader(),
        events: Events::start(client.clone(), setup, words::COMPONENT_NODES, ""),
        client,
        queue: Queue::new("nodes", QueueLimits::default(), setup),
        memory: Mutex::default(),
    });
    duty.pods.index(&Index::NODE);
    setup.tasks.spawn("nodes feed", Arc::clone(&duty).feed());
    setup.tasks.spawn("nodes leases", Arc::clone(&duty).listen());
    setup.tasks.spawn("nodes pulse", Arc::clone(&duty).beat());
    for worker in 0..WORKERS {
        let duty = Arc::clone(&duty);
        let queue = duty.queue.clone();
        let reconcile = move |name: String| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&name).await }
        };
        setup.tasks.spawn(format!("nodes {worker}"), kit::work(queue, reconcile));
    }
}

impl Nodes {
    async fn feed(self: Arc<Self>) {
        // a node whose lease is not known yet would look silent
        self.leases.synced().await;
        self.pods.synced().await;
        let queue = self.queue.clone();
        let known = Arc::clone(&self);
        let keys = |node: &Node| node.metadata.name.iter().cloned().collect();
        let resync = move || known.memory.lock().health.keys().cloned().collect();
        kit::feed(self.nodes.clone(), queue, keys, resync).await;
    }

    /// Every renewal is heard; only silence is worth a look, and the queue's delays see to that.
    async fn listen(self: Arc<Self>) {
        let mut changes = self.leases.subscribe();
        loop {
            match changes.next().await {
                Change::Applied { new, .. } => self.hear(&new),
                Change::Resync => self.leases.list().iter().for_each(|lease| self.hear(lease)),
                Change::Deleted(_) => {}
            }
        }
    }

    /// Tells ourselves apart from the nodes: a process that stood still heard nobody, which is not their silence.
    async fn beat(self: Arc<Self>) {
        loop {
            self.memory.lock().beat(self.clock.instant());
            tokio::time::sleep(PULSE).await;
        }
    }

    fn hear(&self, lease: &Lease) {
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let now = self.clock.instant();
        if let Some(health) = self.memory.lock().health.get_mut(name) {
            health.renew(renewed(lease), now);
        }
    }

    async fn reconcile(&self, name: &str) -> Result<Option<Duration>, kube::Error> {
        let Some(node) = self.nodes.find("", name) else {
            self.forget(name);
            return Ok(None);
        };
        let (now, instant) = (self.clock.now(), self.clock.instant());
        let (health, mood) = self.observe(name, &node, instant);
        let silence = instant.duration_since(health.heard_at);
        let grace = plan::grace(&node);
        let plan = plan::plan(&node, silence >= grace, mood, now);
        if !plan.conditions.is_empty() {
            if self.spoke_meanwhile(name).await? {
                return Ok(Some(LOOK_AGAIN));
            }
            tracing::info!(node = name, ?silence, "node fell silent");
            let patch = json!({"status": {"conditions": plan.conditions}});
            let api: Api<Node> = Api::all(self.client.clone());
            let patch = Patch::Strategic(patch);
            crate::gone(api.patch_status(name, &PatchParams::default(), &patch).await)?;
            // the watch brings it back, now Unknown
            return Ok(None);
        }
        if !health.pods_told {
            self.tell_pods(&node).await?;
            if let Some(health) = self.memory.lock().health.get_mut(name) {
                health.pods_told = true;
            }
        }
        if let Some(taints) = plan.taints {
            self.taint(&node, &taints).await?;
        } else if let Some(key) = plan.expel {
            let turn = self.memory.lock().zones.turn(&node, instant);
            match turn {
                Turn::Now => self.taint(&node, &plan::with_expulsion(&node, key, now)).await?,
                Turn::Never => return Ok(Some(LOOK_AGAIN)),
                Turn::At(when) => {
                    return Ok(Some(when.duration_since(instant)));
                }
            }
        }
        // already silent: its next word wakes us
        Ok(grace.checked_sub(silence).filter(|left| !left.is_zero()))
    }

    /// Takes the node into memory; answers what is known of it, and whether anybody may be expelled.
    fn observe(&self, name: &str, node: &Node, now: Instant) -> (Health, Mood) {
        let ready = plan::ready(node);
        let heartbeat = heartbeat(node);
        let renewed = self.leases.find(words::NAMESPACE_LEASES, name).and_then(|l| renewed(&l));
        let mut memory = self.memory.lock();
        memory.beat(now);
        let changed = memory.zones.see(node, ready == Ready::Yes);
        let mood = memory.zones.mood();
        let mut is_new = false;
        let health = memory.health.entry(name.to_owned()).or_insert_with(|| {
            is_new = true;
            // a node that is Unknown at our start was so before: its agent cannot contradict us about its pods
            let pods_told = ready != Ready::Unknown;
            Health { heard_at: now, heartbeat, renewed, read: None, ready, pods_told }
        });
        // changed, not later: the node's clock may have stepped back
        if heartbeat != health.heartbeat {
            (health.heartbeat, health.heard_at) = (heartbeat, now);
        }
        health.renew(renewed, now);
        match (health.ready, ready) {
            (_, Ready::Yes) => health.pods_told = true,
            (Ready::Yes, _) => health.pods_told = false,
            _ => {}
        }
        health.ready = ready;
        let health = health.clone();
        drop(memory);
        if is_new {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.note(node, words::EVENT_REGISTERED, message);
        }
        if changed {
            self.mood_changed(mood, now);
        }
        (health, mood)
    }

    /// Everybody is looked at again; after a total silence everybody gets a full grace (spec D5).
    fn mood_changed(&self, mood: Mood, now: Instant) {
        tracing::info!(?mood, "eviction by node health changes its mood");
        let mut memory = self.memory.lock();
        for (name, health) in &mut memory.health {
            if mood == Mood::Normal {
                health.heard_at = now;
            }
            self.queue.add(name.clone());
        }
    }

    fn forget(&self, name: &str) {
        let (known, changed, mood) = {
            let mut memory = self.memory.lock();
            let known = memory.health.remove(name).is_some();
            (known, memory.zones.forget(name), memory.zones.mood())
        };
        if known {
            let node = Node {
                metadata: kube::core::ObjectMeta {
                    name: Some(name.to_owned()),
                    ..Default::default()
                },
                ..Node::default()
            };
            let message = format!("Node {name} event: Removing Node {name} from Controller");
            self.note(&node, words::EVENT_REMOVING, message);
        }
        if changed {
            self.mood_changed(mood, self.clock.instant());
        }
    }

    /// Before a node is called silent, the lease is read once past the cache: our watch may be what is broken.
    async fn spoke_meanwhile(&self, name: &str) -> Result<bool, kube::Error> {
        // upstream's role for this controller has no right to leases; whoever fills the caches may list them
        let api: Api<Lease> = Api::namespaced(self.reader.clone(), words::NAMESPACE_LEASES);
        let only = ListParams::default().fields(&format!("metadata.name={name}"));
        let Some(lease) = api.list(&only).await?.items.into_iter().next() else { return Ok(false) };
        let now = self.clock.instant();
        let mut memory = self.memory.lock();
        let health = memory.health.get_mut(name);
        Ok(health.is_some_and(|health| health.read(renewed(&lease), now)))
    }

    async fn taint(&self, node: &Node, taints: &[Taint]) -> Result<(), kube::Error> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        // the list is replaced as a whole, so only the list that was read may be
        let patch = json!({
            "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        let api: Api<Node> = Api::all(self.client.clone());
        match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            // a newer version is on its way to us, and wakes us
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => crate::gone(other),
        }
    }

    /// Pods of a node that is not ready are not ready either (spec D6).
    async fn tell_pods(&self, node: &Node) -> Result<(), kube::Error> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        self.note(
            node,
            words::EVENT_NOT_READY,
            format!("Node {name} status is now: {}", words::EVENT_NOT_READY),
        );
        for pod in self.pods.by(&Index::NODE, name) {
            let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
            let mut conditions = conditions.into_iter();
            if !conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
            {
                continue;
            }
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "lastTransitionTime": Time(self.clock.now())},
            ]}});
            let key = Key::of(pod.as_ref());
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
            let patch = Patch::Strategic(patch);
            crate::gone(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
            let message = "Node is not ready".to_owned();
            self.events.publish(Note::warning(
                reference(pod.as_ref()),
                words::EVENT_NOT_READY,
                message,
            ));
        }
        Ok(())
    }

    /// Events about nodes carry the name as uid, as agents' events do, so that describe finds both.
    fn note(&self, node: &Node, reason: &'static str, message: String) {
        let mut regarding = reference(node);
        regarding.uid.clone_from(&regarding.name);
        self.events.publish(Note::normal(regarding, reason, message));
    }
}

impl Memory {
    /// We run. If we did not for a while, that while is nobody's silence.
    fn beat(&mut self, now: Instant) {
        let before = self.pulse.replace(now).unwrap_or(now);
        let lost = now.duration_since(before).saturating_sub(PULSE);
        if lost <= PULSE_LATE {
            return;
        }
        tracing::warn!(?lost, "this process stood still; no node is called silent for it");
        for health in self.health.values_mut() {
            health.heard_at = (health.heard_at + lost).min(now);
        }
    }
}

impl Health {
    /// Takes the cached lease. Any other time of renewal is a sign of life, an earlier one too: the node's clock may
    /// have stepped back. What was read past the cache already is none.
    fn renew(&mut self, renewed: Option<Timestamp>, now: Instant) {
        if renewed.is_none() || renewed == self.renewed {
            return;
        }
        self.renewed = renewed;
        if renewed != self.read {
            self.heard_at = now;
        }
    }

    /// Takes the lease as read past the cache; answers whether it was renewed since it was last heard. Kept apart from
    /// what the cache says: a cache that stands still differs from it for ever.
    fn read(&mut self, renewed: Option<Timestamp>, now: Instant) -> bool {
        let news = renewed.is_some() && renewed != self.renewed && renewed != self.read;
        if news {
            (self.read, self.heard_at) = (renewed, now);
        }
        news
    }
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Heard at the moment it is made.
    fn health(renewed: i64, heard_at: Instant) -> Health {
        Health {
            heard_at,
            heartbeat: None,
            renewed: Some(at(renewed)),
            read: None,
            ready: Ready::Yes,
            pods_told: true,
        }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_by_a_clock_that_stepped_back_is_a_sign_of_life() {
        let start = Instant::now();
        let mut health = health(1000, start);
        health.renew(Some(at(400)), start + seconds(10));
        assert_eq!(health.heard_at, start + seconds(10));
        health.renew(Some(at(400)), start + seconds(20));
        assert_eq!(health.heard_at, start + seconds(10), "the same word again is none");
        health.renew(None, start + seconds(30));
        assert_eq!(health.heard_at, start + seconds(10), "a lease that goes is none");
        assert!(health.read(Some(at(300)), start + seconds(40)));
        assert_eq!(health.heard_at, start + seconds(40));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_that_stands_still_keeps_no_dead_node_alive() {
        let start = Instant::now();
        let mut health = health(1000, start);
        assert!(health.read(Some(at(1010)), start + seconds(10)));
        health.renew(Some(at(1000)), start + seconds(20));
        assert!(!health.read(Some(at(1010)), start + seconds(30)));
        health.renew(Some(at(1010)), start + seconds(40));
        assert_eq!(health.heard_at, start + seconds(10), "it was heard before the cache had it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_calls_no_node_silent_for_it() {
        let start = Instant::now();
        let mut memory = Memory::default();
        memory.beat(start);
        memory.health.insert("n".to_owned(), health(1000, start));
        memory.beat(start + seconds(7));
        assert_eq!(memory.health["n"].heard_at, start, "a pulse may be a little late");
        memory.beat(start + seconds(3607));
        let silence = start + seconds(3607) - memory.health["n"].heard_at;
        assert_eq!(silence, seconds(12), "what was silence before still is");
    }
}
