//! StatefulSets: pods with names and volumes of their own.

use super::faults::{Faults, dns_label, invalid_shown, not_negative, unsupported};
use super::json::{Json, JsonMut};
use super::pod::volumes::claim;
use super::pod::warnings::fraction;
use super::{Column, Context, Strategy, metadata, portion, table, template, workload};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const POLICIES: [&str; 2] = ["OrderedReady", "Parallel"];
const RETENTION: &str = "persistentVolumeClaimRetentionPolicy";

/// The strategy.
#[derive(Debug)]
pub(crate) struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        let status = object.object("status");
        status.fill("replicas", 0);
        status.fill("availableReplicas", 0);
        let spec = object.object("spec");
        spec.fill("serviceName", "");
        spec.fill_text("podManagementPolicy", "OrderedReady");
        let strategy = spec.object("updateStrategy");
        strategy.fill_text("type", "RollingUpdate");
        if strategy.text("type") == "RollingUpdate" {
            strategy.object("rollingUpdate").fill("partition", 0);
        }
        let retention = spec.object(RETENTION);
        retention.fill_text("whenDeleted", "Retain");
        retention.fill_text("whenScaled", "Retain");
        if let Some(ordinals) = spec.present("ordinals") {
            ordinals.fill("start", 0);
        }
        spec.fill("replicas", 1);
        spec.fill("revisionHistoryLimit", 10);
        for claim in spec.items("volumeClaimTemplates") {
            claim.set("kind", "PersistentVolumeClaim");
            claim.set("apiVersion", "v1");
            claim.object("metadata");
            claim::fill(claim.object("spec"));
            claim.object("status").fill_text("phase", "Pending");
        }
        template::fill(spec);
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"replicas": 0, "availableReplicas": 0}))
    }

    fn counted(&self) -> &'static [&'static str] {
        &["/spec"]
    }

    fn name_faults(&self, name: &str, prefix: bool) -> Vec<String> {
        metadata::name_is_label(name, prefix)
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let (spec, path) = (object.at("spec"), Path::new("spec"));
        validate_spec(spec, &path, Strictness::New)
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate_status(object, old);
        }
        let (spec, path) = (object.at("spec"), Path::new("spec"));
        // What was allowed once does not stand in the way of other changes.
        let was_sound = validate_spec(old.at("spec"), &path, Strictness::Changed).is_empty();
        let strictness = if was_sound { Strictness::Changed } else { Strictness::Mild };
        let mut found = validate_spec(spec, &path, strictness);
        let mut kept = spec.clone();
        for key in CHANGEABLE {
            kept.restore(key, old.at("spec"));
        }
        if kept != *old.at("spec") {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            found.push(FieldError::forbidden(path, why));
        }
        found
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut all = workload::named_warnings(object, old);
        let spec = object.at("spec");
        for (i, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
            let requests = claim.dig(&["spec", "resources", "requests"]);
            let path = Path::new("spec").child("volumeClaimTemplates").index(i);
            let path = path.child("resources").child("requests");
            fraction(&mut all, requests, "storage", &path);
        }
        if spec.int("revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            all.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        all
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let ready = status.int("readyReplicas").unwrap_or(0);
        let desired = spec.int("replicas").unwrap_or(0);
        let [names, images] = template::container_cells(spec);
        vec![
            table::name(object),
            format!("{ready}/{desired}").into(),
            table::age(object, now),
            names,
            images,
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Ready", "string", "Pods that are ready, of all that should be there."),
    table::AGE,
    table::CONTAINERS,
    table::IMAGES,
];

/// What an update may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    RETENTION,
    "minReadySeconds",
];

/// How closely a spec is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strictness {
    /// The stored spec breaks rules that came later: neither template nor claims are looked at.
    Mild,
    /// Service name and claims cannot change, so they are not looked at again.
    Changed,
    /// Everything.
    New,
}

