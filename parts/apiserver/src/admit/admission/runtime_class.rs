//! RuntimeClass: what a pod's class of runtime adds to it: overhead, node selector, tolerations.

use super::{Attributes, View, totals};
use crate::admit::json::{Json, JsonMut};
use api::Status;
use serde_json::Value;
use std::sync::Arc;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The class that a pod names.
fn class_of(
    pod: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<Option<Arc<Value>>, Status> {
    let spec = pod.at("spec");
    if !spec.has("runtimeClassName") {
        return Ok(None);
    }
    let name = spec.text("runtimeClassName");
    let found = view.get("node.k8s.io", "runtimeclasses", "", name);
    let found = found.ok_or_else(|| {
        attributes.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))
    })?;
    Ok(Some(found))
}

fn same_overhead(class: &Value, pod: &Value) -> bool {
    totals::read(class.at("overhead").at("podFixed")) == totals::read(pod.at("spec").at("overhead"))
}

/// Fills it in.
pub(super) fn fill(
    pod: &mut Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    let Some(class) = class_of(pod, attributes, view)? else { return Ok(()) };
    if class.has("overhead") {
        if pod.at("spec").has("overhead") && !same_overhead(&class, pod) {
            return Err(attributes.forbidden(MISMATCH));
        }
        let fixed = class.at("overhead").at("podFixed").clone();
        pod.object("spec").set("overhead", fixed);
    }
    if !class.has("scheduling") {
        return Ok(());
    }
    let scheduling = class.at("scheduling");
    for (key, value) in scheduling.entries("nodeSelector") {
        let value = value.as_str().unwrap_or_default();
        let held = pod.at("spec").at("nodeSelector").at(key).as_str();
        if let Some(held) = held.filter(|held| *held != value) {
            return Err(attributes.forbidden(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {held}"
            )));
        }
        pod.object("spec").object("nodeSelector").set(key, value);
    }
    let all: Vec<Value> = pod
        .at("spec")
        .list("tolerations")
        .iter()
        .chain(scheduling.list("tolerations"))
        .cloned()
        .collect();
    let merged = merged(&all);
    if !merged.is_empty() {
        pod.object("spec").set("tolerations", merged);
    }
    Ok(())
}

/// Tolerations that are compared with one another, one by one: a million comparisons. Beyond it all are kept, which
/// tolerates the same.
const COMPARED_MAX: usize = 1000;

/// Tolerations without those that another one covers; of equal ones the first stays.
fn merged(all: &[Value]) -> Vec<Value> {
    if all.len() > COMPARED_MAX {
        return all.to_vec();
    }
    let mut kept: Vec<Value> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let covered = kept.iter().any(|other| covers(other, one));
        let later = all.get(at + 1..).unwrap_or_default();
        if !covered && !later.iter().any(|other| other != one && covers(other, one)) {
            kept.push(one.clone());
        }
    }
    kept
}

/// Whether every taint that `one` tolerates is tolerated by `wide` too.
fn covers(wide: &Value, one: &Value) -> bool {
    if wide == one {
        return true;
    }
    let exists = wide.text("operator") == "Exists";
    let any_key = wide.text("key").is_empty() && exists;
    if wide.text("key") != one.text("key") && !any_key {
        return false;
    }
    let effect = wide.text("effect");
    if !effect.is_empty() && effect != one.text("effect") {
        return false;
    }
    if effect == "NoExecute"
        && let Some(most) = wide.int("tolerationSeconds")
        && one.int("tolerationSeconds").is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match wide.text("operator") {
        "" | "Equal" => one.text("operator") == "Equal" && one.text("value") == wide.text("value"),
        _ => exists,
    }
}

/// Refuses an overhead that is not that of the pod's class.
pub(super) fn validate(
    pod: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    let class = class_of(pod, attributes, view)?;
    match class.filter(|class| class.has("overhead")) {
        Some(class) if !same_overhead(&class, pod) => Err(attributes.forbidden(MISMATCH)),
        None if pod.at("spec").has("overhead") => Err(attributes.forbidden(
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        )),
        _ => Ok(()),
    }
}
