//! Pods that find a node, wait for one, or make room for themselves.

use super::*;
use http::StatusCode;
use std::collections::BTreeSet;
use world::stage::on_stage;

const FAKE: &str = "example.com/fakecpu";

/// Says that a node has so many of something its machine knows nothing about.
async fn lend(api: &Api, node: &str, amount: Value) {
    let patch = json!({"status": {"capacity": {FAKE: amount}}});
    api.patch(&format!("/api/v1/nodes/{node}/status"), patch).await.expect("a capacity");
}

async fn class(api: &Api, name: &str, value: i32, policy: &str) {
    let class = json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
    api.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await.expect("a class");
}

async fn reason(api: &Api, name: &str) -> Option<String> {
    let pod = api.get(&format!("{PODS}/{name}")).await.ok()?;
    let [_, reason, _] = condition(&pod, "PodScheduled");
    (!reason.is_empty()).then_some(reason)
}

#[test]
fn gated_pods_wait_without_an_event_and_go_when_the_gates_are_gone() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        let gates = json!([{"name": "example.com/a"}, {"name": "example.com/b"}]);
        api.post(PODS, pod("p", json!({"schedulingGates": gates}))).await.expect("a pod");
        assert_eq!(
            api.until(10, async |api| reason(api, "p").await).await.unwrap(),
            "SchedulingGated"
        );
        seconds(20).await;
        let found = api.get(&format!("{PODS}/p")).await.unwrap();
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        assert_eq!(condition(&found, "PodScheduled"), ["False", "SchedulingGated", message]);
        assert!(found["spec"]["nodeName"].is_null());
        assert_eq!(api.events_of("default", "p").await, Vec::<[String; 3]>::new());
        let patch = json!({"spec": {"schedulingGates": null}});
        api.merge(&format!("{PODS}/p"), patch).await.expect("no gates");
        assert_eq!(ready(api, "p").await["spec"]["nodeName"], "node-0");
    })
    .unwrap();
}

#[test]
fn trouble_of_the_schedulers_own_is_told_as_such_and_tried_again() {
    on_stage(1, async |cluster, api| {
        nodes_ready(api, 1).await;
        cluster.gate().refuse("scheduler", "/binding", StatusCode::INTERNAL_SERVER_ERROR);
        api.post(PODS, pod("p", json!({}))).await.expect("a pod");
        let told = api.until(5, async |api| reason(api, "p").await).await;
        assert_eq!(told.as_deref(), Some("SchedulerError"));
        ready(api, "p").await;
        let events = api.events_of("default", "p").await;
        let of = |reason: &str| events.iter().find(|event| event[1] == reason).cloned();
        let [kind, _, message] = of("FailedScheduling").expect("an event");
        assert_eq!(kind, "Warning");
        assert!(message.contains("an error on the server"), "{message}");
        let [kind, _, message] = of("Scheduled").expect("an event");
        assert_eq!(
            (kind.as_str(), message.as_str()),
            ("Normal", "Successfully assigned default/p to node-0")
        );
    })
    .unwrap();
}

#[test]
fn a_pod_of_another_scheduler_is_left_to_it() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        api.post(PODS, pod("p", json!({"schedulerName": "another"}))).await.expect("a pod");
        seconds(330).await;
        let found = api.get(&format!("{PODS}/p")).await.unwrap();
        assert!(found["spec"]["nodeName"].is_null());
        assert_eq!(condition(&found, "PodScheduled"), ["", "", ""]);
        assert_eq!(api.events_of("default", "p").await, Vec::<[String; 3]>::new());
        let binding =
            json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node-0"}});
        api.post(&format!("{PODS}/p/binding"), binding).await.expect("a binding");
        ready(api, "p").await;
    })
    .unwrap();
}

#[test]
fn what_somebody_gives_a_node_can_be_asked_for_until_it_is_taken_away() {
    on_stage(2, async |_, api| {
        nodes_ready(api, 2).await;
        lend(api, "node-1", json!("3")).await;
        api.post(PODS, pod("p", taking(FAKE, "2"))).await.expect("a pod");
        assert_eq!(ready(api, "p").await["spec"]["nodeName"], "node-1");
        api.post(PODS, pod("q", taking(FAKE, "2"))).await.expect("a pod");
        assert_eq!(
            api.until(5, async |api| reason(api, "q").await).await.unwrap(),
            "Unschedulable"
        );
        let found = api.get(&format!("{PODS}/q")).await.unwrap();
        let [_, _, message] = condition(&found, "PodScheduled");
        assert!(
            message.starts_with("0/2 nodes are available: 2 Insufficient example.com/fakecpu. "),
            "{message}"
        );
        lend(api, "node-1", Value::Null).await;
        let gone = async |api: &Api| {
            let node = api.get("/api/v1/nodes/node-1").await.ok()?;
            node["status"]["allocatable"][FAKE].is_null().then_some(())
        };
        api.until(30, gone).await.expect("it is not allocatable any more");
    })
    .unwrap();
}

