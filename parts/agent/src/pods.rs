//! All pods of the node: one task for each that the server or the runtime knows.

use crate::context::Context;
use crate::cri::v1;
use crate::pod::{Desired, Worker};
use crate::pressure::watch::{Order, Told};
use crate::shutdown::Stage;
use crate::words;
use crate::world::{self, Postponed};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::{Cache, Change};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// How often the runtime is asked for everything where it tells of changes itself, and where it does not.
const RELIST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// Tasks that ended and are not yet forgotten. A node has 110 pods; ten times as many cannot end at once.
const ENDED_MAX: usize = 1024;

/// What the runtime says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeHealth {
    /// Why it cannot be used; `None` while it answers.
    pub(crate) problem: Option<String>,
}

struct Task {
    desired: watch::Sender<Desired>,
    called: Arc<Notify>,
}

/// Keeps a task for every pod.
pub(crate) struct Pods {
    context: Arc<Context>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    tasks: BTreeMap<String, Task>,
    /// Objects as they were last, of pods that the server has deleted.
    deleted: BTreeMap<String, Arc<Pod>>,
    /// Containers and states by pod uid, as of the last relist.
    seen: BTreeMap<String, BTreeSet<(String, i32)>>,
    ended: (mpsc::Sender<String>, mpsc::Receiver<String>),
    health: watch::Sender<RuntimeHealth>,
    has_events: bool,
    is_pruned: bool,
    /// How far the node is on its way down.
    stage: watch::Receiver<Option<Stage>>,
    /// What the node is short of, and who ends for it.
    short: Told,
}

impl Pods {
    pub(crate) fn new(
        context: Arc<Context>,
        (pods, nodes): (Cache<Pod>, Cache<Node>),
        health: watch::Sender<RuntimeHealth>,
        stage: watch::Receiver<Option<Stage>>,
        short: Told,
    ) -> Self {
        Self {
            context,
            pods,
            nodes,
            tasks: BTreeMap::new(),
            deleted: BTreeMap::new(),
            seen: BTreeMap::new(),
            ended: mpsc::channel(ENDED_MAX),
            health,
            has_events: false,
            is_pruned: false,
            stage,
            short,
        }
    }

