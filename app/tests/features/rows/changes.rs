//! Asking the API from inside, changes while a pod runs, runtimes, private images, figures and streams.

use crate::node::Node;
use crate::table::Expect::{All, Asks, Event, Says, Shows, Tells};
use crate::table::{Row, row};

fn proxied(node: &Node, path: &str, wanted: &str, is_there: bool) -> Result<(), String> {
    let text = node.kubectl(&["get", "--raw", &format!("/api/v1/nodes/node1/proxy/{path}")]);
    (text.contains(wanted) == is_there)
        .then_some(())
        .ok_or_else(|| format!("{path}: {wanted:?} is there: {}", !is_there))
}

fn running_pod_has_usage(node: &Node) -> Result<(), String> {
    let text = node.kubectl(&["get", "--raw", "/api/v1/nodes/node1/proxy/stats/summary"]);
    let summary: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut pods = summary["pods"].as_array().into_iter().flatten();
    let own = pods.find(|pod| pod["podRef"]["name"] == "gate-closed").ok_or("no such pod")?;
    let used = own["containers"][0]["memory"]["workingSetBytes"].as_u64().unwrap_or(0);
    (used > 0 && used < 64 << 20).then_some(()).ok_or_else(|| own.to_string())
}

fn ipc(node: &Node, pod: &str, is_nodes: bool) -> Result<(), String> {
    let nodes = node.run(&["readlink", "/proc/self/ns/ipc"]);
    let log = node.log(pod);
    let own = log.iter().find(|line| line.starts_with("ipc:")).ok_or("it has not said")?;
    ((own.trim() == nodes.trim()) == is_nodes)
        .then_some(())
        .ok_or_else(|| format!("{own} where the node has {nodes}"))
}

fn says(found: &str, wanted: &str) -> Result<(), String> {
    (found == wanted).then_some(()).ok_or_else(|| format!("{found:?}, not {wanted:?}"))
}

