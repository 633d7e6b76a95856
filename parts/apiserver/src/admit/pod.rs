//! Pods. The spec's rules are shared with templates; this file is what only pods have.

pub(crate) mod affinity;
pub(crate) mod annotations;
mod cells;
pub(crate) mod containers;
pub(crate) mod defaults;
mod difference;
mod dump;
pub(crate) mod environment;
mod mounts;
mod probes;
mod profiles;
pub(crate) mod quality;
mod resize;
pub(crate) mod resources;
mod security;
pub(crate) mod spec;
mod status;
pub(crate) mod tolerations;
mod update;
pub(crate) mod volumes;
pub(crate) mod warnings;
mod windows;

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, metadata};
use api::{FieldError, Path};
use serde_json::{Value, json};

/// The strategy.
#[derive(Debug)]
pub(crate) struct Pod;

/// Fields that select pods (spec A4).
const FIELDS: [&str; 9] = [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        defaults::fill_spec(spec);
        defaults::fill_pod(spec);
        let status = object.object("status");
        status.fill_text("phase", "Pending");
        status::settle_addresses(status);
        for condition in status.items("conditions") {
            for key in ["lastProbeTime", "lastTransitionTime"] {
                if !condition.has(key) {
                    condition.set(key, Value::Null);
                }
            }
        }
    }

    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        object.object("metadata").set("generation", 1);
        let labels = object.at("metadata").at("labels").clone();
        affinity::narrow(object.object("spec"), &labels);
        profiles::adopt_annotations(object);
        let class = quality::class(object.at("spec"));
        object.set("status", json!({"phase": "Pending", "qosClass": class}));
        if !object.at("spec").list("schedulingGates").is_empty() {
            let now = context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let gated = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": now,
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
            object.object("status").set("conditions", gated);
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        match context.subresource {
            "status" => {
                object.restore("spec", old);
                let meta = object.object("metadata");
                meta.restore("ownerReferences", old.at("metadata"));
                status::keep_what_is_not_said(object.object("status"), old.at("status"));
            }
            "ephemeralcontainers" => {
                let added = object.at("spec").clone();
                object.restore("spec", old);
                object.object("spec").restore("ephemeralContainers", &added);
                object.restore("status", old);
                keep_metadata(object, old);
                raise_generation(object, old);
            }
            "resize" => {
                resize::keep_the_rest(object, old);
                keep_metadata(object, old);
                raise_generation(object, old);
            }
            _ => {
                object.restore("status", old);
                raise_generation(object, old);
            }
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = validate_pod(object);
        let spec = object.at("spec");
        let path = Path::new("spec");
        if !spec.list("ephemeralContainers").is_empty() {
            let path = path.child("ephemeralContainers");
            found.push(FieldError::forbidden(path, "cannot be set on create"));
        }
        if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
            let why = "cannot be set until all schedulingGates have been cleared";
            found.push(FieldError::forbidden(path.child("nodeName"), why));
        }
        profiles::validate_agreement(&mut found, object);
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return status::validate(object, old);
        }
        let subdomain = |name: &str, prefix: bool| metadata::name_is_subdomain(name, prefix);
        let mut found = metadata::validate(object, true, &subdomain);
        found.extend(validate_pod(object));
        annotations::validate_update(&mut found, object, old);
        match context.subresource {
            "ephemeralcontainers" => update::validate_ephemeral(&mut found, object, old),
            "resize" => resize::validate(&mut found, object, old),
            _ => update::validate(&mut found, object, old),
        }
        found
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        // Pods are changed by programs, and often: upstream warns only those who make one.
        if old.is_none() { warnings::of_pod(object) } else { Vec::new() }
    }

    fn first_warnings(&self, object: &Value) -> Vec<String> {
        warnings::of_profiles(object)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let every: Vec<&str> = status.list("podIPs").iter().map(|ip| ip.text("ip")).collect();
        FIELDS
            .iter()
            .map(|field| {
                let value = match field.split_once('.') {
                    Some((_, "hostNetwork")) => spec.flag("hostNetwork").to_string(),
                    Some((_, "podIPs")) => every.join(","),
                    Some(("spec", key)) => spec.text(key).to_owned(),
                    Some((_, key)) => status.text(key).to_owned(),
                    None => String::new(),
                };
                (*field, value)
            })
            .collect()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &FIELDS
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    /// Unbound and finished pods go at once; others get what was asked, or what they say themselves.
    fn grace_seconds(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        let spec = object.at("spec");
        let own = spec.int("terminationGracePeriodSeconds").unwrap_or(30);
        let seconds = asked.unwrap_or(own);
        let seconds = if seconds < 0 { 1 } else { seconds };
        let finished = matches!(object.at("status").text("phase"), "Succeeded" | "Failed");
        Some(if spec.text("nodeName").is_empty() || finished { 0 } else { seconds })
    }

    fn columns(&self) -> &'static [Column] {
        cells::COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells::of(object, now)
    }

    fn row_condition(&self, object: &Value) -> Option<Value> {
        cells::condition_of_row(object)
    }
}

/// What a subresource of the spec leaves alone.
fn keep_metadata(object: &mut Value, old: &Value) {
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        object.object("metadata").restore(key, old.at("metadata"));
    }
}

fn raise_generation(object: &mut Value, old: &Value) {
    if object.at("spec") != old.at("spec") {
        let generation = old.at("metadata").int("generation").unwrap_or(0);
        object.object("metadata").set("generation", generation + 1);
    }
}

/// Faults of annotations and spec, whether new or changed.
fn validate_pod(object: &Value) -> Faults {
    let (meta, spec) = (object.at("metadata"), object.at("spec"));
    let mut found = Faults::new();
    annotations::validate(&mut found, meta, spec, &Path::new("metadata").child("annotations"));
    let path = Path::new("spec");
    let scope = spec::Scope { spec, is_pod: true, pod_name: meta.text("name") };
    found.extend(spec::validate(scope, &path));
    if spec.text("serviceAccountName").is_empty() {
        for (i, volume) in spec.list("volumes").iter().enumerate() {
            for (j, source) in volume.at("projected").list("sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    let path = path.child("volumes").index(i).child("projected");
                    let path = path.child("sources").index(j).child("serviceAccountToken");
                    let why = "must not be specified when serviceAccountName is not set";
                    found.push(FieldError::forbidden(path, why));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            containers::padded_image(&mut found, container, &path.child(list).index(i));
        }
    }
    found
}
