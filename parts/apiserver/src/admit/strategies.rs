//! Which strategy a resource has.

use super::configmap::ConfigMap;
use super::controllerrevision::ControllerRevision;
use super::csr::CertificateSigningRequest;
use super::daemonset::DaemonSet;
use super::event::{CoreEvent, ViewedEvent};
use super::lease::Lease;
use super::namespace::Namespace;
use super::node::Node;
use super::pod::Pod;
use super::poddisruptionbudget::PodDisruptionBudget;
use super::priorityclass::PriorityClass;
use super::rbac::{Binding, Role};
use super::replicaset::ReplicaSet;
use super::secret::Secret;
use super::serviceaccount::ServiceAccount;
use super::{Strategy, plain::Plain};
use api::Resource;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The strategy of a resource. Kinds that have no rules of their own get a plain one.
pub fn strategy_for(resource: &Resource) -> &'static dyn Strategy {
    match (resource.group, resource.kind) {
        ("", "ConfigMap") => &ConfigMap,
        ("", "Event") => &CoreEvent,
        ("", "Namespace") => &Namespace,
        ("", "Node") => &Node,
        ("", "Pod") => &Pod,
        ("", "Secret") => &Secret,
        ("", "ServiceAccount") => &ServiceAccount,
        ("apps", "ControllerRevision") => &ControllerRevision,
        ("apps", "DaemonSet") => &DaemonSet,
        ("apps", "ReplicaSet") => &ReplicaSet,
        ("certificates.k8s.io", "CertificateSigningRequest") => &CertificateSigningRequest,
        ("coordination.k8s.io", "Lease") => &Lease,
        ("events.k8s.io", "Event") => &ViewedEvent,
        ("policy", "PodDisruptionBudget") => &PodDisruptionBudget,
        ("scheduling.k8s.io", "PriorityClass") => &PriorityClass,
        (RBAC, "Role") => &Role { cluster: false },
        (RBAC, "ClusterRole") => &Role { cluster: true },
        (RBAC, "RoleBinding") => &Binding { cluster: false },
        (RBAC, "ClusterRoleBinding") => &Binding { cluster: true },
        _ => &Plain,
    }
}
