//! One GET, for probes and hooks.

use crate::text::io_text;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;
use tokio::net::TcpStream;

/// Name under which probes ask (spec E42).
const USER_AGENT: &str = "kube-probe/1.36";
/// Redirects that are followed (upstream's number).
const REDIRECTS_MAX: usize = 10;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
    is_tls: bool,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// A status code.
    Status(u16),
    /// A redirect to another host.
    Elsewhere,
}

/// A port by number, or by its name in the container.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            if let Ok(number) = name.parse() {
                number
            } else {
                let mut ports = container.ports.iter().flatten();
                ports.find(|port| port.name.as_ref() == Some(name))?.container_port
            }
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}

/// Upstream's sentence for a port that the container does not name.
pub(crate) fn no_port(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name}"),
    }
}

/// Host and port as in a URL.
pub(crate) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Target {
    /// Reads an action; `host` is asked where it names none.
    pub(crate) fn of(
        action: &HTTPGetAction,
        container: &Container,
        host: &str,
    ) -> Result<Self, String> {
        let port = port(&action.port, container).ok_or_else(|| no_port(&action.port))?;
        let path = action.path.as_deref().unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let headers = action.http_headers.iter().flatten();
        Ok(Self {
            host: action
                .host
                .clone()
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| host.to_owned()),
            port,
            path,
            headers: headers.map(|one| (one.name.clone(), one.value.clone())).collect(),
            is_tls: action.scheme.as_deref() == Some("HTTPS"),
        })
    }

    fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", join(&self.host, self.port), self.path)
    }

    /// Where a redirect leads; `None`: to another host.
    fn redirected(&self, location: &str) -> Option<Self> {
        let Ok(uri) = location.parse::<http::Uri>() else { return Some(self.clone()) };
        let mut next = self.clone();
        if let Some(host) = uri.host() {
            if host.trim_matches(['[', ']']) != self.host {
                return None;
            }
            next.is_tls = uri.scheme_str() == Some("https");
            next.port = uri.port_u16().unwrap_or(if next.is_tls { 443 } else { 80 });
        }
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        next.path = if path.starts_with('/') {
            path.to_owned()
        } else {
            let above = self.path.rsplit_once('/').map_or("", |(above, _)| above);
            format!("{above}/{path}")
        };
        Some(next)
    }
}

/// Asks, following redirects on the same host. Certificates are not checked.
pub(crate) async fn get(target: Target, patience: Duration) -> Result<Got, String> {
    let end = tokio::time::Instant::now() + patience;
    let mut target = target;
    for _ in 0..=REDIRECTS_MAX {
        let url = target.url();
        let failed = |why: String| format!("Get \"{url}\": {why}");
        let (code, location) = once(&target, end).await.map_err(failed)?;
        let Some(location) = location.filter(|_| matches!(code, 301 | 302 | 303 | 307 | 308))
        else {
            return Ok(Got::Status(code));
        };
        match target.redirected(&location) {
            Some(next) => target = next,
            None => return Ok(Got::Elsewhere),
        }
    }
    Err(format!("Get \"{}\": stopped after {REDIRECTS_MAX} redirects", target.url()))
}

/// What the time limit is called in a message.
const LATE: &str = "(Client.Timeout exceeded while awaiting headers)";

async fn once(target: &Target, end: tokio::time::Instant) -> Result<(u16, Option<String>), String> {
    let place = join(&target.host, target.port);
    let tcp = TcpStream::connect((target.host.as_str(), target.port));
    let tcp = match tokio::time::timeout_at(end, tcp).await {
        Err(_) => return Err(format!("dial tcp {place}: i/o timeout {LATE}")),
        Ok(Err(error)) => return Err(format!("dial tcp {place}: connect: {}", io_text(&error))),
        Ok(Ok(tcp)) => tcp,
    };
    let work = async {
        if target.is_tls {
            let tls = crate::tls::connect_unverified(tcp, &target.host).await;
            let tls = tls.map_err(|error| io_text(&error))?;
            ask(target, TokioIo::new(tls)).await
        } else {
            ask(target, TokioIo::new(tcp)).await
        }
    };
    let late = || Err(format!("context deadline exceeded {LATE}"));
    tokio::time::timeout_at(end, work).await.unwrap_or_else(|_| late())
}

