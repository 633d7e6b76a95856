//! Reasons, messages and names exactly as upstream writes them.

/// Signer of client certificates of nodes.
pub const SIGNER_KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of serving certificates of nodes.
pub const SIGNER_KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signer of client certificates of anybody else.
pub const SIGNER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Group of all nodes, and the organisation in their certificates.
pub const GROUP_NODES: &str = "system:nodes";
/// Group of joining nodes.
pub const GROUP_BOOTSTRAPPERS: &str = "system:bootstrappers";
/// Group with all rights; never signed into a certificate.
pub const GROUP_MASTERS: &str = "system:masters";
/// Before a node's name in its user name.
pub const USER_NODE_PREFIX: &str = "system:node:";
/// Reason of an automatic approval.
pub const REASON_AUTO_APPROVED: &str = "AutoApproved";
/// Reason of an automatic denial (ours; upstream leaves such requests pending).
pub const REASON_AUTO_DENIED: &str = "AutoDenied";
/// Reason when an approved request cannot be signed.
pub const REASON_SIGNER_VALIDATION: &str = "SignerValidationFailure";
/// Finalizer of a namespace's spec.
pub const FINALIZER_KUBERNETES: &str = "kubernetes";
/// Field manager of our writes.
pub const FIELD_MANAGER: &str = "pernode-caretaker";
/// A pod was made.
pub const REASON_SUCCESSFUL_CREATE: &str = "SuccessfulCreate";
/// A pod could not be made.
pub const REASON_FAILED_CREATE: &str = "FailedCreate";
/// A pod was deleted.
pub const REASON_SUCCESSFUL_DELETE: &str = "SuccessfulDelete";
/// A pod could not be deleted.
pub const REASON_FAILED_DELETE: &str = "FailedDelete";

/// Where leases of nodes live.
pub const NAMESPACE_LEASES: &str = "kube-node-lease";
/// Taint: Ready is False.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint: Ready is Unknown.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint: cordoned.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taint: MemoryPressure is True.
pub const TAINT_MEMORY: &str = "node.kubernetes.io/memory-pressure";
/// Taint: DiskPressure is True.
pub const TAINT_DISK: &str = "node.kubernetes.io/disk-pressure";
/// Taint: PIDPressure is True.
pub const TAINT_PIDS: &str = "node.kubernetes.io/pid-pressure";
/// Taint: NetworkUnavailable is True.
pub const TAINT_NETWORK: &str = "node.kubernetes.io/network-unavailable";
/// Label: failure zone.
pub const LABEL_ZONE: &str = "topology.kubernetes.io/zone";
/// Label: region.
pub const LABEL_REGION: &str = "topology.kubernetes.io/region";
/// Condition reason: the agent fell silent (spec D3).
pub const REASON_STATUS_UNKNOWN: &str = "NodeStatusUnknown";
/// Condition message: the agent fell silent (spec D3).
pub const MESSAGE_STATUS_UNKNOWN: &str = "Kubelet stopped posting node status.";
/// Condition reason: the agent never spoke (spec D3).
pub const REASON_NEVER_UPDATED: &str = "NodeStatusNeverUpdated";
/// Condition message: the agent never spoke (spec D3).
pub const MESSAGE_NEVER_UPDATED: &str = "Kubelet never posted node status.";
/// Event source of node health (spec D7).
pub const COMPONENT_NODES: &str = "node-controller";
/// Event: a node is there (spec D7).
pub const EVENT_REGISTERED: &str = "RegisteredNode";
/// Event: a node is gone (spec D7).
pub const EVENT_REMOVING: &str = "RemovingNode";
/// Event on a node and its pods (spec D6).
pub const EVENT_NOT_READY: &str = "NodeNotReady";
/// Event source of taint-based eviction.
pub const COMPONENT_EVICTIONS: &str = "taint-eviction-controller";
/// Event: a pod leaves because of a taint, or may stay after all (spec D10, D11).
pub const EVENT_EVICTION: &str = "TaintManagerEviction";
/// Condition of a pod that is about to be disrupted.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Its reason here (spec D11).
pub const REASON_TAINT: &str = "DeletionByTaintManager";
/// Its message here.
pub const MESSAGE_TAINT: &str = "Taint manager: deleting due to NoExecute taint";

