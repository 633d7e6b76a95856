//! The table: a feature, its manifest, what is asserted, and its negative twin.

use crate::node::Node;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Features in use in published DaemonSets, the most frequent first. Each has at least one row.
pub(crate) const USED: &[&str] = &[
    "hostPath",
    "privileged",
    "capabilities",
    "readOnlyRootFilesystem",
    "allowPrivilegeEscalation",
    "env fieldRef",
    "env $(VAR)",
    "env configMapKeyRef",
    "env envFrom",
    "env resourceFieldRef",
    "env secretKeyRef",
    "serviceAccountName",
    "hostNetwork",
    "requests and limits",
    "readOnly mounts",
    "configMap volumes",
    "terminationGracePeriodSeconds",
    "initContainers",
    "several containers",
    "livenessProbe",
    "readinessProbe",
    "hostPID",
    "pod securityContext",
    "mountPropagation",
    "dnsPolicy",
    "preStop",
    "postStart",
    "emptyDir",
    "secret volumes",
    "downwardAPI volumes",
    "subPath",
    "hostPort",
    "projected volumes",
    "seccompProfile",
    "seLinuxOptions",
    "AppArmor annotations",
    "startupProbe",
    "native sidecars",
    "shareProcessNamespace",
    "names",
    "ends of containers",
    "images",
    "admission on the node",
    "container logs",
    "node status",
    "node figures",
    "runtimeClassName",
    "hostIPC",
    "isolation",
    "ephemeral containers",
    "in-place resize",
    "pod-level resources",
    "env of services",
    "pod network",
];

/// Kinds and fields of some of those, as manifests spell them: each is in a manifest of one of the feature's rows.
pub(crate) const SPELLED: &[(&str, &[&str])] = &[
    (
        "hostPath",
        &[
            "hostPath: {path: /",
            "type: DirectoryOrCreate}",
            "type: Directory}",
            "type: FileOrCreate}",
            "type: File}",
            "type: Socket}",
        ],
    ),
    ("configMap volumes", &["items:", "defaultMode:", "optional: true"]),
    ("terminationGracePeriodSeconds", &["terminationGracePeriodSeconds: 1200"]),
    (
        "readinessProbe",
        &[
            "httpGet:",
            "httpHeaders:",
            "exec:",
            "tcpSocket:",
            "grpc:",
            "host: ",
            "port: web",
            "port: raw",
        ],
    ),
    ("livenessProbe", &["httpGet:", "exec:"]),
    ("mountPropagation", &["Bidirectional", "HostToContainer"]),
    ("dnsPolicy", &["ClusterFirstWithHostNet"]),
    ("emptyDir", &["medium: Memory", "sizeLimit:"]),
    ("subPath", &["subPath:", "subPathExpr:"]),
    ("projected volumes", &["downwardAPI", "configMap", "secret"]),
    ("serviceAccountName", &["serviceAccountToken"]),
    ("AppArmor annotations", &["container.apparmor.security.beta.kubernetes.io/"]),
    ("native sidecars", &["restartPolicy: Always"]),
    ("postStart", &["exec:"]),
    ("preStop", &["exec:", "sleep:"]),
];

/// So many rows there are at least.
pub(crate) const ROWS_MIN: usize = 100;

/// What is seen of a pod or its node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The container (`pod/container`) printed just this line.
    Says(&'static str, &'static str),
    /// The container printed a line with this in it.
    Tells(&'static str, &'static str),
    /// A value of the object `pod`, by JSON pointer; `""` is absence.
    Shows(&'static str, &'static str, &'static str),
    /// An event of the pod: reason, and a part of its message.
    Event(&'static str, &'static str, &'static str),
    /// A file below /run/features of the node has exactly these lines, joined by blanks.
    File(&'static str, &'static str),
    /// All of these.
    All(&'static [Expect]),
    /// A question to the kernel.
    Asks(fn(&Node) -> Result<(), String>),
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) feature: &'static str,
    /// File of `examples/features`, without its ending.
    pub(crate) manifest: &'static str,
    /// IDs of the specification.
    pub(crate) spec: &'static str,
    pub(crate) claim: &'static str,
    pub(crate) holds: Expect,
    /// The negative twin.
    pub(crate) twin: Expect,
}

/// A row.
pub(crate) const fn row(
    feature: &'static str,
    manifest: &'static str,
    spec: &'static str,
    claim: &'static str,
    holds: Expect,
    twin: Expect,
) -> Row {
    Row { feature, manifest, spec, claim, holds, twin }
}

impl Row {
    /// `Err` says what was seen instead.
    pub(crate) fn ask(&self, node: &Node) -> Result<(), String> {
        self.holds.ask(node)?;
        self.twin.ask(node).map_err(|problem| format!("twin: {problem}"))
    }

    /// Its line of the document, up to the runtime.
    pub(crate) fn line(&self) -> String {
        let Self { feature, manifest, spec, claim, .. } = self;
        format!(
            "| {feature} | `examples/features/{manifest}.yaml` | {spec} | {} |",
            claim.replace('|', "\\|")
        )
    }
}

impl Expect {
    fn ask(&self, node: &Node) -> Result<(), String> {
        match *self {
            Self::Says(place, line) => {
                let log = node.log(place);
                let is_said = log.iter().any(|said| said.trim_end() == line);
                is_said
                    .then_some(())
                    .ok_or_else(|| format!("{place} does not say {line:?} but {log:?}"))
            }
            Self::Tells(place, part) => {
                let log = node.log(place);
                let is_said = log.iter().any(|said| said.contains(part));
                is_said
                    .then_some(())
                    .ok_or_else(|| format!("{place} does not tell {part:?} but {log:?}"))
            }
            Self::Shows(pod, pointer, wanted) => {
                let found = node.field(pod, pointer);
                (found == wanted).then_some(()).ok_or_else(|| {
                    format!("{pod}{pointer} is {found:?}, not {wanted:?}; {}", node.status(pod))
                })
            }
            Self::Event(pod, reason, part) => {
                let events = node.events(pod);
                let is_told = events.iter().any(|(own, text)| own == reason && text.contains(part));
                is_told
                    .then_some(())
                    .ok_or_else(|| format!("{pod} has no event {reason} with {part:?}: {events:?}"))
            }
            Self::File(name, wanted) => {
                let found = node.file(name);
                (found == wanted)
                    .then_some(())
                    .ok_or_else(|| format!("{name} is {found:?}, not {wanted:?}"))
            }
            Self::All(list) => list.iter().try_for_each(|one| one.ask(node)),
            Self::Asks(question) => question(node),
        }
    }
}

/// Where the document lies.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/pod-features.md")
}

/// The document.
pub(crate) fn document(rows: &[Row], runtime: &str, holds: impl Fn(usize) -> bool) -> String {
    let mut text = "# Pod features, as checked\n\nWritten by `PERNODE_WRITE_DOCS=1 cargo nextest run -p app --test features`: \
        every manifest is applied to one node with a real runtime, and each check is asserted from inside the containers or \
        from the kernel, together with a negative twin (the same question where the answer must be the opposite). IDs are \
        those of the specification.\n\n| feature | manifest | spec | check | runtime | last result |\n| --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for (index, row) in rows.iter().enumerate() {
        let result = if holds(index) { "holds" } else { "does not hold" };
        let _ = writeln!(text, "{} {runtime} | {result} |", row.line());
    }
    text
}
