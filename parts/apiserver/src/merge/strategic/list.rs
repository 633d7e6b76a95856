//! Lists in a strategic merge patch.

use super::fault::{Fault, same_type};
use super::order::{self, Places};
use super::{PATCH, merge_map, shown};
use api::schema::{Field, Node};
use serde_json::Value;

/// Merges two lists of one field. `deletes`: the patch's is a `$deleteFromPrimitiveList`.
pub(super) fn merge(
    original: Vec<Value>,
    patch: &mut [Value],
    field: &'static Field,
    deletes: bool,
) -> Result<Vec<Value>, Fault> {
    if !field.strategy.merge && !deletes {
        return Ok(patch.to_vec());
    }
    let Some(maps) = all_maps(&original, patch)? else { return Ok(original) };
    let key = field.merge_key;
    if !maps {
        if deletes {
            let gone = Places::of(patch, "");
            return Ok(original.into_iter().filter(|item| gone.place(item).is_none()).collect());
        }
        let server = original.clone();
        let mut merged: Vec<Value> = Vec::new();
        let mut places = Places::of(&merged, "");
        for item in original.into_iter().chain(patch.iter().cloned()) {
            if places.note(&item, merged.len()) {
                merged.push(item);
            }
        }
        return Ok(order::enforced(merged, patch, &server, ""));
    }
    if key.is_empty() {
        let kind = item_kind(field);
        return Err(Fault::Failed(format!("cannot merge lists without merge key for {kind}")));
    }
    let items = match field.node {
        Node::List(list) => Some(list.items),
        _ => None,
    };
    let (server, patch) = special_items(original, patch, key)?;
    let mut merged = server.clone();
    let mut places = Places::of(&merged, key);
    let mut changes = Vec::with_capacity(patch.len());
    for change in patch {
        let Value::Object(fields) = &mut *change else { return Err(Fault::wanted_map(change)) };
        if !fields.contains_key(key) {
            return Err(Fault::missing_key(fields, key));
        }
        changes.push(Value::Object(fields.clone()));
        let found = changes.last().and_then(|change| places.place(change));
        if let Some(item) = found.and_then(|at| merged.get_mut(at)) {
            let current = item.as_object_mut().map(std::mem::take).unwrap_or_default();
            *item = Value::Object(merge_map(current, fields, items)?);
        } else {
            // As it is: directives and nulls in it stay, and are fields that are not known.
            places.note(change, merged.len());
            merged.push(change.clone());
        }
    }
    order::all_keyed(&merged, key)?;
    Ok(order::enforced(merged, &changes, &server, key))
}

/// Items that carry `$patch`: `delete` takes the items with the same key out, `replace` everything that was there. What
/// is left of both lists.
fn special_items<'p>(
    mut original: Vec<Value>,
    patch: &'p mut [Value],
    key: &str,
) -> Result<(Vec<Value>, Vec<&'p mut Value>), Fault> {
    let (mut plain, mut gone) = (Vec::new(), Vec::new());
    let mut replace = false;
    for item in patch {
        let (Some(directive), Some(fields)) = (item.get(PATCH), item.as_object()) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") if fields.contains_key(key) => gone.push(item.clone()),
            Some("delete") => return Err(Fault::missing_key(fields, key)),
            Some("replace") => replace = true,
            Some("merge") => {
                let why = "merging lists cannot yet be specified in the patch";
                return Err(Fault::Failed(why.to_owned()));
            }
            _ => return Err(Fault::unknown_directive(directive, fields)),
        }
    }
    if replace {
        return Ok((plain.into_iter().map(|item| item.clone()).collect(), Vec::new()));
    }
    let gone = Places::of(&gone, key);
    original.retain(|item| gone.place(item).is_none());
    Ok((original, plain))
}

/// Whether the items of both lists are objects, which they are all or none; nothing where there are none.
pub(super) fn all_maps(original: &[Value], patch: &[Value]) -> Result<Option<bool>, Fault> {
    let mut items = original.iter().chain(patch);
    let Some(first) = items.next() else { return Ok(None) };
    if first.is_array() {
        return Err(Fault::Nested);
    }
    if first.is_null() || !items.all(|item| same_type(first, item)) {
        let lists: Vec<Value> = vec![original.into(), patch.into()];
        let lists = shown(&lists.into());
        return Err(Fault::Failed(format!("list element types are not identical: {lists}")));
    }
    Ok(Some(first.is_object()))
}

/// What Go's reflection calls the items of a list.
fn item_kind(field: &Field) -> &'static str {
    match field.node {
        Node::List(list) => match list.items {
            Node::Text => "string",
            Node::Map(_) => "map",
            Node::Int32 => "int32",
            Node::Int64 => "int64",
            _ => "struct",
        },
        _ => "struct",
    }
}
