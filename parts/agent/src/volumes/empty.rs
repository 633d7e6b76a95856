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
pub(super) fn in_memory(path: &Path, limit: Option<i128>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if is_mount_point(path)? {
        return Ok(());
    }
    let data = limit.filter(|limit| *limit > 0).map(|limit| format!("size={limit}"));
    let data = std::ffi::CString::new(data.unwrap_or_default())?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, Some(data.as_c_str()))?;
    Ok(())
}

/// Makes an emptyDir, once.
pub(super) fn make(
    path: &Path,
    source: &EmptyDirVolumeSource,
    group: Option<i64>,
) -> io::Result<()> {
    if path.exists() && (source.medium.as_deref() != Some("Memory") || is_mount_point(path)?) {
        return Ok(());
    }
    match source.medium.as_deref() {
        None | Some("") => fs::create_dir_all(path)?,
        Some("Memory") => in_memory(path, source.size_limit.as_ref().map(bytes))?,
        Some(other) => return Err(io::Error::other(format!("unknown storage medium \"{other}\""))),
    }
    let mut mode = 0o777;
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
        std::os::unix::fs::chown(path, None, Some(group))?;
        mode |= 0o2000;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Bytes that a folder takes on its disk, other file systems below it left out. Blocks.
pub(super) fn used(path: &Path) -> u64 {
    let Ok(top) = fs::symlink_metadata(path) else { return 0 };
    let (mut sum, mut seen) = (0, 0);
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
            sum += meta.blocks() * 512;
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
    fn a_file_is_counted_once_however_many_names_it_has() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        let before = used(dir.path());
        fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
        let one = used(dir.path());
        assert!(one >= before + 98_304, "{before} {one}");
        fs::hard_link(dir.path().join("below/file"), dir.path().join("name")).unwrap();
        assert_eq!(used(dir.path()), one);
    }
}
