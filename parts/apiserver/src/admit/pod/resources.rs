//! Requests and limits (spec A75).

use crate::admit::admission::totals;
use crate::admit::amount;
use crate::admit::faults::{Faults, NEGATIVE, dns_label, qualified, unsupported};
use crate::admit::json::Json;
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Words that need no domain, and that a container may ask for.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Words that quotas count besides.
const COUNTED: [&str; 16] = [
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_huge(name)
}

/// Whether a quota may count it without a domain.
pub(crate) fn is_counted(name: &str) -> bool {
    is_standard(name) || COUNTED.contains(&name) || name.starts_with("requests.hugepages-")
}

/// Whether it is counted in whole numbers.
fn is_integer(name: &str) -> bool {
    let thing = COUNTED.contains(&name) && !name.starts_with("requests.");
    (thing && !name.starts_with("limits.")) || is_extended(name)
}

/// Resources of Kubernetes itself: without a domain, or of one of its domains.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Resources that may be promised beyond what is there.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

/// Resources of neither kind: whole numbers, and as many as asked for.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && api::names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Faults of a container's `resources`.
pub(crate) fn validate(found: &mut Faults, wanted: &Value, claims: &[Value], path: &Path) {
    requirements(found, wanted, container_name, path);
    claim_names(found, wanted.list("claims"), claims, &path.child("claims"));
}

/// Faults of requests and limits, where `named` judges the names of resources.
fn requirements(
    found: &mut Faults,
    wanted: &Value,
    named: fn(&mut Faults, &str, &Path),
    path: &Path,
) {
    let limits = wanted.at("limits");
    let mut has_huge = false;
    let mut has_plain = false;
    for (name, limit) in wanted.entries("limits") {
        let at = path.child("limits").key(name);
        named(found, name, &at);
        amount(found, name, limit, &at);
        huge_amount(found, name, limit, &at);
        has_huge |= is_huge(name);
        has_plain |= name == "cpu" || name == "memory";
    }
    for (name, request) in wanted.entries("requests") {
        let at = path.child("requests");
        named(found, name, &at.key(name));
        amount(found, name, request, &at.key(name));
        let limit = limits.at(name);
        let shown = amount::canonical(limit);
        let firm = !may_overcommit(name);
        if limit.is_null() {
            if firm {
                let why = "Limit must be set for non overcommitable resources";
                found.push(FieldError::required(path.child("limits"), why));
            }
        } else if firm && amount::compare(request, limit).is_ne() {
            let why = format!("must be equal to {name} limit of {shown}");
            found.push(FieldError::invalid(at.clone(), amount::canonical(request), &why));
        } else if amount::compare(request, limit).is_gt() {
            let why = format!("must be less than or equal to {name} limit of {shown}");
            found.push(FieldError::invalid(at.clone(), amount::canonical(request), &why));
        }
        huge_amount(found, name, request, &at.key(name));
        has_huge |= is_huge(name);
        has_plain |= name == "cpu" || name == "memory";
    }
    if has_huge && !has_plain {
        found.push(FieldError::forbidden(path.clone(), "HugePages require cpu or memory"));
    }
}

/// Huge pages come in whole pages of their size.
fn huge_amount(found: &mut Faults, name: &str, value: &Value, path: &Path) {
    if is_huge(name) && amount::is_positive(value) {
        let size = Value::from(name.trim_start_matches("hugepages-"));
        if !amount::is_positive(&size) || !amount::divides(&size, value) {
            let shown = amount::canonical(value);
            let why = format!("{shown} is not positive integer multiple of {name}");
            found.push(FieldError::invalid(path.clone(), shown, &why));
        }
    }
}

/// An amount is not negative, and whole where things are counted.
pub(crate) fn amount(found: &mut Faults, name: &str, value: &Value, path: &Path) {
    let shown = || amount::canonical(value);
    if amount::is_negative(value) {
        found.push(FieldError::invalid(path.clone(), shown(), NEGATIVE));
    }
    if is_integer(name) && !amount::is_whole(value) {
        found.push(FieldError::invalid(path.clone(), shown(), "must be an integer"));
    }
}

/// The name of any resource. Answers whether it is well formed.
pub(crate) fn any_name(found: &mut Faults, name: &str, path: &Path) -> bool {
    let before = found.len();
    qualified(found, path, name);
    if found.len() > before {
        return false;
    }
    if !name.contains('/') && !is_counted(name) && name != "storage" {
        let why = "must be a standard resource type or fully qualified";
        found.push(FieldError::invalid(path.clone(), name, why));
    }
    true
}

/// The name of a resource that containers may ask for.
pub(crate) fn container_name(found: &mut Faults, name: &str, path: &Path) {
    any_name(found, name, path);
    let why = if !name.contains('/') {
        if is_standard(name) {
            return;
        }
        "must be a standard resource for containers"
    } else if is_native(name) || is_extended(name) {
        return;
    } else {
        "doesn't follow extended resource name standard"
    };
    found.push(FieldError::invalid(path.clone(), name, why));
}

