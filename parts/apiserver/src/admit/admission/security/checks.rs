//! The checks of the two levels, each with the words in which upstream refuses.

mod restricted;

use super::{Bar, Level, Version};
use crate::admit::json::Json;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a pod does that its level forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// In a few words.
    pub(super) reason: String,
    /// Where.
    pub(super) detail: String,
}

/// A pod (or a template), and by the rules of which version it is judged.
struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    version: Version,
}

type Check = fn(&Pod<'_>) -> Option<Fault>;

/// Checks of the baseline, in upstream's order. Those marked `true` give way to a stricter one when the level is
/// restricted.
const BASELINE: &[(Check, bool)] = &[
    (app_armor, false),
    (capabilities_baseline, true),
    (host_namespaces, false),
    (host_path_volumes, true),
    (host_ports, false),
    (host_probes, false),
    (privileged, false),
    (proc_mount, false),
    (se_linux, false),
    (seccomp_baseline, true),
    (sysctls, false),
    (windows_host_process, false),
];

/// All faults of a pod against a level.
pub(super) fn faults(bar: Bar, metadata: &Value, spec: &Value) -> Vec<Fault> {
    let pod = Pod { metadata, spec, version: bar.version };
    let strict = bar.level == Level::Restricted;
    if bar.level == Level::Privileged {
        return Vec::new();
    }
    let baseline = BASELINE.iter().filter(|(_, gives_way)| !(strict && *gives_way));
    let added = restricted::CHECKS.iter().filter(|_| strict);
    baseline.map(|(check, _)| check).chain(added).filter_map(|check| check(&pod)).collect()
}

impl Pod<'_> {
    /// Whether the rules are at least those of 1.`minor`.
    fn since(&self, minor: u32) -> bool {
        self.version.is_none_or(|version| version >= minor)
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|list| self.spec.list(list))
    }

    /// Names of the containers of which `bad` holds.
    fn named(&self, bad: impl Fn(&Value) -> bool) -> Vec<&str> {
        self.containers().filter(|one| bad(one)).map(|one| one.text("name")).collect()
    }

    /// `security` is that of the pod or of a container.
    fn windows(&self) -> bool {
        self.since(25) && self.spec.at("os").text("name") == "windows"
    }

    /// Users of a pod in a user namespace of its own are nobody outside of it.
    fn has_own_users(&self) -> bool {
        self.since(35) && self.spec.at("hostUsers") == &Value::Bool(false)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a check ends with")]
fn fault(reason: &str, detail: String) -> Option<Fault> {
    Some(Fault { reason: reason.to_owned(), detail })
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`.
fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> =
        items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    items.join(", ")
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod`, the containers, or both.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

fn security(of: &Value) -> &Value {
    of.at("securityContext")
}

fn app_armor(pod: &Pod<'_>) -> Option<Fault> {
    let mut values: BTreeSet<&str> = BTreeSet::new();
    let bad = |of: &Value| {
        let profile = security(of).at("appArmorProfile");
        profile.is_object() && !matches!(profile.text("type"), "RuntimeDefault" | "Localhost")
    };
    let kind = |of: &'_ Value| security(of).at("appArmorProfile").text("type").to_owned();
    let whole = bad(pod.spec);
    let kinds: Vec<String> =
        std::iter::once(pod.spec).chain(pod.containers()).filter(|of| bad(of)).map(kind).collect();
    values.extend(kinds.iter().map(String::as_str));
    let mut who: Vec<String> = setters(whole, &pod.named(bad)).into_iter().collect();
    let mut notes: Vec<String> = pod
        .metadata
        .entries("annotations")
        .into_iter()
        .filter(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            key.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && !value.is_empty()
                && value != "runtime/default"
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or_default()))
        .collect();
    notes.sort();
    if !notes.is_empty() {
        who.push(plural("annotation", "annotations", notes.len()).to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let all: Vec<&str> = values.into_iter().chain(notes.iter().map(String::as_str)).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", all.len());
    let who = who.join(" and ");
    fault(reason, format!("{who} must not set AppArmor profile type to {}", quoted(all)))
}

/// Capabilities that a container adds beside the allowed ones.
fn added<'a>(container: &'a Value, allowed: &[&str]) -> Vec<&'a str> {
    let list = security(container).at("capabilities").list("add");
    list.iter().filter_map(Value::as_str).filter(|name| !allowed.contains(name)).collect()
}

fn capabilities_baseline(pod: &Pod<'_>) -> Option<Fault> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let names = pod.named(|container| !added(container, &ALLOWED).is_empty());
    let all: BTreeSet<&str> = pod.containers().flat_map(|one| added(one, &ALLOWED)).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(&names),
        quoted(all)
    );
    fault("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Fault> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|key| pod.spec.flag(key))
        .map(|key| format!("{key}=true"))
        .collect();
    if set.is_empty() { None } else { fault("host namespaces", set.join(", ")) }
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Fault> {
    let volumes = pod.spec.list("volumes").iter();
    let names: Vec<&str> =
        volumes.filter(|volume| volume.has("hostPath")).map(|volume| volume.text("name")).collect();
    if names.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", names.len());
    fault("hostPath volumes", format!("{word} {}", quoted(names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Fault> {
    let ports = |container: &Value| -> Vec<String> {
        let ports = container.list("ports").iter().filter_map(|port| port.int("hostPort"));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let names = pod.named(|container| !ports(container).is_empty());
    let all: BTreeSet<String> = pod.containers().flat_map(ports).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", all.len()),
        all.into_iter().collect::<Vec<_>>().join(", ")
    );
    fault("hostPort", detail)
}

fn host_probes(pod: &Pod<'_>) -> Option<Fault> {
    if !pod.since(34) {
        return None;
    }
    let hosts = |container: &Value| -> Vec<String> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
        let handlers = ["postStart", "preStop"].map(|key| container.at("lifecycle").at(key));
        let all = probes.iter().map(|key| container.at(key)).chain(handlers);
        all.flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| handler.at(kind).text("host")))
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut names = pod.named(|container| !hosts(container).is_empty());
    names.sort_unstable();
    let all: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", all.len()),
        quoted(all)
    );
    fault("probe or lifecycle host", detail)
}

fn privileged(pod: &Pod<'_>) -> Option<Fault> {
    let names = pod.named(|container| security(container).flag("privileged"));
    if names.is_empty() {
        return None;
    }
    fault(
        "privileged",
        format!("{} must not set securityContext.privileged=true", containers(&names)),
    )
}

fn proc_mount(pod: &Pod<'_>) -> Option<Fault> {
    if pod.has_own_users() {
        return None;
    }
    let bad = |container: &Value| !matches!(security(container).text("procMount"), "" | "Default");
    let names = pod.named(bad);
    let all: BTreeSet<&str> = pod
        .containers()
        .filter(|one| bad(one))
        .map(|one| security(one).text("procMount"))
        .collect();
    if names.is_empty() {
        return None;
    }
    let names = containers(&names);
    fault("procMount", format!("{names} must not set securityContext.procMount to {}", quoted(all)))
}

fn se_linux(pod: &Pod<'_>) -> Option<Fault> {
    let engine = pod.since(31);
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (engine && kind == "container_engine_t")
    };
    let options = |of: &'_ Value| security(of).at("seLinuxOptions").clone();
    let bad = |of: &Value| {
        let options = options(of);
        !allowed(options.text("type"))
            || !options.text("user").is_empty()
            || !options.text("role").is_empty()
    };
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    let all: Vec<Value> = std::iter::once(pod.spec).chain(pod.containers()).map(options).collect();
    let kinds: BTreeSet<&str> =
        all.iter().map(|options| options.text("type")).filter(|kind| !allowed(kind)).collect();
    let mut data = Vec::new();
    if !kinds.is_empty() {
        let word = plural("type", "types", kinds.len());
        data.push(format!("{word} {}", quoted(kinds)));
    }
    for key in ["user", "role"] {
        if all.iter().any(|options| !options.text(key).is_empty()) {
            data.push(format!("{key} may not be set"));
        }
    }
    let data = data.join("; ");
    fault("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {data}"))
}

/// The kind of seccomp profile that is set; none where nothing is said.
fn seccomp(of: &Value) -> Option<&str> {
    let profile = security(of).at("seccompProfile");
    profile.is_object().then(|| profile.text("type"))
}

fn seccomp_explicit(pod: &Pod<'_>) -> Option<Fault> {
    let bad = |of: &Value| seccomp(of).is_some_and(|kind| !good_seccomp(kind));
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    let values: BTreeSet<&str> = std::iter::once(pod.spec)
        .chain(pod.containers())
        .filter_map(seccomp)
        .filter(|kind| !good_seccomp(kind))
        .collect();
    let values = quoted(values);
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
    fault("seccompProfile", detail)
}

fn good_seccomp(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<Fault> {
    if pod.since(19) {
        return seccomp_explicit(pod);
    }
    let prefix = "container.seccomp.security.alpha.kubernetes.io/";
    let of_containers = pod.containers().map(|one| format!("{prefix}{}", one.text("name")));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned());
    let annotations = pod.metadata.at("annotations");
    let bad: BTreeSet<String> = keys
        .chain(of_containers)
        .filter_map(|key| {
            let value = annotations.at(&key).as_str()?;
            let good = matches!(value, "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            (!good).then(|| format!("{key}={value:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    let list: Vec<String> = bad.into_iter().collect();
    fault("seccompProfile", format!("forbidden {word} {}", list.join(", ")))
}

fn sysctls(pod: &Pod<'_>) -> Option<Fault> {
    /// Safe ones, with the minor version since which they are.
    const SAFE: [(&str, u32); 12] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let safe = |name: &str| SAFE.iter().any(|(known, since)| *known == name && pod.since(*since));
    let bad: Vec<&str> = security(pod.spec)
        .list("sysctls")
        .iter()
        .map(|one| one.text("name"))
        .filter(|name| !safe(name))
        .collect();
    if bad.is_empty() { None } else { fault("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Fault> {
    let bad = |of: &Value| security(of).at("windowsOptions").flag("hostProcess");
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    fault("hostProcess", detail)
}
