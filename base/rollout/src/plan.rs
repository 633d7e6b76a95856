//! World × now → Plan. Read [`plan`] for the order of steps; its children say how each is decided.

pub mod budget;
pub mod history;
pub mod place;
pub mod status;

pub use place::{Answer, Counts, Site, Terms, Turn, Wait, Why};

use crate::condition::{NAMES_MAX, Trouble};
use crate::set::{Problem, Set, Status};
use crate::words::Event;
use crate::world::{Failures, Pod, Refusal, World};
use budget::{Limits, Purse, Standing};
use history::{History, Revisions};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Pods created, and pods deleted, in one pass at most (spec B35).
pub const BURST_MAX: usize = 250;

/// What a DaemonSet wants next. Steps are taken in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Hash of the current revision, the label of created pods.
    pub hash: String,
    /// Orphans to adopt.
    pub adopt: Vec<String>,
    /// Pods to release.
    pub release: Vec<String>,
    /// What to do about revisions.
    pub revisions: Revisions,
    /// Pods that carry the hash of a duplicate revision and get the current one instead (spec B55).
    pub relabel: Vec<String>,
    /// Pods to create.
    pub create: Vec<Create>,
    /// Pods to delete.
    pub delete: Vec<Delete>,
    /// Nodes whose failed pod is deleted: their back-off grows.
    pub failed: Vec<String>,
    /// Nodes with pods that were evicted because of a taint, and these pods: their back-off grows too.
    pub evicted: Vec<(String, BTreeSet<String>)>,
    /// The status to write; absent when it says so already.
    pub status: Option<Status>,
    /// Whether the status says something else than numbers and words, so that it is written at once.
    pub is_urgent: bool,
    /// What to tell about the DaemonSet.
    pub events: Vec<Event>,
    /// When to look again though nothing has changed.
    pub again_at: Option<Timestamp>,
    /// How many creates and deletes did not fit into this pass.
    pub postponed: usize,
    /// Trouble.
    pub problems: Vec<Problem>,
    /// Pods that stay as they are. Filled by [`plan()`], not by [`Board::plan`].
    pub keep: Vec<String>,
    /// Pods that something is waited for. Filled by [`plan()`], not by [`Board::plan`].
    pub wait: Vec<Waiting>,
}

/// A pod to create.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Create {
    /// The node it is pinned to.
    pub node: String,
}

/// A pod to delete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delete {
    /// Its node.
    pub node: String,
    /// Its name.
    pub pod: String,
    /// Why.
    pub why: Why,
}

/// A pod that something is waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Its name.
    pub pod: String,
    /// What for.
    pub what: Wait,
}

impl Plan {
    /// Whether nothing is to be done but wait.
    pub fn is_quiet(&self) -> bool {
        let Revisions { adopt, release, label, create, renumber, duplicates, trim } =
            &self.revisions;
        let lists =
            [&self.adopt, &self.release, &self.relabel, adopt, release, label, duplicates, trim];
        lists.iter().all(|list| list.is_empty())
            && create.is_none()
            && renumber.is_none()
            && self.create.is_empty()
            && self.delete.is_empty()
            && self.status.is_none()
            && self.events.is_empty()
            && self.problems.is_empty()
    }
}

/// The whole answer at once: for the start, for `explain`, and for proofs. The running engine keeps a
/// [`Board`] instead.
pub fn plan(world: &World, now: Timestamp) -> Plan {
    let set = &world.set;
    if set.is_deleting {
        let keep = world.pods.values().filter(|pod| pod.controller.as_ref() == Some(&set.uid));
        return Plan { keep: keep.map(|pod| pod.name.clone()).collect(), ..Plan::default() };
    }
    let history = History::of(set, &world.revisions);
    let board = Board::of(world, &history, now);
    let mut plan = board.plan(set, &history, &world.failures, now);
    board.account(set, &mut plan);
    plan
}

/// The answers of all nodes with their sums, kept up to date change by change, so that the cost of a change
/// is that of the nodes it touches (design §8.7).
#[derive(Clone, Debug)]
pub struct Board {
    terms: Terms,
    answers: BTreeMap<String, Answer>,
    counts: Counts,
    standing: Standing,
    /// Nodes whose answer asks for something.
    busy: BTreeSet<String>,
    /// When answers change by time alone.
    due: BTreeSet<(Timestamp, String)>,
    /// How many pods carry each hash.
    hashes: BTreeMap<String, usize>,
    /// The nodes of each trouble.
    troubles: BTreeMap<Trouble, BTreeSet<String>>,
    /// Nodes that are there.
    nodes: usize,
}

