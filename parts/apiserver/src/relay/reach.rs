//! What stands behind the proxy of a pod or a service: where it is, a connection to it, and its answer as the caller
//! shall see it.

use super::backend::go_text;
use super::{Relays, html, options, pipe};
use api::Status;
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Longest wait for a connection, TLS included; upstream's.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the head of an answer. Upstream waits for ever; ten minutes outlast every long poll, and what
/// hangs gives its place among the streams back.
const HEAD_MAX: Duration = Duration::from_secs(10 * 60);
/// Pages up to here have their links mended, bytes; longer ones pass as they are. No other body is held.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// What a page may become by that; beyond it passes as it was. With every place among the streams (2,000) taken by such
/// pages at one moment they are 6 GB, so that pages have to be rare, as they are.
const MENDED_BYTES_MAX: usize = 2 * PAGE_BYTES_MAX;
/// Names that Go knows ports by without asking anybody.
const NAMED_PORTS: [(&str, u16); 2] = [("http", 80), ("https", 443)];
/// What a page says about other pages' rights is about its own host, not about ours.
const CROSS_ORIGIN: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Where a pod or an end of a service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    tls: bool,
    address: IpAddr,
    /// As asked for; empty where nobody said.
    port: String,
}

/// What is passed on.
pub(super) struct Passed<'a> {
    pub(super) parts: &'a Parts,
    /// The path up to `proxy`, which the backend does not know of.
    pub(super) root: &'a str,
    /// The path behind it and the query.
    pub(super) path: &'a str,
    /// Who asks, where that is known.
    pub(super) from: Option<IpAddr>,
}

impl Backend {
    /// From a pod's status. Without a port it is the first that a container names.
    pub(super) fn of_pod(scheme: &str, pod: &Value, port: Option<String>) -> Result<Self, Status> {
        let first = || {
            let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
            let mut ports = containers.into_iter().flatten();
            let port = ports.find_map(|one| one.pointer("/ports/0/containerPort"));
            port.map(ToString::to_string).unwrap_or_default()
        };
        let address = pod.pointer("/status/podIPs/0/ip").or_else(|| pod.pointer("/status/podIP"));
        let address: Option<IpAddr> =
            address.and_then(Value::as_str).and_then(|text| text.parse().ok());
        let address = address.filter(is_global_unicast);
        let address = address.ok_or_else(|| Status::bad_request("address not allowed"))?;
        Ok(Self::at(scheme, address, port.unwrap_or_else(first)))
    }

    pub(super) fn at(scheme: &str, address: IpAddr, port: String) -> Self {
        Self { tls: scheme == "https", address, port }
    }

    /// Host and port as in a URL.
    fn host(&self) -> String {
        match (self.address, self.port.as_str()) {
            (IpAddr::V6(address), "") => format!("[{address}]"),
            (IpAddr::V6(address), port) => format!("[{address}]:{port}"),
            (IpAddr::V4(address), "") => address.to_string(),
            (IpAddr::V4(address), port) => format!("{address}:{port}"),
        }
    }

    fn place(&self) -> Result<SocketAddr, String> {
        let known = |name: &str| NAMED_PORTS.iter().find(|(known, _)| *known == name);
        let port = match self.port.as_str() {
            "" => Some(if self.tls { 443 } else { 80 }),
            port => port.parse().ok().or_else(|| known(port).map(|(_, number)| *number)),
        };
        let port = port.ok_or_else(|| match self.port.parse::<i64>() {
            Ok(_) => format!("dial tcp: address {}: invalid port", self.port),
            Err(_) => format!("dial tcp: lookup tcp/{}: unknown port", self.port),
        })?;
        Ok(SocketAddr::new(self.address, port))
    }

