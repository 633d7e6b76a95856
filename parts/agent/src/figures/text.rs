//! Prometheus' text form, under upstream's names. Pure.

use super::{ContainerUse, PodUse, Sample};
use jiff::Timestamp;
use std::fmt::Write;

/// One value: labels, value, milliseconds since the epoch.
type Value = (String, f64, Option<i64>);

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let all: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}=\"{}\"", label(value))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, values: Vec<Value>) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value, at) in values {
        let _ = match at {
            Some(at) => writeln!(out, "{name}{labels} {value} {at}"),
            None => writeln!(out, "{name}{labels} {value}"),
        };
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are doubles")]
fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(nanos: u64) -> f64 {
    float(nanos) / 1e9
}

fn millis(nanos: i64) -> Option<i64> {
    (nanos > 0).then_some(nanos / 1_000_000)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are doubles")]
fn since_epoch(moment: Timestamp) -> f64 {
    moment.as_millisecond() as f64 / 1e3
}

fn containers(sample: &Sample) -> impl Iterator<Item = (&PodUse, &ContainerUse)> {
    sample.pods.iter().flat_map(|pod| pod.containers.iter().map(move |one| (pod, one)))
}

/// `/metrics/resource`: what a scheduler or an autoscaler needs.
pub(super) fn resource(sample: &Sample) -> String {
    let mut out = String::new();
    let short = |pod: &PodUse, one: &ContainerUse| {
        labels(&[("container", &one.name), ("namespace", &pod.namespace), ("pod", &pod.name)])
    };
    let all = || containers(sample);
    family(
        &mut out,
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        all()
            .filter_map(|(p, c)| Some((short(p, c), seconds(c.cpu?.used), millis(c.cpu?.at))))
            .collect(),
    );
    family(
        &mut out,
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
        all()
            .filter_map(|(p, c)| {
                Some((short(p, c), float(c.memory?.working_set), millis(c.memory?.at)))
            })
            .collect(),
    );
    family(
        &mut out,
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
        all().filter_map(|(p, c)| Some((short(p, c), since_epoch(c.started?), None))).collect(),
    );
    node_and_pods(&mut out, sample);
    let failed = if sample.is_partial { 1.0 } else { 0.0 };
    family(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        vec![(String::new(), failed, None)],
    );
    out
}

fn node_and_pods(out: &mut String, sample: &Sample) {
    let of_pod = |pod: &PodUse| labels(&[("namespace", &pod.namespace), ("pod", &pod.name)]);
    let node = &sample.node;
    family(
        out,
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        vec![(String::new(), seconds(node.cpu.used), millis(node.cpu.at))],
    );
    family(
        out,
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
        vec![(String::new(), float(node.memory.working_set), millis(node.memory.at))],
    );
    family(
        out,
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        sample
            .pods
            .iter()
            .filter_map(|p| Some((of_pod(p), seconds(p.cpu()?.used), millis(p.cpu()?.at))))
            .collect(),
    );
    family(
        out,
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        sample
            .pods
            .iter()
            .filter_map(|p| {
                Some((of_pod(p), float(p.memory()?.working_set), millis(p.memory()?.at)))
            })
            .collect(),
    );
}

/// Reads a value and its moment.
type Read = fn(&ContainerUse) -> Option<(f64, Option<i64>)>;

/// Name, kind, help and value of what is shown of every container.
const GAUGES: &[(&str, &str, &str, Read)] = &[
    ("container_fs_inodes_total", "gauge", "Number of Inodes", |c| Some((float(c.disk?.1), None))),
    (
        "container_fs_usage_bytes",
        "gauge",
        "Number of bytes that are consumed by the container on this filesystem.",
        |c| Some((float(c.disk?.0), None)),
    ),
    ("container_last_seen", "gauge", "Last time a container was seen by the exporter", |c| {
        Some((seconds(u64::try_from(c.cpu?.at).ok()?).floor(), None))
    }),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", |c| {
        Some((float(c.memory?.rss), millis(c.memory?.at)))
    }),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |c| Some((float(c.memory?.usage), millis(c.memory?.at))),
    ),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |c| {
        Some((float(c.memory?.working_set), millis(c.memory?.at)))
    }),
    (
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
        |c| Some((since_epoch(c.started?).floor(), None)),
    ),
];

/// `/metrics/cadvisor`: containers' figures under the names and labels that dashboards know.
pub(super) fn cadvisor(sample: &Sample) -> String {
    let mut out = String::new();
    let long = |pod: &PodUse, one: &ContainerUse, more: &[(&str, &str)]| {
        let mut pairs = vec![("container", one.name.as_str())];
        pairs.extend_from_slice(more);
        pairs.extend([
            ("id", one.cgroup.as_str()),
            ("image", one.image.as_str()),
            ("name", one.id.as_str()),
            ("namespace", pod.namespace.as_str()),
            ("pod", pod.name.as_str()),
        ]);
        labels(&pairs)
    };
    let total: &[(&str, &str)] = &[("cpu", "total")];
    let cpu = containers(sample)
        .filter_map(|(p, c)| Some((long(p, c, total), seconds(c.cpu?.used), millis(c.cpu?.at))));
    family(
        &mut out,
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed in seconds.",
        cpu.collect(),
    );
    for (name, kind, help, read) in GAUGES {
        let values = containers(sample).filter_map(|(p, c)| {
            let (value, at) = read(c)?;
            Some((long(p, c, &[]), value, at))
        });
        family(&mut out, name, kind, help, values.collect());
    }
    let node = &sample.node;
    family(
        &mut out,
        "machine_cpu_cores",
        "gauge",
        "Number of logical CPU cores.",
        vec![(String::new(), float(node.cpus), None)],
    );
    family(
        &mut out,
        "machine_memory_bytes",
        "gauge",
        "Amount of memory installed on the machine.",
        vec![(String::new(), float(node.memory_total), None)],
    );
    out
}
