//! CSIDrivers: what a storage driver can do.

use super::faults::{Faults, IMMUTABLE, unsupported};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, table};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Shortest time between two looks at a node's room, seconds.
const PERIOD_SECONDS_MIN: i64 = 10;
/// Shortest life of a token, seconds.
const TOKEN_SECONDS_MIN: i64 = 600;
/// Longest life of a token, seconds.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// The strategy.
#[derive(Debug)]
pub(crate) struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.fill("attachRequired", true);
        for flag in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            spec.fill(flag, false);
        }
        spec.fill("fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.list("volumeLifecycleModes").is_empty() {
            spec.set("volumeLifecycleModes", json!(["Persistent"]));
        }
        for request in spec.items("tokenRequests") {
            request.fill("audience", "");
        }
    }

    /// The generation is 0, which is not written, until something changes that drivers must know of.
    fn prepare_update(&self, object: &mut Value, old: &Value, _context: &Context<'_>) {
        let (new, before) = (object.at("spec"), old.at("spec"));
        let changed = ["tokenRequests", "requiresRepublish", "seLinuxMount"]
            .iter()
            .any(|key| new.at(key) != before.at(key));
        if changed {
            let generation = old.at("metadata").int("generation").unwrap_or(0);
            object.object("metadata").set("generation", generation + 1);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        validate(object.at("spec"))
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let (new, old) = (object.at("spec"), old.at("spec"));
        let mut found = validate(new);
        // Upstream's path has a word of its own.
        for (key, shown) in [
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ] {
            if new.at(key) != old.at(key) {
                let path = Path::new("spec").child(shown);
                found.push(FieldError::invalid(path, new.at(key).clone(), IMMUTABLE));
            }
        }
        found
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = object.at("spec");
        if spec.list("tokenRequests").is_empty() || spec.has("serviceAccountTokenInSecrets") {
            return Vec::new();
        }
        vec!["spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".to_owned()]
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let texts = |all: &[Value], key: Option<&str>| -> Vec<String> {
            let text = |one: &Value| match key {
                Some(key) => one.text(key).to_owned(),
                None => one.as_str().unwrap_or_default().to_owned(),
            };
            all.iter().map(text).collect()
        };
        vec![
            table::name(object),
            spec.flag("attachRequired").into(),
            spec.flag("podInfoOnMount").into(),
            spec.flag("storageCapacity").into(),
            table::joined(&texts(spec.list("tokenRequests"), Some("audience")), "<unset>"),
            spec.flag("requiresRepublish").into(),
            table::joined(&texts(spec.list("volumeLifecycleModes"), None), "<none>"),
            table::age(object, now),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("AttachRequired", "boolean", "Whether volumes are attached to nodes first."),
    table::column("PodInfoOnMount", "boolean", "Whether the driver is told about the pod."),
    table::column("StorageCapacity", "boolean", "Whether the driver says how much room it has."),
    table::column("TokenRequests", "string", "Audiences of tokens the driver is given."),
    table::column("RequiresRepublish", "boolean", "Whether it is called again and again."),
    table::column("Modes", "string", "Lives of volumes it can make."),
    table::AGE,
];

fn validate(spec: &Value) -> Faults {
    let path = Path::new("spec");
    let mut found = Faults::new();
    let policy = spec.text("fsGroupPolicy");
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    if !policies.contains(&policy) {
        found.push(unsupported(path.child("fsGroupPolicy"), policy, &policies));
    }
    tokens(&mut found, spec.list("tokenRequests"), &path.child("tokenRequests"));
    for mode in spec.list("volumeLifecycleModes").iter().filter_map(Value::as_str) {
        let modes = ["Persistent", "Ephemeral"];
        if !modes.contains(&mode) {
            found.push(unsupported(path.child("volumeLifecycleModes"), mode, &modes));
        }
    }
    if let Some(seconds) = spec.int("nodeAllocatableUpdatePeriodSeconds")
        && seconds < PERIOD_SECONDS_MIN
    {
        let path = path.child("nodeAllocatableUpdatePeriodSeconds");
        let why = format!("must be greater than or equal to {PERIOD_SECONDS_MIN} seconds");
        found.push(FieldError::invalid(path, seconds, &why));
    }
    if spec.has("serviceAccountTokenInSecrets") && spec.list("tokenRequests").is_empty() {
        let path = path.child("serviceAccountTokenInSecrets");
        let value = spec.at("serviceAccountTokenInSecrets").clone();
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        found.push(FieldError::invalid(path, value, why));
    }
    found
}

fn tokens(found: &mut Faults, requests: &[Value], path: &Path) {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (i, request) in requests.iter().enumerate() {
        let at = path.index(i);
        let audience = request.text("audience");
        if !taken.insert(audience) {
            found.push(FieldError::duplicate(at.child("audience"), audience));
            continue;
        }
        let Some(seconds) = request.int("expirationSeconds") else { continue };
        let why = match seconds {
            ..TOKEN_SECONDS_MIN => "may not specify a duration less than 10 minutes",
            TOKEN_SECONDS_MIN..=TOKEN_SECONDS_MAX => continue,
            _ => "may not specify a duration larger than 2^32 seconds",
        };
        found.push(FieldError::invalid(at.child("expirationSeconds"), seconds, why));
    }
}