    /// Works for as long as the agent runs. `events` is called when the runtime tells of a change.
    pub(crate) async fn run(mut self, events: Arc<Notify>, mut has_events: watch::Receiver<bool>) {
        let mut changes = self.pods.subscribe();
        // nothing is decided before the server's first answer: what runs goes on running
        self.pods.synced().await;
        self.nodes.synced().await;
        self.dispatch();
        let mut next = tokio::time::Instant::now();
        loop {
            let is_told = *has_events.borrow_and_update();
            tokio::select! {
                biased;
                Some(uid) = self.ended.1.recv() => self.forget(&uid),
                change = changes.next() => {
                    if let Change::Deleted(pod) = change {
                        self.deleted.insert(uid_of(&pod), pod);
                    }
                    self.dispatch();
                }
                Ok(()) = self.stage.changed() => self.end_by_class(),
                Some(order) = self.short.orders.recv() => self.evict(order),
                () = events.notified() => self.relist().await,
                changed = has_events.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.has_events = *has_events.borrow();
                }
                () = tokio::time::sleep_until(next) => {
                    self.relist().await;
                    let pause = if is_told { RELIST.0 } else { RELIST.1 };
                    next = tokio::time::Instant::now() + pause;
                }
            }
        }
    }

    /// The node shuts down: those whose turn it is end now.
    fn end_by_class(&mut self) {
        let Some(stage) = *self.stage.borrow_and_update() else { return };
        for task in self.tasks.values() {
            task.desired.send_if_modified(|desired| {
                stage.ending(&desired.pod).is_some_and(|ending| desired.end(ending))
            });
        }
    }

    /// The node is short of something: this one ends.
    fn evict(&self, order: Order) {
        let Some(task) = self.tasks.get(&order.uid) else { return };
        let mut told = None;
        task.desired.send_if_modified(|desired| {
            // the pod may have ended since it was chosen
            let is_over = crate::plan::status::final_phase(&desired.pod).is_some();
            let message = order.ending.message.clone();
            let is_news = !is_over && desired.end(order.ending);
            if is_news {
                told = Some((Arc::clone(&desired.pod), message));
            }
            is_news
        });
        if let Some((pod, message)) = told {
            self.context.tell(&pod, "", true, words::reason::EVICTED, message);
        }
    }

    fn forget(&mut self, uid: &str) {
        self.tasks.remove(uid);
        self.deleted.remove(uid);
        self.dispatch();
    }

    /// Tells every task what the server wants now.
    fn dispatch(&mut self) {
        let all = self.pods.list();
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut fresh: Vec<Arc<Pod>> = Vec::new();
        let room = self.nodes.list().first().map(|node| fit::Amounts::allocatable(node));
        for pod in &all {
            let postponed = room.as_ref().and_then(|room| postponed(pod, &all, room));
            let uid = uid_of(pod);
            known.insert(uid.clone());
            match self.tasks.get(&uid) {
                Some(task) => {
                    task.desired.send_if_modified(|desired| {
                        let is_news = !Arc::ptr_eq(&desired.pod, pod)
                            || !desired.is_known
                            || desired.postponed != postponed;
                        desired.postponed = postponed;
                        desired.pod = Arc::clone(pod);
                        desired.is_known = true;
                        is_news
                    });
                }
                None => fresh.push(Arc::clone(pod)),
            }
        }
        // the oldest first, so that it is the newest that finds no room
        fresh.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
        for pod in fresh {
            let rejection = self.judge(&pod);
            let postponed = room.as_ref().and_then(|room| postponed(&pod, &all, room));
            self.start(Desired { pod, is_known: true, rejection, ending: None, postponed });
        }
        for (uid, task) in self.tasks.iter().filter(|(uid, _)| !known.contains(*uid)) {
            let last = self.deleted.get(uid).cloned();
            task.desired.send_if_modified(|desired| {
                let is_news = desired.is_known;
                if let (true, Some(last)) = (is_news, last) {
                    desired.pod = last;
                }
                desired.is_known = false;
                is_news
            });
        }
    }

    /// Why a pod that is seen for the first time cannot stay. Pods that were taken before are not judged again.
    fn judge(&self, pod: &Pod) -> Option<(String, String)> {
        let status = pod.status.as_ref();
        let was_taken = status.is_some_and(|status| status.start_time.is_some());
        let is_over = status
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
        let uid = uid_of(pod);
        if was_taken
            || is_over
            || pod.metadata.deletion_timestamp.is_some()
            || self.seen.contains_key(&uid)
        {
            return None;
        }
        if self.stage.borrow().is_some() {
            let refusal = crate::shutdown::rejection();
            self.context.tell(pod, "", true, words::rejection_event(&refusal.0), refusal.1.clone());
            return Some(refusal);
        }
        if let Some(refusal) = crate::pressure::refusal(&self.short.conditions.borrow(), pod) {
            self.context.tell(pod, "", true, words::rejection_event(&refusal.0), refusal.1.clone());
            return Some(refusal);
        }
        let node = self.nodes.list().first().cloned()?;
        let taken: Vec<Arc<Pod>> = self
            .tasks
            .values()
            .map(|task| task.desired.borrow().clone())
            .filter(|desired| desired.is_known && desired.rejection.is_none())
            .filter(|desired| crate::plan::status::final_phase(&desired.pod).is_none())
            .map(|desired| desired.pod)
            .collect();
        let kernel =
            || crate::admission::without_apparmor(pod).filter(|_| !self.context.has_apparmor);
        let refusal = crate::admission::refusal(pod, &node, taken.iter().map(AsRef::as_ref));
        let refusal = crate::admission::sysctls::refusal(pod).or(refusal).or_else(kernel)?;
        let reason = words::rejection_event(&refusal.0);
        self.context.tell(pod, "", true, reason, refusal.1.clone());
        Some(refusal)
    }

    fn start(&mut self, desired: Desired) {
        let uid = uid_of(&desired.pod);
        let name = format!("pod {}", crate::text::pod_name(&desired.pod));
        let (sender, receiver) = watch::channel(desired);
        let called = Arc::new(Notify::new());
        let worker = Worker::new(Arc::clone(&self.context), receiver, Arc::clone(&called));
        let ended = self.ended.0.clone();
        self.tasks.insert(uid.clone(), Task { desired: sender, called });
        self.context.setup.tasks.spawn(name, async move {
            worker.run().await;
            // fails only when the agent ends
            let _ = ended.send(uid).await;
        });
    }

    /// Looks at everything that the runtime has of ours, and calls the tasks whose containers changed.
    async fn relist(&mut self) {
        let ours: BTreeMap<String, String> =
            [(words::OUR_NODE.to_owned(), self.context.name.clone())].into();
        let runtime = &self.context.runtime;
        let listed = futures::try_join!(runtime.sandboxes(&ours), runtime.containers(&ours));
        let (sandboxes, containers) = match listed {
            Ok(both) => both,
            Err(failure) => {
                let problem = format!("{}: {failure}", runtime.socket().display());
                self.health.send_if_modified(|health| {
                    let is_news = health.problem.is_none();
                    if is_news {
                        tracing::warn!("the container runtime does not answer: {problem}");
                    }
                    health.problem = Some(problem);
                    is_news
                });
                return;
            }
        };
        self.health.send_if_modified(|health| health.problem.take().is_some());
        let now = states(&sandboxes, &containers);
        for (uid, state) in &now {
            if let Some(task) = self.tasks.get(uid) {
                if self.seen.get(uid) != Some(state) {
                    task.called.notify_one();
                }
            } else if let Some(pod) = stranger(&sandboxes, uid) {
                // the server does not know it: it is ended and removed
                self.start(Desired {
                    pod: Arc::new(pod),
                    is_known: false,
                    rejection: None,
                    ending: None,
                    postponed: None,
                });
            }
        }
        for uid in self.seen.keys().filter(|uid| !now.contains_key(*uid)) {
            if let Some(task) = self.tasks.get(uid) {
                task.called.notify_one();
            }
        }
        self.seen = now;
        if !self.is_pruned {
            self.is_pruned = true;
            self.prune();
        }
    }

    /// Removes folders, logs and cgroups of pods that neither the server nor the runtime knows: left by a crash.
    fn prune(&self) {
        let context = &self.context;
        for (uid, path) in crate::cgroups::pods(&context.layout, &context.cgroup_root) {
            if !self.tasks.contains_key(&uid)
                && let Err(error) = crate::cgroups::remove(&context.layout, &path)
            {
                tracing::warn!("the left-over cgroup {path} stays: {error}");
            }
        }
        for entry in std::fs::read_dir(context.root.join("pods")).into_iter().flatten().flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if !self.tasks.contains_key(&uid)
                && let Err(error) = crate::volumes::remove(&context.root, &uid)
            {
                tracing::warn!("left-over files of the pod {uid} stay: {error}");
            }
        }
        for entry in std::fs::read_dir(&context.pod_logs).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // NAMESPACE_NAME_UID
            let is_known = name.rsplit('_').next().is_some_and(|uid| self.tasks.contains_key(uid));
            if !is_known
                && let Err(error) = crate::pod::remove_logs(&entry.path(), &context.container_logs)
            {
                tracing::warn!("left-over logs in {name} stay: {error}");
            }
        }
    }
}

