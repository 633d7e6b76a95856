//! What to do next for one pod. Pure: the same world and moment give the same steps.
//!
//! There is no phase that is remembered: each look starts from the object and the runtime's state, so an agent that
//! starts again goes on where the last one stopped.

use crate::world::{RESIZE, Sandbox, Seen, State, WHOLE_POD, World, is_sidecar, lasting};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState};
use std::time::Duration;

pub(crate) mod status;

/// Least time between SIGTERM and SIGKILL (spec E34).
const GRACE_MIN: Duration = Duration::from_secs(1);
/// Grace of pods whose object says nothing.
const GRACE_DEFAULT: u64 = 30;
/// Ended containers kept of each name beside the newest, for their logs and the last state.
const DEAD_KEPT: usize = 1;

/// A container to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) grace: Duration,
    /// Event text.
    pub(crate) message: String,
    /// It is made anew at once, whatever its restart policy says.
    pub(crate) is_renewal: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make folders, volumes and the cgroup.
    Prepare,
    /// Make a sandbox.
    RunSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Fetch the image if needed, make and start a container.
    Start {
        /// Its name.
        name: String,
        /// How often it was started before.
        attempt: u32,
        /// When it ended last, if that is why it is started.
        finished: Option<Timestamp>,
    },
    /// Stop these containers, all at once.
    Stop(Vec<Stop>),
    /// Give these containers, by id, the resources that the pod asks for, while they run.
    Resize(Vec<String>),
    /// Remove an ended container.
    RemoveContainer(String),
    /// End a sandbox.
    StopSandbox(String),
    /// Remove an ended sandbox with its containers.
    RemoveSandbox(String),
    /// Remove the volumes of a pod that is over; logs and messages stay.
    Empty,
    /// Remove its logs.
    DropLogs,
    /// Remove folders, volumes and the cgroup.
    CleanUp,
    /// Tell the server that nothing is left.
    Finish,
}

/// What to do, and when to look again without being called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In this order; after a failure the rest is dropped.
    pub(crate) steps: Vec<Step>,
    /// Waiting for this moment.
    pub(crate) again_at: Option<Timestamp>,
}

impl Plan {
    fn of(step: Step) -> Self {
        Self { steps: vec![step], again_at: None }
    }

    fn again(at: Timestamp) -> Self {
        Self { steps: Vec::new(), again_at: Some(at) }
    }
}

/// The next steps.
pub(crate) fn plan(world: &World, now: Timestamp) -> Plan {
    let is_ended = world.memory.rejection.is_some() || world.memory.ending.is_some();
    if world.is_deleted() || is_ended || status::is_over(world) {
        return stopping(world, now);
    }
    let hold = hold(world, now);
    let condemned: Vec<Stop> = condemned(world);
    if !condemned.is_empty() {
        return hold.map_or_else(|| Plan::of(Step::Stop(condemned)), Plan::again);
    }
    let mut plan = running(world, now);
    merge(&mut plan, resizes(world, now));
    if plan.steps.is_empty() && hold.is_none() {
        plan.steps.extend(garbage(world));
    }
    plan
}

/// The moment until which nothing is tried that concerns the whole pod, after a failure.
fn hold(world: &World, now: Timestamp) -> Option<Timestamp> {
    world.memory.hold(WHOLE_POD, now)
}

/// Stops what runs, then removes what is left.
fn stopping(world: &World, now: Timestamp) -> Plan {
    if let Some(until) = hold(world, now) {
        return Plan::again(until);
    }
    let stops = next_stops(world, now);
    if !stops.is_empty() {
        return Plan::of(Step::Stop(stops));
    }
    if let Some(sandbox) = world.sandboxes.iter().find(|sandbox| sandbox.is_ready) {
        return Plan::of(Step::StopSandbox(sandbox.id.clone()));
    }
    if !world.is_deleted() {
        return Plan { steps: over(world), again_at: None };
    }
    let mut steps = removals(world);
    // what a cancelled call has made after the clean-up has a cgroup, too
    if !world.memory.is_cleaned || !steps.is_empty() {
        steps.push(Step::CleanUp);
    }
    steps.push(Step::Finish);
    Plan { steps, again_at: None }
}

