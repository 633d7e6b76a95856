//! One node: what should happen here (spec 2.7), what it adds to the counters (2.8), and where it stands in
//! a rollout (2.10, 2.11).

mod down;

pub use down::Down;

use super::history::History;
use crate::condition::Trouble;
use crate::set::{Placement, Set};
use crate::words::{Event, TEMPLATE_GENERATION_LABEL};
use crate::world::{Failure, Phase, Pod};
use fit::Verdict;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All that the answer for a node depends on besides the node itself. While these stay equal, answers stay
/// valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    set: Arc<Set>,
    /// Of the current revision and of its duplicates, whose pods are about to be relabelled (spec B55).
    hashes: BTreeSet<String>,
    template_generation: Option<String>,
    may_surge: bool,
}

impl Terms {
    /// The terms of a set with this history.
    pub fn of(set: &Set, history: &History) -> Self {
        // What a node's answer does not depend on is blanked, so that terms compare equal across it.
        let relevant = Set {
            generation: 0,
            annotations: BTreeMap::new(),
            template: Arc::default(),
            strategy: crate::set::Strategy::OnDelete,
            history_limit: 0,
            status: crate::set::Status::default(),
            ..set.clone()
        };
        Self {
            set: Arc::new(relevant),
            hashes: history.duplicate_hashes.iter().chain([&history.hash]).cloned().collect(),
            template_generation: set.template_generation().map(|number| number.to_string()),
            may_surge: set.may_surge(),
        }
    }

    /// What the template says about nodes.
    pub fn placement(&self) -> &Placement {
        &self.set.placement
    }

    /// Whether the pod carries the hash of the current template.
    fn has_hash(&self, pod: &Pod) -> bool {
        pod.hash().is_some_and(|hash| self.hashes.contains(hash))
    }

    /// Whether the pod is of the current template: by hash, or by template generation (spec B56).
    pub fn is_updated(&self, pod: &Pod) -> bool {
        let generation = pod.labels.get(TEMPLATE_GENERATION_LABEL);
        self.has_hash(pod)
            || (self.template_generation.is_some()
                && generation == self.template_generation.as_ref())
    }
}

/// One node as it is seen. The name is that of a node, or of one that pods are aimed at though it is not
/// there, or empty for pods aimed at none (spec B26).
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// Name.
    pub name: &'a str,
    /// The node, if it is there.
    pub node: Option<&'a Node>,
    /// Pods on it or aimed at it that the set controls or that nobody controls.
    pub pods: Vec<&'a Pod>,
}

/// What should happen on one node, for its own sake and within a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the set's pods belong there; absent where there is no such node.
    pub verdict: Option<Verdict>,
    /// What the node adds to the status.
    pub counts: Counts,
    /// Whether to create a pod.
    pub create: bool,
    /// Pods to delete.
    pub delete: Vec<(String, Why)>,
    /// Pods to adopt.
    pub adopt: Vec<String>,
    /// Pods to release.
    pub release: Vec<String>,
    /// Whether a failed pod is among those to delete, so that back-off grows.
    pub has_failed: bool,
    /// The pods here that were evicted because of a taint, if one of them is not in the back-off yet; else empty.
    pub evicted: BTreeSet<String>,
    /// What stands between the node and an available pod.
    pub trouble: Option<Trouble>,
    /// What to tell.
    pub events: Vec<Event>,
    /// Where the node stands in a rollout.
    pub turn: Turn,
    /// When the answer changes by time alone.
    pub again_at: Option<Timestamp>,
    /// The set's pods here.
    pub pods: Vec<Mark>,
}

/// One of the set's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Name.
    pub pod: String,
    /// Its hash label.
    pub hash: Option<String>,
    /// What is waited for, if something is.
    pub wait: Option<Wait>,
}

/// What one node adds to the counters of the status; each is 0 or 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the fields of DaemonSetStatus")]
pub struct Counts {
    pub desired: usize,
    pub current: usize,
    pub misscheduled: usize,
    pub ready: usize,
    pub available: usize,
    pub updated: usize,
}

