//! Probes of running containers (spec E40 to E45).

use crate::context::Context;
use crate::pod::Desired;
use crate::words::reason;
use crate::world::{Health, Sandbox, Seen, State, is_sidecar};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

mod ask;
mod grpc;
pub(crate) mod http;
mod pace;

/// Which question a probe answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

type Shared = Arc<Mutex<BTreeMap<String, Health>>>;

/// The probes of one pod's containers.
pub(crate) struct Probes {
    context: Arc<Context>,
    called: Arc<Notify>,
    health: Shared,
    running: BTreeMap<String, Running>,
}

/// Ends the probes of one container.
#[derive(Clone)]
struct Running {
    all: CancellationToken,
    /// Those that could kill it: they cease when the pod is ending (spec E34).
    deadly: CancellationToken,
}

impl Drop for Probes {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.all.cancel();
        }
    }
}

/// What one probe needs.
struct Task {
    context: Arc<Context>,
    called: Arc<Notify>,
    health: Shared,
    pod: Arc<Pod>,
    container: Container,
    id: String,
    kind: Kind,
    probe: Probe,
    host: String,
    /// The startup probe succeeded, or there is none.
    gate: watch::Sender<bool>,
    /// How long the container has been running.
    age: Duration,
}

impl Probes {
    pub(crate) fn new(context: Arc<Context>, called: Arc<Notify>) -> Self {
        Self { context, called, health: Arc::default(), running: BTreeMap::new() }
    }

    /// Starts probes of new containers, ends those of ended ones; what all of them say now.
    pub(crate) fn look(
        &mut self,
        desired: &Desired,
        is_ending: bool,
        seen: &[Seen],
        sandboxes: &[Sandbox],
    ) -> BTreeMap<String, Health> {
        let is_alive = |id: &String| seen.iter().any(|s| s.id == *id && s.state == State::Running);
        self.running.retain(|id, running| {
            let keep = is_alive(id);
            if !keep {
                running.all.cancel();
            }
            if is_ending {
                running.deadly.cancel();
            }
            keep
        });
        self.health.lock().retain(|id, _| is_alive(id));
        let Some(spec) = &desired.pod.spec else { return BTreeMap::new() };
        let sidecars = spec.init_containers.iter().flatten().filter(|one| is_sidecar(one));
        for container in spec.containers.iter().chain(sidecars) {
            let running =
                seen.iter().find(|s| s.name == container.name && s.state == State::Running);
            if let Some(running) = running.filter(|s| !self.running.contains_key(&s.id)) {
                let own = sandboxes.first().and_then(|sandbox| sandbox.addresses.first());
                let host = own.or_else(|| self.context.addresses.first()).cloned();
                self.start(desired, container, running, host.unwrap_or_default());
            }
        }
        self.health.lock().clone()
    }

    /// What they say now.
    pub(crate) fn health(&self) -> BTreeMap<String, Health> {
        self.health.lock().clone()
    }

    fn start(&mut self, desired: &Desired, container: &Container, running: &Seen, host: String) {
        let probes = [
            (Kind::Startup, &container.startup_probe),
            (Kind::Liveness, &container.liveness_probe),
            (Kind::Readiness, &container.readiness_probe),
        ];
        if probes.iter().all(|(_, probe)| probe.is_none()) {
            return;
        }
        let first = first_health(&desired.pod, container, running);
        self.health.lock().insert(running.id.clone(), first.clone());
        let all = CancellationToken::new();
        let tokens = Running { deadly: all.child_token(), all };
        self.running.insert(running.id.clone(), tokens.clone());
        let (gate, _) = watch::channel(first.is_started);
        let now = self.context.setup.clock.now();
        let age = running.started_at.map(|at| now.duration_since(at)).unwrap_or_default();
        for (kind, probe) in probes {
            let Some(probe) = probe.clone() else { continue };
            if kind == Kind::Startup && first.is_started {
                continue;
            }
            let task = Task {
                context: Arc::clone(&self.context),
                called: Arc::clone(&self.called),
                health: Arc::clone(&self.health),
                pod: Arc::clone(&desired.pod),
                container: container.clone(),
                id: running.id.clone(),
                kind,
                probe,
                host: host.clone(),
                gate: gate.clone(),
                age: Duration::try_from(age).unwrap_or_default(),
            };
            let token = if kind == Kind::Readiness { &tokens.all } else { &tokens.deadly };
            let token = token.clone();
            let name = format!("probe {} {}", kind.name(), container.name);
            self.context.setup.tasks.spawn(name, async move {
                tokio::select! {
                    biased;
                    () = token.cancelled() => {}
                    () = task.run() => {}
                }
            });
        }
    }
}

