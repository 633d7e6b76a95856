//! Events: one storage, served as core `v1` and as `events.k8s.io/v1`. Kept in the core form.

use super::faults::{Faults, IMMUTABLE, qualified};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, table};
use api::{FieldError, Path};
use serde_json::{Value, json};

/// Events as core `v1` serves them.
#[derive(Debug)]
pub(crate) struct CoreEvent;

/// Events as `events.k8s.io/v1` serves them.
#[derive(Debug)]
pub(crate) struct ViewedEvent;

/// Fields with two names: of the view, and stored.
const RENAMED: [(&str, &str); 8] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("type", "type"),
];

impl Strategy for CoreEvent {
    fn default(&self, object: &mut Value) {
        fill(object);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        validate_loose(object)
    }

    fn validate_update(
        &self,
        object: &Value,
        _old: &Value,
        _context: &Context<'_>,
    ) -> Vec<FieldError> {
        validate_loose(object)
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        fields(object, &CORE_FIELDS)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &CORE_FIELDS
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells(object, now)
    }
}

impl Strategy for ViewedEvent {
    fn default(&self, object: &mut Value) {
        fill(object);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut found = validate_loose(object);
        found.extend(validate_strict(object));
        found
    }

    fn validate_update(
        &self,
        object: &Value,
        old: &Value,
        _context: &Context<'_>,
    ) -> Vec<FieldError> {
        let mut found = validate_loose(object);
        // Older writers' events may be updated without what newer ones need.
        if !old.text("eventTime").is_empty() {
            found.extend(validate_strict(object));
        }
        found.extend(validate_kept(object, old));
        found
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn to_stored(&self, object: &mut Value) {
        object.set("apiVersion", "v1");
        for (viewed, stored) in RENAMED.iter().filter(|(viewed, stored)| viewed != stored) {
            let value = object.at(viewed).clone();
            object.unset(viewed);
            if !value.is_null() {
                object.set(stored, value);
            }
        }
    }

    fn to_served(&self, object: &mut Value) {
        object.set("apiVersion", "events.k8s.io/v1");
        for (viewed, stored) in RENAMED.iter().filter(|(viewed, stored)| viewed != stored) {
            let value = object.at(stored).clone();
            object.unset(stored);
            let always = viewed.ends_with("Timestamp");
            if always || !(value.is_null() || value == "") {
                object.set(viewed, value);
            }
        }
        if object.text("reportingInstance").is_empty() {
            object.unset("reportingInstance");
        }
    }

    fn is_a_view(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        // Facts are extracted once from the stored form: both views' names for both views.
        fields(object, &CORE_FIELDS)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &VIEWED_FIELDS
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells(object, now)
    }
}

const CORE_FIELDS: [&str; 12] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
    "reportingController",
];

