//! Replaces the ReplicaSets of each Deployment step by step (upstream's deployment controller).

mod plan;

use crate::{Options, words};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kit::{Cache, Clock, Events, Index, Key, Note, Queue, reference};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use plan::{NewSet, Plan, Resize, World};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const CONTROLLER: &str = "deployment-controller";

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let client = (options.client_for)(CONTROLLER);
    let duty = Arc::new(Keeper {
        clock: options.setup.clock.clone(),
        deployments: options.caches.of(),
        sets: options.caches.of(),
        pods: options.caches.of(),
        events: Events::start(client.clone(), &options.setup, CONTROLLER, ""),
        client,
    });
    duty.sets.index(&Index::CONTROLLER);
    duty.pods.index(&Index::CONTROLLER);
    let queue: Queue<Key> = Queue::new("deployments", kit::QueueLimits::default(), &options.setup);
    let tasks = &options.setup.tasks;
    let keys = |deployment: &Deployment| vec![Key::of(deployment)];
    let feed = kit::feed(duty.deployments.clone(), queue.clone(), keys, Vec::new);
    tasks.spawn("deployments feed", feed);
    let deployments = duty.deployments.clone();
    let of_set = move |set: &ReplicaSet| keys_of_set(&deployments, set);
    let feed = kit::feed(duty.sets.clone(), queue.clone(), of_set, Vec::new);
    tasks.spawn("deployments replicaset feed", feed);
    let (deployments, sets) = (duty.deployments.clone(), duty.sets.clone());
    let of_pod = move |pod: &Pod| keys_of_pod(&deployments, &sets, pod);
    let feed = kit::feed(duty.pods.clone(), queue.clone(), of_pod, Vec::new);
    tasks.spawn("deployments pod feed", feed);
    let work = kit::work(queue, move |key| {
        let duty = Arc::clone(&duty);
        async move { duty.reconcile(&key).await }
    });
    tasks.spawn("deployments", work);
}

/// The Deployments that a change of this set concerns: its controller, or, for an orphan, all that match it.
fn keys_of_set(deployments: &Cache<Deployment>, set: &ReplicaSet) -> Vec<Key> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(owner) = controller_of(&set.metadata) {
        let ours = owner.kind == "Deployment" && owner.api_version.starts_with("apps/");
        return if ours { vec![Key::new(namespace, &owner.name)] } else { Vec::new() };
    }
    deployments
        .list_in(namespace)
        .iter()
        .filter(|deployment| plan::selects(deployment, set))
        .map(|deployment| Key::of(deployment.as_ref()))
        .collect()
}

/// Only who replaces all pods at once waits for pods.
fn keys_of_pod(deployments: &Cache<Deployment>, sets: &Cache<ReplicaSet>, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let set = controller_of(&pod.metadata)
        .filter(|owner| owner.kind == "ReplicaSet")
        .and_then(|owner| sets.find(namespace, &owner.name));
    let key = set
        .as_deref()
        .and_then(|set| controller_of(&set.metadata))
        .filter(|owner| owner.kind == "Deployment")
        .map(|owner| Key::new(namespace, &owner.name));
    key.filter(|key| deployments.get(key).is_some_and(|found| plan::recreates(&found)))
        .into_iter()
        .collect()
}

fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

struct Keeper {
    clock: Clock,
    client: Client,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    events: Events,
}

