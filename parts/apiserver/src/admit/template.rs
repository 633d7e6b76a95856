//! The pod template, once for every workload.

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::pod::{annotations, defaults, spec};
use super::table;
use super::{metadata, selector};
use crate::admit::faults::unsupported;
use api::{FieldError, Path};
use serde_json::{Value, json};

/// Defaults of `spec.template`.
pub(crate) fn fill(holder: &mut Value) {
    let template = holder.object("template");
    template.fill("metadata", json!({}));
    defaults::fill_spec(template.object("spec"));
}

/// Faults of a template on its own.
pub(crate) fn validate(template: &Value, path: &Path) -> Faults {
    let mut found = validate_metadata(template, path);
    let scope = spec::Scope { spec: template.at("spec"), is_pod: false, pod_name: "" };
    found.extend(spec::validate(scope, &path.child("spec")));
    if !template.at("spec").list("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        found.push(FieldError::forbidden(path.child("spec").child("ephemeralContainers"), why));
    }
    found
}

/// Faults of a template's labels and annotations.
pub(crate) fn validate_metadata(template: &Value, path: &Path) -> Faults {
    let meta = template.at("metadata");
    let mut found = metadata::labels(meta, &path.child("labels"));
    let at = path.child("annotations");
    found.extend(metadata::annotations(meta, &at));
    annotations::validate(&mut found, meta, template.at("spec"), &at);
    found
}

/// Spec A44: the selector must choose the template's own pods.
pub(crate) fn validate_selected(found: &mut Faults, of: &Value, path: &Path) {
    let labels = of.dig(&["template", "metadata"]).at("labels");
    if !selector::matches(of.at("selector"), labels) {
        let why = "`selector` does not match template `labels`";
        let path = path.child("template").child("metadata").child("labels");
        found.push(FieldError::invalid(path, labels.clone(), why));
    }
}

/// Spec A47, A48: pods of a workload that runs for ever are always restarted and have no deadline.
pub(crate) fn validate_endless(found: &mut Faults, of: &Value, kind: &str, path: &Path) {
    let spec = of.dig(&["template", "spec"]);
    let path = path.child("template").child("spec");
    let policy = spec.text("restartPolicy");
    if policy != "Always" {
        found.push(unsupported(path.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.has("activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        found.push(FieldError::forbidden(path.child("activeDeadlineSeconds"), &why));
    }
}

/// Names and images of the containers, for wide tables.
pub(crate) fn container_cells(of: &Value) -> [Value; 2] {
    let containers = of.dig(&["template", "spec"]).list("containers");
    let all = |key: &str| -> Vec<String> {
        containers.iter().map(|container| container.text(key).to_owned()).collect()
    };
    [table::joined(&all("name"), ""), table::joined(&all("image"), "")]
}
