//! What happens to pods, as data.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Pods that match wait, then something is reported about them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Stage {
    /// For logs, and for the spread of waits.
    pub name: String,
    /// Which pods.
    pub when: When,
    /// How long, in milliseconds.
    pub delay: u64,
    /// Up to this much longer, in milliseconds, by the pod's uid.
    pub spread: u64,
    /// What then.
    pub next: Next,
}

/// A pod matches when everything that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct When {
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: Option<String>,
    /// Its Ready condition.
    pub ready: Option<bool>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Labels it has.
    pub labels: BTreeMap<String, String>,
    /// Node names it may be on; empty for any.
    pub nodes: Vec<String>,
    /// How many of a thousand pods, by uid; all if absent.
    pub permille: Option<u64>,
}

/// What is reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// All containers run.
    Running {
        /// And are ready.
        ready: bool,
    },
    /// Readiness changes.
    Ready(bool),
    /// The pod failed.
    Failed {
        /// As `status.reason`.
        reason: String,
        /// Exit code of its containers.
        exit_code: i32,
    },
    /// All containers ended well.
    Succeeded,
    /// The pod is gone from the node.
    Gone,
    /// Nothing, for ever.
    #[default]
    Stay,
}

impl Stage {
    /// Pods run and are ready soon, and go when they are deleted.
    pub fn ordinary() -> Vec<Self> {
        let stage = |name: &str, when, delay, next| Self {
            name: name.to_owned(),
            when,
            delay,
            spread: 0,
            next,
        };
        let phase = |phase: &str| When { phase: Some(phase.to_owned()), ..When::default() };
        vec![
            stage("stop", When { deleting: true, ..When::default() }, 100, Next::Gone),
            stage("start", phase("Pending"), 200, Next::Running { ready: true }),
            // after the node was taken for lost, an agent reports again
            stage(
                "report",
                When { ready: Some(false), ..phase("Running") },
                1000,
                Next::Ready(true),
            ),
        ]
    }

    /// How long a pod waits in this stage.
    pub fn wait(&self, uid: &str, salt: u64) -> Duration {
        let extra =
            if self.spread == 0 { 0 } else { spin(&self.name, uid, salt) % (self.spread + 1) };
        Duration::from_millis(self.delay.saturating_add(extra))
    }
}

/// A number that follows from the stage, the pod and the salt.
pub(crate) fn spin(stage: &str, uid: &str, salt: u64) -> u64 {
    let bytes = stage.bytes().chain([0]).chain(uid.bytes());
    bytes.fold(salt, |number, byte| kit::backoff::mix(number ^ u64::from(byte)))
}
