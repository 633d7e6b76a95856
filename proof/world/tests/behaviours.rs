//! What clients see of scheduler, caretaker and engine together, step by step, on a cluster without trouble.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a walk ends where something is not as it should be"
)]

#[path = "behaviours/bad_input.rs"]
mod bad_input;
#[path = "behaviours/nodes.rs"]
mod nodes;
#[path = "behaviours/owners.rs"]
mod owners;
#[path = "behaviours/scheduling.rs"]
mod scheduling;
#[path = "behaviours/switches.rs"]
mod switches;

use serde_json::{Value, json};
use std::time::Duration;
use world::stage::{Api, condition};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const REPLICAS: &str = "/apis/apps/v1/namespaces/default/replicasets";

async fn seconds(number: u64) {
    tokio::time::sleep(Duration::from_secs(number)).await;
}

/// `all` with the members of `more` put in.
fn with(mut all: Value, more: Value) -> Value {
    let members = all.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    all
}

fn pod_spec(more: Value) -> Value {
    let containers = json!([{"name": "c", "image": "agent:1"}]);
    with(json!({"containers": containers, "terminationGracePeriodSeconds": 1}), more)
}

fn pod(name: &str, more: Value) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": pod_spec(more)})
}

/// Limits and requests of one resource, alike.
fn taking(resource: &str, amount: &str) -> Value {
    let amounts = json!({resource: amount});
    let resources = json!({"requests": amounts, "limits": amounts});
    json!({"containers": [{"name": "c", "image": "agent:1", "resources": resources}]})
}

fn set(name: &str, more: Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": pod_spec(more)});
    json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}}, "template": template}})
}

fn replicas(name: &str, number: u32, more: Value) -> Value {
    with_replicas(set(name, more), number)
}

fn with_replicas(mut set: Value, number: u32) -> Value {
    set["spec"]["replicas"] = number.into();
    set
}

/// The live pods of an app.
async fn pods_of(api: &Api, app: &str) -> Vec<Value> {
    let mut all = api.list(&format!("{PODS}?labelSelector=app={app}")).await;
    all.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    all
}

/// Waits until a pod is ready; answers it.
async fn ready(api: &Api, name: &str) -> Value {
    let path = format!("{PODS}/{name}");
    let look = async |api: &Api| {
        let pod = api.get(&path).await.ok()?;
        (condition(&pod, "Ready")[0] == "True").then_some(pod)
    };
    let found = api.until(120, look).await;
    found.unwrap_or_else(|| panic!("{name} never became ready"))
}

/// Waits until a DaemonSet has so many available pods.
async fn available(api: &Api, name: &str, number: u64) -> Value {
    let path = format!("{SETS}/{name}");
    let look = async |api: &Api| {
        let set = api.get(&path).await.ok()?;
        (set["status"]["numberAvailable"].as_u64().unwrap_or(0) == number
            && set["status"]["observedGeneration"] == set["metadata"]["generation"])
            .then_some(set)
    };
    let found = api.until(120, look).await;
    found.unwrap_or_else(|| panic!("{name} never had {number} available pods"))
}

/// Waits for the nodes.
async fn nodes_ready(api: &Api, number: usize) {
    let look = async |api: &Api| {
        let nodes = api.list("/api/v1/nodes").await;
        let is_ready = |node: &&Value| {
            condition(node, "Ready")[0] == "True" && node["spec"]["taints"].is_null()
        };
        (nodes.iter().filter(is_ready).count() == number).then_some(())
    };
    api.until(60, look).await.expect("the nodes become ready");
}
