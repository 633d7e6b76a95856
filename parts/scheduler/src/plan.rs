//! Where one pod goes: filter → score → choose, else whom to preempt, else why not. Pure.

mod score;

use crate::snapshot::{Seat, Snapshot, uid};
use crate::words;
use fit::reason::{NO_VICTIMS, NOT_PINNED, PREEMPTION_NOT_HELPFUL, Tally, failure_text};
use fit::victims::{may_preempt, priority};
use fit::{Incoming, Reason, Reasons};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// Nodes on which victims are tried out for one pod: upstream tries at least 100.
const VICTIM_NODES_MAX: usize = 100;

/// What to do with a pod.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Bind it to this node.
    Bind(String),
    /// No node; tell, and wait.
    Fail {
        message: String,
        /// Make room first.
        preempt: Option<Preempt>,
    },
}

/// Whom to preempt, and where.
#[derive(Clone, Debug)]
pub(crate) struct Preempt {
    pub(crate) node: String,
    pub(crate) victims: Vec<Arc<Pod>>,
}

/// Decides about one pod.
pub(crate) fn plan(pod: &Pod, snapshot: &Snapshot) -> Plan {
    let Some(spec) = pod.spec.as_ref() else {
        return Plan::Fail { message: words::NO_NODES.to_owned(), preempt: None };
    };
    if snapshot.nodes == 0 {
        return Plan::Fail { message: words::NO_NODES.to_owned(), preempt: None };
    }
    let incoming = Incoming::of(spec);
    let pinned = fit::pinned_nodes(spec);
    let candidates: Vec<(&String, &Seat)> = match &pinned {
        Some(names) => {
            names.iter().filter_map(|name| snapshot.seats.get_key_value(*name)).collect()
        }
        None => snapshot.seats.iter().collect(),
    };
    let mut refused: Vec<(&String, &Seat, Reasons)> = Vec::new();
    let mut fitting: Vec<(&String, &Seat)> = Vec::new();
    for (name, seat) in candidates {
        match judge(pod, &incoming, seat) {
            None => {}
            Some(reasons) if reasons.is_empty() => fitting.push((name, seat)),
            Some(reasons) => refused.push((name, seat, reasons)),
        }
    }
    if let Some(node) = score::best(spec, &incoming, &fitting) {
        return Plan::Bind(node.clone());
    }
    let mut tally = Tally::default();
    for (_, _, reasons) in &refused {
        tally.add(reasons);
    }
    tally.add_text(NOT_PINNED, snapshot.nodes - refused.len());
    preempt(pod, snapshot, &refused, &tally)
}

/// Reasons against a node that is there, beside pods nominated to it of at least the same priority (spec C36).
fn judge(pod: &Pod, incoming: &Incoming<'_>, seat: &Seat) -> Option<Reasons> {
    let node = seat.node.as_ref()?;
    let ahead = |other: &&Arc<Pod>| uid(other) != uid(pod) && priority(other) >= priority(pod);
    let mut ahead = seat.nominated.values().filter(ahead).peekable();
    if ahead.peek().is_none() {
        return Some(fit::filter(incoming, node, &seat.allocatable, &seat.occupied));
    }
    let mut occupied = seat.occupied.clone();
    ahead.for_each(|other| occupied.add(other));
    Some(fit::filter(incoming, node, &seat.allocatable, &occupied))
}

fn preempt(
    pod: &Pod,
    snapshot: &Snapshot,
    refused: &[(&String, &Seat, Reasons)],
    tally: &Tally,
) -> Plan {
    if let Some(why) = ineligible(pod, snapshot) {
        let first = failure_text(snapshot.nodes, tally, None);
        let message = format!("{first} no new claims to deallocate, preemption: {why}");
        return Plan::Fail { message, preempt: None };
    }
    let mut tried = Tally::default();
    let mut found = Vec::new();
    let mut names = Vec::new();
    let mut helpful = 0;
    for (name, seat, reasons) in refused {
        if !reasons.iter().all(Reason::preemption_may_help) {
            continue;
        }
        helpful += 1;
        let Some(node) = seat.node.as_ref().filter(|_| found.len() < VICTIM_NODES_MAX) else {
            continue;
        };
        let occupants: Vec<&Pod> = seat.pods.values().map(Arc::as_ref).collect();
        match fit::victims(pod, node, &occupants, &[]) {
            Some(victims) if !victims.pods.is_empty() => {
                found.push(victims);
                names.push((*name, *seat));
            }
            _ => tried.add_text(NO_VICTIMS, 1),
        }
    }
    let chosen = fit::cheapest(&found).and_then(|at| Some((names.get(at)?, found.get(at)?)));
    if let Some(((name, seat), victims)) = chosen {
        let keys = victims.pods.iter().map(|victim| kit::Key::of(*victim));
        let victims = keys.filter_map(|key| seat.pods.get(&key).cloned()).collect();
        let preempt = Some(Preempt { node: (*name).clone(), victims });
        return Plan::Fail { message: failure_text(snapshot.nodes, tally, None), preempt };
    }
    tried.add_text(PREEMPTION_NOT_HELPFUL, snapshot.nodes - helpful);
    Plan::Fail { message: failure_text(snapshot.nodes, tally, Some(&tried)), preempt: None }
}

/// Why a pod may not preempt at all (spec C31).
fn ineligible(pod: &Pod, snapshot: &Snapshot) -> Option<&'static str> {
    if !may_preempt(pod) {
        return Some(words::NEVER_PREEMPTS);
    }
    let nominated = pod.status.as_ref()?.nominated_node_name.as_deref()?;
    let seat = snapshot.seats.get(nominated)?;
    let waits = |other: &Arc<Pod>| {
        other.metadata.deletion_timestamp.is_some()
            && priority(other) < priority(pod)
            && other.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|condition| {
                condition.type_ == words::DISRUPTION_TARGET
                    && condition.status == "True"
                    && condition.reason.as_deref() == Some(words::PREEMPTION_BY_SCHEDULER)
            })
    };
    seat.pods.values().any(waits).then_some(words::ALREADY_PREEMPTING)
}

#[cfg(test)]
mod tests;
