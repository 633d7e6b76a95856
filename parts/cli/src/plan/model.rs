//! Model nodes: the engine's plans carried out one pass after the other, as nodes that are well would let them.

use super::{Preempted, Wave};
use crate::world::{World, full_name, node as find};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod as CorePod, PodSpec};
use rollout::plan::history::History;
use rollout::plan::place::Down;
use rollout::plan::{Plan, Site};
use rollout::{Board, Phase, Pod, Trouble, Why, shape};
use std::collections::{BTreeMap, BTreeSet};

/// Passes that are carried out: a rollout one node at a time needs two for each, so 100,000 nodes end within; the
/// waves after that are not told.
const PASSES_MAX: usize = 250_000;
/// Jumps in time without anything happening (new pods that do not get well let one more go every few minutes).
const IDLE_MAX: usize = 10_000;
/// One pass takes this long, as far as the model's clock is concerned.
const PASS: SignedDuration = SignedDuration::from_secs(1);

/// The model.
pub(super) struct Model<'a> {
    /// What was seen.
    pub(super) world: &'a World,
    /// The waves so far.
    pub(super) waves: Vec<Wave>,
    /// Nodes whose new pod cannot start, and why.
    pub(super) stuck: BTreeMap<String, Vec<String>>,
    /// Whether the model came to rest.
    pub(super) is_complete: bool,
    state: rollout::World,
    history: History,
    board: Board,
    now: Timestamp,
    by_node: BTreeMap<String, BTreeSet<String>>,
    /// The pod as the engine would make it, its node aside.
    template: Option<CorePod>,
    /// Nodes whose replacement has begun.
    in_flight: BTreeSet<String>,
    preempted: BTreeMap<String, Vec<String>>,
    ending: BTreeSet<String>,
    fresh: BTreeSet<String>,
    serial: usize,
    started: bool,
}

impl<'a> Model<'a> {
    /// A model that begins with `state` at `now`.
    pub(super) fn new(world: &'a World, state: rollout::World, now: Timestamp) -> Self {
        let history = History::of(&state.set, &state.revisions);
        let board = Board::of(&state, &history, now);
        let mut by_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pod in state.pods.values() {
            let node = pod.node.clone().unwrap_or_default();
            by_node.entry(node).or_default().insert(pod.name.clone());
        }
        Self {
            world,
            waves: Vec::new(),
            stuck: BTreeMap::new(),
            is_complete: false,
            template: world.daemon_pod(&state.set, &history.hash, ""),
            state,
            history,
            board,
            now,
            by_node,
            in_flight: BTreeSet::new(),
            preempted: BTreeMap::new(),
            ending: BTreeSet::new(),
            fresh: BTreeSet::new(),
            serial: 0,
            started: false,
        }
    }

    /// The live pod of each node that has one: the newest template first.
    pub(super) fn live(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (node, answer) in self.board.answers() {
            let pods = answer.pods.iter().filter_map(|mark| self.state.pods.get(&mark.pod));
            let live: Vec<&Pod> =
                pods.filter(|pod| !pod.is_terminating && pod.phase == Phase::Alive).collect();
            let newest = live.iter().find(|pod| self.board.terms().is_updated(pod));
            if let Some(pod) = newest.or_else(|| live.first()) {
                found.insert(node.clone(), pod.name.clone());
            }
        }
        found
    }

    /// Whether a pod is of the wanted template.
    pub(super) fn is_current(&self, pod: &str) -> bool {
        self.state.pods.get(pod).is_some_and(|pod| self.board.terms().is_updated(pod))
    }

    /// The spec of the pods, if it can be read.
    pub(super) fn spec(&self) -> Option<&PodSpec> {
        self.template.as_ref()?.spec.as_ref()
    }

    /// Whom pods preempted, by node.
    pub(super) fn preempted(&self) -> Vec<Preempted> {
        let all = self.preempted.iter();
        all.map(|(node, pods)| Preempted { node: node.clone(), pods: pods.clone() }).collect()
    }

    /// Carries out pass after pass until nothing moves any more.
    pub(super) fn run(&mut self) {
        if self.state.set.is_deleting {
            self.is_complete = true;
            return;
        }
        let mut idle = 0;
        for _ in 0..PASSES_MAX {
            let plan =
                self.board.plan(&self.state.set, &self.history, &self.state.failures, self.now);
            let mut touched = self.carry_out(&plan);
            touched.extend(self.settle());
            let is_idle = touched.is_empty();
            idle = if is_idle { idle + 1 } else { 0 };
            self.now = self.now.checked_add(PASS).unwrap_or(Timestamp::MAX);
            if is_idle {
                match plan.again_at {
                    Some(at) if idle <= IDLE_MAX => self.now = self.now.max(at),
                    Some(_) => return,
                    None => {
                        self.is_complete = true;
                        return;
                    }
                }
            }
            touched.extend(self.board.due(self.now));
            self.refresh(&touched);
        }
    }

