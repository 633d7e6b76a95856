mod added;
mod orders;
mod renewal;

use super::*;
use crate::world::{Health, Memory, Sandbox};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn world(spec: serde_json::Value) -> World {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1}, "spec": spec
    }))
    .unwrap();
    World {
        pod: Arc::new(pod),
        is_known: true,
        sandboxes: Vec::new(),
        containers: Vec::new(),
        memory: Memory::default(),
        network_trouble: None,
        is_disk_short: false,
        postponed: None,
        host_addresses: vec!["192.0.2.1".to_owned()],
        runtime_name: "containerd".into(),
    }
}

fn simple() -> World {
    world(json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]}))
}

fn sandbox(id: &str, attempt: u32, is_ready: bool) -> Sandbox {
    let addresses = if is_ready { vec!["10.1.0.2".to_owned()] } else { Vec::new() };
    Sandbox { id: id.to_owned(), attempt, is_ready, created_at: i64::from(attempt), addresses }
}

fn seen(name: &str, sandbox: &str, attempt: u32, state: State) -> Seen {
    let is_exited = state == State::Exited;
    Seen {
        id: format!("{name}-{sandbox}-{attempt}"),
        name: name.to_owned(),
        sandbox: sandbox.to_owned(),
        attempt,
        state,
        created_at: i64::from(attempt),
        started_at: (state != State::Created).then(|| at(0)),
        finished_at: is_exited.then(|| at(5)),
        exit_code: i32::from(is_exited),
        reason: String::new(),
        message: String::new(),
        image: "i".to_owned(),
        image_ref: "i@sha256:0".to_owned(),
        origin: None,
    }
}

fn deleted(world: &mut World, grace: i64) {
    let pod = Arc::make_mut(&mut world.pod);
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
}

fn start(name: &str, attempt: u32) -> Step {
    Step::Start { name: name.to_owned(), attempt, finished: None }
}

fn shown(world: &World, now: Timestamp) -> PodStatus {
    status::status(world, &PodStatus::default(), now)
}

#[test]
fn a_new_pod_gets_folders_then_a_sandbox_then_its_container() {
    let mut world = simple();
    let steps = plan(&world, at(0)).steps;
    assert_eq!(steps, [Step::Prepare, Step::RunSandbox { attempt: 0 }]);
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    assert_eq!(plan(&world, at(0)).steps, [start("c", 0)]);
    world.containers = vec![seen("c", "s", 0, State::Running)];
    assert_eq!(plan(&world, at(1)), Plan::default());
    let status = shown(&world, at(1));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.0.2"));
    let all_true = status.conditions.unwrap().iter().all(|one| one.status == "True");
    assert!(all_true);
}

#[test]
fn an_agent_that_starts_again_leaves_a_running_pod_alone() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 2, State::Running)];
    assert_eq!(plan(&world, at(0)), Plan::default());
}

#[test]
fn after_a_reboot_the_same_pod_gets_a_new_sandbox_and_its_next_attempt() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, false)];
    world.containers = vec![seen("c", "s", 0, State::Exited)];
    let steps = plan(&world, at(60)).steps;
    let wanted =
        [Step::StopSandbox("s".to_owned()), Step::Prepare, Step::RunSandbox { attempt: 1 }];
    assert_eq!(steps, wanted);
    world.sandboxes.insert(0, sandbox("t", 1, true));
    world.memory.is_prepared = true;
    assert_eq!(plan(&world, at(61)).steps[0], start("c", 1));
}

#[test]
fn without_a_pod_network_only_host_network_pods_start() {
    let mut world = simple();
    world.network_trouble = Some("no CNI".to_owned());
    assert_eq!(plan(&world, at(0)), Plan::default());
    Arc::make_mut(&mut world.pod).spec.as_mut().unwrap().host_network = Some(true);
    assert!(!plan(&world, at(0)).steps.is_empty());
}

