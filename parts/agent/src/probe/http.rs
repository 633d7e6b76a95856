//! One GET, for probes and hooks.

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

/// Name under which probes ask (spec E42).
const USER_AGENT: &str = "kube-probe/1.36";

/// Where to ask.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
    is_tls: bool,
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

impl Target {
    /// Reads an action; `host` is asked where it names none.
    pub(crate) fn of(
        action: &HTTPGetAction,
        container: &Container,
        host: &str,
    ) -> Result<Self, String> {
        let port = port(&action.port, container).ok_or("the port has no number")?;
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
}

/// The status code. Certificates are not checked, and redirects not followed: 3xx counts as success.
pub(crate) async fn get(target: &Target) -> Result<u16, String> {
    let url = format!("Get \"{}:{}{}\"", target.host, target.port, target.path);
    let failed = |error: &dyn std::fmt::Display| format!("{url}: {error}");
    let tcp =
        TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|e| failed(&e))?;
    if target.is_tls {
        let tls =
            crate::tls::connect_unverified(tcp, &target.host).await.map_err(|e| failed(&e))?;
        ask(target, TokioIo::new(tls)).await.map_err(|e| failed(&e))
    } else {
        ask(target, TokioIo::new(tcp)).await.map_err(|e| failed(&e))
    }
}

async fn ask(
    target: &Target,
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let mut request = http::Request::get(&target.path)
        .header(http::header::HOST, format!("{}:{}", target.host, target.port))
        .header(http::header::USER_AGENT, USER_AGENT)
        .header(http::header::ACCEPT, "*/*")
        .header(http::header::CONNECTION, "close");
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answer = answer => Ok(answer?.status().as_u16()),
        ended = &mut connection => {
            ended?;
            Err("the connection was closed".into())
        }
    }
}
