//! Requests for nodes, their answers for callers, and bytes in both directions.

use super::backend::Place;
use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Response, header, response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

/// Bytes on their way in each direction of a stream; the rest waits in the kernel, and so in the sender.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of a node's refusal that are shown.
const REFUSAL_BYTES_MAX: usize = 50_000;

/// Headers of one connection, never passed on; and those that prove who the caller is: the node believes us.
const OURS: &[&str] = &[
    "connection",
    "upgrade",
    "host",
    "authorization",
    "cookie",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "keep-alive",
];
/// Prefixes of headers that speak to us alone.
const OURS_BY_PREFIX: &[&str] = &["impersonate-", "x-remote-"];

/// Whether a request asks for another protocol.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let asks = headers.get_all(header::CONNECTION).iter().any(|value| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.into_iter().any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
    });
    asks && headers.contains_key(header::UPGRADE)
}

fn theirs(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &http::HeaderValue)> {
    headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        !OURS.contains(&name) && !OURS_BY_PREFIX.iter().any(|own| name.starts_with(own))
    })
}

fn request(method: Method, path: &str, host: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    if let Ok(host) = host.parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

pub(super) fn get(path: &str, place: &Place) -> Request<Body> {
    request(Method::GET, path, &place.authority(), Body::empty())
}

/// A request as it came, for another host.
pub(super) fn onward(parts: &Parts, path: &str, host: &str, body: Body) -> Request<Body> {
    let mut request = request(parts.method.clone(), path, host, body);
    for (name, value) in theirs(&parts.headers) {
        request.headers_mut().append(name, value.clone());
    }
    request
}

/// The same, asking for what the caller asks to become.
pub(super) fn upgrade(parts: &Parts, path: &str, place: &Place) -> Request<Body> {
    let mut request = onward(parts, path, &place.authority(), Body::empty());
    ask_for_upgrade(parts, &mut request);
    request
}

/// Lets a request ask for what the caller asks to become.
pub(super) fn ask_for_upgrade(parts: &Parts, request: &mut Request<Body>) {
    let headers = request.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
    if let Some(wanted) = parts.headers.get(header::UPGRADE) {
        headers.insert(header::UPGRADE, wanted.clone());
    }
}

/// A node's answer, as it is.
pub(super) fn passed_on(parts: &response::Parts, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    for (name, value) in theirs(&parts.headers) {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// 101, with what the node agreed to.
pub(super) fn switched(parts: &response::Parts) -> Response<Body> {
    let mut response = passed_on(parts, Body::empty());
    for name in [header::CONNECTION, header::UPGRADE] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// What a node says in a refusal.
pub(super) async fn text(body: Incoming) -> String {
    match Limited::new(body, REFUSAL_BYTES_MAX).collect().await {
        Ok(whole) => String::from_utf8_lossy(&whole.to_bytes()).trim_end().to_owned(),
        Err(_) => "the node's answer could not be read".to_owned(),
    }
}

/// Carries bytes until both ends are done, one breaks, or the server stops. Memory is two buffers: who reads slowly
/// slows the writer.
pub(super) async fn join(near: OnUpgrade, far: OnUpgrade, stop: CancellationToken) {
    let both = async {
        let (near, far) = tokio::try_join!(near, far)?;
        let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
        let carried = tokio::io::copy_bidirectional_with_sizes(
            &mut near,
            &mut far,
            BUFFER_BYTES,
            BUFFER_BYTES,
        );
        // one end that breaks is an ordinary end of a stream
        let _ended = carried.await;
        Ok::<(), hyper::Error>(())
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ended = both => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a stream did not begin");
            }
        }
    }
}
