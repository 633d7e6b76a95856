//! The node's namespaces, resources, images, admission.

use crate::node::Node;
use crate::table::Expect::{All, Asks, Event, Says, Shows};
use crate::table::{Row, row};

fn same(found: Result<String, String>, wanted: &str) -> Result<(), String> {
    let found = found?;
    (found == wanted).then_some(()).ok_or_else(|| format!("{found:?} is not {wanted:?}"))
}

fn namespace_of_the_node(node: &Node, kind: &str) -> String {
    node.run(&["readlink", &format!("/proc/1/ns/{kind}")]).trim().to_owned()
}

fn says_namespace(node: &Node, place: &str, kind: &str, is_nodes: bool) -> Result<(), String> {
    let log = node.log(place);
    let said =
        log.iter().find_map(|line| line.strip_prefix(&format!("{kind}="))).ok_or("silent")?;
    let own = namespace_of_the_node(node, kind);
    ((said == own) == is_nodes)
        .then_some(())
        .ok_or_else(|| format!("{said}, and the node's is {own}"))
}

fn limits(node: &Node) -> Result<(), String> {
    for place in ["guaranteed/c", "guaranteed"] {
        same(node.cgroup(place, "cpu", "cpu.shares"), "256")?;
        same(node.cgroup(place, "cpu", "cpu.cfs_quota_us"), "25000")?;
        same(node.cgroup(place, "memory", "memory.limit_in_bytes"), "50331648")?;
    }
    Ok(())
}

fn no_limits(node: &Node) -> Result<(), String> {
    same(node.cgroup("best-effort/c", "cpu", "cpu.shares"), "2")?;
    same(node.cgroup("best-effort/c", "cpu", "cpu.cfs_quota_us"), "-1")?;
    same(node.cgroup("burstable/c", "cpu", "cpu.shares"), "102")?;
    same(node.cgroup("burstable/d", "memory", "memory.limit_in_bytes"), "33554432")
}

fn request_shows_in_oom_score(node: &Node) -> Result<(), String> {
    let table = std::fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let total = table.split_whitespace().nth(1).and_then(|kib| kib.parse::<i64>().ok());
    let capacity = total.ok_or("no MemTotal")? * 1024;
    let wanted = (1000 - 1000 * (16 << 20) / capacity).clamp(3, 999);
    same(node.proc("burstable/c", "oom_score_adj"), &wanted.to_string())
}

fn host_port_leads_to_the_pod(node: &Node) -> Result<(), String> {
    let ip = node.field("host-port", "/status/hostIP");
    let page =
        node.run(&["curl", "-s", "--max-time", "2", &format!("http://{ip}:18080/index.html")]);
    same(Ok(page.trim().to_owned()), "through-the-node")
}

