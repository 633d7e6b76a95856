//! `make bench`: the figures of docs/benchmarks.md, with the release build: fleets in one process, then a cluster of this
//! machine. A measurement that fails is written down as failed, and the others go on.

mod report;

use crate::api::Api;
use crate::cluster::{self, State, Wish};
use crate::{answer, say, sh};
use anyhow::{Context, Result, bail, ensure};
use report::{Row, times};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Repetitions of each measurement of a time.
const TIMES: usize = 50;
/// Starts of the server.
const STARTS: usize = 20;
/// Nodes that join, one after the other.
const JOINS: usize = 10;
/// Rest before memory is read.
const REST: Duration = Duration::from_secs(60);
/// Most pods of one node, beside which the agent's memory is read; upstream's default of `--max-pods`.
const FULL: usize = 110;

/// Measures, prints tables and writes docs/benchmarks.md.
pub(crate) fn run(pernode: Option<PathBuf>) -> Result<()> {
    cluster::install_needs()?;
    let root = crate::demo::repository()?;
    let pernode = pernode.map_or_else(release, Ok)?;
    let before = report::load();
    say("fleets of pretend nodes, in one process ...");
    let scale = sh::run(&pernode.to_string_lossy(), &["bench"]);
    let scale = report::scale(scale.unwrap_or_else(|error| format!("failed: {error:#}")));
    answer(&scale);
    say("requests ...");
    let requests = sh::run(&pernode.to_string_lossy(), &["bench", "--requests"]);
    let requests = report::requests(requests.unwrap_or_else(|error| format!("failed: {error:#}")));
    answer(&requests);
    let dir = std::env::temp_dir().join(format!("pernode-bench-{}", std::process::id()));
    let prefix = "bench".into();
    let wish = Wish { dir: dir.clone(), nodes: 3, pernode, prefix, agents_network: false };
    let outcome = cluster::up(&wish).and_then(|mut state| measure(&mut state));
    let ended = cluster::down(&dir);
    let rows = outcome?;
    ended?;
    let table = crate::api::lay_out(&report::cells(&rows));
    answer(&table);
    report::write(&root.join("docs/benchmarks.md"), (&scale, &requests), &rows, &before)
}

/// Builds what is measured.
fn release() -> Result<PathBuf> {
    say("building the release binary ...");
    sh::run("cargo", &["build", "--release", "--bin", "pernode"])?;
    let target = std::env::current_exe()?;
    Ok(target.ancestors().nth(2).context("a target folder")?.join("release/pernode"))
}

fn measure(state: &mut State) -> Result<Vec<Row>> {
    let api = Api::open(&state.kubeconfig(), &state.dir.join("curl"))?;
    wait_nodes(&api, 3)?;
    // one on each node, so that the image is present everywhere
    for node in state.nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>() {
        one_pod(&api, &format!("warm-{node}"), Some(&node))?;
    }
    let mut rows = Vec::new();
    let first = state.nodes[0].name.clone();
    rows.push(times(
        "bound → Running (image present)",
        "p50 ≤ 200 ms",
        pods(&api, Some(&first)),
        "a pod with spec.nodeName; from its first event to the one that shows it Running, both on one watch",
    ));
    rows.push(times(
        "created → Running (image present)",
        "-",
        pods(&api, None),
        "a pod without a node, the same way",
    ));
    rows.push(times(
        "apply of a DaemonSet → Running on all three nodes",
        "p50 ≤ 400 ms",
        daemon_sets(&api),
        "from the start of a program that sends the PATCH (its own start and TLS are in it) to the third Running on a watch",
    ));
    rows.extend(memory(state, &api));
    rows.push(times(
        "exec → /readyz",
        "≤ 150 ms",
        starts(state),
        "20 starts over the data of the runs before; the port is tried every ms, then curl asks (its own 15 ms are in it)",
    ));
    rows.push(times(
        "join → Running",
        "2 s after Ready",
        joins(state, &api),
        "10 joins; node made to its daemon pod Running: namespaces, containerd, CSR, certificate, registration and pod",
    ));
    Ok(rows)
}

