//! The node's disk cannot be written, or has no room: a pod waits, is told why, and runs once that is mended.

use crate::node::{NAMESPACE, Node, until};
use std::time::Duration;

/// Where the agent keeps what pods have, inside the node.
const PODS: &str = "/var/lib/pernode/agent/pods";
/// How long the word, and the pod after it, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// While no other pod is there.
pub(crate) fn disk(node: &mut Node) {
    node.run(&["mkdir", "-p", PODS]);
    node.run(&["mount", "--bind", PODS, PODS]);
    node.run(&["mount", "-o", "remount,bind,ro", PODS]);
    waits_then_runs(node, "disk-read-only", "Read-only file system");
    // its own folder takes the only place there is
    node.run(&["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", PODS]);
    waits_then_runs(node, "disk-full", "No space left on device");
}

fn waits_then_runs(node: &mut Node, name: &str, word: &str) {
    node.kubectl(&[
        "run",
        name,
        "-n",
        NAMESPACE,
        "--image=busybox:1.36",
        "--restart=Never",
        "--command",
        "--",
        "sleep",
        "999",
    ]);
    until(PATIENCE, || {
        node.look();
        let events = node.events(name);
        let is_told = events.iter().any(|(why, text)| why == "FailedMount" && text.contains(word));
        is_told.then_some(()).ok_or_else(|| format!("no word of {word:?} on {name}: {events:?}"))
    });
    assert_eq!(node.field(name, "/status/phase"), "Pending");
    node.run(&["umount", PODS]);
    let pod = format!("pod/{name}");
    node.kubectl(&["wait", "-n", NAMESPACE, "--for=condition=Ready", &pod, "--timeout=60s"]);
    node.kubectl(&["delete", "-n", NAMESPACE, &pod, "--grace-period=1"]);
    until(PATIENCE, || {
        let left = node.left();
        left.is_empty().then_some(()).ok_or_else(|| format!("{name} left {}", left.join(", ")))
    });
}
