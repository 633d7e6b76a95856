//! Judges a WAL before SQLite recovers it.
//!
//! SQLite takes the first frame that does not check out for the end of the WAL and drops the rest in silence.
//! That is right for the one transaction that was being written when the power went, and wrong for damage in
//! the middle: every transaction is synced before the next one begins, so at most one commit may lie at or
//! behind the first bad frame. More than that, or a bad header, is refused with the file and frame named.
//! (Format: <https://www.sqlite.org/fileformat2.html#walformat>.)

use crate::log::OpenError;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The magic number, but for its lowest bit, which is set when checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;
const PAGE_BYTES_MAX: u32 = 65_536;

/// Refuses a database that is empty beside a WAL that is not, and a WAL that is damaged in a place where no
/// crash damages it.
pub(super) fn examine(database: &Path, database_bytes: u64) -> Result<(), OpenError> {
    let mut name = OsString::from(database);
    name.push("-wal");
    let path = PathBuf::from(name);
    let place = path.display().to_string();
    let unreadable =
        |error: io::Error| OpenError::Unreadable { place: place.clone(), why: error.to_string() };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let length = file.metadata().map_err(unreadable)?.len();
    if length > HEADER_BYTES as u64 && database_bytes == 0 {
        return Err(OpenError::Damaged {
            place: database.display().to_string(),
            key: None,
            why: format!("it is empty, but {place} is not"),
        });
    }
    match judge(&mut BufReader::new(file)).map_err(unreadable)? {
        None => Ok(()),
        Some(why) => Err(OpenError::Damaged { place, key: None, why }),
    }
}

/// What is wrong with a WAL; `None` when SQLite's own recovery is right about it.
fn judge(wal: &mut dyn Read) -> io::Result<Option<String>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(wal, &mut header)? {
        // Synced before any frame is written: a WAL without a whole header holds nothing.
        return Ok(None);
    }
    let magic = word(&header, 0);
    let page = word(&header, 8);
    let mut sum = Sum { big_endian: magic & 1 == 1, s0: 0, s1: 0 };
    sum.add(&header[..24]);
    let sound = magic & !1 == MAGIC
        && page.is_power_of_two()
        && (512..=PAGE_BYTES_MAX).contains(&page)
        && sum.is(&header[24..]);
    if !sound {
        return Ok(Some("its header is damaged".to_owned()));
    }
    let salt = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER_BYTES + page as usize];
    let (mut number, mut bad, mut commits_behind) = (0_u64, None, 0);
    while fill(wal, &mut frame)? {
        number += 1;
        if bad.is_none() {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEADER_BYTES..]);
            if frame[8..16] != *salt || !sum.is(&frame[16..24]) {
                bad = Some(number);
            }
        }
        // The field is the size of the database after a commit, zero in other frames.
        if bad.is_some() && frame[8..16] == *salt && word(&frame, 4) != 0 {
            commits_behind += 1;
        }
    }
    Ok(bad.filter(|_| commits_behind > 1).map(|frame| {
        format!("frame {frame} is damaged, and {commits_behind} commits lie at or behind it")
    }))
}

/// Fills the buffer; false when there is less left than that.
fn fill(wal: &mut dyn Read, buffer: &mut [u8]) -> io::Result<bool> {
    match wal.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |four| four.iter().fold(0, |word, byte| (word << 8) | u32::from(*byte)))
}

/// The running checksum of a WAL.
struct Sum {
    big_endian: bool,
    s0: u32,
    s1: u32,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let read = |four: &[u8]| {
            let word = word(four, 0);
            if self.big_endian { word } else { word.swap_bytes() }
        };
        let (mut s0, mut s1) = (self.s0, self.s1);
        for pair in bytes.chunks_exact(8) {
            s0 = s0.wrapping_add(read(&pair[..4])).wrapping_add(s1);
            s1 = s1.wrapping_add(read(&pair[4..])).wrapping_add(s0);
        }
        (self.s0, self.s1) = (s0, s1);
    }

    fn is(&self, written: &[u8]) -> bool {
        (self.s0, self.s1) == (word(written, 0), word(written, 4))
    }
}
