//! What a quota counts, and its status. Pure.

use api::Quantity;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuota, ScopedResourceSelectorRequirement,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::BTreeMap;

/// Core kinds that may be counted by their plain plural.
const BY_PLURAL: [&str; 3] = ["configmaps", "replicationcontrollers", "secrets"];

/// What a name in `hard` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Pods,
    Services,
    Claims,
    /// Quotas themselves.
    Quotas,
    Objects {
        plural: String,
        group: String,
    },
    /// Nobody counts it; its usage stays unknown.
    Nothing,
}

pub(super) fn counted(name: &str) -> Counted {
    let objects =
        |plural: &str, group: &str| Counted::Objects { plural: plural.into(), group: group.into() };
    match name {
        "count/pods" | "pods" | "cpu" | "memory" | "ephemeral-storage" => Counted::Pods,
        "services" | "services.nodeports" | "services.loadbalancers" => Counted::Services,
        "count/persistentvolumeclaims" | "persistentvolumeclaims" | "requests.storage" => {
            Counted::Claims
        }
        "count/resourcequotas" | "resourcequotas" => Counted::Quotas,
        _ if super::usage::of_class(name).is_some() => Counted::Claims,
        _ if BY_PLURAL.contains(&name) => objects(name, ""),
        _ if name.starts_with("hugepages-") => Counted::Pods,
        _ => {
            if let Some(counted) = name.strip_prefix("count/") {
                let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
                return objects(plural, group);
            }
            let resource = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits."));
            let known = ["cpu", "memory", "ephemeral-storage"];
            match resource {
                Some(resource)
                    if known.contains(&resource)
                        || resource.contains('/')
                        || resource.starts_with("hugepages-") =>
                {
                    Counted::Pods
                }
                _ => Counted::Nothing,
            }
        }
    }
}

/// The quota with a status that is due, if it is not so already.
pub(super) fn status(
    quota: &ResourceQuota,
    counted: BTreeMap<String, Quantity>,
) -> Option<ResourceQuota> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let old = quota.status.clone().unwrap_or_default();
    // what nobody counts keeps what was said of it
    let mut used = old.used.clone().unwrap_or_default();
    used.retain(|name, _| hard.contains_key(name));
    used.extend(counted.into_iter().map(|(name, amount)| (name, Text(amount.to_string()))));
    if same(old.hard.as_ref(), &hard) && same(old.used.as_ref(), &used) {
        return None;
    }
    let mut changed = quota.clone();
    changed.status = Some(k8s_openapi::api::core::v1::ResourceQuotaStatus {
        hard: Some(hard),
        used: Some(used),
    });
    Some(changed)
}

/// Whether a change of the quota asks for a new count: it is new, says something else, or its status has yet to say so.
pub(super) fn is_due(old: Option<&ResourceQuota>, new: &ResourceQuota) -> bool {
    let Some(old) = old else { return true };
    let none = BTreeMap::new();
    let hard = new.spec.as_ref().and_then(|spec| spec.hard.as_ref()).unwrap_or(&none);
    let told = new.status.as_ref().and_then(|status| status.hard.as_ref()).unwrap_or(&none);
    // the same name with another uid is another quota
    old.metadata.uid != new.metadata.uid || old.spec != new.spec || !same(Some(told), hard)
}

/// Whether something in the quota has never been counted.
pub(super) fn is_first(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
    let counted = |name: &String| used.is_some_and(|used| used.contains_key(name));
    hard.is_some_and(|hard| !hard.keys().all(counted))
}

/// Whether both name the same amounts, however written.
fn same(a: Option<&BTreeMap<String, Text>>, b: &BTreeMap<String, Text>) -> bool {
    let amount = |text: &Text| Quantity::parse(&text.0).ok();
    a.is_some_and(|a| a.len() == b.len())
        && a.into_iter()
            .flatten()
            .all(|(name, text)| b.get(name).is_some_and(|other| amount(text) == amount(other)))
}

/// Whether the quota speaks of some pods only.
pub(super) fn is_scoped(quota: &ResourceQuota) -> bool {
    let Some(spec) = &quota.spec else { return false };
    let selected = spec.scope_selector.as_ref().and_then(|s| s.match_expressions.as_ref());
    spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty())
        || selected.is_some_and(|terms| !terms.is_empty())
}

