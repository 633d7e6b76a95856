//! Strategic merge patches: lists merged by key where the type says so, and the directives `$patch`, `$retainKeys`,
//! `$deleteFromPrimitiveList` and `$setElementOrder`.

mod order;
pub(super) mod retyped;

use api::schema::{Field, Node, Type};
use api::{FieldError, Path, Status};
use order::Places;
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Fields = Map<String, Value>;

/// Applies a strategic merge patch to a document of type `kind`.
///
/// # Errors
/// 400 when the patch is no object; 500 without a reason (upstream's habit) for a missing merge key or a directive
/// that is not known; 422 on the field `patch` when the outcome does not fit the type.
pub fn strategic(document: &Value, patch: &Value, kind: &'static Type) -> Result<Value, Status> {
    let (Value::Object(original), Value::Object(fields)) = (document, patch) else {
        return Err(Status::bad_request(
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ));
    };
    let merged = merge_map(original.clone(), fields.clone(), Some(Node::Struct(kind)))
        .map_err(|why| Status::failure(500, "", why))?;
    let merged = Value::Object(merged);
    if let Err(why) = retyped::check(&merged, kind) {
        let error = FieldError::invalid(Path::new("patch"), shown(patch), &why);
        return Err(api::field::invalid("", "", "", &[error]));
    }
    Ok(merged)
}

/// The field of that name, where a type is known.
fn field(node: Option<Node>, name: &str) -> Option<&'static Field> {
    match node {
        Some(Node::Struct(kind)) => kind.field(name),
        _ => None,
    }
}

/// What a field or a map's value holds.
fn child(node: Option<Node>, name: &str) -> Option<Node> {
    match node {
        Some(Node::Map(map)) => Some(map.values),
        other => field(other, name).map(|field| field.node),
    }
}

fn merge_map(
    mut original: Fields,
    mut patch: Fields,
    node: Option<Node>,
) -> Result<Fields, String> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Fields::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, node)?;
    for (key, value) in patch {
        let (name, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some(name) => (name, true),
            None => (key.as_str(), false),
        };
        if value.is_null() {
            original.remove(name);
            continue;
        }
        let Some(current) = original.get(name) else {
            if !deletes {
                original.insert(name.to_owned(), clean(value));
            }
            continue;
        };
        let merged = match (current.clone(), value) {
            (Value::Object(_), Value::Object(value)) if replaces(node, name) => {
                Value::Object(value)
            }
            (Value::Object(current), Value::Object(value)) => {
                Value::Object(merge_map(current, value, child(node, name))?)
            }
            (Value::Array(current), Value::Array(value)) => {
                Value::Array(merge_list(current, value, field(node, name), deletes)?)
            }
            (current, _) if deletes => current,
            (_, value) => clean(value),
        };
        original.insert(name.to_owned(), merged);
    }
    Ok(original)
}

fn replaces(node: Option<Node>, name: &str) -> bool {
    field(node, name).is_some_and(|field| field.strategy.replace)
}

