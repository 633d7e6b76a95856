//! Changes of a running pod's resources in place (`pods/resize`).

use super::quality;
use crate::admit::faults::Faults;
use crate::admit::json::{Json, JsonMut};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The only resources that may change.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Everything but resources, the pod's own and those of containers, and the containers' policies is as it was.
pub(super) fn keep_the_rest(object: &mut Value, old: &Value) {
    if !others(object.at("spec"), old.at("spec")).is_empty() {
        // It is refused; what is shown is what was asked for.
        object.restore("status", old);
        return;
    }
    let asked = object.at("spec").clone();
    object.restore("spec", old);
    object.restore("status", old);
    let spec = object.object("spec");
    spec.restore("resources", &asked);
    for list in LISTS {
        // of several with one name the first
        let all = asked.list(list).iter().rev();
        let all: BTreeMap<&str, &Value> = all.map(|new| (new.text("name"), new)).collect();
        for container in spec.items(list) {
            if let Some(new) = all.get(container.text("name")).copied() {
                container.restore("resources", new);
                container.restore("resizePolicy", new);
            }
        }
    }
}

/// Faults of containers that are not those that were there, one by one in order.
fn others(new: &Value, old: &Value) -> Faults {
    let mut found = Faults::new();
    for list in LISTS {
        let path = Path::new("spec").child(list);
        let (now, before) = (new.list(list), old.list(list));
        if now.len() != before.len() {
            let why = format!("{list} may not be added or removed on resize");
            found.push(FieldError::forbidden(path, &why));
            continue;
        }
        for (i, _) in now
            .iter()
            .zip(before)
            .enumerate()
            .filter(|(_, (now, before))| now.text("name") != before.text("name"))
        {
            let why = format!("{list} may not be renamed or reordered on resize");
            found.push(FieldError::forbidden(path.index(i).child("name"), &why));
        }
    }
    found
}

/// Faults of such a change.
pub(super) fn validate(found: &mut Faults, object: &Value, old: &Value) {
    let others = others(object.at("spec"), old.at("spec"));
    if !others.is_empty() {
        *found = others;
        return;
    }
    let refuse = |why: &str| Faults::from([FieldError::forbidden(Path::new(""), why)]);
    if old.at("metadata").at("annotations").has("kubernetes.io/config.mirror") {
        *found = refuse("static pods cannot be resized");
        return;
    }
    let (new_spec, old_spec) = (object.at("spec"), old.at("spec"));
    if old_spec.at("os").text("name") == "windows" {
        *found = refuse("windows pods cannot be resized");
        return;
    }
    let path = Path::new("spec");
    let class = old.at("status").text("qosClass");
    if class != quality::class(new_spec) {
        let why = "Pod QOS Class may not change as a result of resizing";
        found.push(FieldError::invalid(path.clone(), class, why));
    }
    if !node_can(old) {
        let why = "Pod running on node without support for resize";
        found.push(FieldError::forbidden(path.clone(), why));
    }
    whole_pod(found, new_spec.at("resources"), old_spec.at("resources"), &path);
    let pairs = |list: &str| new_spec.list(list).iter().zip(old_spec.list(list)).enumerate();
    for list in ["initContainers", "containers"] {
        for (at, (new, old)) in pairs(list) {
            let path = path.child(list).index(at).child("resources");
            removed(found, new.at("resources"), old.at("resources"), "resource", &path);
        }
    }
    for (_, (new, old)) in pairs("containers") {
        if fixed(new) != fixed(old) {
            let why = "only cpu and memory resources are mutable";
            found.push(FieldError::forbidden(path.clone(), why));
        }
    }
    for (at, (new, old)) in pairs("initContainers") {
        let path = path.child("initContainers").index(at);
        if fixed(new) != fixed(old) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            found.push(FieldError::forbidden(path.clone(), why));
        }
        let restarts = |policy: &Value| policy.text("restartPolicy") == "RestartContainer";
        if new != old
            && new.text("restartPolicy") != "Always"
            && new.list("resizePolicy").iter().any(restarts)
        {
            let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            found.push(FieldError::forbidden(path, why));
        }
    }
}

/// Faults of a change of the pod's own resources.
fn whole_pod(found: &mut Faults, new: &Value, old: &Value, path: &Path) {
    let at = path.child("resources");
    if new.is_null() && !old.is_null() {
        let why = "pod-level resources cannot be removed";
        return found.push(FieldError::forbidden(at, why));
    }
    removed(found, new, old, "pod-level resource", &at);
    let bare = |of: &Value| if of.is_null() { json!({}) } else { without_resizable(of) };
    if bare(new) != bare(old) {
        let why = "only cpu and memory resources are mutable at pod-level";
        found.push(FieldError::forbidden(path.clone(), why));
    }
}

/// Whether the node reports resources of running containers; one that has none yet is taken to.
fn node_can(pod: &Value) -> bool {
    let statuses = pod.at("status").list("containerStatuses").iter();
    let mut running = statuses.filter(|status| status.at("state").has("running"));
    running.next().is_none_or(|status| status.has("resources"))
}

/// What was stated must be stated still.
fn removed(found: &mut Faults, new: &Value, old: &Value, what: &str, path: &Path) {
    for side in ["requests", "limits"] {
        if old.entries(side).iter().any(|(name, _)| !new.at(side).has(name)) {
            let why = format!("{what} {side} cannot be removed");
            found.push(FieldError::forbidden(path.child(side), &why));
        }
    }
}

/// What of a container may not change.
fn fixed(container: &Value) -> Value {
    let mut container = container.clone();
    let bare = without_resizable(container.at("resources"));
    container.set("resources", bare);
    container
}

fn without_resizable(resources: &Value) -> Value {
    let mut resources = if resources.is_null() { json!({}) } else { resources.clone() };
    for side in ["requests", "limits"] {
        if let Some(list) = resources.present(side) {
            for name in RESIZABLE {
                list.unset(name);
            }
        }
        if resources.at(side).as_object().is_some_and(serde_json::Map::is_empty) {
            resources.unset(side);
        }
    }
    resources
}
