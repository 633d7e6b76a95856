//! PodSecurity: the levels that a namespace's labels ask of its pods (`pod-security.kubernetes.io/enforce`, `warn`;
//! `audit` has no reader yet). Levels and texts are those of the Pod Security Standards of 1.36.

mod checks;

use super::{Attributes, Operation, View};
use crate::admit::json::Json;
use api::Status;
use api::field::{self, FieldError, Path};
use checks::Fault;
use serde_json::Value;
use std::collections::BTreeMap;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// Pods of a namespace that are looked at when its level rises; as many as upstream looks at.
const PODS_MAX: usize = 3000;

/// Subresources of pods that change nothing of what is judged.
const HARMLESS: [&str; 8] =
    ["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"];

/// How strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// By the rules of which minor version; none is the latest.
type Version = Option<u32>;

/// A level of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bar {
    level: Level,
    version: Version,
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Policy {
    enforce: Bar,
    warn: Bar,
}

/// The policy of a namespace, and what is wrong with its labels. A label that cannot be read counts as the
/// strictest where it is enforced, as none elsewhere.
fn policy(namespace: &Value) -> (Policy, Vec<FieldError>) {
    let labels = namespace.at("metadata").at("labels");
    let mut faults = Vec::new();
    let mut read = |mode: &str| {
        let (level, version) = (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
        let mut fault = |label: &str, value: &str, why: &str| {
            let path = Path::new("metadata").child("labels").key(label);
            faults.push(FieldError::invalid(path, value, why));
        };
        let said = labels.at(&level).as_str();
        let level = said.map(|text| parse_level(text).map_err(|why| fault(&level, text, why)));
        let said = labels.at(&version).as_str();
        let version = said.map(|text| {
            parse_version(text).map_err(|why| fault(&version, text, why)).unwrap_or(None)
        });
        (level, version)
    };
    let (enforced, version) = read("enforce");
    let enforce = Bar {
        level: match enforced {
            None => Level::Privileged,
            Some(level) => level.unwrap_or(Level::Restricted),
        },
        version: version.unwrap_or(None),
    };
    // audit comes before warn in what is told of labels
    let _nobody_reads_it = read("audit");
    let (warned, version) = read("warn");
    let mut warn = Bar {
        level: warned.map_or(Level::Privileged, |level| level.unwrap_or(Level::Privileged)),
        version: version.unwrap_or(None),
    };
    if matches!(enforced, Some(Ok(_))) && warned.is_none() && enforce.level > warn.level {
        warn.level = enforce.level;
        if version.is_none() {
            warn.version = enforce.version;
        }
    }
    (Policy { enforce, warn }, faults)
}

fn parse_level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn parse_version(text: &str) -> Result<Version, &'static str> {
    if text == "latest" {
        return Ok(None);
    }
    let minor = text.strip_prefix("v1.").filter(|minor| {
        minor.bytes().all(|byte| byte.is_ascii_digit())
            && (*minor == "0" || !minor.starts_with('0'))
    });
    let minor = minor.and_then(|minor| minor.parse().ok());
    minor.map(Some).ok_or("must be \"latest\" or \"v1.x\"")
}

/// Refuses what the namespace does not let in; answers what it only warns of.
pub(super) fn validate(
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<Vec<String>, Status> {
    let resource = attributes.resource;
    match (resource.group, resource.plural) {
        ("", "namespaces") => of_namespace(object, attributes, view),
        ("", "pods") => of_pod(object, attributes, view),
        ("", "podtemplates") => Ok(of_template(object.at("template"), attributes, view)),
        ("", "replicationcontrollers")
        | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets") => {
            Ok(of_template(object.at("spec").at("template"), attributes, view))
        }
        _ => Ok(Vec::new()),
    }
}

