//! The engine as a controller of somebody else's cluster: a server whose own engine is off.

use crate::harness::{
    DEADLINE, Place, Running, administrator, eventually, get, patch, pernode, post,
};
use http::StatusCode;
use kube::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// Nodes of each test; the last one has a taint that daemons do not tolerate.
const NODES: usize = 4;

/// `pernode engine`; killed at the end of the test.
struct Engine {
    child: Child,
    metrics: String,
}

impl Engine {
    fn start(place: &Place) -> Self {
        let mut child = pernode()
            .args(["engine", "--listen", "127.0.0.1:0", "--leader-elect-lease-duration", "6s"])
            .args(["--leader-elect-renew-deadline", "4s", "--leader-elect-retry-period", "1s"])
            .arg("--kubeconfig")
            .arg(place.file("admin.kubeconfig"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut engine = Self { child, metrics: String::new() };
        let (say, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _heard = say.send(line);
            }
        });
        let line = heard.recv_timeout(DEADLINE).expect("the engine did not start");
        engine.metrics = line.rsplit(' ').next().unwrap().to_owned();
        engine
    }

    /// Whether it leads, by its own figures.
    async fn leads(&self) -> bool {
        let host = self.metrics.trim_start_matches("http://").trim_end_matches("/metrics");
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        let asked = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes()).await.unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        text.contains("pernode_engine_leader{name=\"pernode-daemonset\"} 1")
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn code(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("the engine ends", async || {
            code = self.child.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        })
        .await;
        code.flatten()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    let (status, text) = get(client, path).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// A server with these parts and nodes nobody runs.
async fn cluster(place: &Place, parts: &str) -> (Running, Client) {
    let server = place.start_parts(parts);
    let root = administrator(place).await;
    for n in 0..NODES {
        let name = format!("node-{n}");
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        assert_eq!(post(&root, "/api/v1/nodes", &node).await.0, StatusCode::CREATED);
        let taints = if n + 1 == NODES {
            json!([{"key": "dedicated", "effect": "NoSchedule"}])
        } else {
            Value::Null
        };
        patch(&root, &format!("/api/v1/nodes/{name}"), &json!({"spec": {"taints": taints}})).await;
    }
    (server, root)
}

fn daemons(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}},
        // nobody runs these nodes, so no new pod gets well: with less, each next one waits for longer (row B92)
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"containers": [{"name": "c", "image": image, "command": ["sh", "-c", "a <b> && c"]}]}}}})
}

/// What the engine made of it, without what differs from run to run.
async fn outcome(root: &Client) -> Value {
    let mut pods = BTreeMap::new();
    for mut pod in items(root, "/api/v1/namespaces/default/pods").await {
        let terms = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"];
        let node = terms[0]["matchFields"][0]["values"][0].take();
        let meta = pod["metadata"].take();
        let name = meta["generateName"].clone();
        for volume in pod["spec"]["volumes"].as_array_mut().into_iter().flatten() {
            volume["name"] = Value::Null;
        }
        for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
            container["volumeMounts"] = Value::Null;
        }
        let seen = json!({"labels": meta["labels"], "name": name, "spec": pod["spec"]});
        assert_eq!(pods.insert(node.to_string(), seen), None, "two pods for {node}");
    }
    let revisions = items(root, "/apis/apps/v1/namespaces/default/controllerrevisions").await;
    let mut revisions: Vec<Value> = revisions
        .iter()
        .map(|one| json!({"name": one["metadata"]["name"], "data": one["data"], "revision": one["revision"]}))
        .collect();
    revisions.sort_by_key(|one| one["revision"].as_i64());
    let sets = items(root, "/apis/apps/v1/namespaces/default/daemonsets").await;
    let mut status = sets[0]["status"].clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
        condition["lastUpdateTime"] = Value::Null;
    }
    json!({"pods": pods, "revisions": revisions, "status": status})
}

/// Waits until every eligible node has a pod with this image, and the status says so.
async fn settled(root: &Client, image: &str) -> Value {
    let mut found = Value::Null;
    eventually(&format!("every node has {image}"), async || {
        let pods = items(root, "/api/v1/namespaces/default/pods").await;
        let all = pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == image);
        if pods.len() != NODES - 1 || !all {
            return false;
        }
        let set = &items(root, "/apis/apps/v1/namespaces/default/daemonsets").await[0];
        let observed = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if !observed || set["status"]["updatedNumberScheduled"] != NODES - 1 {
            return false;
        }
        found = outcome(root).await;
        true
    })
    .await;
    found
}

/// Makes a DaemonSet, then changes its image.
async fn story(root: &Client) -> Vec<Value> {
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    assert_eq!(post(root, sets, &daemons("one:1")).await.0, StatusCode::CREATED);
    let first = settled(root, "one:1").await;
    patch(
        root,
        &format!("{sets}/agent"),
        &json!({"spec": {"template": daemons("two:2")["spec"]["template"]}}),
    )
    .await;
    vec![first, settled(root, "two:2").await]
}

#[tokio::test]
async fn over_tls_it_does_what_it_does_in_process_and_another_takes_over_when_it_is_killed() {
    let (inside, outside) = (Place::new(), Place::new());
    let (server, root) = cluster(&inside, "apiserver,daemonset").await;
    let expected = story(&root).await;
    drop(server);
    let (_server, root) = cluster(&outside, "apiserver").await;
    let first = Engine::start(&outside);
    eventually("the first leads", async || first.leads().await).await;
    let mut second = Engine::start(&outside);
    assert_eq!(story(&root).await, expected);
    assert!(!second.leads().await, "two lead at once");
    first.signal("-KILL");
    eventually("the second leads", async || second.leads().await).await;
    let revisions =
        items(&root, "/apis/apps/v1/namespaces/default/controllerrevisions").await.len();
    patch(
        &root,
        "/apis/apps/v1/namespaces/default/daemonsets/agent",
        &json!({"spec": {"template": daemons("one:1")["spec"]["template"]}}),
    )
    .await;
    settled(&root, "one:1").await;
    let after = items(&root, "/apis/apps/v1/namespaces/default/controllerrevisions").await.len();
    assert_eq!(after, revisions, "the old revision is used again");
    second.signal("-TERM");
    assert_eq!(second.code().await, Some(0));
}

#[tokio::test]
async fn it_stops_with_3_when_another_daemonset_controller_is_at_work() {
    let place = Place::new();
    let (_server, root) = cluster(&place, "apiserver,daemonset").await;
    let mut engine = Engine::start(&place);
    eventually("it leads", async || engine.leads().await).await;
    // whoever of the two is first with the revision: the pods tell
    let mut number = 0;
    let mut code = None;
    eventually("it ends", async || {
        number += 1;
        let mut set = daemons("one:1");
        set["metadata"]["name"] = json!(format!("agent-{number}"));
        let sets = "/apis/apps/v1/namespaces/default/daemonsets";
        assert_eq!(post(&root, sets, &set).await.0, StatusCode::CREATED);
        code = engine.child.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    })
    .await;
    assert_eq!(code.flatten(), Some(3));
}
