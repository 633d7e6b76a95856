//! Why a pod may not run on a node, in upstream's words and in ours.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Text of [`Reason::NodeName`].
pub const NODE_NAME: &str = "node(s) didn't match the requested node name";
/// Text of [`Reason::NodeSelector`] and [`Reason::NodeAffinity`].
pub const NODE_AFFINITY: &str = "node(s) didn't match Pod's node affinity/selector";
/// Text of [`Reason::Taint`] (spec C4).
pub const TAINT: &str = "node(s) had untolerated taint(s)";
/// Text of [`Reason::Unschedulable`].
pub const UNSCHEDULABLE: &str = "node(s) were unschedulable";
/// Text of [`Reason::TooManyPods`] (spec C6).
pub const TOO_MANY_PODS: &str = "Too many pods";
/// Text of [`Reason::HostPort`] (spec C9).
pub const HOST_PORT: &str = "node(s) didn't have free ports for the requested pod ports";
/// Text of [`Reason::PodAffinity`] (spec C10).
pub const POD_AFFINITY: &str = "node(s) didn't match pod affinity rules";
/// Text of [`Reason::PodAntiAffinity`].
pub const POD_ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
/// Text of [`Reason::OthersAntiAffinity`].
pub const OTHERS_ANTI_AFFINITY: &str = "node(s) didn't satisfy existing pods anti-affinity rules";
/// Text of [`Reason::TopologySpread`].
pub const TOPOLOGY_SPREAD: &str = "node(s) didn't match pod topology spread constraints";
/// Text of [`Reason::TopologyLabel`].
pub const TOPOLOGY_LABEL: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";
/// What upstream says about every node left out by a pin to node names (spec C1).
pub const NOT_PINNED: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
/// What upstream says about a node whose failure preemption could have mended, but nobody could go.
pub const NO_VICTIMS: &str = "No preemption victims found for incoming pod";
/// What upstream says about a node whose failure preemption cannot mend.
pub const PREEMPTION_NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";

/// One reason against a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reason {
    /// The pod asks for another node by name.
    NodeName {
        /// The node it asks for.
        wanted: String,
    },
    /// A label of `nodeSelector` is absent or has another value.
    NodeSelector {
        /// Label key.
        key: String,
        /// Value asked for.
        wanted: String,
        /// Value found.
        found: Option<String>,
    },
    /// No term of the required node affinity matches.
    NodeAffinity,
    /// A taint with effect NoSchedule or NoExecute is not tolerated.
    Taint {
        /// Taint key.
        key: String,
        /// Taint value.
        value: String,
        /// Taint effect.
        effect: String,
    },
    /// `spec.unschedulable` is set and not tolerated (spec C5).
    Unschedulable,
    /// The node holds as many pods as it may.
    TooManyPods {
        /// Pods there.
        found: u64,
        /// Pods allowed.
        max: u64,
    },
    /// A resource does not suffice.
    Insufficient {
        /// Resource name.
        resource: String,
        /// What the pod asks for, in thousandths.
        requested: i128,
        /// What is taken already, in thousandths.
        used: i128,
        /// What the node has for pods, in thousandths.
        allocatable: i128,
    },
    /// A host port is taken.
    HostPort {
        /// Protocol.
        protocol: String,
        /// Port.
        port: i32,
    },
    /// Nobody whom the pod must be near is in the node's place.
    PodAffinity,
    /// Somebody whom the pod must be far from is in the node's place.
    PodAntiAffinity,
    /// Somebody who must be far from the pod is in the node's place.
    OthersAntiAffinity,
    /// The pod would make the spread over this topology more uneven than it may be.
    TopologySpread {
        /// The topology's label key.
        key: String,
    },
    /// The node has no place in a topology to spread over.
    TopologyLabel {
        /// The topology's label key.
        key: String,
    },
}

/// All reasons against one node, in the order in which they were found. Empty means none.
pub type Reasons = Vec<Reason>;

impl Reason {
    /// Upstream's wording, as it appears in FailedScheduling.
    pub fn text(&self) -> String {
        match self {
            Self::NodeName { .. } => NODE_NAME.to_owned(),
            Self::NodeSelector { .. } | Self::NodeAffinity => NODE_AFFINITY.to_owned(),
            Self::Taint { .. } => TAINT.to_owned(),
            Self::Unschedulable => UNSCHEDULABLE.to_owned(),
            Self::TooManyPods { .. } => TOO_MANY_PODS.to_owned(),
            Self::Insufficient { resource, .. } => format!("Insufficient {resource}"),
            Self::HostPort { .. } => HOST_PORT.to_owned(),
            Self::PodAffinity => POD_AFFINITY.to_owned(),
            Self::PodAntiAffinity => POD_ANTI_AFFINITY.to_owned(),
            Self::OthersAntiAffinity => OTHERS_ANTI_AFFINITY.to_owned(),
            Self::TopologySpread { .. } => TOPOLOGY_SPREAD.to_owned(),
            Self::TopologyLabel { .. } => TOPOLOGY_LABEL.to_owned(),
        }
    }