/// A container that was ready before the agent started again still is (spec E45).
fn first_health(pod: &Pod, container: &Container, seen: &Seen) -> Health {
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
    });
    let mut all = all.filter(|one| one.name == container.name);
    let shown = all.find(|one| one.container_id.as_ref().is_some_and(|id| id.ends_with(&seen.id)));
    Health {
        is_ready: container.readiness_probe.is_none() || shown.is_some_and(|one| one.ready),
        is_started: container.startup_probe.is_none()
            || shown.is_some_and(|one| one.started == Some(true)),
        condemned: None,
    }
}

impl Task {
    async fn run(self) {
        let pace = pace::Pace::of(&self.probe, self.age);
        if self.kind != Kind::Startup {
            let mut gate = self.gate.subscribe();
            // the sender is our own: it is not gone before us
            let _ = gate.wait_for(|is_started| *is_started).await;
        }
        let asks = || async {
            let wanted = ask::Wanted {
                runtime: &self.context.runtime,
                id: &self.id,
                container: &self.container,
                host: &self.host,
            };
            ask::once(&self.probe, &wanted).await
        };
        pace.keep(asks, |heard| self.hear(heard)).await;
    }

    /// Whether this probe is finished.
    fn hear(&self, heard: pace::Heard) -> bool {
        let kind = self.kind.name();
        match heard {
            pace::Heard::Failed(output) => {
                self.tell(reason::UNHEALTHY, format!("{kind} probe failed: {output}"));
            }
            pace::Heard::Broken(why) => {
                self.tell(reason::UNHEALTHY, format!("{kind} probe errored: {why}"));
            }
            pace::Heard::Warned(why) => {
                self.tell(reason::PROBE_WARNING, format!("{kind} probe warning: {why}"));
            }
            pace::Heard::Passed => return self.passed(),
            pace::Heard::GaveUp => return self.gave_up(),
        }
        false
    }

    fn change(&self, change: impl FnOnce(&mut Health)) {
        let is_news = {
            let mut all = self.health.lock();
            let Some(health) = all.get_mut(&self.id) else { return };
            let before = health.clone();
            change(health);
            before != *health
        };
        if is_news {
            self.called.notify_one();
        }
    }

    fn passed(&self) -> bool {
        match self.kind {
            Kind::Startup => {
                self.change(|health| health.is_started = true);
                self.gate.send_replace(true);
            }
            Kind::Readiness => self.change(|health| health.is_ready = true),
            Kind::Liveness => {}
        }
        self.kind == Kind::Startup
    }

    fn gave_up(&self) -> bool {
        if self.kind == Kind::Readiness {
            self.change(|health| health.is_ready = false);
            return false;
        }
        let kind = self.kind.name().to_lowercase();
        let text =
            format!("Container {} failed {kind} probe, will be restarted", self.container.name);
        let grace = self.probe.termination_grace_period_seconds;
        let grace = grace.and_then(|grace| u64::try_from(grace).ok()).map(Duration::from_secs);
        self.change(|health| health.condemned = Some((text, grace)));
        true
    }

    fn tell(&self, reason: &'static str, text: String) {
        self.context.tell(&self.pod, &self.container.name, true, reason, text);
    }
}
