//! The second witness: what the runtime, /proc and the node's files say, without asking our API.

use crate::cluster::{Node, State};
use crate::sh;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// One container that runs on a node, as the runtime tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Running {
    /// Pod, as `namespace/name`.
    pub(crate) pod: String,
    /// Container name; `POD` for the sandbox.
    pub(crate) container: String,
    /// The runtime's id.
    pub(crate) id: String,
    /// Process id inside the node.
    pub(crate) pid: i32,
    /// When that process started, in clock ticks since boot, from /proc.
    pub(crate) started: u64,
}

/// Runs a program inside a node.
pub(crate) fn inside(state: &State, node: &str, args: &[&str]) -> Result<String> {
    let pid = state.node(node)?.init_pid.to_string();
    sh::run("nsenter", &[&["-t", &pid, "-m", "-u", "-n", "-p"], args].concat())
}

/// The containers that run on a node, sandboxes left out, by the runtime's own tool.
pub(crate) fn containers(state: &State, node: &str) -> Result<Vec<Running>> {
    let tasks = inside(state, node, &["ctr", "-n", "k8s.io", "tasks", "ls"])?;
    let mut pids = BTreeMap::new();
    for line in tasks.lines().skip(1) {
        let mut words = line.split_whitespace();
        if let (Some(id), Some(pid), Some("RUNNING")) = (words.next(), words.next(), words.next()) {
            pids.insert(id.to_owned(), pid.parse::<i32>().context("a process id from ctr")?);
        }
    }
    let mut list = Vec::new();
    for (id, pid) in pids {
        let Ok(text) = inside(state, node, &["ctr", "-n", "k8s.io", "containers", "info", &id])
        else {
            continue;
        };
        let info: serde_json::Value = serde_json::from_str(&text)?;
        let label = |name: &str| info["Labels"][name].as_str().unwrap_or_default().to_owned();
        if label("io.cri-containerd.kind") == "sandbox" {
            continue;
        }
        let Ok(stat) = inside(state, node, &["cat", &format!("/proc/{pid}/stat")]) else {
            continue;
        };
        let started = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
            .context("a start time from /proc")?;
        list.push(Running {
            pod: format!(
                "{}/{}",
                label("io.kubernetes.pod.namespace"),
                label("io.kubernetes.pod.name")
            ),
            container: label("io.kubernetes.container.name"),
            id,
            pid,
            started,
        });
    }
    list.sort();
    Ok(list)
}

/// The same for every node, with the node's name.
pub(crate) fn all(state: &State) -> Result<BTreeMap<String, Vec<Running>>> {
    state.nodes.iter().map(|n| Ok((n.name.clone(), containers(state, &n.name)?))).collect()
}

/// Number of nodes' containers whose pod's name begins with `prefix`, node by node.
pub(crate) fn count(state: &State, prefix: &str) -> Result<BTreeMap<String, usize>> {
    Ok(all(state)?
        .into_iter()
        .map(|(node, list)| (node, list.iter().filter(|r| r.pod.starts_with(prefix)).count()))
        .collect())
}

/// What a node's exporter says of the machine, once it answers: a daemon without a readiness probe counts as ready
/// before it listens.
pub(crate) fn exporter_line(node: &Node) -> Result<String> {
    let url = format!("http://{}:9100/metrics", node.address);
    let mut line = String::new();
    sh::wait_until(&format!("node_uname_info of {url}"), sh::PATIENCE, || {
        let answer = sh::raw("curl", &["-sS", "--max-time", "5", &url])?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let found = text.lines().find(|l| l.starts_with("node_uname_info"));
        found.unwrap_or_default().clone_into(&mut line);
        Ok(!line.is_empty())
    })?;
    Ok(line)
}
