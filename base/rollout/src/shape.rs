//! The objects that are created: a daemon pod (spec 2.3) and a revision (spec 2.6).

use crate::plan::history::NewRevision;
use crate::set::{Set, tolerations};
use crate::words::{API_VERSION, HASH_LABEL, KIND, TEMPLATE_GENERATION_LABEL};
use fit::place::FIELD_NAME;
use serde_json::{Map, Value, json};

/// Names of pods and other subdomains are at most this long.
const NAME_MAX: usize = 253;

/// The pod for one node, pinned to it by required node affinity and bound by the scheduler (spec B24, B25).
pub fn pod(set: &Set, hash: &str, node: &str) -> Value {
    let template = &set.template["metadata"];
    let mut labels = object(&template["labels"]);
    if let Some(generation) = set.template_generation() {
        labels.insert(TEMPLATE_GENERATION_LABEL.into(), generation.to_string().into());
    }
    labels.insert(HASH_LABEL.into(), hash.into());
    let mut meta = Map::new();
    meta.insert("generateName".into(), generate_name(&set.name).into());
    meta.insert("namespace".into(), set.namespace.as_str().into());
    meta.insert("labels".into(), labels.into());
    for field in ["annotations", "finalizers"] {
        if !template[field].is_null() {
            meta.insert(field.into(), template[field].clone());
        }
    }
    meta.insert("ownerReferences".into(), json!([owner(set)]));
    let mut spec = object(&set.template["spec"]);
    let all = tolerations(&set.template["spec"]);
    pin(&mut spec, node);
    spec.insert("tolerations".into(), all.into());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
}

/// The revision object. Its annotations are the DaemonSet's at this moment and are never refreshed
/// (spec B50).
pub fn revision(set: &Set, new: &NewRevision) -> Value {
    let mut labels = object(&set.template["metadata"]["labels"]);
    labels.insert(HASH_LABEL.into(), new.hash.as_str().into());
    let mut meta = Map::new();
    meta.insert("name".into(), new.name.as_str().into());
    meta.insert("namespace".into(), set.namespace.as_str().into());
    meta.insert("labels".into(), labels.into());
    if !set.annotations.is_empty() {
        meta.insert("annotations".into(), json!(set.annotations));
    }
    meta.insert("ownerReferences".into(), json!([owner(set)]));
    json!({
        "apiVersion": API_VERSION,
        "kind": "ControllerRevision",
        "metadata": meta,
        "data": data(&set.template),
        "revision": new.number,
    })
}

/// The owner reference of everything the set controls (spec B23).
pub fn owner(set: &Set) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": set.name,
        "uid": set.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A revision's `data`: a patch that replaces the template (spec B51).
pub fn data(template: &Value) -> Value {
    let mut template = object(template);
    template.insert("$patch".into(), "replace".into());
    json!({"spec": {"template": template}})
}

/// `<name>-`, or the name alone where the dash would not fit.
fn generate_name(set: &str) -> String {
    if set.len() < NAME_MAX { format!("{set}-") } else { set.to_owned() }
}

/// Replaces the required node affinity by one term that names the node; all other affinity stays
/// (spec B24).
fn pin(spec: &mut Map<String, Value>, node: &str) {
    let mut affinity = spec.get("affinity").map(object).unwrap_or_default();
    let mut of_nodes = affinity.get("nodeAffinity").map(object).unwrap_or_default();
    let term = json!({"matchFields": [{"key": FIELD_NAME, "operator": "In", "values": [node]}]});
    of_nodes.insert(
        "requiredDuringSchedulingIgnoredDuringExecution".into(),
        json!({"nodeSelectorTerms": [term]}),
    );
    affinity.insert("nodeAffinity".into(), of_nodes.into());
    spec.insert("affinity".into(), affinity.into());
}

/// The members of an object; none if it is something else.
fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
