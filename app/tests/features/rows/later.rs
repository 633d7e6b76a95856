//! What changes in a running pod, what a pod asks for as a whole, its names and services, its way outside.

use crate::node::Node;
use crate::table::Expect::{All, Asks, Event, Says, Shows};
use crate::table::{Row, row};

fn has(node: &Node, place: &str, file: (&str, &str), wanted: &str) -> Result<(), String> {
    let (controller, name) = file;
    let found = node.cgroup(place, controller, name)?;
    (found == wanted)
        .then_some(())
        .ok_or_else(|| format!("{name} of {place} is {found}, not {wanted}"))
}

/// CPU quota of a container, and of its pod.
const QUOTA: (&str, &str) = ("cpu", "cpu.cfs_quota_us");
const MEMORY: (&str, &str) = ("memory", "memory.limit_in_bytes");

fn score(node: &Node, place: &str, request: i64) -> Result<(), String> {
    let table = std::fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let total = table.split_whitespace().nth(1).and_then(|kib| kib.parse::<i64>().ok());
    let capacity = total.ok_or("no MemTotal")? * 1024;
    let wanted = (1000 - 1000 * request / capacity).clamp(3, 999).to_string();
    let found = node.proc(place, "oom_score_adj")?;
    (found == wanted).then_some(()).ok_or_else(|| format!("{found} is not {wanted}"))
}

/// Logs kept of one container, and the bytes from which one is put aside.
const LOGS_MAX: usize = 5;
const LOG_MAX: u64 = 10 << 20;

fn flood_is_kept_within_its_logs(node: &Node) -> Result<(), String> {
    let sizes = node.log_files("floods/c");
    let is_short = sizes.iter().any(|(name, size)| name == "0.log" && *size < LOG_MAX);
    (is_short && (2..=LOGS_MAX).contains(&sizes.len()))
        .then_some(())
        .ok_or_else(|| format!("{sizes:?}"))
}

