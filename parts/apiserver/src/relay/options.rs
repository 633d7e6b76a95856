//! Parameters of log, exec, attach and port-forward: read, checked in upstream's words, and written for the node.

use crate::decode::options::{Query, quote};
use crate::route::truth;
use api::field::Fault;
use api::{FieldError, Path, Status};
use serde_json::Value;

/// `PodLogOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) container: String,
    follow: bool,
    previous: bool,
    timestamps: bool,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
    stream: Option<String>,
}

fn number(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let Some(text) = query.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", quote(text)))
    })
}

impl Log {
    /// Reads and checks them; `pod` is named in refusals.
    pub(super) fn read(query: &str, pod: &str) -> Result<Self, Status> {
        let query = Query::parse(query);
        let flag = |key: &str| query.get(key).is_some_and(truth);
        let since_time = match query.get("sinceTime").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let time: jiff::Timestamp = text.parse().map_err(|_| {
                    Status::bad_request(format!(
                        "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as \"2006\"",
                        quote(text),
                        quote(text)
                    ))
                })?;
                Some(time.to_string())
            }
        };
        let found = Self {
            container: query.get("container").unwrap_or_default().to_owned(),
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            since_seconds: number(&query, "sinceSeconds")?,
            since_time,
            tail_lines: number(&query, "tailLines")?,
            limit_bytes: number(&query, "limitBytes")?,
            stream: query.get("stream").filter(|text| !text.is_empty()).map(str::to_owned),
        };
        let faults = found.faults();
        if faults.is_empty() {
            Ok(found)
        } else {
            Err(api::field::invalid("", "PodLogOptions", pod, &faults))
        }
    }

    /// Upstream's `ValidatePodLogOptions`.
    fn faults(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        if let Some(lines) = self.tail_lines.filter(|lines| *lines < 0) {
            let detail = "must be greater than or equal to 0";
            faults.push(FieldError::invalid(Path::new("tailLines"), lines, detail));
        }
        if let Some(bytes) = self.limit_bytes.filter(|bytes| *bytes < 1) {
            let detail = "must be greater than 0";
            faults.push(FieldError::invalid(Path::new("limitBytes"), bytes, detail));
        }
        match (self.since_seconds, &self.since_time) {
            (Some(_), Some(_)) => faults.push(FieldError::forbidden(
                Path::root(),
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            )),
            (Some(seconds), None) if seconds < 1 => faults.push(FieldError::invalid(
                Path::new("sinceSeconds"),
                seconds,
                "must be greater than 0",
            )),
            _ => {}
        }
        if let Some(stream) = &self.stream {
            if !["All", "Stdout", "Stderr"].contains(&stream.as_str()) {
                faults.push(FieldError {
                    path: Path::new("stream"),
                    fault: Fault::NotSupported,
                    body: format!(
                        "Unsupported value: {}: supported values: \"All\", \"Stderr\", \"Stdout\"",
                        quote(stream)
                    ),
                });
            }
            if stream != "All" && self.tail_lines.is_some() {
                faults.push(FieldError::forbidden(
                    Path::root(),
                    "`tailLines` and specific `stream` are mutually exclusive for now",
                ));
            }
        }
        faults
    }

    /// As the node's port wants them: `?…`, or nothing.
    pub(super) fn for_kubelet(&self) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let flags =
            [("follow", self.follow), ("previous", self.previous), ("timestamps", self.timestamps)];
        pairs.extend(flags.iter().filter(|(_, on)| *on).map(|(key, _)| (*key, "true".to_owned())));
        let numbers = [
            ("sinceSeconds", self.since_seconds),
            ("tailLines", self.tail_lines),
            ("limitBytes", self.limit_bytes),
        ];
        pairs.extend(numbers.iter().filter_map(|(key, n)| Some((*key, n.as_ref()?.to_string()))));
        pairs.extend(self.since_time.iter().map(|time| ("sinceTime", time.clone())));
        pairs.extend(self.stream.iter().map(|stream| ("stream", stream.clone())));
        written(&pairs)
    }
}

/// `PodExecOptions`, `PodAttachOptions` and `PodPortForwardOptions`.
#[expect(clippy::struct_excessive_bools, reason = "the parameters are these flags")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) container: String,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
    command: Vec<String>,
    ports: Vec<String>,
}

impl Stream {
    pub(super) fn read(query: &str) -> Self {
        let query = Query::parse(query);
        let flag = |key: &str| query.get(key).is_some_and(truth);
        let all = |wanted: &str| -> Vec<String> {
            let pairs = query.pairs().iter().filter(|(key, _)| key == wanted);
            pairs.map(|(_, value)| value.clone()).collect()
        };
        Self {
            container: query.get("container").unwrap_or_default().to_owned(),
            stdin: flag("stdin"),
            stdout: flag("stdout"),
            stderr: flag("stderr"),
            tty: flag("tty"),
            command: all("command"),
            ports: all("ports").into_iter().chain(all("port")).collect(),
        }
    }

    /// In the node's words, which differ.
    pub(super) fn for_kubelet(&self, verb: &str) -> String {
        let flags = [
            ("input", self.stdin),
            ("output", self.stdout),
            ("error", self.stderr),
            ("tty", self.tty),
        ];
        let mut pairs: Vec<(&str, String)> =
            flags.iter().filter(|(_, on)| *on).map(|(key, _)| (*key, "1".to_owned())).collect();
        if verb == "exec" {
            pairs.extend(self.command.iter().map(|word| ("command", word.clone())));
        }
        written(&pairs)
    }

    pub(super) fn ports_query(&self) -> String {
        let ports: Vec<(&str, String)> = self.ports.iter().map(|p| ("port", p.clone())).collect();
        written(&ports)
    }
}

fn written(pairs: &[(&str, String)]) -> String {
    let text: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    if text.is_empty() { String::new() } else { format!("?{}", text.join("&")) }
}

/// A value as it may stand in a query.
fn escaped(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The container that is meant: the one asked for, or the only one.
pub(super) fn container(pod: &Value, name: &str, asked: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        let items = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
    };
    let (mains, inits, ephemerals) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !asked.is_empty() {
        return if mains.iter().chain(&inits).chain(&ephemerals).any(|one| *one == asked) {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        };
    }
    if let [only] = mains.as_slice() {
        return Ok((*only).to_owned());
    }
    let mut text = format!("a container name must be specified for pod {name}");
    if !mains.is_empty() {
        let all: Vec<&str> = inits.into_iter().chain(mains).chain(ephemerals).collect();
        text = format!("{text}, choose one of: [{}]", all.join(" "));
    }
    Err(Status::bad_request(text))
}

/// `name`, `name:port` or `scheme:name:port`: scheme (may be empty), name, port.
pub(super) fn host(text: &str) -> Option<(String, String, Option<String>)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, None),
        [name, port] => ("", *name, Some(*port)),
        [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, Some(*port)),
        _ => return None,
    };
    let port = port.filter(|port| !port.is_empty()).map(str::to_owned);
    (!name.is_empty()).then(|| (scheme.to_owned(), name.to_owned(), port))
}

/// The path up to `proxy`, which is its `segments`-th part, and what follows it, both as they were written.
pub(super) fn proxied(path: &str, segments: usize) -> (&str, &str) {
    let bytes = path.as_bytes();
    let (mut seen, mut at) = (0, 0);
    while seen < segments {
        while bytes.get(at) == Some(&b'/') {
            at += 1;
        }
        while bytes.get(at).is_some_and(|byte| *byte != b'/') {
            at += 1;
        }
        seen += 1;
    }
    path.split_at(at)
}
