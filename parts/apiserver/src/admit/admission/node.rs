//! New nodes start tainted (spec A92), and pods put up with a lost node for a while (spec B13).

use crate::admit::json::{Json, JsonMut};
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Seconds a pod stays on a node that is not ready or not reachable, unless it says otherwise.
const PATIENCE_SECONDS: i64 = 300;

/// Taints a new node until its conditions are known.
pub(super) fn taint(node: &mut Value) {
    let mut taints = node.at("spec").list("taints").to_vec();
    let tainted = taints
        .iter()
        .any(|taint| taint.text("key") == NOT_READY && taint.text("effect") == "NoSchedule");
    if !tainted {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        node.object("spec").set("taints", taints);
    }
}

/// Adds tolerations for lost nodes where the pod has none.
pub(super) fn tolerate_for_a_while(pod: &mut Value) {
    let mut tolerations = pod.at("spec").list("tolerations").to_vec();
    let before = tolerations.len();
    for key in [NOT_READY, UNREACHABLE] {
        let tolerated = tolerations[..before].iter().any(|toleration| {
            (toleration.text("key").is_empty() || toleration.text("key") == key)
                && matches!(toleration.text("effect"), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": PATIENCE_SECONDS,
            }));
        }
    }
    if tolerations.len() > before {
        pod.object("spec").set("tolerations", tolerations);
    }
}
