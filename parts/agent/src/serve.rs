//! The agent's own port: logs, streams, health and figures.
//!
//! Clients show a certificate of the cluster's authority; who may do what is [`access`]'s. The certificate that we show
//! is [`certificate`]'s: our own at first, the authority's as soon as it has signed one.

pub(crate) mod access;
pub(crate) mod certificate;
mod handshakes;

use crate::Error;
use crate::context::Context;
use crate::{figures, logs, stream};
use access::Caller;
use bytes::Bytes;
use handshakes::Handshakes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::Pod;
use kit::Cache;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections at the same time: two for each of 110 pods (a log that is followed, a shell) and some for scrapers.
/// Each takes about 100 KiB with TLS and buffers: 25 MiB when full.
const CONNECTIONS_MAX: usize = 256;
/// Connections at the same time of those who show no certificate: enough for health checks.
const STRANGERS_MAX: usize = 32;
/// Longest TLS handshake, and longest wait for the head of a request: who proved nothing yet must not hold a place.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What the port serves from.
pub(crate) struct Port {
    pub(crate) context: Arc<Context>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) rates: figures::Memory,
}

/// Binds the port.
pub(crate) async fn bind(port: u16) -> Result<TcpListener, Error> {
    TcpListener::bind(("0.0.0.0", port)).await.map_err(|source| Error::Port { port, source })
}

/// Serves for as long as the agent runs.
pub(crate) async fn run(listener: TcpListener, tls: Arc<ServerConfig>, port: Port) {
    let acceptor = TlsAcceptor::from(tls);
    let mut handshakes = Handshakes::default();
    let room = Room::default();
    let port = Arc::new(port);
    let tasks = port.context.setup.tasks.clone();
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // out of file descriptors or the like: it passes
                tracing::debug!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, port, room) = (acceptor.clone(), Arc::clone(&port), room.clone());
        let turn = handshakes.begin();
        tasks.spawn("connection", async move {
            let _ = tcp.set_nodelay(true);
            let accepted = tokio::time::timeout(HEAD_MAX, acceptor.accept(tcp));
            let tls = tokio::select! {
                biased;
                done = accepted => done,
                () = turn.over() => return tracing::debug!("a handshake gave way to newer ones"),
            };
            if let Ok(Ok(tls)) = tls {
                port.connection(tls, &room).await;
            }
        });
    }
}

/// Places for connections, after their handshakes.
#[derive(Clone)]
struct Room {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let of = |places| Arc::new(Semaphore::new(places));
        Self { known: of(CONNECTIONS_MAX), strangers: of(STRANGERS_MAX) }
    }
}

/// An answer of one text.
pub(crate) fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let body = Full::new(Bytes::from(text.into())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn missing() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

impl Port {
    /// A port that nobody has asked anything yet.
    pub(crate) fn new(context: Arc<Context>, pods: Cache<Pod>) -> Self {
        Self { context, pods, rates: figures::Memory::default() }
    }

    async fn connection(self: Arc<Self>, tls: TlsStream<TcpStream>, room: &Room) {
        let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let caller = shown.and_then(|leaf| Caller::of_certificate(leaf)).map(Arc::new);
        // who shows a certificate of the cluster never waits for those who show none
        let places = if caller.is_some() { &room.known } else { &room.strangers };
        let Ok(_place) = Arc::clone(places).try_acquire_owned() else {
            return tracing::warn!(
                is_known = caller.is_some(),
                "too many connections: one more is closed"
            );
        };
        let service = service_fn(move |request: Request<Incoming>| {
            let (port, caller) = (Arc::clone(&self), caller.clone());
            async move { Ok::<_, Infallible>(port.answer(request, caller.as_deref()).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        let served = http.serve_connection(TokioIo::new(tls), service).with_upgrades();
        if let Err(error) = served.await {
            tracing::debug!("connection ended: {error}");
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        caller: Option<&Caller>,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/healthz" {
            return text(StatusCode::OK, "ok");
        }
        if let Some(refusal) = access::refusal(caller, request.method(), &path) {
            return refusal;
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        if let Some(wanted) = stream::Wanted::of(request.method(), &parts) {
            return stream::answer(&self, wanted, request).await;
        }
        if request.method() == Method::GET
            && let Some(figures) = figures::answer(&self, &path).await
        {
            return figures;
        }
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["metrics"]) => {
                let mut answer = text(StatusCode::OK, self.context.setup.metrics.encode());
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                answer
            }
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                let wanted = logs::Wanted { namespace, pod, container };
                logs::answer(&self, wanted, request.uri().query().unwrap_or_default()).await
            }
            _ => missing(),
        }
    }
}
