//! Nodes that join, fall silent, and are lost.

use super::*;
use world::scenario::Deed;
use world::stage::on_stage;

async fn not_ready(api: &Api, name: &str) -> Value {
    let path = format!("{PODS}/{name}");
    let look = async |api: &Api| {
        let pod = api.get(&path).await.ok()?;
        (condition(&pod, "Ready")[0] == "False").then_some(pod)
    };
    api.until(120, look).await.expect("the pod is not ready any more")
}

#[test]
fn pods_of_a_node_that_fell_silent_are_told_once_and_run_on() {
    on_stage(3, async |cluster, api| {
        nodes_ready(api, 3).await;
        api.post(SETS, set("s", json!({}))).await.expect("a set");
        available(api, "s", 3).await;
        let pods = pods_of(api, "s").await;
        let here = pods.iter().find(|pod| pod["spec"]["nodeName"] == "node-1").expect("a pod");
        let name = here["metadata"]["name"].as_str().unwrap().to_owned();
        cluster.perform(Deed::PowerOff(1)).await.expect("off");
        let told = not_ready(api, &name).await;
        assert_eq!(told["status"]["phase"], "Running");
        assert_eq!(told["status"]["containerStatuses"], here["status"]["containerStatuses"]);
        assert!(told["metadata"]["deletionTimestamp"].is_null());
        let warnings = |events: Vec<[String; 3]>| -> Vec<[String; 3]> {
            events.into_iter().filter(|event| event[1] == "NodeNotReady").collect()
        };
        let event = ["Warning", "NodeNotReady", "Node is not ready"].map(str::to_owned);
        assert_eq!(warnings(api.events_of("default", &name).await), [event]);
        seconds(120).await;
        let later = api.get(&format!("{PODS}/{name}")).await.unwrap();
        assert_eq!(later["metadata"]["resourceVersion"], told["metadata"]["resourceVersion"]);
        let node = api.get("/api/v1/nodes/node-1").await.unwrap();
        let unknown = ["Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."];
        assert_eq!(condition(&node, "Ready"), unknown);
    })
    .unwrap();
}

#[test]
fn events_of_a_node_are_upstreams() {
    on_stage(2, async |cluster, api| {
        nodes_ready(api, 2).await;
        let of = async |reason: &str| -> Vec<[String; 3]> {
            let mut all = api.events_of("default", "node-1").await;
            all.retain(|event| event[1] == reason);
            all
        };
        let normal = |reason: &str, message: &str| ["Normal", reason, message].map(str::to_owned);
        let registered = "Node node-1 event: Registered Node node-1 in Controller";
        assert_eq!(of("RegisteredNode").await, [normal("RegisteredNode", registered)]);
        cluster.perform(Deed::PowerOff(1)).await.expect("off");
        seconds(70).await;
        let message = "Node node-1 status is now: NodeNotReady";
        assert_eq!(of("NodeNotReady").await, [normal("NodeNotReady", message)]);
        api.delete("/api/v1/nodes/node-1", "").await.expect("gone");
        seconds(10).await;
        let removing = "Node node-1 event: Removing Node node-1 from Controller";
        assert_eq!(of("RemovingNode").await, [normal("RemovingNode", removing)]);
    })
    .unwrap();
}

#[test]
fn nobody_here_plays_the_cloud() {
    const TAINT: &str = "node.cloudprovider.kubernetes.io/uninitialized";
    on_stage(2, async |cluster, api| {
        nodes_ready(api, 2).await;
        let taints = json!([{"key": TAINT, "value": "true", "effect": "NoSchedule"}]);
        let patch = json!({"spec": {"taints": taints}});
        api.merge("/api/v1/nodes/node-1", patch).await.expect("a taint");
        api.post(SETS, set("s", json!({}))).await.expect("a set");
        let found = available(api, "s", 1).await;
        assert_eq!(found["status"]["desiredNumberScheduled"], 1, "the taint is not tolerated");
        cluster.perform(Deed::PowerOff(0)).await.expect("off");
        cluster.perform(Deed::PowerOff(1)).await.expect("off");
        seconds(1200).await;
        let nodes = api.list("/api/v1/nodes").await;
        assert_eq!(
            nodes.len(),
            2,
            "a machine that is gone keeps its Node until somebody deletes it"
        );
        let taints = nodes[1]["spec"]["taints"].as_array().unwrap();
        assert!(taints.iter().any(|taint| taint["key"] == TAINT), "{taints:?}");
    })
    .unwrap();
}
