//! The daemons of `examples/full`: each does its work on every node, and what it did is seen by somebody else.

use super::{TIMEOUT, Walk, check};
use crate::{full, sh, witness};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What the network installer sets in pods that are made after it.
const SOMAXCONN: &str = "1717";

const PODS: &str = r"apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME, team: walk}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox:1.35
    command: [sh, -c, 'seq 1 50; while [ ! -e /go ]; do sleep 0.2; done; seq 51 100; sleep 100000']
";

const CLIENT: &str = r"apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  initContainers:
  - name: ask
    image: curlimages/curl:8.0.0
    command: [curl, -sSf, --unix-socket, /driver.sock, -X, PUT, 'http://driver/volumes/of-client?size=8m']
    volumeMounts: [{name: socket, mountPath: /driver.sock}]
  containers:
  - name: c
    image: busybox:1.35
    command: [sh, -c, 'echo kept > /volumes/of-client/file; df -k /volumes/of-client | tail -1; sleep 100000']
    volumeMounts: [{name: volumes, mountPath: /volumes, mountPropagation: HostToContainer}]
  volumes:
  - {name: socket, hostPath: {path: /run/storage-driver/driver.sock, type: Socket}}
  - {name: volumes, hostPath: {path: /run/storage-driver/volumes, type: Directory}}
";

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let node = nodes.first().context("a node")?.clone();
    let n = i64::try_from(nodes.len())?;
    full::prepare(&walk.state)?;
    for one in &walk.state.nodes {
        let before = one.dir.join("var-log/pipeline");
        if before.exists() {
            std::fs::remove_dir_all(before)?;
        }
    }
    pod(walk, PODS, "before", &node)?;
    for (file, ..) in full::DAEMONS {
        let path = full::manifest(file)?.display().to_string();
        walk.kubectl(&["apply", "-f", &path])?;
    }
    for (_, namespace, name) in full::DAEMONS {
        walk.numbers(&format!("{namespace}/{name}"), [n; 5])?;
    }
    walk.kubectl(&["get", "ds", "-A"])?;
    pod(walk, PODS, "speaker", &node)?;
    pipeline(walk, &node)?;
    installer(walk, &node)?;
    security(walk, &node)?;
    storage(walk, &node)?;
    exporter(walk, &node)?;
    for (file, ..) in full::DAEMONS {
        let path = full::manifest(file)?.display().to_string();
        // what lies in a namespace may be gone with it before it is asked for
        walk.kubectl(&["delete", "-f", &path, "--ignore-not-found", TIMEOUT])?;
    }
    walk.kubectl(&["delete", "pods", "before", "speaker", "client"])?;
    for pods in ["default/", "logging/", "security/", "storage/", "kube-system/network-installer"] {
        walk.runs_on(pods, &[])?;
    }
    walk.tell("The installer gave the node its own network back.");
    let left = walk.state.node(&node)?.dir.join("etc-cni-net.d/10-tuned.conflist");
    check(!left.exists(), "the chained network is gone")?;
    check(!full::mounts(&walk.state, &node)?.contains("/run/tuned/state"), "and the tmpfs")
}

fn pod(walk: &mut Walk, text: &str, name: &str, node: &str) -> Result<()> {
    let file = walk.state.dir.join(format!("daemons-{name}.yaml"));
    std::fs::write(&file, text.replace("NAME", name).replace("NODE", node))?;
    walk.kubectl(&["apply", "-f", &file.display().to_string()])?;
    walk.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), TIMEOUT]).map(drop)
}

/// The name of a daemon's pod on a node.
fn own(walk: &Walk, namespace: &str, name: &str, node: &str) -> Result<String> {
    let label = format!("app.kubernetes.io/name={name}");
    let field = format!("spec.nodeName={node}");
    let path = "jsonpath={.items[0].metadata.name}";
    walk.ask(&[
        "-n",
        namespace,
        "get",
        "pods",
        "-l",
        &label,
        "--field-selector",
        &field,
        "-o",
        path,
    ])
}

