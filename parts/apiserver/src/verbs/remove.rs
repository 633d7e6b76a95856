//! DELETE of one object and of a collection.

use super::delete::{self, Plan};
use super::{Call, list, shelf};
use crate::admit::admission;
use crate::decode;
use crate::decode::options::{DeleteOptions, ListOptions, Propagation};
use crate::encode::{self, Reply};
use crate::records::{CommitError, Expected, Record};
use crate::verbs::update::ROUNDS_MAX;
use api::Status;
use axum::body::Body;
use bytes::Bytes;
use serde_json::Value;

/// What became of an object.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its last or present state.
    pub(crate) bytes: Bytes,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// Answers a DELETE of one object.
pub(crate) async fn one(call: &Call, body: Body) -> Result<Reply, Status> {
    let options = options(call, body).await?;
    let outcome = delete(call, call.namespace(), call.name(), &options).await?;
    let whole = !outcome.gone || call.strategy.delete_answers_object();
    if whole {
        let accepted = !outcome.gone
            && options.propagation == Some(Propagation::Background)
            && options.orphan_said;
        return call.source().object(if accepted { 202 } else { 200 }, &outcome.bytes);
    }
    let object = encode::parse(&outcome.bytes)?;
    let uid = super::create::text(&object, "uid");
    let status = Status::deleted(call.row.group, call.row.plural, call.name(), &uid);
    Ok(Reply::status(&status, call.form.format))
}

/// Answers a DELETE of a collection, or of one page of it: the list as it was before.
pub(crate) async fn collection(call: &Call, body: Body) -> Result<Reply, Status> {
    let options = options(call, body).await?;
    let listing = ListOptions::read(&call.query, false)?;
    let selection = list::Selection::read(call, &listing)?;
    let (found, meta) = list::found(call, &listing, &selection, true).await?;
    for record in &found.records {
        match delete(call, &record.key.namespace, &record.key.name, &options).await {
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
            Ok(_) => {}
        }
    }
    let objects: Vec<Bytes> =
        found.records.iter().map(|record| shelf::shown(call.row, record)).collect();
    call.source().list(&meta, &objects)
}

async fn options(call: &Call, body: Body) -> Result<DeleteOptions, Status> {
    let media = decode::media(call.content_type())?;
    let body = decode::body(body).await?;
    let sent = decode::delete_options(&body, media)?;
    DeleteOptions::read(&call.query, sent.as_ref())
}

/// Deletes one object as far as its grace and finalizers let it go.
pub(crate) async fn delete(
    call: &Call,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Outcome, Status> {
    let missing = || Status::not_found(call.row.group, call.row.plural, name);
    for round in 1.. {
        let record =
            shelf::find(&call.server.records, call.row, namespace, name).ok_or_else(missing)?;
        let old = shelf::value(call.row, &record)?;
        let attributes = call.admission(admission::Operation::Delete, name, Some(&old));
        let attributes = admission::Attributes { namespace, ..attributes };
        let view = shelf::Sight(&call.server.records);
        admission::validate(&call.server.config.plugins, &old, &attributes, &view)?;
        let plan = delete::plan(call.row, call.strategy, &old, options, call.now)?;
        match carry_out(call, options, &record, &old, plan).await {
            Ok(outcome) => return Ok(outcome),
            Err(CommitError::Conflict(_)) if round < ROUNDS_MAX => {}
            Err(error) => return Err(shelf::refusal(call.row, name, &error)),
        }
    }
    Err(shelf::conflict(call.row, name))
}

async fn carry_out(
    call: &Call,
    options: &DeleteOptions,
    record: &Record,
    old: &Value,
    plan: Plan,
) -> Result<Outcome, CommitError> {
    let now = || shelf::shown(call.row, record);
    match plan {
        Plan::Pending => Ok(Outcome { bytes: now(), gone: false }),
        Plan::Mark(object) if &object == old => Ok(Outcome { bytes: now(), gone: false }),
        Plan::Mark(object) | Plan::MarkAndRemove(object) if options.dry_run => {
            Ok(Outcome { bytes: encode::object_bytes(&object).into(), gone: false })
        }
        Plan::Remove if options.dry_run => Ok(Outcome { bytes: now(), gone: true }),
        Plan::Mark(object) => {
            let done = put(call, record, &object).await?;
            Ok(Outcome { bytes: shelf::shown(call.row, &done), gone: false })
        }
        Plan::MarkAndRemove(object) => {
            let marked = put(call, record, &object).await?;
            remove_marked(call, marked).await
        }
        Plan::Remove => remove(call, record).await,
    }
}

fn write<'a>(call: &Call, record: &'a Record) -> shelf::Write<'a> {
    shelf::Write {
        row: call.row,
        namespace: &record.key.namespace,
        name: &record.key.name,
        expected: Expected::Revision(record.revision),
    }
}

async fn put(
    call: &Call,
    record: &Record,
    object: &Value,
) -> Result<std::sync::Arc<Record>, CommitError> {
    let ttl = call.server.config.event_ttl;
    let done = write(call, record).put(&call.server.records, object, ttl).await?;
    call.server.observe(&done.record.key);
    Ok(done.record)
}

/// Removes what was just marked as having no grace left. Any update of it may be quicker, such as its agent's report:
/// that, too, removes such an object, and then what was asked for is done.
async fn remove_marked(
    call: &Call,
    mut marked: std::sync::Arc<Record>,
) -> Result<Outcome, CommitError> {
    for _ in 1..ROUNDS_MAX {
        match remove(call, &marked).await {
            Err(CommitError::Conflict(now)) if now.facts.uid == marked.facts.uid => marked = now,
            Err(CommitError::Conflict(_) | CommitError::Missing) => {
                return Ok(Outcome { bytes: shelf::shown(call.row, &marked), gone: true });
            }
            done => return done,
        }
    }
    remove(call, &marked).await
}

async fn remove(call: &Call, record: &Record) -> Result<Outcome, CommitError> {
    let ttl = call.server.config.event_ttl;
    let done = write(call, record).remove(&call.server.records, None, ttl).await?;
    call.server.observe(&done.record.key);
    Ok(Outcome { bytes: shelf::shown(call.row, &done.record), gone: true })
}
