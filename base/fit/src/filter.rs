//! The scheduler's question, and the agent's before it starts a pod: may it run here, now, beside the
//! others?

use crate::demand::{Amounts, PODS};
use crate::place::{Wish, against_labels, against_name};
use crate::ports::{self, HostPort};
use crate::reason::{Reason, Reasons};
use crate::taint::{NO_SCHEDULE, against_taints, tolerates};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

/// Key of the taint that stands for `spec.unschedulable`.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// A pod that looks for a node; what is costly to work out is worked out once.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// Where it wants to be.
    pub wish: Wish<'a>,
    /// What it asks for.
    pub requested: Amounts,
    /// The host ports it takes.
    pub ports: Vec<HostPort>,
}

impl<'a> Incoming<'a> {
    /// From a pod's spec.
    pub fn of(spec: &'a PodSpec) -> Self {
        Self { wish: Wish::of(spec), requested: Amounts::requested(spec), ports: ports::of(spec) }
    }
}

/// What the pods of one node take together. Finished pods take nothing; terminating ones still count until
/// they are gone (spec C8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupied {
    requested: Amounts,
    pods: u64,
    ports: Vec<HostPort>,
}

impl Occupied {
    /// By these pods.
    pub fn by<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut all = Self::default();
        for pod in pods {
            all.add(pod);
        }
        all
    }

    /// Adds a pod; a finished one adds nothing.
    pub fn add(&mut self, pod: &Pod) {
        let Some(spec) = pod.spec.as_ref().filter(|_| !is_finished(pod)) else { return };
        self.requested.add(&Amounts::held(pod));
        self.pods += 1;
        self.ports.extend(ports::of(spec));
    }

    /// Takes away a pod that was added in the same state.
    pub fn remove(&mut self, pod: &Pod) {
        let Some(spec) = pod.spec.as_ref().filter(|_| !is_finished(pod)) else { return };
        self.requested.subtract(&Amounts::held(pod));
        self.pods = self.pods.saturating_sub(1);
        for port in ports::of(spec) {
            if let Some(at) = self.ports.iter().position(|held| *held == port) {
                self.ports.swap_remove(at);
            }
        }
    }

    /// How many pods.
    pub fn pods(&self) -> u64 {
        self.pods
    }

    /// What they ask for together.
    pub fn requested(&self) -> &Amounts {
        &self.requested
    }
}

/// Whether the pod's phase is final.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Reasons against the node. As upstream, the first question that fails answers alone, except that all
/// insufficient resources are named together (spec C6). Empty means that the pod may run there.
///
/// `allocatable` is [`Amounts::allocatable`] of the node, so that a snapshot works it out once.
pub fn filter(
    incoming: &Incoming<'_>,
    node: &Node,
    allocatable: &Amounts,
    occupied: &Occupied,
) -> Reasons {
    let wish = &incoming.wish;
    if let Some(reason) = against_cordon(wish, node).or_else(|| against_name(wish, node)) {
        return vec![reason];
    }
    let taints = against_taints(wish.tolerations, node);
    if !taints.is_empty() {
        return taints;
    }
    let labels = against_labels(wish, node);
    if !labels.is_empty() {
        return labels;
    }
    against_others(incoming, allocatable, occupied)
}

/// Reasons that lie in the other pods of the node alone: host ports first, then room (spec C6, C9).
pub fn against_others(
    incoming: &Incoming<'_>,
    allocatable: &Amounts,
    occupied: &Occupied,
) -> Reasons {
    let taken = incoming.ports.iter().find(|port| occupied.ports.iter().any(|o| o.conflicts(port)));
    if let Some(port) = taken {
        return vec![Reason::HostPort { protocol: port.protocol.clone(), port: port.port }];
    }
    against_room(&incoming.requested, allocatable, occupied)
}

/// `spec.unschedulable`, unless tolerated like its taint (spec C5).
pub fn against_cordon(wish: &Wish<'_>, node: &Node) -> Option<Reason> {
    if !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        return None;
    }
    let taint = Taint {
        key: UNSCHEDULABLE_TAINT.to_owned(),
        effect: NO_SCHEDULE.to_owned(),
        ..Taint::default()
    };
    let is_tolerated = wish.tolerations.iter().any(|t| tolerates(t, &taint));
    (!is_tolerated).then_some(Reason::Unschedulable)
}

/// Pod count, then each resource asked for; nothing asked always fits (spec C7).
pub fn against_room(requested: &Amounts, allocatable: &Amounts, occupied: &Occupied) -> Reasons {
    let mut reasons = Reasons::new();
    let pods_max = u64::try_from(allocatable.get(PODS) / 1000).unwrap_or(0);
    if occupied.pods + 1 > pods_max {
        reasons.push(Reason::TooManyPods { found: occupied.pods, max: pods_max });
    }
    for (resource, amount) in requested.iter().filter(|(_, amount)| *amount > 0) {
        let (used, has) = (occupied.requested.get(resource), allocatable.get(resource));
        if amount > has - used {
            reasons.push(Reason::Insufficient {
                resource: resource.to_owned(),
                requested: amount,
                used,
                allocatable: has,
            });
        }
    }
    reasons
}
