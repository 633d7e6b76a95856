//! What containers mount (spec A73).

use super::volumes::Sound;
use crate::admit::faults::{Faults, needed, unsupported};
use crate::admit::json::Json;
use crate::admit::words;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// Faults of `volumeMounts`.
pub(crate) fn validate(found: &mut Faults, container: &Value, volumes: &Sound<'_>, path: &Path) {
    let devices = container.list("volumeDevices");
    let all = |key: &str| devices.iter().map(|device| device.text(key)).collect();
    let (by_name, by_path): (BTreeSet<&str>, BTreeSet<&str>) = (all("name"), all("devicePath"));
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        let at = path.index(i);
        let (name, target) = (mount.text("name"), mount.text("mountPath"));
        needed(found, at.child("name"), name);
        if !volumes.contains_key(name) {
            found.push(FieldError::not_found(at.child("name"), name));
        }
        needed(found, at.child("mountPath"), target);
        if !taken.insert(target) {
            found.push(FieldError::invalid(at.child("mountPath"), target, "must be unique"));
        }
        if by_name.contains(name) {
            let why = "must not already exist in volumeDevices";
            found.push(FieldError::invalid(at.child("name"), name, why));
        }
        if by_path.contains(target) {
            let why = "must not already exist as a path in volumeDevices";
            found.push(FieldError::invalid(at.child("mountPath"), target, why));
        }
        below(found, mount, path, &at);
        if mount.has("mountPropagation") {
            propagation(found, mount, container, &path.child("mountPropagation"));
        }
        read_only(found, mount, &path.child("recursiveReadOnly"));
    }
}

/// Paths below the volume. Their faults are filed under the list, as upstream does.
fn below(found: &mut Faults, mount: &Value, list: &Path, at: &Path) {
    let (plain, expanded) = (mount.text("subPath"), mount.text("subPathExpr"));
    for why in words::local_path(plain) {
        found.push(FieldError::invalid(list.child("subPath"), plain, why));
    }
    if expanded.is_empty() {
        return;
    }
    if !plain.is_empty() {
        let why = "subPathExpr and subPath are mutually exclusive";
        found.push(FieldError::invalid(at.child("subPathExpr"), expanded, why));
    }
    for why in words::local_path(expanded) {
        found.push(FieldError::invalid(list.child("subPathExpr"), expanded, why));
    }
}

fn propagation(found: &mut Faults, mount: &Value, container: &Value, path: &Path) {
    let mode = mount.text("mountPropagation");
    let modes = ["Bidirectional", "HostToContainer", "None"];
    if !modes.contains(&mode) {
        found.push(unsupported(path.clone(), mode, &modes));
    }
    let privileged = container.at("securityContext").flag("privileged");
    if mode == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        found.push(FieldError::forbidden(path.clone(), why));
    }
}

fn read_only(found: &mut Faults, mount: &Value, path: &Path) {
    let mode = mount.text("recursiveReadOnly");
    match mode {
        "" if !mount.has("recursiveReadOnly") => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                let why = "may only be specified when readOnly is true";
                found.push(FieldError::forbidden(path.clone(), why));
            }
            let spread = mount.text("mountPropagation");
            if !spread.is_empty() && spread != "None" {
                let why = "may only be specified when mountPropagation is None or not specified";
                found.push(FieldError::forbidden(path.clone(), why));
            }
        }
        other => {
            found.push(unsupported(path.clone(), other, &["Disabled", "Enabled", "IfPossible"]));
        }
    }
}

/// Faults of `volumeDevices`.
pub(crate) fn validate_devices(
    found: &mut Faults,
    container: &Value,
    volumes: &Sound<'_>,
    path: &Path,
) {
    let mounts = container.list("volumeMounts");
    let all = |key: &str| mounts.iter().map(|mount| mount.text(key)).collect();
    let (by_name, by_path): (BTreeSet<&str>, BTreeSet<&str>) = (all("name"), all("mountPath"));
    let (mut names, mut targets) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let at = path.index(i);
        let (name, target) = (device.text("name"), device.text("devicePath"));
        needed(found, at.child("name"), name);
        let volume = volumes.get(name);
        if names.contains(&name) {
            found.push(FieldError::invalid(at.child("name"), name, "must be unique"));
        }
        match volume {
            None => found.push(FieldError::not_found(at.child("name"), name)),
            Some(v) if !v.has("persistentVolumeClaim") && !v.has("ephemeral") => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                found.push(FieldError::invalid(at.child("name"), name, why));
            }
            Some(_) => {}
        }
        needed(found, at.child("devicePath"), target);
        let mut wrong = |key: &str, value: &str, why: &str| {
            found.push(FieldError::invalid(at.child(key), value, why));
        };
        if targets.contains(&target) {
            wrong("devicePath", target, "must be unique");
        }
        if words::has_backsteps(target) {
            wrong("devicePath", target, "can not contain backsteps ('..')");
        } else {
            targets.insert(target);
        }
        if by_name.contains(name) {
            wrong("name", name, "must not already exist in volumeMounts");
        }
        if by_path.contains(target) {
            wrong("devicePath", target, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}
