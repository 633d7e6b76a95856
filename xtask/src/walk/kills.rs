//! SIGKILL of the server and of agents: containers go on, and what was acknowledged is there.

use super::{TIMEOUT, Walk, check, example};
use crate::{cluster, sh, witness};
use anyhow::{Context, Result};
use std::path::PathBuf;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let n = i64::try_from(all.len())?;
    for file in ["log-agent.yaml", "node-exporter.yaml"] {
        let path = example(file)?.display().to_string();
        walk.kubectl(&["apply", "-f", &path])?;
    }
    walk.numbers("log-agent", [n; 5])?;
    walk.numbers("node-exporter", [n; 5])?;
    metrics(walk)?;
    let before = witness::all(&walk.state)?;

    walk.tell("### kill -9 of the server");
    walk.kubectl(&["create", "configmap", "written-before-the-kill", "--from-literal=k=v"])?;
    cluster::stop_server(&mut walk.state, true)?;
    same(walk, &before, "while the server is gone")?;
    let took = cluster::start_server(&mut walk.state)?;
    walk.tell(&format!("The server is ready again {} ms after its start.", took.as_millis()));
    let kept =
        walk.kubectl(&["get", "configmap", "written-before-the-kill", "-o", "jsonpath={.data.k}"])?;
    check(kept == "v", "what was acknowledged before the kill is there")?;
    walk.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", TIMEOUT])?;
    same(walk, &before, "after the server's return")?;
    walk.kubectl(&["delete", "configmap", "written-before-the-kill"])?;

    let first = all.first().copied().context("a node")?;
    walk.tell(&format!("### kill -9 of the agent of {first}"));
    kill_agents(walk, &[first])?;
    same(walk, &before, "after the agent's return")?;
    walk.tell("### kill -9 of all agents at once");
    kill_agents(walk, &all)?;
    same(walk, &before, "after the agents' return")?;
    walk.numbers("log-agent", [n; 5])?;
    let text = walk.kubectl(&["get", "pods", "-o", "wide"])?;
    check(
        text.lines().skip(1).all(|l| l.split_whitespace().nth(3) == Some("0")),
        "no restart is counted",
    )?;
    walk.tell("### The daemons still do their work");
    metrics(walk)?;
    walk.kubectl(&["delete", "ds", "log-agent", "node-exporter"])?;
    walk.runs_on("default/", &[])
}

/// Kills agents and waits until each node's agent has a new process that reports again.
fn kill_agents(walk: &mut Walk, nodes: &[&str]) -> Result<()> {
    let mut old: Vec<(PathBuf, String)> = Vec::new();
    for node in nodes {
        let file = walk.state.node(node)?.dir.join("agent.pid");
        let pid = std::fs::read_to_string(&file)?;
        witness::inside(&walk.state, node, &["kill", "-9", pid.trim()])?;
        old.push((file, pid));
    }
    sh::wait_until("new agents", sh::PATIENCE, || {
        Ok(old.iter().all(|(file, pid)| {
            std::fs::read_to_string(file).is_ok_and(|new| !new.is_empty() && new != *pid)
        }))
    })?;
    for node in nodes {
        let path = "jsonpath={.spec.renewTime}";
        let args = ["-n", "kube-node-lease", "get", "lease", node, "-o", path];
        let lease = walk.ask(&args)?;
        walk.until(&format!("the new agent of {node} renews its lease"), |walk| {
            Ok(walk.ask(&args)? != lease)
        })?;
    }
    Ok(())
}

/// The same containers, by the runtime's ids and the start times of their processes.
fn same(
    walk: &mut Walk,
    before: &std::collections::BTreeMap<String, Vec<witness::Running>>,
    when: &str,
) -> Result<()> {
    let now = witness::all(&walk.state)?;
    check(*before == now, &format!("the same containers run {when}: {before:?} / {now:?}"))?;
    let count: usize = now.values().map(Vec::len).sum();
    walk.tell(&format!("Witness {when}: the runtimes list the same {count} containers, with the same ids, process ids and start times."));
    Ok(())
}

/// The node exporter answers on every node, each with its own host name.
fn metrics(walk: &mut Walk) -> Result<()> {
    for node in walk.state.nodes.clone() {
        let line = witness::exporter_line(&node)?;
        check(
            line.contains(&format!("nodename=\"{}\"", node.name)),
            &format!("{line} names {}", node.name),
        )?;
        walk.tell(&format!("`{}:9100/metrics` answers: `{line}`", node.address));
    }
    Ok(())
}