fn quiet_log_is_short(node: &Node) -> Result<(), String> {
    let sizes = node.log_files("beside-flood/c");
    (sizes.len() == 1 && sizes.iter().all(|(_, size)| *size < 1000))
        .then_some(())
        .ok_or_else(|| format!("{sizes:?}"))
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "in-place resize",
        "resizes",
        "E61",
        "more CPU for a running container is in its cgroup and its pod's, without a restart; one that is not asked stays",
        All(&[
            Asks(|node| has(node, "resized-cpu/c", QUOTA, "30000")),
            Asks(|node| has(node, "resized-cpu", QUOTA, "30000")),
            Shows("resized-cpu", "/status/containerStatuses/0/restartCount", "0"),
            Shows("resized-cpu", "/status/containerStatuses/0/resources/limits/cpu", "300m"),
            Event("resized-cpu", "ResizeCompleted", "Pod resize completed"),
        ]),
        All(&[
            Asks(|node| has(node, "resized-not/c", QUOTA, "20000")),
            Asks(|node| has(node, "resized-not", QUOTA, "20000")),
        ]),
    ),
    row(
        "in-place resize",
        "resizes",
        "E61",
        "more memory restarts a container whose policy is RestartContainer, and it has the new limit; without one it goes on",
        All(&[
            Asks(|node| has(node, "resized-memory/c", MEMORY, "67108864")),
            Shows("resized-memory", "/status/containerStatuses/0/restartCount", "1"),
        ]),
        All(&[
            Asks(|node| has(node, "resized-not/c", MEMORY, "33554432")),
            Shows("resized-not", "/status/containerStatuses/0/restartCount", "0"),
        ]),
    ),
    row(
        "images",
        "resizes",
        "E20 E33",
        "another image for a running pod makes its container anew; one whose image stays goes on",
        All(&[
            Says("image-changed/c", "user=0"),
            Says("image-changed/c", "user=65534"),
            Shows("image-changed", "/status/containerStatuses/0/restartCount", "1"),
        ]),
        Shows("changes", "/status/containerStatuses/0/restartCount", "0"),
    ),
    row(
        "env of services",
        "services",
        "E64",
        "services of the namespace are in the environment; with enableServiceLinks false only the server is",
        Says("services-told/c", "port=8080 proto=tcp host=same"),
        Asks(|node| {
            let log = node.log("services-untold/c");
            let is_bare = log
                .iter()
                .any(|line| line.starts_with("port= proto= server=") && !line.ends_with('='));
            is_bare.then_some(()).ok_or_else(|| format!("{log:?}"))
        }),
    ),
    row(
        "names",
        "host",
        "E63",
        "setHostnameAsFQDN makes the full name the host name, and one that is too long is told; otherwise it is the short one",
        All(&[
            Says("full-name/c", "name=chosen.below.features.svc.cluster.local"),
            Event(
                "full-name-too-long",
                "FailedCreatePodSandBox",
                "is too long (64 characters is the max",
            ),
            Shows("full-name-too-long", "/status/phase", "Pending"),
        ]),
        Says("names/c", "name=chosen"),
    ),
    row(
        "admission on the node",
        "refused",
        "E2",
        "a pod for another operating system is refused as PodOSNotSupported; one for this one runs",
        All(&[
            Shows("other-system", "/status/phase", "Failed"),
            Shows("other-system", "/status/reason", "PodOSNotSupported"),
        ]),
        Says("own-system/c", "runs"),
    ),
    row(
        "ends of containers",
        "ends",
        "E33",
        "a container whose own rule names its exit code starts again, although its pod never restarts; one without a rule does not",
        All(&[
            Shows("ends-by-rule", "/status/containerStatuses/ruled/restartCount", "1"),
            Shows("ends-by-rule", "/status/containerStatuses/ruled/state/terminated/exitCode", "7"),
            Shows("ends-by-rule", "/status/phase", "Failed"),
        ]),
        All(&[
            Shows("ends-by-rule", "/status/containerStatuses/plain/restartCount", "0"),
            Shows(
                "ends-by-rule",
                "/status/containerStatuses/plain/state/terminated/exitCode",
                "42",
            ),
        ]),
    ),
    row(
        "pod-level resources",
        "resources",
        "E60 E61",
        "the pod's own limits are its cgroup's, and those of containers that have none; a container's own limit stays",
        All(&[
            Shows("whole-guaranteed", "/status/qosClass", "Guaranteed"),
            Asks(|node| has(node, "whole-guaranteed", QUOTA, "5000")),
            Asks(|node| has(node, "whole-guaranteed", MEMORY, "50331648")),
            Asks(|node| has(node, "whole-guaranteed/c", QUOTA, "5000")),
            Asks(|node| has(node, "whole-guaranteed/c", MEMORY, "50331648")),
        ]),
        All(&[
            Asks(|node| has(node, "whole-guaranteed/d", MEMORY, "33554432")),
            Asks(|node| has(node, "best-effort", QUOTA, "-1")),
        ]),
    ),
    row(
        "pod-level resources",
        "resources",
        "E60 E61",
        "what the pod asks for beyond its containers is shared among them: shares of its cgroup, and oom_score_adj",
        All(&[
            Shows("whole-burstable", "/status/qosClass", "Burstable"),
            Asks(|node| has(node, "whole-burstable", ("cpu", "cpu.shares"), "102")),
            Asks(|node| score(node, "whole-burstable/c", 32 << 20)),
        ]),
        Asks(|node| has(node, "best-effort", ("cpu", "cpu.shares"), "2")),
    ),
    row(
        "pod network",
        "outside",
        "E63",
        "what a pod sends outside its node's range has the node's address, by one rule of the agent; inside it keeps its own",
        All(&[
            Says("outside/c", "outside=node"),
            Asks(|node| {
                let rules = node.run(&["iptables", "-t", "nat", "-S", "POSTROUTING"]);
                let hooks = rules.lines().filter(|line| line.ends_with("-j PERNODE-MASQ")).count();
                // the plugin's own rules name the network and the pod
                let is_alone = !rules.contains("name: \\\"pernode\\\" id:");
                (hooks == 1 && is_alone).then_some(()).ok_or(rules)
            }),
        ]),
        Says("outside/c", "inside=own"),
    ),
    row(
        "isolation",
        "isolation",
        "E14 E65",
        "while a container writes as fast as it can, another pod starts and is shown Running; the flood keeps to its logs",
        All(&[
            Shows("beside-flood", "/status/phase", "Running"),
            Asks(|node| {
                let over = node.file("evidence/flood-over");
                (over == "stopped").then_some(()).ok_or_else(|| "it goes on".to_owned())
            }),
            Asks(flood_is_kept_within_its_logs),
        ]),
        Asks(quiet_log_is_short),
    ),
];
