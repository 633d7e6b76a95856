//! Nodes without room, and pods that matter more.

use super::why::asks;
use super::{Walk, check};
use crate::witness;
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// Millicores that are left free beside the pod that fills the node: less than the daemon asks for.
const LEFT_FREE: i64 = 300;
/// Millicores that the daemon asks for.
const ASKED: i64 = 500;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let node = nodes.first().context("a node")?;
    walk.until("the node says what it has", |walk| {
        Ok(!walk
            .ask(&["get", "node", node, "-o", "jsonpath={.status.allocatable.cpu}"])?
            .is_empty())
    })?;
    let cpus = walk.ask(&["get", "node", node, "-o", "jsonpath={.status.allocatable.cpu}"])?;
    let all = match cpus.strip_suffix('m') {
        Some(milli) => milli.parse::<i64>()?,
        None => cpus.parse::<i64>()? * 1000,
    };
    walk.tell("### A node without room: the daemon's pod waits, and says for what");
    let files = walk.state.dir.join("room");
    std::fs::create_dir_all(&files)?;
    let path = files.join("room.yaml");
    std::fs::write(&path, manifests(node, all - LEFT_FREE)?)?;
    let path = path.to_string_lossy().into_owned();
    let with_class = files.join("with-class.yaml");
    let class = "    spec:\n      priorityClassName: important\n";
    let text = std::fs::read_to_string(&path)?;
    let (_, daemon) = text.rsplit_once("---\n").context("three documents")?;
    std::fs::write(&with_class, daemon.replace("    spec:\n", class))?;
    walk.kubectl(&["apply", "-f", &path, "-l", "part=filler"])?;
    walk.runs_on("default/filler", &[node])?;
    walk.kubectl(&["apply", "-f", &path, "-l", "part=daemon"])?;
    walk.until("the pod's condition names what is missing", |walk| {
        let path = "jsonpath={.items[*].status.conditions[?(@.type==\"PodScheduled\")].message}";
        Ok(walk
            .ask(&["get", "pods", "-l", "part=daemon", "-o", path])?
            .contains("Insufficient cpu"))
    })?;
    walk.numbers("important", [1, 1, 0, 1, 0])?;
    walk.kubectl(&["get", "pods", "-o", "wide"])?;
    check(
        witness::count(&walk.state, "default/important-")?.values().all(|count| *count == 0),
        "the runtime runs nothing of it",
    )?;
    let words = ["explain", "ds/important", "--node", node.as_str()];
    let text = asks(walk, &words, 0)?;
    walk.keep("node", &words, &text);
    for words in ["gets it", "NO   resources", "Insufficient cpu"] {
        check(text.contains(words), &format!("explain says {words:?}"))?;
    }

    walk.tell("### A priority class makes room: the less important pod goes");
    walk.kubectl(&["apply", "-f", &path, "-l", "part=priority"])?;
    let text = asks(walk, &["plan", "-f", &with_class.to_string_lossy()], 2)?;
    walk.keep("preempt", &["plan", "-f", "with-class.yaml"], &text);
    check(
        text.contains("WOULD PREEMPT") && text.contains("default/filler"),
        "plan says who would have to go",
    )?;
    walk.kubectl(&[
        "patch",
        "ds",
        "important",
        "-p",
        r#"{"spec":{"template":{"spec":{"priorityClassName":"important"}}}}"#,
    ])?;
    walk.runs_on("default/important-", &[node])?;
    walk.runs_on("default/filler", &[])?;
    walk.numbers("important", [1; 5])?;
    let text = asks(walk, &["explain", "ds/important"], 0)?;
    check(text.contains("HAS IT: 1"), "explain says that it is there")?;
    walk.until("an event tells who was preempted", |walk| {
        Ok(walk.ask(&["get", "events"])?.contains("Preempted"))
    })?;
    walk.kubectl(&["delete", "ds", "important"])?;
    walk.kubectl(&["delete", "-f", &path, "--ignore-not-found"])?;
    walk.runs_on("default/", &[])
}

/// A pod that fills `node`, a DaemonSet for that node alone, and a priority class, each with its label.
fn manifests(node: &str, filled: i64) -> Result<String> {
    let mut text = String::new();
    writeln!(
        text,
        "apiVersion: v1
kind: Pod
metadata:
  name: filler
  labels: {{part: filler}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  # a machine short of disk keeps ordinary pods away
  tolerations: [{{operator: Exists}}]
  terminationGracePeriodSeconds: 0
  containers:
  - name: sleep
    image: busybox:1.35
    command: [sleep, \"3600\"]
    resources: {{requests: {{cpu: {filled}m}}}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata:
  name: important
  labels: {{part: priority}}
value: 1000
description: before pods of no class
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: important
  labels: {{part: daemon}}
spec:
  selector: {{matchLabels: {{part: daemon}}}}
  template:
    metadata:
      labels: {{part: daemon}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: {node}}}
      terminationGracePeriodSeconds: 0
      containers:
      - name: sleep
        image: busybox:1.35
        command: [sleep, \"3600\"]
        resources: {{requests: {{cpu: {ASKED}m}}}}"
    )?;
    Ok(text)
}
