use super::*;
use std::fs::OpenOptions;
use std::io::Write;

struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("0.log")
    }

    fn append(&self, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.path());
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, stamp: &str) {
        fs::rename(self.path(), self.path().with_file_name(format!("0.log.{stamp}"))).unwrap();
    }

    fn read(&self, options: &Options) -> String {
        drain(&mut Reader::open(self.path(), options).unwrap())
    }
}

/// Everything that is there now.
fn drain(reader: &mut Reader) -> String {
    let mut out = Vec::new();
    while let Next::Piece(piece) = reader.step().unwrap() {
        out.extend_from_slice(&piece);
    }
    String::from_utf8(out).unwrap()
}

fn line(second: u32, text: &str) -> String {
    format!("2026-01-01T00:00:{second:02}Z stdout F {text}\n")
}

fn numbered(from: u32, to: u32) -> String {
    (from..to).map(|n| line(n % 60, &n.to_string())).collect::<Vec<_>>().concat()
}

fn plain(from: u32, to: u32) -> String {
    (from..to).map(|n| format!("{n}\n")).collect::<Vec<_>>().concat()
}

fn tail(lines: u64) -> Options {
    Options { tail: Some(lines), ..Options::default() }
}

#[test]
fn rotated_files_come_first_in_their_order_packed_or_not() {
    let log = Log::new();
    log.append(&numbered(0, 3));
    log.rotate("20260101-000000");
    let rotated = log.dir.path().join("0.log.20260101-000000");
    let file = File::create(log.dir.path().join("0.log.20260101-000000.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(&fs::read(&rotated).unwrap()).unwrap();
    packed.finish().unwrap();
    fs::remove_file(rotated).unwrap();
    log.append(&numbered(3, 5));
    log.rotate("20260101-000100");
    log.append(&numbered(5, 7));
    log.append("2026-01-01T00:00:09Z stdout F unfin");
    assert_eq!(log.read(&Options::default()), plain(0, 7));
    for lines in 0..9 {
        let from = 7_u32.saturating_sub(u32::try_from(lines).unwrap());
        assert_eq!(log.read(&tail(lines)), plain(from, 7), "tail {lines}");
    }
}

#[test]
fn the_tail_of_a_long_file_is_found_across_blocks() {
    let log = Log::new();
    log.append(&numbered(0, 9_000));
    for lines in [1, 1_999, 5_000, 8_999, 9_000, 9_001] {
        let from = 9_000_u32.saturating_sub(u32::try_from(lines).unwrap());
        assert_eq!(log.read(&tail(lines)), plain(from, 9_000), "tail {lines}");
    }
}

#[test]
fn parts_are_joined_and_count_as_one_line() {
    let log = Log::new();
    log.append(&line(1, "before"));
    log.append("2026-01-01T00:00:02Z stdout P a\n2026-01-01T00:00:02Z stderr F e\n");
    log.append("2026-01-01T00:00:03Z stdout P b\n2026-01-01T00:00:04.5Z stdout F c\n");
    assert_eq!(log.read(&tail(1)), "bc\n");
    let timestamps = Options { timestamps: true, streams: Streams::Stdout, ..Options::default() };
    assert_eq!(
        log.read(&timestamps),
        "2026-01-01T00:00:01.000000000Z before\n2026-01-01T00:00:02.000000000Z abc\n"
    );
    let stderr = Options { streams: Streams::Stderr, ..Options::default() };
    assert_eq!(log.read(&stderr), "e\n");
    log.append("2026-01-01T00:00:05Z stdout P unended\n");
    assert_eq!(log.read(&tail(1)), "unended");
}

#[test]
fn lines_before_a_moment_and_bytes_after_a_limit_are_left_out() {
    let log = Log::new();
    log.append(&numbered(0, 6));
    log.append("damaged\n");
    let since = |text: &str| Some(text.parse().unwrap());
    let options = Options { since: since("2026-01-01T00:00:04Z"), ..Options::default() };
    assert_eq!(log.read(&options), "4\n5\n");
    let options = Options { limit: Some(5), ..Options::default() };
    assert_eq!(log.read(&options), "0\n1\n2");
    let mut reader = Reader::open(log.path(), &options).unwrap();
    assert_eq!(reader.step().unwrap(), Next::Piece(Bytes::from_static(b"0\n1\n2")));
    assert_eq!(reader.step().unwrap(), Next::Full);
    let both =
        Options { tail: Some(4), since: since("2026-01-01T00:00:05Z"), ..Options::default() };
    assert_eq!(log.read(&both), "5\n");
}

#[test]
fn a_follower_loses_and_repeats_nothing_across_rotations() {
    let log = Log::new();
    let follow = Options { follow: true, tail: Some(1), ..Options::default() };
    log.append(&numbered(0, 3));
    let mut reader = Reader::open(log.path(), &follow).unwrap();
    assert_eq!(drain(&mut reader), "2\n");
    log.append("2026-01-01T00:00:03Z stdout F 3");
    assert_eq!(drain(&mut reader), "");
    log.append("\n");
    assert_eq!(drain(&mut reader), "3\n");
    // the runtime goes on writing into the renamed file until it is told
    log.rotate("20260101-000001");
    let old = log.path().with_file_name("0.log.20260101-000001");
    let mut old = OpenOptions::new().append(true).open(old).unwrap();
    old.write_all(line(4, "4").as_bytes()).unwrap();
    log.append(&numbered(5, 7));
    assert_eq!(drain(&mut reader), "4\n5\n6\n");
    // twice between two looks
    log.append(&numbered(7, 8));
    log.rotate("20260101-000002");
    log.append(&numbered(8, 9));
    log.rotate("20260101-000003");
    log.append(&numbered(9, 10));
    assert_eq!(drain(&mut reader), plain(7, 10));
}

#[test]
fn a_log_that_is_not_there_is_an_error_unless_it_is_followed() {
    let log = Log::new();
    let error = Reader::open(log.path(), &Options::default()).err().unwrap();
    assert!(error.to_string().contains("no such file or directory"), "{error}");
    let follow = Options { follow: true, ..Options::default() };
    let mut reader = Reader::open(log.path(), &follow).unwrap();
    assert_eq!(reader.step().unwrap(), Next::End);
    log.append(&numbered(0, 1));
    assert_eq!(drain(&mut reader), "0\n");
}

#[test]
fn a_file_that_was_cut_is_read_from_its_beginning() {
    let log = Log::new();
    log.append(&numbered(0, 5));
    let follow = Options { follow: true, ..Options::default() };
    let mut reader = Reader::open(log.path(), &follow).unwrap();
    assert_eq!(drain(&mut reader), plain(0, 5));
    OpenOptions::new().write(true).truncate(true).open(log.path()).unwrap();
    assert_eq!(reader.step().unwrap(), Next::End);
    log.append(&numbered(5, 6));
    assert_eq!(drain(&mut reader), "5\n");
}
