//! The API as a client sees it, in process: writes, reads, watches, deletes.

#[path = "verbs/corners.rs"]
mod corners;
#[path = "verbs/custom.rs"]
mod custom;
#[path = "verbs/harness.rs"]
mod harness;
#[path = "verbs/published.rs"]
mod published;
#[path = "verbs/refusals.rs"]
mod refusals;

use apiserver::identity::Identity;
use axum::body::Body;
use harness::{Answer, World, config, config_map, daemon_set, pod, request};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const CONFIGS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DAEMONS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

fn revision(answer: &Answer) -> u64 {
    answer.at("/metadata/resourceVersion").parse().expect("a revision")
}

#[tokio::test(start_paused = true)]
async fn what_was_created_is_answered_byte_for_byte() {
    let world = World::new().await;
    let created = world.post(CONFIGS, &config_map("a")).await.ok(201);
    let got = world.get(&format!("{CONFIGS}/a")).await.ok(200);
    assert_eq!(created.text, got.text);
    assert!(
        got.text.starts_with(
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":""#
        )
    );
    let list = world.get(CONFIGS).await.ok(200);
    assert_eq!((list.at("/kind"), list.names()), ("ConfigMapList", vec!["a"]));
    assert_eq!(list.body["items"][0].get("kind"), None, "items carry no kind");
    assert_eq!(list.body["items"][0]["data"], json!({"a": "1"}));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    let again = world.post(CONFIGS, &config_map("a")).await.ok(409);
    assert_eq!(again.at("/message"), "configmaps \"a\" already exists");
    assert_eq!(again.at("/reason"), "AlreadyExists");
}

