//! What users see of one pod (spec E10 to E14). Pure.

mod conditions;
pub(crate) use conditions::is_own_disruption;

use crate::text;
use crate::words;
use crate::world::{Seen, State, World, is_sidecar, restart_policy};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, ContainerState, ContainerStateRunning,
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodIP,
    PodStatus, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Conditions of a pod whose resources are being changed; they go when that is done.
const RESIZES: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// Conditions that the agent writes.
pub(crate) fn is_ours(condition: &str) -> bool {
    const OURS: &[&str] =
        &["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    RESIZES.contains(&condition) || OURS.contains(&condition)
}

/// Whether an ended container is to be started again.
pub(crate) fn restarts(world: &World, container: &Container, seen: &Seen) -> bool {
    if world.is_ephemeral(&container.name) {
        return false;
    }
    let mut rules = container.restart_policy_rules.iter().flatten();
    if world.memory.renewed.contains(&seen.id) || rules.any(|rule| rule_holds(rule, seen)) {
        return true;
    }
    match restart_policy(world.spec(), container) {
        "Never" => false,
        "OnFailure" => seen.exit_code != 0,
        _ => true,
    }
}

/// Whether a container's own rule starts it again after this end.
fn rule_holds(rule: &ContainerRestartRule, seen: &Seen) -> bool {
    rule.action == "Restart"
        && rule.exit_codes.as_ref().is_some_and(|codes| {
            let is_in = codes.values.iter().flatten().any(|code| *code == seen.exit_code);
            is_in == (codes.operator == "In")
        })
}

/// The phase that the server shows, if it is one that never changes again, whoever wrote it.
pub(crate) fn final_phase(pod: &Pod) -> Option<&'static str> {
    final_one(pod.status.as_ref()?)
}

fn final_one(status: &PodStatus) -> Option<&'static str> {
    match status.phase.as_deref() {
        Some("Succeeded") => Some("Succeeded"),
        Some("Failed") => Some("Failed"),
        _ => None,
    }
}

/// All main containers ended for good, or an init container did without success, or the server says so already.
pub(crate) fn is_over(world: &World) -> bool {
    if final_phase(&world.pod).is_some() {
        return true;
    }
    let is_done = |container: &Container| {
        world
            .latest(&container.name)
            .is_some_and(|seen| seen.state == State::Exited && !restarts(world, container, seen))
    };
    let spec = world.spec();
    let init_failed = spec.init_containers.iter().flatten().any(|container| {
        is_done(container) && world.latest(&container.name).is_some_and(|seen| seen.exit_code != 0)
    });
    init_failed || (!spec.containers.is_empty() && spec.containers.iter().all(is_done))
}