fn request(target: &Target) -> Result<http::Request<Empty<bytes::Bytes>>, String> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in [
        (http::header::HOST, join(&target.host, target.port)),
        (http::header::USER_AGENT, USER_AGENT.to_owned()),
        (http::header::ACCEPT, "*/*".to_owned()),
        (http::header::CONNECTION, "close".to_owned()),
    ] {
        let value = http::HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        headers.insert(name, value);
    }
    let mut named = std::collections::BTreeSet::new();
    for (name, value) in &target.headers {
        let name: http::HeaderName = name.parse().map_err(|_| format!("invalid header {name}"))?;
        // what the user says takes the place of what we would say; an empty Accept leaves it out
        if named.insert(name.as_str().to_owned()) {
            headers.remove(&name);
        }
        if name == http::header::ACCEPT && value.is_empty() {
            continue;
        }
        let value = http::HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    let mut request = http::Request::new(Empty::new());
    *request.uri_mut() =
        target.path.parse().map_err(|_| format!("invalid path {}", target.path))?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn ask(
    target: &Target,
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
) -> Result<(u16, Option<String>), String> {
    let text = |error: hyper::Error| {
        let is_cut = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        if is_cut { "EOF".to_owned() } else { error.to_string() }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(text)?;
    let answer = sender.send_request(request(target)?);
    tokio::pin!(connection);
    tokio::pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // the end of the connection may be seen before the answer that came with it
        _ = &mut connection => answer.await,
    };
    let answer = answer.map_err(text)?;
    let location = answer.headers().get(http::header::LOCATION);
    let location = location.and_then(|place| place.to_str().ok()).map(str::to_owned);
    Ok((answer.status().as_u16(), location))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(action: serde_json::Value) -> Target {
        let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]});
        let container: Container = serde_json::from_value(container).unwrap();
        let action: HTTPGetAction = serde_json::from_value(action).unwrap();
        Target::of(&action, &container, "10.0.0.5").unwrap()
    }

    #[test]
    fn a_named_port_and_the_pods_address_make_the_url() {
        assert_eq!(target(json!({"port": "web"})).url(), "http://10.0.0.5:8080/");
        let other = json!({"port": 9, "host": "::1", "path": "a?b=c", "scheme": "HTTPS"});
        assert_eq!(target(other).url(), "https://[::1]:9/a?b=c");
    }

    #[test]
    fn the_users_headers_take_the_place_of_ours() {
        let headers = json!([{"name": "Host", "value": "a.example"}, {"name": "Accept", "value": ""},
            {"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]);
        let request = request(&target(json!({"port": 1, "httpHeaders": headers}))).unwrap();
        let headers = request.headers();
        assert_eq!(headers[http::header::HOST], "a.example");
        assert!(!headers.contains_key(http::header::ACCEPT));
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert_eq!(headers[http::header::USER_AGENT], "kube-probe/1.36");
    }

    #[test]
    fn redirects_stay_on_the_host_or_end_the_question() {
        let from = target(json!({"port": 8080, "path": "/a/b"}));
        assert_eq!(from.redirected("/c").unwrap().url(), "http://10.0.0.5:8080/c");
        let secure = from.redirected("https://10.0.0.5/x").unwrap();
        assert_eq!(secure.url(), "https://10.0.0.5:443/x");
        assert_eq!(from.redirected("http://other.example/"), None);
    }

    #[tokio::test]
    async fn a_refused_connection_reads_as_in_go() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let target = target(json!({"port": port, "host": "127.0.0.1", "path": "/x"}));
        let error = get(target, Duration::from_secs(5)).await.unwrap_err();
        let place = format!("127.0.0.1:{port}");
        let wanted =
            format!("Get \"http://{place}/x\": dial tcp {place}: connect: connection refused");
        assert_eq!(error, wanted);
    }
}
