use super::*;
use serde_json::json;

#[track_caller]
fn told(spec: Value, expected: &[&str]) {
    let template = json!({"spec": spec});
    assert_eq!(of_template(&template, &Path::new("t")), expected);
}

#[test]
fn old_node_labels_are_told_wherever_they_choose_nodes() {
    let label = "beta.kubernetes.io/os";
    let term = json!({"matchExpressions": [{"key": label, "operator": "In", "values": ["a b"]}]});
    let why = "deprecated since v1.14; use \"kubernetes.io/os\" instead";
    let not_a_label = names::label_value("a b");
    told(
        json!({
            "nodeSelector": {label: "linux"},
            "affinity": {"nodeAffinity": {
                REQUIRED: {"nodeSelectorTerms": [term]},
                PREFERRED: [{"weight": 1, "preference": term}],
            }},
            "topologySpreadConstraints": [{"topologyKey": label}],
        }),
        &[
            &format!("t.spec.nodeSelector[{label}]: {why}"),
            &format!(
                "t.spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].key: {label} is {why}"
            ),
            &format!(
                "t.spec.affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0].key: {label} is {why}"
            ),
            &format!(
                "t.spec.affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0].values[0]: a b is invalid, {}",
                not_a_label[0]
            ),
            &format!("t.spec.topologySpreadConstraints[0].topologyKey: {label} is {why}"),
            "t.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    );
}

#[test]
fn terms_without_a_selector_match_nothing() {
    let weighted = json!([{"weight": 1, "podAffinityTerm": {"topologyKey": "z"}}]);
    told(
        json!({"affinity": {"podAntiAffinity": {
            REQUIRED: [{"topologyKey": "z", "labelSelector": {}}, {"topologyKey": "z"}],
            PREFERRED: weighted,
        }}}),
        &[
            &format!(
                "t.spec.affinity.podAntiAffinity.{REQUIRED}[1].labelSelector: {MATCHES_NOTHING}"
            ),
            &format!(
                "t.spec.affinity.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.labelSelector: {MATCHES_NOTHING}"
            ),
        ],
    );
}

#[test]
fn ports_that_overlap_are_told_by_how_much() {
    let port = |name: &str, host: i64, ip: &str| json!({"name": name, "containerPort": 80, "protocol": "TCP", "hostPort": host, "hostIP": ip});
    told(
        json!({"containers": [
            {"ports": [port("a", 80, "")]},
            {"ports": [port("a", 80, "1.2.3.4"), port("", 0, ""), port("", 81, "")]},
        ]}),
        &[
            "t.spec.containers[1].ports[0]: dangerously ambiguous port definition with t.spec.containers[0].ports[0]",
            "t.spec.containers[1].ports[1]: overlapping port definition with t.spec.containers[0].ports[0]",
            "t.spec.containers[1].ports[1]: overlapping port definition with t.spec.containers[1].ports[0]",
            "t.spec.containers[1].ports[2]: overlapping port definition with t.spec.containers[1].ports[1]",
            "t.spec.containers[1].ports[0]: duplicate port name \"a\" with t.spec.containers[0].ports[0], services and probes that select ports by name will use t.spec.containers[0].ports[0]",
        ],
    );
}

#[test]
fn a_variable_set_again_is_told_unless_it_builds_on_itself() {
    let env =
        |second: Value| json!({"containers": [{"env": [{"name": "A", "value": "x"}, second]}]});
    let hidden = "t.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply";
    told(env(json!({"name": "A", "value": "y"})), &[hidden]);
    told(env(json!({"name": "A", "value": "$(A)"})), &[hidden]);
    told(env(json!({"name": "A", "valueFrom": {}})), &[hidden]);
    told(env(json!({"name": "A", "value": "$(A)/bin"})), &[]);
    told(env(json!({"name": "B", "value": "x"})), &[]);
}

#[test]
fn volumes_that_no_longer_work_and_files_on_top_of_each_other_are_told() {
    told(
        json!({"volumes": [
            {"name": "a", "rbd": {}},
            {"name": "b", "configMap": {"name": "c", "items": [{"path": "x"}, {"path": "x/y"}, {"path": "xy"}]}},
            {"name": "d", "projected": {"sources": [
                {"serviceAccountToken": {"path": "t"}},
                {},
                {"secret": {"name": "s", "items": [{"path": "t/"}]}},
            ]}},
        ]}),
        &[
            "t.spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            "volume \"b\" (ConfigMap \"c\"): overlapping paths: \"x/y\" with \"x\"",
            "volume \"d\" (Projected) has no sources provided",
            "volume \"d\" (Projected): overlapping paths: \"t\" (Secret \"s\") with \"t\" (ServiceAccountToken)",
        ],
    );
}

#[test]
fn annotations_about_profiles_are_told_where_fields_are_absent() {
    let key = format!("{}c", profiles::APPARMOR);
    let pod = |said: &str, own: Value| {
        json!({
            "metadata": {"name": "p", "annotations": {&key: said}},
            "spec": {"containers": [{"name": "c", "securityContext": own}]},
        })
    };
    let why = format!(
        "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
    );
    assert_eq!(of_profiles(&pod("unconfined", json!({}))), [why]);
    let own = json!({"appArmorProfile": {"type": "Unconfined"}});
    assert!(of_profiles(&pod("unconfined", own)).is_empty());
    assert!(of_pod(&pod("unconfined", json!({}))).is_empty(), "told before, and once");
}

#[test]
fn a_pod_whose_name_is_no_host_name_is_told() {
    let all = of_pod(&json!({"metadata": {"name": "a.b"}}));
    assert_eq!(
        all,
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        ]
    );
}

#[test]
fn ports_and_files_without_end_are_told_as_far_as_headers_go_and_cost_no_more() {
    let count = 20_000;
    let port = json!({"containerPort": 80, "protocol": "TCP"});
    let apart = |i: i64| json!({"containerPort": 81, "protocol": "TCP", "hostPort": 1 + i});
    let file = |i: i64| json!({"path": format!("x/{}", i % 1000)});
    let all = of_template(
        &json!({"spec": {
            "containers": [
                {"ports": (0..count).map(apart).collect::<Vec<_>>()},
                {"ports": vec![port; 20_000]},
            ],
            "volumes": [
                {"name": "v", "configMap": {"items": (0..count).map(file).collect::<Vec<_>>()}},
            ],
        }}),
        &Path::new("t"),
    );
    assert!(all.len() < 500, "{} texts", all.len());
    let starts = |text: &str| all.iter().any(|one| one == text);
    assert!(starts(
        "t.spec.containers[1].ports[1]: duplicate port definition with t.spec.containers[1].ports[0]"
    ));
    assert!(starts("volume \"v\" (ConfigMap \"\"): overlapping paths: \"x/0\" with \"x/0\""));
}

#[test]
fn files_are_told_in_the_order_of_those_before_them_and_each_pair_once() {
    let paths = ["a/b/c", "ab", "a/b", "", "a", "a/b/c", "a/b/c"].map(|path| json!({"path": path}));
    let pair = |file: &str, other: &str| {
        format!("volume \"v\" (DownwardAPI): overlapping paths: {file:?} with {other:?}")
    };
    told(
        json!({"volumes": [{"name": "v", "downwardAPI": {"items": paths}}]}),
        &[
            ("a/b", "a/b/c"),
            ("a", "a/b/c"),
            ("a", "a/b"),
            ("a/b/c", "a/b/c"),
            ("a/b/c", "a/b"),
            ("a/b/c", "a"),
        ]
        .map(|(file, other)| pair(file, other))
        .each_ref()
        .map(String::as_str),
    );
}
