//! What may change in a pod's spec (spec A90).

use super::difference::unified;
use super::{dump, tolerations};
use crate::admit::faults::{self, Faults};
use crate::admit::json::{Json, JsonMut};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Faults of a change of the spec.
pub(crate) fn validate(found: &mut Faults, object: &Value, old: &Value) {
    let (new, old) = (object.at("spec"), old.at("spec"));
    let path = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if new.list(list).len() != old.list(list).len() {
            let why = "pod updates may not add or remove containers";
            found.push(FieldError::forbidden(path.child(list), why));
            return;
        }
        for (i, container) in new.list(list).iter().enumerate() {
            let path = path.child(list).index(i);
            if container.text("image").is_empty() {
                found.push(FieldError::required(path.child("image"), ""));
            }
            super::containers::padded_image(found, container, &path);
        }
    }
    if !deadline(found, new, old, &path.child("activeDeadlineSeconds")) {
        return;
    }
    let (now, before) = (new.list("tolerations"), old.list("tolerations"));
    tolerations::validate_only_added(found, now, before, &path.child("tolerations"));
    let gates: BTreeSet<&str> =
        old.list("schedulingGates").iter().map(|gate| gate.text("name")).collect();
    for (i, gate) in new.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !gates.contains(name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            let path = path.child("schedulingGates").index(i).child("name");
            found.push(FieldError::forbidden(path, &why));
        }
    }
    if new == old {
        return;
    }
    let mut masked = new.clone();
    mask(&mut masked, old);
    if !gates.is_empty() {
        gated(found, &mut masked, old, &path);
    }
    if masked != *old {
        let why = format!("{ALLOWED}\n{}", unified(&dump::spec(old), &dump::spec(&masked)));
        found.push(FieldError::forbidden(path, &why));
    }
}

/// The deadline may be set, or come sooner. False when the rest need not be looked at.
fn deadline(found: &mut Faults, new: &Value, old: &Value, path: &Path) -> bool {
    let key = "activeDeadlineSeconds";
    let mut wrong = |value: Value, why: &str| {
        found.push(FieldError::invalid(path.clone(), value, why));
    };
    match (new.int(key), old.int(key)) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            wrong(now.into(), "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(now), Some(before)) if before < now => {
            wrong(now.into(), "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            wrong(Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

/// Takes what may change back to what it was.
fn mask(new: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        for (container, old) in new.items(list).iter_mut().zip(old.list(list)) {
            container.restore("image", old);
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        new.restore(key, old);
    }
    let grace = "terminationGracePeriodSeconds";
    if old.int(grace).is_some_and(|seconds| seconds < 0) && new.int(grace) == Some(1) {
        new.restore(grace, old);
    }
}

/// A gated pod may be steered: node selectors may be added, and what nodes must have.
fn gated(found: &mut Faults, masked: &mut Value, old: &Value, path: &Path) {
    let (new, before) = (masked.at("nodeSelector").clone(), old.at("nodeSelector"));
    if new != *before {
        let kept = old.entries("nodeSelector").iter().all(|(key, value)| new.at(key) == *value);
        if !kept {
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            found.push(FieldError::invalid(path.child("nodeSelector"), new, why));
        }
        masked.restore("nodeSelector", old);
    }
    let of_nodes = |spec: &Value| spec.at("affinity").at("nodeAffinity").clone();
    let (new, before) = (of_nodes(masked), of_nodes(old));
    if new == before {
        return;
    }
    steered(found, &new, &before, &path.child("affinity").child("nodeAffinity"));
    let affinity = masked.at("affinity");
    let of_pods = affinity.has("podAffinity") || affinity.has("podAntiAffinity");
    if affinity.is_null() {
        masked.set("affinity", json!({"nodeAffinity": before}));
    } else if !old.has("affinity") && !of_pods {
        masked.unset("affinity");
    } else {
        masked.object("affinity").restore("nodeAffinity", old.at("affinity"));
    }
}

/// What a gated pod demanded of nodes it demands still; each alternative may demand more.
fn steered(found: &mut Faults, new: &Value, old: &Value, path: &Path) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    let terms = old.at(REQUIRED).list("nodeSelectorTerms");
    let now = new.at(REQUIRED).list("nodeSelectorTerms");
    if !terms.is_empty() && terms.len() != now.len() {
        let shown: Vec<String> = now.iter().map(dump::node_term).collect();
        let shown = if new.at(REQUIRED).is_null() {
            "null".to_owned()
        } else {
            format!("[{}]", shown.join(","))
        };
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        found.push(faults::invalid_shown(path, &shown, why));
        return;
    }
    for (i, (now, before)) in now.iter().zip(terms).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let was_empty = lists.iter().all(|list| before.list(list).is_empty());
        let kept = if was_empty {
            lists.iter().all(|list| now.list(list).is_empty())
        } else {
            lists.iter().all(|list| now.list(list).starts_with(before.list(list)))
        };
        if !kept {
            let why = "only additions are allowed (no mutations or deletions)";
            found.push(faults::invalid_shown(path.index(i), &dump::node_term(now), why));
        }
    }
}

/// Ephemeral containers may be added and never change or go.
pub(crate) fn validate_ephemeral(found: &mut Faults, object: &Value, old: &Value) {
    if old.at("metadata").at("annotations").has("kubernetes.io/config.mirror") {
        let why = "static pods do not support ephemeral containers";
        *found = Faults::from([FieldError::forbidden(Path::new(""), why)]);
        return;
    }
    let path = Path::new("spec").child("ephemeralContainers");
    let new = object.at("spec").list("ephemeralContainers");
    let new: BTreeMap<&str, &Value> =
        new.iter().rev().map(|container| (container.text("name"), container)).collect();
    for before in old.at("spec").list("ephemeralContainers") {
        let name = before.text("name");
        match new.get(name).copied() {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                found.push(FieldError::forbidden(path.clone(), &why));
            }
            Some(now) if now != before => {
                let of = dump::ephemeral_container;
                let diff = unified(&of(before), &of(now));
                let why =
                    format!("existing ephemeral containers {name:?} may not be changed\n{diff}");
                found.push(FieldError::forbidden(path.clone(), &why));
            }
            Some(_) => {}
        }
    }
}