const VIEWED_FIELDS: [&str; 10] = [
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// Values by both views' names.
fn fields(object: &Value, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let about = object.at("involvedObject");
    let value = |name: &str| -> String {
        match name.split_once('.') {
            Some((_, key)) => about.text(key).to_owned(),
            None => match name {
                "source" if object.at("source").text("component").is_empty() => {
                    object.text("reportingComponent").to_owned()
                }
                "source" => object.at("source").text("component").to_owned(),
                "reportingController" => object.text("reportingComponent").to_owned(),
                plain => object.text(plain).to_owned(),
            },
        }
    };
    let viewed = VIEWED_FIELDS.iter().filter(|name| !names.contains(name));
    names.iter().chain(viewed).map(|name| (*name, value(name))).collect()
}

/// Spec A103.
const COLUMNS: &[Column] = &[
    table::column("Last Seen", "string", "Time since it last happened."),
    table::column("Type", "string", "Normal or Warning."),
    table::column("Reason", "string", "Why, in one word."),
    table::column("Object", "string", "What it is about."),
    table::wide("Subobject", "string", "Which part of the object."),
    table::wide("Source", "string", "Who says so."),
    table::column("Message", "string", "What happened."),
    table::wide("First Seen", "string", "Time since it first happened."),
    table::wide("Count", "string", "How often it happened."),
    Column { priority: 1, ..table::NAME },
];

fn cells(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let moment = |key: &str| match object.text(key) {
        "" => object.text("eventTime"),
        text => text,
    };
    let about = object.at("involvedObject");
    let target = match about.text("name") {
        "" => about.text("kind").to_lowercase(),
        name => format!("{}/{name}", about.text("kind").to_lowercase()),
    };
    let (component, host) = match object.at("source").text("component") {
        "" => (object.text("reportingComponent"), object.text("reportingInstance")),
        component => (component, object.at("source").text("host")),
    };
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let series = object.at("series");
    let count = if series.is_null() { object.int("count") } else { series.int("count") };
    let count = count.filter(|count| *count != 0).unwrap_or(1);
    let last = match series.text("lastObservedTime") {
        "" => moment("lastTimestamp"),
        last => last,
    };
    vec![
        table::since(last, now).into(),
        object.text("type").into(),
        object.text("reason").into(),
        target.into(),
        about.text("fieldPath").into(),
        source.into(),
        object.text("message").trim().into(),
        table::since(moment("firstTimestamp"), now).into(),
        count.into(),
        table::name(object),
    ]
}

/// Fields that are printed even when there is nothing in them.
fn fill(object: &mut Value) {
    object.fill("involvedObject", json!({}));
    object.fill("source", json!({}));
    for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        if !object.has(key) {
            object.set(key, Value::Null);
        }
    }
    object.fill("reportingComponent", "");
    object.fill("reportingInstance", "");
}

/// What every event needs: to lie in the namespace of its object, cluster-wide ones in `default`.
fn validate_loose(object: &Value) -> Faults {
    let mut found = Faults::new();
    let path = Path::new("involvedObject").child("namespace");
    let about = object.at("involvedObject").text("namespace");
    let here = object.at("metadata").text("namespace");
    let fits = if about.is_empty() { matches!(here, "" | "default" | "kube-system") } else { about == here };
    if !fits {
        found.push(FieldError::invalid(path, about, "does not match event.namespace"));
    }
    found
}

/// Longest message.
const NOTE_BYTES_MAX: usize = 1024;
/// Longest reason, action and instance.
const WORD_BYTES_MAX: usize = 128;

/// What newer events need besides.
fn validate_strict(object: &Value) -> Faults {
    let mut found = Faults::new();
    let mut need = |key: &str, shown: &str| {
        if object.text(key).is_empty() {
            found.push(FieldError::required(Path::new(shown), ""));
        }
    };
    need("eventTime", "eventTime");
    need("reportingComponent", "reportingController");
    let controller = object.text("reportingComponent");
    if !controller.is_empty() {
        qualified(&mut found, &Path::new("reportingController"), controller);
    }
    for key in ["reportingInstance", "action", "reason"] {
        match object.text(key).len() {
            0 => found.push(FieldError::required(Path::new(key), "")),
            length if length > WORD_BYTES_MAX => {
                let why = format!("can have at most {WORD_BYTES_MAX} characters");
                found.push(FieldError::invalid(Path::new(key), "", &why));
            }
            _ => {}
        }
    }
    if object.text("message").len() > NOTE_BYTES_MAX {
        let why = format!("can have at most {NOTE_BYTES_MAX} characters");
        found.push(FieldError::invalid(Path::new("message"), "", &why));
    }
    let kind = object.text("type");
    if !["Normal", "Warning"].contains(&kind) {
        let why = format!("has invalid value: {kind}");
        found.push(FieldError::invalid(Path::new("type"), "", &why));
    }
    found
}

/// Only the series of a newer event changes.
fn validate_kept(object: &Value, old: &Value) -> Faults {
    let mut found = Faults::new();
    for key in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
        "type",
    ] {
        if object.at(key) != old.at(key) {
            let path = Path::new(key);
            found.push(FieldError::invalid(path, object.at(key).clone(), IMMUTABLE));
        }
    }
    found
}
