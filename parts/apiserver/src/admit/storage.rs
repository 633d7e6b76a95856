//! What storage drivers and those who ask for storage say: StorageClasses, CSINodes, CSIStorageCapacities,
//! VolumeAttachments. Kept for them; nobody here makes or attaches volumes.

use super::faults::{
    Faults, IMMUTABLE, dns_subdomain, needed, not_negative, qualified, texts, unsupported,
};
use super::json::{Json, JsonMut};
use super::{Column, Context, Strategy, amount, persistentvolume, selector, table};
use api::{FieldError, Path, names};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most parameters of a class, and bytes of all of them (upstream's numbers).
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
/// Bytes of what is said about an attached volume.
const ATTACHED_BYTES_MAX: usize = 256 * 1024;
/// Bytes of why it could not be attached.
const ERROR_BYTES_MAX: usize = 1024;
/// Longest name that a driver has for a node.
const NODE_ID_BYTES_MAX: usize = 256;

/// Marks the class of claims that name none.
const IS_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// The strategy of StorageClasses.
#[derive(Debug)]
pub(crate) struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        object.fill("reclaimPolicy", "Delete");
        object.fill("volumeBindingMode", "Immediate");
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        let (provisioner, path) = (object.text("provisioner"), Path::new("provisioner"));
        if needed(&mut found, path.clone(), provisioner) {
            let why = names::qualified_name(&provisioner.to_lowercase());
            texts(&mut found, &path, provisioner, why);
        }
        parameters(&mut found, object);
        let policy = object.text("reclaimPolicy");
        let policies = ["Delete", "Retain"];
        if !policy.is_empty() && !policies.contains(&policy) {
            found.push(unsupported(Path::new("reclaimPolicy"), policy, &policies));
        }
        let mode = object.text("volumeBindingMode");
        let modes = ["Immediate", "WaitForFirstConsumer"];
        if !modes.contains(&mode) {
            found.push(unsupported(Path::new("volumeBindingMode"), mode, &modes));
        }
        let path = Path::new("allowedTopologies");
        for (i, term) in object.list("allowedTopologies").iter().enumerate() {
            topology(&mut found, term, &path.index(i));
        }
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        for key in ["parameters", "provisioner", "reclaimPolicy"] {
            if object.at(key) != old.at(key) {
                let why = format!("updates to {key} are forbidden.");
                found.push(FieldError::forbidden(Path::new(key), &why));
            }
        }
        immutable(&mut found, object, old, "volumeBindingMode");
        found
    }

    fn columns(&self) -> &'static [Column] {
        CLASS_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let metadata = object.at("metadata");
        let mut name = metadata.text("name").to_owned();
        if IS_DEFAULT.iter().any(|key| metadata.at("annotations").text(key) == "true") {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            object.text("provisioner").into(),
            object.text("reclaimPolicy").into(),
            object.text("volumeBindingMode").into(),
            object.flag("allowVolumeExpansion").into(),
            table::age(object, now),
        ]
    }
}

const CLASS_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Provisioner", "string", "Who makes volumes of this class."),
    table::column("ReclaimPolicy", "string", "What becomes of a volume that is given back."),
    table::column("VolumeBindingMode", "string", "When a volume is made."),
    table::column("AllowVolumeExpansion", "string", "Whether volumes may grow."),
    table::AGE,
];

fn immutable(found: &mut Faults, object: &Value, old: &Value, key: &str) {
    if object.at(key) != old.at(key) {
        found.push(FieldError::invalid(Path::new(key), object.at(key).clone(), IMMUTABLE));
    }
}

fn parameters(found: &mut Faults, object: &Value) {
    let (all, path) = (object.entries("parameters"), Path::new("parameters"));
    if all.len() > PARAMETERS_MAX {
        return found.push(FieldError::too_long(path, PARAMETERS_MAX));
    }
    let mut bytes = 0;
    for (key, value) in all {
        if key.is_empty() {
            found.push(FieldError::invalid(path.clone(), key, "field can not be empty."));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > PARAMETERS_BYTES_MAX {
        found.push(FieldError::too_long(path, PARAMETERS_BYTES_MAX));
    }
}

fn topology(found: &mut Faults, term: &Value, path: &Path) {
    let mut taken = BTreeSet::new();
    for (i, wanted) in term.list("matchLabelExpressions").iter().enumerate() {
        let path = path.child("matchLabelExpressions").index(i);
        let (key, values) = (wanted.text("key"), wanted.list("values"));
        if values.is_empty() {
            found.push(FieldError::required(path.child("values"), ""));
        }
        let mut seen = BTreeSet::new();
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            if !seen.insert(value) {
                found.push(FieldError::duplicate(path.child("values").index(j), value));
            }
        }
        qualified(found, &path.child("key"), key);
        if !taken.insert(key) {
            found.push(FieldError::duplicate(path.child("key"), key));
        }
    }
}

/// The strategy of CSINodes.
#[derive(Debug)]
pub(crate) struct CsiNode;

impl Strategy for CsiNode {
    fn default(&self, object: &mut Value) {
        object.object("spec").fill("drivers", Value::Null);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let path = Path::new("spec").child("drivers");
        let (mut found, mut taken) = (Faults::new(), BTreeSet::new());
        for (i, driver) in object.at("spec").list("drivers").iter().enumerate() {
            let (path, name, id) = (path.index(i), driver.text("name"), driver.text("nodeID"));
            dns_subdomain(&mut found, &path.child("name"), name);
            needed(&mut found, path.child("nodeID"), id);
            if id.len() > NODE_ID_BYTES_MAX {
                let why = format!("must be {NODE_ID_BYTES_MAX} characters or less");
                found.push(FieldError::invalid(path.child("nodeID"), id, &why));
            }
            let count = driver.at("allocatable").at("count");
            not_negative(&mut found, path.child("allocatable").child("count"), count);
            if !taken.insert(name) {
                found.push(FieldError::duplicate(path.child("name"), name));
            }
            let mut keys = BTreeSet::new();
            for key in driver.list("topologyKeys").iter().filter_map(Value::as_str) {
                needed(&mut found, path.clone(), key);
                if !keys.insert(key) {
                    found.push(FieldError::duplicate(path.clone(), key));
                }
                qualified(&mut found, &path, key);
            }
        }
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        let mut found = self.validate_create(object, context);
        let drivers = |of: &Value| of.at("spec").list("drivers").to_vec();
        // How many volumes a node takes may change, nothing else of a driver.
        let bare = |mut driver: Value| {
            driver.unset("allocatable");
            driver
        };
        let new: Vec<Value> = drivers(object).into_iter().map(bare).collect();
        for before in drivers(old).into_iter().map(bare) {
            let twin = new.iter().find(|driver| driver.at("name") == before.at("name"));
            if let Some(driver) = twin.filter(|driver| **driver != before) {
                let path = Path::new("spec").child("drivers");
                found.push(FieldError::invalid(path, driver.clone(), IMMUTABLE));
            }
        }
        found
    }

    fn columns(&self) -> &'static [Column] {
        NODE_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let count = object.at("spec").list("drivers").len();
        vec![table::name(object), count.into(), table::age(object, now)]
    }
}

