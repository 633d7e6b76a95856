//! `pernode`: one binary, started as server, agent or pretend nodes.
//!
//! Wires parts together and holds no logic of its own: the only place that may name two parts, read the
//! environment, and end the process. Start at [`cli`], then [`server`].

mod agent;
mod bench;
mod cli;
mod engine;
mod hollow;
mod host;
mod logging;
mod server;

use clap::Parser;
use std::process::ExitCode;

/// What a process that cannot start or go on answers. Bad flags are 2 (clap's choice).
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging::start(&cli.log);
    match run(cli.command) {
        Ok(code) => code,
        Err(fault) => {
            complain(&fault);
            ExitCode::from(FAILED)
        }
    }
}

/// One line for a person: what failed, why, what to do.
#[expect(clippy::print_stderr, reason = "the last words of a command belong on standard error")]
fn complain(fault: &anyhow::Error) {
    eprintln!("pernode: {fault:#}");
}

fn run(command: cli::Command) -> anyhow::Result<ExitCode> {
    // one TLS library for all; a second installation is no harm
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            cli::Command::Server(flags) => server::run(flags).await,
            cli::Command::Engine(flags) => engine::run(flags).await,
            cli::Command::Agent(flags) => agent::run(flags).await,
            cli::Command::Hollow(flags) => hollow::run(flags).await,
            cli::Command::Bench(flags) => bench::run(flags).await,
            cli::Command::Version => {
                version();
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn version() {
    println!("pernode {} (speaks Kubernetes {})", env!("CARGO_PKG_VERSION"), cli::KUBERNETES);
}
