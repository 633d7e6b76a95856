//! One node: namespaces of its own, and inside them a first process that starts containerd and the agent.

use super::made::{Made, State};
use super::{containerd, network};
use crate::sh;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the node's first process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    name: String,
    address: String,
    dir: PathBuf,
    pernode: PathBuf,
    server: String,
    token_file: PathBuf,
    ca_file: PathBuf,
    cgroup_root: String,
    containerd_config: PathBuf,
    agent_flags: Vec<String>,
}

/// Folders of the node's own, and where they lie inside it.
const OWN: &[(&str, &str)] = &[
    ("var-log", "/var/log"),
    ("run", "/run"),
    ("var-lib-pernode", "/var/lib/pernode"),
    ("etc-cni-net.d", "/etc/cni/net.d"),
    ("var-lib-cni", "/var/lib/cni"),
    ("opt-cni-bin", "/opt/cni/bin"),
];

/// In a node's folder: the boot id that it shows since its last reboot.
const BOOT_ID: &str = "boot_id";

/// Makes node `number` and waits until its agent has a process.
pub(crate) fn start(state: &mut State, number: u8) -> Result<String> {
    let name = format!("{}{number}", state.prefix);
    let dir = state.dir.join("nodes").join(&name);
    let address = format!("10.{}.0.{}", state.net, 10 + number);
    // a new machine: nothing is left of one that had the name before
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    for (own, inside) in OWN {
        std::fs::create_dir_all(dir.join(own))?;
        note_missing_folders(state, Path::new(inside))?;
        std::fs::create_dir_all(inside)?;
    }
    containerd::link_plugins(&dir.join("opt-cni-bin"))?;
    network::join(state, number)?;
    let agent_flags = if state.without_network {
        vec!["--cni".to_owned(), "off".to_owned()]
    } else if state.agents_network {
        Vec::new()
    } else {
        containerd::write_cni(&dir.join("etc-cni-net.d"), &subnet(state, number))?;
        Vec::new()
    };
    let cgroup = format!("pernode-{}", state.id);
    state.note(Made::Cgroup { path: cgroup.clone() })?;
    let spec = Spec {
        name: name.clone(),
        address: address.clone(),
        dir: dir.clone(),
        pernode: state.pernode.clone(),
        server: state.server_url(),
        token_file: state.server_dir().join("join-token"),
        ca_file: state.server_dir().join("pki/ca.crt"),
        cgroup_root: format!("/{cgroup}/{name}"),
        containerd_config: containerd::write_config(state, &dir)?,
        agent_flags,
    };
    let spec_file = dir.join("spec.json");
    std::fs::write(&spec_file, serde_json::to_vec_pretty(&spec)?)?;
    let init_pid = start_init(state, number, &dir, &spec_file)?;
    state.nodes.push(super::made::Node {
        number,
        name: name.clone(),
        address,
        init_pid,
        dir: dir.clone(),
    });
    state.save()?;
    agent_starts(&name, &dir, init_pid)?;
    Ok(name)
}

