//! Where one pod goes: filter → score → choose, else whom to preempt, else why not. Pure.

mod score;

use crate::snapshot::{Seat, Snapshot, uid};
use crate::words;
use fit::company::{Labels, Namespaces};
use fit::reason::{NO_VICTIMS, NOT_PINNED, PREEMPTION_NOT_HELPFUL, Tally, failure_text};
use fit::victims::{may_preempt, priority};
use fit::{Company, Guard, Incoming, Reason, Reasons};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::sync::Arc;

/// Nodes on which victims are tried out for one pod: upstream tries at least 100.
const VICTIM_NODES_MAX: usize = 100;

/// What to do with a pod.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Bind it to this node.
    Bind(String),
    /// No node; tell, and wait.
    Fail(Failure),
}

/// Why there is no node, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) outlook: Outlook,
    /// Whether pods anywhere may change the answer, not only those of the pod's nodes.
    pub(crate) minds_company: bool,
}

/// What a pod without a node waits for.
#[derive(Clone, Debug)]
pub(crate) enum Outlook {
    /// For what it waited for before.
    Same,
    /// For news; room that was being made for it is of no use.
    None,
    /// For room that is to be made.
    Room(Preempt),
}

/// The budgets that protect pods; asked for only when pods are to go.
pub(crate) type Budgets<'a> = &'a dyn Fn() -> Vec<Arc<PodDisruptionBudget>>;

/// Whom to preempt, and where.
#[derive(Clone, Debug)]
pub(crate) struct Preempt {
    pub(crate) node: String,
    pub(crate) victims: Vec<Arc<Pod>>,
    /// Less important pods that waited for room there: it is not for them any more (spec C36).
    pub(crate) displaced: Vec<Arc<Pod>>,
}

/// What is asked for only when it matters.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) budgets: Budgets<'a>,
    /// The labels of all namespaces.
    pub(crate) namespaces: &'a dyn Fn() -> Arc<Namespaces>,
    /// What selects a pod's like, for one that names no spread.
    pub(crate) like: &'a dyn Fn(&Pod) -> Option<LabelSelector>,
}

/// Decides about one pod.
pub(crate) fn plan(pod: &Pod, snapshot: &Snapshot, sources: Sources<'_>) -> Plan {
    let fail = |message: String| {
        Plan::Fail(Failure { message, outlook: Outlook::None, minds_company: false })
    };
    let Some(spec) = pod.spec.as_ref().filter(|_| snapshot.nodes > 0) else {
        return fail(words::NO_NODES.to_owned());
    };
    if let Some(why) = unsupported(spec) {
        let mut tally = Tally::default();
        tally.add_text(why, snapshot.nodes);
        return fail(failure_text(snapshot.nodes, &tally, None));
    }
    let incoming = Incoming::of(spec);
    let pinned = fit::pinned_nodes(spec);
    let candidates: Vec<(&String, &Seat)> = match &pinned {
        Some(names) => {
            names.iter().filter_map(|name| snapshot.seats.get_key_value(*name)).collect()
        }
        None => snapshot.seats.iter().collect(),
    };
    let none = Labels::new();
    let company = snapshot
        .is_company_asked(pod)
        .then(|| snapshot.company(pod, &none, &(sources.namespaces)()))
        .flatten();
    let mut refused: Vec<(&String, &Seat, Reasons)> = Vec::new();
    let mut fitting: Vec<(&String, &Seat)> = Vec::new();
    for (name, seat) in candidates {
        match judge(pod, &incoming, seat, company.as_ref()) {
            None => {}
            Some(reasons) if reasons.is_empty() => fitting.push((name, seat)),
            Some(reasons) => refused.push((name, seat, reasons)),
        }
    }
    if let Some(node) =
        score::best(pod, &incoming, &fitting, &score::Neighbours { snapshot, sources })
    {
        return Plan::Bind(node.clone());
    }
    let mut tally = Tally::default();
    for (_, _, reasons) in &refused {
        tally.add(reasons);
    }
    tally.add_text(NOT_PINNED, snapshot.nodes - refused.len());
    let mut failure = preempt(pod, snapshot, (&refused, &tally), sources.budgets, company.as_ref());
    failure.minds_company = company.is_some();
    Plan::Fail(failure)
}

