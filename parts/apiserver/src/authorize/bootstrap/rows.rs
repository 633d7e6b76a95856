//! Roles of people and of components.

use super::{Row, gathering, part, role, within};

pub(super) const EVENTS: &str = "create,update,patch -,events.k8s.io events";
const EVERYBODY: &[&str] = &["group:system:authenticated", "group:system:unauthenticated"];
const USERS: &[&str] = &["group:system:authenticated"];

/// Roles of people.
pub(super) const PEOPLE: &[Row] = &[
    role("cluster-admin", &["* * *", "url * *"], &["group:system:masters"]),
    role(
        "system:discovery",
        &[
            "url get /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        ],
        USERS,
    ),
    role(
        "system:public-info-viewer",
        &["url get /healthz,/livez,/readyz,/version,/version/"],
        EVERYBODY,
    ),
    role("system:well-known-viewer", &["url get /.well-known,/.well-known/*"], USERS),
    role(
        "system:basic-user",
        &[
            "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews",
            "create authentication.k8s.io selfsubjectreviews",
        ],
        USERS,
    ),
    role(
        "system:monitoring",
        &["url get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"],
        &["group:system:monitoring"],
    ),
    gathering("admin", None),
    gathering("edit", Some("admin")),
    gathering("view", Some("edit")),
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            "create authorization.k8s.io localsubjectaccessreviews",
            "get,list,watch,create,update,patch,delete,deletecollection rbac.authorization.k8s.io roles,rolebindings",
        ],
    ),
    part(
        "system:aggregate-to-edit",
        "edit",
        &[
            "get,list,watch - pods/attach,pods/proxy,pods/exec,pods/portforward,secrets,services/proxy",
            "impersonate - serviceaccounts",
            "create,update,patch,delete,deletecollection - pods,pods/attach,pods/proxy,pods/exec,pods/portforward",
            "create - pods/eviction",
            "create,update,patch,delete,deletecollection - replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/proxy,persistentvolumeclaims,configmaps,secrets,events",
            "create - serviceaccounts/token",
            "create,update,patch,delete,deletecollection apps statefulsets,statefulsets/scale,daemonsets,deployments,deployments/scale,deployments/rollback,replicasets,replicasets/scale",
            "create,update,patch,delete,deletecollection autoscaling horizontalpodautoscalers",
            "create,update,patch,delete,deletecollection batch jobs,cronjobs",
            "create,update,patch,delete,deletecollection policy poddisruptionbudgets",
            "create,update,patch,delete,deletecollection networking.k8s.io networkpolicies,ingresses",
            "get,list,watch,create,update,patch,delete,deletecollection coordination.k8s.io leases",
        ],
    ),
    part(
        "system:aggregate-to-view",
        "view",
        &[
            "get,list,watch - pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,configmaps",
            "get,list,watch - limitranges,resourcequotas,bindings,events,pods/status,resourcequotas/status,namespaces/status,replicationcontrollers/status,pods/log",
            "get,list,watch - namespaces",
            "get,list,watch discovery.k8s.io endpointslices",
            "get,list,watch apps controllerrevisions,statefulsets,statefulsets/status,statefulsets/scale,daemonsets,daemonsets/status,deployments,deployments/status,deployments/scale,replicasets,replicasets/status,replicasets/scale",
            "get,list,watch autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status",
            "get,list,watch batch jobs,jobs/status,cronjobs,cronjobs/status",
            "get,list,watch policy poddisruptionbudgets,poddisruptionbudgets/status",
            "get,list,watch networking.k8s.io networkpolicies,ingresses,ingresses/status",
        ],
    ),
];

