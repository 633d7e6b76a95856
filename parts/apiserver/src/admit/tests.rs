//! Rules by their numbers in the specification: an object, and every fault it has.

use super::json::{Json, JsonMut};
use super::*;
use serde_json::json;

mod changes;
mod columns;
mod definitions;
mod kept;
mod rare;

fn row(plural: &str) -> &'static Resource {
    let (group, plural) = plural.rsplit_once('/').unwrap_or(("", plural));
    let found = api::resource::ALL.iter().find(|row| row.group == group && row.plural == plural);
    found.expect("a resource we serve")
}

fn now() -> jiff::Timestamp {
    "2026-11-21T03:00:20Z".parse().expect("a moment")
}

fn create(resource: &Resource, object: &mut Value) -> Result<Vec<String>, Status> {
    let identity = Identity::new("admin", &["system:masters"]);
    let context = Context { identity: &identity, now: now(), subresource: "" };
    strategy_for(resource).default(object);
    before_create(resource, object, &context)
}

fn update(
    resource: &Resource,
    object: &mut Value,
    old: &Value,
    subresource: &str,
) -> Result<Vec<String>, Status> {
    let identity = Identity::new("admin", &["system:masters"]);
    let context = Context { identity: &identity, now: now(), subresource };
    strategy_for(resource).default(object);
    before_update(resource, object, old, &context)
}

/// `field: message` of every cause.
fn faults<T: std::fmt::Debug>(result: Result<T, Status>) -> Vec<String> {
    let status = result.expect_err("a refusal");
    assert_eq!(status.code, 422, "{}", status.message);
    let causes = status.details.unwrap_or_default().causes;
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn merge(into: &mut Value, patch: &Value) {
    json_patch::merge(into, patch);
}

fn daemonset(patch: &Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "main", "image": "agent:1"}]},
            },
        },
    });
    merge(&mut object, patch);
    object
}

fn pod_spec(patch: &Value) -> Value {
    daemonset(&json!({"spec": {"template": {"spec": patch}}}))
}

fn container(patch: &Value) -> Value {
    let mut container = json!({"name": "main", "image": "agent:1"});
    merge(&mut container, patch);
    pod_spec(&json!({"containers": [container]}))
}

/// How a new DaemonSet is judged; a planted bug judges otherwise.
type Judge = fn(&mut Value) -> Result<Vec<String>, Status>;

fn rightly(object: &mut Value) -> Result<Vec<String>, Status> {
    create(row("apps/daemonsets"), object)
}

#[track_caller]
fn refused_by(judge: Judge, rule: &str, mut object: Value, expected: &[&str]) {
    assert_eq!(faults(judge(&mut object)), expected, "{rule}");
}

#[track_caller]
fn refused(rule: &str, object: Value, expected: &[&str]) {
    refused_by(rightly, rule, object, expected);
}

#[test]
fn daemonsets_are_refused_by_the_rules_of_their_own() {
    own_rules(rightly);
}

