//! What a budget expects, what it has, and what it lets go. Pure.

use crate::words;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// An eviction that was granted is believed for this long (upstream: 2 minutes).
const DELETION_PATIENCE: Duration = Duration::from_mins(2);

/// How many pods a controller is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Of the controller with this uid, which may be the one above.
    Of { uid: String, replicas: i64 },
    /// It is not there.
    Gone,
    /// It has no scale.
    Unknown { resource: String },
}

/// What the budget expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Count {
        pods: i64,
        healthy: i64,
        /// Pods that have no controller and so were not counted.
        unmanaged: usize,
    },
    Failed(String),
}

pub(super) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// `daemonsets.apps`, for the message: a plural as the API forms it for the kinds that own pods.
pub(super) fn resource_of(group: &str, kind: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    if group.is_empty() || group == "v1" { plural } else { format!("{plural}.{group}") }
}

pub(super) fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
        return false;
    };
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    api::selector::LabelSelector::from_typed(selector).is_ok_and(|s| s.matches(labels))
}

/// The selector as Go prints the type.
pub(super) fn selector_text(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = selector.and_then(|selector| selector.match_labels.clone()).unwrap_or_default();
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}: {value},")).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{}},}}",
        labels.join("")
    )
}

pub(super) fn expected(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scales: &BTreeMap<String, Scale>,
) -> Expected {
    let spec = budget.spec.clone().unwrap_or_default();
    let total = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let by_scale = |wanted: &dyn Fn(i64) -> Result<i64, api::intstr::NotAPercentage>| {
        let (count, unmanaged) = match count(pods, scales) {
            Ok(counted) => counted,
            Err(why) => return Expected::Failed(why),
        };
        match wanted(count) {
            Ok(healthy) => Expected::Count { pods: count, healthy: healthy.max(0), unmanaged },
            Err(error) => Expected::Failed(error.to_string()),
        }
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => by_scale(&|count| Ok(count - api::intstr::scaled(most, count, true)?)),
        (None, Some(IntOrString::Int(least))) => {
            Expected::Count { pods: total, healthy: i64::from(*least), unmanaged: 0 }
        }
        (None, Some(least)) => by_scale(&|count| api::intstr::scaled(least, count, true)),
        (None, None) => Expected::Count { pods: total, healthy: 0, unmanaged: 0 },
    }
}

/// The sum over all controllers, each once, and the number of pods without one.
fn count(pods: &[Arc<Pod>], scales: &BTreeMap<String, Scale>) -> Result<(i64, usize), String> {
    let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
    let mut unmanaged = 0;
    for pod in pods {
        let Some(owner) = controller(&pod.metadata) else {
            unmanaged += 1;
            continue;
        };
        match scales.get(&owner.uid) {
            Some(Scale::Of { uid, replicas }) => {
                counted.insert(uid, *replicas);
            }
            Some(Scale::Unknown { resource }) => {
                return Err(format!("{resource} does not implement the scale subresource"));
            }
            Some(Scale::Gone) | None => {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Err(format!("found no controllers for pod {name:?}"));
            }
        }
    }
    Ok((counted.values().sum(), unmanaged))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Until when a granted eviction is believed; the moment may come from anyone who writes the status.
fn believed_until(granted: &Time) -> Timestamp {
    granted.0.checked_add(DELETION_PATIENCE).unwrap_or(Timestamp::MAX)
}

/// Evictions that were granted and are not seen yet.
fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone());
    let mut left = known.unwrap_or_default();
    left.retain(|name, since| {
        let pod = pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(name));
        pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none())
            && believed_until(since) > now
    });
    left
}

/// Pods whose eviction was granted long ago and that are still there.
pub(super) fn overdue<'a>(
    budget: &PodDisruptionBudget,
    pods: &'a [Arc<Pod>],
    now: Timestamp,
) -> Vec<&'a Arc<Pod>> {
    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let late = known.into_iter().flatten().filter(|(_, at)| believed_until(at) <= now);
    late.filter_map(|(name, _)| {
        pods.iter().find(|pod| {
            pod.metadata.name.as_ref() == Some(name) && pod.metadata.deletion_timestamp.is_none()
        })
    })
    .collect()
}

/// The budget with the status that is due, if it is not so already, and when to look again.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: &Expected,
    now: Timestamp,
) -> (Option<PodDisruptionBudget>, Option<Duration>) {
    let old = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation;
    let new = match expected {
        Expected::Failed(why) => PodDisruptionBudgetStatus {
            // Go has no way to leave these out
            current_healthy: old.current_healthy.or(Some(0)),
            desired_healthy: old.desired_healthy.or(Some(0)),
            expected_pods: old.expected_pods.or(Some(0)),
            disruptions_allowed: Some(0),
            observed_generation: old.observed_generation,
            conditions: Some(conditions(
                &old,
                ("False", words::REASON_SYNC_FAILED, why),
                generation,
                now,
            )),
            ..old.clone()
        },
        Expected::Count { pods: count, healthy, .. } => {
            let disrupted = disrupted(budget, pods, now);
            let is_healthy = |pod: &&Arc<Pod>| {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                pod.metadata.deletion_timestamp.is_none()
                    && !disrupted.contains_key(name)
                    && is_ready(pod)
            };
            let current = i64::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i64::MAX);
            let allowed = if *count <= 0 { 0 } else { (current - healthy).max(0) };
            let word = if allowed > 0 {
                ("True", words::REASON_SUFFICIENT, "")
            } else {
                ("False", words::REASON_INSUFFICIENT, "")
            };
            let number = |n: i64| Some(i32::try_from(n).unwrap_or(i32::MAX));
            PodDisruptionBudgetStatus {
                current_healthy: number(current),
                desired_healthy: number(*healthy),
                expected_pods: number(*count),
                disruptions_allowed: number(allowed),
                disrupted_pods: Some(disrupted).filter(|left| !left.is_empty()),
                observed_generation: generation,
                conditions: Some(conditions(&old, word, generation, now)),
            }
        }
    };
    let waits = new.disrupted_pods.iter().flatten().map(|(_, at)| believed_until(at));
    let again = waits.min().and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    if budget.status.as_ref() == Some(&new) {
        return (None, again);
    }
    let mut changed = budget.clone();
    changed.status = Some(new);
    (Some(changed), again)
}

/// The conditions, with ours as it should be; its time moves when its status does.
fn conditions(
    old: &PodDisruptionBudgetStatus,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut list = old.conditions.clone().unwrap_or_default();
    let at = list.iter().position(|condition| condition.type_ == words::DISRUPTION_ALLOWED);
    let since = at
        .and_then(|at| list.get(at))
        .filter(|known| known.status == status)
        .map_or(Time(now), |known| known.last_transition_time.clone());
    let condition = Condition {
        type_: words::DISRUPTION_ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match at.and_then(|at| list.get_mut(at)) {
        Some(known) => *known = condition,
        None => list.push(condition),
    }
    list
}

#[cfg(test)]
mod tests;
