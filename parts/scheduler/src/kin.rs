//! Whose like a pod is, by the Services that select it and the controller that owns it: what upstream spreads over hosts
//! and zones where the pod itself says nothing (PodTopologySpread's system defaults).

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, OwnerReference,
};
use kit::{Cache, Caches};
use std::collections::BTreeMap;

/// Where Services and controllers are looked up.
#[derive(Clone, Debug)]
pub(crate) struct Kin {
    pub(crate) services: Cache<Service>,
    pub(crate) replica_sets: Cache<ReplicaSet>,
    pub(crate) stateful_sets: Cache<StatefulSet>,
    pub(crate) controllers: Cache<ReplicationController>,
}

impl Kin {
    pub(crate) fn new(caches: &Caches) -> Self {
        Self {
            services: caches.of(),
            replica_sets: caches.of(),
            stateful_sets: caches.of(),
            controllers: caches.of(),
        }
    }

    pub(crate) async fn synced(&self) {
        self.services.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
        self.controllers.synced().await;
    }

    /// Selects the pod's like; `None` for a pod of no Service and no controller of these kinds, as those of DaemonSets.
    pub(crate) fn selector(&self, pod: &Pod) -> Option<LabelSelector> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let mut all = BTreeMap::new();
        for service in self.services.list_in(namespace) {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let Some(selector) = selector else { continue };
            if selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
                all.extend(selector.clone());
            }
        }
        let mut required = Vec::new();
        let owners = pod.metadata.owner_references.iter().flatten();
        if let Some(owner) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
            let owned = self.owned(namespace, owner).unwrap_or_default();
            all.extend(owned.match_labels.unwrap_or_default());
            required = owned.match_expressions.unwrap_or_default();
        }
        (!all.is_empty() || !required.is_empty())
            .then_some(LabelSelector { match_labels: Some(all), match_expressions: Some(required) })
    }

    /// What the owner selects. The labels of a ReplicationController count as those of Services do; other owners' are
    /// required beside them.
    fn owned(&self, namespace: &str, owner: &OwnerReference) -> Option<LabelSelector> {
        let name = owner.name.as_str();
        let selector = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                let labels = self.controllers.find(namespace, name)?.spec.clone()?.selector;
                return Some(LabelSelector { match_labels: labels, match_expressions: None });
            }
            ("apps/v1", "ReplicaSet") => {
                self.replica_sets.find(namespace, name)?.spec.as_ref()?.selector.clone()
            }
            ("apps/v1", "StatefulSet") => {
                self.stateful_sets.find(namespace, name)?.spec.as_ref()?.selector.clone()
            }
            _ => return None,
        };
        let labels = selector.match_labels.into_iter().flatten().map(|(key, value)| {
            let values = Some(vec![value]);
            LabelSelectorRequirement { key, operator: "In".to_owned(), values }
        });
        let required = labels.chain(selector.match_expressions.into_iter().flatten()).collect();
        Some(LabelSelector { match_labels: None, match_expressions: Some(required) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::{Clock, Setup};
    use serde_json::{Value, json};

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn pod(owner: Option<(&str, &str)>) -> Pod {
        let owner = owner.map(|(version, kind)| {
            json!([{"apiVersion": version, "kind": kind, "name": "o", "uid": "u", "controller": true}])
        });
        read(
            json!({"metadata": {"name": "p", "namespace": "d", "labels": {"app": "x", "tier": "web"},
                                 "ownerReferences": owner}}),
        )
    }

    #[test]
    fn a_pods_like_are_those_of_its_services_and_of_its_controller() {
        let setup = Setup::new(Clock::starting_at(jiff::Timestamp::UNIX_EPOCH), 0);
        let service = |namespace: &str, name: &str, selector: Value| {
            let meta = json!({"name": name, "namespace": namespace});
            read::<Service>(json!({"metadata": meta, "spec": {"selector": selector}}))
        };
        let set = json!({"metadata": {"name": "o", "namespace": "d"}, "spec": {
            "selector": {"matchLabels": {"app": "x"},
                         "matchExpressions": [{"key": "tier", "operator": "Exists"}]},
            "template": {"metadata": {}}, "serviceName": "s"}});
        let of_labels = json!({"metadata": {"name": "o", "namespace": "d"}, "spec": {"selector": {"app": "x"}}});
        let kin = |services: Vec<Service>| Kin {
            services: Cache::fixed(&setup, services),
            replica_sets: Cache::fixed(&setup, [read(set.clone())]),
            stateful_sets: Cache::fixed(&setup, [read(set.clone())]),
            controllers: Cache::fixed(&setup, [read(of_labels.clone())]),
        };
        let alone = kin(vec![
            service("d", "others", json!({"app": "y"})),
            service("d", "none", Value::Null),
            service("e", "elsewhere", json!({"app": "x"})),
        ]);
        assert_eq!(alone.selector(&pod(None)), None);
        assert_eq!(alone.selector(&pod(Some(("apps/v1", "DaemonSet")))), None);
        let app = json!({"matchLabels": {"app": "x"}, "matchExpressions": []});
        let by_set = json!({"matchLabels": {}, "matchExpressions": [
            {"key": "app", "operator": "In", "values": ["x"]}, {"key": "tier", "operator": "Exists"}]});
        for (owner, wanted) in [
            (("v1", "ReplicationController"), &app),
            (("apps/v1", "ReplicaSet"), &by_set),
            (("apps/v1", "StatefulSet"), &by_set),
        ] {
            assert_eq!(alone.selector(&pod(Some(owner))), Some(read(wanted.clone())), "{owner:?}");
        }
        let served = kin(vec![service("d", "mine", json!({"app": "x"}))]);
        assert_eq!(served.selector(&pod(Some(("apps/v1", "DaemonSet")))), Some(read(app)));
    }
}
