//! Volumes of a pod: made, mounted into containers, removed (spec E50 to E55).

use crate::cri::v1;
use crate::env::{self, Place, Sources};
use crate::text::io_text;
use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

pub(crate) use empty::used;

mod content;
mod empty;
mod host;
mod payload;
mod sub_path;

/// A volume that is not there, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) volume: String,
    pub(crate) problem: String,
}

impl Missing {
    /// Upstream's sentence.
    pub(crate) fn message(&self) -> String {
        format!("MountVolume.SetUp failed for volume \"{}\" : {}", self.volume, self.problem)
    }
}

/// Folder of one pod.
pub(crate) fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

/// Where a pod's volumes lie that take room on the node's disk.
pub(crate) fn empty_dirs(root: &Path, uid: &str) -> PathBuf {
    pod_dir(root, uid).join("volumes/kubernetes.io~empty-dir")
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Where a volume is on the node, whether or not it is there yet.
fn place_of(root: &Path, pod: &Pod, volume: &Volume) -> PathBuf {
    if let Some(host) = &volume.host_path {
        return PathBuf::from(&host.path);
    }
    let kind = if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else if volume.projected.is_some() {
        "projected"
    } else {
        "empty-dir"
    };
    let dir = pod_dir(root, uid(pod)).join("volumes");
    dir.join(format!("kubernetes.io~{kind}")).join(&volume.name)
}

/// Whether the content of a volume can change while the pod runs. Such volumes are read-only for containers.
pub(crate) fn changes(volume: &Volume) -> bool {
    volume.config_map.is_some() || is_in_memory(volume)
}

/// Secrets, tokens and what the pod says of itself never reach a disk.
fn is_in_memory(volume: &Volume) -> bool {
    volume.secret.is_some() || volume.downward_api.is_some() || volume.projected.is_some()
}

/// An emptyDir that takes more than its limit: the message for the user (spec E53). Blocks.
pub(crate) fn over_limit(root: &Path, pod: &Pod) -> Option<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().filter(|volume| is_limited(volume)).find_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        let used = used(&place_of(root, pod, volume)).bytes;
        (i128::from(used) > empty::bytes(limit)).then(|| {
            format!(
                "Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ",
                volume.name, limit.0
            )
        })
    })
}

/// An emptyDir on disk that has a limit; one in memory is kept by the kernel.
pub(crate) fn is_limited(volume: &Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|empty| {
        empty.medium.as_deref() != Some("Memory") && empty.size_limit.is_some()
    })
}

/// Makes the volumes of a pod, or brings them up to date. Blocks.
pub(crate) fn prepare(
    root: &Path,
    pod: &Pod,
    sources: &Sources,
    place: &Place,
) -> Result<(), Missing> {
    let spec = pod.spec.clone().unwrap_or_default();
    let group = spec.security_context.as_ref().and_then(|security| security.fs_group);
    for volume in spec.volumes.iter().flatten() {
        let missing = |problem: String| Missing { volume: volume.name.clone(), problem };
        let path = place_of(root, pod, volume);
        let failed = |error: io::Error| missing(format!("{}: {}", path.display(), io_text(&error)));
        if let Some(host) = &volume.host_path {
            host::host_path(host).map_err(missing)?;
        } else if let Some(empty) = &volume.empty_dir {
            empty::make(&path, empty, group).map_err(failed)?;
        } else {
            let files = content::files_of(pod, volume, sources, place).map_err(missing)?;
            if is_in_memory(volume) {
                empty::in_memory(&path).map_err(failed)?;
            }
            payload::write(&path, &files, group).map_err(failed)?;
        }
    }
    Ok(())
}

/// A relative path that stays where it is put.
fn inside(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain && path.components().next().is_some() {
        Ok(path.to_path_buf())
    } else {
        Err(format!("the path {} leaves the volume", path.display()))
    }
}

/// What a container sees of the volumes. `Err` is for the user. Blocks.
pub(crate) fn mounts(
    root: &Path,
    pod: &Pod,
    container: &Container,
    value: impl Fn(&str) -> Option<String>,
) -> Result<Vec<v1::Mount>, String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mut list = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes.iter().find(|volume| volume.name == mount.name).ok_or_else(|| {
            let Container { name, .. } = container;
            format!("cannot find volume \"{}\" to mount into container \"{name}\"", mount.name)
        })?;
        let base = place_of(root, pod, volume);
        let host_path = match sub_path_of(mount, &value)? {
            None => base,
            Some(sub) => {
                let dir = pod_dir(root, uid(pod));
                let (volume, container) = (mount.name.as_str(), container.name.as_str());
                let wanted = sub_path::Wanted { dir: &dir, volume, container, index };
                let is_shared = mount.mount_propagation.as_deref() == Some("Bidirectional");
                sub_path::prepare(&base, &sub, &wanted, is_shared)?
            }
        };
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
            _ => v1::MountPropagation::PropagationPrivate,
        };
        list.push(v1::Mount {
            container_path: absolute(&mount.mount_path),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only == Some(true) || changes(volume),
            propagation: propagation as i32,
            selinux_relabel: false,
        });
    }
    Ok(list)
}

/// The sub-path with its variables; `Err` where one is not known.
fn sub_path_of(
    mount: &VolumeMount,
    value: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    if let Some(path) = mount.sub_path.as_ref().filter(|path| !path.is_empty()) {
        return Ok(Some(path.clone()));
    }
    let Some(path) = mount.sub_path_expr.as_ref().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let missing = std::cell::RefCell::new(false);
    let expanded = env::expand(path, |name| {
        let found = value(name);
        *missing.borrow_mut() |= found.is_none();
        found
    });
    if missing.into_inner() {
        return Err(format!("missing value for \"{path}\""));
    }
    Ok(Some(expanded))
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Removes everything of a pod. What is still mounted there is unmounted first. Blocks.
pub(crate) fn remove(root: &Path, uid: &str) -> io::Result<()> {
    if uid.is_empty() { Ok(()) } else { remove_tree(&pod_dir(root, uid)) }
}

/// Removes the volumes of a pod that is over, its containers' messages stay. Blocks.
pub(crate) fn remove_volumes(root: &Path, uid: &str) -> io::Result<()> {
    if uid.is_empty() {
        return Ok(());
    }
    let dir = pod_dir(root, uid);
    // paths inside volumes are mounted from there
    [sub_path::PLACES, "volumes"].iter().try_for_each(|name| remove_tree(&dir.join(name)))
}

/// Unmounts what is mounted at or below a folder, then removes it.
fn remove_tree(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let dir = dir.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut below = mounts_below(&table, &dir);
    // the deepest first
    below.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in below {
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::empty())?;
    }
    fs::remove_dir_all(&dir)
}

fn mounts_below(table: &str, dir: &Path) -> Vec<PathBuf> {
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    places
        .map(|place| PathBuf::from(place.replace("\\040", " ")))
        .filter(|p| p.starts_with(dir))
        .collect()
}

#[cfg(test)]
mod tests;
