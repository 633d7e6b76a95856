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
