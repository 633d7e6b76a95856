//! `cargo run -p tape`: replays the tapes and prints what differed and the score by topic.

use clap::Parser;
use regex::Regex;
use std::io::Write;
use std::process::ExitCode;
use tape::floor;
use tape::replay::{Wish, replay};
use tape::tape::{DEV, DEV_SA};

/// Lines shown for a failing exchange unless `--verbose`.
const LINES: usize = 3;
/// With `--verbose`.
const LINES_VERBOSE: usize = 60;

/// Replays recordings of a real Kubernetes 1.36.2 API server against ours, in this process, in virtual time.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Arguments {
    /// Only cases whose name matches
    #[arg(long, value_name = "REGEX")]
    only: Option<Regex>,
    /// Only exchanges whose topic matches
    #[arg(long, value_name = "REGEX")]
    topic: Option<Regex>,
    /// Cases in another order, drawn from this number
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// With other names for all objects, namespaces and label values
    #[arg(long)]
    rename: bool,
    /// All that differed
    #[arg(long, short)]
    verbose: bool,
    /// Only the score
    #[arg(long, short)]
    quiet: bool,
    /// Raise the floor to this score
    #[arg(long)]
    raise: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let wish = Wish {
        only: arguments.only,
        topic: arguments.topic,
        shuffle: arguments.shuffle,
        rename: arguments.rename,
    };
    let mut out = std::io::stdout().lock();
    let mut floor = floor::recorded()?;
    let mut code = ExitCode::SUCCESS;
    for tape in [DEV, DEV_SA] {
        let score = replay(tape, &wish)?;
        if score.total().all == 0 {
            continue;
        }
        let lines = if arguments.verbose { LINES_VERBOSE } else { LINES };
        if !arguments.quiet {
            writeln!(out, "{}", score.failures(lines))?;
        }
        writeln!(out, "{}", score.table(tape.name))?;
        if arguments.raise {
            floor::raise(&mut floor, tape.name, &score);
        } else if wish.only.is_none() && wish.topic.is_none() {
            for line in floor::below(&floor, tape.name, &score) {
                writeln!(out, "below the floor: {line}")?;
                code = ExitCode::FAILURE;
            }
        }
    }
    if arguments.raise {
        std::fs::write(floor::PATH, serde_json::to_string_pretty(&floor)? + "\n")?;
    }
    Ok(code)
}
