//! Reading a log across its files: oldest rotated one first, then the one that is written now, then what comes after it.
//!
//! Every step does a bounded piece of blocking work. Files that the runtime has left are read to their end before the
//! next one begins, so that a rotation loses and repeats nothing.

use super::line::{self, Line};
use super::options::{Options, Streams};
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes read at once; what comes out of them is one piece.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// Longest line of a file. Runtimes cut lines at 16 KiB; what is longer is damage and left out.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a packed file when unpacked. Files are rotated at 10 MiB, so more is damage.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// What a step gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Bytes for the client.
    Piece(Bytes),
    /// Everything written so far was given.
    End,
    /// The limit is reached.
    Full,
}

trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// A file that is being read.
struct Opened {
    content: Box<dyn ReadSeek>,
    inode: u64,
    offset: u64,
}

impl Opened {
    fn new(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let inode = file.metadata()?.ino();
        if path.extension().is_some_and(|end| end == "gz") {
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(&mut file)
                .take(UNPACKED_BYTES_MAX)
                .read_to_end(&mut bytes)?;
            return Ok(Self { content: Box::new(Cursor::new(bytes)), inode, offset: 0 });
        }
        Ok(Self { content: Box::new(file), inode, offset: 0 })
    }

    fn jump(&mut self, offset: u64) -> io::Result<()> {
        self.offset = self.content.seek(SeekFrom::Start(offset))?;
        Ok(())
    }
}

/// Reads one container's log.
pub(super) struct Reader {
    /// The file that is written now.
    path: PathBuf,
    options: Options,
    opened: Option<Opened>,
    /// To be read after the one that is open.
    waiting: VecDeque<PathBuf>,
    /// Bytes of a line that has no end yet.
    rest: Vec<u8>,
    /// The next bytes of stdout and stderr begin a line of the container's.
    begins: [bool; 2],
    /// Lines before this moment are left out; nothing once one line was late enough.
    since: Option<Timestamp>,
    /// Bytes that may still be given.
    room: Option<u64>,
}

/// The log's files, oldest first: those that were rotated away (their names end in the time), then the one written now.
fn files(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prefix = format!("{name}.");
    let entries = path.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten();
    let mut rotated: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|one| {
            one.starts_with(&prefix) && Path::new(one).extension().is_none_or(|end| end != "tmp")
        })
        .collect();
    // packed and plain names of one time sort alike; while both are there the plain one is whole
    rotated.sort_by(|a, b| a.trim_end_matches(".gz").cmp(b.trim_end_matches(".gz")).then(a.cmp(b)));
    rotated.dedup_by(|b, a| a.trim_end_matches(".gz") == b.trim_end_matches(".gz"));
    let mut all: Vec<PathBuf> = rotated.iter().map(|one| path.with_file_name(one)).collect();
    if path.exists() {
        all.push(path.to_path_buf());
    }
    all
}

