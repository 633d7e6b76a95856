//! Answers: objects as their stored bytes, lists by joining bytes, tables and metadata where asked for.

pub(crate) mod convert;
mod escape;
pub mod frame;
pub mod negotiate;
pub mod table;
pub(crate) mod warning;

use crate::admit::Strategy;
use crate::records::Stamped;
use api::{Resource, Status};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER,
    VARY, WARNING,
};
use http::{Response, StatusCode};
use negotiate::{Form, Format, View};
use serde_json::{Map, Value};
use std::io::{Read, Write};

/// Bodies longer than this are compressed for callers that accept it, bytes (upstream's 128 KiB: below it the
/// time to compress outweighs the time on the wire).
pub const GZIP_BYTES_MIN: usize = 128 * 1024;

/// An answer before it is written.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status code.
    pub code: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The whole body.
    pub body: Bytes,
    /// Texts of `Warning: 299` headers, in order.
    pub warnings: Vec<String>,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u32>,
    /// Further headers; they win over those that every answer has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether the body is compressed (gzip) already.
    pub packed: bool,
}

impl Reply {
    /// JSON bytes.
    pub fn json(code: u16, body: impl Into<Bytes>) -> Self {
        Self {
            code,
            content_type: Format::Json.content_type(),
            body: body.into(),
            warnings: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
            packed: false,
        }
    }

    /// A code and nothing else.
    pub fn nothing(code: u16) -> Self {
        Self { content_type: "", ..Self::json(code, Bytes::new()) }
    }

    /// The same with a header more.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same with a tag of its content; 304 without content for those who have it: `known` is `If-None-Match`.
    #[must_use]
    pub fn tagged(self, tag: &str, known: Option<&str>) -> Self {
        let quoted = format!("\"{tag}\"");
        let same = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == quoted;
        let has = known.is_some_and(|known| known.split(',').any(|one| same(one.trim())));
        let Ok(value) = HeaderValue::from_str(&quoted) else { return self };
        let answer = if has { Self { headers: self.headers, ..Self::nothing(304) } } else { self };
        answer.with_header(ETAG, value)
    }

    /// Plain text.
    pub fn text(code: u16, body: impl Into<Bytes>) -> Self {
        Self { content_type: "text/plain; charset=utf-8", ..Self::json(code, body) }
    }

    /// A Status, as JSON whatever was asked for: clients look at it in every case.
    pub fn status(status: &Status, format: Format) -> Self {
        let code = if status.code == 0 { 200 } else { status.code };
        let retry_after =
            status.details.as_ref().map(|details| details.retry_after_seconds).filter(|s| *s > 0);
        let mut value = serde_json::to_value(status).unwrap_or_default();
        if let Some(fields) = value.as_object_mut().filter(|_| status.code == 0) {
            fields.remove("code");
        }
        Self { retry_after, ..Self::json(code, Bytes::new()).written(&value, format) }
    }

    fn written(mut self, value: &Value, format: Format) -> Self {
        self.content_type = format.content_type();
        self.body = match format {
            Format::Json => object_bytes(value).into(),
            Format::Yaml => yaml(value).into(),
        };
        self
    }

