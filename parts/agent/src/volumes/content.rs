//! Files of configMap, secret, downwardAPI and projected volumes (spec E51, E54, E64).

use super::inside;
use crate::env::{self, Place, Sources, TokenKey};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Permissions of files from ConfigMaps and the like, where nothing else is said.
const FILE_MODE: i32 = 0o644;
/// Permissions of a service account's token where the pod's group reads it: the group's own bit comes with fsGroup.
const TOKEN_MODE: i32 = 0o600;

pub(super) type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(FILE_MODE)).unwrap_or(0o644) & 0o777
}

/// The files of a volume.
pub(super) fn files_of(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    place: &Place,
) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let map = sources.config_maps.get(&source.name);
        let is_optional = source.optional == Some(true);
        let items = source.items.as_deref().unwrap_or_default();
        from_config_map(&mut files, map, &source.name, items, (source.default_mode, is_optional))?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.clone().unwrap_or_default();
        let is_optional = source.optional == Some(true);
        let items = source.items.as_deref().unwrap_or_default();
        let found = sources.secrets.get(&name);
        from_secret(&mut files, found, &name, items, (source.default_mode, is_optional))?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        from_pod(&mut files, pod, items, source.default_mode, place)?;
    } else if let Some(source) = &volume.projected {
        for one in source.sources.iter().flatten() {
            project(&mut files, pod, one, source.default_mode, (sources, place))?;
        }
    } else {
        return Err("no volume plugin matched: this agent mounts hostPath, emptyDir, configMap, secret, downwardAPI \
                    and projected volumes"
            .to_owned());
    }
    Ok(files)
}

fn project(
    files: &mut Files,
    pod: &Pod,
    one: &VolumeProjection,
    default: Option<i32>,
    (sources, place): (&Sources, &Place),
) -> Result<(), String> {
    if let Some(source) = &one.config_map {
        let map = sources.config_maps.get(&source.name);
        let is_optional = source.optional == Some(true);
        let items = source.items.as_deref().unwrap_or_default();
        return from_config_map(files, map, &source.name, items, (default, is_optional));
    }
    if let Some(source) = &one.secret {
        let is_optional = source.optional == Some(true);
        let items = source.items.as_deref().unwrap_or_default();
        let found = sources.secrets.get(&source.name);
        return from_secret(files, found, &source.name, items, (default, is_optional));
    }
    if let Some(source) = &one.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        return from_pod(files, pod, items, default, place);
    }
    if let Some(source) = &one.service_account_token {
        let token = sources.tokens.get(&TokenKey::of(source)).ok_or("no token was fetched")?;
        let token =
            token.as_ref().map_err(|problem| format!("failed to fetch token: {problem}"))?;
        let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let is_groups = security.is_some_and(|security| security.fs_group.is_some());
        let mode = mode(is_groups.then_some(TOKEN_MODE), default);
        files.insert(inside(&source.path)?, (token.clone().into_bytes(), mode));
        return Ok(());
    }
    Err("this agent projects config maps, secrets, the downward API and service account tokens"
        .to_owned())
}

/// Default mode, and whether a missing source is fine.
type Manner = (Option<i32>, bool);

fn take(
    files: &mut Files,
    data: &BTreeMap<String, Vec<u8>>,
    items: &[KeyToPath],
    (default, is_optional): Manner,
) -> Result<(), String> {
    if items.is_empty() {
        for (key, bytes) in data {
            files.insert(PathBuf::from(key), (bytes.clone(), mode(None, default)));
        }
        return Ok(());
    }
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                let path = inside(&item.path)?;
                files.insert(path, (bytes.clone(), mode(item.mode, default)));
            }
            None if is_optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

fn from_config_map(
    files: &mut Files,
    map: Option<&ConfigMap>,
    name: &str,
    items: &[KeyToPath],
    manner: Manner,
) -> Result<(), String> {
    let Some(map) = map else {
        return if manner.1 { Ok(()) } else { Err(format!("configmap \"{name}\" not found")) };
    };
    let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let text = map.data.iter().flatten();
    data.extend(text.map(|(key, value)| (key.clone(), value.clone().into_bytes())));
    let binary = map.binary_data.iter().flatten();
    data.extend(binary.map(|(key, value)| (key.clone(), value.0.clone())));
    take(files, &data, items, manner)
}

fn from_secret(
    files: &mut Files,
    secret: Option<&Secret>,
    name: &str,
    items: &[KeyToPath],
    manner: Manner,
) -> Result<(), String> {
    let Some(secret) = secret else {
        return if manner.1 { Ok(()) } else { Err(format!("secret \"{name}\" not found")) };
    };
    let data = secret.data.iter().flatten();
    let data = data.map(|(key, value)| (key.clone(), value.0.clone())).collect();
    take(files, &data, items, manner)
}

fn from_pod(
    files: &mut Files,
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default: Option<i32>,
    place: &Place,
) -> Result<(), String> {
    let none = Container::default();
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => env::field_value(pod, field, place)?,
            (None, Some(resource)) => env::resource_value(pod, &none, resource, place)?,
            (None, None) => continue,
        };
        files.insert(inside(&item.path)?, (value.into_bytes(), mode(item.mode, default)));
    }
    Ok(())
}
