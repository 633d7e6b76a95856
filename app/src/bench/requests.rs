//! What requests cost: the API server alone, over a store on disk, in one process without sockets. Prints the rows of a
//! table: what, the aim, the figure, and how it was taken.

use crate::cli::{BenchFlags, Cli, Command};
use crate::server::Trial;
use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, BodyDataStream};
use clap::Parser;
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

/// Who write at the same time.
const WRITERS: usize = 64;
/// Pods that are made, and that are listed.
const PODS: usize = 10_000;
/// Repetitions of what is timed one by one.
const TIMES: usize = 200;
/// Writes of each kind of patch.
const PATCHES: usize = 2_000;
/// Watchers that hear of one write.
const CROWDS: [usize; 2] = [1_000, 10_000];
/// An event that takes longer is lost.
const EVENT_DEADLINE: Duration = Duration::from_secs(60);
/// The pods' path.
const PATH: &str = "/api/v1/namespaces/default/pods";

pub(super) async fn run(flags: &BenchFlags) -> Result<ExitCode> {
    let folder = super::folder(flags, 0);
    // nobody makes service accounts here
    let asked = ["pernode", "server", "--disable-admission-plugins", "ServiceAccount"];
    let asked = Cli::try_parse_from(asked)?;
    let Command::Server(server) = asked.command else { anyhow::bail!("not the server's flags") };
    let trial = Trial::start_parts(&server, &folder, &[]).await?;
    let bench = Bench { router: trial.router("pernode-bench"), pods: flags.pods.unwrap_or(PODS) };
    let measured = bench.measure().await;
    trial.end().await;
    if flags.data_dir.is_none() {
        let _removed = std::fs::remove_dir_all(&folder);
    }
    measured?;
    Ok(ExitCode::SUCCESS)
}

fn row(what: &str, aim: &str, figure: &str, how: &str) {
    super::say(&format!("| {what} | {aim} | {figure} | {how} |"));
}

#[derive(Clone)]
struct Bench {
    router: Router,
    pods: usize,
}

/// The times of a list, sorted; the middle one is what is shown.
fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}

