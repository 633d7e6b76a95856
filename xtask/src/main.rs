//! Chores: packing images, bringing clusters up on this machine, the demo, the walk.
#![expect(clippy::disallowed_methods, reason = "chores wait and measure in real time")]

mod api;
mod bench;
mod cluster;
mod demo;
mod full;
mod image;
mod images;
mod python;
mod sh;
mod suite;
mod walk;
mod witness;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "xtask", about = "Chores of the pernode repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Bring a cluster of namespaces up or down on this machine
    Cluster {
        #[command(subcommand)]
        act: ClusterAct,
    },
    /// The demo: a server and three nodes with daemons on each
    Demo {
        #[command(subcommand)]
        act: DemoAct,
    },
    /// Everything CI runs
    Test,
    /// Measure, and fill docs/benchmarks.md
    Bench {
        /// What is measured; without it the release build, made first
        #[arg(long)]
        pernode: Option<PathBuf>,
    },
    /// Do what the guide says against a running cluster, and write down what was seen
    Walk {
        /// The cluster's folder
        #[arg(long, default_value = demo::DIR)]
        dir: PathBuf,
        /// Where to write what was seen; docs/walk.md when no chapter is named, else nowhere
        #[arg(long)]
        out: Option<PathBuf>,
        /// Chapters; all when none is named
        chapters: Vec<String>,
    },
    /// The first process of a node (started by `cluster`)
    #[command(hide = true)]
    NodeInit {
        #[arg(long)]
        spec: PathBuf,
    },
}

#[derive(Subcommand)]
enum DemoAct {
    /// Bring it up
    Up {
        /// Which daemons run on it
        #[arg(long, value_enum, default_value_t = demo::Profile::Small)]
        profile: demo::Profile,
    },
    /// End it, leaving nothing behind
    Down,
}

#[derive(Subcommand)]
enum ClusterAct {
    /// Start a registry, a server and nodes; prints the record as JSON
    Up {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        #[arg(long)]
        pernode: Option<PathBuf>,
        #[arg(long, default_value = "node")]
        prefix: String,
        /// Let the agents bring the pod network
        #[arg(long)]
        agents_network: bool,
    },
    /// End it: undo just what was recorded as made
    Down {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Add one node; prints its name
    AddNode {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Start the server again
    StartServer {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Stop the server
    StopServer {
        #[arg(long)]
        dir: PathBuf,
        /// With SIGKILL rather than SIGTERM
        #[arg(long)]
        kill: bool,
    },
}

/// Says something to the person in front of the screen.
#[expect(clippy::print_stderr, reason = "a chore talks to a person")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "a chore's answer")]
pub(crate) fn answer(text: &str) {
    println!("{text}");
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::NodeInit { spec } => cluster::node_init(&spec),
        Chore::Demo { act: DemoAct::Up { profile } } => demo::up(&pernode()?, profile),
        Chore::Demo { act: DemoAct::Down } => demo::down(),
        Chore::Test => suite::run(),
        Chore::Bench { pernode } => bench::run(pernode),
        Chore::Walk { dir, out, chapters } => {
            let usual = demo::repository()?.join("docs/walk.md");
            let out = out.or_else(|| chapters.is_empty().then_some(usual));
            walk::run(&dir, &chapters, out.as_deref())
        }
        Chore::Cluster { act } => match act {
            ClusterAct::Up { dir, nodes, pernode, prefix, agents_network } => {
                let pernode = pernode.map_or_else(self::pernode, Ok)?;
                let wish = cluster::Wish { dir, nodes, pernode, prefix, agents_network };
                let state = cluster::up(&wish)?;
                answer(&serde_json::to_string_pretty(&state)?);
                Ok(())
            }
            ClusterAct::Down { dir } => cluster::down(&dir),
            ClusterAct::AddNode { dir } => {
                let name = cluster::add_node(&mut cluster::State::load(&dir)?)?;
                answer(&name);
                Ok(())
            }
            ClusterAct::StartServer { dir } => {
                let took = cluster::start_server(&mut cluster::State::load(&dir)?)?;
                answer(&format!("ready after {} ms", took.as_millis()));
                Ok(())
            }
            ClusterAct::StopServer { dir, kill } => {
                cluster::stop_server(&mut cluster::State::load(&dir)?, kill)
            }
        },
    }
}

/// The pernode binary that was built beside this one.
fn pernode() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("pernode");
    anyhow::ensure!(path.exists(), "{} is missing: cargo build --bin pernode", path.display());
    Ok(path)
}
