//! PodDisruptionBudgets.

use super::faults::{Faults, invalid_shown, unsupported};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, portion, selector, table, template};
use api::{FieldError, Path, Status};
use serde_json::{Value, json};

const COUNTS: [&str; 4] =
    ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

/// The strategy.
#[derive(Debug)]
pub(crate) struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn default(&self, object: &mut Value) {
        object.object("spec");
        fill_counts(object.object("status"));
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object.set("status", json!({}));
        fill_counts(object.object("status"));
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
        validate(object.at("spec"))
    }

    fn validate_update(
        &self,
        object: &Value,
        _old: &Value,
        context: &Context<'_>,
    ) -> Vec<FieldError> {
        if context.subresource != "status" {
            return validate(object.at("spec"));
        }
        let mut found = Faults::new();
        let path = Path::new("status");
        template::validate_counts(&mut found, object.at("status"), &path, &COUNTS);
        found
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let limit = |key: &str| match object.at("spec").at(key) {
            Value::Null => Value::from("N/A"),
            Value::String(text) => text.as_str().into(),
            number => number.to_string().into(),
        };
        vec![
            table::name(object),
            limit("minAvailable"),
            limit("maxUnavailable"),
            object.at("status").int("disruptionsAllowed").unwrap_or(0).into(),
            table::age(object, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Min Available", "string", "Pods that must stay."),
    table::column("Max Unavailable", "string", "Pods that may be missing."),
    table::column("Allowed Disruptions", "integer", "Pods that may be evicted now."),
    table::AGE,
];

fn fill_counts(status: &mut Value) {
    for key in COUNTS {
        status.fill(key, 0);
    }
}

fn validate(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    let limits = ["minAvailable", "maxUnavailable"];
    if limits.iter().all(|key| spec.has(key)) {
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            spec.at("minAvailable"),
            spec.at("selector"),
            spec.at("maxUnavailable"),
            spec.at("unhealthyPodEvictionPolicy"),
        );
        let why = "minAvailable and maxUnavailable cannot be both set";
        found.push(invalid_shown(path.clone(), &shown, why));
    }
    for key in limits {
        if spec.has(key) {
            portion::validate(&mut found, spec.at(key), &path.child(key));
            portion::validate_at_most_all(&mut found, spec.at(key), &path.child(key));
        }
    }
    found.extend(selector::validate(spec.at("selector"), &path.child("selector")));
    let policy = "unhealthyPodEvictionPolicy";
    let words = ["AlwaysAllow", "IfHealthyBudget"];
    if spec.has(policy) && !words.contains(&spec.text(policy)) {
        found.push(unsupported(path.child(policy), spec.text(policy), &words));
    }
    found
}
