//! What others see of the engine's objects, events and memory, text by text.

use jiff::{SignedDuration, Timestamp};
use rollout::plan::budget::Limits;
use rollout::plan::history::{History, NewRevision};
use rollout::world::{Failures, Refusal, Revision};
use rollout::{Event, Set, World, json, plan, shape};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn set(template_spec: Value) -> Set {
    let object = json!({
        "metadata": {
            "namespace": "ns", "name": "agent", "uid": "u1", "generation": 3,
            "annotations": {"deprecated.daemonset.template.generation": "2",
                            "kubernetes.io/change-cause": "because"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"name": "ignored", "labels": {"app": "x"}, "annotations": {"a": "b"},
                             "finalizers": ["example.com/hold"]},
                "spec": template_spec,
            },
        },
    });
    Set::read(&object).expect("a set")
}

/// How a pod is shaped: set, hash, node; a planted bug shapes it otherwise.
type Shape = fn(&Set, &str, &str) -> Value;

fn keys(shape: Shape, spec: Value) -> Vec<String> {
    let pod = shape(&set(spec), "h", "n1");
    let show = |t: &Value| {
        let text = |field: &str| t[field].as_str().unwrap_or_default().to_owned();
        let seconds = t["tolerationSeconds"].as_i64().map(|n| format!(" for {n} s"));
        format!(
            "{}:{}:{}{}",
            text("key"),
            text("operator"),
            text("effect"),
            seconds.unwrap_or_default()
        )
    };
    pod["spec"]["tolerations"].as_array().expect("a list").iter().map(show).collect()
}

#[test]
fn automatic_tolerations_have_upstreams_order_and_replace_equal_ones() {
    tolerations(shape::pod);
}

