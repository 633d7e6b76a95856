//! Conditions of a DaemonSet, and what stands between a node and an available pod. Upstream writes none (spec A33);
//! these are ours, owned by type: whatever else stands in `status.conditions` is nobody's business here.

use crate::words::{AVAILABLE, DEGRADED, PROGRESSING};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use std::fmt;

/// Our types, in the order in which they are written.
pub const TYPES: [&str; 3] = [AVAILABLE, DEGRADED, PROGRESSING];
/// Nodes named for each reason. 3 names of 253 bytes for each of 11 troubles are 8.3 kB.
pub const NAMES_MAX: usize = 3;
/// Bytes of the API's own words that are repeated.
pub const QUOTE_BYTES_MAX: usize = 400;
/// Bytes of a message, at any number of nodes; three messages, with what is fixed, stay below 10 kB together.
pub const MESSAGE_BYTES_MAX: usize = 3000;

/// One of our conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// One of [`TYPES`].
    pub kind: &'static str,
    /// Status True or False.
    pub is_true: bool,
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When the status changed last.
    pub since: Timestamp,
}

impl Condition {
    /// A condition as of now; the moment of its last change is kept where only the words are new.
    pub fn new(
        kind: &'static str,
        (is_true, reason): (bool, &str),
        mut message: String,
        (before, now): (&[Self], Timestamp),
    ) -> Self {
        let known = before.iter().find(|known| known.kind == kind && known.is_true == is_true);
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        // the API keeps whole seconds
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self {
            kind,
            is_true,
            reason: reason.to_owned(),
            message,
            since: known.map_or(now, |known| known.since),
        }
    }

    /// As the API has it.
    pub fn to_json(&self) -> Value {
        json!({
            "type": self.kind,
            "status": if self.is_true { "True" } else { "False" },
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": self.since.to_string(),
        })
    }
}

/// Our conditions among all.
pub(crate) fn read(all: &Value) -> Vec<Condition> {
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    let find = |kind: &'static str| {
        let found = all.iter().find(|condition| condition["type"] == kind)?;
        Some(Condition {
            kind,
            is_true: found["status"] == "True",
            reason: found["reason"].as_str().unwrap_or_default().to_owned(),
            message: found["message"].as_str().unwrap_or_default().to_owned(),
            since: found["lastTransitionTime"].as_str()?.parse().ok()?,
        })
    };
    TYPES.into_iter().filter_map(find).collect()
}