    /// As a response of HTTP; `gzip` says whether the caller can unpack it.
    pub fn into_response(self, gzip: bool) -> Response<Body> {
        let (body, packed) = match (self.packed, gzip) {
            (true, true) => (self.body, true),
            (true, false) => (unpack(&self.body), false),
            (false, true) if self.body.len() > GZIP_BYTES_MIN => {
                compress(&self.body).map_or((self.body, false), |packed| (packed, true))
            }
            (false, _) => (self.body, false),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        for value in warning::headers(&self.warnings) {
            headers.append(WARNING, value);
        }
        response
    }
}

/// Packs with gzip; `None` when that fails.
pub(crate) fn compress(body: &[u8]) -> Option<Bytes> {
    // Level 1 as upstream: three quarters of the gain for a fifth of the time.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Takes apart what [`compress`] packed.
fn unpack(packed: &[u8]) -> Bytes {
    let mut body = Vec::new();
    // It was packed in this process, and reading from memory does not fail.
    let _read = flate2::read::GzDecoder::new(packed).read_to_end(&mut body);
    body.into()
}

/// An object as JSON, `kind` and `apiVersion` first, as Kubernetes writes it and as lists strip it.
pub fn object_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let Value::Object(fields) = value else {
        append(&mut out, value);
        return out;
    };
    out.push(b'{');
    let first = ["kind", "apiVersion"];
    let head = first.iter().filter_map(|key| fields.get(*key).map(|value| (*key, value)));
    let tail = fields.iter().filter(|(key, _)| !first.contains(&key.as_str()));
    for (at, (key, value)) in head.chain(tail.map(|(key, value)| (key.as_str(), value))).enumerate()
    {
        if at > 0 {
            out.push(b',');
        }
        append(&mut out, &key);
        out.push(b':');
        append(&mut out, value);
    }
    out.push(b'}');
    out
}

/// An object as it is stored: the gap stands where the revision will, in `metadata.resourceVersion`.
pub fn stamped(value: &Value) -> Stamped {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let meta = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut head = Vec::with_capacity(96);
    head.extend_from_slice(b"{\"kind\":");
    append(&mut head, &text("kind"));
    head.extend_from_slice(b",\"apiVersion\":");
    append(&mut head, &text("apiVersion"));
    head.extend_from_slice(b",\"metadata\":{\"resourceVersion\":\"");
    let mut tail = Vec::with_capacity(1024);
    tail.push(b'"');
    for (key, value) in meta.iter().filter(|(key, _)| *key != "resourceVersion") {
        append_field(&mut tail, key, value);
    }
    tail.push(b'}');
    let written = ["kind", "apiVersion", "metadata"];
    for (key, value) in fields.iter().filter(|(key, _)| !written.contains(&key.as_str())) {
        append_field(&mut tail, key, value);
    }
    tail.push(b'}');
    Stamped::new(head, tail)
}

fn append_field(out: &mut Vec<u8>, key: &str, value: &Value) {
    out.push(b',');
    append(out, &key);
    out.push(b':');
    append(out, value);
}

/// The Go package that upstream keeps a group's types in; its messages name it.
pub fn go_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    }
}

fn append(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let from = out.len();
    // Writing a Value or a str into memory has no way to fail.
    let _written = serde_json::to_writer(&mut *out, value);
    escape::as_go(out, from);
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}

/// The object's bytes as an item of a list: without `kind` and `apiVersion`.
pub fn item_bytes(object: &Bytes) -> Bytes {
    let rest = skip_field(object, b"{\"kind\":\"").and_then(|at| {
        let rest = object.get(at..)?;
        skip_field(rest, b"\"apiVersion\":\"").map(|more| at + more)
    });
    match rest {
        Some(at) if object.get(at) == Some(&b'"') => {
            let mut out = BytesMut::with_capacity(object.len() - at + 1);
            out.extend_from_slice(b"{");
            out.extend_from_slice(object.get(at..).unwrap_or_default());
            out.freeze()
        }
        _ => strip_slowly(object),
    }
}

/// Length of `prefix`, a plain text and `",`; `None` where the bytes read otherwise.
fn skip_field(bytes: &[u8], prefix: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(prefix)?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (rest.get(end..end + 2)? == b"\",").then_some(prefix.len() + end + 2)
}

fn strip_slowly(object: &Bytes) -> Bytes {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(object) else {
        return object.clone();
    };
    fields.remove("kind");
    fields.remove("apiVersion");
    object_bytes(&Value::Object(fields)).into()
}

/// What a list says about itself.
#[derive(Clone, Debug, Default)]
pub struct ListMeta {
    /// Revision the list is true at.
    pub revision: u64,
    /// Token of the next page, empty on the last.
    pub continue_token: String,
    /// How many more there are, when it is known.
    pub remaining: Option<usize>,
}

impl ListMeta {
    /// As lists of custom kinds have it, where a continue token is always said.
    fn to_custom(&self) -> Value {
        let mut meta = self.to_value();
        if let Some(fields) = meta.as_object_mut() {
            fields.entry("continue").or_insert_with(|| "".into());
        }
        meta
    }

    fn to_value(&self) -> Value {
        let mut meta = Map::new();
        meta.insert("resourceVersion".into(), self.revision.to_string().into());
        if !self.continue_token.is_empty() {
            meta.insert("continue".into(), self.continue_token.clone().into());
        }
        if let Some(remaining) = self.remaining.filter(|n| *n > 0) {
            meta.insert("remainingItemCount".into(), remaining.into());
        }
        Value::Object(meta)
    }
}

/// `apps/v1`, `v1`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// What encoding needs to know beside the object.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The resource asked for.
    pub row: &'static Resource,
    /// Its strategy, for columns and cells.
    pub strategy: &'static dyn Strategy,
    /// The form agreed on.
    pub form: Form,
    /// `includeObject` of a Table.
    pub include: table::Include,
    /// Ages are counted from here.
    pub now: jiff::Timestamp,
}