fn pod(at: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("pod-{at}"), "labels": {"app": "bench", "number": at.to_string()}},
        "spec": {
            "nodeName": format!("node-{at}"),
            "containers": [{
                "name": "main",
                "image": "registry.example/agent:1.4",
                "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

fn patched(kind: &str, took: Duration) {
    let how = format!("a label of a pod, {WRITERS} writers, durable");
    row(&format!("patches, {kind}"), "-", &rate(PATCHES, took), &how);
}

impl Bench {
    async fn measure(&self) -> Result<()> {
        let created = self.many(self.pods, |at| ask(Method::POST, PATH, "json", &pod(at))).await?;
        let how = format!(
            "{} pods bound to nodes, {WRITERS} writers, each acknowledged after the sync",
            self.pods
        );
        row("durable creates of pods", "≥ 10,000/s", &rate(self.pods, created), &how);
        self.patches().await?;
        self.reads().await?;
        for crowd in CROWDS {
            self.fan_out(crowd).await?;
        }
        self.indexed().await
    }

    /// Sends requests, as many at once as there are writers; each writer is a task of its own, as connections are.
    async fn many(
        &self,
        count: usize,
        request: impl Fn(usize) -> Result<Request<Body>> + Send + Sync + 'static,
    ) -> Result<Duration> {
        let began = Instant::now();
        let request = Arc::new(request);
        let mut writers = JoinSet::new();
        for first in 0..WRITERS {
            let (bench, request) = (self.clone(), Arc::clone(&request));
            writers.spawn(async move {
                for at in (first..count).step_by(WRITERS) {
                    bench.send(request(at)?).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
        Ok(began.elapsed())
    }

    async fn send(&self, request: Request<Body>) -> Result<usize> {
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let text = || String::from_utf8_lossy(body.get(..500).unwrap_or(&body)).into_owned();
        ensure!(status.is_success(), "{status}: {}", text());
        Ok(body.len())
    }

    async fn patches(&self) -> Result<()> {
        let pods = self.pods;
        let name = move |at: usize| format!("{PATH}/pod-{}", at % pods);
        let label = |at: usize| json!({"metadata": {"labels": {"touched": at.to_string()}}});
        for kind in ["merge-patch+json", "strategic-merge-patch+json"] {
            let took = self
                .many(PATCHES, move |at| ask(Method::PATCH, &name(at), kind, &label(at)))
                .await?;
            patched(kind, took);
        }
        let kind = "json-patch+json";
        let took = self
            .many(PATCHES, move |at| {
                let value = format!("j{at}");
                let patch =
                    json!([{"op": "add", "path": "/metadata/labels/touched", "value": value}]);
                ask(Method::PATCH, &name(at), kind, &patch)
            })
            .await?;
        patched(kind, took);
        let kind = "apply-patch+yaml";
        let took = self
            .many(PATCHES, move |at| {
                let mut applied = label(at);
                applied["apiVersion"] = "v1".into();
                applied["kind"] = "Pod".into();
                let path = format!("{}?fieldManager=bench&force=true", name(at));
                ask(Method::PATCH, &path, kind, &applied)
            })
            .await?;
        patched(kind, took);
        let took = self
            .many(PATCHES, move |at| {
                let mut whole = pod(at % pods);
                whole["metadata"]["labels"]["touched"] = format!("u{at}").into();
                ask(Method::PUT, &name(at), "json", &whole)
            })
            .await?;
        row(
            "updates of pods",
            "-",
            &rate(PATCHES, took),
            &format!("PUT, {WRITERS} writers, durable"),
        );
        Ok(())
    }

    async fn reads(&self) -> Result<()> {
        let mut times = Vec::new();
        for at in 0..TIMES {
            let began = Instant::now();
            self.send(get(&format!("{PATH}/pod-{}", at % self.pods))?).await?;
            times.push(began.elapsed());
        }
        row(
            "GET of a pod",
            "-",
            &format!("{:.1?}", middle(times)),
            &format!("the middle of {TIMES}, one by one"),
        );
        let (mut lists, mut copies) = (Vec::new(), Vec::new());
        let bytes = self.send(get(PATH)?).await?;
        let items: Vec<Vec<u8>> = (0..self.pods).map(|_| vec![b'x'; bytes / self.pods]).collect();
        let mut nowhere = std::fs::File::options().write(true).open("/dev/null")?;
        for _ in 0..9 {
            let began = Instant::now();
            self.send(get(PATH)?).await?;
            lists.push(began.elapsed());
            let began = Instant::now();
            let mut whole = Vec::with_capacity(bytes);
            for item in &items {
                whole.extend_from_slice(item);
            }
            nowhere.write_all(&whole)?;
            copies.push(began.elapsed());
        }
        let (list, copy) = (middle(lists), middle(copies));
        let times = list.as_secs_f64() / copy.as_secs_f64();
        row(
            &format!("LIST of {} pods", self.pods),
            "≤ 3 × the copy",
            &format!("{list:.1?}, {times:.1} × {copy:.1?}"),
            &format!(
                "{bytes} bytes of JSON; the copy: as many bytes, object by object into one buffer, and written; middles of 9"
            ),
        );
        Ok(())
    }

    async fn watch(&self, path: &str) -> Result<BodyDataStream> {
        let response = self.router.clone().oneshot(get(path)?).await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        Ok(response.into_body().into_data_stream())
    }

    /// One write, until the last of a crowd has heard of it.
    async fn fan_out(&self, crowd: usize) -> Result<()> {
        // From now on: the objects that are there are no part of it.
        let path = format!(
            "{PATH}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0"
        );
        let path = match self.watch(&path).await {
            Ok(_) => path,
            Err(_) => format!("{PATH}?watch=1&resourceVersion={}", self.revision().await?),
        };
        let mut watchers = try_join_all((0..crowd).map(|_| self.watch(&path))).await?;
        let mut times = Vec::new();
        for at in 0..5 {
            let patch = json!({"metadata": {"labels": {"told": format!("{crowd}-{at}")}}});
            let began = Instant::now();
            self.send(ask(Method::PATCH, &format!("{PATH}/pod-0"), "merge-patch+json", &patch)?)
                .await?;
            for watcher in &mut watchers {
                heard(watcher).await?;
            }
            times.push(began.elapsed());
        }
        let how =
            "one write of a pod, from its request to the last watcher's line; the middle of 5";
        row(&format!("one write to {crowd} watchers"), "-", &format!("{:.1?}", middle(times)), how);
        Ok(())
    }

    async fn revision(&self) -> Result<String> {
        let response = self.router.clone().oneshot(get(&format!("{PATH}?limit=1"))?).await?;
        let body = response.into_body().collect().await?.to_bytes();
        let list: Value = serde_json::from_slice(&body)?;
        list["metadata"]["resourceVersion"]
            .as_str()
            .map(str::to_owned)
            .context("a list has a revision")
    }

    /// One write to the pod of one node, among as many watchers as there are nodes.
    async fn indexed(&self) -> Result<()> {
        let revision = self.revision().await?;
        let path = |at: usize| {
            format!(
                "{PATH}?watch=1&resourceVersion={revision}&fieldSelector=spec.nodeName%3Dnode-{at}"
            )
        };
        let mut watchers =
            try_join_all((0..self.pods).map(|at| async move { self.watch(&path(at)).await }))
                .await?;
        let (mut all, mut after) = (Vec::new(), Vec::new());
        for turn in 0..TIMES {
            let at = (turn * 37) % self.pods;
            let patch = json!({"metadata": {"labels": {"told": format!("one-{turn}")}}});
            let began = Instant::now();
            self.send(ask(Method::PATCH, &format!("{PATH}/pod-{at}"), "merge-patch+json", &patch)?)
                .await?;
            let answered = Instant::now();
            let watcher = watchers.get_mut(at).context("one for each node")?;
            heard(watcher).await?;
            all.push(began.elapsed());
            after.push(answered.elapsed());
        }
        let silent =
            watchers.iter_mut().skip(1).take(36).all(|one| one.next().now_or_never().is_none());
        ensure!(silent, "a watcher heard of a pod of another node");
        let figure = format!("{:.1?} ({:.1?} of the whole write)", middle(after), middle(all));
        let how = format!(
            "one of {} watchers of spec.nodeName: from the answer to the writer to the watcher's line; middles of {TIMES}",
            self.pods
        );
        row("event to the one watcher", "≤ 1 ms", &figure, &how);
        Ok(())
    }
}

async fn heard(watcher: &mut BodyDataStream) -> Result<()> {
    let line = timeout(EVENT_DEADLINE, watcher.next()).await.context("the event did not come")?;
    line.context("the watch ended")??;
    Ok(())
}

fn get(path: &str) -> Result<Request<Body>> {
    Ok(Request::get(path).body(Body::empty())?)
}

fn ask(method: Method, path: &str, kind: &str, body: &Value) -> Result<Request<Body>> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", format!("application/{kind}"));
    Ok(request.body(Body::from(body.to_string()))?)
}
