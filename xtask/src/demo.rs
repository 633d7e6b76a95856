//! `make demo`: a server, three nodes, a log agent and a node exporter on each, and a look at them.

use crate::api::Api;
use crate::cluster::{self, State, Wish};
use crate::{answer, say, sh, witness};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the demo keeps everything.
pub(crate) const DIR: &str = "/var/lib/pernode-demo";

/// Brings the demo up.
pub(crate) fn up(pernode: &Path) -> Result<()> {
    cluster::install_needs()?;
    let begin = std::time::Instant::now();
    let dir = PathBuf::from(DIR);
    if dir.join("made.json").exists() {
        bail!("the demo is up already: 'make demo-down' ends it");
    }
    say("starting a registry, a server and three nodes ...");
    let wish =
        Wish { dir: dir.clone(), nodes: 3, pernode: pernode.to_owned(), prefix: "node".into() };
    let state = cluster::up(&wish)?;
    let api = Api::open(&state.kubeconfig(), &dir.join("curl"))?;
    let root = repository()?;
    for example in ["examples/log-agent.yaml", "examples/node-exporter.yaml"] {
        say(&format!("applying {example}"));
        apply(&api, &state, &root.join(example))?;
    }
    for name in ["log-agent", "node-exporter"] {
        wait_ready(&api, "default", name, 3)?;
    }
    say(&format!("every node runs both, {:.1} s after the start\n", begin.elapsed().as_secs_f64()));
    show(&api, &state)?;
    for node in &state.nodes {
        let line = witness::exporter_line(node)?;
        answer(&format!("{}: {line}", node.address));
    }
    answer("");
    answer(&format!("export KUBECONFIG={}", state.kubeconfig().display()));
    answer("stop it with: make demo-down");
    Ok(())
}

/// Ends the demo.
pub(crate) fn down() -> Result<()> {
    cluster::down(Path::new(DIR))?;
    say("the demo is gone");
    Ok(())
}

/// The repository's folder: where `cargo xtask` runs.
pub(crate) fn repository() -> Result<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    Ok(folder.to_path_buf())
}

/// Whether kubectl 1.28 or newer is on PATH.
pub(crate) fn kubectl_is_usable() -> bool {
    let Ok(output) = sh::raw("kubectl", &["version", "--client", "-o", "json"]) else {
        return false;
    };
    let Ok(version) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        return false;
    };
    let text = version["clientVersion"]["gitVersion"].as_str().unwrap_or_default();
    text.trim_start_matches('v')
        .split('.')
        .nth(1)
        .and_then(|m| m.parse::<u32>().ok())
        .is_some_and(|m| m >= 28)
}

fn apply(api: &Api, state: &State, file: &Path) -> Result<()> {
    if kubectl_is_usable() {
        let config = format!("--kubeconfig={}", state.kubeconfig().display());
        sh::run("kubectl", &[config.as_str(), "apply", "-f", &file.to_string_lossy()])?;
        return Ok(());
    }
    api.apply(file)
}

/// Waits until a DaemonSet has `count` ready pods, and says how long that took.
pub(crate) fn wait_ready(api: &Api, namespace: &str, name: &str, count: i64) -> Result<Duration> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}");
    sh::wait_until(&format!("{count} ready pods of {name}"), sh::PATIENCE, || {
        let status = &api.get(&path)?["status"];
        Ok(status["numberReady"] == count && status["desiredNumberScheduled"] == count)
    })
}

fn show(api: &Api, state: &State) -> Result<()> {
    if kubectl_is_usable() {
        let config = format!("--kubeconfig={}", state.kubeconfig().display());
        answer("$ kubectl get nodes,ds,pods -o wide");
        answer(&sh::run("kubectl", &[config.as_str(), "get", "nodes,ds,pods", "-o", "wide"])?);
        return Ok(());
    }
    for path in [
        "/api/v1/nodes",
        "/apis/apps/v1/namespaces/default/daemonsets",
        "/api/v1/namespaces/default/pods",
    ] {
        answer(&api.table(path, true, false)?);
    }
    Ok(())
}
