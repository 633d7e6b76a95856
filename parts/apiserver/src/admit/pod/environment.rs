//! Environment variables and the fields of a pod they may refer to (spec A73).

use super::containers;
use crate::admit::faults::{self, Faults, needed, unsupported};
use crate::admit::json::Json;
use crate::admit::{amount, words};
use api::{FieldError, Path};
use serde_json::Value;

/// Fields an environment variable may show.
const FIELDS_OF_VARIABLES: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields a file of a downward API volume may show.
pub(crate) const FIELDS_OF_FILES: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Every field a reference may name at all.
const FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Faults of `env`.
pub(crate) fn validate(found: &mut Faults, variables: &[Value], path: &Path) {
    for (i, variable) in variables.iter().enumerate() {
        let path = path.index(i);
        let name = variable.text("name");
        if needed(found, path.child("name"), name) {
            faults::texts(found, &path.child("name"), name, words::environment_name(name));
        }
        if variable.has("valueFrom") {
            value_from(found, variable, &path.child("valueFrom"));
        }
    }
}

fn value_from(found: &mut Faults, variable: &Value, path: &Path) {
    let from = variable.at("valueFrom");
    let mut count = 0;
    if from.has("fieldRef") {
        count += 1;
        field(found, from.at("fieldRef"), FIELDS_OF_VARIABLES, &path.child("fieldRef"));
    }
    if from.has("resourceFieldRef") {
        count += 1;
        resource(found, from.at("resourceFieldRef"), false, &path.child("resourceFieldRef"));
    }
    for which in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(which) {
            count += 1;
            key(found, from.at(which), &path.child(which));
        }
    }
    if from.has("fileKeyRef") {
        count += 1;
        file(found, from.at("fileKeyRef"), &path.child("fileKeyRef"));
    }
    let why = if count == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
    } else if !variable.text("value").is_empty() {
        "may not be specified when `value` is not empty"
    } else if count > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    found.push(FieldError::invalid(path.clone(), "", why));
}

/// A reference to a field of the pod.
pub(crate) fn field(found: &mut Faults, reference: &Value, allowed: &[&str], path: &Path) {
    if !needed(found, path.child("apiVersion"), reference.text("apiVersion")) {
        return;
    }
    let target = reference.text("fieldPath");
    if !needed(found, path.child("fieldPath"), target) {
        return;
    }
    let version = reference.text("apiVersion");
    let mut wrong = |why: &str| {
        let why = format!("error converting fieldPath: {why}");
        found.push(FieldError::invalid(path.child("fieldPath"), target, &why));
    };
    if version != "v1" {
        wrong(&format!("unsupported pod version: {version}"));
    } else if let Some((map, key)) = subscripted(target) {
        match map {
            "metadata.annotations" => faults::qualified(found, path, &key.to_lowercase()),
            "metadata.labels" => faults::qualified(found, path, key),
            _ => wrong(&format!("field label does not support subscript: {target}")),
        }
    } else if target == "spec.host" {
        // an old name of spec.nodeName
    } else if !FIELDS.contains(&target) {
        wrong(&format!("field label not supported: {target}"));
    } else if !allowed.contains(&target) {
        found.push(unsupported(path.child("fieldPath"), target, allowed));
    }
}

