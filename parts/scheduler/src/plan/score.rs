//! Which of several fitting nodes: the emptiest, away from taints that ask for it, near what the pod prefers, with the
//! neighbours it would like. Upstream's scores but that of images.

use super::Sources;
use crate::snapshot::{Seat, Snapshot};
use fit::Incoming;
use fit::company::Labels;
use fit::preference::{Evenness, spreads};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use std::cmp::Reverse;

/// What a pod without a request counts as (upstream: 100 millicores, 200 MiB), in thousandths.
const ASSUMED: [(&str, i128); 2] = [("cpu", 100), ("memory", 200 * 1024 * 1024 * 1000)];
/// Weight of free room (upstream's NodeResourcesFit).
const WEIGHT_ROOM: i128 = 1;
/// Weight of cpu and memory that are taken alike (upstream's NodeResourcesBalancedAllocation).
const WEIGHT_BALANCE: i128 = 1;
/// Weight of untolerated PreferNoSchedule taints (upstream's TaintToleration).
const WEIGHT_TAINTS: i128 = 3;
/// Weight of preferred node affinity (upstream's NodeAffinity).
const WEIGHT_PREFERRED: i128 = 2;
/// Weight of preferred affinity among pods (upstream's InterPodAffinity).
const WEIGHT_COMPANY: i128 = 2;
/// Weight of spreads that need not be kept (upstream's PodTopologySpread).
const WEIGHT_SPREAD: i128 = 2;
/// The best score of one plugin.
const SCORE_MAX: i128 = 100;

/// Where the neighbours are.
pub(super) struct Neighbours<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) sources: Sources<'a>,
}

/// The best node: by score, then fewest pods, then name. Upstream draws lots among equals.
pub(super) fn best<'a>(
    pod: &Pod,
    incoming: &Incoming<'_>,
    nodes: &[(&'a String, &Seat)],
    neighbours: &Neighbours<'_>,
) -> Option<&'a String> {
    if let [(name, _)] = nodes {
        return Some(name);
    }
    let spec = pod.spec.as_ref()?;
    let here: Vec<&Node> = nodes.iter().filter_map(|(_, seat)| seat.node.as_deref()).collect();
    let taints: Vec<i128> = nodes.iter().map(|(_, seat)| disliked(incoming, seat)).collect();
    let wishes: Vec<i128> = nodes.iter().map(|(_, seat)| preferred(spec, seat)).collect();
    let taints_max = taints.iter().copied().max().unwrap_or(0);
    let wishes_max = wishes.iter().copied().max().unwrap_or(0);
    let company = company(pod, &here, neighbours);
    let spread = spread(pod, spec, &here, neighbours);
    let weighed = |of: &Option<Vec<i64>>, at: usize| {
        of.as_ref().and_then(|scores| scores.get(at)).map_or(0, |score| i128::from(*score))
    };
    let scored = nodes.iter().enumerate().map(|(at, (name, seat))| {
        let clean = if taints_max == 0 {
            SCORE_MAX
        } else {
            SCORE_MAX - taints[at] * SCORE_MAX / taints_max
        };
        let near = if wishes_max == 0 { 0 } else { wishes[at] * SCORE_MAX / wishes_max };
        let score = WEIGHT_ROOM * room(incoming, seat)
            + WEIGHT_BALANCE * balance(incoming, seat)
            + WEIGHT_TAINTS * clean
            + WEIGHT_PREFERRED * near
            + WEIGHT_COMPANY * weighed(&company, at)
            + WEIGHT_SPREAD * weighed(&spread, at);
        (score, Reverse(seat.occupied.pods()), Reverse(*name))
    });
    scored.max().map(|(_, _, Reverse(name))| name)
}

/// What the neighbours make of each node; `None` where nobody has a wish.
fn company(pod: &Pod, nodes: &[&Node], neighbours: &Neighbours<'_>) -> Option<Vec<i64>> {
    let none = Labels::new();
    let leaning = neighbours.snapshot.leaning(pod, &none, neighbours.sources.namespaces)?;
    Some(leaning.scores(nodes))
}

/// How much better each node is for an even spread: the one the pod asks for, else of the pods of its Services and its
/// controller over hosts and zones; `None` where there is neither.
fn spread(
    pod: &Pod,
    spec: &PodSpec,
    nodes: &[&Node],
    neighbours: &Neighbours<'_>,
) -> Option<Vec<i64>> {
    let mut evenness = if spec.topology_spread_constraints.iter().flatten().next().is_some() {
        Evenness::of(pod).filter(|_| spreads(spec))?
    } else {
        Evenness::by_default(&(neighbours.sources.like)(pod)?)
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for seat in neighbours.snapshot.seats.values() {
        if let Some(node) = &seat.node {
            evenness.see((spec, namespace), node, seat.pods.values().map(AsRef::as_ref));
        }
    }
    Some(evenness.scores(nodes))
}

/// How alike the shares of cpu and memory are that are taken with the pod there, of 100; none for a pod that asks for
/// neither.
fn balance(incoming: &Incoming<'_>, seat: &Seat) -> i128 {
    let is_asked = ASSUMED.iter().any(|(resource, _)| incoming.requested.get(resource) > 0);
    let shares = ASSUMED.map(|(resource, _)| {
        let has = seat.allocatable.get(resource);
        let taken = seat.occupied.requested().get(resource) + incoming.requested.get(resource);
        if has <= 0 { SCORE_MAX } else { (taken * SCORE_MAX / has).min(SCORE_MAX) }
    });
    if is_asked { SCORE_MAX - (shares[0] - shares[1]).abs() / 2 } else { 0 }
}

/// Mean share of cpu and memory left free with the pod there, of 100.
fn room(incoming: &Incoming<'_>, seat: &Seat) -> i128 {
    let count = i128::from(seat.occupied.pods());
    let free = ASSUMED.map(|(resource, assumed)| {
        let has = seat.allocatable.get(resource);
        let own = Some(incoming.requested.get(resource)).filter(|own| *own > 0).unwrap_or(assumed);
        // pods without requests are counted by the mean: each pod takes at least what is assumed
        let taken = seat.occupied.requested().get(resource).max(count * assumed) + own;
        if has <= 0 || taken >= has { 0 } else { (has - taken) * SCORE_MAX / has }
    });
    free.iter().sum::<i128>() / 2
}

fn disliked(incoming: &Incoming<'_>, seat: &Seat) -> i128 {
    let spec = seat.node.as_ref().and_then(|node| node.spec.as_ref());
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let untolerated = taints.filter(|taint| {
        taint.effect == "PreferNoSchedule"
            && !incoming.wish.tolerations.iter().any(|t| fit::taint::tolerates(t, taint))
    });
    untolerated.map(|_| 1).sum()
}

fn preferred(spec: &PodSpec, seat: &Seat) -> i128 {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms =
        affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let Some(node) = &seat.node else { return 0 };
    let terms = terms.into_iter().flatten();
    let matching = terms.filter(|term| {
        let only = k8s_openapi::api::core::v1::NodeSelector {
            node_selector_terms: vec![term.preference.clone()],
        };
        let wish = fit::Wish { required: Some(&only), ..fit::Wish::default() };
        fit::place::against_labels(&wish, node).is_empty()
    });
    matching.map(|term| i128::from(term.weight)).sum()
}
