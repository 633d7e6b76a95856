//! `pernode`: one binary, started as server, agent or pretend nodes.
//!
//! Wires parts together and holds no logic of its own: the only place that may name two parts, read the
//! environment, and end the process. Start at [`cli`], then [`server`].

mod agent;
mod ask;
mod bench;
mod cli;
mod engine;
mod hollow;
mod host;
mod logging;
mod server;

use clap::Parser;
use std::process::ExitCode;

/// Objects are trees of small pieces; with the system's allocator, taking and giving back those pieces was a third of
/// all processor time of a server under load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a process that cannot start or go on answers.
const FAILED: u8 = 1;
/// What bad flags answer (clap's choice), but for questions, where 2 says that something would change.
const BAD_FLAGS: u8 = 2;

fn main() -> ExitCode {
    let arguments = cli::ask::arguments(std::env::args_os());
    let is_question = cli::ask::is_question(&arguments);
    let cli = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(fault) => {
            let _told = fault.print();
            return match (fault.use_stderr(), is_question) {
                (false, _) => ExitCode::SUCCESS,
                (true, true) => ExitCode::from(FAILED),
                (true, false) => ExitCode::from(BAD_FLAGS),
            };
        }
    };
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
            cli::Command::Explain(flags) => ask::run(cli::ask::Question::Explain(flags)).await,
            cli::Command::Plan(flags) => ask::run(cli::ask::Question::Plan(flags)).await,
            cli::Command::KubectlPlugin { question } => ask::run(question).await,
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