/// Name of the controller that collects what has lost its owners.
pub const CONTROLLER_OWNERS: &str = "generic-garbage-collector";
/// Event source of the same.
pub const COMPONENT_OWNERS: &str = "garbage-collector-controller";
/// Event: an owner is named that lives in another namespace (spec B132).
pub const EVENT_INVALID_NAMESPACE: &str = "OwnerRefInvalidNamespace";
/// Finalizer: dependents are let go before the object goes (spec B130).
pub const FINALIZER_ORPHAN: &str = "orphan";
/// Finalizer: dependents go before the object goes (spec B130).
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";

/// Name of the controller that gives each namespace a service account.
pub const CONTROLLER_ACCOUNTS: &str = "service-account-controller";
/// The service account that every namespace has.
pub const SERVICE_ACCOUNT_DEFAULT: &str = "default";
/// Name of the controller that publishes the certificate of the API server.
pub const CONTROLLER_ROOT_CA: &str = "root-ca-cert-publisher";
/// The ConfigMap with that certificate in every namespace.
pub const CONFIG_MAP_ROOT_CA: &str = "kube-root-ca.crt";
/// Its only key.
pub const KEY_ROOT_CA: &str = "ca.crt";
/// Annotation for people.
pub const ANNOTATION_DESCRIPTION: &str = "kubernetes.io/description";
/// Its text.
pub const DESCRIPTION_ROOT_CA: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
/// Cause of a refusal: nothing new is made in a namespace that goes.
pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// Name of the controller that counts what quotas have used.
pub const CONTROLLER_QUOTAS: &str = "resourcequota-controller";
/// Name of the controller of disruption budgets.
pub const CONTROLLER_BUDGETS: &str = "disruption-controller";
/// Event source of the same.
pub const COMPONENT_BUDGETS: &str = "controllermanager";
/// Condition of a budget: whether a pod may be evicted.
pub const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";
/// Reason: a pod may be evicted.
pub const REASON_SUFFICIENT: &str = "SufficientPods";
/// Reason: none may be evicted.
pub const REASON_INSUFFICIENT: &str = "InsufficientPods";
/// Reason: nobody can say how many pods there should be.
pub const REASON_SYNC_FAILED: &str = "SyncFailed";
/// Event: a budget selects nothing.
pub const EVENT_NO_PODS: &str = "NoPods";
/// Its message.
pub const MESSAGE_NO_PODS: &str = "No matching pods found";
/// Event: nobody can say how many pods there should be (spec C51).
pub const EVENT_NOT_COUNTED: &str = "CalculateExpectedPodCountFailed";
/// Event: an eviction was granted and the pod is still there.
pub const EVENT_NOT_DELETED: &str = "NotDeleted";
/// Event: a budget selects pods without a controller.
pub const EVENT_UNMANAGED: &str = "UnmanagedPods";

/// Message of [`EVENT_UNMANAGED`].
pub fn unmanaged_pods(selector: &str) -> String {
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, \
         the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for \
         these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// Name of the controller that gathers ClusterRoles.
pub const CONTROLLER_ROLES: &str = "clusterrole-aggregation-controller";
/// Event source of pod address ranges.
pub const COMPONENT_RANGES: &str = "cidrAllocator";
/// Event: no range of pod addresses is left for a node.
pub const EVENT_RANGE_NOT_AVAILABLE: &str = "CIDRNotAvailable";

/// Label: which template a set's pods are made from.
pub const LABEL_TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation: revision of a Deployment or of its set.
pub const ANNOTATION_REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation: revisions that a set had before.
pub const ANNOTATION_REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotation: size of the Deployment that a set was sized for.
pub const ANNOTATION_DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation: that size with the surge.
pub const ANNOTATION_MAX: &str = "deployment.kubernetes.io/max-replicas";
/// A set's size changed.
pub const REASON_SCALING_SET: &str = "ScalingReplicaSet";
/// A set could not be made.
pub const REASON_SET_CREATE_ERROR: &str = "ReplicaSetCreateError";
/// A Deployment's selector is empty.
pub const REASON_SELECTING_ALL: &str = "SelectingAll";
/// What is said of that.
pub const MESSAGE_SELECTING_ALL: &str =
    "This deployment is selecting all pods. A non-empty selector is required.";
