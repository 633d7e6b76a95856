//! Volumes (spec A74): names, exactly one source, and what each source needs.

pub(crate) mod claim;
mod sources;

use super::spec::Scope;
use crate::admit::faults::{self, Faults};
use crate::admit::json::Json;
use api::names;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeMap;

/// Volumes without a fault, by name: mounts may refer to these alone.
pub(crate) type Sound<'a> = BTreeMap<&'a str, &'a Value>;

/// A source of volumes: its field, the field its faults are filed under, its rule.
struct Source {
    key: &'static str,
    path: &'static str,
    rule: fn(&mut Faults, &Value, &Path),
}

/// Sources in the order they are looked at.
const SOURCES: &[Source] = &[
    Source { key: "emptyDir", path: "emptyDir", rule: sources::empty_dir },
    Source { key: "hostPath", path: "hostPath", rule: sources::host_path },
    Source { key: "gitRepo", path: "gitRepo", rule: sources::git_repo },
    Source { key: "gcePersistentDisk", path: "gcePersistentDisk", rule: sources::gce },
    Source { key: "awsElasticBlockStore", path: "awsElasticBlockStore", rule: sources::aws },
    Source { key: "secret", path: "secret", rule: sources::secret },
    Source { key: "nfs", path: "nfs", rule: sources::nfs },
    Source { key: "iscsi", path: "iscsi", rule: sources::iscsi },
    Source { key: "glusterfs", path: "glusterfs", rule: sources::glusterfs },
    Source { key: "flocker", path: "flocker", rule: sources::flocker },
    Source { key: "persistentVolumeClaim", path: "persistentVolumeClaim", rule: sources::claimed },
    Source { key: "rbd", path: "rbd", rule: sources::rbd },
    Source { key: "cinder", path: "cinder", rule: sources::cinder },
    Source { key: "cephfs", path: "cephFS", rule: sources::cephfs },
    Source { key: "quobyte", path: "quobyte", rule: sources::quobyte },
    Source { key: "downwardAPI", path: "downwardAPI", rule: sources::downward },
    Source { key: "fc", path: "fc", rule: sources::fibre_channel },
    Source { key: "flexVolume", path: "flexVolume", rule: sources::flex },
    Source { key: "configMap", path: "configMap", rule: sources::config_map },
    Source { key: "azureFile", path: "azureFile", rule: sources::azure_file },
    Source { key: "vsphereVolume", path: "vsphereVolume", rule: sources::vsphere },
    Source { key: "photonPersistentDisk", path: "photonPersistentDisk", rule: sources::photon },
    Source { key: "portworxVolume", path: "portworxVolume", rule: sources::portworx },
    Source { key: "azureDisk", path: "azureDisk", rule: sources::azure_disk },
    Source { key: "storageos", path: "storageos", rule: sources::storageos },
    Source { key: "projected", path: "projected", rule: sources::projected },
    Source { key: "scaleIO", path: "scaleIO", rule: sources::scale_io },
    Source { key: "csi", path: "csi", rule: sources::csi },
    Source { key: "ephemeral", path: "ephemeral", rule: sources::ephemeral },
    Source { key: "image", path: "image", rule: sources::image },
];

/// Whether the volume has any source.
pub(crate) fn has_source(volume: &Value) -> bool {
    SOURCES.iter().any(|source| volume.has(source.key))
}

/// Faults of `spec.volumes`; answers the volumes without one.
pub(crate) fn validate<'a>(found: &mut Faults, scope: Scope<'a>, path: &Path) -> Sound<'a> {
    let mut sound = Sound::new();
    let volumes = scope.spec.list("volumes");
    let made: Vec<String> = volumes
        .iter()
        .filter(|v| v.has("ephemeral") && !scope.pod_name.is_empty())
        .map(|v| format!("{}-{}", scope.pod_name, v.text("name")))
        .collect();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let name = volume.text("name");
        let mut faults = Faults::new();
        source(&mut faults, scope, volume, &path);
        if faults::needed(&mut faults, path.child("name"), name) {
            faults::dns_label(&mut faults, &path.child("name"), name);
        }
        if sound.contains_key(name) {
            faults.push(FieldError::duplicate(path.child("name"), name));
        }
        if faults.is_empty() {
            sound.insert(name, volume);
        }
        found.extend(faults);
        let claim = volume.at("persistentVolumeClaim").text("claimName");
        if made.iter().any(|made| made == claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            found.push(FieldError::invalid(path, claim, why));
        }
    }
    sound
}

fn source(found: &mut Faults, scope: Scope<'_>, volume: &Value, path: &Path) {
    let mut count = 0;
    for source in SOURCES.iter().filter(|source| volume.has(source.key)) {
        let at = path.child(source.path);
        count += 1;
        if count > 1 {
            found.push(FieldError::forbidden(at, "may not specify more than 1 volume type"));
            continue;
        }
        (source.rule)(found, volume.at(source.key), &at);
        let name = volume.text("name");
        if source.key == "ephemeral" && !scope.pod_name.is_empty() && !name.is_empty() {
            let claim = format!("{}-{name}", scope.pod_name);
            for text in names::dns_subdomain(&claim) {
                let why = format!("PVC name {claim:?}: {text}");
                found.push(FieldError::invalid(path.child("name"), name, &why));
            }
        }
    }
    if count == 0 {
        found.push(FieldError::required(path.clone(), "must specify a volume type"));
    }
}
