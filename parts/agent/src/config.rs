//! From a pod to what the runtime is told. Pure.

use crate::cri::v1;
use crate::env::{self, Place, Sources};
use crate::resources::{self, Kind};
use crate::words;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSpec, SELinuxOptions, SeccompProfile, SecurityContext,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest host name that the kernel takes.
const HOST_NAME_MAX: usize = 63;
/// Longest host name in full that the kernel takes (`setHostnameAsFQDN`).
const KERNEL_NAME_MAX: usize = 64;
/// Domain of the cluster (upstream's default).
const CLUSTER_DOMAIN: &str = "cluster.local";
/// Capabilities hide these paths in unprivileged containers; the same list as every runtime's default.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// And make these read-only.
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the node adds to a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    /// The node's name.
    pub(crate) node: String,
    /// The pod's cgroup, as the runtime wants it.
    pub(crate) cgroup_parent: String,
    /// Folder of all pods' logs, `/var/log/pods`.
    pub(crate) logs: PathBuf,
    /// Folder of seccomp profiles.
    pub(crate) seccomp: PathBuf,
    /// The node's memory in bytes.
    pub(crate) memory: u64,
    /// The node's name servers.
    pub(crate) resolv: v1::DnsConfig,
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

/// The folder of a pod's logs below `logs`.
pub(crate) fn log_dir(logs: &Path, pod: &Pod) -> PathBuf {
    let meta = &pod.metadata;
    let (namespace, name) = (text(meta.namespace.as_ref()), text(meta.name.as_ref()));
    logs.join(format!("{namespace}_{name}_{}", text(meta.uid.as_ref())))
}

/// Labels of everything that belongs to a pod.
pub(crate) fn labels(node: &str, pod: &Pod) -> BTreeMap<String, String> {
    let meta = &pod.metadata;
    [
        (words::OUR_NODE, node),
        (words::POD_NAME, text(meta.name.as_ref())),
        (words::POD_NAMESPACE, text(meta.namespace.as_ref())),
        (words::POD_UID, text(meta.uid.as_ref())),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The host name inside the pod.
pub(crate) fn host_name(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let chosen = spec
        .and_then(|spec| spec.hostname_override.as_ref().or(spec.hostname.as_ref()))
        .filter(|name| !name.is_empty());
    let name = text(chosen.or(pod.metadata.name.as_ref()));
    let cut = &name[..name.len().min(HOST_NAME_MAX)];
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's full name, where it has a subdomain.
pub(crate) fn full_name(pod: &Pod) -> Option<String> {
    let below = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let space = pod.metadata.namespace.as_deref().unwrap_or("default");
    Some(format!("{}.{below}.{space}.svc.{CLUSTER_DOMAIN}", host_name(pod)))
}

/// A pod that wants users of its own is not started with those of the node. `Err` is for the user.
pub(crate) fn users(pod: &Pod) -> Result<(), String> {
    match pod.spec.as_ref().and_then(|spec| spec.host_users) {
        Some(false) => {
            Err("users of the pod's own (hostUsers: false) are not supported by this node"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// What the kernel is told as the pod's host name; `Err` is for the user.
pub(crate) fn kernel_name(pod: &Pod) -> Result<String, String> {
    let is_full = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let Some(full) = full_name(pod).filter(|_| is_full) else { return Ok(host_name(pod)) };
    if full.len() <= KERNEL_NAME_MAX {
        return Ok(full);
    }
    Err(format!(
        "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {full} is too long ({KERNEL_NAME_MAX} \
         characters is the max, {} characters requested)",
        full.len()
    ))
}

fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let node = v1::NamespaceMode::Node as i32;
    let own = |host: Option<bool>, own: v1::NamespaceMode| {
        if host == Some(true) { node } else { own as i32 }
    };
    let pid = if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: own(spec.host_network, v1::NamespaceMode::Pod),
        pid: own(spec.host_pid, pid),
        ipc: own(spec.host_ipc, v1::NamespaceMode::Pod),
        target_id: String::new(),
    }
}

fn int(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

fn seccomp(profile: Option<&SeccompProfile>, dir: &Path) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, path) = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => (ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let name = profile.and_then(|profile| profile.localhost_profile.as_deref());
            let path = dir.join(name.unwrap_or_default());
            (ProfileType::Localhost, path.to_string_lossy().into_owned())
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: path }
}

/// What the runtime is told of the whole pod.
pub(crate) fn sandbox(pod: &Pod, attempt: u32, setting: &Setting) -> v1::PodSandboxConfig {
    let meta = &pod.metadata;
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let security = spec.security_context.clone().unwrap_or_default();
    let is_privileged =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|container| {
            container.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
        });
    let groups = security.supplemental_groups.iter().flatten().chain(&security.fs_group);
    let context = v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: int(security.run_as_user),
        run_as_group: int(security.run_as_user.and(security.run_as_group)),
        supplemental_groups: groups.copied().collect(),
        privileged: is_privileged,
        seccomp: Some(v1::SecurityProfile::default()),
        ..v1::LinuxSandboxSecurityContext::default()
    };
    let is_host_network = spec.host_network == Some(true);
    let sysctls = security.sysctls.iter().flatten();
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.insert(words::GRACE.to_owned(), grace(spec).to_string());
    let mut labels = labels(&setting.node, pod);
    for (key, value) in meta.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: text(meta.name.as_ref()).to_owned(),
            uid: text(meta.uid.as_ref()).to_owned(),
            namespace: text(meta.namespace.as_ref()).to_owned(),
            attempt,
        }),
        hostname: if is_host_network {
            String::new()
        } else {
            // a name that is too long was told before the sandbox is made
            kernel_name(pod).unwrap_or_default()
        },
        log_directory: log_dir(&setting.logs, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns(spec, &setting.resolv)),
        port_mappings: if is_host_network { Vec::new() } else { ports(spec) },
        labels,
        annotations,
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: setting.cgroup_parent.clone(),
            security_context: Some(context),
            sysctls: sysctls.map(|one| (sysctl_name(&one.name), one.value.clone())).collect(),
            ..v1::LinuxPodSandboxConfig::default()
        }),
    }
}