/// What the server and the first node's agent cost while nothing happens.
fn memory(state: &State, api: &Api) -> Vec<Row> {
    let agent = agent_pid(state);
    let mut rows = Vec::new();
    say("memory: a minute of rest with five pods on the first node ...");
    let node = state.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
    let five = crowd(api, &node, 5).and_then(|()| {
        let agent = *agent.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let (before, begin) = (processor_time(agent)?, Instant::now());
        std::thread::sleep(REST);
        let share = processor_time(agent)?.saturating_sub(before).as_secs_f64()
            / begin.elapsed().as_secs_f64();
        Ok((rss(state.server_pid)?, rss(agent)?, format!("{:.2} %", share * 100.0)))
    });
    let part = |which: fn(&(String, String, String)) -> &String| match &five {
        Ok(all) => Ok(which(all).clone()),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let how = "VmRSS after a minute of rest, five pods on the first node";
    rows.push(Row::one("memory of the server, 3 nodes", "≤ 40 MiB", part(|all| &all.0), how));
    rows.push(Row::one("memory of an idle agent, 5 pods", "≤ 20 MiB", part(|all| &all.1), how));
    let how = "processor time of that minute, of one core";
    rows.push(Row::one("processor of an idle agent, 5 pods", "≤ 0.3 %", part(|all| &all.2), how));
    say("memory: as many pods as the first node takes ...");
    let full = crowd(api, &node, FULL).and_then(|()| {
        std::thread::sleep(REST / 4);
        rss(agent?)
    });
    let how = "VmRSS a quarter of a minute after the last one runs";
    rows.push(Row::one("memory of an agent with 110 pods", "≤ 40 MiB", full, how));
    if let Err(error) =
        api.delete(&format!("{PODS}?labelSelector=b%3Dcrowd")).and_then(|_| gone(api, "crowd"))
    {
        say(&format!("  the crowd did not go: {error:#}"));
    }
    rows
}

/// Makes it so many pods on a node, and waits until they run.
fn crowd(api: &Api, node: &str, count: usize) -> Result<()> {
    let path = format!("{PODS}?labelSelector=b%3Dcrowd");
    let there = api.get(&path)?["items"].as_array().map_or(0, Vec::len);
    for number in there..count {
        api.post(PODS, &pod(&format!("crowd-{number}"), "crowd", Some(node)))?;
    }
    let limit = Duration::from_secs(240);
    sh::wait_until("the crowd to run", limit, || {
        std::thread::sleep(Duration::from_millis(500));
        let list = api.get(&path)?;
        let runs = |pod: &&Value| pod["status"]["phase"] == "Running";
        let count_now = list["items"].as_array().map_or(0, |pods| pods.iter().filter(runs).count());
        Ok(count_now >= count)
    })
    .map(drop)
}

/// Processor time of a process so far.
fn processor_time(pid: i32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // the name in brackets may hold blanks; user and kernel time are the 12th and 13th field behind it
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = fields
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("/proc/PID/stat")?;
    // Linux counts hundredths of a second here, whatever its own tick is
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// Path of the pods of the measurements.
const PODS: &str = "/api/v1/namespaces/default/pods";

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
        let list = api.get(&format!("{PODS}?labelSelector=b%3D{label}"))?;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let path = format!(
            "{PODS}?watch=1&labelSelector=b%3D{label}&resourceVersion={revision}&timeoutSeconds=60"
        );
        let mut child = api.command(&path).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("a pipe")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Waits until `count` pods are Running; answers how long ago the first event of the first of them was.
    fn running(&mut self, count: usize) -> Result<Duration> {
        let mut seen = std::collections::BTreeSet::new();
        let mut begin = None;
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line?)?;
            let first: &mut Instant = begin.get_or_insert_with(Instant::now);
            if event["object"]["status"]["phase"] == "Running" {
                seen.insert(event["object"]["metadata"]["name"].to_string());
                if seen.len() >= count {
                    return Ok(first.elapsed());
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

/// Ends as soon as it is asked to, so that its end does not disturb the next measurement.
fn pod_spec() -> Value {
    json!({"terminationGracePeriodSeconds": 10, "tolerations": [{"operator": "Exists"}], "containers": [{
        "name": "c", "image": "busybox:1.35", "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]}]})
}

fn pod(name: &str, label: &str, node: Option<&str>) -> Value {
    let mut spec = pod_spec();
    if let Some(node) = node {
        spec["nodeName"] = json!(node);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"b": label}}, "spec": spec})
}

fn pods(api: &Api, node: Option<&str>) -> Result<Vec<Duration>> {
    let label = if node.is_some() { "bound" } else { "created" };
    say(&format!("{label} → Running ..."));
    (0..TIMES).map(|i| one_pod(api, &format!("{label}-{i}"), node)).collect()
}

/// Runs a pod and takes it away; how long it took from its first event to Running.
fn one_pod(api: &Api, name: &str, node: Option<&str>) -> Result<Duration> {
    let mut watch = Watch::open(api, name)?;
    api.post(PODS, &pod(name, name, node))?;
    let took = watch.running(1)?;
    api.delete(&format!("{PODS}/{name}"))?;
    gone(api, name)?;
    Ok(took)
}

/// Waits until the nodes have put away everything of the pods of a label.
fn gone(api: &Api, label: &str) -> Result<()> {
    sh::wait_until("the pods to go", sh::PATIENCE, || {
        let list = api.get(&format!("{PODS}?labelSelector=b%3D{label}"))?;
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
    say("apply of a DaemonSet → Running on three nodes ...");
    let mut samples = Vec::new();
    for i in 0..TIMES {
        let name = format!("ds-{i}");
        let path = format!("/apis/apps/v1/namespaces/default/daemonsets/{name}");
        let mut watch = Watch::open(api, &name)?;
        let begin = Instant::now();
        api.patch(&format!("{path}?fieldManager=bench"), &daemon_set(&name))?;
        watch.running(3)?;
        samples.push(begin.elapsed());
        api.delete(&path)?;
        gone(api, &name)?;
    }
    Ok(samples)
}

fn starts(state: &mut State) -> Result<Vec<Duration>> {
    say("exec → readyz ...");
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        cluster::stop_server(state, false)?;
        samples.push(start_time(state)?);
    }
    Ok(samples)
}

/// Starts the server and asks for `/readyz` closely.
fn start_time(state: &mut State) -> Result<Duration> {
    let begin = cluster::spawn_server(state)?;
    while !cluster::is_ready(state)? {
        ensure!(begin.elapsed() < sh::PATIENCE, "the server is not ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(begin.elapsed())
}

fn joins(state: &mut State, api: &Api) -> Result<Vec<Duration>> {
    say("join → Running ...");
    let path = "/apis/apps/v1/namespaces/default/daemonsets/join";
    api.patch(&format!("{path}?fieldManager=bench"), &daemon_set("join"))?;
    let mut samples = Vec::new();
    for round in 0..JOINS {
        let mut watch = Watch::open(api, "join")?;
        if round == 0 {
            watch.running(state.nodes.len())?;
            watch = Watch::open(api, "join")?;
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
