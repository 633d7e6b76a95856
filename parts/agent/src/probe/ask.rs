//! One question of a probe, with upstream's words for what went wrong (spec E42).

use super::pace::{Answer, patience};
use super::{grpc, http};
use crate::cri::Runtime;
use crate::text::{go_duration, io_text};
use k8s_openapi::api::core::v1::{Container, Probe};
use std::time::Duration;

/// Most of an answer that is read (upstream's number).
pub(super) const OUTPUT_MAX: usize = 10 << 10;

/// Who is asked.
pub(super) struct Wanted<'a> {
    pub(super) runtime: &'a Runtime,
    /// Id of the container.
    pub(super) id: &'a str,
    pub(super) container: &'a Container,
    /// The pod's address.
    pub(super) host: &'a str,
}

/// Asks once, within the probe's time.
pub(super) async fn once(probe: &Probe, wanted: &Wanted<'_>) -> Answer {
    let patience = patience(probe);
    if let Some(exec) = &probe.exec {
        return run(wanted, exec.command.clone().unwrap_or_default(), patience).await;
    }
    if let Some(action) = &probe.http_get {
        return match http::Target::of(action, wanted.container, wanted.host) {
            Ok(target) => get(target, patience).await,
            Err(problem) => Answer::Broken(problem),
        };
    }
    if let Some(tcp) = &probe.tcp_socket {
        let host = tcp.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(wanted.host);
        return match http::port(&tcp.port, wanted.container) {
            Some(port) => connect(host, port, patience).await,
            None => Answer::Broken(http::no_port(&tcp.port)),
        };
    }
    if let Some(action) = &probe.grpc {
        let service = action.service.as_deref().unwrap_or_default();
        return match u16::try_from(action.port) {
            Ok(port) => grpc::check(wanted.host, port, service, patience).await,
            Err(_) => Answer::Broken("invalid port number".to_owned()),
        };
    }
    Answer::Broken("missing probe handler".to_owned())
}

fn cut(mut bytes: Vec<u8>) -> String {
    bytes.truncate(OUTPUT_MAX);
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn run(wanted: &Wanted<'_>, command: Vec<String>, patience: Duration) -> Answer {
    let shown = command.join(" ");
    let late = || {
        let text =
            format!("command timed out: \"{shown}\" timed out after {}", go_duration(patience));
        Answer::Failure(text)
    };
    // the runtime keeps the time; the second is for its answer to reach us
    let work = wanted.runtime.exec(wanted.id, command, patience);
    match tokio::time::timeout(patience + Duration::from_secs(1), work).await {
        Err(_) => late(),
        Ok(Ok(answer)) if answer.exit_code == 0 => Answer::Success,
        Ok(Ok(answer)) => Answer::Failure(cut([answer.stdout, answer.stderr].concat())),
        Ok(Err(failure)) if failure.is_late => late(),
        Ok(Err(failure)) => Answer::Broken(failure.message),
    }
}

async fn connect(host: &str, port: u16, patience: Duration) -> Answer {
    let place = http::join(host, port);
    let work = tokio::net::TcpStream::connect((host, port));
    match tokio::time::timeout(patience, work).await {
        Err(_) => Answer::Failure(format!("dial tcp {place}: i/o timeout")),
        Ok(Ok(_)) => Answer::Success,
        Ok(Err(error)) => {
            Answer::Failure(format!("dial tcp {place}: connect: {}", io_text(&error)))
        }
    }
}

async fn get(target: http::Target, patience: Duration) -> Answer {
    match http::get(target, patience).await {
        Ok(http::Got::Status(code)) if (200..400).contains(&code) => Answer::Success,
        Ok(http::Got::Status(code)) => {
            Answer::Failure(format!("HTTP probe failed with statuscode: {code}"))
        }
        Ok(http::Got::Elsewhere) => {
            Answer::Warning("Probe terminated redirects, Response body: ".to_owned())
        }
        Err(problem) => Answer::Failure(problem),
    }
}
