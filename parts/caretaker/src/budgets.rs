//! Duty: how many pods each PodDisruptionBudget lets go at this moment.
//!
//! Upstream's controller: `disruption-controller`. Beside upstream, a percentage or a `maxUnavailable` works over the
//! pods of a DaemonSet: what is expected there is the number of nodes that should have one (spec C51).

mod plan;

use crate::{Options, words};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kit::{Cache, Clock, Events, Key, Note, Queue, QueueLimits, reference};
use kube::api::PostParams;
use kube::{Api, Client};
use plan::{Expected, Scale};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

struct Budgets {
    client: Client,
    clock: Clock,
    events: Events,
    budgets: Cache<PodDisruptionBudget>,
    pods: Cache<Pod>,
    daemons: Cache<DaemonSet>,
    replicas: Cache<ReplicaSet>,
    deployments: Cache<Deployment>,
    stateful: Cache<StatefulSet>,
    /// Whether DaemonSets have no scale here, as upstream.
    upstream: bool,
}

/// Starts the duty's tasks.
pub(crate) fn start(options: &Options) {
    let (setup, caches) = (&options.setup, &options.caches);
    let client = (options.client_for)(words::CONTROLLER_BUDGETS);
    let duty = Arc::new(Budgets {
        clock: setup.clock.clone(),
        events: Events::start(client.clone(), setup, words::COMPONENT_BUDGETS, ""),
        client,
        budgets: caches.of(),
        pods: caches.of(),
        daemons: caches.of(),
        replicas: caches.of(),
        deployments: caches.of(),
        stateful: caches.of(),
        upstream: options.upstream,
    });
    let queue: Queue<Key> = Queue::new("budgets", QueueLimits::default(), setup);
    let tasks = &setup.tasks;
    let keys = |budget: &PodDisruptionBudget| vec![Key::of(budget)];
    let feed = kit::feed(duty.budgets.clone(), queue.clone(), keys, Vec::new);
    tasks.spawn("budgets feed", feed);
    let budgets = duty.budgets.clone();
    let of_pod = move |pod: &Pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let all = budgets.list_in(namespace);
        let covering = all.iter().filter(|budget| plan::covers(budget, pod));
        covering.map(|budget| Key::of(budget.as_ref())).collect()
    };
    tasks.spawn("budgets pod feed", kit::feed(duty.pods.clone(), queue.clone(), of_pod, Vec::new));
    follow(options, "daemons", duty.daemons.clone(), &duty.budgets, &queue);
    follow(options, "replicas", duty.replicas.clone(), &duty.budgets, &queue);
    follow(options, "deployments", duty.deployments.clone(), &duty.budgets, &queue);
    follow(options, "stateful", duty.stateful.clone(), &duty.budgets, &queue);
    let work = kit::work(queue, move |key: Key| {
        let duty = Arc::clone(&duty);
        async move { duty.reconcile(&key).await }
    });
    tasks.spawn("budgets", work);
}

/// A controller that is scaled changes what the budgets of its namespace expect.
fn follow<K: kit::cache::Object>(
    options: &Options,
    name: &str,
    cache: Cache<K>,
    budgets: &Cache<PodDisruptionBudget>,
    queue: &Queue<Key>,
) {
    let budgets = budgets.clone();
    let keys = move |object: &K| {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        budgets.list_in(namespace).iter().map(|budget| Key::of(budget.as_ref())).collect()
    };
    let feed = kit::feed(cache, queue.clone(), keys, Vec::new);
    options.setup.tasks.spawn(format!("budgets {name}"), feed);
}

