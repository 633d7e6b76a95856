//! What the agent knows about one pod: the object, the runtime's state, and what it remembers between looks.

use crate::cri::v1;
use crate::words;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

mod ephemeral;
mod renewal;
pub(crate) use renewal::{Origin, Postponed, lasting, postponed, whole_at_first};

/// First and longest wait between two starts of a container (spec E33).
pub(crate) const RESTART_WAIT: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(300));
/// First and longest wait between two tries to fetch an image (spec E22).
pub(crate) const PULL_WAIT: (Duration, Duration) =
    (Duration::from_secs(10), Duration::from_secs(300));
/// First and longest wait after a volume was not there (spec E51).
pub(crate) const VOLUME_WAIT: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(122));
/// First and longest wait after any other step failed.
pub(crate) const STEP_WAIT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(30));

/// An end that lies no further in the future than this happened while it was looked at: the runtime stamps it with its own
/// reading of the clock. What lies further off was stamped before the clock was set back.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// A sandbox as the runtime shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) is_ready: bool,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    /// The pod's addresses; empty on the host's network.
    pub(crate) addresses: Vec<String>,
}

/// State of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Ended, or the runtime does not know.
    Exited,
}

/// A container as the runtime shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox: String,
    /// How often it was started before.
    pub(crate) attempt: u32,
    pub(crate) state: State,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) image: String,
    pub(crate) image_ref: String,
    /// What the pod said of it when it was made; `None`: an agent made it that did not note it.
    pub(crate) origin: Option<Origin>,
}

impl Seen {
    /// From the runtime's detailed answer.
    pub(crate) fn of(sandbox: &str, status: &v1::ContainerStatus) -> Self {
        let metadata = status.metadata.clone().unwrap_or_default();
        let time = |ns: i64| (ns > 0).then(|| Timestamp::from_nanosecond(i128::from(ns)).ok())?;
        Self {
            id: status.id.clone(),
            name: metadata.name,
            sandbox: sandbox.to_owned(),
            attempt: metadata.attempt,
            state: match status.state() {
                v1::ContainerState::ContainerCreated => State::Created,
                v1::ContainerState::ContainerRunning => State::Running,
                v1::ContainerState::ContainerExited | v1::ContainerState::ContainerUnknown => {
                    State::Exited
                }
            },
            created_at: status.created_at,
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            exit_code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            image: status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
            image_ref: status.image_ref.clone(),
            origin: Origin::of(&status.annotations),
        }
    }
}

/// A step that failed and will be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Waiting reason shown to users.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    /// When it failed last.
    pub(crate) since: Timestamp,
    /// Not before this moment.
    pub(crate) retry_at: Timestamp,
    /// Failures in a row.
    pub(crate) failures: u32,
}

/// What the probes of one container say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// The readiness probe succeeds, or there is none.
    pub(crate) is_ready: bool,
    /// The startup probe succeeded, or there is none.
    pub(crate) is_started: bool,
    /// A liveness or startup probe failed too often: why, and with how much grace the container is to be stopped.
    pub(crate) condemned: Option<(String, Option<Duration>)>,
}

/// How long a container waits before it starts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restarts {
    pub(crate) wait: Duration,
    /// When it was started last.
    pub(crate) touched: Timestamp,
}

/// Why the node ends a pod that it once took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Reason in the pod's status.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    /// Grace in place of the pod's own.
    pub(crate) grace: Option<Duration>,
    /// Reason of the condition DisruptionTarget, if the node ended it for its own sake.
    pub(crate) disruption: Option<&'static str>,
}

impl Ending {
    /// Whether it leaves less time than the other.
    pub(crate) fn is_sooner_than(&self, other: Option<&Self>) -> bool {
        let patience = |one: &Self| one.grace.unwrap_or(Duration::MAX);
        other.is_none_or(|other| patience(self) < patience(other))
    }
}

/// What is remembered between two looks. Lost with the process, and nothing that matters is lost with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Volumes and folders are in place.
    pub(crate) is_prepared: bool,
    /// The volumes of a pod that is over are gone.
    pub(crate) is_emptied: bool,
    /// Volumes, folders and cgroups are gone.
    pub(crate) is_cleaned: bool,
    /// By container name.
    pub(crate) restarts: BTreeMap<String, Restarts>,
    /// By container name; the empty name is the sandbox and volumes.
    pub(crate) troubles: BTreeMap<String, Trouble>,
    /// By container id.
    pub(crate) health: BTreeMap<String, Health>,
    /// Resources of containers that were given others while they ran, by id.
    pub(crate) resized: BTreeMap<String, ResourceRequirements>,
    /// The resources that the pod as a whole was given last; empty: none. `None`: it was not looked at yet.
    pub(crate) whole: Option<ResourceRequirements>,
    /// Containers that were ended to be made anew, by id.
    pub(crate) renewed: BTreeSet<String>,
    /// When stopping began.
    pub(crate) stopping_since: Option<Timestamp>,
    /// Reason and message, if the node refused the pod (spec E1).
    pub(crate) rejection: Option<(String, String)>,
    /// Why the node ends the pod.
    pub(crate) ending: Option<Ending>,
    /// The shortest grace that the node has ordered, and when it did.
    pub(crate) hurry: Option<(Duration, Timestamp)>,
}

/// Key of troubles with volumes and the sandbox.
pub(crate) const WHOLE_POD: &str = "";

