//! TokenRequest: a signed token for a service account, perhaps bound to a pod, a secret or a node.

use super::create::{self, set, text, uid};
use super::{Call, fields, shelf};
use crate::admit::admission::{self, Operation};
use crate::authenticate::{Claims, Reference, SigningKey, Subject};
use crate::decode::options::WriteOptions;
use crate::decode::{self, Wanted};
use crate::encode::negotiate::{self, View};
use crate::encode::{self, Reply};
use crate::identity::Identity;
use crate::records::Key;
use crate::verbs::delete::seconds;
use api::Status;
use api::field::{self, FieldError, Path};
use api::schema;
use axum::body::Body;
use serde_json::{Value, json};

/// How long a token holds when nothing is said, seconds.
const LIFE_SECONDS: i64 = 60 * 60;

/// Shortest life that may be asked for, seconds.
const LIFE_SECONDS_MIN: i64 = 10 * 60;

/// Longest life that may be asked for, seconds.
const LIFE_SECONDS_MAX: i64 = 1 << 32;

/// The life that pods' tokens were always asked for with when clients could not yet renew them, seconds. Upstream
/// gives these a year, and only warns after the hour.
const LIFE_SECONDS_OF_OLD_CLIENTS: i64 = 60 * 60 + 7;

/// The year.
const LIFE_SECONDS_EXTENDED: i64 = 365 * 24 * 60 * 60;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";

const WANTED: Wanted = Wanted {
    group: GROUP,
    version: "v1",
    kind: KIND,
    schema: "io.k8s.api.authentication.v1.TokenRequest",
    custom: None,
};

