//! Counts and conditions of a Deployment.

use super::{Parts, Plan};
use crate::words;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;
use std::time::Duration;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";

const DONE: &str = "NewReplicaSetAvailable";
const LATE: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

type Conditions = Vec<DeploymentCondition>;

/// The conditions as they are.
pub(super) fn kept(deployment: &Deployment) -> Conditions {
    deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
}

/// The status when a set could not be made, if progress is watched.
pub(in super::super) fn failed_to_make(
    deployment: &Deployment,
    text: &str,
    now: Timestamp,
) -> Option<DeploymentStatus> {
    deadline(deployment)?;
    let mut conditions = kept(deployment);
    let failed = condition(PROGRESSING, "False", words::REASON_SET_CREATE_ERROR, text, now);
    set(&mut conditions, failed);
    let status = deployment.status.clone().unwrap_or_default();
    let status = DeploymentStatus { conditions: Some(conditions), ..status };
    (deployment.status.as_ref() != Some(&status)).then_some(status)
}

/// The conditions, with a pause or its end noted.
pub(super) fn pause(parts: &Parts<'_>, now: Timestamp) -> Conditions {
    let mut conditions = kept(parts.deployment);
    let reason = find(&conditions, PROGRESSING).and_then(|c| c.reason.clone());
    if deadline(parts.deployment).is_none() || reason.as_deref() == Some(LATE) {
        return conditions;
    }
    let noted = reason.as_deref() == Some(PAUSED);
    match (parts.spec.paused == Some(true), noted) {
        (true, false) => {
            let text = "Deployment is paused";
            set(&mut conditions, condition(PROGRESSING, "Unknown", PAUSED, text, now));
        }
        (false, true) => {
            let text = "Deployment is resumed";
            set(&mut conditions, condition(PROGRESSING, "Unknown", RESUMED, text, now));
        }
        _ => {}
    }
    conditions
}

/// Counts, and whether enough pods are available.
pub(super) fn counted(
    parts: &Parts<'_>,
    conditions: &[DeploymentCondition],
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| {
        parts.all.iter().map(|set| of(set)).fold(0, i32::saturating_add)
    };
    let some = |count: i32| (count > 0).then_some(count);
    let available = parts.available();
    let asked = sum(&|set| super::size(set));
    let mut conditions = conditions.to_vec();
    let enough = available >= parts.wanted().saturating_sub(parts.may_be_missing());
    set(
        &mut conditions,
        if enough {
            let text = "Deployment has minimum availability.";
            condition(AVAILABLE, "True", "MinimumReplicasAvailable", text, now)
        } else {
            let text = "Deployment does not have minimum availability.";
            condition(AVAILABLE, "False", "MinimumReplicasUnavailable", text, now)
        },
    );
    let old = parts.deployment.status.as_ref();
    DeploymentStatus {
        observed_generation: parts.deployment.metadata.generation,
        replicas: some(sum(&there)),
        updated_replicas: some(parts.new.map_or(0, |new| there(new))),
        ready_replicas: some(sum(&ready)),
        available_replicas: some(available),
        unavailable_replicas: some(asked.saturating_sub(available)),
        terminating_replicas: terminating(parts),
        collision_count: old.and_then(|old| old.collision_count),
        conditions: Some(conditions),
    }
}

/// Pods on their way out, if all sets have counted theirs.
fn terminating(parts: &Parts<'_>) -> Option<i32> {
    let mut counts = parts.all.iter().map(|set| set.status.as_ref()?.terminating_replicas);
    counts.try_fold(0, |sum: i32, count| Some(sum.saturating_add(count?)))
}

