//! hostPath: checked or made before anything is mounted (spec E50).

use crate::text::io_text;
use k8s_openapi::api::core::v1::HostPathVolumeSource;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Checks or makes what `hostPath` names, with upstream's sentences (spec E50).
pub(super) fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let failed =
        |what: &str| Err(format!("hostPath type check failed: {} is not {what}", source.path));
    let kind = fs::metadata(path).map(|meta| meta.file_type());
    let is = |test: fn(&fs::FileType) -> bool| kind.as_ref().is_ok_and(test);
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => match &kind {
            Ok(kind) if kind.is_dir() => Ok(()),
            Ok(_) => failed("a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(path, 0o755)
                .map_err(|error| format!("mkdir {}: {}", source.path, io_text(&error))),
            Err(error) => Err(format!("stat {}: {}", source.path, io_text(error))),
        },
        "FileOrCreate" => match &kind {
            Ok(kind) if kind.is_file() => Ok(()),
            Ok(_) => failed("a file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = fs::OpenOptions::new().write(true).create_new(true).open(path);
                made.and_then(|_| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
                    .map_err(|error| format!("open {}: {}", source.path, io_text(&error)))
            }
            Err(error) => Err(format!("stat {}: {}", source.path, io_text(error))),
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
