//! The last acknowledged revision, and the lock against a second process.

use crate::log::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the file.
const NAME: &str = "pernode.mark";
/// Eight bytes of revision, four of their CRC-32, both little-endian.
const LENGTH: usize = 12;

/// An open, locked mark. The kernel drops the lock with the process.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
    acknowledged: u64,
}

impl Mark {
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(NAME);
        let place = path.display().to_string();
        let unreadable = |error: std::io::Error| OpenError::Unreadable {
            place: place.clone(),
            why: error.to_string(),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unreadable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "it is locked: is a server running on this folder?".to_owned();
                return Err(OpenError::InUse { place, why });
            }
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        let length = file.metadata().map_err(unreadable)?.len();
        let mut content = [0; LENGTH];
        // Shorter, or all zeros: a machine that stopped before the file system wrote it out. It knows nothing.
        if length >= LENGTH as u64 {
            file.read_exact_at(&mut content, 0).map_err(unreadable)?;
        }
        let acknowledged = decode(content).ok_or_else(|| OpenError::Damaged {
            place: place.clone(),
            key: None,
            why: "its checksum does not match; if the database is known to be whole, remove this file"
                .to_owned(),
        })?;
        Ok(Self { file, path, acknowledged })
    }

    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Notes that everything up to a revision is durable. An error is of no consequence: an older mark claims
    /// less, and still nothing untrue.
    pub(super) fn acknowledge(&mut self, revision: u64) {
        self.acknowledged = revision;
        let _noted = self.file.write_all_at(&encode(revision), 0).is_ok();
    }

    /// Makes the mark itself durable; called at an orderly end.
    pub(super) fn settle(&self) {
        let _settled = self.file.sync_all().is_ok();
    }
}

fn encode(revision: u64) -> [u8; LENGTH] {
    let mut content = [0; LENGTH];
    content[..8].copy_from_slice(&revision.to_le_bytes());
    let crc = crc32fast::hash(&content[..8]);
    content[8..].copy_from_slice(&crc.to_le_bytes());
    content
}

fn decode(content: [u8; LENGTH]) -> Option<u64> {
    if content == [0; LENGTH] {
        return Some(0);
    }
    let revision = u64::from_le_bytes(content[..8].try_into().ok()?);
    (encode(revision) == content).then_some(revision)
}
