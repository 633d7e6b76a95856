//! The task of one pod: observe, plan, apply, until nothing is left of it.

use crate::context::Context;
use crate::plan::{self, Plan, Step};
use crate::reports::Report;
use crate::words;
use crate::world::{Ending, Memory, Postponed, Seen, State, WHOLE_POD, World};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Notify, watch};

mod ahead;
mod apply;
mod ends;
mod files;
mod image;
mod last_words;
mod observe;
mod reference;
mod remove;
mod resize;
mod stopping;

pub(crate) use files::remove_logs;

/// How often volumes whose content can change are brought up to date (spec E52).
const REFRESH: Duration = Duration::from_secs(60);
/// How often volumes with a limit are measured (upstream's eviction loop has the same pace).
const MEASURE: Duration = Duration::from_secs(10);
/// How long ErrImagePull is shown before it becomes ImagePullBackOff.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// Wait after the runtime did not answer.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);

/// What the server wants of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// The object as it was last.
    pub(crate) pod: Arc<Pod>,
    /// The server still has it.
    pub(crate) is_known: bool,
    /// Why the node refuses it: reason and message.
    pub(crate) rejection: Option<(String, String)>,
    /// Why the node ends it, if it does.
    pub(crate) ending: Option<Ending>,
    /// Why its new resources have to wait.
    pub(crate) postponed: Option<Postponed>,
}

impl Desired {
    /// Takes the node's order to end the pod: of two the one with less grace stands. Whether it changed anything.
    pub(crate) fn end(&mut self, ending: Ending) -> bool {
        let is_news = self.rejection.is_none() && ending.is_sooner_than(self.ending.as_ref());
        if is_news {
            self.ending = Some(ending);
        }
        is_news
    }
}

/// The task's own state.
pub(crate) struct Worker {
    pub(crate) context: Arc<Context>,
    desired: watch::Receiver<Desired>,
    called: Arc<Notify>,
    /// Whether the node is short of disk.
    short: watch::Receiver<bool>,
    memory: Memory,
    /// The last report is on its way; it is repeated there until it was heard.
    is_end_told: bool,
    /// What was shown last.
    shown: Option<PodStatus>,
    /// Revision of our last write of the status.
    written: Arc<AtomicU64>,
    details: BTreeMap<String, Seen>,
    addresses: BTreeMap<String, Vec<String>>,
    /// The image that each container was to have at the last look.
    images: BTreeMap<String, String>,
    /// The pod's generation at the last look.
    generation: Option<i64>,
    /// What each container's environment was made of last.
    environments: BTreeMap<String, Arc<crate::env::Sources>>,
    /// Stops already announced, by container id.
    announced: BTreeSet<String>,
    /// Back-offs already told, by container name and attempt.
    told: BTreeSet<(String, u32)>,
    /// What was asked for while the sandbox was made.
    ahead: ahead::Ahead,
    probes: crate::probe::Probes,
    files: files::FileWork,
    /// When volumes are looked at again.
    refresh_at: tokio::time::Instant,
    measure_at: tokio::time::Instant,
}

/// How a round ended.
enum Round {
    /// Look again at once.
    Again,
    /// Nothing to do before this moment, or before a call.
    Rest(Option<Timestamp>),
    /// Nothing is left.
    Done,
}

impl Worker {
    pub(crate) fn new(
        context: Arc<Context>,
        desired: watch::Receiver<Desired>,
        called: Arc<Notify>,
    ) -> Self {
        let probes = crate::probe::Probes::new(Arc::clone(&context), Arc::clone(&called));
        Self {
            short: context.is_disk_short.subscribe(),
            context,
            desired,
            called,
            memory: Memory::default(),
            is_end_told: false,
            shown: None,
            written: Arc::default(),
            details: BTreeMap::new(),
            addresses: BTreeMap::new(),
            images: BTreeMap::new(),
            generation: None,
            environments: BTreeMap::new(),
            announced: BTreeSet::new(),
            told: BTreeSet::new(),
            ahead: ahead::Ahead::default(),
            probes,
            files: files::FileWork::new(),
            refresh_at: tokio::time::Instant::now() + REFRESH,
            measure_at: tokio::time::Instant::now() + MEASURE,
        }
    }