const NODE_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Drivers", "integer", "How many drivers the node has."),
    table::AGE,
];

/// The strategy of CSIStorageCapacities.
#[derive(Debug)]
pub(crate) struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let path = Path::new("nodeTopology");
        let mut found = selector::validate(object.at("nodeTopology"), &path);
        let class = object.text("storageClassName");
        dns_subdomain(&mut found, &Path::new("storageClassName"), class);
        if amount::is_negative(object.at("capacity")) {
            let shown = amount::canonical(object.at("capacity"));
            let why = super::faults::NEGATIVE;
            found.push(FieldError::invalid(Path::new("capacity"), shown, why));
        }
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        let mut found = self.validate_create(object, context);
        for key in ["nodeTopology", "storageClassName"] {
            immutable(&mut found, object, old, key);
        }
        found
    }

    fn columns(&self) -> &'static [Column] {
        CAPACITY_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let capacity = match object.at("capacity") {
            Value::Null => "<unset>".into(),
            other => amount::canonical(other).into(),
        };
        vec![
            table::name(object),
            object.text("storageClassName").into(),
            capacity,
            table::age(object, now),
        ]
    }
}

const CAPACITY_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("StorageClassName", "string", "The class of the volumes."),
    table::column("Capacity", "string", "How much room there is."),
    table::AGE,
];

/// The strategy of VolumeAttachments.
#[derive(Debug)]
pub(crate) struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn default(&self, object: &mut Value) {
        object.object("spec").object("source");
        object.object("status").fill("attached", false);
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"attached": false}))
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = attachment(object);
        let (spec, path) = (object.at("spec"), Path::new("spec"));
        dns_subdomain(&mut found, &path.child("attacher"), spec.text("attacher"));
        let volume = spec.at("source").at("persistentVolumeName");
        if let Some(name) = volume.as_str() {
            let path = path.child("source").child("persistentVolumeName");
            dns_subdomain(&mut found, &path, name);
        }
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, _context: &Context<'_>) -> Faults {
        let mut found = attachment(object);
        immutable(&mut found, object, old, "spec");
        found
    }

    fn columns(&self) -> &'static [Column] {
        ATTACHMENT_COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        vec![
            table::name(object),
            spec.text("attacher").into(),
            spec.at("source").text("persistentVolumeName").into(),
            spec.text("nodeName").into(),
            object.at("status").flag("attached").into(),
            table::age(object, now),
        ]
    }
}

const ATTACHMENT_COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Attacher", "string", "Who attaches the volume."),
    table::column("PV", "string", "The volume."),
    table::column("Node", "string", "The node it is for."),
    table::column("Attached", "boolean", "Whether it is attached."),
    table::AGE,
];

fn attachment(object: &Value) -> Faults {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    let mut found = Faults::new();
    needed(&mut found, path.child("attacher"), spec.text("attacher"));
    let (source, at) = (spec.at("source"), path.child("source"));
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source.at("inlineVolumeSpec"), source.at("persistentVolumeName")) {
        (Value::Null, Value::Null) => found.push(FieldError::required(at, one)),
        (Value::Null, name) => {
            if name == "" {
                let why = "must specify non empty persistentVolumeName";
                found.push(FieldError::required(at.child("persistentVolumeName"), why));
            }
        }
        (volume, Value::Null) => {
            persistentvolume::validate(&mut found, volume, true, &at.child("inlineVolumeSpec"));
        }
        _ => found.push(FieldError::forbidden(at, one)),
    }
    dns_subdomain(&mut found, &path.child("nodeName"), spec.text("nodeName"));
    let (status, path) = (object.at("status"), Path::new("status"));
    let said = status.entries("attachmentMetadata");
    let bytes: usize =
        said.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ATTACHED_BYTES_MAX {
        found.push(FieldError::too_long(path.child("attachmentMetadata"), ATTACHED_BYTES_MAX));
    }
    for key in ["attachError", "detachError"] {
        let (error, path) = (status.at(key), path.child(key));
        if error.text("message").len() > ERROR_BYTES_MAX {
            // Upstream names the other limit.
            found.push(FieldError::too_long(path.child("message"), ATTACHED_BYTES_MAX));
        }
        if let Some(code) = error.int("errorCode").filter(|code| *code < 0) {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            found.push(FieldError::invalid(path.child("errorCode"), code, &why));
        }
    }
    found
}
