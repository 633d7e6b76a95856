//! emptyDir, and the memory that other volumes lie in (spec E53).

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Entries of one folder tree that are measured; more are not counted, so that a flood of files cannot hold up the
/// agent (a million entries take about two seconds).
const ENTRIES_MAX: usize = 1_000_000;

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let above = path.parent().unwrap_or(path);
    Ok(fs::metadata(path)?.dev() != fs::metadata(above)?.dev())
}

/// Bytes of a quantity.
pub(super) fn bytes(quantity: &Quantity) -> i128 {
    let one = BTreeMap::from([("size".to_owned(), quantity.clone())]);
    fit::Amounts::parse(Some(&one)).get("size") / 1000
}

/// Makes a folder that lies in memory, once.
pub(super) fn in_memory(path: &Path) -> io::Result<()> {
    mounted(path, "")
}

fn mounted(path: &Path, options: &str) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mount_point(path)? {
        return Ok(());
    }
    let data = std::ffi::CString::new(options)?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, Some(data.as_c_str()))?;
    Ok(())
}

/// Makes an emptyDir, once. It appears whole, with its mode and group: an agent that ends on the way leaves none that
/// looks done.
pub(super) fn make(
    path: &Path,
    source: &EmptyDirVolumeSource,
    group: Option<i64>,
) -> io::Result<()> {
    let group = group.and_then(|group| u32::try_from(group).ok());
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    match source.medium.as_deref() {
        None | Some("") if path.exists() => Ok(()),
        None | Some("") => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // no volume has a name with a dot
            let fresh = path.with_file_name(format!(".{name}.new"));
            fs::create_dir_all(&fresh)?;
            if let Some(group) = group {
                std::os::unix::fs::chown(&fresh, None, Some(group))?;
            }
            fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
            fs::rename(fresh, path)
        }
        Some("Memory") => {
            let limit = source.size_limit.as_ref().map(bytes).filter(|limit| *limit > 0);
            let size = limit.map(|limit| format!(",size={limit}")).unwrap_or_default();
            let owner = group.map(|group| format!(",gid={group}")).unwrap_or_default();
            mounted(path, &format!("mode={mode:o}{size}{owner}"))
        }
        Some(other) => Err(io::Error::other(format!("unknown storage medium \"{other}\""))),
    }
}

/// What lies in some folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    /// Files and folders.
    pub(crate) entries: u64,
}

impl std::ops::Add for Used {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, entries: self.entries + other.entries }
    }
}

/// What a folder takes on its disk, other file systems below it left out. Blocks.
pub(crate) fn used(path: &Path) -> Used {
    let mut sum = Used::default();
    let Ok(top) = fs::symlink_metadata(path) else { return sum };
    let mut seen = 0;
    let mut inodes = std::collections::BTreeSet::new();
    let mut dirs = vec![path.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                return sum;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev()
                || (meta.nlink() > 1 && meta.is_file() && !inodes.insert(meta.ino()))
            {
                continue;
            }
            sum.bytes += meta.blocks() * 512;
            sum.entries += 1;
            if meta.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_left_half_made_is_made_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        fs::create_dir(dir.path().join(".v.new")).unwrap();
        make(&path, &EmptyDirVolumeSource::default(), None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o777);
        assert!(!dir.path().join(".v.new").exists());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        make(&path, &EmptyDirVolumeSource::default(), None).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "what is there is the pod's own affair");
    }

    #[test]
    fn a_file_is_counted_once_however_many_names_it_has() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        let before = used(dir.path());
        fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
        let one = used(dir.path());
        assert!(one.bytes >= before.bytes + 98_304, "{before:?} {one:?}");
        assert_eq!((before.entries, one.entries), (1, 2));
        fs::hard_link(dir.path().join("below/file"), dir.path().join("name")).unwrap();
        assert_eq!(used(dir.path()), one);
    }
}
