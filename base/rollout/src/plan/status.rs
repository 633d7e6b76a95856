//! The status: counters summed over the nodes (spec 2.8), and conditions (spec A33).

use super::budget::{Limits, Standing};
use super::place::Counts;
use crate::condition::{Condition, NAMES_MAX, QUOTE_BYTES_MAX, Trouble};
use crate::set::{Set, Status};
use crate::words::{AVAILABLE, DEGRADED, Event, PROGRESSING};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

impl Counts {
    /// Adds another node's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields().into_iter().zip(other.values()) {
            *mine += theirs;
        }
    }

    /// Takes back what was added.
    pub fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.fields().into_iter().zip(other.values()) {
            *mine -= theirs;
        }
    }

    fn fields(&mut self) -> [&mut usize; 6] {
        let Self { desired, current, misscheduled, ready, available, updated } = self;
        [desired, current, misscheduled, ready, available, updated]
    }

    fn values(&self) -> [usize; 6] {
        let Self { desired, current, misscheduled, ready, available, updated } = *self;
        [desired, current, misscheduled, ready, available, updated]
    }
}

/// The status that the counts call for. The observed generation is that of the set as it was read, also
/// where a step of the plan fails later (spec B31); the collision count is carried on.
pub fn status(set: &Set, counts: &Counts) -> Status {
    Status {
        current_number_scheduled: counts.current,
        number_misscheduled: counts.misscheduled,
        desired_number_scheduled: counts.desired,
        number_ready: counts.ready,
        observed_generation: set.generation.max(set.status.observed_generation),
        updated_number_scheduled: counts.updated,
        number_available: counts.available,
        number_unavailable: counts.desired.saturating_sub(counts.available),
        collision_count: set.status.collision_count,
        conditions: set.status.conditions.clone(),
    }
}

/// What conditions are made of.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) set: &'a Set,
    pub(super) counts: &'a Counts,
    pub(super) standing: &'a Standing,
    /// The nodes of each trouble.
    pub(super) troubles: &'a BTreeMap<Trouble, BTreeSet<String>>,
    /// Nodes whose pod the API refuses, and its words.
    pub(super) refused: Option<(usize, Vec<&'a str>, &'a str)>,
    /// How many nodes are there, and the first of them.
    pub(super) nodes: (usize, Vec<&'a str>),
    pub(super) now: Timestamp,
}