    /// A sentence fragment for people, with names and amounts.
    pub fn detail(&self) -> String {
        match self {
            Self::NodeName { wanted } => format!("asks for the node {wanted}"),
            Self::NodeSelector { key, wanted, found: Some(found) } => {
                format!("nodeSelector wants {key}={wanted}, the node has {key}={found}")
            }
            Self::NodeSelector { key, wanted, found: None } => {
                format!("nodeSelector wants {key}={wanted}, the node has no label {key}")
            }
            Self::NodeAffinity => "no term of the required node affinity matches".to_owned(),
            Self::Taint { key, value, effect } if value.is_empty() => {
                format!("the taint {key}:{effect} is not tolerated")
            }
            Self::Taint { key, value, effect } => {
                format!("the taint {key}={value}:{effect} is not tolerated")
            }
            Self::Unschedulable => "the node is cordoned".to_owned(),
            Self::TooManyPods { found, max } => format!("{found} of {max} pods are there already"),
            Self::Insufficient { resource, requested, used, allocatable } => format!(
                "{resource}: asks for {}, {} of {} is taken",
                thousandths(*requested),
                thousandths(*used),
                thousandths(*allocatable)
            ),
            Self::HostPort { protocol, port } => format!("host port {port}/{protocol} is taken"),
            Self::PodAffinity => "no pod it must be near is there".to_owned(),
            Self::PodAntiAffinity => "a pod it must be far from is there".to_owned(),
            Self::OthersAntiAffinity => "a pod that must be far from it is there".to_owned(),
            Self::TopologySpread { key } => format!("the spread over {key} would be too uneven"),
            Self::TopologyLabel { key } => format!("the node has no label {key} to spread over"),
        }
    }

    /// Whether removing pods from the node could make the reason go away (spec C4, C6, C31).
    pub fn preemption_may_help(&self) -> bool {
        match self {
            Self::TooManyPods { max, .. } => *max > 0,
            Self::HostPort { .. }
            | Self::PodAntiAffinity
            | Self::OthersAntiAffinity
            | Self::TopologySpread { .. } => true,
            Self::Insufficient { requested, allocatable, .. } => requested <= allocatable,
            Self::NodeName { .. }
            | Self::NodeSelector { .. }
            | Self::NodeAffinity
            | Self::Taint { .. }
            | Self::PodAffinity
            | Self::TopologyLabel { .. }
            | Self::Unschedulable => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())
    }
}

/// Thousandths as people write them: `1500` is `1.5`.
pub fn thousandths(amount: i128) -> String {
    let (whole, rest) = (amount / 1000, (amount % 1000).abs());
    if rest == 0 {
        return whole.to_string();
    }
    let digits = format!("{rest:03}");
    let sign = if amount < 0 && whole == 0 { "-" } else { "" };
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// How many nodes gave each text; the material of C11's sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, usize>);

impl Tally {
    /// Counts one node's reasons: each different text once.
    pub fn add(&mut self, reasons: &[Reason]) {
        let mut seen: Vec<String> = reasons.iter().map(Reason::text).collect();
        seen.sort_unstable();
        seen.dedup();
        for text in seen {
            self.add_text(&text, 1);
        }
    }

    /// Counts a text for `nodes` nodes; zero counts nothing.
    pub fn add_text(&mut self, text: &str, nodes: usize) {
        if nodes > 0 {
            *self.0.entry(text.to_owned()).or_insert(0) += nodes;
        }
    }

    /// `0/N nodes are available: 1 a, 2 b.`; entries are sorted as strings, count first (spec C11).
    pub fn sentence(&self, nodes: usize) -> String {
        let mut parts: Vec<String> = self.0.iter().map(|(text, n)| format!("{n} {text}")).collect();
        parts.sort();
        if parts.is_empty() {
            return format!("0/{nodes} nodes are available:");
        }
        format!("0/{nodes} nodes are available: {}.", parts.join(", "))
    }
}

/// The whole message of FailedScheduling (spec C11). `preemption` is absent when preemption was not tried.
pub fn failure_text(nodes: usize, filters: &Tally, preemption: Option<&Tally>) -> String {
    let first = filters.sentence(nodes);
    match preemption {
        None => first,
        Some(tally) => {
            format!("{first} no new claims to deallocate, preemption: {}", tally.sentence(nodes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_a_pinned_pod_is_upstreams() {
        let mut filters = Tally::default();
        filters.add(&[Reason::Insufficient {
            resource: "cpu".into(),
            requested: 2000,
            used: 0,
            allocatable: 1000,
        }]);
        filters.add_text(NOT_PINNED, 1);
        let mut preemption = Tally::default();
        preemption.add_text(NO_VICTIMS, 1);
        preemption.add_text(PREEMPTION_NOT_HELPFUL, 1);
        assert_eq!(
            failure_text(2, &filters, Some(&preemption)),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. \
             no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found \
             for incoming pod, 1 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn counts_are_part_of_the_sort_key() {
        let mut tally = Tally::default();
        tally.add_text("b", 2);
        tally.add_text("a", 10);
        tally.add_text("c", 1);
        assert_eq!(tally.sentence(13), "0/13 nodes are available: 1 c, 10 a, 2 b.");
    }

    #[test]
    fn a_request_above_allocatable_is_beyond_preemption() {
        let reason = |requested| Reason::Insufficient {
            resource: "cpu".into(),
            requested,
            used: 900,
            allocatable: 1000,
        };
        assert!(reason(1000).preemption_may_help());
        assert!(!reason(1001).preemption_may_help());
    }

    #[test]
    fn amounts_read_naturally() {
        let shown: Vec<String> = [0, 5, 1500, 2000, -250].into_iter().map(thousandths).collect();
        assert_eq!(shown, ["0", "0.005", "1.5", "2", "-0.25"]);
    }
}
