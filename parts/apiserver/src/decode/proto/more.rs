//! The kinds with a spec of their own that `kubectl create` sends as protobuf: deployments, quotas, budgets, services,
//! requests for tokens. Of a pod's template only what `kubectl create deployment` can set is known; anything else is
//! refused with its number rather than lost.

use super::Holds::{
    Bool, Count, Either, Flag, Ignored, Int, Many, Map, One, Quantities, Text, Texts,
};
use super::{Field, METADATA, SELECTOR};

const STATUS: Field = (3, "status", Ignored);

pub(super) const TOKEN_REQUEST: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One(&[
            (1, "audiences", Texts),
            (
                3,
                "boundObjectRef",
                One(&[
                    (1, "kind", Text),
                    (2, "apiVersion", Text),
                    (3, "name", Text),
                    (4, "uid", Text),
                ]),
            ),
            (4, "expirationSeconds", Int),
        ]),
    ),
    STATUS,
];

pub(super) const RESOURCE_QUOTA: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One(&[
            (1, "hard", Quantities),
            (2, "scopes", Texts),
            (
                3,
                "scopeSelector",
                One(&[(
                    1,
                    "matchExpressions",
                    Many(&[(1, "scopeName", Text), (2, "operator", Text), (3, "values", Texts)]),
                )]),
            ),
        ]),
    ),
    STATUS,
];

pub(super) const BUDGET: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One(&[
            (1, "minAvailable", Either),
            (2, "selector", One(SELECTOR)),
            (3, "maxUnavailable", Either),
            (4, "unhealthyPodEvictionPolicy", Text),
        ]),
    ),
    STATUS,
];

pub(super) const SERVICE: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One(&[
            (
                1,
                "ports",
                Many(&[
                    (1, "name", Text),
                    (2, "protocol", Text),
                    (3, "port", Count),
                    (4, "targetPort", Either),
                    (5, "nodePort", Count),
                    (6, "appProtocol", Text),
                ]),
            ),
            (2, "selector", Map),
            (3, "clusterIP", Text),
            (4, "type", Text),
            (5, "externalIPs", Texts),
            (7, "sessionAffinity", Text),
            (8, "loadBalancerIP", Text),
            (9, "loadBalancerSourceRanges", Texts),
            (10, "externalName", Text),
            (11, "externalTrafficPolicy", Text),
            (12, "healthCheckNodePort", Count),
            (13, "publishNotReadyAddresses", Flag),
            (17, "ipFamilyPolicy", Text),
            (18, "clusterIPs", Texts),
            (19, "ipFamilies", Texts),
            (20, "allocateLoadBalancerNodePorts", Bool),
            (21, "loadBalancerClass", Text),
            (22, "internalTrafficPolicy", Text),
        ]),
    ),
    STATUS,
];

const CONTAINER: &[Field] = &[
    (1, "name", Text),
    (2, "image", Text),
    (3, "command", Texts),
    (4, "args", Texts),
    (5, "workingDir", Text),
    (
        6,
        "ports",
        Many(&[
            (1, "name", Text),
            (2, "hostPort", Count),
            (3, "containerPort", Count),
            (4, "protocol", Text),
            (5, "hostIP", Text),
        ]),
    ),
    (8, "resources", One(&[(1, "limits", Quantities), (2, "requests", Quantities)])),
    (13, "terminationMessagePath", Text),
    (14, "imagePullPolicy", Text),
    (16, "stdin", Flag),
    (17, "stdinOnce", Flag),
    (18, "tty", Flag),
    (20, "terminationMessagePolicy", Text),
];

const POD_SPEC: &[Field] = &[
    (2, "containers", Many(CONTAINER)),
    (3, "restartPolicy", Text),
    (4, "terminationGracePeriodSeconds", Int),
    (6, "dnsPolicy", Text),
    (7, "nodeSelector", Map),
    (8, "serviceAccountName", Text),
    (9, "serviceAccount", Text),
    (10, "nodeName", Text),
    (11, "hostNetwork", Flag),
    (12, "hostPID", Flag),
    (13, "hostIPC", Flag),
    (16, "hostname", Text),
    (17, "subdomain", Text),
    (19, "schedulerName", Text),
    (24, "priorityClassName", Text),
];

pub(super) const DEPLOYMENT: &[Field] = &[
    METADATA,
    (
        2,
        "spec",
        One(&[
            (1, "replicas", Int),
            (2, "selector", One(SELECTOR)),
            (3, "template", One(&[METADATA, (2, "spec", One(POD_SPEC))])),
            (
                4,
                "strategy",
                One(&[
                    (1, "type", Text),
                    (
                        2,
                        "rollingUpdate",
                        One(&[(1, "maxUnavailable", Either), (2, "maxSurge", Either)]),
                    ),
                ]),
            ),
            (5, "minReadySeconds", Count),
            (6, "revisionHistoryLimit", Int),
            (7, "paused", Flag),
            (9, "progressDeadlineSeconds", Int),
        ]),
    ),
    STATUS,
];
