//! DaemonSets: one pod on every node (spec A10–A33, A42–A61).

use super::faults::{Faults, not_negative, unsupported_shown};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, pod, portion, selector, table, template, workload};
use api::{FieldError, Path, Status};
use serde_json::{Value, json};

/// Where v1 shows the counter of template changes (spec A23).
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The strategy.
#[derive(Debug)]
pub(crate) struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        fill_counters(object.object("status"));
        let spec = object.object("spec");
        let strategy = spec.object("updateStrategy");
        strategy.fill_text("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.object("rollingUpdate");
            rolling.fill("maxUnavailable", 1);
            rolling.fill("maxSurge", 0);
        } else if let Some(rolling) = strategy.present("rollingUpdate") {
            // Kept as it is (spec A11), with nothing for what was not said.
            rolling.fill("maxUnavailable", 0);
            rolling.fill("maxSurge", 0);
        }
        spec.fill("revisionHistoryLimit", 10);
        template::fill(spec);
    }

    fn convert(&self, object: &Value) -> Result<(), Status> {
        let Some(text) = object.at("metadata").at("annotations").at(GENERATION).as_str() else {
            return Ok(());
        };
        text.parse::<i64>().map(|_| ()).map_err(|_| {
            Status::bad_request(format!(
                "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strconv.ParseInt: parsing {text:?}: invalid syntax"
            ))
        })
    }

    fn first_status(&self) -> Option<Value> {
        let mut status = json!({});
        fill_counters(&mut status);
        Some(status)
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        let asked = template_generation(object).unwrap_or(0);
        set_template_generation(object, asked.max(1));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: &Context<'_>) {
        let template = |of: &Value| of.at("spec").at("template").clone();
        let changed = i64::from(template(object) != template(old));
        set_template_generation(object, template_generation(old).unwrap_or(1) + changed);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate_spec(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate_status(object, old);
        }
        let mut found = Faults::default();
        workload::validate_selector_kept(&mut found, object, old);
        found.extend(validate_spec(object.at("spec")));
        found
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let counter = |of: &Value| template_generation(of);
        if old.is_some_and(|old| counter(old) == counter(object)) {
            return Vec::new();
        }
        pod::warnings::of_template(
            object.at("spec").at("template"),
            &Path::new("spec").child("template"),
        )
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let number = |key: &str| Value::from(status.int(key).unwrap_or(0));
        let chosen: Vec<String> = spec
            .dig(&["template", "spec"])
            .entries("nodeSelector")
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let [names, images] = template::container_cells(spec);
        vec![
            table::name(object),
            number("desiredNumberScheduled"),
            number("currentNumberScheduled"),
            number("numberReady"),
            number("updatedNumberScheduled"),
            number("numberAvailable"),
            table::joined(&chosen, "<none>"),
            table::age(object, now),
            names,
            images,
            table::selector(spec.at("selector")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Desired", "integer", "Nodes that should run a pod."),
    table::column("Current", "integer", "Nodes that should run a pod and have one."),
    table::column("Ready", "integer", "Nodes that should run a pod and have a ready one."),
    table::column("Up-to-date", "integer", "Nodes whose pod is made from the current template."),
    table::column("Available", "integer", "Nodes whose pod has been ready for long enough."),
    table::column("Node Selector", "string", "Labels a node must have."),
    table::AGE,
    table::CONTAINERS,
    table::IMAGES,
    table::SELECTOR,
];

/// Spec A8: four counters are always there.
fn fill_counters(status: &mut Value) {
    for key in
        ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"]
    {
        status.fill(key, 0);
    }
}

fn template_generation(object: &Value) -> Option<i64> {
    object.at("metadata").at("annotations").text(GENERATION).parse().ok()
}

fn set_template_generation(object: &mut Value, counter: i64) {
    object.object("metadata").object("annotations").set(GENERATION, counter.to_string());
}

fn validate_spec(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let chosen = spec.at("selector");
    let mut found = selector::validate(chosen, &path.child("selector"));
    if selector::is_readable(chosen) {
        template::validate_selected(&mut found, spec, &path);
    }
    if spec.has("selector") && selector::is_empty(chosen) {
        let why = "empty selector is invalid for daemonset";
        found.push(FieldError::invalid(path.child("selector"), chosen.clone(), why));
    }
    found.extend(template::validate(spec.at("template"), &path.child("template")));
    template::validate_endless(&mut found, spec, "DaemonSet", &path);
    not_negative(&mut found, path.child("minReadySeconds"), spec.at("minReadySeconds"));
    validate_strategy(&mut found, spec.at("updateStrategy"), &path.child("updateStrategy"));
    let limit = "revisionHistoryLimit";
    not_negative(&mut found, path.child(limit), spec.at(limit));
    found
}

/// Spec A50–A56.
fn validate_strategy(found: &mut Faults, strategy: &Value, path: &Path) {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => validate_rolling(found, rolling, &path.child("rollingUpdate")),
        other => {
            let inner = portion::shown_pair(rolling);
            let shown = format!("{{\"Type\":{other:?},\"RollingUpdate\":{inner}}}");
            let supported = ["RollingUpdate", "OnDelete"];
            found.push(unsupported_shown(path.clone(), &shown, &supported));
        }
    }
}

fn validate_rolling(found: &mut Faults, rolling: &Value, path: &Path) {
    if rolling.is_null() {
        found.push(FieldError::required(path.clone(), ""));
        return;
    }
    let (down, up) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
    let (down_path, up_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    portion::validate(found, down, &down_path);
    portion::validate(found, up, &up_path);
    portion::validate_at_most_all(found, down, &down_path);
    portion::validate_at_most_all(found, up, &up_path);
    match (portion::is_zero(down), portion::is_zero(up)) {
        (false, false) => {
            let why = "may not be set when maxUnavailable is non-zero";
            found.push(FieldError::invalid(up_path, up.clone(), why));
        }
        (true, true) => {
            found.push(FieldError::required(down_path, "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
}

/// Spec A32.
fn validate_status(object: &Value, old: &Value) -> Faults {
    let mut found = Faults::new();
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    workload::validate_counts(&mut found, object.at("status"), &Path::new("status"), &counts);
    workload::validate_collisions(&mut found, object, old);
    found
}
