//! The DaemonSet's question: should a daemon run on this node?

use crate::place::{Wish, against_labels, against_name};
use crate::reason::{Reason, Reasons};
use crate::taint::{NO_EXECUTE, against_taints};
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

/// Upstream's two booleans (should run, should continue) have exactly these three meanings (spec B1–B3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// A pod belongs there.
    Fits,
    /// A pod that is there may stay, a new one is not placed.
    Stays(Reasons),
    /// No pod belongs there.
    Refused(Reasons),
}

impl Verdict {
    /// Whether the node counts as desired and gets a new pod.
    pub fn should_run(&self) -> bool {
        matches!(self, Self::Fits)
    }

    /// Whether a pod that is there may stay.
    pub fn should_continue(&self) -> bool {
        matches!(self, Self::Fits | Self::Stays(_))
    }

    /// The reasons against the node; none when it fits.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Fits => &[],
            Self::Stays(reasons) | Self::Refused(reasons) => reasons,
        }
    }
}

/// Judges a node for a daemon whose wish already carries the automatic tolerations.
///
/// Not consulted (spec B5): the Ready condition, `spec.unschedulable` (only its taint), free resources,
/// ports, volumes, affinity among pods, whether the node is being deleted.
pub fn judge(wish: &Wish<'_>, node: &Node) -> Verdict {
    let mut reasons: Reasons = against_name(wish, node).into_iter().collect();
    reasons.extend(against_labels(wish, node));
    if !reasons.is_empty() {
        return Verdict::Refused(reasons);
    }
    let reasons = against_taints(wish.tolerations, node);
    if reasons.is_empty() {
        return Verdict::Fits;
    }
    let evicts =
        |reason: &Reason| matches!(reason, Reason::Taint { effect, .. } if effect == NO_EXECUTE);
    if reasons.iter().any(evicts) { Verdict::Refused(reasons) } else { Verdict::Stays(reasons) }
}
