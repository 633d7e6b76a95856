//! PUT, and the loop that every change of an object goes through: read, change, admit, compare, write,
//! again if someone else was faster.

use super::create::{self, text};
use super::services::{self, Grant};
use super::{Call, charge, delete, fields, shelf};
use crate::admit::{admission, before_update, metadata};
use crate::authorize::escalation;
use crate::decode::options::WriteOptions;
use crate::decode::{self, Decoded, Wanted};
use crate::encode::{self, Reply};
use crate::records::{CommitError, Expected, Record};
use api::field::FieldError;
use api::{Path, Resource, Status};
use axum::body::Body;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// How often a change that names no resourceVersion is tried again when someone else wrote in between. Each
/// lost round means that another writer won, so five lost rounds are five writes within microseconds.
pub(crate) const ROUNDS_MAX: usize = 5;

/// Answers a PUT.
pub(crate) async fn put(call: &Call, body: Body) -> Result<Reply, Status> {
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "UpdateOptions")?;
    let Decoded { mut object, warnings } =
        decode::object(&body, media, Wanted::of(call.row), options.validation)?;
    call.warn(warnings);
    call.strategy.convert(&object)?;
    settle_place(call, &mut object)?;
    call.strategy.default(&mut object);
    crate::admit::omit_empty(call.row, &mut object);
    call.warn(metadata::owners_once(&mut object, false));
    let manager = call.manager(&options);
    let missing =
        shelf::find(&call.server.records, call.row, call.namespace(), call.name()).is_none();
    if missing && call.subresource().is_empty() && call.strategy.create_on_update() {
        return create_by_put(call, object, &options).await;
    }
    check_version(call, &object)?;
    let written = rewrite(call, &options, |old| {
        check_uid(call, &object, old)?;
        let mut object = object.clone();
        fields::updated(call, old, &mut object, &manager);
        Ok(object)
    })
    .await?;
    call.source().object(200, &written)
}

async fn create_by_put(
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Reply, Status> {
    authorize_create(call)?;
    let uid = text(&object, "uid");
    if !uid.is_empty() {
        return Err(wrong_uid(call, &uid, ""));
    }
    if call.row.namespaced {
        create::set(&mut object, "namespace", call.namespace());
    }
    create::fill_system_fields(call, &mut object);
    fields::created(call, &mut object, &call.manager(options));
    let bytes = create::store_new(call, object, options, "").await?;
    call.source().object(201, &bytes)
}

/// A write that creates needs the right to create.
pub(crate) fn authorize_create(call: &Call) -> Result<(), Status> {
    let mut attributes = call.target.attributes.clone();
    attributes.verb = Cow::Borrowed("create");
    call.server.authorizer.authorize(&call.identity, &attributes)
}

/// Name and namespace of the object must be those of the path; a missing namespace is filled in, and one of a
/// cluster-scoped object forgotten.
pub(crate) fn settle_place(call: &Call, object: &mut Value) -> Result<(), Status> {
    create::settle_namespace(call, object)?;
    let (name, asked) = (text(object, "name"), call.name());
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({asked} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != asked {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({asked})"
        )));
    }
    Ok(())
}

/// A resourceVersion must be a number, and some kinds insist on one.
fn check_version(call: &Call, object: &Value) -> Result<(), Status> {
    let version = text(object, "resourceVersion");
    readable_version(&version)?;
    if matches!(version.as_str(), "" | "0") && !call.strategy.unconditional_update() {
        let path = Path::new("metadata").child("resourceVersion");
        let fault = FieldError::invalid(path, 0, "must be specified for an update");
        return Err(api::field::invalid(call.row.group, call.row.plural, call.name(), &[fault]));
    }
    Ok(())
}

fn readable_version(version: &str) -> Result<(), Status> {
    if version.is_empty() {
        return Ok(());
    }
    decode::options::unsigned(version).map(drop).map_err(|why| Status::failure(500, "", why))
}

pub(crate) fn check_uid(call: &Call, object: &Value, old: &Value) -> Result<(), Status> {
    let (uid, stored) = (text(object, "uid"), text(old, "uid"));
    if uid.is_empty() || uid == stored { Ok(()) } else { Err(wrong_uid(call, &uid, &stored)) }
}

/// Where upstream keeps the objects of a resource.
fn stored_under(row: &Resource) -> String {
    match (row.group, row.plural) {
        ("", "nodes") => "minions".to_owned(),
        ("", "services") => "services/specs".to_owned(),
        ("", "endpoints") => "services/endpoints".to_owned(),
        ("", "replicationcontrollers") => "controllers".to_owned(),
        ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
        (group, plural) if row.custom.is_some() || group == "apiextensions.k8s.io" => {
            format!("{group}/{plural}")
        }
        (_, plural) => plural.to_owned(),
    }
}

/// 409: the object of this name is another one.
pub(crate) fn wrong_uid(call: &Call, uid: &str, stored: &str) -> Status {
    failed_precondition(call, "UID", uid, stored)
}

/// 409 in the words of upstream's store.
pub(crate) fn failed_precondition(call: &Call, what: &str, asked: &str, stored: &str) -> Status {
    let place = match call.namespace() {
        "" => call.name().to_owned(),
        namespace => format!("{namespace}/{}", call.name()),
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{place}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: {what} in precondition: {asked}, {what} in object meta: {stored}",
        stored_under(call.row)
    );
    Status::conflict(call.row.group, call.row.plural, call.name(), &why)
}

