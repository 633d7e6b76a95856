//! What `kubectl get pods` prints (spec A101).

use crate::admit::json::Json;
use crate::admit::{Column, table};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column] = &[
    table::NAME,
    table::column("Ready", "string", "Containers that are ready, of all."),
    table::column("Status", "string", "What the pod is doing, or what hinders it."),
    table::column("Restarts", "string", "How often containers were restarted, and when last."),
    table::AGE,
    table::wide("IP", "string", "Address of the pod."),
    table::wide("Node", "string", "Node the pod is bound to."),
    table::wide("Nominated Node", "string", "Node where room is being made for it."),
    table::wide("Readiness Gates", "string", "Extra conditions that hold, of all."),
];

/// What the walk through the containers finds.
#[derive(Default)]
struct Walk {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    /// Restarts of sidecars alone, which stay in the sum once the pod has started.
    sidecar_restarts: i64,
    sidecar_last: Option<Timestamp>,
}

pub(super) fn of(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (pod.at("spec"), pod.at("status"));
    let sidecars = spec.list("initContainers").iter().filter(|c| is_sidecar(c)).count();
    let total = spec.list("containers").len() + sidecars;
    let walk = walk(pod);
    let restarts = match walk.last_restart {
        Some(last) if walk.restarts > 0 => {
            let ago = table::human(now.as_second() - last.as_second());
            format!("{} ({ago} ago)", walk.restarts)
        }
        _ => walk.restarts.to_string(),
    };
    let address = match status.list("podIPs").first() {
        Some(first) => first.text("ip"),
        None => status.text("podIP"),
    };
    vec![
        table::name(pod),
        format!("{}/{total}", walk.ready).into(),
        walk.reason.into(),
        restarts.into(),
        table::age(pod, now),
        table::or_none(address),
        table::or_none(spec.text("nodeName")),
        table::or_none(status.text("nominatedNodeName")),
        gates(pod),
    ]
}

/// Rows of pods that are over say so, for clients that show them apart.
pub(super) fn condition_of_row(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod.at("status").text("phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod.at("status").list("conditions").iter().find(|condition| condition.text("type") == kind)
}

fn holds(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| condition.text("status") == "True")
}

fn gates(pod: &Value) -> Value {
    let gates = pod.at("spec").list("readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| holds(pod, gate.text("conditionType"))).count();
    format!("{open}/{}", gates.len()).into()
}

fn walk(pod: &Value) -> Walk {
    let status = pod.at("status");
    let mut walk = Walk { reason: status.text("phase").to_owned(), ..Walk::default() };
    if !status.text("reason").is_empty() {
        status.text("reason").clone_into(&mut walk.reason);
    }
    if condition(pod, "PodScheduled").is_some_and(|c| c.text("reason") == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut walk.reason);
    }
    let initializing = walk_init(pod, &mut walk);
    if !initializing || holds(pod, "Initialized") {
        walk_main(pod, &mut walk);
    }
    if pod.at("metadata").has("deletionTimestamp") {
        if status.text("reason") == "NodeLost" {
            "Unknown".clone_into(&mut walk.reason);
        } else if !matches!(status.text("phase"), "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut walk.reason);
        }
    }
    walk
}

fn finished_at(status: &Value) -> Option<Timestamp> {
    status.dig(&["lastState", "terminated"]).text("finishedAt").parse().ok()
}

fn latest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.max(b)
}

/// Init containers in order, up to the first that has not done its work. True while one has not.
fn walk_init(pod: &Value, walk: &mut Walk) -> bool {
    let containers = pod.at("spec").list("initContainers");
    let sidecars: BTreeSet<&str> =
        containers.iter().filter(|c| is_sidecar(c)).map(|c| c.text("name")).collect();
    for (i, status) in pod.at("status").list("initContainerStatuses").iter().enumerate() {
        let count = status.int("restartCount").unwrap_or(0);
        walk.restarts += count;
        walk.last_restart = latest(walk.last_restart, finished_at(status));
        let sidecar = sidecars.contains(status.text("name"));
        if sidecar {
            walk.sidecar_restarts += count;
            walk.sidecar_last = latest(walk.sidecar_last, finished_at(status));
        }
        let state = status.at("state");
        let terminated = state.at("terminated");
        let waiting = state.at("waiting").text("reason");
        if !terminated.is_null() && terminated.int("exitCode").unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && status.flag("started") {
            walk.ready += usize::from(status.flag("ready"));
            continue;
        }
        walk.reason = if !terminated.is_null() {
            match (terminated.text("reason"), terminated.int("signal").unwrap_or(0)) {
                ("", 0) => format!("Init:ExitCode:{}", terminated.int("exitCode").unwrap_or(0)),
                ("", signal) => format!("Init:Signal:{signal}"),
                (reason, _) => format!("Init:{reason}"),
            }
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", containers.len())
        };
        return true;
    }
    false
}

/// Main containers from the last to the first, so that the first listed one has the last word.
fn walk_main(pod: &Value, walk: &mut Walk) {
    walk.restarts = walk.sidecar_restarts;
    walk.last_restart = walk.sidecar_last;
    let mut running = false;
    let mut error = String::new();
    for status in pod.at("status").list("containerStatuses").iter().rev() {
        walk.restarts += status.int("restartCount").unwrap_or(0);
        walk.last_restart = latest(walk.last_restart, finished_at(status));
        let state = status.at("state");
        let (waiting, terminated) = (state.at("waiting"), state.at("terminated"));
        if !waiting.text("reason").is_empty() {
            waiting.text("reason").clone_into(&mut walk.reason);
        } else if !terminated.is_null() {
            let code = terminated.int("exitCode").unwrap_or(0);
            walk.reason = match (terminated.text("reason"), terminated.int("signal").unwrap_or(0)) {
                ("", 0) => format!("ExitCode:{code}"),
                ("", signal) => format!("Signal:{signal}"),
                (reason, _) => reason.to_owned(),
            };
            if code != 0 {
                error.clone_from(&walk.reason);
            }
        } else if status.flag("ready") && state.has("running") {
            running = true;
            walk.ready += 1;
        }
    }
    if walk.reason != "Completed" {
        return;
    }
    if running && holds(pod, "Ready") {
        "Running".clone_into(&mut walk.reason);
    } else if !error.is_empty() {
        walk.reason = error;
    } else if running {
        "NotReady".clone_into(&mut walk.reason);
    }
}
