//! ReplicaSets: a number of equal pods.

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, table, template, workload};
use api::Path;
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

    fn first_status(&self) -> Option<Value> {
        Some(json!({"replicas": 0}))
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate_spec(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate_status(object.at("status"));
        }
        let mut found = validate_spec(object.at("spec"));
        workload::validate_selector_kept(&mut found, object, old);
        found
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        workload::named_warnings(object, old)
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells(object, table::selector(object.at("spec").at("selector")), now)
    }
}

/// Cells of anything that keeps a number of pods; its selector as it is shown.
pub(super) fn cells(object: &Value, selector: Value, now: jiff::Timestamp) -> Vec<Value> {
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
        selector,
    ]
}

/// Columns to those cells.
pub(super) const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Desired", "integer", "Pods that should be there."),
    table::column("Current", "integer", "Pods that are there."),
    table::column("Ready", "integer", "Pods that are ready."),
    table::AGE,
    table::CONTAINERS,
    table::IMAGES,
    table::SELECTOR,
];

fn validate_spec(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    workload::validate_counts(&mut found, spec, &path, &["replicas", "minReadySeconds"]);
    workload::validate_replicated(&mut found, spec, &path);
    found
}

/// Faults of the counts.
pub(super) fn validate_status(status: &Value) -> Faults {
    let mut found = Faults::new();
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "terminatingReplicas",
        "observedGeneration",
    ];
    workload::validate_counts(&mut found, status, &Path::new("status"), &counts);
    let parts = [
        ["fullyLabeledReplicas", "replicas", "status.replicas"],
        ["readyReplicas", "replicas", "status.replicas"],
        ["availableReplicas", "replicas", "status.replicas"],
        ["availableReplicas", "readyReplicas", "readyReplicas"],
    ];
    workload::validate_parts(&mut found, status, &parts);
    found
}