/// Why the new resources of a pod that was changed have to wait.
fn postponed(pod: &Pod, all: &[Arc<Pod>], room: &fit::Amounts) -> Option<Postponed> {
    // nothing of its spec was changed since it was made
    if pod.metadata.generation.unwrap_or(1) <= 1 {
        return None;
    }
    let mut used = fit::Amounts::default();
    for other in all {
        let is_over = crate::plan::status::final_phase(other).is_some();
        if !is_over && other.metadata.uid != pod.metadata.uid {
            used.add(&fit::Amounts::promised(other));
        }
    }
    world::postponed(pod, room, &used)
}

fn uid_of(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

fn states(
    sandboxes: &[v1::PodSandbox],
    containers: &[v1::Container],
) -> BTreeMap<String, BTreeSet<(String, i32)>> {
    let mut all: BTreeMap<String, BTreeSet<(String, i32)>> = BTreeMap::new();
    let mut add = |labels: &BTreeMap<String, String>, id: &str, state: i32| {
        if let Some(uid) = labels.get(words::POD_UID) {
            all.entry(uid.clone()).or_default().insert((id.to_owned(), state));
        }
    };
    for sandbox in sandboxes {
        add(&sandbox.labels, &sandbox.id, sandbox.state);
    }
    for container in containers {
        add(&container.labels, &container.id, container.state);
    }
    all
}

/// A pod of which only the runtime knows.
fn stranger(sandboxes: &[v1::PodSandbox], uid: &str) -> Option<Pod> {
    let sandbox = sandboxes
        .iter()
        .find(|sandbox| sandbox.labels.get(words::POD_UID).is_some_and(|own| own == uid))?;
    let grace = sandbox.annotations.get(words::GRACE).and_then(|grace| grace.parse().ok());
    let metadata = ObjectMeta {
        name: sandbox.labels.get(words::POD_NAME).cloned(),
        namespace: sandbox.labels.get(words::POD_NAMESPACE).cloned(),
        uid: Some(uid.to_owned()),
        deletion_grace_period_seconds: grace,
        ..ObjectMeta::default()
    };
    Some(Pod { metadata, ..Pod::default() })
}

/// Listens to the runtime's own news of changes, where it has any.
pub(crate) async fn listen(
    context: Arc<Context>,
    called: Arc<Notify>,
    has_events: watch::Sender<bool>,
) {
    loop {
        match context.runtime.events().await {
            Ok(mut stream) => {
                has_events.send_replace(true);
                called.notify_one();
                while let Ok(Some(_)) = stream.message().await {
                    called.notify_one();
                }
                has_events.send_replace(false);
            }
            Err(failure) if failure.is_unimplemented => {
                tracing::info!("the runtime tells of no changes: it is asked every {:?}", RELIST.1);
                // the sender must live: its end would end the pods' loop
                std::future::pending::<()>().await;
            }
            Err(failure) => tracing::debug!("no stream of changes: {failure}"),
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[cfg(test)]
mod tests;
