//! Keeps each ReplicaSet's number of pods (upstream's replicaset controller), and each ReplicationController's, which
//! is seen as a ReplicaSet.

mod kind;
mod plan;

use crate::{Options, words};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kind::Kind;
use kit::{Cache, Clock, Events, Index, Key, Ledger, Note, Queue};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use parking_lot::Mutex;
use plan::World;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Wait for a cache that has not seen our own last write.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    start_for::<ReplicaSet>(options);
}

/// Starts the tasks of the duty for ReplicationControllers.
pub(crate) fn start_controllers(options: &Options) {
    start_for::<ReplicationController>(options);
}

fn start_for<K: Kind>(options: &Options) {
    let client = (options.client_for)(K::CONTROLLER);
    let duty = Arc::new(Keeper::<K> {
        clock: options.setup.clock.clone(),
        sets: options.caches.of(),
        pods: options.caches.of(),
        events: Events::start(client.clone(), &options.setup, K::CONTROLLER, ""),
        client,
        memory: Mutex::default(),
    });
    duty.pods.index(&Index::CONTROLLER);
    let queue: Queue<Key> = Queue::new(K::QUEUE, kit::QueueLimits::default(), &options.setup);
    let tasks = &options.setup.tasks;
    let keys = |set: &K| vec![Key::of(set)];
    tasks.spawn(
        format!("{} feed", K::QUEUE),
        kit::feed(duty.sets.clone(), queue.clone(), keys, Vec::new),
    );
    let sets = duty.sets.clone();
    let of_pod = move |pod: &Pod| keys_of_pod(&sets, pod);
    tasks.spawn(
        format!("{} pod feed", K::QUEUE),
        kit::feed(duty.pods.clone(), queue.clone(), of_pod, Vec::new),
    );
    tasks.spawn(
        K::QUEUE,
        kit::work(queue, move |key| {
            let duty = Arc::clone(&duty);
            async move { duty.reconcile(&key).await }
        }),
    );
}

/// The sets that a change of this pod concerns: its controller, or, for an orphan, all that match it.
fn keys_of_pod<K: Kind>(sets: &Cache<K>, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(owner) = controller_of(&pod.metadata) {
        let ours = owner.kind == K::KIND && is_group(&owner.api_version, K::API_VERSION);
        return if ours { vec![Key::new(namespace, &owner.name)] } else { Vec::new() };
    }
    sets.list_in(namespace)
        .iter()
        .filter(|set| set.selects(pod))
        .map(|set| Key::of(set.as_ref()))
        .collect()
}

fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))
}

fn selects(set: &ReplicaSet, pod: &Pod) -> bool {
    let Some(spec) = &set.spec else { return false };
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    api::selector::LabelSelector::from_typed(&spec.selector).is_ok_and(|s| s.matches(labels))
}

/// Whether two versions are of one group.
fn is_group(one: &str, other: &str) -> bool {
    let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
    group(one) == group(other)
}

struct Keeper<K> {
    clock: Clock,
    client: Client,
    sets: Cache<K>,
    pods: Cache<Pod>,
    events: Events,
    memory: Mutex<Memory>,
}

/// Own writes that the cache may not show yet.
#[derive(Default)]
struct Memory {
    ledger: Ledger<Key>,
    deleting: BTreeMap<Key, BTreeSet<String>>,
}

impl<K: Kind> Keeper<K> {
    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(found) = self.sets.get(key) else {
            let mut memory = self.memory.lock();
            memory.ledger.forget(key);
            memory.deleting.remove(key);
            return Ok(None);
        };
        let set = K::view(&found);
        let now = self.clock.now();
        let seen = |_: &'static str| self.pods.revision();
        if self.memory.lock().ledger.behind(key, now, seen).is_some() {
            return Ok(Some(CATCH_UP));
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if !self.claim(&set).await? {
            return Ok(Some(CATCH_UP));
        }
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let owned: Vec<Arc<Pod>> = self
            .pods
            .by(&Index::CONTROLLER, &uid)
            .into_iter()
            .filter(|pod| selects(&set, pod))
            .collect();
        let deleting = self.still_deleting(key, &owned);
        let world = World { set: Arc::clone(&set), owned, deleting };
        let plan = plan::plan(&world, now);
        let outcome = self.act(&world, &plan, key).await;
        let failure = outcome.as_ref().err().map(|(reason, error)| (*reason, kit::words_of(error)));
        let mut status = plan::status(&world, failure.as_ref().map(|(r, m)| (*r, m.as_str())), now);
        if !K::COUNTS_TERMINATING {
            status.terminating_replicas = None;
        }
        if set.status.as_ref() != Some(&status) {
            self.write_status(&found, status).await?;
        }
        outcome.map_err(|(_, error)| error)?;
        Ok(plan.again_in)
    }

