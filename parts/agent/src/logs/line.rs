//! One line of a log file: `TIME STREAM TAG TEXT`. Pure.

use super::options::Streams;
use jiff::Timestamp;

/// A line of a file: a whole line of the container's, or a part of a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) time: &'a str,
    pub(super) stream: Streams,
    /// More of the same line follows in the next one.
    pub(super) is_partial: bool,
    pub(super) text: &'a [u8],
}

/// Reads a line without its end; `None` for what is no such line (damaged by a crash, say).
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let stream = match stream {
        b"stdout" => Streams::Stdout,
        b"stderr" => Streams::Stderr,
        _ => return None,
    };
    // tags are separated by colons, and the first says whether the line is whole
    let is_partial = match tag.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let time = std::str::from_utf8(time).ok()?;
    Some(Line { time, stream, is_partial, text: parts.next().unwrap_or_default() })
}

impl Line<'_> {
    /// When it was written.
    pub(super) fn moment(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }

    /// The time with nine digits after the point, as upstream shows it: runtimes leave out zeros at the end.
    pub(super) fn shown_time(&self) -> String {
        let Some(at) = self.time.find(['Z', '+']).or_else(|| self.time.rfind('-')) else {
            return self.time.to_owned();
        };
        let (clock, zone) = self.time.split_at(at);
        let (whole, part) = clock.split_once('.').unwrap_or((clock, ""));
        format!("{whole}.{part:0<9}{zone}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = parse(b"2026-01-01T00:00:00.5Z stderr F two  words ").unwrap();
        assert_eq!(line.text, b"two  words ");
        assert_eq!((line.stream, line.is_partial), (Streams::Stderr, false));
        assert_eq!(line.shown_time(), "2026-01-01T00:00:00.500000000Z");
        assert!(line.moment().is_some());
        assert!(parse(b"t stdout P:x part").unwrap().is_partial);
        assert_eq!(parse(b"t stdout F ").unwrap().text, b"");
        assert_eq!(parse(b"t stdout F").unwrap().text, b"");
        for bad in [&b""[..], b"t stdout", b"t nowhere F x", b"t stdout X x", b"\xff stdout F x"] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn times_are_shown_with_nine_digits_in_every_zone() {
        for (found, shown) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000000Z"),
            ("2026-01-01T00:00:00.123456789+02:00", "2026-01-01T00:00:00.123456789+02:00"),
            ("2026-01-01T00:00:00.1-02:00", "2026-01-01T00:00:00.100000000-02:00"),
        ] {
            let text = format!("{found} stdout F x");
            assert_eq!(parse(text.as_bytes()).unwrap().shown_time(), shown);
        }
    }
}
