//! The pod network where nobody else brings one (`--cni auto`): one file for the runtime's plugins.

use k8s_openapi::api::core::v1::Node;
use kit::Cache;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Our file. Runtimes take the first by name, so any other file wins.
const OURS: &str = "99-pernode.conflist";
/// How long a daemon that brings a network has before we write ours.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Where runtimes look, if they do not say otherwise.
const DIR: &str = "/etc/cni/net.d";

/// What is to be done about our file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    Write,
    Remove,
}

fn act(has_others: bool, has_ours: bool, has_range: bool, waited: Duration) -> Act {
    match (has_others, has_ours) {
        (true, true) => Act::Remove,
        (false, false) if has_range && waited >= PATIENCE => Act::Write,
        _ => Act::Nothing,
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
fn list(ranges: &[String]) -> serde_json::Value {
    let all: Vec<_> = ranges.iter().map(|range| serde_json::json!([{ "subnet": range }])).collect();
    let route = |range: &String| if range.contains(':') { "::/0" } else { "0.0.0.0/0" };
    let routes: Vec<_> =
        ranges.iter().map(|range| serde_json::json!({ "dst": route(range) })).collect();
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "pernode",
        "plugins": [
            {
                "type": "bridge", "bridge": "pernode0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "promiscMode": false,
                "ipam": { "type": "host-local", "ranges": all, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

fn write(dir: &Path, ranges: &[String]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let text = serde_json::to_vec_pretty(&list(ranges))?;
    let new = dir.join(format!(".{OURS}.new"));
    fs::write(&new, text)?;
    fs::rename(new, dir.join(OURS))
}

/// Addresses that the node was given for its pods.
fn ranges(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.clone().filter(|list| !list.is_empty());
    all.unwrap_or_else(|| spec.pod_cidr.clone().into_iter().filter(|one| !one.is_empty()).collect())
}

/// Keeps the folder in order for as long as the agent runs.
pub(crate) async fn keep(nodes: Cache<Node>, dir: Option<PathBuf>) {
    let dir = dir.unwrap_or_else(|| PathBuf::from(DIR));
    let mut missing_since = Instant::now();
    nodes.synced().await;
    loop {
        let ranges = nodes.list().first().map(|node| ranges(node)).unwrap_or_default();
        let (others, has_ours) = files(&dir);
        if !others.is_empty() || has_ours {
            missing_since = Instant::now();
        }
        let done =
            match act(!others.is_empty(), has_ours, !ranges.is_empty(), missing_since.elapsed()) {
                Act::Nothing => Ok(()),
                Act::Write => {
                    tracing::info!(
                        "no pod network in {}: ours is written for {ranges:?}",
                        dir.display()
                    );
                    write(&dir, &ranges)
                }
                Act::Remove => {
                    tracing::info!("the pod network {} takes the place of ours", others.join(", "));
                    fs::remove_file(dir.join(OURS))
                }
            };
        if let Err(error) = done {
            tracing::warn!("the pod network's file in {}: {error}", dir.display());
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_written_after_a_while_and_goes_when_another_comes() {
        let late = PATIENCE;
        assert_eq!(act(false, false, true, Duration::ZERO), Act::Nothing);
        assert_eq!(act(false, false, true, late), Act::Write);
        assert_eq!(act(false, false, false, late), Act::Nothing, "no addresses were assigned");
        assert_eq!(act(false, true, true, late), Act::Nothing);
        assert_eq!(act(true, true, true, late), Act::Remove);
        assert_eq!(act(true, false, true, late), Act::Nothing);
    }

    #[test]
    fn only_configuration_files_count_and_ours_is_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &["10.7.0.0/24".to_owned()]).unwrap();
        fs::write(dir.path().join("README"), "").unwrap();
        assert_eq!(files(dir.path()), (Vec::new(), true));
        fs::write(dir.path().join("10-other.conf"), "").unwrap();
        assert_eq!(files(dir.path()), (vec!["10-other.conf".to_owned()], true));
        let text = fs::read(dir.path().join(OURS)).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.7.0.0/24");
    }
}
