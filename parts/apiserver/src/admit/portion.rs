//! Numbers that may be percentages: `maxUnavailable`, `maxSurge`, `minAvailable` (spec A53–A55).

use super::faults::{Faults, not_negative};
use super::json::Json;
use api::{FieldError, Path};
use serde_json::Value;

/// Percents, when the value says so in the right form.
fn percents(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let fits = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
    fits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Faults of the form: a whole number that is not negative, or a percentage.
pub(crate) fn validate(found: &mut Faults, value: &Value, path: &Path) {
    if let Value::String(text) = value {
        if percents(value).is_none() {
            let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            found.push(FieldError::invalid(path.clone(), text.as_str(), why));
        }
    } else {
        not_negative(found, path.clone(), value);
    }
}

/// No more than everything.
pub(crate) fn validate_at_most_all(found: &mut Faults, value: &Value, path: &Path) {
    if percents(value).is_some_and(|percents| percents > 100) {
        let why = "must not be greater than 100%";
        found.push(FieldError::invalid(path.clone(), value.clone(), why));
    }
}

/// Nothing; what has no right form counts as nothing too.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(_) => percents(value).unwrap_or(0) == 0,
        number => number.as_i64().unwrap_or(0) == 0,
    }
}

/// A rolling update as upstream's struct prints, `null` for none.
pub(crate) fn shown_pair(rolling: &Value) -> String {
    if rolling.is_null() {
        return "null".to_owned();
    }
    // A number that was not said is 0 in upstream's struct.
    let knob = |key: &str| match rolling.at(key) {
        Value::Null => "0".to_owned(),
        said => said.to_string(),
    };
    format!("{{\"MaxUnavailable\":{},\"MaxSurge\":{}}}", knob("maxUnavailable"), knob("maxSurge"))
}
