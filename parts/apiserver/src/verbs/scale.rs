//! The subresource `scale`: a workload seen as a number of pods.

use super::patch::{self, Kind, Patch};
use super::update::{check_uid, rewrite, settle_place};
use super::{Call, create, fields, shelf};
use crate::admit::json::{Json, JsonMut};
use crate::admit::{Column, Strategy, metadata, table};
use crate::custom;
use crate::decode::options::WriteOptions;
use crate::decode::{self, Wanted};
use crate::encode::{self, Reply, Source};
use api::field::FieldError;
use api::resource::SCALE;
use api::{Path, Status};
use axum::body::Body;
use serde_json::{Map, Value, json};

/// How a Scale is printed.
#[derive(Debug)]
struct Scale;

impl Strategy for Scale {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let replicas = |half: &str| object.at(half).int("replicas").unwrap_or(0);
        vec![
            table::name(object),
            replicas("spec").into(),
            replicas("status").into(),
            table::age(object, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    Column { format: "", ..table::NAME },
    table::column("Desired", "integer", "Pods that should be there."),
    table::column("Available", "integer", "Pods that are there."),
    table::AGE,
];

/// Answers a GET.
pub(crate) fn get(call: &Call) -> Result<Reply, Status> {
    let record = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    answer(call, &shelf::value(call.row, &record)?)
}

/// An object as a Scale.
fn view_of(call: &Call, object: &Value) -> Result<Value, Status> {
    let Some(scale) = custom::kind_of(call.row).and_then(|kind| kind.scale.as_ref()) else {
        return Ok(view(object));
    };
    let count = |at: &str| custom::number(object, at).map_err(|why| Status::internal(&why));
    // What says nothing of a number cannot be read as a Scale, but it can be given one.
    let replicas = match count(&scale.spec)? {
        Some(replicas) => replicas,
        None if call.target.attributes.verb != "get" => 0,
        None => {
            let why = format!("the spec replicas field {:?} does not exist", scale.spec);
            return Err(Status::internal(&why));
        }
    };
    // As a workload would have it.
    let mut seen =
        view(&json!({"metadata": object.at("metadata"), "spec": {"replicas": replicas}}));
    seen.object("status").set("replicas", count(&scale.status)?.unwrap_or(0));
    let selector = custom::plain(object, &scale.selector).and_then(Value::as_str);
    if let Some(selector) = selector.filter(|_| !scale.selector.is_empty()) {
        seen.object("status").set("selector", selector);
    }
    Ok(seen)
}

/// Answers a PUT.
pub(crate) async fn put(call: &Call, body: Body) -> Result<Reply, Status> {
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "UpdateOptions")?;
    let decoded = decode::object(&body, media, Wanted::of(SCALE), options.validation)?;
    call.warn(decoded.warnings);
    let mut scale = decoded.object;
    settle_place(call, &mut scale)?;
    create::set(&mut scale, "namespace", call.namespace());
    let manager = call.manager(&options);
    let written = rewrite(call, &options, |old| {
        check_uid(call, &scale, old)?;
        scaled(call, old, &scale, &manager)
    })
    .await?;
    answer(call, &encode::parse(&written)?)
}

/// Answers a PATCH.
pub(crate) async fn patch(call: &Call, body: Body) -> Result<Reply, Status> {
    let kind = patch::kind_for(call)?;
    let body = decode::body(body).await?;
    let options = WriteOptions::patch(&call.query, kind == Kind::Apply)?;
    let manager = call.manager(&options);
    let written = if kind == Kind::Apply {
        let decode::Decoded { object: applied, warnings: twice } =
            decode::applied(&body, options.validation)?;
        call.warn(twice);
        rewrite(call, &options, |old| apply(call, old, &applied, &options)).await?
    } else {
        let patch = Patch::read(kind, &body)?;
        rewrite(call, &options, |old| {
            let decoded = patch.apply(SCALE, &view_of(call, old)?, options.validation)?;
            call.warn(decoded.warnings);
            let mut scale = decoded.object;
            settle_place(call, &mut scale)?;
            same_uid(call, &scale, old)?;
            scaled(call, old, &scale, &manager)
        })
        .await?
    };
    answer(call, &encode::parse(&written)?)
}

/// A patched Scale is still that of the same workload.
fn same_uid(call: &Call, scale: &Value, old: &Value) -> Result<(), Status> {
    let (asked, stored) = (create::text(scale, "uid"), create::text(old, "uid"));
    if asked.is_empty() || asked == stored {
        return Ok(());
    }
    let plural = format!("{}/scale", call.row.plural);
    let why =
        format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stored}");
    Err(Status::conflict(call.row.group, &plural, call.name(), &why))
}

