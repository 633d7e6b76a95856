//! From the bytes of a body to an object: media type, size, syntax, kind and version, types and unknown
//! fields, each refused in Kubernetes' words.

pub(crate) mod duration;
pub mod node;
pub mod options;
pub mod proto;
pub mod strict;
pub mod syntax;
mod time;
mod yaml;

use crate::custom;
use api::{Resource, Status};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use node::{Node, Unreadable};
use options::FieldValidation;
use serde_json::Value;

/// Largest body, bytes: upstream's 3 MiB, twice the 1.5 MiB that etcd takes.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How much of a body that cannot be read a message shows, bytes.
const SHOWN_BYTES_MAX: usize = 30;

/// Where upstream's list of types lives; its messages name it.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Protobuf, of every kind but custom ones.
    Protobuf,
}

/// Reads `Content-Type`; missing means JSON.
pub fn media(content_type: Option<&str>) -> Result<Media, Status> {
    let essence = essence(content_type);
    match essence {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Media::Protobuf),
        _ => Err(unknown_media()),
    }
}

/// 415.
fn unknown_media() -> Status {
    Status::failure(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )
}

/// A media type without its parameters.
pub fn essence(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// Reads a body that may not be longer than [`BODY_BYTES_MAX`].
pub async fn body(body: axum::body::Body) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Status::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
        )),
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// What JSON calls the kind of a value in Go's messages.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type a body must have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Type in the schema; empty for types that are not checked.
    pub schema: &'static str,
    /// The resource, where it is a custom one.
    pub custom: Option<&'static Resource>,
}

impl Wanted {
    /// The type of a resource's objects.
    pub fn of(row: &'static Resource) -> Self {
        let custom = row.custom.map(|_| row);
        Self { group: row.group, version: row.version, kind: row.kind, schema: row.schema, custom }
    }

    /// Holds a document against the type.
    fn read(&self, node: &Node) -> Result<strict::Typed, String> {
        match self.custom.and_then(custom::kind_of) {
            Some(kind) => custom::read::object(kind, node),
            None => strict::object(node, self.schema),
        }
    }

    /// The object says what it is. A custom one has said so itself, or is refused for it later.
    fn name(&self, object: &mut Value) {
        if let (Some(fields), None) = (object.as_object_mut(), self.custom) {
            fields.insert("kind".into(), self.kind.into());
            fields.insert("apiVersion".into(), self.api_version().into());
        }
    }

    fn api_version(&self) -> String {
        crate::encode::api_version(self.group, self.version)
    }
}

/// A decoded object and what there is to warn of.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The object, with `apiVersion` and `kind`.
    pub object: Value,
    /// Unknown and duplicate fields.
    pub warnings: Vec<String>,
}

/// Decodes a body that must be of one type.
pub fn object(
    body: &[u8],
    media: Media,
    wanted: Wanted,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    if media == Media::Protobuf && wanted.custom.is_some() {
        let why = format!("{} is read as JSON or YAML only", wanted.kind);
        return Err(unreadable(&Unreadable::Protobuf(why), body, wanted));
    }
    let read = node::read(body, media).map_err(|fault| unreadable(&fault, body, wanted))?;
    let about = kind_of(&read.node).map_err(|fault| unrecognized(&fault, body, wanted))?;
    if wanted.custom.is_some() && about.0.is_empty() {
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body));
        return Err(unrecognized(&why, body, wanted));
    }
    let about = match wanted.custom {
        Some(_) => About::custom(about, wanted)?,
        None => About::with_defaults(about, wanted),
    };
    if wanted.custom.is_none() {
        about.check(wanted)?;
    }
    let refuse = |why: &str| about.refuse(wanted, why);
    let typed = wanted.read(&read.node).map_err(|fault| refuse(&fault))?;
    let mut faults = read.faults;
    let twice = (!faults.is_empty()).then(|| set_twice(&faults));
    let strict: Vec<String> = twice.into_iter().chain(typed.faults.iter().cloned()).collect();
    if validation == FieldValidation::Strict && !strict.is_empty() {
        return Err(refuse(&format!("strict decoding error: {}", strict.join(", "))));
    }
    faults.extend(typed.faults);
    let mut object = typed.object;
    wanted.name(&mut object);
    let warnings = if validation == FieldValidation::Warn { faults } else { Vec::new() };
    Ok(Decoded { object, warnings })
}

/// How Go tells of keys that YAML sets twice.
fn set_twice(faults: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", faults.join("\n  "))
}

/// A patched object on its way back to its type.
#[derive(Debug)]
pub struct Patched<'a> {
    /// The object.
    pub node: &'a Node,
    /// What refusals quote; the object where nothing is given.
    pub quoted: Option<String>,
    /// What a strict reader said of the patch itself.
    pub told: Vec<String>,
}

