//! Duty: what has lost its owners goes; what waits for its dependents is drained or lets them go.
//!
//! Upstream's controller: `garbage-collector-controller`, as `generic-garbage-collector`. Not looked after: events, which
//! expire by themselves. A kind that is no longer served keeps its cache until it is served again in another way, or until
//! the next start.

mod apply;
mod graph;
mod plan;

use crate::{Options, words};
use graph::{Graph, Item, Kind, Meta, id_of, item_of};
use kit::{Backoff, Caches, Change, Events, Queue, QueueLimits, Tasks};
use kube::discovery::{Discovery, verbs};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often discovery is asked for new kinds (upstream: 30 s).
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// Objects looked at once (upstream: 20).
const WORKERS: usize = 8;
/// Absent owners remembered, so that thousands of dependents cost one look. Uids never return.
const ABSENT_MAX: usize = 512;

struct Owners {
    client: kube::Client,
    caches: Caches,
    tasks: Tasks,
    events: Events,
    graph: Graph,
    queue: Queue<Item>,
    /// Uids of owners that a live look did not find, with their age.
    absent: Mutex<BTreeMap<String, u64>>,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let setup = &options.setup;
    let client = (options.client_for)(words::CONTROLLER_OWNERS);
    let duty = Arc::new(Owners {
        caches: options.caches.clone(),
        tasks: setup.tasks.clone(),
        events: Events::start(client.clone(), setup, words::COMPONENT_OWNERS, ""),
        client,
        graph: Graph::default(),
        queue: Queue::new("owners", QueueLimits::default(), setup),
        absent: Mutex::default(),
    });
    setup.tasks.spawn("owners discovery", duty.discover());
}

impl Owners {
    /// Finds kinds for ever; the workers start when the first round of caches is filled.
    async fn discover(self: Arc<Self>) {
        let mut working = false;
        let mut backoff = Backoff::new(Duration::from_millis(200), DISCOVERY_PERIOD, 0);
        loop {
            match crate::discover(&self.client).await {
                Ok(discovery) => {
                    backoff.succeeded();
                    self.add_kinds(&discovery);
                }
                Err(error) => {
                    let (error, wait) = (kit::brief(&error), backoff.failed());
                    tracing::warn!(error, ?wait, "kinds could not be discovered; trying again");
                    tokio::time::sleep(wait).await;
                    continue;
                }
            }
            if !working {
                working = true;
                for (_, kind) in self.graph.kinds() {
                    kind.cache.synced().await;
                }
                self.start_workers();
            }
            tokio::time::sleep(DISCOVERY_PERIOD).await;
        }
    }

    fn add_kinds(self: &Arc<Self>, discovery: &Discovery) {
        for group in discovery.groups_alphabetical() {
            for (resource, capabilities) in group.recommended_resources() {
                let able = [verbs::LIST, verbs::WATCH, verbs::DELETE];
                let able = able.iter().all(|verb| capabilities.supports_operation(verb));
                let id = id_of(&resource.group, &resource.kind);
                let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
                // a kind that others define may come back with another version, name or scope: the old cache sees nothing
                let is_known = self.graph.knows(&id, &resource, namespaced);
                if !able || resource.plural == "events" || is_known {
                    continue;
                }
                let cache = self.caches.metadata(&resource);
                let kind = Kind { resource, namespaced, cache };
                self.graph.add(id.clone(), kind.clone());
                self.tasks.spawn(format!("owners {id}"), Arc::clone(self).feed(id, kind));
            }
        }
    }

    fn start_workers(self: &Arc<Self>) {
        for worker in 0..WORKERS {
            let duty = Arc::clone(self);
            let reconcile = move |item: Item| {
                let duty = Arc::clone(&duty);
                async move { duty.reconcile(&item).await.map(|()| None) }
            };
            let work = kit::work(self.queue.clone(), reconcile);
            self.tasks.spawn(format!("owners {worker}"), work);
        }
    }

    async fn feed(self: Arc<Self>, id: String, kind: Kind) {
        let mut changes = kind.cache.subscribe();
        loop {
            let change = changes.next().await;
            if !self.graph.knows(&id, &kind.resource, kind.namespaced) {
                // served in another way now, by a feed of its own
                return;
            }
            match change {
                Change::Applied { old: Some(old), new } => {
                    // another one of the same name, while nobody looked: this is the end of the old one, too
                    if old.metadata.uid != new.metadata.uid {
                        for (dependent, _) in self.graph.dependents(&item_of(&id, &old.metadata)) {
                            self.queue.add(dependent);
                        }
                    }
                    if plan::matters(&old.metadata, &new.metadata) {
                        self.look(&id, &new);
                        self.look_at_draining_owners(&old);
                        self.look_at_draining_owners(&new);
                    }
                }
                Change::Applied { old: None, new } => self.look(&id, &new),
                Change::Deleted(old) => {
                    for (dependent, _) in self.graph.dependents(&item_of(&id, &old.metadata)) {
                        self.queue.add(dependent);
                    }
                    self.look_at_draining_owners(&old);
                }
                Change::Resync => {
                    for object in kind.cache.list() {
                        self.look(&id, &object);
                        self.look_at_draining_owners(&object);
                    }
                    // owners that went unseen: everybody who has one is looked at
                    for (id, kind) in self.graph.kinds() {
                        kind.cache.list().iter().for_each(|object| self.look(&id, object));
                    }
                }
            }
        }
    }

    /// Queues an object that has owners, or that is held by its dependents.
    fn look(&self, id: &str, object: &Meta) {
        let meta = &object.metadata;
        let owned = meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
        if owned || plan::held(meta) != plan::Held::No {
            self.queue.add(item_of(id, meta));
        }
    }

    fn look_at_draining_owners(&self, object: &Meta) {
        for owner in object.metadata.owner_references.iter().flatten() {
            if let Some((item, owner)) = self.graph.by_uid(&owner.uid)
                && plan::held(&owner.metadata) != plan::Held::No
            {
                self.queue.add(item);
            }
        }
    }

    fn is_known_absent(&self, uid: &str) -> bool {
        self.absent.lock().contains_key(uid)
    }

    fn remember_absent(&self, uid: &str) {
        let mut absent = self.absent.lock();
        let age = absent.values().copied().max().unwrap_or(0) + 1;
        absent.insert(uid.to_owned(), age);
        if absent.len() > ABSENT_MAX {
            let oldest = absent.iter().min_by_key(|(_, age)| **age).map(|(uid, _)| uid.clone());
            oldest.and_then(|uid| absent.remove(&uid));
        }
    }
}
