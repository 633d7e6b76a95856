//! Claims on storage, where a pod or a StatefulSet brings a template of one.

use crate::admit::faults::{Faults, dns_subdomain, unsupported};
use crate::admit::json::{Json, JsonMut};
use crate::admit::pod::defaults;
use crate::admit::{amount, selector};
use api::{FieldError, Path};
use serde_json::Value;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Defaults of a claim's spec.
pub(crate) fn fill(spec: &mut Value) {
    spec.fill("volumeMode", "Filesystem");
    let resources = spec.object("resources");
    for list in ["limits", "requests"] {
        if let Some(list) = resources.present(list) {
            defaults::round_all(list);
        }
    }
}

/// Faults of a claim's spec.
pub(crate) fn validate(found: &mut Faults, spec: &Value, path: &Path) {
    let at = path.child("accessModes");
    if spec.list("accessModes").is_empty() {
        let why = "at least 1 access mode is required";
        found.push(FieldError::required(at.clone(), why));
    }
    if spec.has("selector") {
        found.extend(selector::validate(spec.at("selector"), &path.child("selector")));
    }
    validate_modes(found, spec.list("accessModes"), &at);
    let storage = spec.dig(&["resources", "requests"]).at("storage");
    let at = path.child("resources").key("storage");
    if storage.is_null() {
        found.push(FieldError::required(at, ""));
    } else if !amount::is_positive(storage) {
        let shown = amount::canonical(storage);
        found.push(FieldError::invalid(at, shown, "must be greater than zero"));
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        if !spec.text(key).is_empty() {
            dns_subdomain(found, &path.child(key), spec.text(key));
        }
    }
    let (mode, modes) = (spec.text("volumeMode"), ["Block", "Filesystem"]);
    if spec.has("volumeMode") && !modes.contains(&mode) {
        found.push(unsupported(path.child("volumeMode"), mode, &modes));
    }
    data_sources(found, spec, path);
}

/// Access modes that there are and that go together.
pub(crate) fn validate_modes(found: &mut Faults, modes: &[Value], path: &Path) {
    let modes: Vec<&str> = modes.iter().filter_map(Value::as_str).collect();
    for mode in modes.iter().filter(|mode| !MODES.contains(mode)) {
        found.push(unsupported(path.clone(), mode, &MODES));
    }
    let alone = |mode: &&str| *mode == "ReadWriteOncePod";
    let others = modes.iter().any(|mode| MODES.contains(mode) && !alone(mode));
    if modes.iter().any(alone) && others {
        let why = "may not use ReadWriteOncePod with other access modes";
        found.push(FieldError::forbidden(path.clone(), why));
    }
}

/// What the claim is filled from.
fn data_sources(found: &mut Faults, spec: &Value, path: &Path) {
    for key in ["dataSource", "dataSourceRef"] {
        let (source, at) = (spec.at(key), path.child(key));
        if source.is_null() {
            continue;
        }
        for part in ["name", "kind"] {
            if source.text(part).is_empty() {
                found.push(FieldError::required(at.child(part), ""));
            }
        }
        let group = source.text("apiGroup");
        if group.is_empty() && source.text("kind") != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            found.push(FieldError::invalid(at.clone(), source.text("kind"), why));
        }
        if !group.is_empty() {
            dns_subdomain(found, &at.child("apiGroup"), group);
        }
    }
}
