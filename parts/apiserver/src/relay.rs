//! The one arrow that runs downhill: logs, exec, attach, port-forward and proxy, passed on to the node's own port, and
//! the proxy of pods and services, passed on to the pod itself ([`reach`]).
//!
//! Nothing is understood here but who may do it and where it goes. Streams are bytes in both directions: the agent
//! speaks the protocols ([`pipe`]). The node proves its name with a certificate of our CA ([`backend`]); we show it
//! the certificate of `kube-apiserver-kubelet-client`.

mod backend;
mod html;
mod messages;
mod options;
mod pipe;
mod reach;

pub use backend::Kubelet;

use crate::identity::Identity;
use crate::route::{Attributes, Target};
use crate::server::Inner;
use crate::verbs::{method_not_allowed, shelf};
use api::Status;
use axum::body::Body;
use backend::Place;
use http::request::Parts;
use http::{HeaderMap, Method, Response, header};
use http_body_util::BodyExt;
use rand::seq::IndexedRandom;
use serde_json::Value;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

/// Streams passed on at once; one more is 429. Each is two TLS connections and two buffers of 16 KiB, about 150 KiB:
/// 300 MB when full.
pub(crate) const RELAYS_MAX: usize = 2_000;
/// Seconds after which a caller may come again then.
const RELAYS_RETRY_SECONDS: u32 = 5;

/// Streams under way.
#[derive(Debug)]
pub(crate) struct Relays {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Relays {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(RELAYS_MAX)), tasks: TaskTracker::new() }
    }
}

impl Relays {
    /// A place for one more stream; 429 where there is none.
    fn begin(&self, server: &Inner) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            server.metrics.refused();
            let message = "too many streams are open, please try again later";
            Status::too_many_requests(message, RELAYS_RETRY_SECONDS)
        })
    }
}

/// A request to be passed on: routed and allowed.
pub(crate) struct Asked {
    pub(crate) server: Arc<Inner>,
    pub(crate) identity: Identity,
    pub(crate) target: Target,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
}

/// Methods that a proxy passes on.
const PROXIED: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// Parts of `/api/v1/nodes/x/proxy`, and of `/api/v1/namespaces/x/pods/y/proxy`.
const NODE_PARTS: usize = 5;
const POD_PARTS: usize = 7;

/// Whether a path is one of those that are passed on.
pub(crate) fn is_for(target: &Target) -> bool {
    let attributes = &target.attributes;
    let is_core = attributes.group.is_empty() && !target.name.is_empty();
    match (attributes.resource.as_str(), attributes.subresource.as_str()) {
        ("pods", "log" | "exec" | "attach" | "portforward") => {
            is_core && !target.namespace.is_empty() && target.rest.is_empty()
        }
        ("nodes", "proxy") => is_core && target.namespace.is_empty(),
        ("pods" | "services", "proxy") => is_core && !target.namespace.is_empty(),
        _ => false,
    }
}

/// Passes a request on.
pub(crate) async fn answer(asked: Asked) -> Result<Response<Body>, Status> {
    let method = asked.parts.method.clone();
    let name = asked.target.attributes.subresource.clone();
    let fits = match name.as_str() {
        "log" => method == Method::GET,
        "proxy" => PROXIED.contains(&method.as_str()),
        _ => method == Method::GET || method == Method::POST,
    };
    if !fits {
        return Err(method_not_allowed());
    }
    match name.as_str() {
        "log" => log(asked).await,
        "proxy" if asked.target.attributes.resource == "nodes" => proxy(asked).await,
        "proxy" => proxy_inside(asked).await,
        _ => stream(asked, &name).await,
    }
}

async fn log(mut asked: Asked) -> Result<Response<Body>, Status> {
    let wanted = messages::Wanted::of(&asked.parts.headers).map_err(|offered| {
        let message = format!("requested protocol(s) are not supported: [{offered}]");
        Status::failure(403, "Forbidden", message)
    })?;
    let name = asked.target.name.clone();
    let query = asked.parts.uri.query().unwrap_or_default();
    let options = options::Log::read(query, &name)?;
    let pod = asked.pod()?;
    let container = options::container(&pod, &name, &options.container)?;
    let node = text(&pod, "/spec/nodeName");
    if node.is_empty() {
        // as upstream: a pod that is nowhere has an empty log
        return Ok(plain(Body::empty()));
    }
    let place = asked.node_of_pod(&node)?;
    let path = format!(
        "/containerLogs/{}/{name}/{container}{}",
        asked.target.namespace,
        options.for_kubelet()
    );
    let permit = asked.server.relays.begin(&asked.server)?;
    let relayed = asked.server.send(&place, pipe::get(&path, &place)).await?;
    let status = relayed.status();
    if let (true, Some(wanted)) = (status.is_success(), wanted) {
        let near = asked.upgrade();
        let (answer, stop) = (wanted.switching(), asked.server.stop.clone());
        asked.server.relays.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = wanted.send(near, relayed.into_body()) => {}
            }
            drop(permit);
        });
        return Ok(answer);
    }
    if status.is_success() {
        return Ok(plain(counted(Body::new(relayed.into_body()), permit)));
    }
    let message = pipe::text(relayed.into_body()).await;
    Err(refusal(status.as_u16(), &name, message))
}

