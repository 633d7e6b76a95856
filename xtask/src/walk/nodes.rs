//! Labels, taints, cordons, joins and departures.

use super::{TIMEOUT, Walk, check, example};
use crate::{cluster, witness};
use anyhow::{Context, Result};

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let (first, rest) = all.split_first().context("a node")?;
    let path = example("seeds/daemon-set-definition.yaml")?.display().to_string();
    walk.kubectl(&["apply", "-f", &path])?;
    walk.runs_on("default/monitoring-daemon-", &all)?;

    walk.tell("### A NoExecute taint clears the node; its removal brings the pod back");
    walk.kubectl(&["taint", "nodes", first, "maintenance=now:NoExecute"])?;
    walk.runs_on("default/monitoring-daemon-", rest)?;
    walk.kubectl(&["taint", "nodes", first, "maintenance-"])?;
    walk.runs_on("default/monitoring-daemon-", &all)?;

    walk.tell("### A NoSchedule taint keeps the pod that is there and gives no new one");
    walk.kubectl(&["taint", "nodes", first, "dedicated=db:NoSchedule"])?;
    let n = i64::try_from(rest.len())?;
    walk.numbers("monitoring-daemon", [n, n, n, n, n])?;
    walk.runs_on("default/monitoring-daemon-", &all)?;
    delete_pod_of(walk, first)?;
    walk.runs_on("default/monitoring-daemon-", rest)?;
    walk.kubectl(&["taint", "nodes", first, "dedicated-"])?;
    walk.runs_on("default/monitoring-daemon-", &all)?;

    walk.tell("### A cordoned node keeps its daemon, and gets a new one when it is deleted");
    walk.kubectl(&["cordon", first])?;
    let table = walk.kubectl(&["get", "nodes"])?;
    check(
        table.contains("Ready,SchedulingDisabled"),
        "the cordoned node shows SchedulingDisabled",
    )?;
    delete_pod_of(walk, first)?;
    walk.runs_on("default/monitoring-daemon-", &all)?;
    walk.kubectl(&["uncordon", first])?;

    walk.tell("### A failed pod is replaced");
    let pod = pod_on(walk, first)?;
    walk.kubectl(&[
        "patch",
        "pod",
        &pod,
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"phase":"Failed"}}"#,
    ])?;
    walk.until("another pod runs there", |walk| {
        let list = witness::containers(&walk.state, first)?;
        let ours: Vec<_> =
            list.iter().filter(|r| r.pod.starts_with("default/monitoring-daemon-")).collect();
        Ok(ours.len() == 1 && ours.iter().all(|r| r.pod != format!("default/{pod}")))
    })?;
    join_and_leave(walk)
}

/// A node joins and gets its pod; its Node object is deleted and its pods go.
fn join_and_leave(walk: &mut Walk) -> Result<()> {
    walk.tell("### A node joins");
    let name = cluster::add_node(&mut walk.state)?;
    let joined = name.clone();
    walk.until("its Node object is there", move |walk| {
        Ok(walk.ask(&["get", "nodes", "-o", "name"])?.contains(&joined))
    })?;
    walk.kubectl(&["wait", "--for=condition=Ready", &format!("node/{name}"), TIMEOUT])?;
    let probe = name.clone();
    walk.until(
        &format!("the runtime of {name} runs the daemon, counted from the moment it is Ready"),
        move |walk| {
            Ok(witness::containers(&walk.state, &probe)?
                .iter()
                .any(|r| r.pod.starts_with("default/monitoring-daemon-")))
        },
    )?;
    walk.kubectl(&["get", "nodes", "-o", "wide"])?;
    walk.kubectl(&[
        "get",
        "pods",
        "-o",
        "wide",
        "--field-selector",
        &format!("spec.nodeName={name}"),
    ])?;
    walk.tell("### Its agent stops, and its Node object is deleted: its pods are removed");
    let node = walk.state.node(&name)?.clone();
    std::fs::write(node.dir.join("agent.hold"), "")?;
    let pid: i32 = std::fs::read_to_string(node.dir.join("agent.pid"))?.trim().parse()?;
    witness::inside(&walk.state, &name, &["kill", "-9", &pid.to_string()])?;
    walk.kubectl(&["delete", "node", &name])?;
    let selector = format!("spec.nodeName={name}");
    walk.until(&format!("no pod of {name} is left in the API"), move |walk| {
        Ok(walk
            .ask(&["get", "pods", "-A", "--field-selector", &selector, "-o", "name"])?
            .is_empty())
    })?;
    walk.numbers("monitoring-daemon", [i64::try_from(walk.state.nodes.len() - 1)?; 5])?;
    walk.tell("### The agent starts again: the node is back with its pod");
    std::fs::remove_file(node.dir.join("agent.hold"))?;
    walk.numbers("monitoring-daemon", [i64::try_from(walk.state.nodes.len())?; 5])?;
    walk.tell("### The machine goes for good");
    cluster::remove_node(&mut walk.state, &name)?;
    walk.kubectl(&["delete", "node", &name])?;
    walk.numbers("monitoring-daemon", [i64::try_from(walk.state.nodes.len())?; 5])?;
    walk.kubectl(&["delete", "ds", "monitoring-daemon"])?;
    walk.runs_on("default/monitoring-daemon-", &[])
}

/// The one pod on a node, once the API shows just one, and shows it running.
fn pod_on(walk: &mut Walk, node: &str) -> Result<String> {
    let selector = format!("spec.nodeName={node}");
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.phase} {.metadata.deletionTimestamp}{\"\\n\"}{end}";
    let mut name = String::new();
    walk.until(&format!("the API shows one running pod on {node}"), |walk| {
        let text = walk.ask(&[
            "get",
            "pods",
            "-l",
            "app=monitoring-agent",
            "--field-selector",
            &selector,
            "-o",
            path,
        ])?;
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let [line] = lines.as_slice() else { return Ok(false) };
        let [pod, "Running"] = line.as_slice() else { return Ok(false) };
        (*pod).clone_into(&mut name);
        Ok(true)
    })?;
    Ok(name)
}

fn delete_pod_of(walk: &mut Walk, node: &str) -> Result<()> {
    let pod = pod_on(walk, node)?;
    walk.kubectl(&["delete", "pod", &pod])?;
    let gone = format!("default/{pod}");
    let node = node.to_owned();
    walk.until("its container is gone from the runtime", move |walk| {
        Ok(witness::containers(&walk.state, &node)?.iter().all(|r| r.pod != gone))
    })
    .map(drop)
}
