//! What is allowed but probably not meant (spec A80), in the order in which upstream tells it.

mod ports;
mod volumes;

use super::{containers, profiles};
use crate::admit::json::Json;
use crate::admit::{address, amount};
use api::{Path, names};
use serde_json::Value;
use std::collections::BTreeSet;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Node labels that were renamed or have lost their meaning, and what is said of them.
const OLD_LABELS: [(&str, &str); 8] = [
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
];

/// Annotations that do nothing any more, and what does it now.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// What is said of a node label that should not be used any more.
pub(crate) fn of_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(old, _)| *old == key).map(|(_, why)| *why)
}

/// Warnings about a template at a path.
pub(crate) fn of_template(template: &Value, path: &Path) -> Vec<String> {
    of_spec(template, path, true)
}

/// Warnings about a new pod.
pub(crate) fn of_pod(pod: &Value) -> Vec<String> {
    let faults = names::dns_label(pod.at("metadata").text("name"));
    let mut all = Vec::new();
    if !faults.is_empty() {
        all.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            faults.join(" ")
        ));
    }
    all.extend(of_spec(pod, &Path::root(), false));
    all
}

/// Warnings about profiles that a new pod names in annotations only; told before fields are made of these.
pub(crate) fn of_profiles(pod: &Value) -> Vec<String> {
    profiles::annotations_without_fields(pod)
        .into_iter()
        .map(|key| {
            let path = Path::new("metadata").child("annotations").key(&key);
            format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead")
        })
        .collect()
}

fn of_spec(holder: &Value, path: &Path, is_template: bool) -> Vec<String> {
    let (spec, metadata) = (holder.at("spec"), holder.at("metadata"));
    let (at, noted) = (path.child("spec"), path.child("metadata").child("annotations"));
    let mut all = Vec::new();
    for (key, _) in spec.entries("nodeSelector") {
        if let Some(why) = of_label(key) {
            all.push(format!("{}: {why}", at.child("nodeSelector").key(key)));
        }
    }
    node_affinity(&mut all, spec, &at.child("affinity").child("nodeAffinity"));
    spread(&mut all, spec, &at.child("topologySpreadConstraints"));
    let annotations = metadata.at("annotations");
    for (key, why) in OLD_ANNOTATIONS.iter().filter(|(key, _)| annotations.has(key)) {
        all.push(format!("{}: {why}", noted.key(key)));
    }
    volumes::all(&mut all, spec.list("volumes"), &at.child("volumes"));
    lists(&mut all, spec, &at);
    fractions(&mut all, spec.at("overhead"), &at.child("overhead"));
    let seccomp = profiles::SECCOMP_POD;
    if !spec.at("securityContext").has("seccompProfile") && annotations.has(seccomp) {
        all.push(without_seccomp(&noted.key(seccomp)));
    }
    for (at, container) in containers::every(spec, &at) {
        profile_annotations(&mut all, (spec, container), annotations, &noted, is_template);
        let (wanted, path) = (container.at("resources"), at.child("resources"));
        for list in ["limits", "requests"] {
            fraction(&mut all, wanted.at(list), "memory", &path.child(list));
        }
        for list in ["limits", "requests"] {
            fraction(&mut all, wanted.at(list), "ephemeral-storage", &path.child(list));
        }
        variables(&mut all, container.list("env"), &at.child("env"));
    }
    ports::all(&mut all, spec, &at);
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        all.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            at.child("terminationGracePeriodSeconds")
        ));
    }
    pod_affinity(&mut all, spec, &at.child("affinity"));
    addresses(&mut all, spec, &at);
    all
}

fn node_affinity(all: &mut Vec<String>, spec: &Value, path: &Path) {
    let affinity = spec.dig(&["affinity", "nodeAffinity"]);
    let at = path.child(REQUIRED).child("nodeSelectorTerms");
    for (i, term) in affinity.at(REQUIRED).list("nodeSelectorTerms").iter().enumerate() {
        node_term(all, term, false, &at.index(i));
    }
    for (i, term) in affinity.list(PREFERRED).iter().enumerate() {
        let path = path.child(PREFERRED).index(i).child("preference");
        node_term(all, term.at("preference"), true, &path);
    }
}

/// A term; values that are no labels' are no faults in preferred ones, and so told here.
fn node_term(all: &mut Vec<String>, term: &Value, judge_values: bool, path: &Path) {
    for (i, wanted) in term.list("matchExpressions").iter().enumerate() {
        let (key, path) = (wanted.text("key"), path.child("matchExpressions").index(i));
        if let Some(why) = of_label(key) {
            all.push(format!("{}: {key} is {why}", path.child("key")));
        }
        let values = wanted.list("values").iter().filter_map(Value::as_str).enumerate();
        for (j, value) in values.filter(|_| judge_values) {
            for why in names::label_value(value) {
                all.push(format!("{}: {value} is invalid, {why}", path.child("values").index(j)));
            }
        }
    }
}

