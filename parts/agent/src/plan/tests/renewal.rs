//! Containers that are no longer what the pod asks for, and those that say themselves when they start again.

use super::*;
use crate::world::{Origin, Postponed, WHOLE_POD};
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A pod that never restarts, with one container that was made of `image` with so much CPU.
fn made_of(image: &str, cpu: &str) -> World {
    let mut world =
        world(json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i",
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
        "resources": {"requests": {"cpu": "200m", "memory": "1Gi"}}}]}));
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    let mut one = seen("c", "s", 0, State::Running);
    let requests = json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
    let resources = serde_json::from_value(requests).unwrap();
    one.origin = Some(Origin { image: image.to_owned(), resources });
    world.containers = vec![one];
    world
}

fn own(world: &World) -> (PodStatus, ContainerStatus) {
    let mut status = shown(world, at(6));
    let own = status.container_statuses.as_mut().unwrap().remove(0);
    (status, own)
}

fn resize_condition(status: &PodStatus) -> Option<(String, Option<String>)> {
    let mut all = status.conditions.iter().flatten();
    let found = all.find(|one| one.type_.starts_with("PodResize"))?;
    Some((found.type_.clone(), found.reason.clone()))
}

#[test]
fn another_image_ends_the_container_and_starts_it_at_once_whatever_its_policy() {
    let mut world = made_of("before", "200m");
    let Plan { steps, .. } = plan(&world, at(1));
    let [Step::Stop(stops)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(stops[0].message, "Container c definition changed, will be restarted");
    assert!(stops[0].is_renewal);
    world.memory.renewed.insert(stops[0].id.clone());
    world.containers[0].state = State::Exited;
    world.containers[0].finished_at = Some(at(5));
    assert_eq!(own(&world).0.phase.as_deref(), Some("Running"), "it is not over");
    assert_eq!(plan(&world, at(6)).steps, [start("c", 1)]);
    // the same end without that cause is the pod's
    world.memory.renewed.clear();
    assert_eq!(own(&world).0.phase.as_deref(), Some("Succeeded"));
    assert_eq!(plan(&made_of("i", "200m"), at(1)), Plan::default());
}

#[test]
fn other_resources_are_given_to_the_running_container_and_told_when_it_has_them() {
    let mut world = made_of("i", "100m");
    let id = world.containers[0].id.clone();
    assert_eq!(plan(&world, at(1)).steps, [Step::Resize(vec![id.clone()])]);
    let cpu =
        |one: &ContainerStatus| one.resources.clone().unwrap().requests.unwrap()["cpu"].0.clone();
    let (status, one) = own(&world);
    assert_eq!(cpu(&one), "100m", "what it has, not what it is to have");
    assert_eq!(resize_condition(&status), Some(("PodResizeInProgress".to_owned(), None)));
    let wanted = world.spec().containers[0].resources.clone().unwrap();
    world.memory.resized.insert(id, wanted);
    assert_eq!(plan(&world, at(1)), Plan::default());
    // the condition that was shown before goes
    let mut after = status::status(&world, &status, at(7));
    assert_eq!(resize_condition(&after), None);
    let one = after.container_statuses.as_mut().unwrap().remove(0);
    assert_eq!((cpu(&one), one.restart_count), ("200m".to_owned(), 0));
}

#[test]
fn resources_that_have_to_wait_stay_as_they_were_and_say_why() {
    let mut world = made_of("i", "100m");
    world.postponed = Some(Postponed { reason: "Deferred", message: "no room".to_owned() });
    assert_eq!(plan(&world, at(1)), Plan::default());
    let (status, one) = own(&world);
    let wanted = ("PodResizePending".to_owned(), Some("Deferred".to_owned()));
    assert_eq!(resize_condition(&status), Some(wanted));
    assert_eq!(one.allocated_resources.unwrap()["cpu"].0, "100m");
}

#[test]
fn what_has_to_wait_is_not_taken_by_a_restart_of_the_container_either() {
    let mut world = made_of("i", "100m");
    world.postponed = Some(Postponed { reason: "Infeasible", message: "never".to_owned() });
    world.containers[0].state = State::Exited;
    let granted = |world: &World| {
        let granted = world.granted(&world.spec().containers[0]).unwrap();
        granted.requests.unwrap()["cpu"].0.clone()
    };
    assert_eq!(granted(&world), "100m");
    let (_, one) = own(&world);
    assert_eq!(one.allocated_resources.unwrap()["cpu"].0, "100m", "it does not admit itself");
    world.postponed = None;
    assert_eq!(granted(&world), "200m");
}

#[test]
fn what_has_to_wait_is_not_granted_to_a_container_that_was_never_made() {
    let mut world = made_of("i", "200m");
    world.containers.clear();
    let mut pod = Pod::clone(&world.pod);
    let limits = json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "100m"}});
    pod.status = serde_json::from_value(json!({"containerStatuses": [{"name": "c", "image": "i",
        "imageID": "", "ready": false, "restartCount": 0, "resources": limits,
        "allocatedResources": {"cpu": "100m"}}]}))
    .unwrap();
    let asked = json!({"limits": {"cpu": "900"}, "requests": {"cpu": "900"}});
    let wanted = serde_json::from_value(asked).unwrap();
    pod.spec.as_mut().unwrap().containers[0].resources = Some(wanted);
    world.pod = Arc::new(pod);
    world.postponed = Some(Postponed { reason: "Infeasible", message: "never".to_owned() });
    let granted = world.granted(&world.spec().containers[0]).unwrap();
    assert_eq!(serde_json::to_value(granted).unwrap(), limits);
    let (_, one) = own(&world);
    assert_eq!(one.allocated_resources.unwrap()["cpu"].0, "100m", "it does not admit itself");
    // the pod's group has no room for what was not granted either
    for spec in [world.spec_as_it_runs(), world.spec_as_granted()] {
        assert_eq!(crate::resources::pod_limits(&spec).quota, Some(30_000));
    }
    // an agent from before told no more than what was promised
    let mut pod = Pod::clone(&world.pod);
    let told = pod.status.as_mut().and_then(|status| status.container_statuses.as_mut()).unwrap();
    told[0].resources = None;
    world.pod = Arc::new(pod);
    let granted = world.granted(&world.spec().containers[0]).unwrap();
    assert_eq!(serde_json::to_value(granted).unwrap(), json!({"requests": {"cpu": "100m"}}));
}

