//! What a fleet costs: a server with all its parts and pretend nodes, in one process, measured step by step.
//!
//! The steps are those that operators wait for: a DaemonSet on every node, an update of all, one node that joins, one
//! label that flips. The last two are to cost the same however many nodes there are.

mod requests;

use crate::cli::{BenchFlags, Cli, Command};
use crate::server::Trial;
use anyhow::Context;
use clap::Parser;
use kit::{Clock, Setup};
use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the fleet, at least; what a look costs is part of the bill, so they are few.
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks, for each node: a look counts the pods, and 3 % of the time in which they come is exact enough.
const LOOK_EACH: Duration = Duration::from_micros(10);
/// A step that takes longer than this has failed.
const DEADLINE: Duration = Duration::from_mins(10);
/// How long pretend nodes may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// The DaemonSet's path.
const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
/// The pods' path.
const PODS: &str = "/api/v1/namespaces/default/pods";
/// The label whose flip is measured.
const LABEL: &str = "pernode.dev/bench";

pub(crate) async fn run(flags: BenchFlags) -> anyhow::Result<ExitCode> {
    crate::host::raise_open_files();
    if flags.requests {
        return requests::run(&flags).await;
    }
    say("nodes  all bound    pods/s  cpu/pod  25% rollout  node joins  label flips   memory");
    for nodes in &flags.nodes {
        let folder = folder(&flags, *nodes);
        let measured = fleet(*nodes, &folder).await;
        if flags.data_dir.is_none() {
            let _removed = std::fs::remove_dir_all(&folder);
        }
        say(&measured?);
    }
    Ok(ExitCode::SUCCESS)
}

fn folder(flags: &BenchFlags, nodes: usize) -> PathBuf {
    let name = format!("pernode-bench-{}-{nodes}", std::process::id());
    flags.data_dir.clone().unwrap_or_else(std::env::temp_dir).join(name)
}

/// One fleet, from nothing to nothing; answers its line.
async fn fleet(count: usize, folder: &Path) -> anyhow::Result<String> {
    // the fleet may be larger than the usual range of pod addresses has room for
    let flags = Cli::try_parse_from(["pernode", "server", "--cluster-cidr", "10.128.0.0/9"])?;
    let Command::Server(flags) = flags.command else { anyhow::bail!("not the server's flags") };
    let trial = Trial::start(&flags, folder).await?;
    let power = Setup::new(Clock::system(), trial.setup().salt);
    let hollow = hollow::Options::uniform(&power, "bench", count);
    power.tasks.spawn("nodes", hollow::run(trial.client("pernode-hollow"), hollow));
    let fleet = Fleet { client: trial.client("pernode-bench"), count };
    let measured = fleet.measure(&trial, &power).await;
    power.tasks.finish(PATIENCE).await;
    trial.end().await;
    measured
}

/// Nodes that are looked at in one request. Whole nodes of a fleet in this process would be measured as its memory, so only
/// what is asked for is read, page by page.
const PAGE: usize = 250;

#[derive(Deserialize)]
struct NodePage {
    metadata: PageMeta,
    items: Vec<NodeSeen>,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct NodeSeen {
    spec: TaintsSeen,
}

#[derive(Deserialize)]
struct TaintsSeen {
    #[serde(default)]
    taints: Vec<IgnoredAny>,
}

struct Fleet {
    client: Client,
    count: usize,
}

impl Fleet {
    async fn measure(&self, trial: &Trial, power: &Setup) -> anyhow::Result<String> {
        self.until("every node is ready", async || Ok(self.ready_nodes().await? >= self.count))
            .await?;
        let cpu = processor_time()?;
        let began = Instant::now();
        self.post(SETS, &daemons("one:1")).await?;
        self.until("every pod is bound", async || self.bound(self.count).await).await?;
        let bound = began.elapsed();
        let per_pod = processor_time()?.saturating_sub(cpu) / u32::try_from(self.count)?.max(1);
        self.until("every pod is ready", async || self.updated().await).await?;

        let began = Instant::now();
        self.patch(
            &format!("{SETS}/agent"),
            &json!({"spec": {"template": daemons("two:2")["spec"]["template"]}}),
        )
        .await?;
        self.until("every pod is new", async || self.updated().await).await?;
        let rollout = began.elapsed();

        let one = hollow::Options::uniform(power, "late", 1);
        let began = Instant::now();
        power.tasks.spawn("late node", hollow::run(trial.client("pernode-hollow"), one));
        self.until("the node that joins has its pod", async || self.bound(self.count + 1).await)
            .await?;
        let join = began.elapsed();

        let memory = resident()?;
        let flip = self.flip().await?;
        let rate = f64::from(u32::try_from(self.count)?) / bound.as_secs_f64();
        Ok(format!(
            "{:>5} {bound:>9.2?} {rate:>9.0} {per_pod:>9.2?} {rollout:>11.2?} {join:>11.2?} {flip:>12.2?} {:>5} MB",
            self.count,
            memory / 1_000_000
        ))
    }

