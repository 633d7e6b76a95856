//! Accounts, logs, what is refused, and what the node says of itself.

use super::condition;
use crate::node::Node;
use crate::table::Expect::{All, Asks, Event, Says, Shows};
use crate::table::{Row, row};

/// Bytes at which a log is put aside.
const LOG_MAX: u64 = 10 << 20;

fn log_is_put_aside(node: &Node) -> Result<(), String> {
    let sizes = node.log_files("logs/floods");
    let is_new = |(name, size): &(String, u64)| name == "0.log" && *size < LOG_MAX;
    let is_old = |(name, size): &(String, u64)| name.starts_with("0.log.") && *size >= LOG_MAX;
    (sizes.iter().any(is_new) && sizes.iter().any(is_old))
        .then_some(())
        .ok_or_else(|| format!("{sizes:?}"))
}

fn quiet_log_is_whole(node: &Node) -> Result<(), String> {
    let sizes = node.log_files("logs/quiet");
    (sizes.len() == 1).then_some(()).ok_or_else(|| format!("{sizes:?}"))
}

fn log_lines_have_their_marks(node: &Node) -> Result<(), String> {
    let raw = node.raw_log("logs/quiet");
    let has = |end: &str| raw.lines().any(|line| line.ends_with(end));
    let is_good = has(" stdout F out") && has(" stderr F err");
    is_good.then_some(()).ok_or(raw)
}

fn a_link_leads_to_the_log(node: &Node) -> Result<(), String> {
    let list = node.run(&["ls", "-l", "/var/log/containers"]);
    let is_there = list.lines().any(|line| {
        line.contains("logs_features_quiet-") && line.contains("/var/log/pods/features_logs_")
    });
    is_there.then_some(()).ok_or(list)
}

fn node_has(node: &Node, path: &str, wanted: &str) -> Result<(), String> {
    let found = node.kubectl(&["get", "node", "node1", "-o", &format!("jsonpath={path}")]);
    found.contains(wanted).then_some(()).ok_or_else(|| format!("{path} is {found:?}"))
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "serviceAccountName",
        "service-account",
        "E54 E64",
        "the pod knows its account; one that does not want a token has none",
        Says("account/c", "account=reader"),
        Says("account-none/c", "files=none"),
    ),
    row(
        "projected volumes",
        "service-account",
        "E54",
        "a signed token for an audience of its own is a file",
        All(&[Says("account/c", "parts=2"), Says("account/c", "vault-mode=644")]),
        Says("account-none/c", "files=none"),
    ),
    row(
        "AppArmor annotations",
        "refused",
        "E2",
        "a profile is refused where the kernel has no AppArmor, by field and by annotation",
        All(&[
            Shows("apparmor", "/status/reason", "AppArmor"),
            Shows(
                "apparmor",
                "/status/message",
                "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host",
            ),
            Shows("apparmor-annotation", "/status/reason", "AppArmor"),
        ]),
        Shows("selinux", "/status/phase", "Succeeded"),
    ),
    row(
        "seLinuxOptions",
        "refused",
        "E63",
        "labels are handed to the runtime, which ignores them where the kernel has no SELinux",
        Says("selinux/c", "runs"),
        Shows("apparmor", "/status/phase", "Failed"),
    ),
    row(
        "pod securityContext",
        "refused",
        "E2",
        "safe sysctls are set in the pod; others are refused as SysctlForbidden",
        Says("sysctl/c", "rmid=1 start=80"),
        All(&[
            Shows("sysctl-unsafe", "/status/reason", "SysctlForbidden"),
            Shows(
                "sysctl-unsafe",
                "/status/message",
                "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
            ),
        ]),
    ),
    row(
        "admission on the node",
        "refused",
        "E50",
        "a volume of a kind that is not mounted here is told, and the pod waits",
        Event("volume-kind", "FailedMount", "no volume plugin matched"),
        Shows("volume-kind", "/status/phase", "Pending"),
    ),
    row(
        "container logs",
        "logs",
        "E14",
        "every line has its time, stream and mark, below /var/log/pods and linked from /var/log/containers",
        All(&[Asks(log_lines_have_their_marks), Asks(a_link_leads_to_the_log)]),
        Asks(quiet_log_is_whole),
    ),
    row(
        "container logs",
        "logs",
        "E14",
        "a log over 10 MiB is put aside and a new one begun; a small one stays",
        Asks(log_is_put_aside),
        Asks(quiet_log_is_whole),
    ),
    row(
        "pod securityContext",
        "security-context",
        "E32",
        "an image's numeric user satisfies runAsNonRoot; a named one cannot be checked and is refused",
        Says("security-image-user/c", "65534"),
        Event(
            "security-image-name",
            "Failed",
            "Error: container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is non-root",
        ),
    ),
    row(
        "node status",
        "resources",
        "E65",
        "Ready with upstream's reason; no pressure",
        Asks(|node| {
            node_has(node, "{.status.conditions[?(@.type==\"Ready\")].reason}", "KubeletReady")
        }),
        Asks(|node| {
            node_has(node, "{.status.conditions[?(@.type==\"MemoryPressure\")].status}", "False")
        }),
    ),
    row(
        "node status",
        "images",
        "E65",
        "labels, addresses and room of the node",
        All(&[
            Asks(|node| node_has(node, "{.metadata.labels.kubernetes\\.io/hostname}", "node1")),
            Asks(|node| {
                node_has(node, "{.status.addresses[?(@.type==\"InternalIP\")].address}", "10.")
            }),
        ]),
        Asks(|node| node_has(node, "{.status.allocatable.pods}", "110")),
    ),
    row(
        "several containers",
        "resources",
        "E13",
        "each container has a status of its own, with image and id by the runtime's name",
        Asks(|node| {
            let id = node.field("burstable", "/status/containerStatuses/d/containerID");
            id.starts_with("containerd://").then_some(()).ok_or(id)
        }),
        Shows("burstable", "/status/containerStatuses/2/name", ""),
    ),
    row(
        "initContainers",
        "init-containers",
        "E12",
        "Initialized is False with the names of those that are not done, and True afterwards",
        Asks(|node| condition(node, "init-order", "Initialized", "True", "PodCompleted")),
        Asks(|node| {
            condition(node, "init-fails", "Initialized", "False", "ContainersNotInitialized")
        }),
    ),
    row(
        "readinessProbe",
        "probes",
        "E12 E44",
        "Ready and ContainersReady are False with the names of the unready containers",
        Asks(|node| condition(node, "probes-unready", "Ready", "False", "ContainersNotReady")),
        Asks(|node| condition(node, "probes-ready", "Ready", "True", "")),
    ),
    row(
        "ends of containers",
        "ends",
        "E12",
        "a pod that is over is not ready: PodCompleted or PodFailed",
        Asks(|node| condition(node, "ends-well", "Ready", "False", "PodCompleted")),
        Asks(|node| condition(node, "ends", "Ready", "False", "PodFailed")),
    ),
    row(
        "emptyDir",
        "empty-dir",
        "E62",
        "an evicted pod carries DisruptionTarget; one that ends by itself does not",
        Asks(|node| {
            condition(
                node,
                "empty-dir-over-limit",
                "DisruptionTarget",
                "True",
                "TerminationByKubelet",
            )
        }),
        Asks(|node| {
            let found = condition(node, "ends-deadline", "DisruptionTarget", "True", "");
            found.is_err().then_some(()).ok_or_else(|| "it has".to_owned())
        }),
    ),
];
