//! When a pod has to leave its node because of NoExecute taints (spec D10). Pure.

use fit::taint::{NO_EXECUTE, tolerates};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use std::time::Duration;

/// What is to happen to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may stay.
    Stay,
    /// It leaves, not before this moment.
    Leave(Timestamp),
}

/// Decides. `since`: when we first saw the pod beside these taints; taints that carry a time of their own count from
/// that, so that a restart of ours does not give time away.
pub(crate) fn plan(pod: &Pod, node: &Node, since: Timestamp) -> Fate {
    let tolerations =
        pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut leave: Option<Timestamp> = None;
    for taint in no_execute(node) {
        // as upstream, the first toleration that covers a taint speaks for it
        let Some(toleration) = tolerations.iter().find(|t| tolerates(t, taint)) else {
            return Fate::Leave(Timestamp::MIN);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let from = taint.time_added.as_ref().map_or(since, |time| time.0);
            let patience = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let at = from.checked_add(patience).unwrap_or(Timestamp::MAX);
            leave = Some(leave.map_or(at, |earlier| earlier.min(at)));
        }
    }
    leave.map_or(Fate::Stay, Fate::Leave)
}

/// The taints that drive pods away.
pub(crate) fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == NO_EXECUTE)
}

/// Whether a change of a pod can change its fate.
pub(crate) fn matters(old: &Pod, new: &Pod) -> bool {
    let view = |pod: &Pod| -> Option<(Option<String>, Option<Vec<Toleration>>)> {
        let spec = pod.spec.as_ref()?;
        Some((spec.node_name.clone(), spec.tolerations.clone()))
    };
    old.metadata.uid != new.metadata.uid || view(old) != view(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ADDED: &str = "2026-01-01T00:00:00Z";

    fn fate(taints: Value, tolerations: Value) -> Fate {
        let node =
            serde_json::from_value(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap();
        let pod = json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}});
        let pod = serde_json::from_value(pod).unwrap();
        plan(&pod, &node, at(1000))
    }

    fn at(seconds: u64) -> Timestamp {
        ADDED.parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_pod_leaves_by_what_it_tolerates() {
        let taint = json!([{"key": "a", "effect": "NoExecute", "timeAdded": ADDED}]);
        let old = json!([{"key": "a", "effect": "NoExecute"}]);
        let both = json!([{"key": "a", "effect": "NoExecute", "timeAdded": ADDED},
                          {"key": "b", "effect": "NoExecute", "timeAdded": ADDED}]);
        let exists = |key: &str, seconds: Option<u64>| {
            let mut toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            if let Some(seconds) = seconds {
                toleration["tolerationSeconds"] = json!(seconds);
            }
            toleration
        };
        let now = Fate::Leave(Timestamp::MIN);
        for (taints, tolerations, expected) in [
            (json!([]), json!([]), Fate::Stay),
            (json!([{"key": "a", "effect": "NoSchedule"}]), json!([]), Fate::Stay),
            (taint.clone(), json!([]), now),
            (taint.clone(), json!([exists("a", None)]), Fate::Stay),
            (taint.clone(), json!([exists("a", Some(300))]), Fate::Leave(at(300))),
            (old, json!([exists("a", Some(300))]), Fate::Leave(at(1300))),
            (both.clone(), json!([exists("a", None)]), now),
            (
                both.clone(),
                json!([exists("a", Some(30)), exists("b", Some(20))]),
                Fate::Leave(at(20)),
            ),
            (both.clone(), json!([exists("a", None), exists("b", Some(20))]), Fate::Leave(at(20))),
            (both, json!([{"operator": "Exists"}]), Fate::Stay),
            (taint, json!([exists("a", Some(0))]), Fate::Leave(at(0))),
        ] {
            assert_eq!(
                fate(taints.clone(), tolerations.clone()),
                expected,
                "{taints} {tolerations}"
            );
        }
    }
}
