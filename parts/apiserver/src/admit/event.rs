//! Events: one storage, served as core `v1` and as `events.k8s.io/v1`. Kept in the core form;
//! each strategy sees events in its own form, and faults are filed under core names as upstream does.

use super::faults::{Faults, IMMUTABLE, invalid_shown, needed, qualified};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, metadata, table};
use api::{FieldError, Path};
use serde_json::{Value, json};

/// Events as core `v1` serves them.
#[derive(Debug)]
pub(crate) struct CoreEvent;

/// Events as `events.k8s.io/v1` serves them.
#[derive(Debug)]
pub(crate) struct ViewedEvent;

/// What fields with two names are called.
#[derive(Debug)]
struct Names {
    about: &'static str,
    message: &'static str,
    component: &'static str,
    source: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
}

const CORE: Names = Names {
    about: "involvedObject",
    message: "message",
    component: "reportingComponent",
    source: "source",
    first: "firstTimestamp",
    last: "lastTimestamp",
    count: "count",
};

const VIEWED: Names = Names {
    about: "regarding",
    message: "note",
    component: "reportingController",
    source: "deprecatedSource",
    first: "deprecatedFirstTimestamp",
    last: "deprecatedLastTimestamp",
    count: "deprecatedCount",
};

impl Strategy for CoreEvent {
    fn default(&self, object: &mut Value) {
        fill(object, &CORE);
        object.fill(CORE.component, "");
        object.fill("reportingInstance", "");
    }

    /// Upstream judges no more than this of events that come by way of the core group.
    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_path_segment(name, prefix)
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate_loose(object, &CORE)
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        fields(object)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &CORE_FIELDS
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells(object, &CORE, now)
    }
}

impl Strategy for ViewedEvent {
    fn default(&self, object: &mut Value) {
        fill(object, &VIEWED);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = validate_loose(object, &VIEWED);
        found.extend(validate_strict(object));
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = validate_loose(object, &VIEWED);
        found.extend(validate_kept(object, old));
        found
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn field_names(&self) -> &'static [&'static str] {
        &VIEWED_FIELDS
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells(object, &VIEWED, now)
    }
}

