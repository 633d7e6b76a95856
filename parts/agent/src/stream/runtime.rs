//! A connection to the runtime's streaming server, upgraded to SPDY.

use super::PROTOCOL_HEADER;
use crate::serve::Port;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Longest wait until the runtime has agreed.
const DIAL_MAX: Duration = Duration::from_secs(30);
/// Bytes of a refusal that are passed on.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// The runtime's end.
pub(super) type Far = TokioIo<Upgraded>;

/// Connects, offering `protocols`; the connection and what was agreed on.
pub(super) async fn dial(
    port: &Port,
    url: &str,
    protocols: &[HeaderValue],
) -> Result<(Far, Option<HeaderValue>), String> {
    let dialled = tokio::time::timeout(DIAL_MAX, try_dial(port, url, protocols)).await;
    dialled
        .unwrap_or_else(|_| Err(format!("the runtime's streaming server at {url} does not answer")))
}

async fn try_dial(
    port: &Port,
    url: &str,
    protocols: &[HeaderValue],
) -> Result<(Far, Option<HeaderValue>), String> {
    let uri: Uri = url.parse().map_err(|error| format!("the runtime's URL {url:?}: {error}"))?;
    let authority =
        uri.authority().ok_or_else(|| format!("the runtime's URL {url:?} has no host"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("the runtime's streaming server at {url} is not plain HTTP"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let place = (host, authority.port_u16().unwrap_or(80));
    let failed = |error: &dyn std::fmt::Display| format!("the runtime's streaming server: {error}");
    let tcp = TcpStream::connect(place).await.map_err(|e| failed(&e))?;
    tcp.set_nodelay(true).map_err(|e| failed(&e))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
    let (mut sender, connection) = handshake.map_err(|e| failed(&e))?;
    port.context.setup.tasks.spawn("runtime stream", async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!("a connection to the runtime's streaming server ended: {error}");
        }
    });
    let mut request = Request::new(Empty::<bytes::Bytes>::new());
    *request.method_mut() = Method::POST;
    // a path that was part of a URL is one again
    let path = uri.path_and_query().and_then(|path| path.as_str().parse().ok());
    *request.uri_mut() = path.unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    for protocol in protocols {
        headers.append(PROTOCOL_HEADER, protocol.clone());
    }
    let mut answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let code = answer.status();
        let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let said = body.map(|all| String::from_utf8_lossy(&all.to_bytes()).trim().to_owned());
        return Err(said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| code.to_string()));
    }
    let agreed = answer.headers().get(PROTOCOL_HEADER).cloned();
    let upgraded = hyper::upgrade::on(&mut answer).await.map_err(|e| failed(&e))?;
    Ok((TokioIo::new(upgraded), agreed))
}