    /// Sends one request on a connection of its own and answers with the head of the answer.
    async fn send(
        &self,
        relays: &Relays,
        stop: &CancellationToken,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, String> {
        let place = self.place()?;
        let connecting = async {
            let tcp = TcpStream::connect(place)
                .await
                .map_err(|error| format!("dial tcp {place}: connect: {}", go_text(&error)))?;
            tcp.set_nodelay(true).map_err(|error| format!("dial tcp {place}: {error}"))?;
            if self.tls {
                encrypted(tcp, place.ip()).await.map(Connected::Tls)
            } else {
                Ok(Connected::Tcp(tcp))
            }
        };
        let connected = tokio::time::timeout(CONNECT_MAX, connecting).await;
        match connected.unwrap_or_else(|_| Err(format!("dial tcp {place}: i/o timeout")))? {
            Connected::Tcp(tcp) => talk(relays, stop, tcp, request).await,
            Connected::Tls(tls) => talk(relays, stop, *tls, request).await,
        }
    }

    /// Passes a request on, and its answer back with the links in it mended.
    pub(super) async fn pass(
        &self,
        (relays, stop): (&Relays, &CancellationToken),
        passed: &Passed<'_>,
        body: Body,
    ) -> Result<Response<Body>, Status> {
        let request = passed.request(body);
        let answer = self
            .send(relays, stop, request)
            .await
            .map_err(|why| Status::unavailable(format!("error trying to reach service: {why}")))?;
        let (mut head, body) = answer.into_parts();
        named_by_connection(&mut head.headers);
        for name in CROSS_ORIGIN {
            head.headers.remove(name);
        }
        let backend = self.host();
        // As it was written it may have any number of slashes.
        let root = html::clean(passed.root);
        let links = html::Links { root: &root, backend: &backend, asked: passed.host() };
        if let Some(to) = head.headers.get(header::LOCATION).filter(|to| !to.is_empty()) {
            let to = to.to_str().map(|to| links.mended(to)).ok();
            if let Some(to) = to.and_then(|to| HeaderValue::from_str(&to).ok()) {
                head.headers.insert(header::LOCATION, to);
            }
            return Ok(pipe::passed_on(&head, Body::new(body)));
        }
        if passed.parts.method == Method::HEAD || !is_page(&head.headers) {
            return Ok(pipe::passed_on(&head, Body::new(body)));
        }
        let failed = |error: hyper::Error| {
            Status::unavailable(format!("error trying to reach service: {error}"))
        };
        let body = match gathered(body).await.map_err(failed)? {
            Gathered::Whole(page) => {
                head.headers.remove(header::CONTENT_LENGTH);
                Body::from(match String::from_utf8(page) {
                    Ok(page) => {
                        html::mended(&page, &links, MENDED_BYTES_MAX).unwrap_or(page).into_bytes()
                    }
                    Err(other) => other.into_bytes(),
                })
            }
            Gathered::Long(body) => body,
        };
        Ok(pipe::passed_on(&head, body))
    }

    /// Asks for another protocol: the answer's connection is what it was switched to, where it says so.
    pub(super) async fn switch(
        &self,
        (relays, stop): (&Relays, &CancellationToken),
        passed: &Passed<'_>,
    ) -> Result<Response<Incoming>, Status> {
        let mut request = passed.request(Body::empty());
        pipe::ask_for_upgrade(passed.parts, &mut request);
        let sent = self.send(relays, stop, request).await;
        sent.map_err(|why| Status::internal(&format!("error dialing backend: {why}")))
    }
}

impl Passed<'_> {
    /// The host that was asked for, which is passed on as it is.
    fn host(&self) -> &str {
        let named = self.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        named
            .or_else(|| self.parts.uri.authority().map(http::uri::Authority::as_str))
            .unwrap_or_default()
    }

    fn request(&self, body: Body) -> Request<Body> {
        let mut request = pipe::onward(self.parts, self.path, self.host(), body);
        let uri = format!("{}{}", self.root, self.path.split('?').next().unwrap_or_default());
        let headers = request.headers_mut();
        // A page that comes packed could not be mended.
        headers.remove(header::ACCEPT_ENCODING);
        // Ours are certificates and tokens: a cookie can only be the backend's own.
        for cookie in self.parts.headers.get_all(header::COOKIE) {
            headers.append(header::COOKIE, cookie.clone());
        }
        named_by_connection_of(&self.parts.headers, headers);
        if let Ok(uri) = HeaderValue::from_str(&uri) {
            headers.insert("x-forwarded-uri", uri);
        }
        if let Some(from) = self.from {
            let before = headers.get_all("x-forwarded-for").iter();
            let mut all: Vec<String> =
                before.filter_map(|one| one.to_str().ok()).map(str::to_owned).collect();
            all.push(from.to_string());
            if let Ok(all) = HeaderValue::from_str(&all.join(", ")) {
                headers.insert("x-forwarded-for", all);
            }
        }
        request
    }
}