    /// Takes over orphans that match, lets go of pods that match no more. Whether the set itself, asked for anew
    /// before it takes anything, is still the one that is known: pods that a deleted set has just let go of are not
    /// its own again.
    async fn claim(&self, set: &ReplicaSet) -> Result<bool, kube::Error> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        for pod in self.pods.by(&Index::CONTROLLER, uid).iter().filter(|pod| !selects(set, pod)) {
            let patch = json!({"metadata": {"uid": pod.metadata.uid,
                "ownerReferences": [{"$patch": "delete", "uid": uid}]}});
            self.patch_pod(namespace, pod, &patch).await?;
        }
        let is_orphan = |pod: &Arc<Pod>| {
            controller_of(&pod.metadata).is_none()
                && pod.metadata.deletion_timestamp.is_none()
                && selects(set, pod)
        };
        let orphans: Vec<_> = self.pods.list_in(namespace).into_iter().filter(is_orphan).collect();
        if orphans.is_empty() {
            return Ok(true);
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let now = api.get_opt(set.metadata.name.as_deref().unwrap_or_default()).await?;
        let is_same = now.is_some_and(|now| {
            now.meta().uid.as_deref() == Some(uid) && now.meta().deletion_timestamp.is_none()
        });
        if !is_same {
            return Ok(false);
        }
        for pod in orphans {
            let patch = json!({"metadata": {"uid": pod.metadata.uid, "ownerReferences": [owner::<K>(set)]}});
            self.patch_pod(namespace, &pod, &patch).await?;
        }
        Ok(true)
    }

    async fn patch_pod(
        &self,
        namespace: &str,
        pod: &Pod,
        patch: &serde_json::Value,
    ) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletions of ours that the cache does not show yet.
    fn still_deleting(&self, key: &Key, owned: &[Arc<Pod>]) -> BTreeSet<String> {
        let mut memory = self.memory.lock();
        let Some(list) = memory.deleting.get_mut(key) else { return BTreeSet::new() };
        list.retain(|uid| {
            owned.iter().any(|p| {
                p.metadata.uid.as_ref() == Some(uid) && p.metadata.deletion_timestamp.is_none()
            })
        });
        list.clone()
    }

    /// Creates in batches of 1, 2, 4, ... until one fails; or deletes.
    async fn act(
        &self,
        world: &World,
        plan: &plan::Plan,
        key: &Key,
    ) -> Result<(), (&'static str, kube::Error)> {
        let mut left = plan.create;
        let mut batch = 1;
        while left > 0 {
            let size = batch.min(left);
            let results =
                futures::future::join_all((0..size).map(|_| self.create(&world.set, key))).await;
            results.into_iter().collect::<Result<Vec<()>, _>>().map_err(|e| ("FailedCreate", e))?;
            left -= size;
            batch *= 2;
        }
        let deletes = plan.delete.iter().map(|(name, uid)| self.delete(&world.set, key, name, uid));
        let results = futures::future::join_all(deletes).await;
        results
            .into_iter()
            .collect::<Result<Vec<()>, _>>()
            .map(drop)
            .map_err(|e| ("FailedDelete", e))
    }

    async fn create(&self, set: &ReplicaSet, key: &Key) -> Result<(), kube::Error> {
        let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
        let meta = template.metadata.unwrap_or_default();
        let pod = Pod {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", key.name)),
                namespace: Some(key.namespace.clone()),
                labels: meta.labels,
                annotations: meta.annotations,
                finalizers: meta.finalizers,
                owner_references: Some(vec![owner::<K>(set)]),
                ..ObjectMeta::default()
            },
            spec: template.spec,
            status: None,
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &pod).await {
            Ok(made) => {
                let name = made.metadata.name.clone().unwrap_or_default();
                let revision = kit::revision_of(made.metadata.resource_version.as_deref());
                self.memory.lock().ledger.wrote(key.clone(), "pods", revision, self.clock.now());
                let text = format!("Created pod: {name}");
                self.events.publish(Note::normal(
                    K::reference(set),
                    words::REASON_SUCCESSFUL_CREATE,
                    text,
                ));
                Ok(())
            }
            Err(kube::Error::Api(status)) if is_namespace_ending(&status) => Ok(()),
            Err(error) => {
                let text = format!("Error creating: {}", kit::words_of(&error));
                self.events.publish(Note::warning(
                    K::reference(set),
                    words::REASON_FAILED_CREATE,
                    text,
                ));
                Err(error)
            }
        }
    }

    async fn delete(
        &self,
        set: &ReplicaSet,
        key: &Key,
        name: &str,
        uid: &str,
    ) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(name, &params).await {
            Ok(_) => {
                self.memory.lock().deleting.entry(key.clone()).or_default().insert(uid.to_owned());
                let text = format!("Deleted pod: {name}");
                self.events.publish(Note::normal(
                    K::reference(set),
                    words::REASON_SUCCESSFUL_DELETE,
                    text,
                ));
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => {
                let text = format!("Error deleting: {}", kit::words_of(&error));
                self.events.publish(Note::warning(
                    K::reference(set),
                    words::REASON_FAILED_DELETE,
                    text,
                ));
                Err(error)
            }
        }
    }

    async fn write_status(
        &self,
        set: &K,
        status: k8s_openapi::api::apps::v1::ReplicaSetStatus,
    ) -> Result<(), kube::Error> {
        let changed = set.with_status(status);
        let key = Key::of(set);
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &changed).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The reference that makes a pod ours.
fn owner<K: Kind>(set: &ReplicaSet) -> OwnerReference {
    OwnerReference {
        api_version: K::API_VERSION.into(),
        kind: K::KIND.into(),
        name: set.metadata.name.clone().unwrap_or_default(),
        uid: set.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn is_namespace_ending(status: &kube::core::Status) -> bool {
    status.code == 403
        && status
            .details
            .as_ref()
            .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
}
