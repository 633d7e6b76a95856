//! What is seen: one DaemonSet with the nodes, pods and revisions that concern it, as values.

use crate::condition::Trouble;
use crate::set::Set;
use crate::words::HASH_LABEL;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything that a plan depends on but the time. Sorted, so that the order of arrival cannot matter.
#[derive(Clone, Debug)]
pub struct World {
    /// The DaemonSet.
    pub set: Set,
    /// All nodes, by name.
    pub nodes: BTreeMap<String, Arc<core::Node>>,
    /// Pods of the namespace that the DaemonSet controls or that nobody controls, by name.
    pub pods: BTreeMap<String, Pod>,
    /// Revisions of the namespace that the DaemonSet controls or that nobody controls, by name.
    pub revisions: BTreeMap<String, Revision>,
    /// What is remembered about failed pods.
    pub failures: Failures,
}

/// Reason of the condition DisruptionTarget that taint eviction leaves on a pod (spec D11).
const EVICTED_BY_TAINT: &str = "DeletionByTaintManager";

/// A pod, as far as the plan reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, as the API has it")]
pub struct Pod {
    /// Name.
    pub name: String,
    /// The node it runs on or is aimed at (spec B26).
    pub node: Option<String>,
    /// Whether `spec.nodeName` is set.
    pub is_bound: bool,
    /// Creation time.
    pub created: Timestamp,
    /// Whether `deletionTimestamp` is set.
    pub is_terminating: bool,
    /// Phase.
    pub phase: Phase,
    /// Whether the condition Ready is True.
    pub is_ready: bool,
    /// When that condition changed last.
    pub ready_changed: Option<Timestamp>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// UID of the owner that controls it.
    pub controller: Option<String>,
    /// What its status shows of a trouble.
    pub trouble: Option<Trouble>,
    /// Whether it is deleted because of a taint that it tolerates for a time only (spec D10).
    pub is_evicted: bool,
}

/// The phases that the plan tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Pending, Running or Unknown.
    Alive,
    /// Succeeded.
    Succeeded,
    /// Failed.
    Failed,
}

impl Pod {
    /// Reads a pod. One without a name or creation time did not come from a server; it reads as empty and
    /// as old as can be.
    pub fn read(pod: &core::Pod) -> Self {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
        Self {
            name: meta.name.clone().unwrap_or_default(),
            node: spec.and_then(fit::place::target_node).map(str::to_owned),
            is_bound: spec.is_some_and(|s| s.node_name.as_ref().is_some_and(|n| !n.is_empty())),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0),
            is_terminating: meta.deletion_timestamp.is_some(),
            phase: match status.and_then(|status| status.phase.as_deref()) {
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                _ => Phase::Alive,
            },
            is_ready: ready.is_some_and(|condition| condition.status == "True"),
            ready_changed: ready.and_then(|c| c.last_transition_time.as_ref()).map(|time| time.0),
            labels: meta.labels.clone().unwrap_or_default(),
            controller: controller_of(meta.owner_references.as_deref()),
            trouble: Trouble::of(pod),
            is_evicted: meta.deletion_timestamp.is_some()
                && status.and_then(|status| status.conditions.as_ref()).is_some_and(|all| {
                    all.iter().any(|condition| {
                        condition.type_ == "DisruptionTarget"
                            && condition.reason.as_deref() == Some(EVICTED_BY_TAINT)
                    })
                }),
        }
    }

    /// The hash label.
    pub fn hash(&self) -> Option<&str> {
        self.labels.get(HASH_LABEL).map(String::as_str)
    }

    /// Terminal and terminating: invisible to everything but the trimming of history (spec 2.7).
    pub fn is_over(&self) -> bool {
        self.is_terminating && self.phase != Phase::Alive
    }

    /// The order in which pods of one node are considered: bound before unbound, then oldest, then by name
    /// (spec B64).
    pub fn rank(&self) -> impl Ord + use<'_> {
        (!self.is_bound, self.created, &self.name)
    }

    /// When the pod became or becomes available (spec B72): absent while it is not ready.
    pub fn available_at(&self, min_ready: SignedDuration) -> Option<Timestamp> {
        if !self.is_ready {
            return None;
        }
        if min_ready.is_zero() {
            return Some(Timestamp::MIN);
        }
        self.ready_changed?.checked_add(min_ready).ok()
    }

    /// Whether the pod is available.
    pub fn is_available(&self, min_ready: SignedDuration, now: Timestamp) -> bool {
        self.available_at(min_ready).is_some_and(|at| at <= now)
    }
}

fn controller_of(
    owners: Option<&[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]>,
) -> Option<String> {
    let owner = owners?.iter().find(|owner| owner.controller == Some(true))?;
    Some(owner.uid.clone())
}

