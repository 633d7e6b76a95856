//! The rows. What discovery shows of each kind (short names, categories, verbs, the storage hash) was read
//! off a Kubernetes 1.36.2 server.

use super::{ALL_VERBS, CREATE, CREATE_GET, GET_PATCH_UPDATE, PROXY, Resource, Subresource};

/// Every kind that is served, by group and version, groups in the order in which `/apis` lists them.
pub const ALL: &[Resource] = &[
    // core/v1
    Resource::new(
        ["", "v1", "Binding"],
        ["bindings", "binding"],
        "io.k8s.api.core.v1.Binding",
        "/bindings",
        CREATE,
    ),
    Resource::new(
        ["", "v1", "ConfigMap"],
        ["configmaps", "configmap"],
        "io.k8s.api.core.v1.ConfigMap",
        "/configmaps",
        ALL_VERBS,
    )
    .short(&["cm"])
    .hash("qFsyl6wFWjQ="),
    Resource::new(
        ["", "v1", "Endpoints"],
        ["endpoints", "endpoints"],
        "io.k8s.api.core.v1.Endpoints",
        "/endpoints",
        ALL_VERBS,
    )
    .short(&["ep"])
    .hash("fWeeMqaN/OA="),
    Resource::new(
        ["", "v1", "Event"],
        ["events", "event"],
        "io.k8s.api.core.v1.Event",
        "/events",
        ALL_VERBS,
    )
    .short(&["ev"])
    .hash("r2yiGXH7wu8="),
    Resource::new(
        ["", "v1", "LimitRange"],
        ["limitranges", "limitrange"],
        "io.k8s.api.core.v1.LimitRange",
        "/limitranges",
        ALL_VERBS,
    )
    .short(&["limits"])
    .hash("EBKMFVe6cwo="),
    Resource::new(
        ["", "v1", "Namespace"],
        ["namespaces", "namespace"],
        "io.k8s.api.core.v1.Namespace",
        "/namespaces",
        &["create", "delete", "get", "list", "patch", "update", "watch"],
    )
    .cluster_wide()
    .short(&["ns"])
    .hash("Q3oi5N2YM8M=")
    .below(&[
        Subresource::new("finalize", "Namespace", &["update"]),
        Subresource::new("status", "Namespace", GET_PATCH_UPDATE),
    ]),
    Resource::new(
        ["", "v1", "Node"],
        ["nodes", "node"],
        "io.k8s.api.core.v1.Node",
        "/nodes",
        ALL_VERBS,
    )
    .cluster_wide()
    .short(&["no"])
    .hash("XwShjMxG9Fs=")
    .below(&[
        Subresource::new("proxy", "NodeProxyOptions", PROXY),
        Subresource::new("status", "Node", GET_PATCH_UPDATE),
    ]),
    Resource::new(
        ["", "v1", "PersistentVolumeClaim"],
        ["persistentvolumeclaims", "persistentvolumeclaim"],
        "io.k8s.api.core.v1.PersistentVolumeClaim",
        "/persistentvolumeclaims",
        ALL_VERBS,
    )
    .short(&["pvc"])
    .hash("QWTyNDq0dC4=")
    .below(&[Subresource::new("status", "PersistentVolumeClaim", GET_PATCH_UPDATE)]),
    Resource::new(
        ["", "v1", "PersistentVolume"],
        ["persistentvolumes", "persistentvolume"],
        "io.k8s.api.core.v1.PersistentVolume",
        "/persistentvolumes",
        ALL_VERBS,
    )
    .cluster_wide()
    .short(&["pv"])
    .hash("HN/zwEC+JgM=")
    .below(&[Subresource::new("status", "PersistentVolume", GET_PATCH_UPDATE)]),
    Resource::new(["", "v1", "Pod"], ["pods", "pod"], "io.k8s.api.core.v1.Pod", "/pods", ALL_VERBS)
        .short(&["po"])
        .category(&["all"])
        .hash("xPOwRZ+Yhw8=")
        .below(&[
            Subresource::new("attach", "PodAttachOptions", CREATE_GET),
            Subresource::new("binding", "Binding", CREATE),
            Subresource::new("ephemeralcontainers", "Pod", GET_PATCH_UPDATE),
            Subresource::new("eviction", "Eviction", CREATE).of("policy", "v1"),
            Subresource::new("exec", "PodExecOptions", CREATE_GET),
            Subresource::new("log", "Pod", &["get"]),
            Subresource::new("portforward", "PodPortForwardOptions", CREATE_GET),
            Subresource::new("proxy", "PodProxyOptions", PROXY),
            Subresource::new("resize", "Pod", GET_PATCH_UPDATE),
            Subresource::new("status", "Pod", GET_PATCH_UPDATE),
        ]),
    Resource::new(
        ["", "v1", "PodTemplate"],
        ["podtemplates", "podtemplate"],
        "io.k8s.api.core.v1.PodTemplate",
        "/podtemplates",
        ALL_VERBS,
    )
    .hash("LIXB2x4IFpk="),
    Resource::new(
        ["", "v1", "ReplicationController"],
        ["replicationcontrollers", "replicationcontroller"],
        "io.k8s.api.core.v1.ReplicationController",
        "/controllers",
        ALL_VERBS,
    )
    .short(&["rc"])
    .category(&["all"])
    .hash("Jond2If31h0=")
    .below(&[
        Subresource::new("scale", "Scale", GET_PATCH_UPDATE).of("autoscaling", "v1"),
        Subresource::new("status", "ReplicationController", GET_PATCH_UPDATE),
    ]),
    Resource::new(
        ["", "v1", "ResourceQuota"],
        ["resourcequotas", "resourcequota"],
        "io.k8s.api.core.v1.ResourceQuota",
        "/resourcequotas",
        ALL_VERBS,
    )
    .short(&["quota"])
    .hash("8uhSgffRX6w=")
    .below(&[Subresource::new("status", "ResourceQuota", GET_PATCH_UPDATE)]),
    Resource::new(
        ["", "v1", "Secret"],
        ["secrets", "secret"],
        "io.k8s.api.core.v1.Secret",
        "/secrets",
        ALL_VERBS,
    )
    .hash("S6u1pOWzb84="),
    Resource::new(
        ["", "v1", "ServiceAccount"],
        ["serviceaccounts", "serviceaccount"],
        "io.k8s.api.core.v1.ServiceAccount",
        "/serviceaccounts",
        ALL_VERBS,
    )
    .short(&["sa"])
    .hash("pbx9ZvyFpBE=")
    .below(&[Subresource::new("token", "TokenRequest", CREATE).of("authentication.k8s.io", "v1")]),
    Resource::new(
        ["", "v1", "Service"],
        ["services", "service"],
        "io.k8s.api.core.v1.Service",
        "/services",
        ALL_VERBS,
    )
    .short(&["svc"])
    .category(&["all"])
    .hash("0/CO1lhkEBI=")
    .below(&[
        Subresource::new("proxy", "ServiceProxyOptions", PROXY),
        Subresource::new("status", "Service", GET_PATCH_UPDATE),
    ]),
    // apps/v1
    Resource::new(
        ["apps", "v1", "ControllerRevision"],
        ["controllerrevisions", "controllerrevision"],
        "io.k8s.api.apps.v1.ControllerRevision",
        "apps/controllerrevisions",
        ALL_VERBS,
    )
    .hash("85nkx63pcBU="),
    Resource::new(
        ["apps", "v1", "DaemonSet"],
        ["daemonsets", "daemonset"],
        "io.k8s.api.apps.v1.DaemonSet",
        "apps/daemonsets",
        ALL_VERBS,
    )
    .short(&["ds"])
    .category(&["all"])
    .hash("dd7pWHUlMKQ=")
    .below(&[Subresource::new("status", "DaemonSet", GET_PATCH_UPDATE)]),
    Resource::new(
        ["apps", "v1", "Deployment"],
        ["deployments", "deployment"],
        "io.k8s.api.apps.v1.Deployment",
        "apps/deployments",
        ALL_VERBS,
    )
    .short(&["deploy"])
    .category(&["all"])
    .hash("8aSe+NMegvE=")
    .below(&[
        Subresource::new("scale", "Scale", GET_PATCH_UPDATE).of("autoscaling", "v1"),
        Subresource::new("status", "Deployment", GET_PATCH_UPDATE),
    ]),
    Resource::new(
        ["apps", "v1", "ReplicaSet"],
        ["replicasets", "replicaset"],
        "io.k8s.api.apps.v1.ReplicaSet",
        "apps/replicasets",
        ALL_VERBS,
    )
    .short(&["rs"])
    .category(&["all"])
    .hash("P1RzHs8/mWQ=")
    .below(&[
        Subresource::new("scale", "Scale", GET_PATCH_UPDATE).of("autoscaling", "v1"),
        Subresource::new("status", "ReplicaSet", GET_PATCH_UPDATE),
    ]),
    Resource::new(
        ["apps", "v1", "StatefulSet"],
        ["statefulsets", "statefulset"],
        "io.k8s.api.apps.v1.StatefulSet",
        "apps/statefulsets",
        ALL_VERBS,
    )
    .short(&["sts"])
    .category(&["all"])
    .hash("H+vl74LkKdo=")
    .below(&[
        Subresource::new("scale", "Scale", GET_PATCH_UPDATE).of("autoscaling", "v1"),
        Subresource::new("status", "StatefulSet", GET_PATCH_UPDATE),
    ]),
    // events.k8s.io/v1
    Resource::new(
        ["events.k8s.io", "v1", "Event"],
        ["events", "event"],
        "io.k8s.api.events.v1.Event",
        "/events",
        ALL_VERBS,
    )
    .short(&["ev"])
    .hash("r2yiGXH7wu8="),
    // authentication.k8s.io/v1
    Resource::new(
        ["authentication.k8s.io", "v1", "SelfSubjectReview"],
        ["selfsubjectreviews", "selfsubjectreview"],
        "io.k8s.api.authentication.v1.SelfSubjectReview",
        "authentication.k8s.io/selfsubjectreviews",
        CREATE,
    )
    .cluster_wide(),
    Resource::new(
        ["authentication.k8s.io", "v1", "TokenReview"],
        ["tokenreviews", "tokenreview"],
        "io.k8s.api.authentication.v1.TokenReview",
        "authentication.k8s.io/tokenreviews",
        CREATE,
    )
    .cluster_wide(),
    // authorization.k8s.io/v1
    Resource::new(
        ["authorization.k8s.io", "v1", "LocalSubjectAccessReview"],
        ["localsubjectaccessreviews", "localsubjectaccessreview"],
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        "authorization.k8s.io/localsubjectaccessreviews",
        CREATE,
    ),
    Resource::new(
        ["authorization.k8s.io", "v1", "SelfSubjectAccessReview"],
        ["selfsubjectaccessreviews", "selfsubjectaccessreview"],
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        "authorization.k8s.io/selfsubjectaccessreviews",
        CREATE,
    )
    .cluster_wide(),
    Resource::new(
        ["authorization.k8s.io", "v1", "SelfSubjectRulesReview"],
        ["selfsubjectrulesreviews", "selfsubjectrulesreview"],
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        "authorization.k8s.io/selfsubjectrulesreviews",
        CREATE,
    )
    .cluster_wide(),
    Resource::new(
        ["authorization.k8s.io", "v1", "SubjectAccessReview"],
        ["subjectaccessreviews", "subjectaccessreview"],
        "io.k8s.api.authorization.v1.SubjectAccessReview",
        "authorization.k8s.io/subjectaccessreviews",
        CREATE,
    )
    .cluster_wide(),
    // certificates.k8s.io/v1
    Resource::new(
        ["certificates.k8s.io", "v1", "CertificateSigningRequest"],
        ["certificatesigningrequests", "certificatesigningrequest"],
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
        "certificates.k8s.io/certificatesigningrequests",
        ALL_VERBS,
    )
    .cluster_wide()
    .short(&["csr"])
    .hash("95fRKMXA+00=")
    .below(&[
        Subresource::new("approval", "CertificateSigningRequest", GET_PATCH_UPDATE),
        Subresource::new("status", "CertificateSigningRequest", GET_PATCH_UPDATE),
    ]),
    // networking.k8s.io/v1
    Resource::new(
        ["networking.k8s.io", "v1", "IngressClass"],
        ["ingressclasses", "ingressclass"],
        "io.k8s.api.networking.v1.IngressClass",
        "networking.k8s.io/ingressclasses",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("l/iqIbDgFyQ="),
    Resource::new(
        ["networking.k8s.io", "v1", "Ingress"],
        ["ingresses", "ingress"],
        "io.k8s.api.networking.v1.Ingress",
        "networking.k8s.io/ingresses",
        ALL_VERBS,
    )
    .short(&["ing"])
    .hash("39NQlfNR+bo=")
    .below(&[Subresource::new("status", "Ingress", GET_PATCH_UPDATE)]),
    Resource::new(
        ["networking.k8s.io", "v1", "NetworkPolicy"],
        ["networkpolicies", "networkpolicy"],
        "io.k8s.api.networking.v1.NetworkPolicy",
        "networking.k8s.io/networkpolicies",
        ALL_VERBS,
    )
    .short(&["netpol"])
    .hash("YpfwF18m1G8="),
    // policy/v1
    Resource::new(
        ["policy", "v1", "PodDisruptionBudget"],
        ["poddisruptionbudgets", "poddisruptionbudget"],
        "io.k8s.api.policy.v1.PodDisruptionBudget",
        "policy/poddisruptionbudgets",
        ALL_VERBS,
    )
    .short(&["pdb"])
    .hash("EVWiDmWqyJw=")
    .below(&[Subresource::new("status", "PodDisruptionBudget", GET_PATCH_UPDATE)]),
    // rbac.authorization.k8s.io/v1
    Resource::new(
        ["rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"],
        ["clusterrolebindings", "clusterrolebinding"],
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
        "rbac.authorization.k8s.io/clusterrolebindings",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("48tpQ8gZHFc="),
    Resource::new(
        ["rbac.authorization.k8s.io", "v1", "ClusterRole"],
        ["clusterroles", "clusterrole"],
        "io.k8s.api.rbac.v1.ClusterRole",
        "rbac.authorization.k8s.io/clusterroles",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("bYE5ZWDrJ44="),
    Resource::new(
        ["rbac.authorization.k8s.io", "v1", "RoleBinding"],
        ["rolebindings", "rolebinding"],
        "io.k8s.api.rbac.v1.RoleBinding",
        "rbac.authorization.k8s.io/rolebindings",
        ALL_VERBS,
    )
    .hash("eGsCzGH6b1g="),
    Resource::new(
        ["rbac.authorization.k8s.io", "v1", "Role"],
        ["roles", "role"],
        "io.k8s.api.rbac.v1.Role",
        "rbac.authorization.k8s.io/roles",
        ALL_VERBS,
    )
    .hash("7FuwZcIIItM="),
    // storage.k8s.io/v1
    Resource::new(
        ["storage.k8s.io", "v1", "CSIDriver"],
        ["csidrivers", "csidriver"],
        "io.k8s.api.storage.v1.CSIDriver",
        "storage.k8s.io/csidrivers",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("hL6j/rwBV5w="),
    Resource::new(
        ["storage.k8s.io", "v1", "CSINode"],
        ["csinodes", "csinode"],
        "io.k8s.api.storage.v1.CSINode",
        "storage.k8s.io/csinodes",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("Pe62DkZtjuo="),
    Resource::new(
        ["storage.k8s.io", "v1", "CSIStorageCapacity"],
        ["csistoragecapacities", "csistoragecapacity"],
        "io.k8s.api.storage.v1.CSIStorageCapacity",
        "storage.k8s.io/csistoragecapacities",
        ALL_VERBS,
    )
    .hash("xeVl+2Ly1kE="),
    Resource::new(
        ["storage.k8s.io", "v1", "StorageClass"],
        ["storageclasses", "storageclass"],
        "io.k8s.api.storage.v1.StorageClass",
        "storage.k8s.io/storageclasses",
        ALL_VERBS,
    )
    .cluster_wide()
    .short(&["sc"])
    .hash("K+m6uJwbjGY="),
    Resource::new(
        ["storage.k8s.io", "v1", "VolumeAttachment"],
        ["volumeattachments", "volumeattachment"],
        "io.k8s.api.storage.v1.VolumeAttachment",
        "storage.k8s.io/volumeattachments",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("tJx/ezt6UDU=")
    .below(&[Subresource::new("status", "VolumeAttachment", GET_PATCH_UPDATE)]),
    // apiextensions.k8s.io/v1
    Resource::new(
        ["apiextensions.k8s.io", "v1", "CustomResourceDefinition"],
        ["customresourcedefinitions", "customresourcedefinition"],
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        "apiextensions.k8s.io/customresourcedefinitions",
        ALL_VERBS,
    )
    .cluster_wide()
    .short(&["crd", "crds"])
    .category(&["api-extensions"])
    .hash("jfWCUB31mvA=")
    .below(&[Subresource::new("status", "CustomResourceDefinition", GET_PATCH_UPDATE)]),
    // scheduling.k8s.io/v1
    Resource::new(
        ["scheduling.k8s.io", "v1", "PriorityClass"],
        ["priorityclasses", "priorityclass"],
        "io.k8s.api.scheduling.v1.PriorityClass",
        "scheduling.k8s.io/priorityclasses",
        ALL_VERBS,
    )
    .cluster_wide()
    .short(&["pc"])
    .hash("1QwjyaZjj3Y="),
    // coordination.k8s.io/v1
    Resource::new(
        ["coordination.k8s.io", "v1", "Lease"],
        ["leases", "lease"],
        "io.k8s.api.coordination.v1.Lease",
        "coordination.k8s.io/leases",
        ALL_VERBS,
    )
    .hash("gqkMMb/YqFM="),
    // node.k8s.io/v1
    Resource::new(
        ["node.k8s.io", "v1", "RuntimeClass"],
        ["runtimeclasses", "runtimeclass"],
        "io.k8s.api.node.v1.RuntimeClass",
        "node.k8s.io/runtimeclasses",
        ALL_VERBS,
    )
    .cluster_wide()
    .hash("WQTu1GL3T2Q="),
    // discovery.k8s.io/v1
    Resource::new(
        ["discovery.k8s.io", "v1", "EndpointSlice"],
        ["endpointslices", "endpointslice"],
        "io.k8s.api.discovery.v1.EndpointSlice",
        "discovery.k8s.io/endpointslices",
        ALL_VERBS,
    )
    .hash("qgS0xkrxYAI="),
];

/// How many: the shape of `scale`, below workloads. Not a resource of its own.
pub const SCALE: &Resource = &Resource::new(
    ["autoscaling", "v1", "Scale"],
    ["scales", "scale"],
    "io.k8s.api.autoscaling.v1.Scale",
    "autoscaling/scales",
    &["get", "patch", "update"],
);
