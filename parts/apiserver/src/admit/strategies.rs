//! Which strategy a resource has.

use super::configmap::ConfigMap;
use super::controllerrevision::ControllerRevision;
use super::crd::CustomResourceDefinition;
use super::csidriver::CsiDriver;
use super::csr::CertificateSigningRequest;
use super::daemonset::DaemonSet;
use super::deployment::Deployment;
use super::endpoints::{EndpointSlice, Endpoints};
use super::event::{CoreEvent, ViewedEvent};
use super::ingress::{Ingress, IngressClass};
use super::lease::Lease;
use super::limitrange::LimitRange;
use super::namespace::Namespace;
use super::networkpolicy::NetworkPolicy;
use super::node::Node;
use super::persistentvolume::PersistentVolume;
use super::persistentvolumeclaim::PersistentVolumeClaim;
use super::pod::Pod;
use super::poddisruptionbudget::PodDisruptionBudget;
use super::podtemplate::PodTemplate;
use super::priorityclass::PriorityClass;
use super::rbac::{Binding, Role};
use super::replicaset::ReplicaSet;
use super::replicationcontroller::ReplicationController;
use super::resourcequota::ResourceQuota;
use super::runtimeclass::RuntimeClass;
use super::secret::Secret;
use super::service::Service;
use super::serviceaccount::ServiceAccount;
use super::statefulset::StatefulSet;
use super::storage::{CsiNode, CsiStorageCapacity, StorageClass, VolumeAttachment};
use super::{Strategy, plain::Plain};
use crate::custom;
use api::Resource;

const STORAGE: &str = "storage.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The strategy of a resource. Kinds that have no rules of their own get a plain one.
pub fn strategy_for(resource: &Resource) -> &'static dyn Strategy {
    if let Some(kind) = custom::kind_of(resource) {
        return kind;
    }
    match (resource.group, resource.kind) {
        ("", "ConfigMap") => &ConfigMap,
        ("", "Endpoints") => &Endpoints,
        ("", "Event") => &CoreEvent,
        ("", "LimitRange") => &LimitRange,
        ("", "Namespace") => &Namespace,
        ("", "Node") => &Node,
        ("", "PersistentVolume") => &PersistentVolume,
        ("", "PersistentVolumeClaim") => &PersistentVolumeClaim,
        ("", "Pod") => &Pod,
        ("", "PodTemplate") => &PodTemplate,
        ("", "ReplicationController") => &ReplicationController,
        ("", "ResourceQuota") => &ResourceQuota,
        ("", "Secret") => &Secret,
        ("", "Service") => &Service,
        ("", "ServiceAccount") => &ServiceAccount,
        ("apps", "ControllerRevision") => &ControllerRevision,
        ("apps", "DaemonSet") => &DaemonSet,
        ("apps", "Deployment") => &Deployment,
        ("apps", "ReplicaSet") => &ReplicaSet,
        ("apps", "StatefulSet") => &StatefulSet,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &CustomResourceDefinition,
        ("certificates.k8s.io", "CertificateSigningRequest") => &CertificateSigningRequest,
        ("coordination.k8s.io", "Lease") => &Lease,
        ("discovery.k8s.io", "EndpointSlice") => &EndpointSlice,
        ("events.k8s.io", "Event") => &ViewedEvent,
        ("networking.k8s.io", "Ingress") => &Ingress,
        ("networking.k8s.io", "IngressClass") => &IngressClass,
        ("networking.k8s.io", "NetworkPolicy") => &NetworkPolicy,
        ("node.k8s.io", "RuntimeClass") => &RuntimeClass,
        ("policy", "PodDisruptionBudget") => &PodDisruptionBudget,
        ("scheduling.k8s.io", "PriorityClass") => &PriorityClass,
        (STORAGE, "CSIDriver") => &CsiDriver,
        (STORAGE, "CSINode") => &CsiNode,
        (STORAGE, "CSIStorageCapacity") => &CsiStorageCapacity,
        (STORAGE, "StorageClass") => &StorageClass,
        (STORAGE, "VolumeAttachment") => &VolumeAttachment,
        (RBAC, "Role") => &Role { cluster: false },
        (RBAC, "ClusterRole") => &Role { cluster: true },
        (RBAC, "RoleBinding") => &Binding { cluster: false },
        (RBAC, "ClusterRoleBinding") => &Binding { cluster: true },
        _ => &Plain,
    }
}
