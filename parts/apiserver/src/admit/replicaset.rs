//! ReplicaSets: a number of equal pods.

use super::faults::{Faults, IMMUTABLE, not_negative};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, selector, table, template};
use api::{FieldError, Path, Status};
use serde_json::{Value, json};

/// The strategy.
#[derive(Debug)]
pub(crate) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        object.object("status").fill("replicas", 0);
        let spec = object.object("spec");
        spec.fill("replicas", 1);
        template::fill(spec);
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object.set("status", json!({"replicas": 0}));
        object.object("metadata").set("generation", 1);
        Ok(())
    }

    fn prepare_update(
        &self,
        object: &mut Value,
        old: &Value,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        if context.subresource == "status" {
            object.restore("spec", old);
            return Ok(());
        }
        object.restore("status", old);
        if object.at("spec") != old.at("spec") {
            let generation = old.at("metadata").int("generation").unwrap_or(0);
            object.object("metadata").set("generation", generation + 1);
        }
        Ok(())
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        validate_spec(object.at("spec"))
    }

    fn validate_update(
        &self,
        object: &Value,
        old: &Value,
        context: &Context<'_>,
    ) -> Vec<FieldError> {
        if context.subresource == "status" {
            return validate_status(object.at("status"));
        }
        let mut found = validate_spec(object.at("spec"));
        let (new, old) = (object.at("spec").at("selector"), old.at("spec").at("selector"));
        if new != old {
            let path = Path::new("spec").child("selector");
            found.push(FieldError::invalid(path, new.clone(), IMMUTABLE));
        }
        found
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let generation = |of: &Value| of.at("metadata").int("generation");
        if old.is_some_and(|old| generation(old) == generation(object)) {
            return Vec::new();
        }
        let mut all = Vec::new();
        let faults = api::names::dns_label(object.at("metadata").text("name"));
        if old.is_none() && !faults.is_empty() {
            all.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                faults.join(" ")
            ));
        }
        let template = object.at("spec").at("template");
        all.extend(super::pod::warnings::of_template(template, "spec.template"));
        all
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let replicas = object.at("status").int("replicas").unwrap_or(0);
        vec![("status.replicas", replicas.to_string())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let [names, images] = template::container_cells(spec);
        vec![
            table::name(object),
            spec.int("replicas").unwrap_or(0).into(),
            status.int("replicas").unwrap_or(0).into(),
            status.int("readyReplicas").unwrap_or(0).into(),
            table::age(object, now),
            names,
            images,
            table::selector(spec.at("selector")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Desired", "integer", "Pods that should be there."),
    table::column("Current", "integer", "Pods that are there."),
    table::column("Ready", "integer", "Pods that are ready."),
    table::AGE,
    table::wide("Containers", "string", "Names of the template's containers."),
    table::wide("Images", "string", "Images of the template's containers."),
    table::wide("Selector", "string", "Labels by which pods are counted."),
];

fn validate_spec(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    for key in ["replicas", "minReadySeconds"] {
        not_negative(&mut found, path.child(key), spec.at(key));
    }
    let chosen = spec.at("selector");
    let at = path.child("selector");
    if chosen.is_null() {
        found.push(FieldError::required(at.clone(), ""));
    } else {
        let faults = selector::validate(chosen, &at);
        let sound = faults.is_empty();
        found.extend(faults);
        if selector::is_empty(chosen) {
            let why = "empty selector is invalid for deployment";
            found.push(FieldError::invalid(at.clone(), chosen.clone(), why));
        }
        if !sound {
            found.push(FieldError::invalid(at, chosen.clone(), "invalid label selector"));
            return found;
        }
    }
    if !spec.has("template") {
        found.push(FieldError::required(path.child("template"), ""));
        return found;
    }
    if chosen.is_null() || !selector::is_empty(chosen) {
        template::validate_selected(&mut found, spec, &path);
    }
    found.extend(template::validate(spec.at("template"), &path.child("template")));
    template::validate_endless(&mut found, spec, "ReplicaSet", &path);
    found
}

fn validate_status(status: &Value) -> Faults {
    let path = Path::new("status");
    let mut found = Faults::new();
    let keys = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
    ];
    template::validate_counts(&mut found, status, &path, &keys);
    let number = |key: &str| status.int(key).unwrap_or(0);
    let mut at_most = |key: &str, other: &str, shown: &str| {
        if number(key) > number(other) {
            let why = format!("cannot be greater than {shown}");
            found.push(FieldError::invalid(path.child(key), number(key), &why));
        }
    };
    at_most("fullyLabeledReplicas", "replicas", "status.replicas");
    at_most("readyReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "replicas", "status.replicas");
    at_most("availableReplicas", "readyReplicas", "readyReplicas");
    found
}