fn tolerations(shape: Shape) {
    let keys = |spec: Value| keys(shape, spec);
    let prefix = "node.kubernetes.io";
    let automatic = [
        format!("{prefix}/not-ready:Exists:NoExecute"),
        format!("{prefix}/unreachable:Exists:NoExecute"),
        format!("{prefix}/disk-pressure:Exists:NoSchedule"),
        format!("{prefix}/memory-pressure:Exists:NoSchedule"),
        format!("{prefix}/pid-pressure:Exists:NoSchedule"),
        format!("{prefix}/unschedulable:Exists:NoSchedule"),
    ];
    assert_eq!(keys(json!({})), automatic);
    let network = format!("{prefix}/network-unavailable:Exists:NoSchedule");
    assert_eq!(keys(json!({"hostNetwork": true})), [&automatic[..], &[network]].concat());
    // in place, without its seconds; one with another effect stays, and the automatic one comes too (spec B11)
    let own = json!({"tolerations": [
        {"key": "mine", "operator": "Exists"},
        {"key": format!("{prefix}/unreachable"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        {"key": format!("{prefix}/not-ready"), "operator": "Exists", "tolerationSeconds": 7},
    ]});
    let wanted = [
        vec!["mine:Exists:".to_owned(), automatic[1].clone()],
        vec![format!("{prefix}/not-ready:Exists: for 7 s"), automatic[0].clone()],
        automatic[2..].to_vec(),
    ];
    assert_eq!(keys(own), wanted.concat());
}

#[test]
fn a_daemon_pod_has_upstreams_shape() {
    daemon_pod(shape::pod);
}

fn daemon_pod(shape: Shape) {
    let spec = json!({
        "fromTheFuture": {"x": [1]},
        "nodeSelector": {"disk": "ssd"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "a", "operator": "Exists"}]}]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}],
            },
            "podAntiAffinity": {"x": 1},
        },
    });
    let template = spec.clone();
    let pod = shape(&set(spec), "h4sh", "n1");
    assert_eq!(
        pod["metadata"],
        json!({
            "generateName": "agent-", "namespace": "ns",
            "labels": {"app": "x", "controller-revision-hash": "h4sh", "pod-template-generation": "2"},
            "annotations": {"a": "b"}, "finalizers": ["example.com/hold"],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "u1",
                                 "controller": true, "blockOwnerDeletion": true}],
        })
    );
    let affinity = &pod["spec"]["affinity"];
    assert_eq!(
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
        json!({"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]})
    );
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    assert_eq!(
        affinity["nodeAffinity"][preferred],
        template["affinity"]["nodeAffinity"][preferred]
    );
    assert_eq!(affinity["podAntiAffinity"], json!({"x": 1}));
    assert_eq!(pod["spec"]["nodeSelector"], json!({"disk": "ssd"}));
    assert_eq!(pod["spec"]["fromTheFuture"], json!({"x": [1]}), "a newer cluster's field stays");
    assert!(pod["spec"].get("nodeName").is_none(), "the scheduler binds");
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A bug, and the check that must notice it.
struct Bug {
    trap: &'static str,
    what: &'static str,
    shapes: Shape,
    noticed_by: fn(Shape),
}

const BUGS: [Bug; 4] = [
    Bug {
        trap: "T2",
        what: "an automatic toleration comes beside an equal one of the user",
        shapes: |set, hash, node| {
            let mut pod = shape::pod(set, hash, node);
            let own = set.template["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
            let all = pod["spec"]["tolerations"].as_array_mut().expect("a list");
            all.extend(own.into_iter().filter(|one| one["tolerationSeconds"] == 5));
            pod
        },
        noticed_by: tolerations,
    },
    Bug {
        trap: "T2",
        what: "the seconds of an equal toleration of the user stay",
        shapes: |set, hash, node| {
            let mut pod = shape::pod(set, hash, node);
            for one in pod["spec"]["tolerations"].as_array_mut().expect("a list") {
                if set.template["spec"]["tolerations"].is_array()
                    && one["key"] == "node.kubernetes.io/unreachable"
                {
                    one["tolerationSeconds"] = json!(5);
                }
            }
            pod
        },
        noticed_by: tolerations,
    },
    Bug {
        trap: "T3",
        what: "the user's required terms stay beside the pin",
        shapes: |set, hash, node| {
            let mut pod = shape::pod(set, hash, node);
            let own = &set.template["spec"]["affinity"]["nodeAffinity"][REQUIRED];
            let own = own["nodeSelectorTerms"].as_array().cloned().unwrap_or_default();
            let required = &mut pod["spec"]["affinity"]["nodeAffinity"][REQUIRED];
            required["nodeSelectorTerms"].as_array_mut().expect("terms").extend(own);
            pod
        },
        noticed_by: daemon_pod,
    },
    Bug {
        trap: "T3",
        what: "preferred terms go with the required ones",
        shapes: |set, hash, node| {
            let mut pod = shape::pod(set, hash, node);
            let affinity = &mut pod["spec"]["affinity"]["nodeAffinity"];
            affinity["preferredDuringSchedulingIgnoredDuringExecution"] = Value::Null;
            pod
        },
        noticed_by: daemon_pod,
    },
];

#[test]
fn every_planted_bug_of_the_shape_is_noticed() {
    for bug in &BUGS {
        let noticed = std::panic::catch_unwind(|| (bug.noticed_by)(bug.shapes)).is_err();
        assert!(noticed, "{}: {} goes unnoticed", bug.trap, bug.what);
    }
}

#[test]
fn a_revision_has_upstreams_shape() {
    let set = set(json!({"containers": []}));
    let new =
        NewRevision { name: "agent-h".into(), hash: "h".into(), number: 4, data: String::new() };
    let revision = shape::revision(&set, &new);
    assert_eq!(revision["metadata"]["name"], "agent-h");
    let labels = json!({"app": "x", "controller-revision-hash": "h"});
    assert_eq!(revision["metadata"]["labels"], labels);
    assert_eq!(
        revision["metadata"]["annotations"],
        json!(set.annotations),
        "the set's, as they are"
    );
    assert_eq!(revision["metadata"]["ownerReferences"][0]["uid"], "u1");
    assert_eq!(revision["revision"], 4);
    assert_eq!(revision["data"]["spec"]["template"]["$patch"], "replace");
    assert!(revision["data"]["spec"]["template"]["spec"].get("tolerations").is_none(), "spec B12");
}

/// The data of a revision as upstream writes it: Go's bytes, and `creationTimestamp: null` by older versions.
const RECORDED: &str = concat!(
    r#"{"spec":{"template":{"$patch":"replace","metadata":{"annotations":{"a":"b"},"creationTimestamp":null,"#,
    r#""finalizers":["example.com/hold"],"labels":{"app":"x"},"name":"ignored"},"spec":{"containers":[{"command":"#,
    r#"["sh","-c","a \u003c b \u0026\u0026 c \u003e d\u2028"],"image":"i","name":"c"}],"fromTheFuture":{"x":1}}}}}"#
);

#[test]
fn a_recorded_revision_with_an_unknown_field_is_taken_over_and_handed_back() {
    let set = set(json!({
        "fromTheFuture": {"x": 1},
        "containers": [{"name": "c", "image": "i", "command": ["sh", "-c", "a < b && c > d\u{2028}"]}],
    }));
    let object = json!({
        "metadata": {"name": "other-abc", "labels": {"app": "x", "controller-revision-hash": "abc"}},
        "data": serde_json::from_str::<Value>(RECORDED).expect("JSON"),
        "revision": 7,
    });
    // orphaned by a set of another name (spec B45)
    let revisions = BTreeMap::from([("other-abc".to_owned(), Revision::read(&object))]);
    let history = History::of(&set, &revisions);
    assert_eq!(history.steps.create, None, "no new revision");
    assert_eq!(history.steps.renumber, None);
    assert_eq!(history.steps.adopt, ["other-abc"]);
    assert_eq!(history.hash, "abc", "pods carry upstream's hash");
    // what we would write, upstream finds equal byte by byte (newer versions leave the null out)
    let written = json::canonical(&shape::data(&set.template));
    assert_eq!(written, RECORDED.replace(r#""creationTimestamp":null,"#, ""));
}

fn nodes(count: usize) -> World {
    let node = |n: usize| {
        let name = format!("n{n:03}");
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a node");
        (name, Arc::new(node))
    };
    World {
        set: set(json!({})),
        nodes: (0..count).map(node).collect(),
        pods: BTreeMap::new(),
        revisions: BTreeMap::new(),
        failures: Failures::default(),
    }
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

#[test]
fn a_pass_makes_and_ends_at_most_250_pods() {
    let plan = plan(&nodes(300), start());
    assert_eq!((plan.create.len(), plan.postponed), (250, 50));
}

#[test]
fn a_node_whose_pod_is_refused_comes_last() {
    let mut world = nodes(3);
    let refusal = Refusal { message: "no".into(), nodes: BTreeSet::from(["n000".to_owned()]) };
    world.failures.refusal = Some(refusal);
    let order: Vec<String> = plan(&world, start()).create.into_iter().map(|c| c.node).collect();
    assert_eq!(order, ["n001", "n002", "n000"]);
}

#[test]
fn back_off_doubles_to_a_quarter_of_an_hour_and_a_new_generation_starts_afresh() {
    let mut failures = Failures::default();
    let mut delays = Vec::new();
    for n in 0..12 {
        failures.note(1, "a", start() + SignedDuration::from_secs(n));
        delays.push(failures.by_node["a"].delay.as_secs());
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    failures.note(2, "a", start());
    assert_eq!(failures.by_node["a"].delay.as_secs(), 1, "any edit starts afresh");
    let later = start() + SignedDuration::from_mins(31);
    assert!(failures.by_node["a"].is_forgotten(later));
}

#[test]
fn every_event_has_upstreams_words() {
    let shown = |event: Event| format!("{} {} {}", event.is_warning, event.reason, event.message);
    assert_eq!(shown(Event::created("p")), "false SuccessfulCreate Created pod: p");
    assert_eq!(shown(Event::not_created("no")), "true FailedCreate Error creating: no");
    assert_eq!(shown(Event::deleted("p")), "false SuccessfulDelete Deleted pod: p");
    assert_eq!(shown(Event::not_deleted("no")), "true FailedDelete Error deleting: no");
}

#[test]
fn knobs_are_resolved_as_upstream_does() {
    let limits = |unavailable: Value, surge: Value, desired: usize| {
        let knobs = json!({"maxUnavailable": unavailable, "maxSurge": surge});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": knobs});
        let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "updateStrategy": strategy});
        let set = Set::read(&json!({"spec": spec})).expect("a set");
        let found = Limits::of(&set.strategy, desired).expect("a rolling update");
        (found.unavailable_max, found.surge_max, set.may_surge())
    };
    assert_eq!(limits(json!("50%"), json!(0), 3), (2, 0, false), "rounded up");
    assert_eq!(limits(json!("10%"), json!(0), 3), (1, 0, false));
    assert_eq!(limits(json!(0), json!("0%"), 3), (1, 0, false), "both zero allow one");
    assert_eq!(
        limits(json!("30%"), json!(0), 0),
        (0, 0, false),
        "a percentage of nothing is nothing"
    );
    assert_eq!(limits(json!(2), json!(0), 0), (2, 0, false), "a number stays");
    assert_eq!(
        limits(json!(0), json!("1%"), 500),
        (0, 5, true),
        "surge is allowed as if for one node"
    );
}
