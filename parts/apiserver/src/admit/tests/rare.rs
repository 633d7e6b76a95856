//! Rules that few objects meet, each by its name.

use super::*;

fn pod(patch: &Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    merge(&mut object, patch);
    object
}

fn made(patch: &Value) -> Value {
    let mut object = pod(patch);
    create(row("pods"), &mut object).expect("accepted");
    object
}

/// The faults of a change of a pod.
fn changed(old: &Value, subresource: &str, change: impl Fn(&mut Value)) -> Vec<String> {
    let mut new = old.clone();
    change(&mut new["spec"]);
    match update(row("pods"), &mut new, old, subresource) {
        Ok(_) => Vec::new(),
        refused => faults(refused),
    }
}

#[test]
fn resources_of_a_whole_pod_are_held_against_those_of_its_containers() {
    let own = |limits: Value| json!({"name": "main", "image": "i", "resources": {"limits": limits, "requests": {"memory": "2Gi"}}});
    let spec = json!({
        "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi", "storage": "1"}},
        "containers": [own(json!({"cpu": "2", "memory": "2Gi"}))],
    });
    refused(
        "names, requests together, single limits",
        pod_spec(&spec),
        &[
            "spec.template.spec.resources.limits[storage]: Unsupported value: \"storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
            "spec.template.spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
            "spec.template.spec.resources.containers[0][memory].limits: Invalid value: \"2Gi\": must be less than or equal to pod limits of 1Gi",
        ],
    );
    let windows = json!({"os": {"name": "windows"}, "resources": {"requests": {"cpu": "1"}}});
    refused(
        "Windows has none",
        pod_spec(&windows),
        &["spec.template.spec.resources: Forbidden: may not be set for a windows pod"],
    );
}

#[test]
fn requests_of_a_whole_pod_follow_its_containers_and_sidecars() {
    let object = made(&json!({"spec": {
        "resources": {"limits": {"cpu": "4"}},
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"memory": "1Gi"}}}],
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"memory": "1Gi"}}}],
    }}));
    assert_eq!(
        object["spec"]["resources"],
        json!({"limits": {"cpu": "4"}, "requests": {"cpu": "4", "memory": "2Gi"}})
    );
}

#[test]
fn an_operating_system_has_a_name() {
    refused(
        "os.name",
        pod_spec(&json!({"os": {}})),
        &["spec.template.spec.os.name: Required value: cannot be empty"],
    );
}

#[test]
fn lists_that_go_always_writes_are_null_when_empty() {
    let object = made(&json!({"spec": {"volumes": [{"name": "v", "projected": {"sources": []}}]}}));
    assert_eq!(object["spec"]["volumes"][0]["projected"]["sources"], Value::Null);
    let mut limits =
        json!({"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": []}});
    create(row("limitranges"), &mut limits).expect("accepted");
    assert_eq!(limits["spec"]["limits"], Value::Null);
}

#[test]
fn a_role_gathers_by_selectors_that_can_be_read() {
    let mut role = json!({
        "metadata": {"name": "r"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"ok": "-"}}]},
    });
    let found = faults(create(row("rbac.authorization.k8s.io/clusterroles"), &mut role));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[1],
        "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector."
    );
}

#[test]
fn amounts_of_nodes_are_filed_under_their_names() {
    let mut node =
        json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "-1", "pods": "1500m"}}});
    assert_eq!(
        faults(create(row("nodes"), &mut node)),
        [
            "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
            "status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.allocatable.pods: Invalid value: \"1500m\": must be an integer",
        ]
    );
}

#[test]
fn a_gated_pods_demands_on_nodes_may_only_grow() {
    let demand = |expressions: Value| {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": expressions}]}}})
    };
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let old = made(&json!({"spec": {
        "schedulingGates": [{"name": "a.b/c"}],
        "affinity": demand(json!([exists("a")])),
    }}));
    let more = |spec: &mut Value| spec["affinity"] = demand(json!([exists("a"), exists("b")]));
    assert_eq!(changed(&old, "", more), [""; 0]);
    let terms = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    assert_eq!(
        changed(&old, "", |spec| spec["affinity"] = demand(json!([exists("z")]))),
        [format!(
            "{terms}[0]: Invalid value: {{\"MatchExpressions\":[{{\"Key\":\"z\",\"Operator\":\"Exists\",\"Values\":null}}],\"MatchFields\":null}}: only additions are allowed (no mutations or deletions)"
        )]
    );
    assert_eq!(
        changed(&old, "", |spec| spec.unset("affinity")),
        [format!(
            "{terms}: Invalid value: null: no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        )]
    );
    let free = made(&json!({"spec": {"schedulingGates": [{"name": "a.b/c"}]}}));
    let first = |spec: &mut Value| spec["affinity"] = demand(json!([exists("a")]));
    assert_eq!(changed(&free, "", first), [""; 0]);
}

#[test]
fn a_resize_changes_cpu_and_memory_and_nothing_else() {
    let old = made(&json!({"spec": {
        "resources": {"requests": {"cpu": "2"}},
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
        "initContainers": [{"name": "i", "image": "i", "resources": {"requests": {"cpu": "1"}}}],
    }}));
    let container = |change: &'static [&'static str], value: Value| {
        changed(&old, "resize", move |spec| {
            let mut at = &mut spec[change[0]];
            for key in &change[1..] {
                at = match key.parse::<usize>() {
                    Ok(place) => &mut at[place],
                    Err(_) => &mut at[*key],
                };
            }
            *at = value.clone();
        })
    };
    assert_eq!(
        container(&["containers", "0", "resources", "requests", "cpu"], json!("1500m")),
        [""; 0]
    );
    assert_eq!(
        container(&["initContainers", "0", "resources", "requests", "cpu"], json!("2")),
        [""; 0]
    );
    assert_eq!(container(&["resources", "requests", "cpu"], json!("3")), [""; 0]);
    let mutable = "only cpu and memory resources";
    assert_eq!(
        container(&["containers", "0", "resources", "requests", "ephemeral-storage"], json!("1Gi")),
        [format!("spec: Forbidden: {mutable} are mutable")]
    );
    assert_eq!(
        container(
            &["containers", "0", "resizePolicy"],
            json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}])
        ),
        [format!("spec: Forbidden: {mutable} are mutable")]
    );
    assert_eq!(
        container(
            &["initContainers", "0", "resources", "requests", "ephemeral-storage"],
            json!("1Gi")
        ),
        [format!(
            "spec.initContainers[0]: Forbidden: {mutable} for init or sidecar containers are mutable"
        )]
    );
    assert_eq!(
        container(&["containers", "0", "resources", "requests"], json!({"cpu": "1"})),
        ["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"]
    );
    assert_eq!(
        changed(&old, "resize", |spec| spec.unset("resources")),
        ["spec.resources: Forbidden: pod-level resources cannot be removed"]
    );
}

#[test]
fn addresses_of_a_pod_are_one_of_each_family() {
    let old = made(&json!({}));
    let mut new = old.clone();
    new["status"]["podIP"] = json!("10.0.0.1");
    new["status"]["podIPs"] = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]);
    assert_eq!(
        faults(update(row("pods"), &mut new, &old, "status")),
        [
            "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.1\"}]: may specify no more than one IP for each IP family",
            "status.podIPs[1]: Duplicate value: {\"IP\":\"10.0.0.1\"}",
        ]
    );
}
