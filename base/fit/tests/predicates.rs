//! The predicates as tables, and the law that the engine and the scheduler agree on what both ask.

use fit::{Amounts, Budget, HostPort, Incoming, Occupied, Reason, Verdict, Victims, Wish};
use fit::{cheapest, filter, judge, pinned_nodes, victims};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn node(labels: Value, spec: Value) -> Node {
    let allocatable = json!({"pods": "3", "cpu": "2", "memory": "1Gi", "example.com/gpu": "1"});
    let node = json!({"metadata": {"name": "n1", "labels": labels}, "spec": spec,
                      "status": {"allocatable": allocatable}});
    serde_json::from_value(node).expect("a node")
}

fn spec(value: Value) -> PodSpec {
    serde_json::from_value(value).expect("a pod spec")
}

fn pod(name: &str, priority: i32, cpu: &str, started: i64) -> Pod {
    let started =
        jiff::Timestamp::from_second(1_700_000_000 + started).expect("a time").to_string();
    let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    let pod = json!({
        "metadata": {"name": name, "uid": name},
        "spec": {"priority": priority, "containers": containers},
        "status": {"phase": "Running", "startTime": started},
    });
    serde_json::from_value(pod).expect("a pod")
}

fn requiring(terms: Value) -> PodSpec {
    let required =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    spec(json!({"containers": [], "affinity": {"nodeAffinity": required}}))
}

#[test]
fn operators_of_node_affinity() {
    let here = node(json!({"zone": "a", "cores": "8"}), json!({}));
    for (key, operator, values, expected) in [
        ("zone", "In", json!(["a", "b"]), true),
        ("zone", "In", json!(["b"]), false),
        ("zone", "In", json!([]), false),
        ("absent", "In", json!(["a"]), false),
        ("zone", "NotIn", json!(["b"]), true),
        ("zone", "NotIn", json!(["a"]), false),
        ("absent", "NotIn", json!(["a"]), true),
        ("absent", "NotIn", json!(["not a label value!"]), false),
        ("zone", "Exists", json!(null), true),
        ("absent", "Exists", json!(null), false),
        ("zone", "Exists", json!(["a"]), false),
        ("absent", "DoesNotExist", json!(null), true),
        ("zone", "DoesNotExist", json!(null), false),
        ("cores", "Gt", json!(["7"]), true),
        ("cores", "Gt", json!(["8"]), false),
        ("cores", "Lt", json!(["9"]), true),
        ("cores", "Lt", json!(["8", "9"]), false),
        ("zone", "Gt", json!(["1"]), false),
        ("zone", "Like", json!(["a"]), false),
    ] {
        let need = json!({"key": key, "operator": operator, "values": values});
        let asked = requiring(json!([{"matchExpressions": [need]}]));
        let found = judge(&Wish::of(&asked), &here) == Verdict::Fits;
        assert_eq!(found, expected, "{key} {operator} {values}");
    }
}

#[test]
fn terms_are_alternatives_their_parts_are_not_and_an_empty_one_matches_nothing() {
    let here = node(json!({"zone": "a"}), json!({}));
    let zone = |value: &str| json!({"key": "zone", "operator": "In", "values": [value]});
    let name = |operator: &str, value: &str| json!({"key": "metadata.name", "operator": operator, "values": [value]});
    for (terms, expected) in [
        (json!([]), false),
        (json!([{}]), false),
        (json!([{}, {"matchExpressions": [zone("a")]}]), true),
        (json!([{"matchExpressions": [zone("b")]}, {"matchFields": [name("In", "n1")]}]), true),
        (json!([{"matchExpressions": [zone("a")], "matchFields": [name("NotIn", "n1")]}]), false),
        (json!([{"matchExpressions": [zone("a")], "matchFields": [name("In", "n1")]}]), true),
        (
            json!([{"matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["n1"]}]}]),
            false,
        ),
    ] {
        let asked = requiring(terms.clone());
        assert_eq!(judge(&Wish::of(&asked), &here) == Verdict::Fits, expected, "{terms}");
    }
}

#[test]
fn node_selector_and_affinity_must_both_match() {
    let mut asked = requiring(
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]),
    );
    asked.node_selector = Some([("zone".to_owned(), "b".to_owned())].into());
    let here = node(json!({"zone": "a"}), json!({}));
    let wanted =
        Reason::NodeSelector { key: "zone".into(), wanted: "b".into(), found: Some("a".into()) };
    assert_eq!(judge(&Wish::of(&asked), &here), Verdict::Refused(vec![wanted]));
}

#[test]
fn taints_and_tolerations() {
    let tolerated = |toleration: Value, taint: Value| {
        let asked = spec(json!({"containers": [], "tolerations": [toleration]}));
        judge(&Wish::of(&asked), &node(json!({}), json!({"taints": [taint]}))) == Verdict::Fits
    };
    let taint = |effect: &str| json!({"key": "k", "value": "v", "effect": effect});
    for (toleration, expected) in [
        (json!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}), true),
        (json!({"key": "k", "value": "v"}), true),
        (json!({"key": "k", "value": "w"}), false),
        (json!({"key": "k", "operator": "Exists"}), true),
        (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
        (json!({"operator": "Exists"}), true),
        (json!({"key": "j", "operator": "Exists"}), false),
        (json!({"key": "k", "operator": "Gt", "value": "v"}), false),
        (json!({"key": "k", "operator": "Exists", "tolerationSeconds": 0}), true),
    ] {
        assert_eq!(tolerated(toleration.clone(), taint("NoSchedule")), expected, "{toleration}");
    }
    assert!(tolerated(json!({"key": "j"}), taint("PreferNoSchedule")));
}

