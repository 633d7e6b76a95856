use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn node(name: &str, cpu: &str) -> Arc<k8s_openapi::api::core::v1::Node> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
        }))
        .unwrap(),
    )
}

fn pod(name: &str, cpu: &str, priority: i32, pinned: Option<&str>) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    if let Some(node) = pinned {
        pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn snapshot(nodes: &[(&str, &str)], pods: &[(&str, Arc<Pod>)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, cpu) in nodes {
        snapshot.put_node(node(name, cpu));
    }
    for (node, pod) in pods {
        snapshot.assume(pod, node);
    }
    snapshot
}

/// These budgets, and two namespaces.
fn sources(budgets: Budgets<'_>) -> Sources<'_> {
    let namespaces: &dyn Fn() -> Arc<Namespaces> = &|| {
        let labels = |team: &str| Labels::from([("team".to_owned(), team.to_owned())]);
        Arc::new(Namespaces::from([
            ("d".to_owned(), labels("one")),
            ("e".to_owned(), labels("two")),
        ]))
    };
    Sources { budgets, namespaces, like: &|_| None }
}

/// Without budgets.
fn plan(pod: &Pod, snapshot: &Snapshot) -> Plan {
    super::plan(pod, snapshot, sources(&Vec::new))
}

fn told(pod: &Pod, snapshot: &Snapshot) -> String {
    match plan(pod, snapshot) {
        Plan::Fail(Failure { message, outlook: Outlook::Same | Outlook::None, .. }) => message,
        other => panic!("{other:?}"),
    }
}

fn room(pod: &Pod, snapshot: &Snapshot, budgets: &[Value]) -> (String, Vec<String>, Vec<String>) {
    let read = |budget: &Value| Arc::new(serde_json::from_value(budget.clone()).unwrap());
    let names = |pods: &[Arc<Pod>]| pods.iter().map(|pod| uid(pod).to_owned()).collect();
    match super::plan(pod, snapshot, sources(&|| budgets.iter().map(read).collect())) {
        Plan::Fail(Failure { outlook: Outlook::Room(room), .. }) => {
            (room.node, names(&room.victims), names(&room.displaced))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pinned_pod_goes_to_its_node_only() {
    let nodes = [("a", "4"), ("b", "4")];
    let pinned = pod("p", "1", 0, Some("b"));
    assert!(matches!(plan(&pinned, &snapshot(&nodes, &[])), Plan::Bind(node) if node == "b"));
    let full = snapshot(&nodes, &[("b", pod("o", "4", 0, None))]);
    assert_eq!(
        told(&pinned, &full),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims \
         to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, \
         1 Preemption is not helpful for scheduling."
    );
    let gone = pod("p", "1", 0, Some("c"));
    assert_eq!(
        told(&gone, &snapshot(&nodes, &[])),
        "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, \
         preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    assert_eq!(told(&gone, &Snapshot::default()), words::NO_NODES);
}

#[test]
fn an_unpinned_pod_goes_to_the_emptiest_node() {
    let nodes = [("a", "4"), ("b", "4"), ("c", "4")];
    let taken = [("a", pod("o", "2", 0, None)), ("b", pod("o2", "100m", 0, None))];
    let busy = snapshot(&nodes, &taken);
    assert!(matches!(plan(&pod("p", "1", 0, None), &busy), Plan::Bind(node) if node == "c"));
}

#[test]
fn pods_of_one_kin_are_spread_though_none_of_them_asks() {
    let of_app = |name: &str, app: &str, cpu: &str| {
        let mut pod = Pod::clone(&pod(name, cpu, 0, None));
        pod.metadata.labels = Some(BTreeMap::from([("app".into(), app.into())]));
        Arc::new(pod)
    };
    // `a` has more room, and a pod of the kin
    let taken = [("a", of_app("o", "x", "10m")), ("b", of_app("o2", "y", "100m"))];
    let busy = snapshot(&[("a", "4"), ("b", "4")], &taken);
    let new = of_app("p", "x", "10m");
    assert!(matches!(plan(&new, &busy), Plan::Bind(node) if node == "a"));
    let like = |_: &Pod| serde_json::from_value(json!({"matchLabels": {"app": "x"}})).unwrap();
    let sources = Sources { like: &like, ..sources(&Vec::new) };
    assert!(matches!(super::plan(&new, &busy, sources), Plan::Bind(node) if node == "b"));
}

#[test]
fn a_more_important_pod_makes_room_and_then_waits_for_it() {
    let victim = pod("low", "3", 1, None);
    let mut busy = snapshot(&[("a", "4")], &[("a", Arc::clone(&victim))]);
    let important = pod("high", "2", 5, None);
    match plan(&important, &busy) {
        Plan::Fail(Failure { message, outlook: Outlook::Room(preempt), .. }) => {
            assert_eq!(message, "0/1 nodes are available: 1 Insufficient cpu.");
            assert_eq!(preempt.node, "a");
            assert_eq!(preempt.victims.iter().map(|pod| uid(pod)).collect::<Vec<_>>(), ["low"]);
        }
        other => panic!("{other:?}"),
    }
    let mut going = Pod::clone(&victim);
    going.metadata.deletion_timestamp =
        Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap());
    going.status = Some(
        serde_json::from_value(json!({"conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}))
        .unwrap(),
    );
    busy.assume(&Arc::new(going), "a");
    let mut waiting = Pod::clone(&important);
    waiting.status = Some(serde_json::from_value(json!({"nominatedNodeName": "a"})).unwrap());
    assert!(told(&waiting, &busy).ends_with(words::ALREADY_PREEMPTING));
    let mut meek = Pod::clone(&important);
    meek.spec.as_mut().unwrap().preemption_policy = Some("Never".into());
    assert!(told(&meek, &busy).ends_with(words::NEVER_PREEMPTS));
}

#[test]
fn who_waits_for_room_on_a_node_that_was_cordoned_makes_room_elsewhere_at_once() {
    let low = |name: &str| pod(name, "3", 1, None);
    let going = json!({
        "metadata": {"name": "going", "namespace": "d", "uid": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"priority": 1, "containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    });
    let going: Arc<Pod> = Arc::new(serde_json::from_value(going).unwrap());
    let mut busy = snapshot(&[("a", "4"), ("b", "4")], &[("a", going), ("b", low("stays"))]);
    let mut waiting = Pod::clone(&pod("high", "2", 5, None));
    waiting.status = Some(serde_json::from_value(json!({"nominatedNodeName": "a"})).unwrap());
    assert!(told(&waiting, &busy).ends_with(words::ALREADY_PREEMPTING));
    let mut cordoned = k8s_openapi::api::core::v1::Node::clone(&node("a", "4"));
    cordoned.spec = Some(serde_json::from_value(json!({"unschedulable": true})).unwrap());
    busy.put_node(Arc::new(cordoned));
    let (node, victims, _) = room(&waiting, &busy, &[]);
    assert_eq!((node, victims), ("b".to_owned(), vec!["stays".to_owned()]));
}

#[test]
fn a_nominated_pod_keeps_its_room_from_its_equals_and_not_from_its_betters() {
    let mut snapshot = snapshot(&[("a", "4")], &[]);
    let _nobody = snapshot.nominate(&pod("first", "3", 5, None), Some("a"));
    assert!(matches!(plan(&pod("equal", "2", 5, None), &snapshot), Plan::Fail(_)));
    assert!(matches!(plan(&pod("better", "2", 6, None), &snapshot), Plan::Bind(_)));
    assert!(matches!(plan(&pod("first", "3", 5, None), &snapshot), Plan::Bind(_)));
}

#[test]
fn a_budget_turns_preemption_to_another_node_and_never_forbids_it() {
    let labelled = |name: &str, app: &str| {
        let mut pod = Pod::clone(&pod(name, "3", 1, None));
        pod.metadata.labels = Some(BTreeMap::from([("app".into(), app.into())]));
        Arc::new(pod)
    };
    let pods = [("a", labelled("guarded", "x")), ("b", labelled("free", "y"))];
    let busy = snapshot(&[("a", "4"), ("b", "4")], &pods);
    let budget = |allowed: i32, let_go: &Value| {
        json!({"metadata": {"name": "b", "namespace": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}}},
            "status": {"disruptionsAllowed": allowed, "disruptedPods": let_go, "currentHealthy": 1,
                "desiredHealthy": 1, "expectedPods": 1}})
    };
    let (none, gone) = (json!({}), json!({"guarded": "2026-01-01T00:00:00Z"}));
    let anywhere = pod("high", "2", 5, None);
    let at = |pod: &Pod, budget: Value| room(pod, &busy, &[budget]).0;
    assert_eq!(at(&anywhere, budget(0, &none)), "b");
    assert_eq!(at(&anywhere, budget(1, &none)), "a");
    assert_eq!(at(&anywhere, budget(0, &gone)), "a", "it was let go already");
    // C33: with nowhere else to go the budget is broken
    assert_eq!(at(&pod("high", "2", 5, Some("a")), budget(0, &none)), "a");
}

#[test]
fn who_waits_there_is_sent_away_only_by_its_betters() {
    let low = pod("low", "3", 1, None);
    let mut busy = snapshot(&[("a", "4")], &[("a", low)]);
    let _nobody = busy.nominate(&pod("middle", "1", 3, None), Some("a"));
    let (_, victims, displaced) = room(&pod("high", "4", 5, None), &busy, &[]);
    assert_eq!((victims, displaced), (vec!["low".to_owned()], vec!["middle".to_owned()]));
    // beside one that keeps its room, going would not help
    let _nobody = busy.nominate(&pod("equal", "1", 5, None), Some("a"));
    assert!(told(&pod("high", "4", 5, None), &busy).contains("No preemption victims found"));
}

#[test]
fn what_is_not_supported_is_refused_with_a_reason() {
    for (spec, why) in [
        (
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
            words::NO_VOLUME_CLAIMS,
        ),
        (json!({"resourceClaims": [{"name": "c"}]}), words::NO_RESOURCE_CLAIMS),
    ] {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let text = told(&pod, &snapshot(&[("a", "4"), ("b", "4")], &[]));
        assert_eq!(text, format!("0/2 nodes are available: 2 {why}."));
    }
}

mod company;

proptest! {
    /// Whatever is bound one after another, no node ever holds more than it has.
    #[test]
    fn room_is_never_spent_twice(
        nodes in prop::collection::vec(1_u32..8, 1..5),
        pods in prop::collection::vec((1_u32..40, 0_i32..3), 1..60),
    ) {
        let names: Vec<String> = (0..nodes.len()).map(|n| format!("n{n}")).collect();
        let mut snapshot = Snapshot::default();
        for (name, cpu) in names.iter().zip(&nodes) {
            snapshot.put_node(node(name, &cpu.to_string()));
        }
        for (n, (tenths, priority)) in pods.iter().enumerate() {
            let pod = pod(&format!("p{n}"), &format!("{}m", tenths * 100), *priority, None);
            if let Plan::Bind(name) = plan(&pod, &snapshot) {
                snapshot.assume(&pod, &name);
            }
        }
        for seat in snapshot.seats.values() {
            let has = seat.allocatable.get("cpu");
            prop_assert!(seat.occupied.requested().get("cpu") <= has && seat.pods.len() <= 10);
        }
    }

    /// A snapshot that followed changes is the one that is built afresh.
    #[test]
    fn following_changes_agrees_with_starting_over(
        steps in prop::collection::vec((0_usize..6, 0_usize..4, 0_u8..4), 0..80),
    ) {
        let mut snapshot = Snapshot::default();
        let mut truth = BTreeMap::<usize, Arc<Pod>>::new();
        for (n, at, action) in steps {
            let mut one = Pod::clone(&pod(&format!("p{n}"), "100m", 0, None));
            one.spec.as_mut().unwrap().node_name = Some(format!("n{at}"));
            match action {
                0 => { if let Some(old) = truth.remove(&n) { snapshot.remove_pod(&old); } }
                1 => {
                    one.status = Some(serde_json::from_value(json!({"phase": "Failed"})).unwrap());
                    snapshot.see_pod(&Arc::new(one));
                    truth.remove(&n);
                }
                2 => {
                    if !truth.contains_key(&n) {
                        snapshot.assume(&pod(&format!("p{n}"), "100m", 0, None), &format!("n{at}"));
                        snapshot.unassume(&one);
                    }
                }
                _ => {
                    let one = Arc::new(one);
                    snapshot.see_pod(&one);
                    truth.insert(n, one);
                }
            }
        }
        let mut fresh = Snapshot::default();
        for pod in truth.values() {
            fresh.see_pod(pod);
        }
        let view = |snapshot: &Snapshot| snapshot.seats.iter()
            .map(|(name, seat)| (name.clone(), seat.occupied.pods(), seat.occupied.requested().get("cpu")))
            .collect::<Vec<_>>();
        prop_assert_eq!(view(&snapshot), view(&fresh));
    }
}
