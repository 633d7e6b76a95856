//! Strategic merge patches: lists merged by key where the type says so, and the directives `$patch`, `$retainKeys`,
//! `$deleteFromPrimitiveList` and `$setElementOrder`.

mod fault;
mod list;
mod order;
pub(super) mod retyped;

use api::schema::{Field, Node, Type};
use api::{FieldError, Path, Status};
use fault::{Fault, same_type};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ORDER: &str = "$setElementOrder";

type Fields = Map<String, Value>;

/// Applies a strategic merge patch to a document of type `kind`: the outcome, and what is left of the patch, which
/// refusals quote.
///
/// # Errors
/// 400 when the patch is no object or a directive has a wrong form; 422 without details for lists in lists; 500 without
/// a reason (upstream's habit) for a missing merge key, mixed lists or a directive that is not known; 422 on the field
/// `patch` when the outcome does not fit the type.
pub fn strategic(
    document: &Value,
    patch: &Value,
    kind: &'static Type,
) -> Result<(Value, Value), Status> {
    let (Value::Object(original), Value::Object(fields)) = (document, patch) else {
        return Err(Status::bad_request(
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ));
    };
    let mut fields = fields.clone();
    let merged = merge_map(original.clone(), &mut fields, Some(Node::Struct(kind)))
        .map_err(Fault::status)?;
    let (mut merged, rest) = (Value::Object(merged), Value::Object(fields));
    if let Err(why) = retyped::settle(&mut merged, kind) {
        let error = FieldError::invalid(Path::new("patch"), shown(&rest), &why);
        return Err(api::field::invalid("", "", "", &[error]));
    }
    Ok((merged, rest))
}

/// The field of that name.
///
/// # Errors
/// Go's words for what is no struct, or has no such field.
fn field(node: Option<Node>, name: &str) -> Result<&'static Field, Fault> {
    let (field, name_of) = match node {
        Some(Node::Struct(kind)) => (kind.field(name), kind.go_name()),
        Some(Node::Any | Node::Deduced) => (None, "RawExtension"),
        Some(Node::Map(_)) => return Err(no_struct("map")),
        Some(Node::List(_) | Node::Bytes) => return Err(no_struct("slice")),
        _ => return Err(no_struct("string")),
    };
    field.ok_or_else(|| {
        Fault::Failed(format!(
            "unable to find api field in struct {name_of} for the json field {name:?}"
        ))
    })
}

fn no_struct(found: &str) -> Fault {
    Fault::Failed(format!(
        "merging an object in json but data type is not struct, instead is: {found}"
    ))
}

/// The list of that name.
fn list_field(node: Option<Node>, name: &str) -> Result<&'static Field, Fault> {
    let field = field(node, name)?;
    match field.node {
        // Optional structs are pointers, which upstream does not look behind.
        Node::List(_) => Ok(field),
        Node::Struct(_) if !field.required => Ok(field),
        _ => Err(Fault::Failed("expected slice or array type, but got: struct".to_owned())),
    }
}

fn merge_map(
    mut original: Fields,
    patch: &mut Fields,
    node: Option<Node>,
) -> Result<Fields, Fault> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch.clone())
            }
            Some("delete") => Ok(Fields::new()),
            _ => Err(Fault::unknown_directive(directive, patch)),
        };
    }
    retain_keys(&mut original, patch)?;
    set_orders(&mut original, patch, node)?;
    for (key, value) in patch.iter_mut() {
        let deletes = key.starts_with(DELETE_FROM);
        let name = match directed(key, DELETE_FROM) {
            Some("") => key.as_str(),
            Some(name) => name,
            None if deletes => {
                return Err(Fault::Malformed("invalid patch format of primitive list"));
            }
            None => key.as_str(),
        };
        if value.is_null() {
            original.remove(name);
            continue;
        }
        let Some(current) = original.get_mut(name) else {
            if !deletes && let Some(value) = fresh(value) {
                original.insert(name.to_owned(), value);
            }
            continue;
        };
        match (&mut *current, &mut *value) {
            (Value::Object(old), Value::Object(new)) => {
                let field = field(node, name)?;
                if field.strategy.replace {
                    *current = value.clone();
                } else {
                    let old = std::mem::take(old);
                    *current = merge_map(old, new, Some(field.node))?.into();
                }
            }
            (Value::Array(old), Value::Array(new)) => {
                let field = list_field(node, name)?;
                *current = list::merge(std::mem::take(old), new, field, deletes)?.into();
            }
            (old, new) if deletes && !same_type(old, new) => {}
            _ => match fresh(value) {
                Some(value) => *current = value,
                None => drop(original.remove(name)),
            },
        }
    }
    Ok(original)
}