#[tokio::test(start_paused = true)]
async fn generated_names_differ_and_carry_the_prefix() {
    let world = World::new().await;
    let mut names = BTreeSet::new();
    for _ in 0..20 {
        let mut object = config_map("");
        object["metadata"] = json!({"generateName": "gen-"});
        let created = world.post(CONFIGS, &object).await.ok(201);
        assert!(created.at("/metadata/name").starts_with("gen-"));
        names.insert(created.at("/metadata/name").to_owned());
    }
    assert_eq!(names.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn two_servers_of_one_seed_give_out_the_same_names_and_uids() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let world = World::new().await;
        let object = json!({"metadata": {"generateName": "x-"}});
        seen.push(world.post(CONFIGS, &object).await.ok(201).text);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_update_is_refused_and_an_update_of_nothing_keeps_the_revision() {
    let world = World::new().await;
    let path = format!("{CONFIGS}/a");
    let first = world.post(CONFIGS, &config_map("a")).await.ok(201);
    let mut object = config_map("a");
    object["data"]["b"] = "2".into();
    let second = world.put(&path, &object).await.ok(200);
    assert!(revision(&second) > revision(&first));
    object["metadata"]["resourceVersion"] = first.at("/metadata/resourceVersion").into();
    object["data"]["b"] = "3".into();
    let stale = world.put(&path, &object).await.ok(409);
    assert_eq!(
        stale.at("/message"),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let same = world.put(&path, &second.body).await.ok(200);
    assert_eq!(revision(&same), revision(&second));
}

#[tokio::test(start_paused = true)]
async fn patches_change_what_they_name() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    let path = format!("{CONFIGS}/a");
    let merged = world.patch(&path, "merge", &json!({"data": {"a": null, "b": "2"}})).await.ok(200);
    assert_eq!(merged.body["data"], json!({"b": "2"}));
    let patch = json!([{"op": "test", "path": "/data/b", "value": "2"}, {"op": "add", "path": "/data/c", "value": "3"}]);
    let patched = world.patch(&path, "json", &patch).await.ok(200);
    assert_eq!(patched.body["data"], json!({"b": "2", "c": "3"}));
    let failed = json!([{"op": "test", "path": "/data/b", "value": "9"}]);
    world.patch(&path, "json", &failed).await.ok(422);
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"d": "4"}});
    world.patch(&path, "merge", &stale).await.ok(409);
    world.patch(&path, "unknown", &json!({})).await.ok(415);
    let unchanged = world.get(&path).await.ok(200);
    assert_eq!(unchanged.text, patched.text);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_be_and_stores_nothing() {
    let world = World::new().await;
    let before = world.get(CONFIGS).await.ok(200);
    let dry = world.post(&format!("{CONFIGS}?dryRun=All"), &config_map("a")).await.ok(201);
    assert_eq!(dry.body["metadata"].get("resourceVersion"), None);
    assert_eq!(world.get(CONFIGS).await.text, before.text);
    let real = world.post(CONFIGS, &config_map("a")).await.ok(201);
    let path = format!("{CONFIGS}/a?dryRun=All");
    let patched = world.patch(&path, "merge", &json!({"data": {"b": "2"}})).await.ok(200);
    assert_eq!(patched.body["data"]["b"], "2");
    world.delete(&path).await.ok(200);
    assert_eq!(world.get(&format!("{CONFIGS}/a")).await.text, real.text);
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_moment_while_others_write() {
    let world = World::new().await;
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        world.post(CONFIGS, &config_map(name)).await.ok(201);
    }
    let first = world.get(&format!("{CONFIGS}?limit=2")).await.ok(200);
    assert_eq!(
        (first.names(), first.body["metadata"]["remainingItemCount"].as_u64()),
        (vec!["c1", "c2"], Some(3))
    );
    world.post(CONFIGS, &config_map("c2a")).await.ok(201);
    world.delete(&format!("{CONFIGS}/c4")).await.ok(200);
    let token = first.at("/metadata/continue");
    let second = world.get(&format!("{CONFIGS}?limit=2&continue={token}")).await.ok(200);
    assert_eq!((second.names(), revision(&second)), (vec!["c3", "c4"], revision(&first)));
    let token = second.at("/metadata/continue");
    let third = world.get(&format!("{CONFIGS}?limit=2&continue={token}")).await.ok(200);
    assert_eq!((third.names(), third.at("/metadata/continue")), (vec!["c5"], ""));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_too_old_is_traded_for_one_of_now() {
    let world = World::new().await;
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        world.post(CONFIGS, &config_map(name)).await.ok(201);
    }
    let first = world.get(&format!("{CONFIGS}?limit=2")).await.ok(200);
    let other = "/api/v1/namespaces/default/secrets";
    let path = format!("{CONFIGS}?limit=1&continue={}", first.at("/metadata/continue"));
    // nobody writes to this collection, and still its past is forgotten
    for name in ["s1", "s2", "s3"] {
        world.get(&path).await.ok(200);
        tokio::time::sleep(Duration::from_secs(200)).await;
        world.post(other, &json!({"metadata": {"name": name}})).await.ok(201);
        tokio::time::sleep(Duration::from_secs(2)).await;
        if name == "s1" {
            world.get(&path).await.ok(200);
        }
    }
    let gone = world.get(&path).await.ok(410);
    assert_eq!(gone.at("/reason"), "Expired");
    assert!(gone.at("/message").starts_with(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without"
    ));
    let exact =
        format!("{CONFIGS}?resourceVersion={}&resourceVersionMatch=Exact", revision(&first));
    assert_eq!(
        world.get(&exact).await.ok(410).at("/message"),
        "The resourceVersion for the provided list is too old."
    );

    world.delete(&format!("{CONFIGS}/c3")).await.ok(200);
    let token = gone.at("/metadata/continue");
    let second = world.get(&format!("{CONFIGS}?limit=1&continue={token}")).await.ok(200);
    assert_eq!(second.names(), ["c4"], "it goes on where the first page ended, as things are now");
    assert!(revision(&second) > revision(&first));
    world.delete(&format!("{CONFIGS}/c5")).await.ok(200);
    let token = second.at("/metadata/continue");
    let third = world.get(&format!("{CONFIGS}?limit=1&continue={token}")).await.ok(200);
    assert_eq!((third.names(), revision(&third)), (vec!["c5"], revision(&second)));
}

