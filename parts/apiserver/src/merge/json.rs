//! RFC 6902 as upstream's library has it, which is kinder than the standard in three places: indices may be
//! negative and count from the end, a field that is not there is null (it can be replaced, copied and tested), and
//! so is a value that is not given.

use api::Status;
use api::status::Details;
use serde_json::Value;

/// Most operations in one JSON patch; upstream's `maxJSONPatchOperations`.
const OPERATIONS_MAX: usize = 10_000;

/// Most bytes that all `copy` operations of one patch may add, so that a patch that copies a field into itself
/// forty times cannot grow a document without end: upstream's limit, the 3 MiB of a request body.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// An operation that does not work; all of them are answered alike.
struct Failed;

/// Applies a JSON patch. Either all operations work or none.
///
/// # Errors
/// 413 for too many operations, 422 without details for one that fails.
pub fn json_patch(document: &Value, patch: &Value) -> Result<Value, Status> {
    let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
    if operations.len() > OPERATIONS_MAX {
        let count = operations.len();
        return Err(Status::failure(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}"
            ),
        ));
    }
    let mut patched = document.clone();
    let mut copied = 0;
    for operation in operations {
        apply(&mut patched, operation, &mut copied).map_err(|Failed| refused())?;
    }
    Ok(patched)
}

fn refused() -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::failure(422, "Invalid", message).with_details(Details::default())
}

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), Failed> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str).ok_or(Failed);
    let value = || operation.get("value").cloned().unwrap_or_default();
    match text("op")? {
        "add" => add(document, text("path")?, value()),
        "remove" => remove(document, text("path")?).map(|_| ()),
        "replace" => replace(document, text("path")?, value()),
        "move" => {
            let moved = remove(document, text("from")?)?;
            add(document, text("path")?, moved)
        }
        "copy" => {
            let found = get(document, text("from")?)?.cloned().unwrap_or_default();
            *copied += found.to_string().len();
            if *copied > COPIED_BYTES_MAX {
                return Err(Failed);
            }
            add(document, text("path")?, found)
        }
        "test" => {
            let path = text("path")?;
            let found = if path.is_empty() { Some(&*document) } else { get(document, path)? };
            let same = found.unwrap_or(&Value::Null) == &value();
            if same { Ok(()) } else { Err(Failed) }
        }
        _ => Err(Failed),
    }
}

/// The last step of a path.
fn last_step(path: &str) -> Result<String, Failed> {
    path.rsplit_once('/').map(|(_, key)| unescaped(key)).ok_or(Failed)
}

/// The steps before the last.
fn steps(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').collect();
    parts
        .get(1..parts.len().saturating_sub(1))
        .unwrap_or(&[])
        .iter()
        .map(|p| unescaped(p))
        .collect()
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// What holds the last step of a path.
fn holder<'v>(document: &'v mut Value, path: &str) -> Result<&'v mut Value, Failed> {
    let mut found = document;
    for step in steps(path) {
        found = match found {
            Value::Object(fields) => fields.get_mut(&step),
            Value::Array(items) => {
                let at = index(&step, items.len())?;
                items.get_mut(at)
            }
            _ => None,
        }
        .filter(|next| next.is_object() || next.is_array())
        .ok_or(Failed)?;
    }
    Ok(found)
}

/// A place in a list of that length; negative ones count from the end.
fn index(step: &str, length: usize) -> Result<usize, Failed> {
    let at: i64 = step.parse().map_err(|_| Failed)?;
    let from_end = at.checked_add_unsigned(length as u64).ok_or(Failed)?;
    usize::try_from(if at < 0 { from_end } else { at }).map_err(|_| Failed)
}

/// A field that is not there is nothing, an item that is not there a failure.
fn get<'v>(document: &'v mut Value, path: &str) -> Result<Option<&'v Value>, Failed> {
    let key = last_step(path)?;
    match holder(document, path)? {
        Value::Object(fields) => Ok(fields.get(&key)),
        Value::Array(items) => {
            let at = index(&key, items.len())?;
            items.get(at).map(Some).ok_or(Failed)
        }
        _ => Err(Failed),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), Failed> {
    let key = last_step(path)?;
    match holder(document, path)? {
        Value::Object(fields) => {
            fields.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = index(&key, items.len() + 1)?;
            if at > items.len() {
                return Err(Failed);
            }
            items.insert(at, value);
        }
        _ => return Err(Failed),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, Failed> {
    let key = last_step(path)?;
    match holder(document, path)? {
        Value::Object(fields) => fields.remove(&key).ok_or(Failed),
        Value::Array(items) => {
            let at = index(&key, items.len())?;
            if at < items.len() { Ok(items.remove(at)) } else { Err(Failed) }
        }
        _ => Err(Failed),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Failed> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err(Failed);
        }
        *document = value;
        return Ok(());
    }
    let key = last_step(path)?;
    match holder(document, path)? {
        Value::Object(fields) => {
            fields.insert(key, value);
        }
        Value::Array(items) => {
            let at = index(&key, items.len())?;
            *items.get_mut(at).ok_or(Failed)? = value;
        }
        _ => return Err(Failed),
    }
    Ok(())
}