/// The name behind a directive's slash.
fn directed<'k>(key: &'k str, directive: &str) -> Option<&'k str> {
    key.strip_prefix(directive)?.strip_prefix('/')
}

/// `$retainKeys`: what the list does not name goes.
fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<(), Fault> {
    const BAD: Fault = Fault::Malformed("invalid patch format of retainKeys");
    let Some(keys) = patch.remove(RETAIN) else { return Ok(()) };
    let keys = keys.as_array().ok_or(BAD)?;
    let named = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let stray = patch.iter().any(|(name, value)| {
        !value.is_null()
            && !name.starts_with(DELETE_FROM)
            && !name.starts_with(ORDER)
            && !named(name)
    });
    if stray {
        return Err(BAD);
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// `$setElementOrder/x`: merges list `x` and brings it into the order given.
fn set_orders(original: &mut Fields, patch: &mut Fields, node: Option<Node>) -> Result<(), Fault> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let wanted = match patch.remove(&directive).unwrap_or_default() {
            Value::Array(wanted) => wanted,
            other => return Err(Fault::wanted_list(&other)),
        };
        let Some(name) = directed(&directive, ORDER) else {
            return Err(Fault::Malformed("invalid patch format of setElementOrder list"));
        };
        if let Some(other) = original.get(name).filter(|value| !value.is_array()) {
            return Err(Fault::wanted_list(other));
        }
        if let Some(other) = patch.get(name).filter(|value| !value.is_array()) {
            return Err(Fault::wanted_list(other));
        }
        let known = list_field(node, name)?;
        let server = original.get(name).and_then(Value::as_array).cloned();
        let mut none = Vec::new();
        let changes = match patch.get_mut(name) {
            Some(Value::Array(changes)) => Some(changes),
            _ => None,
        };
        order::check(changes.as_deref().unwrap_or(&none), &wanted, known.merge_key)?;
        let changed = changes.is_some();
        let changes = changes.unwrap_or(&mut none);
        let before = changes.clone();
        let merged = match &server {
            Some(items) if changed => list::merge(items.clone(), changes, known, false)?,
            Some(items) => items.clone(),
            None if changed => fresh_items(changes),
            None => continue,
        };
        let server = server.unwrap_or_default();
        order::all_keyed(&merged, known.merge_key)?;
        if !known.merge_key.is_empty()
            && !merged.is_empty()
            && let Some(at) = wanted.iter().position(|item| !item.is_object())
        {
            return Err(Fault::Failed(format!("value for key {at} is not a map")));
        }
        let Some(_) = list::all_maps(&server, &before)? else {
            let why = "no elements in any of the given slices";
            return Err(Fault::Failed(why.to_owned()));
        };
        order::all_keyed(&wanted, known.merge_key)?;
        let ordered = order::enforced(merged, &wanted, &server, known.merge_key);
        original.insert(name.to_owned(), ordered.into());
        patch.remove(name);
    }
    Ok(())
}

/// A value that is new: nulls in it have nothing to remove, and objects with `$patch` nothing to act on. Other
/// directives stay, as fields that are not known. Nothing is left of a value that is a directive itself.
fn fresh(value: &mut Value) -> Option<Value> {
    without_nulls(value);
    match value {
        Value::Object(fields) if fields.contains_key(PATCH) => None,
        Value::Object(fields) => {
            let mut gone = Vec::new();
            let mut kept = Fields::new();
            for (name, value) in fields.iter_mut() {
                match fresh(value) {
                    Some(value) => drop(kept.insert(name.clone(), value)),
                    None => gone.push(name.clone()),
                }
            }
            for name in gone {
                fields.remove(&name);
            }
            Some(kept.into())
        }
        Value::Array(items) => Some(fresh_items(items).into()),
        other => Some(other.clone()),
    }
}

fn fresh_items(items: &mut [Value]) -> Vec<Value> {
    items.iter_mut().filter_map(fresh).collect()
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
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
