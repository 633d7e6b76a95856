//! A node touches its own Node, its own Lease and the pods bound to it, and nothing else (spec E66).

use super::{Attributes, Operation, View};
use crate::admit::json::Json;
use api::Status;
use serde_json::Value;

/// Labels under kubernetes.io and k8s.io that a node may give itself.
const OWN_LABELS: [&str; 10] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];

/// Domains whose labels nodes may give themselves freely.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Where leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// The node that asks, if one does.
fn asking<'a>(attributes: &Attributes<'a>) -> Option<&'a str> {
    let identity = attributes.identity;
    let member = identity.groups.iter().any(|group| group == "system:nodes");
    identity.user.strip_prefix("system:node:").filter(|name| member && !name.is_empty())
}

/// Refuses what is not the node's own.
pub(super) fn judge(
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    let Some(node) = asking(attributes) else { return Ok(()) };
    match (attributes.resource.group, attributes.resource.plural) {
        ("", "nodes") => own_node(object, attributes, node),
        ("coordination.k8s.io", "leases") => own_lease(object, attributes, node),
        ("", "pods") => own_pod(object, attributes, view, node),
        ("", "serviceaccounts") => token_of_own_pod(object, attributes, view, node),
        _ => Ok(()),
    }
}

fn own_node(object: &Value, attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let name = match attributes.name {
        "" => object.at("metadata").text("name"),
        name => name,
    };
    if name != node {
        let why = format!("node {node:?} is not allowed to modify node {name:?}");
        return Err(attributes.forbidden(&why));
    }
    let empty = Value::Null;
    let old = attributes.old.unwrap_or(&empty);
    let changed = changed_labels(object, old);
    let bad: Vec<&str> = changed.into_iter().filter(|label| !may_label(label)).collect();
    match attributes.operation {
        Operation::Create if !bad.is_empty() => Err(attributes.forbidden(&format!(
            "node {node:?} is not allowed to set the following labels: {}",
            bad.join(", ")
        ))),
        Operation::Update => {
            if object.at("spec").list("taints") != old.at("spec").list("taints") {
                let why = format!("node {node:?} is not allowed to modify taints");
                return Err(attributes.forbidden(&why));
            }
            let owners = |node: &Value| node.at("metadata").list("ownerReferences").to_vec();
            if owners(object) != owners(old) {
                let why = format!("node {node:?} is not allowed to modify ownerReferences");
                return Err(attributes.forbidden(&why));
            }
            if bad.is_empty() {
                return Ok(());
            }
            Err(attributes
                .forbidden(&format!("is not allowed to modify labels: {}", bad.join(", "))))
        }
        _ => Ok(()),
    }
}

fn changed_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    let labels = |of: &'a Value| of.at("metadata").at("labels");
    let (new, old) = (labels(new), labels(old));
    let keys = |of: &'a Value| of.as_object().into_iter().flat_map(|map| map.keys());
    let mut changed: Vec<&str> = keys(new)
        .chain(keys(old))
        .filter(|key| new.at(key) != old.at(key))
        .map(String::as_str)
        .collect();
    changed.sort_unstable();
    changed.dedup();
    changed
}

/// Whether a node may give itself a label, or change it.
fn may_label(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |name: &str| domain == name || domain.ends_with(&format!(".{name}"));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&label)
        || label == "failure-domain.beta.kubernetes.io/region"
        || OWN_DOMAINS.iter().any(|name| within(name))
}

fn own_lease(object: &Value, attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let name = match attributes.name {
        "" => object.at("metadata").text("name"),
        name => name,
    };
    if attributes.namespace != LEASES {
        let why = format!("can only access leases in the {LEASES:?} system namespace");
        return Err(attributes.forbidden(&why));
    }
    if name != node {
        let why = "can only access node lease with the same name as the requesting node";
        return Err(attributes.forbidden(why));
    }
    Ok(())
}

fn own_pod(
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
    node: &str,
) -> Result<(), Status> {
    let here = |pod: &Value| pod.at("spec").text("nodeName") == node;
    match (attributes.operation, attributes.subresource) {
        (Operation::Create, "") => mirror(object, attributes, node),
        (Operation::Update, "status") => {
            let bound = attributes.old.is_some_and(here);
            if !bound {
                let why = format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                );
                return Err(attributes.forbidden(&why));
            }
            let labels = |pod: &Value| pod.at("metadata").at("labels").clone();
            if attributes.old.is_some_and(|old| labels(old) != labels(object)) {
                let why = format!("node {node:?} cannot update labels through pod status");
                return Err(attributes.forbidden(&why));
            }
            Ok(())
        }
        (Operation::Delete, "") if here(object) => Ok(()),
        (Operation::Delete, "") => {
            let why =
                format!("node {node:?} can only delete pods with spec.nodeName set to itself");
            Err(attributes.forbidden(&why))
        }
        (Operation::Create, "eviction") => {
            let pod = view.get("", "pods", attributes.namespace, attributes.name);
            if pod.as_deref().is_none_or(here) {
                return Ok(());
            }
            let why = format!("node {node:?} can only evict pods with spec.nodeName set to itself");
            Err(attributes.forbidden(&why))
        }
        (_, subresource) => Err(attributes
            .forbidden(&format!("unexpected operation on pods/{subresource} by node {node:?}"))),
    }
}

/// The pods a node may make: shadows of those it runs on its own account.
fn mirror(pod: &Value, attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let refuse = |why: String| Err(attributes.forbidden(&why));
    let (meta, spec) = (pod.at("metadata"), pod.at("spec"));
    if !meta.at("annotations").has(MIRROR) {
        return refuse(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if spec.text("nodeName") != node {
        return refuse(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ));
    }
    if !spec.text("serviceAccountName").is_empty() {
        return refuse(format!(
            "node {node:?} can not create pods that reference a service account"
        ));
    }
    let refers = spec.list("volumes").iter().any(|volume| {
        ["secret", "configMap", "persistentVolumeClaim"].iter().any(|key| volume.has(key))
    });
    if refers {
        return refuse(format!(
            "node {node:?} can not create pods that reference secrets, configmaps or persistentvolumeclaims"
        ));
    }
    Ok(())
}

/// A node asks for tokens only on behalf of its pods, and only for audiences that they mount.
fn token_of_own_pod(
    request: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
    node: &str,
) -> Result<(), Status> {
    if attributes.operation != Operation::Create || attributes.subresource != "token" {
        return Ok(());
    }
    let refuse = |why: &str| Err(attributes.forbidden(why));
    let asked = request.at("spec").at("boundObjectRef");
    let (name, uid) = (asked.text("name"), asked.text("uid"));
    if asked.text("apiVersion") != "v1" || asked.text("kind") != "Pod" || name.is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let Some(pod) = view.get("", "pods", attributes.namespace, name) else {
        return Err(Status::not_found("", "pods", name));
    };
    if pod.at("metadata").text("uid") != uid {
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if pod.at("spec").text("nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audience = match request.at("spec").list("audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    let mounted = pod.at("spec").list("volumes").iter().any(|volume| {
        volume.at("projected").list("sources").iter().any(|source| {
            source.has("serviceAccountToken")
                && source.at("serviceAccountToken").text("audience") == audience
        })
    });
    if mounted {
        return Ok(());
    }
    refuse(&format!("audience {audience:?} not found in pod spec volume"))
}