pub(crate) const ROWS: &[Row] = &[
    row(
        "hostNetwork",
        "host",
        "E63",
        "the node's network namespace, name and address; podIP is hostIP",
        All(&[
            Asks(|node| says_namespace(node, "host-network/c", "net", true)),
            Says("host-network/c", "name=node1"),
            Asks(|node| {
                let (pod, host) = (
                    node.field("host-network", "/status/podIP"),
                    node.field("host-network", "/status/hostIP"),
                );
                same(Ok(pod), &host)
            }),
        ]),
        Asks(|node| says_namespace(node, "own-namespaces/c", "net", false)),
    ),
    row(
        "hostPID",
        "host",
        "E63",
        "the node's processes are seen; otherwise a container is alone",
        All(&[
            Asks(|node| says_namespace(node, "host-pid/c", "pid", true)),
            Asks(|node| says_namespace(node, "host-pid/c", "ipc", true)),
            Says("host-pid/c", "agent=seen"),
        ]),
        All(&[
            Asks(|node| says_namespace(node, "own-namespaces/c", "pid", false)),
            Asks(|node| says_namespace(node, "own-namespaces/c", "ipc", false)),
            Says("own-namespaces/c", "agent=hidden"),
            Says("own-namespaces/c", "self=1"),
        ]),
    ),
    row(
        "shareProcessNamespace",
        "host",
        "E63",
        "containers see each other, and none is the first process",
        Says("shared-processes/looker", "neighbour=seen"),
        Says("own-namespaces/c", "self=1"),
    ),
    row(
        "dnsPolicy",
        "host",
        "E63",
        "ClusterFirstWithHostNet works without a cluster DNS; None takes dnsConfig alone",
        Asks(|node| {
            let has = node
                .log("host-network/c")
                .iter()
                .any(|line| line.starts_with("resolv=") && line != "resolv=0");
            has.then_some(()).ok_or_else(|| format!("{:?}", node.log("host-network/c")))
        }),
        All(&[
            Says("names/c", "nameserver 192.0.2.53"),
            Says("names/c", "search one.example two.example"),
            Says("names/c", "options ndots:3 rotate"),
        ]),
    ),
    row(
        "names",
        "host",
        "E63",
        "hostname and hostAliases; without them the pod's name",
        All(&[Says("names/c", "name=chosen"), Says("names/c", "192.0.2.7 alias-a alias-b")]),
        Says(
            "init-order/main",
            "order=init-order-1 init-order-2 init-order-3 init-order-4 init-order-5 init-order-6",
        ),
    ),
    row(
        "hostPort",
        "host",
        "E63",
        "the node's port leads to the pod; a second pod with it is refused",
        Asks(host_port_leads_to_the_pod),
        All(&[
            Shows("host-port-taken", "/status/phase", "Failed"),
            Shows("host-port-taken", "/status/reason", "NodePorts"),
        ]),
    ),
    row(
        "requests and limits",
        "resources",
        "E61",
        "shares, quota and memory limit in the cgroups of the container and the pod; nothing asked is nothing set",
        Asks(limits),
        Asks(no_limits),
    ),
    row(
        "requests and limits",
        "resources",
        "E60 E61",
        "oom_score_adj follows the request; BestEffort is 1000",
        Asks(request_shows_in_oom_score),
        Asks(|node| same(node.proc("best-effort/c", "oom_score_adj"), "1000")),
    ),
    row(
        "requests and limits",
        "resources",
        "E60",
        "qosClass: Guaranteed by limits alone, Burstable, BestEffort",
        All(&[
            Shows("guaranteed", "/status/qosClass", "Guaranteed"),
            Shows("burstable", "/status/qosClass", "Burstable"),
        ]),
        Shows("best-effort", "/status/qosClass", "BestEffort"),
    ),
    row(
        "admission on the node",
        "resources",
        "E1 E2",
        "a pod that is too big is refused with the numbers, and never starts",
        All(&[
            Shows("too-big", "/status/reason", "OutOfcpu"),
            Event(
                "too-big",
                "OutOfcpu",
                "Node didn't have enough resource: cpu, requested: 1000000, used: ",
            ),
        ]),
        Shows("guaranteed", "/status/phase", "Running"),
    ),
    row(
        "admission on the node",
        "resources",
        "E2",
        "a pod whose selector does not match is refused as NodeAffinity",
        Shows("elsewhere", "/status/reason", "NodeAffinity"),
        Shows("guaranteed", "/status/reason", ""),
    ),
    row(
        "images",
        "images",
        "E20 E21",
        "Always asks the registry; IfNotPresent takes what is there",
        Event("image-always", "Pulled", "Successfully pulled image \"busybox:1.36\" in "),
        Event(
            "image-present",
            "Pulled",
            "Container image \"busybox:1.36\" already present on machine",
        ),
    ),
    row(
        "images",
        "images",
        "E20 E22",
        "Never does not ask: ErrImageNeverPull where the image is absent",
        Shows(
            "image-never",
            "/status/containerStatuses/0/state/waiting/reason",
            "ErrImageNeverPull",
        ),
        Shows("image-present", "/status/phase", "Succeeded"),
    ),
    row(
        "images",
        "images",
        "E21 E22",
        "an image that the registry does not have: ErrImagePull, then ImagePullBackOff",
        All(&[
            Event("image-missing", "Failed", "Error: ErrImagePull"),
            Event("image-missing", "BackOff", "Back-off pulling image \"busybox:not-here\""),
            Event("image-missing", "Failed", "Error: ImagePullBackOff"),
        ]),
        Shows("image-always", "/status/phase", "Succeeded"),
    ),
    row(
        "images",
        "images",
        "E22",
        "a name that cannot be read is InvalidImageName",
        Shows(
            "image-bad-name",
            "/status/containerStatuses/0/state/waiting/reason",
            "InvalidImageName",
        ),
        Shows("image-always", "/status/phase", "Succeeded"),
    ),
];
