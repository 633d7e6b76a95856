//! What is allowed but probably not meant (spec A80).

use crate::admit::amount;
use crate::admit::json::Json;
use serde_json::Value;

/// Node labels that were renamed, and what they are called now.
const OLD_LABELS: [(&str, &str); 6] = [
    ("beta.kubernetes.io/arch", "\"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "\"kubernetes.io/os\" instead"),
    ("beta.kubernetes.io/instance-type", "\"node.kubernetes.io/instance-type\" instead"),
    ("failure-domain.beta.kubernetes.io/region", "\"topology.kubernetes.io/region\" instead"),
    ("failure-domain.beta.kubernetes.io/zone", "\"topology.kubernetes.io/zone\" instead"),
    ("node.alpha.kubernetes.io/role", "\"node-role.kubernetes.io\" instead"),
];

/// Warnings about a template at a path.
pub(crate) fn of_template(template: &Value, path: &str) -> Vec<String> {
    of_spec(template.at("spec"), template.at("metadata"), &format!("{path}.spec"))
}

/// Warnings about a pod.
pub(crate) fn of_pod(pod: &Value) -> Vec<String> {
    of_spec(pod.at("spec"), pod.at("metadata"), "spec")
}

fn of_spec(spec: &Value, metadata: &Value, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (key, _) in spec.entries("nodeSelector") {
        if let Some((_, now)) = OLD_LABELS.iter().find(|(old, _)| *old == key) {
            all.push(format!("{path}.nodeSelector[{key}]: deprecated since v1.14; use {now}"));
        }
    }
    affinity(&mut all, spec, path);
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let address = alias.text("ip");
        let same = |other: &&Value| other.text("ip") == address;
        if spec.list("hostAliases")[..i].iter().any(|other| same(&other)) {
            all.push(format!("{path}.hostAliases[{i}].ip: duplicate ip {address:?}"));
        }
    }
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        let name = secret.text("name");
        let secrets = &spec.list("imagePullSecrets")[..i];
        if name.is_empty() {
            all.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name \"\""));
        } else if secrets.iter().any(|other| other.text("name") == name) {
            all.push(format!("{path}.imagePullSecrets[{i}].name: duplicate name {name:?}"));
        }
    }
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        if volume.has("gitRepo") {
            all.push(format!(
                "{path}.volumes[{i}].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"
            ));
        }
        if volume.has("glusterfs") {
            all.push(format!(
                "{path}.volumes[{i}].glusterfs: deprecated in v1.25, non-functional in v1.26+"
            ));
        }
    }
    let deprecated = "seccomp.security.alpha.kubernetes.io/pod";
    if metadata.at("annotations").has(deprecated) {
        let from = path.trim_end_matches("spec").trim_end_matches('.');
        let from = if from.is_empty() { "metadata".to_owned() } else { format!("{from}.metadata") };
        all.push(format!(
            "{from}.annotations[{deprecated}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"
        ));
    }
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        all.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    for list in ["initContainers", "containers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            of_container(&mut all, container, &format!("{path}.{list}[{i}]"));
        }
    }
    duplicate_ports(&mut all, spec, path);
    all
}

fn affinity(all: &mut Vec<String>, spec: &Value, path: &str) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = spec.dig(&["affinity", "nodeAffinity", REQUIRED]).list("nodeSelectorTerms");
    for (i, term) in terms.iter().enumerate() {
        for (j, wanted) in term.list("matchExpressions").iter().enumerate() {
            let key = wanted.text("key");
            if let Some((_, now)) = OLD_LABELS.iter().find(|(old, _)| *old == key) {
                all.push(format!(
                    "{path}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[{i}].matchExpressions[{j}].key: {key} is deprecated since v1.14; use {now}"
                ));
            }
        }
    }
}

fn of_container(all: &mut Vec<String>, container: &Value, path: &str) {
    for list in ["limits", "requests"] {
        for name in ["memory", "ephemeral-storage"] {
            let value = container.at("resources").at(list).at(name);
            if !amount::is_whole(value) {
                let shown = amount::canonical(value);
                all.push(format!(
                    "{path}.resources.{list}[{name}]: fractional byte value {shown:?} is invalid, must be an integer"
                ));
            }
        }
    }
    let variables = container.list("env");
    for (i, variable) in variables.iter().enumerate() {
        let name = variable.text("name");
        let Some(before) = variables[..i].iter().find(|other| other.text("name") == name) else {
            continue;
        };
        let refers = variable.text("value").contains(&format!("$({name})"));
        if !refers || before == variable {
            all.push(format!(
                "{path}.env[{i}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    for (i, port) in container.list("ports").iter().enumerate() {
        let host = port.int("hostPort").unwrap_or(0);
        if !port.text("hostIP").is_empty() && host == 0 {
            all.push(format!(
                "{path}.ports[{i}]: hostIP set without hostPort: {{Name:{} HostPort:{host} ContainerPort:{} Protocol:{} HostIP:{}}}",
                port.text("name"),
                port.int("containerPort").unwrap_or(0),
                port.text("protocol"),
                port.text("hostIP"),
            ));
        }
    }
}

/// The same port of the same container or pod twice.
fn duplicate_ports(all: &mut Vec<String>, spec: &Value, path: &str) {
    let mut seen: Vec<(String, String)> = Vec::new();
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let at = format!("{path}.containers[{i}].ports[{j}]");
            let what = format!(
                "{}/{}/{}/{}",
                port.int("containerPort").unwrap_or(0),
                port.text("protocol"),
                port.int("hostPort").unwrap_or(0),
                port.text("hostIP"),
            );
            if let Some((_, first)) = seen.iter().find(|(seen, _)| *seen == what) {
                all.push(format!("{at}: duplicate port definition with {first}"));
            } else {
                seen.push((what, at));
            }
        }
    }
}
