//! Annotations that mean something to pods.

use super::profiles;
use crate::admit::faults::Faults;
use crate::admit::json::Json;
use api::{FieldError, Path};
use serde_json::Value;

/// Set by agents on pods that come from files of theirs.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Which pods of a ReplicaSet go first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Faults of annotations in the light of the spec.
pub(crate) fn validate(found: &mut Faults, metadata: &Value, spec: &Value, path: &Path) {
    let annotations = metadata.at("annotations");
    if annotations.has(MIRROR) && spec.text("nodeName").is_empty() {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        found.push(FieldError::invalid(path.key(MIRROR), annotations.text(MIRROR), why));
    }
    let cost = annotations.text(DELETION_COST);
    let padded = cost.len() > 1 && cost.starts_with('0');
    let formed = !cost.starts_with('+') && !padded;
    if annotations.has(DELETION_COST) && (cost.parse::<i32>().is_err() || !formed) {
        let why = "must be a 32bit integer";
        found.push(FieldError::invalid(path.key(DELETION_COST), cost, why));
    }
    profiles::validate_annotations(found, metadata, spec, path);
}

/// Faults of a change of annotations.
pub(crate) fn validate_update(found: &mut Faults, object: &Value, old: &Value) {
    let path = Path::new("metadata").child("annotations");
    let of = |of: &Value| of.at("metadata").at("annotations").clone();
    let (new, before) = (of(object), of(old));
    let what = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(profiles::APPARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    let mut wrong = |key: &str, verb: &str| {
        if let Some(what) = what(key) {
            found.push(FieldError::forbidden(path.key(key), &format!("may not {verb} {what}")));
        }
    };
    for (key, value) in old.at("metadata").entries("annotations") {
        if new.at(key) != value {
            wrong(key, "remove or update");
        }
    }
    for (key, _) in object.at("metadata").entries("annotations") {
        if !before.has(key) {
            wrong(key, "add");
        }
    }
    validate(found, object.at("metadata"), object.at("spec"), &path);
}
