//! The one node of the suite: its objects as the server shows them, its logs, files and processes as the kernel does.

use crate::cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Namespace of every manifest.
pub(crate) const NAMESPACE: &str = "features";
/// How long the end of every pod may take.
const END: Duration = Duration::from_secs(60);

/// Waits until something is so. Files, processes and mounts tell nobody of a change: they are looked at, ten times a
/// second. `is_so` says what is still in the way.
pub(crate) fn until(limit: Duration, mut is_so: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(why) = is_so() {
        assert!(begun.elapsed() < limit, "after {limit:?}: {why}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Folder of the manifests.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/features")
}

/// A manifest by name.
pub(crate) fn manifest(name: &str) -> PathBuf {
    examples().join(format!("{name}.yaml"))
}

pub(crate) struct Node {
    kubeconfig: PathBuf,
    dir: PathBuf,
    /// This machine's address on the cluster's network.
    gateway: String,
    init: String,
    cgroup: String,
    pods: BTreeMap<String, Value>,
    events: Vec<Value>,
}

impl Node {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let made = std::fs::read(cluster.path().join("made.json")).expect("the cluster's record");
        let made: Value = serde_json::from_slice(&made).expect("the record is JSON");
        let own = &made["nodes"][0];
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Self {
            kubeconfig: cluster.path().join("server/admin.kubeconfig"),
            dir: PathBuf::from(text(&own["dir"])),
            gateway: format!("10.{}.0.1", made["net"]),
            init: own["initPid"].to_string(),
            cgroup: format!("pernode-{}/{}", text(&made["id"]), text(&own["name"])),
            pods: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// The node's folder, and the address at which it finds this machine.
    pub(crate) fn place(&self) -> (&Path, &str) {
        (&self.dir, &self.gateway)
    }

    /// What the manifests expect to find on the node.
    pub(crate) fn lay_out(&self) {
        let there = self.dir.join("run/features/there");
        std::fs::create_dir_all(&there).expect("a folder");
        std::fs::write(there.join("plain"), "plain file\n").expect("a file");
        drop(std::os::unix::net::UnixListener::bind(there.join("socket")).expect("a socket"));
        let profiles = self.dir.join("var-lib-pernode/agent/seccomp");
        std::fs::create_dir_all(&profiles).expect("a folder");
        let names = ["chown", "fchown", "fchownat", "lchown"];
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]});
        std::fs::write(profiles.join("no-chown.json"), profile.to_string()).expect("a profile");
        let evidence = self.dir.join("run/features/evidence");
        std::fs::create_dir_all(&evidence).expect("a folder");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(evidence, open).expect("permissions");
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let output = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            .output()
            .expect("kubectl is on PATH");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {said}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Takes a fresh picture.
    pub(crate) fn look(&mut self) {
        let list = |kind: &str| -> Vec<Value> {
            let text = self.kubectl(&["get", kind, "-n", NAMESPACE, "-o", "json"]);
            let list: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
            list["items"].as_array().cloned().unwrap_or_default()
        };
        let (pods, events) = (list("pods"), list("events"));
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
            self.pods.insert(name, pod);
        }
        self.events = events;
    }

    /// Waits until pods of the namespace can have an account.
    pub(crate) fn wait_for_account(&self) {
        let args = ["get", "serviceaccounts", "-n", NAMESPACE, "-o", "name"];
        until(END, || {
            let is_there = self.kubectl(&args).contains("serviceaccount/default");
            is_there.then_some(()).ok_or_else(|| "no account".to_owned())
        });
    }

    /// Waits until the agent has brought the pod network: ten seconds after its start.
    pub(crate) fn wait_for_network(&self) {
        until(END, || {
            let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            let ready = self.kubectl(&["get", "node", "node1", "-o", path]);
            (ready == "True").then_some(()).ok_or_else(|| format!("Ready is {ready:?}"))
        });
    }

    /// A word to the pods that wait for it.
    fn leave(&self, evidence: &str) {
        let path = self.dir.join("run/features/evidence").join(evidence);
        std::fs::write(path, "").expect("a file");
    }

    /// Ends the flood of lines.
    pub(crate) fn end_flood(&self) {
        self.leave("flood-stop");
    }

    /// Changes the resources of a running container.
    fn resize(&self, pod: &str, resources: &str) {
        let patch =
            format!(r#"{{"spec": {{"containers": [{{"name": "c", "resources": {resources}}}]}}}}"#);
        self.kubectl(&["patch", "pod", pod, "-n", NAMESPACE, "--subresource=resize", "-p", &patch]);
    }

    /// Deletes what is to be deleted while it runs, and changes what is to be changed.
    pub(crate) fn act(&self) {
        let map = r#"{"data": {"word": "new"}}"#;
        self.kubectl(&["patch", "configmap", "changing", "-n", NAMESPACE, "-p", map]);
        let secret = r#"{"stringData": {"word": "new"}}"#;
        self.kubectl(&["patch", "secret", "changing", "-n", NAMESPACE, "-p", secret]);
        let word = ["annotate", "pod", "changes", "-n", NAMESPACE, "--overwrite", "word=new"];
        self.kubectl(&word);
        let gate =
            r#"{"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}}"#;
        let pod =
            ["patch", "pod", "gate-open", "-n", NAMESPACE, "--subresource=status", "-p", gate];
        self.kubectl(&pod);
        self.resize("resized-cpu", r#"{"requests": {"cpu": "30m"}, "limits": {"cpu": "300m"}}"#);
        self.resize(
            "resized-memory",
            r#"{"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}}"#,
        );
        let image = "c=nobody:1.0";
        self.kubectl(&["set", "image", "-n", NAMESPACE, "pod/image-changed", image]);
        self.leave("flood-go");
        self.debug("looker", &["--target=c"]);
        self.debug("stranger", &[]);
        let args = ["delete", "pod", "-n", NAMESPACE, "--wait=false"];
        self.kubectl(&[&args[..], crate::DELETED].concat());
    }

    /// Adds a container to the pod that is looked into; it tells which program it sees as the first.
    fn debug(&self, name: &str, more: &[&str]) {
        let name = format!("--container={name}");
        let first = ["debug", "-n", NAMESPACE, "pod/debugged", "--image=busybox:1.36", &name];
        let script = "read -r first < /proc/1/cmdline; echo \"first=$first\"";
        self.kubectl(&[&first[..], more, &["--", "sh", "-c", script]].concat());
    }

    pub(crate) fn is_running(&self, pod: &str) -> bool {
        self.field(pod, "/status/phase") == "Running"
            && !self.field(pod, "/status/containerStatuses/0/state/running/startedAt").is_empty()
    }

    /// A value as text; empty where there is none. A member of a list is named by its number, or by its name.
    pub(crate) fn field(&self, pod: &str, pointer: &str) -> String {
        let parts = pointer.split('/').skip(1).filter(|part| !part.is_empty());
        let value = parts.fold(self.pods.get(pod), |value, part| match value? {
            Value::Array(list) => match part.parse::<usize>() {
                Ok(number) => list.get(number),
                Err(_) => list.iter().find(|one| one["name"] == part),
            },
            other => other.get(part.replace("~1", "/").as_str()),
        });
        match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// The status, for messages.
    pub(crate) fn status(&self, pod: &str) -> String {
        self.pods.get(pod).map_or_else(
            || "no such pod".to_owned(),
            |pod| {
                let text = pod["status"]["containerStatuses"].to_string();
                text.chars().take(1500).collect()
            },
        )
    }

    /// Reasons and messages.
    pub(crate) fn events(&self, pod: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.events
            .iter()
            .filter(|event| event["involvedObject"]["name"] == pod)
            .map(|event| (text(&event["reason"]), text(&event["message"])))
            .collect()
    }

    /// Lines that `pod/container` wrote, of all its attempts.
    pub(crate) fn log(&self, place: &str) -> Vec<String> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.log_dir(place))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.sort();
        let read = |path: &PathBuf| std::fs::read(path).unwrap_or_default();
        let text: Vec<u8> = files.iter().flat_map(read).collect();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.splitn(4, ' ').nth(3).map(str::to_owned))
            .collect()
    }

    /// Names and sizes of a container's logs.
    pub(crate) fn log_files(&self, place: &str) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(self.log_dir(place)).into_iter().flatten().flatten();
        let size = |entry: &std::fs::DirEntry| entry.metadata().map_or(0, |meta| meta.len());
        entries.map(|e| (e.file_name().to_string_lossy().into_owned(), size(&e))).collect()
    }

    /// A container's first log as it lies there.
    pub(crate) fn raw_log(&self, place: &str) -> String {
        std::fs::read_to_string(self.log_dir(place).join("0.log")).unwrap_or_default()
    }

    fn log_dir(&self, place: &str) -> PathBuf {
        let (pod, container) = place.split_once('/').expect("pod/container");
        let uid = self.field(pod, "/metadata/uid");
        self.dir.join(format!("var-log/pods/{NAMESPACE}_{pod}_{uid}/{container}"))
    }

    /// Lines of a file below /run/features, joined by blanks.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.dir.join("run/features").join(name);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().collect::<Vec<_>>().join(" ")
    }

    /// Runs a program in the node's namespaces; its output.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = Command::new("nsenter")
            .args(["-t", &self.init, "-m", "-n", "-p", "-u", "--"])
            .args(args)
            .output()
            .expect("nsenter runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A file of the pod's cgroup, or of its container's, in a version 1 hierarchy.
    pub(crate) fn cgroup(
        &self,
        place: &str,
        controller: &str,
        file: &str,
    ) -> Result<String, String> {
        let (pod, container) = place.split_once('/').unwrap_or((place, ""));
        let uid = self.field(pod, "/metadata/uid");
        let mut dir =
            PathBuf::from(format!("/sys/fs/cgroup/{controller}/{}/pod{uid}", self.cgroup));
        if !container.is_empty() {
            dir.push(self.container_id(pod, container)?);
        }
        let path = dir.join(file);
        let text = std::fs::read_to_string(&path);
        text.map(|text| text.trim().to_owned()).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn container_id(&self, pod: &str, container: &str) -> Result<String, String> {
        let list = self.pods.get(pod).and_then(|pod| pod.pointer("/status/containerStatuses"));
        let list = list.and_then(Value::as_array).ok_or("no container statuses")?;
        let own = list.iter().find(|one| one["name"] == container).ok_or("no such container")?;
        let id = own["containerID"].as_str().ok_or("no container yet")?;
        Ok(id.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// A file of /proc of the container's first process.
    pub(crate) fn proc(&self, place: &str, file: &str) -> Result<String, String> {
        let tasks = self.cgroup(place, "pids", "cgroup.procs")?;
        let pid = tasks.lines().next().ok_or("no process")?;
        // the ids are those of this machine
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        text.map(|text| text.trim().to_owned()).map_err(|error| error.to_string())
    }

    /// What ran the suite, for the document.
    pub(crate) fn runtime(&self) -> String {
        let path = "jsonpath={.items[0].status.nodeInfo.containerRuntimeVersion}";
        let version = self.kubectl(&["get", "nodes", "-o", path]).replace("://", " ");
        let has_v1 = Path::new("/sys/fs/cgroup/memory").exists();
        let groups = if has_v1 { "cgroup v1" } else { "cgroup v2" };
        format!("{}, {groups}", version.split(['~', '+']).next().unwrap_or_default())
    }

    /// Waits until nothing of any pod is left on the node.
    pub(crate) fn assert_nothing_is_left(&self) {
        until(END, || {
            let left = self.left();
            left.is_empty().then_some(()).ok_or_else(|| format!("left: {}", left.join(", ")))
        });
    }

    /// What there is of pods.
    pub(crate) fn left(&self) -> Vec<String> {
        let names = |dir: &Path| -> Vec<String> {
            let list = std::fs::read_dir(dir).into_iter().flatten().flatten();
            list.map(|entry| entry.path().display().to_string()).collect()
        };
        let mut left = names(&self.dir.join("var-lib-pernode/agent/pods"));
        left.extend(names(&self.dir.join("var-log/pods")));
        left.extend(names(&self.dir.join("var-log/containers")));
        for controller in ["memory", "cpu", "pids", "systemd", "unified"] {
            let dir = Path::new("/sys/fs/cgroup").join(controller).join(&self.cgroup);
            left.extend(names(&dir).into_iter().filter(|name| name.contains("/pod")));
        }
        let mounts = self.run(&["cat", "/proc/self/mountinfo"]);
        let ours = |line: &&str| {
            line.contains("/agent/pods/") || line.contains("/io.containerd.grpc.v1.cri/sandboxes/")
        };
        left.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        let processes = self.run(&["ps", "-e", "-o", "args="]);
        let shims = processes.lines().filter(|line| line.starts_with("containerd-shim"));
        left.extend(shims.map(str::to_owned));
        left
    }
}