/// A pod that is over and whose object stays: its volumes go, as nothing can use them any more. Containers stay for their
/// logs until the object goes, or until the node is short of disk.
fn over(world: &World) -> Vec<Step> {
    // a refused pod has nothing
    if world.memory.rejection.is_some() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    // What its containers did, and that it is over, is known here alone until the server shows it: an agent that begins
    // anew would start it again, and should then find its volumes.
    if status::final_phase(&world.pod).is_none() {
        return steps;
    }
    if !world.memory.is_emptied {
        // one that was only made may run all the same
        let made = world.containers.iter().filter(|seen| seen.state == State::Created);
        steps.extend(made.map(|seen| Step::RemoveContainer(seen.id.clone())));
        steps.push(Step::Empty);
    }
    if world.is_disk_short {
        let removals = removals(world);
        if !removals.is_empty() {
            steps.extend(removals);
            steps.push(Step::DropLogs);
        }
    }
    steps
}

/// Everything that the runtime has of a pod of which nothing runs.
fn removals(world: &World) -> Vec<Step> {
    let sandboxes = world.sandboxes.iter();
    let mut steps: Vec<Step> =
        sandboxes.map(|sandbox| Step::RemoveSandbox(sandbox.id.clone())).collect();
    let homeless = |seen: &&Seen| world.sandboxes.iter().all(|sandbox| sandbox.id != seen.sandbox);
    for seen in world.containers.iter().filter(homeless) {
        steps.push(Step::RemoveContainer(seen.id.clone()));
    }
    steps
}

/// Main containers first, all at once; then sidecars, the last one first (spec E34).
fn next_stops(world: &World, now: Timestamp) -> Vec<Stop> {
    let grace = grace_left(world, now);
    let sidecars: Vec<&str> = world
        .spec()
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let stop = |seen: &Seen| Stop {
        id: seen.id.clone(),
        name: seen.name.clone(),
        grace,
        message: format!("Stopping container {}", seen.name),
        is_renewal: false,
    };
    let alive = || world.containers.iter().filter(|seen| seen.state == State::Running);
    let mains: Vec<Stop> =
        alive().filter(|seen| !sidecars.contains(&seen.name.as_str())).map(stop).collect();
    if !mains.is_empty() {
        return mains;
    }
    let last = sidecars.iter().rev().find_map(|name| alive().find(|seen| seen.name == *name));
    last.map(stop).into_iter().collect()
}

