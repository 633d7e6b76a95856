//! PATCH in its four kinds.

use super::update::{self, Changed};
use super::{Call, create, fields, shelf};
use crate::decode::options::WriteOptions;
use crate::decode::{self, Media, Wanted};
use crate::encode::Reply;
use api::Status;
use api::status::Details;
use axum::body::Body;
use serde_json::Value;

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

pub(crate) fn kind(content_type: Option<&str>) -> Result<Kind, Status> {
    match decode::essence(content_type) {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
        "application/apply-patch+yaml" => Ok(Kind::Apply),
        _ => Err(Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(Details::default())),
    }
}

/// Answers a PATCH.
pub(crate) async fn patch(call: &Call, body: Body) -> Result<Reply, Status> {
    let kind = kind(call.content_type())?;
    let body = decode::body(body).await?;
    let options = WriteOptions::patch(&call.query, kind == Kind::Apply)?;
    if kind == Kind::Apply {
        return apply(call, &body, &options).await;
    }
    let patch = read(kind, &body)?;
    let manager = call.manager(&options);
    let mut told = Vec::new();
    let written = update::rewrite(call, &options, |old| {
        let patched = match kind {
            Kind::Json => fields::json_patch(old, &patch)?,
            Kind::Merge => fields::merge_patch(old, &patch),
            Kind::Strategic | Kind::Apply => fields::strategic(call, old, &patch)?,
        };
        let decoded = retyped(call, &patched, &options)?;
        let mut object = decoded.object;
        call.strategy.convert(&object)?;
        call.strategy.default(&mut object);
        fields::updated(call, old, &mut object, &manager);
        told = decoded.warnings;
        Ok(Changed { object, warnings: Vec::new() })
    })
    .await?;
    told.extend(written.warnings);
    let mut reply = call.source().object(200, &written.bytes)?;
    reply.warnings = told;
    Ok(reply)
}

/// Reads a patch that is no apply.
pub(crate) fn read(kind: Kind, body: &[u8]) -> Result<Value, Status> {
    let patch = decode::plain(body, Media::Json)
        .map_err(|why| Status::bad_request(format!("error decoding patch: {why}")))?;
    if kind == Kind::Json && !patch.is_array() {
        return Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            decode::go_kind(&patch)
        )));
    }
    if kind != Kind::Json && !patch.is_object() {
        return Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            decode::go_kind(&patch)
        )));
    }
    Ok(patch)
}

/// The patched object must still be of its type; what is not is 422 on the field `patch`.
fn retyped(
    call: &Call,
    patched: &Value,
    options: &WriteOptions,
) -> Result<decode::Decoded, Status> {
    decode::patched(patched, Wanted::of(call.row), options.validation)
}

/// Server-side apply: creates what is missing.
async fn apply(call: &Call, body: &[u8], options: &WriteOptions) -> Result<Reply, Status> {
    let applied = decode::plain(body, Media::Yaml)
        .map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
    fields::check_applied(call, &applied)?;
    let there =
        shelf::find(&call.server.records, call.row, call.namespace(), call.name()).is_some();
    if !there && !call.subresource().is_empty() {
        return Err(call.not_found());
    }
    if !there {
        update::authorize_create(call)?;
        let mut object = fields::apply(call, None, &applied, options)?;
        call.strategy.convert(&object)?;
        if call.row.namespaced {
            create::set(&mut object, "namespace", call.namespace());
        }
        create::fill_system_fields(call, &mut object);
        let mut warnings = Vec::new();
        let bytes = create::store_new(call, object, options, "", &mut warnings).await?;
        let mut reply = call.source().object(201, &bytes)?;
        reply.warnings = warnings;
        return Ok(reply);
    }
    let written = update::rewrite(call, options, |old| {
        let object = fields::apply(call, Some(old), &applied, options)?;
        call.strategy.convert(&object)?;
        Ok(Changed { object, warnings: Vec::new() })
    })
    .await?;
    let mut reply = call.source().object(200, &written.bytes)?;
    reply.warnings = written.warnings;
    Ok(reply)
}