/// A kernel setting's name with dots between its parts, as the runtime wants it: whichever of `.` and `/` comes first is the
/// separator, and the other stands for itself inside a part.
pub(crate) fn sysctl_name(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|at| name.as_bytes()[at] == b'.') {
        return name.to_owned();
    }
    let swapped = name.chars().map(|letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    });
    swapped.collect()
}

fn grace(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds.unwrap_or(30)
}

fn ports(spec: &PodSpec) -> Vec<v1::PortMapping> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| crate::world::is_sidecar(c));
    let all = spec.containers.iter().chain(sidecars);
    all.flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.host_port.is_some_and(|port| port > 0))
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// Name servers of a pod. There is no cluster DNS yet, so `ClusterFirst` behaves as `Default` (upstream does the same
/// and says MissingClusterDNS).
fn dns(spec: &PodSpec, host: &v1::DnsConfig) -> v1::DnsConfig {
    let is_own = spec.dns_policy.as_deref() == Some("None");
    let mut dns = if is_own { v1::DnsConfig::default() } else { host.clone() };
    if let Some(more) = &spec.dns_config {
        let add = |list: &mut Vec<String>, more: Vec<String>| {
            for one in more {
                if !list.contains(&one) {
                    list.push(one);
                }
            }
        };
        add(&mut dns.servers, more.nameservers.clone().unwrap_or_default());
        add(&mut dns.searches, more.searches.clone().unwrap_or_default());
        let options = more.options.iter().flatten().filter_map(|option| {
            let name = option.name.clone()?;
            Some(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            })
        });
        add(&mut dns.options, options.collect());
    }
    dns
}

/// Reads `resolv.conf`.
pub(crate) fn resolv(text: &str) -> v1::DnsConfig {
    let mut dns = v1::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    dns
}

/// What one container needs beside the pod.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) attempt: u32,
    /// What the runtime calls the image.
    pub(crate) image: String,
    pub(crate) mounts: Vec<v1::Mount>,
    pub(crate) sources: &'a Sources,
    pub(crate) place: &'a Place,
    /// File on the node that takes the container's last words.
    pub(crate) message_file: String,
    /// Whom the image wants to run as.
    pub(crate) image_user: ImageUser,
}

/// The user that an image names.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageUser {
    /// By number.
    pub(crate) uid: Option<i64>,
    /// By name.
    pub(crate) name: String,
}

/// What the runtime is told of one container. `Err` is for the user (CreateContainerConfigError).
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    parts: Parts<'_>,
    setting: &Setting,
) -> Result<v1::ContainerConfig, String> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let mut context = security(spec, container, setting, &parts.image_user)?;
    context.apparmor = apparmor(pod, container);
    let variables = env::environment(pod, container, parts.sources, parts.place)?;
    let value = |name: &str| {
        variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| env::expand(text, value)).collect()
    };
    let (command, args) = (expand(&container.command), expand(&container.args));
    let mut envs: Vec<v1::KeyValue> = Vec::with_capacity(variables.len());
    envs.extend(
        variables
            .iter()
            .map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() }),
    );
    let mut labels = labels(&setting.node, pod);
    labels.insert(words::CONTAINER_NAME.to_owned(), container.name.clone());
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    let annotations = [
        (words::RESTART_COUNT, parts.attempt.to_string()),
        (words::MESSAGE_PATH, path.to_owned()),
        (words::MESSAGE_POLICY, policy.to_owned()),
        (words::MESSAGE_FILE, parts.message_file),
        (words::IMAGE, container.image.clone().unwrap_or_default()),
        (words::RESOURCES, serde_json::to_string(&container.resources).unwrap_or_default()),
        (words::GRACE, grace(spec).to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: container.name.clone(),
            attempt: parts.attempt,
        }),
        image: Some(v1::ImageSpec {
            image: parts.image,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..v1::ImageSpec::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs,
        mounts: parts.mounts,
        labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, parts.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(limits(spec, container, setting.memory)),
            security_context: Some(context),
        }),
        ..v1::ContainerConfig::default()
    })
}

