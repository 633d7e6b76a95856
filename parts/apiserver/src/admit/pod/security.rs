//! Security contexts.

use super::spec::Scope;
use super::{containers, profiles, windows};
use crate::admit::faults::{Faults, invalid_shown, range, unsupported};
use crate::admit::json::Json;
use crate::admit::words;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// Highest user or group id.
const ID_MAX: i64 = i32::MAX as i64;

fn id(found: &mut Faults, of: &Value, key: &str, path: &Path) {
    if let Some(id) = of.int(key) {
        range(found, path.child(key), id, 0, ID_MAX);
    }
}

/// Faults of the pod's security context, and of fields that upstream keeps inside it.
pub(crate) fn validate_pod(found: &mut Faults, spec: &Value, path: &Path) {
    let context = spec.at("securityContext");
    id(found, context, "fsGroup", path);
    id(found, context, "runAsUser", path);
    id(found, context, "runAsGroup", path);
    for (i, group) in context.list("supplementalGroups").iter().enumerate() {
        let path = path.child("supplementalGroups").index(i);
        range(found, path, group.as_i64().unwrap_or(0), 0, ID_MAX);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        found.push(FieldError::invalid(path.child("shareProcessNamespace"), true, why));
    }
    sysctls(found, spec, &path.child("sysctls"));
    let word = |found: &mut Faults, key: &str, words: &[&str]| {
        let value = context.text(key);
        if context.has(key) && !words.contains(&value) {
            found.push(unsupported(path.child(key), value, words));
        }
    };
    word(found, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    profiles::seccomp(found, context.at("seccompProfile"), &path.child("seccompProfile"));
    windows::validate_options(found, context.at("windowsOptions"), &path.child("windowsOptions"));
    profiles::apparmor(found, context.at("appArmorProfile"), &path.child("appArmorProfile"));
    word(found, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    word(found, "seLinuxChangePolicy", &["MountOption", "Recursive"]);
}

fn sysctls(found: &mut Faults, spec: &Value, path: &Path) {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, sysctl) in spec.at("securityContext").list("sysctls").iter().enumerate() {
        let path = path.index(i).child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            found.push(FieldError::required(path.clone(), ""));
        } else if !words::is_sysctl(name) {
            let why = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            found.push(FieldError::invalid(path.clone(), name, why));
        } else if taken.contains(&name) {
            found.push(FieldError::duplicate(path.clone(), name));
        }
        taken.insert(name);
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            let why = "may not be specified when 'hostNetwork' is true";
            found.push(FieldError::invalid(path, name, why));
        } else if spec.flag("hostIPC") && is_ipc(&dotted) {
            let why = "may not be specified when 'hostIPC' is true";
            found.push(FieldError::invalid(path, name, why));
        }
    }
}

fn is_ipc(name: &str) -> bool {
    name == "kernel.sem"
        || name.starts_with("kernel.shm")
        || name.starts_with("kernel.msg")
        || name.starts_with("fs.mqueue.")
}

/// Faults of a container's security context.
pub(crate) fn validate_container(
    found: &mut Faults,
    scope: Scope<'_>,
    container: &Value,
    path: &Path,
) {
    let context = container.at("securityContext");
    if context.is_null() {
        return;
    }
    id(found, context, "runAsUser", path);
    id(found, context, "runAsGroup", path);
    if context.has("procMount") {
        let mount = context.text("procMount");
        if !["Default", "Unmasked"].contains(&mount) {
            found.push(unsupported(path.child("procMount"), mount, &["Default", "Unmasked"]));
        }
        if mount == "Unmasked" && scope.host_users() {
            let why = "`hostUsers` must be false to use `Unmasked`";
            found.push(FieldError::invalid(path.child("procMount"), mount, why));
        }
    }
    profiles::seccomp(found, context.at("seccompProfile"), &path.child("seccompProfile"));
    if context.at("allowPrivilegeEscalation").as_bool() == Some(false) {
        if context.flag("privileged") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            found.push(invalid_shown(path.clone(), &shown(context), why));
        }
        let added = context.at("capabilities").list("add");
        if added.iter().any(|c| matches!(c.as_str(), Some("CAP_SYS_ADMIN"))) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            found.push(invalid_shown(path.clone(), &shown(context), why));
        }
    }
    windows::validate_options(found, context.at("windowsOptions"), &path.child("windowsOptions"));
    profiles::apparmor(found, context.at("appArmorProfile"), &path.child("appArmorProfile"));
}

/// The context as upstream's internal struct prints.
fn shown(context: &Value) -> String {
    let fields: Vec<String> = [
        ("Capabilities", "capabilities"),
        ("Privileged", "privileged"),
        ("SELinuxOptions", "seLinuxOptions"),
        ("WindowsOptions", "windowsOptions"),
        ("RunAsUser", "runAsUser"),
        ("RunAsGroup", "runAsGroup"),
        ("RunAsNonRoot", "runAsNonRoot"),
        ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("ProcMount", "procMount"),
        ("SeccompProfile", "seccompProfile"),
        ("AppArmorProfile", "appArmorProfile"),
    ]
    .iter()
    .map(|(name, key)| match context.at(key) {
        Value::Object(map) if *key == "capabilities" => {
            let list = |key: &str| map.get(key).unwrap_or(&Value::Null).to_string();
            format!("\"{name}\":{{\"Add\":{},\"Drop\":{}}}", list("add"), list("drop"))
        }
        value => format!("\"{name}\":{value}"),
    })
    .collect();
    format!("{{{}}}", fields.join(","))
}

/// A pod with users of its own may not use other namespaces of the host.
pub(crate) fn validate_host_users(found: &mut Faults, spec: &Value, path: &Path) {
    if spec.at("hostUsers").as_bool() != Some(false) {
        return;
    }
    for (key, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if spec.flag(key) {
            found.push(FieldError::forbidden(path.child(shown), "when `hostUsers` is false"));
        }
    }
    for (path, container) in containers::every(spec, path) {
        if !container.list("volumeDevices").is_empty() {
            let path = path.child("volumeDevices");
            found.push(FieldError::forbidden(path, "when `hostUsers` is false"));
        }
    }
}
