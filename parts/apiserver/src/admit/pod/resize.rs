//! Changes of a running pod's resources in place (`pods/resize`).

use super::quality;
use crate::admit::faults::Faults;
use crate::admit::json::{Json, JsonMut};
use api::{FieldError, Path};
use serde_json::Value;

/// The only resources that may change.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Everything but the resources of containers and their policies is as it was.
pub(super) fn keep_the_rest(object: &mut Value, old: &Value) {
    let asked = object.at("spec").clone();
    object.restore("spec", old);
    object.restore("status", old);
    for list in LISTS {
        for container in object.object("spec").items(list) {
            let mut all = asked.list(list).iter();
            if let Some(new) = all.find(|new| new.text("name") == container.text("name")) {
                container.restore("resources", new);
                container.restore("resizePolicy", new);
            }
        }
    }
}

/// Faults of such a change.
pub(super) fn validate(found: &mut Faults, object: &Value, old: &Value) {
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
    for list in LISTS {
        let pairs = new_spec.list(list).iter().zip(old_spec.list(list)).enumerate();
        for (at, (new, old)) in pairs {
            removed(found, new, old, &path.child(list).index(at).child("resources"));
        }
    }
    for list in LISTS {
        let mut pairs = new_spec.list(list).iter().zip(old_spec.list(list));
        if pairs.clone().any(|(new, old)| without_resizable(new) != without_resizable(old)) {
            let why = "only cpu and memory resources are mutable";
            found.push(FieldError::forbidden(path.clone(), why));
        }
        let fixed = |new: &Value, old: &Value| {
            list == "initContainers"
                && old.text("restartPolicy") != "Always"
                && new.at("resources") != old.at("resources")
        };
        if pairs.any(|(new, old)| fixed(new, old)) {
            let why = "resources for non-sidecar init containers are immutable";
            found.push(FieldError::forbidden(path.clone(), why));
        }
    }
}

/// Whether the node reports resources of running containers; one that has none yet is taken to.
fn node_can(pod: &Value) -> bool {
    let statuses = pod.at("status").list("containerStatuses").iter();
    let mut running = statuses.filter(|status| status.at("state").has("running"));
    running.next().is_none_or(|status| status.has("resources"))
}

/// What was stated must be stated still.
fn removed(found: &mut Faults, new: &Value, old: &Value, path: &Path) {
    for side in ["requests", "limits"] {
        let (new, old) = (new.at("resources").at(side), old.at("resources"));
        if old.entries(side).iter().any(|(name, _)| !new.has(name)) {
            let why = format!("resource {side} cannot be removed");
            found.push(FieldError::forbidden(path.child(side), &why));
        }
    }
}

fn without_resizable(container: &Value) -> Value {
    let mut container = container.clone();
    container.unset("resizePolicy");
    if let Some(resources) = container.present("resources") {
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
    }
    container
}
