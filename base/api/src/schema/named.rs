//! The names that Go gives to texts, lists of texts and maps: `v1.PullPolicy` where the schema says `string`. Messages of
//! Go's decoder and converter quote them.
//!
//! From the declarations of Kubernetes 1.36's API types (`k8s.io/api`, `k8s.io/apimachinery`).

use super::Type;

/// Struct, field, and Go's name of the text, of a list's item, or of a map. The struct `""` stands for all that have a field
/// of that name and no entry of their own.
const NAMES: &[(&str, &str, &str)] = &[
    ("", "accessModes", "v1.PersistentVolumeAccessMode"),
    ("", "allocatable", "v1.ResourceList"),
    ("", "allocatedResources", "v1.ResourceList"),
    ("", "capacity", "v1.ResourceList"),
    ("", "fsGroupChangePolicy", "v1.PodFSGroupChangePolicy"),
    ("", "hard", "v1.ResourceList"),
    ("", "imagePullPolicy", "v1.PullPolicy"),
    ("", "overhead", "v1.ResourceList"),
    ("", "podFixed", "v1.ResourceList"),
    ("", "preemptionPolicy", "v1.PreemptionPolicy"),
    ("", "terminationMessagePolicy", "v1.TerminationMessagePolicy"),
    ("", "uid", "types.UID"),
    ("", "used", "v1.ResourceList"),
    ("AppArmorProfile", "type", "v1.AppArmorProfileType"),
    ("CSIDriverSpec", "fsGroupPolicy", "v1.FSGroupPolicy"),
    ("CSIDriverSpec", "volumeLifecycleModes", "v1.VolumeLifecycleMode"),
    ("Capabilities", "add", "v1.Capability"),
    ("Capabilities", "drop", "v1.Capability"),
    ("Condition", "status", "v1.ConditionStatus"),
    ("Container", "restartPolicy", "v1.ContainerRestartPolicy"),
    ("ContainerPort", "protocol", "v1.Protocol"),
    ("ContainerResizePolicy", "resourceName", "v1.ResourceName"),
    ("ContainerResizePolicy", "restartPolicy", "v1.ResourceResizeRestartPolicy"),
    ("CustomResourceDefinitionSpec", "scope", "v1.ResourceScope"),
    ("DaemonSetUpdateStrategy", "type", "v1.DaemonSetUpdateStrategyType"),
    ("DeploymentStrategy", "type", "v1.DeploymentStrategyType"),
    ("EmptyDirVolumeSource", "medium", "v1.StorageMedium"),
    ("EphemeralContainer", "restartPolicy", "v1.ContainerRestartPolicy"),
    ("HTTPGetAction", "scheme", "v1.URIScheme"),
    ("HostPathVolumeSource", "type", "v1.HostPathType"),
    ("LabelSelectorRequirement", "operator", "v1.LabelSelectorOperator"),
    ("LeaseSpec", "strategy", "v1.CoordinatedLeaseStrategy"),
    ("LimitRangeItem", "default", "v1.ResourceList"),
    ("LimitRangeItem", "defaultRequest", "v1.ResourceList"),
    ("LimitRangeItem", "max", "v1.ResourceList"),
    ("LimitRangeItem", "maxLimitRequestRatio", "v1.ResourceList"),
    ("LimitRangeItem", "min", "v1.ResourceList"),
    ("LimitRangeItem", "type", "v1.LimitType"),
    ("ManagedFieldsEntry", "operation", "v1.ManagedFieldsOperationType"),
    ("NamespaceSpec", "finalizers", "v1.FinalizerName"),
    ("NamespaceStatus", "phase", "v1.NamespacePhase"),
    ("NetworkPolicyPort", "protocol", "v1.Protocol"),
    ("NetworkPolicySpec", "policyTypes", "v1.PolicyType"),
    ("NodeAddress", "type", "v1.NodeAddressType"),
    ("NodeCondition", "status", "v1.ConditionStatus"),
    ("NodeCondition", "type", "v1.NodeConditionType"),
    ("NodeSelectorRequirement", "operator", "v1.NodeSelectorOperator"),
    ("PersistentVolumeClaimSpec", "volumeMode", "v1.PersistentVolumeMode"),
    ("PersistentVolumeSpec", "volumeMode", "v1.PersistentVolumeMode"),
    ("PodCondition", "status", "v1.ConditionStatus"),
    ("PodCondition", "type", "v1.PodConditionType"),
    ("PodDisruptionBudgetSpec", "unhealthyPodEvictionPolicy", "v1.UnhealthyPodEvictionPolicyType"),
    ("PodOS", "name", "v1.OSName"),
    ("PodReadinessGate", "conditionType", "v1.PodConditionType"),
    ("PodSpec", "dnsPolicy", "v1.DNSPolicy"),
    ("PodSpec", "restartPolicy", "v1.RestartPolicy"),
    ("PodStatus", "phase", "v1.PodPhase"),
    ("PodStatus", "qosClass", "v1.PodQOSClass"),
    ("ResourceQuotaSpec", "scopes", "v1.ResourceQuotaScope"),
    ("ResourceRequirements", "limits", "v1.ResourceList"),
    ("ResourceRequirements", "requests", "v1.ResourceList"),
    ("ScopedResourceSelectorRequirement", "operator", "v1.ScopeSelectorOperator"),
    ("ScopedResourceSelectorRequirement", "scopeName", "v1.ResourceQuotaScope"),
    ("SeccompProfile", "type", "v1.SeccompProfileType"),
    ("Secret", "type", "v1.SecretType"),
    ("SecurityContext", "procMount", "v1.ProcMountType"),
    ("ServicePort", "protocol", "v1.Protocol"),
    ("ServiceSpec", "externalTrafficPolicy", "v1.ServiceExternalTrafficPolicy"),
    ("ServiceSpec", "internalTrafficPolicy", "v1.ServiceInternalTrafficPolicy"),
    ("ServiceSpec", "ipFamilies", "v1.IPFamily"),
    ("ServiceSpec", "ipFamilyPolicy", "v1.IPFamilyPolicy"),
    ("ServiceSpec", "sessionAffinity", "v1.ServiceAffinity"),
    ("ServiceSpec", "type", "v1.ServiceType"),
    (
        "StatefulSetPersistentVolumeClaimRetentionPolicy",
        "whenDeleted",
        "v1.PersistentVolumeClaimRetentionPolicyType",
    ),
    (
        "StatefulSetPersistentVolumeClaimRetentionPolicy",
        "whenScaled",
        "v1.PersistentVolumeClaimRetentionPolicyType",
    ),
    ("StatefulSetSpec", "podManagementPolicy", "v1.PodManagementPolicyType"),
    ("StatefulSetUpdateStrategy", "type", "v1.StatefulSetUpdateStrategyType"),
    ("Taint", "effect", "v1.TaintEffect"),
    ("Toleration", "effect", "v1.TaintEffect"),
    ("Toleration", "operator", "v1.TolerationOperator"),
    ("TopologySpreadConstraint", "nodeAffinityPolicy", "v1.NodeInclusionPolicy"),
    ("TopologySpreadConstraint", "nodeTaintsPolicy", "v1.NodeInclusionPolicy"),
    ("TopologySpreadConstraint", "whenUnsatisfiable", "v1.UnsatisfiableConstraintAction"),
    ("VolumeMount", "mountPropagation", "v1.MountPropagationMode"),
    ("VolumeMount", "recursiveReadOnly", "v1.RecursiveReadOnlyMode"),
    ("VolumeResourceRequirements", "limits", "v1.ResourceList"),
    ("VolumeResourceRequirements", "requests", "v1.ResourceList"),
];