impl Board {
    /// A board without nodes. It holds as long as the terms do.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            answers: BTreeMap::new(),
            counts: Counts::default(),
            standing: Standing::default(),
            busy: BTreeSet::new(),
            due: BTreeSet::new(),
            hashes: BTreeMap::new(),
            troubles: BTreeMap::new(),
            nodes: 0,
        }
    }

    /// The board of a whole world.
    pub fn of(world: &World, history: &History, now: Timestamp) -> Self {
        let mut board = Self::new(Terms::of(&world.set, history));
        let mut pods: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
        for pod in world.pods.values() {
            pods.entry(pod.node.as_deref().unwrap_or_default()).or_default().push(pod);
        }
        let names: BTreeSet<&str> =
            world.nodes.keys().map(String::as_str).chain(pods.keys().copied()).collect();
        let observed_generation = world.set.status.observed_generation;
        for name in names {
            let node = world.nodes.get(name).map(AsRef::as_ref);
            let site = Site { name, node, pods: pods.remove(name).unwrap_or_default() };
            board.put(&site, world.failures.get(observed_generation, name), now);
        }
        board
    }

    /// The terms that all answers were given under.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The answer of each node, by name; the empty name stands for pods aimed at no node.
    pub fn answers(&self) -> &BTreeMap<String, Answer> {
        &self.answers
    }

    /// Asks again for one node. A node that is gone, with all its pods, is forgotten.
    pub fn put(&mut self, site: &Site<'_>, failure: Option<&crate::Failure>, now: Timestamp) {
        if let Some(before) = self.answers.remove(site.name) {
            self.count(site.name, &before, false);
        }
        if site.node.is_none() && site.pods.is_empty() {
            return;
        }
        let answer = place::answer(&self.terms, site, failure, now);
        self.count(site.name, &answer, true);
        self.answers.insert(site.name.to_owned(), answer);
    }

    /// Nodes whose answer may have changed by time alone: ask again for these before [`Board::plan`].
    pub fn due(&self, now: Timestamp) -> Vec<String> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, node)| node.clone()).collect()
    }

    fn count(&mut self, node: &str, answer: &Answer, is_in: bool) {
        self.standing.count(node, answer, is_in);
        let is_busy = answer.create
            || !answer.evicted.is_empty()
            || !(answer.delete.is_empty() && answer.adopt.is_empty() && answer.release.is_empty());
        if is_in {
            self.counts.add(&answer.counts);
            self.due.extend(answer.again_at.map(|at| (at, node.to_owned())));
        } else {
            self.counts.subtract(&answer.counts);
            if let Some(at) = answer.again_at {
                self.due.remove(&(at, node.to_owned()));
            }
        }
        if answer.verdict.is_some() {
            self.nodes = if is_in { self.nodes + 1 } else { self.nodes - 1 };
        }
        if let Some(trouble) = answer.trouble {
            let nodes = self.troubles.entry(trouble).or_default();
            if is_in {
                nodes.insert(node.to_owned());
            } else {
                nodes.remove(node);
            }
            if nodes.is_empty() {
                self.troubles.remove(&trouble);
            }
        }
        if is_in && is_busy {
            self.busy.insert(node.to_owned());
        } else {
            self.busy.remove(node);
        }
        for hash in answer.pods.iter().filter_map(|mark| mark.hash.as_ref()) {
            let pods = self.hashes.entry(hash.clone()).or_insert(0);
            if is_in {
                *pods += 1;
            } else {
                *pods -= 1;
            }
            if *pods == 0 {
                self.hashes.remove(hash);
            }
        }
    }

    /// The plan for all nodes. `set` must have this board's terms, `history` its hash.
    pub fn plan(&self, set: &Set, history: &History, failures: &Failures, now: Timestamp) -> Plan {
        let mut plan = Plan { hash: history.hash.clone(), ..Plan::default() };
        if set.selects_all() {
            plan.problems.push(Problem::SelectsAll);
            plan.events.push(Event::selecting_all());
            return plan;
        }
        plan.revisions = history.steps.clone();
        plan.relabel = self.relabelled(history);
        let is_moving = self.place(&mut plan);
        let refused = refused(&mut plan, failures.refusal.as_ref());
        // A rollout moves only in passes in which placement had nothing to do (spec B32).
        if !is_moving && let Some(limits) = Limits::of(&set.strategy, self.counts.desired) {
            let old_pod = |node: &str| match &self.answers.get(node)?.turn {
                Turn::Old { pod, .. } | Turn::Both { old: pod, .. } => Some(pod.as_str()),
                Turn::Out | Turn::Unclear | Turn::Empty | Turn::Down { .. } | Turn::New { .. } => {
                    None
                }
            };
            let (desired, is_ours) = (self.counts.desired, set.is_ours());
            let purse = Purse { limits, desired, is_ours, now };
            let step = budget::spend(purse, &self.standing, old_pod);
            plan.create.extend(step.create);
            plan.delete.extend(step.delete);
            plan.again_at = step.again_at;
        }
        plan.postponed = plan.create.len().saturating_sub(BURST_MAX)
            + plan.delete.len().saturating_sub(BURST_MAX);
        plan.create.truncate(BURST_MAX);
        plan.delete.truncate(BURST_MAX);
        plan.revisions.trim =
            history.trimmed(set.history_limit, |hash| self.hashes.contains_key(hash));
        let due = self.due.first().map(|(at, _)| *at);
        plan.again_at = plan.again_at.into_iter().chain(due).min();
        self.report(set, refused, now, &mut plan);
        plan
    }

    /// The status, and what has become worth telling.
    fn report(&self, set: &Set, refused: Refused<'_>, now: Timestamp, plan: &mut Plan) {
        let mut status = status::status(set, &self.counts);
        if set.is_ours() {
            let (counts, standing, troubles) = (&self.counts, &self.standing, &self.troubles);
            let there = self.answers.iter().filter(|(_, answer)| answer.verdict.is_some());
            let first = there.map(|(name, _)| name.as_str()).take(NAMES_MAX).collect();
            let nodes = (self.nodes, first);
            let names: Option<(usize, Vec<&str>, &str)> = refused.as_ref().map(|(names, words)| {
                (names.len(), names.iter().map(String::as_str).collect(), *words)
            });
            let facts =
                status::Facts { set, counts, standing, troubles, refused: names, nodes, now };
            status.conditions = facts.conditions();
            plan.events.extend(facts.news(&status.conditions));
        }
        plan.is_urgent = !set.is_ours() || status::is_urgent(&set.status, &status);
        plan.status = (status != set.status).then_some(status);
    }

    /// What each node needs for its own sake. Events of nodes that did not fit into the pass wait with them.
    fn place(&self, plan: &mut Plan) -> bool {
        for node in &self.busy {
            let Some(answer) = self.answers.get(node) else { continue };
            plan.adopt.extend_from_slice(&answer.adopt);
            plan.release.extend_from_slice(&answer.release);
            if !answer.evicted.is_empty() {
                plan.evicted.push((node.clone(), answer.evicted.clone()));
            }
            if answer.create {
                plan.create.push(Create { node: node.clone() });
            }
            if plan.delete.len() < BURST_MAX {
                plan.events.extend_from_slice(&answer.events);
                plan.failed.extend(answer.has_failed.then(|| node.clone()));
            }
            let delete = answer.delete.iter();
            plan.delete.extend(delete.map(|(pod, why)| Delete {
                node: node.clone(),
                pod: pod.clone(),
                why: *why,
            }));
        }
        !(plan.create.is_empty() && plan.delete.is_empty())
    }

    fn relabelled(&self, history: &History) -> Vec<String> {
        if history.duplicate_hashes.is_empty() {
            return Vec::new();
        }
        let is_duplicate =
            |hash: &String| history.duplicate_hashes.contains(hash) && *hash != history.hash;
        let marks = self.answers.values().flat_map(|answer| &answer.pods);
        let carriers = marks.filter(|mark| mark.hash.as_ref().is_some_and(is_duplicate));
        carriers.map(|mark| mark.pod.clone()).collect()
    }

    /// Sorts the pods that are not deleted into those that stay and those that wait.
    fn account(&self, set: &Set, plan: &mut Plan) {
        let deleted: BTreeSet<&str> =
            plan.delete.iter().map(|delete| delete.pod.as_str()).collect();
        let is_rolling = !matches!(set.strategy, crate::Strategy::OnDelete);
        for answer in self.answers.values() {
            for mark in answer.pods.iter().filter(|mark| !deleted.contains(mark.pod.as_str())) {
                let is_left = answer.delete.iter().any(|(pod, _)| *pod == mark.pod);
                let is_old = match &answer.turn {
                    Turn::Old { pod, .. } | Turn::Both { old: pod, .. } => *pod == mark.pod,
                    Turn::Out
                    | Turn::Unclear
                    | Turn::Empty
                    | Turn::Down { .. }
                    | Turn::New { .. } => false,
                };
                let what = match mark.wait {
                    Some(Wait::Node) if !is_rolling => None,
                    Some(wait) => Some(wait),
                    None if is_left => Some(Wait::NextPass),
                    None if is_old && is_rolling => Some(Wait::Turn),
                    None => None,
                };
                match what {
                    None => plan.keep.push(mark.pod.clone()),
                    Some(what) => plan.wait.push(Waiting { pod: mark.pod.clone(), what }),
                }
            }
        }
        plan.keep.sort_unstable();
        plan.wait.sort_unstable();
    }
}

/// The nodes whose pod the API refuses, and its words.
type Refused<'a> = Option<(Vec<String>, &'a str)>;

/// Puts the nodes whose pod was refused before behind all others: a batch ends with the first refusal, and one node
/// would keep the rest from theirs. Answers the nodes that go without while the refusal lasts.
fn refused<'a>(plan: &mut Plan, refusal: Option<&'a Refusal>) -> Refused<'a> {
    let refusal = refusal?;
    plan.create.sort_by_key(|create| refusal.nodes.contains(&create.node));
    let nodes = plan.create.iter().map(|create| create.node.clone());
    let mut names: Vec<String> = nodes.collect();
    names.sort_unstable();
    (!names.is_empty()).then_some((names, refusal.message.as_str()))
}