impl Facts<'_> {
    /// Our conditions, in the order of their types.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let known = (self.set.status.conditions.as_slice(), self.now);
        [
            (AVAILABLE, self.available()),
            (DEGRADED, self.degraded()),
            (PROGRESSING, self.progressing()),
        ]
        .into_iter()
        .map(|(kind, (is_true, reason, message))| {
            Condition::new(kind, (is_true, reason), message, known)
        })
        .collect()
    }

    fn limits(&self) -> Limits {
        let none = Limits { unavailable_max: 0, surge_max: 0 };
        Limits::of(&self.set.strategy, self.counts.desired).unwrap_or(none)
    }

    fn available(&self) -> (bool, &'static str, String) {
        let Counts { desired, available, .. } = *self.counts;
        let (nodes, first) = &self.nodes;
        if desired == 0 && *nodes > 0 {
            let names = named(*nodes, first);
            let message = format!("none of {nodes} nodes should run a pod ({names})");
            return (true, NO_ELIGIBLE_NODE, message);
        }
        let limit = self.limits().unavailable_max;
        let message = format!("{available} of {desired} nodes have an available pod");
        if available + limit >= desired {
            (true, "EnoughAvailable", message)
        } else {
            (false, "TooFewAvailable", message)
        }
    }

    fn degraded(&self) -> (bool, &'static str, String) {
        let mut message = String::new();
        let mut first = None;
        if let Some((count, names, words)) = &self.refused {
            first = Some(Trouble::CreateRefused);
            tell(&mut message, Trouble::CreateRefused.words(), *count, names.iter().copied());
            let end = words.floor_char_boundary(QUOTE_BYTES_MAX);
            let _always_fits = write!(message, ": {}", &words[..end]);
        }
        for (trouble, nodes) in self.troubles {
            first = first.or(Some(*trouble));
            tell(&mut message, trouble.words(), nodes.len(), nodes.iter().map(String::as_str));
        }
        let blamed = self.standing.blamed();
        if !blamed.is_empty() {
            let words =
                "went down soon after receiving the new pod and counts against maxUnavailable";
            tell(&mut message, words, blamed.len(), blamed.iter().map(String::as_str));
        }
        match first {
            Some(trouble) => (true, trouble.reason(), message),
            None => (false, "AsExpected", "nothing keeps a pod from being available".to_owned()),
        }
    }

    fn progressing(&self) -> (bool, &'static str, String) {
        let Counts { desired, updated, .. } = *self.counts;
        let mut message =
            format!("{updated} of {desired} nodes have a pod of the current template");
        let away = self.standing.away();
        if !away.is_empty() {
            let words = "down, to be updated on return";
            tell(&mut message, words, away.len(), away.iter().map(String::as_str));
        }
        let old = self.standing.old();
        let Some(limits) = Limits::of(&self.set.strategy, desired) else {
            return match old {
                0 => (true, COMPLETE, message),
                _ => (false, "WaitingForDeletion", message),
            };
        };
        // a node that is down holds nothing up, unless it is blamed on the template
        let of_pods = self.troubles.iter().filter(|(trouble, _)| **trouble != Trouble::NodeDown);
        let troubled = of_pods.map(|(_, nodes)| nodes.len()).sum::<usize>()
            + self.standing.blamed().len()
            + self.refused.as_ref().map_or(0, |(count, ..)| *count);
        let limit = limits.unavailable_max.max(limits.surge_max);
        // once complete, a pod that falls ill later does not make it a rollout again
        let was_complete = self.set.status.observed_generation == self.set.generation
            && self.set.status.conditions.iter().any(|c| c.reason == COMPLETE);
        let is_available = self.counts.available == desired || was_complete;
        if old == 0 && updated == desired && is_available {
            (true, COMPLETE, message)
        } else if old > 0 && self.standing.busy() >= limit && troubled >= limit.max(1) {
            (false, "RolloutBlocked", message)
        } else {
            (true, "RolloutInProgress", message)
        }
    }

    /// What is worth an event: a trouble that was not there, and that nothing is to be run at all.
    pub(super) fn news(&self, conditions: &[Condition]) -> Vec<Event> {
        let before = |kind| self.set.status.conditions.iter().find(|known| known.kind == kind);
        let is_new = |c: &&Condition| before(c.kind).is_none_or(|known| known.reason != c.reason);
        let tell = |c: &Condition| match Trouble::ALL.iter().find(|t| t.reason() == c.reason) {
            Some(trouble) => Some(Event::warning(trouble.reason(), c.message.clone())),
            None if c.reason == NO_ELIGIBLE_NODE => {
                Some(Event::normal(NO_ELIGIBLE_NODE, c.message.clone()))
            }
            None => None,
        };
        conditions.iter().filter(is_new).filter_map(tell).collect()
    }
}

/// Reason: every node that should have one has a pod of the current template.
const COMPLETE: &str = "RolloutComplete";
/// Reason: no node is eligible, by selector, affinity or taints.
const NO_ELIGIBLE_NODE: &str = "NoEligibleNode";

/// `; 5 nodes: <words> (a, b, c and 2 more)`.
fn tell<'a>(message: &mut String, words: &str, count: usize, names: impl Iterator<Item = &'a str>) {
    let names: Vec<&str> = names.take(NAMES_MAX).collect();
    let before = if message.is_empty() { "" } else { "; " };
    let noun = if count == 1 { "node" } else { "nodes" };
    let names = named(count, &names);
    let _always_fits = write!(message, "{before}{count} {noun}: {words} ({names})");
}

/// `a, b, c and 2 more`.
fn named(count: usize, first: &[&str]) -> String {
    match count.saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Whether a status says something else than numbers and words: such a status is written at once, others at most once
/// a second.
pub(super) fn is_urgent(before: &Status, after: &Status) -> bool {
    let marks = |status: &Status| -> Vec<(&'static str, bool, String)> {
        status.conditions.iter().map(|c| (c.kind, c.is_true, c.reason.clone())).collect()
    };
    before.observed_generation != after.observed_generation
        || before.collision_count != after.collision_count
        || marks(before) != marks(after)
}