    /// Works until nothing of the pod is left here or at the server.
    pub(crate) async fn run(mut self) {
        let mut fetch = None;
        loop {
            let until = match Box::pin(self.round()).await {
                Round::Again => continue,
                Round::Done => return,
                Round::Rest(until) => until,
            };
            if self.rest(until, &mut fetch).await.is_none() {
                return;
            }
        }
    }

    /// `None`: the agent ends. What is fetched from the server meanwhile is kept over several rests: a server that does not
    /// answer holds up nothing else.
    async fn rest(
        &mut self,
        until: Option<Timestamp>,
        fetch: &mut Option<files::Fetch>,
    ) -> Option<()> {
        let clock = self.context.setup.clock.clone();
        let far = tokio::time::Instant::now() + Duration::from_secs(3600);
        let until = until.map_or(far, |until| clock.instant_of(until));
        let (has_changing, is_measured) = (self.has_changing_volumes(), self.is_measured());
        let shows_error =
            self.memory.troubles.values().any(|t| t.reason == words::reason::ERR_IMAGE_PULL);
        let mut network = self.context.network.clone();
        network.mark_unchanged();
        tokio::select! {
            biased;
            changed = self.desired.changed() => changed.ok()?,
            () = self.called.notified() => {}
            changed = network.changed() => changed.ok()?,
            changed = self.short.changed() => changed.ok()?,
            () = tokio::time::sleep_until(until) => {}
            () = tokio::time::sleep(PULL_ERROR_SHOWN), if shows_error => self.settle_pulls(),
            () = tokio::time::sleep_until(self.refresh_at), if has_changing && fetch.is_none() => {
                *fetch = Some(self.fetch());
            }
            fetched = files::fetched(fetch) => {
                *fetch = None;
                self.refresh(fetched).await;
            }
            () = tokio::time::sleep_until(self.measure_at), if is_measured => {
                self.measure_at = tokio::time::Instant::now() + MEASURE;
                self.measure().await;
            }
        }
        Some(())
    }

    fn has_changing_volumes(&self) -> bool {
        let desired = self.desired.borrow();
        let volumes = desired.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        self.memory.is_prepared
            && !self.memory.is_cleaned
            && desired.is_known
            && volumes.into_iter().any(crate::volumes::changes)
    }

    async fn round(&mut self) -> Round {
        let desired = self.desired.borrow_and_update().clone();
        if desired.rejection.is_some() {
            self.memory.rejection.clone_from(&desired.rejection);
        }
        self.note_images(&desired.pod);
        let ordered = desired.ending.clone();
        let before = desired.clone();
        let world = match self.observe(desired).await {
            Ok(world) => world,
            Err(failure) => {
                tracing::debug!("the runtime does not answer: {failure}");
                tokio::time::sleep(RUNTIME_RETRY).await;
                return Round::Again;
            }
        };
        // read after the look: nothing that was seen lies in the future
        let now = self.context.setup.clock.now();
        if self.take_order(ordered, &world, now) || self.end_at_deadline(&world, now) {
            return Round::Again;
        }
        let plan = plan::plan(&world, now);
        self.show(&world, now, false);
        self.tell_back_offs(&world, now);
        self.tell_postponed(&world);
        if plan.steps.is_empty() {
            if let (Some(trouble), true) = (&world.network_trouble, world.sandboxes.is_empty())
                && world.spec().host_network != Some(true)
                && self.told.insert((words::reason::NETWORK_NOT_READY.to_owned(), 0))
            {
                let message = format!("network is not ready: {trouble}");
                let reason = words::reason::NETWORK_NOT_READY;
                self.context.tell(&world.pod, "", true, reason, message);
            }
            let soon = next_look(&world, now);
            let deadline = world.deadline().filter(|at| *at > now);
            return Round::Rest(plan.again_at.into_iter().chain(soon).chain(deadline).min());
        }
        Box::pin(self.apply(&world, plan, &before)).await
    }