/// Where a node stands in a rollout, terminating pods aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// Neither pods nor a claim to one.
    #[default]
    Out,
    /// Several old or several new pods: placement cleans up first.
    Unclear,
    /// No live pod: terminating ones, or a pod is about to be created.
    Empty,
    /// A new pod.
    New {
        /// Whether it is available.
        is_available: bool,
        /// When it was created.
        created: Timestamp,
    },
    /// The node is down: its old pod is neither unavailable nor done (spec B91, B94).
    Down {
        /// Whether an old pod waits for its return.
        has_old: bool,
        /// Whether it went down so soon after it received the new pod that this is held against the template.
        is_blamed: bool,
    },
    /// An old pod.
    Old {
        /// Its name.
        pod: String,
        /// Whether it is available.
        is_available: bool,
    },
    /// An old pod and a new one.
    Both {
        /// The old one's name.
        old: String,
        /// Whether the old one is available.
        old_is_available: bool,
        /// Whether the new one is available.
        new_is_available: bool,
    },
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The node may not keep it.
    NotWanted,
    /// It is aimed at a node that does not exist (spec B66).
    NoSuchNode,
    /// It failed.
    Failed,
    /// It ran to completion.
    Succeeded,
    /// There is another.
    Duplicate,
    /// The new pod beside it took over.
    Replaced,
    /// Its template is old and its turn has come.
    Outdated,
}

/// What a pod waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Its end: it is terminating.
    Termination,
    /// The back-off after failures.
    Backoff,
    /// Its turn in the rollout.
    Turn,
    /// The return of its node, which is down.
    Node,
    /// The next pass: this one is full.
    NextPass,
}

/// The answer for one node.
pub fn answer(terms: &Terms, site: &Site<'_>, failure: Option<&Failure>, now: Timestamp) -> Answer {
    let mut found = Answer {
        verdict: site.node.map(|node| fit::judge(&terms.placement().wish(), node)),
        counts: Counts::default(),
        create: false,
        delete: Vec::new(),
        adopt: Vec::new(),
        release: Vec::new(),
        has_failed: false,
        evicted: BTreeSet::new(),
        trouble: None,
        events: Vec::new(),
        turn: Turn::Out,
        again_at: None,
        pods: Vec::new(),
    };
    let mut mine = claim(terms, site, &mut found);
    found.pods = mine
        .iter()
        .map(|pod| Mark {
            pod: pod.name.clone(),
            hash: pod.hash().map(str::to_owned),
            wait: pod.is_terminating.then_some(Wait::Termination),
        })
        .collect();
    if site.name.is_empty() {
        return found;
    }
    mine.retain(|pod| !pod.is_over());
    let here = Here { terms, site, now, should_run: should_run(&found) };
    here.place(&mine, failure, &mut found);
    found.turn = here.turn(&mine);
    found.counts = here.counts(&mine);
    here.look_for_trouble(&mine, &mut found);
    if matches!(found.turn, Turn::Down { has_old: true, .. }) {
        let old = mine.iter().filter(|pod| !terms.is_updated(pod));
        for pod in old {
            let mark = found.pods.iter_mut().find(|mark| mark.pod == pod.name);
            if let Some(mark) = mark {
                mark.wait = mark.wait.or(Some(Wait::Node));
            }
        }
    }
    let min_ready = terms.set.min_ready;
    let due = mine.iter().filter_map(|pod| pod.available_at(min_ready)).filter(|at| *at > now);
    found.again_at = found.again_at.into_iter().chain(due).min();
    found
}

fn should_run(answer: &Answer) -> bool {
    answer.verdict.as_ref().is_some_and(Verdict::should_run)
}

/// The set's pods after adoption and release (spec B40), in the order of B64.
fn claim<'a>(terms: &Terms, site: &Site<'a>, found: &mut Answer) -> Vec<&'a Pod> {
    let set = &terms.set;
    let mut mine = Vec::new();
    let mut pods = site.pods.clone();
    pods.sort_by(|a, b| a.rank().cmp(&b.rank()));
    for pod in pods {
        let is_selected = set.selects(&pod.labels);
        match &pod.controller {
            Some(uid) if *uid != set.uid => {}
            Some(_) if is_selected => mine.push(pod),
            Some(_) => found.release.push(pod.name.clone()),
            None if is_selected && !pod.is_terminating => {
                found.adopt.push(pod.name.clone());
                mine.push(pod);
            }
            None => {}
        }
    }
    mine
}

/// Containers that start may take this long until probes find them ready, before anybody is told.
const PROBES_PATIENCE: SignedDuration = SignedDuration::from_mins(1);

struct Here<'a> {
    terms: &'a Terms,
    site: &'a Site<'a>,
    now: Timestamp,
    should_run: bool,
}

