//! The rules of structure: every field has one type, said outside of the words that only judge values.

use super::schema::below;
use crate::admit::faults::Faults;
use crate::admit::json::Json;
use crate::custom;
use api::{FieldError, Path};
use serde_json::{Value, json};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Every fault, in the order of their texts.
pub(super) fn validate(schema: &Value, path: &Path) -> Faults {
    let mut faults = Faults::new();
    let mut room = Some(custom::PATTERNS_BYTES_MAX);
    walk(&mut faults, schema, path, Level::Root);
    patterns(&mut faults, schema, path, false, &mut room);
    faults.sort_by_cached_key(ToString::to_string);
    faults
}

fn walk(faults: &mut Faults, schema: &Value, path: &Path, level: Level) {
    if schema.at("items").is_object() {
        walk(faults, schema.at("items"), &path.child("items"), Level::Item);
    }
    for (key, value) in schema.entries("properties") {
        walk(faults, value, &path.child("properties").key(key), Level::Field);
    }
    if schema.at("additionalProperties").is_object() {
        let place = path.child("additionalProperties");
        walk(faults, schema.at("additionalProperties"), &place, Level::Field);
    }
    either(faults, schema, path);
    judging(faults, schema, path);
    types(faults, schema, path, level);
    embedded(faults, schema, path, level);
    completeness(faults, schema, path);
}

fn either(faults: &mut Faults, schema: &Value, path: &Path) {
    if !schema.flag("x-kubernetes-int-or-string") {
        return;
    }
    for word in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if schema.flag(word) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            faults.push(FieldError::invalid(path.child(word), true, why));
        }
    }
}

/// Patterns must be such, wherever values are judged, and all of them must fit in `room`, bytes of their programs; `None`
/// once it was said that they do not. What may not stand in a part that only judges (`judged`) is not looked into.
fn patterns(
    faults: &mut Faults,
    schema: &Value,
    path: &Path,
    judged: bool,
    room: &mut Option<usize>,
) {
    pattern(faults, schema.text("pattern"), path, room);
    below(schema, path, |part, place, word, _| {
        let inner = judged || ["allOf", "anyOf", "oneOf", "not"].contains(&word);
        if !(judged && word == "values") {
            patterns(faults, part, &place, inner, room);
        }
    });
}

fn pattern(faults: &mut Faults, pattern: &str, path: &Path, room: &mut Option<usize>) {
    let Some(left) = room.filter(|_| !pattern.is_empty()) else { return };
    match custom::pattern(pattern) {
        Ok((_, bytes)) if bytes <= left => *room = Some(left - bytes),
        Ok(_) => {
            // Said once; what comes after is not built any more.
            *room = None;
            let why = format!(
                "the regular expressions of a schema may need {} bytes in all; this one exceeds them",
                custom::PATTERNS_BYTES_MAX
            );
            faults.push(FieldError::forbidden(path.child("pattern"), &why));
        }
        Err(why) => {
            let why = format!("must be a valid regular expression, but isn't: {why}");
            faults.push(FieldError::invalid(path.child("pattern"), pattern, &why));
        }
    }
}

fn types(faults: &mut Faults, schema: &Value, path: &Path, level: Level) {
    let kind = schema.text("type");
    let free = schema.flag("x-kubernetes-int-or-string")
        || schema.flag("x-kubernetes-preserve-unknown-fields");
    let place = path.child("type");
    if schema.flag("x-kubernetes-embedded-resource") && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        faults.push(if kind.is_empty() {
            FieldError::required(place.clone(), why)
        } else {
            FieldError::invalid(place.clone(), kind, why)
        });
    } else if kind.is_empty() && !free {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Field => "must not be empty for specified object fields",
            Level::Item => "must not be empty for specified array items",
        };
        faults.push(FieldError::required(place.clone(), why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        faults.push(FieldError::invalid(place, kind, "must be object at the root"));
    }
    if level == Level::Root && schema.has("additionalProperties") {
        let why = "must not be used at the root";
        faults.push(FieldError::forbidden(path.child("additionalProperties"), why));
    }
    if kind == "array" && schema.at("items").is_null() {
        faults.push(FieldError::required(path.child("items"), "must be specified"));
    }
}

