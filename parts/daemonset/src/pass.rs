//! One pass over one set: look, wait for our own writes, plan, act.

use crate::apply::{Act, Outcome};
use crate::marks::{Mark, Marks};
use crate::observe::Sight;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kit::metrics::named;
use kit::{Events, Job, Key, Ledger, Queue, Setup};
use kube::core::DynamicObject;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use rollout::plan::history::History;
use rollout::world::Refusal;
use rollout::{Board, Failures, Plan, Set, Terms};
use std::collections::BTreeMap;
use std::time::Duration;

/// A pass put off for an own write is tried again at the latest then. Usually the write's own event comes first
/// and wakes the set.
const BEHIND_RETRY: Duration = Duration::from_secs(1);
/// The same for a revision, whose appearance wakes nobody.
const BEHIND_REVISION_RETRY: Duration = Duration::from_millis(100);

/// Between two writes of a status that differ in numbers and words only.
const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// What is remembered about a set between passes.
#[derive(Debug, Default)]
struct Held {
    uid: String,
    /// The generation worked on last.
    generation: Option<i64>,
    board: Option<Board>,
    failures: Failures,
    ledger: Ledger<()>,
    /// Pods that were deleted and not yet seen to terminate, with the time of the delete.
    ending: BTreeMap<String, Timestamp>,
    /// When the status was written last.
    reported_at: Option<Timestamp>,
}

/// How a pass went.
#[derive(Clone, Copy, Debug)]
struct Went {
    is_well: bool,
    /// When to look again though nothing changes. It counts also where the pass went wrong: the wait for its retry
    /// may be longer.
    again_after: Option<Duration>,
}

impl Went {
    const WELL: Self = Self { is_well: true, again_after: None };

    fn again_after(wait: Duration) -> Self {
        Self { is_well: true, again_after: Some(wait) }
    }
}

/// Works on one key after the other.
pub(crate) struct Worker {
    client: kube::Client,
    setup: Setup,
    sight: Sight,
    queue: Queue<Key>,
    events: Events,
    marks: Marks,
    held: Mutex<BTreeMap<Key, Held>>,
    passes: Counter,
}

