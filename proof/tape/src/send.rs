//! Requests out of exchanges, and answers as they are compared.

use crate::tape::{Exchange, Watch};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Answers so far, by case and step.
pub type Answers = BTreeMap<(String, i64), Value>;

/// Headers of an answer that are compared.
const HEADERS: &[&str] = &["Retry-After", "Allow", "Location", "WWW-Authenticate", "Accept-Patch"];

static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{([^}]+)\}").expect("a regular expression"));
static WHOLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""\$\{([^}"]+)\}""#).expect("a regular expression"));

/// The value at a path like `metadata.labels.a\.b` or `items.0.spec`.
pub fn at<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.replace("\\.", "\0").split('.').try_fold(body, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        value => value.get(step.replace('\0', ".")),
    })
}

/// As [`at`], to change it.
pub fn at_mut<'a>(body: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.replace("\\.", "\0").split('.').try_fold(body, |value, step| match value {
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        value => value.get_mut(step.replace('\0', ".")),
    })
}

fn resolve(reference: &str, answers: &Answers, case: &str) -> Result<Value, String> {
    if let Some(count) = reference.strip_prefix("pad.") {
        return Ok("x".repeat(count.parse().map_err(|_| format!("pad {count:?}"))?).into());
    }
    let missing = || format!("${{{reference}}} is not in the earlier answer");
    let mut parts = reference.splitn(3, '.');
    let (Some(of), Some(step), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(missing());
    };
    let of = if of == "case" { case } else { of };
    let step = step.parse().map_err(|_| missing())?;
    let body = answers.get(&(of.to_owned(), step)).ok_or_else(missing)?;
    at(body, path).cloned().ok_or_else(missing)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn replaced(
    pattern: &Regex,
    text: &str,
    mut with: impl FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut fault = None;
    let done = pattern.replace_all(text, |found: &Captures<'_>| {
        with(&found[1]).unwrap_or_else(|why| {
            fault = Some(why);
            String::new()
        })
    });
    match fault {
        None => Ok(done.into_owned()),
        Some(why) => Err(why),
    }
}

