//! PersistentVolumes: pieces of storage. Kept for those who make and use them; nobody here binds them to claims.

use super::faults::{Faults, IMMUTABLE, dns_subdomain, needed, unsupported};
use super::json::{Json, JsonMut};
use super::pod::affinity::required_terms;
use super::pod::volumes::{claim, sources};
use super::{Column, Context, Strategy, amount, table};
use api::{FieldError, Path};
use serde_json::{Value, json};

/// The sources, in the order in which they are looked at.
const SOURCES: [(&str, Rule); 22] = [
    ("hostPath", sources::host_path),
    ("gcePersistentDisk", sources::gce),
    ("awsElasticBlockStore", sources::aws),
    ("glusterfs", sources::glusterfs),
    ("flocker", sources::flocker),
    ("nfs", sources::nfs),
    ("rbd", sources::rbd),
    ("quobyte", sources::quobyte),
    ("cephfs", sources::cephfs),
    ("iscsi", sources::iscsi),
    ("cinder", sources::cinder),
    ("fc", sources::fibre_channel),
    ("flexVolume", sources::flex),
    ("azureFile", sources::azure_file),
    ("vsphereVolume", sources::vsphere),
    ("photonPersistentDisk", sources::photon),
    ("portworxVolume", sources::portworx),
    ("azureDisk", sources::azure_disk),
    ("scaleIO", sources::scale_io),
    ("local", local),
    ("storageos", sources::storageos),
    ("csi", csi),
];

/// What a source needs.
type Rule = fn(&mut Faults, &Value, &Path);

const RECLAIM: [&str; 3] = ["Delete", "Recycle", "Retain"];

/// The strategy.
#[derive(Debug)]
pub(crate) struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.fill_text("persistentVolumeReclaimPolicy", "Retain");
        spec.fill("volumeMode", "Filesystem");
        if let Some(path) = spec.present("hostPath") {
            path.fill("type", "");
        }
        if let Some(capacity) = spec.present("capacity") {
            super::pod::defaults::round_all(capacity);
        }
        object.object("status").fill_text("phase", "Pending");
    }

    fn first_status(&self) -> Option<Value> {
        Some(json!({"phase": "Pending"}))
    }

    /// Since when a volume is in its phase.
    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        let now = crate::authenticate::rfc3339(context.now);
        object.object("status").set("lastPhaseTransitionTime", now);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        let (new, before) = (object.at("status"), old.at("status"));
        let same_time = new.at("lastPhaseTransitionTime") == before.at("lastPhaseTransitionTime");
        if new.at("phase") != before.at("phase") && same_time {
            let now = crate::authenticate::rfc3339(context.now);
            object.object("status").set("lastPhaseTransitionTime", now);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Faults {
        let mut found = Faults::new();
        validate(&mut found, object.at("spec"), false, &Path::new("spec"));
        found
    }

    fn validate_update(&self, object: &Value, old: &Value, context: &Context<'_>) -> Faults {
        if context.subresource == "status" {
            return Faults::new();
        }
        let mut found = self.validate_create(object, context);
        let (new, before) = (object.at("spec"), old.at("spec"));
        // A driver's volume may learn with which secret it grows.
        let secret = "controllerExpandSecretRef";
        let mut csi = new.at("csi").clone();
        if !before.at("csi").has(secret) {
            csi.unset(secret);
        }
        let source = |key: &str| if key == "csi" { &csi } else { new.at(key) };
        if SOURCES.iter().any(|(key, _)| source(key) != before.at(key)) {
            let why = "spec.persistentvolumesource is immutable after creation";
            let path = Path::new("spec").child("persistentvolumesource");
            found.push(FieldError::forbidden(path, why));
        }
        if new.at("volumeMode") != before.at("volumeMode") {
            let path = Path::new("volumeMode");
            found.push(FieldError::invalid(path, new.at("volumeMode").clone(), IMMUTABLE));
        }
        // A volume may learn where it is, and nothing else.
        if before.has("nodeAffinity") && new.at("nodeAffinity") != before.at("nodeAffinity") {
            let path = Path::new("nodeAffinity");
            found.push(FieldError::invalid(path, new.at("nodeAffinity").clone(), IMMUTABLE));
        }
        found
    }

    fn warnings(&self, _object: &Value, old: Option<&Value>) -> Vec<String> {
        kept_only(old, "pernode keeps persistent volumes, but binds no claim to them")
    }

    fn delete_answers_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let claim = match (spec.at("claimRef").text("namespace"), spec.at("claimRef").text("name"))
        {
            (_, "") => String::new(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let going = object.at("metadata").has("deletionTimestamp");
        let phase = if going { "Terminating" } else { status.text("phase") };
        vec![
            table::name(object),
            amount::canonical(spec.at("capacity").at("storage")).into(),
            modes(spec.list("accessModes")).into(),
            spec.text("persistentVolumeReclaimPolicy").into(),
            phase.into(),
            claim.into(),
            spec.text("storageClassName").into(),
            unset(spec.at("volumeAttributesClassName")),
            status.text("reason").into(),
            table::age(object, now),
            unset(spec.at("volumeMode")),
        ]
    }
}

const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Capacity", "string", "How much it holds."),
    table::column("Access Modes", "string", "How it may be mounted."),
    table::column("Reclaim Policy", "string", "What becomes of it when it is given back."),
    table::column("Status", "string", "Whether a claim has it."),
    table::column("Claim", "string", "The claim that has it."),
    table::column("StorageClass", "string", "Its class."),
    table::column("VolumeAttributesClass", "string", "Its class of attributes."),
    table::column("Reason", "string", "Why it is in this state."),
    table::AGE,
    table::wide("VolumeMode", "string", "A file system or a device."),
];

