//! Logs of containers: one that has grown too long is put aside, and the runtime begins a new one.

use crate::context::Context;
use crate::words;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest log (upstream's number).
const SIZE_MAX: u64 = 10 << 20;
/// Logs kept of one container, the current one included (upstream's number).
const FILES_MAX: usize = 5;
/// How often sizes are looked at (upstream's number).
const LOOK: Duration = Duration::from_secs(10);
/// And after one was put aside: a flood of 100 MiB/s then has 5 files of 200 MiB rather than of 1 GiB.
const LOOK_AFTER_ONE: Duration = Duration::from_secs(2);

/// Watches over the logs for as long as the agent runs.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = match look(&context, SIZE_MAX).await {
            Ok(true) => LOOK_AFTER_ONE,
            Ok(false) => LOOK,
            Err(problem) => {
                tracing::debug!("logs not looked at: {problem}");
                LOOK
            }
        };
    }
}

/// Whether some log was put aside. One that cannot be is told, and holds up no other.
async fn look(context: &Context, most: u64) -> Result<bool, String> {
    let mut is_any = false;
    let ours: BTreeMap<String, String> =
        [(words::OUR_NODE.to_owned(), context.name.clone())].into();
    let containers = context.runtime.containers(&ours).await.map_err(|failure| failure.message)?;
    for container in containers {
        if container.state() != crate::cri::v1::ContainerState::ContainerRunning {
            continue;
        }
        let attempt = container.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
        let path = path(&context.pod_logs, &container.labels, attempt);
        if fs::metadata(&path).map_or(0, |meta| meta.len()) < most {
            continue;
        }
        match rotate(context, &path, &container.id).await {
            Ok(()) => is_any = true,
            Err(problem) => tracing::warn!("the log {} stays: {problem}", path.display()),
        }
    }
    Ok(is_any)
}

async fn rotate(context: &Context, path: &Path, container: &str) -> Result<(), String> {
    let second = context.setup.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
    let aside = put_aside(path, &second).map_err(|error| error.to_string())?;
    if let Err(failure) = context.runtime.reopen_log(container).await {
        // the runtime still writes to the old file: it gets its name back
        let _ = fs::rename(&aside, path);
        return Err(failure.message);
    }
    forget_old(path).map_err(|error| error.to_string())
}

fn path(logs: &Path, labels: &BTreeMap<String, String>, attempt: u32) -> PathBuf {
    let text = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
    let pod = format!(
        "{}_{}_{}",
        text(words::POD_NAMESPACE),
        text(words::POD_NAME),
        text(words::POD_UID)
    );
    logs.join(pod).join(text(words::CONTAINER_NAME)).join(format!("{attempt}.log"))
}

fn put_aside(path: &Path, second: &str) -> io::Result<PathBuf> {
    let aside = PathBuf::from(format!("{}.{second}", path.display()));
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Removes the oldest logs that were put aside.
fn forget_old(path: &Path) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let begin = format!("{}.", name.to_string_lossy());
    let mut old: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
        .map(|entry| entry.path())
        .collect();
    // their names end with the time, so the order of names is that of time
    old.sort();
    let spare = old.len().saturating_sub(FILES_MAX - 1);
    old.into_iter().take(spare).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_never_has_more_than_its_share_of_logs_and_a_quiet_one_is_left_alone() {
        let runtime = crate::scripted::Scripted::new();
        let bench = crate::scripted::Bench::new(&runtime).await;
        let context = &bench.context;
        let most = 1000;
        for name in ["flood", "quiet"] {
            let pod = serde_json::from_value(serde_json::json!({
                "metadata": {"name": name, "namespace": "ns", "uid": name},
                "spec": {"containers": [{"name": "c"}]}}))
            .unwrap();
            runtime.left_over(&pod);
            let mut state = runtime.state.lock();
            let one = state.containers.last_mut().unwrap();
            one.set_state(crate::cri::v1::ContainerState::ContainerRunning);
            one.labels.insert(words::CONTAINER_NAME.to_owned(), "c".to_owned());
        }
        let dir = |name: &str| context.pod_logs.join(format!("ns_{name}_{name}/c"));
        let sizes = |name: &str| -> Vec<u64> {
            let entries = fs::read_dir(dir(name)).unwrap();
            entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
        };
        for name in ["flood", "quiet"] {
            fs::create_dir_all(dir(name)).unwrap();
            fs::write(dir(name).join("0.log"), "x").unwrap();
        }
        for _ in 0..12 {
            fs::write(dir("flood").join("0.log"), vec![b'x'; 1500]).unwrap();
            assert!(sizes("flood").len() <= FILES_MAX, "{:?}", sizes("flood"));
            assert!(look(context, most).await.unwrap(), "the flood is looked at again soon");
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(sizes("flood"), vec![1500; FILES_MAX - 1]);
        assert_eq!(sizes("quiet"), [1]);
    }

    #[test]
    fn the_newest_logs_are_kept_and_those_of_other_attempts_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        for second in ["5", "1", "3", "2", "4", "6"] {
            fs::write(&path, "x").unwrap();
            put_aside(&path, &format!("2026010{second}-000000")).unwrap();
        }
        fs::write(&path, "now").unwrap();
        fs::write(dir.path().join("1.log"), "other").unwrap();
        forget_old(&path).unwrap();
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let old = ["3", "4", "5", "6"].map(|day| format!("0.log.2026010{day}-000000"));
        let wanted: Vec<String> =
            ["0.log".to_owned()].into_iter().chain(old).chain(["1.log".to_owned()]).collect();
        assert_eq!(left, wanted);
    }
}
