//! Whether this node takes a pod that was bound to it (spec E1 to E3). Pure.

use crate::words;
use fit::{Amounts, Incoming, Occupied, Reason};
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Node, Pod, PodSpec};

pub(crate) mod sysctls;

/// Label of nodes, and of pods that are made for one system.
const OS_LABEL: &str = "kubernetes.io/os";

/// Why not: reason and message, as users see them. `others` are the pods that the node has taken.
pub(crate) fn refusal<'a>(
    pod: &Pod,
    node: &Node,
    others: impl IntoIterator<Item = &'a Pod>,
) -> Option<(String, String)> {
    let spec = pod.spec.as_ref()?;
    if let Some(refusal) = other_system(pod) {
        return Some(refusal);
    }
    if let Some(refusal) = strict_groups(spec) {
        return Some(refusal);
    }
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
        // asked by schedulers alone
        Reason::PodAffinity | Reason::PodAntiAffinity | Reason::OthersAntiAffinity => {
            predicate("InterPodAffinity", &text)
        }
        Reason::TopologySpread { .. } | Reason::TopologyLabel { .. } => {
            predicate("PodTopologySpread", &text)
        }
    };
    Some((name, format!("Pod was rejected: {message}")))
}

/// A pod that says it is made for another operating system, by its field or by its label.
fn other_system(pod: &Pod) -> Option<(String, String)> {
    let is_other = |name: &str| name != "linux";
    let refused = |reason: &str, what: &str| {
        Some((reason.to_owned(), format!("Pod was rejected: Failed to admit pod as the {what}")))
    };
    let field = pod.spec.as_ref().and_then(|spec| spec.os.as_ref());
    if field.is_some_and(|os| is_other(&os.name)) {
        return refused("PodOSNotSupported", "OS field doesn't match node OS");
    }
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS_LABEL));
    if label.is_some_and(|os| is_other(os)) {
        let what = "`kubernetes.io/os` label doesn't match node label";
        return refused("PodOSSelectorNodeLabelDoesNotMatch", what);
    }
    None
}

/// A pod whose processes may have no groups but those that it names: the runtime is not told so, and would give them the
/// image's, too.
fn strict_groups(spec: &PodSpec) -> Option<(String, String)> {
    let security = spec.security_context.as_ref()?;
    (security.supplemental_groups_policy.as_deref() == Some("Strict")).then(|| {
        let text =
            "Pod was rejected: SupplementalGroupsPolicy=Strict is not supported in this node";
        ("SupplementalGroupsPolicyNotSupported".to_owned(), text.to_owned())
    })
}

/// The profile of AppArmor that a container asks for: its own, the pod's, or the one of the old annotation.
pub(crate) fn apparmor(pod: &Pod, container: &Container) -> Option<AppArmorProfile> {
    let own = container.security_context.as_ref().and_then(|own| own.app_armor_profile.clone());
    let common = || pod.spec.as_ref()?.security_context.as_ref()?.app_armor_profile.clone();
    let noted = || {
        let key = format!("{}{}", words::APPARMOR_ANNOTATION, container.name);
        let text = pod.metadata.annotations.as_ref()?.get(&key)?;
        let profile = |type_: &str, name: Option<&str>| AppArmorProfile {
            type_: type_.to_owned(),
            localhost_profile: name.map(str::to_owned),
        };
        match text.as_str() {
            "runtime/default" => Some(profile("RuntimeDefault", None)),
            "unconfined" => Some(profile("Unconfined", None)),
            other => Some(profile("Localhost", Some(other.strip_prefix("localhost/")?))),
        }
    };
    own.or_else(common).or_else(noted)
}

/// Refuses a pod that asks for AppArmor where the kernel has none.
pub(crate) fn without_apparmor(pod: &Pod) -> Option<(String, String)> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let is_wanted =
        |one: &Container| apparmor(pod, one).is_some_and(|profile| profile.type_ != "Unconfined");
    all.any(is_wanted).then(|| {
        let text = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        ("AppArmor".to_owned(), text.to_owned())
    })
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
    fn apparmor_is_refused_where_there_is_none_unless_it_is_unconfined() {
        let own = |kind: &str| {
            let security = json!({"appArmorProfile": {"type": kind}});
            pod(json!({"containers": [{"name": "c", "securityContext": security}]}))
        };
        let text = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        let refused = Some(("AppArmor".to_owned(), text.to_owned()));
        assert_eq!(without_apparmor(&own("RuntimeDefault")), refused);
        assert_eq!(without_apparmor(&own("Unconfined")), None);
        let mut noted = pod(json!({"containers": [{"name": "c"}]}));
        assert_eq!(without_apparmor(&noted), None);
        let key = format!("{}c", words::APPARMOR_ANNOTATION);
        noted.metadata.annotations = Some([(key, "localhost/mine".to_owned())].into());
        assert_eq!(without_apparmor(&noted), refused);
    }

    #[test]
    fn a_pod_that_wants_no_groups_of_its_image_is_refused() {
        let own = |policy: &str| {
            pod(json!({"containers": [], "securityContext": {"supplementalGroupsPolicy": policy}}))
        };
        let (reason, _) = refusal(&own("Strict"), &node(json!({})), []).unwrap();
        assert_eq!(words::rejection_event(&reason), "SupplementalGroupsPolicyNotSupported");
        assert_eq!(refusal(&own("Merge"), &node(json!({})), []), None);
    }

    #[test]
    fn a_pod_for_another_system_is_refused() {
        let mut other = pod(json!({"os": {"name": "windows"}, "containers": []}));
        let (reason, message) = refusal(&other, &node(json!({})), []).unwrap();
        assert_eq!(reason, "PodOSNotSupported");
        assert!(message.ends_with("Failed to admit pod as the OS field doesn't match node OS"));
        other.spec.as_mut().unwrap().os.as_mut().unwrap().name = "linux".to_owned();
        assert_eq!(refusal(&other, &node(json!({})), []), None);
        other.metadata.labels = Some([(OS_LABEL.to_owned(), "windows".to_owned())].into());
        let (reason, _) = refusal(&other, &node(json!({})), []).unwrap();
        assert_eq!(reason, "PodOSSelectorNodeLabelDoesNotMatch");
    }

    #[test]
    fn two_pods_cannot_have_one_host_port() {
        let ports = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        let (one, two) = (pod(ports.clone()), pod(ports));
        assert_eq!(refusal(&one, &node(json!({})), [&two]).unwrap().0, "NodePorts");
    }
}
