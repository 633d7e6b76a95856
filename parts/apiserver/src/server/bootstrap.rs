//! What is there from the first start. Written through the same door as everything else.

use super::Server;
use crate::authorize::bootstrap::{Write, plan};
use crate::identity::Identity;
use api::Status;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt;

/// The service by which pods reach this server, in namespace `default`.
pub(crate) const SERVICE: &str = "kubernetes";

/// The port of that service.
const SERVICE_PORT: u16 = 443;

/// Namespaces of every cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Priority classes of every cluster, with their values (spec A95) and what they are for.
const PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Writes what is missing; what does not depend on one another at once, so that a first start costs a few syncs.
/// Namespaces come first, since roles are within them.
pub(super) async fn write(server: &Server) -> Result<(), Status> {
    let namespaces = NAMESPACES.map(|name| Write::Create {
        path: "/api/v1/namespaces".to_owned(),
        object: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
    });
    let classes = PRIORITIES.map(|(name, value, description)| Write::Create {
        path: "/apis/scheduling.k8s.io/v1/priorityclasses".to_owned(),
        object: json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        }),
    });
    let policy = plan(&super::RecordsLookup(server.inner.records.clone()));
    let before = namespaces.into_iter().map(|write| apply(server, write));
    futures::future::try_join_all(before).await?;
    let all = classes.into_iter().chain(policy);
    futures::future::try_join_all(all.map(|write| apply(server, write))).await?;
    Ok(())
}

/// Writes the service by which pods reach this server, and where it is reached now. An address that means another
/// place on every machine is told to nobody.
pub(super) async fn publish(server: &Server) -> Result<(), Status> {
    let config = &server.inner.config;
    let (range, length) = config.service_range;
    let address = crate::admit::service::ranges::Range::new(range, length).at(1);
    let Ok(here) = config.advertise.parse::<SocketAddr>() else { return Ok(()) };
    let Some(address) = address else { return Ok(()) };
    let service = json!({
        "metadata": {
            "name": SERVICE,
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address.to_string(),
            "clusterIPs": [address.to_string()],
            "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": SERVICE_PORT, "targetPort": here.port()}],
        },
    });
    let ports = |held: &mut Value| held.pointer_mut("/spec/ports").map(std::mem::take);
    let path = "/api/v1/namespaces/default/services";
    keep_by(server, path, &service, |held| {
        let (is, wanted) = (ports(held), service["spec"]["ports"].clone());
        held["spec"]["ports"] = wanted;
        is.as_ref() != held.pointer("/spec/ports")
    })
    .await?;
    if here.ip().is_loopback() || here.ip().is_unspecified() {
        return Ok(());
    }
    let ip = here.ip().to_string();
    let port = json!([{"name": "https", "port": here.port(), "protocol": "TCP"}]);
    let endpoints = json!({
        "metadata": {
            "name": SERVICE,
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": ip}], "ports": port}],
    });
    keep(server, "/api/v1/namespaces/default/endpoints", &endpoints, &["subsets"]).await?;
    let slice = json!({
        "metadata": {
            "name": SERVICE,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "addressType": if here.is_ipv6() { "IPv6" } else { "IPv4" },
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": port,
    });
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    keep(server, path, &slice, &["endpoints", "ports"]).await
}

/// Creates an object, or brings the fields named back to what they should be.
async fn keep(server: &Server, path: &str, object: &Value, fields: &[&str]) -> Result<(), Status> {
    keep_by(server, path, object, |held| {
        let is_same = fields.iter().all(|field| held.get(field) == object.get(field));
        for field in fields {
            held[*field] = object[*field].clone();
        }
        !is_same
    })
    .await
}

/// Creates an object, or lets `mend` change the one that is there and writes it if it did.
async fn keep_by(
    server: &Server,
    path: &str,
    object: &Value,
    mend: impl FnOnce(&mut Value) -> bool,
) -> Result<(), Status> {
    let request = Request::get(format!("{path}/{SERVICE}")).body(Body::empty());
    let (code, body) = answer(server, request).await?;
    if !code.is_success() {
        return send(server, Method::POST, path, object).await;
    }
    let mut held: Value =
        serde_json::from_slice(&body).map_err(|error| Status::internal(&error.to_string()))?;
    if !mend(&mut held) {
        return Ok(());
    }
    send(server, Method::PUT, &format!("{path}/{SERVICE}"), &held).await
}

async fn apply(server: &Server, write: Write) -> Result<(), Status> {
    match write {
        Write::Create { path, object } => create(server, &path, &object).await,
        Write::Replace { path, object } => send(server, Method::PUT, &path, &object).await,
    }
}

/// Creates an object unless one of its name is there.
async fn create(server: &Server, path: &str, object: &Value) -> Result<(), Status> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let request = Request::get(format!("{path}/{name}")).body(Body::empty());
    if answer(server, request).await?.0.is_success() {
        return Ok(());
    }
    send(server, Method::POST, path, object).await
}

async fn send(server: &Server, method: Method, path: &str, object: &Value) -> Result<(), Status> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::USER_AGENT, "kube-apiserver")
        .body(Body::from(object.to_string()));
    let (code, body) = answer(server, request).await?;
    if code.is_success() {
        return Ok(());
    }
    let status: Result<Status, _> = serde_json::from_slice(&body);
    Err(status
        .unwrap_or_else(|error| Status::internal(&format!("{path} answered {code}: {error}"))))
}

async fn answer(
    server: &Server,
    request: http::Result<Request<Body>>,
) -> Result<(StatusCode, bytes::Bytes), Status> {
    let request = request.map_err(|error| Status::internal(&error.to_string()))?;
    let masters = Identity::new("system:apiserver", &["system:masters"]);
    let response = match server.as_user(masters).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Status::internal(&error.to_string()))?;
    Ok((parts.status, body.to_bytes()))
}