#[test]
fn verdicts_tell_staying_from_leaving() {
    let asked = spec(json!({"containers": []}));
    let verdict = |effects: &[&str]| {
        let taints: Vec<Value> =
            effects.iter().map(|effect| json!({"key": effect, "effect": effect})).collect();
        judge(&Wish::of(&asked), &node(json!({}), json!({"taints": taints, "unschedulable": true})))
    };
    assert_eq!(verdict(&["PreferNoSchedule"]), Verdict::Fits);
    assert!(matches!(verdict(&["NoSchedule"]), Verdict::Stays(reasons) if reasons.len() == 1));
    assert!(
        matches!(verdict(&["NoSchedule", "NoExecute"]), Verdict::Refused(reasons) if reasons.len() == 2)
    );
}

#[test]
fn requests_of_a_pod_with_sidecars_init_containers_and_overhead() {
    let with = |cpu: &str, extra: Value| {
        let mut container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        container
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        container
    };
    let sidecar = json!({"restartPolicy": "Always"});
    let asked = |init: Value, pod_level: Value| {
        let spec = spec(json!({
            "containers": [with("100m", json!({})), with("200m", json!({}))],
            "initContainers": init, "overhead": {"cpu": "10m"}, "resources": pod_level,
        }));
        Amounts::requested(&spec).get("cpu")
    };
    assert_eq!(asked(json!([]), json!(null)), 310);
    assert_eq!(asked(json!([with("250m", json!({}))]), json!(null)), 310);
    assert_eq!(asked(json!([with("1", json!({}))]), json!(null)), 1010);
    assert_eq!(asked(json!([with("50m", sidecar.clone())]), json!(null)), 360);
    assert_eq!(
        asked(json!([with("50m", sidecar.clone()), with("400m", json!({}))]), json!(null)),
        460
    );
    assert_eq!(asked(json!([with("400m", json!({})), with("50m", sidecar)]), json!(null)), 410);
    assert_eq!(asked(json!([]), json!({"requests": {"cpu": "2"}})), 2010);
}

#[test]
fn a_pod_that_is_resized_holds_the_larger_and_nothing_that_it_can_never_have() {
    let pod = |asked: &str, promised: Value, reason: &str| -> Pod {
        let statuses = json!([{"name": "c", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "allocatedResources": promised}]);
        let value = json!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": asked}}}]},
            "status": {"containerStatuses": statuses, "conditions":
                [{"type": "PodResizePending", "status": "True", "reason": reason}]}});
        serde_json::from_value(value).expect("a pod")
    };
    let both = |pod: &Pod| (Amounts::held(pod).get("cpu"), Amounts::promised(pod).get("cpu"));
    assert_eq!(both(&pod("900", json!({"cpu": "1"}), "Infeasible")), (1000, 1000));
    assert_eq!(both(&pod("3", json!({"cpu": "1"}), "Deferred")), (3000, 1000));
    assert_eq!(both(&pod("1", json!({"cpu": "3"}), "")), (3000, 3000), "not given back yet");
    assert_eq!(both(&pod("2", Value::Null, "")), (2000, 2000));
    let one = pod("900", json!({"cpu": "1"}), "Infeasible");
    let mut occupied = Occupied::by([&one]);
    assert_eq!(occupied.requested().get("cpu"), 1000, "others find room");
    occupied.remove(&one);
    assert_eq!(occupied.requested().get("cpu"), 0);
}

