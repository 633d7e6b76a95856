//! How lists and maps are merged, said by words of Kubernetes' own.

use crate::admit::faults::{Faults, unsupported};
use crate::admit::json::Json;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

const KEPT: &str = "x-kubernetes-preserve-unknown-fields";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";

/// What is wrong with them in one part of a schema, without the parts below.
pub(super) fn validate(faults: &mut Faults, schema: &Value, path: &Path) {
    if *schema.at(KEPT) == Value::Bool(false) {
        faults.push(FieldError::invalid(path.child(KEPT), false, "must be true or undefined"));
    }
    merged(faults, schema, path, (MAP_TYPE, "object", &["atomic", "granular"]));
    merged(faults, schema, path, (LIST_TYPE, "array", &["atomic", "set", "map"]));
    keyed(faults, schema, path);
    unset(faults, schema, path);
}

/// The type that `word` wants, the items of a set, then the values that `word` may have.
fn merged(
    faults: &mut Faults,
    schema: &Value,
    path: &Path,
    (word, wanted, known): (&str, &str, &[&str]),
) {
    let Some(said) = schema.at(word).as_str() else { return };
    let (kind, place) = (schema.text("type"), path.child("type"));
    let why = format!("must be {wanted} if {word} is specified");
    if kind.is_empty() {
        faults.push(FieldError::required(place, &why));
    } else if kind != wanted {
        faults.push(FieldError::invalid(place, kind, &why));
    } else if word == LIST_TYPE && said == "set" {
        whole_items(faults, schema.at("items"), &path.child("items"));
    }
    if !known.contains(&said) {
        faults.push(unsupported(path.child(word), said, known));
    }
}

/// Items of a set are compared whole. Upstream shows the list's word in both cases, which objects do not have.
fn whole_items(faults: &mut Faults, items: &Value, path: &Path) {
    let (word, bad) = match items.text("type") {
        "array" => (LIST_TYPE, items.has(LIST_TYPE) && items.text(LIST_TYPE) != "atomic"),
        "object" => (MAP_TYPE, items.text(MAP_TYPE) != "atomic"),
        _ => return,
    };
    if bad {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        faults.push(FieldError::invalid(path.child(word), items.at(LIST_TYPE).clone(), why));
    }
}

fn keyed(faults: &mut Faults, schema: &Value, path: &Path) {
    let (kind, keys, items) = (schema.text(LIST_TYPE), schema.list(LIST_KEYS), schema.at("items"));
    if !keys.is_empty() && kind != "map" {
        let (place, why) =
            (path.child(LIST_TYPE), "must be map if x-kubernetes-list-map-keys is non-empty");
        faults.push(if schema.has(LIST_TYPE) {
            FieldError::invalid(place, kind, why)
        } else {
            FieldError::required(place, why)
        });
    }
    if kind != "map" {
        return;
    }
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        faults.push(FieldError::required(path.child(LIST_KEYS), why));
    }
    if items.is_null() {
        let why = "must have a schema if x-kubernetes-list-type is map";
        faults.push(FieldError::required(path.child("items"), why));
    } else if items.is_object() && items.text("type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        let place = path.child("items").child("type");
        faults.push(FieldError::invalid(place, items.text("type"), why));
    } else if items.is_object() {
        keys_of_items(faults, schema, path);
    }
}

fn keys_of_items(faults: &mut Faults, schema: &Value, path: &Path) {
    let (keys, items) = (schema.at(LIST_KEYS), schema.at("items"));
    let at = path.child(LIST_KEYS);
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for key in schema.list(LIST_KEYS) {
        let name = key.as_str().unwrap_or_default();
        match items.at("properties").get(name) {
            None => {
                let why = "entries must all be names of item properties";
                faults.push(FieldError::invalid(at.clone(), keys.clone(), why));
            }
            Some(property) if ["array", "object"].contains(&property.text("type")) => {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let place = path.child("items").child("properties").key(name).child("type");
                // The type shown is that of the items.
                faults.push(FieldError::invalid(place, items.text("type"), why));
            }
            Some(_) => {}
        }
        if !known.insert(name) {
            let why = "must not contain duplicate entries";
            faults.push(FieldError::invalid(at.clone(), keys.clone(), why));
        }
    }
}

/// Items of sets and maps, and the keys of maps, must be there.
fn unset(faults: &mut Faults, schema: &Value, path: &Path) {
    let (kind, items) = (schema.text(LIST_TYPE), schema.at("items"));
    if !items.is_object() || !["set", "map"].contains(&kind) {
        return;
    }
    let path = path.child("items");
    if items.flag("nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        faults.push(FieldError::forbidden(path.child("nullable"), &why));
    }
    for key in schema.list(LIST_KEYS).iter().filter(|_| kind == "map") {
        let name = key.as_str().unwrap_or_default();
        let Some(property) = items.at("properties").get(name) else { continue };
        let place = path.child("properties").key(name);
        if !items.list("required").contains(key) && !property.has("default") {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            faults.push(FieldError::required(place.child("default"), why));
        }
        if property.flag("nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            faults.push(FieldError::forbidden(place.child("nullable"), why));
        }
    }
}
