//! The engine's board and next plan, and what follows from both for every node.

use super::Progress;
use crate::world::World;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use rollout::plan::budget::{Limits, Standing};
use rollout::plan::history::History;
use rollout::plan::{Answer, Plan, Turn};
use rollout::{Board, Strategy, Why};
use std::collections::{BTreeMap, BTreeSet};

/// One look at a world through the engine's eyes.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    pub(crate) world: &'a World,
    pub(crate) now: Timestamp,
    pub(crate) history: History,
    pub(crate) board: Board,
    /// What the engine would do now.
    pub(crate) next: Plan,
    /// The pods it would delete now, and why.
    pub(crate) deletes: BTreeMap<String, Why>,
    /// The nodes on which it would create a pod now.
    pub(crate) creates: BTreeSet<String>,
    /// The spec of its pods, if it can be read.
    pub(crate) spec: Option<PodSpec>,
    limits: Option<Limits>,
    standing: Standing,
    broken: usize,
    is_placing: bool,
}

impl<'a> Look<'a> {
    pub(crate) fn of(world: &'a World, now: Timestamp) -> Self {
        let seen = &world.rollout;
        let set = &seen.set;
        let history = History::of(set, &seen.revisions);
        let board = Board::of(seen, &history, now);
        let mut next = board.plan(set, &history, &seen.failures, now);
        if set.is_deleting {
            next = Plan { hash: next.hash, ..Plan::default() };
        }
        let answers = board.answers();
        let mut standing = Standing::default();
        for (node, answer) in answers {
            standing.count(node, answer, true);
        }
        let desired = answers.values().map(|answer| answer.counts.desired).sum();
        let is_broken =
            |answer: &&Answer| matches!(answer.turn, Turn::Old { is_available: false, .. });
        Self {
            world,
            now,
            deletes: next.delete.iter().map(|d| (d.pod.clone(), d.why)).collect(),
            creates: next.create.iter().map(|create| create.node.clone()).collect(),
            spec: world.daemon_pod(set, &history.hash, "").and_then(|pod| pod.spec),
            limits: Limits::of(&set.strategy, desired),
            broken: answers.values().filter(is_broken).count(),
            is_placing: answers.values().any(|a| a.create || !a.delete.is_empty()),
            standing,
            history,
            next,
            board,
        }
    }

    pub(crate) fn answer(&self, node: &str) -> Option<&Answer> {
        self.board.answers().get(node)
    }

    /// Nodes that count against maxUnavailable or maxSurge.
    fn unavailable(&self) -> usize {
        self.standing.busy() + self.broken
    }

    /// Where a node stands in the rollout; absent where it has nothing to do with one.
    pub(crate) fn turn(&self, node: &str) -> Option<String> {
        let answer = self.answer(node)?;
        let is_on_delete = matches!(self.world.rollout.set.strategy, Strategy::OnDelete);
        let words = match &answer.turn {
            Turn::Out | Turn::Empty | Turn::New { .. } | Turn::Down { has_old: false, is_blamed: false } => {
                return None;
            }
            Turn::Unclear => "several pods: surplus ones go first".to_owned(),
            Turn::Old { .. } if is_on_delete => "old template: waits until its pod is deleted (OnDelete)".to_owned(),
            Turn::Down { has_old: true, is_blamed: false } => {
                "old template: the node is down, is not counted, and is updated when it returns".to_owned()
            }
            Turn::Down { .. } => {
                "the node went down right after it received the new pod: counts against maxUnavailable".to_owned()
            }
            Turn::Both { old, .. } if self.deletes.contains_key(old) => {
                "the new pod took over: the old one goes next".to_owned()
            }
            Turn::Both { .. } => "the new pod stands beside the old one: waits until it is available".to_owned(),
            Turn::Old { pod, .. } if self.deletes.contains_key(pod) => "old template: replaced next".to_owned(),
            Turn::Old { .. } if self.creates.contains(node) => {
                "old template: a new pod beside it is next".to_owned()
            }
            Turn::Old { .. } if self.is_placing => {
                "old template: waits, since missing and surplus pods come first".to_owned()
            }
            Turn::Old { .. } => self.waits(),
        };
        Some(words)
    }

