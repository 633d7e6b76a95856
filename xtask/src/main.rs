//! Chores: packing images, bringing clusters up on this machine, the demo, the walk.

mod cluster;
mod image;
mod images;
mod sh;

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
    /// The first process of a node (started by `cluster`)
    #[command(hide = true)]
    NodeInit {
        #[arg(long)]
        spec: PathBuf,
    },
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
fn answer(text: &str) {
    println!("{text}");
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::NodeInit { spec } => cluster::node_init(&spec),
        Chore::Cluster { act } => match act {
            ClusterAct::Up { dir, nodes, pernode, prefix } => {
                let pernode = match pernode {
                    Some(path) => path,
                    None => std::env::current_exe()?.with_file_name("pernode"),
                };
                let state = cluster::up(&cluster::Wish { dir, nodes, pernode, prefix })?;
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
