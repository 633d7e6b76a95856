//! Volumes of a pod: made, mounted into containers, removed (spec E50 to E55).

use crate::cri::v1;
use crate::env::{self, Place, Sources};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource,
    KeyToPath, Pod, Secret, Volume,
};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

mod payload;

/// Permissions of files from ConfigMaps and the like, where nothing else is said.
const FILE_MODE: i32 = 0o644;

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

/// Whether the content of a volume can change while the pod runs.
pub(crate) fn changes(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
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
        if let Some(host) = &volume.host_path {
            host_path(host).map_err(missing)?;
        } else if let Some(empty) = &volume.empty_dir {
            empty_dir(&path, empty, group)
                .map_err(|error| missing(format!("{}: {error}", path.display())))?;
        } else {
            let files = files_of(pod, volume, sources, place).map_err(missing)?;
            payload::write(&path, &files, group)
                .map_err(|error| missing(format!("{}: {error}", path.display())))?;
        }
    }
    Ok(())
}

/// Checks or makes what `hostPath` names, with upstream's sentences (spec E50).
fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let failed =
        |what: &str| Err(format!("hostPath type check failed: {} is not {what}", source.path));
    let kind = fs::metadata(path).map(|meta| meta.file_type());
    let is = |test: fn(&fs::FileType) -> bool| kind.as_ref().is_ok_and(test);
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => match &kind {
            Ok(kind) if kind.is_dir() => Ok(()),
            Ok(_) => failed("a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_dir(path, 0o755).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        },
        "FileOrCreate" => match &kind {
            Ok(kind) if kind.is_file() => Ok(()),
            Ok(_) => failed("a file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = fs::OpenOptions::new().write(true).create_new(true).open(path);
                made.and_then(|_| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
                    .map_err(|error| format!("{}: {error}", source.path))
            }
            Err(error) => Err(error.to_string()),
        },
        "Directory" if !is(fs::FileType::is_dir) => failed("a directory"),
        "File" if !is(fs::FileType::is_file) => failed("a file"),
        "Socket" if !is(rustix::fs::FileTypeExt::is_socket) => failed("a socket file"),
        "CharDevice" if !is(rustix::fs::FileTypeExt::is_char_device) => {
            failed("a character device")
        }
        "BlockDevice" if !is(rustix::fs::FileTypeExt::is_block_device) => failed("a block device"),
        "" | "Directory" | "File" | "Socket" | "CharDevice" | "BlockDevice" => Ok(()),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    // not subject to our umask
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let above = path.parent().unwrap_or(path);
    Ok(fs::metadata(path)?.dev() != fs::metadata(above)?.dev())
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<i64>) -> io::Result<()> {
    if path.exists() && (source.medium.as_deref() != Some("Memory") || is_mount_point(path)?) {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    match source.medium.as_deref() {
        None | Some("") => {}
        Some("Memory") => {
            let limit = source.size_limit.as_ref().map(|quantity| {
                let one = BTreeMap::from([("size".to_owned(), quantity.clone())]);
                fit::Amounts::parse(Some(&one)).get("size") / 1000
            });
            let data = limit.filter(|limit| *limit > 0).map(|limit| format!("size={limit}"));
            let data = std::ffi::CString::new(data.unwrap_or_default())?;
            rustix::mount::mount(
                "tmpfs",
                path,
                "tmpfs",
                rustix::mount::MountFlags::empty(),
                Some(data.as_c_str()),
            )?;
        }
        Some(other) => return Err(io::Error::other(format!("medium {other} is not known here"))),
    }
    let mut mode = 0o777;
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
        std::os::unix::fs::chown(path, None, Some(group))?;
        mode |= 0o2000;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(FILE_MODE)).unwrap_or(0o644) & 0o777
}

fn files_of(pod: &Pod, volume: &Volume, sources: &Sources, place: &Place) -> Result<Files, String> {
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
            let default = source.default_mode;
            if let Some(source) = &one.config_map {
                let map = sources.config_maps.get(&source.name);
                let is_optional = source.optional == Some(true);
                let items = source.items.as_deref().unwrap_or_default();
                from_config_map(&mut files, map, &source.name, items, (default, is_optional))?;
            } else if let Some(source) = &one.secret {
                let is_optional = source.optional == Some(true);
                let items = source.items.as_deref().unwrap_or_default();
                let found = sources.secrets.get(&source.name);
                from_secret(&mut files, found, &source.name, items, (default, is_optional))?;
            } else if let Some(source) = &one.downward_api {
                let items = source.items.as_deref().unwrap_or_default();
                from_pod(&mut files, pod, items, default, place)?;
            } else {
                return Err("this agent does not project service account tokens or trust bundles"
                    .to_owned());
            }
        }
    } else {
        return Err("this agent mounts hostPath, emptyDir, configMap, secret, downwardAPI and projected volumes; \
                    this one is of another kind"
            .to_owned());
    }
    Ok(files)
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
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes
            .iter()
            .find(|volume| volume.name == mount.name)
            .ok_or_else(|| format!("volume \"{}\" of a mount is not in the pod", mount.name))?;
        let base = place_of(root, pod, volume);
        let sub = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(path)) if !path.is_empty() => Some(env::expand(path, &value)),
            _ => None,
        };
        let host_path = match sub {
            None => base,
            Some(sub) => sub_path(&base, &sub)?,
        };
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
            _ => v1::MountPropagation::PropagationPrivate,
        };
        list.push(v1::Mount {
            container_path: absolute(&mount.mount_path),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only == Some(true),
            propagation: propagation as i32,
            selinux_relabel: false,
        });
    }
    Ok(list)
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// A path inside a volume, made if it is not there. Links that lead out of the volume are refused.
fn sub_path(base: &Path, sub: &str) -> Result<PathBuf, String> {
    let path = base.join(inside(sub).map_err(|_| format!("subPath \"{sub}\" leaves the volume"))?);
    let failed = |error: io::Error| format!("failed to prepare subPath \"{sub}\": {error}");
    if !path.exists() {
        let mode = fs::metadata(base).map_err(failed)?.permissions().mode() & 0o7777;
        let is_absent = |path: &&Path| !path.exists();
        let new: Vec<&Path> = path.ancestors().take_while(is_absent).collect();
        for dir in new.into_iter().rev() {
            fs::create_dir(dir).map_err(failed)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
    }
    let (real, root) = (path.canonicalize().map_err(failed)?, base.canonicalize().map_err(failed)?);
    if real.starts_with(&root) {
        Ok(real)
    } else {
        Err(format!("subPath \"{sub}\" leads out of the volume"))
    }
}

/// Removes everything of a pod. What is still mounted there is unmounted first. Blocks.
pub(crate) fn remove(root: &Path, uid: &str) -> io::Result<()> {
    let dir = pod_dir(root, uid);
    if uid.is_empty() || !dir.exists() {
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