/// The status to be shown. `previous` is what was shown last: times are kept from it.
pub(crate) fn status(world: &World, previous: &PodStatus, now: Timestamp) -> PodStatus {
    let spec = world.spec();
    let generation = world.pod.metadata.generation;
    let start_time = previous.start_time.clone().or_else(|| Some(Time(second(now))));
    let qos_class =
        previous.qos_class.clone().or_else(|| Some(crate::resources::qos(spec).to_owned()));
    if let Some((reason, message)) = &world.memory.rejection {
        return PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(reason.clone()),
            message: Some(message.clone()),
            observed_generation: generation,
            start_time,
            qos_class,
            conditions: previous.conditions.clone(),
            ..PodStatus::default()
        };
    }
    let inits: Vec<ContainerStatus> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| container_status(world, previous, container, true, now))
        .collect();
    let mains: Vec<ContainerStatus> = spec
        .containers
        .iter()
        .map(|container| container_status(world, previous, container, false, now))
        .collect();
    let added: Vec<ContainerStatus> = world
        .ephemerals()
        .iter()
        .map(|container| container_status(world, previous, container, false, now))
        .collect();
    let phase = phase(world, previous, &inits, &mains);
    let addresses = addresses(world, previous);
    // why a pod is over is said by whoever ended it
    let told = match &world.pod.status {
        Some(at_server) if final_phase(&world.pod).is_some() => at_server,
        _ => previous,
    };
    let conditions = conditions::conditions(world, previous, &inits, &mains, phase, now);
    let ending =
        world.memory.ending.as_ref().filter(|_| phase == "Failed" && told.reason.is_none());
    let has_whole = spec.resources.is_some();
    let granted = world.whole_as_granted().filter(|_| has_whole);
    // in the order of their names, as upstream shows them; init containers in that of the pod
    let (mains, added) = (by_name(mains), by_name(added));
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: ending.map(|ending| ending.reason.to_owned()).or_else(|| told.reason.clone()),
        message: ending.map(|ending| ending.message.clone()).or_else(|| told.message.clone()),
        observed_generation: generation,
        conditions: Some(conditions),
        host_ip: world.host_addresses.first().cloned(),
        host_ips: Some(world.host_addresses.iter().cloned().map(|ip| HostIP { ip }).collect()),
        pod_ip: addresses.first().cloned(),
        pod_ips: (!addresses.is_empty())
            .then(|| addresses.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time,
        qos_class,
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        container_statuses: Some(mains),
        ephemeral_container_statuses: (!added.is_empty()).then_some(added),
        resources: has_whole.then(|| world.whole_as_it_runs().cloned()).flatten(),
        allocated_resources: granted.and_then(|whole| whole.requests.clone()),
        ..PodStatus::default()
    }
}

fn by_name(mut list: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    list.sort_by(|one, other| one.name.cmp(&other.name));
    list
}

/// Times in objects have whole seconds.
fn second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

fn addresses(world: &World, previous: &PodStatus) -> Vec<String> {
    if world.spec().host_network == Some(true) {
        return world.host_addresses.clone();
    }
    match world.sandboxes.first() {
        Some(sandbox) if !sandbox.addresses.is_empty() => sandbox.addresses.clone(),
        // an ended sandbox has given its address back; what was shown stays for the record
        _ => previous.pod_ips.iter().flatten().map(|one| one.ip.clone()).collect(),
    }
}

fn mounted(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let status = |mount: &VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
        volume_status: None,
    };
    Some(container.volume_mounts.as_ref()?.iter().map(status).collect())
}

fn container_status(
    world: &World,
    previous: &PodStatus,
    container: &Container,
    is_init: bool,
    now: Timestamp,
) -> ContainerStatus {
    let before = [
        &previous.init_container_statuses,
        &previous.container_statuses,
        &previous.ephemeral_container_statuses,
    ]
    .into_iter()
    .flatten()
    .flatten()
    .find(|status| status.name == container.name);
    let is_ephemeral = world.is_ephemeral(&container.name);
    let latest = world.latest(&container.name);
    let has_init = world.spec().init_containers.as_ref().is_some_and(|list| !list.is_empty());
    let (state, last) = match latest {
        None => (missing(world, container, before, has_init), None),
        Some(seen) => state_of(world, container, seen, is_init, now),
    };
    let older = world.containers.iter().filter(|seen| seen.name == container.name).nth(1);
    let last_state = last
        .or_else(|| {
            older.filter(|seen| seen.state == State::Exited).map(|seen| terminated(world, seen))
        })
        .or_else(|| before.and_then(|before| before.last_state.clone()));
    let is_started = latest.is_some_and(|seen| world.is_started(container, seen));
    let ready = if is_ephemeral {
        false
    } else if is_init && !is_sidecar(container) {
        latest.is_some_and(|seen| seen.state == State::Exited && seen.exit_code == 0)
    } else {
        !world.is_gone_or_stopped() && latest.is_some_and(|seen| world.is_ready(container, seen))
    };
    let running = latest.filter(|seen| seen.state == State::Running);
    let granted = world.granted(container);
    let own_resources = running.and_then(|seen| world.resources_of(seen)).cloned();
    let mut status = ContainerStatus {
        name: container.name.clone(),
        ready,
        started: (!is_ephemeral).then_some(is_started),
        state: Some(state),
        last_state,
        resources: own_resources.or_else(|| granted.clone()),
        allocated_resources: granted.and_then(|granted| granted.requests),
        volume_mounts: mounted(container),
        image: container.image.clone().unwrap_or_default(),
        ..ContainerStatus::default()
    };
    if let Some(seen) = latest {
        status.restart_count = i32::try_from(seen.attempt).unwrap_or(i32::MAX);
        status.container_id = Some(format!("{}://{}", world.runtime_name, seen.id));
        status.image.clone_from(&seen.image);
        status.image_id.clone_from(&seen.image_ref);
    } else if let Some(before) = before {
        status.restart_count = before.restart_count;
        status.container_id.clone_from(&before.container_id);
        status.image_id.clone_from(&before.image_id);
        if before.container_id.is_some() {
            status.image.clone_from(&before.image);
        }
    }
    status
}

