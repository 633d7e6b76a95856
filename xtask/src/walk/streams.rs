//! Logs across a rotation, exec with resize, copies both ways, port-forward under load, attach, figures.

use super::{Walk, check};
use crate::{sh, witness};
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// Connections through one forwarded port at the same time.
const CONNECTIONS: usize = 40;
/// Bytes that each of them fetches.
const BYTES: usize = 2 << 20;

const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: talk, labels: {app: talk}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: busybox:1.35
    command: [/bin/sh, -c, 'seq 1 300; sleep 1; echo told >&2; while [ ! -e /go ]; do sleep 0.2; done; seq 301 400; sleep 100000']
  - name: web
    image: busybox:1.35
    command: [/bin/sh, -c, 'mkdir /w; dd if=/dev/urandom of=/w/big bs=1M count=2 2>/dev/null; exec httpd -f -p 8080 -h /w']
  - name: ear
    image: busybox:1.35
    stdin: true
    command: [/bin/sh, -c, 'while read line; do echo "heard $line"; done; sleep 100000']
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox:1.35
    command: [/bin/sh, -c, 'echo dying; exit 3']
"#;

pub(super) fn walk(walk: &mut Walk) -> Result<()> {
    let file = walk.state.dir.join("streams.yaml");
    std::fs::write(&file, PODS)?;
    let file = file.display().to_string();
    walk.kubectl(&["apply", "-f", &file])?;
    walk.kubectl(&["wait", "--for=condition=Ready", "pod/talk", super::TIMEOUT])?;
    let node = walk.ask(&["get", "pod", "talk", "-o", "jsonpath={.spec.nodeName}"])?;
    logs(walk)?;
    rotation(walk, &node)?;
    exec(walk)?;
    copies(walk, &node)?;
    forward(walk)?;
    figures(walk, &node)?;
    walk.kubectl(&["delete", "-f", &file])?;
    walk.runs_on("default/talk", &[])
}

fn logs(walk: &mut Walk) -> Result<()> {
    walk.tell("### Logs");
    walk.until("all is said", |walk| {
        Ok(walk.ask(&["logs", "talk", "-c", "a"])?.contains("told\n"))
    })?;
    let text = walk.kubectl(&["logs", "talk", "-c", "a", "--tail=3"])?;
    check(text == "299\n300\ntold\n", "the tail is the last lines")?;
    let text = walk.kubectl(&["logs", "talk", "-c", "a", "--limit-bytes=5"])?;
    check(text == "1\n2\n3", "five bytes are five bytes")?;
    let all = walk.ask(&["logs", "talk", "-c", "a", "--since=1h"])?;
    check(all.contains("told\n"), "an hour ago is before the first line")?;
    let none = walk.ask(&["logs", "talk", "-c", "a", "--since-time=2999-01-01T00:00:00Z"])?;
    check(none.is_empty(), "nothing was said after the end of the century")?;
    let text =
        walk.kubectl(&["logs", "-l", "app=talk", "--all-containers", "--prefix", "--tail=1"])?;
    check(text.contains("[pod/talk/a]"), "every line says whose it is")?;
    walk.until("the crashing container was started again", |walk| {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        Ok(walk.ask(&["get", "pod", "crash", "-o", path])?.parse::<u32>().unwrap_or(0) > 0)
    })?;
    let text = walk.kubectl(&["logs", "crash", "--previous", "--timestamps"])?;
    check(text.trim_end().ends_with("Z dying"), "the log of the one before, with its time")?;
    walk.kubectl_fails(
        &["logs", "talk", "-c", "a", "--previous"],
        &["previous terminated container \"a\" in pod \"talk\" not found"],
    )?;
    walk.kubectl_fails(
        &["get", "--raw", "/api/v1/namespaces/default/pods/talk/log"],
        &["a container name must be specified for pod talk, choose one of: [a web ear]"],
    )
}

/// A log goes on in a fresh file, and readers do not notice.
fn rotation(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell("### A log across a rotation, with somebody who follows it");
    let followed = walk.state.dir.join("followed");
    let follower =
        format!("timeout 30 {} logs -f talk -c a --tail=1 > {}", kubectl(walk), followed.display());
    let mut follower = std::process::Command::new("sh").args(["-c", &follower]).spawn()?;
    let seen = followed.clone();
    walk.until("the follower has the last line", move |_| {
        Ok(std::fs::read_to_string(&seen).is_ok_and(|text| !text.is_empty()))
    })?;
    let rotate = "cd /var/log/pods/default_talk_*/a && cp 0.log 0.log.20260101-000000 && : > 0.log";
    witness::inside(&walk.state, node, &["sh", "-c", rotate])?;
    walk.kubectl(&["exec", "talk", "-c", "a", "--", "touch", "/go"])?;
    let all = numbers(1, 400);
    walk.until("the whole log is there, in order and once", |walk| {
        let text = walk.ask(&["logs", "talk", "-c", "a"])?;
        Ok(text.replace("told\n", "") == all)
    })?;
    let late = numbers(301, 400);
    walk.until("the follower got every line after the rotation, once", move |_| {
        Ok(std::fs::read_to_string(&followed)?.ends_with(&late))
    })?;
    follower.kill()?;
    follower.wait()?;
    Ok(())
}

fn numbers(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat()
}