/// Whether all scopes of the quota hold for the pod.
pub(super) fn in_scope(quota: &ResourceQuota, pod: &Pod) -> bool {
    scopes(quota).all(|scope| holds(&scope, pod))
}

/// Whether all scopes of the quota hold for the claim.
pub(super) fn has_claim(quota: &ResourceQuota, claim: &PersistentVolumeClaim) -> bool {
    scopes(quota).all(|scope| holds_for_claim(&scope, claim))
}

fn scopes(quota: &ResourceQuota) -> impl Iterator<Item = ScopedResourceSelectorRequirement> {
    let spec = quota.spec.as_ref();
    let plain = spec.and_then(|spec| spec.scopes.as_ref()).into_iter().flatten();
    let plain = plain.map(|scope| ScopedResourceSelectorRequirement {
        operator: "Exists".to_owned(),
        scope_name: scope.clone(),
        values: None,
    });
    let selected = spec.and_then(|spec| spec.scope_selector.as_ref());
    plain.chain(selected.into_iter().flat_map(|s| s.match_expressions.iter().flatten()).cloned())
}

/// Of all scopes only one speaks of claims.
fn holds_for_claim(
    scope: &ScopedResourceSelectorRequirement,
    claim: &PersistentVolumeClaim,
) -> bool {
    if scope.scope_name != "VolumeAttributesClass" {
        return false;
    }
    let status = claim.status.as_ref();
    let target = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|modify| modify.target_volume_attributes_class_name.as_ref());
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_ref());
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_ref());
    let classes: Vec<&String> =
        [wanted, current, target].into_iter().flatten().filter(|class| !class.is_empty()).collect();
    let listed = |class: &&String| scope.values.iter().flatten().any(|value| value == *class);
    match scope.operator.as_str() {
        "Exists" => !classes.is_empty(),
        "DoesNotExist" => classes.is_empty(),
        "In" => classes.iter().any(listed),
        "NotIn" => classes.is_empty() || !classes.iter().all(listed),
        _ => false,
    }
}

