//! RFC 6902 and RFC 7386.

use api::Status;
use api::status::Details;
use serde_json::Value;

/// Most operations in one JSON patch; upstream's `maxJSONPatchOperations`.
const OPERATIONS_MAX: usize = 10_000;

/// Most bytes that all `copy` operations of one patch may add, so that a patch that copies a field into itself
/// forty times cannot grow a document without end: upstream's limit, the 3 MiB of a request body.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch (RFC 6902). Either all operations work or none.
///
/// # Errors
/// 400 when it is no list, 413 for too many operations, 422 without details for an operation that fails.
pub fn json_patch(document: &Value, patch: &Value) -> Result<Value, Status> {
    let Some(operations) = patch.as_array() else {
        return Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            kind(patch)
        )));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(Status::failure(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    let mut patched = document.clone();
    let mut copied = 0;
    for operation in operations {
        let operation: json_patch::PatchOperation =
            serde_json::from_value(operation.clone()).map_err(|_| refused())?;
        if let json_patch::PatchOperation::Copy(copy) = &operation {
            let source = patched.pointer(copy.from.as_str()).ok_or_else(refused)?;
            copied += source.to_string().len();
            if copied > COPIED_BYTES_MAX {
                return Err(refused());
            }
        }
        json_patch::patch(&mut patched, std::slice::from_ref(&operation)).map_err(|_| refused())?;
    }
    Ok(patched)
}

/// Applies a merge patch (RFC 7386): objects are merged, null removes, all else replaces.
pub fn merge_patch(document: &Value, patch: &Value) -> Value {
    let mut patched = document.clone();
    json_patch::merge(&mut patched, patch);
    patched
}

fn refused() -> Status {
    Status::failure(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    )
    .with_details(Details::default())
}

/// What Go calls the kind of a JSON value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