fn answer(call: &Call, object: &Value) -> Result<Reply, Status> {
    let source = Source { row: SCALE, strategy: &Scale, ..call.source() };
    source.object(200, &encode::object_bytes(&view_of(call, object)?).into())
}

/// A workload as a Scale.
fn view(object: &Value) -> Value {
    let meta = object.at("metadata");
    let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let meta: Map<String, Value> = kept
        .iter()
        .filter(|key| meta.has(key))
        .map(|key| ((*key).to_owned(), meta.at(key).clone()))
        .collect();
    let mut spec = json!({});
    if let Some(replicas) = object.at("spec").int("replicas").filter(|replicas| *replicas != 0) {
        spec.set("replicas", replicas);
    }
    let chosen = object.at("spec").at("selector");
    // A ReplicationController's selector is the labels themselves.
    let is_plain = chosen.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let selector = match if is_plain { table::labels(chosen) } else { table::selector(chosen) } {
        Value::String(text) if text == "<none>" => String::new(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let mut status = json!({"replicas": object.at("status").int("replicas").unwrap_or(0)});
    if !selector.is_empty() {
        status.set("selector", selector);
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": spec,
        "status": status,
    })
}

/// The workload with the number that a Scale says.
fn scaled(call: &Call, old: &Value, scale: &Value, manager: &str) -> Result<Value, Status> {
    let name = |name: &str, prefix: bool| metadata::name_is_subdomain(name, prefix);
    let mut faults = metadata::validate(scale, true, &name);
    let replicas = scale.at("spec").int("replicas").unwrap_or(0);
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let why = "must be greater than or equal to 0";
        faults.push(FieldError::invalid(path, replicas, why));
    }
    if !faults.is_empty() {
        return Err(api::field::invalid(SCALE.group, SCALE.kind, call.name(), &faults));
    }
    let mut object = old.clone();
    if let Some(scale_of) = custom::kind_of(call.row).and_then(|kind| kind.scale.as_ref()) {
        custom::set(&mut object, &scale_of.spec, replicas.into());
        fields::updated(call, old, &mut object, manager);
        object.object("metadata").restore("resourceVersion", scale.at("metadata"));
        return Ok(object);
    }
    object.object("spec").set("replicas", replicas);
    // Ownership is reckoned on the Scale, where nothing is written for no pods.
    let said = |object: &Value| {
        let mut object = object.clone();
        if object.at("spec").int("replicas") == Some(0) {
            object.object("spec").unset("replicas");
        }
        object
    };
    let mut owned = said(&object);
    fields::updated(call, &said(old), &mut owned, manager);
    object.object("metadata").restore("managedFields", owned.at("metadata"));
    object.object("metadata").restore("resourceVersion", scale.at("metadata"));
    Ok(object)
}

/// Applies a Scale: what it says of the number is applied to the workload.
fn apply(
    call: &Call,
    old: &Value,
    applied: &Value,
    options: &WriteOptions,
) -> Result<Value, Status> {
    let (version, kind) = (applied.text("apiVersion"), applied.text("kind"));
    if version != "autoscaling/v1" || kind != SCALE.kind {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let why = format!("invalid object type: {group}/{version}, Kind={kind}");
        return Err(Status::bad_request(why));
    }
    let mut part = json!({
        "apiVersion": call.row.api_version(),
        "kind": call.row.kind,
        "metadata": applied.at("metadata"),
    });
    if applied.at("spec").has("replicas") {
        let replicas = applied.at("spec").at("replicas").clone();
        let scale = custom::kind_of(call.row).and_then(|kind| kind.scale.as_ref());
        let at = scale.map_or(".spec.replicas", |scale| scale.spec.as_str());
        custom::set(&mut part, at, replicas);
    }
    fields::check_applied(call, &part)?;
    let mut object = fields::apply(call, Some(old), &part, options)?;
    settle_place(call, &mut object)?;
    Ok(object)
}
