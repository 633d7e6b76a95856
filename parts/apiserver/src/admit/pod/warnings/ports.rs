//! Ports of containers that get in each other's way.

use crate::admit::json::Json;
use crate::admit::pod::containers;
use crate::encode::warning::Texts;
use api::Path;
use serde_json::Value;
use std::collections::BTreeMap;

/// Warnings about the ports of all containers together, as far as they are told.
pub(super) fn all(all: &mut Vec<String>, spec: &Value, path: &Path) {
    let ports: Vec<(Path, &Value)> = containers::every(spec, path)
        .into_iter()
        .flat_map(|(path, container)| {
            let path = path.child("ports");
            container.list("ports").iter().enumerate().map(move |(i, port)| (path.index(i), port))
        })
        .collect();
    let mut texts = Texts::default();
    conflicts(&mut texts, &ports);
    names(&mut texts, &ports);
    all.extend(texts.into_vec());
}

/// Each port with those before it that are in its way.
fn conflicts(texts: &mut Texts, ports: &[(Path, &Value)]) {
    let mut before = Before::default();
    for (i, (path, port)) in ports.iter().enumerate() {
        if texts.full() {
            return;
        }
        if !port.text("hostIP").is_empty() && host(port) == 0 {
            texts.add(format!("{path}: hostIP set without hostPort: {}", shown(port)));
        }
        for (other_path, other) in before.near(port).into_iter().map(|at| &ports[at]) {
            if texts.full() {
                return;
            }
            if let Some(what) = conflict(port, other) {
                texts.add(format!("{path}: {what} port definition with {other_path}"));
            }
        }
        before.0.entry(Before::key(port)).or_default().push(i);
    }
}

/// Each port that has the name of one before it.
fn names(texts: &mut Texts, ports: &[(Path, &Value)]) {
    let mut first: BTreeMap<&str, &Path> = BTreeMap::new();
    for (path, port) in ports {
        let name = port.text("name");
        if name.is_empty() || texts.full() {
            continue;
        }
        let other = *first.entry(name).or_insert(path);
        if !std::ptr::eq(other, path) {
            texts.add(format!(
                "{path}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
            ));
        }
    }
}

/// A port's number and protocol, its port of the host and the address of that.
type Key<'a> = (Option<i64>, &'a str, i64, &'a str);

/// Ports seen, by what lets them conflict: whatever [`Before::near`] answers is one text to tell, so that ports
/// that are apart cost nothing.
#[derive(Default)]
struct Before<'a>(BTreeMap<Key<'a>, Vec<usize>>);

impl<'a> Before<'a> {
    fn key(port: &'a Value) -> Key<'a> {
        (port.int("containerPort"), port.text("protocol"), host(port), port.text("hostIP"))
    }

    /// Those that conflict with a port, in the order in which they came.
    fn near(&self, port: &'a Value) -> Vec<usize> {
        let (number, protocol, host, address) = Self::key(port);
        let alike = |host: Option<i64>| {
            let from = (number, protocol, host.unwrap_or(i64::MIN), "");
            self.0
                .range(from..)
                .take_while(move |(key, _)| {
                    (key.0, key.1) == (number, protocol) && host.is_none_or(|host| key.2 == host)
                })
                .flat_map(|(_, at)| at)
        };
        let mut found: Vec<usize> = if host == 0 {
            alike(None).copied().collect()
        } else if address.is_empty() {
            alike(Some(0)).chain(alike(Some(host))).copied().collect()
        } else {
            let same = ["", address].map(|address| (number, protocol, host, address));
            let same = same.iter().filter_map(|key| self.0.get(key)).flatten();
            alike(Some(0)).chain(same).copied().collect()
        };
        found.sort_unstable();
        found
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