impl Budgets {
    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, kube::Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(None) };
        futures::join!(
            self.pods.synced(),
            self.daemons.synced(),
            self.replicas.synced(),
            self.deployments.synced(),
            self.stateful.synced()
        );
        let pods: Vec<Arc<Pod>> = self
            .pods
            .list_in(&key.namespace)
            .into_iter()
            .filter(|pod| plan::covers(&budget, pod))
            .collect();
        let now = self.clock.now();
        let expected = plan::expected(&budget, &pods, &self.scales(&key.namespace, &pods));
        self.tell(&budget, &pods, &expected);
        let (changed, again) = plan::status(&budget, &pods, &expected, now);
        self.tell_overdue(&budget, &pods, now);
        if let Some(changed) = changed {
            let api: Api<PodDisruptionBudget> =
                Api::namespaced(self.client.clone(), &key.namespace);
            let name = &key.name;
            crate::gone(api.replace_status(name, &PostParams::default(), &changed).await)?;
        }
        Ok(again)
    }

    /// The scale of every controller of these pods, by uid.
    fn scales(&self, namespace: &str, pods: &[Arc<Pod>]) -> BTreeMap<String, Scale> {
        let mut scales = BTreeMap::new();
        for pod in pods {
            let Some(owner) = plan::controller(&pod.metadata) else { continue };
            if !scales.contains_key(&owner.uid) {
                scales.insert(owner.uid.clone(), self.scale(namespace, owner));
            }
        }
        scales
    }

    fn scale(&self, namespace: &str, owner: &OwnerReference) -> Scale {
        let group = owner.api_version.split('/').next().unwrap_or_default();
        let count = |uid: Option<&String>, replicas: Option<i32>| match uid {
            Some(uid) if *uid == owner.uid => {
                Scale::Of { uid: uid.clone(), replicas: i64::from(replicas.unwrap_or(1)) }
            }
            // it is gone, or another of that name: its pods are nobody's
            _ => Scale::Gone,
        };
        match (group, owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let Some(set) = self.replicas.find(namespace, &owner.name) else {
                    return Scale::Gone;
                };
                let above = plan::controller(&set.metadata).filter(|o| o.kind == "Deployment");
                let above = above.and_then(|o| {
                    let found = self.deployments.find(namespace, &o.name)?;
                    (found.metadata.uid.as_ref() == Some(&o.uid)).then_some(found)
                });
                if let Some(above) = above {
                    let replicas = above.spec.as_ref().and_then(|spec| spec.replicas);
                    return Scale::Of {
                        uid: above.metadata.uid.clone().unwrap_or_default(),
                        replicas: i64::from(replicas.unwrap_or(1)),
                    };
                }
                let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
                count(set.metadata.uid.as_ref(), replicas)
            }
            ("apps", "StatefulSet") => {
                self.stateful.find(namespace, &owner.name).map_or(Scale::Gone, |set| {
                    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
                    count(set.metadata.uid.as_ref(), replicas)
                })
            }
            ("apps", "DaemonSet") if !self.upstream => {
                self.daemons.find(namespace, &owner.name).map_or(Scale::Gone, |set| {
                    let status = set.status.as_ref();
                    let desired = status.map_or(0, |status| status.desired_number_scheduled);
                    count(set.metadata.uid.as_ref(), Some(desired))
                })
            }
            _ => Scale::Unknown { resource: plan::resource_of(group, &owner.kind) },
        }
    }

    fn tell(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>], expected: &Expected) {
        let note = |warning: bool, reason, message: String| {
            let regarding = reference(budget);
            self.events.publish(if warning {
                Note::warning(regarding, reason, message)
            } else {
                Note::normal(regarding, reason, message)
            });
        };
        if pods.is_empty() {
            note(false, words::EVENT_NO_PODS, words::MESSAGE_NO_PODS.to_owned());
        }
        match expected {
            Expected::Count { unmanaged, .. } if *unmanaged > 0 => {
                let selector = plan::selector_text(budget);
                note(true, words::EVENT_UNMANAGED, words::unmanaged_pods(&selector));
            }
            Expected::Count { .. } => {}
            Expected::Failed(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                note(true, words::EVENT_NOT_COUNTED, message);
            }
        }
    }

    fn tell_overdue(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) {
        for pod in plan::overdue(budget, pods, now) {
            let (namespace, name) = (
                budget.metadata.namespace.as_deref().unwrap_or_default(),
                budget.metadata.name.as_deref().unwrap_or_default(),
            );
            let message =
                format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            self.events.publish(Note::warning(
                reference(pod.as_ref()),
                words::EVENT_NOT_DELETED,
                message,
            ));
        }
    }
}
