//! The registry and the server: processes of this machine, listening on the bridge.

use super::made::{self, Made, State};
use crate::sh;
use anyhow::{Context, Result, bail};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

fn free_port(address: &str, first: u16) -> Result<u16> {
    for port in (first..first + 200).chain([0]) {
        if let Ok(listener) = TcpListener::bind((address, port)) {
            return Ok(listener.local_addr()?.port());
        }
    }
    bail!("no free port on {address}")
}

/// Starts Debian's docker-registry on the bridge's address, over a folder of the cluster.
pub(crate) fn start_registry(state: &mut State) -> Result<()> {
    state.registry_port = free_port(&state.gateway(), 5000)?;
    let dir = state.dir.join("registry");
    std::fs::create_dir_all(&dir)?;
    let config = state.dir.join("registry.yml");
    std::fs::write(
        &config,
        format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{}'}}\n",
            dir.display(),
            state.registry()
        ),
    )?;
    let mut command = Command::new("setsid");
    command.arg("docker-registry").arg("serve").arg(&config);
    let pid = sh::start_detached(&mut command, &state.dir.join("registry.log"))?;
    state.note_process(i32::try_from(pid)?, "docker-registry")?;
    let url = format!("http://{}/v2/", state.registry());
    sh::wait_until("the registry to answer", sh::PATIENCE, || Ok(ureq::get(&url).call().is_ok()))?;
    Ok(())
}

/// Starts the server and waits until it is ready; how long that took, from exec to `/readyz`.
pub(crate) fn start(state: &mut State) -> Result<Duration> {
    let begin = spawn(state)?;
    sh::wait_until("the server to be ready", sh::PATIENCE, || is_ready(state))?;
    Ok(begin.elapsed())
}

/// Starts the server; the moment before its exec.
pub(crate) fn spawn(state: &mut State) -> Result<Instant> {
    if state.server_pid != 0 && made::started(state.server_pid).is_some() {
        bail!("the server runs already (process {})", state.server_pid);
    }
    let fresh = !state.server_dir().exists();
    if fresh {
        state.server_port = free_port("0.0.0.0", 6443)?;
    }
    let mut command = Command::new("setsid");
    command
        .arg(&state.pernode)
        .arg("server")
        .arg("--data-dir")
        .arg(state.server_dir())
        .arg("--listen")
        .arg(format!("0.0.0.0:{}", state.server_port))
        .arg("--advertise-address")
        .arg(state.gateway())
        .args(&state.server_flags);
    let begin = Instant::now();
    let pid = i32::try_from(sh::start_detached(&mut command, &state.dir.join("server.log"))?)?;
    state.server_pid = pid;
    state.note_process(pid, "pernode server")?;
    Ok(begin)
}

/// Whether the server answers `/readyz` with 200; an error when it has ended.
pub(crate) fn is_ready(state: &State) -> Result<bool> {
    if made::started(state.server_pid).is_none() {
        let text = std::fs::read_to_string(state.dir.join("server.log")).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(5).collect();
        bail!("the server ended: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    // a port that nobody listens on is seen at once, without a program of its own
    if TcpStream::connect((state.gateway(), state.server_port)).is_err() {
        return Ok(false);
    }
    let url = format!("{}/readyz", state.server_url());
    let args = ["-sk", "--max-time", "2", "-o", "/dev/null", "-w", "%{http_code}", &url];
    Ok(sh::raw("curl", &args)?.stdout == b"200")
}

/// Ends the server.
pub(crate) fn stop(state: &mut State, now: bool) -> Result<()> {
    let pid = state.server_pid;
    let started = made::started(pid).context("the server is not running")?;
    let signal = if now { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
    made::kill(pid, started, signal)?;
    state.server_pid = 0;
    state.made.retain(|m| !matches!(m, Made::Process { pid: p, .. } if *p == pid));
    state.save()
}
