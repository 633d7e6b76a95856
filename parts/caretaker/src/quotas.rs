//! Duty: what each ResourceQuota has used, counted anew when the quota changes and when something goes.
//!
//! Upstream's controller: `resource-quota-controller`, as `resourcequota-controller`. What a new object costs is added
//! by the server when it admits the object; here is what makes that right again.

mod plan;
mod usage;

use crate::{Options, words};
use api::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kit::{Cache, Caches, Change, Key, Queue, QueueLimits, Tasks};
use kube::api::PostParams;
use kube::discovery::{ApiResource, Discovery, Scope};
use kube::{Api, Client};
use parking_lot::Mutex;
use plan::Counted;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Every quota is counted anew at least this often (upstream: 5 minutes).
const RECOUNT: Duration = Duration::from_mins(5);

/// A quota is counted a second time this long after its first count: what was made shortly before the quota was may
/// have been missing from our caches, and nothing was charged for it.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// After which a kind is looked up anew (upstream asks discovery as often): it may be served in another version, or no
/// longer.
const KINDS_FRESH: Duration = Duration::from_secs(30);

struct Quotas {
    client: Client,
    caches: Caches,
    tasks: Tasks,
    quotas: Cache<ResourceQuota>,
    pods: Cache<Pod>,
    queue: Queue<Key>,
    /// Kinds that some quota counts, by the name in the quota, and when each was looked up.
    kinds: Mutex<BTreeMap<String, (ApiResource, Instant)>>,
    /// Kinds whose goings are listened to.
    heard: Mutex<BTreeSet<String>>,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let setup = &options.setup;
    let duty = Arc::new(Quotas {
        client: (options.client_for)(words::CONTROLLER_QUOTAS),
        caches: options.caches.clone(),
        tasks: setup.tasks.clone(),
        quotas: options.caches.of(),
        pods: options.caches.of(),
        queue: Queue::new("quotas", QueueLimits::default(), setup),
        kinds: Mutex::default(),
        heard: Mutex::default(),
    });
    setup.tasks.spawn("quotas feed", Arc::clone(&duty).hear_quotas());
    setup.tasks.spawn("quotas pod feed", Arc::clone(&duty).hear_pods());
    let queue = duty.queue.clone();
    let reconcile = move |key: Key| {
        let duty = Arc::clone(&duty);
        async move { duty.reconcile(&key).await }
    };
    setup.tasks.spawn("quotas", kit::work(queue, reconcile));
}

impl Quotas {
    fn recount(&self, namespace: &str) {
        self.quotas.list_in(namespace).iter().for_each(|quota| {
            self.queue.add(Key::of(quota.as_ref()));
        });
    }

    /// What the server charges when it admits an object is no reason to count: our caches may lack that object yet,
    /// and the count would undo the charge.
    async fn hear_quotas(self: Arc<Self>) {
        let mut changes = self.quotas.subscribe();
        loop {
            match changes.next().await {
                Change::Applied { old, new } if plan::is_due(old.as_deref(), &new) => {
                    self.queue.add(Key::of(new.as_ref()));
                }
                Change::Applied { .. } => {}
                Change::Deleted(quota) => {
                    self.recount(quota.metadata.namespace.as_deref().unwrap_or_default());
                }
                Change::Resync => {
                    for quota in self.quotas.list() {
                        self.queue.add(Key::of(quota.as_ref()));
                    }
                }
            }
        }
    }

    /// A pod that goes or ends gives back what it took.
    async fn hear_pods(self: Arc<Self>) {
        let mut changes = self.pods.subscribe();
        loop {
            let pod = match changes.next().await {
                Change::Deleted(pod) => pod,
                Change::Applied { old: Some(old), new } if usage::gives_back(&old, &new) => new,
                Change::Applied { .. } => continue,
                Change::Resync => {
                    for quota in self.quotas.list() {
                        self.queue.add(Key::of(quota.as_ref()));
                    }
                    continue;
                }
            };
            self.recount(pod.metadata.namespace.as_deref().unwrap_or_default());
        }
    }

