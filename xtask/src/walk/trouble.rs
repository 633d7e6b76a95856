//! What goes wrong on nodes: images, ports, the runtime, the server, the network, a reboot, certificates that end.

use super::{TIMEOUT, Walk, check};
use crate::witness::Running;
use crate::{cluster, images, witness};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Life of the certificates in this chapter. They begin five minutes before they are signed, so four fifths of their
/// life are over 12 seconds after that.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(90);

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let node = nodes.first().context("a node")?;
    let file = walk.state.dir.join("trouble.yaml");
    let port = PORT.replace("NAME", "port-a");
    std::fs::write(&file, format!("{PODS}---\n{port}").replace("NODE", node))?;
    let file = file.display().to_string();
    walk.kubectl(&["apply", "-f", &file])?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/steady", TIMEOUT])?;
    image_and_port(walk)?;
    runtime(walk, node)?;
    server(walk, node)?;
    let (late, joined) = network(walk)?;
    reboot(walk, &late)?;
    certificates(walk, &late, joined)?;
    walk.kubectl(&["delete", "ds", "network"])?;
    walk.kubectl(&["delete", "configmap", "network"])?;
    walk.kubectl(&["delete", "pod", "inhabitant"])?;
    walk.kubectl(&["delete", "-f", &file])?;
    walk.runs_on("default/", &[])?;
    cluster::remove_node(&mut walk.state, &late)?;
    walk.kubectl(&["delete", "node", &late])?;
    Ok(())
}

fn image_and_port(walk: &mut Walk) -> Result<()> {
    walk.tell("### An image that is not there yet");
    shows(walk, "late", "{.status.containerStatuses[0].state.waiting.reason}", "ImagePullBackOff")?;
    images::push_busybox(&walk.state.registry(), "library/late", "1")?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/late", TIMEOUT])?;
    walk.tell("### A port of the node that another pod has");
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/port-a", TIMEOUT])?;
    let again = walk.state.dir.join("trouble-port.yaml");
    let node = walk.ask(&["get", "pod", "port-a", "-o", "jsonpath={.spec.nodeName}"])?;
    std::fs::write(&again, PORT.replace("NAME", "port-b").replace("NODE", &node))?;
    walk.kubectl(&["apply", "-f", &again.display().to_string()])?;
    shows(walk, "port-b", "{.status.phase}/{.status.reason}", "Failed/NodePorts")?;
    walk.kubectl(&["describe", "pod", "port-b"])?;
    walk.kubectl(&["delete", "pod", "port-b"])?;
    Ok(())
}

fn runtime(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell("### The runtime is killed, and comes back");
    let before = witness::containers(&walk.state, node)?;
    let dir = walk.state.node(node)?.dir.clone();
    std::fs::write(dir.join("containerd.hold"), "")?;
    let pid = std::fs::read_to_string(dir.join("containerd.pid"))?;
    witness::inside(&walk.state, node, &["kill", "-9", pid.trim()])?;
    condition(walk, node, "False", "container runtime is down")?;
    check(alive(walk, node, &before), "the containers' processes go on without a runtime")?;
    std::fs::remove_file(dir.join("containerd.hold"))?;
    condition(walk, node, "True", "")?;
    same(walk, node, &before)?;
    let text = walk.kubectl(&["exec", "steady", "--", "echo", "here"])?;
    check(text == "here\n", "commands run again")
}

fn server(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell(
        "### The server is away: a container that ends is started again, and the status catches up",
    );
    let mut before = witness::containers(&walk.state, node)?;
    cluster::stop_server(&mut walk.state, true)?;
    let at = before.iter().position(|one| one.pod == "default/steady").context("steady runs")?;
    let victim = before.remove(at);
    witness::inside(&walk.state, node, &["kill", "-9", &victim.pid.to_string()])?;
    walk.until("the agent starts the container again, on its own", |walk| {
        let now = witness::containers(&walk.state, node)?;
        Ok(now.iter().any(|one| one.pod == victim.pod && one.id != victim.id))
    })?;
    let life = CERTIFICATE_LIFE.as_secs();
    walk.state.server_flags = vec!["--cluster-signing-duration".to_owned(), format!("{life}s")];
    cluster::start_server(&mut walk.state)?;
    let path = "{.status.containerStatuses[0].restartCount}/{.status.containerStatuses[0].ready}";
    shows(walk, "steady", path, "1/true")?;
    let now = witness::containers(&walk.state, node)?;
    check(before.iter().all(|one| now.contains(one)), "all others are as they were")
}

/// A node without a pod network gets one from a daemon. The node's name, and a moment after it joined.
fn network(walk: &mut Walk) -> Result<(String, Instant)> {
    walk.tell("### A node whose pod network a daemon brings (`--cni off`)");
    walk.state.without_network = true;
    let name = cluster::add_node(&mut walk.state)?;
    walk.state.without_network = false;
    walk.state.server_flags = Vec::new();
    walk.state.save()?;
    let own = name.clone();
    walk.until("its Node object is there", move |walk| {
        Ok(walk.ask(&["get", "nodes", "-o", "name"])?.contains(&own))
    })?;
    let joined = Instant::now();
    condition(walk, &name, "False", "NetworkReady=false reason:NetworkPluginNotReady")?;
    let folder = walk.state.dir.join("network");
    let file = cluster::write_network(&walk.state, &name, &folder)?;
    let from = format!("--from-file=network.conflist={}", file.display());
    walk.kubectl(&["create", "configmap", "network", &from])?;
    let text = walk.state.dir.join("network.yaml");
    std::fs::write(&text, NETWORK.replace("NODE", &name))?;
    walk.kubectl(&["apply", "-f", &text.display().to_string()])?;
    condition(walk, &name, "True", "")?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/inhabitant", TIMEOUT])?;
    let address = walk.ask(&["get", "pod", "inhabitant", "-o", "jsonpath={.status.podIP}"])?;
    check(address.starts_with("10."), "the pod has an address of the network")?;
    Ok((name, joined))
}

