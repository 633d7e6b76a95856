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
    strategic(&probe(), &patch, daemon()).unwrap_or_else(|status| panic!("{status}")).0
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

#[test]
fn directives_of_a_wrong_form_are_told_apart_as_upstream_does() {
    let fault = |patch: Value| {
        let status = strategic(&probe(), &patch, daemon()).expect_err(&patch.to_string());
        (status.code, status.message)
    };
    let spec = |patch: Value| fault(template(patch));
    let retain = (400, "invalid patch format of retainKeys".to_owned());
    let volume =
        |keys: Value| json!({"volumes": [{"name": "logs", "emptyDir": {}, "$retainKeys": keys}]});
    assert_eq!(spec(volume(json!(["name"]))), retain);
    assert_eq!(spec(volume(json!("name"))), retain);
    for key in ["$deleteFromPrimitiveList", "$deleteFromPrimitiveListOf/finalizers"] {
        let why = (400, "invalid patch format of primitive list".to_owned());
        assert_eq!(fault(json!({"metadata": {key: ["a"]}})), why);
    }
    let why = (400, "invalid patch format of setElementOrder list".to_owned());
    assert_eq!(spec(json!({"$setElementOrder": []})), why);
    assert_eq!(
        fault(json!({"metadata": {"finalizers": [["a"]]}})).1,
        "list element types are not identical: [[a.example/x] [[a]]]"
    );
    let (kept, nested) = (probe(), json!({"metadata": {"ownerReferences": [["a"]]}}));
    assert!(strategic(&kept, &nested, daemon()).is_err(), "no list of lists");
}

#[test]
fn patches_that_cannot_be_merged_name_what_is_in_the_way() {
    let fault = |patch: Value| {
        let patch = template(patch);
        let status = strategic(&probe(), &patch, daemon()).expect_err(&patch.to_string());
        (status.code, status.message)
    };
    for (patch, why) in [
        (
            json!({"containers": ["two"]}),
            "list element types are not identical: [[map[command:[sh] env:[map[name:A value:1]] image:one:1 name:one] map[image:two:1 name:two]] [two]]",
        ),
        (
            json!({"containers": [{"$patch": "delete"}]}),
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "one", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"containers": [{"name": "one", "$patch": 5}]}),
            "unknown patch type: %!s(int64=5) in map: map[$patch:5 name:one]",
        ),
        (json!({"$patch": null}), "unknown patch type: %!s(<nil>) in map: map[$patch:<nil>]"),
        (json!({"$patch": "merge"}), "unknown patch type: merge in map: map[$patch:merge]"),
        (
            json!({"$deleteFromPrimitiveList/tolerations": [{"key": "k"}]}),
            "cannot merge lists without merge key for struct",
        ),
    ] {
        assert_eq!(fault(patch.clone()), (500, why.to_owned()), "{patch}");
    }
}

#[test]
fn orders_that_cannot_be_kept_name_what_is_in_the_way() {
    let fault = |patch: Value| {
        let patch = template(patch);
        let status = strategic(&probe(), &patch, daemon()).expect_err(&patch.to_string());
        (status.code, status.message)
    };
    for (patch, why) in [
        (
            json!({"$setElementOrder/containers": {"name": "one"}}),
            "expected a []interface {}, but received a map[string]interface {}",
        ),
        (
            json!({"$setElementOrder/containers": null}),
            "expected a []interface {}, but received a %!s(<nil>)",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "one"}], "containers": "x"}),
            "expected a []interface {}, but received a string",
        ),
        (
            json!({"$setElementOrder/boxes": []}),
            "unable to find api field in struct PodSpec for the json field \"boxes\"",
        ),
        (
            json!({"$setElementOrder/nodeSelector": []}),
            "expected slice or array type, but got: struct",
        ),
        (
            json!({"$setElementOrder/initContainers": [], "initContainers": []}),
            "no elements in any of the given slices",
        ),
        (
            json!({"$setElementOrder/containers": [{"image": "x"}]}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (json!({"$setElementOrder/containers": ["one"]}), "value for key 0 is not a map"),
        (
            json!({"$setElementOrder/containers": ["one"], "containers": [{"name": "one"}]}),
            "expected a map[string]interface {}, but received a string",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "one"}, {"name": "two"}],
                "containers": [{"name": "two"}, {"name": "one"}]}),
            "the order in patch list:\n[map[name:two] map[name:one]]\n doesn't match $setElementOrder list:\n[map[name:one] map[name:two]]",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "one"}], "containers": [{"name": "three"}]}),
            "the order in patch list:\n[map[name:three]]\n doesn't match $setElementOrder list:\n[map[name:one]]",
        ),
    ] {
        assert_eq!(fault(patch.clone()), (500, why.to_owned()), "{patch}");
    }
}

#[test]
fn free_content_is_merged_one_level_deep_only() {
    let kind = schema::by_name("io.k8s.api.apps.v1.ControllerRevision").expect("a type");
    let revision = json!({"data": {"spec": {"a": 1}, "n": 1}, "revision": 1});
    let (new, _) =
        strategic(&revision, &json!({"data": {"n": 2, "m": {"x": null}}}), kind).unwrap();
    assert_eq!(new["data"], json!({"spec": {"a": 1}, "n": 2, "m": {}}));
    let fault = strategic(&revision, &json!({"data": {"spec": {"a": 2}}}), kind).unwrap_err();
    assert_eq!(
        fault.message,
        "unable to find api field in struct RawExtension for the json field \"spec\""
    );
}

#[test]
fn lists_follow_upstream_into_its_corners() {
    let containers = |patch: Value| patched(template(patch))["spec"]["template"]["spec"].clone();
    // A list that is replaced keeps the patch's order, whatever stood there.
    let spec = containers(json!({"containers": [
        {"$patch": "replace"}, {"name": "two"}, {"name": "new"}, {"name": "one"}]}));
    assert_eq!(names(&spec["containers"]), ["two", "new", "one"]);
    // New items are taken as they are, directives and all; new values lose what says $patch.
    let item =
        json!({"name": "n", "$retainKeys": ["name"], "env": [{"name": "A", "$patch": "delete"}]});
    let spec = containers(json!({"containers": [item], "initContainers": [item]}));
    assert_eq!(spec["containers"][0], item);
    assert_eq!(spec["initContainers"], json!([{"name": "n", "$retainKeys": ["name"], "env": []}]));
    // What a delete list names leaves atomic lists, too; a list of another kind does nothing.
    let one = |change: Value| containers(json!({"containers": [change]}))["containers"][0].clone();
    let new = one(json!({"name": "one", "$deleteFromPrimitiveList/command": ["sh"]}));
    assert_eq!(new["command"], json!([]));
    let new = one(json!({"name": "one", "$deleteFromPrimitiveList/command": "sh"}));
    assert_eq!(new["command"], json!(["sh"]));
}

/// Bodies hold hundreds of thousands of items: each is looked up, not searched for.
#[test]
fn long_lists_are_merged_item_by_item_without_searching_them() {
    let finalizer = |i: i32| format!("a.example/{i}");
    let (first, last): (Vec<_>, Vec<_>) =
        ((0..10_000).map(finalizer).collect(), (5_000..15_000).map(finalizer).collect());
    let object = json!({"metadata": {"finalizers": first}});
    let merge = |patch: Value| strategic(&object, &patch, daemon()).unwrap().0;
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
    let (new, _) = strategic(&holder(old), &holder(patch), daemon()).unwrap();
    let wanted = (2_000..8_000).map(|i| variable(i, "new")).collect();
    assert_eq!(new, holder(wanted));
}
