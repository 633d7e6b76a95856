//! Containers of all three kinds (spec A70, A71).

use super::spec::{Scope, choice};
use super::volumes::Sound;
use super::{environment, mounts, probes, resources, security};
use crate::admit::faults::{self, Faults, needed, unsupported};
use crate::admit::json::Json;
use crate::admit::words;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];

/// Faults of all containers of a spec.
pub(crate) fn validate_all(found: &mut Faults, scope: Scope<'_>, volumes: &Sound<'_>, path: &Path) {
    let grace = scope.spec.int("terminationGracePeriodSeconds");
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let containers = scope.spec.list("containers");
    let at = path.child("containers");
    if containers.is_empty() {
        found.push(FieldError::required(at.clone(), ""));
    }
    for (i, container) in containers.iter().enumerate() {
        let at = at.index(i);
        common(found, scope, container, volumes, &at);
        unique(found, &mut names, container, &at);
        probes::validate(found, container, grace, &at);
        restart_rules(found, container, &at);
    }
    unique_host_ports(found, containers, &at);
    let at = path.child("initContainers");
    for (i, container) in scope.spec.list("initContainers").iter().enumerate() {
        let at = at.index(i);
        common(found, scope, container, volumes, &at);
        restart_rules(found, container, &at);
        unique_init(found, &mut names, container, &at);
        unique_host_ports(found, std::slice::from_ref(container), &path.child("initContainers"));
        if container.text("restartPolicy") == "Always" {
            probes::validate(found, container, grace, &at);
        } else {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(key) {
                    let why = "may not be set for init containers without restartPolicy=Always";
                    found.push(FieldError::forbidden(at.child(key), why));
                }
            }
        }
        restarting_resize(found, container, &at.child("resizePolicy"));
    }
    let targets = names.clone();
    for (i, container) in scope.spec.list("ephemeralContainers").iter().enumerate() {
        let at = path.child("ephemeralContainers").index(i);
        common(found, scope, container, volumes, &at);
        padded_image(found, container, &at);
        unique(found, &mut names, container, &at);
        ephemeral(found, container, &targets, &at);
    }
}

/// What every container needs.
fn common(
    found: &mut Faults,
    scope: Scope<'_>,
    container: &Value,
    volumes: &Sound<'_>,
    path: &Path,
) {
    let name = container.text("name");
    if needed(found, path.child("name"), name) {
        faults::dns_label(found, &path.child("name"), name);
    }
    needed(found, path.child("image"), container.text("image"));
    let policies = ["File", "FallbackToLogsOnError"];
    choice(found, container, path, "terminationMessagePolicy", &policies);
    ports(found, container.list("ports"), &path.child("ports"));
    environment::validate(found, container.list("env"), &path.child("env"));
    environment::validate_from(found, container.list("envFrom"), &path.child("envFrom"));
    mounts::validate(found, container, volumes, &path.child("volumeMounts"));
    mounts::validate_devices(found, container, volumes, &path.child("volumeDevices"));
    choice(found, container, path, "imagePullPolicy", &PULL_POLICIES);
    let claims = scope.spec.list("resourceClaims");
    let wanted = container.at("resources");
    resources::validate(found, wanted, claims, &path.child("resources"));
    let at = path.child("resizePolicy");
    resources::validate_resize(found, scope.spec, container.list("resizePolicy"), &at);
    security::validate_container(found, scope, container, &path.child("securityContext"));
}

fn unique<'a>(
    found: &mut Faults,
    names: &mut BTreeSet<&'a str>,
    container: &'a Value,
    path: &Path,
) {
    let name = container.text("name");
    if !names.insert(name) {
        found.push(FieldError::duplicate(path.child("name"), name));
    }
}

/// Of init containers those without a name are not the same one.
fn unique_init<'a>(
    found: &mut Faults,
    names: &mut BTreeSet<&'a str>,
    container: &'a Value,
    path: &Path,
) {
    if !container.text("name").is_empty() || names.contains("") {
        unique(found, names, container, path);
    }
}

/// Every container with its path, in the order in which upstream visits them.
pub(crate) fn every<'a>(spec: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| {
            let at = path.child(list);
            spec.list(list).iter().enumerate().map(move |(i, container)| (at.index(i), container))
        })
        .collect()
}

