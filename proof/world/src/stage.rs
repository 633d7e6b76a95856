//! A cluster without trouble, for tests that walk through a few steps as a client would, in virtual time.

use crate::cluster::Cluster;
use crate::gate::Gate;
use http::{Method, Request};
use kit::Clock;
use kube::core::Status;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How often a walk looks again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Plays a walk on a cluster of so many nodes (`node-0` and so on; the first one in zone `b`, the others in `a`), in one
/// thread and in paused time. The error is what does not start, or which tasks panicked.
pub fn on_stage(nodes: usize, walk: impl AsyncFnOnce(&mut Cluster, &Api)) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let start = jiff::Timestamp::from_second(1_800_000_000).unwrap_or_default();
        let clock = Clock::starting_at(start);
        let gate = Gate::new(0, clock.clone(), None);
        gate.calm();
        let mut cluster = Cluster::bare(0, nodes, &gate, &clock).await?;
        let api = Api(cluster.user());
        walk(&mut cluster, &api).await;
        let panicked = cluster.panicked();
        cluster.end().await;
        if panicked.is_empty() { Ok(()) } else { Err(format!("panicked: {panicked:?}")) }
    })
}

/// The API as it is on the wire: paths and JSON. A refusal is answered as the server's Status.
#[derive(Clone)]
pub struct Api(kube::Client);

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api(..)")
    }
}

impl Api {
    /// Sends a request with a body of this type; `None` sends none.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, Box<Status>> {
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if let Some((kind, value)) = body {
            request = request.header("content-type", kind);
            bytes = value.to_string().into_bytes();
        }
        let own = |message: String| Box::new(Status::failure(&message, "Unsent"));
        let request = request.body(bytes).map_err(|error| own(error.to_string()))?;
        self.0.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => status,
            other => own(other.to_string()),
        })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Value, Box<Status>> {
        self.send(Method::GET, path, None).await
    }

    /// The items of a list; none where it cannot be had.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut list = self.get(path).await.unwrap_or_default();
        list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// POST.
    pub async fn post(&self, path: &str, object: Value) -> Result<Value, Box<Status>> {
        self.send(Method::POST, path, Some(("application/json", &object))).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, object: Value) -> Result<Value, Box<Status>> {
        self.send(Method::PUT, path, Some(("application/json", &object))).await
    }

    /// A merge patch.
    pub async fn merge(&self, path: &str, patch: Value) -> Result<Value, Box<Status>> {
        self.send(Method::PATCH, path, Some(("application/merge-patch+json", &patch))).await
    }

    /// A strategic merge patch.
    pub async fn patch(&self, path: &str, patch: Value) -> Result<Value, Box<Status>> {
        let kind = "application/strategic-merge-patch+json";
        self.send(Method::PATCH, path, Some((kind, &patch))).await
    }

    /// DELETE with a propagation policy; the server's own where it is empty.
    pub async fn delete(&self, path: &str, policy: &str) -> Result<Value, Box<Status>> {
        if policy.is_empty() {
            return self.send(Method::DELETE, path, None).await;
        }
        let options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        self.send(Method::DELETE, path, Some(("application/json", &options))).await
    }

    /// Looks again and again until there is something, for so many seconds of virtual time.
    pub async fn until<T>(
        &self,
        seconds: u64,
        mut look: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = look(self).await {
                return Some(found);
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The events about an object: type, reason, message.
    pub async fn events_of(&self, namespace: &str, name: &str) -> Vec<[String; 3]> {
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.list(&path).await.into_iter();
        all.filter(|event| event["involvedObject"]["name"] == name)
            .map(|event| [text(&event["type"]), text(&event["reason"]), text(&event["message"])])
            .collect()
    }
}

/// A condition of an object: status, reason, message; all empty where there is none.
pub fn condition(object: &Value, kind: &str) -> [String; 3] {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == kind);
    ["status", "reason", "message"]
        .map(|field| found.and_then(|one| one[field].as_str()).unwrap_or_default().to_owned())
}
