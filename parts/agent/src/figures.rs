//! What the node and its containers use: `/metrics/resource`, `/metrics/cadvisor`, `/stats/summary`.
//!
//! Containers are the runtime's to measure, through CRI; the node is read from `/proc`. Nothing is sampled while nobody
//! asks. Rates are computed here, from one question to the next.

mod node;
mod rates;
mod summary;
mod text;

use crate::cri::v1;
use crate::serve::{Body, Port, text as plain};
use crate::words;
use http::{HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use node::NodeUse;
use rates::Rates;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The form of Prometheus' texts.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Remembers what rates are computed from.
pub(crate) type Memory = parking_lot::Mutex<Rates>;

/// A counter of processor time, and how fast it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cpu {
    /// Nanoseconds since the epoch.
    at: i64,
    /// Nanoseconds of one processor, since the start.
    used: u64,
    /// Nanoseconds a second; `None` at the first question.
    rate: Option<u64>,
}

/// Bytes, as the kernel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memories {
    at: i64,
    working_set: u64,
    usage: u64,
    rss: u64,
    faults: u64,
    major_faults: u64,
}

/// What one container uses.
#[derive(Clone, Debug, Default, PartialEq)]
struct ContainerUse {
    id: String,
    name: String,
    image: String,
    /// Its cgroup.
    cgroup: String,
    started: Option<Timestamp>,
    cpu: Option<Cpu>,
    memory: Option<Memories>,
    /// Bytes and files of the layer it writes to.
    disk: Option<(u64, u64)>,
}

/// What one pod uses: its containers together.
#[derive(Clone, Debug, Default, PartialEq)]
struct PodUse {
    namespace: String,
    name: String,
    uid: String,
    started: Option<Timestamp>,
    containers: Vec<ContainerUse>,
}

impl PodUse {
    fn cpu(&self) -> Option<Cpu> {
        let all = self.containers.iter().filter_map(|one| one.cpu);
        all.reduce(|a, b| Cpu {
            at: a.at.max(b.at),
            used: a.used + b.used,
            rate: a.rate.zip(b.rate).map(|(a, b)| a + b),
        })
    }

    fn memory(&self) -> Option<Memories> {
        let all = self.containers.iter().filter_map(|one| one.memory);
        all.reduce(|a, b| Memories {
            at: a.at.max(b.at),
            working_set: a.working_set + b.working_set,
            usage: a.usage + b.usage,
            rss: a.rss + b.rss,
            faults: a.faults + b.faults,
            major_faults: a.major_faults + b.major_faults,
        })
    }
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    node: NodeUse,
    pods: Vec<PodUse>,
    /// The runtime did not answer.
    is_partial: bool,
}

/// Answers one of the paths; `None` for others.
pub(crate) async fn answer(port: &Arc<Port>, path: &str) -> Option<Response<Body>> {
    let write: fn(&Sample) -> String = match path {
        "/metrics/resource" => text::resource,
        "/metrics/cadvisor" => text::cadvisor,
        "/stats/summary" => summary::summary,
        "/pods" => {
            let pods: Vec<Arc<Pod>> = port.pods.list();
            let list = serde_json::json!({
                "kind": "PodList", "apiVersion": "v1", "metadata": {},
                "items": pods.iter().map(AsRef::as_ref).collect::<Vec<&Pod>>(),
            });
            return Some(answered(list.to_string(), "application/json"));
        }
        _ => return None,
    };
    let sample = sample(port).await;
    let kind = if path == "/stats/summary" { "application/json" } else { TEXT };
    Some(answered(write(&sample), kind))
}

fn answered(text: String, kind: &'static str) -> Response<Body> {
    let mut answer = plain(StatusCode::OK, text);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

async fn sample(port: &Arc<Port>) -> Sample {
    let context = &port.context;
    let ours: BTreeMap<String, String> =
        [(words::OUR_NODE.to_owned(), context.name.clone())].into();
    let measured = context.runtime.stats(&ours).await;
    if let Err(failure) = &measured {
        tracing::warn!("the runtime gives no figures: {failure}");
    }
    let is_partial = measured.is_err();
    let pods = port.pods.list();
    let (root, name) = (context.root.clone(), context.name.clone());
    let now = context.setup.clock.now();
    let node = tokio::task::spawn_blocking(move || NodeUse::read(name, &root, now)).await;
    let mut sample = Sample {
        node: node.unwrap_or_default(),
        pods: of_pods(&pods, &measured.unwrap_or_default(), |uid| context.cgroup(uid)),
        is_partial,
    };
    port.rates.lock().fill(&mut sample);
    sample
}

/// Joins what the runtime measured with the pods it belongs to. Containers of pods that are not known are left out.
fn of_pods(
    pods: &[Arc<Pod>],
    measured: &[v1::ContainerStats],
    cgroup: impl Fn(&str) -> String,
) -> Vec<PodUse> {
    let label = |one: &v1::ContainerStats, key: &str| {
        let labels = one.attributes.as_ref().map(|attributes| &attributes.labels);
        labels.and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut all: Vec<PodUse> = Vec::new();
    for pod in pods {
        let uid = text(&pod.metadata.uid);
        let status = pod.status.as_ref();
        let mut found = PodUse {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            started: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
            ..PodUse::default()
        };
        let statuses: Vec<&ContainerStatus> = status
            .into_iter()
            .flat_map(|status| [&status.container_statuses, &status.init_container_statuses])
            .flatten()
            .flatten()
            .collect();
        for one in measured.iter().filter(|one| label(one, words::POD_UID) == uid) {
            let id = one.attributes.as_ref().map(|a| a.id.clone()).unwrap_or_default();
            let name = label(one, words::CONTAINER_NAME);
            let shown = statuses.iter().find(|status| {
                status.container_id.as_deref().is_some_and(|shown| shown.ends_with(&id))
            });
            let running = shown.and_then(|status| status.state.as_ref()?.running.as_ref());
            // what ended uses nothing, and has counters that stand still
            let Some(running) = running else { continue };
            found.containers.push(ContainerUse {
                cgroup: format!("{}/{id}", cgroup(&uid).trim_end_matches('/')),
                id,
                name,
                image: shown.map(|status| status.image.clone()).unwrap_or_default(),
                started: running.started_at.as_ref().map(|time| time.0),
                ..measures(one)
            });
        }
        found.containers.sort_by(|a, b| a.name.cmp(&b.name));
        found.uid = uid;
        all.push(found);
    }
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all
}

fn measures(one: &v1::ContainerStats) -> ContainerUse {
    let number = |value: &Option<v1::UInt64Value>| value.as_ref().map_or(0, |value| value.value);
    ContainerUse {
        cpu: one.cpu.as_ref().map(|cpu| Cpu {
            at: cpu.timestamp,
            used: number(&cpu.usage_core_nano_seconds),
            rate: None,
        }),
        memory: one.memory.as_ref().map(|memory| Memories {
            at: memory.timestamp,
            working_set: number(&memory.working_set_bytes),
            usage: number(&memory.usage_bytes),
            rss: number(&memory.rss_bytes),
            faults: number(&memory.page_faults),
            major_faults: number(&memory.major_page_faults),
        }),
        disk: one.writable_layer.as_ref().map(|l| (number(&l.used_bytes), number(&l.inodes_used))),
        ..ContainerUse::default()
    }
}

#[cfg(test)]
mod tests;