const CORE_FIELDS: [&str; 11] = [
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

/// Values that field selectors may ask for.
fn fields(object: &Value) -> Vec<(&'static str, String)> {
    let about = object.at("involvedObject");
    let source = match object.at("source").text("component") {
        "" => object.text("reportingComponent"),
        component => component,
    };
    CORE_FIELDS
        .iter()
        .map(|name| {
            let value = match name.split_once('.') {
                Some((_, key)) => about.text(key),
                None if *name == "source" => source,
                None => object.text(name),
            };
            (*name, value.to_owned())
        })
        .collect()
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

fn cells(object: &Value, names: &Names, now: jiff::Timestamp) -> Vec<Value> {
    let moment = |key: &str| match object.text(key) {
        "" => object.text("eventTime"),
        text => text,
    };
    let about = object.at(names.about);
    let target = match about.text("name") {
        "" => about.text("kind").to_lowercase(),
        name => format!("{}/{name}", about.text("kind").to_lowercase()),
    };
    let (component, host) = match object.at(names.source).text("component") {
        "" => (object.text(names.component), object.text("reportingInstance")),
        component => (component, object.at(names.source).text("host")),
    };
    let source =
        if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let series = object.at("series");
    let count = if series.is_null() { object.int(names.count) } else { series.int("count") };
    let count = count.filter(|count| *count != 0).unwrap_or(1);
    let last = match series.text("lastObservedTime") {
        "" => moment(names.last),
        last => last,
    };
    vec![
        table::since(last, now).into(),
        object.text("type").into(),
        object.text("reason").into(),
        target.into(),
        about.text("fieldPath").into(),
        source.into(),
        object.text(names.message).trim().into(),
        table::since(moment(names.first), now).into(),
        count.into(),
        table::name(object),
    ]
}

/// Fields that are printed even when there is nothing in them.
fn fill(object: &mut Value, names: &Names) {
    object.fill(names.about, json!({}));
    object.fill(names.source, json!({}));
    for key in [names.first, names.last, "eventTime"] {
        if !object.has(key) {
            object.set(key, Value::Null);
        }
    }
}

/// What every event needs. One with a time of its own is of the newer kind, and says more; others lie in the
/// namespace of their object, cluster-wide ones in `default`.
fn validate_loose(object: &Value, names: &Names) -> Faults {
    let mut found = Faults::new();
    let about = object.at(names.about).text("namespace");
    let here = object.at("metadata").text("namespace");
    let newer = object.has("eventTime");
    let fits = match (newer, about) {
        (false, "") => matches!(here, "" | "default"),
        (false, about) => about == here,
        (true, "") => matches!(here, "default" | "kube-system"),
        (true, _) => true,
    };
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        found.push(FieldError::invalid(path, about, "does not match event.namespace"));
    }
    if newer {
        validate_newer(&mut found, object, names);
    }
    found
}

/// Longest message.
const NOTE_BYTES_MAX: usize = 1024;
/// Longest reason, action and instance.
const WORD_BYTES_MAX: usize = 128;

fn validate_newer(found: &mut Faults, object: &Value, names: &Names) {
    let (component, path) = (object.text(names.component), Path::new(names.component));
    needed(found, path.clone(), component);
    qualified(found, &path, component);
    for key in ["reportingInstance", "action", "reason"] {
        needed(found, Path::new(key), object.text(key));
        if object.text(key).len() > WORD_BYTES_MAX {
            let why = format!("can have at most {WORD_BYTES_MAX} characters");
            found.push(FieldError::invalid(Path::new(key), "", &why));
        }
    }
    if object.text(names.message).len() > NOTE_BYTES_MAX {
        let why = format!("can have at most {NOTE_BYTES_MAX} characters");
        found.push(FieldError::invalid(Path::new("message"), "", &why));
    }
}

/// What new events need besides where they are told in the newer form: nothing of the older one.
fn validate_strict(object: &Value) -> Faults {
    let mut found = validate_series(object);
    if !object.has("eventTime") {
        found.push(FieldError::required(Path::new("eventTime"), ""));
    }
    let kind = object.text("type");
    if !["Normal", "Warning"].contains(&kind) {
        let why = format!("has invalid value: {kind}");
        found.push(FieldError::invalid(Path::new("type"), "", &why));
    }
    let source = object.at(VIEWED.source);
    let left = [
        (CORE.first, object.has(VIEWED.first)),
        (CORE.last, object.has(VIEWED.last)),
        (CORE.count, object.int(VIEWED.count).unwrap_or(0) != 0),
        (CORE.source, ["component", "host"].iter().any(|key| !source.text(key).is_empty())),
    ];
    for (key, _) in left.iter().filter(|(_, there)| *there) {
        found.push(FieldError::invalid(Path::new(key), "", "needs to be unset"));
    }
    found
}

/// A series is of two at least, and was seen.
fn validate_series(object: &Value) -> Faults {
    let mut found = Faults::new();
    let series = object.at("series");
    if series.is_null() {
        return found;
    }
    if series.int("count").unwrap_or(0) < 2 {
        found.push(FieldError::invalid(Path::new("series.count"), "", "should be at least 2"));
    }
    if !series.has("lastObservedTime") {
        found.push(FieldError::required(Path::new("series.lastObservedTime"), ""));
    }
    found
}

/// Only the series of a newer event changes. Upstream compares the reason twice.
fn validate_kept(object: &Value, old: &Value) -> Faults {
    let mut found = Faults::new();
    if object.at("series") != old.at("series") {
        found.extend(validate_series(object));
    }
    let renamed = [
        (VIEWED.about, CORE.about),
        ("reason", "reason"),
        (VIEWED.message, CORE.message),
        (VIEWED.source, CORE.source),
        (VIEWED.first, CORE.first),
        (VIEWED.last, CORE.last),
        (VIEWED.count, CORE.count),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        (VIEWED.component, VIEWED.component),
        ("reportingInstance", "reportingInstance"),
    ];
    for (viewed, stored) in renamed {
        let (new, old) = (object.at(viewed), old.at(viewed));
        if new != old {
            found.push(invalid_shown(Path::new(stored), &shown(stored, new), IMMUTABLE));
        }
    }
    found
}

/// A field as upstream's struct prints it.
fn shown(field: &str, value: &Value) -> String {
    let all = |keys: &[(&str, &str)]| -> String {
        let fields: Vec<String> =
            keys.iter().map(|(name, key)| format!("\"{name}\":{:?}", value.text(key))).collect();
        format!("{{{}}}", fields.join(","))
    };
    match (field, value) {
        ("involvedObject", _) | ("related", Value::Object(_)) => all(&[
            ("Kind", "kind"),
            ("Namespace", "namespace"),
            ("Name", "name"),
            ("UID", "uid"),
            ("APIVersion", "apiVersion"),
            ("ResourceVersion", "resourceVersion"),
            ("FieldPath", "fieldPath"),
        ]),
        ("source", _) => all(&[("Component", "component"), ("Host", "host")]),
        ("count", Value::Null) => "0".to_owned(),
        ("firstTimestamp" | "lastTimestamp" | "eventTime" | "related", Value::Null) => {
            "null".to_owned()
        }
        (_, Value::Null) => "\"\"".to_owned(),
        (_, other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