    /// `before` is what the plan was made of: what was asked for since may cut a step short.
    async fn apply(&mut self, world: &World, plan: Plan, before: &Desired) -> Round {
        for step in plan.steps {
            if step == Step::Finish {
                if !world.is_known {
                    return Round::Done;
                }
                if !self.is_end_told {
                    self.is_end_told = true;
                    let now = self.context.setup.clock.now();
                    self.show(world, now, true);
                }
                // the server answers by removing the object, and then there is a call
                return Round::Rest(None);
            }
            let step = match step {
                Step::Stop(stops) => match self.stop_all(world, stops, before).await {
                    Some(Ok(())) => continue,
                    Some(Err(())) | None => return Round::Again,
                },
                other => other,
            };
            // what ends is not given up for the news that the pod has ended
            let is_ending = !matches!(
                step,
                Step::Prepare
                    | Step::RunSandbox { .. }
                    | Step::Start { .. }
                    | Step::Resize(_)
                    | Step::Finish
            );
            let mut desired = self.desired.clone();
            let name = format!("{step:?}");
            let clock = self.context.setup.clock.clone();
            let is_running_out = self.memory.ending.is_none() && !world.is_deleted() && !is_ending;
            let deadline = world.deadline().filter(|at| is_running_out && *at > clock.now());
            let deadline = deadline.map(|at| clock.instant_of(at));
            let far = tokio::time::Instant::now();
            let done = tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline.unwrap_or(far)), if deadline.is_some() => return Round::Again,
                () = interrupted(&mut desired, before, is_ending) => return Round::Again,
                done = self.step(world, step) => done,
            };
            if let Err(()) = done {
                tracing::debug!(step = name, "step failed");
                return Round::Again;
            }
        }
        Round::Again
    }

    /// Reports the status if it differs from the one reported last.
    fn show(&mut self, world: &World, now: Timestamp, is_final: bool) {
        if !world.is_known || (self.is_end_told && !is_final) {
            return;
        }
        let empty = PodStatus::default();
        let at_server = world.pod.status.as_ref().unwrap_or(&empty);
        let mut previous = self.shown.clone().unwrap_or_else(|| at_server.clone());
        take_others_conditions(&mut previous, at_server);
        let mut status = plan::status::status(world, &previous, now);
        if is_final && !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            status.phase = Some("Failed".to_owned());
        }
        let is_news = self.shown.as_ref().unwrap_or(at_server) != &status;
        if is_news || is_final {
            let meta = &world.pod.metadata;
            self.context.reports.put(Report {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
                uid: meta.uid.clone().unwrap_or_default(),
                status: status.clone(),
                revision: kit::revision_of(meta.resource_version.as_deref()),
                written: Arc::clone(&self.written),
                is_spared: has_own_disruption(at_server) && !has_own_disruption(&status),
                old_addresses: at_server
                    .pod_ips
                    .iter()
                    .flatten()
                    .map(|one| one.ip.clone())
                    .collect(),
                is_final,
            });
        }
        self.shown = Some(status);
    }

    /// One event for each wait before a start (spec E33).
    fn tell_back_offs(&mut self, world: &World, now: Timestamp) {
        let spec = world.spec();
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            let Some(seen) = world.latest(&container.name) else { continue };
            let hold =
                seen.finished_at.and_then(|at| world.memory.restart_hold(&container.name, at, now));
            let is_waiting = seen.state == State::Exited && hold.is_some() && !world.is_deleted();
            if is_waiting && self.told.insert((container.name.clone(), seen.attempt)) {
                let message = format!(
                    "Back-off restarting failed container {} in pod {}",
                    container.name,
                    crate::text::pod_name(&world.pod)
                );
                let reason = words::reason::BACK_OFF;
                self.context.tell(&world.pod, &container.name, true, reason, message);
            }
        }
    }

    fn failed(&mut self, name: &str, reason: &'static str, message: String) {
        // the next attempt asks anew for all it needs
        self.ahead = ahead::Ahead::default();
        let now = self.context.setup.clock.now();
        self.memory.failed(name, reason, message, now);
    }
}

/// The end of an init container is waited for by the whole pod: it is looked for more often than the relist does, at
/// first every 20 ms, later after an eighth of its age.
fn next_look(world: &World, now: Timestamp) -> Option<Timestamp> {
    let inits = world.spec().init_containers.iter().flatten();
    let ordinary = inits.filter(|container| !crate::world::is_sidecar(container));
    let running = ordinary
        .filter_map(|container| world.latest(&container.name))
        .find(|seen| seen.state == State::Running)?;
    let age = running.started_at.map(|at| now.duration_since(at)).unwrap_or_default();
    let pause = Duration::try_from(age).unwrap_or_default() / 8;
    now.checked_add(pause.clamp(Duration::from_millis(20), Duration::from_secs(1))).ok()
}

