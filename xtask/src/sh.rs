//! Running other programs: what was asked, what came out, and a clear error when it failed.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How long anything may take before a chore gives up on it: far more than it ever should, for machines under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Runs a program to its end; its standard output, or an error that shows both streams.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    let output = raw(program, args)?;
    if !output.status.success() {
        bail!(
            "{program} {} failed ({}): {}{}",
            args.iter()
                .map(|a| a.as_ref().to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end whatever its exit status.
pub(crate) fn raw<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<Output> {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))
}

/// Whether `program` is on PATH.
pub(crate) fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Starts a program that outlives us, with its output appended to a file; its process id.
pub(crate) fn start_detached(command: &mut Command, log: &Path) -> Result<u32> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    Ok(child.id())
}

/// Asks `probe` until it says yes; an error naming `what` when the limit is reached first.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = std::time::Instant::now();
    loop {
        if probe()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}