/// A container's own restart policy.
fn restart_rules(found: &mut Faults, container: &Value, path: &Path) {
    if container.has("restartPolicy") {
        let policy = container.text("restartPolicy");
        if !RESTART_POLICIES.contains(&policy) {
            let at = path.child("restartPolicy");
            found.push(unsupported(at, policy, &["Always", "Never", "OnFailure"]));
        }
    } else if !container.list("restartPolicyRules").is_empty() {
        let why = "must specify restartPolicy when restart rules are used";
        found.push(FieldError::required(path.child("restartPolicy"), why));
    }
    let (rules, path) = (container.list("restartPolicyRules"), path.child("restartPolicyRules"));
    if rules.len() > RULES_MAX {
        found.push(FieldError::too_many(path.clone(), rules.len(), RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        restart_rule(found, rule, &path.index(i));
    }
}

/// Restart rules a container takes.
const RULES_MAX: usize = 20;
/// Exit codes a restart rule takes.
const CODES_MAX: usize = 255;

fn restart_rule(found: &mut Faults, rule: &Value, path: &Path) {
    let (action, actions) = (rule.text("action"), ["Restart", "RestartAllContainers"]);
    if !actions.contains(&action) {
        found.push(unsupported(path.child("action"), action, &actions));
    }
    let (codes, path) = (rule.at("exitCodes"), path.child("exitCodes"));
    if codes.is_null() {
        return found.push(FieldError::required(path, "must be specified"));
    }
    let (operator, operators) = (codes.text("operator"), ["In", "NotIn"]);
    if !operators.contains(&operator) {
        found.push(unsupported(path.child("operator"), operator, &operators));
    }
    let count = codes.list("values").len();
    if count > CODES_MAX {
        found.push(FieldError::too_many(path.child("values"), count, CODES_MAX));
    }
}

/// Init containers that end are not restarted to be resized.
fn restarting_resize(found: &mut Faults, container: &Value, path: &Path) {
    if container.text("restartPolicy") == "Always" {
        return;
    }
    for (i, policy) in container.list("resizePolicy").iter().enumerate() {
        let restart = policy.text("restartPolicy");
        if restart == "RestartContainer" {
            let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            let path = path.index(i).child("restartPolicy");
            found.push(FieldError::invalid(path, restart, why));
        }
    }
}

fn ports(found: &mut Faults, ports: &[Value], path: &Path) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            let all = words::port_name(name);
            if !all.is_empty() {
                faults::texts(found, &path.child("name"), name, all);
            } else if !names.insert(name) {
                found.push(FieldError::duplicate(path.child("name"), name));
            }
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => found.push(FieldError::required(path.child("containerPort"), "")),
            number => faults::port(found, path.child("containerPort"), number),
        }
        match port.int("hostPort").unwrap_or(0) {
            0 => {}
            number => faults::port(found, path.child("hostPort"), number),
        }
        match port.text("protocol") {
            "" => found.push(FieldError::required(path.child("protocol"), "")),
            "TCP" | "UDP" | "SCTP" => {}
            other => {
                found.push(unsupported(path.child("protocol"), other, &["SCTP", "TCP", "UDP"]));
            }
        }
    }
}

/// Spec A71: the same host port twice.
fn unique_host_ports(found: &mut Faults, containers: &[Value], path: &Path) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort").unwrap_or(0);
            if number == 0 {
                continue;
            }
            let all = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if taken.contains(&all) {
                let path = path.index(i).child("ports").index(j).child("hostPort");
                found.push(FieldError::duplicate(path, all));
            } else {
                taken.insert(all);
            }
        }
    }
}

/// What an ephemeral container may not have.
fn ephemeral(found: &mut Faults, container: &Value, others: &BTreeSet<&str>, path: &Path) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let target = container.text("targetContainerName");
    if !target.is_empty() && !others.contains(target) {
        found.push(FieldError::not_found(path.child("targetContainerName"), target));
    }
    for key in [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ] {
        let set = match container.at(key) {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) if key == "resources" => !map.is_empty(),
            _ => true,
        };
        if set {
            found.push(FieldError::forbidden(path.child(key), WHY));
        }
    }
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        for key in ["subPath", "subPathExpr"] {
            if !mount.text(key).is_empty() {
                let path = path.child("volumeMounts").index(i).child(key);
                found.push(FieldError::forbidden(path, WHY));
            }
        }
    }
}

/// Spaces around an image's name: fine in templates, not in pods.
pub(crate) fn padded_image(found: &mut Faults, container: &Value, path: &Path) {
    let image = container.text("image");
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        found.push(FieldError::invalid(path.child("image"), image, why));
    }
}
