//! PodDisruptionBudgets.

use super::faults::{Faults, invalid_shown, unsupported};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, conditions, portion, selector, table, workload};
use api::Path;
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

    fn first_status(&self) -> Option<Value> {
        let mut status = json!({});
        fill_counts(&mut status);
        Some(status)
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, _old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource != "status" {
            return validate(object.at("spec"));
        }
        let mut found = Faults::new();
        let path = Path::new("status");
        conditions::validate(&mut found, object.at("status"), &path.child("conditions"));
        workload::validate_counts(&mut found, object.at("status"), &path, &COUNTS);
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
