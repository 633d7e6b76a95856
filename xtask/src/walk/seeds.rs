//! Every manifest of the seeds reaches READY = DESIRED on every node.

use super::{Walk, check, example};
use crate::witness;
use anyhow::{Context, Result};
use std::fs;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let n = i64::try_from(all.len())?;
    for (file, name) in [
        ("seeds/daemon-set-definition.yaml", "monitoring-daemon"),
        ("seeds/daemonset.yaml", "kube-system/fluentd-elasticsearch"),
        ("seeds/fluentd-daemonset.yaml", "kube-system/fluentd"),
        ("seeds/log-collector.yaml", "log-collector"),
        ("seeds/node-monitor.yaml", "node-monitor"),
    ] {
        let path = example(file)?.display().to_string();
        let (namespace, short) = name.split_once('/').unwrap_or(("default", name));
        walk.tell(&format!("### `examples/{file}`"));
        walk.kubectl(&["apply", "-f", &path])?;
        walk.numbers(name, [n, n, n, n, n])?;
        let table = walk.kubectl(&["-n", namespace, "get", "daemonsets", short])?;
        columns(&table)?;
        walk.runs_on(&format!("{namespace}/{short}-"), &all)?;
        if short.starts_with("fluentd") {
            follows(walk, &format!("{namespace}/{short}-"))?;
        }
        walk.kubectl(&["delete", "-f", &path])?;
        walk.runs_on(&format!("{namespace}/{short}-"), &[])?;
    }
    replica_set(walk)?;
    one_object_three_ways(walk, n, &all)
}

/// The seeds show the columns of an older kubectl, without NODE SELECTOR; the others agree.
fn columns(table: &str) -> Result<()> {
    let head: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split("  ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    let wanted =
        ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR", "AGE"];
    check(head == wanted, &format!("the columns are {wanted:?}: {head:?}"))
}

/// A line written into one node's /var/log comes out of that node's collector, and of no other.
fn follows(walk: &mut Walk, pods: &str) -> Result<()> {
    let node = walk.state.nodes.first().context("a node")?.clone();
    let mark = format!("a line for {pods} on {}", node.name);
    fs::write(node.dir.join("var-log/app.log"), format!("{mark}\n"))?;
    let folder = pods.replace('/', "_");
    let dirs: Vec<_> =
        walk.state.nodes.iter().map(|n| (n.name.clone(), n.dir.join("var-log/pods"))).collect();
    walk.until(
        &format!("only the collector of {} read the line from its node's /var/log", node.name),
        |_| {
            let mut seen = Vec::new();
            for (name, dir) in &dirs {
                for entry in fs::read_dir(dir)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|e| e.file_name().to_string_lossy().starts_with(&folder))
                {
                    let mut found = Vec::new();
                    collect(&entry.path(), &mut found);
                    if found.iter().any(|text| text.contains(&mark)) {
                        seen.push(name.clone());
                    }
                }
            }
            Ok(seen == [node.name.clone()])
        },
    )?;
    Ok(fs::remove_file(node.dir.join("var-log/app.log"))?)
}

/// The text of every file below a folder; one that has just gone is left out.
fn collect(dir: &std::path::Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), into);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            into.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

fn replica_set(walk: &mut Walk) -> Result<()> {
    let path = example("seeds/replicaset-definition.yaml")?.display().to_string();
    walk.tell("### `examples/seeds/replicaset-definition.yaml`: the twin of the same name, one pod in all");
    walk.kubectl(&["apply", "-f", &path])?;
    walk.until("one container of the ReplicaSet runs on one node", |walk| {
        Ok(witness::count(&walk.state, "default/monitoring-daemon-")?.values().sum::<usize>() == 1)
    })?;
    walk.until("its status says 1 ready", |walk| {
        Ok(walk.ask(&[
            "get",
            "rs",
            "monitoring-daemon",
            "-o",
            "jsonpath={.status.readyReplicas}",
        ])? == "1")
    })?;
    walk.kubectl(&["get", "replicasets"])?;
    walk.kubectl(&["delete", "-f", &path])?;
    walk.runs_on("default/monitoring-daemon-", &[])
}

fn one_object_three_ways(walk: &mut Walk, n: i64, all: &[&str]) -> Result<()> {
    walk.tell("### `example-daemonset`: plain, then with a nodeSelector, then OnDelete, over the same object");
    let first = all.first().copied().context("a node")?;
    let plain = example("seeds/my-daemonset.yaml")?.display().to_string();
    let selected = example("seeds/my-daemonset-node-selector.yaml")?.display().to_string();
    let on_delete = example("seeds/my-daemonset-on-delete.yaml")?.display().to_string();
    walk.kubectl(&["apply", "-f", &plain])?;
    walk.numbers("example-daemonset", [n, n, n, n, n])?;
    walk.runs_on("default/example-daemonset-", all)?;
    walk.kubectl(&["apply", "-f", &selected])?;
    walk.runs_on("default/example-daemonset-", &[])?;
    walk.kubectl(&["label", "nodes", first, "example=daemonset"])?;
    walk.runs_on("default/example-daemonset-", &[first])?;
    walk.numbers("example-daemonset", [1, 1, 1, 1, 1])?;
    let table = walk.kubectl(&["get", "daemonsets"])?;
    check(table.contains("example=daemonset"), "the NODE SELECTOR column shows example=daemonset")?;
    walk.kubectl(&["apply", "-f", &on_delete])?;
    walk.kubectl(&["set", "env", "ds/example-daemonset", "EDITION=2"])?;
    walk.numbers("example-daemonset", [1, 1, 1, 0, 1])?;
    walk.kubectl(&["delete", "pod", "-l", "name=example-daemonset"])?;
    walk.numbers("example-daemonset", [1, 1, 1, 1, 1])?;
    walk.kubectl(&["label", "nodes", first, "example-"])?;
    walk.runs_on("default/example-daemonset-", &[])?;
    walk.kubectl(&["delete", "ds", "example-daemonset"]).map(drop)
}
