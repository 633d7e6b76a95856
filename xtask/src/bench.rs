//! `make bench`: the figures of docs/benchmarks.md, on a cluster of this machine, with the release build.

use crate::api::Api;
use crate::cluster::{self, State, Wish};
use crate::{answer, say, sh};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Repetitions of each measurement of a time.
const TIMES: usize = 50;
/// Heading of the section of docs/benchmarks.md that is written; it is the last one.
const HEAD: &str = "## Real nodes";
/// Starts of the server.
const STARTS: usize = 20;

/// Measures, prints a table and writes docs/benchmarks.md.
pub(crate) fn run() -> Result<()> {
    cluster::install_needs()?;
    let root = crate::demo::repository()?;
    say("building the release binary ...");
    sh::run("cargo", &["build", "--release", "--bin", "pernode"])?;
    let target = std::env::current_exe()?;
    let pernode = target.ancestors().nth(2).context("a target folder")?.join("release/pernode");
    let dir = std::env::temp_dir().join(format!("pernode-bench-{}", std::process::id()));
    let wish = Wish { dir: dir.clone(), nodes: 3, pernode, prefix: "bench".into() };
    let outcome = cluster::up(&wish).and_then(|mut state| measure(&mut state));
    let ended = cluster::down(&dir);
    let rows = outcome?;
    ended?;
    let table = crate::api::lay_out(&rows);
    answer(&table);
    write(&root.join("docs/benchmarks.md"), &rows)
}

fn measure(state: &mut State) -> Result<Vec<Vec<String>>> {
    let api = Api::open(&state.kubeconfig(), &state.dir.join("curl"))?;
    wait_nodes(&api, 3)?;
    let mut rows = vec![row("what", "aim", "p50", "p99", "how")];
    say("bound → Running ...");
    let bound = pods(&api, state, Some(state.nodes[0].name.clone()))?;
    rows.push(times(
        "bound → Running (image present)",
        "p50 ≤ 200 ms",
        &bound,
        "a pod with spec.nodeName, POST sent to Running seen by a watch",
    ));
    say("created → Running ...");
    let created = pods(&api, state, None)?;
    rows.push(times(
        "created → Running (image present)",
        "-",
        &created,
        "a pod without a node, POST sent to Running seen by a watch",
    ));
    say("apply of a DaemonSet → Running on three nodes ...");
    let applied = daemon_sets(&api)?;
    rows.push(times(
        "apply of a DaemonSet → Running on all three nodes",
        "p50 ≤ 400 ms",
        &applied,
        "PATCH sent to the third Running seen by a watch",
    ));
    say("memory ...");
    sh::wait_until("a minute of rest", Duration::from_secs(90), rest())?;
    rows.push(row(
        "RSS of the server, 3 nodes",
        "≤ 40 MiB",
        &rss(state.server_pid)?,
        "-",
        "VmRSS after a minute of rest",
    ));
    let agent = agent_pid(state)?;
    rows.push(row(
        "RSS of an idle agent",
        "≤ 20 MiB",
        &rss(agent)?,
        "-",
        "VmRSS after a minute of rest",
    ));
    say("exec → readyz ...");
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        cluster::stop_server(state, false)?;
        starts.push(start_time(state)?);
    }
    rows.push(times(
        "exec → /readyz",
        "≤ 150 ms",
        &starts,
        "the data of the runs before is there; the port is tried every ms, then curl asks (its own 15 ms are in it)",
    ));
    say("join → Running ...");
    let joins = joins(state, &api)?;
    rows.push(times("join → Running", "2 s after Ready", &joins, "agent process started (CSR, certificate, registration) to its daemon pod Running; 10 joins"));
    Ok(rows)
}

fn rest() -> impl FnMut() -> Result<bool> {
    let begin = Instant::now();
    move || Ok(begin.elapsed() > Duration::from_secs(60))
}

fn row(what: &str, aim: &str, p50: &str, p99: &str, how: &str) -> Vec<String> {
    say(&format!("  {what}: p50 {p50}, p99 {p99} (aim {aim})"));
    [what, aim, p50, p99, how].map(str::to_owned).to_vec()
}

fn times(what: &str, aim: &str, samples: &[Duration], how: &str) -> Vec<String> {
    let mut sorted = samples.to_vec();
    sorted.sort();
    let at = |share: usize| {
        let index = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or_else(|| "-".to_owned(), |d| format!("{} ms", d.as_millis()))
    };
    row(what, aim, &at(50), &at(99), how)
}

fn rss(pid: i32) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(format!("{:.1} MiB", kib / 1024.0))
}

/// The first node's agent, as this machine numbers it: the child of the node's first process that runs `agent`.
fn agent_pid(state: &State) -> Result<i32> {
    let init = state.nodes.first().context("a node")?.init_pid;
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"))?;
    for pid in children.split_whitespace() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.split(|b| *b == 0).any(|word| word == b"agent") {
            return Ok(pid.parse()?);
        }
    }
    bail!("no agent runs in the first node")
}

fn wait_nodes(api: &Api, count: usize) -> Result<()> {
    sh::wait_until("all nodes Ready", sh::PATIENCE, || {
        let list = api.get("/api/v1/nodes")?;
        let ready = |node: &Value| {
            node["status"]["conditions"]
                .as_array()
                .is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        };
        Ok(list["items"].as_array().is_some_and(|i| i.iter().filter(|n| ready(n)).count() >= count))
    })
    .map(drop)
}

