//! How many pods to make, and which to delete. Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Creates and deletes in one pass at the most (upstream's BurstReplicas).
pub(super) const BURST_MAX: usize = 500;
/// Pods are preferred for deletion by this annotation, lowest first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What is seen of one ReplicaSet.
#[derive(Debug)]
pub(super) struct World {
    /// The set.
    pub(super) set: Arc<ReplicaSet>,
    /// Pods that it controls and that its selector matches.
    pub(super) owned: Vec<Arc<Pod>>,
    /// Uids of pods whose deletion we asked for and have not seen yet.
    pub(super) deleting: BTreeSet<String>,
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Pods to make.
    pub(super) create: usize,
    /// Pods to delete, by name and uid.
    pub(super) delete: Vec<(String, String)>,
    /// When a pod becomes available if nothing happens.
    pub(super) again_in: Option<Duration>,
}

/// Decides the pods.
pub(super) fn plan(world: &World, now: Timestamp) -> Plan {
    let spec = &world.set.spec;
    let wanted = usize::try_from(spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)).unwrap_or(0);
    let active: Vec<&Arc<Pod>> =
        world.owned.iter().filter(|p| is_active(p, &world.deleting)).collect();
    let mut plan = Plan { again_in: next_available(&world.set, &active, now), ..Plan::default() };
    if active.len() < wanted {
        plan.create = (wanted - active.len()).min(BURST_MAX);
    } else {
        let excess = (active.len() - wanted).min(BURST_MAX);
        plan.delete = victims(&active).into_iter().take(excess).map(identity).collect();
    }
    plan
}

fn identity(pod: &Arc<Pod>) -> (String, String) {
    (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone().unwrap_or_default())
}

/// Neither finished nor under deletion.
fn is_active(pod: &Pod, deleting: &BTreeSet<String>) -> bool {
    !has_finished(pod)
        && pod.metadata.deletion_timestamp.is_none()
        && pod.metadata.uid.as_ref().is_none_or(|uid| !deleting.contains(uid))
}

fn has_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Pods in the order in which they are given up: unbound first, then not running, not ready, cheap, on a node with
/// many of them, ready for a short time, often restarted, young; the name decides at last.
fn victims<'a>(active: &[&'a Arc<Pod>]) -> Vec<&'a Arc<Pod>> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in active {
        if let Some(node) = node_of(pod) {
            *on_node.entry(node).or_default() += 1;
        }
    }
    let mut list: Vec<&Arc<Pod>> = active.to_vec();
    list.sort_by_key(|pod| {
        let phase = match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
            Some("Pending") | None => 0,
            Some("Unknown") => 1,
            Some(_) => 2,
        };
        let cost: i32 = pod
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(DELETION_COST)?.parse().ok())
            .unwrap_or(0);
        let crowd = node_of(pod).and_then(|n| on_node.get(n)).copied().unwrap_or(0);
        let ready = ready_since(pod);
        let restarts: i32 = pod
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten())
            .map(|c| c.restart_count)
            .max()
            .unwrap_or(0);
        (
            node_of(pod).is_some(),
            phase,
            ready.is_some(),
            cost,
            std::cmp::Reverse(crowd),
            std::cmp::Reverse(ready),
            std::cmp::Reverse(restarts),
            std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|t| t.0)),
            pod.metadata.name.clone(),
        )
    });
    list
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty())
}

/// `None` when not ready, else since when; unknown counts as long ago.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0))
}