    /// From the label of one node to the pod that follows it.
    async fn flip(&self) -> anyhow::Result<Duration> {
        let mut second = daemons("one:1");
        second["metadata"]["name"] = json!("second");
        second["spec"]["selector"]["matchLabels"]["app"] = json!("second");
        second["spec"]["template"]["metadata"]["labels"]["app"] = json!("second");
        second["spec"]["template"]["spec"]["nodeSelector"] = json!({LABEL: "yes"});
        self.post(SETS, &second).await?;
        self.until("the second set is seen", async || {
            let set = self.get(&format!("{SETS}/second")).await?;
            Ok(set["status"]["observedGeneration"] == 1)
        })
        .await?;
        let began = Instant::now();
        let labels = json!({"metadata": {"labels": {LABEL: "yes"}}});
        self.patch("/api/v1/nodes/bench-0", &labels).await?;
        let mine = format!("{PODS}?labelSelector=app%3Dsecond");
        self.until("the labelled node has its pod", async || {
            let pods = self.get(&mine).await?;
            Ok(pods["items"][0]["spec"]["nodeName"] == "bench-0")
        })
        .await?;
        Ok(began.elapsed())
    }

    async fn ready_nodes(&self) -> anyhow::Result<usize> {
        let (mut ready, mut more) = (0, String::new());
        loop {
            let path = format!("/api/v1/nodes?limit={PAGE}&continue={more}");
            let request = http::Request::get(path).body(Vec::new())?;
            let page: NodePage = self.client.request(request).await?;
            ready += page.items.iter().filter(|node| node.spec.taints.is_empty()).count();
            match page.metadata.next {
                Some(next) if !next.is_empty() => more = next,
                _ => return Ok(ready),
            }
        }
    }

    /// Whether this many pods are there, and none without a node.
    async fn bound(&self, wanted: usize) -> anyhow::Result<bool> {
        let one = self.get(&format!("{PODS}?limit=1")).await?;
        let more = usize::try_from(one["metadata"]["remainingItemCount"].as_u64().unwrap_or(0))?;
        if more + 1 < wanted {
            return Ok(false);
        }
        let waiting = self.get(&format!("{PODS}?limit=1&fieldSelector=spec.nodeName%3D")).await?;
        Ok(waiting["items"].as_array().is_some_and(Vec::is_empty))
    }

    async fn updated(&self) -> anyhow::Result<bool> {
        let set = self.get(&format!("{SETS}/agent")).await?;
        let (meta, status) = (&set["metadata"], &set["status"]);
        Ok(status["observedGeneration"] == meta["generation"]
            && status["updatedNumberScheduled"] == self.count
            && status["numberAvailable"] == self.count)
    }

    async fn until(
        &self,
        what: &str,
        mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        let pause = LOOK.max(LOOK_EACH * u32::try_from(self.count)?);
        while !holds().await? {
            anyhow::ensure!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
            // Looks are part of what is measured, so they are few: a watch would cost each of the pods' events.
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.client.request(http::Request::get(path).body(Vec::new())?).await?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.write(http::Request::post(path), "application/json", body).await
    }

    async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.write(http::Request::patch(path), "application/merge-patch+json", body).await
    }

    async fn write(
        &self,
        request: http::request::Builder,
        kind: &str,
        body: &Value,
    ) -> anyhow::Result<()> {
        let request = request.header(http::header::CONTENT_TYPE, kind);
        let request = request.body(body.to_string().into_bytes())?;
        let _written: Value = self.client.request(request).await?;
        Ok(())
    }
}

fn daemons(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "agent", "image": image,
                    "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]}}}})
}

/// Processor time of this process so far, in user and kernel.
fn processor_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // the name in brackets may hold blanks; user and kernel time are the 12th and 13th field behind it
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = fields
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("/proc/self/stat")?;
    // Linux counts hundredths of a second here, whatever its own tick is
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// Memory of this process, pretend nodes included, in bytes.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("/proc/self/status names no VmRSS")?.trim().parse()?;
    Ok(kibibytes * 1024)
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn say(line: &str) {
    println!("{line}");
}
