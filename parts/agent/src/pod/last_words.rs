//! The last words of a container: from its message file, or from the end of its log (spec E14).

use crate::cri::v1;
use crate::words;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes taken from the message file.
const FILE_MAX: u64 = 4096;
/// Bytes and lines taken from the log.
const LOG_MAX: (u64, usize) = (2048, 80);

/// Empty if there are none.
pub(super) fn read(status: &v1::ContainerStatus) -> String {
    let note = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or_default();
    let message = tail(Path::new(note(words::MESSAGE_FILE)), FILE_MAX);
    let is_log_wanted = note(words::MESSAGE_POLICY) == "FallbackToLogsOnError";
    if message.is_empty() && is_log_wanted && status.exit_code != 0 {
        return from_log(&tail(Path::new(&status.log_path), LOG_MAX.0 * 2));
    }
    message
}

fn tail(path: &Path, most: u64) -> String {
    let read = || {
        let mut file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// Lines of a log are `TIME STREAM TAG TEXT`.
fn from_log(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let kept = &lines[lines.len().saturating_sub(LOG_MAX.1)..];
    let mut text: String = kept.iter().flat_map(|line| [line, "\n"]).collect();
    let most = usize::try_from(LOG_MAX.0).unwrap_or(usize::MAX);
    while text.len() > most {
        let first = text.find('\n').map_or(text.len(), |at| at + 1);
        text.drain(..first);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_taken_without_its_marks() {
        let log = "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr F two words\n";
        assert_eq!(from_log(log), "one\ntwo words\n");
        let lines: Vec<String> = (0..200).map(|n| format!("t stdout F line {n}\n")).collect();
        let long = lines.concat();
        assert_eq!(from_log(&long).lines().count(), 80);
    }
}
