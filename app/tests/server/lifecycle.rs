//! What survives an end, asked for or not.

use crate::harness::{Place, administrator, get, post};
use http::StatusCode;
use serde_json::{Value, json};

async fn keep_something(place: &Place, name: &str) -> u64 {
    let root = administrator(place).await;
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": name}
    });
    let (status, answer) = post(&root, "/api/v1/namespaces/default/configmaps", &object).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    revision(&answer)
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_kind_of_end() {
    let place = Place::new();
    let mut last = 0;
    for (round, signal) in ["-TERM", "-KILL", "-INT"].into_iter().enumerate() {
        let server = place.start();
        let wrote = keep_something(&place, &format!("kept-{round}")).await;
        assert!(wrote > last, "revisions never go back: {wrote} after {last}");
        last = wrote;
        let status = server.end(signal);
        assert_eq!(status.success(), signal != "-KILL", "{signal}: {status}");
    }
    let _server = place.start();
    let root = administrator(&place).await;
    let (status, text) = get(&root, "/api/v1/namespaces/default/configmaps").await;
    assert_eq!(status, StatusCode::OK);
    let list: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["kept-0", "kept-1", "kept-2"]);
    assert!(revision(&list) >= last);
}

#[tokio::test]
async fn a_restart_keeps_certificates_and_join_token() {
    let place = Place::new();
    let read = |name: &str| std::fs::read_to_string(place.file(name)).unwrap();
    let first = place.start();
    let files = ["join-token", "pki/ca.crt", "pki/apiserver.crt", "pki/admin.crt"];
    let before: Vec<String> = files.iter().map(|name| read(name)).collect();
    first.end("-TERM");
    let _second = place.start();
    let after: Vec<String> = files.iter().map(|name| read(name)).collect();
    assert_eq!(before, after);
}
