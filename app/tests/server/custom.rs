//! Custom resources in the hands of the caretaker: counted by quotas, collected with their owners, gone with their
//! namespace.

use crate::harness::{Place, administrator, delete, eventually, get, patch, post};
use http::StatusCode;
use kube::Client;
use serde_json::{Value, json};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/shop/widgets";
const QUOTA: &str = "/api/v1/namespaces/shop/resourcequotas/few";

fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}})
}

async fn read(client: &Client, path: &str) -> Value {
    let (status, text) = get(client, path).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn is_gone(client: &Client, path: &str) -> bool {
    get(client, path).await.0 == StatusCode::NOT_FOUND
}

async fn made(client: &Client, path: &str, body: &Value) -> Value {
    let (status, answer) = post(client, path, body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

/// A namespace, a kind, and a quota of two objects of it.
async fn set_up(client: &Client) {
    made(client, "/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    made(client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    eventually("widgets are served", async || get(client, WIDGETS).await.0 == StatusCode::OK).await;
    let quota =
        json!({"metadata": {"name": "few"}, "spec": {"hard": {"count/widgets.example.com": "2"}}});
    made(client, "/api/v1/namespaces/shop/resourcequotas", &quota).await;
}

async fn counted(client: &Client, count: &str) {
    eventually(&format!("{count} widgets are counted"), async || {
        read(client, QUOTA).await["status"]["used"]["count/widgets.example.com"] == count
    })
    .await;
}

#[tokio::test]
async fn custom_resources_are_counted_collected_and_go_with_their_namespace() {
    let place = Place::new();
    let _server = place.start_whole(0);
    let client = administrator(&place).await;
    set_up(&client).await;

    counted(&client, "0").await;
    let owner = made(&client, WIDGETS, &widget("a")).await;
    made(&client, WIDGETS, &widget("b")).await;
    counted(&client, "2").await;
    let (status, refused) = post(&client, WIDGETS, &widget("c")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let why = "widgets.example.com \"c\" is forbidden: exceeded quota: few, requested: \
        count/widgets.example.com=1, used: count/widgets.example.com=2, limited: \
        count/widgets.example.com=2";
    assert_eq!(refused["message"], why);
    assert!(delete(&client, &format!("{WIDGETS}/b")).await.is_success());
    counted(&client, "1").await;

    // one that is owned by another, and one that owns a thing of a built-in kind
    let reference = json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "a",
        "uid": owner["metadata"]["uid"]});
    let mut owned = widget("owned");
    owned["metadata"]["ownerReferences"] = json!([reference]);
    made(&client, WIDGETS, &owned).await;
    let map = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}});
    let maps = "/api/v1/namespaces/shop/configmaps";
    made(&client, maps, &map).await;
    assert!(delete(&client, &format!("{WIDGETS}/a")).await.is_success());
    eventually("what the widget owned is collected", async || {
        is_gone(&client, &format!("{WIDGETS}/owned")).await
            && is_gone(&client, &format!("{maps}/owned")).await
    })
    .await;
    counted(&client, "0").await;

    let mut held = widget("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    made(&client, WIDGETS, &held).await;
    made(&client, WIDGETS, &widget("free")).await;
    assert!(delete(&client, "/api/v1/namespaces/shop").await.is_success());
    eventually("the free widget goes with its namespace", async || {
        is_gone(&client, &format!("{WIDGETS}/free")).await
    })
    .await;
    eventually("the namespace says what it waits for", async || {
        let space = read(&client, "/api/v1/namespaces/shop").await;
        let all = space["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().any(|condition| {
            condition["type"] == "NamespaceContentRemaining"
                && condition["message"].as_str().is_some_and(|message| {
                    message.contains("widgets.example.com has 1 resource instances")
                })
        })
    })
    .await;
    patch(&client, &format!("{WIDGETS}/held"), &json!({"metadata": {"finalizers": null}})).await;
    eventually("the namespace is gone", async || is_gone(&client, "/api/v1/namespaces/shop").await)
        .await;
}