fn percent(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// References in JSON text: one that is a whole string keeps the type of its value.
fn filled(json: &str, answers: &Answers, case: &str) -> Result<String, String> {
    let reference = |escaped: &str| {
        serde_json::from_str::<String>(&format!("\"{escaped}\"")).map_err(|why| why.to_string())
    };
    let json =
        replaced(
            &WHOLE,
            json,
            |found| Ok(resolve(&reference(found)?, answers, case)?.to_string()),
        )?;
    replaced(&REFERENCE, &json, |found| {
        let text = Value::from(plain(&resolve(&reference(found)?, answers, case)?)).to_string();
        Ok(text[1..text.len() - 1].to_owned())
    })
}

fn body(exchange: &Exchange, answers: &Answers) -> Result<Option<String>, String> {
    let Some(raw) = &exchange.request.body else { return Ok(None) };
    let case = &exchange.case;
    match serde_json::from_str::<Value>(raw.get()) {
        Ok(Value::String(text)) => {
            replaced(&REFERENCE, &text, |found| Ok(plain(&resolve(found, answers, case)?)))
                .map(Some)
        }
        _ => filled(raw.get(), answers, case).map(Some),
    }
}

/// The request of an exchange, with `token` of its user.
pub fn request(
    exchange: &Exchange,
    answers: &Answers,
    token: Option<&str>,
) -> Result<Request<Body>, String> {
    let case = &exchange.case;
    let path = replaced(&REFERENCE, &exchange.request.path, |found| {
        Ok(percent(&plain(&resolve(found, answers, case)?)))
    })?;
    let body = body(exchange, answers)?;
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in [
        ("user-agent", "tape/1.0"),
        ("accept-encoding", "identity"),
        ("accept", "application/json"),
    ] {
        headers.insert(name.to_owned(), value.to_owned());
    }
    for (name, value) in &exchange.request.headers {
        let value =
            replaced(&REFERENCE, value, |found| Ok(plain(&resolve(found, answers, case)?)))?;
        headers.insert(name.to_lowercase(), value);
    }
    if let Some(token) = token {
        headers.insert("authorization".to_owned(), format!("Bearer {token}"));
    }
    let mut request = Request::builder().method(exchange.request.method.as_str()).uri(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(body.map_or_else(Body::empty, Body::from)).map_err(|why| why.to_string())
}

/// Sends it.
pub async fn send(router: Router, request: Request<Body>) -> Response<Body> {
    let response = router.oneshot(request).await;
    let Ok(response) = response;
    response
}

/// A whole answer as the tape keeps it.
pub async fn shape(response: Response<Body>) -> Value {
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(bytes) => bytes.to_bytes(),
        Err(why) => return json!({"error": why.to_string()}),
    };
    let mut shaped = head(parts.status.as_u16(), &parts.headers);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let kind = shaped["contentType"].as_str().unwrap_or_default().to_owned();
    let read = if kind.contains("json") && !text.is_empty() {
        serde_json::from_str(&text).ok()
    } else if kind.contains("yaml") {
        serde_saphyr::from_str(&text).ok()
    } else {
        None
    };
    shaped["body"] = read.unwrap_or(Value::String(text));
    shaped
}

fn head(status: u16, headers: &HeaderMap) -> Value {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let first = |name: &str| headers.get(name).map(text);
    let mut shaped =
        json!({"status": status, "contentType": first("content-type").unwrap_or_default()});
    let warnings: Vec<String> = headers.get_all("warning").iter().map(text).collect();
    if !warnings.is_empty() {
        shaped["warnings"] = json!(warnings);
    }
    let compared: Map<String, Value> =
        HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), first(name)?.into()))).collect();
    if !compared.is_empty() {
        shaped["headers"] = compared.into();
    }
    shaped
}

/// Reads a watch to its end, to the events wanted, or until `options.seconds` after `collect` is told.
pub async fn read_watch(
    response: Response<Body>,
    options: Watch,
    collect: CancellationToken,
) -> Value {
    let (parts, body) = response.into_parts();
    let mut lines = Lines { stream: body.into_data_stream(), buffer: Vec::new() };
    let mut events = Vec::new();
    let mut deadline: Option<Instant> = None;
    let wanted = options.count.unwrap_or(usize::MAX);
    while events.len() < wanted {
        let until = deadline.unwrap_or_else(Instant::now);
        let line = tokio::select! {
            biased;
            line = lines.next() => line,
            () = tokio::time::sleep_until(until), if deadline.is_some() => None,
            () = collect.cancelled(), if deadline.is_none() => {
                deadline = Some(Instant::now() + Duration::from_secs_f64(options.seconds));
                continue;
            }
        };
        let Some(line) = line else { break };
        let Ok(event) = serde_json::from_slice::<Value>(&line) else { break };
        if counts(&event, options) {
            events.push(event);
        }
    }
    let mut shaped = head(parts.status.as_u16(), &parts.headers);
    if let Some(shaped) = shaped.as_object_mut() {
        shaped.retain(|name, _| name == "status" || name == "contentType");
    }
    shaped["body"] = events.into();
    shaped
}

/// Periodic bookmarks are a matter of time: only the end of the initial events counts.
fn counts(event: &Value, options: Watch) -> bool {
    let ends = event.pointer("/object/metadata/annotations/k8s.io~1initial-events-end").is_some();
    event["type"] != "BOOKMARK" || (options.bookmarks && ends)
}

struct Lines {
    stream: BodyDataStream,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line that is not empty. What was read stays in the buffer when this is dropped half way.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if !line.trim_ascii().is_empty() {
                    return Some(line);
                }
            }
            let chunk = self.stream.next().await?.ok()?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
