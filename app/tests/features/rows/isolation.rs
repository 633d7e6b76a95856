//! Pods that misbehave, and containers that are added to look into one.

use crate::node::Node;
use crate::table::Expect::{All, Asks, Event, Says, Shows, Tells};
use crate::table::{Row, row};

/// What `xtask cluster` tells its agents by `--pod-max-pids`.
const PIDS_MAX: u64 = 512;

fn pids(node: &Node, pod: &str) -> Result<u64, String> {
    let number = |file: &str| {
        let text = node.cgroup(pod, "pids", file)?;
        text.parse::<u64>().map_err(|_| format!("{file} of {pod} is {text:?}"))
    };
    let (most, now) = (number("pids.max")?, number("pids.current")?);
    (most == PIDS_MAX && now <= PIDS_MAX)
        .then_some(now)
        .ok_or_else(|| format!("{pod} has {now} of {most} processes"))
}

fn bomb_is_held(node: &Node) -> Result<(), String> {
    let now = pids(node, "forks")?;
    (now > PIDS_MAX / 2).then_some(()).ok_or_else(|| format!("only {now} processes"))
}

fn neighbour_has_few(node: &Node) -> Result<(), String> {
    let now = pids(node, "forks-few")?;
    (now < 32).then_some(()).ok_or_else(|| format!("{now} processes"))
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "isolation",
        "isolation",
        "E61",
        "a pod that forks without end is held by --pod-max-pids; its neighbour starts processes as before",
        All(&[Tells("forks/c", "can't fork"), Asks(bomb_is_held)]),
        All(&[Says("forks-few/c", "started=16"), Asks(neighbour_has_few)]),
    ),
    row(
        "isolation",
        "empty-dir",
        "E53 E62",
        "a pod that fills its emptyDir over the limit is evicted; one with room of its own is not",
        All(&[
            Shows("empty-dir-over-limit", "/status/phase", "Failed"),
            Event("empty-dir-over-limit", "Evicted", "Usage of EmptyDir volume"),
        ]),
        All(&[
            Says("empty-dir/reads", "disk-big=written"),
            Shows("empty-dir", "/status/reason", ""),
        ]),
    ),
    row(
        "ephemeral containers",
        "debugged",
        "E63",
        "kubectl debug --target sees the processes of that container; without it the added one is alone",
        All(&[
            Tells("debugged/looker", "first=sleep"),
            Shows("debugged", "/status/ephemeralContainerStatuses/0/name", "looker"),
        ]),
        Tells("debugged/stranger", "first=sh"),
    ),
    row(
        "ephemeral containers",
        "debugged",
        "E10 E12",
        "an added container ends and is not started again; the pod's own go on and stay ready",
        All(&[
            Shows(
                "debugged",
                "/status/ephemeralContainerStatuses/0/state/terminated/reason",
                "Completed",
            ),
            Shows("debugged", "/status/ephemeralContainerStatuses/0/restartCount", "0"),
        ]),
        All(&[
            Shows("debugged", "/status/phase", "Running"),
            Shows("debugged", "/status/containerStatuses/0/ready", "true"),
        ]),
    ),
];