/// Lets a container see the processes of another, where its processes would else be alone.
pub(crate) fn join_processes(config: &mut v1::ContainerConfig, target: String) {
    let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
    if let Some(names) = security.and_then(|security| security.namespace_options.as_mut())
        && names.pid() == v1::NamespaceMode::Container
    {
        names.set_pid(v1::NamespaceMode::Target);
        names.target_id = target;
    }
}

/// What the runtime is told of a container's resources.
pub(crate) fn limits(
    spec: &PodSpec,
    container: &Container,
    memory: u64,
) -> v1::LinuxContainerResources {
    let cpu = resources::limit(spec, container, "cpu");
    let request = match resources::milli(container, "cpu", Kind::Request) {
        0 => cpu,
        request => request,
    };
    let quota = resources::quota(cpu);
    let limit = resources::limit(spec, container, "memory") / 1000;
    v1::LinuxContainerResources {
        cpu_period: if quota > 0 { resources::CPU_PERIOD } else { 0 },
        cpu_quota: quota,
        cpu_shares: resources::shares(request),
        memory_limit_in_bytes: i64::try_from(limit).unwrap_or(i64::MAX),
        oom_score_adj: resources::oom_score(spec, container, memory),
        ..v1::LinuxContainerResources::default()
    }
}

fn apparmor(pod: &Pod, container: &Container) -> Option<v1::SecurityProfile> {
    use v1::security_profile::ProfileType;
    let wanted = crate::admission::apparmor(pod, container)?;
    let kind = match wanted.type_.as_str() {
        "Localhost" => ProfileType::Localhost,
        "Unconfined" => ProfileType::Unconfined,
        _ => ProfileType::RuntimeDefault,
    };
    let localhost_ref = wanted.localhost_profile.unwrap_or_default();
    Some(v1::SecurityProfile { profile_type: kind as i32, localhost_ref })
}

/// Labels of SELinux, field by field the container's own or the pod's.
fn selinux(
    pod: Option<&SELinuxOptions>,
    own: Option<&SELinuxOptions>,
) -> Option<v1::SeLinuxOption> {
    if pod.is_none() && own.is_none() {
        return None;
    }
    let pick = |field: fn(&SELinuxOptions) -> &Option<String>| {
        own.and_then(|own| field(own).clone()).or_else(|| field(pod?).clone()).unwrap_or_default()
    };
    Some(v1::SeLinuxOption {
        user: pick(|one| &one.user),
        role: pick(|one| &one.role),
        r#type: pick(|one| &one.type_),
        level: pick(|one| &one.level),
    })
}

fn security(
    spec: &PodSpec,
    container: &Container,
    setting: &Setting,
    image: &ImageUser,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let is_privileged = own.privileged == Some(true);
    let user = own.run_as_user.or(pod.run_as_user);
    let group = own.run_as_group.or(pod.run_as_group);
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true) {
        if user == Some(0) {
            return Err("container's runAsUser breaks non-root policy".to_owned());
        }
        let is_roots = image.uid == Some(0) || (image.uid.is_none() && image.name.is_empty());
        if user.is_none() && is_roots {
            return Err("container has runAsNonRoot and image will run as root".to_owned());
        }
        if user.is_none() && image.uid.is_none() && !image.name.is_empty() {
            return Err(format!(
                "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
                image.name
            ));
        }
    }
    let user = user.or(image.uid);
    let name = if user.is_none() { image.name.clone() } else { String::new() };
    let groups = pod.supplemental_groups.iter().flatten().chain(&pod.fs_group);
    let is_unmasked = is_privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if is_unmasked { Vec::new() } else { list.iter().map(|&path| path.to_owned()).collect() }
    };
    let profile = own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: Some(capabilities(own.capabilities.as_ref())),
        privileged: is_privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: int(user),
        run_as_username: name,
        run_as_group: int(group),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups.copied().collect(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(profile, &setting.seccomp)),
        selinux_options: selinux(pod.se_linux_options.as_ref(), own.se_linux_options.as_ref()),
        ..v1::LinuxContainerSecurityContext::default()
    })
}

fn capabilities(wanted: Option<&Capabilities>) -> v1::Capability {
    let list = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    v1::Capability {
        add_capabilities: list(wanted.and_then(|wanted| wanted.add.as_ref())),
        drop_capabilities: list(wanted.and_then(|wanted| wanted.drop.as_ref())),
    }
}

#[cfg(test)]
mod tests;
