//! `make demo`: a server, three nodes, a log agent and a node exporter on each, and a look at them.

use crate::api::Api;
use crate::cluster::{self, State, Wish};
use crate::{answer, full, say, sh, witness};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the demo keeps everything.
pub(crate) const DIR: &str = "/var/lib/pernode-demo";

/// What runs on the demo's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// A log agent and a node exporter
    Small,
    /// What real clusters run: the daemons of examples/full, and the log agent
    Full,
}

/// Brings the demo up.
pub(crate) fn up(pernode: &Path, profile: Profile) -> Result<()> {
    cluster::install_needs()?;
    let begin = std::time::Instant::now();
    let dir = PathBuf::from(DIR);
    if dir.join("made.json").exists() {
        bail!("the demo is up already: 'make demo-down' ends it");
    }
    say("starting a registry, a server and three nodes ...");
    let (pernode, prefix) = (pernode.to_owned(), "node".into());
    let wish = Wish { dir: dir.clone(), nodes: 3, pernode, prefix, agents_network: false };
    let state = cluster::up(&wish)?;
    let api = Api::open(&state.kubeconfig(), &dir.join("curl"))?;
    if profile == Profile::Full {
        full::prepare(&state)?;
    }
    let daemons = daemons(profile);
    let root = repository()?;
    for (example, ..) in &daemons {
        say(&format!("applying {example}"));
        apply(&api, &state, &root.join(example))?;
    }
    for (_, namespace, name) in &daemons {
        wait_ready(&api, namespace, name, 3)?;
    }
    let all = if daemons.len() == 2 { "both".to_owned() } else { format!("all {}", daemons.len()) };
    let took = begin.elapsed().as_secs_f64();
    say(&format!("every node runs {all}, {took:.1} s after the start\n"));
    show(&api, &state, profile)?;
    if profile == Profile::Full {
        for node in &state.nodes {
            answer(&format!("{}:", node.name));
            for (daemon, seen) in full::evidence(&state, &node.name)? {
                answer(&format!("  {daemon}: {}", seen.replace('\n', "\n    ")));
            }
        }
    } else {
        for node in &state.nodes {
            answer(&format!("{}: {}", node.address, witness::exporter_line(node)?));
        }
    }
    answer("");
    answer(&format!("export KUBECONFIG={}", state.kubeconfig().display()));
    answer("stop it with: make demo-down");
    Ok(())
}

/// File, namespace and name of each daemon of a profile.
fn daemons(profile: Profile) -> Vec<(String, &'static str, &'static str)> {
    let own = |name: &'static str| (format!("examples/{name}.yaml"), "default", name);
    match profile {
        Profile::Small => vec![own("log-agent"), own("node-exporter")],
        Profile::Full => full::DAEMONS
            .iter()
            .map(|(file, namespace, name)| {
                (format!("examples/full/{file}.yaml"), *namespace, *name)
            })
            .chain([own("log-agent")])
            .collect(),
    }
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

fn show(api: &Api, state: &State, profile: Profile) -> Result<()> {
    let everywhere = profile == Profile::Full;
    if kubectl_is_usable() {
        let config = format!("--kubeconfig={}", state.kubeconfig().display());
        let wide = if everywhere { "-A -o wide" } else { "-o wide" };
        answer(&format!("$ kubectl get nodes,ds,pods {wide}"));
        let mut args = vec![config.as_str(), "get", "nodes,ds,pods"];
        args.extend(wide.split(' '));
        answer(&sh::run("kubectl", &args)?);
        return Ok(());
    }
    let place = if everywhere { "" } else { "/namespaces/default" };
    answer(&api.table("/api/v1/nodes", true, false)?);
    answer(&api.table(&format!("/apis/apps/v1{place}/daemonsets"), true, everywhere)?);
    answer(&api.table(&format!("/api/v1{place}/pods"), true, everywhere)?);
    Ok(())
}
