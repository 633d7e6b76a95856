//! kubectl's verbs and outputs, and what bad input looks like.

use super::{TIMEOUT, Walk, check, example};
use anyhow::Result;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let n = i64::try_from(nodes.len())?;
    let path = example("log-agent.yaml")?.display().to_string();
    walk.kubectl(&["version"])?;
    let list = walk.kubectl(&["api-resources"])?;
    for word in ["daemonsets", "ds", "controllerrevisions", "priorityclasses"] {
        check(list.contains(word), &format!("api-resources lists {word}"))?;
    }
    walk.kubectl(&["apply", "--server-side", "-f", &path])?;
    walk.numbers("log-agent", [n; 5])?;
    let again = walk.kubectl(&["apply", "--server-side", "-f", &path])?;
    check(again.contains("serverside-applied"), "a second apply says serverside-applied")?;
    for output in ["wide", "name", "json", "yaml", "jsonpath={.items[*].metadata.name}"] {
        walk.kubectl(&["get", "ds", "-o", output])?;
    }
    walk.kubectl(&["get", "pods", "-A", "-l", "app=log-agent", "-o", "wide"])?;
    walk.kubectl(&["get", "pods", "--field-selector", "status.phase=Running", "-o", "name"])?;
    walk.until("the event of the creation is there", |walk| {
        Ok(walk.ask(&["describe", "ds", "log-agent"])?.contains("SuccessfulCreate"))
    })?;
    let described = walk.kubectl(&["describe", "ds", "log-agent"])?;
    for word in ["Desired Number of Nodes Scheduled", "SuccessfulCreate", "Pods Status:"] {
        check(described.contains(word), &format!("describe shows {word:?}"))?;
    }
    walk.kubectl(&["describe", "node", nodes.first().map_or("", String::as_str)])?;
    walk.kubectl(&["label", "ds", "log-agent", "team=platform"])?;
    walk.kubectl(&["annotate", "ds", "log-agent", "note=from the walk"])?;
    walk.kubectl(&["patch", "ds", "log-agent", "-p", r#"{"spec":{"minReadySeconds":1}}"#])?;
    walk.kubectl(&[
        "wait",
        &format!("--for=jsonpath={{.status.numberAvailable}}={n}"),
        "ds/log-agent",
        TIMEOUT,
    ])?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod", "-l", "app=log-agent", TIMEOUT])?;
    walk.kubectl(&["get", "events"])?;
    walk.kubectl_fails(
        &[
            "patch",
            "ds",
            "log-agent",
            "-p",
            r#"{"spec":{"selector":{"matchLabels":{"new":"one"}}}}"#,
        ],
        &["spec.selector", "field is immutable"],
    )?;
    orphan_and_foreground(walk, n, &path)?;
    bad_input(walk)
}

fn orphan_and_foreground(walk: &mut Walk, n: i64, path: &str) -> Result<()> {
    let nodes = walk.node_names();
    let all: Vec<&str> = nodes.iter().map(String::as_str).collect();
    walk.tell("### Three ways to delete");
    walk.kubectl(&["delete", "ds", "log-agent", "--cascade=orphan"])?;
    walk.runs_on("default/log-agent-", &all)?;
    walk.kubectl(&["apply", "--server-side", "-f", path])?;
    walk.numbers("log-agent", [n; 5])?;
    walk.kubectl(&["delete", "ds", "log-agent", "--cascade=foreground", TIMEOUT])?;
    walk.runs_on("default/log-agent-", &[])?;
    walk.kubectl(&["create", "-f", path])?;
    walk.numbers("log-agent", [n; 5])?;
    walk.kubectl(&["delete", "ds", "log-agent"])?;
    walk.runs_on("default/log-agent-", &[])
}

fn bad_input(walk: &mut Walk) -> Result<()> {
    walk.tell("### Bad input: a field-level error, and nothing is stored");
    let dir = walk.state.dir.join("bad");
    std::fs::create_dir_all(&dir)?;
    let good = std::fs::read_to_string(example("seeds/daemon-set-definition.yaml")?)?;
    let cases: [(&str, String, &[&str]); 5] = [
        ("malformed", good.replace("spec:", "spec"), &["error"]),
        (
            "unknown-field",
            good.replace("  selector:", "  replicas: 3\n  selector:"),
            &["unknown field \"spec.replicas\""],
        ),
        (
            "mismatch",
            good.replacen("app: monitoring-agent", "app: other", 1),
            &["spec.template.metadata.labels", "`selector` does not match template `labels`"],
        ),
        (
            "bad-name",
            good.replacen("name: monitoring-daemon", "name: Monitoring_Daemon", 1),
            &["metadata.name", "a lowercase RFC 1123 subdomain"],
        ),
        (
            "wrong-kind",
            good.replace("kind: DaemonSet", "kind: DemonSet"),
            &["no matches for kind \"DemonSet\""],
        ),
    ];
    for (name, text, words) in cases {
        let file = dir.join(format!("{name}.yaml"));
        std::fs::write(&file, text)?;
        // with validation on, kubectl asks for CustomResourceDefinitions first, which are not served yet
        let validate = if name == "wrong-kind" { "--validate=false" } else { "--validate=true" };
        walk.kubectl_fails(&["apply", validate, "-f", &file.to_string_lossy()], words)?;
    }
    let left = walk.kubectl(&["get", "ds", "-A", "-o", "name"])?;
    check(!left.contains("onitoring"), "nothing was stored")
}