fn agent_starts(name: &str, dir: &Path, init_pid: i32) -> Result<()> {
    let pid_file = dir.join("agent.pid");
    let log = dir.join("init.log");
    sh::wait_until(&format!("the agent of {name}"), sh::PATIENCE, || {
        if super::made::started(init_pid).is_none() {
            bail!("node {name} ended: {}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(pid_file.exists())
    })
    .map(drop)
}

/// Addresses of a node's pods.
pub(crate) fn subnet(state: &State, number: u8) -> String {
    format!("10.{}.{number}.0/24", state.net)
}

/// Switches a node off at once, and on again: no process, no cgroup and nothing of /run outlives it, and the kernel has
/// a new boot id.
pub(crate) fn reboot(state: &mut State, name: &str) -> Result<()> {
    let node = state.node(name)?.clone();
    let is_first = |made: &Made| matches!(made, Made::Process { pid, .. } if *pid == node.init_pid);
    let (gone, kept): (Vec<Made>, Vec<Made>) = state.made.drain(..).partition(is_first);
    state.made = kept;
    for made in &gone {
        super::made::undo_one(made)?;
    }
    super::made::remove_cgroups(&format!("pernode-{}/{name}", state.id))?;
    for own in ["run", "agent.pid", "containerd.pid"].map(|own| node.dir.join(own)) {
        if own.is_dir() {
            std::fs::remove_dir_all(&own)?;
            std::fs::create_dir(&own)?;
        } else if own.exists() {
            std::fs::remove_file(&own)?;
        }
    }
    let fresh = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    std::fs::write(node.dir.join(BOOT_ID), fresh)?;
    let init_pid = start_init(state, node.number, &node.dir, &node.dir.join("spec.json"))?;
    for one in &mut state.nodes {
        if one.number == node.number {
            one.init_pid = init_pid;
        }
    }
    state.save()?;
    agent_starts(name, &node.dir, init_pid)
}

/// Ends a node: its processes, then its link and network namespace.
pub(crate) fn stop(state: &mut State, name: &str) -> Result<()> {
    let node = state.node(name)?.clone();
    let net = network::namespace(state, node.number);
    let link = network::link(state, node.number);
    let ends = |made: &Made| match made {
        Made::Process { pid, .. } => *pid == node.init_pid,
        Made::Link { name } => *name == link,
        Made::Namespace { name } => *name == net,
        Made::Folder { .. } | Made::Cgroup { .. } => false,
    };
    let (gone, kept): (Vec<Made>, Vec<Made>) = state.made.drain(..).partition(ends);
    for made in gone.iter().rev() {
        super::made::undo_one(made)?;
    }
    state.made = kept;
    state.nodes.retain(|n| n.number != node.number);
    state.save()
}

/// Notes the folders on the way to `path` that are not there yet, so that `down` removes them.
fn note_missing_folders(state: &mut State, path: &Path) -> Result<()> {
    let missing: Vec<PathBuf> =
        path.ancestors().take_while(|p| !p.exists()).map(Path::to_path_buf).collect();
    for folder in missing.into_iter().rev() {
        state.note(Made::Folder { path: folder })?;
    }
    Ok(())
}

/// Starts the first process of the node's namespaces; its process id on this machine.
///
/// The network namespace is entered with `nsenter --net`: `ip netns exec` would mount a fresh /sys, without cgroups.
fn start_init(state: &mut State, number: u8, dir: &Path, spec: &Path) -> Result<i32> {
    let net = format!("--net=/run/netns/{}", network::namespace(state, number));
    let mut command = Command::new("setsid");
    command
        .args(["nsenter", &net, "unshare", "--mount", "--uts", "--pid", "--fork"])
        .args(["--kill-child=SIGKILL", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .args(["node-init", "--spec"])
        .arg(spec);
    let outer = i32::try_from(sh::start_detached(&mut command, &dir.join("init.log"))?)?;
    state.note_process(outer, "unshare")?;
    let children = format!("/proc/{outer}/task/{outer}/children");
    let mut pid = 0;
    sh::wait_until("the node's first process", sh::PATIENCE, || {
        let list = std::fs::read_to_string(&children).unwrap_or_default();
        pid = list.split_whitespace().next().and_then(|p| p.parse().ok()).unwrap_or(0);
        Ok(pid != 0)
    })?;
    state.note_process(pid, "node-init")?;
    Ok(pid)
}

/// The first process of a node: mounts, names, starts containerd and the agent, starts again what ends (as systemd
/// would with Restart=always), and reaps whatever is reparented to it. It never returns; killing it ends the node.
///
/// A file `agent.hold` (or `containerd.hold`) in the node's folder keeps that program from being started.
pub(crate) fn init(spec: &Path) -> Result<()> {
    let spec: Spec = serde_json::from_slice(&std::fs::read(spec)?)?;
    rustix::system::sethostname(spec.name.as_bytes()).context("setting the host name")?;
    mounts(&spec)?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("switching forwarding on")?;
    let mut programs = [
        Program { name: "containerd", command: containerd_command, child: None },
        Program { name: "agent", command: agent_command, child: None },
    ];
    loop {
        for program in &mut programs {
            program.keep(&spec)?;
        }
        reap_strangers(&programs);
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Program {
    name: &'static str,
    command: fn(&Spec) -> Command,
    child: Option<Child>,
}

impl Program {
    fn keep(&mut self, spec: &Spec) -> Result<()> {
        let pid_file = spec.dir.join(format!("{}.pid", self.name));
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return Ok(()),
                ended => {
                    crate::say(&format!("{} ended: {ended:?}", self.name));
                    self.child = None;
                    let _ = std::fs::remove_file(&pid_file);
                }
            }
        }
        if spec.dir.join(format!("{}.hold", self.name)).exists()
            || (self.name == "agent" && !Path::new("/run/containerd/containerd.sock").exists())
        {
            return Ok(());
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(spec.dir.join(format!("{}.log", self.name)))?;
        let child = (self.command)(spec)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        std::fs::write(&pid_file, child.id().to_string())?;
        self.child = Some(child);
        Ok(())
    }
}

fn containerd_command(spec: &Spec) -> Command {
    let mut command = Command::new("containerd");
    command.arg("--config").arg(&spec.containerd_config);
    command
}

fn agent_command(spec: &Spec) -> Command {
    let mut command = Command::new(&spec.pernode);
    command
        .arg("agent")
        .args(["--server", &spec.server, "--node-name", &spec.name, "--node-ip", &spec.address])
        .arg("--token-file")
        .arg(&spec.token_file)
        .arg("--ca-file")
        .arg(&spec.ca_file)
        .args(["--cgroup-root", &spec.cgroup_root])
        .args(["--pod-max-pids", "512"])
        .args(&spec.agent_flags);
    command
}

/// Gives the node folders of its own over the machine's, and shares the tree so that containers' mounts can spread.
fn mounts(spec: &Spec) -> Result<()> {
    sh::run("mount", &["--make-rprivate", "/"])?;
    for (own, inside) in OWN {
        let own = spec.dir.join(own);
        sh::run("mount", &["--bind", &own.to_string_lossy(), inside])?;
    }
    let boot_id = spec.dir.join(BOOT_ID);
    if boot_id.exists() {
        let shown = "/proc/sys/kernel/random/boot_id";
        sh::run("mount", &["--bind", &boot_id.to_string_lossy(), shown])?;
    }
    sh::run("mount", &["--make-rshared", "/"])?;
    Ok(())
}

/// Waits for children that are not ours by birth: containers' shims leave their children to the first process.
fn reap_strangers(programs: &[Program]) {
    use rustix::process::{WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};
    loop {
        let seen = waitid(
            WaitId::All,
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        );
        let Ok(Some(_)) = seen else { return };
        // The id of the ended child: found by asking /proc, since `waitid` here does not tell it.
        let ended: Vec<i32> = zombies()
            .into_iter()
            .filter(|pid| {
                !programs
                    .iter()
                    .any(|p| p.child.as_ref().is_some_and(|c| i32::try_from(c.id()) == Ok(*pid)))
            })
            .collect();
        if ended.is_empty() {
            return;
        }
        for pid in ended {
            let _ = waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::NOHANG);
        }
    }
}

/// Children of this process that have ended and were not waited for.
fn zombies() -> Vec<i32> {
    let Ok(list) = std::fs::read_to_string("/proc/self/task/1/children") else { return Vec::new() };
    list.split_whitespace()
        .filter_map(|p| p.parse().ok())
        .filter(|pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|s| s.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
        })
        .collect()
}
