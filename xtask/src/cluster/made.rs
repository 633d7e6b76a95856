//! The record of what was made, and its undoing.

use crate::sh;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One thing that was made on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub(crate) enum Made {
    /// A process, known by its id and the moment it started (clock ticks since boot), so that a re-used id is
    /// never killed.
    Process { pid: i32, started: u64, name: String },
    /// A network link.
    Link { name: String },
    /// A named network namespace.
    Namespace { name: String },
    /// A folder that was not there before, removed if it is empty.
    Folder { path: PathBuf },
    /// A cgroup path below every hierarchy.
    Cgroup { path: String },
}

/// A node of the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// 1, 2, ...
    pub(crate) number: u8,
    /// Node name.
    pub(crate) name: String,
    /// Address on the bridge.
    pub(crate) address: String,
    /// Process id, on this machine, of the first process of the node's process namespace.
    pub(crate) init_pid: i32,
    /// The node's folder.
    pub(crate) dir: PathBuf,
}

/// A cluster on this machine, as written to `made.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// The cluster's folder.
    pub(crate) dir: PathBuf,
    /// Short id in the names of links, namespaces and cgroups.
    pub(crate) id: String,
    /// Prefix of node names.
    pub(crate) prefix: String,
    /// The pernode binary.
    pub(crate) pernode: PathBuf,
    /// Second byte of the cluster's 10.x.0.0/16.
    pub(crate) net: u8,
    /// Port of the registry on the bridge's address.
    pub(crate) registry_port: u16,
    /// Port of the server.
    pub(crate) server_port: u16,
    /// Process id of the server, 0 when it is stopped.
    pub(crate) server_pid: i32,
    /// More flags for the server, from its next start on.
    #[serde(default)]
    pub(crate) server_flags: Vec<String>,
    /// Nodes that are added from now on get no pod network, and their agents write none.
    #[serde(default)]
    pub(crate) without_network: bool,
    /// Nodes get their pod network from their agents, as everywhere else; it comes 10 seconds after the agent.
    #[serde(default)]
    pub(crate) agents_network: bool,
    /// Nodes.
    pub(crate) nodes: Vec<Node>,
    /// Everything made, in order.
    pub(crate) made: Vec<Made>,
}

/// Where the record lies.
pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("made.json")
}

impl State {
    /// A new, empty cluster with free ports and a free network.
    pub(crate) fn new(dir: &Path, prefix: &str, pernode: &Path) -> Result<Self> {
        let seed = std::process::id();
        let state = Self {
            dir: dir.to_owned(),
            id: format!("{:05x}", seed & 0xf_ffff),
            prefix: prefix.to_owned(),
            pernode: pernode.to_owned(),
            net: 0,
            registry_port: 5000,
            server_port: 6443,
            server_pid: 0,
            server_flags: Vec::new(),
            without_network: false,
            agents_network: false,
            nodes: Vec::new(),
            made: Vec::new(),
        };
        state.save()?;
        Ok(state)
    }

    /// Reads the record of the cluster in `dir`.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = file(dir);
        let text = std::fs::read(&path).with_context(|| {
            format!("no cluster in {}: {} is missing", dir.display(), path.display())
        })?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Writes the record: whole, or not at all.
    pub(crate) fn save(&self) -> Result<()> {
        let path = file(&self.dir);
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&fresh, &path)?;
        Ok(())
    }

    /// Notes something before or as it is made.
    pub(crate) fn note(&mut self, made: Made) -> Result<()> {
        if !self.made.contains(&made) {
            self.made.push(made);
        }
        self.save()
    }

    /// Notes a process that was just started.
    pub(crate) fn note_process(&mut self, pid: i32, name: &str) -> Result<()> {
        let started = started(pid).with_context(|| format!("{name} ended at once"))?;
        self.note(Made::Process { pid, started, name: name.to_owned() })
    }

    /// Address of the bridge: this machine's end.
    pub(crate) fn gateway(&self) -> String {
        format!("10.{}.0.1", self.net)
    }

    /// `host:port` of the registry.
    pub(crate) fn registry(&self) -> String {
        format!("{}:{}", self.gateway(), self.registry_port)
    }

    /// URL of the server, as nodes and clients reach it.
    pub(crate) fn server_url(&self) -> String {
        format!("https://{}:{}", self.gateway(), self.server_port)
    }

    /// The server's data folder.
    pub(crate) fn server_dir(&self) -> PathBuf {
        self.dir.join("server")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.server_dir().join("admin.kubeconfig")
    }

    /// A node by name.
    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|n| n.name == name).with_context(|| format!("no node {name} here"))
    }
}

/// When a process started, in clock ticks since boot; `None` when there is none.
pub(crate) fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(") ")?.1;
    let mut fields = after.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Ends a process that we started, if it still is that process.
pub(crate) fn kill(pid: i32, started_at: u64, signal: rustix::process::Signal) -> Result<()> {
    if started(pid) != Some(started_at) {
        return Ok(());
    }
    let Some(id) = rustix::process::Pid::from_raw(pid) else { return Ok(()) };
    rustix::process::kill_process(id, signal).with_context(|| format!("ending process {pid}"))?;
    sh::wait_until(&format!("process {pid} to end"), sh::PATIENCE, || {
        reap(pid);
        Ok(started(pid) != Some(started_at))
    })?;
    Ok(())
}

/// Takes the exit status of a child of ours, so that it does not stay as a zombie.
fn reap(pid: i32) {
    if let Some(id) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::waitpid(Some(id), rustix::process::WaitOptions::NOHANG);
    }
}

/// Undoes a record, last first. Goes on past failures and names them all.
pub(crate) fn undo(state: &State) -> Result<()> {
    let mut faults = Vec::new();
    for made in state.made.iter().rev() {
        if let Err(error) = undo_one(made) {
            faults.push(format!("{made:?}: {error:#}"));
        }
    }
    if !faults.is_empty() {
        bail!("left behind:\n  {}", faults.join("\n  "));
    }
    for _ in 0..3 {
        if std::fs::remove_dir_all(&state.dir).is_ok() {
            break;
        }
    }
    if state.dir.exists() {
        bail!("{} could not be removed", state.dir.display());
    }
    Ok(())
}

/// Undoes one thing; nothing to do when it is gone already.
pub(crate) fn undo_one(made: &Made) -> Result<()> {
    match made {
        Made::Process { pid, started, .. } => kill(*pid, *started, rustix::process::Signal::KILL),
        Made::Link { name } => {
            if Path::new("/sys/class/net").join(name).exists() {
                sh::run("ip", &["link", "del", name])?;
            }
            Ok(())
        }
        Made::Namespace { name } => {
            if Path::new("/run/netns").join(name).exists() {
                sh::run("ip", &["netns", "del", name])?;
            }
            Ok(())
        }
        Made::Folder { path } => match std::fs::remove_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.with_context(|| path.display().to_string()),
        },
        Made::Cgroup { path } => remove_cgroups(path),
    }
}

/// Removes a cgroup and all below it from every hierarchy.
pub(super) fn remove_cgroups(path: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let mut places = vec![root.join(path)];
    for entry in std::fs::read_dir(root)?.flatten() {
        places.push(entry.path().join(path));
    }
    for place in places.iter().filter(|p| p.is_dir()) {
        sh::wait_until(&format!("{} to be empty", place.display()), sh::PATIENCE, || {
            Ok(remove_tree(place).is_ok())
        })?;
    }
    Ok(())
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(dir)
}
