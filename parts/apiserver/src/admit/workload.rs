//! What workloads share: a selector that never changes, a pod template, a number of pods, counts in the status.

use super::faults::{Faults, IMMUTABLE, not_negative};
use super::json::Json;
use super::{pod, selector, template};
use api::{FieldError, Path};
use serde_json::Value;

/// Faults of `spec.selector` where it must be there and must not choose everything; `kind` as the message names it.
pub(crate) fn validate_selector(spec: &Value, kind: &str, path: &Path) -> Faults {
    let (chosen, at) = (spec.at("selector"), path.child("selector"));
    if chosen.is_null() {
        return vec![FieldError::required(at, "")];
    }
    let mut found = selector::validate(chosen, &at);
    if selector::is_empty(chosen) {
        let why = format!("empty selector is invalid for {kind}");
        found.push(FieldError::invalid(at, chosen.clone(), &why));
    }
    found
}

/// Faults of selector and template of ReplicaSets, and of Deployments, which speak of themselves as ReplicaSets.
pub(crate) fn validate_replicated(found: &mut Faults, spec: &Value, path: &Path) {
    found.extend(validate_selector(spec, "deployment", path));
    let chosen = spec.at("selector");
    if !selector::is_readable(chosen) {
        let why = "invalid label selector";
        found.push(FieldError::invalid(path.child("selector"), chosen.clone(), why));
        return;
    }
    validate_chosen(found, spec, path);
    found.extend(template::validate(spec.at("template"), &path.child("template")));
    template::validate_endless(found, spec, "ReplicaSet", path);
}

/// The template's pods must be the selector's, unless that asks for nothing at all.
pub(crate) fn validate_chosen(found: &mut Faults, spec: &Value, path: &Path) {
    let chosen = spec.at("selector");
    if chosen.is_null() || !selector::is_empty(chosen) {
        template::validate_selected(found, spec, path);
    }
}

/// A selector stays as it was made.
pub(crate) fn validate_selector_kept(found: &mut Faults, object: &Value, old: &Value) {
    let (new, old) = (object.at("spec").at("selector"), old.at("spec").at("selector"));
    if new != old {
        let path = Path::new("spec").child("selector");
        found.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
    }
}

/// Numbers of an object that may not be negative.
pub(crate) fn validate_counts(found: &mut Faults, of: &Value, path: &Path, keys: &[&str]) {
    for key in keys {
        not_negative(found, path.child(key), of.at(key));
    }
}

/// Parts that cannot be more than the whole: field, the field that bounds it, how the message names that.
pub(crate) fn validate_parts(found: &mut Faults, status: &Value, parts: &[[&str; 3]]) {
    let number = |key: &str| status.int(key).unwrap_or(0);
    for [key, whole, shown] in parts {
        if number(key) > number(whole) {
            let why = format!("cannot be greater than {shown}");
            let path = Path::new("status").child(key);
            found.push(FieldError::invalid(path, number(key), &why));
        }
    }
}

/// Collisions of names only ever become more.
pub(crate) fn validate_collisions(found: &mut Faults, object: &Value, old: &Value) {
    let count = |of: &Value| of.at("status").int("collisionCount");
    if let Some(before) = count(old)
        && count(object).is_none_or(|now| now < before)
    {
        let path = Path::new("status").child("collisionCount");
        let value = count(object).unwrap_or(0);
        found.push(FieldError::invalid(path, value, "cannot be decremented"));
    }
}

/// Warnings about the template: for a new object, or when the spec changed.
pub(crate) fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let generation = |of: &Value| of.at("metadata").int("generation");
    if old.is_some_and(|old| generation(old) == generation(object)) {
        return Vec::new();
    }
    pod::warnings::of_template(
        object.at("spec").at("template"),
        &Path::new("spec").child("template"),
    )
}

/// The warnings of a kind whose name becomes part of the names of its pods: of a new one also about its name.
pub(crate) fn named_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let of_name = name_warning(object).filter(|_| old.is_none());
    of_name.into_iter().chain(warnings(object, old)).collect()
}

/// The warning about a name that makes poor host names.
fn name_warning(object: &Value) -> Option<String> {
    let faults = api::names::dns_label(object.at("metadata").text("name"));
    (!faults.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            faults.join(" ")
        )
    })
}