fn pipeline(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell(
        "### Log pipeline: every line with its pod's labels, across the pipeline's own restart",
    );
    let said = |walk: &Walk, label: &str| -> Result<Vec<u64>> {
        let all = full::collected(&walk.state, node, "speaker")?.into_iter();
        let labelled = all.filter(|one| one["kubernetes"]["labels"]["team"] == label);
        Ok(labelled.filter_map(|one| one["log"].as_str()?.parse().ok()).collect())
    };
    walk.until(
        "the first 50 lines are on the node's disk, once and with the pod's labels",
        |walk| Ok(said(walk, "walk")? == (1..=50).collect::<Vec<_>>()),
    )?;
    let line = full::collected(&walk.state, node, "speaker")?.pop().context("a line")?;
    let about = &line["kubernetes"];
    check(about["container"] == "c" && about["node"] == node, &format!("whose it is: {line}"))?;
    let one = own(walk, "logging", "log-pipeline", node)?;
    walk.kubectl(&["-n", "logging", "delete", "pod", &one])?;
    walk.kubectl(&["label", "pod", "speaker", "team=renamed", "--overwrite"])?;
    walk.kubectl(&["exec", "speaker", "--", "touch", "/go"])?;
    walk.until("what was said meanwhile follows, with the labels of now", |walk| {
        Ok(said(walk, "renamed")?.ends_with(&(51..=100).collect::<Vec<_>>()))
    })?;
    check(said(walk, "walk")?.len() == 50, "and nothing was read from its beginning again")?;
    let file = walk.state.node(node)?.dir.join("var-log/pipeline/lines.jsonl");
    let text = std::fs::read_to_string(file)?;
    let last = text.lines().rfind(|line| line.contains("speaker")).unwrap_or_default();
    let shown = "tail -1 /var/log/pipeline/lines.jsonl    # on the node";
    walk.write_down_shell(shown, last, std::time::Duration::ZERO);
    let account = "--as=system:serviceaccount:logging:log-pipeline";
    walk.kubectl(&["auth", "can-i", "list", "pods", "-A", account])?;
    walk.kubectl_fails(&["auth", "can-i", "list", "secrets", "-A", account], &["no"])
}

fn installer(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell(
        "### Network installer: its program is on the node, and pods made since then are tuned",
    );
    let installed = walk.state.node(node)?.dir.join("opt-cni-bin/tuned");
    let same = std::fs::read(&installed)? == std::fs::read("/usr/lib/cni/tuning")?;
    check(same, "the program on the node is the one of the image")?;
    let mounts = full::mounts(&walk.state, node)?;
    check(
        mounts.lines().any(|line| line.contains(" /run/tuned/state ") && line.contains(" tmpfs ")),
        "the mount it made in its container is a mount of the node",
    )?;
    let path = "/proc/sys/net/core/somaxconn";
    let text = walk.kubectl(&["exec", "speaker", "--", "cat", path])?;
    check(text.trim() == SOMAXCONN, &format!("the runtime ran the plugin: {text}"))?;
    let text = walk.kubectl(&["exec", "before", "--", "cat", path])?;
    check(text.trim() != SOMAXCONN, "a pod made before it is as it was")
}

fn security(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell("### Security agent: it names the process, its pod and what is odd about it");
    let odd = "cp /bin/busybox /tmp/sleep; /tmp/sleep 99999 > /dev/null 2>&1 < /dev/null &";
    walk.kubectl(&["exec", "speaker", "--", "sh", "-c", odd])?;
    let uid = walk.ask(&["get", "pod", "speaker", "-o", "jsonpath={.metadata.uid}"])?;
    let mut found = Value::Null;
    walk.until("the program from /tmp is reported", |walk| {
        let mut all = full::findings(&walk.state, node)?.into_iter();
        let own = all.find(|one| one["finding"] == "program runs from /tmp" && one["pod"] == *uid);
        found = own.unwrap_or_default();
        Ok(!found.is_null())
    })?;
    let processes = witness::inside(&walk.state, node, &["ps", "-e", "-o", "pid=,args="])?;
    let line =
        processes.lines().find(|line| line.contains("/tmp/sleep 99999")).context("it runs")?;
    check(
        line.split_whitespace().next() == Some(&found["pid"].to_string()),
        "by its id on the node",
    )?;
    walk.write_down_shell(
        "grep /tmp /var/log/containers/security-agent-*.log    # on the node",
        &found.to_string(),
        std::time::Duration::ZERO,
    );
    let all = full::findings(&walk.state, node)?;
    let holders: Vec<&Value> =
        all.iter().filter(|one| one["finding"] == "pod holds CAP_SYS_ADMIN").collect();
    let has = |words: &str| holders.iter().any(|one| one["command"].to_string().contains(words));
    check(has("driver.py"), "the privileged storage driver is reported")?;
    check(!holders.iter().any(|one| one["pod"] == *uid), "the ordinary pod is not")
}