/// A pod with two containers that asks for so much CPU as a whole; it was given 100m.
fn whole_of(cpu: &str) -> World {
    let list = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
    let small = json!({"limits": {"cpu": "50m"}, "requests": {"cpu": "50m"}});
    let mut world =
        world(json!({"restartPolicy": "Always", "resources": list(cpu), "containers": [
        {"name": "c", "image": "i"}, {"name": "d", "image": "i", "resources": small}]}));
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running), seen("d", "s", 0, State::Running)];
    world.memory.whole = Some(serde_json::from_value(list("100m")).unwrap());
    world
}

fn whole_told(status: &PodStatus) -> (String, String) {
    let cpu = |list: &std::collections::BTreeMap<_, Quantity>| list["cpu"].0.clone();
    let runs = status.resources.as_ref().and_then(|whole| whole.requests.as_ref()).map(cpu);
    (runs.unwrap(), status.allocated_resources.as_ref().map(cpu).unwrap())
}

#[test]
fn other_resources_of_the_whole_pod_are_given_to_all_that_runs_in_it_and_told() {
    let mut world = whole_of("300m");
    let ids: Vec<String> = world.containers.iter().map(|one| one.id.clone()).collect();
    assert_eq!(plan(&world, at(1)).steps, [Step::Resize(ids)]);
    let quota =
        |spec: k8s_openapi::api::core::v1::PodSpec| crate::resources::pod_limits(&spec).quota;
    assert_eq!(quota(world.spec_as_it_runs()), Some(10_000), "not before it is given");
    assert_eq!(quota(world.spec_as_granted()), Some(30_000));
    let status = shown(&world, at(6));
    assert_eq!(resize_condition(&status), Some(("PodResizeInProgress".to_owned(), None)));
    assert_eq!(whole_told(&status), ("100m".to_owned(), "300m".to_owned()));
    world.memory.whole.clone_from(&world.spec().resources.clone());
    assert_eq!(plan(&world, at(1)), Plan::default());
    let status = status::status(&world, &status, at(7));
    assert_eq!(resize_condition(&status), None);
    assert_eq!(whole_told(&status), ("300m".to_owned(), "300m".to_owned()));
    // a pod without any of its own tells none
    let status = shown(&made_of("i", "200m"), at(7));
    assert_eq!((status.resources, status.allocated_resources), (None, None));
}

