//! Ports of containers that get in each other's way.

use crate::admit::json::Json;
use crate::admit::pod::containers;
use api::Path;
use serde_json::Value;

/// Warnings about the ports of all containers together.
pub(super) fn all(all: &mut Vec<String>, spec: &Value, path: &Path) {
    let ports: Vec<(Path, &Value)> = containers::every(spec, path)
        .into_iter()
        .flat_map(|(path, container)| {
            let path = path.child("ports");
            container.list("ports").iter().enumerate().map(move |(i, port)| (path.index(i), port))
        })
        .collect();
    for (i, (path, port)) in ports.iter().enumerate() {
        if !port.text("hostIP").is_empty() && host(port) == 0 {
            all.push(format!("{path}: hostIP set without hostPort: {}", shown(port)));
        }
        for (other_path, other) in &ports[..i] {
            if let Some(what) = conflict(port, other) {
                all.push(format!("{path}: {what} port definition with {other_path}"));
            }
        }
    }
    for (i, (path, port)) in ports.iter().enumerate() {
        let name = port.text("name");
        let mut before = ports[..i].iter().filter(|(_, other)| other.text("name") == name);
        if let Some((other, _)) = before.next().filter(|_| !name.is_empty()) {
            all.push(format!(
                "{path}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
            ));
        }
    }
}

fn host(port: &Value) -> i64 {
    port.int("hostPort").unwrap_or(0)
}

/// How two definitions of one port of containers conflict.
fn conflict(port: &Value, other: &Value) -> Option<&'static str> {
    let same = port.int("containerPort") == other.int("containerPort")
        && port.text("protocol") == other.text("protocol");
    let (here, there) = (port.text("hostIP"), other.text("hostIP"));
    if !same {
        None
    } else if here == there && host(port) == host(other) {
        Some("duplicate")
    } else if host(port) == 0 || host(other) == 0 {
        Some("overlapping")
    } else if host(port) == host(other) && here.is_empty() != there.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

/// A port as upstream's struct prints.
fn shown(port: &Value) -> String {
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        port.text("name"),
        host(port),
        port.int("containerPort").unwrap_or(0),
        port.text("protocol"),
        port.text("hostIP"),
    )
}