#[test]
fn what_a_pod_was_promised_as_a_whole_counts_where_it_asks_as_a_whole() {
    let pod = |whole: Value, reason: &str| -> Pod {
        let value = json!({
            "spec": {"resources": whole, "containers":
                [{"name": "c", "resources": {"requests": {"cpu": "200m", "memory": "1Ki"}}}]},
            "status": {"allocatedResources": {"cpu": "1", "memory": "2Ki"}, "conditions":
                [{"type": "PodResizePending", "status": "True", "reason": reason}]}});
        serde_json::from_value(value).expect("a pod")
    };
    let asked = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let both = |pod: &Pod| (Amounts::held(pod).get("cpu"), Amounts::promised(pod).get("cpu"));
    assert_eq!(both(&pod(asked("900"), "Infeasible")), (1000, 1000));
    assert_eq!(both(&pod(asked("3"), "Deferred")), (3000, 1000));
    assert_eq!(both(&pod(asked("500m"), "")), (1000, 1000), "not given back yet");
    assert_eq!(both(&pod(Value::Null, "")), (200, 200), "its containers alone");
    let memory = Amounts::promised(&pod(asked("3"), "")).get("memory");
    assert_eq!(memory, 1024 * 1000, "of memory the pod as a whole says nothing");
}

#[test]
fn all_insufficient_resources_are_named_and_the_number_of_pods() {
    let containers = json!([{"name": "c", "resources": {"requests":
        {"cpu": "3", "memory": "2Gi", "example.com/gpu": "1", "example.com/none": "0"}}}]);
    let asked = spec(json!({"containers": containers}));
    let here = node(json!({}), json!({}));
    let others: Vec<Pod> = (0..3).map(|n| pod(&format!("p{n}"), 0, "0", 0)).collect();
    let reasons =
        filter(&Incoming::of(&asked), &here, &Amounts::allocatable(&here), &Occupied::by(&others));
    let texts: Vec<String> = reasons.iter().map(Reason::text).collect();
    assert_eq!(texts, ["Too many pods", "Insufficient cpu", "Insufficient memory"]);
    let helps: Vec<bool> = reasons.iter().map(Reason::preemption_may_help).collect();
    assert_eq!(helps, [true, false, false]);
}

#[test]
fn finished_pods_take_nothing_and_what_is_added_can_be_taken_away() {
    let mut finished = pod("a", 0, "1", 0);
    finished.status.as_mut().expect("a status").phase = Some("Failed".into());
    assert_eq!(Occupied::by([&finished]), Occupied::default());
    let running = pod("b", 0, "1", 0);
    let mut occupied = Occupied::by([&running, &running]);
    occupied.remove(&running);
    assert_eq!(occupied, Occupied::by([&running]));
}

#[test]
fn host_ports_conflict_unless_protocol_port_or_address_differ() {
    let port = |protocol: &str, port: i32, ip: &str| HostPort {
        protocol: protocol.into(),
        port,
        ip: ip.into(),
    };
    let taken = port("TCP", 80, "10.0.0.1");
    assert!(taken.conflicts(&port("TCP", 80, "")));
    assert!(taken.conflicts(&port("TCP", 80, "10.0.0.1")));
    assert!(!taken.conflicts(&port("TCP", 80, "10.0.0.2")));
    assert!(!taken.conflicts(&port("UDP", 80, "")));
    assert!(!taken.conflicts(&port("TCP", 81, "")));
    let ports =
        json!([{"containerPort": 1, "hostPort": 80, "hostIP": "0.0.0.0"}, {"containerPort": 2}]);
    let asked = spec(json!({"containers": [{"name": "c", "ports": ports}]}));
    assert_eq!(fit::ports::of(&asked), [port("TCP", 80, "")]);
}

#[test]
fn a_cordon_stops_those_who_do_not_tolerate_it() {
    let here = node(json!({}), json!({"unschedulable": true}));
    let reasons = |tolerations: Value| {
        let asked = spec(json!({"containers": [], "tolerations": tolerations}));
        filter(&Incoming::of(&asked), &here, &Amounts::allocatable(&here), &Occupied::default())
    };
    assert_eq!(reasons(json!([])), [Reason::Unschedulable]);
    let cordon = json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}]);
    assert_eq!(reasons(cordon), []);
}

#[test]
fn pins_are_found_only_where_every_term_names_nodes() {
    let name = |values: Value| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": values}]});
    let other = json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]});
    let one = requiring(json!([name(json!(["n1"])), name(json!(["n2"]))]));
    assert_eq!(pinned_nodes(&one), Some(BTreeSet::from(["n1", "n2"])));
    assert_eq!(pinned_nodes(&requiring(json!([name(json!(["n1"])), other]))), None);
    assert_eq!(pinned_nodes(&requiring(json!([]))), None);
    assert_eq!(pinned_nodes(&spec(json!({"containers": []}))), None);
}

/// How victims are chosen; a planted bug chooses otherwise.
type Choose = for<'a> fn(
    &Pod,
    &Node,
    &[&'a Pod],
    &[Budget],
    Option<&fit::Company<'_>>,
) -> Option<Victims<'a>>;