/// `$retainKeys`: what the list does not name goes.
fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<(), String> {
    let Some(keys) = patch.remove(RETAIN) else { return Ok(()) };
    let bad = || "invalid patch format of retainKeys".to_owned();
    let keys = keys.as_array().ok_or_else(bad)?;
    let named = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let stray = patch.iter().any(|(name, value)| {
        !value.is_null()
            && !name.starts_with(DELETE_FROM)
            && !name.starts_with(ORDER)
            && !named(name)
    });
    if stray {
        return Err(bad());
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// `$setElementOrder/x`: merges list `x` and brings it into the order given.
fn set_orders(original: &mut Fields, patch: &mut Fields, node: Option<Node>) -> Result<(), String> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let wanted = patch.remove(&directive);
        let name = directive.trim_start_matches(ORDER);
        let Some(Value::Array(wanted)) = wanted else {
            return Err(format!("expected a slice, but received a {directive}"));
        };
        let known = field(node, name);
        let key = known.map_or("", |field| field.merge_key);
        let deletion = format!("{DELETE_FROM}{name}");
        let gone = patch.remove(&deletion);
        let mut current = match original.get(name) {
            Some(Value::Array(items)) => Some(items.clone()),
            _ => None,
        };
        if let (Some(items), Some(Value::Array(gone))) = (current.as_mut(), gone) {
            let gone = Places::of(&gone, "");
            items.retain(|item| gone.place(item).is_none());
        }
        let changes = match patch.remove(name) {
            Some(Value::Array(items)) => Some(items),
            Some(other) => {
                // Null or a value of another kind: the ordinary rules decide.
                patch.insert(name.to_owned(), other);
                continue;
            }
            None => None,
        };
        if let Some(changes) = &changes {
            order::check(changes, &wanted, key)?;
        }
        let server = current.clone().unwrap_or_default();
        let merged = match (current, changes) {
            (Some(items), None) => items,
            (None, Some(changes)) => clean_list(changes),
            (Some(items), Some(changes)) => merge_list(items, changes, known, false)?,
            (None, None) => continue,
        };
        original.insert(name.to_owned(), order::enforced(merged, &wanted, &server, key).into());
    }
    Ok(())
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: Option<&'static Field>,
    deletes: bool,
) -> Result<Vec<Value>, String> {
    if deletes {
        let gone = Places::of(&patch, "");
        return Ok(original.into_iter().filter(|item| gone.place(item).is_none()).collect());
    }
    let Some(field) = field.filter(|field| field.strategy.merge) else { return Ok(patch) };
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let server = original.clone();
    if !original.iter().chain(&patch).any(Value::is_object) {
        let mut merged: Vec<Value> = Vec::new();
        let mut places = Places::of(&merged, "");
        for item in original.into_iter().chain(patch.iter().cloned()) {
            if places.note(&item, merged.len()) {
                merged.push(item);
            }
        }
        return Ok(order::enforced(merged, &patch, &server, ""));
    }
    let items = match field.node {
        Node::List(list) => Some(list.items),
        _ => None,
    };
    let key = field.merge_key;
    let (mut merged, patch) = special_items(original, patch, key)?;
    let mut places = Places::of(&merged, key);
    for change in &patch {
        let Value::Object(fields) = change else {
            return Err(format!("expected a map, but received {}", shown(change)));
        };
        if !fields.contains_key(key) {
            return Err(missing_key(fields, key));
        }
        if let Some(item) = places.place(change).and_then(|at| merged.get_mut(at)) {
            let current = item.as_object().cloned().unwrap_or_default();
            *item = Value::Object(merge_map(current, fields.clone(), items)?);
        } else {
            let item = clean(change.clone());
            places.note(&item, merged.len());
            merged.push(item);
        }
    }
    Ok(order::enforced(merged, &patch, &server, key))
}

/// Items that carry `$patch`: `delete` takes the item with the same key out, `replace` everything that was there.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), String> {
    let (mut plain, mut gone) = (Vec::new(), Vec::new());
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item);
            continue;
        };
        let fields = item.as_object().cloned().unwrap_or_default();
        match directive.as_str() {
            Some("delete") => {
                if !fields.contains_key(key) {
                    return Err(missing_key(&fields, key));
                }
                gone.push(item);
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err("merging lists cannot yet be specified in the patch".to_owned());
            }
            _ => return Err(unknown_directive(directive, &fields)),
        }
    }
    let gone = Places::of(&gone, key);
    original.retain(|item| gone.place(item).is_none());
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// A value that is new: directives and nulls in it have nothing to act on.
fn clean(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(name, value)| {
                    !value.is_null()
                        && name != PATCH
                        && name != RETAIN
                        && !name.starts_with(DELETE_FROM)
                        && !name.starts_with(ORDER)
                })
                .map(|(name, value)| (name, clean(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(clean_list(items)),
        other => other,
    }
}

fn clean_list(items: Vec<Value>) -> Vec<Value> {
    let gone = |item: &Value| item.get(PATCH).is_some_and(|directive| directive == "delete");
    items.into_iter().filter(|item| !gone(item)).map(clean).collect()
}

fn missing_key(fields: &Fields, key: &str) -> String {
    let map = shown(&Value::Object(fields.clone()));
    format!("map: {map} does not contain declared merge key: {key}")
}

fn unknown_directive(directive: &Value, fields: &Fields) -> String {
    let map = shown(&Value::Object(fields.clone()));
    format!("unknown patch type: {} in map: {map}", shown(directive))
}

/// A value as Go's `%v` prints it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}