/// What is left of the grace period.
fn grace_left(world: &World, now: Timestamp) -> Duration {
    let meta = &world.pod.metadata;
    let spent =
        |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let seconds = meta
        .deletion_grace_period_seconds
        .or_else(|| world.spec().termination_grace_period_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(GRACE_DEFAULT);
    let memory = &world.memory;
    let own = Duration::from_secs(seconds)
        .saturating_sub(memory.stopping_since.map(spent).unwrap_or_default());
    // an order counts from its own beginning, however long the pod had been stopping by then
    let ordered = memory.hurry.map(|(grace, since)| grace.saturating_sub(spent(since)));
    own.min(ordered.unwrap_or(Duration::MAX)).max(GRACE_MIN)
}

/// Containers whose probes failed too often.
fn condemned(world: &World) -> Vec<Stop> {
    let default = world.spec().termination_grace_period_seconds;
    let default =
        Duration::from_secs(default.and_then(|s| s.try_into().ok()).unwrap_or(GRACE_DEFAULT));
    let alive = world.containers.iter().filter(|seen| seen.state == State::Running);
    alive
        .filter_map(|seen| {
            let (message, grace) = world.memory.health.get(&seen.id)?.condemned.clone()?;
            let grace = grace.unwrap_or(default).max(GRACE_MIN);
            let (id, name) = (seen.id.clone(), seen.name.clone());
            Some(Stop { id, name, grace, message, is_renewal: false })
        })
        .chain(renewals(world, default))
        .collect()
}

/// Containers that are no longer what the pod asks for and have to be made anew.
fn renewals(world: &World, grace: Duration) -> impl Iterator<Item = Stop> {
    let grace = grace.max(GRACE_MIN);
    lasting(world.spec()).filter_map(move |container| {
        let seen = world.latest(&container.name).filter(|seen| seen.state == State::Running)?;
        let message = world.renewal_of(container, seen)?;
        let (id, name) = (seen.id.clone(), seen.name.clone());
        Some(Stop { id, name, grace, message, is_renewal: true })
    })
}

/// Containers whose resources are changed while they run.
fn resizes(world: &World, now: Timestamp) -> Plan {
    let ids = world.resizing();
    if ids.is_empty() || world.postponed.is_some() {
        return Plan::default();
    }
    world.memory.hold(RESIZE, now).map_or_else(|| Plan::of(Step::Resize(ids)), Plan::again)
}

/// A pod that should run.
fn running(world: &World, now: Timestamp) -> Plan {
    let Some(sandbox) = world.ready_sandbox() else {
        return without_sandbox(world, now);
    };
    let mut plan = ordinary(world, sandbox, now);
    // those to look into the pod wait for nobody
    for container in world.ephemerals() {
        merge(&mut plan, once(world, &container, now));
    }
    plan
}

/// A container that was added to look into the pod: it starts once.
fn once(world: &World, container: &Container, now: Timestamp) -> Plan {
    let statuses = world.pod.status.iter().flat_map(|s| s.ephemeral_container_statuses.iter());
    let own = statuses.flatten().filter(|one| one.name == container.name);
    // an id alone says that it was made, not that it ever ran
    let states = own.filter_map(|one| one.state.as_ref());
    let has_run = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    let has_run = states.into_iter().any(has_run);
    match world.latest(&container.name) {
        None if has_run => Plan::default(),
        None => start(world, &container.name, None, now),
        Some(seen) if seen.state == State::Created => remove_then_start(world, seen, now),
        Some(_) => Plan::default(),
    }
}

fn ordinary(world: &World, sandbox: &Sandbox, now: Timestamp) -> Plan {
    let spec = world.spec();
    let is_past_init =
        spec.containers.iter().any(|c| world.latest_in(&sandbox.id, &c.name).is_some());
    let mut plan = Plan::default();
    for container in spec.init_containers.iter().flatten() {
        let latest = world.latest_in(&sandbox.id, &container.name);
        let next = if is_sidecar(container) {
            keep_running(world, container, latest, now)
        } else if is_past_init {
            continue;
        } else {
            run_to_end(world, container, latest, now)
        };
        merge(&mut plan, next);
        let may_pass = if is_sidecar(container) {
            is_past_init || latest.is_some_and(|seen| world.is_started(container, seen))
        } else {
            latest.is_some_and(succeeded)
        };
        if !may_pass {
            return plan;
        }
    }
    for container in &spec.containers {
        let latest = world.latest_in(&sandbox.id, &container.name);
        merge(&mut plan, keep_running(world, container, latest, now));
    }
    plan
}

fn merge(plan: &mut Plan, more: Plan) {
    if let (Some(Step::Prepare), Some(Step::Prepare)) = (plan.steps.first(), more.steps.first()) {
        plan.steps.extend(more.steps.into_iter().skip(1));
    } else {
        plan.steps.extend(more.steps);
    }
    plan.again_at = match (plan.again_at, more.again_at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

/// Ends what is left of an old sandbox, then makes a new one.
fn without_sandbox(world: &World, now: Timestamp) -> Plan {
    if let Some(until) = hold(world, now) {
        return Plan::again(until);
    }
    let alive: Vec<Stop> = world
        .containers
        .iter()
        .filter(|seen| seen.state == State::Running)
        .map(|seen| Stop {
            id: seen.id.clone(),
            name: seen.name.clone(),
            grace: GRACE_MIN,
            message: format!("Stopping container {}", seen.name),
            is_renewal: false,
        })
        .collect();
    if !alive.is_empty() {
        return Plan::of(Step::Stop(alive));
    }
    if world.network_trouble.is_some() && world.spec().host_network != Some(true) {
        // the node's own loop calls again when the network is there
        return Plan::default();
    }
    let mut steps = Vec::new();
    if let Some(old) = world.sandboxes.first() {
        steps.push(Step::StopSandbox(old.id.clone()));
    }
    if !world.memory.is_prepared {
        steps.push(Step::Prepare);
    }
    let attempt = world.sandboxes.iter().map(|sandbox| sandbox.attempt + 1).max().unwrap_or(0);
    steps.push(Step::RunSandbox { attempt });
    Plan { steps, again_at: None }
}

fn succeeded(seen: &Seen) -> bool {
    seen.state == State::Exited && seen.exit_code == 0
}

/// Starts a container, now or when its troubles allow it.
fn start(world: &World, name: &str, finished: Option<Timestamp>, now: Timestamp) -> Plan {
    let trouble = world.memory.hold(name, now);
    let wait =
        finished.and_then(|at| world.memory.restart_hold(name, at, now)).map(|(until, _)| until);
    let until = [trouble, hold(world, now), wait].into_iter().flatten().max();
    if let Some(until) = until.filter(|until| *until > now) {
        return Plan::again(until);
    }
    let mut steps = Vec::new();
    if !world.memory.is_prepared {
        steps.push(Step::Prepare);
    }
    steps.push(Step::Start { name: name.to_owned(), attempt: next_attempt(world, name), finished });
    Plan { steps, again_at: None }
}

/// One more than the runtime shows, or than was reported for a container that the runtime has lost.
fn next_attempt(world: &World, name: &str) -> u32 {
    let seen = world.containers.iter().filter(|seen| seen.name == name);
    let by_runtime = seen.map(|seen| seen.attempt + 1).max().unwrap_or(0);
    let status = world.pod.status.as_ref();
    let reported = status.and_then(|status| {
        let all = [&status.container_statuses, &status.init_container_statuses];
        let one = all.into_iter().flatten().flatten().find(|one| one.name == name)?;
        let is_made = one.container_id.as_ref().is_some_and(|id| !id.is_empty());
        is_made.then(|| u32::try_from(one.restart_count).unwrap_or(0) + 1)
    });
    match world.latest(name) {
        // made and never started: it is replaced under its own number
        Some(seen) if seen.state == State::Created => seen.attempt,
        Some(_) => by_runtime,
        None => reported.unwrap_or(0),
    }
}

/// An ordinary init container: once, until it succeeds.
fn run_to_end(world: &World, container: &Container, latest: Option<&Seen>, now: Timestamp) -> Plan {
    match latest {
        None => start(world, &container.name, None, now),
        Some(seen) => match seen.state {
            State::Created => remove_then_start(world, seen, now),
            State::Running => Plan::default(),
            State::Exited if seen.exit_code == 0 => Plan::default(),
            State::Exited => start(world, &container.name, seen.finished_at, now),
        },
    }
}

/// A main container or a sidecar: as its restart policy says.
fn keep_running(
    world: &World,
    container: &Container,
    latest: Option<&Seen>,
    now: Timestamp,
) -> Plan {
    // in an old sandbox it may have ended for good
    let latest = latest.or_else(|| {
        world.latest(&container.name).filter(|seen| !status::restarts(world, container, seen))
    });
    match latest {
        None => start(world, &container.name, None, now),
        Some(seen) => match seen.state {
            State::Created => remove_then_start(world, seen, now),
            State::Exited if status::restarts(world, container, seen) => {
                let is_renewed = world.memory.renewed.contains(&seen.id);
                let finished = seen.finished_at.filter(|_| !is_renewed);
                start(world, &container.name, finished, now)
            }
            State::Running | State::Exited => Plan::default(),
        },
    }
}

/// A container that was made and never started: the agent or the runtime ended in between.
fn remove_then_start(world: &World, seen: &Seen, now: Timestamp) -> Plan {
    let mut plan = start(world, &seen.name, None, now);
    if !plan.steps.is_empty() {
        plan.steps.insert(0, Step::RemoveContainer(seen.id.clone()));
    }
    plan
}

/// Ended containers and sandboxes that nobody needs any more.
fn garbage(world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut kept: Vec<(&str, usize)> = Vec::new();
    for seen in &world.containers {
        match kept.iter_mut().find(|(name, _)| *name == seen.name) {
            None => kept.push((&seen.name, 0)),
            Some((_, dead)) => {
                *dead += 1;
                if *dead > DEAD_KEPT && seen.state == State::Exited {
                    steps.push(Step::RemoveContainer(seen.id.clone()));
                }
            }
        }
    }
    for sandbox in world.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.is_ready) {
        if world.containers.iter().all(|seen| seen.sandbox != sandbox.id) {
            steps.push(Step::RemoveSandbox(sandbox.id.clone()));
        }
    }
    steps
}

#[cfg(test)]
mod tests;