enum Connected {
    Tcp(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn encrypted(
    tcp: TcpStream,
    address: IpAddr,
) -> Result<Box<tokio_rustls::client::TlsStream<TcpStream>>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("tls: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = connector.connect(ServerName::from(address), tcp).await;
    tls.map(Box::new).map_err(|error| format!("tls: {error}"))
}

/// Believes every certificate: pods have none that we could know, and nothing of ours is told them. As upstream.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn talk<S>(
    relays: &Relays,
    stop: &CancellationToken,
    stream: S,
    request: Request<Body>,
) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let stop = stop.clone();
    relays.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            ended = connection.with_upgrades() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to a pod ended");
                }
            }
        }
    });
    match tokio::time::timeout(HEAD_MAX, sender.send_request(request)).await {
        Ok(Ok(response)) => Ok(response),
        // Go's word for a connection that closes without an answer
        Ok(Err(error)) if error.is_incomplete_message() => Err("EOF".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("net/http: timeout awaiting response headers".to_owned()),
    }
}

/// An address that is nobody's own and nobody's neighbourhood, as Go counts.
pub(super) fn is_global_unicast(address: &IpAddr) -> bool {
    let narrow = match address.to_canonical() {
        IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    let address = address.to_canonical();
    !narrow && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// A port of a service, through its Endpoints: the addresses that lead to it, each with its port.
pub(super) fn ends_of<'e>(endpoints: &'e Value, port: &str) -> Vec<(&'e Value, String)> {
    let list = |value: &'e Value, name: &str| -> &'e [Value] {
        value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    };
    let mut found = Vec::new();
    for subset in list(endpoints, "subsets") {
        let named = |one: &&Value| one["name"].as_str().unwrap_or_default() == port;
        let Some(number) =
            list(subset, "ports").iter().find(named).map(|one| one["port"].to_string())
        else {
            continue;
        };
        found.extend(list(subset, "addresses").iter().map(|address| (address, number.clone())));
    }
    found
}

/// The name that a service's port has, for one that is asked for by number.
pub(super) fn port_name(service: &Value, name: &str, port: String) -> Result<String, Status> {
    let Ok(number) = port.parse::<i64>() else { return Ok(port) };
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let found = ports.into_iter().flatten().find(|one| one["port"].as_i64() == Some(number));
    let found = found.map(|one| one["name"].as_str().unwrap_or_default().to_owned());
    found.ok_or_else(|| {
        Status::unavailable(format!("no service port {number} found for service {name:?}"))
    })
}

/// `scheme`, name and port of what stands in a path before `proxy`.
pub(super) fn named(plural: &str, text: &str) -> Result<(String, String, Option<String>), Status> {
    let what = plural.strip_suffix('s').unwrap_or(plural);
    options::host(text)
        .ok_or_else(|| Status::bad_request(format!("invalid {what} request {text:?}")))
}

/// Removes the headers that a message calls its connection's own.
fn named_by_connection(headers: &mut http::HeaderMap) {
    let own = headers.clone();
    named_by_connection_of(&own, headers);
}

fn named_by_connection_of(said: &http::HeaderMap, headers: &mut http::HeaderMap) {
    for value in said.get_all(header::CONNECTION) {
        for word in value.to_str().unwrap_or_default().split(',') {
            if let Ok(name) = HeaderName::from_bytes(word.trim().as_bytes()) {
                headers.remove(name);
            }
        }
    }
}

fn is_page(headers: &http::HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.and_then(|media| media.split(';').next()).unwrap_or_default().trim();
    media == "text/html" && !headers.contains_key(header::CONTENT_ENCODING)
}

enum Gathered {
    Whole(Vec<u8>),
    Long(Body),
}

/// Collects a page, as long as it is no longer than pages may be.
async fn gathered(mut body: Incoming) -> Result<Gathered, hyper::Error> {
    let mut page = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        page.extend_from_slice(&data);
        if page.len() > PAGE_BYTES_MAX {
            let begin = stream::once(async { Ok::<Bytes, axum::Error>(Bytes::from(page)) });
            let rest = Body::new(body).into_data_stream();
            return Ok(Gathered::Long(Body::from_stream(begin.chain(rest))));
        }
    }
    Ok(Gathered::Whole(page))
}
