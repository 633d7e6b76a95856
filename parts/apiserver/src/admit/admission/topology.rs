//! PodTopologyLabels: pods carry zone and region of the node they are put on.

use super::{Attributes, View};
use crate::admit::json::{Json, JsonMut};
use serde_json::Value;

/// The labels that are copied.
const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// Copies them into a new pod that names a node, or into a binding, from which they go on to its pod.
pub(super) fn copy(object: &mut Value, attributes: &Attributes<'_>, view: &dyn View) {
    let resource = attributes.resource;
    if (resource.group, resource.plural) != ("", "pods") {
        return;
    }
    let node = match attributes.subresource {
        "" => object.at("spec").text("nodeName"),
        "binding" if object.at("target").text("kind") == "Node" => object.at("target").text("name"),
        _ => "",
    };
    if node.is_empty() {
        return;
    }
    let Some(labels) = view.labels(("", "nodes"), "", node) else { return };
    for label in LABELS {
        if let Some(value) = labels.get(label)
            && !object.at("metadata").at("labels").has(label)
        {
            object.object("metadata").object("labels").set(label, value.clone());
        }
    }
}