#[test]
fn what_the_whole_pod_asks_for_in_vain_waits() {
    let mut world = whole_of("900");
    world.postponed = Some(Postponed { reason: "Infeasible", message: "never".to_owned() });
    assert_eq!(plan(&world, at(1)), Plan::default());
    let status = shown(&world, at(6));
    let wanted = ("PodResizePending".to_owned(), Some("Infeasible".to_owned()));
    assert_eq!(resize_condition(&status), Some(wanted));
    assert_eq!(whole_told(&status), ("100m".to_owned(), "100m".to_owned()));
    for spec in [world.spec_as_it_runs(), world.spec_as_granted()] {
        assert_eq!(crate::resources::pod_limits(&spec).quota, Some(10_000));
    }
    // the status that was told keeps it waiting, also under an agent that begins anew
    let mut pod = Pod::clone(&world.pod);
    pod.status = Some(status);
    let room = serde_json::from_value(json!({"cpu": "2"})).unwrap();
    let why =
        crate::world::postponed(&pod, &fit::Amounts::parse(Some(&room)), &fit::Amounts::default());
    assert_eq!(why.unwrap().reason, "Infeasible");
    assert_eq!(fit::Amounts::held(&pod).get("cpu"), 100);
    assert_eq!(Some(crate::world::whole_at_first(&pod)), world.memory.whole);
    pod.status = None;
    assert_eq!(Some(crate::world::whole_at_first(&pod)), world.spec().resources);
}

#[test]
fn an_agent_that_begins_anew_believes_what_the_one_before_told_of_resources() {
    let mut world = made_of("i", "100m");
    let (mut status, mut one) = own(&world);
    one.resources.clone_from(&world.spec().containers[0].resources);
    status.container_statuses = Some(vec![one]);
    let mut pod = Pod::clone(&world.pod);
    pod.status = Some(status);
    world.pod = Arc::new(pod);
    assert_eq!(plan(&world, at(1)), Plan::default(), "it was given them already");
    world.containers[0].id = "another".to_owned();
    assert_eq!(plan(&world, at(1)).steps, [Step::Resize(vec!["another".to_owned()])]);
}

#[test]
fn a_resource_whose_policy_says_so_is_changed_by_a_restart() {
    let mut world = made_of("i", "200m");
    let origin = world.containers[0].origin.as_mut().unwrap();
    origin
        .resources
        .requests
        .as_mut()
        .unwrap()
        .insert("memory".to_owned(), serde_json::from_value(json!("2Gi")).unwrap());
    let Plan { steps, .. } = plan(&world, at(1));
    let [Step::Stop(stops)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(stops[0].message, "Container c resize requires restart");
    let since = at(1);
    world.memory.failed(WHOLE_POD, crate::words::reason::FAILED_KILL_POD, String::new(), since);
    assert!(plan(&world, since).steps.is_empty());
}

#[test]
fn a_containers_own_policy_and_rules_stand_before_the_pods() {
    let ended = |own: serde_json::Value, code: i32| {
        let mut container = json!({"name": "c", "image": "i"});
        container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let mut world = world(json!({"restartPolicy": "Never", "containers": [container]}));
        world.memory.is_prepared = true;
        world.sandboxes = vec![sandbox("s", 0, true)];
        world.containers = vec![seen("c", "s", 0, State::Exited)];
        world.containers[0].exit_code = code;
        let starts =
            plan(&world, at(60)).steps.iter().any(|step| matches!(step, Step::Start { .. }));
        (starts, own_phase(&world))
    };
    fn own_phase(world: &World) -> String {
        own(world).0.phase.unwrap()
    }
    let rules = json!({"restartPolicy": "Never", "restartPolicyRules":
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
    assert_eq!(ended(rules.clone(), 42), (true, "Running".to_owned()));
    assert_eq!(ended(rules, 1), (false, "Failed".to_owned()));
    assert_eq!(ended(json!({"restartPolicy": "OnFailure"}), 1), (true, "Running".to_owned()));
    assert_eq!(ended(json!({"restartPolicy": "OnFailure"}), 0), (false, "Succeeded".to_owned()));
    assert_eq!(ended(json!({"restartPolicy": "Always"}), 0), (true, "Running".to_owned()));
    assert_eq!(ended(json!({}), 1), (false, "Failed".to_owned()));
}