fn there(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

/// The status while pods are replaced: counts, progress, failures of sets; and when it would be too late.
pub(super) fn rolled(
    parts: &Parts<'_>,
    plan: &Plan,
    conditions: &[DeploymentCondition],
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let mut conditions = conditions.to_vec();
    note_new_set(parts, plan, &mut conditions, now);
    let mut status = counted(parts, &conditions, now);
    let mut conditions = status.conditions.take().unwrap_or_default();
    match deadline(parts.deployment) {
        None => conditions.retain(|c| c.type_ != PROGRESSING),
        // what is made now has no progress to speak of yet
        Some(_) if plan.make.is_some() => {}
        Some(limit) => progress(parts, &status, &mut conditions, limit, now),
    }
    match failure(parts) {
        Some(failed) => set(&mut conditions, failed),
        None => conditions.retain(|c| c.type_ != FAILURE),
    }
    let again_in = too_late_in(parts, &status, &conditions, now);
    status.conditions = Some(conditions);
    (status, again_in)
}

/// A set that was made, or found, is progress.
fn note_new_set(parts: &Parts<'_>, plan: &Plan, conditions: &mut Conditions, now: Timestamp) {
    if deadline(parts.deployment).is_none() {
        return;
    }
    if let Some(new) = &plan.make {
        let text = format!("Created new replica set {:?}", new.name);
        set(conditions, condition(PROGRESSING, "True", "NewReplicaSetCreated", &text, now));
    } else if let Some(new) = parts.new
        && find(conditions, PROGRESSING).is_none()
    {
        let text = format!("Found new replica set {:?}", name(new));
        set(conditions, condition(PROGRESSING, "True", "FoundNewReplicaSet", &text, now));
    }
}

fn progress(
    parts: &Parts<'_>,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
    limit: SignedDuration,
    now: Timestamp,
) {
    let current = find(conditions, PROGRESSING).cloned();
    let was_done = current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(DONE));
    if was_done && status.replicas == status.updated_replicas {
        return;
    }
    let what = match parts.new {
        Some(new) => format!("ReplicaSet {:?}", name(new)),
        None => {
            format!(
                "Deployment {:?}",
                parts.deployment.metadata.name.as_deref().unwrap_or_default()
            )
        }
    };
    if completes(parts, status) {
        let text = format!("{what} has successfully progressed.");
        set(conditions, condition(PROGRESSING, "True", DONE, &text, now));
    } else if progresses(parts.deployment.status.as_ref(), status) {
        let text = format!("{what} is progressing.");
        let mut moved = condition(PROGRESSING, "True", "ReplicaSetUpdated", &text, now);
        if let Some(before) = current.filter(|c| c.status == "True") {
            moved.last_transition_time = before.last_transition_time;
        }
        conditions.retain(|c| c.type_ != PROGRESSING);
        conditions.push(moved);
    } else if current.is_some_and(|c| is_late(&c, limit, now)) {
        let text = format!("{what} has timed out progressing.");
        set(conditions, condition(PROGRESSING, "False", LATE, &text, now));
    }
}

/// Whether the Deployment, with this status, is all that it should be.
fn completes(parts: &Parts<'_>, status: &DeploymentStatus) -> bool {
    let wanted = parts.wanted();
    [status.updated_replicas, status.replicas, status.available_replicas]
        .iter()
        .all(|count| count.unwrap_or(0) == wanted)
        && status.observed_generation >= parts.deployment.metadata.generation
}

/// Whether the status that is stored says so.
pub(super) fn is_complete(parts: &Parts<'_>) -> bool {
    parts.deployment.status.as_ref().is_some_and(|status| completes(parts, status))
}

fn progresses(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let empty = DeploymentStatus::default();
    let old = old.unwrap_or(&empty);
    let count = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |of: &DeploymentStatus| count(of.replicas) - count(of.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

fn is_late(current: &DeploymentCondition, limit: SignedDuration, now: Timestamp) -> bool {
    match current.reason.as_deref() {
        Some(DONE) => false,
        Some(LATE) => true,
        _ => due(current, limit).is_some_and(|due| due < now),
    }
}

fn due(current: &DeploymentCondition, limit: SignedDuration) -> Option<Timestamp> {
    current.last_update_time.as_ref().and_then(|at| at.0.checked_add(limit).ok())
}

/// Seconds without progress after which it is late; none when it is not watched.
fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then(|| SignedDuration::from_secs(seconds.into()))
}

/// A second after the moment when progress is late.
fn too_late_in(
    parts: &Parts<'_>,
    status: &DeploymentStatus,
    conditions: &[DeploymentCondition],
    now: Timestamp,
) -> Option<Duration> {
    let limit = deadline(parts.deployment)?;
    let current = find(conditions, PROGRESSING)?;
    if completes(parts, status) || matches!(current.reason.as_deref(), Some(DONE | LATE)) {
        return None;
    }
    let left = due(current, limit)?.duration_since(now).max(SignedDuration::ZERO);
    Duration::try_from(left).ok().map(|left| left.saturating_add(Duration::from_secs(1)))
}

/// The first failure of a set, the current one first.
fn failure(parts: &Parts<'_>) -> Option<DeploymentCondition> {
    let of = |set: &Arc<ReplicaSet>| {
        let all = set.status.as_ref().and_then(|status| status.conditions.as_ref());
        all?.iter().find(|c| c.type_ == FAILURE).map(taken)
    };
    parts.new.and_then(of).or_else(|| parts.all.iter().find_map(of))
}

fn taken(of: &ReplicaSetCondition) -> DeploymentCondition {
    DeploymentCondition {
        type_: of.type_.clone(),
        status: of.status.clone(),
        reason: of.reason.clone(),
        message: of.message.clone(),
        last_transition_time: of.last_transition_time.clone(),
        last_update_time: of.last_transition_time.clone(),
    }
}

fn name(set: &ReplicaSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

fn find<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

/// What says the same for the same reason stays as it is; the time of change moves only when the status does.
fn set(conditions: &mut Conditions, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    conditions.retain(|condition| condition.type_ != new.type_);
    conditions.push(new);
}
