//! The scheduler's one task: takes in changes, decides about one pod at a time, lets requests run beside it.

use crate::apply::{Done, Hand};
use crate::backlog::Backlog;
use crate::kin::Kin;
use crate::plan::{self, Outlook, Plan};
use crate::snapshot::{Snapshot, bound_to, uid};
use crate::{Options, words};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kit::{Cache, Change, Changes, Key};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// Requests under way at once. At 1 ms each that is 256,000 a second: the bound is against a slow server.
pub const REQUESTS_MAX: usize = 256;

pub(crate) struct Scheduler {
    hand: Hand,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    budgets: Cache<PodDisruptionBudget>,
    namespaces: Cache<Namespace>,
    kin: Kin,
    /// Pods without a node whose neighbours matter: tried again when pods come, go or change their labels anywhere.
    company: BTreeSet<Key>,
    pod_changes: Changes<Pod>,
    node_changes: Changes<Node>,
    snapshot: Snapshot,
    backlog: Backlog,
    requests: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Scheduler {
    pub(crate) fn new(hand: Hand, options: &Options) -> Self {
        let (pods, nodes) = (options.caches.of::<Pod>(), options.caches.of::<Node>());
        Self {
            hand,
            pod_changes: pods.subscribe(),
            node_changes: nodes.subscribe(),
            pods,
            nodes,
            budgets: options.caches.of(),
            namespaces: options.caches.of(),
            kin: Kin::new(&options.caches),
            company: BTreeSet::new(),
            snapshot: Snapshot::default(),
            backlog: Backlog::default(),
            requests: FuturesUnordered::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.namespaces.synced().await;
        self.kin.synced().await;
        loop {
            let due = self.backlog.tick(Instant::now());
            let ready = self.backlog.has_next() && self.requests.len() < REQUESTS_MAX;
            // biased, and news first: a decision is made on all that is known
            tokio::select! {
                biased;
                Some(done) = self.requests.next(), if !self.requests.is_empty() => self.settle(done),
                change = self.node_changes.next() => self.node(change),
                change = self.pod_changes.next() => self.pod(change),
                () = std::future::ready(()), if ready => self.decide(),
                () = wait(due) => {}
            }
        }
    }

    fn node(&mut self, change: Change<Node>) {
        match change {
            Change::Applied { old, new } => {
                let matters = old.is_none_or(|old| matters(&old, &new));
                let name = new.metadata.name.clone().unwrap_or_default();
                self.snapshot.put_node(new);
                if matters {
                    self.backlog.wake(&name, Instant::now());
                    self.company_changed();
                }
            }
            Change::Deleted(old) => {
                self.company_changed();
                self.snapshot.remove_node(old.metadata.name.as_deref().unwrap_or_default());
            }
            Change::Resync => self.rebuild(),
        }
    }

    fn pod(&mut self, change: Change<Pod>) {
        match change {
            Change::Applied { old, new } => {
                self.see(&new);
                if is_news_for_others(old.as_deref(), &new) {
                    self.company_changed();
                }
            }
            Change::Deleted(old) => {
                self.company_changed();
                let freed = self.snapshot.remove_pod(&old);
                let key = Key::of(old.as_ref());
                // another pod of that name may be there already
                if self.pods.get(&key).is_none_or(|pod| uid(&pod) == uid(&old)) {
                    self.backlog.forget(&key);
                }
                self.wake(freed.into_iter().flatten());
            }
            Change::Resync => self.rebuild(),
        }
    }

    fn see(&mut self, pod: &Arc<Pod>) {
        let freed = self.snapshot.see_pod(pod);
        self.wake(freed);
        let key = Key::of(pod.as_ref());
        let Some(spec) = pod.spec.as_ref() else { return };
        let ours = spec.scheduler_name.as_deref().is_none_or(|name| name == words::SCHEDULER);
        let waits = bound_to(pod).is_none()
            && !fit::filter::is_finished(pod)
            && pod.metadata.deletion_timestamp.is_none();
        if !ours || !waits {
            self.backlog.forget(&key);
            // where it runs now it takes the room that was kept for it
            let here = bound_to(pod).filter(|_| !fit::filter::is_finished(pod));
            let kept = self.snapshot.nominate(pod, None);
            self.wake(kept.filter(|kept| Some(kept.as_str()) != here));
            return;
        }
        self.nominate(pod, nominated_to(pod));
        if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            self.backlog.forget(&key);
            self.requests.push(Box::pin(self.hand.clone().gate(Arc::clone(pod))));
            return;
        }
        let pins =
            fit::pinned_nodes(spec).map(|names| names.into_iter().map(str::to_owned).collect());
        self.backlog.see(&key, uid(pod), fit::victims::priority(pod), pins);
    }

    /// Starts over from the caches; what is assumed stays assumed until the caches say otherwise.
    fn rebuild(&mut self) {
        let assumed = self.snapshot.assumed();
        self.snapshot = Snapshot::default();
        for node in self.nodes.list() {
            self.snapshot.put_node(node);
        }
        for (key, node, pod) in assumed {
            if self.pods.get(&key).is_some_and(|now| uid(&now) == uid(&pod)) {
                self.snapshot.assume(&pod, &node);
            }
        }
        for key in self.backlog.keys() {
            if self.pods.get(&key).is_none() {
                self.backlog.forget(&key);
            }
        }
        for pod in self.pods.list() {
            self.see(&pod);
        }
        for key in self.backlog.keys() {
            self.backlog.wake_one(&key, Instant::now());
        }
    }

    /// Those whose neighbours matter look again.
    fn company_changed(&mut self) {
        for key in std::mem::take(&mut self.company) {
            self.backlog.wake_one(&key, Instant::now());
        }
    }

    fn wake(&mut self, freed: impl IntoIterator<Item = String>) {
        for node in freed {
            self.backlog.wake(&node, Instant::now());
        }
    }

    /// Keeps room for a pod on a node, or nowhere; those whom its room elsewhere held back look again, as upstream's do
    /// when a nominated pod goes or is sent elsewhere (spec C36).
    fn nominate(&mut self, pod: &Arc<Pod>, node: Option<&str>) {
        let kept = self.snapshot.nominate(pod, node);
        self.wake(kept);
    }

    fn decide(&mut self) {
        let Some(key) = self.backlog.next() else { return };
        let Some(pod) = self.pods.get(&key).filter(|pod| bound_to(pod).is_none()) else {
            return self.backlog.forget(&key);
        };
        let namespaces = || Arc::new(labels_of(&self.namespaces));
        let sources = plan::Sources {
            budgets: &|| self.budgets.list(),
            namespaces: &namespaces,
            like: &|pod| self.kin.selector(pod),
        };
        match plan::plan(&pod, &self.snapshot, sources) {
            Plan::Bind(node) => {
                let kept = self.snapshot.assume(&pod, &node);
                self.wake(kept);
                self.requests.push(Box::pin(self.hand.clone().bind(pod, node)));
            }
            Plan::Fail(failure) => {
                self.backlog.failed(&key, Instant::now());
                if failure.minds_company {
                    self.company.insert(key);
                }
                match &failure.outlook {
                    Outlook::Same => {}
                    Outlook::None => self.nominate(&pod, None),
                    Outlook::Room(room) => {
                        self.nominate(&pod, Some(&room.node));
                        for other in &room.displaced {
                            self.nominate(other, None);
                            self.backlog.wake_one(&Key::of(other.as_ref()), Instant::now());
                        }
                    }
                }
                self.requests.push(Box::pin(self.hand.clone().fail(pod, failure)));
            }
        }
    }

    fn settle(&mut self, done: Done) {
        match done {
            // stays assumed until the watch shows it
            Done::Bound | Done::Told => {}
            Done::Unbound { pod, lost } => {
                let freed = self.snapshot.unassume(&pod);
                self.wake(freed);
                let key = Key::of(pod.as_ref());
                if lost {
                    self.backlog.forget(&key);
                } else {
                    self.nominate(&pod, nominated_to(&pod));
                    self.backlog.troubled(&key, Instant::now());
                }
            }
        }
    }
}

fn nominated_to(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref()
}

async fn wait(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn labels_of(namespaces: &Cache<Namespace>) -> fit::company::Namespaces {
    let read = |namespace: &Arc<Namespace>| {
        let meta = &namespace.metadata;
        Some((meta.name.clone()?, meta.labels.clone().unwrap_or_default()))
    };
    namespaces.list().iter().filter_map(read).collect()
}

/// Whether a change of a pod can make another fit that minds who is where.
fn is_news_for_others(old: Option<&Pod>, new: &Pod) -> bool {
    if bound_to(new).is_none() {
        return false;
    }
    let facts = |pod: &Pod| {
        let is_going = pod.metadata.deletion_timestamp.is_some();
        (bound_to(pod).is_some(), is_going, fit::filter::is_finished(pod))
    };
    old.is_none_or(|old| facts(old) != facts(new) || old.metadata.labels != new.metadata.labels)
}

/// Whether a change of a node can make a pod fit: labels, taints, cordon, room.
fn matters(old: &Node, new: &Node) -> bool {
    let spec = |node: &Node| node.spec.clone().map(|spec| (spec.taints, spec.unschedulable));
    let room = |node: &Node| node.status.clone().and_then(|status| status.allocatable);
    old.metadata.labels != new.metadata.labels || spec(old) != spec(new) || room(old) != room(new)
}

#[cfg(test)]
mod tests;