impl Reader {
    /// Finds where to begin.
    pub(super) fn open(path: PathBuf, options: &Options) -> io::Result<Self> {
        let all = files(&path);
        if all.is_empty() && !options.follow {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "failed to try resolving symlinks in path \"{0}\": lstat {0}: no such file or directory",
                    path.display()
                ),
            ));
        }
        let mut reader = Self {
            path,
            opened: None,
            waiting: all.into(),
            rest: Vec::new(),
            begins: [true; 2],
            since: options.since,
            room: options.limit,
            options: options.clone(),
        };
        if let Some(lines) = options.tail {
            reader.skip_to_tail(lines)?;
        }
        Ok(reader)
    }

    /// Leaves just the files that hold the last `lines` lines, the first of them open at the right place.
    fn skip_to_tail(&mut self, lines: u64) -> io::Result<()> {
        let mut missing = lines;
        let mut kept = VecDeque::new();
        while let Some(path) = self.waiting.pop_back() {
            let mut opened = match Opened::new(&path) {
                Ok(opened) => opened,
                // rotated away under our eyes: its lines are in a file that was looked at already
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match tail_of(&mut *opened.content, missing)? {
                Tail::Begins(offset) => {
                    opened.jump(offset)?;
                    self.opened = Some(opened);
                    break;
                }
                Tail::Holds(found) => {
                    missing -= found.min(missing);
                    kept.push_front(path);
                }
            }
        }
        self.waiting = kept;
        Ok(())
    }

    /// One bounded piece of work.
    pub(super) fn step(&mut self) -> io::Result<Next> {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            if self.room == Some(0) {
                return Ok(Next::Full);
            }
            let count = self.read(&mut buffer)?;
            if count > 0 {
                let piece = self.digest(buffer.get(..count).unwrap_or_default());
                if !piece.is_empty() {
                    return Ok(Next::Piece(piece.into()));
                }
                continue;
            }
            // nothing more here: the next file, if there is one
            if self.waiting.is_empty() && !self.find_successors() {
                return Ok(Next::End);
            }
            // written between the last look and the rotation
            let count = self.read(&mut buffer)?;
            let piece = self.digest(buffer.get(..count).unwrap_or_default());
            if count == 0 {
                self.open_next()?;
            }
            if !piece.is_empty() {
                return Ok(Next::Piece(piece.into()));
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(opened) = &mut self.opened else { return Ok(0) };
        let count = opened.content.read(buffer)?;
        opened.offset += count as u64;
        Ok(count)
    }

    fn open_next(&mut self) -> io::Result<()> {
        self.rest.clear();
        self.opened = None;
        while let Some(path) = self.waiting.pop_front() {
            match Opened::new(&path) {
                Ok(opened) => {
                    self.opened = Some(opened);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the log goes on in another file than the one that is open.
    fn find_successors(&mut self) -> bool {
        let now = fs::metadata(&self.path).ok();
        match (&mut self.opened, now) {
            (_, None) => false,
            (Some(opened), Some(now)) if opened.inode == now.ino() => {
                if now.len() < opened.offset && opened.jump(0).is_ok() {
                    // cut to nothing and written anew
                    self.rest.clear();
                }
                false
            }
            (None, Some(_)) => {
                self.waiting.push_back(self.path.clone());
                true
            }
            (Some(opened), Some(_)) => {
                let all = files(&self.path);
                let inode = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.ino());
                let ours = all.iter().position(|path| inode(path) == opened.inode);
                self.waiting = match ours {
                    Some(at) => all.into_iter().skip(at + 1).collect(),
                    // packed or removed meanwhile: all that is certainly new is the one written now
                    None => VecDeque::from([self.path.clone()]),
                };
                !self.waiting.is_empty()
            }
        }
    }

    /// Turns bytes of a file into bytes for the client.
    fn digest(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(all.len());
        let mut begin = 0;
        while let Some(length) =
            all.get(begin..).and_then(|rest| rest.iter().position(|b| *b == b'\n'))
        {
            if let Some(line) = all.get(begin..begin + length).and_then(line::parse) {
                self.write(line, &mut out);
            }
            begin += length + 1;
        }
        all.drain(..begin);
        if all.len() <= LINE_BYTES_MAX {
            self.rest = all;
        }
        if let Some(room) = &mut self.room {
            out.truncate(usize::try_from(*room).unwrap_or(usize::MAX));
            *room -= out.len() as u64;
        }
        out
    }

    fn write(&mut self, line: Line<'_>, out: &mut Vec<u8>) {
        if self.options.streams != Streams::All && self.options.streams != line.stream {
            return;
        }
        if let Some(since) = self.since {
            if line.moment().is_some_and(|moment| moment < since) {
                return;
            }
            self.since = None;
        }
        let begins = &mut self.begins[usize::from(line.stream == Streams::Stderr)];
        if self.options.timestamps && *begins {
            out.extend_from_slice(line.shown_time().as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.is_partial {
            out.push(b'\n');
        }
        *begins = !line.is_partial;
    }
}

/// Where the end of a file begins.
enum Tail {
    /// At this offset.
    Begins(u64),
    /// Before this file, which holds so many lines.
    Holds(u64),
}

/// Looks for the last `lines` lines of the container's in one file, from its end.
fn tail_of(content: &mut dyn ReadSeek, lines: u64) -> io::Result<Tail> {
    let mut start = content.seek(SeekFrom::End(0))?;
    // the file's bytes from `start` on that are not judged yet
    let mut buffer: Vec<u8> = Vec::new();
    let mut found = 0;
    loop {
        let mut upto = buffer.len();
        loop {
            let is_ended = buffer.get(..upto).is_some_and(|b| b.ends_with(b"\n"));
            let end = upto - usize::from(is_ended);
            let head = buffer.get(..end).unwrap_or_default();
            let begin = match head.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None if start == 0 => 0,
                None => break,
            };
            let is_last = found == 0;
            // a part counts only where the rest of its line is not there yet; half an entry is being written now
            let counts = is_ended
                && line::parse(head.get(begin..).unwrap_or_default())
                    .is_some_and(|line| !line.is_partial || is_last);
            if counts && found == lines {
                return Ok(Tail::Begins(start + upto as u64));
            }
            found += u64::from(counts);
            upto = begin;
            if begin == 0 {
                break;
            }
        }
        if start == 0 {
            return Ok(Tail::Holds(found));
        }
        buffer.truncate(upto);
        if buffer.len() > LINE_BYTES_MAX {
            buffer.clear();
        }
        let size = start.min(PIECE_BYTES as u64);
        start -= size;
        content.seek(SeekFrom::Start(start))?;
        let mut block = vec![0; usize::try_from(size).unwrap_or(PIECE_BYTES)];
        content.read_exact(&mut block)?;
        block.append(&mut buffer);
        buffer = block;
    }
}

#[cfg(test)]
mod tests;