fn exec(walk: &mut Walk) -> Result<()> {
    walk.tell(
        "### Commands: output, exit code, the end of input, a terminal that changes its size",
    );
    let text = walk.kubectl(&["exec", "talk", "-c", "a", "--", "sh", "-c", "echo out; exit 0"])?;
    check(text == "out\n", "the output is the command's")?;
    walk.kubectl_fails(
        &["exec", "talk", "-c", "a", "--", "sh", "-c", "exit 7"],
        &["command terminated with exit code 7"],
    )?;
    let count = shell(walk, "seq 1 100000 | timeout 60 kubectl exec -i talk -c a -- wc -l")?;
    check(count.trim() == "100000", "100,000 lines go in, and their end arrives")?;
    let bytes = shell(walk, "timeout 60 kubectl exec talk -c web -- cat /w/big | wc -c")?;
    check(bytes.trim() == BYTES.to_string(), "two mebibytes come out whole")?;
    terminal(walk)?;
    walk.tell("### Attach");
    let said =
        "(echo one; sleep 1; echo two; sleep 1) | timeout 20 kubectl attach -i talk -c ear || true";
    let text = shell(walk, said)?;
    check(text.contains("heard one") && text.contains("heard two"), "both ways")
}

/// A terminal in the container has the size of ours, also when that changes. The size arrives a moment after the
/// command has begun, so the command waits for it.
fn terminal(walk: &mut Walk) -> Result<()> {
    let inner = "until [ \"$(stty size 2>/dev/null)\" = \"31 97\" ]; do sleep 0.1; done; echo first; \
        until [ \"$(stty size)\" = \"20 50\" ]; do sleep 0.1; done; echo then";
    let script = walk.state.dir.join("terminal.sh");
    let typed = walk.state.dir.join("terminal.typed").display().to_string();
    let lines = format!(
        "stty cols 97 rows 31\n\
         (until grep -q first {typed}; do sleep 0.1; done; stty cols 50 rows 20 < /dev/tty) &\n\
         timeout --foreground 60 {} exec -it talk -c a -- sh -c '{inner}'\n",
        kubectl(walk)
    );
    std::fs::write(&script, lines)?;
    let text = shell(walk, &format!("script -qefc 'sh {}' {typed}", script.display()))?;
    check(text.contains("first"), &format!("the terminal has the size of ours: {text}"))?;
    check(text.contains("then"), &format!("and follows its changes: {text}"))
}

fn copies(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell("### Copies, out and in; the second witness reads the container's own file");
    let here = walk.state.dir.join("big").display().to_string();
    walk.kubectl(&["cp", "talk:/w/big", &here, "-c", "web"])?;
    walk.kubectl(&["cp", &here, "talk:/tmp/copy", "-c", "a"])?;
    let ours = sh::run("sha256sum", &[&here])?;
    let pid = witness::containers(&walk.state, node)?
        .into_iter()
        .find(|one| one.pod == "default/talk" && one.container == "a")
        .context("the container runs")?
        .pid;
    let path = format!("/proc/{pid}/root/tmp/copy");
    let theirs = witness::inside(&walk.state, node, &["sha256sum", &path])?;
    let sum = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    check(sum(&ours) == sum(&theirs), "what was copied out and in is the same")
}

fn forward(walk: &mut Walk) -> Result<()> {
    walk.tell(&format!("### A forwarded port, {CONNECTIONS} connections at once"));
    let mut script = format!(
        "cd {dir}; {kubectl} port-forward pod/talk :8080 > port 2>&1 & own=$!; trap 'kill $own' EXIT; \
         until grep -q 127.0.0.1 port; do sleep 0.1; done; \
         at=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) .*/\\1/p' port | head -1); jobs=; ",
        dir = walk.state.dir.display(),
        kubectl = kubectl(walk)
    );
    let _ = write!(
        script,
        "for i in $(seq {CONNECTIONS}); do curl -s --max-time 100 -o /dev/null -w '%{{size_download}}\\n' \
         http://127.0.0.1:$at/big & jobs=\"$jobs $!\"; done; wait $jobs; \
         curl -s --max-time 20 -o /dev/null -w 'after %{{http_code}}\\n' http://127.0.0.1:$at/none"
    );
    let text = shell(walk, &script)?;
    let whole = text.lines().filter(|line| *line == BYTES.to_string()).count();
    check(whole == CONNECTIONS, &format!("each of them gets every byte: {text}"))?;
    check(text.contains("after 404"), "and the port goes on working")
}

fn figures(walk: &mut Walk, node: &str) -> Result<()> {
    walk.tell("### Figures, through the server");
    let path = |rest: &str| format!("/api/v1/nodes/{node}/proxy/{rest}");
    let text = walk.kubectl(&["get", "--raw", &path("metrics/resource")])?;
    let wanted =
        "container_memory_working_set_bytes{container=\"web\",namespace=\"default\",pod=\"talk\"}";
    check(text.contains(wanted), "the container's memory is there")?;
    let text = walk.ask(&["get", "--raw", &path("stats/summary")])?;
    let summary: serde_json::Value = serde_json::from_str(&text)?;
    let used = summary["node"]["memory"]["workingSetBytes"].as_u64().unwrap_or(0);
    check(used > 0, "the node's memory is there")
}

/// The way to call kubectl from a shell.
fn kubectl(walk: &Walk) -> String {
    format!("kubectl --kubeconfig={}", walk.state.kubeconfig().display())
}

/// Runs a line of shell in which `kubectl` is this cluster's; what it prints, errors included.
fn shell(walk: &mut Walk, line: &str) -> Result<String> {
    let begin = std::time::Instant::now();
    let own = line.replace(" kubectl ", &format!(" {} ", kubectl(walk)));
    let output = sh::raw("bash", &["-c", &own])?;
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    walk.write_down_shell(line, &text, begin.elapsed());
    if !output.status.success() {
        anyhow::bail!("{line}\nfailed ({}): {text}{errors}", output.status);
    }
    Ok(text)
}