    async fn reconcile(self: &Arc<Self>, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(quota) = self.quotas.get(key) else { return Ok(None) };
        self.pods.synced().await;
        let mut used = BTreeMap::new();
        let mut pods = usage::Totals::default();
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        let names: Vec<&String> = hard.into_iter().flat_map(BTreeMap::keys).collect();
        if names.iter().any(|name| plan::counted(name) == Counted::Pods) {
            for pod in self.pods.list_in(&key.namespace) {
                if plan::in_scope(&quota, &pod) {
                    pods.add(&pod);
                }
            }
        }
        for name in names {
            let amount = match plan::counted(name) {
                Counted::Pods => Some(pods.of(name)),
                Counted::Claims => Some(self.claims(&quota, &key.namespace, name).await),
                // nothing but pods and claims is in any scope
                _ if plan::is_scoped(&quota) => Some(Quantity::ZERO),
                Counted::Services => Some(self.services(&key.namespace, name).await),
                Counted::Quotas => Some(number(self.quotas.list_in(&key.namespace).len())),
                Counted::Objects { plural, group } => {
                    self.objects(&key.namespace, &plural, &group).await?
                }
                Counted::Nothing => None,
            };
            if let Some(amount) = amount {
                used.insert(name.clone(), amount);
            }
        }
        let mut look_again = RECOUNT;
        if let Some(changed) = plan::status(&quota, used) {
            let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &key.namespace);
            let name = &key.name;
            crate::gone(api.replace_status(name, &PostParams::default(), &changed).await)?;
            if plan::is_first(&quota) {
                look_again = SECOND_LOOK;
            }
        }
        Ok(Some(look_again))
    }

    async fn claims(
        self: &Arc<Self>,
        quota: &ResourceQuota,
        namespace: &str,
        name: &str,
    ) -> Quantity {
        let claims: Cache<PersistentVolumeClaim> = self.caches.of();
        claims.synced().await;
        self.hear("PersistentVolumeClaim", claims.clone());
        let claims = claims.list_in(namespace);
        let counted = claims.iter().filter(|claim| plan::has_claim(quota, claim));
        counted.fold(Quantity::ZERO, |sum, claim| sum.plus(&usage::of_claim(claim, name)))
    }

    async fn services(self: &Arc<Self>, namespace: &str, name: &str) -> Quantity {
        let services: Cache<Service> = self.caches.of();
        services.synced().await;
        self.hear("Service", services.clone());
        let services = services.list_in(namespace);
        Quantity::from_units(services.iter().map(|one| usage::of_service(one, name)).sum())
    }

    /// How many objects of a kind; `None` when the kind is not served.
    async fn objects(
        self: &Arc<Self>,
        namespace: &str,
        plural: &str,
        group: &str,
    ) -> Result<Option<Quantity>, kube::Error> {
        let Some(kind) = self.kind(plural, group).await? else { return Ok(None) };
        let cache = self.caches.metadata(&kind);
        cache.synced().await;
        self.hear(&format!("{group}/{plural} {}", kind.api_version), cache.clone());
        Ok(Some(number(cache.list_in(namespace).len())))
    }

    async fn kind(&self, plural: &str, group: &str) -> Result<Option<ApiResource>, kube::Error> {
        let id = format!("{plural}.{group}");
        let now = Instant::now();
        if let Some((known, since)) = self.kinds.lock().get(&id)
            && now.duration_since(*since) < KINDS_FRESH
        {
            return Ok(Some(known.clone()));
        }
        let discovery: Discovery = crate::discover(&self.client).await?;
        let found = discovery.groups().find_map(|served| {
            let mut kinds = served.recommended_resources().into_iter();
            let (kind, _) = kinds.find(|(kind, capabilities)| {
                kind.group == group
                    && kind.plural == plural
                    && capabilities.scope == Scope::Namespaced
            })?;
            Some(kind)
        });
        let mut kinds = self.kinds.lock();
        match &found {
            Some(kind) => drop(kinds.insert(id, (kind.clone(), now))),
            None => drop(kinds.remove(&id)),
        }
        Ok(found)
    }

    /// Listens to a kind from the first time that a quota counts it.
    fn hear<K: kit::cache::Object>(self: &Arc<Self>, name: &str, cache: Cache<K>) {
        if !self.heard.lock().insert(name.to_owned()) {
            return;
        }
        let duty = Arc::clone(self);
        self.tasks.spawn(format!("quotas {name}"), async move {
            let mut changes = cache.subscribe();
            loop {
                match changes.next().await {
                    Change::Deleted(old) => {
                        duty.recount(old.meta().namespace.as_deref().unwrap_or_default());
                    }
                    Change::Applied { old: Some(old), .. } if may_shrink::<K>(&old) => {
                        duty.recount(old.meta().namespace.as_deref().unwrap_or_default());
                    }
                    Change::Applied { .. } => {}
                    Change::Resync => {
                        for quota in duty.quotas.list() {
                            duty.queue.add(Key::of(quota.as_ref()));
                        }
                    }
                }
            }
        });
    }
}

fn number(count: usize) -> Quantity {
    Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A service that changes its type gives ports back, and a claim another class; other kinds give back only when they go.
fn may_shrink<K: kit::cache::Object>(object: &K) -> bool {
    let object: &dyn std::any::Any = object;
    object.is::<Service>() || object.is::<PersistentVolumeClaim>()
}
