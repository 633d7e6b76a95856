//! A node that is switched off in order, as a unit does it at poweroff, and on again.

use super::{TIMEOUT, Walk, check};
use crate::{cluster, witness};
use anyhow::{Context, Result};
use std::time::Instant;

/// Each pod says in the node's /var/log/order that it was asked to end.
const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: ordinary, namespace: kube-system}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 5
  containers:
  - name: c
    image: busybox:1.35
    command: [sh, -c, 'trap "echo ordinary >> /order/order; exit 0" TERM; while :; do sleep 1 & wait $!; done']
    volumeMounts: [{name: order, mountPath: /order}]
  volumes: [{name: order, hostPath: {path: /var/log/order, type: DirectoryOrCreate}}]
---
apiVersion: v1
kind: Pod
metadata: {name: critical, namespace: kube-system}
spec:
  nodeName: NODE
  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 5
  containers:
  - name: c
    image: busybox:1.35
    command: [sh, -c, 'trap "echo critical >> /order/order; exit 0" TERM; while :; do sleep 1 & wait $!; done']
    volumeMounts: [{name: order, mountPath: /order}]
  volumes: [{name: order, hostPath: {path: /var/log/order, type: DirectoryOrCreate}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon, namespace: kube-system}
spec:
  selector: {matchLabels: {app: daemon}}
  template:
    metadata: {labels: {app: daemon}}
    spec:
      nodeSelector: {kubernetes.io/hostname: NODE}
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 5
      containers:
      - name: c
        image: busybox:1.35
        command: [sh, -c, 'trap "echo daemon >> /order/order; exit 0" TERM; while :; do sleep 1 & wait $!; done']
        volumeMounts: [{name: order, mountPath: /order}]
      volumes: [{name: order, hostPath: {path: /var/log/order, type: DirectoryOrCreate}}]
"#;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let node = walk.node_names().pop().context("a node")?;
    let file = walk.state.dir.join("shutdown.yaml");
    std::fs::write(&file, PODS.replace("NODE", &node))?;
    let file = file.display().to_string();
    walk.kubectl(&["apply", "-f", &file])?;
    let system = |args: &[&'static str]| [&["-n", "kube-system"], args].concat();
    walk.kubectl(&system(&[
        "wait",
        "--for=condition=Ready",
        "pod/ordinary",
        "pod/critical",
        TIMEOUT,
    ]))?;
    walk.numbers("kube-system/daemon", [1; 5])?;

    walk.tell(&format!(
        "### {node} is told to shut down: ordinary pods end first, daemons next, critical ones last"
    ));
    let begin = Instant::now();
    let binary = walk.state.pernode.display().to_string();
    let text =
        witness::inside(&walk.state, &node, &[&binary, "agent", "shutdown", "--grace", "30s"])?;
    let line = "pernode agent shutdown --grace 30s    # on the node";
    walk.write_down_shell(line, &text, begin.elapsed());
    let order = walk.state.node(&node)?.dir.join("var-log/order/order");
    let order = std::fs::read_to_string(order)?;
    walk.write_down_shell("cat /var/log/order/order    # on the node", &order, begin.elapsed());
    check(order == "ordinary\ndaemon\ncritical\n", &format!("each in its turn: {order:?}"))?;
    let left = witness::containers(&walk.state, &node)?;
    check(left.is_empty(), &format!("the runtime runs nothing any more: {left:?}"))?;
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} \
        {.status.conditions[?(@.type==\"Ready\")].message}";
    walk.until("the node says that it is not ready, and why", |walk| {
        Ok(walk.ask(&["get", "node", &node, "-o", path])? == "False node is shutting down")
    })?;
    let path = "jsonpath={.status.phase}/{.status.reason}";
    walk.until("the pods say what ended them", |walk| {
        let ask = |pod| walk.ask(&["-n", "kube-system", "get", "pod", pod, "-o", path]);
        Ok(ask("ordinary")? == "Failed/Terminated" && ask("critical")? == "Failed/Terminated")
    })?;
    walk.kubectl(&system(&["get", "pods", "-o", "wide"]))?;
    walk.tell("A pod that comes too late is refused.");
    walk.kubectl(&system(&["delete", "pod", "ordinary"]))?;
    walk.kubectl(&["apply", "-f", &file])?;
    walk.until("it is refused with the node's reason", |walk| {
        let ask = walk.ask(&["-n", "kube-system", "get", "pod", "ordinary", "-o", path])?;
        Ok(ask == "Failed/NodeShutdown")
    })?;

    walk.tell("### It is switched on again: its daemon comes back, what had ended stays ended");
    cluster::reboot(&mut walk.state, &node)?;
    walk.kubectl(&["wait", "--for=condition=Ready", &format!("node/{node}"), TIMEOUT])?;
    walk.numbers("kube-system/daemon", [1; 5])?;
    walk.runs_on("kube-system/daemon-", &[&node])?;
    walk.runs_on("kube-system/ordinary", &[])?;
    walk.kubectl(&["delete", "-f", &file])?;
    walk.runs_on("kube-system/", &[])?;
    std::fs::remove_dir_all(walk.state.node(&node)?.dir.join("var-log/order"))?;
    Ok(())
}
