//! A row: the bytes of one object at one revision, and the words that frame an event about it.

use crate::key::Key;
use bytes::{Bytes, BytesMut};

/// A value with a gap in which the commit writes the decimal revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamped {
    /// All that comes before the revision.
    pub head: Bytes,
    /// All that comes after it.
    pub tail: Bytes,
}

impl Stamped {
    /// A value of its two halves.
    pub fn new(head: impl Into<Bytes>, tail: impl Into<Bytes>) -> Self {
        Self { head: head.into(), tail: tail.into() }
    }

    /// Bytes without the revision.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// True when there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One object at one revision. Immutable; shared by all who read it.
#[derive(Debug)]
pub struct Row<F> {
    /// Where it lives.
    pub key: Key,
    /// The revision of the commit that wrote it.
    pub revision: u64,
    /// The value, with the revision written into it.
    pub bytes: Bytes,
    /// What the caller extracted from the value.
    pub facts: F,
    /// Where in `bytes` the decimal revision begins.
    pub(crate) stamp: u32,
}

impl<F> Row<F> {
    /// Everything before the revision, and everything after it.
    pub fn halves(&self) -> Stamped {
        let at = self.stamp as usize;
        let end = at + decimal_len(self.revision);
        Stamped { head: self.bytes.slice(..at), tail: self.bytes.slice(end..) }
    }

    /// The same value at another revision, and that value between a prefix and a suffix.
    pub fn restamped(&self, revision: u64, prefix: &str, suffix: &str) -> (Self, Bytes)
    where
        F: Clone,
    {
        let (line, _) = frame(&self.halves(), revision, prefix, suffix);
        let bytes = line.slice(prefix.len()..line.len() - suffix.len());
        let (key, facts) = (self.key.clone(), self.facts.clone());
        (Self { key, revision, bytes, facts, stamp: self.stamp }, line)
    }

    pub(crate) fn checksum(&self) -> u32 {
        checksum(&self.key.to_text(), self.revision, self.stamp, &self.bytes)
    }
}

/// What stands around a value in the line that tells watchers of a change. Framed once at commit, in the
/// same allocation as the value itself, so that sharing the line costs no second copy of the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// Before a value that is new.
    pub added: &'static str,
    /// Before a value that replaces another.
    pub modified: &'static str,
    /// Before the last value of what is gone.
    pub deleted: &'static str,
    /// After every value.
    pub suffix: &'static str,
}

pub(crate) fn decimal_len(revision: u64) -> usize {
    revision.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

/// The framed value, and the offset of the revision in it.
pub(crate) fn frame(value: &Stamped, revision: u64, prefix: &str, suffix: &str) -> (Bytes, usize) {
    let digits = revision.to_string();
    let length = prefix.len() + value.len() + digits.len() + suffix.len();
    let mut line = BytesMut::with_capacity(length);
    line.extend_from_slice(prefix.as_bytes());
    line.extend_from_slice(&value.head);
    let at = line.len();
    line.extend_from_slice(digits.as_bytes());
    line.extend_from_slice(&value.tail);
    line.extend_from_slice(suffix.as_bytes());
    (line.freeze(), at)
}

/// CRC-32 over everything that makes up a row.
pub(crate) fn checksum(key: &str, revision: u64, stamp: u32, bytes: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(key.as_bytes());
    hash.update(&revision.to_le_bytes());
    hash.update(&stamp.to_le_bytes());
    hash.update(bytes);
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::{Stamped, decimal_len, frame};

    #[test]
    fn decimal_length_is_that_of_the_text() {
        for revision in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(decimal_len(revision), revision.to_string().len(), "{revision}");
        }
    }

    #[test]
    fn the_revision_is_written_into_the_gap() {
        let (line, at) = frame(&Stamped::new("{\"v\":\"", "\"}"), 42, "<", ">");
        assert_eq!(&line[..], b"<{\"v\":\"42\"}>");
        assert_eq!(&line[at..at + 2], b"42");
    }
}
