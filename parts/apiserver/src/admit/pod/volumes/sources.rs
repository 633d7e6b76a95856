//! What each source of a volume needs.

mod files;

pub(super) use files::{config_map, downward, projected, secret};

use super::claim;
use crate::admit::faults::{self, Faults, needed, unsupported};
use crate::admit::json::Json;
use crate::admit::{amount, metadata, words};
use api::{FieldError, Path};
use serde_json::Value;

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

pub(super) fn empty_dir(found: &mut Faults, source: &Value, path: &Path) {
    if amount::is_negative(source.at("sizeLimit")) {
        let why = "SizeLimit field must be a valid resource quantity";
        found.push(FieldError::forbidden(path.child("sizeLimit"), why));
    }
}

pub(super) fn host_path(found: &mut Faults, source: &Value, path: &Path) {
    let target = source.text("path");
    if !needed(found, path.child("path"), target) {
        return;
    }
    backsteps(found, path.child("path"), target);
    let kind = source.text("type");
    if !HOST_PATH_TYPES.contains(&kind) {
        found.push(unsupported(path.child("type"), kind, &HOST_PATH_TYPES));
    }
}

/// A path that may not go up.
fn backsteps(found: &mut Faults, path: Path, target: &str) {
    if words::has_backsteps(target) {
        found.push(FieldError::invalid(path, target, "must not contain '..'"));
    }
}

/// A path below the volume.
pub(super) fn local(found: &mut Faults, path: &Path, target: &str) {
    for why in words::local_path(target) {
        found.push(FieldError::invalid(path.clone(), target, why));
    }
}

/// Several texts that must be there.
fn all_needed(found: &mut Faults, source: &Value, path: &Path, keys: &[&str]) {
    for key in keys {
        needed(found, path.child(key), source.text(key));
    }
}

/// A partition, where 0 means the whole disk.
fn partition(found: &mut Faults, source: &Value, path: &Path) {
    let partition = source.int("partition").unwrap_or(0);
    if !(0..=255).contains(&partition) {
        let why = "must be between 1 and 255, inclusive";
        found.push(FieldError::invalid(path.child("partition"), partition, why));
    }
}

pub(super) fn git_repo(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["repository"]);
    local(found, &path.child("directory"), source.text("directory"));
}

pub(super) fn gce(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["pdName"]);
    partition(found, source, path);
}

pub(super) fn aws(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumeID"]);
    partition(found, source, path);
}

pub(super) fn nfs(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["server", "path"]);
    let target = source.text("path");
    if !target.starts_with('/') {
        found.push(FieldError::invalid(path.child("path"), target, "must be an absolute path"));
    }
}

pub(super) fn iscsi(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["targetPortal", "iqn"]);
    let name = source.text("iqn");
    if !name.is_empty() && !["iqn", "eui", "naa"].iter().any(|form| name.starts_with(form)) {
        let why = "must be valid format starting with iqn, eui, or naa";
        found.push(FieldError::invalid(path.child("iqn"), name, why));
    }
    faults::range(found, path.child("lun"), source.int("lun").unwrap_or(0), 0, 255);
}

pub(super) fn glusterfs(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["endpoints", "path"]);
}

pub(super) fn flocker(found: &mut Faults, source: &Value, path: &Path) {
    let (name, id) = (source.text("datasetName"), source.text("datasetUUID"));
    if name.is_empty() && id.is_empty() {
        let why = "one of datasetName and datasetUUID is required";
        found.push(FieldError::required(path.clone(), why));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "resource can not contain both datasetName and datasetUUID";
        found.push(FieldError::invalid(path.clone(), "resource", why));
    }
    if name.contains('/') {
        let why = "must not contain '/'";
        found.push(FieldError::invalid(path.child("datasetName"), name, why));
    }
}

pub(super) fn claimed(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["claimName"]);
}

pub(super) fn rbd(found: &mut Faults, source: &Value, path: &Path) {
    if source.list("monitors").is_empty() {
        found.push(FieldError::required(path.child("monitors"), ""));
    }
    all_needed(found, source, path, &["image"]);
}

pub(super) fn cinder(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumeID"]);
    if source.has("secretRef") && source.at("secretRef").text("name").is_empty() {
        found.push(FieldError::required(path.child("secretRef").child("name"), ""));
    }
}

