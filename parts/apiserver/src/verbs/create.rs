//! POST, and what PUT and apply do where nothing is there yet.

use super::{Call, charge, services, shelf};
use crate::admit::json::JsonMut;
use crate::admit::{admission, before_create, metadata};
use crate::authorize::escalation;
use crate::decode::options::WriteOptions;
use crate::decode::{self, Wanted};
use crate::encode::{self, Reply};
use crate::records::{CommitError, Expected};
use crate::verbs::delete::seconds;
use api::Status;
use axum::body::Body;
use rand::RngCore;
use rand::rngs::StdRng;
use serde_json::Value;

/// How often a name is drawn for `generateName`: the alphabet has 27 letters and the suffix five, so that even
/// with a million objects of one prefix all eight are taken once in 10^9 creates.
const NAME_DRAWS_MAX: usize = 8;

/// Longest prefix that a suffix still fits behind: names have 63 characters, suffixes five.
const PREFIX_CHARS_MAX: usize = 58;

/// Letters of a generated suffix; without vowels and look-alikes, as upstream.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Answers a POST to a collection.
pub(crate) async fn create(call: &Call, body: Body) -> Result<Reply, Status> {
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "CreateOptions")?;
    let decoded = decode::object(&body, media, Wanted::of(call.row), options.validation)?;
    call.warn(decoded.warnings);
    let mut object = decoded.object;
    call.strategy.convert(&object)?;
    call.strategy.default(&mut object);
    // Nobody owns what is not written: protobuf also says what is not set.
    crate::admit::omit_empty(call.row, &mut object);
    settle_namespace(call, &mut object)?;
    call.warn(metadata::owners_once(&mut object, false));
    let sent_version = text(&object, "resourceVersion");
    fill_system_fields(call, &mut object);
    let manager = call.manager(&options);
    super::fields::created(call, &mut object, &manager);
    let created = store_new(call, object, &options, &sent_version).await?;
    call.source().object(201, &created)
}

/// Admits and stores an object that is complete but for its name; answers it as stored.
pub(crate) async fn store_new(
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
    sent_version: &str,
) -> Result<bytes::Bytes, Status> {
    let given = text(&object, "name");
    let prefix = text(&object, "generateName");
    let generated = given.is_empty() && !prefix.is_empty();
    let draws = if generated { NAME_DRAWS_MAX } else { 1 };
    let view = shelf::Sight(&call.server.records);
    let suffix = if call.server.config.plugins.draws_for(call.row) {
        call.server.chance(|chance| generated_name("", chance))
    } else {
        String::new()
    };
    let shown = if generated { &prefix } else { &given };
    let mut attributes = call.admission(admission::Operation::Create, shown, None);
    attributes.suffix = &suffix;
    admission::mutate(&call.server.config.plugins, &mut object, &attributes, &view)?;
    escalation::check(
        &call.server.authorizer,
        &call.identity,
        &call.target.attributes,
        None,
        &object,
    )?;
    let mut taken = String::new();
    for draw in 1..=draws {
        let mut object = if draw == draws { std::mem::take(&mut object) } else { object.clone() };
        if generated {
            set(&mut object, "name", call.server.chance(|chance| generated_name(&prefix, chance)));
        }
        let name = text(&object, "name");
        let _grant = services::allocate(call, &mut object, None)?;
        call.warn(before_create(call.row, &mut object, &call.context())?);
        let attributes = admission::Attributes { name: &name, ..attributes };
        call.warn(admission::validate(&call.server.config.plugins, &object, &attributes, &view)?);
        charge::pay(call, &object, &attributes, options.dry_run).await?;
        if !sent_version.is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Status::failure(500, "", why));
        }
        let stored = if options.dry_run {
            dry(call, &name, &object)
        } else {
            put_new(call, &name, &object).await
        };
        match stored {
            Err(CommitError::Exists(_)) => taken = name,
            Err(other) => return Err(shelf::refusal(call.row, &name, &other)),
            Ok(bytes) => return Ok(bytes),
        }
    }
    let mut status = Status::already_exists(call.row.group, call.row.plural, &taken);
    if generated {
        status
            .message
            .push_str(", the server was not able to generate a unique name for the object");
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
    }
    Err(status)
}

async fn put_new(call: &Call, name: &str, object: &Value) -> Result<bytes::Bytes, CommitError> {
    let namespace = call.namespace();
    let write = shelf::Write { row: call.row, namespace, name, expected: Expected::Absent };
    let done = write.put(&call.server.records, object, call.server.config.event_ttl).await?;
    call.server.observe(&done.record.key);
    Ok(shelf::shown(call.row, &done.record))
}

fn dry(call: &Call, name: &str, object: &Value) -> Result<bytes::Bytes, CommitError> {
    match shelf::find(&call.server.records, call.row, call.namespace(), name) {
        Some(record) => Err(CommitError::Exists(record)),
        None => Ok(encode::object_bytes(object).into()),
    }
}

/// Whoever sends an object with a namespace sends that of the path.
pub(crate) fn check_namespace(call: &Call, object: &Value) -> Result<(), Status> {
    let (sent, asked) = (text(object, "namespace"), call.namespace());
    if !sent.is_empty() && !asked.is_empty() && sent != asked {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The namespace of the path holds; a different one in the object is an error.
pub(crate) fn settle_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    check_namespace(call, object)?;
    let asked = call.namespace();
    if call.row.namespaced {
        set(object, "namespace", asked);
    } else {
        meta(object).unset("namespace");
    }
    Ok(())
}

/// What only the server sets: uid and time of creation; marks of deletion go.
pub(crate) fn fill_system_fields(call: &Call, object: &mut Value) {
    let uid = call.server.chance(uid);
    set(object, "uid", uid);
    set(object, "creationTimestamp", seconds(call.now));
    let meta = meta(object);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"] {
        meta.unset(key);
    }
}

/// A random UUID (version 4).
pub(crate) fn uid(chance: &mut StdRng) -> String {
    let mut bytes = [0_u8; 16];
    chance.fill_bytes(&mut bytes);
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().concat();
    format!("{}-{}-{}-{}-{}", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16))
}

fn generated_name(prefix: &str, chance: &mut StdRng) -> String {
    let head: String = prefix.chars().take(PREFIX_CHARS_MAX).collect();
    let letters = (0..5).map(|_| {
        let at = chance.next_u32() as usize % SUFFIX_ALPHABET.len();
        SUFFIX_ALPHABET.get(at).map_or('x', |letter| char::from(*letter))
    });
    head + &letters.collect::<String>()
}

/// A text of the metadata; empty when absent.
pub(crate) fn text(object: &Value, key: &str) -> String {
    let found = object.get("metadata").and_then(|meta| meta.get(key)).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// Sets a text of the metadata.
pub(crate) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    meta(object).set(key, value);
}

/// The metadata, made if it is missing.
pub(crate) fn meta(object: &mut Value) -> &mut Value {
    object.object("metadata")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn uids_are_version_four_and_follow_the_seed() {
        let draw = |seed| uid(&mut StdRng::seed_from_u64(seed));
        let one = draw(1);
        assert_eq!(
            (one.len(), one.as_bytes()[14], one == draw(1), one == draw(2)),
            (36, b'4', true, false)
        );
        assert!(matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{one}");
    }

    #[test]
    fn long_prefixes_are_cut() {
        let name = generated_name(&"x".repeat(80), &mut StdRng::seed_from_u64(1));
        assert_eq!(name.len(), 63);
    }
}