/// Reasons against a node that is there, beside pods nominated to it of at least the same priority (spec C36). Company is
/// asked about last, as upstream does.
fn judge(
    pod: &Pod,
    incoming: &Incoming<'_>,
    seat: &Seat,
    company: Option<&Company<'_>>,
) -> Option<Reasons> {
    let node = seat.node.as_ref()?;
    let among = |company: Option<&Company<'_>>, reasons: Reasons| match company {
        Some(company) if reasons.is_empty() => company.against(node).into_iter().collect(),
        _ => reasons,
    };
    let alone = among(company, fit::filter(incoming, node, &seat.allocatable, &seat.occupied));
    let mut ahead = seat.nominated.values().filter(|other| is_ahead(pod, other)).peekable();
    // nobody may rely on those who are not there yet, so that both answers count
    if ahead.peek().is_none() || !alone.is_empty() {
        return Some(alone);
    }
    let mut occupied = seat.occupied.clone();
    for other in ahead {
        occupied.add(other);
    }
    let company = with_those_ahead(pod, seat, company);
    Some(among(company.as_ref(), fit::filter(incoming, node, &seat.allocatable, &occupied)))
}

/// The pod's company on a node as if those were there already who have their room before it: they count as neighbours,
/// and keep others away as they will (spec C36).
fn with_those_ahead<'a>(
    pod: &Pod,
    seat: &Seat,
    company: Option<&Company<'a>>,
) -> Option<Company<'a>> {
    let node = seat.node.as_ref()?;
    let mut company = company?.clone();
    for other in seat.nominated.values().filter(|other| is_ahead(pod, other)) {
        company.see(other, node);
        if let Some(guard) = Guard::of(other) {
            company.see_guard(&guard, node);
        }
    }
    Some(company)
}

fn preempt(
    pod: &Pod,
    snapshot: &Snapshot,
    (refused, tally): (&[(&String, &Seat, Reasons)], &Tally),
    budgets: Budgets<'_>,
    company: Option<&Company<'_>>,
) -> Failure {
    let minds_company = false;
    if let Some(why) = ineligible(pod, snapshot, refused) {
        let first = failure_text(snapshot.nodes, tally, None);
        let message = format!("{first} no new claims to deallocate, preemption: {why}");
        return Failure { message, outlook: Outlook::Same, minds_company };
    }
    let mut protection: Option<Vec<Arc<PodDisruptionBudget>>> = None;
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
        // those who wait there with at least the same priority take their room before this pod
        let waiting = seat.nominated.values().filter(|other| is_ahead(pod, other));
        let occupants: Vec<&Pod> = seat.pods.values().chain(waiting).map(Arc::as_ref).collect();
        let budgets = fit::victims::budgets(
            protection.get_or_insert_with(budgets).iter().map(Arc::as_ref),
            &occupants,
        );
        let beside = with_those_ahead(pod, seat, company);
        match fit::victims(pod, node, &occupants, &budgets, beside.as_ref()) {
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
        let others = seat.nominated.values().filter(|other| uid(other) != uid(pod));
        let displaced = others.filter(|other| !is_ahead(pod, other)).cloned().collect();
        let room = Outlook::Room(Preempt { node: (*name).clone(), victims, displaced });
        let message = failure_text(snapshot.nodes, tally, None);
        return Failure { message, outlook: room, minds_company };
    }
    tried.add_text(PREEMPTION_NOT_HELPFUL, snapshot.nodes - helpful);
    let message = failure_text(snapshot.nodes, tally, Some(&tried));
    Failure { message, outlook: Outlook::None, minds_company }
}

/// Whether another pod that is nominated to a node has its room before this one (spec C36).
fn is_ahead(pod: &Pod, other: &Pod) -> bool {
    uid(other) != uid(pod) && priority(other) >= priority(pod)
}

/// What a pod asks for that nobody here looks after: it waits and says why, rather than run where it must not
/// (spec C10).
fn unsupported(spec: &PodSpec) -> Option<&'static str> {
    let claims = spec
        .volumes
        .iter()
        .flatten()
        .any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    if claims {
        Some(words::NO_VOLUME_CLAIMS)
    } else if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        Some(words::NO_RESOURCE_CLAIMS)
    } else {
        None
    }
}

/// Why a pod may not preempt at all (spec C31). One that waits for room on a node where room no longer helps (it was
/// cordoned, say) may preempt elsewhere at once.
fn ineligible(
    pod: &Pod,
    snapshot: &Snapshot,
    refused: &[(&String, &Seat, Reasons)],
) -> Option<&'static str> {
    if !may_preempt(pod) {
        return Some(words::NEVER_PREEMPTS);
    }
    let nominated = pod.status.as_ref()?.nominated_node_name.as_deref()?;
    let mut against = refused.iter().filter(|(name, _, _)| *name == nominated);
    if against.any(|(_, _, reasons)| !reasons.iter().all(Reason::preemption_may_help)) {
        return None;
    }
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
