//! The schema of a version: which words of OpenAPI may stand in it, and with which others.

use super::{shown, structural};
use crate::admit::faults::{Faults, invalid_shown, unsupported};
use crate::admit::json::Json;
use crate::custom;
use crate::custom::cel::{Aim, compile};
use api::{FieldError, Path};
use serde_json::Value;

/// Types that a schema may name.
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Words that are not supported at all.
const UNKNOWN_WORDS: &[(&str, &str)] = &[
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$schema", "$schema is not supported"),
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("$ref", "$ref is not supported"),
];
/// Words that may stand at the root of a schema whose status is written apart, and their names in Go.
const ROOT_WORDS: &[(&str, &str)] = &[
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// Every fault of a schema. What is well is then held against the rules of structure, and its defaults against itself.
pub(super) fn validate(schema: &Value, halves: bool, path: &Path) -> Faults {
    let mut faults = Faults::new();
    if !schema.is_object() {
        return faults;
    }
    if schema.flag("nullable") {
        faults.push(FieldError::forbidden(
            path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    if halves {
        root(&mut faults, schema, path);
    }
    walk(&mut faults, schema, path, false);
    let structure = structural::validate(schema, path);
    if !structure.is_empty() {
        faults.extend(structure);
        return faults;
    }
    if faults.is_empty() {
        defaults(&mut faults, schema, path);
    }
    if faults.is_empty() {
        rules(&mut faults, schema, path);
    }
    faults
}

/// The root of a schema whose status is written apart, and therefore judged apart.
fn root(faults: &mut Faults, schema: &Value, path: &Path) {
    if schema.text("type") != "object" && schema.has("type") {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        faults.push(FieldError::invalid(path.child("type"), schema.text("type"), why));
    }
    let mut words = schema.as_object().into_iter().flatten().map(|(word, _)| word.as_str());
    if words.any(|word| !ROOT_WORDS.iter().any(|(known, _)| *known == word)) {
        let known: Vec<&str> = ROOT_WORDS.iter().map(|(_, go)| *go).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            known.join(" ")
        );
        faults.push(invalid_shown(path.clone(), &shown::schema(schema), &why));
    }
}

/// Visits the schemas below one: `visit` gets each with its path and whether it describes a part of metadata.
pub(super) fn below<'v>(
    schema: &'v Value,
    path: &Path,
    mut visit: impl FnMut(&'v Value, Path, &'static str, &str),
) {
    if schema.at("additionalProperties").is_object() {
        visit(schema.at("additionalProperties"), path.child("additionalProperties"), "values", "");
    }
    for (key, value) in schema.entries("properties") {
        visit(value, path.child("properties").key(key), "properties", key);
    }
    if schema.at("not").is_object() {
        visit(schema.at("not"), path.child("not"), "not", "");
    }
    for word in ["allOf", "oneOf", "anyOf"] {
        for (at, value) in schema.list(word).iter().enumerate() {
            visit(value, path.child(word).index(at), word, "");
        }
    }
    if schema.at("items").is_object() {
        visit(schema.at("items"), path.child("items"), "items", "");
    }
}

fn walk(faults: &mut Faults, schema: &Value, path: &Path, in_metadata: bool) {
    words(faults, schema, path, in_metadata);
    extensions(faults, schema, path);
    lists(faults, schema, path);
    below(schema, path, |part, place, _, key| {
        walk(faults, part, &place, in_metadata || key == "metadata");
    });
}

fn words(faults: &mut Faults, schema: &Value, path: &Path, in_metadata: bool) {
    for (word, why) in UNKNOWN_WORDS.iter().filter(|(word, _)| schema.has(word)) {
        faults.push(FieldError::forbidden(path.child(word), why));
    }
    let kind = schema.text("type");
    if kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        faults.push(FieldError::forbidden(path.child("type"), why));
    } else if !kind.is_empty() && !TYPES.contains(&kind) {
        faults.push(unsupported(path.child("type"), kind, TYPES));
    }
    if schema.at("items").is_array() {
        let why = "items must be a schema object and not an array";
        faults.push(FieldError::forbidden(path.child("items"), why));
    }
    if schema.flag("uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        faults.push(FieldError::forbidden(path.child("uniqueItems"), why));
    }
    let additional = schema.at("additionalProperties");
    if *additional == Value::Bool(false) {
        let why = "additionalProperties cannot be set to false";
        faults.push(FieldError::forbidden(path.child("additionalProperties"), why));
    } else if additional.is_object() && !schema.entries("properties").is_empty() {
        let why = "additionalProperties and properties are mutual exclusive";
        faults.push(FieldError::forbidden(path.child("additionalProperties"), why));
    }
    if in_metadata && schema.flag("x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        faults.push(FieldError::forbidden(path.child("x-kubernetes-embedded-resource"), why));
    }
    let pattern = schema.text("pattern");
    if let Err(why) = custom::pattern(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        faults.push(FieldError::invalid(path.child("pattern"), pattern, &why));
    }
}

fn extensions(faults: &mut Faults, schema: &Value, path: &Path) {
    let kept = "x-kubernetes-preserve-unknown-fields";
    if *schema.at(kept) == Value::Bool(false) {
        faults.push(FieldError::invalid(path.child(kept), false, "must be true or undefined"));
    }
    for (word, wanted, known) in [
        ("x-kubernetes-map-type", "object", &["atomic", "granular"][..]),
        ("x-kubernetes-list-type", "array", &["atomic", "map", "set"][..]),
    ] {
        let Some(said) = schema.at(word).as_str() else { continue };
        let kind = schema.text("type");
        let why = format!("must be {wanted} if {word} is specified");
        if kind.is_empty() {
            faults.push(FieldError::required(path.child("type"), &why));
        } else if kind != wanted {
            faults.push(FieldError::invalid(path.child("type"), kind, &why));
        }
        if !known.contains(&said) {
            faults.push(unsupported(path.child(word), said, known));
        }
    }
}

fn lists(faults: &mut Faults, schema: &Value, path: &Path) {
    let (list_type, list_keys) = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys");
    let (kind, keys, items) = (schema.text(list_type), schema.list(list_keys), schema.at("items"));
    if kind == "set" && items.is_object() {
        let of_items = |word: &str| path.child("items").child(word);
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let inner =
            if items.text("type") == "object" { "x-kubernetes-map-type" } else { list_type };
        let said = items.at(inner);
        let bad = match items.text("type") {
            "array" => !said.is_null() && said != "atomic",
            "object" => said != "atomic",
            _ => false,
        };
        if bad {
            faults.push(FieldError::invalid(of_items(inner), said.clone(), why));
        }
        if items.flag("nullable") {
            let why = "cannot be nullable when x-kubernetes-list-type is set";
            faults.push(FieldError::forbidden(of_items("nullable"), why));
        }
    }
    if !keys.is_empty() && kind != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        faults.push(if kind.is_empty() {
            FieldError::required(path.child(list_type), why)
        } else {
            FieldError::invalid(path.child(list_type), kind, why)
        });
    }
    if kind != "map" {
        return;
    }
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        faults.push(FieldError::required(path.child(list_keys), why));
    }
    if items.is_null() {
        let why = "must have a schema if x-kubernetes-list-type is map";
        faults.push(FieldError::required(path.child("items"), why));
    } else if items.text("type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        faults.push(FieldError::invalid(
            path.child("items").child("type"),
            items.text("type"),
            why,
        ));
    } else {
        list_map_keys(faults, schema, path);
    }
}