#[test]
fn a_container_that_ends_starts_at_once_and_then_waits_longer_each_time() {
    let mut world = simple();
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Exited)];
    let first = plan(&world, at(5)).steps;
    let wanted = Step::Start { name: "c".to_owned(), attempt: 1, finished: Some(at(5)) };
    assert_eq!(first, [wanted]);
    let mut waits = Vec::new();
    for _ in 0..7 {
        world.memory.restarted("c", at(5), at(5));
        let again = plan(&world, at(6)).again_at.unwrap();
        waits.push(again.duration_since(at(5)).as_secs());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    let status = shown(&world, at(6)).container_statuses.unwrap().remove(0);
    let waiting = status.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let text = "back-off 5m0s restarting failed container=c pod=p_ns(u)";
    assert_eq!(waiting.message.as_deref(), Some(text));
    assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 1);
}

#[test]
fn ten_minutes_of_running_are_forgiven() {
    let mut memory = Memory::default();
    memory.restarted("c", at(0), at(0));
    memory.restarted("c", at(5), at(10));
    memory.restarted("c", at(10 + 601), at(620));
    assert_eq!(memory.restarts["c"].wait.as_secs(), 10);
}

#[test]
fn init_containers_run_one_after_the_other_before_the_main_ones() {
    let mut world = world(
        json!({"initContainers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "c"}]}),
    );
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    assert_eq!(plan(&world, at(0)).steps, [start("a", 0)]);
    let mut done = seen("a", "s", 0, State::Exited);
    done.exit_code = 0;
    world.containers = vec![done.clone()];
    assert_eq!(plan(&world, at(6)).steps, [start("b", 0)]);
    let status = shown(&world, at(6));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
    let conditions = status.conditions.unwrap();
    let initialized = conditions.iter().find(|one| one.type_ == "Initialized").unwrap();
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [b]"));
    let mut other = done.clone();
    (other.name, other.id) = ("b".to_owned(), "b".to_owned());
    world.containers.push(other);
    assert_eq!(plan(&world, at(6)).steps, [start("c", 0)]);
}

#[test]
fn a_sidecar_starts_before_the_main_containers_and_stops_after_them() {
    let mut world = world(json!({
        "initContainers": [{"name": "side", "restartPolicy": "Always"}], "containers": [{"name": "c"}]
    }));
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    assert_eq!(plan(&world, at(0)).steps, [start("side", 0)]);
    world.containers = vec![seen("side", "s", 0, State::Running)];
    assert_eq!(plan(&world, at(0)).steps, [start("c", 0)]);
    world.containers.push(seen("c", "s", 0, State::Running));
    deleted(&mut world, 30);
    let names = |plan: Plan| match plan.steps.first() {
        Some(Step::Stop(stops)) => stops.iter().map(|stop| stop.name.clone()).collect(),
        _ => Vec::new(),
    };
    assert_eq!(names(plan(&world, at(0))), ["c"]);
    world.containers[1].state = State::Exited;
    assert_eq!(names(plan(&world, at(0))), ["side"]);
}

#[test]
fn a_deleted_pod_ends_in_order_and_its_object_goes_last() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running)];
    deleted(&mut world, 30);
    world.memory.stopping_since = Some(at(0));
    let Step::Stop(stops) = &plan(&world, at(10)).steps[0] else { panic!("nothing is stopped") };
    assert_eq!(stops[0].grace.as_secs(), 20, "ten of thirty seconds are spent");
    world.containers[0].state = State::Exited;
    assert_eq!(plan(&world, at(11)).steps, [Step::StopSandbox("s".to_owned())]);
    world.sandboxes[0].is_ready = false;
    let wanted = [Step::RemoveSandbox("s".to_owned()), Step::CleanUp, Step::Finish];
    assert_eq!(plan(&world, at(12)).steps, wanted);
}

#[test]
fn a_deleted_pod_of_which_nothing_is_left_only_tells_the_server() {
    let mut world = simple();
    deleted(&mut world, 0);
    world.memory.is_cleaned = true;
    assert_eq!(plan(&world, at(0)).steps, [Step::Finish]);
}

#[test]
fn grace_zero_still_gives_a_second() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running)];
    deleted(&mut world, 0);
    let Step::Stop(stops) = &plan(&world, at(10)).steps[0] else { panic!("nothing is stopped") };
    assert_eq!(stops[0].grace.as_secs(), 1);
}

#[test]
fn a_refused_pod_is_failed_and_never_started() {
    let mut world = simple();
    world.memory.rejection = Some(("OutOfcpu".to_owned(), "Pod was rejected: no".to_owned()));
    assert_eq!(plan(&world, at(0)), Plan::default());
    let status = shown(&world, at(0));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
}

