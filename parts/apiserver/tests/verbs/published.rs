//! What a server says of itself, and what callers say of themselves.

use crate::harness::{World, config, config_map, request};
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(start_paused = true)]
async fn the_service_kubernetes_says_where_the_server_is() {
    let at = |address: &str| apiserver::Config { advertise: address.to_owned(), ..config() };
    let disk = store::Disk::new();
    let world = World::on(at("192.0.2.7:6443"), &disk);
    world.server.bootstrap().await.expect("bootstrap");
    world.server.publish().await.expect("published");
    let service = world.get("/api/v1/namespaces/default/services/kubernetes").await.ok(200);
    assert_eq!(service.at("/spec/clusterIP"), "10.96.0.1");
    assert_eq!(service.body["spec"]["ports"][0]["targetPort"], 6443);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    assert_eq!(world.get(slices).await.ok(200).at("/endpoints/0/addresses/0"), "192.0.2.7");
    let revision = world.server.records().revision();
    world.server.publish().await.expect("published");
    assert_eq!(world.server.records().revision(), revision, "nothing changed");
    let path = "/api/v1/namespaces/default/services/kubernetes";
    world.delete(path).await.ok(200);
    world.server.publish().await.expect("published");
    let again = world.get(path).await.ok(200);
    assert_eq!(again.at("/spec/clusterIP"), "10.96.0.1");
    assert_ne!(again.at("/metadata/uid"), service.at("/metadata/uid"));
    let moved = json!([{"op": "replace", "path": "/spec/ports/0/port", "value": 1}]);
    world.patch(path, "json", &moved).await.ok(200);
    world.server.publish().await.expect("published");
    assert_eq!(world.get(path).await.ok(200).body["spec"]["ports"][0]["port"], 443);
    let other = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 1}]}});
    world.post("/api/v1/namespaces/default/services", &other).await.ok(422);
    drop(world);

    let moved = World::on(at("192.0.2.8:6443"), &disk);
    moved.server.bootstrap().await.expect("bootstrap");
    moved.server.publish().await.expect("published");
    assert_eq!(moved.get(slices).await.ok(200).at("/endpoints/0/addresses/0"), "192.0.2.8");
    let endpoints = moved.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok(200);
    assert_eq!(endpoints.at("/subsets/0/addresses/0/ip"), "192.0.2.8");
    let told = endpoints.headers.get("warning").and_then(|value| value.to_str().ok());
    let want =
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(told, Some(want));
}

#[tokio::test(start_paused = true)]
async fn the_root_lists_the_paths_that_are_answered() {
    let world = World::new().await;
    let index = world.get("/").await.ok(200);
    let paths: Vec<&str> =
        index.body["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(paths.is_sorted());
    for path in &paths {
        let code = world.get(path).await.code;
        // who verifies tokens by themselves needs a key, which this server has not
        assert!(code == 200 || path.contains("openid"), "{path}: {code}");
    }
    assert!(paths.contains(&"/apis/storage.k8s.io/v1") && paths.contains(&"/readyz/store"));
    assert_eq!(world.get("/readyz/store").await.ok(200).text, "ok");
    assert_eq!(world.get("/readyz/etcd").await.ok(200).text, "ok");
    let hook = "/readyz/poststarthook/rbac/bootstrap-roles";
    assert_eq!(world.get(hook).await.ok(200).text, "ok");
    assert!(paths.contains(&hook));
    world.get("/readyz/nothing").await.ok(404);
    let text = world.get("/livez?verbose&exclude=store&exclude=etcd-1").await.ok(200).text;
    let want = "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]store excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"etcd-1\"\nlivez check passed\n";
    assert_eq!(text, want);
}

#[tokio::test(start_paused = true)]
async fn owners_that_cannot_be_read_are_not_taken_and_long_ones_are_refused() {
    let world = World::new().await;
    let sent = |entry: Value| {
        let mut map = config_map("m");
        map["metadata"]["managedFields"] = json!([entry]);
        map
    };
    let entry = |key: &str, value: &str| {
        let mut entry = json!({"manager": "a", "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}});
        entry[key] = value.into();
        entry
    };
    world.post(MAPS, &config_map("m")).await.ok(201);
    let at = format!("{MAPS}/m");
    let refused = world.put(&at, &sent(entry("manager", &"m".repeat(129)))).await.ok(422);
    let why = "Too long: may not be more than 128 bytes";
    let field = "metadata.managedFields[0].manager";
    let each = format!("{field}: {why}");
    assert_eq!(refused.at("/details/causes/0/field"), field);
    assert!(refused.at("/message").contains(&each), "{}", refused.text);
    let refused = world.put(&at, &sent(entry("subresource", &"s".repeat(257)))).await.ok(422);
    assert_eq!(refused.at("/details/causes/0/field"), "metadata.managedFields[0].subresource");
    for (key, value) in [("apiVersion", ""), ("fieldsType", "FieldsV2"), ("operation", "Take")] {
        let kept = world.put(&at, &sent(entry(key, value))).await.ok(200);
        assert_eq!(kept.at("/metadata/managedFields/0/manager"), "test", "{key} cannot be read");
    }
    let taken = world.put(&at, &sent(entry("manager", "b"))).await.ok(200);
    assert_eq!(taken.at("/metadata/managedFields/0/manager"), "b");
}

#[tokio::test(start_paused = true)]
async fn who_would_rather_have_protobuf_gets_json_that_says_so() {
    let world = World::new().await;
    world.post(MAPS, &config_map("m")).await.ok(201);
    for accept in [
        "application/vnd.kubernetes.protobuf,application/json",
        "application/vnd.kubernetes.protobuf, */*",
    ] {
        for path in [MAPS.to_owned(), format!("{MAPS}/m"), format!("{MAPS}/nothing")] {
            let mut asked = request(Method::GET, &path, "", "");
            asked.headers_mut().insert("accept", accept.parse().expect("a header"));
            let answer = world.send(asked).await;
            assert_eq!(answer.headers["content-type"], "application/json", "{path}");
            assert_eq!(answer.body["apiVersion"], "v1", "{path}");
        }
        let path = format!("{MAPS}?watch=1&resourceVersion=0");
        let mut watching = world.watch_as(&path, accept).await;
        assert_eq!(watching.told().await, ("ADDED".to_owned(), "m".to_owned()));
    }
}