fn min_ready(set: &ReplicaSet) -> Duration {
    let seconds = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// When a pod ready since then counts as available; past the end of time, at its end.
fn available_at(since: Timestamp, min_ready: Duration) -> Timestamp {
    since.checked_add(min_ready).unwrap_or(Timestamp::MAX)
}

fn is_available(pod: &Pod, min_ready: Duration, now: Timestamp) -> bool {
    ready_since(pod)
        .is_some_and(|since| min_ready.is_zero() || available_at(since, min_ready) <= now)
}

fn next_available(set: &ReplicaSet, active: &[&Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let min_ready = min_ready(set);
    let due = active
        .iter()
        .filter_map(|pod| Some(available_at(ready_since(pod)?, min_ready)))
        .filter(|at| *at > now)
        .min()?;
    Duration::try_from(due.duration_since(now)).ok()
}

/// The status that follows from what is seen; `failure` is the error of this pass' creates or deletes.
pub(super) fn status(
    world: &World,
    failure: Option<(&str, &str)>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let set = &world.set;
    let min_ready = min_ready(set);
    let template = set
        .spec
        .as_ref()
        .and_then(|s| s.template.as_ref()?.metadata.as_ref()?.labels.clone())
        .unwrap_or_default();
    let active: Vec<&Arc<Pod>> =
        world.owned.iter().filter(|p| is_active(p, &BTreeSet::new())).collect();
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let count = |holds: &dyn Fn(&Pod) -> bool| number(active.iter().filter(|p| holds(p)).count());
    let some = |n: i32| (n > 0).then_some(n);
    let is_going =
        |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !has_finished(pod);
    let labelled = |pod: &Pod| {
        template.iter().all(|(k, v)| pod.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v))
    };
    let old = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: some(count(&labelled)),
        ready_replicas: some(count(&|p| ready_since(p).is_some())),
        available_replicas: some(count(&|p| is_available(p, min_ready, now))),
        terminating_replicas: Some(number(world.owned.iter().filter(is_going).count())),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions, failure, now),
    }
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<(&str, &str)>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let known = old.iter().flatten().find(|c| c.type_ == "ReplicaFailure").cloned();
    let mut list: Vec<_> =
        old.into_iter().flatten().filter(|c| c.type_ != "ReplicaFailure").collect();
    if let Some((reason, message)) = failure {
        list.push(known.filter(|c| c.reason.as_deref() == Some(reason)).unwrap_or_else(|| {
            ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_transition_time: Some(Time(now)),
            }
        }));
    }
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(replicas: i32) -> Arc<ReplicaSet> {
        Arc::new(serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 2},
            "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}}},
        })).unwrap())
    }

    fn pod(name: &str, node: Option<&str>, phase: &str, ready: Option<&str>) -> Value {
        let conditions: Vec<Value> = ready
            .iter()
            .map(|at| json!({"type": "Ready", "status": "True", "lastTransitionTime": at}))
            .collect();
        json!({"metadata": {"name": name, "uid": name, "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase, "conditions": conditions}})
    }

    fn world(replicas: i32, pods: &[Value]) -> World {
        let owned =
            pods.iter().map(|p| Arc::new(serde_json::from_value(p.clone()).unwrap())).collect();
        World { set: set(replicas), owned, deleting: BTreeSet::new() }
    }

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn deleted(plan: &Plan) -> Vec<&str> {
        plan.delete.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn missing_pods_are_made_and_finished_ones_do_not_count() {
        let pods = [pod("a", Some("n"), "Running", None), pod("b", Some("n"), "Failed", None)];
        assert_eq!(plan(&world(3, &pods), now()).create, 2);
        assert_eq!(plan(&world(2000, &[]), now()).create, BURST_MAX);
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let pods = [
            pod("ready-long", Some("n1"), "Running", Some("2026-01-01T00:00:00Z")),
            pod("ready-short", Some("n2"), "Running", Some("2026-01-01T00:30:00Z")),
            pod("running", Some("n3"), "Running", None),
            pod("pending", Some("n4"), "Pending", None),
            pod("unbound", None, "Pending", None),
        ];
        assert_eq!(
            deleted(&plan(&world(0, &pods), now())),
            ["unbound", "pending", "running", "ready-short", "ready-long"]
        );
        assert_eq!(deleted(&plan(&world(4, &pods), now())), ["unbound"]);
    }

    #[test]
    fn a_pod_on_a_crowded_node_goes_before_a_lonely_one_unless_its_cost_is_high() {
        let at = Some("2026-01-01T00:00:00Z");
        let mut dear = pod("b", Some("n1"), "Running", at);
        dear["metadata"]["annotations"] = json!({DELETION_COST: "100"});
        let pods = [pod("a", Some("n1"), "Running", at), dear, pod("c", Some("n2"), "Running", at)];
        assert_eq!(deleted(&plan(&world(0, &pods), now())), ["a", "c", "b"]);
    }

    #[test]
    fn a_pod_whose_deletion_was_asked_for_is_not_deleted_twice() {
        let mut seen = world(0, &[pod("a", Some("n"), "Running", None)]);
        seen.deleting.insert("a".into());
        assert_eq!(plan(&seen, now()), Plan::default());
    }

    #[test]
    fn pods_on_their_way_out_are_counted_until_they_have_finished() {
        let mut going = pod("a", Some("n"), "Running", None);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T01:00:30Z");
        let mut gone = going.clone();
        gone["status"]["phase"] = json!("Failed");
        let count = |pods: &[Value]| status(&world(1, pods), None, now()).terminating_replicas;
        assert_eq!(count(&[going, gone, pod("b", None, "Pending", None)]), Some(1));
        assert_eq!(count(&[]), Some(0));
    }

    #[test]
    fn a_pod_ready_at_the_end_of_time_is_no_fault() {
        let seen = world(1, &[pod("a", Some("n"), "Running", Some("9999-12-30T22:00:00Z"))]);
        assert_eq!(status(&seen, None, now()).available_replicas, None);
        assert!(plan(&seen, now()).again_in.is_some());
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let seen = world(1, &[pod("a", Some("n"), "Running", Some("2026-01-01T00:59:55Z"))]);
        assert_eq!(status(&seen, None, now()).available_replicas, None);
        assert_eq!(status(&seen, None, now()).ready_replicas, Some(1));
        assert_eq!(plan(&seen, now()).again_in, Some(Duration::from_secs(5)));
        assert_eq!(status(&seen, None, now() + Duration::from_secs(5)).available_replicas, Some(1));
    }
}
