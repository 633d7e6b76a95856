//! RuntimeClasses: ways to run pods.

use super::faults::{Faults, IMMUTABLE, dns_label, duplicate_shown, needed};
use super::json::{Json, JsonMut};
use super::pod::{defaults, resources, tolerations, warnings};
use super::{Column, Context, Strategy, metadata, table};
use api::{FieldError, Path};
use serde_json::Value;

/// The strategy.
#[derive(Debug)]
pub(crate) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn default(&self, object: &mut Value) {
        object.fill("handler", "");
        if let Some(fixed) =
            object.present("overhead").and_then(|overhead| overhead.present("podFixed"))
        {
            defaults::round_all(fixed);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        let handler = object.text("handler");
        if needed(&mut found, Path::new("handler"), handler) {
            dns_label(&mut found, &Path::new("handler"), handler);
        }
        let fixed = object.at("overhead").at("podFixed");
        resources::validate_overhead(&mut found, fixed, &Path::new("overhead").child("podFixed"));
        let (scheduling, path) = (object.at("scheduling"), Path::new("scheduling"));
        let chosen = scheduling.at("nodeSelector");
        found.extend(metadata::label_map(chosen, &path.child("nodeSelector")));
        validate_tolerations(
            &mut found,
            scheduling.list("tolerations"),
            &path.child("tolerations"),
        );
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        if object.at("handler") == old.at("handler") {
            return Faults::new();
        }
        let handler = object.at("handler").clone();
        vec![FieldError::invalid(Path::new("handler"), handler, IMMUTABLE)]
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let chosen = object.at("scheduling").entries("nodeSelector");
        let told = chosen.iter().filter_map(|(key, _)| warnings::of_label(key));
        told.map(|why| format!("scheduling.nodeSelector: {why}")).collect()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![table::name(object), object.at("handler").clone(), table::age(object, now)]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Handler", "string", "The runtime's own name for it."),
    table::AGE,
];

/// Tolerations that are well formed, and each there once.
fn validate_tolerations(found: &mut Faults, all: &[Value], path: &Path) {
    tolerations::validate(found, all, path);
    for (i, one) in all.iter().enumerate().filter(|(i, one)| all[..*i].contains(one)) {
        found.push(duplicate_shown(path.index(i), &tolerations::shown(one)));
    }
}