fn own_rules(judge: Judge) {
    let refused =
        |rule: &str, object: Value, expected: &[&str]| refused_by(judge, rule, object, expected);
    let selector = |selector: Value| daemonset(&json!({"spec": {"selector": selector}}));
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"agent\"}: `selector` does not match template `labels`";
    refused("A42", selector(Value::Null), &[mismatch]);
    refused("A44", selector(json!({"matchLabels": {"app": "x"}})), &[mismatch]);
    refused(
        "A43",
        selector(json!({"matchLabels": null})),
        &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
    );
    refused(
        "A45",
        selector(json!({"matchExpressions": [{"key": "app", "operator": "Is"}]})),
        &[
            "spec.selector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator",
        ],
    );
    refused(
        "A47",
        pod_spec(&json!({"restartPolicy": "OnFailure"})),
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
        ],
    );
    refused(
        "A48",
        pod_spec(&json!({"activeDeadlineSeconds": 5})),
        &[
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ],
    );
    refused(
        "A57",
        daemonset(&json!({"spec": {"minReadySeconds": -1}})),
        &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
    );
    refused(
        "A58",
        daemonset(&json!({"spec": {"template": {"metadata": {"labels": {"a b": "c"}}}}})),
        &[
            "spec.template.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
}

#[test]
fn update_strategies_are_judged() {
    strategies(rightly);
}

fn strategies(judge: Judge) {
    let refused =
        |rule: &str, object: Value, expected: &[&str]| refused_by(judge, rule, object, expected);
    let rolling = |rolling: Value| {
        daemonset(&json!({"spec": {"updateStrategy": {"rollingUpdate": rolling}}}))
    };
    let path = "spec.updateStrategy.rollingUpdate";
    refused(
        "A50",
        daemonset(&json!({"spec": {"updateStrategy": {"type": "Magic"}}})),
        &[
            "spec.updateStrategy: Unsupported value: {\"Type\":\"Magic\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ],
    );
    let zero = format!("{path}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0");
    refused("A51", rolling(json!({"maxUnavailable": "0%"})), &[&zero]);
    let both = format!(
        "{path}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
    );
    refused("A52, A59", rolling(json!({"maxSurge": 1})), &[&both]);
    let much =
        format!("{path}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%");
    refused("A53", rolling(json!({"maxUnavailable": "101%"})), &[&much]);
    let negative =
        format!("{path}.maxUnavailable: Invalid value: -1: must be greater than or equal to 0");
    refused("A54", rolling(json!({"maxUnavailable": -1})), &[&negative]);
    let mut object = daemonset(
        &json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"maxUnavailable": "nonsense"}}}}),
    );
    assert!(judge(&mut object).is_ok(), "A11: kept, not judged");
    assert_eq!(object["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "nonsense");
    object["spec"]["updateStrategy"]["type"] = json!("RollingUpdate");
    assert!(judge(&mut object).is_err(), "A11: judged as soon as it is used");
}

/// Another cause's path, where one is about this path.
fn repathed(
    result: Result<Vec<String>, Status>,
    from: &str,
    to: &str,
) -> Result<Vec<String>, Status> {
    result.map_err(|mut status| {
        for cause in status.details.iter_mut().flat_map(|details| &mut details.causes) {
            if cause.field == from {
                cause.field = to.to_owned();
            }
        }
        status
    })
}

/// A bug, and the check that must notice it.
struct Bug {
    trap: &'static str,
    what: &'static str,
    judges: Judge,
    noticed_by: fn(Judge),
}

const BUGS: [Bug; 5] = [
    Bug {
        trap: "T13",
        what: "a surge alone takes its other knob along",
        judges: |object| {
            let rolling = &mut object["spec"]["updateStrategy"]["rollingUpdate"];
            if rolling["maxSurge"].is_number() && rolling["maxUnavailable"].is_null() {
                rolling["maxUnavailable"] = json!(0);
            }
            rightly(object)
        },
        noticed_by: strategies,
    },
    Bug {
        trap: "T14",
        what: "a selector that is missing is told of the selector",
        judges: |object| {
            repathed(rightly(object), "spec.template.metadata.labels", "spec.selector")
        },
        noticed_by: own_rules,
    },
    Bug {
        trap: "T14",
        what: "labels of the template are told with their metadata",
        judges: |object| {
            repathed(rightly(object), "spec.template.labels", "spec.template.metadata.labels")
        },
        noticed_by: own_rules,
    },
    Bug {
        trap: "T14",
        what: "an unknown strategy is told of its type",
        judges: |object| {
            repathed(rightly(object), "spec.updateStrategy", "spec.updateStrategy.type")
        },
        noticed_by: strategies,
    },
    Bug {
        trap: "T20",
        what: "the block that OnDelete keeps is judged",
        judges: |object| {
            let mut judged = object.clone();
            judged["spec"]["updateStrategy"]["type"] = json!("RollingUpdate");
            rightly(&mut judged)?;
            rightly(object)
        },
        noticed_by: strategies,
    },
];

#[test]
fn every_planted_bug_of_admission_is_noticed() {
    for bug in &BUGS {
        let noticed = std::panic::catch_unwind(|| (bug.noticed_by)(bug.judges)).is_err();
        assert!(noticed, "{}: {} goes unnoticed", bug.trap, bug.what);
    }
}

#[test]
fn templates_are_judged_like_pods() {
    let spec = "spec.template.spec";
    let check = |rule: &str, object: Value, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|e| format!("{spec}.{e}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        refused(rule, object, &expected);
    };
    check("A70", pod_spec(&json!({"containers": []})), &["containers: Required value"]);
    check(
        "A71",
        container(
            &json!({"ports": [{"containerPort": 80, "hostPort": 9}, {"containerPort": 81, "hostPort": 9}]}),
        ),
        &["containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""],
    );
    check(
        "A72",
        pod_spec(
            &json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
        ),
        &[
            "containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ],
    );
    check(
        "A73",
        container(
            &json!({"env": [{"name": "A=B"}], "volumeMounts": [{"name": "v", "mountPath": "/x"}]}),
        ),
        &[
            "containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            "containers[0].volumeMounts[0].name: Not found: \"v\"",
        ],
    );
    check(
        "A74",
        pod_spec(&json!({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]})),
        &["volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    );
    check(
        "A75",
        container(&json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2000m"}}})),
        &[
            "containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ],
    );
    check(
        "A76",
        pod_spec(
            &json!({"tolerations": [{"operator": "Gt", "key": "k", "value": "1"}, {"effect": "NoSchedule", "operator": "Exists", "tolerationSeconds": 1}]}),
        ),
        &[
            "tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
            "tolerations[1].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ],
    );
    check(
        "A78",
        container(&json!({"livenessProbe": {"successThreshold": 2, "exec": {"command": ["x"]}}})),
        &["containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    );
}

/// Spec A10–A14, A20, A23.
#[test]
fn a_daemonset_gets_its_defaults_and_counters() {
    let mut object = container(&json!({
        "image": "reg.example:5000/agent",
        "resources": {"limits": {"cpu": "0.0001", "memory": "1024Ki"}},
        "livenessProbe": {"httpGet": {"port": 80}},
    }));
    object["status"] = json!({"numberReady": 5});
    create(row("apps/daemonsets"), &mut object).expect("accepted");
    let (meta, spec) = (object.at("metadata"), object.at("spec"));
    assert_eq!(meta.int("generation"), Some(1));
    assert_eq!(meta.at("annotations").text("deprecated.daemonset.template.generation"), "1");
    assert_eq!(
        *spec.at("updateStrategy"),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(spec.int("revisionHistoryLimit"), Some(10));
    assert_eq!(
        *object.at("status"),
        json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
    );
    let pod = spec.dig(&["template", "spec"]);
    assert_eq!(
        *pod,
        json!({
            "containers": [{
                "name": "main", "image": "reg.example:5000/agent", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "resources": {"limits": {"cpu": "1m", "memory": "1Mi"}},
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        }),
        "and nothing of A15"
    );
}

/// Spec A15.
#[test]
fn a_pod_gets_more_defaults_than_a_template() {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}]},
    });
    create(row("pods"), &mut pod).expect("accepted");
    let spec = pod.at("spec");
    assert_eq!(*spec.at("enableServiceLinks"), json!(true));
    let container = &spec.list("containers")[0];
    assert_eq!(container.list("ports")[0].int("hostPort"), Some(80));
    assert_eq!(container.at("resources").at("requests").text("cpu"), "1");
    assert_eq!(*pod.at("status"), json!({"phase": "Pending", "qosClass": "Burstable"}));
}

#[test]
fn defaults_applied_twice_are_applied_once() {
    for (plural, mut object) in [
        ("apps/daemonsets", daemonset(&json!({}))),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v"}]}}),
        ),
    ] {
        let strategy = strategy_for(row(plural));
        strategy.default(&mut object);
        let once = object.clone();
        strategy.default(&mut object);
        assert_eq!(object, once, "{plural}");
    }
}

/// Spec A40, A41, A81.
#[test]
fn metadata_is_judged_for_every_kind() {
    let kind = row("configmaps");
    let check = |metadata: Value, expected: &[&str]| {
        let mut object = json!({"metadata": {"name": "x", "namespace": "default"}});
        merge(&mut object["metadata"], &metadata);
        assert_eq!(faults(create(kind, &mut object)), expected);
    };
    check(
        json!({"name": null}),
        &["metadata.name: Required value: name or generateName is required"],
    );
    check(
        json!({"finalizers": ["nodomain"]}),
        &[
            "metadata.finalizers[0]: Invalid value: \"nodomain\": name is neither a standard finalizer name nor is it fully qualified",
        ],
    );
    check(
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}),
        &["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"],
    );
    let old = json!({"metadata": {"name": "x", "namespace": "default", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let mut new = old.clone();
    new["metadata"].set("finalizers", json!(["example.com/f"]));
    let late = faults(update(kind, &mut new, &old, ""));
    assert!(
        late.iter().all(|fault| fault
            .starts_with("metadata.finalizers: Forbidden: no new finalizers can be added")),
        "{late:?}"
    );
}
