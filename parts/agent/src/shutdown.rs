//! The node is switched off in order: ordinary pods first, then daemons, critical ones at the very end.
//!
//! `pernode agent shutdown` says so to the running agent over a socket that only root can open; a unit runs it when the
//! machine powers off. SIGTERM alone never touches a pod.

use crate::Error;
use crate::context::Context;
use crate::words;
use crate::world::Ending;
use k8s_openapi::api::core::v1::Pod;
use kit::Cache;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// The socket, below `--root-dir`.
const SOCKET: &str = "agent.sock";
/// How often the runtime is asked whether the pods have ended.
const LOOK: Duration = Duration::from_millis(200);
/// Longest time that a shutdown may take: a year, so that no number of seconds overflows.
const GRACE_MAX: u64 = 365 * 24 * 3600;
/// Longest request: `shutdown SECONDS`.
const REQUEST_MAX: u64 = 64;
/// Reason and message of a pod that ends with the node (upstream's words).
const TERMINATED: &str = "Pod was terminated in response to imminent node shutdown.";
/// Message of a pod that comes too late.
const REJECTED: &str = "Pod was rejected: Pod was rejected as the node is shutting down.";

/// Which pods end when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Ordinary,
    Daemon,
    Critical,
}

impl Class {
    /// In the order in which they end.
    const ALL: [Self; 3] = [Self::Ordinary, Self::Daemon, Self::Critical];

    pub(crate) fn of(pod: &Pod) -> Self {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        if priority >= crate::resources::CRITICAL_PRIORITY {
            return Self::Critical;
        }
        let owners = pod.metadata.owner_references.iter().flatten();
        let is_daemons =
            owners.into_iter().any(|one| one.kind == "DaemonSet" && one.controller == Some(true));
        if is_daemons { Self::Daemon } else { Self::Ordinary }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary pods",
            Self::Daemon => "daemons",
            Self::Critical => "critical pods",
        }
    }
}

/// How far the shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    /// Pods up to this class end now.
    pub(crate) class: Class,
    /// How long they may take.
    pub(crate) grace: Duration,
}

/// Told to all who need to know.
pub(crate) type Stages = watch::Sender<Option<Stage>>;

impl Stage {
    /// Why a pod ends now; `None`: its turn has not come.
    pub(crate) fn ending(&self, pod: &Pod) -> Option<Ending> {
        (Class::of(pod) <= self.class).then(|| Ending {
            reason: words::reason::TERMINATED,
            message: TERMINATED.to_owned(),
            grace: Some(self.grace),
            disruption: Some(words::reason::TERMINATION_BY_KUBELET),
        })
    }
}

/// Why a pod that comes while the node ends is refused.
pub(crate) fn rejection() -> (String, String) {
    ("NodeShutdown".to_owned(), REJECTED.to_owned())
}

/// Time for one class out of what is left: half for ordinary pods, half of the rest for daemons, the rest for critical
/// ones.
fn share(class: Class, left: Duration) -> Duration {
    match class {
        Class::Ordinary | Class::Daemon => left / 2,
        Class::Critical => left,
    }
}

fn socket(root: &Path) -> PathBuf {
    root.join(SOCKET)
}

/// Listens for the word to shut down, for as long as the agent runs.
pub(crate) async fn listen(context: Arc<Context>, pods: Cache<Pod>, stages: Stages) {
    let path = socket(&context.root);
    let _ = std::fs::remove_file(&path);
    // the folder above lets nobody in but root and its group
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!("{}: {error}; `pernode agent shutdown` will not work", path.display());
            // whoever waits for the word goes on waiting
            return std::future::pending().await;
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // out of file descriptors or the like: it passes
            tokio::time::sleep(LOOK).await;
            continue;
        };
        if let Err(error) = serve(stream, &context, &pods, &stages).await {
            tracing::warn!("shutdown: {error}");
        }
    }
}