fn embedded(faults: &mut Faults, schema: &Value, path: &Path, level: Level) {
    let embedded = schema.flag("x-kubernetes-embedded-resource");
    if embedded && schema.has("additionalProperties") {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        faults.push(FieldError::forbidden(path.child("additionalProperties"), why));
    }
    if embedded
        && !schema.flag("x-kubernetes-preserve-unknown-fields")
        && schema.entries("properties").is_empty()
    {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        faults.push(FieldError::required(path.child("properties"), why));
    }
    if !embedded && level != Level::Root {
        return;
    }
    let properties = schema.at("properties");
    for (key, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let Some(found) = properties.get(key) else { continue };
        let place = path.child("properties").key(key);
        if found.text("type") != wanted {
            let why = format!("must be {wanted}");
            faults.push(FieldError::invalid(place.child("type"), found.text("type"), &why));
        }
        if key == "metadata" && level == Level::Root && says_more(found) {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            faults.push(FieldError::forbidden(place, why));
        }
    }
}

/// Whether a schema of metadata says more than its type and what the names may look like.
fn says_more(metadata: &Value) -> bool {
    // What is said of values is looked at elsewhere, or not kept at all.
    let free = ["type", "default", "externalDocs", "example"];
    let words = metadata.as_object().into_iter().flatten();
    let mut words = words.filter(|(word, _)| !free.contains(&word.as_str()));
    words.any(|(word, value)| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) if word == "properties" => {
            map.keys().any(|key| key != "name" && key != "generateName")
        }
        _ => true,
    })
}

/// What judges values only may not say what a field is.
fn judging(faults: &mut Faults, schema: &Value, path: &Path) {
    let numbers = json!([{"type": "integer"}, {"type": "string"}]);
    let mut first = true;
    below(schema, path, |part, place, word, _| {
        let pattern = word == "anyOf" && *schema.at("anyOf") == numbers;
        let nested = word == "allOf" && *part.at("anyOf") == numbers && std::mem::take(&mut first);
        if ["allOf", "anyOf", "oneOf", "not"].contains(&word) && !pattern {
            judge(faults, part, &place, nested);
        }
        first &= word != "allOf";
    });
}

fn judge(faults: &mut Faults, part: &Value, path: &Path, skip_any: bool) {
    for word in ["type", "title", "description"] {
        if !part.text(word).is_empty() {
            let why = "must be empty to be structural";
            faults.push(FieldError::forbidden(path.child(word), why));
        }
    }
    for word in ["default", "additionalProperties"] {
        if part.has(word) {
            let why = "must be undefined to be structural";
            faults.push(FieldError::forbidden(path.child(word), why));
        }
    }
    for word in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        if part.flag(word) {
            let why = "must be false to be structural";
            faults.push(FieldError::forbidden(path.child(word), why));
        }
    }
    for word in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
        if part.has(word) {
            let why = "must be undefined to be structural";
            faults.push(FieldError::forbidden(path.child(word), why));
        }
    }
    for word in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if !part.list(word).is_empty() {
            let why = "must be empty to be structural";
            faults.push(FieldError::forbidden(path.child(word), why));
        }
    }
    if part.at("properties").has("metadata") {
        let why = "must not be specified in a nested context";
        faults.push(FieldError::forbidden(path.child("properties").key("metadata"), why));
    }
    below(part, path, |inner, place, word, _| {
        if !(word == "values" || skip_any && word == "anyOf") {
            judge(faults, inner, &place, false);
        }
    });
}

/// Fields that a judging word names must be known outside of it.
fn completeness(faults: &mut Faults, schema: &Value, path: &Path) {
    let mut nested: Vec<(&Value, Path)> = Vec::new();
    below(schema, path, |part, place, word, _| {
        if ["allOf", "anyOf", "oneOf", "not"].contains(&word) {
            nested.push((part, place));
        }
    });
    for (part, place) in nested {
        complete(faults, part, &place, schema, path);
    }
}

fn complete(faults: &mut Faults, part: &Value, at: &Path, outer: &Value, path: &Path) {
    for (key, value) in part.entries("properties") {
        let said = at.child("properties").key(key);
        let place = path.child("properties").key(key);
        match outer.at("properties").get(key) {
            Some(known) => complete(faults, value, &said, known, &place),
            None if outer.has("additionalProperties") => {}
            None => {
                let why = format!("because it is defined in {said}");
                faults.push(FieldError::required(place, &why));
            }
        }
    }
    if part.at("items").is_object() {
        let (said, place) = (at.child("items"), path.child("items"));
        if outer.at("items").is_object() {
            complete(faults, part.at("items"), &said, outer.at("items"), &place);
        } else {
            faults.push(FieldError::required(place, &format!("because it is defined in {said}")));
        }
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in part.list(word).iter().enumerate() {
            complete(faults, inner, &at.child(word).index(index), outer, path);
        }
    }
    if part.at("not").is_object() {
        complete(faults, part.at("not"), &at.child("not"), outer, path);
    }
}
