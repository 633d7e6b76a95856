//! Files that change together: a new folder is filled, then one link is turned to it.

use super::content::Files;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// The link that is turned.
const DATA: &str = "..data";

/// Makes `dir` hold exactly `files`. A reader sees the old ones or the new ones, never some of each.
pub(super) fn write(dir: &Path, files: &Files, group: Option<i64>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let link = dir.join(DATA);
    let old = fs::read_link(&link).ok();
    if old.is_some() && is_same(&link, files)? {
        // an agent that ended right after the turn has left no links, and the folder before
        link_names(dir, files)?;
        return sweep(dir, old.as_deref());
    }
    let name = next_name(dir, old.as_deref());
    let new = dir.join(&name);
    fs::create_dir(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    for (path, (bytes, mode)) in files {
        let file = new.join(path);
        if let Some(above) = file.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode))?;
        if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
            std::os::unix::fs::chown(&file, None, Some(group))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(*mode | 0o040))?;
        }
    }
    let turning = dir.join("..data_tmp");
    let _ = fs::remove_file(&turning);
    symlink(&name, &turning)?;
    fs::rename(&turning, &link)?;
    link_names(dir, files)?;
    sweep(dir, Some(&name))
}

/// Removes what agents that ended on the way have left: folders that the link does not lead to.
fn sweep(dir: &Path, current: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_string_lossy().starts_with("..");
        if is_ours && entry.file_type()?.is_dir() && current != Some(Path::new(&name)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A folder name that is not taken: a left-over of a crash is never reused.
fn next_name(dir: &Path, old: Option<&Path>) -> PathBuf {
    let last = old.and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok());
    let mut number = last.unwrap_or(0) + 1;
    while dir.join(format!("..{number}")).exists() {
        number += 1;
    }
    PathBuf::from(format!("..{number}"))
}

fn is_same(link: &Path, files: &Files) -> io::Result<bool> {
    let mut count = 0;
    let mut dirs = vec![link.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    let is_there = |(path, (bytes, _)): (&PathBuf, &(Vec<u8>, u32))| {
        fs::read(link.join(path)).is_ok_and(|found| found == *bytes)
    };
    Ok(count == files.len() && files.iter().all(is_there))
}

/// Links the first part of each path, as users see it, through the turning link.
fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &PathBuf| match path.components().next() {
        Some(Component::Normal(name)) => Some(name.to_os_string()),
        _ => None,
    };
    let names: std::collections::BTreeSet<_> = files.keys().filter_map(first).collect();
    for name in &names {
        let place = dir.join(name);
        if fs::symlink_metadata(&place).is_err() {
            symlink(Path::new(DATA).join(name), place)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("..") && !names.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