/// A watch on pods of one label, by curl.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn open(api: &Api, label: &str) -> Result<Self> {
        let list = api.get(&format!("/api/v1/namespaces/default/pods?labelSelector={label}"))?;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let path = format!(
            "/api/v1/namespaces/default/pods?watch=1&labelSelector={label}&resourceVersion={revision}&timeoutSeconds=60"
        );
        let mut child = api.command(&path).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Waits until `count` pods are Running.
    fn running(&mut self, count: usize) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line?)?;
            if event["object"]["status"]["phase"] == "Running" {
                seen.insert(event["object"]["metadata"]["name"].to_string());
                if seen.len() >= count {
                    return Ok(());
                }
            }
        }
        bail!("the watch ended with {} of {count} pods running", seen.len())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pod_spec() -> Value {
    json!({"terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}], "containers": [{
        "name": "c", "image": "busybox:1.35", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}]})
}

fn pods(api: &Api, state: &State, node: Option<String>) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    let label = if node.is_some() { "bound" } else { "created" };
    // one for each node first, so that the image is present everywhere
    for (i, name) in state.nodes.iter().map(|n| n.name.clone()).enumerate() {
        one_pod(api, &format!("{label}-warm-{i}"), label, Some(name))?;
    }
    for i in 0..TIMES {
        samples.push(one_pod(api, &format!("{label}-{i}"), label, node.clone())?);
    }
    Ok(samples)
}

fn one_pod(api: &Api, name: &str, label: &str, node: Option<String>) -> Result<Duration> {
    let mut spec = pod_spec();
    if let Some(node) = node {
        spec["nodeName"] = json!(node);
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"b": label}}, "spec": spec});
    let mut watch = Watch::open(api, &format!("b%3D{label}"))?;
    let begin = Instant::now();
    api.post("/api/v1/namespaces/default/pods", &pod)?;
    watch.running(1)?;
    let took = begin.elapsed();
    // a pod of this name may be gone already
    let _ = api.delete(&format!("/api/v1/namespaces/default/pods/{name}"));
    gone(api, &format!("b%3D{label}"))?;
    Ok(took)
}

fn gone(api: &Api, label: &str) -> Result<()> {
    sh::wait_until("the pods to go", sh::PATIENCE, || {
        let list = api.get(&format!("/api/v1/namespaces/default/pods?labelSelector={label}"))?;
        Ok(list["items"].as_array().is_some_and(Vec::is_empty))
    })
    .map(drop)
}

fn daemon_set(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"b": name}},
        "template": {"metadata": {"labels": {"b": name}}, "spec": pod_spec()}}})
}

fn daemon_sets(api: &Api) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for i in 0..TIMES {
        let name = format!("ds-{i}");
        let path = format!("/apis/apps/v1/namespaces/default/daemonsets/{name}");
        let mut watch = Watch::open(api, &format!("b%3D{name}"))?;
        let begin = Instant::now();
        api.patch(&format!("{path}?fieldManager=bench"), &daemon_set(&name))?;
        watch.running(3)?;
        samples.push(begin.elapsed());
        api.delete(&path)?;
        gone(api, &format!("b%3D{name}"))?;
    }
    Ok(samples)
}

/// Starts the server and asks for `/readyz` closely.
fn start_time(state: &mut State) -> Result<Duration> {
    let begin = cluster::spawn_server(state)?;
    while !cluster::is_ready(state)? {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(begin.elapsed())
}

fn joins(state: &mut State, api: &Api) -> Result<Vec<Duration>> {
    let path = "/apis/apps/v1/namespaces/default/daemonsets/join";
    api.patch(&format!("{path}?fieldManager=bench"), &daemon_set("join"))?;
    let mut samples = Vec::new();
    for round in 0..10 {
        let mut watch = Watch::open(api, "b%3Djoin")?;
        if round == 0 {
            watch.running(state.nodes.len())?;
            watch = Watch::open(api, "b%3Djoin")?;
        }
        let begin = Instant::now();
        let name = cluster::add_node(state)?;
        watch.running(1)?;
        samples.push(begin.elapsed());
        cluster::remove_node(state, &name)?;
        api.delete(&format!("/api/v1/nodes/{name}"))?;
    }
    api.delete(path)?;
    Ok(samples)
}

fn write(file: &Path, rows: &[Vec<String>]) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut text = format!(
        "{HEAD}\n\nWritten by `make bench` (release build, {cores} cores, {TIMES} repetitions unless said otherwise). Times are wall times \
on a shared machine, shown beside the aims and never asserted. For comparison on 2 cores: Kubernetes 1.36 needs 1.7 s to ready \
and 590 MiB for its control plane with 300 nodes; its kubelet takes 80–88 MiB and shows a bound pod (image present) Running \
after 240 ms p50.\n\n"
    );
    for (i, row) in rows.iter().enumerate() {
        writeln!(text, "| {} |", row.join(" | "))?;
        if i == 0 {
            writeln!(text, "| --- | --- | --- | --- | --- |")?;
        }
    }
    // what stands before our section is others'
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let before = before.split_once(HEAD).map_or(before.as_str(), |(before, _)| before);
    Ok(std::fs::write(file, format!("{before}{text}"))?)
}
