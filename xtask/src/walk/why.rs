//! `pernode explain` and `pernode plan` in each situation, held against what the runtimes then show.

use super::{Walk, check, example};
use crate::{sh, witness};
use anyhow::{Context, Result, bail};
use std::time::Instant;

/// The namespace's one DaemonSet of this chapter.
const SET: &str = "ds/log-agent";

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let [first, second, last] = nodes.as_slice() else { bail!("the chapter is about three nodes") };
    let n = i64::try_from(nodes.len())?;
    let path = example("log-agent.yaml")?.display().to_string();

    walk.tell("### Before it is there: which nodes would gain a pod");
    let text = asks(walk, &["plan", "-f", &path], 2)?;
    check(text.contains("GAIN A POD") && text.contains(" 3 "), "three nodes would gain a pod")?;
    walk.runs_on("default/log-agent-", &[])?;
    walk.kubectl(&["apply", "-f", &path])?;
    walk.numbers("log-agent", [n; 5])?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains("HAS IT: 3"), "all have it")?;
    let text = asks(walk, &["plan", "-f", &path], 0)?;
    check(text.contains("nothing would change"), "applying the same changes nothing")?;

    walk.tell(&format!("### The agent of {last} is stopped (SIGSTOP); the node falls silent while the next steps go on"));
    signal(walk, last, "-STOP")?;

    walk.tell("### A tainted and a labelled node: a template without the toleration, for one kind of node");
    walk.kubectl(&["taint", "nodes", first, "dedicated=db:NoSchedule"])?;
    walk.kubectl(&["label", "node", second, "disk=ssd"])?;
    let narrow =
        r#"{"spec":{"template":{"spec":{"tolerations":null,"nodeSelector":{"disk":"ssd"}}}}}"#;
    walk.kubectl(&["patch", SET, "--type=merge", "-p", narrow])?;
    walk.until("only the labelled node keeps a pod", |walk| {
        let counts = witness::count(&walk.state, "default/log-agent-")?;
        Ok(counts.get(first) == Some(&0) && counts.get(second) == Some(&1))
    })?;
    let text = asks(walk, &["explain", SET], 0)?;
    check(text.contains("nodeSelector wants disk=ssd"), "the label that is missing is named")?;
    let text = asks(walk, &["explain", SET, "--node", first], 0)?;
    for words in
        ["does not get it", "missing: {key: dedicated", "disk=ssd: the node has no label disk"]
    {
        check(text.contains(words), words)?;
    }

    walk.tell(&format!("### {last} is silent: it is told as down, and as not counted"));
    walk.until("the node is not ready", |walk| {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        Ok(walk.ask(&["get", "node", last, "-o", path])? != "True")
    })?;
    walk.kubectl(&["label", "node", last, "disk=ssd"])?;
    let text = asks(walk, &["explain", SET, "--node", last], 0)?;
    check(text.contains("the node is down"), "the node is told as down")?;
    let words = ["plan", SET, "--image", "follow=busybox:1.36"];
    let text = asks(walk, &words, 2)?;
    walk.keep("plan", &words, &text);
    check(
        text.contains("the node is down; its pod is made when it returns"),
        "the plan says what the silent node waits for",
    )?;
    signal(walk, last, "-CONT")?;
    walk.numbers("log-agent", [2; 5])?;
    let text = asks(walk, &["explain", SET, "-o", "wide"], 0)?;
    check(text.contains("HAS IT: 2"), "the node is back and has it")?;

    stuck(walk)?;
    walk.kubectl(&["delete", "ds", "log-agent"])?;
    walk.kubectl(&["taint", "nodes", first, "dedicated-"])?;
    walk.kubectl(&["label", "nodes", second, last, "disk-"])?;
    walk.runs_on("default/", &[])
}

fn stuck(walk: &mut Walk) -> Result<()> {
    walk.tell(
        "### A new image that does not exist: the rollout stops where it may, and explain says why",
    );
    let text = asks(walk, &["plan", SET, "--image", "follow=nowhere.invalid/none:1"], 2)?;
    check(text.contains("IN 2 STEPS"), "one node after the other")?;
    walk.kubectl(&["set", "image", SET, "follow=nowhere.invalid/none:1"])?;
    walk.until("one pod waits for its image", |walk| {
        Ok(text_of(walk, &["explain", SET])?.contains("the image cannot be had"))
    })?;
    let text = asks(walk, &["explain", SET], 0)?;
    walk.keep("explain", &["explain", SET], &text);
    check(
        text.contains("waits for its turn: maxUnavailable is 1"),
        "the other node waits for its turn",
    )?;
    let text = asks(walk, &["plan", SET, "--image", "follow=busybox:1.35"], 2)?;
    check(text.contains("again"), "going back is told as going back")?;
    Ok(())
}

/// Signals the agent of a node.
pub(super) fn signal(walk: &mut Walk, node: &str, signal: &str) -> Result<()> {
    let pid = std::fs::read_to_string(walk.state.node(node)?.dir.join("agent.pid"))?;
    witness::inside(&walk.state, node, &["kill", signal, pid.trim()]).map(drop)
}

/// Asks the binary, and writes it down; it must answer with this exit code.
pub(super) fn asks(walk: &mut Walk, words: &[&str], code: i32) -> Result<String> {
    let begin = Instant::now();
    let (found, text) = ask(walk, words)?;
    let root = crate::demo::repository().map(|r| format!("{}/", r.display())).unwrap_or_default();
    let line = format!("pernode {}", words.join(" ")).replace(&root, "");
    walk.write_down_shell(&line, &text, begin.elapsed());
    check(found == code, &format!("{line} answers {code}, not {found}: {text}"))?;
    Ok(text)
}

/// Its answer, without writing it down.
pub(super) fn text_of(walk: &Walk, words: &[&str]) -> Result<String> {
    Ok(ask(walk, words)?.1)
}

fn ask(walk: &Walk, words: &[&str]) -> Result<(i32, String)> {
    let binary = walk.state.pernode.display().to_string();
    let config = format!("--kubeconfig={}", walk.state.kubeconfig().display());
    let output = sh::raw(&binary, &[words, &[config.as_str()]].concat())?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code().context("ended by a signal")?, text))
}
