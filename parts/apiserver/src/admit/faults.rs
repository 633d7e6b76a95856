//! Shorthands for field errors, and checks that many kinds share.

use api::field::Fault;
use api::names;
use api::{FieldError, Path};
use serde_json::Value;

/// Faults found so far, in the order of the rules.
pub(crate) type Faults = Vec<FieldError>;

/// The text for negative numbers.
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
/// The text for what may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// `Unsupported value`, with the supported ones in the order given.
pub(crate) fn unsupported(path: Path, value: &str, supported: &[&str]) -> FieldError {
    unsupported_shown(path, &format!("{value:?}"), supported)
}

/// The same for a value that is shown as given.
pub(crate) fn unsupported_shown(path: Path, shown: &str, supported: &[&str]) -> FieldError {
    let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
    let body = format!("Unsupported value: {shown}: supported values: {}", list.join(", "));
    FieldError { path, fault: Fault::NotSupported, body }
}

/// `Invalid value` for a value that is shown as given.
pub(crate) fn invalid_shown(path: Path, shown: &str, why: &str) -> FieldError {
    FieldError { path, fault: Fault::Invalid, body: format!("Invalid value: {shown}: {why}") }
}

/// `Duplicate value` for a value that is shown as given.
pub(crate) fn duplicate_shown(path: Path, shown: &str) -> FieldError {
    FieldError { path, fault: Fault::Duplicate, body: format!("Duplicate value: {shown}") }
}

/// One fault for each text about a value.
pub(crate) fn texts(faults: &mut Faults, path: &Path, value: &str, texts: Vec<String>) {
    for text in texts {
        faults.push(FieldError::invalid(path.clone(), value, &text));
    }
}

/// A DNS label, when it has to be one.
pub(crate) fn dns_label(faults: &mut Faults, path: &Path, value: &str) {
    texts(faults, path, value, names::dns_label(value));
}

/// A DNS subdomain.
pub(crate) fn dns_subdomain(faults: &mut Faults, path: &Path, value: &str) {
    texts(faults, path, value, names::dns_subdomain(value));
}

/// A qualified name, the form of label keys.
pub(crate) fn qualified(faults: &mut Faults, path: &Path, value: &str) {
    texts(faults, path, value, names::qualified_name(value));
}

/// A number that is not below zero; absent is fine.
pub(crate) fn not_negative(faults: &mut Faults, path: Path, value: &Value) {
    if value.as_i64().is_some_and(|n| n < 0) {
        faults.push(FieldError::invalid(path, value.clone(), NEGATIVE));
    }
}

/// A text that must be there.
pub(crate) fn needed(faults: &mut Faults, path: Path, value: &str) -> bool {
    if value.is_empty() {
        faults.push(FieldError::required(path, ""));
    }
    !value.is_empty()
}

/// A port number.
pub(crate) fn port(faults: &mut Faults, path: Path, value: i64) {
    range(faults, path, value, 1, 65535);
}

/// A number between two others.
pub(crate) fn range(faults: &mut Faults, path: Path, value: i64, low: i64, high: i64) {
    if value < low || value > high {
        let why = format!("must be between {low} and {high}, inclusive");
        faults.push(FieldError::invalid(path, value, &why));
    }
}