/// A container that the runtime does not show.
fn missing(
    world: &World,
    container: &Container,
    before: Option<&ContainerStatus>,
    waits_for_init: bool,
) -> ContainerState {
    let was_made = before.and_then(|before| before.container_id.as_ref()).is_some();
    if let Some(state) = before.and_then(|before| before.state.clone())
        && state.terminated.is_some()
        && (is_over(world) || world.is_deleted())
    {
        return state;
    }
    if was_made && (is_over(world) || world.is_deleted()) {
        let state = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some(
                "The container could not be located when the pod was terminated".to_owned(),
            ),
            ..ContainerStateTerminated::default()
        };
        return ContainerState { terminated: Some(state), ..ContainerState::default() };
    }
    let trouble = world.memory.troubles.get(&container.name);
    let (reason, message) = match trouble {
        Some(trouble) => (trouble.reason, Some(trouble.message.clone())),
        None if waits_for_init => (words::reason::POD_INITIALIZING, None),
        None => (words::reason::CONTAINER_CREATING, None),
    };
    waiting(reason, message)
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let state = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(state), ..ContainerState::default() }
}

fn terminated(world: &World, seen: &Seen) -> ContainerState {
    let default = if seen.exit_code == 0 { "Completed" } else { "Error" };
    let reason = if seen.reason.is_empty() { default } else { &seen.reason };
    let state = ContainerStateTerminated {
        container_id: Some(format!("{}://{}", world.runtime_name, seen.id)),
        exit_code: seen.exit_code,
        reason: Some(reason.to_owned()),
        message: (!seen.message.is_empty()).then(|| seen.message.clone()),
        started_at: seen.started_at.map(|at| Time(second(at))),
        finished_at: seen.finished_at.map(|at| Time(second(at))),
        signal: None,
    };
    ContainerState { terminated: Some(state), ..ContainerState::default() }
}

/// State now, and the last one if this container itself was it.
fn state_of(
    world: &World,
    container: &Container,
    seen: &Seen,
    is_init: bool,
    now: Timestamp,
) -> (ContainerState, Option<ContainerState>) {
    let trouble = world.memory.troubles.get(&container.name);
    match seen.state {
        State::Created => match trouble {
            Some(trouble) => (waiting(trouble.reason, Some(trouble.message.clone())), None),
            None => (waiting(words::reason::CONTAINER_CREATING, None), None),
        },
        State::Running => {
            let started_at = seen.started_at.map(|at| Time(second(at)));
            let running = ContainerStateRunning { started_at };
            (ContainerState { running: Some(running), ..ContainerState::default() }, None)
        }
        State::Exited => {
            let ended = terminated(world, seen);
            let is_done = is_init && !is_sidecar(container) && seen.exit_code == 0;
            if is_done || world.is_gone_or_stopped() || !restarts(world, container, seen) {
                return (ended, None);
            }
            let finished = seen.finished_at.filter(|_| !world.memory.renewed.contains(&seen.id));
            let hold = finished.and_then(|at| world.memory.restart_hold(&container.name, at, now));
            if let Some((_, wait)) = hold {
                let message = back_off_message(world, &container.name, wait);
                return (waiting(words::reason::CRASH_LOOP_BACK_OFF, Some(message)), Some(ended));
            }
            if let Some(trouble) = trouble {
                let state = waiting(trouble.reason, Some(trouble.message.clone()));
                return (state, Some(ended));
            }
            (ended, None)
        }
    }
}

