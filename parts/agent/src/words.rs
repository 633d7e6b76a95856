//! Reasons, labels and other words that users and tools match on. They are upstream's where upstream has one.

/// Reason of Ready=True (spec E65).
pub(crate) const KUBELET_READY: &str = "KubeletReady";
/// Reason of Ready=False (spec E65).
pub(crate) const KUBELET_NOT_READY: &str = "KubeletNotReady";

/// User of a node, before its name.
pub(crate) const NODE_USER_PREFIX: &str = "system:node:";
/// Group of all nodes.
pub(crate) const NODES_GROUP: &str = "system:nodes";
/// Signer of node certificates.
pub(crate) const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// Signer of the certificates that nodes' ports show.
pub(crate) const SIGNER_SERVING: &str = "kubernetes.io/kubelet-serving";

/// Label on sandboxes and containers: pod name.
pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label on sandboxes and containers: pod namespace.
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label on sandboxes and containers: pod uid.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label on containers: container name.
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Label on sandboxes and containers: the node whose agent made them. Others are never touched.
pub(crate) const OUR_NODE: &str = "pernode.dev/node";
/// Annotation on containers: how often the container was started before.
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation on containers: where the last words are in the container.
pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation on containers: `File` or `FallbackToLogsOnError`.
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation on containers: the last words' file on the node.
pub(crate) const MESSAGE_FILE: &str = "pernode.dev/termination-message-file";
/// Annotation on containers: the image that the pod named when it was made.
pub(crate) const IMAGE: &str = "pernode.dev/image";
/// Annotation on containers: the resources that the pod named when it was made, as JSON.
pub(crate) const RESOURCES: &str = "pernode.dev/resources";
/// Annotation on containers and sandboxes: grace period of the pod, in seconds; used when the pod is no longer known.
pub(crate) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Annotation on pods, before a container's name: its AppArmor profile, as before the field.
pub(crate) const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Event and waiting reasons (spec E21, E22, E31 to E33).
pub(crate) mod reason {
    /// An image is fetched.
    pub(crate) const PULLING: &str = "Pulling";
    /// An image is there.
    pub(crate) const PULLED: &str = "Pulled";
    /// Something failed.
    pub(crate) const FAILED: &str = "Failed";
    /// Waiting longer between tries.
    pub(crate) const BACK_OFF: &str = "BackOff";
    /// The image could not be fetched.
    pub(crate) const ERR_IMAGE_PULL: &str = "ErrImagePull";
    /// Between tries to fetch an image.
    pub(crate) const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
    /// The image is absent and may not be fetched.
    pub(crate) const ERR_IMAGE_NEVER_PULL: &str = "ErrImageNeverPull";
    /// The image could not be looked up.
    pub(crate) const IMAGE_INSPECT_ERROR: &str = "ImageInspectError";
    /// Event for the same.
    pub(crate) const INSPECT_FAILED: &str = "InspectFailed";
    /// The image's name cannot be read.
    pub(crate) const INVALID_IMAGE_NAME: &str = "InvalidImageName";
    /// A container was made.
    pub(crate) const CREATED: &str = "Created";
    /// A container was started.
    pub(crate) const STARTED: &str = "Started";
    /// A container is being stopped.
    pub(crate) const KILLING: &str = "Killing";
    /// No sandbox.
    pub(crate) const FAILED_CREATE_POD_SANDBOX: &str = "FailedCreatePodSandBox";
    /// The sandbox ended or differs; a new one is made.
    pub(crate) const SANDBOX_CHANGED: &str = "SandboxChanged";
    /// The pod cannot be stopped.
    pub(crate) const FAILED_KILL_POD: &str = "FailedKillPod";
    /// A volume is not there.
    pub(crate) const FAILED_MOUNT: &str = "FailedMount";
    /// Configuration that a container needs is missing.
    pub(crate) const CREATE_CONTAINER_CONFIG_ERROR: &str = "CreateContainerConfigError";
    /// The runtime could not make it.
    pub(crate) const CREATE_CONTAINER_ERROR: &str = "CreateContainerError";
    /// The runtime could not start it.
    pub(crate) const RUN_CONTAINER_ERROR: &str = "RunContainerError";
    /// Between two starts of a container that keeps ending.
    pub(crate) const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";
    /// Not made yet.
    pub(crate) const CONTAINER_CREATING: &str = "ContainerCreating";
    /// Init containers come first.
    pub(crate) const POD_INITIALIZING: &str = "PodInitializing";
    /// A hook before the stop failed.
    pub(crate) const FAILED_PRE_STOP_HOOK: &str = "FailedPreStopHook";
    /// A hook after the start failed.
    pub(crate) const FAILED_POST_START_HOOK: &str = "FailedPostStartHook";
    /// Waiting reason for the same.
    pub(crate) const POST_START_HOOK_ERROR: &str = "PostStartHookError";
    /// A probe failed.
    pub(crate) const UNHEALTHY: &str = "Unhealthy";
    /// The node starts its agent.
    pub(crate) const STARTING: &str = "Starting";
    /// The machine was switched off and on.
    pub(crate) const REBOOTED: &str = "Rebooted";
    /// The node is switched off.
    pub(crate) const TERMINATED: &str = "Terminated";
    /// The pod's time is over.
    pub(crate) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// The pod takes more room than it may, or the node is short of something.
    pub(crate) const EVICTED: &str = "Evicted";
    /// Reason of the condition DisruptionTarget where the node ends a pod for its own sake.
    pub(crate) const TERMINATION_BY_KUBELET: &str = "TerminationByKubelet";
    /// A probe was answered in a way that is worth a look.
    pub(crate) const PROBE_WARNING: &str = "ProbeWarning";
    /// A running pod has other resources now.
    pub(crate) const RESIZE_COMPLETED: &str = "ResizeCompleted";
    /// The node has no room for a pod's new resources at this moment.
    pub(crate) const RESIZE_DEFERRED: &str = "ResizeDeferred";
    /// The node is too small for a pod's new resources.
    pub(crate) const RESIZE_INFEASIBLE: &str = "ResizeInfeasible";
    /// A running pod's new resources could not be set.
    pub(crate) const RESIZE_ERROR: &str = "ResizeError";
    /// The pod network is missing.
    pub(crate) const NETWORK_NOT_READY: &str = "NetworkNotReady";
}

/// The event reason of a refusal; reasons of events are fixed words (spec E2).
pub(crate) fn rejection_event(reason: &str) -> &'static str {
    match reason {
        "OutOfcpu" => "OutOfcpu",
        "OutOfmemory" => "OutOfmemory",
        "OutOfephemeral-storage" => "OutOfephemeral-storage",
        "OutOfpods" => "OutOfpods",
        "NodePorts" => "NodePorts",
        "NodeName" => "NodeName",
        "NodeAffinity" => "NodeAffinity",
        "TaintToleration" => "TaintToleration",
        "AppArmor" => "AppArmor",
        "PodOSNotSupported" => "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch" => "PodOSSelectorNodeLabelDoesNotMatch",
        "SupplementalGroupsPolicyNotSupported" => "SupplementalGroupsPolicyNotSupported",
        "SysctlForbidden" => "SysctlForbidden",
        "NodeShutdown" => "NodeShutdown",
        "Evicted" => "Evicted",
        _ => "UnexpectedAdmissionError",
    }
}
