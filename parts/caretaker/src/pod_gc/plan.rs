//! Which pods to remove, and why. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A node must be missing for so long before its pods go, so that a node object that is made anew at once keeps them
/// (spec 4.3, upstream's quarantineTime).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Finished pods kept at the most (spec D20).
const TERMINAL_MAX: usize = 12_500;

/// What is seen.
#[derive(Debug)]
pub(super) struct World {
    /// All pods.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The nodes there are.
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    /// Since when nodes that pods name were seen to be missing.
    pub(super) missing_since: BTreeMap<String, Timestamp>,
}

/// What matters about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeFacts {
    ready: bool,
    out_of_service: bool,
}

impl NodeFacts {
    /// A node's name and facts.
    pub(super) fn of(node: &Node) -> Option<(String, Self)> {
        let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let ready = conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True");
        let mut taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
        let out_of_service = taints.any(|t| t.key == "node.kubernetes.io/out-of-service");
        Some((node.metadata.name.clone()?, Self { ready, out_of_service }))
    }
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Pods to remove, in the order of the world's pods.
    pub(super) actions: Vec<Action>,
    /// To be handed into the next pass.
    pub(super) missing_since: BTreeMap<String, Timestamp>,
    /// When a quarantine ends, if one is running.
    pub(super) again_in: Option<Duration>,
}

/// One pod to remove at once.
#[derive(Debug)]
pub(super) struct Action {
    /// The pod.
    pub(super) pod: Arc<Pod>,
    /// Why.
    pub(super) why: Why,
}

/// Why a pod is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its node is gone; asked for live before acting.
    NodeGone(String),
    /// It was deleted before it was bound.
    NeverBound,
    /// Its node is out of service and not ready, and it was deleted.
    OutOfService,
    /// Too many finished pods; this is one of the oldest.
    TooManyFinished,
}

/// Whether a change of this pod may call for a pass before the next regular one.
pub(super) fn wants_a_look(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && node_of(pod).is_none()
}

/// Decides; `now` is the time of the world.
pub(super) fn plan(world: World, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut finished: Vec<&Arc<Pod>> = Vec::new();
    for pod in &world.pods {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        match node_of(pod) {
            None if deleted => plan.remove(pod, Why::NeverBound),
            None => {}
            Some(node) => match world.nodes.get(node) {
                None => {
                    let since = *world.missing_since.get(node).unwrap_or(&now);
                    plan.missing_since.insert(node.to_owned(), since);
                    let left = remaining(since, now);
                    if left.is_zero() {
                        plan.remove(pod, Why::NodeGone(node.to_owned()));
                    } else {
                        plan.again_in = Some(plan.again_in.map_or(left, |known| known.min(left)));
                    }
                    continue;
                }
                Some(facts) if deleted && facts.out_of_service && !facts.ready => {
                    plan.remove(pod, Why::OutOfService);
                    continue;
                }
                Some(_) => {}
            },
        }
        if is_finished(pod) && !deleted {
            finished.push(pod);
        }
    }
    let excess = finished.len().saturating_sub(TERMINAL_MAX);
    if excess > 0 {
        finished.sort_by_key(|pod| {
            (pod.metadata.creation_timestamp.as_ref().map(|t| t.0), pod.metadata.name.clone())
        });
        for pod in finished.into_iter().take(excess) {
            plan.remove(pod, Why::TooManyFinished);
        }
    }
    plan
}

impl Plan {
    fn remove(&mut self, pod: &Arc<Pod>, why: Why) {
        self.actions.push(Action { pod: Arc::clone(pod), why });
    }
}

fn remaining(since: Timestamp, now: Timestamp) -> Duration {
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    QUARANTINE.saturating_sub(waited)
}

/// Whether a pod's phase is final.
pub(super) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: Option<&str>, phase: &str, deleted: bool) -> Arc<Pod> {
        let deleted = deleted.then_some("2026-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default", "deletionTimestamp": deleted},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    fn world(pods: Vec<Arc<Pod>>, nodes: &[(&str, bool, bool)]) -> World {
        let nodes = nodes.iter().map(|(name, ready, out_of_service)| {
            ((*name).to_owned(), NodeFacts { ready: *ready, out_of_service: *out_of_service })
        });
        World { pods, nodes: nodes.collect(), missing_since: BTreeMap::new() }
    }

    fn reasons(plan: &Plan) -> Vec<(String, Why)> {
        plan.actions.iter().map(|a| (a.pod.metadata.name.clone().unwrap(), a.why.clone())).collect()
    }

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn pods_of_a_missing_node_go_after_the_quarantine_and_not_before() {
        let pods =
            vec![pod("a", Some("n1"), "Running", false), pod("b", Some("n2"), "Running", false)];
        let first = plan(world(pods.clone(), &[("n2", true, false)]), start());
        assert!(first.actions.is_empty());
        assert_eq!(first.again_in, Some(QUARANTINE));
        let mut later = world(pods.clone(), &[("n2", true, false)]);
        later.missing_since = first.missing_since.clone();
        let early = plan(later, start() + Duration::from_secs(39));
        assert!(early.actions.is_empty());
        let mut later = world(pods, &[("n2", true, false)]);
        later.missing_since = first.missing_since;
        let second = plan(later, start() + QUARANTINE);
        assert_eq!(reasons(&second), [("a".to_owned(), Why::NodeGone("n1".into()))]);
    }

    #[test]
    fn a_node_that_returns_ends_its_quarantine() {
        let pods = vec![pod("a", Some("n1"), "Running", false)];
        let first = plan(world(pods.clone(), &[]), start());
        let mut back = world(pods, &[("n1", true, false)]);
        back.missing_since = first.missing_since;
        let second = plan(back, start() + QUARANTINE);
        assert!(second.actions.is_empty() && second.missing_since.is_empty());
    }

    #[test]
    fn a_deleted_pod_that_was_never_bound_goes_at_once() {
        let pods = vec![pod("a", None, "Pending", true), pod("b", None, "Pending", false)];
        assert_eq!(reasons(&plan(world(pods, &[]), start())), [("a".to_owned(), Why::NeverBound)]);
    }

    #[test]
    fn out_of_service_counts_only_for_deleted_pods_of_unready_nodes() {
        let pods = vec![
            pod("a", Some("n1"), "Running", true),
            pod("b", Some("n1"), "Running", false),
            pod("c", Some("n2"), "Running", true),
        ];
        let seen = plan(world(pods, &[("n1", false, true), ("n2", true, true)]), start());
        assert_eq!(reasons(&seen), [("a".to_owned(), Why::OutOfService)]);
    }

    #[test]
    fn only_finished_pods_beyond_the_bound_go() {
        let pods: Vec<_> = (0..TERMINAL_MAX + 3)
            .map(|i| pod(&format!("p{i:06}"), Some("n1"), "Succeeded", false))
            .collect();
        let seen = plan(world(pods, &[("n1", true, false)]), start());
        let names: Vec<String> = reasons(&seen).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["p000000", "p000001", "p000002"]);
    }
}
