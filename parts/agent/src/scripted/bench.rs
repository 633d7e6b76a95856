//! A node around the scripted runtime.

use super::Scripted;
use crate::cgroups::Layout;
use crate::context::{Context, PULLS_MAX};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// A server that has every ConfigMap, and a class of runtimes called "odd". While it hangs it answers nothing.
fn server(hung: watch::Receiver<bool>, runtime: Scripted) -> kube::Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (mut hung, state) = (hung.clone(), Arc::clone(&runtime.state));
        async move {
            // the end of the test ends it, too
            let _ = hung.wait_for(|is_hung| !is_hung).await;
            let in_maps = state.lock().in_maps.clone().unwrap_or_else(|| "value".to_owned());
            Ok::<_, std::convert::Infallible>(answer(&request, &in_maps))
        }
    });
    kube::Client::new(service, "default")
}

fn answer(
    request: &http::Request<kube::client::Body>,
    in_maps: &str,
) -> http::Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let (code, answer) = if path.contains("/configmaps/") {
        (200, json!({"metadata": {"name": "m"}, "data": {"key": in_maps}}))
    } else if path.ends_with("/services") {
        (200, json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {}, "items": []}))
    } else if path.ends_with("/runtimeclasses/odd") {
        (200, json!({"metadata": {"name": "odd"}, "handler": "unknown"}))
    } else {
        (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}))
    };
    let body: Full<Bytes> = Full::new(Bytes::from(Value::to_string(&answer)));
    let response = http::Response::builder().status(code).body(body);
    response.expect("a response")
}

/// A node whose runtime is scripted.
pub(crate) struct Bench {
    pub(crate) context: Arc<Context>,
    /// While it is true the server answers nothing.
    pub(crate) server_hung: watch::Sender<bool>,
    _network: watch::Sender<Option<String>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new(runtime: &Scripted) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let setup = kit::Setup::new(runtime.clock.clone(), 0);
        let (server_hung, hung) = watch::channel(false);
        let client = server(hung, runtime.clone());
        let connected = runtime.connect(&setup.tasks);
        let is_systemd = connected.uses_systemd().await.unwrap_or(false);
        let (network, network_seen) = watch::channel(None);
        let context = Context {
            events: kit::Events::start(client.clone(), &setup, "kubelet", "n"),
            runtime: connected,
            client,
            reports: crate::reports::Reports::default(),
            name: "n".to_owned(),
            root: dir.path().join("root"),
            layout: Layout { v1: Vec::new(), v2: None },
            cgroup_root: "/pernode".to_owned(),
            is_systemd,
            addresses: vec!["192.0.2.1".to_owned()],
            allocatable: fit::Amounts::default(),
            memory: 1 << 30,
            runtime_name: "scripted".into(),
            network: network_seen,
            pulls: Arc::new(Semaphore::new(PULLS_MAX)),
            tokens: crate::tokens::Tokens::default(),
            pod_max_pids: None,
            is_disk_short: watch::channel(false).0,
            images: crate::images::Images::default(),
            has_apparmor: false,
            server: ("192.0.2.1".to_owned(), 6443),
            pod_logs: dir.path().join("pod-logs"),
            container_logs: dir.path().join("container-logs"),
            setup,
        };
        Self { context: Arc::new(context), server_hung, _network: network, _dir: dir }
    }
}