/// Returns when what is being done should be given up: the pod is to end, or to end sooner.
async fn interrupted(desired: &mut watch::Receiver<Desired>, before: &Desired, is_ending: bool) {
    let urgency = |desired: &Desired| {
        let meta = &desired.pod.metadata;
        let own = meta.deletion_grace_period_seconds.filter(|_| meta.deletion_timestamp.is_some());
        let own = own.map(|seconds| Duration::from_secs(seconds.try_into().unwrap_or(0)));
        let ordered = desired.ending.as_ref().and_then(|ending| ending.grace);
        (
            !desired.is_known,
            std::cmp::Reverse(own.into_iter().chain(ordered).min().unwrap_or(Duration::MAX)),
            desired.rejection.is_some()
                || desired.ending.is_some()
                || plan::status::final_phase(&desired.pod).is_some(),
        )
    };
    let first = urgency(before);
    loop {
        {
            let now = urgency(&desired.borrow_and_update());
            // an ordinary end already under way is only cut short by a shorter grace
            let is_sooner = if is_ending { now.1 > first.1 } else { now > first };
            if is_sooner {
                return;
            }
        }
        if desired.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn has_own_disruption(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(plan::status::is_own_disruption)
}

/// Conditions that others write are kept as the server shows them.
fn take_others_conditions(previous: &mut PodStatus, at_server: &PodStatus) {
    for other in at_server.conditions.iter().flatten() {
        let list = previous.conditions.get_or_insert_default();
        match list.iter_mut().find(|one| one.type_ == other.type_) {
            None => list.push(other.clone()),
            Some(own) if !plan::status::is_ours(&other.type_) => own.clone_from(other),
            Some(_) => {}
        }
    }
}

/// A container of the pod, by name.
fn container<'a>(world: &'a World, name: &str) -> Option<&'a Container> {
    let spec = world.spec();
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name)
}

/// One failed step; the worker has noted why.
type Done = Result<(), ()>;

impl Worker {
    async fn step(&mut self, world: &World, step: Step) -> Done {
        match step {
            Step::Prepare => self.prepare(world).await,
            Step::RunSandbox { attempt } => self.run_sandbox(world, attempt).await,
            Step::Start { name, attempt, finished } => {
                if let Some(finished) = finished {
                    let now = self.context.setup.clock.now();
                    self.memory.restarted(&name, finished, now);
                }
                self.start(world, &name, attempt).await
            }
            Step::Resize(ids) => self.resize(world, ids).await,
            Step::RemoveContainer(id) => {
                self.unlink_logs(&id);
                let done = self.remove_container(world, &id).await;
                self.noted(world, done)
            }
            Step::StopSandbox(id) => {
                let done = self.context.runtime.stop_sandbox(&id).await;
                self.noted(world, done.map_err(|failure| failure.message))
            }
            Step::RemoveSandbox(id) => {
                let done = self.remove_sandbox(world, &id).await;
                self.noted(world, done)
            }
            Step::Empty => {
                let done = self.empty(world).await;
                self.noted(world, done)
            }
            Step::DropLogs => {
                let done = self.drop_logs(world).await;
                self.noted(world, done)
            }
            Step::CleanUp => {
                let done = self.clean_up(world).await;
                self.noted(world, done)
            }
            // taken care of by the callers
            Step::Stop(_) | Step::Finish => Ok(()),
        }
    }

    fn noted(&mut self, world: &World, done: Result<(), String>) -> Done {
        if done.is_ok() {
            self.memory.troubles.remove(WHOLE_POD);
        }
        done.map_err(|message| {
            let text = format!("error killing pod: {message}");
            self.context.tell(&world.pod, "", true, words::reason::FAILED_KILL_POD, text.clone());
            self.failed(WHOLE_POD, words::reason::FAILED_KILL_POD, text);
        })
    }
}

#[cfg(test)]
mod tests;