fn storage(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell(
        "### Storage driver: its socket answers, and volumes reach pods and outlive the driver",
    );
    let made = full::storage(&walk.state, node, "PUT", "/volumes/of-node?size=4m")?;
    check(made["bytes"] == 4 << 20, &format!("a volume of four mebibytes: {made}"))?;
    pod(walk, CLIENT, "client", node)?;
    let text = walk.kubectl(&["logs", "client"])?;
    check(text.contains(" 8192 "), &format!("the pod that asked for 8 MiB has them: {text}"))?;
    let one = own(walk, "storage", "storage-driver", node)?;
    walk.kubectl(&["-n", "storage", "delete", "pod", &one])?;
    walk.kubectl(&["-n", "storage", "rollout", "status", "ds/storage-driver", TIMEOUT])?;
    let text = walk.kubectl(&["exec", "client", "--", "cat", "/volumes/of-client/file"])?;
    check(text == "kept\n", "the volume is there without the driver that mounted it")?;
    let list = full::storage(&walk.state, node, "GET", "/volumes")?;
    let wanted = json!({"of-client": {"bytes": 8 << 20}, "of-node": {"bytes": 4 << 20}});
    check(list == wanted, &format!("its successor knows both: {list}"))?;
    walk.write_down_shell(
        "curl --unix-socket /run/storage-driver/driver.sock http://driver/volumes    # on the node",
        &list.to_string(),
        std::time::Duration::ZERO,
    );
    full::storage(&walk.state, node, "DELETE", "/volumes/of-client")?;
    let mounts = full::mounts(&walk.state, node)?;
    check(!mounts.contains("/volumes/of-client"), "a volume that is deleted is no mount any more")?;
    check(mounts.contains("/volumes/of-node"), "the other one still is")
}

fn exporter(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell("### Node exporter: the node's own figures, a mount made since it began, and what lies in a folder");
    let one = walk.state.node(node)?.clone();
    std::fs::create_dir_all(one.dir.join("run/metrics"))?;
    std::fs::write(one.dir.join("run/metrics/walk.prom"), "walk_was_here 1\n")?;
    let url = format!("http://{}:9100/metrics", one.address);
    let text = sh::run("curl", &["-sS", "--max-time", "20", &url])?;
    check(text.contains("walk_was_here 1"), "the file in the node's /run/metrics")?;
    check(
        text.lines().any(|line| {
            line.starts_with("node_filesystem_size_bytes")
                && line.contains("mountpoint=\"/run/storage-driver/volumes/of-node\"")
        }),
        "the volume that was mounted while it ran",
    )?;
    let running = witness::containers(&walk.state, node)?;
    let own = running.iter().find(|one| one.pod.starts_with("default/node-exporter-"));
    let pid = own.context("it runs")?.pid;
    let link = |pid: i32| {
        let path = format!("/proc/{pid}/ns/pid");
        witness::inside(&walk.state, node, &["readlink", &path])
    };
    check(link(pid)? == link(1)?, "it is among the node's processes")?;
    let mounts = witness::inside(&walk.state, node, &["cat", &format!("/proc/{pid}/mountinfo")])?;
    check(mounts.contains(" /host/root ro"), "the node's root is mounted read-only")?;
    full::storage(&walk.state, node, "DELETE", "/volumes/of-node").map(drop)
}
