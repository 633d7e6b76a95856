//! Exec, attach and port-forward: between a client (the server, for somebody) and the runtime's own streaming server.
//!
//! The runtime speaks SPDY/3.1. A client that does too is joined to it as it is; one that tunnels SPDY through
//! WebSocket messages is unwrapped ([`tunnel`]); one that speaks the channels of `v5.channel.k8s.io` and before is
//! translated ([`channels`]), so that the end of stdin, which WebSocket cannot say, arrives.

mod channels;
mod options;
mod pump;
mod runtime;
mod tunnel;

#[cfg(test)]
mod tests;

use crate::cri::v1;
use crate::serve::{Body, Port, text};
use crate::words;
use channels::{Plan, Protocol};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use options::Options;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The header in which SPDY's ends agree on what the streams mean.
const PROTOCOL_HEADER: &str = "x-stream-protocol-version";
/// What the runtime is asked to speak for exec and attach.
const EXEC_PROTOCOL: &str = "v4.channel.k8s.io";
/// What the runtime is asked to speak for port-forward.
const PORTS_PROTOCOL: &str = "portforward.k8s.io";
/// SPDY inside WebSocket messages.
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Exec,
    Attach,
    PortForward,
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    verb: Verb,
    namespace: &'a str,
    pod: &'a str,
    /// Empty: whichever pod has the name now.
    uid: &'a str,
    container: &'a str,
}

impl<'a> Wanted<'a> {
    /// Reads the parts of a path.
    pub(crate) fn of(method: &Method, parts: &[&'a str]) -> Option<Self> {
        if method != Method::GET && method != Method::POST {
            return None;
        }
        let verb = match *parts.first()? {
            "exec" => Verb::Exec,
            "attach" => Verb::Attach,
            "portForward" => Verb::PortForward,
            _ => return None,
        };
        let (namespace, pod, uid, container) = match (verb, parts) {
            (Verb::PortForward, [_, namespace, pod]) => (*namespace, *pod, "", ""),
            (Verb::PortForward, [_, namespace, pod, uid]) => (*namespace, *pod, *uid, ""),
            (Verb::PortForward, _) => return None,
            (_, [_, namespace, pod, container]) => (*namespace, *pod, "", *container),
            (_, [_, namespace, pod, uid, container]) => (*namespace, *pod, *uid, *container),
            _ => return None,
        };
        Some(Self { verb, namespace, pod, uid, container })
    }
}

/// How the client speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Client {
    /// SPDY, with the protocols it offers.
    Spdy(Vec<HeaderValue>),
    /// WebSocket: its key, and the protocols it offers.
    WebSocket(String, Vec<String>),
}

impl Client {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let wanted = headers.get(header::UPGRADE)?.to_str().ok()?.to_ascii_lowercase();
        if wanted == "spdy/3.1" {
            return Some(Self::Spdy(headers.get_all(PROTOCOL_HEADER).iter().cloned().collect()));
        }
        if wanted != "websocket" {
            return None;
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?.to_owned();
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        let offered = offered.map(|one| one.trim().to_owned()).filter(|one| !one.is_empty());
        Some(Self::WebSocket(key, offered.collect()))
    }
}

type Refusal = (StatusCode, String);

fn broken(message: String) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// Answers a request for a stream, with 101 where all is well.
pub(crate) async fn answer(
    port: &Arc<Port>,
    wanted: Wanted<'_>,
    request: Request<Incoming>,
) -> Response<Body> {
    match begin(port, wanted, request).await {
        Ok(answer) => answer,
        Err((code, message)) => text(code, message),
    }
}

