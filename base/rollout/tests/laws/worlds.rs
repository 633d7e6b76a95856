//! Worlds by chance, and how a world moves on when a plan is carried out.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use proptest::prelude::*;
use proptest::sample::select;
use rollout::plan::history::{self, History};
use rollout::words::{HASH_LABEL, TEMPLATE_GENERATION_LABEL};
use rollout::world::{Failure, Failures, Phase, Pod, Revision};
use rollout::{Plan, Set, Trouble, World, json, shape};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const UID: &str = "uid-of-the-set";
/// Node names; pods may be aimed at the last two, which may not exist.
pub(crate) const NODES: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", "n5"];

pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

pub(crate) fn node(name: &str, zone: Option<&str>, taints: &[(&str, &str)]) -> core::Node {
    let taints: Vec<Value> =
        taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
    let labels = zone.map(|zone| json!({"zone": zone}));
    let node = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": {"pods": "110", "cpu": "4", "memory": "8Gi"}},
    });
    serde_json::from_value(node).expect("a node")
}

pub(crate) fn any_node(name: &'static str) -> impl Strategy<Value = core::Node> {
    let taint = select(vec![
        ("dedicated", "NoSchedule"),
        ("evict", "NoExecute"),
        ("soft", "PreferNoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoSchedule"),
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/network-unavailable", "NoSchedule"),
    ]);
    let taints = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(taint, 1..3)];
    let zone = select(vec![None, Some("a"), Some("a"), Some("b")]);
    let down = prop::option::weighted(0.15, 0..600_i64);
    (zone, taints, down).prop_map(move |(zone, taints, down)| {
        let node = node(name, zone, &taints);
        match down {
            Some(ago) => silenced(node, start() - SignedDuration::from_secs(ago)),
            None => node,
        }
    })
}

/// The node, silent since then.
pub(crate) fn silenced(mut node: core::Node, since: Timestamp) -> core::Node {
    let ready =
        json!([{"type": "Ready", "status": "Unknown", "lastTransitionTime": since.to_string()}]);
    let status = node.status.get_or_insert_default();
    status.conditions = serde_json::from_value(ready).expect("conditions");
    node
}

pub(crate) fn template(version: u64, placement: &Value) -> Value {
    let mut spec = json!({
        "containers": [{"name": "c", "image": format!("agent:{version}"),
                        "resources": {"requests": {"cpu": "100m"}}}],
        "priority": 7,
    });
    let members = spec.as_object_mut().expect("an object");
    members.extend(placement.as_object().expect("an object").clone());
    json!({"metadata": {"labels": {"app": "x"}}, "spec": spec})
}

/// Hash of a template's revision when nothing collided.
pub(crate) fn hash_of(version: u64, placement: &Value) -> String {
    history::hash(&json::canonical(&template(version, placement)), None)
}

fn any_placement() -> impl Strategy<Value = Value> {
    let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
    "nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
    ]}}});
    let bounded = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists",
                         "effect": "NoExecute", "tolerationSeconds": 5});
    select(vec![
        json!({}),
        json!({}),
        json!({"nodeSelector": {"zone": "a"}}),
        json!({"affinity": required}),
        json!({"nodeName": "n2"}),
        json!({"tolerations": [{"operator": "Exists"}], "hostNetwork": true}),
        json!({"tolerations": [{"key": "dedicated", "operator": "Equal", "effect": "NoSchedule"}, bounded]}),
    ])
}