    fn waits(&self) -> String {
        let used = self.unavailable();
        match self.limits {
            Some(Limits { surge_max: 0, unavailable_max }) if used >= unavailable_max => format!(
                "old template: waits for its turn: maxUnavailable is {unavailable_max}, {used} without an available pod"
            ),
            Some(Limits { surge_max, .. }) if surge_max > 0 => {
                format!("old template: waits for its turn: maxSurge is {surge_max}")
            }
            _ => "old template: waits for its turn".to_owned(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let set = &self.world.rollout.set;
        let old = self.standing.old() + self.standing.away().len();
        let unavailable = self.unavailable();
        let is_on_delete = matches!(set.strategy, Strategy::OnDelete);
        let is_old = |node: &&String| {
            matches!(self.answer(node).map(|answer| &answer.turn), Some(Turn::Old { .. }))
        };
        let next = self.next.delete.iter().filter(|d| d.why == Why::Outdated).count()
            + self.creates.iter().filter(is_old).count();
        let words = if set.is_deleting {
            "none: the DaemonSet is being deleted".to_owned()
        } else if old == 0 {
            "complete: no node has a pod of an old template".to_owned()
        } else if is_on_delete {
            format!("{old} nodes wait until their pod is deleted (OnDelete)")
        } else if next > 0 {
            format!("moves: {next} of {old} nodes with the old template are next")
        } else if self.standing.old() == 0 {
            format!("waits for {old} nodes that are down")
        } else {
            format!(
                "waits: {old} nodes have the old template, {unavailable} are without an available pod"
            )
        };
        Progress {
            strategy: if is_on_delete { "OnDelete" } else { "RollingUpdate" },
            max_unavailable: self.limits.map(|limits| limits.unavailable_max),
            max_surge: self.limits.map(|limits| limits.surge_max),
            hash: self.history.hash.clone(),
            revision: self.revision(),
            old,
            unavailable,
            words,
        }
    }

    /// Number of the current revision, if it is there.
    fn revision(&self) -> Option<i64> {
        let steps = &self.history.steps;
        if steps.create.is_some() {
            return None;
        }
        let is_current = |r: &&rollout::Revision| r.hash() == self.history.hash;
        self.world.rollout.revisions.values().find(is_current).map(|revision| revision.number)
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let set = &self.world.rollout.set;
        let mut notes = Vec::new();
        if set.is_deleting {
            notes.push(
                "the DaemonSet is being deleted: its engine does nothing more for it".to_owned(),
            );
        }
        if set.selects_all() {
            notes.push("the selector is empty: the engine refuses to act".to_owned());
        }
        if set.status.observed_generation < set.generation && !set.is_deleting {
            notes.push(format!(
                "the engine has not seen generation {} yet (it saw {}); what it will do is told",
                set.generation, set.status.observed_generation
            ));
        }
        if !self.world.engine.is_pernode {
            notes.push("the engine is not pernode's: told by upstream's rules; its order of nodes is its own".to_owned());
        }
        let refused = set.status.conditions.iter().find(|c| c.reason == "CreateRefused");
        if let Some(condition) = refused {
            notes.push(format!("the API refuses pods: {}", condition.message));
        }
        if self.board.answers().values().any(|answer| answer.has_failed) {
            notes.push("pods failed; until when the engine waits before it replaces them is not visible in the API".to_owned());
        }
        let strays =
            self.board.answers().iter().filter(|(_, a)| a.verdict.is_none() && !a.pods.is_empty());
        let names: Vec<&str> =
            strays.flat_map(|(_, a)| a.pods.iter().map(|mark| mark.pod.as_str())).collect();
        if !names.is_empty() {
            let first = names
                .iter()
                .take(super::groups::EXAMPLES_MAX)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            notes.push(format!("{} pods belong to no node that is there: {first}", names.len()));
        }
        notes.extend(crate::world::blind_spots(self.spec.as_ref()));
        notes.extend(self.world.gaps.iter().cloned());
        notes
    }
}
