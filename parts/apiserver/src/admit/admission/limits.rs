//! LimitRanger: what LimitRanges of a namespace fill into a pod's containers, and what they refuse.

use super::totals::{self, Amounts};
use super::{Attributes, Operation, View};
use crate::admit::json::{Json, JsonMut};
use api::{Quantity, Status};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Tells a pod's reader what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Whether the plugin looks at a request: new pods, and pods whose resources change in place.
pub(super) fn concern(attributes: &Attributes<'_>) -> bool {
    let resource = attributes.resource;
    let leaving = attributes.old.is_some_and(|old| old.at("metadata").has("deletionTimestamp"));
    resource.group.is_empty()
        && resource.plural == "pods"
        && !leaving
        && match (attributes.operation, attributes.subresource) {
            (Operation::Create, "") => true,
            (Operation::Update, subresource) => subresource == "resize",
            _ => false,
        }
}

fn ranges(attributes: &Attributes<'_>, view: &dyn View) -> Vec<Arc<Value>> {
    view.list("", "limitranges", attributes.namespace)
}

/// Fills in what containers do not ask for.
pub(super) fn fill(pod: &mut Value, attributes: &Attributes<'_>, view: &dyn View) {
    for range in ranges(attributes, view) {
        let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
        for limit in range.at("spec").list("limits") {
            if limit.text("type") == "Container" {
                requests.extend(totals::read(limit.at("defaultRequest")));
                limits.extend(totals::read(limit.at("default")));
            }
        }
        let mut told = Vec::new();
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in pod.object("spec").items(list) {
                let name = container.text("name").to_owned();
                for (side, amounts, word) in
                    [("requests", &requests, "request"), ("limits", &limits, "limit")]
                {
                    let set = fill_side(container, side, amounts);
                    if !set.is_empty() {
                        told.push(format!("{} {word} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
        if !told.is_empty() {
            let text = format!("LimitRanger plugin set: {}", told.join("; "));
            pod.object("metadata").object("annotations").set(ANNOTATION, text);
        }
    }
}

/// The names of what was filled in.
fn fill_side(container: &mut Value, side: &str, amounts: &Amounts) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in amounts {
        if !container.at("resources").at(side).has(name) {
            container.object("resources").object(side).set(name, amount.to_string());
            set.push(name.clone());
        }
    }
    set
}

/// Refuses what is outside of a range.
pub(super) fn validate(
    pod: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    for range in ranges(attributes, view) {
        let mut faults = Vec::new();
        for limit in range.at("spec").list("limits") {
            let spec = pod.at("spec");
            let of_whole = json!({
                "requests": totals::write(&totals::of_pod(spec, "requests")),
                "limits": totals::write(&totals::of_pod(spec, "limits")),
            });
            let asked: Vec<&Value> = match limit.text("type") {
                "Container" => spec
                    .list("containers")
                    .iter()
                    .chain(spec.list("initContainers"))
                    .map(|container| container.at("resources"))
                    .collect(),
                "Pod" => vec![&of_whole],
                _ => Vec::new(),
            };
            for resources in asked {
                faults.extend(faults_of(limit, resources));
            }
        }
        if let Some(why) = together(&faults) {
            return Err(attributes.forbidden(&why));
        }
    }
    Ok(())
}

/// Several faults as upstream prints them: each once, in brackets when there are more.
fn together(faults: &[String]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let once: Vec<&str> =
        faults.iter().filter(|fault| seen.insert(*fault)).map(String::as_str).collect();
    match once.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn faults_of(limit: &Value, resources: &Value) -> Vec<String> {
    let kind = limit.text("type");
    let (requests, limits) =
        (totals::read(resources.at("requests")), totals::read(resources.at("limits")));
    let mut faults = Vec::new();
    for (name, least) in totals::read(limit.at("min")) {
        let about = format!("minimum {name} usage per {kind} is {least}");
        faults.extend(match (requests.get(&name), limits.get(&name)) {
            (None, _) => Some(format!("{about}.  No request is specified")),
            (Some(request), _) if *request < least => {
                Some(format!("{about}, but request is {request}"))
            }
            (_, Some(limit)) if *limit < least => Some(format!("{about}, but limit is {limit}")),
            _ => None,
        });
    }
    for (name, most) in totals::read(limit.at("max")) {
        let about = format!("maximum {name} usage per {kind} is {most}");
        faults.extend(match (requests.get(&name), limits.get(&name)) {
            (_, None) => Some(format!("{about}.  No limit is specified")),
            (_, Some(limit)) if *limit > most => Some(format!("{about}, but limit is {limit}")),
            (Some(request), _) if *request > most => {
                Some(format!("{about}, but request is {request}"))
            }
            _ => None,
        });
    }
    for (name, most) in totals::read(limit.at("maxLimitRequestRatio")) {
        let about = format!("{name} max limit to request ratio per {kind} is {most}");
        faults.extend(ratio_fault(&about, most, requests.get(&name), limits.get(&name)));
    }
    faults
}

#[expect(clippy::cast_precision_loss, reason = "upstream compares and prints floats")]
fn ratio_fault(
    about: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{about}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{about}, but no limit is specified or limit is 0"));
    };
    let ratio = limit.milli() as f64 / request.milli() as f64;
    (ratio * 1000.0 > most.milli() as f64)
        .then(|| format!("{about}, but provided ratio is {ratio:.6}"))
}
