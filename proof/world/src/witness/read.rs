//! Objects as the witness reads them.

use jiff::Timestamp;
use serde_json::Value;

/// Tolerations that every daemon pod has (spec 2.2), for pods that are not on the host's network.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// What all of them have.
pub(super) trait Seen {
    /// The revision that was read.
    fn revision(&self) -> u64;
    /// Takes over what the object itself does not say.
    fn inherit(&mut self, _before: &Self) {}
}

#[derive(Clone, Debug)]
pub(super) struct NodeSeen {
    pub(super) revision: u64,
    pub(super) zone: Option<String>,
    pub(super) taints: Vec<(String, String)>,
    /// Whether the condition Ready says something else than True: then nobody's budget is about it (spec B94).
    pub(super) is_down: bool,
}

#[derive(Clone)]
pub(super) struct PodSeen {
    pub(super) revision: u64,
    uid: String,
    pub(super) owner: String,
    /// Where it runs or is aimed at.
    pub(super) node: Option<String>,
    pub(super) image: String,
    phase: String,
    is_terminating: bool,
    pub(super) is_ready: bool,
    pub(super) first_seen: Option<Timestamp>,
    /// Since when it was seen to be ready without a break.
    pub(super) ready_since: Option<Timestamp>,
}

impl std::fmt::Debug for PodSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ready = if self.is_ready { ", ready" } else { "" };
        let going = if self.is_terminating { ", terminating" } else { "" };
        write!(f, "{} {}{ready}{going}", self.image, self.phase)
    }
}

#[derive(Clone, Debug)]
pub(super) struct SetSeen {
    pub(super) revision: u64,
    pub(super) uid: String,
    pub(super) zone: Option<String>,
    pub(super) image: String,
    pub(super) unavailable_max: usize,
    pub(super) surges: bool,
    pub(super) generation: i64,
    pub(super) observed_generation: i64,
    pub(super) history_limit: usize,
    /// Desired, current, ready, available, updated, misscheduled.
    pub(super) counters: [usize; 6],
    /// When its spec was seen to change last.
    pub(super) edited: Option<Timestamp>,
    pub(super) is_edited: bool,
}

/// A revision, as far as a set's history is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RevisionSeen {
    revision: u64,
    pub(super) owner: String,
    pub(super) number: i64,
    pub(super) image: String,
    pub(super) zone: Option<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl NodeSeen {
    pub(super) fn read(node: &Value, revision: u64) -> Self {
        let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            revision,
            zone: node["metadata"]["labels"]["zone"].as_str().map(str::to_owned),
            taints: taints
                .iter()
                .map(|taint| (text(&taint["key"]), text(&taint["effect"])))
                .collect(),
            is_down: node["status"]["conditions"].as_array().is_some_and(|all| {
                all.iter().any(|c| c["type"] == "Ready" && c["status"] != "True")
            }),
        }
    }

    /// Neither taken for lost nor not yet ready.
    pub(super) fn is_healthy(&self) -> bool {
        let is_sick = |key: &str| key.ends_with("/not-ready") || key.ends_with("/unreachable");
        !self.taints.iter().any(|(key, _)| is_sick(key))
    }
}

impl PodSeen {
    pub(super) fn read(pod: &Value, revision: u64) -> Self {
        let spec = &pod["spec"];
        let required =
            &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let pinned = &required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
        let conditions =
            pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            revision,
            uid: text(&pod["metadata"]["uid"]),
            owner: text(&pod["metadata"]["ownerReferences"][0]["uid"]),
            node: spec["nodeName"].as_str().or_else(|| pinned.as_str()).map(str::to_owned),
            image: text(&spec["containers"][0]["image"]),
            phase: text(&pod["status"]["phase"]),
            is_terminating: pod["metadata"]["deletionTimestamp"].is_string(),
            is_ready: conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"),
            first_seen: None,
            ready_since: None,
        }
    }

    fn has_ended(&self) -> bool {
        self.phase == "Failed" || self.phase == "Succeeded"
    }

    pub(super) fn is_live(&self) -> bool {
        !self.is_terminating && !self.has_ended()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_terminating && self.has_ended()
    }

    pub(super) fn is_of(&self, set: &SetSeen, node: &str) -> bool {
        self.owner == set.uid && self.node.as_deref() == Some(node)
    }
}