async fn serve(
    stream: UnixStream,
    context: &Context,
    pods: &Cache<Pod>,
    stages: &Stages,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_MAX)).read_line(&mut line).await?;
    let Some(seconds) = requested(&line) else {
        return write.write_all(b"error: not understood\n").await;
    };
    tracing::info!(seconds, "the node shuts down");
    let end = Instant::now() + Duration::from_secs(seconds);
    for class in Class::ALL {
        let left = end.saturating_duration_since(Instant::now());
        let grace = share(class, left);
        stages.send_replace(Some(Stage { class, grace }));
        let begun = Instant::now();
        let running = ended(context, pods, class, begun + grace).await;
        let text = match running {
            0 => format!("{}: ended after {:.1} s\n", class.name(), begun.elapsed().as_secs_f64()),
            more => format!("{}: {more} containers still run after {grace:.0?}\n", class.name()),
        };
        write.write_all(text.as_bytes()).await?;
    }
    context.reports.sent(Duration::from_secs(2)).await;
    write.write_all(b"done\n").await
}

/// The seconds of a request.
fn requested(line: &str) -> Option<u64> {
    let seconds: u64 = line.trim().strip_prefix("shutdown ")?.parse().ok()?;
    Some(seconds.min(GRACE_MAX))
}

/// Waits until nothing of these pods runs, or the time is over; how many containers run then.
async fn ended(context: &Context, pods: &Cache<Pod>, class: Class, until: Instant) -> usize {
    let ours: BTreeMap<String, String> =
        [(words::OUR_NODE.to_owned(), context.name.clone())].into();
    loop {
        let all = pods.list();
        let is_meant = |labels: &BTreeMap<String, String>| {
            let uid = labels.get(words::POD_UID);
            let pod = all.iter().find(|pod| pod.metadata.uid.as_ref() == uid);
            pod.is_none_or(|pod| Class::of(pod) <= class)
        };
        let running = context.runtime.containers(&ours).await.map(|list| {
            let running = crate::cri::v1::ContainerState::ContainerRunning;
            list.iter().filter(|one| one.state() == running && is_meant(&one.labels)).count()
        });
        match running {
            Ok(0) => return 0,
            Ok(count) if Instant::now() >= until => return count,
            // a runtime that does not answer is asked until the time is over
            Err(_) if Instant::now() >= until => return 0,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Tells the agent of this machine to shut its node down, and waits for it; each line of its answer goes to `say`.
///
/// # Errors
/// There is no agent, or it does not answer.
pub async fn shutdown(root: &Path, grace: Duration, say: impl Fn(&str)) -> Result<(), Error> {
    let path = socket(root);
    let failed = |doing: &'static str| {
        let path = path.clone();
        move |source: std::io::Error| Error::File { doing, path, source }
    };
    let stream =
        UnixStream::connect(&path).await.map_err(failed("is an agent running? connecting to"))?;
    let (read, mut write) = stream.into_split();
    let request = format!("shutdown {}\n", grace.as_secs());
    write.write_all(request.as_bytes()).await.map_err(failed("writing"))?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.map_err(failed("reading"))? {
        if line == "done" {
            return Ok(());
        }
        say(&line);
    }
    Err(Error::Refused("the agent ended before the node's pods did".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(kind: &str, priority: i64) -> Pod {
        let owner = json!([{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]);
        serde_json::from_value(json!({
            "metadata": {"ownerReferences": owner}, "spec": {"containers": [], "priority": priority}
        }))
        .unwrap()
    }

    #[test]
    fn daemons_end_after_ordinary_pods_and_critical_ones_at_the_very_end() {
        let pods = [pod("ReplicaSet", 0), pod("DaemonSet", 0), pod("DaemonSet", 2_000_001_000)];
        assert_eq!(pods.each_ref().map(Class::of), Class::ALL);
        let stage = Stage { class: Class::Daemon, grace: Duration::from_secs(5) };
        let ends = pods.each_ref().map(|pod| stage.ending(pod).is_some());
        assert_eq!(ends, [true, true, false]);
    }

    #[test]
    fn a_shutdown_of_endless_seconds_takes_a_year() {
        assert_eq!(requested("shutdown 60\n"), Some(60));
        assert_eq!(requested("shutdown 18446744073709551615\n"), Some(GRACE_MAX));
        assert_eq!((requested("shutdown -1\n"), requested("halt\n")), (None, None));
    }

    #[test]
    fn what_one_class_leaves_over_is_for_the_next() {
        let minute = Duration::from_secs(60);
        assert_eq!(share(Class::Ordinary, minute), minute / 2);
        assert_eq!(share(Class::Daemon, Duration::from_secs(58)), Duration::from_secs(29));
        assert_eq!(share(Class::Critical, Duration::from_secs(57)), Duration::from_secs(57));
    }
}
