//! The bridge that joins the nodes, and one link for each.
//!
//! A cluster has 10.N.0.0/16 to itself: 10.N.0.1 is this machine, 10.N.0.(10+k) node k, 10.N.k.0/24 node k's pods.

use super::made::{Made, State};
use crate::sh;
use anyhow::{Result, bail};
use std::path::Path;

/// First and last N tried.
const NETS: std::ops::Range<u8> = 100..250;

/// Makes the bridge on a network that nobody here uses.
pub(crate) fn bridge(state: &mut State) -> Result<()> {
    let used = sh::run("ip", &["-4", "-o", "route", "show", "table", "all"])?
        + &sh::run("ip", &["-4", "-o", "addr"])?;
    let start = NETS.start + u8::try_from(std::process::id() % 140)?;
    for net in (start..NETS.end).chain(NETS.start..start) {
        if used.contains(&format!("10.{net}.")) {
            continue;
        }
        state.net = net;
        let name = format!("pn{}", state.id);
        state.note(Made::Link { name: name.clone() })?;
        sh::run("ip", &["link", "add", &name, "type", "bridge"])?;
        sh::run("ip", &["addr", "add", &format!("10.{net}.0.1/24"), "dev", &name])?;
        sh::run("ip", &["link", "set", &name, "up"])?;
        return Ok(());
    }
    bail!("no free network 10.{}-{}.0.0/16 on this machine", NETS.start, NETS.end)
}

/// Name of node `number`'s network namespace.
pub(crate) fn namespace(state: &State, number: u8) -> String {
    format!("pn{}-{number}", state.id)
}

/// Name of this machine's end of node `number`'s link.
pub(crate) fn link(state: &State, number: u8) -> String {
    format!("pn{}{number}", state.id)
}

/// Makes the network namespace of node `number` and its link to the bridge.
pub(crate) fn join(state: &mut State, number: u8) -> Result<()> {
    if !Path::new("/run/netns").exists() {
        state.note(Made::Folder { path: "/run/netns".into() })?;
    }
    let name = namespace(state, number);
    let link = link(state, number);
    let net = state.net;
    state.note(Made::Namespace { name: name.clone() })?;
    sh::run("ip", &["netns", "add", &name])?;
    state.note(Made::Link { name: link.clone() })?;
    sh::run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
    sh::run("ip", &["link", "set", &link, "master", &format!("pn{}", state.id), "up"])?;
    let inside = |args: &[&str]| sh::run("ip", &[&["-n", name.as_str()], args].concat());
    inside(&["addr", "add", &format!("10.{net}.0.{}/24", 10 + number), "dev", "eth0"])?;
    inside(&["link", "set", "lo", "up"])?;
    inside(&["link", "set", "eth0", "up"])?;
    inside(&["route", "add", "default", "via", &state.gateway()])?;
    sh::run(
        "ip",
        &[
            "route",
            // a node that was here before with this number may have left its route
            "replace",
            &format!("10.{net}.{number}.0/24"),
            "via",
            &format!("10.{net}.0.{}", 10 + number),
        ],
    )?;
    for other in state.nodes.iter().map(|n| n.number).filter(|n| *n != number) {
        route(state, number, other)?;
        route(state, other, number)?;
    }
    Ok(())
}

/// Tells node `from` the way to the pods of node `to`.
fn route(state: &State, from: u8, to: u8) -> Result<()> {
    let net = state.net;
    let pods = format!("10.{net}.{to}.0/24");
    let via = format!("10.{net}.0.{}", 10 + to);
    sh::run("ip", &["-n", &namespace(state, from), "route", "replace", &pods, "via", &via])?;
    Ok(())
}
