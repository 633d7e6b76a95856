//! Replays seeds: `cargo run -p world -- SEED [SEED…]` prints the tape and the verdict of each.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for argument in std::env::args().skip(1) {
        let Ok(seed) = argument.parse() else {
            let _closed = writeln!(out, "{argument} is no seed");
            return ExitCode::FAILURE;
        };
        let outcome = world::run(seed, None);
        for line in &outcome.tape {
            let _closed = writeln!(out, "{line}");
        }
        if outcome.faults.is_empty() {
            let _closed = writeln!(out, "seed {seed}: nothing wrong");
        } else {
            let _closed = writeln!(out, "{}", outcome.report());
            code = ExitCode::FAILURE;
        }
    }
    code
}
