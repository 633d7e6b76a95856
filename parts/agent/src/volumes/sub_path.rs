//! A path inside a volume, safe against links that lead out of it (spec E55).
//!
//! The path is opened beneath the volume by the kernel, and what was opened is bound to a place of our own: a link that
//! is turned afterwards changes nothing.

use super::inside;
use crate::text::io_text;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folder of a pod's sub-paths, below its own.
pub(super) const PLACES: &str = "volume-subpaths";

/// What a sub-path is for; its place below the pod's folder follows from it.
pub(super) struct Wanted<'a> {
    /// The pod's folder.
    pub(super) dir: &'a Path,
    pub(super) volume: &'a str,
    pub(super) container: &'a str,
    /// Number of the mount in the container.
    pub(super) index: usize,
}

/// Opens `sub` beneath `base`, making folders that are not there with the mode of the volume's root.
pub(super) fn open(base: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(base, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let look = |path: &Path| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&root, path, flags, Mode::empty(), beneath)
    };
    match look(sub) {
        Ok(found) => return Ok(found),
        Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mode = fs::metadata(base)?.permissions().mode() & 0o7777;
    let mut above = PathBuf::from(".");
    for part in sub.components() {
        let here = look(&above)?;
        above.push(part);
        match look(&above) {
            Ok(_) => {}
            Err(rustix::io::Errno::NOENT) => {
                let name: &Path = part.as_ref();
                rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(mode))?;
                let made = look(&above)?;
                // not subject to our umask
                fs::set_permissions(at(&made), fs::Permissions::from_mode(mode))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(look(sub)?)
}

/// The kernel's name of what is open.
fn at(open: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()))
}

/// Binds a sub-path of a volume to its place; that place. `Err` is for the user and tells nothing of the node's files.
///
/// What is mounted with Bidirectional has to be the volume itself: those containers are privileged anyway.
pub(super) fn prepare(
    base: &Path,
    sub: &str,
    wanted: &Wanted<'_>,
    is_shared: bool,
) -> Result<PathBuf, String> {
    let Wanted { dir, volume, container, index } = wanted;
    let path = inside(sub)
        .map_err(|_| format!("unable to provision SubPath `{sub}`: must not contain '..'"))?;
    let opened = open(base, &path).map_err(|error| {
        tracing::warn!(volume, container, sub, "sub-path refused: {}", io_text(&error));
        format!(
            "failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\""
        )
    })?;
    if is_shared {
        return fs::read_link(at(&opened)).map_err(|error| io_text(&error));
    }
    let place = dir.join(PLACES).join(volume).join(container).join(index.to_string());
    place_it(&opened, &place).map_err(|error| {
        format!("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\": {}", io_text(&error))
    })?;
    Ok(place)
}

fn place_it(opened: &OwnedFd, place: &Path) -> io::Result<()> {
    use rustix::mount::{
        MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount,
    };
    let is_folder = fs::metadata(at(opened))?.is_dir();
    // what an earlier start of the container had there stays with that container
    while unmount(place, UnmountFlags::DETACH).is_ok() {}
    if let Some(above) = place.parent() {
        fs::create_dir_all(above)?;
    }
    match fs::symlink_metadata(place) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(place)?,
        Ok(_) => fs::remove_file(place)?,
        Err(_) => {}
    }
    if is_folder {
        fs::create_dir(place)?;
    } else {
        drop(rustix::fs::openat(
            CWD,
            place,
            OFlags::CREATE | OFlags::CLOEXEC | OFlags::WRONLY,
            Mode::from_raw_mode(0o600),
        )?);
    }
    mount_bind_recursive(at(opened), place)?;
    // the end of this mount must never reach what it was made from
    mount_change(place, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_inside_a_volume_are_followed_and_those_that_lead_out_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("a/b")).unwrap();
        symlink("a/b", volume.join("good")).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("..", volume.join("up")).unwrap();
        assert!(open(&volume, Path::new("good")).is_ok());
        for sub in ["out", "up", "out/passwd", "up/volume", "out/new"] {
            assert!(open(&volume, Path::new(sub)).is_err(), "{sub}");
        }
        assert!(!Path::new("/etc/new").exists());
    }

    #[test]
    fn folders_that_are_not_there_are_made_with_the_volumes_mode() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2775)).unwrap();
        open(dir.path(), Path::new("x/y")).unwrap();
        for made in ["x", "x/y"] {
            let mode = fs::metadata(dir.path().join(made)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o2775, "{made}");
        }
    }
}
