//! The kinds that keep a number of pods, as one.

use super::selects;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{
    ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus,
};
use k8s_openapi::api::core::v1::{
    ObjectReference, Pod, ReplicationController, ReplicationControllerCondition,
    ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use std::sync::Arc;

/// A kind that is kept as ReplicaSets are.
pub(super) trait Kind:
    kit::cache::Object + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize
{
    /// Its kind, in references to owners.
    const KIND: &'static str;
    /// Its version, in references to owners.
    const API_VERSION: &'static str;
    /// Upstream's name of its controller.
    const CONTROLLER: &'static str;
    /// Name of its queue.
    const QUEUE: &'static str;

    /// Whether its status has `terminatingReplicas`.
    const COUNTS_TERMINATING: bool;

    /// It as a ReplicaSet.
    fn view(this: &Arc<Self>) -> Arc<ReplicaSet>;
    /// Whether it selects the pod.
    fn selects(&self, pod: &Pod) -> bool;
    /// It with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;

    /// What events are about.
    fn reference(view: &ReplicaSet) -> ObjectReference {
        ObjectReference {
            kind: Some(Self::KIND.to_owned()),
            api_version: Some(Self::API_VERSION.to_owned()),
            ..kit::reference(view)
        }
    }
}

impl Kind for ReplicaSet {
    const KIND: &'static str = "ReplicaSet";
    const API_VERSION: &'static str = "apps/v1";
    const CONTROLLER: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";
    const COUNTS_TERMINATING: bool = true;

    fn view(this: &Arc<Self>) -> Arc<ReplicaSet> {
        Arc::clone(this)
    }

    fn selects(&self, pod: &Pod) -> bool {
        selects(self, pod)
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

impl Kind for ReplicationController {
    const KIND: &'static str = "ReplicationController";
    const API_VERSION: &'static str = "v1";
    const CONTROLLER: &'static str = "replication-controller";
    const QUEUE: &'static str = "replicationcontroller";
    const COUNTS_TERMINATING: bool = false;

    fn view(this: &Arc<Self>) -> Arc<ReplicaSet> {
        let spec = this.spec.clone().map(|spec| ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: spec.replicas,
            selector: LabelSelector { match_labels: spec.selector, match_expressions: None },
            template: spec.template,
        });
        let status = this.status.clone().map(|status| ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|list| list.into_iter().map(viewed).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            ..ReplicaSetStatus::default()
        });
        Arc::new(ReplicaSet { metadata: this.metadata.clone(), spec, status })
    }

    /// A selector that is not set selects nothing.
    fn selects(&self, pod: &Pod) -> bool {
        let Some(chosen) = self.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            return false;
        };
        let labels = pod.metadata.labels.as_ref();
        !chosen.is_empty()
            && chosen.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let status = ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|list| list.into_iter().map(own).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}

fn viewed(condition: ReplicationControllerCondition) -> ReplicaSetCondition {
    ReplicaSetCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status,
        type_: condition.type_,
    }
}

fn own(condition: ReplicaSetCondition) -> ReplicationControllerCondition {
    ReplicationControllerCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status,
        type_: condition.type_,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_controller_is_seen_as_a_set_and_gets_its_status_back() {
        let controller: ReplicationController = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 2, "selector": {"app": "web"}},
            "status": {"replicas": 1, "conditions": [{"type": "ReplicaFailure", "status": "True"}]},
        }))
        .unwrap();
        let controller = Arc::new(controller);
        let view = ReplicationController::view(&controller);
        assert_eq!(view.spec.as_ref().unwrap().replicas, Some(2));
        let back = controller.with_status(view.status.clone().unwrap());
        assert_eq!(back, *controller);
        let pod = |labels| serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap();
        assert!(controller.selects(&pod(json!({"app": "web", "x": "y"}))));
        assert!(!controller.selects(&pod(json!({"x": "y"}))));
        let about = ReplicationController::reference(&view);
        assert_eq!(about.kind.as_deref(), Some("ReplicationController"));
    }
}