/// Structs that have a field of such a name and hold something else in it, or a plain string.
const OTHERS: &[(&str, &str)] = &[
    ("CSINodeDriver", "allocatable"),
    ("CSIStorageCapacity", "capacity"),
    ("CertificateSigningRequestSpec", "uid"),
    ("LinuxContainerUser", "uid"),
    ("NodeSwapStatus", "capacity"),
    ("RuntimeClass", "overhead"),
    ("UserInfo", "uid"),
];

/// Go's name of what a field holds, if it has one beyond `string`: of the text, of a list's items, or of a whole map.
pub fn named(kind: &Type, field: &str) -> Option<&'static str> {
    let own = kind.go_name();
    if kind.is_custom() || own.ends_with("ReviewSpec") || OTHERS.contains(&(own, field)) {
        return None;
    }
    let of = |owner: &str| {
        let found =
            NAMES.binary_search_by(|(kind, name, _)| (*kind, *name).cmp(&(owner, field))).ok()?;
        NAMES.get(found).map(|(_, _, name)| *name)
    };
    of(own).or_else(|| of(""))
}

#[cfg(test)]
mod tests {
    use super::super::{Node, all};
    use super::*;

    #[test]
    fn every_name_belongs_to_a_field_and_they_are_sorted() {
        assert!(NAMES.is_sorted());
        for (owner, field, name) in NAMES {
            let mut found = all().filter(|kind| owner.is_empty() || kind.go_name() == *owner);
            assert!(
                found.any(|kind| kind.field(field).is_some()),
                "{owner}.{field} {name} is a field of nothing"
            );
        }
    }

    #[test]
    fn names_stand_at_texts_lists_of_texts_and_maps_only() {
        let fits = |node: Node| match node {
            Node::List(list) => matches!(list.items, Node::Text),
            other => matches!(other, Node::Text | Node::Map(_)),
        };
        let mut misfits = Vec::new();
        for kind in all() {
            let named = kind.fields.iter().filter(|field| named(kind, field.name).is_some());
            let odd = named.filter(|field| !fits(field.node));
            misfits.extend(odd.map(|field| format!("{}.{}", kind.name, field.name)));
        }
        assert_eq!(misfits, Vec::<String>::new());
    }
}
