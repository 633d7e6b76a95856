//! The conditions of a pod.

use super::second;
use crate::text;
use crate::words;
use crate::world::{RESIZE, World, is_sidecar};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

#[expect(clippy::too_many_lines, reason = "five conditions in a row, each short")]
pub(super) fn conditions(
    world: &World,
    previous: &PodStatus,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
    phase: &str,
    now: Timestamp,
) -> Vec<PodCondition> {
    let spec = world.spec();
    let sidecars = spec.init_containers.iter().flatten().zip(inits);
    let sidecars =
        sidecars.filter(|(container, _)| is_sidecar(container)).map(|(_, status)| status);
    let unready: Vec<&str> = sidecars
        .chain(mains)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    let is_past_init = mains.iter().any(|status| status.container_id.is_some());
    let incomplete: Vec<&str> =
        spec.init_containers
            .iter()
            .flatten()
            .zip(inits)
            .filter(|(container, status)| {
                if is_sidecar(container) { status.started != Some(true) } else { !status.ready }
            })
            .map(|(_, status)| status.name.as_str())
            .filter(|_| !is_past_init)
            .collect();
    let not_ready = match phase {
        "Succeeded" => Some(("PodCompleted", None)),
        "Failed" => Some(("PodFailed", None)),
        _ if !unready.is_empty() => Some((
            "ContainersNotReady",
            Some(format!("containers with unready status: {}", text::bracketed(&unready))),
        )),
        _ => None,
    };
    let not_initialised = (!incomplete.is_empty()).then(|| {
        let list = text::bracketed(&incomplete);
        ("ContainersNotInitialized", Some(format!("containers with incomplete status: {list}")))
    });
    let gates: Vec<String> = spec
        .readiness_gates
        .iter()
        .flatten()
        .filter(|gate| {
            let all = previous.conditions.iter().flatten();
            let mut own = all.filter(|one| one.type_ == gate.condition_type);
            own.next().is_none_or(|one| one.status != "True")
        })
        .map(|gate| {
            format!("the status of pod readiness gate \"{}\" is not \"True\"", gate.condition_type)
        })
        .collect();
    let pod_not_ready = not_ready.clone().or_else(|| {
        (!gates.is_empty()).then(|| ("ReadinessGatesNotReady", Some(gates.join(", "))))
    });
    let has_network = spec.host_network == Some(true)
        || world.sandboxes.first().is_some_and(|sandbox| !sandbox.addresses.is_empty());
    let can_start = world.ready_sandbox().is_some() && has_network;
    let mut list = Vec::new();
    let completed = (phase == "Succeeded").then(|| "PodCompleted".to_owned());
    let mut add = |type_: &str, problem: Option<(&str, Option<String>)>, is_true: bool| {
        let (reason, message) = problem.map_or((None, None), |(r, m)| (Some(r.to_owned()), m));
        list.push(PodCondition {
            type_: type_.to_owned(),
            status: if is_true { "True" } else { "False" }.to_owned(),
            reason,
            message,
            observed_generation: world.pod.metadata.generation,
            ..PodCondition::default()
        });
    };
    add("PodReadyToStartContainers", None, can_start);
    let is_initialised = not_initialised.is_none();
    add(
        "Initialized",
        not_initialised.or_else(|| completed.as_deref().map(|r| (r, None))),
        is_initialised,
    );
    let is_ready = pod_not_ready.is_none();
    add("Ready", pod_not_ready, is_ready);
    let is_all_ready = not_ready.is_none();
    add("ContainersReady", not_ready, is_all_ready);
    add("PodScheduled", None, true);
    let is_running =
        |one: &ContainerStatus| one.state.as_ref().is_some_and(|s| s.running.is_some());
    let is_over =
        matches!(phase, "Succeeded" | "Failed") && !inits.iter().chain(mains).any(is_running);
    let told = previous.conditions.iter().flatten().any(is_own_disruption);
    // whoever made the phase final knows why
    let is_by_order = is_over && (told || super::final_phase(&world.pod).is_none());
    if let Some((ending, reason)) = world
        .memory
        .ending
        .as_ref()
        .filter(|_| is_by_order)
        .and_then(|ending| Some((ending, ending.disruption?)))
    {
        list.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(ending.message.clone()),
            observed_generation: world.pod.metadata.generation,
            ..PodCondition::default()
        });
    }
    list.extend(resize(world, phase));
    keep_times(&mut list, previous, now);
    // said by an agent that has ended since; the pod goes on
    list.retain(|one| is_over || !is_own_disruption(one));
    list
}

/// How far the change of the pod's resources is, if there is one.
fn resize(world: &World, phase: &str) -> Option<PodCondition> {
    if world.resizing().is_empty() || phase != "Running" || world.is_deleted() {
        return None;
    }
    let trouble = world.memory.troubles.get(RESIZE);
    let (type_, reason, message) = match (&world.postponed, trouble) {
        (Some(why), _) => (super::RESIZES[0], Some(why.reason), Some(why.message.clone())),
        (None, Some(failed)) => (super::RESIZES[1], Some("Error"), Some(failed.message.clone())),
        (None, None) => (super::RESIZES[1], None, None),
    };
    Some(PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: reason.map(str::to_owned),
        message,
        observed_generation: world.pod.metadata.generation,
        ..PodCondition::default()
    })
}

/// What this node says of a pod that it ends for its own sake.
pub(crate) fn is_own_disruption(condition: &PodCondition) -> bool {
    condition.type_ == "DisruptionTarget"
        && condition.reason.as_deref() == Some(words::reason::TERMINATION_BY_KUBELET)
}

/// Times change only when the status does; conditions of others stay (spec E12).
fn keep_times(list: &mut Vec<PodCondition>, previous: &PodStatus, now: Timestamp) {
    for condition in list.iter_mut() {
        let before = previous.conditions.iter().flatten().find(|one| one.type_ == condition.type_);
        condition.last_transition_time = match before {
            Some(before) if before.status == condition.status => {
                before.last_transition_time.clone()
            }
            _ => Some(Time(second(now))),
        };
    }
    for other in previous.conditions.iter().flatten() {
        let is_past = super::RESIZES.contains(&other.type_.as_str());
        if !is_past && !list.iter().any(|one| one.type_ == other.type_) {
            list.push(other.clone());
        }
    }
}