impl Keeper {
    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(None) };
        let ending = deployment.metadata.deletion_timestamp.is_some();
        if !ending && !plan::selects_everything(&deployment) && !self.claim(&deployment).await? {
            return Ok(None);
        }
        let uid = deployment.metadata.uid.clone().unwrap_or_default();
        let sets: Vec<Arc<ReplicaSet>> = self
            .sets
            .by(&Index::CONTROLLER, &uid)
            .into_iter()
            .filter(|set| plan::selects(&deployment, set))
            .collect();
        let live = self.with_live_pods(&sets);
        let world = World { deployment: Arc::clone(&deployment), sets, live };
        let now = self.clock.now();
        let plan = plan::plan(&world, now);
        self.act(&world, &plan).await?;
        if let Some(status) = &plan.status {
            self.write_status(&deployment, status, plan.revision.as_deref()).await?;
        }
        Ok(plan.again_in)
    }

    /// Uids of sets that still have pods which have not finished.
    fn with_live_pods(&self, sets: &[Arc<ReplicaSet>]) -> BTreeSet<String> {
        let finished = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let live =
            |uid: &String| !self.pods.by(&Index::CONTROLLER, uid).iter().all(|p| finished(p));
        sets.iter().filter_map(|set| set.metadata.uid.clone()).filter(live).collect()
    }

    /// Takes over orphans that match, lets go of sets that match no more. Whether the Deployment itself, asked for
    /// anew before it takes anything, is still the one that is known.
    async fn claim(&self, deployment: &Deployment) -> Result<bool, kube::Error> {
        let key = Key::of(deployment);
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
        let lost = self.sets.by(&Index::CONTROLLER, uid);
        for set in lost.iter().filter(|set| !plan::selects(deployment, set)) {
            let patch = json!({"metadata": {"uid": set.metadata.uid,
                "ownerReferences": [{"$patch": "delete", "uid": uid}]}});
            patch_set(&api, set, &Patch::Strategic(patch)).await?;
        }
        let orphans: Vec<_> = self
            .sets
            .list_in(&key.namespace)
            .into_iter()
            .filter(|set| {
                controller_of(&set.metadata).is_none()
                    && set.metadata.deletion_timestamp.is_none()
                    && plan::selects(deployment, set)
            })
            .collect();
        if orphans.is_empty() {
            return Ok(true);
        }
        let now: Option<Deployment> =
            Api::namespaced(self.client.clone(), &key.namespace).get_opt(&key.name).await?;
        let same = now.is_some_and(|now| {
            now.metadata.uid.as_deref() == Some(uid) && now.metadata.deletion_timestamp.is_none()
        });
        if !same {
            return Ok(false);
        }
        for set in &orphans {
            let patch = json!({"metadata": {"uid": set.metadata.uid,
                "ownerReferences": [plan::owner(deployment)]}});
            patch_set(&api, set, &Patch::Strategic(patch)).await?;
        }
        Ok(true)
    }

    async fn act(&self, world: &World, plan: &Plan) -> Result<(), kube::Error> {
        let deployment = world.deployment.as_ref();
        if plan.selects_everything {
            let text = words::MESSAGE_SELECTING_ALL.to_owned();
            let reason = words::REASON_SELECTING_ALL;
            self.events.publish(Note::warning(reference(deployment), reason, text));
        }
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace);
        let mut marked = None;
        if let Some(mark) = &plan.mark {
            let patch = json!({
                "metadata": {
                    "resourceVersion": mark.set.metadata.resource_version,
                    "annotations": mark.annotations,
                },
                "spec": {"minReadySeconds": mark.min_ready_seconds},
            });
            let name = mark.set.metadata.name.as_deref().unwrap_or_default();
            let is = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            marked = is.metadata.uid.zip(is.metadata.resource_version);
        }
        if let Some(new) = &plan.make {
            self.make(world, &api, new).await?;
        }
        for resize in &plan.resize {
            // a set that was marked a moment ago has another version since
            let version =
                marked.as_ref().filter(|(uid, _)| resize.set.metadata.uid.as_ref() == Some(uid));
            let version = version.map(|(_, version)| version);
            self.resize(deployment, &api, resize, version).await?;
        }
        for set in &plan.delete {
            let preconditions = Preconditions {
                uid: set.metadata.uid.clone(),
                resource_version: set.metadata.resource_version.clone(),
            };
            let params =
                DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
            let name = set.metadata.name.as_deref().unwrap_or_default();
            crate::gone(api.delete(name, &params).await)?;
        }
        Ok(())
    }

    /// Makes the set. A name that is taken by something else is a collision: the next try hashes it in.
    async fn make(
        &self,
        world: &World,
        api: &Api<ReplicaSet>,
        new: &NewSet,
    ) -> Result<(), kube::Error> {
        let deployment = world.deployment.as_ref();
        let Err(error) = api.create(&PostParams::default(), &new.set).await else {
            self.tell_size(deployment, &new.name, 0, new.replicas);
            return Ok(());
        };
        let kube::Error::Api(status) = &error else { return Err(error) };
        let reasons = status.details.iter().flat_map(|details| &details.causes);
        if reasons.into_iter().any(|cause| cause.reason == "NamespaceTerminating") {
            return Err(error);
        }
        if status.code == 409 && status.reason == "AlreadyExists" {
            let found = api.get(&new.name).await?;
            if plan::is_same_set(deployment, &found) {
                return Ok(());
            }
            let mut collided = deployment.status.clone().unwrap_or_default();
            collided.collision_count =
                Some(collided.collision_count.unwrap_or(0).saturating_add(1));
            self.write_status(deployment, &collided, None).await?;
            return Err(error);
        }
        let text = format!("Failed to create new replica set {:?}: {}", new.name, status.message);
        let reason = words::REASON_SET_CREATE_ERROR;
        self.events.publish(Note::warning(reference(deployment), reason, text.clone()));
        if let Some(status) = plan::failed_to_make(deployment, &text, self.clock.now()) {
            self.write_status(deployment, &status, None).await?;
        }
        Err(error)
    }

    async fn resize(
        &self,
        deployment: &Deployment,
        api: &Api<ReplicaSet>,
        resize: &Resize,
        version: Option<&String>,
    ) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": {
                "resourceVersion": version.or(resize.set.metadata.resource_version.as_ref()),
                "annotations": resize.annotations,
            },
            "spec": {"replicas": resize.to},
        });
        let name = resize.set.metadata.name.as_deref().unwrap_or_default();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.tell_size(deployment, name, plan::size(&resize.set), resize.to);
        Ok(())
    }

    fn tell_size(&self, deployment: &Deployment, name: &str, from: i32, to: i32) {
        if from == to {
            return;
        }
        let way = if from < to { "up" } else { "down" };
        let text = format!("Scaled {way} replica set {name} from {from} to {to}");
        let reason = words::REASON_SCALING_SET;
        self.events.publish(Note::normal(reference(deployment), reason, text));
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: &DeploymentStatus,
        revision: Option<&str>,
    ) -> Result<(), kube::Error> {
        let mut changed = deployment.clone();
        changed.status = Some(status.clone());
        if let Some(revision) = revision {
            let annotations = changed.metadata.annotations.get_or_insert_default();
            annotations.insert(words::ANNOTATION_REVISION.to_owned(), revision.to_owned());
        }
        let key = Key::of(deployment);
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &key.namespace);
        crate::gone(api.replace_status(&key.name, &PostParams::default(), &changed).await)
    }
}

/// What went, or is another by now, is left alone.
async fn patch_set(
    api: &Api<ReplicaSet>,
    set: &ReplicaSet,
    patch: &Patch<serde_json::Value>,
) -> Result<(), kube::Error> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    match api.patch(name, &PatchParams::default(), patch).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(()),
        other => other.map(drop),
    }
}