#[tokio::test(start_paused = true)]
async fn the_proxy_of_pods_and_services_says_what_is_not_there() {
    let world = World::new().await;
    let refused = world.get(&format!("{PODS}/p/proxy")).await.ok(404);
    assert_eq!(refused.at("/message"), "pods \"p\" not found");
    world.post(PODS, &pod("p", "")).await.ok(201);
    let refused = world.get(&format!("{PODS}/http:p:80/proxy/x")).await.ok(400);
    assert_eq!(refused.at("/message"), "address not allowed");
    let refused = world.get(&format!("{PODS}/a:b:c:d/proxy/")).await.ok(400);
    assert_eq!(refused.at("/message"), "invalid pod request \"a:b:c:d\"");
    let address = json!({"status": {"podIP": "192.0.2.7", "podIPs": [{"ip": "192.0.2.7"}]}});
    world.patch(&format!("{PODS}/p/status"), "merge", &address).await.ok(200);
    let moved = world.get(&format!("{PODS}/p:81/proxy?a=b")).await.ok(301);
    assert_eq!(moved.headers["location"], format!("{PODS}/p:81/proxy/?a=b"));

    let services = "/api/v1/namespaces/default/services";
    let path = format!("{services}/s:80/proxy/");
    assert_eq!(world.get(&path).await.ok(404).at("/message"), "services \"s\" not found");
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    world.post(services, &service).await.ok(201);
    assert_eq!(world.get(&path).await.ok(404).at("/message"), "endpoints \"s\" not found");
    let endpoints = json!({"metadata": {"name": "s"}, "subsets": [
        // of no pod: nobody may be led anywhere by Endpoints
        {"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]},
    ]});
    world.post("/api/v1/namespaces/default/endpoints", &endpoints).await.ok(201);
    let refused = world.get(&path).await.ok(503);
    assert_eq!(refused.at("/message"), "no endpoints available for service \"s\"");
    assert_eq!(refused.at("/reason"), "ServiceUnavailable");
    let of_pod = json!({"subsets": [{
        "addresses": [{"ip": "192.0.2.7", "targetRef": {"kind": "Pod", "namespace": "default", "name": "p"}}],
        "ports": [{"port": 80}],
    }]});
    let path = "/api/v1/namespaces/default/endpoints/s";
    world.patch(path, "merge", &of_pod).await.ok(200);
    let moved = world.get(&format!("{services}/s/proxy")).await.ok(301);
    assert_eq!(moved.headers["location"], format!("{services}/s/proxy/"));
}

#[tokio::test(start_paused = true)]
async fn a_request_may_say_how_long_it_may_take() {
    let world = World::new().await;
    for path in [CONFIGS, "/version", "/apis/apps/v1"] {
        let refused = world.get(&format!("{path}?timeout=invalid")).await.ok(400);
        assert_eq!(
            refused.at("/message"),
            "invalid timeout specified in the request URL - time: invalid duration \"invalid\""
        );
        world.get(&format!("{path}?timeout=0s")).await.ok(200);
        world.get(&format!("{path}?timeout=3h")).await.ok(200);
    }
    let _watch = world.watch(&format!("{CONFIGS}?watch=1&timeout=invalid")).await;
    // a body that never ends
    let body =
        Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let asked = http::Request::builder()
        .method(Method::POST)
        .uri(format!("{CONFIGS}?timeout=5s"))
        .header("content-type", "application/json");
    let began = tokio::time::Instant::now();
    let late = world.send(asked.body(body).expect("a request")).await.ok(504);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(
        (late.at("/reason"), late.at("/message")),
        (
            "Timeout",
            "Timeout: request did not complete within requested timeout - context deadline exceeded"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_lists_revision_misses_and_repeats_nothing() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("before")).await.ok(201);
    let from = revision(&world.get(CONFIGS).await);
    let mut watch = world.watch(&format!("{CONFIGS}?watch=1&resourceVersion={from}")).await;
    let created = world.post(CONFIGS, &config_map("a")).await.ok(201);
    world.patch(&format!("{CONFIGS}/a"), "merge", &json!({"data": {"b": "2"}})).await.ok(200);
    world.delete(&format!("{CONFIGS}/a")).await.ok(200);
    let added = watch.next().await.expect("an event");
    assert_eq!((&added["type"], &added["object"]), (&json!("ADDED"), &created.body));
    assert_eq!(watch.told().await, ("MODIFIED".into(), "a".into()));
    let deleted = watch.next().await.expect("an event");
    assert_eq!(deleted["type"], "DELETED");
    let gone_at: u64 =
        deleted["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(gone_at, revision(&world.get(CONFIGS).await), "the deletion's own revision");
}

#[tokio::test(start_paused = true)]
async fn a_selector_makes_changes_look_like_births_and_deaths() {
    let world = World::new().await;
    let from = revision(&world.get(CONFIGS).await);
    let path = format!("{CONFIGS}?watch=1&resourceVersion={from}&labelSelector=w%3D1");
    let mut watch = world.watch(&path).await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    for value in ["1", "2"] {
        let patch = json!({"metadata": {"labels": {"w": value}}});
        world.patch(&format!("{CONFIGS}/a"), "merge", &patch).await.ok(200);
    }
    assert_eq!(watch.told().await, ("ADDED".into(), "a".into()));
    assert_eq!(watch.told().await, ("DELETED".into(), "a".into()));
}

#[tokio::test(start_paused = true)]
async fn an_agent_sees_its_own_pods_only() {
    let world = World::new().await;
    let mut watch = world.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    world.post(PODS, &pod("other", "n2")).await.ok(201);
    world.post(PODS, &pod("mine", "")).await.ok(201);
    let binding = json!({"metadata": {"name": "mine"}, "target": {"kind": "Node", "name": "n1"}});
    world.post(&format!("{PODS}/mine/binding"), &binding).await.ok(201);
    assert_eq!(watch.told().await, ("ADDED".into(), "mine".into()));
    let again = world.post(&format!("{PODS}/mine/binding"), &binding).await.ok(409);
    assert!(again.at("/message").ends_with("pod mine is already assigned to node \"n1\""));
    let bound = world.get(&format!("{PODS}/mine")).await.ok(200);
    assert_eq!(bound.body["status"]["conditions"][0]["type"], "PodScheduled");
}

#[tokio::test(start_paused = true)]
async fn initial_events_end_with_a_bookmark_and_idle_watches_get_one_a_minute() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    let path = format!(
        "{CONFIGS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = world.watch(&path).await;
    assert_eq!(watch.told().await, ("ADDED".into(), "a".into()));
    let end = watch.next().await.expect("an event");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    world
        .post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}}))
        .await
        .ok(201);
    let began = tokio::time::Instant::now();
    let bookmark = watch.next().await.expect("an event");
    assert_eq!((&bookmark["type"], began.elapsed()), (&json!("BOOKMARK"), Duration::from_secs(60)));
    let told: u64 =
        bookmark["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(told, world.server.records().revision(), "bookmarks move idle watches forward");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_and_at_shutdown() {
    let world = World::new().await;
    let began = tokio::time::Instant::now();
    let mut watch = world.watch(&format!("{CONFIGS}?watch=1&timeoutSeconds=7")).await;
    assert!(watch.next().await.is_none());
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    let mut watch = world.watch(&format!("{CONFIGS}?watch=1")).await;
    world.stop.cancel();
    assert!(watch.next().await.is_none());
    world.get("/readyz").await.ok(500);
    world.get("/livez").await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn history_that_is_gone_is_told_and_never_skipped() {
    let mut config = config();
    config.limits.events_max = 4;
    let world = World::with(config).await;
    let first = world.post(CONFIGS, &config_map("a")).await.ok(201);
    for value in 0..10 {
        let patch = json!({"data": {"n": value.to_string()}});
        world.patch(&format!("{CONFIGS}/a"), "merge", &patch).await.ok(200);
    }
    let path = format!("{CONFIGS}?watch=1&resourceVersion={}", revision(&first));
    let mut watch = world.watch(&path).await;
    let error = watch.next().await.expect("an event");
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(watch.next().await.is_none());
    let old = format!("{CONFIGS}?resourceVersion={}&resourceVersionMatch=Exact", revision(&first));
    assert_eq!(world.get(&old).await.ok(410).at("/reason"), "Expired");
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_the_future_times_out() {
    let world = World::new().await;
    let late = world.get(&format!("{CONFIGS}?resourceVersion=999999")).await.ok(504);
    assert!(
        late.at("/message").starts_with("Timeout: Too large resource version: 999999, current: ")
    );
    assert_eq!(late.headers["retry-after"], "1");
}

#[tokio::test(start_paused = true)]
async fn pods_die_gracefully_and_grace_only_shrinks() {
    let world = World::new().await;
    world.post(PODS, &pod("bound", "n1")).await.ok(201);
    let path = format!("{PODS}/bound");
    let grace = |answer: &Answer| answer.body["metadata"]["deletionGracePeriodSeconds"].as_i64();
    assert_eq!(grace(&world.delete(&path).await.ok(200)), Some(30));
    assert_eq!(
        grace(&world.delete(&format!("{path}?gracePeriodSeconds=5")).await.ok(200)),
        Some(5)
    );
    assert_eq!(
        grace(&world.delete(&format!("{path}?gracePeriodSeconds=50")).await.ok(200)),
        Some(5)
    );
    world.delete(&format!("{path}?gracePeriodSeconds=0")).await.ok(200);
    world.get(&path).await.ok(404);
    world.post(PODS, &pod("unbound", "")).await.ok(201);
    world.delete(&format!("{PODS}/unbound")).await.ok(200);
    world.get(&format!("{PODS}/unbound")).await.ok(404);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_spends_the_budget_of_the_pod_and_says_so_on_it() {
    let world = World::new().await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = |name: &str| {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "solo"}}}})
    };
    let evict = async |name: &str| {
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        world.post(&format!("{PODS}/{name}/eviction"), &eviction).await
    };
    for name in ["a", "b", "c"] {
        world.post(PODS, &pod(name, "n1")).await.ok(201);
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        world.patch(&format!("{PODS}/{name}/status"), "strategic-merge", &ready).await.ok(200);
    }
    world.post(budgets, &budget("one")).await.ok(201);
    let early = evict("a").await.ok(429);
    assert_eq!(early.headers["retry-after"], "10", "nobody has counted yet");
    assert_eq!(early.at("/details/causes/0/reason"), "DisruptionBudget");
    let counted = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2}});
    world.patch(&format!("{budgets}/one/status"), "merge", &counted).await.ok(200);
    evict("a").await.ok(201);
    let going = world.get(&format!("{PODS}/a")).await.ok(200);
    assert!(!going.at("/metadata/deletionTimestamp").is_empty());
    let conditions = going.body["status"]["conditions"].as_array().expect("conditions");
    let why = conditions.iter().find(|c| c["type"] == "DisruptionTarget").expect("it says why");
    assert_eq!((&why["status"], &why["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
    evict("a").await.ok(201);
    let spent = evict("b").await.ok(429);
    assert_eq!(
        spent.at("/message"),
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    world.post(budgets, &budget("two")).await.ok(201);
    evict("b").await.ok(500);
    world.delete(&format!("{budgets}/two")).await.ok(200);
    // a finished pod costs nothing
    let failed = json!({"status": {"phase": "Failed"}});
    world.patch(&format!("{PODS}/c/status"), "merge", &failed).await.ok(200);
    evict("c").await.ok(201);
    world.get(&format!("{PODS}/b")).await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_one_goes() {
    let world = World::new().await;
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["example.com/keep"]);
    world.post(CONFIGS, &object).await.ok(201);
    let path = format!("{CONFIGS}/a");
    let held = world.delete(&path).await.ok(200);
    assert!(!held.at("/metadata/deletionTimestamp").is_empty());
    world.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await.ok(200);
    world.get(&path).await.ok(404);
}

#[tokio::test(start_paused = true)]
async fn propagation_becomes_a_finalizer() {
    let world = World::new().await;
    world.post(DAEMONS, &daemon_set("a")).await.ok(201);
    let path = format!("{DAEMONS}/a");
    let held = world.delete(&format!("{path}?propagationPolicy=Foreground")).await.ok(200);
    assert_eq!(held.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let gone = world.delete(&format!("{path}?propagationPolicy=Background")).await.ok(200);
    assert_eq!((gone.at("/status"), gone.at("/details/kind")), ("Success", "daemonsets"));
    world.get(&path).await.ok(404);
}

#[tokio::test(start_paused = true)]
async fn preconditions_protect_a_namesake() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    let path = format!("{CONFIGS}/a");
    let body =
        json!({"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}}).to_string();
    let refused =
        world.send(request(Method::DELETE, &path, "application/json", &body)).await.ok(409);
    assert!(refused.at("/message").contains("does not match the UID in record"));
    world.get(&path).await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector_and_answers_what_was_there() {
    let world = World::new().await;
    for (name, label) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"d": label});
        world.post(CONFIGS, &object).await.ok(201);
    }
    let answer = world.delete(&format!("{CONFIGS}?labelSelector=d%3D1")).await.ok(200);
    assert_eq!(answer.names(), ["a", "b"]);
    assert_eq!(world.get(CONFIGS).await.names(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart() {
    let world = World::new().await;
    world.post(DAEMONS, &daemon_set("a")).await.ok(201);
    let patch = json!({"status": {"numberReady": 3}, "spec": {"minReadySeconds": 9}});
    let spec = world.patch(&format!("{DAEMONS}/a"), "merge", &patch).await.ok(200);
    assert_eq!(
        (&spec.body["spec"]["minReadySeconds"], &spec.body["status"]["numberReady"]),
        (&json!(9), &json!(0))
    );
    let patch = json!({"status": {"numberReady": 3}, "spec": {"minReadySeconds": 8}});
    let status = world.patch(&format!("{DAEMONS}/a/status"), "merge", &patch).await.ok(200);
    assert_eq!(
        (&status.body["spec"]["minReadySeconds"], &status.body["status"]["numberReady"]),
        (&json!(9), &json!(3))
    );
    assert_eq!(status.body["metadata"]["generation"], spec.body["metadata"]["generation"]);
}

#[tokio::test(start_paused = true)]
async fn kubectl_get_is_answered_as_a_table() {
    let world = World::new().await;
    world.post(DAEMONS, &daemon_set("agent")).await.ok(201);
    tokio::time::advance(Duration::from_secs(90)).await;
    let mut asked = request(Method::GET, &format!("{DAEMONS}?includeObject=None"), "", "");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    asked.headers_mut().insert("accept", accept.parse().expect("a header"));
    let table = world.send(asked).await.ok(200);
    let columns = table.body["columnDefinitions"].as_array().expect("columns");
    let shown: Vec<String> = columns
        .iter()
        .zip(table.body["rows"][0]["cells"].as_array().expect("cells"))
        .map(|(column, cell)| {
            format!("{}={cell} ({})", column["name"].as_str().unwrap(), column["priority"])
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_watched_table_names_its_columns_once() {
    let world = World::new().await;
    world.post(CONFIGS, &config_map("a")).await.ok(201);
    world.post(CONFIGS, &config_map("b")).await.ok(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = world.watch_as(&format!("{CONFIGS}?watch=1"), accept).await;
    let (first, second) = (watch.next().await.expect("a row"), watch.next().await.expect("a row"));
    assert!(first["object"]["columnDefinitions"].is_array());
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test(start_paused = true)]
async fn yaml_goes_in_and_comes_out() {
    let world = World::new().await;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yam}\ndata: {a: \"1\"}\n";
    let mut asked = request(Method::POST, CONFIGS, "application/yaml", text);
    asked.headers_mut().insert("accept", "application/yaml".parse().expect("a header"));
    let created = world.send(asked).await.ok(201);
    assert_eq!(created.headers["content-type"], "application/yaml");
    assert!(created.text.contains("kind: ConfigMap\n"), "{}", created.text);
}

#[tokio::test(start_paused = true)]
async fn bad_bodies_are_refused_and_nothing_is_stored() {
    let world = World::new().await;
    let before = world.server.records().revision();
    let send = |media: &'static str, body: String| {
        world.send(request(Method::POST, CONFIGS, media, &body))
    };
    send("text/plain", "{}".to_owned()).await.ok(415);
    send("application/json", "{".to_owned()).await.ok(400);
    send("application/json", json!({"kind": "Secret", "apiVersion": "v1"}).to_string())
        .await
        .ok(400);
    let big = json!({"metadata": {"name": "big"}, "data": {"a": "x".repeat(3_200_000)}});
    send("application/json", big.to_string()).await.ok(413);
    let unknown = json!({"metadata": {"name": "u"}, "datum": {}});
    let strict = world.post(&format!("{CONFIGS}?fieldValidation=Strict"), &unknown).await.ok(400);
    assert!(strict.at("/message").ends_with("strict decoding error: unknown field \"datum\""));
    assert_eq!(world.server.records().revision(), before);
    let warned = world.post(CONFIGS, &unknown).await.ok(201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"datum\\\"\"");
}

#[tokio::test(start_paused = true)]
async fn paths_that_lead_nowhere_say_so() {
    let world = World::new().await;
    let text = world.get("/nope").await.ok(404);
    assert_eq!(text.text, "404 page not found\n");
    let status = world.get("/api/v1/bananas").await.ok(404);
    assert_eq!(status.at("/message"), "the server could not find the requested resource");
    world.put(CONFIGS, &config_map("a")).await.ok(405);
    world.post("/api/v1/configmaps", &config_map("a")).await.ok(405);
    world.get("/apis/nope.example.com/v1/things").await.ok(404);
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_in_kubernetes_words() {
    let world = World::new().await;
    let stranger = world.server.as_user(Identity::new("eve", &[]));
    let refused = World::through(stranger, request(Method::GET, CONFIGS, "", "")).await.ok(403);
    assert_eq!(
        refused.at("/message"),
        "configmaps is forbidden: User \"eve\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let nobody = World::through(world.server.router(), request(Method::GET, "/readyz", "", ""))
        .await
        .ok(200);
    assert_eq!(nobody.text, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_crowded_server_says_when_to_come_again() {
    let mut config = config();
    config.in_flight_max = 0;
    let world = World::bare(config);
    let refused = world.get(CONFIGS).await.ok(429);
    assert_eq!(refused.headers["retry-after"], "1");
}

#[tokio::test(start_paused = true)]
async fn a_server_is_ready_once_its_first_objects_are_there() {
    let world = World::bare(config());
    world.get("/readyz").await.ok(500);
    world.server.bootstrap().await.expect("bootstrap");
    assert_eq!(world.get("/readyz").await.ok(200).text, "ok");
    assert!(world.get("/readyz?verbose").await.ok(200).text.ends_with("readyz check passed\n"));
    let names = world.get("/api/v1/namespaces").await.ok(200);
    assert_eq!(names.names(), ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let revision = world.server.records().revision();
    world.server.bootstrap().await.expect("bootstrap");
    assert_eq!(world.server.records().revision(), revision, "a second bootstrap writes nothing");
    let version = world.get("/version").await.ok(200);
    assert_eq!((version.at("/major"), version.at("/minor")), ("1", "36"));
    assert!(world.get("/metrics").await.ok(200).text.contains("apiserver_request_total{"));
}
