//! Label selectors inside objects: whether they are well formed, whether they match.

use super::faults::{self, Faults};
use super::json::Json;
use api::names;
use api::{FieldError, Path};
use serde_json::Value;

/// Faults of a label selector.
pub(crate) fn validate(selector: &Value, path: &Path) -> Faults {
    let mut found =
        super::metadata::label_map(selector.at("matchLabels"), &path.child("matchLabels"));
    for (i, wanted) in selector.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = wanted.list("values");
        match wanted.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                found.push(FieldError::required(path.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                found.push(FieldError::forbidden(path.child("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                found.push(FieldError::invalid(path.child("operator"), other, why));
            }
        }
        faults::qualified(&mut found, &path.child("key"), wanted.text("key"));
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let path = path.child("values").index(j);
            faults::texts(&mut found, &path, value, names::label_value(value));
        }
    }
    found
}

/// Whether upstream can make a matcher of it; what it cannot read matches nothing.
pub(crate) fn is_readable(selector: &Value) -> bool {
    validate(selector, &Path::root()).is_empty()
}

/// Whether nothing is asked for.
pub(crate) fn is_empty(selector: &Value) -> bool {
    selector.entries("matchLabels").is_empty() && selector.list("matchExpressions").is_empty()
}

/// Whether a map of labels has what a well-formed selector asks for. An absent selector matches nothing.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let equal = selector.entries("matchLabels").iter().all(|(key, value)| labels.at(key) == *value);
    equal
        && selector.list("matchExpressions").iter().all(|wanted| {
            let key = wanted.text("key");
            let among = wanted.list("values").contains(labels.at(key));
            match wanted.text("operator") {
                "In" => labels.has(key) && among,
                "NotIn" => !labels.has(key) || !among,
                "Exists" => labels.has(key),
                "DoesNotExist" => !labels.has(key),
                _ => false,
            }
        })
}