pub(crate) fn any_strategy() -> impl Strategy<Value = Value> {
    let rolling = |unavailable: Value, surge: Value| {
        json!({"type": "RollingUpdate",
               "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
    };
    select(vec![
        json!({"type": "OnDelete"}),
        rolling(json!(1), json!(0)),
        rolling(json!(2), json!(0)),
        rolling(json!("30%"), json!(0)),
        rolling(json!("0%"), json!(0)),
        rolling(json!(0), json!(1)),
        rolling(json!(0), json!(2)),
        rolling(json!(0), json!("50%")),
    ])
}

prop_compose! {
    fn any_set()(
        placement in any_placement(),
        strategy in any_strategy(),
        min_ready in select(vec![0, 0, 10]),
        history_limit in 0..3,
        version in 0..3_u64,
        generation in 1..4_i64,
        template_generation in prop::option::of(1..4_i64),
        observed in 0..4_i64,
        is_upstream in prop::bool::weighted(0.3),
    ) -> (Value, Value, u64) {
        let mut annotations = json!({});
        if let Some(number) = template_generation {
            annotations["deprecated.daemonset.template.generation"] = number.to_string().into();
        }
        if is_upstream {
            annotations["pernode.dev/compat"] = "upstream".into();
        }
        let set = json!({
            "metadata": {"namespace": "ns", "name": "x", "uid": UID, "generation": generation,
                         "annotations": annotations},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": template(version, &placement),
                "updateStrategy": strategy,
                "minReadySeconds": min_ready,
                "revisionHistoryLimit": history_limit,
            },
            "status": {"observedGeneration": observed.min(generation)},
        });
        (set, placement, version)
    }
}

prop_compose! {
    fn any_pod()(
        node in prop_oneof![9 => select(NODES.to_vec()).prop_map(Some), 1 => Just(None)],
        is_bound in prop::bool::weighted(0.8),
        age in 0..100_i64,
        is_terminating in prop::bool::weighted(0.2),
        phase in prop_oneof![6 => Just(Phase::Alive), 1 => Just(Phase::Failed), 1 => Just(Phase::Succeeded)],
        ready_age in prop::option::weighted(0.7, 0..20_i64),
        version in 0..4_u64,
        generation in prop::option::of(1..4_i64),
        is_selected in prop::bool::weighted(0.9),
        controller in select(vec![Some(UID), Some(UID), Some(UID), Some(UID), None, Some("other")]),
        trouble in prop::option::weighted(0.3, select(Trouble::ALL.to_vec())),
    ) -> (Pod, u64) {
        let mut labels = BTreeMap::from([("app".to_owned(), if is_selected { "x" } else { "y" }.to_owned())]);
        if let Some(generation) = generation {
            labels.insert(TEMPLATE_GENERATION_LABEL.to_owned(), generation.to_string());
        }
        let ago = |seconds: i64| start() - SignedDuration::from_secs(seconds);
        let pod = Pod {
            name: String::new(),
            node: node.map(str::to_owned),
            is_bound: is_bound && node.is_some(),
            created: ago(age),
            is_terminating,
            phase,
            is_ready: ready_age.is_some(),
            ready_changed: ready_age.map(ago),
            labels,
            controller: controller.map(str::to_owned),
            trouble,
            is_evicted: is_terminating && age % 2 == 0,
        };
        (pod, version)
    }
}

prop_compose! {
    fn any_revision()(
        version in 0..4_u64,
        number in 1..6_i64,
        hash in select(vec![None, Some("dup"), Some("")]),
        controller in select(vec![Some(UID), Some(UID), Some(UID), None, Some("other")]),
        is_selected in prop::bool::weighted(0.9),
    ) -> (u64, i64, Option<&'static str>, Option<&'static str>, bool) {
        (version, number, hash, controller, is_selected)
    }
}

/// Any world at [`start`].
pub(crate) fn any_world() -> impl Strategy<Value = World> {
    let nodes: Vec<_> =
        NODES.iter().map(|name| prop::option::weighted(0.7, any_node(name)).boxed()).collect();
    let failure = (0..5_i64, select(vec![1_i64, 4, 900])).prop_map(|(ago, delay)| Failure {
        at: start() - SignedDuration::from_secs(ago),
        delay: SignedDuration::from_secs(delay),
        evicted: BTreeSet::new(),
        counted: BTreeSet::new(),
    });
    let failures = prop::collection::btree_map(select(NODES.to_vec()), failure, 0..3);
    let pods = prop::collection::vec(any_pod(), 0..9);
    let revisions = prop::collection::vec(any_revision(), 0..5);
    (any_set(), nodes, pods, revisions, (failures, 0..4_i64)).prop_map(
        |((set, placement, _), nodes, pods, revisions, (failures, observed_generation))| {
            let set = Set::read(&set).expect("a set");
            let name = |node: &core::Node| node.metadata.name.clone().expect("a name");
            World {
                nodes: nodes.into_iter().flatten().map(|n| (name(&n), Arc::new(n))).collect(),
                pods: named_pods(pods, &placement),
                revisions: named_revisions(revisions, &placement),
                failures: Failures {
                    observed_generation,
                    by_node: failures.into_iter().map(|(n, f)| (n.to_owned(), f)).collect(),
                    refusal: None,
                },
                set,
            }
        },
    )
}

/// A world in the middle of a rollout, tidy enough that placement has nothing to do on most nodes: each node
/// has an old pod or a new one, ready or not, or one that is going.
pub(crate) fn any_rollout() -> impl Strategy<Value = World> {
    let nodes: Vec<_> = NODES
        .iter()
        .map(|name| {
            let calm = Just(node(name, Some("a"), &[]));
            let tainted = Just(node(name, Some("a"), &[("dedicated", "NoSchedule")]));
            prop_oneof![8 => calm, 1 => tainted].boxed()
        })
        .collect();
    let site = (
        0..2_u64,
        prop::option::weighted(0.8, 0..20_i64),
        prop::bool::weighted(0.1),
        any::<bool>(),
    );
    let sites = prop::collection::vec(site, NODES.len());
    (any_set(), nodes, sites).prop_map(|((mut set, _, _), nodes, sites)| {
        let placement = json!({});
        set["spec"]["template"] = template(1, &placement);
        let compat = Set::read(&set).expect("a set").compat;
        set["metadata"]["annotations"] = Value::Null;
        let set = Set { compat, ..Set::read(&set).expect("a set") };
        let mut pods = BTreeMap::new();
        for (at, (version, ready_age, is_terminating, is_doubled)) in sites.into_iter().enumerate()
        {
            let versions = if is_doubled && set.may_surge() { vec![0, 1] } else { vec![version] };
            for version in versions {
                let name = format!("p{at}-{version}");
                let ago = |seconds: i64| start() - SignedDuration::from_secs(seconds);
                // a pair is only at rest while the old one serves and the new one does not
                let ready_age = if is_doubled && set.may_surge() {
                    (version == 0).then_some(20)
                } else {
                    ready_age
                };
                let mut pod =
                    created(&set, &hash_of(version, &placement), NODES[at], &name, ago(50));
                pod.is_bound = true;
                pod.is_terminating = is_terminating;
                pod.is_ready = ready_age.is_some();
                pod.ready_changed = ready_age.map(ago);
                pods.insert(name, pod);
            }
        }
        let revisions = [(0, 1, None, Some(UID), true), (1, 2, None, Some(UID), true)];
        let name = |node: &core::Node| node.metadata.name.clone().expect("a name");
        World {
            nodes: nodes.into_iter().map(|n| (name(&n), Arc::new(n))).collect(),
            pods,
            revisions: named_revisions(revisions.to_vec(), &placement),
            failures: Failures::default(),
            set,
        }
    })
}

fn named_pods(pods: Vec<(Pod, u64)>, placement: &Value) -> BTreeMap<String, Pod> {
    let named = pods.into_iter().enumerate().map(|(at, (mut pod, version))| {
        pod.name = format!("p{at}");
        if version < 3 {
            pod.labels.insert(HASH_LABEL.to_owned(), hash_of(version, placement));
        }
        (pod.name.clone(), pod)
    });
    named.collect()
}

type Draft = (u64, i64, Option<&'static str>, Option<&'static str>, bool);

fn named_revisions(drafts: Vec<Draft>, placement: &Value) -> BTreeMap<String, Revision> {
    let named =
        drafts.into_iter().enumerate().map(|(at, (version, number, hash, owner, selected))| {
            let app = if selected { "x" } else { "y" };
            let mut labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
            match hash {
                None => labels.insert(HASH_LABEL.to_owned(), hash_of(version, placement)),
                Some("") => None,
                Some(hash) => labels.insert(HASH_LABEL.to_owned(), format!("{hash}{at}")),
            };
            let revision = Revision {
                name: format!("r{at}"),
                labels,
                controller: owner.map(str::to_owned),
                is_terminating: false,
                number,
                data: json::canonical(&shape::data(&template(version, placement))),
            };
            (revision.name.clone(), revision)
        });
    named.collect()
}

/// Carries a plan out as the API would, and lets the nodes and the garbage collector do their part: pods that
/// terminate are gone one step later, those of missing nodes at once, and the rest become ready.
pub(crate) fn carry_out(world: &mut World, plan: &Plan, now: Timestamp, serial: &mut usize) {
    let nodes = world.nodes.clone();
    world.pods.retain(|_, pod| {
        let is_lost = pod.is_bound && !nodes.contains_key(pod.node.as_deref().unwrap_or_default());
        !pod.is_terminating && !is_lost
    });
    for name in &plan.adopt {
        world.pods.entry(name.clone()).and_modify(|pod| pod.controller = Some(UID.to_owned()));
    }
    for name in &plan.release {
        world.pods.entry(name.clone()).and_modify(|pod| pod.controller = None);
    }
    for name in &plan.relabel {
        let relabel = |pod: &mut Pod| {
            pod.labels.insert(HASH_LABEL.to_owned(), plan.hash.clone());
        };
        world.pods.entry(name.clone()).and_modify(relabel);
    }
    for pod in world.pods.values_mut().filter(|pod| pod.phase == Phase::Alive && pod.node.is_some())
    {
        pod.is_bound = pod.is_bound || nodes.contains_key(pod.node.as_deref().unwrap_or_default());
        if pod.is_bound && !pod.is_ready {
            (pod.is_ready, pod.ready_changed) = (true, Some(now));
        }
    }
    for delete in &plan.delete {
        world.pods.entry(delete.pod.clone()).and_modify(|pod| pod.is_terminating = true);
    }
    for create in &plan.create {
        *serial += 1;
        let name = format!("new{serial}");
        let pod = created(&world.set, &plan.hash, &create.node, &name, now);
        world.pods.insert(name, pod);
    }
    for node in &plan.failed {
        world.failures.note(world.set.status.observed_generation, node, now);
    }
    for (node, pods) in &plan.evicted {
        world.failures.note_eviction(world.set.status.observed_generation, node, pods, now);
    }
    carry_out_revisions(world, plan);
    if let Some(status) = &plan.status {
        world.set.status = status.clone();
    }
}

/// The pod that the API would hold after a create: shaped by the engine, read back as the engine reads.
pub(crate) fn created(set: &Set, hash: &str, node: &str, name: &str, now: Timestamp) -> Pod {
    let mut object = shape::pod(set, hash, node);
    object["metadata"]["name"] = name.into();
    object["metadata"]["creationTimestamp"] = now.to_string().into();
    Pod::read(&serde_json::from_value(object).expect("a pod"))
}

fn carry_out_revisions(world: &mut World, plan: &Plan) {
    let steps = &plan.revisions;
    for name in &steps.adopt {
        world.revisions.entry(name.clone()).and_modify(|r| r.controller = Some(UID.to_owned()));
    }
    for name in &steps.release {
        world.revisions.entry(name.clone()).and_modify(|r| r.controller = None);
    }
    for name in &steps.label {
        let label = |r: &mut Revision| {
            r.labels.insert(HASH_LABEL.to_owned(), r.name.clone());
        };
        world.revisions.entry(name.clone()).and_modify(label);
    }
    if let Some(new) = &steps.create {
        let revision = Revision::read(&shape::revision(&world.set, new));
        assert!(world.revisions.insert(new.name.clone(), revision).is_none(), "the name is taken");
    }
    if let Some((name, number)) = &steps.renumber {
        world.revisions.entry(name.clone()).and_modify(|r| r.number = *number);
    }
    for name in steps.duplicates.iter().chain(&steps.trim) {
        assert!(world.revisions.remove(name).is_some(), "{name} is not there");
    }
}

/// The hash that the world's current template has.
pub(crate) fn current_hash(world: &World) -> String {
    History::of(&world.set, &world.revisions).hash
}
