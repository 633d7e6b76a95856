//! A pernode cluster on this one machine: a server, and nodes that are network, mount, process and UTS namespaces of
//! their own, each with its own containerd. Used by the demo, the walk and the end-to-end tests.
//!
//! Everything that is made is written into `made.json` before it is made, and `down` undoes just that list.

mod containerd;
mod made;
mod network;
mod node;
mod server;

pub(crate) use made::{Node, State};
pub(crate) use node::init as node_init;
pub(crate) use server::{is_ready, spawn as spawn_server};

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Programs that the nodes need, and the Debian package that brings each.
pub(crate) const NEEDS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("docker-registry", "docker-registry"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("/bin/busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("curl", "curl"),
];

/// Programs that the tests need besides, and the Debian package that brings each.
const TEST_NEEDS: &[(&str, &str)] = &[("strace", "strace")];

/// What to bring up.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Folder for everything the cluster writes; made if missing, removed by `down`.
    pub(crate) dir: PathBuf,
    /// Number of nodes.
    pub(crate) nodes: usize,
    /// The pernode binary.
    pub(crate) pernode: PathBuf,
    /// Prefix of the nodes' names: `<prefix>1`, `<prefix>2`, ...
    pub(crate) prefix: String,
    /// The agents bring the pod network, 10 seconds late; otherwise it is there from the start.
    pub(crate) agents_network: bool,
}

/// Installs what a cluster on this machine needs and is missing, by Debian's packages.
pub(crate) fn install_needs() -> Result<()> {
    install(&missing(NEEDS))
}

/// Installs more of Debian's packages, where their programs are missing.
pub(crate) fn install_more(needs: &[(&str, &'static str)]) -> Result<()> {
    install(&missing(needs))
}

/// Installs what the tests need and is missing, by Debian's packages.
pub(crate) fn install_test_needs() -> Result<()> {
    let mut packages = missing(NEEDS);
    packages.extend(missing(TEST_NEEDS));
    if !python_is_able() {
        packages.extend(["python3", "python3-aiohttp", "python3-yaml"]);
    }
    install(&packages)
}

fn missing(needs: &[(&str, &'static str)]) -> Vec<&'static str> {
    needs.iter().filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect()
}

fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    crate::say(&format!("installing from Debian: {}", missing.join(" ")));
    crate::sh::run("apt-get", &["update", "-q"])?;
    let mut args = vec!["install", "-y", "-q", "--no-install-recommends"];
    args.extend(missing);
    crate::sh::run(
        "env",
        &[&["DEBIAN_FRONTEND=noninteractive", "apt-get"], args.as_slice()].concat(),
    )?;
    Ok(())
}

/// Whether some Python has what `proof/tape/data/tape.py` imports.
fn python_is_able() -> bool {
    ["python3", "/usr/bin/python3"].iter().any(|python| {
        let asked =
            std::process::Command::new(python).args(["-c", "import aiohttp, yaml"]).output();
        asked.is_ok_and(|output| output.status.success())
    })
}

fn present(program: &str) -> bool {
    if program.starts_with('/') {
        Path::new(program).exists()
    } else {
        crate::sh::is_on_path(program)
    }
}

/// Brings the cluster up and returns when the server answers and every node's agent runs.
pub(crate) fn up(wish: &Wish) -> Result<State> {
    if !rustix::process::getuid().is_root() {
        bail!("nodes are namespaces of this machine: run this as root");
    }
    for (program, package) in NEEDS {
        if !present(program) {
            bail!("{program} is missing: apt-get install {package}");
        }
    }
    if made::file(&wish.dir).exists() {
        bail!("{} holds a cluster already: end it first with 'cluster down'", wish.dir.display());
    }
    if !is_free(&wish.dir).with_context(|| wish.dir.display().to_string())? {
        bail!(
            "{} is not empty, and 'cluster down' would remove all of it: name a new or empty folder",
            wish.dir.display()
        );
    }
    std::fs::create_dir_all(&wish.dir).with_context(|| wish.dir.display().to_string())?;
    let dir = wish.dir.canonicalize()?;
    let mut state = State::new(&dir, &wish.prefix, &wish.pernode.canonicalize()?)?;
    state.agents_network = wish.agents_network;
    let outcome = build(&mut state, wish.nodes);
    if let Err(error) = outcome {
        return Err(error.context(format!(
            "what was made so far: end it with cluster down --dir {}",
            dir.display()
        )));
    }
    Ok(state)
}

/// Whether a folder is missing or empty.
fn is_free(dir: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn build(state: &mut State, nodes: usize) -> Result<()> {
    network::bridge(state)?;
    server::start_registry(state)?;
    crate::images::push_all(&state.registry())?;
    server::start(state)?;
    for _ in 0..nodes {
        add_node(state)?;
    }
    Ok(())
}

/// Adds one more node.
pub(crate) fn add_node(state: &mut State) -> Result<String> {
    let number = state.nodes.iter().map(|n| n.number).max().unwrap_or(0) + 1;
    node::start(state, number)
}

/// Ends one node for good, as if its machine were switched off; its folder stays until `down`.
pub(crate) fn remove_node(state: &mut State, name: &str) -> Result<()> {
    node::stop(state, name)
}

/// Switches a node off at once, and on again.
pub(crate) fn reboot(state: &mut State, name: &str) -> Result<()> {
    node::reboot(state, name)
}

/// Writes the file of a node's pod network into `dir`; its path.
pub(crate) fn write_network(state: &State, name: &str, dir: &Path) -> Result<PathBuf> {
    containerd::write_cni(dir, &node::subnet(state, state.node(name)?.number))
}

/// Starts the server again after it was stopped or killed.
pub(crate) fn start_server(state: &mut State) -> Result<Duration> {
    server::start(state)
}

/// Kills the server at once (SIGKILL) or asks it to stop (SIGTERM), and waits until it is gone.
pub(crate) fn stop_server(state: &mut State, now: bool) -> Result<()> {
    server::stop(state, now)
}

/// Undoes everything that `made.json` in `dir` lists, last first.
pub(crate) fn down(dir: &Path) -> Result<()> {
    let state = State::load(dir)?;
    made::undo(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_or_empty_folder_is_free() {
        let dir = std::env::temp_dir().join(format!("pernode-free-{}", std::process::id()));
        assert!(is_free(&dir).unwrap());
        std::fs::create_dir(&dir).unwrap();
        assert!(is_free(&dir).unwrap());
        std::fs::write(dir.join("mine"), "x").unwrap();
        assert!(!is_free(&dir).unwrap());
        assert!(is_free(&dir.join("mine")).is_err(), "no folder");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
