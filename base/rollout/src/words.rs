//! Event reasons, labels and annotations, exactly upstream's strings.

/// Label on pods and revisions: the hash of the template they came from.
pub const HASH_LABEL: &str = "controller-revision-hash";
/// Deprecated label on pods: the template generation they came from (spec B21).
pub const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";
/// Deprecated annotation on every DaemonSet: its template generation (spec A23).
pub const TEMPLATE_GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// Annotation on a DaemonSet: `upstream` restores upstream's behaviour where ours differs (docs/differences.md).
pub const COMPAT_ANNOTATION: &str = "pernode.dev/compat";
/// Its one value.
pub const COMPAT_UPSTREAM: &str = "upstream";
/// Annotation on a DaemonSet: how long after it received the new pod a node that goes down counts against
/// `maxUnavailable`, such as `5m`.
pub const BLAME_WINDOW_ANNOTATION: &str = "pernode.dev/blame-window";

/// Condition: enough nodes have an available pod.
pub const AVAILABLE: &str = "Available";
/// Condition: something keeps pods from being available.
pub const DEGRADED: &str = "Degraded";
/// Condition: the rollout moves, or is complete.
pub const PROGRESSING: &str = "Progressing";

/// Group and version of DaemonSets and ControllerRevisions.
pub const API_VERSION: &str = "apps/v1";
/// Kind in owner references.
pub const KIND: &str = "DaemonSet";

/// A pod was created.
pub const SUCCESSFUL_CREATE: &str = "SuccessfulCreate";
/// A pod could not be created.
pub const FAILED_CREATE: &str = "FailedCreate";
/// A pod was deleted.
pub const SUCCESSFUL_DELETE: &str = "SuccessfulDelete";
/// A pod could not be deleted.
pub const FAILED_DELETE: &str = "FailedDelete";
/// A pod that failed was found.
pub const FAILED_DAEMON_POD: &str = "FailedDaemonPod";
/// A pod that ran to completion was found.
pub const SUCCEEDED_DAEMON_POD: &str = "SucceededDaemonPod";
/// The selector is empty.
pub const SELECTING_ALL: &str = "SelectingAll";

/// The tolerations added to every daemon pod, in this order: key, effect, and whether only pods on the
/// host's network get it (spec 2.2). All have the operator Exists, no value, no seconds.
pub const AUTOMATIC_TOLERATIONS: &[(&str, &str, bool)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute", false),
    ("node.kubernetes.io/unreachable", "NoExecute", false),
    ("node.kubernetes.io/disk-pressure", "NoSchedule", false),
    ("node.kubernetes.io/memory-pressure", "NoSchedule", false),
    ("node.kubernetes.io/pid-pressure", "NoSchedule", false),
    ("node.kubernetes.io/unschedulable", "NoSchedule", false),
    ("node.kubernetes.io/network-unavailable", "NoSchedule", true),
];

/// What an event says, without the object it is about: the DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub is_warning: bool,
    /// One of the reasons above.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Event {
    /// `Created pod: x`.
    pub fn created(pod: &str) -> Self {
        Self::normal(SUCCESSFUL_CREATE, format!("Created pod: {pod}"))
    }

    /// `Error creating: <the API's message>`.
    pub fn not_created(why: &str) -> Self {
        Self::warning(FAILED_CREATE, format!("Error creating: {why}"))
    }

    /// `Deleted pod: x`.
    pub fn deleted(pod: &str) -> Self {
        Self::normal(SUCCESSFUL_DELETE, format!("Deleted pod: {pod}"))
    }

    /// `Error deleting: <the API's message>`.
    pub fn not_deleted(why: &str) -> Self {
        Self::warning(FAILED_DELETE, format!("Error deleting: {why}"))
    }

    pub(crate) fn failed(namespace: &str, pod: &str, node: &str) -> Self {
        Self::warning(
            FAILED_DAEMON_POD,
            format!(
                "Found failed daemon pod {namespace}/{pod} on node {node}, will try to kill it"
            ),
        )
    }

    pub(crate) fn succeeded(namespace: &str, pod: &str, node: &str) -> Self {
        let message = format!(
            "Found succeeded daemon pod {namespace}/{pod} on node {node}, will try to delete it"
        );
        Self::normal(SUCCEEDED_DAEMON_POD, message)
    }

    pub(crate) fn selecting_all() -> Self {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        Self::warning(SELECTING_ALL, message.to_owned())
    }

    pub(crate) fn normal(reason: &'static str, message: String) -> Self {
        Self { is_warning: false, reason, message }
    }

    pub(crate) fn warning(reason: &'static str, message: String) -> Self {
        Self { is_warning: true, reason, message }
    }
}