const MATCHES_NOTHING: &str = "a null labelSelector results in matching no pod";

fn spread(all: &mut Vec<String>, spec: &Value, path: &Path) {
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let (key, path) = (constraint.text("topologyKey"), path.index(i));
        if let Some(why) = of_label(key) {
            all.push(format!("{}: {key} is {why}", path.child("topologyKey")));
        }
        if !constraint.has("labelSelector") {
            all.push(format!("{}: {MATCHES_NOTHING}", path.child("labelSelector")));
        }
    }
}

fn pod_affinity(all: &mut Vec<String>, spec: &Value, path: &Path) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (terms, path) = (spec.dig(&["affinity", kind]), path.child(kind));
        let required = terms
            .list(REQUIRED)
            .iter()
            .enumerate()
            .map(|(i, term)| (term, path.child(REQUIRED).index(i)));
        let preferred = terms.list(PREFERRED).iter().enumerate().map(|(i, weighted)| {
            let path = path.child(PREFERRED).index(i).child("podAffinityTerm");
            (weighted.at("podAffinityTerm"), path)
        });
        for (term, path) in required.chain(preferred) {
            if !term.has("labelSelector") {
                all.push(format!("{}: {MATCHES_NOTHING}", path.child("labelSelector")));
            }
        }
    }
}

/// Entries that stand twice in lists where only one can count, and secrets without a name.
fn lists(all: &mut Vec<String>, spec: &Value, path: &Path) {
    for (list, key, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut taken = BTreeSet::new();
        for (i, item) in spec.list(list).iter().enumerate() {
            let value = item.text(key);
            if !taken.insert(value) {
                let path = path.child(list).index(i).child(key);
                all.push(format!("{path}: duplicate {what} {value:?}"));
            }
        }
    }
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            let path = path.child("imagePullSecrets").index(i).child("name");
            all.push(format!("{path}: invalid empty name \"\""));
        }
    }
}

/// Bytes come whole.
fn fractions(all: &mut Vec<String>, amounts: &Value, path: &Path) {
    for name in ["memory", "ephemeral-storage"] {
        fraction(all, amounts, name, path);
    }
}

/// The same of one resource.
pub(crate) fn fraction(all: &mut Vec<String>, amounts: &Value, name: &str, path: &Path) {
    let value = amounts.at(name);
    if !amount::is_whole(value) {
        all.push(format!(
            "{}: fractional byte value {:?} is invalid, must be an integer",
            path.key(name),
            amount::canonical(value)
        ));
    }
}

fn without_seccomp(path: &Path) -> String {
    format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead")
}

/// Annotations about a container's profiles where the fields are absent. Those of pods about `AppArmor` are told
/// by [`of_profiles`].
fn profile_annotations(
    all: &mut Vec<String>,
    (spec, container): (&Value, &Value),
    annotations: &Value,
    path: &Path,
    is_template: bool,
) {
    let (own, name) = (container.at("securityContext"), container.text("name"));
    let key = format!("{}{name}", profiles::SECCOMP);
    if !own.has("seccompProfile") && annotations.has(&key) {
        all.push(without_seccomp(&path.key(&key)));
    }
    let key = format!("{}{name}", profiles::APPARMOR);
    let covered = own.has("appArmorProfile") || spec.at("securityContext").has("appArmorProfile");
    if is_template && !covered && annotations.has(&key) {
        let path = path.key(&key);
        all.push(format!(
            "{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        ));
    }
}

/// A variable that is set again, unless what it is set to refers to what it was.
fn variables(all: &mut Vec<String>, variables: &[Value], path: &Path) {
    let mut taken = BTreeSet::new();
    for (i, variable) in variables.iter().enumerate() {
        let name = variable.text("name");
        if taken.insert(name) {
            continue;
        }
        let (value, reference) = (variable.text("value"), format!("$({name})"));
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            all.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                path.index(i)
            ));
        }
    }
}

/// Addresses that are right but not written the usual way.
fn addresses(all: &mut Vec<String>, spec: &Value, path: &Path) {
    let servers = spec.at("dnsConfig").list("nameservers");
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("dnsConfig").child("nameservers").index(i);
        all.extend(address::warning(server, &at));
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = path.child("hostAliases").index(i).child("ip");
        all.extend(address::warning(alias.text("ip"), &at));
    }
}

#[cfg(test)]
mod tests;