/// Names that are shown to those who ask for claims that the pod does not have, in all: a refusal that repeats all
/// claims for each wrong name would grow with the square of a body.
const NAMES_SHOWN_MAX: usize = 10_000;

fn claim_names(found: &mut Faults, wanted: &[Value], claims: &[Value], path: &Path) {
    let known: BTreeSet<&str> = claims.iter().map(|claim| claim.text("name")).collect();
    // how often each pair came, by claim
    let mut taken: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut shown = 0;
    for (i, claim) in wanted.iter().enumerate() {
        let path = path.index(i);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            found.push(FieldError::required(path, ""));
            continue;
        }
        let same = taken.entry(name).or_default();
        if same.contains_key("") {
            found.push(FieldError::duplicate(path.clone(), name));
        } else {
            if !request.is_empty() {
                dns_label(found, &path.child("request"), request);
            }
            if same.contains_key(request) {
                found.push(FieldError::duplicate(path.clone(), format!("{name}/{request}")));
            } else if request.is_empty() {
                for _ in 0..same.values().sum() {
                    found.push(FieldError::duplicate(path.clone(), name));
                }
            }
            *same.entry(request).or_default() += 1;
        }
        if !known.contains(name) {
            let mut fault = FieldError::not_found(path, name);
            fault.body.push_str(": must be one of the names in pod.spec.resourceClaims");
            if known.is_empty() {
                fault.body.push_str(" which is empty");
            } else if shown < NAMES_SHOWN_MAX {
                shown += known.len();
                let names: Vec<&str> = known.iter().copied().collect();
                fault.body.push_str(": ");
                fault.body.push_str(&names.join(", "));
            }
            found.push(fault);
        }
    }
}

/// Faults of `resizePolicy`.
pub(crate) fn validate_resize(found: &mut Faults, spec: &Value, policies: &[Value], path: &Path) {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, policy) in policies.iter().enumerate() {
        let (name, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !taken.insert(name) {
            found.push(FieldError::duplicate(path.index(i), name));
        }
        let (resources, restarts) = (["cpu", "memory"], ["NotRequired", "RestartContainer"]);
        for (word, words) in [(name, resources), (restart, restarts)] {
            if word.is_empty() {
                found.push(FieldError::required(path.clone(), ""));
            } else if !words.contains(&word) {
                found.push(unsupported(path.clone(), word, &words));
            }
        }
        if spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            found.push(FieldError::invalid(path.clone(), restart, why));
        }
    }
}

/// Whether a pod as a whole may ask for it.
pub(crate) fn is_of_whole_pod(name: &str) -> bool {
    ["cpu", "memory"].contains(&name) || is_huge(name)
}

/// The name of a resource that a pod as a whole may ask for.
fn pod_name(found: &mut Faults, name: &str, path: &Path) {
    let before = found.len();
    any_name(found, name, path);
    if found.len() == before && !is_of_whole_pod(name) {
        found.push(unsupported(path.clone(), name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Faults of `spec.resources`, the pod's own requests and limits.
pub(crate) fn validate_pod(found: &mut Faults, spec: &Value, path: &Path) {
    let wanted = spec.at("resources");
    if wanted.is_null() {
        return;
    }
    if spec.at("os").text("name") == "windows" {
        let why = "may not be set for a windows pod";
        return found.push(FieldError::forbidden(path.clone(), why));
    }
    if wanted.has("claims") {
        let why = "claims cannot be set for Resources at pod-level";
        found.push(FieldError::forbidden(path.child("claims"), why));
    }
    requirements(found, wanted, pod_name, path);
    let claims = spec.list("resourceClaims");
    claim_names(found, wanted.list("claims"), claims, &path.child("claims"));
    for (side, only_huge) in [("requests", false), ("limits", true)] {
        let stated = totals::read(wanted.at(side));
        for (name, together) in totals::of_containers(spec, side) {
            let Some(own) = stated.get(&name).filter(|own| **own < together) else { continue };
            if only_huge && !is_huge(&name) {
                continue;
            }
            let why = format!(
                "must be greater than or equal to aggregate container {side} of {together}"
            );
            let at = path.child(side).key(&name);
            found.push(FieldError::invalid(at, own.to_string(), &why));
        }
    }
    let stated = totals::read(wanted.at("limits"));
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (name, limit) in totals::read(container.dig(&["resources", "limits"])) {
            if let Some(own) = stated.get(&name).filter(|own| **own < limit) {
                let why = format!("must be less than or equal to pod limits of {own}");
                // Upstream files it under the pod's resources.
                let at = path.child("containers").index(i).key(&name).child("limits");
                found.push(FieldError::invalid(at, limit.to_string(), &why));
            }
        }
    }
}

/// Faults of what a pod needs besides its containers, which upstream reads as limits.
pub(crate) fn validate_overhead(found: &mut Faults, overhead: &Value, path: &Path) {
    validate(found, &json!({"limits": overhead}), &[], path);
}