/// Changes the object named in the path by `change`, which gets the object as it is. Nothing is written when
/// nothing changed; a change that removes the last finalizer of an object being deleted removes the object.
/// Answers the object as stored.
pub(crate) async fn rewrite(
    call: &Call,
    options: &WriteOptions,
    mut change: impl FnMut(&Value) -> Result<Value, Status>,
) -> Result<Bytes, Status> {
    for round in 1.. {
        let record = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
            .ok_or_else(|| call.not_found())?;
        let old = shelf::value(call.row, &record)?;
        let mut object = change(&old)?;
        let asked = text(&object, "resourceVersion");
        readable_version(&asked)?;
        let pinned = !matches!(asked.as_str(), "" | "0") && asked != record.revision.to_string();
        if pinned {
            return Err(shelf::conflict(call.row, call.name()));
        }
        let _grant = admit(call, &mut object, &old)?;
        let attributes = call.admission(admission::Operation::Update, call.name(), Some(&old));
        charge::pay(call, &object, &attributes, options.dry_run).await?;
        match write(call, options, &record, &old, &object).await {
            Ok(bytes) => return Ok(bytes),
            // The caller's own resourceVersion is compared again in the next round.
            Err(CommitError::Conflict(_)) if round < ROUNDS_MAX => {}
            Err(error) => return Err(shelf::refusal(call.row, call.name(), &error)),
        }
    }
    Err(shelf::conflict(call.row, call.name()))
}

/// Mutating admission, what a Service is given, the strategy, validating admission.
fn admit(call: &Call, object: &mut Value, old: &Value) -> Result<Option<Grant>, Status> {
    let view = shelf::Sight(&call.server.records);
    let plugins = &call.server.config.plugins;
    if call.row.namespaced && text(object, "namespace").is_empty() {
        create::set(object, "namespace", call.namespace());
    }
    let attributes = call.admission(admission::Operation::Update, call.name(), Some(old));
    admission::mutate(plugins, object, &attributes, &view)?;
    let asked = &call.target.attributes;
    escalation::check(&call.server.authorizer, &call.identity, asked, Some(old), object)?;
    let grant = services::allocate(call, object, Some(old))?;
    call.warn(before_update(call.row, object, old, &call.context())?);
    call.warn(admission::validate(plugins, object, &attributes, &view)?);
    Ok(grant)
}

async fn write(
    call: &Call,
    options: &WriteOptions,
    record: &Record,
    old: &Value,
    object: &Value,
) -> Result<Bytes, CommitError> {
    if unchanged(object, old) {
        return Ok(shelf::shown(call.row, record));
    }
    let finished = delete::finished_by_update(call.row, object, old);
    let bytes = (finished || options.dry_run).then(|| {
        let mut object = object.clone();
        create::set(&mut object, "resourceVersion", record.revision.to_string());
        Bytes::from(encode::object_bytes(&object))
    });
    if let Some(bytes) = bytes.as_ref().filter(|_| options.dry_run) {
        return Ok(bytes.clone());
    }
    let write = shelf::Write {
        row: call.row,
        namespace: call.namespace(),
        name: call.name(),
        expected: Expected::Revision(record.revision),
    };
    let ttl = call.server.config.event_ttl;
    let done = if finished {
        write.remove(&call.server.records, Some(object), ttl).await?
    } else {
        write.put(&call.server.records, object, ttl).await?
    };
    call.server.observe(&done.record.key);
    // The answer to the change that ends a delete is the object before it went, as upstream has it.
    Ok(bytes.unwrap_or_else(|| shelf::shown(call.row, &done.record)))
}

/// Whether nothing changed but perhaps the times in `managedFields`; the version is compared elsewhere.
fn unchanged(object: &Value, old: &Value) -> bool {
    let same = |key: &str, one: Option<&Value>, other: Option<&Value>| match key {
        "resourceVersion" => true,
        "managedFields" => {
            one == other || (one.is_some() == other.is_some() && timeless(one) == timeless(other))
        }
        _ => one == other,
    };
    let parts = |key: &str, one: Option<&Value>, other: Option<&Value>| match (key, one, other) {
        ("metadata", Some(Value::Object(one)), Some(Value::Object(other))) => {
            alike(one, other, &same)
        }
        _ => one == other,
    };
    match (object, old) {
        (Value::Object(object), Value::Object(old)) => alike(object, old, &parts),
        _ => object == old,
    }
}

/// What counts as the same in a field of that name.
type Same<'a> = dyn Fn(&str, Option<&Value>, Option<&Value>) -> bool + 'a;

/// Whether two objects agree in every field, by what `same` thinks of each.
fn alike(one: &Map<String, Value>, other: &Map<String, Value>, same: &Same<'_>) -> bool {
    one.iter().all(|(key, value)| same(key, Some(value), other.get(key)))
        && other.iter().all(|(key, value)| one.contains_key(key) || same(key, None, Some(value)))
}

/// The entries without their times.
fn timeless(entries: Option<&Value>) -> Vec<Vec<(&String, &Value)>> {
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    let fields = entries.filter_map(Value::as_object);
    fields.map(|fields| fields.iter().filter(|(key, _)| *key != "time").collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_write_of_other_times_only_is_no_change() {
        let object = |version: &str, time: &str, label: &str| {
            json!({"metadata": {"resourceVersion": version, "labels": {"a": label},
                "managedFields": [{"manager": "m", "time": time}, {"manager": "n"}]}, "spec": {"x": 1}})
        };
        let old = object("5", "1", "b");
        assert!(unchanged(&object("5", "2", "b"), &old));
        assert!(!unchanged(&object("5", "1", "c"), &old));
        let mut other = old.clone();
        other["metadata"]["managedFields"][1]["manager"] = json!("o");
        assert!(!unchanged(&other, &old));
        for field in ["spec", "metadata"] {
            let mut less = old.clone();
            less.as_object_mut().map(|fields| fields.remove(field));
            assert!(!unchanged(&less, &old) && !unchanged(&old, &less), "{field}");
        }
    }
}
