//! How much a shared sync saves: `cargo run --release -p store --example group_commit [FOLDER]`.
//!
//! Writes the same pods of 4 KiB one by one and in batches, on the disk of the folder, and prints the ratio.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Action, Change, Expected, Frames, Key, Limits, Options, SqliteLog, Stamped, open};

const WRITES: usize = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let home = home.join(format!("group-commit-{}", std::process::id()));
    let single = measure(&home.join("1"), 1)?;
    for batch in [10, 100, 500] {
        let time = measure(&home.join(batch.to_string()), batch)?;
        println!(
            "{batch} in a batch: {:?} a write; one by one: {:?} a write; ratio {:.1}",
            time,
            single,
            single.as_secs_f64() / time.as_secs_f64()
        );
    }
    std::fs::remove_dir_all(&home)?;
    Ok(())
}

/// Time for each write.
fn measure(folder: &Path, batch: usize) -> Result<Duration, Box<dyn std::error::Error>> {
    let options = Options {
        limits: Limits::default(),
        frames: Frames::default(),
        lazy_collections: &[],
        indexes: Vec::new(),
    };
    let log = Box::new(SqliteLog::open(folder)?);
    let (_, mut writer) = open(log, options, &|_, _| Ok(()))?;
    let begin = Instant::now();
    for first in (0..WRITES).step_by(batch) {
        let changes = (first..first + batch).map(|n| {
            let value = Stamped::new("x".repeat(4_096), "");
            let action = Action::Put { value, facts: (), lazy: false };
            let key = Key::new("/pods", "space", format!("p{}", n % 500));
            Change { key, expected: Expected::Any, action }
        });
        writer.commit(changes.collect(), Duration::ZERO, false)?;
    }
    Ok(begin.elapsed() / u32::try_from(WRITES)?)
}
