//! Kinds that are kept for others: what is filled in, and what is refused.

use super::*;

fn object(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "x"}});
    merge(&mut object, &spec);
    object
}

fn here(spec: Value) -> Value {
    let mut object = object(spec);
    object["metadata"]["namespace"] = "default".into();
    object
}

#[track_caller]
fn made(kind: &str, mut object: Value) -> Value {
    create(row(kind), &mut object).expect("accepted");
    object
}

#[track_caller]
fn wrong(kind: &str, mut object: Value, expected: &[&str]) {
    assert_eq!(faults(create(row(kind), &mut object)), expected, "{kind}");
}

#[track_caller]
fn changed(kind: &str, old: &Value, pointer: &str, value: Value) -> Vec<String> {
    let mut new = old.clone();
    *new.pointer_mut(pointer).expect("a field") = value;
    update(row(kind), &mut new, old, "").map_or_else(|status| faults::<()>(Err(status)), |_| vec![])
}

#[test]
fn an_ingress_says_where_it_leads() {
    const INGRESSES: &str = "networking.k8s.io/ingresses";
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let rule = json!({"host": "*.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let made =
        made(INGRESSES, here(json!({"spec": {"rules": [rule], "ingressClassName": "edge"}})));
    assert_eq!(made["status"], json!({"loadBalancer": {}}));
    assert_eq!(made["metadata"]["generation"], 1);
    wrong(
        INGRESSES,
        here(json!({})),
        &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    );
    let paths = json!([
        {"path": "x", "pathType": "Exact", "backend": {}},
        {"path": "/a//b/..", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {}}}},
        {"path": "/", "backend": backend},
        {"path": "/", "pathType": "Odd", "backend": {"service": {"name": "web", "port": {"number": 1, "name": "a"}}}},
    ]);
    let at = "spec.rules[0].http.paths";
    wrong(
        INGRESSES,
        here(json!({"spec": {"rules": [{"host": "10.0.0.1", "http": {"paths": paths}}]}})),
        &[
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            &format!("{at}[0].path: Invalid value: \"x\": must be an absolute path"),
            &format!(
                "{at}[0].backend: Invalid value: \"\": resource or service backend is required"
            ),
            &format!("{at}[1].path: Invalid value: \"/a//b/..\": must not contain '//'"),
            &format!("{at}[1].path: Invalid value: \"/a//b/..\": cannot end with '/..'"),
            &format!("{at}[1].backend: Required value: port name or number is required"),
            &format!("{at}[2].pathType: Required value: pathType must be specified"),
            &format!(
                "{at}[3].pathType: Unsupported value: \"Odd\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
            ),
            &format!(
                "{at}[3].backend: Invalid value: \"\": cannot set both port name & port number"
            ),
        ],
    );
}

