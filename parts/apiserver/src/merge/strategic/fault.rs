//! What is wrong with a strategic merge patch, and how it is answered.

use super::shown;
use api::Status;
use api::status::Details;
use serde_json::{Map, Value};

/// Why a patch cannot be merged.
pub(super) enum Fault {
    /// A directive of a wrong form: 400.
    Malformed(&'static str),
    /// Lists in lists: the 422 that tells nothing.
    Nested,
    /// Everything else: 500 without a reason, upstream's habit.
    Failed(String),
}

impl Fault {
    /// Go's `expected a X, but received a Y`.
    pub(super) fn mistaken(wanted: &str, found: &Value) -> Self {
        Self::Failed(format!("expected a {wanted}, but received a {}", go_type(found)))
    }

    pub(super) fn wanted_map(found: &Value) -> Self {
        Self::mistaken("map[string]interface {}", found)
    }

    pub(super) fn wanted_list(found: &Value) -> Self {
        Self::mistaken("[]interface {}", found)
    }

    pub(super) fn missing_key(fields: &Map<String, Value>, key: &str) -> Self {
        let map = shown(&Value::Object(fields.clone()));
        Self::Failed(format!("map: {map} does not contain declared merge key: {key}"))
    }

    pub(super) fn unknown_directive(directive: &Value, fields: &Map<String, Value>) -> Self {
        let map = shown(&Value::Object(fields.clone()));
        let directive = match directive {
            Value::Null | Value::Bool(_) | Value::Number(_) => as_text(directive),
            other => shown(other),
        };
        Self::Failed(format!("unknown patch type: {directive} in map: {map}"))
    }

    pub(super) fn status(self) -> Status {
        match self {
            Self::Malformed(why) => Status::bad_request(why),
            Self::Nested => {
                let message = "the server rejected our request due to an error in our request";
                Status::failure(422, "Invalid", message).with_details(Details::default())
            }
            Self::Failed(why) => Status::failure(500, "", why),
        }
    }
}

/// What no text is, under Go's `%s`.
fn as_text(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".to_owned(),
        other => format!("%!s({}={})", go_type(other), shown(other)),
    }
}

/// The Go type of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether two values have the same Go type.
pub(super) fn same_type(one: &Value, other: &Value) -> bool {
    go_type(one) == go_type(other)
}
