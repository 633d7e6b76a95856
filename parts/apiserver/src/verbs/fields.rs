//! Who owns which fields, and what patches do: the calls into `merge`.

use super::Call;
use super::create::text;
use crate::decode::options::{FieldValidation, WriteOptions};
use crate::decode::{self, Wanted};
use crate::merge::{self, Manager};
use api::schema::{self, Type};
use api::{Resource, Status};
use serde_json::Value;

/// The type of the objects that a call works on.
fn kind(call: &Call) -> Result<&'static Type, Status> {
    schema::of(call.row).ok_or_else(|| Status::internal("the resource has no type"))
}

fn manager<'a>(call: &'a Call, name: &'a str, api_version: &'a str) -> Manager<'a> {
    Manager { name, api_version, subresource: call.subresource(), now: call.now }
}

/// A new object: all its fields belong to `manager`.
pub(crate) fn created(call: &Call, object: &mut Value, name: &str) {
    if let Ok(kind) = kind(call) {
        let version = call.row.api_version();
        // A create through a subresource (binding) is none of the object itself.
        created_as(call, object, name, (&version, kind));
    }
}

/// A new object of an API version and type that are not those of the resource in the path.
pub(crate) fn created_as(
    call: &Call,
    object: &mut Value,
    name: &str,
    (version, kind): (&str, &'static Type),
) {
    merge::track_update(None, object, &manager(call, name, version), kind);
}

/// A quota that the server itself counted up.
pub(crate) fn counted(call: &Call, row: &'static Resource, old: &Value, new: &mut Value) {
    if let Some(kind) = schema::of(row) {
        let version = row.api_version();
        let manager = Manager {
            name: "kube-apiserver",
            api_version: &version,
            subresource: "status",
            now: call.now,
        };
        merge::track_update(Some(old), new, &manager, kind);
    }
}

/// A changed object: what differs from `old` belongs to `manager`.
pub(crate) fn updated(call: &Call, old: &Value, object: &mut Value, name: &str) {
    if let Ok(kind) = kind(call) {
        let version = call.row.api_version();
        merge::track_update(Some(old), object, &manager(call, name, &version), kind);
    }
}

/// Checks what every applied object must say of itself.
pub(crate) fn check_applied(call: &Call, applied: &Value) -> Result<(), Status> {
    let text = |pointer: &str| applied.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    if version != call.row.api_version() || kind != call.row.kind {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        return Err(Status::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        )));
    }
    Ok(())
}

/// Applies an object server-side.
pub(crate) fn apply(
    call: &Call,
    old: Option<&Value>,
    applied: &Value,
    options: &WriteOptions,
) -> Result<Value, Status> {
    let (name, version) = (call.manager(options), call.row.api_version());
    let manager = manager(call, &name, &version);
    let mut merged = merge::apply(old, applied, &manager, kind(call)?, options.force)?;
    // Back through the decoder, for Go's form of quantities and the like; unknown fields were refused above.
    let wanted = Wanted::of(call.row);
    let mut object = if call.row.custom.is_some() {
        let node = (&merged).into();
        let patched = decode::Patched { node: &node, quoted: None, told: Vec::new() };
        decode::patched(patched, wanted, FieldValidation::Ignore)?.object
    } else {
        let converted = merge::convertible(&mut merged, kind(call)?);
        converted.and_then(|()| decode::converted(&(&merged).into(), wanted)).map_err(|why| {
            let what = format!("{}/{}, Kind={}", call.row.group, call.row.version, call.row.kind);
            let (namespace, name) = (text(&merged, "namespace"), text(&merged, "name"));
            let why = format!(
                "failed to convert new object ({namespace}/{name}; {what}) to proper version: unable to convert unstructured object to {what}: {why}"
            );
            Status::failure(500, "", why)
        })?
    };
    call.strategy.default(&mut object);
    Ok(object)
}
