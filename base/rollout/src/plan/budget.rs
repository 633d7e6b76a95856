//! maxUnavailable and maxSurge, spent node by node (spec 2.10, 2.11).
//!
//! Nodes are walked by name. (Upstream's order is random; only which nodes go first depends on it, since
//! counts are complete before anything is spent.)

use super::place::{Answer, Turn, Why};
use super::{Create, Delete};
use crate::set::{Strategy, scaled};
use std::collections::BTreeSet;

/// Where all nodes together stand in a rollout: counts, and names where a choice is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    unclear: usize,
    empty: usize,
    new_available: usize,
    new_unavailable: usize,
    old_available: usize,
    both: usize,
    both_new_unavailable: usize,
    /// Nodes with an old available pod.
    ripe: Sides,
    /// Nodes with an old pod that is not available.
    broken: Sides,
    /// Nodes where a new available pod stands beside an old one.
    taken_over: BTreeSet<String>,
}

/// Node names, apart by whether a pod should run there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sides {
    eligible: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Sides {
    fn set(&mut self, node: &str, is_eligible: bool, is_in: bool) {
        let side = if is_eligible { &mut self.eligible } else { &mut self.others };
        if is_in {
            side.insert(node.to_owned());
        } else {
            side.remove(node);
        }
    }

    /// The first `limit` of both sides by name.
    fn first(&self, limit: usize) -> Vec<&str> {
        let sides = self.eligible.iter().take(limit).chain(self.others.iter().take(limit));
        let mut all: Vec<&str> = sides.map(String::as_str).collect();
        all.sort_unstable();
        all.truncate(limit);
        all
    }

    fn len(&self) -> usize {
        self.eligible.len() + self.others.len()
    }
}

impl Standing {
    /// Counts a node in, or out again.
    pub fn count(&mut self, node: &str, answer: &Answer, is_in: bool) {
        let is_eligible = answer.counts.desired > 0;
        let by = |field: &mut usize| if is_in { *field += 1 } else { *field -= 1 };
        match &answer.turn {
            Turn::Out => {}
            Turn::Unclear => by(&mut self.unclear),
            Turn::Empty => by(&mut self.empty),
            Turn::New { is_available: true } => by(&mut self.new_available),
            Turn::New { is_available: false } => by(&mut self.new_unavailable),
            Turn::Old { is_available: true, .. } => {
                by(&mut self.old_available);
                self.ripe.set(node, is_eligible, is_in);
            }
            Turn::Old { is_available: false, .. } => self.broken.set(node, is_eligible, is_in),
            Turn::Both { old_is_available, new_is_available, .. } => {
                by(&mut self.both);
                if *old_is_available {
                    by(&mut self.old_available);
                }
                if !*new_is_available {
                    by(&mut self.both_new_unavailable);
                } else if is_in {
                    self.taken_over.insert(node.to_owned());
                } else {
                    self.taken_over.remove(node);
                }
            }
        }
    }
}

/// The limits in force: both knobs resolved against the nodes that should run a pod (spec B90).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes that may be without an available pod.
    pub unavailable_max: usize,
    /// Nodes that may have a second pod.
    pub surge_max: usize,
}

impl Limits {
    /// Percentages round up; if both come to zero while something is desired, one node may be unavailable.
    /// Nothing is replaced under OnDelete.
    pub fn of(strategy: &Strategy, desired: usize) -> Option<Self> {
        let Strategy::RollingUpdate { max_unavailable, max_surge } = strategy else { return None };
        let surge_max = scaled(max_surge, desired);
        let mut unavailable_max = scaled(max_unavailable, desired);
        if desired > 0 && surge_max == 0 && unavailable_max == 0 {
            unavailable_max = 1;
        }
        Some(Self { unavailable_max, surge_max })
    }
}

/// What a rollout does next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Pods to create beside old ones.
    pub create: Vec<Create>,
    /// Old pods to delete.
    pub delete: Vec<Delete>,
}

/// Spends the limits. `old_pod` names the old pod of a node that stands in [`Turn::Old`] or [`Turn::Both`].
pub fn spend<'a>(
    limits: Limits,
    desired: usize,
    standing: &Standing,
    old_pod: impl Fn(&str) -> Option<&'a str>,
) -> Step {
    let mut step = Step::default();
    let mut end = |node: &str, why: Why| {
        let pod = old_pod(node).map(str::to_owned);
        let delete = |pod| Delete { node: node.to_owned(), pod, why };
        step.delete.extend(pod.map(delete));
    };
    if limits.surge_max == 0 {
        let busy = standing.unclear + standing.empty + standing.both + standing.new_unavailable;
        let unavailable = busy + standing.broken.len();
        let left = limits.unavailable_max.saturating_sub(unavailable);
        for node in standing.broken.first(usize::MAX).into_iter().chain(standing.ripe.first(left)) {
            end(node, Why::Outdated);
        }
        return step;
    }
    for node in &standing.taken_over {
        end(node, Why::Replaced);
    }
    for node in &standing.broken.others {
        end(node, Why::Outdated);
    }
    // Available old pods on nodes that are no longer eligible go only as others have become available.
    let available = standing.old_available + standing.new_available;
    for node in standing.ripe.others.iter().take(available.saturating_sub(desired)) {
        end(node, Why::Outdated);
    }
    let surging = standing.unclear + standing.both_new_unavailable;
    let left = limits.surge_max.saturating_sub(surging);
    let beside = standing.broken.eligible.iter().chain(standing.ripe.eligible.iter().take(left));
    step.create = beside.map(|node| Create { node: node.clone() }).collect();
    step
}
