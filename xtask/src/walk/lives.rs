//! An agent is killed again and again, at any moment of its work. No container is restarted that need not be, what was
//! begun is finished, and nothing is left over.

use super::trouble::alive;
use super::{TIMEOUT, Walk, check};
use crate::{sh, witness};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Longest life of an agent here, in milliseconds: it has begun to work by then.
const LIFE_MAX: u64 = 1200;
/// So many pods that come and go are there at a time.
const COMING: usize = 3;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let nodes = walk.node_names();
    let node = nodes.first().context("a node")?;
    let (lives, seed) = (lives()?, u64::from(std::process::id()));
    walk.tell(&format!("{lives} lives, at most {LIFE_MAX} ms each (seed {seed})."));
    let file = walk.state.dir.join("lives.yaml").display().to_string();
    let all: String = ["stays-1", "stays-2"].iter().map(|name| pod(name, node)).collect();
    std::fs::write(&file, all)?;
    walk.kubectl(&["apply", "-f", &file])?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/stays-1", "pod/stays-2", TIMEOUT])?;
    let before = witness::containers(&walk.state, node)?;
    let kept = left(walk, node)?;
    forget(walk, node)?;
    let mut random = seed;
    for life in 0..lives {
        let comes = walk.state.dir.join("comes.yaml").display().to_string();
        std::fs::write(&comes, pod(&format!("comes-{life}"), node))?;
        walk.ask(&["create", "-f", &comes])?;
        if let Some(goes) = life.checked_sub(COMING) {
            walk.ask(&["delete", "pod", &format!("comes-{goes}"), "--wait=false"])?;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis((random >> 33) % LIFE_MAX));
        kill(walk, node)?;
        check(
            alive(walk, node, &before),
            &format!("life {life} of seed {seed}: the containers are as they were"),
        )?;
    }
    let last: Vec<String> =
        (lives.saturating_sub(COMING)..lives).map(|life| format!("pod/comes-{life}")).collect();
    let mut args = vec!["wait", "--for=condition=Ready", TIMEOUT];
    args.extend(last.iter().map(String::as_str));
    walk.kubectl(&args)?;
    let mut args = vec!["delete"];
    args.extend(last.iter().map(String::as_str));
    walk.kubectl(&args)?;
    walk.until("the API shows no pod that came and went", |walk| {
        Ok(!walk.ask(&["get", "pods", "-o", "name"])?.contains("comes-"))
    })?;
    let mut now = witness::containers(&walk.state, node)?;
    now.retain(|one| before.iter().any(|old| old.pod == one.pod));
    check(before == now, &format!("seed {seed}: the same containers run: {before:?} / {now:?}"))?;
    let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let counts = walk.ask(&["get", "pods", "-o", path])?;
    check(counts == "0 0 0 0", &format!("seed {seed}: no restart is counted: {counts}"))?;
    let mut more = Vec::new();
    let waited = walk.until("nothing is left of those that came and went", |walk| {
        more = left(walk, node)?.difference(&kept).cloned().collect();
        Ok(more.is_empty())
    });
    waited.with_context(|| format!("seed {seed}: left over: {more:?}"))?;
    walk.kubectl(&["delete", "-f", &file])?;
    walk.runs_on("default/", &[])
}

/// A task that the runtime's CRI side knows nothing of, as an agent's end within the start of a container can leave one;
/// made here by the runtime's own tool. Its pod is removed all the same: nothing of it may be left at the end.
fn forget(walk: &mut Walk, node: &str) -> Result<()> {
    let file = walk.state.dir.join("forgotten.yaml").display().to_string();
    std::fs::write(&file, pod("forgotten", node))?;
    walk.kubectl(&["apply", "-f", &file])?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/forgotten", TIMEOUT])?;
    let ctr = |args: &[&str]| {
        witness::inside(&walk.state, node, &[&["ctr", "-n", "k8s.io"], args].concat())
    };
    let filter = r#"labels."io.kubernetes.container.name"==first,labels."io.kubernetes.pod.name"==forgotten"#;
    let id = ctr(&["containers", "ls", "-q", filter])?;
    ctr(&["tasks", "start", "--detach", "--null-io", id.trim()])?;
    check(ctr(&["tasks", "ls", "-q"])?.contains(id.trim()), "a task that nobody waits for")?;
    walk.kubectl(&["delete", "pod", "forgotten"])?;
    Ok(())
}

/// Kills the agent, and waits for the process that follows it.
fn kill(walk: &Walk, node: &str) -> Result<()> {
    let file = walk.state.node(node)?.dir.join("agent.pid");
    let old = std::fs::read_to_string(&file)?;
    witness::inside(&walk.state, node, &["kill", "-9", old.trim()])?;
    sh::wait_until("the next agent", sh::PATIENCE, || {
        Ok(std::fs::read_to_string(&file).is_ok_and(|new| !new.is_empty() && new != old))
    })
    .map(drop)
}

/// Everything of pods that is on the node: folders, logs, cgroups, mounts, the runtime's containers.
fn left(walk: &Walk, node: &str) -> Result<BTreeSet<String>> {
    let one = walk.state.node(node)?;
    let names = |dir: &Path| -> Vec<String> {
        let list = std::fs::read_dir(dir).into_iter().flatten().flatten();
        list.map(|entry| entry.path().display().to_string()).collect()
    };
    let mut all = BTreeSet::new();
    for dir in ["var-lib-pernode/agent/pods", "var-log/pods", "var-log/containers"] {
        all.extend(names(&one.dir.join(dir)));
    }
    for controller in ["memory", "cpu", "pids", "systemd", "unified", ""] {
        let root = Path::new("/sys/fs/cgroup").join(controller);
        let own = root.join(format!("pernode-{}/{node}", walk.state.id));
        for name in names(&own) {
            all.extend(names(Path::new(&name)));
            all.insert(name);
        }
    }
    let mounts = witness::inside(&walk.state, node, &["cat", "/proc/self/mountinfo"])?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    all.extend(
        places
            .filter(|place| place.contains("/agent/pods/") || place.contains("/sandboxes/"))
            .map(|place| format!("mount {place}")),
    );
    let list =
        witness::inside(&walk.state, node, &["ctr", "-n", "k8s.io", "containers", "ls", "-q"])?;
    // shims are not counted: on a loaded machine containerd 1.6 itself forgets one now and then (its issue 8931)
    all.extend(list.lines().map(|id| format!("container {id}")));
    Ok(all)
}

/// How many: `proof/numbers.json`, column `long` when `PERNODE_NUMBERS=long`.
fn lives() -> Result<usize> {
    let text = std::fs::read_to_string(crate::demo::repository()?.join("proof/numbers.json"))?;
    let numbers: serde_json::Value = serde_json::from_str(&text)?;
    let is_long = std::env::var_os("PERNODE_NUMBERS").is_some_and(|column| column == "long");
    let column = if is_long { "long" } else { "short" };
    let number = numbers[column]["agent_kills"].as_u64().context("agent_kills in numbers.json")?;
    Ok(usize::try_from(number)?)
}

fn pod(name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  initContainers: [{{name: first, image: 'busybox:1.35', command: ['true']}}]
  containers:
  - name: a
    image: busybox:1.35
    command: [sleep, '100000']
    volumeMounts: [{{name: memory, mountPath: /memory}}, {{name: disk, mountPath: /sub, subPath: sub}}]
  - {{name: b, image: 'busybox:1.35', command: [sleep, '100000']}}
  volumes:
  - {{name: memory, emptyDir: {{medium: Memory}}}}
  - {{name: disk, emptyDir: {{}}}}
---
"
    )
}