pub(super) fn cephfs(found: &mut Faults, source: &Value, path: &Path) {
    if source.list("monitors").is_empty() {
        found.push(FieldError::required(path.child("monitors"), ""));
    }
}

pub(super) fn quobyte(found: &mut Faults, source: &Value, path: &Path) {
    let registry = source.text("registry");
    if needed(found, path.child("registry"), registry)
        && registry.split(',').any(|one| one.split(':').count() != 2)
    {
        let why = "must be a host:port pair or multiple pairs separated by commas";
        found.push(FieldError::invalid(path.child("registry"), registry, why));
    }
    if source.text("tenant").len() > 64 {
        found.push(FieldError::required(path.child("tenant"), "must not exceed 64 characters"));
    }
    all_needed(found, source, path, &["volume"]);
}

pub(super) fn fibre_channel(found: &mut Faults, source: &Value, path: &Path) {
    let (names, ids) = (source.list("targetWWNs"), source.list("wwids"));
    match (names.is_empty(), ids.is_empty()) {
        (true, true) => found.push(FieldError::required(
            path.child("targetWWNs"),
            "must specify either targetWWNs or wwids, but not both",
        )),
        (false, false) => found.push(FieldError::invalid(
            path.child("targetWWNs"),
            source.at("targetWWNs").clone(),
            "targetWWNs and wwids can not be specified simultaneously",
        )),
        (false, true) => match source.int("lun") {
            Some(lun) => faults::range(found, path.child("lun"), lun, 0, 255),
            None => found.push(FieldError::required(
                path.child("lun"),
                "lun is required if targetWWNs is specified",
            )),
        },
        (true, false) => {}
    }
}

pub(super) fn flex(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["driver"]);
    for (key, _) in source.entries("options") {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let reserved = |name: &str| domain == name || domain.ends_with(&format!(".{name}"));
        if reserved("kubernetes.io") || reserved("k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            found.push(FieldError::invalid(path.child("options").key(key), key, why));
        }
    }
}

pub(super) fn azure_file(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["secretName", "shareName"]);
}

pub(super) fn vsphere(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumePath"]);
}

pub(super) fn photon(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["pdID"]);
}

pub(super) fn portworx(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumeID"]);
}

pub(super) fn azure_disk(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["diskName", "diskURI"]);
    let caching = source.text("cachingMode");
    let modes = ["None", "ReadOnly", "ReadWrite"];
    if !caching.is_empty() && !modes.contains(&caching) {
        found.push(unsupported(path.child("cachingMode"), caching, &modes));
    }
}

pub(super) fn storageos(found: &mut Faults, source: &Value, path: &Path) {
    let name = source.text("volumeName");
    if needed(found, path.child("volumeName"), name) {
        faults::dns_label(found, &path.child("volumeName"), name);
    }
}

pub(super) fn scale_io(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["gateway", "system", "volumeName"]);
}

pub(super) fn csi(found: &mut Faults, source: &Value, path: &Path) {
    let driver = source.text("driver");
    if needed(found, path.child("driver"), driver) {
        if driver.len() > 63 {
            found.push(FieldError::too_long(path.child("driver"), 63));
        }
        faults::dns_subdomain(found, &path.child("driver"), &driver.to_lowercase());
    }
    let secret = source.at("nodePublishSecretRef");
    if !secret.is_null() {
        let path = path.child("nodePublishSecretRef").child("name");
        let name = secret.text("name");
        if name.is_empty() {
            found.push(FieldError::required(path, ""));
        } else {
            faults::dns_subdomain(found, &path, name);
        }
    }
}

pub(super) fn ephemeral(found: &mut Faults, source: &Value, path: &Path) {
    let path = path.child("volumeClaimTemplate");
    let template = source.at("volumeClaimTemplate");
    if template.is_null() {
        return found.push(FieldError::required(path, ""));
    }
    let meta = template.at("metadata");
    found.extend(metadata::labels(meta, &path.child("metadata").child("labels")));
    found.extend(metadata::annotations(meta, &path.child("metadata").child("annotations")));
    claim::validate(found, template.at("spec"), &path.child("spec"));
}

pub(super) fn image(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["reference"]);
    let policy = source.text("pullPolicy");
    if !policy.is_empty() {
        let supported = ["Always", "IfNotPresent", "Never"];
        if !supported.contains(&policy) {
            found.push(unsupported(path.child("pullPolicy"), policy, &supported));
        }
    }
}