fn of_namespace(
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<Vec<String>, Status> {
    if !attributes.subresource.is_empty() {
        return Ok(Vec::new());
    }
    let (new, faults) = policy(object);
    let name = object.at("metadata").text("name");
    let refuse = || Err(field::invalid("", "Namespace", name, &faults));
    let Some(old) = attributes.old else {
        return if faults.is_empty() { Ok(Vec::new()) } else { refuse() };
    };
    let (old, old_faults) = policy(old);
    if !faults.is_empty() && faults != old_faults {
        return refuse();
    }
    let (new, old) = (new.enforce, old.enforce);
    let relaxed = new.version == old.version && new.level <= old.level;
    if new == old || new.level == Level::Privileged || relaxed {
        return Ok(Vec::new());
    }
    Ok(of_pods_within(name, new, view))
}

/// What a higher level means for the pods that are there.
fn of_pods_within(namespace: &str, bar: Bar, view: &dyn View) -> Vec<String> {
    let pods = view.list("", "pods", namespace);
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let faults = checks::faults(bar, pod.at("metadata"), pod.at("spec"));
        if !faults.is_empty() {
            let reasons: Vec<&str> = faults.iter().map(|fault| fault.reason.as_str()).collect();
            by_reason.entry(reasons.join(", ")).or_default().push(pod.at("metadata").text("name"));
        }
    }
    if by_reason.is_empty() {
        return warnings;
    }
    warnings.push(format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{bar}\""
    ));
    let mut lines: Vec<String> = by_reason
        .into_iter()
        .map(|(reason, mut names)| {
            names.sort_unstable();
            let first = names.first().copied().unwrap_or_default();
            match names.len() {
                0 | 1 => format!("{first}: {reason}"),
                2 => format!("{first} (and 1 other pod): {reason}"),
                many => format!("{first} (and {} other pods): {reason}", many - 1),
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn of_pod(
    pod: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<Vec<String>, Status> {
    if HARMLESS.contains(&attributes.subresource) {
        return Ok(Vec::new());
    }
    let Some(namespace) = view.get("", "namespaces", "", attributes.namespace) else {
        return Ok(Vec::new());
    };
    let (policy, _) = policy(&namespace);
    let updated = attributes.operation == Operation::Update;
    if updated && attributes.old.is_some_and(|old| !matters(pod, old)) {
        return Ok(Vec::new());
    }
    let judge = |bar: Bar| checks::faults(bar, pod.at("metadata"), pod.at("spec"));
    let faults = judge(policy.enforce);
    if !faults.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, told(&faults));
        return Err(attributes.forbidden(&why));
    }
    Ok(warning(policy.warn, &judge(policy.warn)))
}

fn of_template(template: &Value, attributes: &Attributes<'_>, view: &dyn View) -> Vec<String> {
    let namespace = view.get("", "namespaces", "", attributes.namespace);
    let Some(namespace) = namespace.filter(|_| attributes.subresource.is_empty()) else {
        return Vec::new();
    };
    let bar = policy(&namespace).0.warn;
    warning(bar, &checks::faults(bar, template.at("metadata"), template.at("spec")))
}

fn warning(bar: Bar, faults: &[Fault]) -> Vec<String> {
    if faults.is_empty() {
        return Vec::new();
    }
    vec![format!("would violate PodSecurity \"{bar}\": {}", told(faults))]
}

fn told(faults: &[Fault]) -> String {
    let parts: Vec<String> =
        faults.iter().map(|fault| format!("{} ({})", fault.reason, fault.detail)).collect();
    parts.join(", ")
}

/// Whether a change of a pod touches what is judged: images, added containers, seccomp annotations.
fn matters(pod: &Value, old: &Value) -> bool {
    let annotation =
        |of: &Value, key: &str| of.at("metadata").at("annotations").text(key).to_owned();
    let changed = |key: &str| annotation(pod, key) != annotation(old, key);
    let differs = |new: &Value, old: &Value| {
        let key = format!("container.seccomp.security.alpha.kubernetes.io/{}", new.text("name"));
        new.text("image") != old.text("image") || changed(&key)
    };
    let (new, old) = (pod.at("spec"), old.at("spec"));
    if changed("seccomp.security.alpha.kubernetes.io/pod") {
        return true;
    }
    for list in ["containers", "initContainers"] {
        let (new, old) = (new.list(list), old.list(list));
        if new.len() != old.len() || new.iter().zip(old).any(|(new, old)| differs(new, old)) {
            return true;
        }
    }
    let known: BTreeMap<&str, &Value> =
        old.list("ephemeralContainers").iter().rev().map(|old| (old.text("name"), old)).collect();
    new.list("ephemeralContainers").iter().any(|new| {
        let same = known.get(new.text("name"));
        same.is_none_or(|old| differs(new, old))
    })
}
