//! RollingUpdate, history, undo, restart.

use super::{Walk, check, example};
use crate::witness;
use anyhow::Result;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let n = i64::try_from(all.len())?;
    let path = example("log-agent.yaml")?.display().to_string();
    walk.kubectl(&["apply", "-f", &path])?;
    walk.numbers("log-agent", [n, n, n, n, n])?;

    walk.tell("### A new image rolls out, one node at a time");
    walk.kubectl(&["set", "image", "ds/log-agent", "follow=busybox:1.36"])?;
    let text = walk.kubectl(&["rollout", "status", "ds/log-agent", "--timeout=120s"])?;
    check(text.contains("successfully rolled out"), "rollout status ends well")?;
    walk.runs_on("default/log-agent-", &all)?;
    images(walk, &all, "busybox:1.36")?;

    walk.tell("### History and undo");
    let history = walk.kubectl(&["rollout", "history", "ds/log-agent"])?;
    check(history.lines().filter(|l| l.starts_with(['1', '2'])).count() == 2, "two revisions")?;
    walk.kubectl(&["get", "controllerrevisions"])?;
    let text = walk.kubectl(&["rollout", "undo", "ds/log-agent"])?;
    check(text.contains("rolled back"), "undo says rolled back")?;
    walk.kubectl(&["rollout", "status", "ds/log-agent", "--timeout=120s"])?;
    images(walk, &all, "busybox:1.35")?;
    let history = walk.kubectl(&["rollout", "history", "ds/log-agent"])?;
    check(history.lines().any(|l| l.starts_with('3')), "undo re-numbers revision 1 as 3")?;

    walk.tell("### Restart: every container is a new one");
    let before = ids(walk)?;
    walk.kubectl(&["rollout", "restart", "ds/log-agent"])?;
    walk.kubectl(&["rollout", "status", "ds/log-agent", "--timeout=120s"])?;
    walk.runs_on("default/log-agent-", &all)?;
    let after = ids(walk)?;
    check(before.iter().all(|id| !after.contains(id)), "no container of before is left")?;

    walk.tell("### OnDelete: nothing moves until a pod is deleted");
    walk.kubectl(&[
        "patch",
        "ds",
        "log-agent",
        "--type=merge",
        "-p",
        r#"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#,
    ])?;
    walk.kubectl(&["set", "env", "ds/log-agent", "EDITION=2"])?;
    walk.numbers("log-agent", [n, n, n, 0, n])?;
    check(ids(walk)? == after, "the runtimes still run the same containers")?;
    walk.kubectl_fails(
        &["rollout", "status", "ds/log-agent"],
        &["rollout status is only available for RollingUpdate strategy type"],
    )?;
    walk.kubectl(&["delete", "pods", "-l", "app=log-agent"])?;
    walk.numbers("log-agent", [n, n, n, n, n])?;
    walk.kubectl(&["delete", "ds", "log-agent"])?;
    walk.runs_on("default/log-agent-", &[])
}

fn ids(walk: &Walk) -> Result<Vec<String>> {
    let mut list: Vec<String> = witness::all(&walk.state)?
        .into_values()
        .flatten()
        .filter(|r| r.pod.starts_with("default/log-agent-"))
        .map(|r| r.id)
        .collect();
    list.sort();
    Ok(list)
}

/// The runtime's own word on which image the one container of each node runs.
fn images(walk: &mut Walk, nodes: &[&str], image: &str) -> Result<()> {
    for node in nodes {
        walk.until(&format!("the runtime of {node} runs one container of `{image}`"), |walk| {
            let mut list = witness::containers(&walk.state, node)?;
            list.retain(|r| r.pod.starts_with("default/log-agent-"));
            let [running] = list.as_slice() else { return Ok(false) };
            let args = ["ctr", "-n", "k8s.io", "containers", "info", running.id.as_str()];
            let Ok(text) = witness::inside(&walk.state, node, &args) else { return Ok(false) };
            let info: serde_json::Value = serde_json::from_str(&text)?;
            Ok(info["Image"].as_str().is_some_and(|name| name.ends_with(image)))
        })?;
    }
    Ok(())
}