    /// Does what a plan says; answers the nodes it is about.
    fn carry_out(&mut self, plan: &Plan) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        let mut wave = Wave::default();
        let uid = self.state.set.uid.clone();
        let claims = plan.adopt.iter().map(|pod| (pod, Some(&uid)));
        for (name, controller) in claims.chain(plan.release.iter().map(|pod| (pod, None))) {
            if let Some(pod) = self.state.pods.get_mut(name) {
                pod.controller = controller.cloned();
                touched.insert(pod.node.clone().unwrap_or_default());
            }
        }
        for name in &plan.relabel {
            if let Some(pod) = self.state.pods.get_mut(name) {
                pod.labels.insert(rollout::words::HASH_LABEL.to_owned(), plan.hash.clone());
                touched.insert(pod.node.clone().unwrap_or_default());
            }
        }
        for create in &plan.create {
            self.create(&create.node, plan, &mut wave);
            touched.insert(create.node.clone());
        }
        for delete in &plan.delete {
            self.delete(&delete.pod, &delete.node, delete.why, &mut wave);
            touched.insert(delete.node.clone());
        }
        let observed = self.state.set.status.observed_generation;
        for node in &plan.failed {
            self.state.failures.note(observed, node, self.now);
        }
        for (node, pod) in &plan.evicted {
            self.state.failures.note_eviction(observed, node, pod, self.now);
            touched.insert(node.clone());
        }
        if wave != Wave::default() {
            self.waves.push(wave);
        }
        touched
    }

    fn create(&mut self, node: &str, plan: &Plan, wave: &mut Wave) {
        let stands = self.by_node.get(node).into_iter().flatten();
        let has_old = stands
            .filter_map(|name| self.state.pods.get(name))
            .any(|pod| !pod.is_terminating && pod.phase == Phase::Alive);
        if has_old {
            self.in_flight.insert(node.to_owned());
            wave.replaces.push(node.to_owned());
        } else if !self.in_flight.contains(node) {
            wave.gains.push(node.to_owned());
        }
        self.serial += 1;
        let name = format!("(new {})", self.serial);
        let set = &self.state.set;
        let mut object = shape::pod(set, &plan.hash, node);
        object["metadata"]["name"] = name.as_str().into();
        let pod = serde_json::from_value(object).map(|pod| Pod::read(&pod));
        // a template that is no pod is made of what the engine reads of it
        let mut pod = pod.unwrap_or_else(|_| bare(set, &plan.hash, node, &name));
        pod.created = self.now;
        self.state.pods.insert(name.clone(), pod);
        self.by_node.entry(node.to_owned()).or_default().insert(name.clone());
        self.fresh.insert(name);
    }

    fn delete(&mut self, pod: &str, node: &str, why: Why, wave: &mut Wave) {
        if let Some(pod) = self.state.pods.get_mut(pod) {
            pod.is_terminating = true;
            self.ending.insert(pod.name.clone());
        }
        match why {
            Why::Outdated | Why::Failed | Why::Succeeded => {
                self.in_flight.insert(node.to_owned());
                wave.replaces.push(node.to_owned());
            }
            Why::Replaced if self.in_flight.contains(node) => {}
            Why::Replaced => wave.replaces.push(node.to_owned()),
            Why::NotWanted | Why::NoSuchNode | Why::Duplicate => wave.loses.push(node.to_owned()),
        }
    }

    /// Lets nodes do their part: pods that end are gone, pods that are new start where they fit, and those that were
    /// starting are ready. Answers the nodes where something changed.
    fn settle(&mut self) -> BTreeSet<String> {
        if !self.started {
            self.started = true;
            for pod in self.state.pods.values() {
                if pod.is_terminating {
                    self.ending.insert(pod.name.clone());
                } else if pod.phase == Phase::Alive && !pod.is_ready && pod.trouble.is_none() {
                    self.fresh.insert(pod.name.clone());
                }
            }
        }
        let mut touched = BTreeSet::new();
        for name in std::mem::take(&mut self.ending) {
            let node =
                self.state.pods.get(&name).and_then(|pod| pod.node.clone()).unwrap_or_default();
            if self.is_down(&node) {
                continue;
            }
            self.state.pods.remove(&name);
            if let Some(pods) = self.by_node.get_mut(&node) {
                pods.remove(&name);
            }
            touched.insert(node);
        }
        let again = touched.iter().filter(|node| self.stuck.contains_key(*node));
        let again = again.flat_map(|node| self.by_node.get(node).into_iter().flatten().cloned());
        let starting: BTreeSet<String> = again.chain(std::mem::take(&mut self.fresh)).collect();
        for name in starting {
            if let Some(node) = self.start(&name) {
                touched.insert(node);
            }
        }
        touched
    }

    /// Starts a pod where it fits and its node is up; answers its node.
    fn start(&mut self, name: &str) -> Option<String> {
        let pod = self.state.pods.get(name).filter(|pod| !pod.is_terminating)?;
        let node = pod.node.clone()?;
        if pod.is_ready || self.is_down(&node) || find(self.world, &node).is_none() {
            return None;
        }
        let against = if pod.is_bound { Vec::new() } else { self.against(name, &node) };
        let is_stuck = !against.is_empty();
        if is_stuck {
            self.stuck.insert(node.clone(), against);
        } else {
            self.stuck.remove(&node);
        }
        let now = self.now;
        let pod = self.state.pods.get_mut(name)?;
        if is_stuck {
            pod.trouble = Some(Trouble::InsufficientCapacity);
        } else {
            (pod.is_bound, pod.is_ready, pod.ready_changed) = (true, true, Some(now));
            pod.trouble = None;
        }
        Some(node)
    }

    /// What keeps a pod from starting on a node; whom it preempts is noted.
    fn against(&mut self, name: &str, node: &str) -> Vec<String> {
        let (Some(template), Some(seat)) = (&self.template, find(self.world, node)) else {
            return Vec::new();
        };
        let Some(spec) = template.spec.as_ref() else { return Vec::new() };
        let beside: Vec<&CorePod> = self
            .by_node
            .get(node)
            .into_iter()
            .flatten()
            .filter(|other| other.as_str() != name)
            .filter_map(|other| match self.world.mine.get(other) {
                Some(pod) => Some(pod.as_ref()),
                None => self.state.pods.get(other).filter(|pod| pod.is_bound).map(|_| template),
            })
            .collect();
        let reasons = self.world.against_room(spec, seat, beside.iter().copied());
        let Some(reasons) = reasons.filter(|reasons| !reasons.is_empty()) else {
            return Vec::new();
        };
        // the template is pinned to no node; victims are sought for a pod that may be there
        let mut unpinned = template.clone();
        if let Some(spec) = unpinned.spec.as_mut() {
            (spec.affinity, spec.node_selector, spec.node_name) = (None, None, None);
        }
        if let Some(victims) = self.world.victims(&unpinned, seat, &beside) {
            let names = victims.pods.iter().map(|pod| full_name(pod)).collect();
            self.preempted.insert(node.to_owned(), names);
            return Vec::new();
        }
        let may_help = reasons.iter().all(fit::Reason::preemption_may_help)
            && fit::victims::priority(template) > 0
            && !self.world.occupants.contains_key(node);
        let more = if may_help { " (preemption was not looked into)" } else { "" };
        reasons.iter().map(|reason| format!("{}{more}", reason.text())).collect()
    }

    fn is_down(&self, node: &str) -> bool {
        find(self.world, node).is_some_and(|node| Down::of(node).is_some())
    }

    fn refresh(&mut self, names: &BTreeSet<String>) {
        let observed = self.state.set.status.observed_generation;
        for name in names {
            let pods = self.by_node.get(name).into_iter().flatten();
            let pods = pods.filter_map(|pod| self.state.pods.get(pod)).collect();
            let node = self.state.nodes.get(name).map(AsRef::as_ref);
            let site = Site { name, node, pods };
            self.board.put(&site, self.state.failures.get(observed, name), self.now);
        }
    }
}

/// A pod as far as the engine reads it.
fn bare(set: &rollout::Set, hash: &str, node: &str, name: &str) -> Pod {
    let mut labels = rollout::json::strings(&set.template["metadata"]["labels"]);
    labels.insert(rollout::words::HASH_LABEL.to_owned(), hash.to_owned());
    Pod {
        name: name.to_owned(),
        node: Some(node.to_owned()),
        is_bound: false,
        created: Timestamp::MIN,
        is_terminating: false,
        phase: Phase::Alive,
        is_ready: false,
        ready_changed: None,
        labels,
        controller: Some(set.uid.clone()),
        trouble: None,
        is_evicted: false,
    }
}