/// Roles of components and of holders of a join token.
pub(super) const COMPONENTS: &[Row] = &[
    role(
        "system:node-bootstrapper",
        &["create,get,list,watch certificates.k8s.io certificatesigningrequests"],
        &["group:system:bootstrappers"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create certificates.k8s.io certificatesigningrequests/nodeclient"],
        &["group:system:bootstrappers"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create certificates.k8s.io certificatesigningrequests/selfnodeclient"],
        &[],
    ),
    role(
        "system:auth-delegator",
        &[
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
        ],
        &[],
    ),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            "create coordination.k8s.io leases",
            "get,update coordination.k8s.io leases kube-controller-manager",
            "create - secrets,serviceaccounts,serviceaccounts/token",
            "delete - secrets",
            "get - namespaces,secrets,serviceaccounts,configmaps",
            "update - secrets,serviceaccounts",
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
            // one informer per kind serves all controllers of a process, so it may read all kinds
            "list,watch * *",
        ],
        &["user:system:kube-controller-manager"],
    ),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            "create coordination.k8s.io leases",
            "get,update coordination.k8s.io leases kube-scheduler",
            "get,list,watch - nodes,namespaces,replicationcontrollers,services,persistentvolumeclaims,persistentvolumes",
            "delete,get,list,watch - pods",
            "create - bindings,pods/binding",
            "patch,update - pods/status",
            "get,list,watch apps replicasets,statefulsets",
            "get,list,watch policy poddisruptionbudgets",
            "get,list,watch scheduling.k8s.io priorityclasses",
            "get,list,watch storage.k8s.io csinodes,csidrivers,csistoragecapacities,storageclasses",
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
        ],
        &["user:system:kube-scheduler"],
    ),
    role(
        "system:volume-scheduler",
        &[
            "get,list,watch,patch,update - persistentvolumes",
            "get,list,watch storage.k8s.io storageclasses",
            "get,list,watch,patch,update - persistentvolumeclaims",
        ],
        &["user:system:kube-scheduler"],
    ),
    role(
        "system:heapster",
        &["get,list,watch - events,pods,nodes,namespaces", "get,list,watch extensions deployments"],
        &[],
    ),
    // what nodes may do is code here; upstream's role is there for those who bind it themselves
    role("system:node", NODE, &[]),
    role("system:node-problem-detector", &["get - nodes", "patch - nodes/status", EVENTS], &[]),
    role(
        "system:node-proxier",
        &[
            "list,watch - services,endpoints",
            "get,list,watch - nodes",
            EVENTS,
            "list,watch discovery.k8s.io endpointslices",
            "list,watch networking.k8s.io servicecidrs",
        ],
        &["user:system:kube-proxy"],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            "get,list,watch - nodes",
            "proxy - nodes",
            "* - nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats",
        ],
        &[],
    ),
    role("system:kube-aggregator", &["get,list,watch - services,endpoints"], &[]),
    role(
        "system:kube-dns",
        &["list,watch - endpoints,services", "list,watch discovery.k8s.io endpointslices"],
        &["sa:kube-dns"],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            "get,list,watch,create,delete - persistentvolumes",
            "get,list,watch,update - persistentvolumeclaims",
            "get,list,watch storage.k8s.io storageclasses",
            "watch - events",
            EVENTS,
        ],
        &[],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &["approve certificates.k8s.io signers kubernetes.io/legacy-unknown"],
        &[],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &["approve certificates.k8s.io signers kubernetes.io/kubelet-serving"],
        &[],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &["approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client"],
        &[],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &["approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet"],
        &[],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[
            "url get /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
        ],
        &["group:system:serviceaccounts"],
    ),
];

/// What a kubelet needs.
const NODE: &[&str] = &[
    "create authentication.k8s.io tokenreviews",
    "create authorization.k8s.io subjectaccessreviews,localsubjectaccessreviews",
    "get,list,watch - services",
    "create,get,list,watch - nodes",
    "update,patch - nodes/status",
    "update,patch - nodes",
    EVENTS,
    "get,list,watch - pods",
    "create,delete - pods",
    "update,patch - pods/status",
    "create - pods/eviction",
    "get,list,watch - secrets,configmaps",
    "get - persistentvolumeclaims,persistentvolumes",
    "get - endpoints",
    "create,get,list,watch certificates.k8s.io certificatesigningrequests",
    "get,create,update,patch,delete coordination.k8s.io leases",
    "get storage.k8s.io volumeattachments",
    "create - serviceaccounts/token",
    "get,update,patch - persistentvolumeclaims/status",
    "get,watch,list storage.k8s.io csidrivers",
    "get,create,update,patch,delete storage.k8s.io csinodes",
    "get,list,watch node.k8s.io runtimeclasses",
];

/// Roles within namespaces.
pub(super) const WITHIN: &[Row] = &[
    within(
        "kube-system",
        "extension-apiserver-authentication-reader",
        &["get,list,watch - configmaps extension-apiserver-authentication"],
        &["user:system:kube-controller-manager", "user:system:kube-scheduler"],
    ),
    within(
        "kube-system",
        "system:controller:bootstrap-signer",
        &["get,list,watch - secrets"],
        &["sa:bootstrap-signer"],
    ),
    within(
        "kube-system",
        "system:controller:cloud-provider",
        &["create,get,list,watch - configmaps"],
        &["sa:cloud-provider"],
    ),
    within(
        "kube-system",
        "system:controller:token-cleaner",
        &["get,list,watch,delete - secrets", EVENTS],
        &["sa:token-cleaner"],
    ),
    within(
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &["watch - configmaps", "get,update - configmaps kube-controller-manager"],
        &["user:system:kube-controller-manager", "sa:kube-controller-manager"],
    ),
    within(
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &["watch - configmaps", "get,update - configmaps kube-scheduler"],
        &["user:system:kube-scheduler", "sa:kube-scheduler"],
    ),
    within(
        "kube-public",
        "system:controller:bootstrap-signer",
        &["get,list,watch - configmaps", "update - configmaps cluster-info", EVENTS],
        &["sa:bootstrap-signer"],
    ),
];