/// Answers `POST …/serviceaccounts/<name>/token`.
pub(crate) async fn request(call: &Call, body: Body) -> Result<Reply, Status> {
    if call.form.view != View::Whole {
        return Err(negotiate::nothing_fits());
    }
    let key = call.server.config.signing_key.as_ref().ok_or_else(super::no_such_path)?;
    let (body, media) = call.body(body).await?;
    let options = WriteOptions::read(&call.query, "CreateOptions")?;
    let decoded = decode::object(&body, media, WANTED, options.validation)?;
    call.warn(decoded.warnings);
    let mut object = decoded.object;
    if object["spec"]["expirationSeconds"].is_null() {
        object["spec"]["expirationSeconds"] = LIFE_SECONDS.into();
    }
    owned(call, &mut object, &options);
    create::check_namespace(call, &object)?;
    let attributes = call.admission(Operation::Create, call.name(), None);
    let view = shelf::Sight(&call.server.records);
    admission::mutate(&call.server.config.plugins, &mut object, &attributes, &view)?;
    let named = text(&object, "name");
    if !named.is_empty() && named != call.name() {
        let why = "must match the service account name if specified";
        let fault = FieldError::invalid(Path::new("metadata").child("name"), named, why);
        return Err(field::invalid(GROUP, KIND, call.name(), &[fault]));
    }
    let account = shelf::find(&call.server.records, call.row, call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    let account = shelf::value(call.row, &account)?;
    if object["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        object["spec"]["audiences"] = json!([call.server.config.audience]);
    }
    set(&mut object, "name", call.name());
    set(&mut object, "namespace", call.namespace());
    set(&mut object, "uid", text(&account, "uid"));
    set(&mut object, "creationTimestamp", seconds(call.now));
    let faults = faults(&object);
    if !faults.is_empty() {
        return Err(field::invalid(GROUP, KIND, "", &faults));
    }
    admission::validate(&call.server.config.plugins, &object, &attributes, &view)?;
    let subject = bound(call, &object, &account)?;
    object["status"] = signed(call, key, &object, subject)?;
    if object["spec"].get("boundObjectRef").is_none() {
        object["spec"]["boundObjectRef"] = Value::Null;
    }
    call.source().object(201, &encode::object_bytes(&object).into())
}

/// Writes down who sent which field.
fn owned(call: &Call, object: &mut Value, options: &WriteOptions) {
    let Some(kind) = schema::by_name(WANTED.schema) else { return };
    let name = call.manager(options);
    fields::created_as(call, object, &name, ("authentication.k8s.io/v1", kind));
    // An empty request has this field as null, so that it is not the writer who brought it.
    let bound = "/metadata/managedFields/0/fieldsV1/f:spec/f:boundObjectRef";
    if let Some(Value::Object(bound)) = object.pointer_mut(bound) {
        bound.remove(".");
    }
}

fn faults(object: &Value) -> Vec<FieldError> {
    let path = Path::new("spec").child("expirationSeconds");
    let life = object["spec"]["expirationSeconds"].as_i64().unwrap_or_default();
    let mut faults = Vec::new();
    if life < LIFE_SECONDS_MIN {
        let why = "may not specify a duration less than 10 minutes";
        faults.push(FieldError::invalid(path.clone(), life, why));
    }
    if life > LIFE_SECONDS_MAX {
        let why = "may not specify a duration larger than 2^32 seconds";
        faults.push(FieldError::invalid(path, life, why));
    }
    faults
}

/// What the token speaks of, looked up.
fn bound(call: &Call, object: &Value, account: &Value) -> Result<Subject, Status> {
    let mut subject = Subject {
        namespace: call.namespace().to_owned(),
        serviceaccount: Reference { name: call.name().to_owned(), uid: text(account, "uid") },
        ..Subject::default()
    };
    let asked = &object["spec"]["boundObjectRef"];
    if asked.is_null() {
        return Ok(subject);
    }
    let said = |key: &str| asked[key].as_str().unwrap_or_default();
    let (version, kind, name) = (said("apiVersion"), said("kind"), said("name"));
    let core = version.is_empty() || !version.contains('/');
    let (plural, namespace) = match kind {
        "Pod" if core => ("pods", call.namespace()),
        "Secret" if core => ("secrets", call.namespace()),
        "Node" if core => ("nodes", ""),
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {}, Kind={kind}",
                if core { format!("/{version}") } else { version.to_owned() }
            )));
        }
    };
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let found = object_at(call, plural, namespace, name)
        .ok_or_else(|| Status::not_found("", plural, name))?;
    let reference = Reference { name: name.to_owned(), uid: text(&found, "uid") };
    if kind == "Pod" {
        let runs_as = found["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if runs_as != call.name() {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                call.name()
            )));
        }
    }
    let uid = said("uid");
    if !uid.is_empty() && uid != reference.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why));
    }
    match kind {
        "Pod" => {
            let node = found["spec"]["nodeName"].as_str().filter(|node| !node.is_empty());
            subject.node = node.map(|node| Reference {
                name: node.to_owned(),
                uid: object_at(call, "nodes", "", node)
                    .map(|node| text(&node, "uid"))
                    .unwrap_or_default(),
            });
            subject.pod = Some(reference);
        }
        "Secret" => subject.secret = Some(reference),
        _ => subject.node = Some(reference),
    }
    Ok(subject)
}

fn object_at(call: &Call, plural: &str, namespace: &str, name: &str) -> Option<Value> {
    let record = call.server.records.get(&Key::new(format!("/{plural}"), namespace, name))?;
    encode::parse(&record.bytes).ok()
}

/// The status: token and end.
fn signed(
    call: &Call,
    key: &SigningKey,
    object: &Value,
    mut subject: Subject,
) -> Result<Value, Status> {
    let own = &call.server.config.audience;
    let audiences: Vec<String> = object["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let asked = object["spec"]["expirationSeconds"].as_i64().unwrap_or(LIFE_SECONDS);
    let begins = call.now.as_second();
    let mut life = asked;
    let for_us = audiences.iter().all(|audience| audience == own);
    if subject.pod.is_some() && asked == LIFE_SECONDS_OF_OLD_CLIENTS && for_us {
        subject.warnafter = Some(begins + asked);
        life = LIFE_SECONDS_EXTENDED;
    }
    let user = Identity::of_service_account(&subject.namespace, &subject.serviceaccount.name).user;
    let claims = Claims {
        aud: audiences,
        exp: begins + life,
        iat: begins,
        iss: own.clone(),
        jti: call.server.chance(uid),
        kubernetes: subject,
        nbf: begins,
        sub: user,
    };
    let token = key.sign(&claims).ok_or_else(|| Status::internal("failed to generate token"))?;
    let ends = jiff::Timestamp::from_second(begins + asked).unwrap_or(jiff::Timestamp::MAX);
    Ok(json!({"token": token, "expirationTimestamp": seconds(ends)}))
}