/// A ControllerRevision, as far as the plan reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// UID of the owner that controls it.
    pub controller: Option<String>,
    /// Whether `deletionTimestamp` is set.
    pub is_terminating: bool,
    /// `revision`.
    pub number: i64,
    /// `data`, written as [`crate::json::canonical`] writes it.
    pub data: String,
}

impl Revision {
    /// Reads a revision from its JSON.
    pub fn read(object: &Value) -> Self {
        let meta = &object["metadata"];
        let owners = meta["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let controller = owners.iter().find(|owner| owner["controller"] == Value::Bool(true));
        Self {
            name: meta["name"].as_str().unwrap_or_default().to_owned(),
            labels: crate::json::strings(&meta["labels"]),
            controller: controller.and_then(|owner| owner["uid"].as_str()).map(str::to_owned),
            is_terminating: meta["deletionTimestamp"].is_string(),
            number: object["revision"].as_i64().unwrap_or(0),
            data: crate::json::canonical(&object["data"]),
        }
    }

    /// The hash that pods of this revision carry: its label, else its name (spec B57).
    pub fn hash(&self) -> &str {
        self.labels.get(HASH_LABEL).unwrap_or(&self.name)
    }
}

/// Memory of failed pods, node by node (spec B67). It is not in the API, so whoever plans keeps it and hands
/// it in. A new observed generation starts afresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// `status.observedGeneration` at which the entries were made.
    pub observed_generation: i64,
    /// By node name.
    pub by_node: BTreeMap<String, Failure>,
    /// What the API said when it refused a pod last, until it takes one again.
    pub refusal: Option<Refusal>,
}

/// The API refuses to create pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Its words.
    pub message: String,
    /// The nodes whose pod was asked for in vain: they come last the next time, so that one node cannot keep all
    /// others from theirs.
    pub nodes: BTreeSet<String>,
}

/// The last failed pod on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it was found and deleted.
    pub at: Timestamp,
    /// How long the next one is left in place.
    pub delay: SignedDuration,
    /// The pods that did not fail but were evicted because of a taint, as they stood when it was noted: then a new
    /// one waits for the delay, or they would take turns for ever (spec D13).
    pub evicted: BTreeSet<String>,
    /// Pods whose eviction was counted already, whatever failed since.
    pub counted: BTreeSet<String>,
}

impl Failure {
    /// The first delay (spec B67).
    pub const DELAY_INITIAL: SignedDuration = SignedDuration::from_secs(1);
    /// The longest delay (spec B67).
    pub const DELAY_MAX: SignedDuration = SignedDuration::from_mins(15);
    /// Entries without news for twice the longest delay are forgotten (spec B67).
    pub const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(30);

    /// The entry after another failure at `now`.
    #[must_use]
    pub fn next(before: Option<&Self>, now: Timestamp) -> Self {
        let delay = match before.filter(|before| !before.is_forgotten(now)) {
            None => Self::DELAY_INITIAL,
            Some(before) => before.delay.saturating_mul(2).min(Self::DELAY_MAX),
        };
        let counted = before.map(|before| before.counted.clone()).unwrap_or_default();
        Self { at: now, delay, evicted: BTreeSet::new(), counted }
    }

    /// Whether the entry no longer counts.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) > Self::FORGOTTEN_AFTER
    }

    /// Until when a failed pod is left in place, if that is still to come.
    pub fn holds_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.at.checked_add(self.delay).ok().filter(|until| now < *until)
    }
}

impl Failures {
    /// The entry of a node, if entries of this observed generation are kept.
    pub fn get(&self, observed_generation: i64, node: &str) -> Option<&Failure> {
        self.by_node.get(node).filter(|_| self.observed_generation == observed_generation)
    }

    /// Notes that pods were evicted because of a taint: one failure, however many are ending there at once.
    pub fn note_eviction(
        &mut self,
        observed_generation: i64,
        node: &str,
        pods: &BTreeSet<String>,
        now: Timestamp,
    ) {
        self.note(observed_generation, node, now);
        if let Some(failure) = self.by_node.get_mut(node) {
            failure.evicted.clone_from(pods);
            failure.counted.clone_from(pods);
        }
    }

    /// Drops entries of another observed generation; answers the nodes they were about.
    pub fn align(&mut self, observed_generation: i64) -> Vec<String> {
        if self.observed_generation == observed_generation {
            return Vec::new();
        }
        self.observed_generation = observed_generation;
        std::mem::take(&mut self.by_node).into_keys().collect()
    }

    /// Notes a failure on a node; entries of another observed generation are dropped first.
    pub fn note(&mut self, observed_generation: i64, node: &str, now: Timestamp) {
        self.align(observed_generation);
        let next = Failure::next(self.by_node.get(node), now);
        self.by_node.insert(node.to_owned(), next);
        self.by_node.retain(|_, failure| !failure.is_forgotten(now));
    }
}
