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

pub(crate) fn host_path(found: &mut Faults, source: &Value, path: &Path) {
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
pub(crate) fn backsteps(found: &mut Faults, path: Path, target: &str) {
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

pub(crate) fn gce(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["pdName"]);
    partition(found, source, path);
}

pub(crate) fn aws(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumeID"]);
    partition(found, source, path);
}

pub(crate) fn nfs(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["server", "path"]);
    let target = source.text("path");
    if !target.starts_with('/') {
        found.push(FieldError::invalid(path.child("path"), target, "must be an absolute path"));
    }
}

pub(crate) fn iscsi(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["targetPortal"]);
    let name = source.text("iqn");
    if needed(found, path.child("iqn"), name) {
        qualified_initiator(found, &path.child("iqn"), name);
    }
    faults::range(found, path.child("lun"), source.int("lun").unwrap_or(0), 0, 255);
    for key in ["chapAuthDiscovery", "chapAuthSession"] {
        if source.flag(key) && !source.has("secretRef") {
            found.push(FieldError::required(path.child("secretRef"), ""));
        }
    }
    if let Some(name) = source.at("initiatorName").as_str() {
        qualified_initiator(found, &path.child("initiatorname"), name);
    }
}

/// The name of either end of iSCSI, in one of three forms.
fn qualified_initiator(found: &mut Faults, path: &Path, name: &str) {
    let alphanumeric = |text: &str, count: usize| {
        text.len() == count && text.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let why = if name.starts_with("iqn") {
        is_iqn(name)
    } else if name.starts_with("eui") {
        name.get(4..).is_some_and(|rest| alphanumeric(rest, 16))
    } else if name.starts_with("naa") {
        name.get(4..).is_some_and(|rest| alphanumeric(rest, 32))
    } else {
        let why = "must be valid format starting with iqn, eui, or naa";
        return found.push(FieldError::invalid(path.clone(), name, why));
    };
    if !why {
        found.push(FieldError::invalid(path.clone(), name, "must be valid format"));
    }
}

/// `iqn.`, a year and a month, a domain, and then anything but separators of other things.
fn is_iqn(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("iqn.") else { return false };
    let bytes = rest.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let dated = (0..4).all(digit) && bytes.get(4) == Some(&b'-') && digit(5) && digit(6);
    let Some(rest) = rest.get(7..).filter(|_| dated).and_then(|r| r.strip_prefix('.')) else {
        return false;
    };
    let (domain, own) = rest.split_once(':').map_or((rest, None), |(d, own)| (d, Some(own)));
    let in_domain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let in_own = |c: char| !matches!(c, ',' | ';' | '*' | '&' | '$' | '|') && !c.is_whitespace();
    !domain.is_empty()
        && domain.chars().all(in_domain)
        && own.is_none_or(|own| !own.is_empty() && own.chars().all(in_own))
}

pub(crate) fn glusterfs(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["endpoints", "path"]);
}

pub(crate) fn flocker(found: &mut Faults, source: &Value, path: &Path) {
    let (name, id) = (source.text("datasetName"), source.text("datasetUUID"));
    if name.is_empty() && id.is_empty() {
        let why = "one of datasetName and datasetUUID is required";
        found.push(FieldError::required(path.clone(), why));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
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

pub(crate) fn rbd(found: &mut Faults, source: &Value, path: &Path) {
    if source.list("monitors").is_empty() {
        found.push(FieldError::required(path.child("monitors"), ""));
    }
    all_needed(found, source, path, &["image"]);
}

pub(crate) fn cinder(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumeID"]);
    secret_name(found, source, path);
}

pub(crate) fn cephfs(found: &mut Faults, source: &Value, path: &Path) {
    if source.list("monitors").is_empty() {
        found.push(FieldError::required(path.child("monitors"), ""));
    }
}

pub(crate) fn quobyte(found: &mut Faults, source: &Value, path: &Path) {
    let registry = source.text("registry");
    if registry.is_empty() {
        let why = "must be a host:port pair or multiple pairs separated by commas";
        found.push(FieldError::required(path.child("registry"), why));
    } else if source.text("tenant").len() >= TENANT_END {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        found.push(FieldError::required(path.child("tenant"), why));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            let why = "must be a host:port pair or multiple pairs separated by commas";
            found.push(FieldError::invalid(path.child("registry"), registry, why));
        }
    }
    all_needed(found, source, path, &["volume"]);
}

/// Characters a tenant has fewer than.
const TENANT_END: usize = 65;

/// A host and a port; a host with colons stands in brackets.
fn is_host_and_port(pair: &str) -> bool {
    match pair.rsplit_once(':') {
        Some((host, port)) => match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').is_some_and(|host| !host.contains(['[', ']'])),
            None => !host.contains([':', '[', ']']) && !port.contains(['[', ']']),
        },
        None => false,
    }
}