/// `map['key']` taken apart.
fn subscripted(target: &str) -> Option<(&str, &str)> {
    let (map, key) = target.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// A reference to a resource of a container; files must name the container.
pub(crate) fn resource(found: &mut Faults, reference: &Value, of_file: bool, path: &Path) {
    let name = reference.text("resource");
    if of_file && reference.text("containerName").is_empty() {
        found.push(FieldError::required(path.child("containerName"), ""));
    } else if name.is_empty() {
        found.push(FieldError::required(path.child("resource"), ""));
    } else if !RESOURCES.contains(&name) && !is_hugepages(name) {
        found.push(unsupported(path.child("resource"), name, RESOURCES));
    }
    divisor(found, reference, path);
}

fn is_hugepages(name: &str) -> bool {
    name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-")
}

fn divisor(found: &mut Faults, reference: &Value, path: &Path) {
    const SIZES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let divisor = amount::canonical(reference.at("divisor"));
    if divisor.is_empty() || divisor == "0" {
        return;
    }
    let name = reference.text("resource");
    let sizes = SIZES.join(", ");
    let (fits, what) = match name.split_once('.').map(|(_, kind)| kind) {
        Some("cpu") => (["1m", "1"].contains(&divisor.as_str()), "cpu"),
        Some("memory") => (SIZES.contains(&divisor.as_str()), "memory"),
        Some("ephemeral-storage") => (SIZES.contains(&divisor.as_str()), "local ephemeral storage"),
        _ if is_hugepages(name) => (SIZES.contains(&divisor.as_str()), "hugepages"),
        _ => (true, ""),
    };
    if !fits {
        let values = if what == "cpu" { "1m and 1" } else { sizes.as_str() };
        let why = format!("only divisor's values {values} are supported with the {what} resource");
        found.push(FieldError::invalid(path.child("divisor"), name, &why));
    }
}

/// A key of a ConfigMap or Secret.
fn key(found: &mut Faults, reference: &Value, path: &Path) {
    faults::dns_subdomain(found, &path.child("name"), reference.text("name"));
    let key = reference.text("key");
    if needed(found, path.child("key"), key) {
        faults::texts(found, &path.child("key"), key, words::config_key(key));
    }
}

/// A key in a file on a volume.
fn file(found: &mut Faults, reference: &Value, path: &Path) {
    let key = reference.text("key");
    if needed(found, path.child("key"), key) {
        faults::texts(found, &path.child("key"), key, words::environment_name(key));
    }
    let volume = reference.text("volumeName");
    if needed(found, path.child("volumeName"), volume) {
        faults::dns_label(found, &path.child("volumeName"), volume);
    }
    let file = reference.text("path");
    if needed(found, path.child("path"), file) && words::has_backsteps(file) {
        found.push(FieldError::invalid(path.child("path"), file, "must not contain '..'"));
    }
}

/// Files with variables are on volumes that live as long as the pod.
pub(crate) fn validate_file_volumes(found: &mut Faults, spec: &Value, path: &Path) {
    let volumes = spec.list("volumes");
    for (path, container) in containers::every(spec, path) {
        for (i, variable) in container.list("env").iter().enumerate() {
            let reference = variable.dig(&["valueFrom", "fileKeyRef"]);
            if reference.is_null() {
                continue;
            }
            let path = path.child("env").index(i).child("valueFrom").child("fileKeyRef");
            let (path, name) = (path.child("volumeName"), reference.text("volumeName"));
            match volumes.iter().rfind(|volume| volume.text("name") == name) {
                None => found.push(FieldError::not_found(path, name)),
                Some(volume) if !volume.has("emptyDir") => {
                    let why = "referenced volume must be of type emptyDir";
                    found.push(FieldError::invalid(path, name, why));
                }
                Some(_) => {}
            }
        }
    }
}

/// Faults of `envFrom`. Faults of the choice are filed under the list, as upstream does.
pub(crate) fn validate_from(found: &mut Faults, sources: &[Value], path: &Path) {
    for (i, source) in sources.iter().enumerate() {
        let at = path.index(i);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            faults::texts(found, &at.child("prefix"), prefix, words::environment_name(prefix));
        }
        let mut count = 0;
        for which in ["configMapRef", "secretRef"] {
            if source.has(which) {
                count += 1;
                let name = source.at(which).text("name");
                let at = at.child(which).child("name");
                if name.is_empty() {
                    found.push(FieldError::required(at, ""));
                } else {
                    faults::dns_subdomain(found, &at, name.strip_suffix('-').unwrap_or(name));
                }
            }
        }
        let why = match count {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        found.push(FieldError::invalid(path.clone(), "", why));
    }
}
