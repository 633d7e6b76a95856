//! What is wrong with a question about access, all of it, in upstream's order.

use crate::admit::json::Json;
use api::field::{FieldError, Path};
use api::names;
use serde_json::Value;

/// Faults of a SelfSubjectAccessReview, or of a SubjectAccessReview, which names whom it asks about.
pub(super) fn of(review: &Value, names_subject: bool) -> Vec<FieldError> {
    let mut found = of_spec(review.at("spec"), names_subject);
    of_metadata(&mut found, review, &[], "must be empty");
    found
}

/// Faults of a LocalSubjectAccessReview in a namespace.
pub(super) fn of_local(review: &Value, namespace: &str) -> Vec<FieldError> {
    let (spec, path) = (review.at("spec"), Path::new("spec"));
    let mut found = of_spec(spec, true);
    of_metadata(&mut found, review, &["namespace"], "must be empty except for namespace");
    let asked = spec.at("resourceAttributes");
    if !asked.is_null() && asked.text("namespace") != namespace {
        let path = path.child("resourceAttributes").child("namespace");
        let why = "must match metadata.namespace";
        found.push(FieldError::invalid(path, asked.text("namespace"), why));
    }
    if spec.has("nonResourceAttributes") {
        let why = "disallowed on this kind of request";
        found.push(of_path(spec, why));
    }
    found
}

fn of_spec(spec: &Value, names_subject: bool) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut found = Vec::new();
    match (spec.has("resourceAttributes"), spec.has("nonResourceAttributes")) {
        (true, true) => {
            found.push(of_path(spec, "cannot be specified in combination with resourceAttributes"));
        }
        (false, false) => found.push(FieldError::invalid(
            path.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    if names_subject && spec.text("user").is_empty() && spec.list("groups").is_empty() {
        let why = "at least one of user or group must be specified";
        found.push(FieldError::invalid(path.child("user"), "", why));
    }
    let (asked, path) = (spec.at("resourceAttributes"), path.child("resourceAttributes"));
    for key in ["fieldSelector", "labelSelector"] {
        if asked.has(key) {
            selector(&mut found, asked.at(key), key == "labelSelector", &path.child(key));
        }
    }
    found
}

/// A fault of `nonResourceAttributes`, shown under the names of upstream's Go fields.
fn of_path(spec: &Value, why: &str) -> FieldError {
    let asked = spec.at("nonResourceAttributes");
    let shown = serde_json::json!({"Path": asked.text("path"), "Verb": asked.text("verb")});
    FieldError::invalid(Path::new("spec").child("nonResourceAttributes"), shown, why)
}

fn selector(found: &mut Vec<FieldError>, selector: &Value, of_labels: bool, path: &Path) {
    let (raw, wanted) = (selector.text("rawSelector"), selector.list("requirements"));
    if !raw.is_empty() && !wanted.is_empty() {
        let why = "may not specified at the same time as requirements";
        found.push(FieldError::invalid(path.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && wanted.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        found.push(FieldError::required(path.child("requirements"), &why));
    }
    for (i, one) in wanted.iter().enumerate() {
        requirement(found, one, of_labels, &path.child("requirements").index(i));
    }
}

/// A requirement. Operators that nobody knows yet are no fault: newer clients may ask older servers.
fn requirement(found: &mut Vec<FieldError>, one: &Value, of_labels: bool, path: &Path) {
    let (key, values) = (one.text("key"), one.list("values"));
    if !of_labels && key.is_empty() {
        found.push(FieldError::required(path.child("key"), "must be specified"));
    }
    match one.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            found.push(FieldError::required(path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            found.push(FieldError::forbidden(path.child("values"), why));
        }
        _ => {}
    }
    if !of_labels {
        return;
    }
    for why in names::qualified_name(key) {
        found.push(FieldError::invalid(path.child("key"), key, &why));
    }
    for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
        for why in names::label_value(value) {
            found.push(FieldError::invalid(path.child("values").index(i), value, &why));
        }
    }
}

/// Fields of metadata in the order of upstream's struct.
const METADATA: [&str; 14] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
];

/// Fields of an entry of `managedFields` in the order of upstream's struct.
const ENTRY: [&str; 7] =
    ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// A question has no metadata but what the server itself puts there.
fn of_metadata(found: &mut Vec<FieldError>, review: &Value, allowed: &[&str], why: &str) {
    let meta = review.at("metadata");
    if METADATA.iter().all(|key| allowed.contains(key) || !meta.has(key)) {
        return;
    }
    let mut fields = ordered(meta, &METADATA);
    let entries: Vec<String> = meta
        .list("managedFields")
        .iter()
        .map(|entry| format!("{{{}}}", ordered(entry, &ENTRY).join(",")))
        .collect();
    if !entries.is_empty() {
        fields.push(format!("\"managedFields\":[{}]", entries.join(",")));
    }
    found.push(FieldError {
        path: Path::new("metadata"),
        fault: api::field::Fault::Invalid,
        body: format!("Invalid value: {{{}}}: {why}", fields.join(",")),
    });
}

fn ordered(object: &Value, keys: &[&str]) -> Vec<String> {
    let there = keys.iter().filter(|key| object.has(key));
    there.map(|key| format!("\"{key}\":{}", object.at(key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn told(found: &[FieldError], expected: &[&str]) {
        let told: Vec<String> = found.iter().map(|f| format!("{}: {}", f.path, f.body)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn everything_wrong_with_a_question_is_said_at_once() {
        let review = json!({"metadata": {"name": "x"}, "spec": {
            "resourceAttributes": {
                "fieldSelector": {"rawSelector": "a=b", "requirements": [{"operator": "In"}]},
                "labelSelector": {},
            },
            "nonResourceAttributes": {"path": "/"},
        }});
        told(
            &of(&review, true),
            &[
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/\",\"Verb\":\"\"}: cannot be specified in combination with resourceAttributes",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
                "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
            ],
        );
    }

    #[test]
    fn a_local_question_is_about_resources_of_its_own_namespace() {
        let review = json!({"metadata": {"namespace": "n"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "m"}}});
        told(
            &of_local(&review, "n"),
            &[
                "spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace",
            ],
        );
    }
}