impl SetSeen {
    pub(super) fn read(set: &Value, revision: u64) -> Self {
        let (meta, spec, status) = (&set["metadata"], &set["spec"], &set["status"]);
        let pod = &spec["template"]["spec"];
        let knobs = &spec["updateStrategy"]["rollingUpdate"];
        let count =
            |name: &str| usize::try_from(status[name].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
        Self {
            revision,
            uid: text(&meta["uid"]),
            zone: pod["nodeSelector"]["zone"].as_str().map(str::to_owned),
            image: text(&pod["containers"][0]["image"]),
            unavailable_max: usize::try_from(knobs["maxUnavailable"].as_u64().unwrap_or(1))
                .unwrap_or(1),
            surges: knobs["maxSurge"].as_u64().unwrap_or(0) > 0,
            generation: meta["generation"].as_i64().unwrap_or(0),
            history_limit: usize::try_from(spec["revisionHistoryLimit"].as_u64().unwrap_or(10))
                .unwrap_or(10),
            edited: None,
            is_edited: false,
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
            counters: [
                count("desiredNumberScheduled"),
                count("currentNumberScheduled"),
                count("numberReady"),
                count("numberAvailable"),
                count("updatedNumberScheduled"),
                count("numberMisscheduled"),
            ],
        }
    }

    fn zone_matches(&self, node: &NodeSeen) -> bool {
        self.zone.is_none() || self.zone == node.zone
    }

    pub(super) fn is_eligible(&self, node: &NodeSeen) -> bool {
        let mut hard = node.taints.iter().filter(|(_, effect)| effect != "PreferNoSchedule");
        self.zone_matches(node)
            && hard.all(|(key, effect)| TOLERATED.contains(&(key.as_str(), effect.as_str())))
    }

    /// Whether these pods may be what is left on a node that takes no new ones. Where they may stay it is one, and besides
    /// it the one that was to follow it and was too late: it waits for a place (as upstream leaves it; B58, B95).
    pub(super) fn leaves(&self, node: &NodeSeen, pods: &[(&String, &PodSeen)]) -> bool {
        let waiting = pods.iter().filter(|(_, pod)| pod.phase == "Pending").count();
        let most = usize::from(self.may_stay(node));
        waiting <= most && pods.len() - waiting <= most
    }

    /// Whether a pod that is there may stay.
    pub(super) fn may_stay(&self, node: &NodeSeen) -> bool {
        let mut evicting = node.taints.iter().filter(|(_, effect)| effect == "NoExecute");
        self.zone_matches(node)
            && evicting.all(|(key, effect)| TOLERATED.contains(&(key.as_str(), effect.as_str())))
    }
}

impl Seen for NodeSeen {
    fn revision(&self) -> u64 {
        self.revision
    }
}

impl Seen for PodSeen {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn inherit(&mut self, before: &Self) {
        if before.uid == self.uid {
            self.first_seen = before.first_seen;
            self.ready_since = before.ready_since.filter(|_| self.is_ready);
        }
    }
}

impl Seen for SetSeen {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn inherit(&mut self, before: &Self) {
        if before.uid == self.uid {
            self.is_edited = before.generation != self.generation;
            self.edited = before.edited;
        }
    }
}

impl RevisionSeen {
    pub(super) fn read(object: &Value, revision: u64) -> Self {
        let pod = &object["data"]["spec"]["template"]["spec"];
        Self {
            revision,
            owner: text(&object["metadata"]["ownerReferences"][0]["uid"]),
            number: object["revision"].as_i64().unwrap_or(0),
            image: text(&pod["containers"][0]["image"]),
            zone: pod["nodeSelector"]["zone"].as_str().map(str::to_owned),
        }
    }
}

impl Seen for RevisionSeen {
    fn revision(&self) -> u64 {
        self.revision
    }
}
