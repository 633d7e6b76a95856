//! Deployments: ReplicaSets that follow one another.

use super::faults::{Faults, unsupported_shown};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, portion, table, template, workload};
use api::{FieldError, Path};
use serde_json::{Value, json};

/// The strategy.
#[derive(Debug)]
pub(crate) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        object.object("status");
        let spec = object.object("spec");
        spec.fill("replicas", 1);
        let strategy = spec.object("strategy");
        strategy.fill_text("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.object("rollingUpdate");
            rolling.fill("maxUnavailable", "25%");
            rolling.fill("maxSurge", "25%");
        }
        spec.fill("revisionHistoryLimit", 10);
        spec.fill("progressDeadlineSeconds", 600);
        template::fill(spec);
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({}))
    }

    /// Annotations count too: controllers look at those that say why and when.
    fn counted(&self) -> &'static [&'static str] {
        &["/spec", "/metadata/annotations"]
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        if context.subresource == "status" {
            object.object("metadata").restore("labels", old.at("metadata"));
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate_spec(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate_status(object, old);
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
        let (spec, status) = (object.at("spec"), object.at("status"));
        let count = |key: &str| status.int(key).unwrap_or(0);
        let [names, images] = template::container_cells(spec);
        let desired = spec.int("replicas").unwrap_or(0);
        vec![
            table::name(object),
            format!("{}/{desired}", count("readyReplicas")).into(),
            count("updatedReplicas").into(),
            count("availableReplicas").into(),
            table::age(object, now),
            names,
            images,
            table::selector(spec.at("selector")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Ready", "string", "Pods that are ready, of all that should be there."),
    table::column("Up-to-date", "string", "Pods made from the current template."),
    table::column("Available", "string", "Pods that have been ready for long enough."),
    table::AGE,
    table::CONTAINERS,
    table::IMAGES,
    table::SELECTOR,
];

fn validate_spec(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    workload::validate_counts(&mut found, spec, &path, &["replicas"]);
    workload::validate_replicated(&mut found, spec, &path);
    validate_strategy(&mut found, spec.at("strategy"), &path.child("strategy"));
    let counts = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
    workload::validate_counts(&mut found, spec, &path, &counts);
    let ready = spec.int("minReadySeconds").unwrap_or(0);
    if let Some(seconds) = spec.int("progressDeadlineSeconds")
        && seconds <= ready
    {
        let why = "must be greater than minReadySeconds";
        found.push(FieldError::invalid(path.child("progressDeadlineSeconds"), seconds, why));
    }
    found
}

fn validate_strategy(found: &mut Faults, strategy: &Value, path: &Path) {
    let (rolling, at) = (strategy.at("rollingUpdate"), path.child("rollingUpdate"));
    match strategy.text("type") {
        "Recreate" if rolling.is_null() => {}
        "Recreate" => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            found.push(FieldError::forbidden(at, why));
        }
        "RollingUpdate" => validate_rolling(found, rolling, &at),
        other => {
            let shown = format!(
                "{{\"Type\":{other:?},\"RollingUpdate\":{}}}",
                portion::shown_pair(rolling)
            );
            let supported = ["Recreate", "RollingUpdate"];
            found.push(unsupported_shown(path.clone(), &shown, &supported));
        }
    }
}

fn validate_rolling(found: &mut Faults, rolling: &Value, path: &Path) {
    let (down, up) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
    let down_path = path.child("maxUnavailable");
    portion::validate(found, down, &down_path);
    portion::validate(found, up, &path.child("maxSurge"));
    if portion::is_zero(down) && portion::is_zero(up) {
        let why = "may not be 0 when `maxSurge` is 0";
        found.push(FieldError::invalid(down_path.clone(), down.clone(), why));
    }
    portion::validate_at_most_all(found, down, &down_path);
}

fn validate_status(object: &Value, old: &Value) -> Faults {
    let status = object.at("status");
    let mut found = Faults::new();
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    workload::validate_counts(&mut found, status, &Path::new("status"), &counts);
    let parts = [
        ["updatedReplicas", "replicas", "status.replicas"],
        ["readyReplicas", "replicas", "status.replicas"],
        ["availableReplicas", "replicas", "status.replicas"],
        ["availableReplicas", "readyReplicas", "readyReplicas"],
    ];
    workload::validate_parts(&mut found, status, &parts);
    workload::validate_collisions(&mut found, object, old);
    found
}