fn list_map_keys(faults: &mut Faults, schema: &Value, path: &Path) {
    let (keys, items) = (schema.at("x-kubernetes-list-map-keys"), schema.at("items"));
    let at = path.child("x-kubernetes-list-map-keys");
    let mut known: Vec<&Value> = Vec::new();
    for key in schema.list("x-kubernetes-list-map-keys") {
        let name = key.as_str().unwrap_or_default();
        let place = path.child("items").child("properties").key(name);
        match items.at("properties").get(name) {
            None => {
                let why = "entries must all be names of item properties";
                faults.push(FieldError::invalid(at.clone(), keys.clone(), why));
            }
            Some(property) => {
                let kind = property.text("type");
                if ["array", "object"].contains(&kind) {
                    let why =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    faults.push(FieldError::invalid(place.child("type"), kind, why));
                }
                if !items.list("required").contains(key) && property.get("default").is_none() {
                    let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    faults.push(FieldError::required(place.child("default"), why));
                }
                if property.flag("nullable") {
                    let why =
                        "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    faults.push(FieldError::forbidden(place.child("nullable"), why));
                }
            }
        }
        if known.contains(&key) {
            let why = "must not contain duplicate entries";
            faults.push(FieldError::invalid(at.clone(), keys.clone(), why));
        }
        known.push(key);
    }
}

/// Defaults must be what their own schema allows.
fn defaults(faults: &mut Faults, schema: &Value, path: &Path) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let compiled = custom::Schema::read(schema);
        let mut pruned = default.clone();
        let unknown = custom::prune(&mut pruned, &compiled, false);
        let place = path.child("default");
        if !unknown.is_empty() {
            let why = "must not have unknown fields";
            faults.push(FieldError::invalid(place.clone(), default.clone(), why));
        }
        faults.extend(custom::check(default, None, &compiled, Some(&place)));
    }
    below(schema, path, |part, place, _, _| defaults(faults, part, &place));
}

/// Rules in CEL must be rules, and about fields that are there.
fn rules(faults: &mut Faults, schema: &Value, path: &Path) {
    let list = path.child("x-kubernetes-validations");
    for (at, rule) in schema.list("x-kubernetes-validations").iter().enumerate() {
        let place = list.index(at);
        let text = rule.text("rule");
        if text.trim().is_empty() {
            faults.push(FieldError::required(place.child("rule"), "rule is not specified"));
            continue;
        }
        for (key, text) in [("message", rule.text("message")), ("messageExpression", "")] {
            if text.contains('\n') {
                let why = format!("{key} must not contain line breaks");
                faults.push(FieldError::invalid(place.child(key), text, &why));
            }
        }
        let known = [
            "FieldValueRequired",
            "FieldValueInvalid",
            "FieldValueDuplicate",
            "FieldValueForbidden",
        ];
        if let Some(reason) = rule.at("reason").as_str().filter(|reason| !known.contains(reason)) {
            let shown = [
                "FieldValueInvalid",
                "FieldValueForbidden",
                "FieldValueRequired",
                "FieldValueDuplicate",
            ];
            faults.push(unsupported(place.child("reason"), reason, &shown));
        }
        let whole = path.as_str().ends_with("openAPIV3Schema");
        for (key, aim) in [("rule", Aim::Rule), ("messageExpression", Aim::Message)] {
            let text = rule.text(key);
            if text.is_empty() {
                continue;
            }
            if let Err(why) = compile(text, schema, whole, aim) {
                faults.push(invalid_shown(place.child(key), &shown::rule(rule), &why));
            }
        }
    }
    below(schema, path, |part, place, _, _| rules(faults, part, &place));
}
