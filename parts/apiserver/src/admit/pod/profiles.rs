//! Seccomp and AppArmor profiles: as fields, as the annotations they once were, and that both agree.

use super::containers;
use crate::admit::faults::{Faults, invalid_shown, unsupported};
use crate::admit::json::{Json, JsonMut};
use crate::admit::words;
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// What names a profile of the node, before its name.
const ON_NODE: &str = "localhost/";
/// Seccomp for the whole pod.
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// Seccomp for the container whose name follows.
pub(super) const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// AppArmor for the container whose name follows.
pub(super) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Longest name of an AppArmor profile: a path's length less one.
const APPARMOR_BYTES_MAX: usize = 4095;

/// Faults of a seccomp profile.
pub(crate) fn seccomp(found: &mut Faults, profile: &Value, path: &Path) {
    if profile.is_null() {
        return;
    }
    match profile.text("type") {
        "" => {
            let why = "type is required when seccompProfile is set";
            found.push(FieldError::required(path.child("type"), why));
        }
        kind if TYPES.contains(&kind) => {}
        other => found.push(unsupported(path.child("type"), other, &TYPES)),
    }
    let at = path.child("localhostProfile");
    let file = profile.at("localhostProfile").as_str();
    match (profile.text("type"), file) {
        ("Localhost", None) => {
            let why = "must be set when seccomp type is Localhost";
            found.push(FieldError::required(at, why));
        }
        ("Localhost", Some(file)) => {
            for why in words::local_path(file) {
                found.push(FieldError::invalid(at.clone(), file, why));
            }
        }
        (kind, Some(file)) => {
            let shown = format!("{{\"Type\":{kind:?},\"LocalhostProfile\":{file:?}}}");
            let why = "can only be set when seccomp type is Localhost";
            found.push(invalid_shown(at, &shown, why));
        }
        (_, None) => {}
    }
}

