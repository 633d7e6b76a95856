//! What is refused, each rule by its name.

use crate::harness::{World, daemon_set, pod, request};
use http::Method;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const ELSEWHERE: &str =
    "the namespace of the provided object does not match the namespace sent on the request";

#[tokio::test(start_paused = true)]
async fn evictions_and_bindings_name_the_namespace_they_are_sent_to() {
    let world = World::new().await;
    world.post(PODS, &pod("p", "")).await.ok(201);
    let meta = json!({"name": "p", "namespace": "other"});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta});
    let refused = world.post(&format!("{PODS}/p/eviction"), &eviction).await.ok(400);
    assert_eq!(refused.at("/message"), ELSEWHERE);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": {"kind": "Node", "name": "n"}});
    let refused = world.post(&format!("{PODS}/p/binding"), &binding).await.ok(400);
    assert_eq!(refused.at("/message"), ELSEWHERE);
    world.get(&format!("{PODS}/p")).await.ok(200);
}

#[tokio::test(start_paused = true)]
async fn documents_of_discovery_are_only_read() {
    let world = World::new().await;
    for path in ["/apis/apps/v1", "/apis/apps", "/api/v1", "/api", "/apis"] {
        for method in [Method::DELETE, Method::POST] {
            let refused = world.send(request(method, path, "application/json", "{}")).await;
            assert_eq!(refused.ok(405).at("/reason"), "MethodNotAllowed", "{path}");
        }
    }
    world.delete("/apis/nowhere.example.com/v1").await.ok(404);
}

#[tokio::test(start_paused = true)]
async fn health_and_the_root_do_not_ask_for_the_method_but_routes_do() {
    let world = World::new().await;
    let send = async |method: Method, path: &str| {
        world.send(request(method, path, "application/json", "{}")).await.code
    };
    for path in ["/healthz", "/livez/ping", "/", "/openapi/v3", "/metrics"] {
        assert_eq!(send(Method::POST, path).await, 200, "{path}");
    }
    for path in ["/version", "/api", "/apis/apps", "/openid/v1/jwks"] {
        assert_eq!(send(Method::HEAD, path).await, 405, "{path}");
    }
    assert_eq!(send(Method::POST, "/healthz/nope").await, 404);
}

#[tokio::test(start_paused = true)]
async fn a_patch_may_not_bring_a_version_that_is_no_number() {
    let world = World::new().await;
    world.post(PODS, &pod("p", "")).await.ok(201);
    let patch = json!({"metadata": {"resourceVersion": "x"}});
    let refused = world.patch(&format!("{PODS}/p"), "merge", &patch).await.ok(500);
    assert_eq!(refused.at("/message"), "strconv.ParseUint: parsing \"x\": invalid syntax");
    let patch = json!({"metadata": {"resourceVersion": "1"}});
    world.patch(&format!("{PODS}/p"), "merge", &patch).await.ok(409);
}

#[tokio::test(start_paused = true)]
async fn an_applied_amount_that_cannot_be_read_fails_the_conversion() {
    let world = World::new().await;
    let body = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "much"}}}]},
    });
    let path = format!("{PODS}/p?fieldManager=m");
    let apply = request(Method::PATCH, &path, "application/apply-patch+yaml", &body.to_string());
    let refused = world.send(apply).await.ok(500);
    assert_eq!(refused.at("/reason"), "");
    assert!(
        refused.at("/message").starts_with(
            "failed to convert new object (/p; /v1, Kind=Pod) to proper version: unable to convert unstructured object to /v1, Kind=Pod: quantities must match the regular expression"
        ),
        "{}",
        refused.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_directive_in_a_list_that_is_one_value_is_a_field_nobody_knows() {
    let world = World::new().await;
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    world.post(sets, &daemon_set("a")).await.ok(201);
    let tolerated = json!([{"$patch": "delete", "key": "x", "operator": "Exists"}]);
    let patch = json!({"spec": {"template": {"spec": {"tolerations": tolerated}}}});
    let at = format!("{sets}/a");
    let new = world.patch(&at, "strategic-merge", &patch).await.ok(200);
    let none = &new.body["spec"]["template"]["spec"]["tolerations"];
    assert_eq!(none, &Value::Null, "what is new is taken without what is to be deleted");
    let whole = json!({"spec": {"template": {"spec": {"tolerations": [{"key": "y", "operator": "Exists"}]}}}});
    world.patch(&at, "strategic-merge", &whole).await.ok(200);
    let patched = world.patch(&at, "strategic-merge", &patch).await.ok(200);
    let told = patched.headers.get("warning").and_then(|value| value.to_str().ok());
    let want = "299 - \"unknown field \\\"spec.template.spec.tolerations[0].$patch\\\"\"";
    assert_eq!(told, Some(want));
    assert_eq!(patched.at("/spec/template/spec/tolerations/0/key"), "x");
}