async fn begin(
    port: &Arc<Port>,
    wanted: Wanted<'_>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let bad = |message: &str| (StatusCode::BAD_REQUEST, message.to_owned());
    let Some(client) = Client::of(request.headers()) else {
        return Err(bad("Upgrade request required"));
    };
    let options = Options::read(request.uri().query().unwrap_or_default())
        .map_err(|problem| (StatusCode::BAD_REQUEST, problem))?;
    if wanted.verb != Verb::PortForward && !options.has_streams() {
        return Err(bad("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let pod = port.pods.find(wanted.namespace, wanted.pod);
    let pod =
        pod.filter(|pod| wanted.uid.is_empty() || pod.metadata.uid.as_deref() == Some(wanted.uid));
    let Some(pod) = pod else {
        return Err((StatusCode::NOT_FOUND, "pod does not exist".to_owned()));
    };
    match client {
        Client::Spdy(offered) => {
            let url = url(port, &wanted, &pod, &options).await.map_err(broken)?;
            let (far, agreed) = runtime::dial(port, &url, &offered).await.map_err(broken)?;
            let near = hyper::upgrade::on(request);
            port.context.setup.tasks.spawn("stream", async move {
                if let Ok(near) = near.await {
                    pump::join(TokioIo::new(near), far).await;
                }
            });
            let mut answer = switching("SPDY/3.1");
            if let Some(agreed) = agreed {
                answer.headers_mut().insert(PROTOCOL_HEADER, agreed);
            }
            Ok(answer)
        }
        Client::WebSocket(key, offered) => {
            let session = Session { port: Arc::clone(port), pod, options };
            session.websocket(wanted, request, &key, &offered).await
        }
    }
}

struct Session {
    port: Arc<Port>,
    pod: Arc<Pod>,
    options: Options,
}

impl Session {
    async fn websocket(
        self,
        wanted: Wanted<'_>,
        request: Request<Incoming>,
        key: &str,
        offered: &[String],
    ) -> Result<Response<Body>, Refusal> {
        let mut answer = switching("websocket");
        let accept = HeaderValue::from_str(&wire::websocket::accept(key));
        let accept = accept.map_err(|error| broken(error.to_string()))?;
        answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        let is_ports = wanted.verb == Verb::PortForward;
        let near = hyper::upgrade::on(request);
        let tasks = self.port.context.setup.tasks.clone();
        if is_ports && offered.iter().any(|one| one == TUNNEL_PROTOCOL) {
            let far = self.far(&wanted, PORTS_PROTOCOL).await.map_err(broken)?;
            let agreed = HeaderValue::from_static(TUNNEL_PROTOCOL);
            answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, agreed);
            tasks.spawn("tunnel", async move {
                if let Ok(near) = near.await {
                    tunnel::run(TokioIo::new(near), far).await;
                }
            });
            return Ok(answer);
        }
        let (name, protocol) = Protocol::choose(offered, is_ports).map_err(|supported| {
            let message = format!(
                "requested protocol(s) are not supported: [{}]; supports [{}]",
                offered.join(" "),
                supported.join(" ")
            );
            (StatusCode::FORBIDDEN, message)
        })?;
        if let Ok(name) = HeaderValue::from_str(&name)
            && !name.is_empty()
        {
            answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        let plan = if is_ports { Plan::ports(&self.options) } else { Plan::exec(&self.options) };
        let plan = plan.map_err(|problem| (StatusCode::BAD_REQUEST, problem))?;
        let speaks = if is_ports { PORTS_PROTOCOL } else { EXEC_PROTOCOL };
        // the client is answered first: why the runtime refuses is told in the channel for errors, as upstream does
        let far = self.far(&wanted, speaks).await;
        let far = far.map_err(|problem| format!("unable to upgrade connection: {problem}"));
        tasks.spawn("channels", async move {
            if let Ok(near) = near.await {
                channels::run(TokioIo::new(near), far, protocol, plan).await;
            }
        });
        Ok(answer)
    }

    /// A connection to the runtime's streaming server.
    async fn far(&self, wanted: &Wanted<'_>, speaks: &'static str) -> Result<runtime::Far, String> {
        let url = url(&self.port, wanted, &self.pod, &self.options).await?;
        let offered = [HeaderValue::from_static(speaks)];
        runtime::dial(&self.port, &url, &offered).await.map(|(far, _)| far)
    }
}

fn switching(protocol: &'static str) -> Response<Body> {
    let body = Empty::new().map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    answer
}

/// Asks the runtime where the stream is.
async fn url(
    port: &Port,
    wanted: &Wanted<'_>,
    pod: &Pod,
    options: &Options,
) -> Result<String, String> {
    let runtime = &port.context.runtime;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut labels: BTreeMap<String, String> =
        [(words::OUR_NODE.to_owned(), port.context.name.clone()), (words::POD_UID.to_owned(), uid)]
            .into();
    if wanted.verb == Verb::PortForward {
        let all = runtime.sandboxes(&labels).await.map_err(|failure| failure.to_string())?;
        let ready = all
            .iter()
            .filter(|one| one.state() == v1::PodSandboxState::SandboxReady)
            .max_by_key(|one| one.created_at);
        let Some(ready) = ready else {
            return Err(format!("failed to find sandboxID for pod {:?}", wanted.pod));
        };
        let ports = options.ports.iter().map(|port| i32::from(*port)).collect();
        return runtime.port_forward_url(&ready.id, ports).await.map_err(|f| f.to_string());
    }
    labels.insert(words::CONTAINER_NAME.to_owned(), wanted.container.to_owned());
    let all = runtime.containers(&labels).await.map_err(|failure| failure.to_string())?;
    let running = all
        .iter()
        .filter(|one| one.state() == v1::ContainerState::ContainerRunning)
        .max_by_key(|one| one.created_at);
    let Some(running) = running else {
        return Err(format!("container not found ({:?})", wanted.container));
    };
    let container_id = running.id.clone();
    let (stdin, stdout, tty) = (options.stdin, options.stdout, options.tty);
    let stderr = options.stderr && !tty;
    let found = if wanted.verb == Verb::Exec {
        let cmd = options.command.clone();
        runtime.exec_url(v1::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr }).await
    } else {
        runtime.attach_url(v1::AttachRequest { container_id, stdin, tty, stdout, stderr }).await
    };
    found.map_err(|failure| failure.to_string())
}