/// Faults of an AppArmor profile.
pub(crate) fn apparmor(found: &mut Faults, profile: &Value, path: &Path) {
    if profile.is_null() {
        return;
    }
    let at = path.child("localhostProfile");
    let name = profile.at("localhostProfile").as_str();
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    match (profile.text("type"), name) {
        ("Localhost", None) => found.push(FieldError::required(at, NEEDED)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                let why = "must not be padded with whitespace";
                found.push(FieldError::invalid(at.clone(), name, why));
            } else if name.is_empty() {
                found.push(FieldError::required(at.clone(), NEEDED));
            }
            if name.len() > APPARMOR_BYTES_MAX {
                found.push(FieldError::too_long(at, APPARMOR_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            let why = "can only be set when AppArmor type is Localhost";
            found.push(FieldError::invalid(at, name, why));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            let why = "type is required when appArmorProfile is set";
            found.push(FieldError::required(path.child("type"), why));
        }
        (other, _) => found.push(unsupported(path.child("type"), other, &TYPES)),
    }
}

/// Faults of annotations that name profiles.
pub(super) fn validate_annotations(found: &mut Faults, meta: &Value, spec: &Value, path: &Path) {
    let annotations = meta.entries("annotations");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_pod = annotations.iter().filter(|(key, _)| *key == SECCOMP_POD);
    let of_containers = annotations.iter().filter(|(key, _)| key.starts_with(SECCOMP));
    for (key, value) in of_pod.chain(of_containers) {
        let (value, path) = (text(value), path.child(key));
        if let Some(file) = value.strip_prefix(ON_NODE) {
            for why in words::local_path(file) {
                found.push(FieldError::invalid(path.clone(), file, why));
            }
        } else if !["runtime/default", "docker/default", "unconfined"].contains(&value.as_str()) {
            found.push(FieldError::invalid(path, value, "must be a valid seccomp profile"));
        }
    }
    let containers = containers::every(spec, &Path::root());
    let known: BTreeSet<&str> = containers.iter().map(|(_, one)| one.text("name")).collect();
    for (key, value) in &annotations {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        if !known.contains(name) {
            found.push(FieldError::invalid(path.key(key), name, "container not found"));
        }
        let value = text(value);
        let fits = ["", "runtime/default", "unconfined"].contains(&value.as_str());
        if !fits && !value.starts_with(ON_NODE) {
            let why = format!("invalid AppArmor profile name: {value:?}");
            found.push(FieldError::invalid(path.key(key), value, &why));
        }
    }
}

/// Faults where an annotation says one thing and the field another.
pub(super) fn validate_agreement(found: &mut Faults, object: &Value) {
    let (annotations, spec) = (object.at("metadata").at("annotations"), object.at("spec"));
    let path = Path::new("spec");
    let whole = spec.at("securityContext");
    let seccomp = "seccompProfile";
    if let Some(said) = annotations.at(SECCOMP_POD).as_str() {
        let path = path.child("securityContext").child(seccomp);
        agree(found, "seccomp", said, whole.at(seccomp), &path);
    }
    let every = containers::every(spec, &path);
    for (path, container) in &every {
        let own = container.at("securityContext").at(seccomp);
        if let Some(said) = annotations.at(&format!("{SECCOMP}{}", container.text("name"))).as_str()
        {
            agree(found, "seccomp", said, own, &path.child("securityContext").child(seccomp));
        }
    }
    if spec.at("os").text("name") == "windows" {
        return;
    }
    let apparmor = "appArmorProfile";
    for (path, container) in &every {
        let own = container.at("securityContext").at(apparmor);
        let own = if own.is_null() { whole.at(apparmor) } else { own };
        if let Some(said) =
            annotations.at(&format!("{APPARMOR}{}", container.text("name"))).as_str()
        {
            agree(found, "apparmor", said, own, &path.child("securityContext").child(apparmor));
        }
    }
}

fn agree(found: &mut Faults, what: &str, said: &str, profile: &Value, path: &Path) {
    let mut differs = |key: &str, part: &str| {
        let why = format!("{what} {part} in annotation and field must match");
        found.push(FieldError::forbidden(path.child(key), &why));
    };
    let docker = what == "seccomp" && said == "docker/default";
    match profile.text("type") {
        "Unconfined" if said != "unconfined" => differs("type", "type"),
        "RuntimeDefault" if said != "runtime/default" && !docker => differs("type", "type"),
        "Localhost" => match said.strip_prefix(ON_NODE) {
            None => differs("type", "type"),
            Some(name) if profile.at("localhostProfile").as_str() != Some(name) => {
                differs("localhostProfile", "profile");
            }
            Some(_) => {}
        },
        _ => {}
    }
}

/// Old annotations about AppArmor become fields, where those are absent.
pub(super) fn adopt_annotations(object: &mut Value) {
    let annotations = object.at("metadata").at("annotations").clone();
    let spec = object.object("spec");
    if annotations.is_null() || spec.at("os").text("name") == "windows" {
        return;
    }
    let whole = spec.at("securityContext").at("appArmorProfile").clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.items(list) {
            let said = annotations.at(&format!("{APPARMOR}{}", container.text("name"))).as_str();
            let taken = container.at("securityContext").has("appArmorProfile");
            if let Some(profile) = said.and_then(profile_of)
                && !taken
                && profile != whole
            {
                container.object("securityContext").set("appArmorProfile", profile);
            }
        }
    }
}

/// Old annotations about AppArmor that say what no field of the pod says, by their keys.
pub(super) fn annotations_without_fields(pod: &Value) -> Vec<String> {
    let (annotations, spec) = (pod.at("metadata").at("annotations"), pod.at("spec"));
    if spec.at("os").text("name") == "windows" {
        return Vec::new();
    }
    let whole = spec.at("securityContext").at("appArmorProfile");
    let mut keys = Vec::new();
    for (_, container) in containers::every(spec, &Path::root()) {
        let key = format!("{APPARMOR}{}", container.text("name"));
        let Some(said) = annotations.at(&key).as_str() else { continue };
        let taken = container.at("securityContext").has("appArmorProfile");
        if !taken && profile_of(said).is_none_or(|profile| profile != *whole) {
            keys.push(key);
        }
    }
    keys
}

/// The profile an annotation names, if it is a sound one.
fn profile_of(said: &str) -> Option<Value> {
    let profile = match said {
        "unconfined" => json!({"type": "Unconfined"}),
        "runtime/default" => json!({"type": "RuntimeDefault"}),
        _ => {
            let name = said.strip_prefix(ON_NODE)?;
            json!({"type": "Localhost", "localhostProfile": name})
        }
    };
    let mut found = Faults::new();
    apparmor(&mut found, &profile, &Path::root());
    found.is_empty().then_some(profile)
}