/// Holds a patched object against its type: what does not fit is 422 on the field `patch`, with an empty kind
/// and name, as upstream has it.
pub fn patched(
    patched: Patched<'_>,
    wanted: Wanted,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let Patched { node, quoted, mut told } = patched;
    let refuse = |why: &str| {
        let quoted = quoted.clone().unwrap_or_else(|| node.to_json());
        let fault = api::FieldError {
            path: api::Path::new("patch"),
            fault: api::field::Fault::Invalid,
            body: format!("Invalid value: {}: {why}", options::quote(&quoted)),
        };
        api::field::invalid("", "", "", &[fault])
    };
    let about = kind_of(node).map_err(|why| refuse(&why))?;
    if wanted.custom.is_some() && about.0.is_empty() {
        return Err(refuse(&format!("Object 'Kind' is missing in '{}'", node.to_json())));
    }
    let about = About::with_defaults(about, wanted);
    if wanted.custom.is_none() && !about.is(wanted) {
        return Err(refuse(&about.mistaken(wanted)));
    }
    let typed = wanted.read(node).map_err(|why| refuse(&why))?;
    told.extend(typed.faults);
    if validation == FieldValidation::Strict && !told.is_empty() {
        return Err(refuse(&format!("strict decoding error: {}", told.join(", "))));
    }
    let warnings = if validation == FieldValidation::Warn { told } else { Vec::new() };
    let mut object = typed.object;
    wanted.name(&mut object);
    Ok(Decoded { object, warnings })
}

/// Holds an applied object against its type; unknown fields of it were refused before.
///
/// # Errors
/// What Go says of a value that its type cannot hold, where the schema can.
pub fn converted(node: &Node, wanted: Wanted) -> Result<Value, String> {
    let mut object = wanted.read(node)?.object;
    wanted.name(&mut object);
    Ok(object)
}

/// Decodes the options in the body of a delete; an empty body is none.
pub fn delete_options(body: &[u8], media: Media) -> Result<Option<Value>, Status> {
    if body.is_empty() {
        return Ok(None);
    }
    let read = node::read(body, media).map_err(|fault| match fault {
        Unreadable::Json(why) => {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
        }
        Unreadable::Yaml(why) => Status::bad_request(format!("yaml: {why}")),
        Unreadable::Protobuf(why) => Status::bad_request(why),
    })?;
    let (kind, version) = kind_of(&read.node).map_err(Status::bad_request)?;
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {:?} in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"",
            if version.is_empty() { "v1" } else { &version }
        )));
    }
    Ok(Some(read.node.into_value()))
}

/// A merge patch or strategic merge patch.
///
/// # Errors
/// What Go says of a body that is no JSON object.
pub fn merge_patch(body: &[u8]) -> Result<Decoded, String> {
    let node = node::read(body, Media::Json).map_err(|fault| fault.to_string())?.node;
    if !matches!(node, Node::Object(_) | Node::Null) {
        return Err(cannot_unmarshal(&node, "map[string]interface {}"));
    }
    let told = strict::object(&node, "")?.faults;
    Ok(Decoded { object: node.into_value(), warnings: told })
}

/// A JSON patch: a list of operations.
///
/// # Errors
/// What Go says of a body that is none.
pub fn json_patch(body: &[u8]) -> Result<Decoded, String> {
    let node = node::read(body, Media::Json).map_err(|fault| fault.to_string())?.node;
    let items = match &node {
        Node::Null => &[][..],
        Node::List(items) => items.as_slice(),
        other => return Err(cannot_unmarshal(other, "[]handlers.jsonPatchOp")),
    };
    let mut told = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let fields = match item {
            Node::Object(fields) => fields.as_slice(),
            Node::Null => &[][..],
            other => return Err(cannot_unmarshal(other, "handlers.jsonPatchOp")),
        };
        for (place, (key, value)) in fields.iter().enumerate() {
            if !matches!(key.as_str(), "op" | "path" | "from" | "value") {
                told.push(format!("json patch unknown field \"[{at}].{key}\""));
            } else if fields.iter().take(place).any(|(earlier, _)| earlier == key) {
                told.push(format!("json patch duplicate field \"[{at}].{key}\""));
            } else if key != "value" && !matches!(value, Node::Text(_) | Node::Null) {
                return Err(format!(
                    "json: cannot unmarshal {} into Go struct field jsonPatchOp.{key} of type string",
                    value.go_kind()
                ));
            }
        }
    }
    Ok(Decoded { object: node.into_value(), warnings: told })
}

fn cannot_unmarshal(found: &Node, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", found.go_kind())
}

