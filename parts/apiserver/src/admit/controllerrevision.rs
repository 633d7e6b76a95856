//! ControllerRevisions: what a workload's template once was (spec A93).

use super::faults::{Faults, IMMUTABLE, not_negative};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, table};
use api::{FieldError, Path};
use serde_json::Value;

/// The strategy.
#[derive(Debug)]
pub(crate) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn default(&self, object: &mut Value) {
        object.fill("revision", 0);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = validate(object);
        if object.at("data") != old.at("data") {
            let data = object.at("data").clone();
            found.push(FieldError::invalid(Path::new("data"), data, IMMUTABLE));
        }
        found
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let owner = object
            .at("metadata")
            .list("ownerReferences")
            .iter()
            .find(|owner| owner.flag("controller"))
            .map(|owner| {
                let kind = owner.text("kind").to_lowercase();
                match owner.text("apiVersion").split_once('/') {
                    Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
                    None => format!("{kind}/{}", owner.text("name")),
                }
            })
            .unwrap_or_default();
        vec![
            table::name(object),
            table::or_none(&owner),
            object.int("revision").unwrap_or(0).into(),
            table::age(object, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Controller", "string", "The workload this belongs to."),
    table::column("Revision", "string", "Which in the order of the workload's revisions."),
    table::AGE,
];

fn validate(object: &Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    if object.at("data").is_null() {
        found.push(FieldError::required(Path::new("data"), "data is mandatory"));
    }
    not_negative(&mut found, Path::new("revision"), object.at("revision"));
    found
}
