//! Small files and folders that a pod gets from the node.

use super::{Done, Worker};
use crate::config;
use crate::cri::v1;
use crate::env::Sources;
use crate::volumes;
use crate::words::reason;
use crate::world::{WHOLE_POD, World};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Runs file work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("file work broke: {error}"))
}

/// Work on one pod's files, one piece at a time. A piece goes on when the step that asked for it is given up (a thread
/// cannot be stopped): the next one waits for it, so that nothing is written into a folder that is being removed.
#[derive(Debug)]
pub(super) struct FileWork {
    turn: Arc<Semaphore>,
    /// The files are removed, or about to be.
    is_over: Arc<AtomicBool>,
}

impl FileWork {
    pub(super) fn new() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), is_over: Arc::default() }
    }

    /// Runs one piece. `Err` once the files are being removed.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let is_over = Arc::clone(&self.is_over);
        let work = move || (!is_over.load(Ordering::Relaxed)).then(work);
        self.next(work).await?.ok_or_else(|| "the pod's files are being removed".to_owned())
    }

    /// Runs the removal. Nothing else is run after that.
    pub(super) async fn remove<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.next(work).await
    }

    async fn next<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|error| error.to_string())?;
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

/// A pod, and what its volumes hold.
type Fetched = (Arc<Pod>, Result<Sources, String>);
/// The same, on its way.
pub(super) type Fetch = Pin<Box<dyn Future<Output = Fetched> + Send>>;