/// An applied document, which is YAML or JSON, and what a strict reader says of it.
///
/// # Errors
/// 400 for what is no object, and for keys set twice where that is asked for.
pub fn applied(body: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    const ABOUT: &str = "error converting YAML to JSON: ";
    let refuse = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let read =
        node::read(body, Media::Yaml).map_err(|why| refuse(format!("{ABOUT}yaml: {why}")))?;
    if !matches!(read.node, Node::Object(_) | Node::Null) {
        return Err(refuse(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            read.node.go_kind()
        )));
    }
    if validation == FieldValidation::Strict && !read.faults.is_empty() {
        let twice = set_twice(&read.faults);
        return Err(Status::bad_request(format!("error strict decoding YAML: {ABOUT}{twice}")));
    }
    let warnings = if validation == FieldValidation::Warn { read.faults } else { Vec::new() };
    Ok(Decoded { object: read.node.into_value(), warnings })
}

/// `kind` and `apiVersion` as the body has them.
fn kind_of(node: &Node) -> Result<(String, String), String> {
    const STRUCT: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    let fields = match node {
        Node::Object(fields) => fields,
        Node::Null => return Ok(Default::default()),
        other => {
            let kind = other.go_kind();
            return Err(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {kind} into Go value of type {STRUCT}"
            ));
        }
    };
    let text = |key: &str| match fields.iter().rfind(|(name, _)| name == key) {
        None | Some((_, Node::Null)) => Ok(String::new()),
        Some((_, Node::Text(text))) => Ok(text.clone()),
        Some((_, other)) => Err(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{key} of type string",
            other.go_kind()
        )),
    };
    let (kind, version) = (text("kind")?, text("apiVersion")?);
    if version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    Ok((kind, version))
}

fn unreadable(fault: &Unreadable, body: &[u8], wanted: Wanted) -> Status {
    if let Unreadable::Protobuf(why) = fault {
        let status = unknown_media();
        let message = format!("{}: {why}", status.message);
        return Status { message, ..status };
    }
    let why = match fault {
        Unreadable::Json(why) => format!("couldn't get version/kind; json parse error: {why}"),
        Unreadable::Yaml(why) | Unreadable::Protobuf(why) => format!("yaml: {why}"),
    };
    unrecognized(&why, body, wanted)
}

fn unrecognized(why: &str, body: &[u8], wanted: Wanted) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        wanted.kind,
        shown(body)
    ))
}

/// The beginning of a body: as text when it begins like JSON, else in hex.
fn shown(body: &[u8]) -> String {
    let head = body.get(..SHOWN_BYTES_MAX).unwrap_or(body);
    let more = if head.len() < body.len() { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let hex: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}{more}", hex.concat())
        }
    }
}

/// What a body says it is, the gaps filled from the path.
struct About {
    group: String,
    version: String,
    kind: String,
}

impl About {
    /// Of a custom kind only the version must be that of the path; its kind is judged later.
    fn custom((kind, version): (String, String), wanted: Wanted) -> Result<Self, Status> {
        if version != wanted.api_version() {
            return Err(Status::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({})",
                wanted.api_version()
            )));
        }
        let (group, version) = (wanted.group.to_owned(), wanted.version.to_owned());
        Ok(Self { group, version, kind })
    }

    fn with_defaults((kind, version): (String, String), wanted: Wanted) -> Self {
        let (group, version) = match version.split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), version),
        };
        let kind = if kind.is_empty() { wanted.kind.to_owned() } else { kind };
        if group.is_empty() && version.is_empty() {
            return Self {
                group: wanted.group.to_owned(),
                version: wanted.version.to_owned(),
                kind,
            };
        }
        Self { group, version, kind }
    }

    fn refuse(&self, wanted: Wanted, why: &str) -> Status {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            self.kind, self.version, wanted.kind
        ))
    }

    fn is(&self, wanted: Wanted) -> bool {
        let mine = (self.group.as_str(), self.version.as_str(), self.kind.as_str());
        mine == (wanted.group, wanted.version, wanted.kind)
    }

    /// What Go says of a type that is another one, or none.
    fn mistaken(&self, wanted: Wanted) -> String {
        let known = api::resource::ALL.iter().any(|row| {
            (row.group, row.version, row.kind)
                == (self.group.as_str(), self.version.as_str(), self.kind.as_str())
        });
        if known {
            return format!(
                "converting ({}.{}) to ({}.{}): unknown conversion",
                self.version,
                self.kind,
                crate::encode::go_package(wanted.group),
                wanted.kind
            );
        }
        let version = crate::encode::api_version(&self.group, &self.version);
        format!(
            "no kind {:?} is registered for version {version:?} in scheme {SCHEME:?}",
            self.kind
        )
    }

    fn check(&self, wanted: Wanted) -> Result<(), Status> {
        if self.is(wanted) {
            return Ok(());
        }
        let group_known = api::resource::ALL.iter().any(|row| row.group == self.group);
        if group_known || self.kind != wanted.kind {
            return Err(self.refuse(wanted, &self.mistaken(wanted)));
        }
        let mine = crate::encode::api_version(&self.group, &self.version);
        Err(Status::bad_request(format!(
            "the API version in the data ({mine}) does not match the expected API version ({})",
            wanted.api_version()
        )))
    }
}

#[cfg(test)]
mod tests;