impl Source {
    /// Answers one object.
    pub fn object(&self, code: u16, object: &Bytes) -> Result<Reply, Status> {
        let reply = Reply::json(code, object.clone());
        match self.form.view {
            View::Whole if self.form.format == Format::Json => Ok(reply),
            View::Whole => Ok(reply.written(&parse(object)?, self.form.format)),
            View::Table(version) => {
                let value = parse(object)?;
                let revision = value.pointer("/metadata/resourceVersion").cloned();
                let meta = revision.map(|r| Map::from_iter([("resourceVersion".to_owned(), r)]));
                let rows = vec![table::row(self, &value, version)];
                let table = table::table(
                    version,
                    Value::Object(meta.unwrap_or_default()),
                    self.strategy,
                    rows,
                );
                Ok(reply.written(&table, self.form.format))
            }
            View::Metadata(version) => {
                let value = table::metadata(&parse(object)?, version);
                Ok(reply.written(&value, self.form.format))
            }
            View::MetadataList(_) => {
                Err(self.mismatch("PartialObjectMetadataList", "not a list", ""))
            }
        }
    }

    /// Answers a list of objects.
    pub fn list(&self, meta: &ListMeta, objects: &[Bytes]) -> Result<Reply, Status> {
        let reply = Reply::json(200, Bytes::new());
        match self.form.view {
            View::Whole => {
                let body = self.join(meta, objects);
                if self.form.format == Format::Json {
                    return Ok(Reply { body, ..reply });
                }
                Ok(reply.written(&parse(&body)?, self.form.format))
            }
            View::Table(version) => {
                let mut rows = Vec::with_capacity(objects.len());
                for object in objects {
                    rows.push(table::row(self, &parse(object)?, version));
                }
                let table = table::table(version, meta.to_value(), self.strategy, rows);
                Ok(reply.written(&table, self.form.format))
            }
            View::MetadataList(version) => {
                let items: Result<Vec<Value>, Status> = objects
                    .iter()
                    .map(|object| Ok(table::metadata(&parse(object)?, version)))
                    .collect();
                let list = serde_json::json!({
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": meta.to_value(),
                    "items": items?,
                });
                Ok(reply.written(&list, self.form.format))
            }
            View::Metadata(_) => Err(self.mismatch("PartialObjectMetadata", "a list", "List")),
        }
    }

    fn join(&self, meta: &ListMeta, objects: &[Bytes]) -> Bytes {
        let size: usize = objects.iter().map(|object| object.len() + 1).sum();
        let mut out = Vec::with_capacity(size + 256);
        let version = api_version(self.row.group, self.row.version);
        let custom = self.row.custom.is_some();
        out.extend_from_slice(format!("{{\"kind\":\"{}\",", self.row.list_kind()).as_bytes());
        out.extend_from_slice(format!("\"apiVersion\":\"{version}\",\"metadata\":").as_bytes());
        append(&mut out, &if custom { meta.to_custom() } else { meta.to_value() });
        out.extend_from_slice(b",\"items\":[");
        for (at, object) in objects.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            // Items of custom kinds say what they are.
            out.extend_from_slice(&if custom { object.clone() } else { item_bytes(object) });
        }
        out.extend_from_slice(b"]}");
        out.into()
    }

    /// 406: a list was asked for where there is an object, or the other way round.
    fn mismatch(&self, asked: &str, is: &str, suffix: &str) -> Status {
        let package = go_package(self.row.group);
        let message = format!(
            "you requested {asked}, but the requested object is {is} (*{package}.{}{suffix})",
            self.row.kind
        );
        Status::failure(406, "NotAcceptable", message)
    }
}

/// Reads stored bytes; they were written by us, so failure means damage.
pub fn parse(object: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(object)
        .map_err(|error| Status::internal(&format!("a stored object cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kind_and_version_come_first_and_items_lack_them() {
        let object = json!({"apiVersion": "v1", "data": {"a": "1"}, "kind": "ConfigMap", "metadata": {"name": "x"}});
        let bytes = Bytes::from(object_bytes(&object));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(
            text,
            r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"1"},"metadata":{"name":"x"}}"#
        );
        let item = r#"{"data":{"a":"1"},"metadata":{"name":"x"}}"#;
        assert_eq!(item_bytes(&bytes), item);
        assert_eq!(item_bytes(&Bytes::from(object.to_string())), item);
    }

    #[test]
    fn long_answers_are_compressed_for_those_who_can_unpack() {
        let long = "x".repeat(GZIP_BYTES_MIN + 1);
        let packed = Reply::json(200, long.clone()).into_response(true);
        assert_eq!(
            packed.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes),
            Some(&b"gzip"[..])
        );
        assert!(
            Reply::json(200, long).into_response(false).headers().get(CONTENT_ENCODING).is_none()
        );
        assert!(
            Reply::json(200, "short").into_response(true).headers().get(CONTENT_ENCODING).is_none()
        );
    }
}
