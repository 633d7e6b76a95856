//! Rollouts that are disturbed: surge, undo in the middle, a node that falls silent and comes back.

use super::why::{asks, signal, text_of};
use super::{Walk, check, example};
use crate::witness;
use anyhow::{Context, Result};

/// The DaemonSet of this chapter.
const SET: &str = "ds/log-agent";

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let n = i64::try_from(all.len())?;
    let (last, rest) = all.split_last().context("a node")?;
    let path = example("log-agent.yaml")?.display().to_string();
    walk.kubectl(&["apply", "-f", &path])?;
    walk.numbers("log-agent", [n; 5])?;

    walk.tell("### Surge: the old pod stays until the new one is available");
    strategy(walk, r#"{"maxUnavailable":0,"maxSurge":1}"#)?;
    walk.kubectl(&["set", "image", "ds/log-agent", "follow=nowhere.invalid/none:1"])?;
    walk.until(
        "a new pod stands beside an old one",
        |walk| Ok(pods(walk)?.len() == all.len() + 1),
    )?;
    walk.runs_on("default/log-agent-", &all)?;
    walk.tell("The new image cannot be had; the runtimes still run every old pod.");
    walk.until("explain says what the new pod waits for", |walk| {
        Ok(text_of(walk, &["explain", SET])?.contains("the image cannot be had"))
    })?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains("waits for its turn: maxSurge is 1"), "the others wait for their turn")?;
    let text = asks(walk, &["plan", SET, "--image", "follow=busybox:1.35"], 2)?;
    check(text.contains("again"), "the way back is told as one")?;

    walk.tell("### Undo in the middle: nobody loses a container");
    let before = ids(walk)?;
    let text = walk.kubectl(&["rollout", "undo", "ds/log-agent"])?;
    check(text.contains("rolled back"), "undo says rolled back")?;
    walk.numbers("log-agent", [n; 5])?;
    walk.until("the new pod is gone", |walk| Ok(pods(walk)?.len() == all.len()))?;
    check(ids(walk)? == before, "the runtimes run the same containers as before")?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains("available, current template"), "all have the template of now")?;
    walk.kubectl(&["set", "image", "ds/log-agent", "follow=busybox:1.36"])?;
    let text = walk.kubectl(&["rollout", "status", "ds/log-agent", "--timeout=120s"])?;
    check(
        text.contains("successfully rolled out"),
        "with an image that is there, surge ends well",
    )?;
    walk.runs_on("default/log-agent-", &all)?;

    walk.tell(&format!(
        "### A rollout while {last} is down: the others are updated, it follows when it returns"
    ));
    strategy(walk, r#"{"maxUnavailable":1,"maxSurge":0}"#)?;
    signal(walk, last, "-STOP")?;
    walk.until("the node is not ready", |walk| {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        Ok(walk.ask(&["get", "node", last, "-o", path])? != "True")
    })?;
    let of_last = old_of(walk, last)?;
    let text = asks(walk, &["plan", SET, "--image", "follow=busybox:1.35"], 2)?;
    check(text.contains("the node is down; it is updated when it returns"), "plan knows of it")?;
    walk.kubectl(&["set", "image", "ds/log-agent", "follow=busybox:1.35"])?;
    let up = i64::try_from(rest.len())?;
    walk.until("all nodes that are up have the new template", |walk| {
        let path = "jsonpath={.status.updatedNumberScheduled}";
        Ok(walk.ask(&["get", "ds", "log-agent", "-o", path])? == up.to_string())
    })?;
    walk.kubectl(&["get", "pods", "-o", "wide"])?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains("the node is down, is not counted"), "explain says whom it waits for")?;
    check(old_of(walk, last)? == of_last, "the silent node's container is the old one")?;
    signal(walk, last, "-CONT")?;
    walk.numbers("log-agent", [n; 5])?;
    walk.runs_on("default/log-agent-", &all)?;
    check(old_of(walk, last)? != of_last, "the node that came back has a new container")?;
    on_delete(walk, n)?;
    walk.kubectl(&["delete", "ds", "log-agent"])?;
    walk.runs_on("default/", &[])
}

fn on_delete(walk: &mut Walk, n: i64) -> Result<()> {
    walk.tell("### OnDelete: explain and plan name who has to act");
    let patch = r#"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
    walk.kubectl(&["patch", "ds", "log-agent", "--type=merge", "-p", patch])?;
    let text = asks(walk, &["plan", SET, "--image", "follow=busybox:1.36"], 2)?;
    check(text.contains("no steps"), "nothing would move by itself")?;
    let before = ids(walk)?;
    walk.kubectl(&["set", "image", SET, "follow=busybox:1.36"])?;
    walk.numbers("log-agent", [n, n, n, 0, n])?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains("waits until its pod is deleted"), "explain says the same")?;
    check(ids(walk)? == before, "the runtimes run what they ran")?;
    walk.kubectl(&["delete", "pods", "-l", "app=log-agent"])?;
    walk.numbers("log-agent", [n; 5])?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains(&format!("{n}  available, current template")), "all are of now")
}

fn strategy(walk: &mut Walk, knobs: &str) -> Result<()> {
    let patch = format!(
        r#"{{"spec":{{"updateStrategy":{{"type":"RollingUpdate","rollingUpdate":{knobs}}}}}}}"#
    );
    walk.kubectl(&["patch", "ds", "log-agent", "--type=merge", "-p", &patch]).map(drop)
}

/// Names of the pods that are there.
fn pods(walk: &Walk) -> Result<Vec<String>> {
    let text = walk.ask(&["get", "pods", "-l", "app=log-agent", "-o", "name"])?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The containers of all nodes, by the runtimes' ids.
fn ids(walk: &Walk) -> Result<Vec<String>> {
    let all = witness::all(&walk.state)?.into_values().flatten();
    let mut ids: Vec<String> =
        all.filter(|one| one.pod.starts_with("default/log-agent-")).map(|one| one.id).collect();
    ids.sort();
    Ok(ids)
}

/// The containers of one node.
fn old_of(walk: &Walk, node: &str) -> Result<Vec<String>> {
    let all = witness::containers(&walk.state, node)?.into_iter();
    Ok(all.filter(|one| one.pod.starts_with("default/log-agent-")).map(|one| one.id).collect())
}