impl Here<'_> {
    fn min_ready(&self) -> SignedDuration {
        self.terms.set.min_ready
    }

    /// What the node needs for its own sake (spec B60–B66). `mine` is in the order of B64.
    fn place(&self, mine: &[&Pod], failure: Option<&Failure>, found: &mut Answer) {
        let Some(verdict) = found.verdict.clone() else {
            let aimed = mine.iter().filter(|pod| !pod.is_bound && !pod.is_terminating);
            found.delete.extend(aimed.map(|pod| (pod.name.clone(), Why::NoSuchNode)));
            return;
        };
        let may_create = self.may_create(mine, failure, found);
        if mine.is_empty() {
            found.create = may_create;
            return;
        }
        let live = mine.iter().copied().filter(|pod| !pod.is_terminating);
        if !verdict.should_continue() {
            found.delete.extend(live.map(|pod| (pod.name.clone(), Why::NotWanted)));
            return;
        }
        let mut running: Vec<&Pod> = Vec::new();
        for pod in live {
            match pod.phase {
                Phase::Alive => running.push(pod),
                Phase::Failed => self.end_failed(pod, failure, found),
                Phase::Succeeded => {
                    let namespace = &self.terms.set.namespace;
                    found.events.push(Event::succeeded(namespace, &pod.name, self.site.name));
                    found.delete.push((pod.name.clone(), Why::Succeeded));
                }
            }
        }
        if self.terms.may_surge {
            // A failed pod stands in the way until its back-off lets it go. (Upstream creates another at once,
            // again and again; spec B68.)
            let has_failed = mine.iter().any(|p| p.phase == Phase::Failed && !p.is_terminating);
            let is_held = self.terms.set.is_ours() && has_failed;
            found.create = running.is_empty() && may_create && !is_held;
            self.thin_out_surging(&running, found);
        } else {
            let surplus = running.iter().skip(1);
            found.delete.extend(surplus.map(|pod| (pod.name.clone(), Why::Duplicate)));
        }
    }

    /// Whether a pod may be created where none stands: not while one that was evicted because of a taint, and would
    /// be again, is in its back-off (spec D13).
    fn may_create(&self, mine: &[&Pod], failure: Option<&Failure>, found: &mut Answer) -> bool {
        if !self.should_run || !self.terms.set.is_ours() {
            return self.should_run;
        }
        let evicted = mine.iter().filter(|pod| pod.is_evicted).map(|pod| pod.name.clone());
        let evicted: BTreeSet<String> = evicted.collect();
        if failure.map_or(!evicted.is_empty(), |failure| !evicted.is_subset(&failure.counted)) {
            found.evicted = evicted;
        }
        let held = failure.filter(|failure| !failure.evicted.is_empty());
        let until = held.and_then(|failure| failure.holds_until(self.now));
        found.again_at = found.again_at.into_iter().chain(until).min();
        until.is_none()
    }

    /// A failed pod goes, unless back-off holds it (spec B61, B67).
    fn end_failed(&self, pod: &Pod, failure: Option<&Failure>, found: &mut Answer) {
        let failure = failure.filter(|failure| !failure.is_forgotten(self.now));
        if let Some(until) = failure.and_then(|failure| failure.holds_until(self.now)) {
            found.again_at = found.again_at.into_iter().chain([until]).min();
            if let Some(mark) = found.pods.iter_mut().find(|mark| mark.pod == pod.name) {
                mark.wait = Some(Wait::Backoff);
            }
            return;
        }
        found.has_failed = true;
        found.events.push(Event::failed(&self.terms.set.namespace, &pod.name, self.site.name));
        found.delete.push((pod.name.clone(), Why::Failed));
    }

    /// With surge, the first new pod and the first old one may stand side by side; the old one goes when it
    /// is not ready or the new one is available (spec B65).
    fn thin_out_surging(&self, running: &[&Pod], found: &mut Answer) {
        let (new, old): (Vec<&Pod>, Vec<&Pod>) =
            running.iter().copied().partition(|pod| self.terms.has_hash(pod));
        for pod in new.iter().chain(&old) {
            let is_first = [new.first(), old.first()].contains(&Some(pod));
            if !is_first {
                found.delete.push((pod.name.clone(), Why::Duplicate));
            }
        }
        let (Some(new), Some(old)) = (new.first(), old.first()) else { return };
        if !old.is_ready || new.is_available(self.min_ready(), self.now) {
            found.delete.push((old.name.clone(), Why::Replaced));
        }
    }

    /// Where the node stands in a rollout (spec B91).
    fn turn(&self, mine: &[&Pod]) -> Turn {
        if mine.is_empty() && !self.should_run {
            return Turn::Out;
        }
        if self.terms.set.is_ours() {
            if let Some(down) = self.site.node.and_then(Down::of) {
                return self.down(&down, mine);
            }
            // what goes may not come back: such a node has no part in a rollout (spec B95)
            if !self.should_run {
                return Turn::Out;
            }
        }
        let live = mine.iter().copied().filter(|pod| !pod.is_terminating);
        let (new, old): (Vec<&Pod>, Vec<&Pod>) = live.partition(|pod| self.terms.is_updated(pod));
        let is_available = |pod: &Pod| pod.is_available(self.min_ready(), self.now);
        match (old.as_slice(), new.as_slice()) {
            ([], []) => Turn::Empty,
            ([], [new]) => Turn::New { is_available: is_available(new), created: new.created },
            ([old], []) => Turn::Old { pod: old.name.clone(), is_available: is_available(old) },
            ([old], [new]) => Turn::Both {
                old: old.name.clone(),
                old_is_available: is_available(old),
                new_is_available: is_available(new),
            },
            _ => Turn::Unclear,
        }
    }

    fn down(&self, down: &Down, mine: &[&Pod]) -> Turn {
        let live = mine.iter().copied().filter(|pod| !pod.is_terminating);
        let (new, old): (Vec<&Pod>, Vec<&Pod>) = live.partition(|pod| self.terms.is_updated(pod));
        let window = self.terms.set.blame_window;
        // Moments are whole seconds. A node that was down in the second in which its pod was made was down before: no
        // pod starts that fast, and no silence is noticed that fast. A pod that is not bound was not received.
        let is_soon = |pod: &&Pod| {
            let after = down.since.map(|since| since.duration_since(pod.created));
            pod.is_bound && after.is_some_and(|after| after.is_positive() && after <= window)
        };
        // the node went down between the old pod's end and the new pod's beginning: the rollout may well be why
        let is_between = self.should_run
            && new.is_empty()
            && old.is_empty()
            && mine.iter().any(|pod| pod.is_terminating && !self.terms.is_updated(pod));
        Turn::Down { has_old: !old.is_empty(), is_blamed: is_between || new.iter().any(is_soon) }
    }

    /// What keeps the pod that matters from being available: the newest of the current template, else the first.
    fn look_for_trouble(&self, mine: &[&Pod], found: &mut Answer) {
        if mine.is_empty() {
            return;
        }
        if self.site.node.and_then(Down::of).is_some() {
            found.trouble = Some(Trouble::NodeDown);
            return;
        }
        let mut live = mine.iter().copied().filter(|pod| !pod.is_terminating);
        let first = live.clone().next();
        let Some(pod) = live.rfind(|pod| self.terms.has_hash(pod)).or(first) else { return };
        if !self.should_run || pod.is_available(self.min_ready(), self.now) {
            return;
        }
        found.trouble = match pod.trouble {
            Some(Trouble::ProbeFailing) => {
                let since = pod.ready_changed.unwrap_or(pod.created);
                let told_at = since.checked_add(PROBES_PATIENCE).unwrap_or(Timestamp::MAX);
                let is_told = told_at <= self.now;
                if !is_told {
                    found.again_at = found.again_at.into_iter().chain([told_at]).min();
                }
                is_told.then_some(Trouble::ProbeFailing)
            }
            // ports are the old pod's only where there is one
            Some(Trouble::SurgeBlockedByHostPorts) if mine.len() < 2 => {
                Some(Trouble::InsufficientCapacity)
            }
            other => other,
        };
    }

    /// What the node adds to the counters; only the first pod is looked at (spec B70–B72).
    fn counts(&self, mine: &[&Pod]) -> Counts {
        if !self.should_run {
            // Pods of nodes that are gone are counted nowhere: only nodes in the list count.
            let is_misscheduled = self.site.node.is_some() && !mine.is_empty();
            return Counts { misscheduled: usize::from(is_misscheduled), ..Counts::default() };
        }
        let Some(first) = mine.first() else { return Counts { desired: 1, ..Counts::default() } };
        Counts {
            desired: 1,
            current: 1,
            misscheduled: 0,
            ready: usize::from(first.is_ready),
            available: usize::from(first.is_available(self.min_ready(), self.now)),
            updated: usize::from(self.terms.is_updated(first)),
        }
    }
}
