//! What the restricted level asks beside the baseline.

use super::{
    Check, Fault, Pod, added, containers, fault, plural, quoted, seccomp, seccomp_explicit,
    security, setters,
};
use crate::admit::json::Json;
use serde_json::Value;
use std::collections::BTreeSet;

/// In upstream's order.
pub(super) const CHECKS: &[Check] = &[
    privilege_escalation,
    capabilities_restricted,
    restricted_volumes,
    run_as_non_root,
    run_as_user,
    seccomp_restricted,
];

fn capabilities_restricted(pod: &Pod<'_>) -> Option<Fault> {
    const ALLOWED: [&str; 1] = ["NET_BIND_SERVICE"];
    if !pod.since(22) || pod.windows() {
        return None;
    }
    let keeps = pod.named(|container| {
        let dropped = security(container).at("capabilities").list("drop");
        dropped.iter().all(|name| name != "ALL")
    });
    let adds = pod.named(|container| !added(container, &ALLOWED).is_empty());
    let all: BTreeSet<&str> = pod.containers().flat_map(|one| added(one, &ALLOWED)).collect();
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&keeps)
        ));
    }
    if !adds.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adds),
            quoted(all)
        ));
    }
    if details.is_empty() { None } else { fault("unrestricted capabilities", details.join("; ")) }
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<Fault> {
    if !pod.since(19) || pod.windows() {
        return None;
    }
    if let Some(fault) = seccomp_explicit(pod) {
        return Some(fault);
    }
    if seccomp(pod.spec).is_some() {
        return None;
    }
    let names = pod.named(|container| seccomp(container).is_none());
    if names.is_empty() {
        return None;
    }
    let names = containers(&names);
    let detail = format!(
        "pod or {names} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    fault("seccompProfile", detail)
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Fault> {
    if !pod.since(8) || pod.windows() {
        return None;
    }
    let names = pod.named(|container| {
        security(container).at("allowPrivilegeEscalation") != &Value::Bool(false)
    });
    if names.is_empty() {
        return None;
    }
    let names = containers(&names);
    fault(
        "allowPrivilegeEscalation != false",
        format!("{names} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

fn restricted_volumes(pod: &Pod<'_>) -> Option<Fault> {
    const ALLOWED: [&str; 8] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    const RESTRICTED: [&str; 21] = [
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
        "storageos",
    ];
    let mut names = Vec::new();
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    for volume in pod.spec.list("volumes") {
        if !ALLOWED.iter().any(|kind| volume.has(kind)) {
            names.push(volume.text("name"));
            let kind = RESTRICTED.iter().find(|kind| volume.has(kind));
            kinds.insert(kind.copied().unwrap_or("unknown"));
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(kinds)
    );
    fault("restricted volume types", detail)
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Fault> {
    let reason = "runAsNonRoot != true";
    if pod.has_own_users() {
        return None;
    }
    let said = |of: &Value| security(of).at("runAsNonRoot").as_bool();
    let bad = |of: &Value| said(of) == Some(false);
    if let Some(who) = setters(bad(pod.spec), &pod.named(bad)) {
        return fault(reason, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let names = pod.named(|container| said(container).is_none());
    if names.is_empty() || said(pod.spec) == Some(true) {
        return None;
    }
    let names = containers(&names);
    fault(reason, format!("pod or {names} must set securityContext.runAsNonRoot=true"))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Fault> {
    if !pod.since(23) || pod.has_own_users() {
        return None;
    }
    let bad = |of: &Value| security(of).int("runAsUser") == Some(0);
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    fault("runAsUser=0", format!("{who} must not set runAsUser=0"))
}
