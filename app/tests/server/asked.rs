//! `pernode explain` and `pernode plan` against a real server with pretend nodes.

use crate::harness::{
    Place, Running, administrator, eventually, get, kubectl, patch, pernode, post,
};
use http::StatusCode;
use kube::Client;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

/// Pretend nodes; killed at the end of the test.
pub(crate) struct Hollow(Child);

impl Drop for Hollow {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

async fn read(client: &Client, path: &str) -> Value {
    let (status, text) = get(client, path).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn daemons(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// A server with three pretend nodes; the last one is tainted.
pub(crate) async fn cluster(place: &Place) -> (Running, Hollow, Client) {
    let server = place.start_whole(0);
    let root = administrator(place).await;
    let hollow = pernode()
        .args(["hollow", "--nodes", "3", "--kubeconfig"])
        .arg(place.file("admin.kubeconfig"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hollow = Hollow(hollow);
    eventually("three nodes are ready", async || {
        let nodes = read(&root, "/api/v1/nodes").await;
        let is_ready = |node: &&Value| {
            node["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        nodes["items"].as_array().unwrap().iter().filter(is_ready).count() == 3
    })
    .await;
    (server, hollow, root)
}

async fn node_names(root: &Client) -> Vec<String> {
    let nodes = read(root, "/api/v1/nodes").await;
    let items = nodes["items"].as_array().unwrap();
    items.iter().map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Asks the binary; its exit code and what it said.
fn ask(place: &Place, words: &[&str]) -> (i32, String, String) {
    let mut command = pernode();
    command.args(words).arg("--kubeconfig").arg(place.file("admin.kubeconfig"));
    said(command.output().unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn write(place: &Place, name: &str, object: &Value) -> String {
    let path = place.data().join(name);
    std::fs::write(&path, object.to_string()).unwrap();
    path.display().to_string()
}

async fn available(root: &Client, wanted: i64) {
    eventually("pods are available", async || {
        let set = read(root, &format!("{SETS}/agent")).await;
        let status = &set["status"];
        status["observedGeneration"] == set["metadata"]["generation"]
            && status["numberAvailable"] == wanted
            && status["updatedNumberScheduled"] == wanted
    })
    .await;
}

#[tokio::test]
async fn explain_and_plan_tell_what_then_happens() {
    let place = Place::new();
    let (_server, _hollow, root) = cluster(&place).await;
    let names = node_names(&root).await;
    let tainted = &names[2];
    let taints = json!({"spec": {"taints": [{"key": "dedicated", "effect": "NoSchedule"}]}});
    patch(&root, &format!("/api/v1/nodes/{tainted}"), &taints).await;

    let file = write(&place, "one.json", &daemons("one:1"));
    let (code, text, complaints) = ask(&place, &["plan", "-f", &file]);
    assert_eq!(code, 2, "{text}{complaints}");
    assert!(text.contains("a new DaemonSet") && text.contains("GAIN A POD\n      2"), "{text}");
    assert_eq!(
        get(&root, &format!("{SETS}/agent")).await.0,
        StatusCode::NOT_FOUND,
        "a plan changed something"
    );
    assert_eq!(post(&root, SETS, &daemons("one:1")).await.0, StatusCode::CREATED);
    available(&root, 2).await;

    let (code, text, complaints) = ask(&place, &["explain", "ds/agent", "-o", "json"]);
    assert_eq!(code, 0, "{complaints}");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["nodes"], json!({"all": 3, "have": 2, "get": 0, "doNotGet": 1}), "{text}");
    assert_eq!(found["engine"]["isPernode"], true, "{text}");
    let (_, text, _) = ask(&place, &["explain", "daemonset", "agent", "--node", tainted]);
    assert!(
        text.contains("does not get it") && text.contains("missing: {key: dedicated"),
        "{text}"
    );

    // the same again changes nothing; another image replaces two pods, and then it does
    let (code, text, _) = ask(&place, &["plan", "-f", &file]);
    assert_eq!(code, 0, "{text}");
    let (code, text, _) = ask(&place, &["plan", "ds/agent", "--image", "c=two:2", "-o", "json"]);
    let forecast: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &forecast["steps"]), (2, &json!(2)), "{text}");
    let image = json!({"spec": {"template": daemons("two:2")["spec"]["template"]}});
    patch(&root, &format!("{SETS}/agent"), &image).await;
    available(&root, 2).await;
    let (code, text, _) = ask(&place, &["plan", "ds/agent", "--image", "c=one:1"]);
    assert!(code == 2 && text.contains("that of revision 1"), "{text}");

    refusals(&place);
    plugin(&place);
}

/// What the API refuses is said in its words, and answers 1; so do bad flags and what is not there.
fn refusals(place: &Place) {
    let mut moved = daemons("one:1");
    moved["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    moved["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let file = write(place, "moved.json", &moved);
    let (code, _, complaints) = ask(place, &["plan", "-f", &file]);
    assert_eq!(code, 1, "{complaints}");
    assert!(complaints.contains("field is immutable"), "{complaints}");
    for words in [
        &["plan"][..],
        &["plan", "ds/agent", "--image", "nobody=x"],
        &["plan", "-f", "/nowhere"],
        &["explain", "deploy/agent"],
        &["explain", "ds/nobody"],
        &["explain", "ds/agent", "--node", "nobody"],
    ] {
        let (code, text, complaints) = ask(place, words);
        assert_eq!(code, 1, "{words:?} {text}");
        assert!(!complaints.is_empty(), "{words:?}");
    }
}

/// kubectl finds the binary under the name of its plugin.
fn plugin(place: &Place) {
    let folder = place.data().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(pernode().get_program(), folder.join("kubectl-pernode")).unwrap();
    let path = format!("{}:{}", folder.display(), path_variable());
    let config = place.file("admin.kubeconfig");
    let direct = kubectl(&config, &["get", "ds", "agent", "-o", "name"]);
    assert!(direct.contains("agent"));
    let output = Command::new("kubectl")
        .args(["pernode", "explain", "ds/agent"])
        .env("PATH", path)
        .env("KUBECONFIG", &config)
        .env("HOME", Path::new(&folder))
        .output()
        .unwrap();
    let (code, text, complaints) = said(output);
    assert!(code == 0 && text.contains("HAS IT: 2"), "{text}{complaints}");
}

fn path_variable() -> String {
    // inherited by the child as it is; the test only puts a folder before it
    std::env::vars().find(|(name, _)| name == "PATH").map(|(_, value)| value).unwrap_or_default()
}