/// Key of troubles with new resources of a pod that runs.
pub(crate) const RESIZE: &str = "/resize";

impl Memory {
    /// The moment until which a container that ended at `finished` has to wait, and the length of the wait.
    pub(crate) fn restart_hold(
        &self,
        name: &str,
        finished: Timestamp,
        now: Timestamp,
    ) -> Option<(Timestamp, Duration)> {
        let entry = self.restarts.get(name)?;
        let until = finished.checked_add(entry.wait).ok()?;
        let is_stale =
            entry.touched.checked_add(RESTART_WAIT.1 * 2).is_ok_and(|end| finished > end);
        // an end in the future: the clock was set back, and says nothing of how long it has waited
        let is_known = now.checked_add(CLOCK_SLACK).is_ok_and(|soon| finished <= soon);
        (is_known && !is_stale && until > now).then_some((until, entry.wait))
    }

    /// The moment until which a container, or the whole pod, is left alone after a failure.
    pub(crate) fn hold(&self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let trouble = self.troubles.get(name)?;
        // a failure in the future: the clock was set back
        (trouble.since <= now && trouble.retry_at > now).then_some(trouble.retry_at)
    }

    /// Notes that a container that ended at `finished` is started again.
    pub(crate) fn restarted(&mut self, name: &str, finished: Timestamp, now: Timestamp) {
        let wait = match self.restarts.get(name) {
            // ten minutes of running are forgiveness
            Some(entry)
                if entry
                    .touched
                    .checked_add(RESTART_WAIT.1 * 2)
                    .is_ok_and(|end| finished <= end) =>
            {
                (entry.wait * 2).min(RESTART_WAIT.1)
            }
            _ => RESTART_WAIT.0,
        };
        self.restarts.insert(name.to_owned(), Restarts { wait, touched: now });
    }

    /// Notes a failed step.
    pub(crate) fn failed(
        &mut self,
        name: &str,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) {
        let failures = self.troubles.get(name).map_or(0, |trouble| trouble.failures) + 1;
        let (first, longest) = match reason {
            words::reason::FAILED_MOUNT => VOLUME_WAIT,
            words::reason::ERR_IMAGE_PULL | words::reason::IMAGE_PULL_BACK_OFF => PULL_WAIT,
            _ => STEP_WAIT,
        };
        let wait = kit::backoff::exponential(first, longest, failures - 1);
        let retry_at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        let trouble = Trouble { reason, message, since: now, retry_at, failures };
        self.troubles.insert(name.to_owned(), trouble);
    }
}

/// Everything that a decision about one pod rests on.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The object as it was last.
    pub(crate) pod: Arc<Pod>,
    /// The server still has it.
    pub(crate) is_known: bool,
    /// Newest first.
    pub(crate) sandboxes: Vec<Sandbox>,
    /// Newest first.
    pub(crate) containers: Vec<Seen>,
    pub(crate) memory: Memory,
    /// Why pods with a network of their own cannot start now.
    pub(crate) network_trouble: Option<String>,
    /// The node is short of disk or files at this moment.
    pub(crate) is_disk_short: bool,
    /// Why the pod's new resources have to wait.
    pub(crate) postponed: Option<Postponed>,
    /// This node's addresses.
    pub(crate) host_addresses: Vec<String>,
    /// `containerd`, as in container ids shown to users.
    pub(crate) runtime_name: Arc<str>,
}

impl World {
    /// The pod's spec.
    pub(crate) fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    /// The newest container of this name.
    pub(crate) fn latest(&self, name: &str) -> Option<&Seen> {
        self.containers.iter().find(|seen| seen.name == name)
    }

    /// The newest container of this name in this sandbox.
    pub(crate) fn latest_in(&self, sandbox: &str, name: &str) -> Option<&Seen> {
        self.containers.iter().find(|seen| seen.name == name && seen.sandbox == sandbox)
    }

    /// The newest sandbox, if it can hold containers.
    pub(crate) fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.is_ready)
    }

    /// The object is being deleted, or is gone.
    pub(crate) fn is_deleted(&self) -> bool {
        !self.is_known || self.pod.metadata.deletion_timestamp.is_some()
    }

    /// When a pod that may run only for so long has to end.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let seconds = u64::try_from(self.spec().active_deadline_seconds?).ok()?;
        let started = self.pod.status.as_ref()?.start_time.as_ref()?;
        started.0.checked_add(Duration::from_secs(seconds)).ok()
    }

    /// Whether the container passed its startup probe; containers without one have when they run.
    pub(crate) fn is_started(&self, container: &Container, seen: &Seen) -> bool {
        seen.state == State::Running
            && (container.startup_probe.is_none()
                || self.memory.health.get(&seen.id).is_some_and(|health| health.is_started))
    }

    /// Whether the container counts as ready.
    pub(crate) fn is_ready(&self, container: &Container, seen: &Seen) -> bool {
        self.is_started(container, seen)
            && (container.readiness_probe.is_none()
                || self.memory.health.get(&seen.id).is_some_and(|health| health.is_ready))
    }
}

/// When a container is started again: as it says itself, or as the pod does.
pub(crate) fn restart_policy<'a>(spec: &'a PodSpec, container: &'a Container) -> &'a str {
    let own = container.restart_policy.as_deref();
    own.or(spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// A container that starts before the main ones and goes on running beside them.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