fn validate_spec(spec: &Value, path: &Path, strictness: Strictness) -> Faults {
    let mut found = Faults::new();
    policies(&mut found, spec, path);
    if strictness == Strictness::New {
        for (i, one) in spec.list("volumeClaimTemplates").iter().enumerate() {
            let at = path.child("volumeClaimTemplates").index(i).child("spec");
            claim::validate(&mut found, one.at("spec"), &at);
        }
    }
    workload::validate_counts(&mut found, spec, path, &["replicas", "minReadySeconds"]);
    not_negative(&mut found, path.child("ordinals.start"), spec.at("ordinals").at("start"));
    let service = spec.text("serviceName");
    if strictness == Strictness::New && !service.is_empty() {
        dns_label(&mut found, &path.child("serviceName"), service);
    }
    found.extend(workload::validate_selector(spec, "statefulset", path));
    let chosen = spec.at("selector");
    if super::selector::is_readable(chosen) {
        workload::validate_chosen(&mut found, spec, path);
        let at = path.child("template");
        if strictness == Strictness::Mild {
            found.extend(template::validate_metadata(spec.at("template"), &at));
        } else {
            found.extend(template::validate(&with_claims(spec), &at));
        }
    } else {
        found.push(FieldError::invalid(path.child("selector"), chosen.clone(), ""));
    }
    template::validate_endless(&mut found, spec, "StatefulSet", path);
    found
}

/// The template with a volume for each claim, as its pods will have.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec.at("template").clone();
    let claims = spec.list("volumeClaimTemplates");
    if claims.is_empty() {
        return template;
    }
    let name = |of: &Value| of.at("metadata").text("name").to_owned();
    let mut volumes = template.at("spec").list("volumes").to_vec();
    let claimed: BTreeSet<String> = claims.iter().map(name).collect();
    volumes.retain(|volume| !claimed.contains(volume.text("name")));
    volumes.extend(claims.iter().map(
        |claim| json!({"name": name(claim), "persistentVolumeClaim": {"claimName": name(claim)}}),
    ));
    template.object("spec").set("volumes", volumes);
    template
}

fn policies(found: &mut Faults, spec: &Value, path: &Path) {
    let at = path.child("podManagementPolicy");
    match spec.text("podManagementPolicy") {
        "" => found.push(FieldError::required(at, "")),
        word if POLICIES.contains(&word) => {}
        word => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            found.push(FieldError::invalid(at, word, why));
        }
    }
    let (strategy, at) = (spec.at("updateStrategy"), path.child("updateStrategy"));
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" if rolling.is_null() => {}
        "OnDelete" => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            let at = at.child("rollingUpdate");
            found.push(invalid_shown(at, &shown_rolling(rolling), why));
        }
        "RollingUpdate" => validate_rolling(found, rolling, &at.child("rollingUpdate")),
        other => {
            let rolling = shown_rolling(rolling);
            let shown = format!("{{\"Type\":{other:?},\"RollingUpdate\":{rolling}}}");
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            found.push(invalid_shown(at, &shown, why));
        }
    }
    let retention = spec.at(RETENTION);
    for key in ["whenDeleted", "whenScaled"] {
        let word = retention.text(key);
        if !retention.is_null() && !["Retain", "Delete"].contains(&word) {
            found.push(unsupported(path.child(RETENTION).child(key), word, &["Retain", "Delete"]));
        }
    }
}

fn shown_rolling(rolling: &Value) -> String {
    if rolling.is_null() {
        return "null".to_owned();
    }
    let partition = rolling.int("partition").unwrap_or(0);
    format!("{{\"Partition\":{partition},\"MaxUnavailable\":{}}}", rolling.at("maxUnavailable"))
}

fn validate_rolling(found: &mut Faults, rolling: &Value, path: &Path) {
    not_negative(found, path.child("partition"), rolling.at("partition"));
    let (down, at) = (rolling.at("maxUnavailable"), path.child("maxUnavailable"));
    if down.is_null() {
        return;
    }
    portion::validate(found, down, &at);
    if portion::is_zero(down) {
        found.push(FieldError::invalid(at.clone(), down.clone(), "cannot be 0"));
    }
    portion::validate_at_most_all(found, down, &at);
}

fn validate_status(object: &Value, old: &Value) -> Faults {
    let status = object.at("status");
    let mut found = Faults::new();
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    workload::validate_counts(&mut found, status, &Path::new("status"), &counts);
    let parts = [
        ["readyReplicas", "replicas", "status.replicas"],
        ["currentReplicas", "replicas", "status.replicas"],
        ["updatedReplicas", "replicas", "status.replicas"],
        ["availableReplicas", "replicas", "status.replicas"],
        ["availableReplicas", "readyReplicas", "status.readyReplicas"],
    ];
    workload::validate_parts(&mut found, status, &parts);
    workload::validate_collisions(&mut found, object, old);
    found
}