#[test]
fn an_ingress_class_keeps_its_controller() {
    const CLASSES: &str = "networking.k8s.io/ingressclasses";
    let spec =
        json!({"controller": "example.com/edge", "parameters": {"kind": "Edge", "name": "a"}});
    let made = made(CLASSES, object(json!({"spec": spec})));
    assert_eq!(made["spec"]["parameters"]["scope"], "Cluster");
    assert_eq!(
        changed(CLASSES, &made, "/spec/controller", "example.com/other".into()),
        ["spec.controller: Invalid value: \"example.com/other\": field is immutable"]
    );
    wrong(CLASSES, object(json!({})), &["spec.controller: Required value"]);
    wrong(
        CLASSES,
        object(
            json!({"spec": {"controller": "edge", "parameters": {"kind": "E", "name": "a", "scope": "Namespace"}}}),
        ),
        &[
            "spec.controller: Invalid value: \"edge\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ],
    );
}

#[test]
fn a_storage_class_never_changes() {
    const CLASSES: &str = "storage.k8s.io/storageclasses";
    let made =
        made(CLASSES, object(json!({"provisioner": "disk.example.com", "parameters": {"a": "1"}})));
    assert_eq!(
        (&made["reclaimPolicy"], &made["volumeBindingMode"]),
        (&json!("Delete"), &json!("Immediate"))
    );
    assert_eq!(
        changed(CLASSES, &made, "/parameters/a", "2".into()),
        ["parameters: Forbidden: updates to parameters are forbidden."]
    );
    assert_eq!(
        changed(CLASSES, &made, "/volumeBindingMode", "WaitForFirstConsumer".into()),
        ["volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable"]
    );
    wrong(
        CLASSES,
        object(json!({"reclaimPolicy": "Recycle", "volumeBindingMode": "Never"})),
        &[
            "provisioner: Required value",
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            "volumeBindingMode: Unsupported value: \"Never\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ],
    );
}

#[test]
fn a_volume_has_one_source_a_size_and_a_way_in() {
    let spec = json!({
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"},
    });
    let made = made("persistentvolumes", object(json!({"spec": spec})));
    assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(made["spec"]["volumeMode"], "Filesystem");
    assert_eq!(made["spec"]["hostPath"], json!({"path": "/data", "type": ""}));
    assert_eq!(
        made["status"],
        json!({"phase": "Pending", "lastPhaseTransitionTime": "2026-11-21T03:00:20Z"})
    );
    assert_eq!(
        changed("persistentvolumes", &made, "/spec/hostPath/path", "/other".into()),
        [
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
        ]
    );
    let cells = strategy_for(row("persistentvolumes")).cells(&made, now());
    assert_eq!(cells[1..5], [json!("1Gi"), json!("RWO"), json!("Retain"), json!("Pending")]);
    wrong(
        "persistentvolumes",
        object(json!({"spec": {"local": {"path": "/disk"}, "nfs": {"server": "s", "path": "/p"}}})),
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
            "spec.local: Forbidden: may not specify more than 1 volume type",
        ],
    );
}

#[test]
fn a_claim_keeps_what_it_asked_for() {
    const CLAIMS: &str = "persistentvolumeclaims";
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let made = made(CLAIMS, here(json!({"spec": spec})));
    assert_eq!(
        (&made["status"]["phase"], &made["spec"]["volumeMode"]),
        (&json!("Pending"), &json!("Filesystem"))
    );
    let why = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let grow = |old: &Value| changed(CLAIMS, old, "/spec/resources/requests/storage", "2Gi".into());
    assert_eq!(grow(&made), [why]);
    let mut bound = made;
    bound["spec"]["volumeName"] = "v".into();
    bound["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
    assert!(grow(&bound).is_empty());
    assert_eq!(
        changed(CLAIMS, &bound, "/spec/resources/requests/storage", "512Mi".into()),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    assert_eq!(changed(CLAIMS, &bound, "/spec/volumeName", "w".into()), [why]);
}

#[test]
fn what_drivers_say_is_judged() {
    let drivers = json!([{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["a/b"]}]);
    let node = made("storage.k8s.io/csinodes", object(json!({"spec": {"drivers": drivers}})));
    assert_eq!(
        changed("storage.k8s.io/csinodes", &node, "/spec/drivers/0/nodeID", "m".into()).len(),
        1
    );
    let attachment = json!({"spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
    let attachment = made("storage.k8s.io/volumeattachments", object(attachment));
    assert_eq!(attachment["status"], json!({"attached": false}));
    wrong(
        "storage.k8s.io/volumeattachments",
        object(json!({"spec": {"attacher": "d.example.com", "nodeName": "n"}})),
        &[
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ],
    );
    let capacity = made(
        "storage.k8s.io/csistoragecapacities",
        here(json!({"storageClassName": "c", "capacity": "1024Mi"})),
    );
    assert_eq!(
        changed("storage.k8s.io/csistoragecapacities", &capacity, "/storageClassName", "d".into()),
        ["storageClassName: Invalid value: \"d\": field is immutable"]
    );
}

#[test]
fn endpoints_and_slices_have_addresses_of_their_kind() {
    let subset = json!({"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 81, "name": "b"}]});
    wrong(
        "endpoints",
        here(json!({"subsets": [subset, {}]})),
        &[
            "subsets[0].ports[0].name: Required value",
            "subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`",
        ],
    );
    let subset = json!({"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]});
    let both = made("endpoints", here(json!({"subsets": [subset]})));
    assert_eq!(both["subsets"][0]["ports"][0]["protocol"], "TCP");
    let cells = strategy_for(row("endpoints")).cells(&both, now());
    assert_eq!(cells[1], "10.0.0.1:80,10.0.0.1:81,10.0.0.2:80 + 1 more...");
    const SLICES: &str = "discovery.k8s.io/endpointslices";
    let slice = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]});
    let slice = made(SLICES, here(slice));
    assert_eq!(slice["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
    assert_eq!(slice["metadata"]["generation"], 1);
    wrong(
        SLICES,
        here(
            json!({"addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": []}]}),
        ),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"10.0.0.1\": must be an IPv6 address",
            "endpoints[1].addresses: Required value: must contain at least 1 address",
        ],
    );
    assert_eq!(
        changed(SLICES, &slice, "/addressType", "FQDN".into()).last().map(String::as_str),
        Some("addressType: Invalid value: \"FQDN\": field is immutable")
    );
}
