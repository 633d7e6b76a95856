//! What the scheduler does to the API: bind, tell, preempt.

use crate::plan::{Failure, Outlook};
use crate::words;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kit::{Clock, Events, Note, reference};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use std::sync::Arc;

/// The hand that writes.
#[derive(Clone)]
pub(crate) struct Hand {
    client: kube::Client,
    events: Events,
    clock: Clock,
}

/// Where a pod waits for room.
#[derive(Clone, Copy)]
enum Nominate<'a> {
    /// Where it did before.
    Same,
    Nowhere,
    To(&'a str),
}

/// How a request about a pod ended.
#[derive(Debug)]
pub(crate) enum Done {
    /// Bound; the watch will show it.
    Bound,
    /// Not bound: try again, unless it is gone or bound by somebody else.
    Unbound { pod: Arc<Pod>, lost: bool },
    /// Told that there is no node.
    Told,
}

impl Hand {
    pub(crate) fn new(client: kube::Client, events: Events, clock: Clock) -> Self {
        Self { client, events, clock }
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Binds a pod to a node.
    pub(crate) async fn bind(self, pod: Arc<Pod>, node: String) -> Done {
        let meta = &pod.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let post = PostParams::default();
        let bound = self
            .pods(&pod)
            .create_subresource::<Value, Value>("binding", name, &post, &binding)
            .await;
        match bound {
            Ok(_) => {
                let message = format!(
                    "Successfully assigned {}/{name} to {node}",
                    meta.namespace.as_deref().unwrap_or_default()
                );
                self.events.publish(
                    Note::normal(reference(pod.as_ref()), words::SCHEDULED, message)
                        .with_action(words::ACTION_BINDING),
                );
                Done::Bound
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                tracing::debug!(pod = name, %status, "not bound: the pod is gone or bound elsewhere");
                Done::Unbound { pod, lost: true }
            }
            Err(error) => {
                tracing::warn!(pod = name, node, %error, "not bound; trying again");
                self.tell(&pod, words::SCHEDULER_ERROR, &kit::words_of(&error), Nominate::Same)
                    .await;
                Done::Unbound { pod, lost: false }
            }
        }
    }

    /// Makes room, then tells that there is no node yet.
    pub(crate) async fn fail(self, pod: Arc<Pod>, failure: Failure) -> Done {
        let nominate = match &failure.outlook {
            Outlook::Same => Nominate::Same,
            Outlook::None => Nominate::Nowhere,
            Outlook::Room(room) => {
                for victim in &room.victims {
                    self.evict(victim, &pod, &room.node).await;
                }
                for other in &room.displaced {
                    self.patch_status(other, json!({"nominatedNodeName": null})).await;
                }
                Nominate::To(&room.node)
            }
        };
        self.tell(&pod, words::UNSCHEDULABLE, &failure.message, nominate).await;
        Done::Told
    }

    /// Says that gates are left; no event, as upstream.
    pub(crate) async fn gate(self, pod: Arc<Pod>) -> Done {
        self.condition(&pod, words::SCHEDULING_GATED, words::GATED_MESSAGE, Nominate::Same).await;
        Done::Told
    }

    async fn tell(&self, pod: &Pod, reason: &str, message: &str, nominate: Nominate<'_>) {
        self.events.publish(
            Note::warning(reference(pod), words::FAILED_SCHEDULING, message.to_owned())
                .with_action(words::ACTION_SCHEDULING),
        );
        self.condition(pod, reason, message, nominate).await;
    }

    /// Writes PodScheduled=False, if it says something new.
    async fn condition(&self, pod: &Pod, reason: &str, message: &str, nominate: Nominate<'_>) {
        let status = pod.status.as_ref();
        let mut conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
        let old = conditions.find(|condition| condition.type_ == words::POD_SCHEDULED);
        let said = old.is_some_and(|condition| {
            condition.status == "False"
                && condition.reason.as_deref() == Some(reason)
                && condition.message.as_deref() == Some(message)
        });
        let nominated = status.and_then(|status| status.nominated_node_name.as_deref());
        let nominate = match nominate {
            Nominate::Nowhere => nominated.map(|_| Value::Null),
            Nominate::To(node) if nominated != Some(node) => Some(json!(node)),
            Nominate::Same | Nominate::To(_) => None,
        };
        if said && nominate.is_none() {
            return;
        }
        let since = old.filter(|condition| condition.status == "False");
        let since = since.and_then(|condition| condition.last_transition_time.clone());
        let mut status = json!({"conditions": [{
            "type": words::POD_SCHEDULED, "status": "False", "reason": reason, "message": message,
            "lastTransitionTime": since.unwrap_or_else(|| Time(self.clock.now())),
            "observedGeneration": pod.metadata.generation,
        }]});
        if let Some(node) = nominate {
            status["nominatedNodeName"] = node;
        }
        self.patch_status(pod, status).await;
    }

    /// Takes a victim away (spec C35).
    async fn evict(&self, victim: &Pod, by: &Pod, node: &str) {
        if victim.metadata.deletion_timestamp.is_some() {
            return;
        }
        let uid = by.metadata.uid.as_deref().unwrap_or_default();
        let why = format!("{}: preempting to accommodate a higher priority pod", words::SCHEDULER);
        self.patch_status(
            victim,
            json!({"conditions": [{
                "type": words::DISRUPTION_TARGET, "status": "True",
                "reason": words::PREEMPTION_BY_SCHEDULER, "message": why,
                "lastTransitionTime": Time(self.clock.now()),
                "observedGeneration": victim.metadata.generation,
            }]}),
        )
        .await;
        let name = victim.metadata.name.as_deref().unwrap_or_default();
        let only = Preconditions { uid: victim.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        match self.pods(victim).delete(name, &params).await {
            Ok(_) => self.events.publish(
                Note::normal(
                    reference(victim),
                    words::PREEMPTED,
                    format!("Preempted by pod {uid} on node {node}"),
                )
                .with_action(words::ACTION_PREEMPTING)
                .with_related(reference(by)),
            ),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(pod = name, %error, "victim not deleted"),
        }
    }

    async fn patch_status(&self, pod: &Pod, status: Value) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let patch =
            Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
        match self.pods(pod).patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(pod = name, %error, "pod status not written"),
        }
    }
}