fn holds(scope: &ScopedResourceSelectorRequirement, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ends = spec.active_deadline_seconds.is_some();
    let best_effort = super::usage::is_best_effort(spec);
    match scope.scope_name.as_str() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        "PriorityClass" => {
            let class = spec.priority_class_name.as_deref().filter(|class| !class.is_empty());
            let listed = class
                .is_some_and(|class| scope.values.iter().flatten().any(|value| value == class));
            match scope.operator.as_str() {
                "Exists" => class.is_some(),
                "DoesNotExist" => class.is_none(),
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        }
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let near = affinity.and_then(|a| a.pod_affinity.as_ref()).map(|near| {
        (
            near.required_during_scheduling_ignored_during_execution.as_ref(),
            near.preferred_during_scheduling_ignored_during_execution.as_ref(),
        )
    });
    let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref()).map(|far| {
        (
            far.required_during_scheduling_ignored_during_execution.as_ref(),
            far.preferred_during_scheduling_ignored_during_execution.as_ref(),
        )
    });
    let crosses = |term: &PodAffinityTerm| {
        term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
            || term.namespace_selector.is_some()
    };
    [near, far].into_iter().flatten().any(|(required, preferred)| {
        required.into_iter().flatten().any(crosses)
            || preferred.into_iter().flatten().any(|term| crosses(&term.pod_affinity_term))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_say_what_is_counted() {
        for name in ["pods", "cpu", "limits.memory", "requests.example.com/x", "hugepages-2Mi"] {
            assert_eq!(counted(name), Counted::Pods, "{name}");
        }
        let objects = |plural: &str, group: &str| Counted::Objects {
            plural: plural.into(),
            group: group.into(),
        };
        assert_eq!(counted("count/daemonsets.apps"), objects("daemonsets", "apps"));
        assert_eq!(counted("count/configmaps"), objects("configmaps", ""));
        assert_eq!(counted("secrets"), objects("secrets", ""));
        assert_eq!(counted("services.nodeports"), Counted::Services);
        assert_eq!(counted("count/resourcequotas"), Counted::Quotas);
        let gold = "gold.storageclass.storage.k8s.io/requests.storage";
        for name in ["persistentvolumeclaims", "requests.storage", gold] {
            assert_eq!(counted(name), Counted::Claims, "{name}");
        }
        assert_eq!(counted("limits.nonsense"), Counted::Nothing);
    }

    #[test]
    fn a_charge_asks_for_no_new_count() {
        let quota = |hard: &str, told: Option<&str>, used: &str| -> ResourceQuota {
            let status = told.map(|told| json!({"hard": {"cpu": told}, "used": {"cpu": used}}));
            serde_json::from_value(json!({"metadata": {"name": "q", "uid": "u"},
                "spec": {"hard": {"cpu": hard}}, "status": status}))
            .unwrap()
        };
        let old = quota("2", Some("2000m"), "0");
        assert!(!is_due(Some(&old), &quota("2", Some("2000m"), "1")));
        assert!(is_due(Some(&old), &quota("3", Some("2000m"), "1")), "the spec changed");
        let old = quota("3", Some("2"), "0");
        assert!(is_due(Some(&old), &quota("3", Some("2"), "1")), "the status lags behind");
        assert!(is_due(Some(&old), &quota("3", None, "")), "the status is gone");
        assert!(is_due(None, &quota("2", Some("2"), "1")), "it is new");
        let mut other = quota("2", Some("2"), "1");
        other.metadata.uid = Some("v".to_owned());
        assert!(is_due(Some(&quota("2", Some("2"), "1")), &other), "it is another");
    }

    #[test]
    fn the_first_count_is_known_by_what_the_status_lacks() {
        let quota = |used: serde_json::Value| -> ResourceQuota {
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"hard": {"cpu": "2", "pods": "1"}},
                "status": {"used": used}}),
            )
            .unwrap()
        };
        assert!(is_first(&quota(json!(null))));
        assert!(is_first(&quota(json!({"cpu": "0"}))));
        assert!(!is_first(&quota(json!({"cpu": "0", "pods": "0"}))));
    }

    #[test]
    fn a_status_is_written_only_when_an_amount_differs() {
        let quota = |used: &str| -> ResourceQuota {
            serde_json::from_value(
                json!({"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "2"}},
                "status": {"hard": {"cpu": "2000m"}, "used": {"cpu": used}}}),
            )
            .unwrap()
        };
        let used = || BTreeMap::from([("cpu".to_owned(), Quantity::from_milli(500))]);
        assert_eq!(status(&quota("0.5"), used()), None);
        let changed = status(&quota("1"), used()).unwrap().status.unwrap();
        assert_eq!(changed.used.unwrap()["cpu"].0, "500m");
    }

    #[test]
    fn one_scope_chooses_claims() {
        let claim = |spec: serde_json::Value| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        let quota = |scope: &str, operator: &str, values: serde_json::Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {}, "spec": {"scopeSelector":
                {"matchExpressions": [
                    {"scopeName": scope, "operator": operator, "values": values}]}}}))
            .unwrap()
        };
        let (plain, gold) = (claim(json!({})), claim(json!({"volumeAttributesClassName": "gold"})));
        let class = "VolumeAttributesClass";
        assert!(has_claim(&quota(class, "In", json!(["gold"])), &gold));
        assert!(!has_claim(&quota(class, "In", json!(["gold"])), &plain));
        assert!(!has_claim(&quota(class, "Exists", json!(null)), &plain));
        assert!(has_claim(&quota(class, "NotIn", json!(["silver"])), &gold));
        assert!(!has_claim(&quota("BestEffort", "Exists", json!(null)), &plain));
    }

    #[test]
    fn scopes_choose_pods() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "containers": [{"name": "c"}], "priorityClassName": "high"}}))
        .unwrap();
        let quota = |spec: serde_json::Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        let by_class = |operator: &str, values: serde_json::Value| {
            quota(json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}))
        };
        assert!(in_scope(&quota(json!({})), &pod));
        assert!(in_scope(&quota(json!({"scopes": ["BestEffort", "NotTerminating"]})), &pod));
        assert!(!in_scope(&quota(json!({"scopes": ["NotBestEffort"]})), &pod));
        assert!(in_scope(&by_class("In", json!(["high"])), &pod));
        assert!(!in_scope(&by_class("NotIn", json!(["high"])), &pod));
        assert!(!in_scope(&by_class("DoesNotExist", json!(null)), &pod));
    }
}