#[test]
fn a_preemptor_takes_as_few_and_as_lowly_as_it_can_and_their_sets_replace_them_once() {
    on_stage(2, async |_, api| {
        nodes_ready(api, 2).await;
        lend(api, "node-1", json!("1000")).await;
        for level in 1..=4 {
            class(api, &format!("level-{level}"), level, "PreemptLowerPriority").await;
        }
        let on_node = json!({"kubernetes.io/hostname": "node-1"});
        let spec = |level: u32, amount: &str| {
            let more =
                json!({"priorityClassName": format!("level-{level}"), "nodeSelector": on_node});
            with(taking(FAKE, amount), more)
        };
        for (level, amount) in [(1, "200"), (2, "300"), (3, "450")] {
            let name = format!("rs{level}");
            api.post(REPLICAS, replicas(&name, 1, spec(level, amount))).await.expect("a set");
        }
        let mut seen: [BTreeSet<String>; 3] = Default::default();
        let mut look = async |api: &Api| {
            for (level, seen) in (1..).zip(&mut seen) {
                let pods = api.list(&format!("{PODS}?labelSelector=app=rs{level}")).await;
                seen.extend(pods.iter().map(|pod| pod["metadata"]["uid"].to_string()));
            }
            seen.each_ref().map(BTreeSet::len)
        };
        for level in 1..=3 {
            let path = format!("{REPLICAS}/rs{level}");
            let is_up = async |api: &Api| {
                (api.get(&path).await.ok()?["status"]["availableReplicas"] == 1).then_some(())
            };
            api.until(60, is_up).await.expect("the set is available");
        }
        assert_eq!(look(api).await, [1, 1, 1]);
        api.post(PODS, pod("high", spec(4, "500"))).await.expect("a pod");
        let bound = async |api: &Api| {
            let pod = api.get(&format!("{PODS}/high")).await.ok()?;
            look(api).await;
            pod["spec"]["nodeName"].as_str().map(str::to_owned)
        };
        assert_eq!(api.until(60, bound).await.as_deref(), Some("node-1"));
        for _ in 0..40 {
            look(api).await;
            seconds(1).await;
        }
        assert_eq!(
            look(api).await,
            [2, 2, 1],
            "the third kept its pod, the others lost one each, once"
        );
        let events = api.list("/api/v1/namespaces/default/events").await;
        let preempted = events.iter().filter(|event| event["reason"] == "Preempted");
        let uid = api.get(&format!("{PODS}/high")).await.unwrap()["metadata"]["uid"].clone();
        let message = format!("Preempted by pod {} on node node-1", uid.as_str().unwrap());
        assert!(preempted.clone().all(|event| event["message"] == message.as_str()));
        assert_eq!(preempted.count(), 2);
        let waiting = pods_of(api, "rs1").await;
        assert!(waiting[0]["spec"]["nodeName"].is_null());
    })
    .unwrap();
}

#[test]
fn a_pod_that_never_preempts_waits_and_says_why() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        lend(api, "node-0", json!("2")).await;
        class(api, "polite", 100, "Never").await;
        api.post(PODS, pod("low", taking(FAKE, "2"))).await.expect("a pod");
        ready(api, "low").await;
        let polite = with(taking(FAKE, "2"), json!({"priorityClassName": "polite"}));
        api.post(PODS, pod("high", polite)).await.expect("a pod");
        seconds(60).await;
        let found = api.get(&format!("{PODS}/high")).await.unwrap();
        assert_eq!(
            condition(&found, "PodScheduled")[2],
            "0/1 nodes are available: 1 Insufficient example.com/fakecpu. no new claims to deallocate, \
             preemption: not eligible due to preemptionPolicy=Never."
        );
        assert!(found["status"]["nominatedNodeName"].is_null());
        ready(api, "low").await;
        api.delete(&format!("{PODS}/low"), "").await.expect("gone");
        ready(api, "high").await;
    })
    .unwrap();
}

#[test]
fn a_taint_keeps_a_pod_waiting_and_its_end_is_news() {
    on_stage(2, async |_, api| {
        nodes_ready(api, 2).await;
        let taints = json!([{"key": "example.com/t", "value": "v", "effect": "NoSchedule"}]);
        let patch = json!({"metadata": {"labels": {"here": "yes"}}, "spec": {"taints": taints}});
        api.merge("/api/v1/nodes/node-1", patch).await.expect("a taint");
        let selector = json!({"nodeSelector": {"here": "yes"}});
        api.post(PODS, pod("p", selector.clone())).await.expect("a pod");
        assert_eq!(
            api.until(5, async |api| reason(api, "p").await).await.unwrap(),
            "Unschedulable"
        );
        let tolerations = json!([{"key": "example.com/t", "value": "v", "effect": "NoSchedule"}]);
        let tolerant = with(selector, json!({"tolerations": tolerations}));
        api.post(PODS, pod("q", tolerant)).await.expect("a pod");
        ready(api, "q").await;
        assert!(api.get(&format!("{PODS}/p")).await.unwrap()["spec"]["nodeName"].is_null());
        let events = api.events_of("default", "p").await;
        assert!(
            events.iter().all(|event| event[..2] == ["Warning", "FailedScheduling"]),
            "{events:?}"
        );
        let patch = json!({"spec": {"taints": null}});
        api.merge("/api/v1/nodes/node-1", patch).await.expect("no taint");
        assert_eq!(ready(api, "p").await["spec"]["nodeName"], "node-1");
    })
    .unwrap();
}
