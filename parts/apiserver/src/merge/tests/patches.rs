use super::*;

fn probe() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "probe", "labels": {"team": "net"}, "finalizers": ["a.example/x"]},
        "spec": {
            "minReadySeconds": 5,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"spec": {
                "containers": [
                    {"name": "one", "image": "one:1", "env": [{"name": "A", "value": "1"}], "command": ["sh"]},
                    {"name": "two", "image": "two:1"},
                ],
                "volumes": [{"name": "logs", "hostPath": {"path": "/var/log"}}],
                "tolerations": [{"key": "k", "operator": "Exists"}],
            }},
        },
    })
}

fn template(patch: Value) -> Value {
    json!({"spec": {"template": {"spec": patch}}})
}

fn patched(patch: Value) -> Value {
    strategic(&probe(), &patch, daemon()).unwrap_or_else(|status| panic!("{status}"))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn every_failing_json_operation_is_the_same_422() {
    for operation in [
        json!({"op": "test", "path": "/spec/minReadySeconds", "value": 6}),
        json!({"op": "remove", "path": "/spec/absent"}),
        json!({"op": "add", "path": "/spec/template/spec/containers/9", "value": {}}),
        json!({"op": "tickle", "path": "/spec"}),
        json!({"op": "copy", "from": "/nowhere/at/all", "path": "/spec/x"}),
        json!({"op": "move", "from": "/nowhere", "path": "/spec/x"}),
        json!({"op": "replace", "path": "/spec/absent/deeper", "value": 1}),
        json!({"op": "replace", "path": "/metadata/finalizers/1", "value": "b"}),
        json!({"op": "remove", "path": "/metadata/finalizers/-2"}),
        json!({"op": "remove", "path": "/metadata/finalizers/-"}),
        json!({"op": "add", "path": "/metadata/finalizers/x", "value": "b"}),
        json!({"op": "test", "path": "/spec/minReadySeconds"}),
        json!({"op": "remove", "path": ""}),
        json!({"op": "replace", "path": "", "value": "text"}),
        json!({"op": "add"}),
        json!(null),
    ] {
        let status = json_patch(&probe(), &json!([operation])).unwrap_err();
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{operation}");
        assert_eq!(
            status.message,
            "the server rejected our request due to an error in our request"
        );
    }
}

#[test]
fn json_operations_are_as_kind_as_upstreams_library() {
    let document = json!({"list": [1, 2, 3], "map": {"a/b": 1, "c~d": 2}});
    let after = |operations: Value| json_patch(&document, &operations).unwrap();
    let list = |operations: Value| after(operations)["list"].clone();
    assert_eq!(list(json!([{"op": "replace", "path": "/list/-1", "value": 9}])), json!([1, 2, 9]));
    assert_eq!(list(json!([{"op": "remove", "path": "/list/-3"}])), json!([2, 3]));
    assert_eq!(list(json!([{"op": "add", "path": "/list/-1", "value": 9}])), json!([1, 2, 3, 9]));
    assert_eq!(list(json!([{"op": "add", "path": "/list/3", "value": 9}])), json!([1, 2, 3, 9]));
    assert_eq!(list(json!([{"op": "add", "path": "/list/-", "value": 9}])), json!([1, 2, 3, 9]));
    let new = after(json!([
        {"op": "replace", "path": "/map/new", "value": 1},
        {"op": "test", "path": "/map/none", "value": null},
        {"op": "copy", "from": "/map/none", "path": "/map/nothing"},
        {"op": "add", "path": "/map/silent"},
        {"op": "move", "from": "/map/a~1b", "path": "/map/c~0d"},
    ]));
    assert_eq!(new["map"], json!({"new": 1, "nothing": null, "silent": null, "c~d": 1}));
}

#[test]
fn merge_patches_leave_no_nulls_in_what_is_new() {
    let document = json!({"a": {"b": 1, "c": 2}, "l": [1]});
    let patch = json!({"a": {"b": null, "n": {"x": null, "y": [{"z": null}]}}, "l": {"k": null}});
    assert_eq!(merge_patch(&document, &patch), json!({"a": {"c": 2, "n": {"y": [{}]}}, "l": {}}));
}

#[test]
fn copies_cannot_grow_a_document_without_end() {
    let document = json!({"a": {"x": "x".repeat(1024)}});
    let copy = |n: usize| json!({"op": "copy", "from": "/a", "path": format!("/a/b{n}")});
    let operations: Vec<Value> = (0..40).map(copy).collect();
    assert_eq!(json_patch(&document, &operations.into()).unwrap_err().code, 422);
    let many = vec![json!({"op": "test", "path": "/a", "value": 1}); 10_001];
    assert_eq!(json_patch(&document, &many.into()).unwrap_err().code, 413);
}

#[test]
fn containers_merge_by_name_and_the_patch_leads_the_order() {
    let new = patched(template(json!({"containers": [
        {"name": "three", "image": "three:1"},
        {"name": "two", "image": "two:2"},
    ]})));
    let containers = &new["spec"]["template"]["spec"]["containers"];
    assert_eq!(names(containers), ["three", "one", "two"]);
    assert_eq!(containers[2]["image"], "two:2");
    assert_eq!(containers[1]["env"][0]["value"], "1");
}

#[test]
fn the_order_directive_orders() {
    let new = patched(template(json!({
        "$setElementOrder/containers": [{"name": "two"}, {"name": "one"}],
        "containers": [{"name": "one", "image": "one:2"}],
    })));
    let containers = &new["spec"]["template"]["spec"]["containers"];
    assert_eq!(names(containers), ["two", "one"]);
    assert_eq!(containers[1]["image"], "one:2");
}

#[test]
fn items_go_by_delete_and_lists_by_replace() {
    let new = patched(template(json!({"containers": [{"name": "one", "$patch": "delete"}]})));
    assert_eq!(names(&new["spec"]["template"]["spec"]["containers"]), ["two"]);
    let new = patched(template(
        json!({"containers": [{"$patch": "replace"}, {"name": "x", "image": "x"}]}),
    ));
    assert_eq!(names(&new["spec"]["template"]["spec"]["containers"]), ["x"]);
    let new = patched(json!({"metadata": {"labels": {"$patch": "replace", "only": "this"}}}));
    assert_eq!(new["metadata"]["labels"], json!({"only": "this"}));
}

#[test]
fn atomic_lists_are_replaced_and_sets_united() {
    let new = patched(template(
        json!({"tolerations": [{"key": "z"}], "containers": [{"name": "one", "command": ["true"]}]}),
    ));
    let spec = &new["spec"]["template"]["spec"];
    assert_eq!(spec["tolerations"], json!([{"key": "z"}]));
    assert_eq!(spec["containers"][0]["command"], json!(["true"]));
    let new = patched(json!({"metadata": {"finalizers": ["b.example/y", "a.example/x"]}}));
    assert_eq!(new["metadata"]["finalizers"], json!(["b.example/y", "a.example/x"]));
    let new =
        patched(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.example/x"]}}));
    assert_eq!(new["metadata"]["finalizers"], json!([]));
}

#[test]
fn retained_keys_push_the_other_volume_source_out() {
    let new = patched(template(json!({"volumes": [
        {"name": "logs", "emptyDir": {}, "$retainKeys": ["name", "emptyDir"]},
    ]})));
    assert_eq!(
        new["spec"]["template"]["spec"]["volumes"],
        json!([{"name": "logs", "emptyDir": {}}])
    );
    let new =
        patched(json!({"spec": {"updateStrategy": {"$retainKeys": ["type"], "type": "OnDelete"}}}));
    assert_eq!(new["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
}

#[test]
fn null_removes_and_new_values_lose_their_directives() {
    let new = patched(
        json!({"spec": {"minReadySeconds": null}, "metadata": {"annotations": {"a": null, "b": "c"}}}),
    );
    assert!(new["spec"].get("minReadySeconds").is_none());
    assert_eq!(new["metadata"]["annotations"], json!({"b": "c"}));
}

#[test]
fn what_cannot_be_merged_says_so_as_upstream_does() {
    let fault = |patch: Value| strategic(&probe(), &patch, daemon()).unwrap_err();
    let status = fault(template(json!({"containers": [{"image": "nameless"}]})));
    assert_eq!((status.code, status.reason.as_str()), (500, ""));
    assert_eq!(
        status.message,
        "map: map[image:nameless] does not contain declared merge key: name"
    );
    let status = fault(template(json!({"containers": [{"name": "one", "$patch": "juggle"}]})));
    assert_eq!(status.message, "unknown patch type: juggle in map: map[$patch:juggle name:one]");
    let status = fault(json!({"spec": {"minReadySeconds": "soon"}}));
    assert_eq!(
        status.message,
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[minReadySeconds:soon]]\": unrecognized type: int32"
    );
}

/// Bodies hold hundreds of thousands of items: each is looked up, not searched for.
#[test]
fn long_lists_are_merged_item_by_item_without_searching_them() {
    let finalizer = |i: i32| format!("a.example/{i}");
    let (first, last): (Vec<_>, Vec<_>) =
        ((0..10_000).map(finalizer).collect(), (5_000..15_000).map(finalizer).collect());
    let object = json!({"metadata": {"finalizers": first}});
    let merge = |patch: Value| strategic(&object, &patch, daemon()).unwrap();
    let new = merge(json!({"metadata": {"finalizers": last}}));
    let wanted: Vec<_> = (0..15_000).map(finalizer).collect();
    assert_eq!(new["metadata"]["finalizers"], json!(wanted));
    let new = merge(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": last}}));
    assert_eq!(new["metadata"]["finalizers"], json!(first[..5_000]));

    let variable = |i: i32, value: &str| json!({"name": format!("V{i}"), "value": value});
    let gone = |i: i32| json!({"name": format!("V{i}"), "$patch": "delete"});
    let old: Vec<_> = (0..6_000).map(|i| variable(i, "old")).collect();
    let patch: Vec<_> =
        (0..2_000).map(gone).chain((2_000..8_000).map(|i| variable(i, "new"))).collect();
    let holder = |env: Vec<Value>| template(json!({"containers": [{"name": "one", "env": env}]}));
    let new = strategic(&holder(old), &holder(patch), daemon()).unwrap();
    let wanted = (2_000..8_000).map(|i| variable(i, "new")).collect();
    assert_eq!(new, holder(wanted));
}