#[test]
fn a_pod_that_may_not_restart_is_over_when_its_containers_are() {
    let mut world = world(json!({"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}));
    world.sandboxes = vec![sandbox("s", 0, true)];
    let mut done = seen("c", "s", 0, State::Exited);
    done.exit_code = 0;
    world.containers = vec![done];
    assert_eq!(plan(&world, at(6)).steps, [Step::StopSandbox("s".to_owned())]);
    world.sandboxes[0].is_ready = false;
    world.is_disk_short = true;
    assert_eq!(plan(&world, at(6)), Plan::default(), "the server does not know it yet");
    let status = shown(&world, at(6));
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    Arc::make_mut(&mut world.pod).status = Some(status.clone());
    world.is_disk_short = false;
    assert_eq!(plan(&world, at(6)).steps, [Step::Empty], "nothing can use its volumes any more");
    let mut made = seen("c", "s", 1, State::Created);
    made.id = "made".to_owned();
    world.containers.push(made);
    let wanted = [Step::RemoveContainer("made".to_owned()), Step::Empty];
    assert_eq!(plan(&world, at(6)).steps, wanted, "it may run all the same");
    world.containers.pop();
    world.memory.is_emptied = true;
    assert_eq!(plan(&world, at(6)), Plan::default(), "the log stays until the object goes");
    world.is_disk_short = true;
    let wanted = [Step::RemoveSandbox("s".to_owned()), Step::DropLogs];
    assert_eq!(plan(&world, at(7)).steps, wanted, "room is needed more than the log");
    (world.sandboxes, world.containers) = (Vec::new(), Vec::new());
    assert_eq!(plan(&world, at(8)), Plan::default());
    let after = status::status(&world, &status, at(8));
    let of = |status: &PodStatus| status.container_statuses.clone().unwrap().remove(0);
    assert_eq!(of(&after).state, of(&status).state, "what it did stays known");
    assert_eq!(of(&after).image, of(&status).image);
}

#[test]
fn a_failed_liveness_probe_stops_the_container_alone() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running)];
    let health = Health { condemned: Some(("why".to_owned(), None)), ..Health::default() };
    world.memory.health.insert("c-s-0".to_owned(), health);
    let Step::Stop(stops) = &plan(&world, at(0)).steps[0] else { panic!("nothing is stopped") };
    assert_eq!((stops[0].message.as_str(), stops[0].grace.as_secs()), ("why", 30));
}

#[test]
fn a_failed_pull_is_shown_and_tried_again_later() {
    let mut world = simple();
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.memory.failed("c", crate::words::reason::ERR_IMAGE_PULL, "no".to_owned(), at(0));
    assert_eq!(plan(&world, at(1)), Plan::again(at(10)));
    let waiting = shown(&world, at(1)).container_statuses.unwrap().remove(0).state.unwrap().waiting;
    assert_eq!(waiting.unwrap().reason.as_deref(), Some("ErrImagePull"));
    assert_eq!(plan(&world, at(10)).steps, [start("c", 0)]);
}

#[test]
fn only_the_newest_ended_containers_are_kept() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = (0..4)
        .rev()
        .map(|n| seen("c", "s", n, if n == 3 { State::Running } else { State::Exited }))
        .collect();
    let wanted = ["c-s-1", "c-s-0"].map(|id| Step::RemoveContainer(id.to_owned()));
    assert_eq!(plan(&world, at(0)).steps, wanted);
}

#[test]
fn a_container_that_was_made_and_never_started_is_made_again_under_its_number() {
    let mut world = simple();
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Created)];
    let wanted = [Step::RemoveContainer("c-s-0".to_owned()), start("c", 0)];
    assert_eq!(plan(&world, at(0)).steps, wanted);
}

#[test]
fn the_final_phase_tells_how_the_containers_ended() {
    for (code, phase) in [(0, "Succeeded"), (137, "Failed")] {
        let mut world = simple();
        deleted(&mut world, 30);
        let mut ended = seen("c", "s", 0, State::Exited);
        ended.exit_code = code;
        world.containers = vec![ended];
        assert_eq!(shown(&world, at(9)).phase.as_deref(), Some(phase));
    }
}

