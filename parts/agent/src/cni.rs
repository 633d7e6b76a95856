//! The pod network where nobody else brings one (`--cni auto`): one file for the runtime's plugins.

use k8s_openapi::api::core::v1::Node;
use kit::Cache;
use masquerade::Masquerade;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

mod masquerade;

/// Our file. Runtimes take the first by name, so any other file wins.
const OURS: &str = "99-pernode.conflist";
/// How long a daemon that brings a network has before we write ours.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The bridge of our network.
const BRIDGE: &str = "pernode0";
/// Where runtimes look, if they do not say otherwise.
const DIR: &str = "/etc/cni/net.d";

/// What is seen at one look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    has_others: bool,
    has_ours: bool,
    has_range: bool,
    /// Since when there has been no network.
    waited: Duration,
}

/// What our file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// As it is.
    Leave,
    /// There, with the ranges of now.
    Keep,
    Remove,
}

fn act(seen: Seen) -> Act {
    match (seen.has_others, seen.has_ours) {
        (true, true) => Act::Remove,
        (false, true) if seen.has_range => Act::Keep,
        (false, false) if seen.has_range && seen.waited >= PATIENCE => Act::Keep,
        _ => Act::Leave,
    }
}

/// Names of configuration files in a folder: of others, and whether ours is among them.
fn files(dir: &Path) -> (Vec<String>, bool) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_config =
        |name: &String| [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending));
    let (ours, others): (Vec<_>, Vec<_>) = names.filter(is_config).partition(|name| name == OURS);
    (others, !ours.is_empty())
}

