//! Containers that are added to look into a pod.

use super::*;

fn looked_into() -> World {
    let mut world = world(json!({
        "restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}],
        "initContainers": [{"name": "first", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "c"}]}));
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world
}

#[test]
fn a_container_to_look_into_a_pod_starts_once_whatever_the_others_do() {
    let mut world = looked_into();
    assert_eq!(plan(&world, at(0)).steps, [start("first", 0), start("e", 0)]);
    assert_eq!(world.target_of("e").unwrap_err(), "unable to find target container c");
    let mut first = seen("first", "s", 0, State::Exited);
    first.exit_code = 0;
    world.containers = vec![seen("c", "s", 0, State::Running), first];
    assert_eq!(world.target_of("e"), Ok(Some("c-s-0".to_owned())));
    world.containers.push(seen("e", "s", 0, State::Running));
    assert_eq!(plan(&world, at(1)), Plan::default());
    let own = |world: &World| {
        let status = shown(world, at(1));
        (status.phase.unwrap(), status.ephemeral_container_statuses.unwrap().remove(0))
    };
    let (phase, status) = own(&world);
    assert!(phase == "Running" && status.state.unwrap().running.is_some() && !status.ready);
    world.containers[2].state = State::Exited;
    assert_eq!(plan(&world, at(9)), Plan::default(), "it never starts again");
    let (phase, status) = own(&world);
    assert_eq!(
        (phase.as_str(), status.state.unwrap().terminated.unwrap().exit_code),
        ("Running", 0)
    );
    // the runtime has lost it
    let status = shown(&world, at(1));
    world.containers.truncate(2);
    Arc::make_mut(&mut world.pod).status = Some(status);
    assert_eq!(plan(&world, at(9)), Plan::default());
    // it was only made
    let status = Arc::make_mut(&mut world.pod).status.as_mut().unwrap();
    status.ephemeral_container_statuses.as_mut().unwrap()[0].state = None;
    assert_eq!(plan(&world, at(9)).steps, [start("e", 0)]);
}

#[test]
fn a_container_to_look_into_a_pod_ends_with_it_and_the_pod_not_before() {
    let mut world = looked_into();
    world.containers = vec![seen("c", "s", 0, State::Exited), seen("e", "s", 0, State::Running)];
    deleted(&mut world, 30);
    assert_eq!(shown(&world, at(9)).phase.as_deref(), Some("Running"));
    let Step::Stop(stops) = &plan(&world, at(9)).steps[0] else { panic!("nothing is stopped") };
    assert_eq!(stops[0].name, "e");
    world.containers[1].state = State::Exited;
    assert_eq!(shown(&world, at(9)).phase.as_deref(), Some("Failed"));
}