/// A text, or `<unset>`.
pub(super) fn unset(value: &Value) -> Value {
    match value.as_str() {
        None => "<unset>".into(),
        Some(text) => text.into(),
    }
}

/// What the maker of an object is told that nobody here acts on.
pub(super) fn kept_only(old: Option<&Value>, text: &str) -> Vec<String> {
    old.is_none().then(|| text.to_owned()).into_iter().collect()
}

/// Access modes in their short form, in the usual order and each once.
pub(super) fn modes(all: &[Value]) -> String {
    let has = |mode: &str| all.iter().any(|one| one == mode);
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    short
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect::<Vec<_>>()
        .join(",")
}

/// Faults of a volume's spec; one that stands in an attachment is only about its source.
pub(super) fn validate(found: &mut Faults, spec: &Value, inline: bool, path: &Path) {
    let policy = "persistentVolumeReclaimPolicy";
    if spec.list("accessModes").is_empty() {
        found.push(FieldError::required(path.child("accessModes"), ""));
    }
    claim::validate_modes(found, spec.list("accessModes"), &path.child("accessModes"));
    if !inline {
        capacity(found, spec, &path.child("capacity"));
        if !spec.text(policy).is_empty() && !RECLAIM.contains(&spec.text(policy)) {
            found.push(unsupported(path.child(policy), spec.text(policy), &RECLAIM));
        }
        if spec.has("nodeAffinity") {
            node_affinity(found, spec.at("nodeAffinity"), &path.child("nodeAffinity"));
        }
    }
    let mut count = 0;
    for (key, rule) in SOURCES.iter().filter(|(key, _)| spec.has(key)) {
        count += 1;
        if count > 1 {
            let why = "may not specify more than 1 volume type";
            found.push(FieldError::forbidden(path.child(key), why));
            continue;
        }
        rule(found, spec.at(key), &path.child(key));
        if *key == "local" && !inline && !spec.has("nodeAffinity") {
            let why = "Local volume requires node affinity";
            found.push(FieldError::required(path.child("nodeAffinity"), why));
        }
    }
    if count == 0 {
        found.push(FieldError::required(path.clone(), "must specify a volume type"));
    }
    let root = spec.at("hostPath").text("path").trim_end_matches('/').is_empty();
    if spec.has("hostPath") && root && spec.text(policy) == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        found.push(FieldError::forbidden(path.child(policy), why));
    }
    let class = spec.text("storageClassName");
    if !class.is_empty() {
        dns_subdomain(found, &path.child("storageClassName"), class);
    }
    let (mode, modes) = (spec.text("volumeMode"), ["Block", "Filesystem"]);
    if spec.has("volumeMode") && !modes.contains(&mode) {
        found.push(unsupported(path.child("volumeMode"), mode, &modes));
    }
}

fn capacity(found: &mut Faults, spec: &Value, path: &Path) {
    let all = spec.entries("capacity");
    if all.is_empty() {
        found.push(FieldError::required(path.clone(), ""));
    }
    if all.len() != 1 || !spec.at("capacity").has("storage") {
        let shown = spec.at("capacity").to_string();
        found.push(super::faults::unsupported_shown(path.clone(), &shown, &["storage"]));
    }
    for (name, value) in all {
        if !amount::is_positive(value) {
            let why = "must be greater than zero";
            found.push(FieldError::invalid(path.key(name), amount::canonical(value), why));
        }
    }
}

fn node_affinity(found: &mut Faults, affinity: &Value, path: &Path) {
    if affinity.has("required") {
        required_terms(found, affinity.at("required"), &path.child("required"));
    } else {
        let why = "must specify required node constraints";
        found.push(FieldError::required(path.child("required"), why));
    }
}

fn local(found: &mut Faults, source: &Value, path: &Path) {
    if needed(found, path.child("path"), source.text("path")) {
        sources::backsteps(found, path.child("path"), source.text("path"));
    }
}

fn csi(found: &mut Faults, source: &Value, path: &Path) {
    sources::csi(found, source, path);
    needed(found, path.child("volumeHandle"), source.text("volumeHandle"));
    for key in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let (secret, path) = (source.at(key), path.child(key));
        if secret.is_null() {
            continue;
        }
        for part in ["name", "namespace"] {
            needed(found, path.child(part), secret.text(part));
        }
    }
}
