//! Corners in which upstream has a rule of its own, each by what a client sees.

use crate::harness::{World, config_map, pod, request};
use http::Method;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "merge";

#[tokio::test(start_paused = true)]
async fn one_address_of_a_pod_and_the_list_of_all_are_kept_in_step() {
    let world = World::new().await;
    world.post(PODS, &pod("p", "n")).await.ok(201);
    let status = format!("{PODS}/p/status");
    let told = |body: &Value| (body["status"]["podIP"].clone(), body["status"]["podIPs"].clone());
    for (sent, one, all) in [
        (json!({"podIP": "1.2.3.4"}), "1.2.3.4", json!([{"ip": "1.2.3.4"}])),
        (json!({"podIP": "5.6.7.8"}), "5.6.7.8", json!([{"ip": "5.6.7.8"}])),
        (json!({"podIPs": null}), "5.6.7.8", json!([{"ip": "5.6.7.8"}])),
        (
            json!({"podIP": null, "podIPs": [{"ip": "9.9.9.9"}, {"ip": "fd00::1"}]}),
            "9.9.9.9",
            json!([{"ip": "9.9.9.9"}, {"ip": "fd00::1"}]),
        ),
    ] {
        let answer = world.patch(&status, MERGE, &json!({"status": sent})).await.ok(200);
        assert_eq!(told(&answer.body), (json!(one), all), "{sent}");
    }
    let refused = world.patch(&status, MERGE, &json!({"status": {"podIP": "x"}})).await.ok(422);
    assert!(
        refused.at("/message").contains("status.podIPs[0]: Invalid value: \"x\""),
        "{}",
        refused.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_keeps_its_class_and_of_which_generation_it_tells() {
    let world = World::new().await;
    world.post(PODS, &pod("p", "n")).await.ok(201);
    let status = format!("{PODS}/p/status");
    let ready = |value: &str| json!({"type": "Ready", "status": value});
    let mut seen = ready("True");
    seen["observedGeneration"] = 7.into();
    let first = json!({"status": {"observedGeneration": 3, "conditions": [seen]}});
    world.patch(&status, MERGE, &first).await.ok(200);
    let next = json!({"status": {"observedGeneration": null, "conditions": [ready("False")]}});
    let answer = world.patch(&status, MERGE, &next).await.ok(200);
    assert_eq!(answer.body["status"]["observedGeneration"], 3);
    assert_eq!(answer.body["status"]["conditions"][0]["observedGeneration"], 7);
    let class = json!({"status": {"qosClass": "Guaranteed"}});
    let refused = world.patch(&status, MERGE, &class).await.ok(422);
    assert!(
        refused
            .at("/message")
            .ends_with("status.qosClass: Invalid value: \"Guaranteed\": field is immutable"),
        "{}",
        refused.text
    );
}

#[tokio::test(start_paused = true)]
async fn rows_of_pods_that_are_over_say_so() {
    let world = World::new().await;
    world.post(PODS, &pod("p", "n")).await.ok(201);
    world.post(PODS, &pod("q", "n")).await.ok(201);
    let failed = json!({"status": {"phase": "Failed"}});
    world.patch(&format!("{PODS}/p/status"), MERGE, &failed).await.ok(200);
    let mut asked = request(Method::GET, PODS, "application/json", "");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    asked.headers_mut().insert(http::header::ACCEPT, table.parse().unwrap());
    let rows = world.send(asked).await.ok(200).body["rows"].clone();
    assert_eq!(
        rows[0]["conditions"],
        json!([{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}])
    );
    assert_eq!(rows[1].get("conditions"), None);
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_a_collection_takes_one_page_where_it_is_asked_for_one() {
    let world = World::new().await;
    for name in ["a0", "a1", "a2"] {
        world.post(MAPS, &config_map(name)).await.ok(201);
    }
    let before = world.get(MAPS).await.ok(200).body["metadata"]["resourceVersion"].clone();
    let page = world.delete(&format!("{MAPS}?limit=1")).await.ok(200);
    assert_eq!(
        (page.names(), &page.body["metadata"]["remainingItemCount"]),
        (vec!["a0"], &json!(2))
    );
    assert_eq!(world.get(MAPS).await.names(), ["a1", "a2"]);
    world.post(MAPS, &config_map("later")).await.ok(201);
    world.delete(&format!("{MAPS}?resourceVersion=x")).await.ok(400);
    world.delete(&format!("{MAPS}?continue=x")).await.ok(400);
    let at = format!("{MAPS}?resourceVersion={}", before.as_str().unwrap());
    assert_eq!(world.delete(&at).await.ok(200).names(), ["a0", "a1", "a2"], "as it was then");
    assert_eq!(world.get(MAPS).await.names(), ["later"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_word_is_a_word_where_upstream_tells_it_from_none() {
    let world = World::new().await;
    let dry = world.post(&format!("{MAPS}?dryRun="), &config_map("m")).await.ok(422);
    assert!(dry.at("/message").ends_with("Unsupported value: [\"\"]: supported values: \"All\""));
    let class = json!({"metadata": {"name": "c"}, "value": 1, "preemptionPolicy": ""});
    let refused = world.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.ok(422);
    assert!(
        refused.at("/message").contains("preemptionPolicy: Required value"),
        "{}",
        refused.text
    );
    let mut asks = pod("p", "");
    asks["spec"]["preemptionPolicy"] = "".into();
    let refused = world.post(PODS, &asks).await.ok(403);
    assert!(refused.at("/message").contains("value of PreemptionPolicy () must not be provided"));
    let driver = json!({"metadata": {"name": "d"}, "spec": {"fsGroupPolicy": ""}});
    world.post("/apis/storage.k8s.io/v1/csidrivers", &driver).await.ok(422);
    let policy = json!({"metadata": {"name": "n"}, "spec": {"podSelector": {}, "ingress": [{"ports": [{"protocol": ""}]}]}});
    let refused =
        world.post("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", &policy);
    let refused = refused.await.ok(422);
    assert!(
        refused
            .at("/message")
            .contains("spec.ingress[0].ports[0].protocol: Unsupported value: \"\"")
    );
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "b", "apiGroup": ""}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let made = world.post(bindings, &binding).await.ok(201);
    assert_eq!(made.body["subjects"][0].get("apiGroup"), None);
}

#[tokio::test(start_paused = true)]
async fn versions_and_preconditions_fail_in_the_words_of_upstreams_store() {
    let world = World::new().await;
    let large = world.get(&format!("{MAPS}?resourceVersion=18446744073709551616")).await.ok(400);
    assert!(large.at("/message").ends_with("value out of range"), "{}", large.text);
    world.post(PODS, &pod("p", "")).await.ok(201);
    let binding = json!({"metadata": {"name": "p", "resourceVersion": "1"}, "target": {"kind": "Node", "name": "n"}});
    let refused = world.post(&format!("{PODS}/p/binding"), &binding).await.ok(409);
    assert!(
        refused.at("/message").contains("Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: "),
        "{}",
        refused.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_patched_scale_is_still_that_of_its_workload() {
    let world = World::new().await;
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    world.post(sets, &set).await.ok(201);
    let scale = format!("{sets}/r/scale");
    let other = json!({"metadata": {"name": "other"}, "spec": {"replicas": 2}});
    let refused = world.patch(&scale, MERGE, &other).await.ok(400);
    assert_eq!(
        refused.at("/message"),
        "the name of the object (other) does not match the name on the URL (r)"
    );
    let other = json!({"metadata": {"uid": "zz"}, "spec": {"replicas": 2}});
    let refused = world.patch(&scale, MERGE, &other).await.ok(409);
    assert!(
        refused.at("/message").starts_with("Operation cannot be fulfilled on replicasets/scale.apps \"r\": Precondition failed: UID in precondition: zz, UID in object meta: "),
        "{}",
        refused.text
    );
    assert_eq!(world.get(&scale).await.body["spec"]["replicas"], 1);
}

#[tokio::test(start_paused = true)]
async fn containers_are_neither_renamed_nor_added_by_a_resize() {
    let world = World::new().await;
    world.post(PODS, &pod("p", "n")).await.ok(201);
    let resize = format!("{PODS}/p/resize");
    let json_patch = "json";
    let name = json!([{"op": "replace", "path": "/spec/containers/0/name", "value": "z"}]);
    let refused = world.patch(&resize, json_patch, &name).await.ok(422);
    assert!(
        refused.at("/message").ends_with("spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"),
        "{}",
        refused.text
    );
    let more =
        json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "z", "image": "i"}}]);
    let refused = world.patch(&resize, json_patch, &more).await.ok(422);
    assert!(
        refused.at("/message").ends_with(
            "spec.containers: Forbidden: containers may not be added or removed on resize"
        ),
        "{}",
        refused.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_allows_nothing_says_what_its_condition_says() {
    let world = World::new().await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let mut one = pod("p", "n");
    one["metadata"]["labels"] = json!({"a": "b"});
    world.post(PODS, &one).await.ok(201);
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    world.patch(&format!("{PODS}/p/status"), MERGE, &running).await.ok(200);
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    world.post(budgets, &budget).await.ok(201);
    for (reason, words) in [
        (
            "SyncFailed",
            "The disruption budget b does not allow evicting pods currently because it failed sync: why",
        ),
        ("Other", "The disruption budget b does not allow evicting pods currently (Other): why"),
    ] {
        let said = json!({"status": {"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
            "disruptionsAllowed": 0, "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": reason,
            "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        world.patch(&format!("{budgets}/b/status"), MERGE, &said).await.ok(200);
        let eviction = json!({"metadata": {"name": "p"}});
        let refused = world.post(&format!("{PODS}/p/eviction"), &eviction).await.ok(429);
        assert_eq!(refused.at("/details/causes/0/message"), words);
    }
}

#[tokio::test(start_paused = true)]
async fn configuration_of_nodes_by_the_api_is_dropped() {
    let world = World::new().await;
    let source = json!({"configMap": {"namespace": "a", "name": "b", "kubeletConfigKey": "c"}});
    let node = json!({"metadata": {"name": "n"}, "spec": {"configSource": source}});
    let made = world.post("/api/v1/nodes", &node).await.ok(201);
    assert_eq!(made.body["spec"].get("configSource"), None);
    assert_eq!(made.headers.get("Warning"), None);
    let config = json!({"status": {"config": {"error": "x"}}});
    let told = world.patch("/api/v1/nodes/n/status", MERGE, &config).await.ok(200);
    assert_eq!(told.body["status"].get("config"), None);
}

#[tokio::test(start_paused = true)]
async fn events_of_the_core_group_have_freer_names_and_say_no_empty_type() {
    let world = World::new().await;
    let event = json!({"metadata": {"name": "A_b"}, "type": "", "involvedObject": {"namespace": "default"}});
    let made = world.post("/api/v1/namespaces/default/events", &event).await.ok(201);
    assert_eq!(made.body.get("type"), None);
    let mut bad = event;
    bad["metadata"]["name"] = "a%b".into();
    world.post("/api/v1/namespaces/default/events", &bad).await.ok(422);
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_has_gos_bytes() {
    let world = World::new().await;
    let mut map = config_map("m");
    map["data"] = json!({"k": "a<b>&\u{2028}"});
    let made = world.post(MAPS, &map).await.ok(201);
    assert!(made.text.contains(r#""k":"a\u003cb\u003e\u0026\u2028""#), "{}", made.text);
    let listed = world.get(MAPS).await.ok(200);
    assert!(listed.text.contains(r"a\u003cb\u003e\u0026\u2028"), "{}", listed.text);
    assert_eq!(listed.body["items"][0]["data"], map["data"]);
}
