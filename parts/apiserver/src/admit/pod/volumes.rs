//! Volumes (spec A74): names, exactly one source, and what each source needs.

pub(crate) mod claim;
pub(crate) mod sources;

use super::spec::Scope;
use crate::admit::faults::{self, Faults};
use crate::admit::json::Json;
use api::names;
use api::{FieldError, Path};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Volumes without a fault, by name: mounts may refer to these alone.
pub(crate) type Sound<'a> = BTreeMap<&'a str, &'a Value>;

/// A source of volumes: its field, the names its own faults and one source too many are filed under
/// upstream, its rule.
struct Source {
    key: &'static str,
    path: &'static str,
    extra: &'static str,
    rule: Rule,
}

/// What a source needs.
type Rule = fn(&mut Faults, &Value, &Path);

/// Sources in the order they are looked at.
const SOURCES: &[Source] = &[
    source("emptyDir", sources::empty_dir),
    source("hostPath", sources::host_path),
    source("gitRepo", sources::git_repo),
    Source { path: "persistentDisk", ..source("gcePersistentDisk", sources::gce) },
    source("awsElasticBlockStore", sources::aws),
    source("secret", sources::secret),
    source("nfs", sources::nfs),
    source("iscsi", sources::iscsi),
    source("glusterfs", sources::glusterfs),
    source("flocker", sources::flocker),
    source("persistentVolumeClaim", sources::claimed),
    source("rbd", sources::rbd),
    source("cinder", sources::cinder),
    Source { extra: "cephFS", ..source("cephfs", sources::cephfs) },
    source("quobyte", sources::quobyte),
    Source { extra: "downwarAPI", ..source("downwardAPI", sources::downward) },
    source("fc", sources::fibre_channel),
    source("flexVolume", sources::flex),
    source("configMap", sources::config_map),
    source("azureFile", sources::azure_file),
    source("vsphereVolume", sources::vsphere),
    source("photonPersistentDisk", sources::photon),
    source("portworxVolume", sources::portworx),
    source("azureDisk", sources::azure_disk),
    source("storageos", sources::storageos),
    source("projected", sources::projected),
    source("scaleIO", sources::scale_io),
    source("csi", sources::csi),
    source("ephemeral", sources::ephemeral),
    source("image", sources::image),
];

/// A source that goes by the name of its field.
const fn source(key: &'static str, rule: Rule) -> Source {
    Source { key, path: key, extra: key, rule }
}

/// Longest name of an interface of iSCSI, made of the volume's name and its portal.
const PORTAL_MAX: usize = 64;

/// Whether the volume has any source.
pub(crate) fn has_source(volume: &Value) -> bool {
    SOURCES.iter().any(|source| volume.has(source.key))
}

/// Faults of `spec.volumes`; answers the volumes without one.
pub(crate) fn validate<'a>(found: &mut Faults, scope: Scope<'a>, path: &Path) -> Sound<'a> {
    let mut sound = Sound::new();
    let volumes = scope.spec.list("volumes");
    let made: BTreeSet<String> = volumes
        .iter()
        .filter(|v| v.has("ephemeral") && !scope.pod_name.is_empty())
        .map(|v| format!("{}-{}", scope.pod_name, v.text("name")))
        .collect();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let name = volume.text("name");
        let mut faults = Faults::new();
        one_source(&mut faults, scope, volume, &path);
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
        if made.contains(claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            found.push(FieldError::invalid(path, claim, why));
        }
    }
    sound
}

fn one_source(found: &mut Faults, scope: Scope<'_>, volume: &Value, path: &Path) {
    let mut count = 0;
    for source in SOURCES.iter().filter(|source| volume.has(source.key)) {
        count += 1;
        if count > 1 {
            let why = "may not specify more than 1 volume type";
            found.push(FieldError::forbidden(path.child(source.extra), why));
            continue;
        }
        (source.rule)(found, volume.at(source.key), &path.child(source.path));
        let name = volume.text("name");
        if source.key == "iscsi"
            && volume.at("iscsi").has("initiatorName")
            && name.len() + 1 + volume.at("iscsi").text("targetPortal").len() > PORTAL_MAX
        {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            found.push(FieldError::invalid(path.child("name"), name, why));
        }
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