#[test]
fn victims_are_as_few_and_as_unimportant_as_can_be() {
    few_and_unimportant(victims);
}

fn few_and_unimportant(victims: Choose) {
    let here = node(json!({}), json!({}));
    let (low, old, young) =
        (pod("low", 1, "500m", 9), pod("old", 5, "500m", 1), pod("young", 5, "500m", 2));
    let incoming = pod("in", 10, "1", 0);
    let names = |found: Option<Victims<'_>>| -> Vec<String> {
        let found = found.expect("victims");
        found.pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
    };
    let all = [&low, &old, &young];
    // two of four halves are free at 1.5 taken of 2: one has to go, and it is the least important
    assert_eq!(names(victims(&incoming, &here, &all, &[], None)), ["low"]);
    // unless its loss breaks a budget
    let budget = Budget { covers: BTreeSet::from(["low".to_owned()]), allowed: 0 };
    assert_eq!(names(victims(&incoming, &here, &all, &[budget], None)), ["young"]);
    // equals never go
    assert!(victims(&pod("in", 1, "1", 0), &here, &all, &[], None).is_none());
    // nor does anybody where it would not help
    assert!(victims(&pod("in", 10, "3", 0), &here, &all, &[], None).is_none());
}

/// Traps, what is wrong, and who is chosen then.
const BUGS: [(&str, &str, Choose); 3] = [
    ("T24", "equals are preempted", |pod, node, occupants, budgets, company| {
        let mut better = pod.clone();
        let spec = better.spec.as_mut()?;
        spec.priority = Some(spec.priority.unwrap_or(0) + 1);
        victims(&better, node, occupants, budgets, company)
    }),
    ("T24", "a budget is no preference", |pod, node, occupants, _, company| {
        victims(pod, node, occupants, &[], company)
    }),
    ("T24", "a budget is a block", |pod, node, occupants, budgets, company| {
        victims(pod, node, occupants, budgets, company).filter(|_| budgets.is_empty())
    }),
];

#[test]
fn every_planted_bug_of_preemption_is_noticed() {
    for (trap, what, choose) in BUGS {
        let noticed = std::panic::catch_unwind(|| few_and_unimportant(choose)).is_err();
        assert!(noticed, "{trap}: {what} goes unnoticed");
    }
}

#[test]
fn the_cheapest_node_breaks_no_budget_and_loses_the_least() {
    let (one, five, late) = (pod("one", 1, "1", 0), pod("five", 5, "1", 0), pod("late", 5, "1", 9));
    let of = |pods: &[&'static str], budgets_broken| {
        let by_name = [&one, &five, &late];
        let find =
            |name: &&str| by_name.into_iter().find(|p| p.metadata.name.as_deref() == Some(*name));
        Victims { pods: pods.iter().filter_map(find).collect(), budgets_broken }
    };
    assert_eq!(cheapest(&[of(&["one"], 1), of(&["five"], 0)]), Some(1));
    assert_eq!(cheapest(&[of(&["five"], 0), of(&["one"], 0)]), Some(1));
    assert_eq!(cheapest(&[of(&["five", "one"], 0), of(&["five"], 0)]), Some(1));
    assert_eq!(cheapest(&[of(&["five"], 0), of(&["late"], 0)]), Some(1));
    assert_eq!(cheapest(&[of(&["five"], 0), of(&["five"], 0)]), Some(0));
    assert_eq!(cheapest(&[]), None);
}

proptest! {
    #[test]
    fn engine_and_scheduler_agree_on_what_both_ask(
        zone in select(vec![None, Some("a"), Some("b")]),
        taints in prop::collection::vec(select(vec!["NoSchedule", "NoExecute", "PreferNoSchedule"]), 0..3),
        wanted in select(vec![json!(null), json!({"zone": "a"})]),
        name in select(vec![json!(null), json!("n1"), json!("n2")]),
        tolerations in prop::collection::vec(select(vec![
            json!({"operator": "Exists"}),
            json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}),
            json!({"key": "k", "operator": "Equal", "value": "v"}),
        ]), 0..2),
    ) {
        let taints: Vec<Value> =
            taints.iter().map(|effect| json!({"key": "k", "value": "v", "effect": effect})).collect();
        let labels = zone.map_or_else(|| json!({}), |zone| json!({"zone": zone}));
        let here = node(labels, json!({"taints": taints}));
        let asked = spec(json!({"containers": [], "nodeSelector": wanted, "nodeName": name,
                                "tolerations": tolerations}));
        let verdict = judge(&Wish::of(&asked), &here);
        let reasons =
            filter(&Incoming::of(&asked), &here, &Amounts::allocatable(&here), &Occupied::default());
        prop_assert_eq!(verdict == Verdict::Fits, reasons.is_empty(), "{:?} {:?}", verdict, reasons);
    }
}
