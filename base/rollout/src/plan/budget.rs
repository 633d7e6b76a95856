//! maxUnavailable and maxSurge, spent node by node (spec 2.10, 2.11).
//!
//! Ours differs from upstream's in three rows of `docs/differences.md`: a node that is down is neither unavailable nor
//! done (B91, B94), unless it went down on receiving the new pod; a node that could not get another pod has no part in
//! it (B95); and old pods that are not available go within `maxUnavailable` too (B92).
//!
//! Nodes are walked by name. (Upstream's order is random; only which nodes go first depends on it, since
//! counts are complete before anything is spent.)

use super::place::{Answer, Turn, Why};
use super::{Create, Delete};
use crate::set::{Strategy, scaled};
use jiff::{SignedDuration, Timestamp};
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
    /// Nodes that are down and blamed for it on the new pod.
    blamed: BTreeSet<String>,
    /// Nodes that are down and whose old pod waits for their return.
    away: BTreeSet<String>,
    /// Nodes whose new pod is not available, by its creation.
    fresh: BTreeSet<(Timestamp, String)>,
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
    /// Nodes that count against the limit though they are down.
    pub fn blamed(&self) -> &BTreeSet<String> {
        &self.blamed
    }

    /// Nodes that are down and whose old pod is replaced when they return.
    pub fn away(&self) -> &BTreeSet<String> {
        &self.away
    }

    /// Nodes with an old pod that the rollout has still to replace.
    pub fn old(&self) -> usize {
        self.ripe.len() + self.broken.len() + self.both
    }

    /// Nodes that keep the limit used up: a replacement is on its way there, or does not get well.
    pub fn busy(&self) -> usize {
        self.unclear + self.empty + self.both + self.new_unavailable + self.blamed.len()
    }

    /// Counts a node in, or out again.
    pub fn count(&mut self, node: &str, answer: &Answer, is_in: bool) {
        let is_eligible = answer.counts.desired > 0;
        let by = |field: &mut usize| if is_in { *field += 1 } else { *field -= 1 };
        match &answer.turn {
            Turn::Out => {}
            Turn::Unclear => by(&mut self.unclear),
            Turn::Empty => by(&mut self.empty),
            Turn::New { is_available: true, .. } => by(&mut self.new_available),
            Turn::New { is_available: false, created } => {
                by(&mut self.new_unavailable);
                if is_in {
                    self.fresh.insert((*created, node.to_owned()));
                } else {
                    self.fresh.remove(&(*created, node.to_owned()));
                }
            }
            Turn::Down { has_old, is_blamed } => {
                for (names, is_one) in [(&mut self.away, *has_old), (&mut self.blamed, *is_blamed)]
                {
                    if is_in && is_one {
                        names.insert(node.to_owned());
                    } else {
                        names.remove(node);
                    }
                }
            }
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
    /// When the next broken pod may be replaced though the limit is used up.
    pub again_at: Option<Timestamp>,
}

/// What spending depends on besides the standing.
#[derive(Clone, Copy, Debug)]
pub struct Purse {
    /// The limits in force.
    pub limits: Limits,
    /// Nodes that should run a pod.
    pub desired: usize,
    /// Whether broken pods are replaced within the limits too.
    pub is_ours: bool,
    /// The moment.
    pub now: Timestamp,
}

/// The first wait for one more broken pod beyond the limit; doubled for each new pod beyond the limit that does not
/// get well.
const BROKEN_DELAY_INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// The longest such wait.
const BROKEN_DELAY_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Spends the limits. `old_pod` names the old pod of a node that stands in [`Turn::Old`] or [`Turn::Both`].
pub fn spend<'a>(
    purse: Purse,
    standing: &Standing,
    old_pod: impl Fn(&str) -> Option<&'a str>,
) -> Step {
    let mut step = Step::default();
    let mut end = |node: &str, why: Why| {
        let pod = old_pod(node).map(str::to_owned);
        let delete = |pod| Delete { node: node.to_owned(), pod, why };
        step.delete.extend(pod.map(delete));
    };
    let limits = purse.limits;
    if limits.surge_max == 0 {
        let unavailable = standing.busy() + standing.broken.len();
        let left = limits.unavailable_max.saturating_sub(unavailable);
        let (broken, again_at) = broken(purse, standing);
        for node in standing.broken.first(broken).into_iter().chain(standing.ripe.first(left)) {
            end(node, Why::Outdated);
        }
        step.again_at = again_at;
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
    for node in standing.ripe.others.iter().take(available.saturating_sub(purse.desired)) {
        end(node, Why::Outdated);
    }
    let surging = standing.unclear + standing.both_new_unavailable + standing.blamed.len();
    let left = limits.surge_max.saturating_sub(surging);
    let beside = standing.broken.eligible.iter().chain(standing.ripe.eligible.iter().take(left));
    step.create = beside.map(|node| Create { node: node.clone() }).collect();
    step
}

/// How many old pods that are not available are replaced, or when one more may be. Upstream replaces all at once, so
/// that a probe that fails everywhere for a moment restarts the fleet (spec B92). Within the limit nothing is lost:
/// they go first. Where new pods that do not get well have used it up, one more goes from time to time, since nothing
/// that serves is taken from anybody: a node that cannot be helped does not keep the others broken.
fn broken(purse: Purse, standing: &Standing) -> (usize, Option<Timestamp>) {
    if !purse.is_ours {
        return (usize::MAX, None);
    }
    let limit = purse.limits.unavailable_max;
    let free = limit.saturating_sub(standing.busy());
    let is_moving = standing.empty + standing.unclear + standing.both > 0;
    if free > 0 || is_moving || standing.broken.len() == 0 {
        return (free, None);
    }
    let Some((latest, _)) = standing.fresh.last() else { return (1, None) };
    let beyond = u32::try_from(standing.busy() - limit).unwrap_or(u32::MAX).min(16);
    let delay = BROKEN_DELAY_INITIAL.saturating_mul(1 << beyond).min(BROKEN_DELAY_MAX);
    match latest.checked_add(delay) {
        Ok(at) if at > purse.now => (0, Some(at)),
        _ => (1, None),
    }
}
