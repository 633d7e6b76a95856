//! What the store asks of a medium: give back every row at start, and take a batch with one sync.

use bytes::Bytes;
use std::fmt;

/// A row as a medium keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// [`crate::Key::to_text`].
    pub key: String,
    /// The revision of the commit that wrote it.
    pub revision: u64,
    /// Where in `bytes` the decimal revision begins.
    pub stamp: u32,
    /// The value.
    pub bytes: Bytes,
    /// CRC-32 over all of the above.
    pub crc: u32,
}

/// What is known about all rows together. Written with every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last revision given out when this was written.
    pub last: u64,
    /// No revision above this one was given out without a sync. After a crash revisions go on from here.
    pub reserved: u64,
    /// How many rows there are.
    pub count: u64,
    /// Sum of the rows' checksums, so that a row that vanished is noticed.
    pub digest: u64,
    /// Whether the store was closed in good order: nothing was lazily held back.
    pub clean: bool,
}

impl Meta {
    /// CRC-32 over all fields.
    pub fn checksum(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        for field in [self.last, self.reserved, self.count, self.digest, u64::from(self.clean)] {
            hash.update(&field.to_le_bytes());
        }
        hash.finalize()
    }
}

/// What one sync makes durable: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows to insert or replace. No key occurs twice, nor in `deletes`.
    pub puts: Vec<Stored>,
    /// Keys to remove.
    pub deletes: Vec<String>,
    /// The new [`Meta`].
    pub meta: Meta,
}

/// Why a medium did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Nothing of the batch was written, and nothing of it will ever be found.
    #[error("{0}")]
    NotWritten(String),
    /// The batch may or may not be found at the next start.
    #[error("{0}")]
    Unknown(String),
}

/// Why a store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// What is on the medium is not what was written.
    #[error("{place} is damaged{}: {why}", at_key(.key.as_deref()))]
    Damaged {
        /// The file.
        place: String,
        /// The row, where one can be named.
        key: Option<String>,
        /// What was found.
        why: String,
    },
    /// Another process has it open.
    #[error("{place} is in use by another process: {why}")]
    InUse {
        /// The file.
        place: String,
        /// What the medium said.
        why: String,
    },
    /// The medium could not be read or written.
    #[error("{place}: {why}")]
    Unreadable {
        /// The file.
        place: String,
        /// What the medium said.
        why: String,
    },
}

fn at_key(key: Option<&str>) -> String {
    key.map_or_else(String::new, |key| format!(" at {key}"))
}

/// Receives the rows of a replay one by one; an error ends it.
pub type EachRow<'a> = &'a mut dyn FnMut(Stored) -> Result<(), OpenError>;

/// A medium. One owner; never called from two places at once.
pub trait Log: Send + fmt::Debug {
    /// Names the medium in messages: a file's path.
    fn place(&self) -> String;

    /// Whether calls may block the thread for long (a disk) or never do (memory).
    fn blocks(&self) -> bool;

    /// Gives back every row, in any order, and what was last said about them all.
    /// Called once, before anything else. A medium that was never written has no [`Meta`].
    fn replay(&mut self, each: EachRow<'_>) -> Result<Option<Meta>, OpenError>;

    /// Takes a batch. Nothing of it need be durable before [`Log::sync`] returns.
    fn append(&mut self, batch: &Batch) -> Result<(), LogError>;

    /// Makes what was appended durable. After [`LogError::NotWritten`] it is as if it had not been appended.
    fn sync(&mut self) -> Result<(), LogError>;

    /// The last call: tidies up where the medium likes that. Durability does not depend on it.
    fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}
