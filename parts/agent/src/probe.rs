//! Probes of running containers (spec E40 to E45).

use crate::context::Context;
use crate::pod::Desired;
use crate::text::go_duration;
use crate::words::reason;
use crate::world::{Health, Sandbox, Seen, State, is_sidecar};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) mod http;

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
    running: BTreeMap<String, CancellationToken>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        for token in self.running.values() {
            token.cancel();
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
    is_new: bool,
}

impl Probes {
    pub(crate) fn new(context: Arc<Context>, called: Arc<Notify>) -> Self {
        Self { context, called, health: Arc::default(), running: BTreeMap::new() }
    }

    /// Starts probes of new containers, ends those of ended ones; what all of them say now.
    pub(crate) fn look(
        &mut self,
        desired: &Desired,
        seen: &[Seen],
        sandboxes: &[Sandbox],
    ) -> BTreeMap<String, Health> {
        let is_alive = |id: &String| seen.iter().any(|s| s.id == *id && s.state == State::Running);
        self.running.retain(|id, token| {
            let keep = is_alive(id);
            if !keep {
                token.cancel();
            }
            keep
        });
        self.health.lock().retain(|id, _| is_alive(id));
        let Some(spec) = &desired.pod.spec else { return BTreeMap::new() };
        let sidecars = spec.init_containers.iter().flatten().filter(|one| is_sidecar(one));
        for container in spec.containers.iter().chain(sidecars) {
            let probes = [
                (Kind::Startup, &container.startup_probe),
                (Kind::Liveness, &container.liveness_probe),
                (Kind::Readiness, &container.readiness_probe),
            ];
            if probes.iter().all(|(_, probe)| probe.is_none()) {
                continue;
            }
            let running =
                seen.iter().find(|s| s.name == container.name && s.state == State::Running);
            let Some(running) = running.filter(|s| !self.running.contains_key(&s.id)) else {
                continue;
            };
            let own = sandboxes.first().and_then(|sandbox| sandbox.addresses.first());
            let host = own.or_else(|| self.context.addresses.first()).cloned().unwrap_or_default();
            let first = first_health(&desired.pod, container, running);
            self.health.lock().insert(running.id.clone(), first.clone());
            let token = CancellationToken::new();
            self.running.insert(running.id.clone(), token.clone());
            for (kind, probe) in probes {
                let Some(probe) = probe.clone() else { continue };
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
                    is_new: !first.is_started,
                };
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
        self.health.lock().clone()
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

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

impl Task {
    async fn run(self) {
        if self.kind == Kind::Startup && !self.is_new {
            return;
        }
        while self.kind != Kind::Startup && !self.now().is_started {
            // the startup probe has its own pace; a second is fine enough to follow it
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0)).await;
        let (mut good, mut bad) = (0, 0);
        loop {
            match self.once().await {
                Answer::Success => {
                    (good, bad) = (good + 1, 0);
                    if good >= self.probe.success_threshold.unwrap_or(1) && self.passed() {
                        return;
                    }
                }
                Answer::Failure(output) => {
                    (good, bad) = (0, bad + 1);
                    self.tell(format!("{} probe failed: {output}", self.kind.name()));
                    if bad >= self.probe.failure_threshold.unwrap_or(3) && self.gave_up() {
                        return;
                    }
                }
                Answer::Broken(problem) => {
                    self.tell(format!("{} probe errored: {problem}", self.kind.name()));
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    fn now(&self) -> Health {
        self.health.lock().get(&self.id).cloned().unwrap_or_default()
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

    /// Whether this probe is finished.
    fn passed(&self) -> bool {
        match self.kind {
            Kind::Startup => self.change(|health| health.is_started = true),
            Kind::Readiness => self.change(|health| health.is_ready = true),
            Kind::Liveness => {}
        }
        self.kind == Kind::Startup
    }

    /// Whether this probe is finished.
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

    fn tell(&self, text: String) {
        self.context.tell(&self.pod, &self.container.name, true, reason::UNHEALTHY, text);
    }

    async fn once(&self) -> Answer {
        let patience = seconds(self.probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let work = self.ask(patience);
        let late = || Answer::Failure(format!("no answer within {}", go_duration(patience)));
        tokio::time::timeout(patience, work).await.unwrap_or_else(|_| late())
    }

    async fn ask(&self, patience: Duration) -> Answer {
        if let Some(exec) = &self.probe.exec {
            let command = exec.command.clone().unwrap_or_default();
            return match self.context.runtime.exec(&self.id, command, patience).await {
                Ok(answer) if answer.exit_code == 0 => Answer::Success,
                Ok(answer) => {
                    let both = [answer.stdout, answer.stderr].concat();
                    Answer::Failure(String::from_utf8_lossy(&both).into_owned())
                }
                Err(failure) => Answer::Broken(failure.message),
            };
        }
        if let Some(wanted) = &self.probe.http_get {
            let target = match http::Target::of(wanted, &self.container, &self.host) {
                Ok(target) => target,
                Err(problem) => return Answer::Broken(problem),
            };
            return match http::get(&target).await {
                Ok(code) if (200..400).contains(&code) => Answer::Success,
                Ok(code) => Answer::Failure(format!("HTTP probe failed with statuscode: {code}")),
                Err(problem) => Answer::Failure(problem),
            };
        }
        if let Some(tcp) = &self.probe.tcp_socket {
            let host = tcp.host.clone().unwrap_or_else(|| self.host.clone());
            let Some(port) = http::port(&tcp.port, &self.container) else {
                return Answer::Broken("the port has no number".to_owned());
            };
            return match tokio::net::TcpStream::connect((host.as_str(), port)).await {
                Ok(_) => Answer::Success,
                Err(error) => Answer::Failure(format!("dial tcp {host}:{port}: {error}")),
            };
        }
        Answer::Broken(
            "this agent runs exec, httpGet and tcpSocket probes; this one is of another kind"
                .to_owned(),
        )
    }
}

enum Answer {
    Success,
    Failure(String),
    /// The probe could not run: no result.
    Broken(String),
}