/// Exec, attach and port-forward: a connection that becomes something else.
async fn stream(mut asked: Asked, name: &str) -> Result<Response<Body>, Status> {
    let pod_name = asked.target.name.clone();
    let query = asked.parts.uri.query().unwrap_or_default().to_owned();
    let is_upgrade = pipe::is_upgrade(&asked.parts.headers);
    if asked.parts.method == Method::GET && is_upgrade {
        // upstream since 1.35: whoever may only read must not get in through a GET
        let creating =
            Attributes { verb: Cow::Borrowed("create"), ..asked.target.attributes.clone() };
        asked.server.authorizer.authorize(&asked.identity, &creating)?;
    }
    let pod = asked.pod()?;
    let options = options::Stream::read(&query);
    let container = match name {
        "portforward" => String::new(),
        _ => options::container(&pod, &pod_name, &options.container)?,
    };
    let node = text(&pod, "/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {pod_name} does not have a host assigned")));
    }
    let place = asked.node_of_pod(&node)?;
    if !is_upgrade {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let namespace = &asked.target.namespace;
    let path = match name {
        "portforward" => format!("/portForward/{namespace}/{pod_name}{}", options.ports_query()),
        _ => format!("/{name}/{namespace}/{pod_name}/{container}{}", options.for_kubelet(name)),
    };
    let onward = pipe::upgrade(&asked.parts, &path, &place);
    upgraded(&mut asked, &place, onward).await
}

async fn upgraded(
    asked: &mut Asked,
    place: &Place,
    onward: http::Request<Body>,
) -> Result<Response<Body>, Status> {
    let server = Arc::clone(&asked.server);
    let permit = server.relays.begin(&server)?;
    let near = asked.upgrade();
    let far = server.send(place, onward).await?;
    Ok(switched(&server, near, far, permit))
}

/// Joins both ends once the far one has agreed; its refusal is passed on.
fn switched(
    server: &Inner,
    near: hyper::upgrade::OnUpgrade,
    mut far: Response<hyper::body::Incoming>,
    permit: OwnedSemaphorePermit,
) -> Response<Body> {
    if far.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = far.into_parts();
        return pipe::passed_on(&parts, counted(Body::new(body), permit));
    }
    let stop = server.stop.clone();
    let other = hyper::upgrade::on(&mut far);
    server.relays.tasks.spawn(async move {
        pipe::join(near, other, stop).await;
        drop(permit);
    });
    let (parts, _) = far.into_parts();
    pipe::switched(&parts)
}

/// Everything below `nodes/x/proxy/` as asked, with the node's own answer.
async fn proxy(mut asked: Asked) -> Result<Response<Body>, Status> {
    let (scheme, name, port) = options::host(&asked.target.name).ok_or_else(|| {
        Status::bad_request(format!("invalid node request {:?}", asked.target.name))
    })?;
    let mut place = asked.node(&name, "nodes")?;
    if scheme == "http" || port.as_deref().is_some_and(|port| port != place.port.to_string()) {
        return Err(Status::bad_request(format!(
            "invalid node request {:?}: only the node's own port is served",
            asked.target.name
        )));
    }
    place.insist_on_name = true;
    let (_, path) = options::proxied(asked.parts.uri.path(), NODE_PARTS);
    let path = asked.with_query(if path.is_empty() { "/" } else { path });
    if pipe::is_upgrade(&asked.parts.headers) {
        let onward = pipe::upgrade(&asked.parts, &path, &place);
        return upgraded(&mut asked, &place, onward).await;
    }
    let permit = asked.server.relays.begin(&asked.server)?;
    let onward = pipe::onward(&asked.parts, &path, &place.authority(), asked.body);
    let (parts, body) = asked.server.send(&place, onward).await?.into_parts();
    Ok(pipe::passed_on(&parts, counted(Body::new(body), permit)))
}

/// Everything below `pods/x/proxy/` and `services/x/proxy/` as asked, with what the pod answers.
async fn proxy_inside(mut asked: Asked) -> Result<Response<Body>, Status> {
    let backend = asked.backend()?;
    let whole = asked.parts.uri.path().to_owned();
    let (root, path) = options::proxied(&whole, POD_PARTS);
    let is_upgrade = pipe::is_upgrade(&asked.parts.headers);
    let reads = matches!(asked.parts.method, Method::GET | Method::HEAD);
    if path.is_empty() && reads && !is_upgrade {
        // relative links of what is there need the slash
        let mut moved = Response::new(Body::empty());
        *moved.status_mut() = http::StatusCode::MOVED_PERMANENTLY;
        if let Ok(to) = asked.with_query(&format!("{root}/")).parse() {
            moved.headers_mut().insert(header::LOCATION, to);
        }
        return Ok(moved);
    }
    let path = asked.with_query(if path.is_empty() { "/" } else { path });
    let server = Arc::clone(&asked.server);
    let permit = server.relays.begin(&server)?;
    let through = (&server.relays, &server.stop);
    let from = asked.parts.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>();
    let from = from.map(|from| from.0.ip().to_canonical());
    let body = std::mem::take(&mut asked.body);
    let passed = reach::Passed { parts: &asked.parts, root, path: &path, from };
    if is_upgrade {
        let far = backend.switch(through, &passed).await?;
        return Ok(switched(&server, asked.upgrade(), far, permit));
    }
    let (parts, body) = backend.pass(through, &passed, body).await?.into_parts();
    Ok(Response::from_parts(parts, counted(body, permit)))
}

