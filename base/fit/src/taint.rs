//! Taints and tolerations.

use crate::reason::{Reason, Reasons};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

/// New pods stay away.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// New pods stay away and old ones leave.
pub const NO_EXECUTE: &str = "NoExecute";

/// Whether one toleration covers one taint. `tolerationSeconds` is not consulted (spec B4). `Lt` and `Gt`
/// cover nothing: the server refuses them (spec A76).
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_wild = |field: &Option<String>| field.as_deref().unwrap_or_default().is_empty();
    if !is_wild(&toleration.effect) && toleration.effect.as_deref() != Some(&taint.effect) {
        return false;
    }
    if !is_wild(&toleration.key) && toleration.key.as_deref() != Some(&taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default()
        }
        "Exists" => true,
        _ => false,
    }
}

/// Taints of the node with effect NoSchedule or NoExecute that nothing tolerates; PreferNoSchedule never
/// matters (spec B4).
pub fn untolerated<'a>(
    tolerations: &'a [Toleration],
    node: &'a Node,
) -> impl Iterator<Item = &'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints
        .iter()
        .filter(|taint| taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE)
        .filter(move |taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

/// The same as reasons.
pub fn against_taints(tolerations: &[Toleration], node: &Node) -> Reasons {
    untolerated(tolerations, node)
        .map(|taint| Reason::Taint {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: taint.effect.clone(),
        })
        .collect()
}