impl Worker {
    pub(crate) fn new(
        client: kube::Client,
        setup: &Setup,
        sight: Sight,
        queue: Queue<Key>,
        events: Events,
    ) -> Self {
        let passes = Counter::default();
        let help = "Passes over a DaemonSet that made a plan";
        setup.metrics.register("pernode_daemonset_passes", help, passes.clone());
        Self {
            client,
            setup: setup.clone(),
            sight,
            queue,
            events,
            marks: Marks::default(),
            held: Mutex::default(),
            passes,
        }
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// Works for ever.
    pub(crate) async fn run(&self) {
        self.sight.synced().await;
        loop {
            let job = self.queue.next().await;
            self.work(job).await;
        }
    }

    async fn work(&self, job: Job<Key>) {
        let key = job.key.clone();
        let mut held = self.held.lock().remove(&key).unwrap_or_default();
        let Some(object) = self.sight.sets.get(&key) else {
            self.marks.take(&key);
            return job.succeeded();
        };
        // another wish does not wait for the back-off of the one before
        if std::mem::replace(&mut held.generation, object.metadata.generation)
            != object.metadata.generation
        {
            job.start_afresh();
        }
        let (held, went) = self.pass(&key, &object, held).await;
        self.held.lock().insert(key.clone(), held);
        if went.is_well {
            job.succeeded();
        } else {
            job.failed();
        }
        if let Some(wait) = went.again_after {
            self.queue.add_after(key, wait);
        }
    }

    async fn pass(&self, key: &Key, object: &DynamicObject, mut held: Held) -> (Held, Went) {
        let set = match self.sight.read(object) {
            Ok(set) => set,
            Err(problem) => {
                tracing::error!(set = %key, %problem, "DaemonSet cannot be read; it is left alone");
                return (held, Went::WELL);
            }
        };
        if held.uid != set.uid {
            let generation = held.generation;
            held = Held { uid: set.uid.clone(), generation, ..Held::default() };
            self.marks.all(key);
        }
        if set.is_deleting {
            return (held, Went::WELL);
        }
        let now = self.setup.clock.now();
        if let Some(what) = held.behind(&self.sight, &set.namespace, now) {
            self.setup.metrics.ledger_waits.get_or_create(&named("daemonset")).inc();
            tracing::debug!(set = %key, what, "own write not seen yet; waiting");
            let wait = if what == REVISIONS { BEHIND_REVISION_RETRY } else { BEHIND_RETRY };
            return (held, Went::again_after(wait));
        }
        let mut plan = held.plan(&self.sight, &set, self.marks.take(key), now);
        let status_in = held.hold_back(&mut plan, now);
        self.passes.inc();
        report(key, &plan);
        let act = Act {
            client: &self.client,
            set: &set,
            object,
            events: &self.events,
            regarding: reference(object),
        };
        let outcome = act.perform(&plan).await;
        let mut went = self.conclude(key, &set, &plan, &mut held, &outcome);
        went.again_after = went.again_after.into_iter().chain(status_in).min();
        (held, went)
    }

    /// Remembers what was done and says when to look again.
    fn conclude(
        &self,
        key: &Key,
        set: &Set,
        plan: &Plan,
        held: &mut Held,
        outcome: &Outcome,
    ) -> Went {
        let now = self.setup.clock.now();
        for node in &plan.failed {
            held.failures.note(set.status.observed_generation, node, now);
            self.marks.node(key, node);
        }
        for (node, pods) in &plan.evicted {
            held.failures.note_eviction(set.status.observed_generation, node, pods, now);
            self.marks.node(key, node);
        }
        held.note_refusals(plan, outcome);
        if outcome.has_reported {
            held.reported_at = Some(now);
        }
        // The nodes touched are asked again even if the watch of their pods is not through yet.
        for node in &outcome.touched {
            self.marks.node(key, node);
        }
        for (kind, revision) in &outcome.written {
            held.ledger.wrote((), kind, *revision, now);
        }
        held.ending.extend(outcome.ending.iter().map(|pod| (pod.clone(), now)));
        if let Some(why) = &outcome.wrong {
            tracing::warn!(set = %key, why, "pass did not succeed; trying again");
        } else if plan.postponed > 0 {
            return Went::again_after(Duration::ZERO);
        }
        let wait = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
        let behind = outcome.is_behind.then_some(BEHIND_RETRY);
        let again_after = plan.again_at.map(wait).into_iter().chain(behind).min();
        Went { is_well: outcome.wrong.is_none(), again_after }
    }
}

impl Held {
    /// The kind of an own write that the caches have not seen yet, if any (spec B33, B34).
    fn behind(&mut self, sight: &Sight, namespace: &str, now: Timestamp) -> Option<&'static str> {
        let seen = |kind| match kind {
            SETS => sight.sets.revision(),
            REVISIONS => sight.revisions.revision(),
            _ => sight.pods.revision(),
        };
        if let Some(behind) = self.ledger.behind(&(), now, seen) {
            return Some(behind.kind);
        }
        self.ending.retain(|pod, deleted| {
            let is_patient =
                now.duration_since(*deleted) < kit::ledger::PATIENCE.try_into().unwrap_or_default();
            let pod = sight.pods.find(namespace, pod);
            is_patient && pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none())
        });
        (!self.ending.is_empty()).then_some(PODS)
    }

    /// Puts off a status that says nothing but other numbers and words, if one was written a moment ago; answers for how
    /// long.
    fn hold_back(&self, plan: &mut Plan, now: Timestamp) -> Option<Duration> {
        if plan.is_urgent || plan.status.is_none() {
            return None;
        }
        let since = Duration::try_from(now.duration_since(self.reported_at?)).unwrap_or_default();
        let left = STATUS_PERIOD.checked_sub(since).filter(|left| !left.is_zero())?;
        plan.status = None;
        Some(left)
    }

    /// Keeps the API's last refusal of a pod until it takes one, or none is wanted.
    fn note_refusals(&mut self, plan: &Plan, outcome: &Outcome) {
        let refusal = &mut self.failures.refusal;
        if let Some(known) = refusal {
            known.nodes.retain(|node| !outcome.created.contains(node));
        }
        let Some(message) = &outcome.refusal else {
            if plan.create.is_empty() || !outcome.created.is_empty() {
                *refusal = None;
            }
            return;
        };
        let known = refusal.get_or_insert_with(Refusal::default);
        known.message.clone_from(message);
        known.nodes.extend(outcome.refused.iter().cloned());
    }

    /// The plan from the kept board, after the marked nodes and those whose time has come were asked again; from
    /// a new board where everything is marked or the terms have changed.
    fn plan(&mut self, sight: &Sight, set: &Set, mark: Mark, now: Timestamp) -> Plan {
        let history = History::of(set, &sight.revisions_of(set));
        let restarted = self.failures.align(set.status.observed_generation);
        let terms = Terms::of(set, &history);
        let kept = self.board.take().filter(|board| *board.terms() == terms);
        let board = match (kept, mark) {
            (Some(mut board), Mark::Nodes(mut names)) => {
                names.extend(board.due(now));
                names.extend(restarted);
                sight.refresh(&mut board, set, &names, &self.failures, now);
                board
            }
            (None, _) | (_, Mark::All) => {
                Board::of(&sight.world(set, &self.failures), &history, now)
            }
        };
        let plan = board.plan(set, &history, &self.failures, now);
        self.board = Some(board);
        plan
    }
}

/// Names of kinds in the ledger.
pub(crate) const SETS: &str = "daemonsets";
pub(crate) const REVISIONS: &str = "controllerrevisions";
pub(crate) const PODS: &str = "pods";

fn report(set: &Key, plan: &Plan) {
    for problem in &plan.problems {
        tracing::warn!(%set, %problem, "DaemonSet cannot be planned");
    }
    if !plan.is_quiet() {
        tracing::debug!(
            %set,
            create = plan.create.len(),
            delete = plan.delete.len(),
            postponed = plan.postponed,
            status = plan.status.is_some(),
            "plan"
        );
    }
}

/// What events about the set refer to.
fn reference(object: &DynamicObject) -> ObjectReference {
    let meta = object.metadata.clone();
    ObjectReference {
        api_version: Some(rollout::words::API_VERSION.to_owned()),
        kind: Some(rollout::words::KIND.to_owned()),
        namespace: meta.namespace,
        name: meta.name,
        uid: meta.uid,
        resource_version: meta.resource_version,
        field_path: None,
    }
}
