//! Stories: a small cluster in YAML; what explain and plan say about it. Every file in `tests/stories` is told.

#[path = "../../../base/rollout/tests/laws/told.rs"]
mod told;

use cli::plan::Wanted;
use cli::world::Engine;
use cli::{Output, World, explain, explain_node, plan, print};
use fit::Occupied;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rollout::plan::history;
use rollout::words::HASH_LABEL;
use rollout::{Failures, Revision, Set, json as bytes, shape};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// A cluster. Images are `agent:current` and `agent:old`; a pod's `template` names one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Story {
    /// What it is about.
    story: String,
    /// `spec` of the DaemonSet, as far as it differs.
    #[serde(default)]
    spec: BTreeMap<String, Value>,
    /// The template's pod spec, as far as it differs.
    #[serde(default)]
    pod: BTreeMap<String, Value>,
    /// The manager of its status.
    manager: Option<String>,
    /// Nodes: labels, taints (`key:Effect`), cpu, cordoned, down.
    nodes: BTreeMap<String, NodeIn>,
    /// The DaemonSet's pods by name.
    #[serde(default)]
    pods: BTreeMap<String, PodIn>,
    /// Other pods by name.
    #[serde(default)]
    others: BTreeMap<String, OtherIn>,
    /// Nodes to explain in full.
    #[serde(default)]
    explain: Vec<String>,
    /// The image to plan for.
    plan: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct NodeIn {
    labels: BTreeMap<String, String>,
    taints: Vec<String>,
    cpu: Option<String>,
    cordoned: bool,
    down: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PodIn {
    node: String,
    #[serde(default = "current")]
    template: String,
    /// A reason for which its container waits, or `Unschedulable`.
    waits: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherIn {
    node: String,
    cpu: String,
    #[serde(default)]
    priority: i32,
    port: Option<i32>,
}

fn current() -> String {
    "current".to_owned()
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

impl Story {
    fn template(&self, image: &str) -> Value {
        let mut spec = json!({"containers": [{"name": "c", "image": format!("agent:{image}"), "resources": {"requests": {"cpu": "500m"}}}]});
        spec.as_object_mut().expect("an object").extend(self.pod.clone());
        json!({"metadata": {"labels": {"app": "x"}}, "spec": spec})
    }

    fn hash(&self, image: &str) -> String {
        history::hash(&bytes::canonical(&self.template(image)), None)
    }

    fn object(&self, image: &str) -> Value {
        let mut spec = json!({"selector": {"matchLabels": {"app": "x"}}, "template": self.template(image),
                              "updateStrategy": {"type": "RollingUpdate"}});
        spec.as_object_mut().expect("an object").extend(self.spec.clone());
        let manager = self.manager.as_deref().unwrap_or("pernode-daemonset");
        json!({
            "metadata": {"namespace": "ns", "name": "x", "uid": "u", "generation": 1, "managedFields": [
                {"manager": manager, "operation": "Update", "subresource": "status", "time": "2026-01-01T00:00:00Z"}]},
            "spec": spec,
            "status": {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True", "reason": "EnoughAvailable",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        })
    }

    fn pod(&self, name: &str, pod: &PodIn) -> Pod {
        let hash = self.hash(&pod.template);
        let set = Set::read(&self.object(&pod.template)).expect("a set");
        let mut object = shape::pod(&set, &hash, &pod.node);
        object["metadata"]["name"] = name.into();
        object["metadata"]["uid"] = name.into();
        object["metadata"]["creationTimestamp"] = "2025-12-31T00:00:00Z".into();
        object["metadata"]["labels"][HASH_LABEL] = hash.into();
        let ready = json!({"type": "Ready", "status": if pod.waits.is_none() { "True" } else { "False" },
                           "lastTransitionTime": "2025-12-31T00:00:01Z"});
        if pod.waits.as_deref() == Some("Unschedulable") {
            let unscheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient cpu."});
            object["status"] = json!({"phase": "Pending", "conditions": [unscheduled]});
        } else {
            object["spec"]["nodeName"] = pod.node.as_str().into();
            let state = pod.waits.as_ref().map_or_else(
                || json!({"running": {}}),
                |reason| json!({"waiting": {"reason": reason}}),
            );
            object["status"] = json!({"phase": "Running", "conditions": [ready], "containerStatuses": [{"name": "c",
                "image": "i", "imageID": "", "ready": pod.waits.is_none(), "restartCount": i32::from(pod.waits.is_some()), "state": state}]});
        }
        serde_json::from_value(object).expect("a pod")
    }

    fn world(&self) -> World {
        let object = self.object("current");
        let mut set = Set::read(&object).expect("a set");
        let engine = Engine::of(&object, &set);
        set.compat = engine.compat(&set);
        let nodes = self.nodes.iter().map(|(name, node)| (name.clone(), Arc::new(node.node(name))));
        let mine: BTreeMap<String, Arc<Pod>> = self
            .pods
            .iter()
            .map(|(name, pod)| (name.clone(), Arc::new(self.pod(name, pod))))
            .collect();
        let revisions = [("old", 1), ("current", 2)].map(|(image, number)| {
            let hash = self.hash(image);
            let labels =
                BTreeMap::from([("app".to_owned(), "x".to_owned()), (HASH_LABEL.to_owned(), hash)]);
            let data = bytes::canonical(&shape::data(&self.template(image)));
            Revision {
                name: format!("x-{image}"),
                labels,
                controller: Some("u".to_owned()),
                is_terminating: false,
                number,
                data,
            }
        });
        let mut occupants: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for (name, other) in &self.others {
            occupants.entry(other.node.clone()).or_default().push(Arc::new(other.pod(name)));
        }
        for node in &self.explain {
            occupants.entry(node.clone()).or_default();
        }
        let by = |pods: &Vec<Arc<Pod>>| Occupied::by(pods.iter().map(AsRef::as_ref));
        World {
            rollout: rollout::World {
                set,
                nodes: nodes.collect(),
                pods: mine
                    .values()
                    .map(|pod| rollout::Pod::read(pod))
                    .map(|pod| (pod.name.clone(), pod))
                    .collect(),
                revisions: revisions
                    .into_iter()
                    .map(|revision| (revision.name.clone(), revision))
                    .collect(),
                failures: Failures::default(),
            },
            engine,
            mine,
            occupied: Some(occupants.iter().map(|(node, pods)| (node.clone(), by(pods))).collect()),
            occupants,
            classes: None,
            budgets: Some(Vec::new()),
            gaps: Vec::new(),
        }
    }
}

impl NodeIn {
    fn node(&self, name: &str) -> k8s_openapi::api::core::v1::Node {
        let taints: Vec<Value> = self
            .taints
            .iter()
            .map(|text| {
                let (key, effect) = text.split_once(':').expect("key:Effect");
                json!({"key": key, "effect": effect})
            })
            .collect();
        let ready = if self.down { "Unknown" } else { "True" };
        let node = json!({
            "metadata": {"name": name, "labels": self.labels},
            "spec": {"taints": taints, "unschedulable": self.cordoned},
            "status": {"allocatable": {"cpu": self.cpu.as_deref().unwrap_or("4"), "pods": "110"},
                       "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2025-12-31T12:00:00Z"}]},
        });
        serde_json::from_value(node).expect("a node")
    }
}

impl OtherIn {
    fn pod(&self, name: &str) -> Pod {
        let ports: Vec<Value> = self
            .port
            .iter()
            .map(|port| json!({"containerPort": port, "hostPort": port, "protocol": "TCP"}))
            .collect();
        let pod = json!({
            "metadata": {"namespace": "other", "name": name, "uid": name},
            "spec": {"nodeName": self.node, "priority": self.priority, "containers": [
                {"name": "c", "ports": ports, "resources": {"requests": {"cpu": self.cpu}}}]},
            "status": {"phase": "Running"},
        });
        serde_json::from_value(pod).expect("a pod")
    }
}

fn tell(story: &Story) -> String {
    let world = story.world();
    let mut out = print::explanation(explain(&world, now()), Output::Wide).expect("text");
    for node in &story.explain {
        let found = explain_node(&world, node, now()).expect("the node");
        let _ = write!(
            out,
            "\n---- explain --node {node}\n{}",
            print::node(&found, Output::Short).expect("text")
        );
    }
    if let Some(image) = &story.plan {
        let live = (!story.pods.is_empty()).then(|| story.object("current"));
        let forecast =
            plan(&world, &Wanted { object: story.object(image), live }, now()).expect("a forecast");
        let exit = if forecast.has_changes { 2 } else { 0 };
        let text = print::forecasts(&[forecast], Output::Wide).expect("text");
        let _ = write!(out, "\n---- plan --image c=agent:{image} (exit code {exit})\n{text}");
    }
    for image in ["current", "old", "new"] {
        out = out.replace(&story.hash(image), &format!("<{image}>"));
    }
    out
}

#[test]
fn stories_are_told_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    told::all_are_told_as_they_were(&folder, 6, |story: &Story| &story.story, tell);
}
