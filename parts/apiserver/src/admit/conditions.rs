//! Conditions of the one form that newer kinds share.

use super::faults::{Faults, qualified, unsupported};
use super::json::Json;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// Longest reason.
const REASON_BYTES_MAX: usize = 1024;
/// Longest message.
const MESSAGE_BYTES_MAX: usize = 32_768;

const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Faults of the list `conditions` of a status.
pub(crate) fn validate(found: &mut Faults, status: &Value, path: &Path) {
    let mut taken = BTreeSet::new();
    for (i, condition) in status.list("conditions").iter().enumerate() {
        let (path, kind) = (path.index(i), condition.text("type"));
        if !taken.insert(kind) {
            found.push(FieldError::duplicate(path.child("type"), kind));
        }
        one(found, condition, &path);
    }
}

fn one(found: &mut Faults, condition: &Value, path: &Path) {
    qualified(found, &path.child("type"), condition.text("type"));
    let (status, statuses) = (condition.text("status"), ["False", "True", "Unknown"]);
    if !statuses.contains(&status) {
        found.push(unsupported(path.child("status"), status, &statuses));
    }
    if let Some(seen) = condition.int("observedGeneration").filter(|seen| *seen < 0) {
        let why = "must be greater than or equal to zero";
        found.push(FieldError::invalid(path.child("observedGeneration"), seen, why));
    }
    if !condition.has("lastTransitionTime") {
        found.push(FieldError::required(path.child("lastTransitionTime"), "must be set"));
    }
    let (reason, at) = (condition.text("reason"), path.child("reason"));
    if reason.is_empty() {
        found.push(FieldError::required(at, "must be set"));
    } else {
        if !is_reason(reason) {
            found.push(FieldError::invalid(at.clone(), reason, REASON));
        }
        if reason.len() > REASON_BYTES_MAX {
            found.push(FieldError::too_long(at, REASON_BYTES_MAX));
        }
    }
    if condition.text("message").len() > MESSAGE_BYTES_MAX {
        found.push(FieldError::too_long(path.child("message"), MESSAGE_BYTES_MAX));
    }
}

fn is_reason(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':');
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(inner)
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_says_what_it_is_since_when_and_why() {
        let mut found = Faults::new();
        let good = json!({"type": "Ready", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"conditions": [good, {"type": "Ready", "status": "Maybe", "reason": "9", "observedGeneration": -1}]});
        validate(&mut found, &status, &Path::new("c"));
        let told: Vec<String> =
            found.iter().map(|fault| format!("{} {}", fault.path, fault.reason())).collect();
        assert_eq!(
            told,
            [
                "c[1].type FieldValueDuplicate",
                "c[1].status FieldValueNotSupported",
                "c[1].observedGeneration FieldValueInvalid",
                "c[1].lastTransitionTime FieldValueRequired",
                "c[1].reason FieldValueInvalid",
            ]
        );
    }
}
