//! A server in memory, and short words for asking it.

use apiserver::identity::Identity;
use apiserver::{Config, Server};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The clock of these tests begins here and follows tokio's time, which is paused.
const BEGIN: i64 = 1_790_000_000;

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) stop: CancellationToken,
    router: Router,
    _committer: JoinSet<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn at(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().expect("a list");
        items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
    }

    #[track_caller]
    pub(crate) fn ok(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

pub(crate) fn config() -> Config {
    let began = tokio::time::Instant::now();
    let now = move || {
        let passed = i64::try_from(began.elapsed().as_secs()).expect("short tests");
        jiff::Timestamp::from_second(BEGIN + passed).expect("a time")
    };
    Config::new(Arc::new(now), 7)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let world = Self::bare(config);
        world.server.bootstrap().await.expect("bootstrap");
        world
    }

    /// Without the objects of the first start.
    pub(crate) fn bare(config: Config) -> Self {
        Self::on(config, &store::Disk::new())
    }

    /// On what an earlier server left.
    pub(crate) fn on(config: Config, disk: &store::Disk) -> Self {
        let stop = CancellationToken::new();
        let log = Box::new(disk.log());
        let (server, committer) = Server::open(config, log, stop.clone()).expect("an empty store");
        let mut tasks = JoinSet::new();
        tasks.spawn(committer.run(CancellationToken::new()));
        let router = server.as_user(Identity::new("admin", &["system:masters"]));
        Self { server, stop, router, _committer: tasks }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Self::through(self.router.clone(), request).await
    }

    pub(crate) async fn through(router: Router, request: Request<Body>) -> Answer {
        let response = router.oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "", "")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request(Method::DELETE, path, "", "")).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.send(request(Method::POST, path, "application/json", &object.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Answer {
        self.send(request(Method::PUT, path, "application/json", &object.to_string())).await
    }

    /// `kind` is what stands between `application/` and `patch+json`.
    pub(crate) async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Answer {
        let media = match kind {
            "apply" => "application/apply-patch+yaml".to_owned(),
            kind => format!("application/{kind}-patch+json"),
        };
        self.send(request(Method::PATCH, path, &media, &patch.to_string())).await
    }

    pub(crate) async fn watch(&self, path: &str) -> Watching {
        self.watch_as(path, "application/json").await
    }

    pub(crate) async fn watch_as(&self, path: &str, accept: &str) -> Watching {
        let mut asked = request(Method::GET, path, "", "");
        asked.headers_mut().insert("accept", accept.parse().expect("a header"));
        let response = self.router.clone().oneshot(asked).await.expect("infallible");
        assert_eq!(response.status(), 200);
        Watching(response.into_body().into_data_stream())
    }
}

pub(crate) fn request(method: Method, path: &str, media: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("user-agent", "test/1.0");
    if !media.is_empty() {
        request = request.header("content-type", media);
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

/// An open watch.
pub(crate) struct Watching(BodyDataStream);

impl Watching {
    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let line = self.0.next().await?.expect("a line");
        Some(serde_json::from_slice(&line).expect("JSON"))
    }

    /// Type and name of the next event.
    pub(crate) async fn told(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

pub(crate) fn pod(name: &str, node: &str) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "solo"}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    pod
}

pub(crate) fn daemon_set(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/agent:1.4"}]},
            },
        },
    })
}
