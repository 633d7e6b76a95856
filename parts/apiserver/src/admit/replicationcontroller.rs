//! ReplicationControllers: what ReplicaSets grew out of. Old manifests and test suites still use them.

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, replicaset, table, template, workload};
use api::{FieldError, Path};
use serde_json::{Value, json};

/// The strategy.
#[derive(Debug)]
pub(crate) struct ReplicationController;

impl Strategy for ReplicationController {
    /// Labels of the template are those of the controller and its selector where these say nothing.
    fn default(&self, object: &mut Value) {
        object.object("status").fill("replicas", 0);
        let labels = object.dig(&["spec", "template", "metadata"]).at("labels").clone();
        let chosen = labels.as_object().is_some_and(|labels| !labels.is_empty());
        if chosen && is_empty(object.at("spec").at("selector")) {
            object.object("spec").set("selector", labels.clone());
        }
        if chosen && is_empty(object.at("metadata").at("labels")) {
            object.object("metadata").set("labels", labels);
        }
        let spec = object.object("spec");
        spec.fill("replicas", 1);
        if spec.has("template") {
            template::fill(spec);
        }
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"replicas": 0}))
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate_spec(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, _old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return replicaset::validate_status(object.at("status"));
        }
        validate_spec(object.at("spec"))
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload::named_warnings(object, old)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let replicas = object.at("status").int("replicas").unwrap_or(0);
        vec![("status.replicas", replicas.to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        replicaset::COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        replicaset::cells(object, table::labels(object.at("spec").at("selector")), now)
    }
}

fn is_empty(map: &Value) -> bool {
    map.as_object().is_none_or(serde_json::Map::is_empty)
}

/// In the order of upstream's own checks.
fn validate_spec(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    workload::validate_counts(&mut found, spec, &path, &["minReadySeconds"]);
    let chosen = spec.at("selector");
    if is_empty(chosen) {
        found.push(FieldError::required(path.child("selector"), ""));
    }
    workload::validate_counts(&mut found, spec, &path, &["replicas"]);
    let at = path.child("template");
    if !spec.has("template") {
        found.push(FieldError::required(at, ""));
        return found;
    }
    let labels = spec.dig(&["template", "metadata"]).at("labels");
    if !is_empty(chosen) && !is_part_of(chosen, labels) {
        let why = "`selector` does not match template `labels`";
        let path = at.child("metadata").child("labels");
        found.push(FieldError::invalid(path, labels.clone(), why));
    }
    found.extend(template::validate(spec.at("template"), &at));
    template::validate_endless(&mut found, spec, "ReplicationController", &path);
    found
}

fn is_part_of(chosen: &Value, labels: &Value) -> bool {
    chosen.as_object().into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }},
        })
    }

    #[test]
    fn selector_and_labels_are_taken_from_the_template() {
        let mut object = controller();
        ReplicationController.default(&mut object);
        assert_eq!(object["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(object["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(validate_spec(&object["spec"]), Faults::new());
        object["spec"]["selector"] = json!({"app": "db"});
        assert_eq!(
            validate_spec(&object["spec"])[0].path.to_string(),
            "spec.template.metadata.labels"
        );
    }

    #[test]
    fn without_a_template_two_fields_are_missing() {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {}});
        ReplicationController.default(&mut object);
        let found = validate_spec(&object["spec"]);
        let paths: Vec<String> = found.iter().map(|fault| fault.path.to_string()).collect();
        assert_eq!(paths, ["spec.selector", "spec.template"]);
    }
}