/// Upstream's sentence for a container that waits before its next start (spec E33).
pub(crate) fn back_off_message(world: &World, name: &str, wait: std::time::Duration) -> String {
    format!(
        "back-off {} restarting failed container={name} pod={}",
        text::go_duration(wait),
        text::pod_name(&world.pod)
    )
}

fn previous_phase(previous: &PodStatus) -> &'static str {
    if previous.phase.as_deref() == Some("Running") { "Running" } else { "Pending" }
}

fn phase(
    world: &World,
    previous: &PodStatus,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> &'static str {
    if let Some(phase) = final_phase(&world.pod).or_else(|| final_one(previous)) {
        return phase;
    }
    let exit = |status: &ContainerStatus| {
        let of = |state: &Option<ContainerState>| {
            state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
        };
        of(&status.state).or_else(|| {
            let is_waiting = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
            if is_waiting { of(&status.last_state) } else { None }
        })
    };
    let is_running = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    let is_looked_into = world
        .containers
        .iter()
        .any(|seen| seen.state == State::Running && world.is_ephemeral(&seen.name));
    let is_all_ended = !is_looked_into && !mains.iter().chain(inits).any(is_running);
    if world.memory.ending.is_some() {
        // not before everything has ended
        return if is_all_ended { "Failed" } else { previous_phase(previous) };
    }
    if world.is_deleted() && is_all_ended {
        let is_fine = mains.iter().all(|status| exit(status) == Some(0));
        return if is_fine { "Succeeded" } else { "Failed" };
    }
    let comes = |container: &Container| {
        let latest = world.latest(&container.name).filter(|seen| seen.state == State::Exited);
        latest.is_some_and(|seen| restarts(world, container, seen))
    };
    let mut is_initialising = false;
    for (container, status) in world.spec().init_containers.iter().flatten().zip(inits) {
        if is_sidecar(container) {
            is_initialising |= status.started != Some(true) && exit(status).is_none();
            continue;
        }
        match exit(status) {
            Some(0) => {}
            Some(_) if restart_policy(world.spec(), container) == "Never" && !comes(container) => {
                return "Failed";
            }
            _ => is_initialising = true,
        }
    }
    let is_past_init = mains.iter().any(|status| status.container_id.is_some());
    if is_initialising && !is_past_init {
        return "Pending";
    }
    let never_made = |status: &ContainerStatus| !is_running(status) && exit(status).is_none();
    if mains.iter().any(never_made) {
        return "Pending";
    }
    // sidecars end after the others, and the pod with them
    let always = |one: &Container| restart_policy(world.spec(), one) == "Always";
    if !is_all_ended || world.spec().containers.iter().any(|one| always(one) || comes(one)) {
        return "Running";
    }
    if mains.iter().all(|status| exit(status) == Some(0)) {
        return "Succeeded";
    }
    let lost = |one: &Container| {
        world.latest(&one.name).is_none() && restart_policy(world.spec(), one) != "Never"
    };
    if world.spec().containers.iter().any(lost) { "Running" } else { "Failed" }
}

impl World {
    /// Nothing of the pod is to be started any more.
    fn is_gone_or_stopped(&self) -> bool {
        let is_ending = self.is_deleted() || self.memory.ending.is_some();
        is_ending && self.containers.iter().all(|seen| seen.state != State::Running)
            || is_over(self)
    }
}
