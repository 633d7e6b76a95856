//! What users write that cannot work: told as condition and event, with how many nodes and the first of them; others go
//! on as if it was not there.

use super::*;
use world::stage::on_stage;

/// What has to be told of a set that cannot work.
struct Told {
    condition: &'static str,
    reason: &'static str,
    /// What the message says, in this order.
    words: &'static [&'static str],
    /// The event about the refused pod, if there is one.
    refused: Option<&'static str>,
}

/// Makes a set that cannot work in `namespace`, then one that can: that one is served within seconds, and the API is not
/// asked again and again.
async fn beside_a_good_one(cluster: &world::cluster::Cluster, api: &Api, odd: Value, told: &Told) {
    nodes_ready(api, 3).await;
    api.post(SETS, odd).await.expect("a set");
    seconds(20).await;
    api.post(SETS, set("good", json!({}))).await.expect("a set");
    let path = format!("{SETS}/good");
    let served = async |api: &Api| {
        (api.get(&path).await.ok()?["status"]["numberAvailable"] == 3).then_some(())
    };
    api.until(10, served).await.expect("others are not slowed");
    seconds(60).await;
    let found = api.get(&format!("{SETS}/odd")).await.unwrap();
    let [_, reason, message] = condition(&found, told.condition);
    assert_eq!(reason, told.reason, "{found:#}");
    let mut rest = message.as_str();
    for word in told.words {
        let at = rest.find(word).unwrap_or_else(|| panic!("no {word:?} in {message:?}"));
        rest = &rest[at + word.len()..];
    }
    assert_eq!(found["status"]["observedGeneration"], 1);
    let events = api.events_of("default", "odd").await;
    let of = |reason: &str| events.iter().find(|event| event[1] == reason);
    let event = of(told.reason).unwrap_or_else(|| panic!("no event: {events:?}"));
    assert!(told.words[..2].iter().all(|word| event[2].contains(word)), "{event:?}");
    if let Some(words) = told.refused {
        let [kind, _, message] = of("FailedCreate").expect("the pod's own event");
        assert_eq!(kind, "Warning");
        // admission that judges, as against admission that fills in, sees the name that was made
        assert!(message.starts_with("Error creating: pods \"odd-"), "{message}");
        assert!(message.contains(" is forbidden: ") && message.contains(words), "{message}");
    }
    // 5 ms doubled until 80 s have passed are 14 tries, one pod each, and what quota lets through
    let tries = cluster.gate().said("engine POST /api/v1/namespaces/default/pods");
    assert!(tries <= 3 + 20, "{tries} tries");
}

fn eligible_nowhere() -> Told {
    let words = &["none of 3 nodes should run a pod", "node-0, node-1, node-2"];
    Told { condition: "Available", reason: "NoEligibleNode", words, refused: None }
}

#[test]
fn a_selector_that_nothing_matches_is_told() {
    on_stage(3, async |cluster, api| {
        let odd = set("odd", json!({"nodeSelector": {"nowhere": "yes"}}));
        beside_a_good_one(cluster, api, odd, &eligible_nowhere()).await;
    })
    .unwrap();
}

#[test]
fn an_affinity_that_nothing_matches_is_told() {
    on_stage(3, async |cluster, api| {
        let need = json!({"key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux"]});
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [need]}]});
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
        let odd = set("odd", json!({"affinity": {"nodeAffinity": required}}));
        beside_a_good_one(cluster, api, odd, &eligible_nowhere()).await;
    })
    .unwrap();
}

#[test]
fn a_priority_class_that_is_not_there_is_told() {
    on_stage(3, async |cluster, api| {
        let odd = set("odd", json!({"priorityClassName": "nobody"}));
        let words = "no PriorityClass with name nobody was found";
        let told = Told {
            condition: "Degraded",
            reason: "CreateRefused",
            words: &[
                "3 nodes: the API refuses to create the pod",
                "node-0, node-1, node-2",
                "nobody",
            ],
            refused: Some(words),
        };
        beside_a_good_one(cluster, api, odd, &told).await;
        let class = json!({"metadata": {"name": "nobody"}, "value": 7});
        api.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await.expect("a class");
        available(api, "odd", 3).await;
    })
    .unwrap();
}

#[test]
fn a_template_that_the_namespace_forbids_is_told() {
    on_stage(3, async |cluster, api| {
        let label =
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
        api.merge("/api/v1/namespaces/default", label).await.expect("a label");
        let odd = set("odd", json!({"hostNetwork": true}));
        let told = Told {
            condition: "Degraded",
            reason: "CreateRefused",
            words: &[
                "3 nodes: the API refuses to create the pod",
                "node-0, node-1, node-2",
                "PodSecurity",
            ],
            refused: Some("violates PodSecurity \"baseline:latest\""),
        };
        beside_a_good_one(cluster, api, odd, &told).await;
    })
    .unwrap();
}

#[test]
fn a_quota_that_is_used_up_is_told() {
    on_stage(3, async |cluster, api| {
        let spec = json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["scarce"]}]}});
        let quota = json!({"metadata": {"name": "q"}, "spec": spec});
        api.post("/api/v1/namespaces/default/resourcequotas", quota).await.expect("a quota");
        let class = json!({"metadata": {"name": "scarce"}, "value": 7});
        api.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await.expect("a class");
        seconds(15).await;
        let odd = set("odd", json!({"priorityClassName": "scarce"}));
        let told = Told {
            condition: "Degraded",
            reason: "CreateRefused",
            words: &[
                "2 nodes: the API refuses to create the pod",
                "node-1, node-2",
                "exceeded quota: q",
            ],
            refused: Some("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
        };
        beside_a_good_one(cluster, api, odd, &told).await;
    })
    .unwrap();
}