fn reboot(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell(
        "### The node is switched off and on: its pods come back, and the restart is counted",
    );
    let uid = walk.ask(&["get", "pod", "inhabitant", "-o", "jsonpath={.metadata.uid}"])?;
    let path = "jsonpath={.status.nodeInfo.bootID}";
    let booted = walk.ask(&["get", "node", node, "-o", path])?;
    cluster::reboot(&mut walk.state, node)?;
    walk.until("the node shows its new boot id", |walk| {
        Ok(walk.ask(&["get", "node", node, "-o", path])? != booted)
    })?;
    let path = "{.metadata.uid} {.status.containerStatuses[0].restartCount} \
        {.status.containerStatuses[0].ready}";
    shows(walk, "inhabitant", path, &format!("{uid} 1 true"))?;
    walk.numbers("network", [1; 5])?;
    walk.until("an event tells of the reboot", |walk| {
        Ok(walk.ask(&["get", "events"])?.contains("has been rebooted, boot id: "))
    })?;
    let list = witness::containers(&walk.state, node)?;
    check(list.len() == 2, &format!("each runs once: {list:?}"))
}

fn certificates(walk: &mut Walk, node: &str, joined: Instant) -> Result<()> {
    walk.tell("### Certificates that end are renewed before they do");
    let log = walk.state.node(node)?.dir.join("agent.log");
    walk.until("the node's first certificate has ended", |_| {
        Ok(joined.elapsed() > CERTIFICATE_LIFE)
    })?;
    let path = "jsonpath={.spec.renewTime}";
    let args = ["-n", "kube-node-lease", "get", "lease", node, "-o", path];
    let lease = walk.ask(&args)?;
    walk.until("the node renews its lease all the same", |walk| Ok(walk.ask(&args)? != lease))?;
    condition(walk, node, "True", "")?;
    let text = std::fs::read_to_string(&log)?;
    check(text.contains("the node's certificate was renewed"), "the agent says so")?;
    check(!text.contains("not renewed yet"), "and it went well each time")?;
    let text = walk.kubectl(&["exec", "inhabitant", "--", "echo", "here"])?;
    check(text == "here\n", "the server believes the certificate of the node's port")
}

/// Waits until a pod shows something.
fn shows(walk: &mut Walk, pod: &str, path: &str, wanted: &str) -> Result<()> {
    let path = format!("jsonpath={path}");
    walk.until(&format!("{pod} shows {wanted}"), |walk| {
        Ok(walk.ask(&["get", "pod", pod, "-o", &path])? == wanted)
    })
    .map(drop)
}

/// Waits until a node is ready or not, and says why.
fn condition(walk: &mut Walk, node: &str, status: &str, words: &str) -> Result<()> {
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} \
        {.status.conditions[?(@.type==\"Ready\")].message}";
    walk.until(&format!("Ready of {node} is {status} {words}"), |walk| {
        let text = walk.ask(&["get", "node", node, "-o", path])?;
        Ok(text.starts_with(status) && text.contains(words))
    })
    .map(drop)
}

/// Whether the processes are those that they were.
pub(super) fn alive(walk: &Walk, node: &str, list: &[Running]) -> bool {
    let files: Vec<String> = list.iter().map(|one| format!("/proc/{}/stat", one.pid)).collect();
    let mut args = vec!["cat"];
    args.extend(files.iter().map(String::as_str));
    let Ok(text) = witness::inside(&walk.state, node, &args) else { return false };
    let started = text.lines().map(|line| {
        let rest = line.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(19).and_then(|ticks| ticks.parse::<u64>().ok())
    });
    started.eq(list.iter().map(|one| Some(one.started)))
}

/// The runtime lists the same containers, and no restart is counted.
fn same(walk: &mut Walk, node: &str, before: &[Running]) -> Result<()> {
    let now = witness::containers(&walk.state, node)?;
    check(*before == now, &format!("the same containers run: {before:?} / {now:?}"))?;
    let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let counts = walk.ask(&["get", "pods", "-o", path])?;
    check(counts.split(' ').all(|count| count == "0"), &format!("no restart: {counts}"))
}

const PORT: &str = "apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox:1.35
    command: [sleep, '100000']
    ports: [{containerPort: 80, hostPort: 18080}]
";

const PODS: &str = "apiVersion: v1
kind: Pod
metadata: {name: steady}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'busybox:1.35', command: [sleep, '100000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'late:1', command: [sleep, '100000']}]
";

const NETWORK: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: network}
spec:
  selector: {matchLabels: {app: network}}
  template:
    metadata: {labels: {app: network}}
    spec:
      hostNetwork: true
      nodeSelector: {kubernetes.io/hostname: NODE}
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 0
      initContainers:
      - name: install
        image: busybox:1.35
        command: [cp, /config/network.conflist, /net.d/10-network.conflist]
        volumeMounts: [{name: config, mountPath: /config}, {name: net, mountPath: /net.d}]
      containers: [{name: stay, image: 'busybox:1.35', command: [sleep, '100000']}]
      volumes:
      - {name: config, configMap: {name: network}}
      - {name: net, hostPath: {path: /etc/cni/net.d}}
---
apiVersion: v1
kind: Pod
metadata: {name: inhabitant}
spec:
  nodeName: NODE
  tolerations: [{operator: Exists}]
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'busybox:1.35', command: [sleep, '100000']}]
";
