//! Ends that others order, and clocks.

use super::*;

#[test]
fn a_phase_that_is_final_at_the_server_ends_the_pod_and_stays() {
    let mut world = simple();
    world.memory.is_prepared = true;
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running)];
    let previous = shown(&world, at(0));
    assert_eq!(previous.phase.as_deref(), Some("Running"));
    for phase in ["Failed", "Succeeded"] {
        let at_server = PodStatus {
            phase: Some(phase.to_owned()),
            reason: Some("Evicted".to_owned()),
            ..PodStatus::default()
        };
        Arc::make_mut(&mut world.pod).status = Some(at_server);
        assert!(matches!(plan(&world, at(1)).steps[..], [Step::Stop(_)]));
        // while the container still runs, and when it has ended
        for state in [State::Running, State::Exited] {
            world.containers[0].state = state;
            let status = status::status(&world, &previous, at(2));
            assert_eq!(status.phase.as_deref(), Some(phase));
            assert_eq!(status.reason.as_deref(), Some("Evicted"));
            let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready");
            assert_eq!(ready.unwrap().status, "False");
        }
        world.containers[0].state = State::Running;
    }
}

#[test]
fn a_shorter_order_counts_from_its_own_beginning() {
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running)];
    deleted(&mut world, 3600);
    world.memory.stopping_since = Some(at(0));
    let grace = |world: &World| match &plan(world, at(100)).steps[0] {
        Step::Stop(stops) => stops[0].grace.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(grace(&world), 3500);
    world.memory.hurry = Some((Duration::from_secs(30), at(90)));
    assert_eq!(grace(&world), 20);
    deleted(&mut world, 105);
    assert_eq!(grace(&world), 5, "the pod's own grace, where that is less");
}

fn disruption(status: &PodStatus) -> Option<String> {
    let all = status.conditions.iter().flatten();
    let mut own = all.filter(|one| one.type_ == "DisruptionTarget");
    own.next().and_then(|one| one.reason.clone())
}

#[test]
fn a_disruption_is_told_when_the_pod_has_ended_by_it_and_not_before() {
    let by_us = crate::words::reason::TERMINATION_BY_KUBELET;
    let mut world = simple();
    world.sandboxes = vec![sandbox("s", 0, true)];
    world.containers = vec![seen("c", "s", 0, State::Running)];
    world.memory.ending = Some(crate::world::Ending {
        reason: "Evicted",
        message: "why".to_owned(),
        grace: None,
        disruption: Some(by_us),
    });
    assert_eq!(disruption(&shown(&world, at(1))), None, "it runs");
    world.containers[0].state = State::Exited;
    let ended = shown(&world, at(2));
    assert_eq!(disruption(&ended).as_deref(), Some(by_us));
    Arc::make_mut(&mut world.pod).status = Some(ended.clone());
    let again = status::status(&world, &ended, at(3));
    assert_eq!(disruption(&again).as_deref(), Some(by_us), "it stays told");
    // somebody else ended it first
    let failed = PodStatus { phase: Some("Failed".to_owned()), ..PodStatus::default() };
    Arc::make_mut(&mut world.pod).status = Some(failed.clone());
    assert_eq!(disruption(&status::status(&world, &failed, at(3))), None);
    // an agent that started again knows of no order, and the pod goes on
    let mut alive = simple();
    alive.sandboxes = vec![sandbox("s", 0, true)];
    alive.containers = vec![seen("c", "s", 0, State::Running)];
    let mut left = shown(&alive, at(1));
    left.conditions.as_mut().unwrap().extend(
        ended.conditions.unwrap().into_iter().filter(|one| one.type_ == "DisruptionTarget"),
    );
    assert_eq!(disruption(&status::status(&alive, &left, at(2))), None);
    left.conditions.as_mut().unwrap().last_mut().unwrap().reason =
        Some("PreemptionByScheduler".to_owned());
    let others = disruption(&status::status(&alive, &left, at(2)));
    assert_eq!(others.as_deref(), Some("PreemptionByScheduler"), "what others say is theirs");
}

#[test]
fn an_end_that_happened_while_it_was_looked_at_is_no_clock_that_was_set_back() {
    let mut memory = Memory::default();
    memory.restarted("c", at(0), at(0));
    let (until, wait) = memory.restart_hold("c", at(5), at(4)).unwrap();
    assert_eq!((until, wait.as_secs()), (at(15), 10));
}

#[test]
fn a_clock_that_is_set_back_holds_nobody_up() {
    let mut memory = Memory::default();
    memory.restarted("c", at(0), at(0));
    memory.failed(WHOLE_POD, crate::words::reason::FAILED_MOUNT, String::new(), at(0));
    assert!(
        memory.restart_hold("c", at(5), at(6)).is_some() && memory.hold(WHOLE_POD, at(0)).is_some()
    );
    // an hour back
    assert_eq!(memory.restart_hold("c", at(5), at(-3600)), None);
    assert_eq!(memory.hold(WHOLE_POD, at(-3600)), None);
}