/// What stands between a node and an available pod. The first of several is told as the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The API refuses to create the pod: quota, admission, a missing PriorityClass, a wrong template.
    CreateRefused,
    /// The old pod holds host ports that the new one beside it needs (spec B105).
    SurgeBlockedByHostPorts,
    /// The image cannot be had.
    ImageUnavailable,
    /// A container cannot be made: a missing ConfigMap, a wrong command.
    ContainerCannotStart,
    /// A container crashes again and again.
    ContainerCrashing,
    /// Containers run, but probes do not find them ready.
    ProbeFailing,
    /// The pod ended as Failed: refused by the node, evicted by it, or shut down.
    PodFailed,
    /// The node has not enough left of something.
    InsufficientCapacity,
    /// The scheduler refuses for another reason.
    Unschedulable,
    /// The node is not ready, or out of service.
    NodeDown,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::CreateRefused,
        Self::SurgeBlockedByHostPorts,
        Self::ImageUnavailable,
        Self::ContainerCannotStart,
        Self::ContainerCrashing,
        Self::ProbeFailing,
        Self::PodFailed,
        Self::InsufficientCapacity,
        Self::Unschedulable,
        Self::NodeDown,
    ];

    /// For programs: the reason of the condition and of the event.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CreateRefused => "CreateRefused",
            Self::SurgeBlockedByHostPorts => "SurgeBlockedByHostPorts",
            Self::ImageUnavailable => "ImageUnavailable",
            Self::ContainerCannotStart => "ContainerCannotStart",
            Self::ContainerCrashing => "ContainerCrashing",
            Self::ProbeFailing => "ProbeFailing",
            Self::PodFailed => "PodFailed",
            Self::InsufficientCapacity => "InsufficientCapacity",
            Self::Unschedulable => "Unschedulable",
            Self::NodeDown => "NodeDown",
        }
    }

    /// For people, after a number of nodes and a colon.
    pub fn words(self) -> &'static str {
        match self {
            Self::CreateRefused => "the API refuses to create the pod",
            Self::SurgeBlockedByHostPorts => "the old pod holds the host ports of the new one",
            Self::ImageUnavailable => "the image cannot be had",
            Self::ContainerCannotStart => "a container cannot be started",
            Self::ContainerCrashing => "a container crashes",
            Self::ProbeFailing => "containers run but are not ready",
            Self::PodFailed => "the pod failed",
            Self::InsufficientCapacity => "not enough capacity is left",
            Self::Unschedulable => "the scheduler refuses",
            Self::NodeDown => "down",
        }
    }

    /// What a pod that is not available shows of its trouble, its node aside.
    pub fn of(pod: &core::Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if status.phase.as_deref() == Some("Failed") {
            return Some(Self::PodFailed);
        }
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False");
        if let Some(condition) = unscheduled {
            let message = condition.message.as_deref().unwrap_or_default();
            return match condition.reason.as_deref() {
                Some("Unschedulable") if message.contains(fit::reason::HOST_PORT) => {
                    Some(Self::SurgeBlockedByHostPorts)
                }
                Some("Unschedulable")
                    if message.contains("Insufficient ")
                        || message.contains(fit::reason::TOO_MANY_PODS) =>
                {
                    Some(Self::InsufficientCapacity)
                }
                _ => Some(Self::Unschedulable),
            };
        }
        let of = |all: &Option<Vec<core::ContainerStatus>>| {
            let waiting = all.iter().flatten().filter_map(|c| c.state.as_ref()?.waiting.as_ref());
            waiting.filter_map(|waiting| Self::of_reason(waiting.reason.as_deref()?)).min()
        };
        let waiting =
            of(&status.init_container_statuses).or_else(|| of(&status.container_statuses));
        let is_running = |c: &core::ContainerStatus| {
            c.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        let all_run = status.container_statuses.as_ref().is_some_and(|all| {
            !all.is_empty() && all.iter().all(is_running) && all.iter().any(|c| !c.ready)
        });
        waiting.or_else(|| all_run.then_some(Self::ProbeFailing))
    }

    fn of_reason(reason: &str) -> Option<Self> {
        match reason {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ImageInspectError"
            | "ErrImageNeverPull"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some(Self::ImageUnavailable),
            "CrashLoopBackOff" => Some(Self::ContainerCrashing),
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PostStartHookError"
            | "CreatePodSandboxError" => Some(Self::ContainerCannotStart),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> core::Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    #[test]
    fn causes_are_told_apart() {
        let waiting = |reason: &str| {
            json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
                   "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason}}}]})
        };
        let unscheduled = |message: &str| {
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                   "reason": "Unschedulable", "message": message}]})
        };
        let running = json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "i",
            "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}}]});
        for (status, wanted) in [
            (waiting("ImagePullBackOff"), Some(Trouble::ImageUnavailable)),
            (waiting("CrashLoopBackOff"), Some(Trouble::ContainerCrashing)),
            (waiting("CreateContainerConfigError"), Some(Trouble::ContainerCannotStart)),
            (waiting("ContainerCreating"), None),
            (
                unscheduled("0/2 nodes are available: 1 Insufficient cpu."),
                Some(Trouble::InsufficientCapacity),
            ),
            (unscheduled(fit::reason::HOST_PORT), Some(Trouble::SurgeBlockedByHostPorts)),
            (unscheduled("0/2 nodes are available"), Some(Trouble::Unschedulable)),
            (json!({"phase": "Failed", "reason": "OutOfcpu"}), Some(Trouble::PodFailed)),
            (running, Some(Trouble::ProbeFailing)),
        ] {
            assert_eq!(Trouble::of(&pod(status.clone())), wanted, "{status}");
        }
    }

    #[test]
    fn conditions_are_read_back_as_written_and_others_are_not_read() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let made = Condition::new(DEGRADED, (true, "X"), "é".repeat(4000), (&[], now));
        assert!(made.message.len() <= MESSAGE_BYTES_MAX);
        let all = json!([{"type": "Foreign", "status": "True"}, made.to_json()]);
        assert_eq!(read(&all), std::slice::from_ref(&made));
        let later = now + jiff::SignedDuration::from_secs(9);
        let again = Condition::new(
            DEGRADED,
            (true, "Y"),
            String::new(),
            (std::slice::from_ref(&made), later),
        );
        assert_eq!(again.since, made.since, "only the words are new");
        let turned = Condition::new(
            DEGRADED,
            (false, "Y"),
            String::new(),
            (std::slice::from_ref(&again), later),
        );
        assert_ne!(turned.since, made.since);
    }
}