fn any_world() -> impl Strategy<Value = World> {
    let state = prop_oneof![Just(State::Created), Just(State::Running), Just(State::Exited)];
    let container = (0..3usize, 0..2usize, 0..4u32, state, 0..3i32);
    (
        prop::collection::vec(any::<bool>(), 0..3),
        prop::collection::vec(container, 0..6),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
    )
        .prop_map(|(boxes, containers, (is_known, is_deleted, is_prepared), policy)| {
            let mut world = world(json!({
                "restartPolicy": policy,
                "initContainers": [{"name": "n0"}],
                "containers": [{"name": "n1"}, {"name": "n2"}]
            }));
            let boxes = boxes.iter().enumerate().rev();
            world.sandboxes = boxes
                .map(|(n, ready)| sandbox(&n.to_string(), u32::try_from(n).unwrap(), *ready))
                .collect();
            world.containers = containers
                .iter()
                .map(|(name, sandbox, attempt, state, code)| {
                    let mut one = seen(&format!("n{name}"), &sandbox.to_string(), *attempt, *state);
                    one.exit_code = *code;
                    one
                })
                .collect();
            world.containers.sort_by_key(|one| std::cmp::Reverse(one.attempt));
            // a container is in one state
            let mut known = std::collections::BTreeSet::new();
            world.containers.retain(|one| known.insert(one.id.clone()));
            world.is_known = is_known;
            world.memory.is_prepared = is_prepared;
            if is_deleted {
                deleted(&mut world, 30);
            }
            world
        })
}

proptest! {
    #[test]
    fn nothing_is_started_in_a_pod_that_is_to_end(world in any_world()) {
        if world.is_deleted() {
            for step in plan(&world, at(100)).steps {
                let is_start = matches!(step, Step::Start { .. } | Step::RunSandbox { .. } | Step::Prepare);
                prop_assert!(!is_start, "{step:?}");
            }
        }
    }

    #[test]
    fn the_server_is_told_the_end_only_when_nothing_runs(world in any_world()) {
        let steps = plan(&world, at(100)).steps;
        if steps.contains(&Step::Finish) {
            prop_assert!(world.containers.iter().all(|one| one.state != State::Running));
            prop_assert!(world.sandboxes.iter().all(|one| !one.is_ready));
            prop_assert_eq!(steps.last(), Some(&Step::Finish));
        }
    }

    #[test]
    fn a_running_container_is_never_removed_or_started_again(world in any_world()) {
        let running: Vec<&Seen> =
            world.containers.iter().filter(|one| one.state == State::Running).collect();
        let current = world.ready_sandbox().map(|one| one.id.clone());
        for step in plan(&world, at(100)).steps {
            match step {
                Step::RemoveContainer(id) => prop_assert!(running.iter().all(|one| one.id != id)),
                Step::Start { name, .. } => {
                    let is_current = |one: &&Seen| {
                        one.name == name
                            && Some(&one.sandbox) == current.as_ref()
                            && world.latest_in(&one.sandbox, &name) == Some(*one)
                    };
                    prop_assert!(!running.iter().any(is_current));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn waiting_is_patient(world in any_world(), wait in 0i64..1000) {
        let first = plan(&world, at(100));
        if first.steps.is_empty() {
            let until = first.again_at.unwrap_or_else(|| at(i64::from(u16::MAX)));
            let later = at(100 + wait);
            if later < until {
                prop_assert!(plan(&world, later).steps.is_empty());
            }
        }
    }
}

#[test]
fn whatever_waits_for_init_containers_says_so_the_later_ones_too() {
    let mut world =
        world(json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}],
        "initContainers": [{"name": "first", "image": "i"}, {"name": "second", "image": "i"}]}));
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("first", "s", 0, State::Running)];
    let status = shown(&world, at(1));
    let waits = |one: &k8s_openapi::api::core::v1::ContainerStatus| {
        one.state.as_ref().unwrap().waiting.as_ref().map(|waiting| waiting.reason.clone().unwrap())
    };
    let inits: Vec<_> = status.init_container_statuses.iter().flatten().map(waits).collect();
    assert_eq!(inits, [None, Some("PodInitializing".to_owned())]);
    let mains: Vec<_> = status.container_statuses.iter().flatten().map(waits).collect();
    assert_eq!(mains, [Some("PodInitializing".to_owned())]);
}