/// What is fetched, once it is there; never, where nothing is.
pub(super) async fn fetched(fetch: &mut Option<Fetch>) -> Fetched {
    match fetch {
        Some(fetch) => fetch.await,
        None => std::future::pending().await,
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

impl Worker {
    /// Folders, the cgroup and volumes.
    pub(super) async fn prepare(&mut self, world: &World) -> Done {
        let context = Arc::clone(&self.context);
        let pod = Arc::clone(&world.pod);
        let room = self.room(world);
        let problem = match context.sources(&pod).await {
            Err(error) => Some(format!("reading ConfigMaps and Secrets: {error}")),
            Ok(sources) => {
                let work = self.files.run(move || {
                    let uid = uid(&pod);
                    let dir = volumes::pod_dir(&context.root, &uid);
                    let logs = config::log_dir(&context.pod_logs, &pod);
                    for path in [&dir, &logs] {
                        fs::create_dir_all(path)
                            .map_err(|error| format!("making {}: {error}", path.display()))?;
                    }
                    if !context.is_systemd {
                        crate::cgroups::make(&context.layout, &context.cgroup(&uid), &room)
                            .map_err(|error| {
                                format!("making the cgroup {}: {error}", context.cgroup(&uid))
                            })?;
                    }
                    // a pod's own address is not known before its sandbox: the next refresh brings it
                    volumes::prepare(&context.root, &pod, &sources, &context.place(Vec::new()))
                        .map_err(|missing| missing.message())
                });
                match work.await {
                    Ok(Ok(())) => None,
                    Ok(Err(problem)) | Err(problem) => Some(problem),
                }
            }
        };
        match problem {
            None => {
                self.memory.is_prepared = true;
                self.memory.is_emptied = false;
                self.memory.troubles.remove(WHOLE_POD);
                Ok(())
            }
            Some(problem) => {
                self.context.tell(&world.pod, "", true, reason::FAILED_MOUNT, problem.clone());
                self.failed(WHOLE_POD, reason::FAILED_MOUNT, problem);
                Err(())
            }
        }
    }

    /// Begins to fetch what volumes hold whose content can change.
    pub(super) fn fetch(&mut self) -> Fetch {
        self.refresh_at = tokio::time::Instant::now() + super::REFRESH;
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.desired.borrow().pod));
        Box::pin(async move {
            let sources = context.sources(&pod).await;
            (pod, sources)
        })
    }

    /// Brings those volumes up to date.
    pub(super) async fn refresh(&mut self, (pod, sources): Fetched) {
        let sources = match sources {
            Ok(sources) => sources,
            Err(problem) => {
                tracing::debug!("volumes kept as they were: {problem}");
                return;
            }
        };
        if !self.has_changing_volumes() {
            return;
        }
        let context = Arc::clone(&self.context);
        let addresses = self.addresses.values().next().cloned().unwrap_or_default();
        let work = self.files.run(move || {
            let place = context.place(addresses);
            volumes::prepare(&context.root, &pod, &sources, &place)
        });
        if let Ok(Err(missing)) = work.await {
            tracing::debug!("volume kept as it was: {}", missing.message());
        }
    }

    /// What a container sees of volumes, `/etc/hosts` and its message file.
    pub(super) async fn mounts(
        &self,
        world: &World,
        container: &Container,
        attempt: u32,
        variables: Vec<(String, String)>,
    ) -> Result<(Vec<v1::Mount>, String), String> {
        let context = Arc::clone(&self.context);
        let (pod, container) = (Arc::clone(&world.pod), container.clone());
        let addresses = world.ready_sandbox().map(|s| s.addresses.clone()).unwrap_or_default();
        let work = self.files.run(move || {
            let dir = volumes::pod_dir(&context.root, &uid(&pod));
            let value = |name: &str| {
                variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            };
            let mut mounts = volumes::mounts(&context.root, &pod, &container, value)?;
            let io = |error: io::Error| format!("preparing files of the container: {error}");
            let has = |mounts: &[v1::Mount], path: &str| {
                mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == path)
            };
            if !has(&mounts, "/etc/hosts") {
                let file = dir.join("etc-hosts");
                fs::write(&file, hosts(&pod, &addresses)).map_err(io)?;
                mounts.push(file_mount("/etc/hosts", &file));
            }
            let place =
                container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
            let file =
                dir.join("containers").join(&container.name).join(format!("{attempt}.message"));
            if let Some(above) = file.parent() {
                fs::create_dir_all(above).map_err(io)?;
            }
            fs::write(&file, "").map_err(io)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).map_err(io)?;
            if !has(&mounts, place) {
                mounts.push(file_mount(place, &file));
            }
            Ok((mounts, file.to_string_lossy().into_owned()))
        });
        work.await?
    }

    /// Puts the container's log where log agents look for it.
    pub(super) fn link_log(&self, world: &World, name: &str, id: &str, attempt: u32) {
        let meta = &world.pod.metadata;
        let (pod, namespace) =
            (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
        let log = config::log_dir(&self.context.pod_logs, &world.pod)
            .join(name)
            .join(format!("{attempt}.log"));
        let dir = &self.context.container_logs;
        let link = dir.join(format!("{pod}_{namespace}_{name}-{id}.log"));
        let made = fs::create_dir_all(dir).and_then(|()| symlink(log, &link));
        if let Err(error) =
            made.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
        {
            tracing::warn!("no link to the log in {}: {error}", link.display());
        }
    }

    /// Removes the link of a container that goes.
    pub(super) fn unlink_logs(&self, id: &str) {
        let end = format!("-{id}.log");
        for entry in fs::read_dir(&self.context.container_logs).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(&end) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the volumes of a pod that is over: nothing can use them any more, and they take room.
    pub(super) async fn empty(&mut self, world: &World) -> Result<(), String> {
        let context = Arc::clone(&self.context);
        let uid = uid(&world.pod);
        // they are not brought up to date any more, nor measured
        self.memory.is_prepared = false;
        let done = self.files.run(move || {
            context.tokens.forget(&uid);
            volumes::remove_volumes(&context.root, &uid)
                .map_err(|error| format!("removing the pod's volumes: {error}"))
        });
        done.await??;
        self.memory.is_emptied = true;
        Ok(())
    }

    /// Removes the logs of a pod whose containers are gone.
    pub(super) async fn drop_logs(&mut self, world: &World) -> Result<(), String> {
        let context = Arc::clone(&self.context);
        let pod = Arc::clone(&world.pod);
        let done = self.files.run(move || {
            remove_logs(&config::log_dir(&context.pod_logs, &pod), &context.container_logs)
                .map_err(|error| format!("removing the pod's logs: {error}"))
        });
        done.await?
    }

    /// Removes what the node keeps of a pod: volumes, cgroup, logs.
    pub(super) async fn clean_up(&mut self, world: &World) -> Result<(), String> {
        for seen in &world.containers {
            self.unlink_logs(&seen.id);
        }
        let context = Arc::clone(&self.context);
        let pod = Arc::clone(&world.pod);
        let done = self.files.remove(move || {
            let uid = uid(&pod);
            context.tokens.forget(&uid);
            volumes::remove(&context.root, &uid)
                .map_err(|error| format!("removing the pod's folder: {error}"))?;
            if !context.is_systemd {
                crate::cgroups::remove(&context.layout, &context.cgroup(&uid))
                    .map_err(|error| format!("removing the pod's cgroup: {error}"))?;
            }
            remove_logs(&config::log_dir(&context.pod_logs, &pod), &context.container_logs)
                .map_err(|error| format!("removing the pod's logs: {error}"))
        });
        done.await??;
        self.memory.is_cleaned = true;
        Ok(())
    }
}

/// The pod's log folder, and the links that lead there.
pub(crate) fn remove_logs(dir: &Path, links: &Path) -> io::Result<()> {
    for entry in fs::read_dir(links).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(dir)) {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn file_mount(place: &str, file: &Path) -> v1::Mount {
    v1::Mount {
        container_path: place.to_owned(),
        host_path: PathBuf::from(file).to_string_lossy().into_owned(),
        ..v1::Mount::default()
    }
}

/// The pod's `/etc/hosts`.
fn hosts(pod: &Pod, addresses: &[String]) -> String {
    use std::fmt::Write as _;
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text = if spec.host_network == Some(true) {
        let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!("# Kubernetes-managed hosts file (host network).\n{own}\n")
    } else {
        let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
            ::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n\
            fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
            .to_owned();
        let short = config::host_name(pod);
        let name = match config::full_name(pod) {
            Some(full) => format!("{full}\t{short}"),
            None => short,
        };
        for address in addresses {
            let _ = writeln!(text, "{address}\t{name}");
        }
        text
    };
    if spec.host_aliases.as_ref().is_some_and(|list| !list.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use serde_json::json;
    use std::sync::mpsc;

    #[tokio::test]
    async fn files_are_removed_after_work_that_was_given_up_and_none_are_made_after_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod");
        let files = FileWork::new();
        let ((begins, begun), (go_on, waits)) = (mpsc::channel(), mpsc::channel::<()>());
        let late = path.clone();
        let mut step = Box::pin(files.run(move || {
            begins.send(()).unwrap();
            waits.recv().unwrap();
            fs::create_dir_all(&late).unwrap();
        }));
        assert!((&mut step).now_or_never().is_none());
        begun.recv().unwrap();
        drop(step);
        let gone = path.clone();
        let mut clean = Box::pin(files.remove(move || fs::remove_dir_all(gone)));
        assert!((&mut clean).now_or_never().is_none(), "it waits for what was begun");
        go_on.send(()).unwrap();
        clean.await.unwrap().unwrap();
        let again = path.clone();
        files.run(move || fs::create_dir_all(again)).await.unwrap_err();
        assert!(!path.exists());
    }

    #[test]
    fn hosts_names_the_pod_and_its_aliases() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"hostname": "h", "subdomain": "s", "containers": [], "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["a", "b"]}]}
        }))
        .unwrap();
        let text = hosts(&pod, &["10.1.0.7".to_owned()]);
        assert!(
            text.contains("10.1.0.7\th.s.ns.svc.cluster.local\th\n")
                && text.ends_with("192.0.2.9\ta\tb\n"),
            "{text}"
        );
    }

    #[test]
    fn only_links_into_the_pods_own_log_folder_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other, links) =
            (dir.path().join("ns_p_u"), dir.path().join("ns_p_u2"), dir.path().join("links"));
        for path in [&own, &other, &links] {
            fs::create_dir(path).unwrap();
        }
        symlink(own.join("c/0.log"), links.join("own")).unwrap();
        symlink(other.join("c/0.log"), links.join("other")).unwrap();
        remove_logs(&own, &links).unwrap();
        assert!(!own.exists() && other.exists());
        let left: Vec<_> = fs::read_dir(&links).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        remove_logs(&own, &links).unwrap();
    }
}