/// A bridge with the node's own addresses, and host ports. The loopback of a pod is the runtime's own doing.
/// `is_masked`: what pods send elsewhere has the node's address already, by a rule for all of them; otherwise the plugin
/// makes one for each.
fn list(ranges: &[String], is_masked: bool) -> serde_json::Value {
    let all: Vec<_> = ranges.iter().map(|range| serde_json::json!([{ "subnet": range }])).collect();
    let route = |range: &String| if range.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<_> =
        ranges.iter().map(|range| serde_json::json!({ "dst": route(range) })).collect();
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "pernode",
        "plugins": [
            {
                "type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipMasq": !is_masked, "hairpinMode": true,
                "promiscMode": false,
                "ipam": { "type": "host-local", "ranges": all, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// Writes our file, if it is not so already. Whether it was written.
fn write(dir: &Path, ranges: &[String], is_masked: bool) -> io::Result<bool> {
    let text = serde_json::to_vec_pretty(&list(ranges, is_masked))?;
    if fs::read(dir.join(OURS)).is_ok_and(|now| now == text) {
        return Ok(false);
    }
    fs::create_dir_all(dir)?;
    let new = dir.join(format!(".{OURS}.new"));
    fs::write(&new, text)?;
    fs::rename(new, dir.join(OURS))?;
    Ok(true)
}

/// A range as programs list it: the first address it has, in its shortest form. What cannot be read stays as it is.
fn canonical(range: String) -> String {
    let parse = || {
        let (address, bits) = range.split_once('/')?;
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        let first: IpAddr = match address {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & !rest).into()
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(bits).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & !rest).into()
            }
        };
        Some(format!("{first}/{bits}"))
    };
    parse().unwrap_or(range)
}

/// Addresses that the node was given for its pods. The API takes more than one way to write a range.
fn ranges(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.clone().filter(|list| !list.is_empty());
    let single = || spec.pod_cidr.clone().into_iter().filter(|one| !one.is_empty()).collect();
    all.unwrap_or_else(single).into_iter().map(canonical).collect()
}

/// Keeps the folder in order for as long as the agent runs, and the rules that go with our file.
pub(crate) async fn keep(nodes: Cache<Node>, dir: Option<PathBuf>) {
    let dir = dir.unwrap_or_else(|| PathBuf::from(DIR));
    let mut missing_since = Instant::now();
    let mut masquerade = Masquerade::default();
    nodes.synced().await;
    loop {
        let ranges = nodes.list().first().map(|node| ranges(node)).unwrap_or_default();
        let (others, has_ours) = files(&dir);
        if !others.is_empty() || has_ours {
            missing_since = Instant::now();
        }
        let done = match act(Seen {
            has_others: !others.is_empty(),
            has_ours,
            has_range: !ranges.is_empty(),
            waited: missing_since.elapsed(),
        }) {
            Act::Leave => Ok(()),
            Act::Keep => {
                // in this order: a pod made meanwhile has both at worst
                let is_masked = masquerade.keep(&ranges).await;
                write(&dir, &ranges, is_masked).map(|is_new| {
                    if is_new {
                        let dir = dir.display();
                        tracing::info!(
                            "no other pod network in {dir}: ours is written for {ranges:?}"
                        );
                    }
                })
            }
            Act::Remove => {
                tracing::info!("the pod network {} takes the place of ours", others.join(", "));
                fs::remove_file(dir.join(OURS))
            }
        };
        if let Err(error) = done {
            tracing::warn!("the pod network's file in {}: {error}", dir.display());
        }
        if !others.is_empty() {
            masquerade.end(BRIDGE).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(has_others: bool, has_ours: bool, has_range: bool, waited: Duration) -> Seen {
        Seen { has_others, has_ours, has_range, waited }
    }

    #[test]
    fn ours_is_written_after_a_while_and_goes_when_another_comes() {
        let late = PATIENCE;
        assert_eq!(act(seen(false, false, true, Duration::ZERO)), Act::Leave);
        assert_eq!(act(seen(false, false, true, late)), Act::Keep);
        assert_eq!(act(seen(false, false, false, late)), Act::Leave, "no addresses were assigned");
        assert_eq!(act(seen(false, true, true, Duration::ZERO)), Act::Keep);
        assert_eq!(act(seen(false, true, false, late)), Act::Leave, "the node's object is away");
        assert_eq!(act(seen(true, true, true, late)), Act::Remove);
        assert_eq!(act(seen(true, false, true, late)), Act::Leave);
    }

    #[test]
    fn only_configuration_files_count_and_ours_is_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["10.7.0.0/24".to_owned()], true).unwrap();
        fs::write(dir.path().join("README"), "").unwrap();
        assert_eq!(files(dir.path()), (Vec::new(), true));
        fs::write(dir.path().join("10-other.conf"), "").unwrap();
        assert_eq!(files(dir.path()), (vec!["10-other.conf".to_owned()], true));
        let text = fs::read(dir.path().join(OURS)).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.7.0.0/24");
        assert_eq!(list["plugins"][0]["ipMasq"], false);
    }

    #[test]
    fn a_file_that_says_otherwise_is_rewritten_and_one_that_is_right_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let ranges = ["10.7.0.0/24".to_owned(), "fd00:7::/64".to_owned()];
        assert!(write(dir.path(), &ranges, false).unwrap(), "there was none");
        assert!(!write(dir.path(), &ranges, false).unwrap());
        assert!(write(dir.path(), &ranges, true).unwrap(), "the rule is in place by now");
        assert!(write(dir.path(), &ranges[..1], true).unwrap(), "the node was given other ranges");
        assert!(!write(dir.path(), &ranges[..1], true).unwrap());
    }

    #[test]
    fn ranges_are_written_as_programs_list_them() {
        let node = |all: &[&str]| -> Node {
            serde_json::from_value(serde_json::json!({
                "spec": { "podCIDR": all[0], "podCIDRs": all }
            }))
            .unwrap()
        };
        let long = node(&["10.7.0.9/24", "fd00:0:0:7::/64"]);
        assert_eq!(ranges(&long), ["10.7.0.0/24", "fd00:0:0:7::/64"]);
        let full = node(&["FD00:0007:0:0:0:0:0:5/64", "10.7.0.1/32"]);
        assert_eq!(ranges(&full), ["fd00:7::/64", "10.7.0.1/32"]);
        assert_eq!(ranges(&node(&["::1/0", "10.0.0.1/0"])), ["::/0", "0.0.0.0/0"]);
        assert_eq!(ranges(&node(&["not a range"])), ["not a range"]);
        let single = serde_json::json!({ "spec": { "podCIDR": "fd00:7:0::/64" } });
        assert_eq!(ranges(&serde_json::from_value(single).unwrap()), ["fd00:7::/64"]);
    }
}
