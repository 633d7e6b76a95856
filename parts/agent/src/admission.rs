//! Whether this node takes a pod that was bound to it (spec E1 to E3). Pure.

use fit::{Amounts, Incoming, Occupied, Reason};
use k8s_openapi::api::core::v1::{Node, Pod};

/// Why not: reason and message, as users see them. `others` are the pods that the node has taken.
pub(crate) fn refusal<'a>(
    pod: &Pod,
    node: &Node,
    others: impl IntoIterator<Item = &'a Pod>,
) -> Option<(String, String)> {
    let spec = pod.spec.as_ref()?;
    let node = as_the_node_judges(node);
    let occupied = Occupied::by(others);
    let allocatable = Amounts::allocatable(&node);
    let reason =
        fit::filter(&Incoming::of(spec), &node, &allocatable, &occupied).into_iter().next()?;
    let text = reason.text();
    let (name, message) = match &reason {
        Reason::Insufficient { resource, requested, used, allocatable } => {
            let unit = if resource == "cpu" { 1 } else { 1000 };
            let numbers = (requested / unit, used / unit, allocatable / unit);
            (format!("OutOf{resource}"), not_enough(resource, numbers))
        }
        Reason::TooManyPods { found, max } => {
            let numbers = (1, i128::from(*found), i128::from(*max));
            ("OutOfpods".to_owned(), not_enough("pods", numbers))
        }
        Reason::HostPort { .. } => predicate("NodePorts", &text),
        Reason::NodeName { .. } => predicate("NodeName", &text),
        Reason::NodeSelector { .. } | Reason::NodeAffinity => predicate("NodeAffinity", &text),
        Reason::Taint { .. } | Reason::Unschedulable => predicate("TaintToleration", &text),
    };
    Some((name, format!("Pod was rejected: {message}")))
}

fn not_enough(resource: &str, (requested, used, capacity): (i128, i128, i128)) -> String {
    format!(
        "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    )
}

fn predicate(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), format!("Predicate {name} failed: {text}"))
}

/// After binding, a cordon and NoSchedule taints no longer count; NoExecute ones do.
fn as_the_node_judges(node: &Node) -> Node {
    let mut node = node.clone();
    if let Some(spec) = &mut node.spec {
        spec.unschedulable = None;
        if let Some(taints) = &mut spec.taints {
            taints.retain(|taint| taint.effect == "NoExecute");
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(spec: serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"disk": "ssd"}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "2"}}
        }))
        .unwrap()
    }

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[test]
    fn refusals_read_as_upstreams() {
        let big =
            pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}));
        let (reason, message) = refusal(&big, &node(json!({})), []).unwrap();
        assert_eq!(reason, "OutOfcpu");
        assert_eq!(
            message,
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 0, capacity: 1000"
        );
        let other = pod(json!({"nodeSelector": {"disk": "hdd"}, "containers": []}));
        let (reason, message) = refusal(&other, &node(json!({})), []).unwrap();
        assert_eq!(reason, "NodeAffinity");
        assert_eq!(
            message,
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        );
    }

    #[test]
    fn a_cordon_and_no_schedule_do_not_matter_after_binding() {
        let taint = |effect: &str| json!({"unschedulable": true, "taints": [{"key": "a", "effect": effect}]});
        let plain = pod(json!({"containers": []}));
        assert_eq!(refusal(&plain, &node(taint("NoSchedule")), []), None);
        assert_eq!(refusal(&plain, &node(taint("NoExecute")), []).unwrap().0, "TaintToleration");
    }

    #[test]
    fn two_pods_cannot_have_one_host_port() {
        let ports = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let (one, two) = (pod(ports.clone()), pod(ports));
        assert_eq!(refusal(&one, &node(json!({})), [&two]).unwrap().0, "NodePorts");
    }
}
