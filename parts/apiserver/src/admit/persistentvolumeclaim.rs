//! PersistentVolumeClaims: storage that somebody asks for. Nobody here finds volumes for them.

use super::faults::Faults;
use super::json::{Json, JsonMut};
use super::persistentvolume::{kept_only, modes, unset};
use super::pod::volumes::claim;
use super::{Column, Context, Strategy, amount, table};
use api::{FieldError, Path};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// The strategy.
#[derive(Debug)]
pub(crate) struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        claim::fill(object.object("spec"));
        object.object("status").fill_text("phase", "Pending");
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"phase": "Pending"}))
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        let spec = object.object("spec");
        // Each of the two ways to say what a claim is filled from says it for the other.
        if !spec.has("dataSource") && is_old(spec.at("dataSourceRef")) {
            let source = spec.at("dataSourceRef").clone();
            spec.set("dataSource", source);
        } else if spec.has("dataSource") && !spec.has("dataSourceRef") {
            let source = spec.at("dataSource").clone();
            spec.set("dataSourceRef", source);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        claim::validate(&mut found, object.at("spec"), &Path::new("spec"));
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return validate_status(object.at("status"));
        }
        let mut found = self.validate_create(object, context);
        let (new, before) = (object.at("spec"), old.at("spec"));
        let bound = old.at("status").text("phase") == "Bound";
        let bare = |spec: &Value, other: &Value| {
            let mut spec = spec.clone();
            // Who binds a claim says which volume it has.
            if before.text("volumeName").is_empty() {
                spec.unset("volumeName");
            }
            if bound {
                let requests = other.at("resources").at("requests").at("storage").clone();
                spec.object("resources").object("requests").set("storage", requests);
                spec.unset("volumeAttributesClassName");
            }
            if !before.has("storageClassName") {
                spec.unset("storageClassName");
            }
            spec
        };
        if bare(new, before) != bare(before, before) {
            let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            found.push(FieldError::forbidden(Path::new("spec"), why));
        }
        let size = |spec: &Value| spec.dig(&["resources", "requests", "storage"]).clone();
        if amount::compare(&size(new), &size(before)) == Ordering::Less {
            let held = old.at("status").at("capacity").at("storage");
            let path = Path::new("spec").child("resources").child("requests").child("storage");
            if amount::compare(&size(new), held) != Ordering::Greater {
                let why = "field can not be less than status.capacity";
                found.push(FieldError::forbidden(path, why));
            }
        }
        found
    }

    fn warnings(&self, _object: &Value, old: Option<&Value>) -> Vec<String> {
        kept_only(old, "pernode keeps persistent volume claims, but binds no volume to them")
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let going = object.at("metadata").has("deletionTimestamp");
        let phase = if going { "Terminating" } else { status.text("phase") };
        let bound = !spec.text("volumeName").is_empty();
        let capacity = bound.then(|| amount::canonical(status.at("capacity").at("storage")));
        let access = bound.then(|| modes(status.list("accessModes")));
        vec![
            table::name(object),
            phase.into(),
            spec.text("volumeName").into(),
            capacity.unwrap_or_default().into(),
            access.unwrap_or_default().into(),
            spec.text("storageClassName").into(),
            unset(spec.at("volumeAttributesClassName")),
            table::age(object, now),
            unset(spec.at("volumeMode")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Status", "string", "Whether it has a volume."),
    table::column("Volume", "string", "Its volume."),
    table::column("Capacity", "string", "How much the volume holds."),
    table::column("Access Modes", "string", "How the volume may be mounted."),
    table::column("StorageClass", "string", "The class of volumes that is wanted."),
    table::column("VolumeAttributesClass", "string", "The class of attributes that is wanted."),
    table::AGE,
    table::wide("VolumeMode", "string", "A file system or a device."),
];

/// Whether the older field can say it too.
fn is_old(source: &Value) -> bool {
    let kind = (source.text("apiGroup"), source.text("kind"));
    source.is_object()
        && source.text("namespace").is_empty()
        && matches!(
            kind,
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
}

fn validate_status(status: &Value) -> Faults {
    let (mut found, path) = (Faults::new(), Path::new("status").child("capacity"));
    for (name, value) in status.entries("capacity") {
        super::pod::resources::amount(&mut found, name, value, &path.key(name));
    }
    found
}