fn asks(node: &Node, path: &str) -> String {
    node.kubectl(&["get", "node", "node1", "-o", &format!("jsonpath={path}")])
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "serviceAccountName",
        "api-access",
        "E54 E64",
        "a program asks the API with its token and the authority's certificate, and gets what its role allows",
        All(&[
            Says("api-access/c", "files=ca.crt namespace token"),
            Says("api-access/c", "namespace=features"),
            Says("api-access/c", "pod= 200 1"),
        ]),
        All(&[
            Tells(
                "api-access/c",
                "secrets is forbidden: User \\\"system:serviceaccount:features:asker\\\"",
            ),
            Tells("api-access/c", "\"code\":401"),
        ]),
    ),
    row(
        "hostNetwork",
        "api-access",
        "E54 E64",
        "the same from the node's own network",
        Says("api-access-host/c", "pod= 200 1"),
        Tells("api-access-host/c", "\"code\":403"),
    ),
    row(
        "projected volumes",
        "api-access",
        "E54",
        "the token is a file of mode 0644 in a read-only mount",
        Says("api-access/c", "access=644 read-only"),
        Says("account-none/c", "files=none"),
    ),
    row(
        "configMap volumes",
        "changes",
        "E52",
        "a change reaches the volume of a running pod; its environment stays",
        Says("changes/c", "map=new"),
        Says("changes/c", "env=old,old,old"),
    ),
    row(
        "secret volumes",
        "changes",
        "E52",
        "a change reaches the volume of a running pod; what is mounted by subPath stays",
        Says("changes/c", "secret=new"),
        Says("changes/c", "part=old"),
    ),
    row(
        "downwardAPI volumes",
        "changes",
        "E52 E64",
        "an annotation that changes reaches the volume of a running pod; its environment stays",
        Says("changes/c", "own=new"),
        Says("changes/c", "env=old,old,old"),
    ),
    row(
        "readinessProbe",
        "changes",
        "E12 E44",
        "a readiness gate that somebody has set makes the pod ready; without it ReadinessGatesNotReady",
        Asks(|node| super::condition(node, "gate-open", "Ready", "True", "")),
        All(&[
            Asks(|node| {
                super::condition(node, "gate-closed", "Ready", "False", "ReadinessGatesNotReady")
            }),
            Asks(|node| super::condition(node, "gate-closed", "ContainersReady", "True", "")),
        ]),
    ),
    row(
        "runtimeClassName",
        "runtimes",
        "E63",
        "the class's handler runs the pod; one that the runtime does not have is told",
        Says("runtime-ordinary/c", "runs"),
        All(&[
            Event(
                "runtime-unheard-of",
                "FailedCreatePodSandBox",
                "no runtime for \"unheard-of\" is configured",
            ),
            Shows("runtime-unheard-of", "/status/phase", "Pending"),
        ]),
    ),
    row(
        "images",
        "private-images",
        "E20 E22",
        "the pod's pull secret opens a registry that asks for a password; a wrong one does not",
        Says("private-image/c", "runs"),
        Event("private-image-refused", "Failed", "Error: ErrImagePull"),
    ),
    row(
        "serviceAccountName",
        "private-images",
        "E20",
        "the account's pull secrets are its pods'",
        All(&[
            Says("private-image-by-account/c", "runs"),
            Shows("private-image-by-account", "/spec/imagePullSecrets/0/name", "registry"),
        ]),
        Shows("api-access", "/spec/imagePullSecrets", ""),
    ),
    row(
        "several containers",
        "programs",
        "E63",
        "workingDir is where the program begins; the image's otherwise",
        Says("programs/there", "dir=/tmp"),
        Says("programs/terminal", "dir=/"),
    ),
    row(
        "several containers",
        "programs",
        "E63",
        "tty gives the program a terminal; a program without has none",
        Says("programs/terminal", "tty=yes"),
        Says("programs/there", "tty=no"),
    ),
    row(
        "hostIPC",
        "programs",
        "E63",
        "hostIPC shares the node's IPC namespace; otherwise the pod has its own",
        Asks(|node| ipc(node, "programs-host-ipc/c", true)),
        Asks(|node| ipc(node, "programs/there", false)),
    ),
    row(
        "ends of containers",
        "ends",
        "E13 E33",
        "a container that was started again says how the one before ended",
        Asks(|node| {
            let path = "/status/containerStatuses/0/lastState/terminated/reason";
            says(&node.field("ends-loops", path), "Completed")
        }),
        Shows("ends-well", "/status/containerStatuses/1/lastState/terminated/reason", ""),
    ),
    row(
        "node status",
        "logs",
        "E65",
        "a lease in kube-node-lease is the node's sign of life, and the port is told",
        Asks(|node| {
            let path = "jsonpath={.spec.holderIdentity} {.spec.leaseDurationSeconds}";
            let args = ["-n", "kube-node-lease", "get", "lease", "node1", "-o", path];
            says(&node.kubectl(&args), "node1 40")
        }),
        Asks(|node| says(&asks(node, "{.status.daemonEndpoints.kubeletEndpoint.Port}"), "10250")),
    ),
    row(
        "node figures",
        "changes",
        "E66",
        "/stats/summary has the memory of a running pod's containers; ended ones have none",
        Asks(running_pod_has_usage),
        Asks(|node| proxied(node, "metrics/resource", "pod=\"runtime-ordinary\"", false)),
    ),
    row(
        "node figures",
        "changes",
        "E66",
        "/metrics/resource has the container's memory and CPU, by upstream's names",
        All(&[
            Asks(|node| {
                let wanted = "container_memory_working_set_bytes{container=\"c\",namespace=\"features\",pod=\"gate-closed\"}";
                proxied(node, "metrics/resource", wanted, true)
            }),
            Asks(|node| proxied(node, "metrics/resource", "node_cpu_usage_seconds_total", true)),
        ]),
        Asks(|node| proxied(node, "metrics/resource", "pod=\"image-missing\"", false)),
    ),
    row(
        "node figures",
        "changes",
        "E66",
        "/metrics/cadvisor has upstream's labels: container, id, image, name, namespace, pod",
        Asks(|node| {
            proxied(node, "metrics/cadvisor", "namespace=\"features\",pod=\"gate-closed\"", true)
        }),
        Asks(|node| proxied(node, "metrics/cadvisor", "pod=\"runtime-unheard-of\"", false)),
    ),
];
