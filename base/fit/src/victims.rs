//! Whom to preempt (spec C31–C34).

use crate::company::{Company, Guard};
use crate::demand::Amounts;
use crate::filter::{Incoming, Occupied, filter, is_finished};
use api::LabelSelector;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A PodDisruptionBudget as far as preemption reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// UIDs of the pods it covers that are not already counted as disrupted.
    pub covers: BTreeSet<String>,
    /// `status.disruptionsAllowed`.
    pub allowed: i64,
}

/// The budgets over these pods. As upstream, one that selects everything protects nobody here, and a pod that was
/// already let go is not counted twice (spec C33).
pub fn budgets<'a>(
    all: impl IntoIterator<Item = &'a PodDisruptionBudget>,
    pods: &[&Pod],
) -> Vec<Budget> {
    let empty = BTreeMap::new();
    let read = |budget: &PodDisruptionBudget| {
        let selector = budget.spec.as_ref()?.selector.as_ref()?;
        let is_empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
        let matcher = LabelSelector::from_typed(selector).ok().filter(|_| !is_empty)?;
        let status = budget.status.as_ref();
        let let_go = status.and_then(|status| status.disrupted_pods.as_ref());
        let covered = pods.iter().filter(|pod| {
            pod.metadata.namespace == budget.metadata.namespace
                && matcher.matches(pod.metadata.labels.as_ref().unwrap_or(&empty))
                && !pod
                    .metadata
                    .name
                    .as_ref()
                    .is_some_and(|name| let_go.is_some_and(|pods| pods.contains_key(name)))
        });
        let covers: BTreeSet<String> =
            covered.map(|pod| pod.metadata.uid.clone().unwrap_or_default()).collect();
        let allowed = status.and_then(|status| status.disruptions_allowed).unwrap_or(0);
        (!covers.is_empty()).then(|| Budget { covers, allowed: i64::from(allowed) })
    };
    all.into_iter().filter_map(read).collect()
}

/// The pods that would have to go from one node.
#[derive(Clone, Debug, Default)]
pub struct Victims<'a> {
    /// Most important first.
    pub pods: Vec<&'a Pod>,
    /// How many of them break a budget.
    pub budgets_broken: usize,
}

/// The pod's priority, zero where unset.
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// Whether the pod's policy allows it to preempt at all (spec C31).
pub fn may_preempt(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never")
}

/// Sort key: higher priority first, then older start, then name so that the order is total.
fn importance(pod: &Pod) -> impl Ord + use<'_> {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|t| t.0);
    let name = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    (Reverse(priority(pod)), started.is_none(), started, name)
}

/// The fewest pods of strictly lower priority that must go from `node` for `incoming` to fit (spec C32), beside its
/// company, which has the occupants counted in.
///
/// All lower ones are taken away, then given back one by one, those first whose loss would break a budget,
/// each group by importance. `None`: not even without all of them, or there are none.
pub fn victims<'a>(
    incoming: &Pod,
    node: &Node,
    occupants: &[&'a Pod],
    budgets: &[Budget],
    company: Option<&Company<'_>>,
) -> Option<Victims<'a>> {
    let spec = incoming.spec.as_ref()?;
    let asked = Incoming::of(spec);
    let allocatable = Amounts::allocatable(node);
    let is_lower = |pod: &Pod| priority(pod) < priority(incoming) && !is_finished(pod);
    let (mut lower, others): (Vec<&Pod>, Vec<&Pod>) =
        occupants.iter().copied().partition(|pod| is_lower(pod));
    if lower.is_empty() {
        return None;
    }
    let mut occupied = Occupied::by(others);
    let mut company = company.cloned();
    for pod in &lower {
        count(company.as_mut(), pod, node, false);
    }
    let fits = |occupied: &Occupied, company: Option<&Company<'_>>| {
        filter(&asked, node, &allocatable, occupied).is_empty()
            && company.is_none_or(|company| company.against(node).is_none())
    };
    if !fits(&occupied, company.as_ref()) {
        return None;
    }
    lower.sort_by(|a, b| importance(a).cmp(&importance(b)));
    let (breaking, harmless) = by_budget(&lower, budgets);
    let mut found = Victims::default();
    for (pods, breaks) in [(breaking, 1), (harmless, 0)] {
        for pod in pods {
            occupied.add(pod);
            count(company.as_mut(), pod, node, true);
            if !fits(&occupied, company.as_ref()) {
                occupied.remove(pod);
                count(company.as_mut(), pod, node, false);
                found.pods.push(pod);
                found.budgets_broken += breaks;
            }
        }
    }
    found.pods.sort_by(|a, b| importance(a).cmp(&importance(b)));
    Some(found)
}

fn count(company: Option<&mut Company<'_>>, pod: &Pod, node: &Node, is_in: bool) {
    let Some(company) = company else { return };
    if !is_in {
        return company.leave(pod, node);
    }
    company.see(pod, node);
    if let Some(guard) = Guard::of(pod) {
        company.see_guard(&guard, node);
    }
}

/// Splits pods into those whose loss breaks a budget and the rest; each loss uses up budgets in turn.
fn by_budget<'a>(pods: &[&'a Pod], budgets: &[Budget]) -> (Vec<&'a Pod>, Vec<&'a Pod>) {
    let mut left: Vec<i64> = budgets.iter().map(|budget| budget.allowed).collect();
    pods.iter().copied().partition(|pod| {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let mut breaks = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            if budget.covers.contains(uid) {
                *left -= 1;
                breaks |= *left < 0;
            }
        }
        breaks
    })
}

/// The cheapest of several nodes' victims (spec C34), as an index: fewest broken budgets, lowest top
/// priority, smallest sum, fewest pods, latest start of the most important pod, first in the list. A node
/// that needs no victim wins outright.
pub fn cheapest(candidates: &[Victims<'_>]) -> Option<usize> {
    let key = |victims: &Victims<'_>| {
        let top = victims.pods.first().map(|pod| priority(pod));
        // Each priority is lifted above zero, so that one very low victim never outweighs many.
        let sum: i64 =
            victims.pods.iter().map(|p| i64::from(priority(p)) - i64::from(i32::MIN)).sum();
        let started = victims
            .pods
            .iter()
            .filter(|pod| Some(priority(pod)) == top)
            .filter_map(|pod| pod.status.as_ref()?.start_time.as_ref().map(|t| t.0))
            .min();
        (victims.budgets_broken, top, sum, victims.pods.len(), Reverse(started))
    };
    (0..candidates.len()).min_by_key(|at| key(&candidates[*at]))
}
