//! Nodes that are down.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

/// The taint that an administrator puts on a node that will not come back by itself.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A node that is not ready, or out of service. (A cordoned one is not down.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Since when, if it says so.
    pub since: Option<Timestamp>,
}

impl Down {
    /// Whether a node is down.
    pub fn of(node: &Node) -> Option<Self> {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.and_then(|all| all.iter().find(|c| c.type_ == "Ready"));
        if let Some(ready) = ready.filter(|ready| ready.status != "True") {
            return Some(Self { since: ready.last_transition_time.as_ref().map(|time| time.0) });
        }
        let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let taint = taints.find(|taint| taint.key == OUT_OF_SERVICE)?;
        Some(Self { since: taint.time_added.as_ref().map(|time| time.0) })
    }
}