/// A body that keeps its place among the streams until it ends.
fn counted(body: Body, place: OwnedSemaphorePermit) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _kept = &place;
        frame
    }))
}

impl Asked {
    /// The caller's connection, once it has been told that it becomes something else.
    fn upgrade(&mut self) -> hyper::upgrade::OnUpgrade {
        let none = http::Request::new(()).into_parts().0;
        let parts = std::mem::replace(&mut self.parts, none);
        hyper::upgrade::on(http::Request::from_parts(parts, ()))
    }

    fn with_query(&self, path: &str) -> String {
        match self.parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// Who answers behind a pod or a service.
    fn backend(&self) -> Result<reach::Backend, Status> {
        let (plural, namespace) =
            (self.target.attributes.resource.as_str(), &self.target.namespace);
        let (scheme, name, port) = reach::named(plural, &self.target.name)?;
        let missing = |plural| Status::not_found("", plural, &name);
        if plural == "pods" {
            let pod = self.object("pods", namespace, &name).ok_or_else(|| missing("pods"))?;
            return reach::Backend::of_pod(&scheme, &pod, port);
        }
        let mut port = port.unwrap_or_default();
        if port.parse::<i64>().is_ok() {
            let service = self.object("services", namespace, &name);
            port = reach::port_name(&service.ok_or_else(|| missing("services"))?, &name, port)?;
        }
        let endpoints = self.object("endpoints", namespace, &name);
        let endpoints = endpoints.ok_or_else(|| missing("endpoints"))?;
        let mut ends = reach::ends_of(&endpoints, &port);
        ends.retain(|(address, _)| self.is_of_pod(address));
        let chosen = self.server.chance(|chance| ends.choose(chance).cloned());
        let (address, port) = chosen.ok_or_else(|| {
            Status::unavailable(format!("no endpoints available for service {name:?}"))
        })?;
        let address = address["ip"].as_str().and_then(|text| text.parse().ok());
        let address = address.filter(reach::is_global_unicast);
        let address = address.ok_or_else(|| Status::bad_request("address not allowed"))?;
        Ok(reach::Backend::at(&scheme, address, port))
    }

    /// Whether an address of Endpoints is that of a pod in the same namespace. Whoever may write Endpoints must not
    /// be led by us to everything that we can reach.
    fn is_of_pod(&self, address: &Value) -> bool {
        let of = |name: &str| address["targetRef"][name].as_str().unwrap_or_default();
        let Some(pod) = self.object("pods", &self.target.namespace, of("name")) else {
            return false;
        };
        let addresses = pod.pointer("/status/podIPs").and_then(Value::as_array);
        of("namespace") == self.target.namespace
            && addresses.into_iter().flatten().any(|one| one["ip"] == address["ip"])
    }

    fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let row = api::resource::by_plural("", "v1", plural)?;
        let record = shelf::find(&self.server.records, row, namespace, name)?;
        serde_json::from_slice(&record.bytes).ok()
    }

    fn pod(&self) -> Result<Value, Status> {
        let (namespace, name) = (&self.target.namespace, &self.target.name);
        self.object("pods", namespace, name).ok_or_else(|| Status::not_found("", "pods", name))
    }

    /// Where a node answers. Upstream looks it up in the words of the request: a pod's node that is missing is
    /// `pods "node-1" not found`.
    fn node(&self, name: &str, missing_as: &str) -> Result<Place, Status> {
        let node = self.object("nodes", "", name);
        let node = node.ok_or_else(|| Status::not_found("", missing_as, name))?;
        Place::of(name, &node).map_err(|message| Status::failure(500, "", message))
    }

    fn node_of_pod(&self, name: &str) -> Result<Place, Status> {
        self.node(name, "pods")
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn plain(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache, private"));
    response
}

/// What a node's refusal is to the caller (upstream's checker of answers, and its words).
fn refusal(code: u16, name: &str, message: String) -> Status {
    let (reason, text) = match code {
        500 => return Status::internal(&message),
        400 => return Status::bad_request(message),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials"),
        403 => ("Forbidden", message.as_str()),
        404 => ("NotFound", "the server could not find the requested resource"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        _ => ("", message.as_str()),
    };
    Status::failure(code, reason, format!("{text} ( pods/log {name})")).with_details(
        api::status::Details {
            name: name.to_owned(),
            kind: "pods/log".to_owned(),
            ..api::status::Details::default()
        },
    )
}

#[cfg(test)]
mod tests;
