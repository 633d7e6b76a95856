//! The daemons of `examples/full`, and what each of them leaves behind on its node when it does its work.

use crate::cluster::State;
use crate::{images, sh, witness};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;

/// File, namespace and name of each, in the order in which they are applied.
pub(crate) const DAEMONS: [(&str, &str, &str); 5] = [
    ("network-installer", "kube-system", "network-installer"),
    ("node-exporter", "default", "node-exporter"),
    ("security-agent", "security", "security-agent"),
    ("storage-driver", "storage", "storage-driver"),
    ("log-pipeline", "logging", "log-pipeline"),
];

/// Debian's packages that their images are made from, beside those of every cluster.
const NEEDS: &[(&str, &str)] = &[("/usr/bin/python3", "python3")];

/// Makes the images that they need available to the nodes.
pub(crate) fn prepare(state: &State) -> Result<()> {
    crate::cluster::install_more(NEEDS)?;
    images::push_full(&state.registry())
}

/// The manifest of one of them.
pub(crate) fn manifest(file: &str) -> Result<PathBuf> {
    Ok(crate::demo::repository()?.join("examples/full").join(format!("{file}.yaml")))
}

/// What the pipeline of a node has written about one pod, oldest first.
pub(crate) fn collected(state: &State, node: &str, pod: &str) -> Result<Vec<Value>> {
    let dir = state.node(node)?.dir.join("var-log/pipeline");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    let text = format!("{}{}", read("lines.jsonl.1"), read("lines.jsonl"));
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["kubernetes"]["pod"] == pod).collect())
}

/// What the security agent of a node has reported.
pub(crate) fn findings(state: &State, node: &str) -> Result<Vec<Value>> {
    let command = "cat /var/log/containers/security-agent-*.log 2>/dev/null; true";
    let text = witness::inside(state, node, &["sh", "-c", command])?;
    let said = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
    Ok(said.filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Asks the storage driver of a node through its socket; the answer.
pub(crate) fn storage(state: &State, node: &str, method: &str, path: &str) -> Result<Value> {
    let url = format!("http://driver{path}");
    let socket = "/run/storage-driver/driver.sock";
    let args = ["curl", "-sS", "--max-time", "10", "--unix-socket", socket, "-X", method, &url];
    let text = witness::inside(state, node, &args)?;
    serde_json::from_str(&text).with_context(|| format!("{method} {path}: {text}"))
}

/// The mounts of a node, as its first process sees them.
pub(crate) fn mounts(state: &State, node: &str) -> Result<String> {
    witness::inside(state, node, &["cat", "/proc/1/mountinfo"])
}

/// One line of evidence for each of them on one node, once it is there.
pub(crate) fn evidence(state: &State, node: &str) -> Result<Vec<(&'static str, String)>> {
    let mut line = String::new();
    sh::wait_until("a labelled line of log", sh::PATIENCE, || {
        let file = state.node(node)?.dir.join("var-log/pipeline/lines.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find(|line| line.contains("\"labels\": {\"")).unwrap_or_default();
        found.clone_into(&mut line);
        Ok(!line.is_empty())
    })?;
    let mut finding = Value::Null;
    sh::wait_until("a finding of the security agent", sh::PATIENCE, || {
        let found = findings(state, node)?.into_iter().find(|one| one["finding"].is_string());
        finding = found.unwrap_or_default();
        Ok(!finding.is_null())
    })?;
    let own = "ls -l /opt/cni/bin/tuned; grep ' /run/tuned/state ' /proc/1/mountinfo";
    Ok(vec![
        ("log-pipeline", line),
        ("node-exporter", witness::exporter_line(state.node(node)?)?),
        ("network-installer", witness::inside(state, node, &["sh", "-c", own])?.trim().to_owned()),
        ("security-agent", finding.to_string()),
        ("storage-driver", storage(state, node, "GET", "/volumes")?.to_string()),
    ])
}