pub(crate) fn fibre_channel(found: &mut Faults, source: &Value, path: &Path) {
    let (names, ids) = (source.list("targetWWNs"), source.list("wwids"));
    let at = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        found.push(FieldError::required(at, why));
    } else if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        found.push(FieldError::invalid(at, source.at("targetWWNs").clone(), why));
    }
    if !names.is_empty() {
        if let Some(lun) = source.int("lun") {
            faults::range(found, path.child("lun"), lun, 0, 255);
        } else {
            let why = "lun is required if targetWWNs is specified";
            found.push(FieldError::required(path.child("lun"), why));
        }
    }
}

pub(crate) fn flex(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["driver"]);
    for (key, _) in source.entries("options") {
        let domain = key.split_once('/').map_or(key, |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            found.push(FieldError::invalid(path.child("options").key(key), key, why));
        }
    }
}

pub(crate) fn azure_file(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["secretName", "shareName"]);
}

pub(crate) fn vsphere(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumePath"]);
}

pub(crate) fn photon(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["pdID"]);
}

pub(crate) fn portworx(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["volumeID"]);
}

pub(crate) fn azure_disk(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["diskName", "diskURI"]);
    let kinds = ["Dedicated", "Managed", "Shared"];
    for (key, words) in [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", kinds)] {
        let word = source.text(key);
        if source.has(key) && !words.contains(&word) {
            found.push(unsupported(path.child(key), word, &words));
        }
    }
    let (managed, blob) = (
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
    );
    let (start, form) = match source.text("kind") {
        "Managed" => ("/subscriptions/", managed),
        _ => ("https://", blob),
    };
    let uri = source.text("diskURI");
    if source.has("kind") && !uri.starts_with(start) {
        found.push(unsupported(path.child("diskURI"), uri, &[form]));
    }
}

pub(crate) fn storageos(found: &mut Faults, source: &Value, path: &Path) {
    let name = source.text("volumeName");
    if needed(found, path.child("volumeName"), name) {
        faults::dns_label(found, &path.child("volumeName"), name);
    }
    let namespace = source.text("volumeNamespace");
    if !namespace.is_empty() {
        faults::dns_label(found, &path.child("volumeNamespace"), namespace);
    }
    secret_name(found, source, path);
}

/// A reference to a Secret, where there is one, has its name.
fn secret_name(found: &mut Faults, source: &Value, path: &Path) {
    if source.has("secretRef") {
        let path = path.child("secretRef").child("name");
        needed(found, path, source.at("secretRef").text("name"));
    }
}

pub(crate) fn scale_io(found: &mut Faults, source: &Value, path: &Path) {
    all_needed(found, source, path, &["gateway", "system", "volumeName"]);
}

pub(crate) fn csi(found: &mut Faults, source: &Value, path: &Path) {
    let driver = source.text("driver");
    if needed(found, path.child("driver"), driver) {
        if driver.len() > 63 {
            found.push(FieldError::too_long(path.child("driver"), 63));
        }
        // judged without regard to case, and quoted as it was said
        for why in api::names::dns_subdomain(&driver.to_lowercase()) {
            found.push(FieldError::invalid(path.child("driver"), driver, &why));
        }
    }
    let secret = source.at("nodePublishSecretRef");
    if !secret.is_null() {
        let name = secret.text("name");
        if needed(found, path.child("nodePublishSecretRef").child("name"), name) {
            faults::dns_subdomain(found, &path.child("name"), name);
        }
    }
}

/// What the metadata of a claim's template may not have, in the order of its fields.
const METADATA: [&str; 6] = [
    "name",
    "generateName",
    "namespace",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
];

pub(super) fn ephemeral(found: &mut Faults, source: &Value, path: &Path) {
    let path = path.child("volumeClaimTemplate");
    let template = source.at("volumeClaimTemplate");
    if template.is_null() {
        return found.push(FieldError::required(path, ""));
    }
    let meta = template.at("metadata");
    let at = path.child("metadata");
    found.extend(metadata::annotations(meta, &at.child("annotations")));
    found.extend(metadata::labels(meta, &at.child("labels")));
    for key in METADATA {
        let value = meta.at(key);
        let empty = value.is_null() || *value == "" || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            found.push(FieldError::forbidden(at.child(key), "cannot be set"));
        }
    }
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
