//! Custom resources: what the recordings do not show, above all what happens over time.

use crate::harness::{World, config};
use serde_json::{Value, json};
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version("v1", true, spec)],
        },
    })
}

fn version(name: &str, storage: bool, spec: &Value) -> Value {
    json!({
        "name": name,
        "served": true,
        "storage": storage,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}},
    })
}

fn widget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// Waits until a path answers so; the clock is paused, so this takes no time.
async fn until(world: &World, path: &str, code: u16) {
    let mut found = world.get(path).await.code;
    for _ in 0..1000 {
        if found == code {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = world.get(path).await.code;
    }
    assert_eq!(found, code, "{path}");
}

async fn defined(spec: &Value) -> World {
    let world = World::new().await;
    world.post(DEFINITIONS, &definition(spec)).await.ok(201);
    until(&world, WIDGETS, 200).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_served_again_after_a_restart() {
    let disk = store::Disk::new();
    let world = World::on(config(), &disk);
    world.server.bootstrap().await.expect("bootstrap");
    world.post(DEFINITIONS, &definition(&json!({"size": {"type": "integer"}}))).await.ok(201);
    until(&world, WIDGETS, 200).await;
    let created = world.post(WIDGETS, &widget("a", &json!({"size": 1}))).await.ok(201);
    drop(world);
    let world = World::on(config(), &disk);
    world.server.bootstrap().await.expect("bootstrap");
    let found = world.get(&format!("{WIDGETS}/a")).await.ok(200);
    assert_eq!(found.text, created.text);
    let listed = world.get("/apis/example.com/v1").await.ok(200);
    assert_eq!(listed.at("/resources/0/shortNames/0"), "wd");
    let document = world.get("/openapi/v3/apis/example.com/v1").await.ok(200);
    let size = "/components/schemas/com.example.v1.Widget/properties/spec/properties/size/type";
    assert_eq!(document.at(size), "integer");
    for (field, text) in [
        (
            "apiVersion",
            "APIVersion defines the versioned schema of this representation of an object.",
        ),
        ("kind", "Kind is a string value representing the REST resource this object represents."),
        ("metadata", "Standard object's metadata."),
    ] {
        let path = "/components/schemas/com.example.v1.Widget/properties";
        let told = document.at(&format!("{path}/{field}/description"));
        assert!(told.starts_with(text), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_definition_waits_for_its_objects_and_they_for_their_finalizers() {
    let world = defined(&json!({})).await;
    let mut held = widget("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(WIDGETS, &held).await.ok(201);
    world.post(WIDGETS, &widget("free", &json!({}))).await.ok(201);
    world.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.ok(200);
    until(&world, &format!("{WIDGETS}/free"), 404).await;
    let refused = world.post(WIDGETS, &widget("late", &json!({}))).await.ok(405);
    assert_eq!(
        refused.at("/message"),
        "create not allowed while custom resource definition is terminating"
    );
    let patch = json!({"metadata": {"finalizers": null}});
    world.patch(&format!("{WIDGETS}/held"), "merge", &patch).await.ok(200);
    until(&world, &format!("{DEFINITIONS}/widgets.example.com"), 404).await;
    let gone = world.get(WIDGETS).await;
    assert_eq!((gone.code, gone.text.as_str()), (404, "404 page not found\n"));
    // The same again is served again, and empty.
    world.post(DEFINITIONS, &definition(&json!({}))).await.ok(201);
    until(&world, WIDGETS, 200).await;
    assert_eq!(world.get(WIDGETS).await.names(), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn names_belong_to_the_first_who_asks() {
    let world = defined(&json!({})).await;
    let mut second = definition(&json!({}));
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]});
    world.post(DEFINITIONS, &second).await.ok(201);
    let path = format!("{DEFINITIONS}/gadgets.example.com");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = world.get(&path).await.ok(200);
    assert_eq!(found.at("/status/conditions/0/reason"), "ShortNamesConflict");
    assert_eq!(found.at("/status/conditions/0/message"), "\"wd\" is already in use");
    assert_eq!(found.at("/status/conditions/1/reason"), "NotAccepted");
    let gadgets = "/apis/example.com/v1/namespaces/default/gadgets";
    assert_eq!(world.get(gadgets).await.code, 404);
    world.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.ok(200);
    until(&world, gadgets, 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_schema_defaults_prunes_and_forgives_what_is_older() {
    let text = json!({"type": "string"});
    let world = defined(&json!({"name": text, "old": text})).await;
    world.post(WIDGETS, &widget("a", &json!({"name": "LOUD", "old": "x"}))).await.ok(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut changed = world.get(&path).await.body;
    let quiet = json!({"type": "string", "pattern": "^[a-z]*$"});
    let spec = json!({"name": quiet, "size": {"type": "integer", "default": 3}});
    changed["spec"]["versions"] = json!([version("v1", true, &spec)]);
    world.put(&path, &changed).await.ok(200);
    let found = world.get(&format!("{WIDGETS}/a")).await.ok(200);
    assert_eq!(found.body["spec"], json!({"name": "LOUD", "size": 3}));
    let at = format!("{WIDGETS}/a");
    world.patch(&at, "merge", &json!({"spec": {"size": 4}})).await.ok(200);
    let refused = world.patch(&at, "merge", &json!({"spec": {"name": "LOUDER"}})).await.ok(422);
    assert_eq!(
        refused.at("/details/causes/0/message"),
        "Invalid value: \"LOUDER\": spec.name in body should match '^[a-z]*$'"
    );
}

#[tokio::test(start_paused = true)]
async fn every_version_shows_the_same_objects() {
    let world = World::new().await;
    let mut both = definition(&json!({"n": {"type": "integer"}}));
    let spec = json!({"n": {"type": "integer"}});
    both["spec"]["versions"] =
        json!([version("v1", true, &spec), version("v1beta1", false, &spec)]);
    world.post(DEFINITIONS, &both).await.ok(201);
    until(&world, WIDGETS, 200).await;
    let beta = WIDGETS.replace("/v1/", "/v1beta1/");
    let mut watching = world.watch(&format!("{beta}?watch=1")).await;
    world.post(WIDGETS, &widget("a", &json!({"n": 1}))).await.ok(201);
    let event = watching.next().await.expect("an event");
    assert_eq!(event["object"]["apiVersion"], "example.com/v1beta1");
    let found = world.get(&format!("{beta}/a")).await.ok(200);
    assert_eq!(found.at("/apiVersion"), "example.com/v1beta1");
    let wrong = world.post(&beta, &widget("b", &json!({}))).await.ok(400);
    assert!(wrong.at("/message").contains("does not match the expected API version"));
    let group = world.get("/apis/example.com").await.ok(200);
    assert_eq!(group.at("/preferredVersion/version"), "v1");
}

#[tokio::test(start_paused = true)]
async fn rules_may_compare_with_what_was_there() {
    let rule = json!({"rule": "self >= oldSelf", "message": "may only grow"});
    let world =
        defined(&json!({"n": {"type": "integer", "x-kubernetes-validations": [rule]}})).await;
    world.post(WIDGETS, &widget("a", &json!({"n": 2}))).await.ok(201);
    let at = format!("{WIDGETS}/a");
    world.patch(&at, "merge", &json!({"spec": {"n": 3}})).await.ok(200);
    let refused = world.patch(&at, "merge", &json!({"spec": {"n": 1}})).await.ok(422);
    assert_eq!(refused.at("/details/causes/0/field"), "spec.n");
    assert_eq!(refused.at("/details/causes/0/message"), "Invalid value: may only grow");
}

#[tokio::test(start_paused = true)]
async fn metadata_of_an_object_within_another_is_metadata() {
    let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let world = defined(&json!({"e": inner})).await;
    let e = json!({"apiVersion": "v1", "kind": "Pod", "more": 1, "metadata": {"name": "x", "bogus": 1}});
    let made = world.post(WIDGETS, &widget("a", &json!({"e": e}))).await.ok(201);
    assert_eq!(made.body["spec"]["e"]["metadata"], json!({"name": "x"}));
    assert_eq!(made.body["spec"]["e"]["more"], 1);
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = world.post(&strict, &widget("b", &json!({"e": e}))).await.ok(400);
    assert!(refused.at("/message").contains("unknown field \"spec.e.metadata.bogus\""));
}

#[tokio::test(start_paused = true)]
async fn an_object_within_another_says_what_it_is() {
    let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let world = defined(&json!({"e": inner})).await;
    let refused = async |e: Value| {
        let answer = world.post(WIDGETS, &widget("a", &json!({"e": e}))).await.ok(422);
        let causes = answer.body["details"]["causes"].as_array().cloned().unwrap_or_default();
        let told = |cause: &Value| cause["field"].as_str().unwrap_or_default().to_owned();
        causes.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(refused(json!({})).await, ["spec.e.apiVersion", "spec.e.kind"]);
    let e = json!({"apiVersion": "a/b/c", "kind": "A_b"});
    assert_eq!(refused(e).await, ["spec.e.apiVersion", "spec.e.kind"]);
    let labels = json!({"a": "not a value"});
    let e =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a/b", "labels": labels}});
    assert_eq!(refused(e).await, ["spec.e.metadata.name", "spec.e.metadata.labels"]);
    let e = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "x"}});
    world.post(WIDGETS, &widget("a", &json!({"e": e}))).await.ok(201);
}

#[tokio::test(start_paused = true)]
async fn metadata_of_a_wrong_form_is_told_as_that_of_no_kind() {
    let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}});
    let world = defined(&json!({"e": inner, "n": {"type": "string"}})).await;
    let said = |why: &str| format!("Widget in version \"v1\" cannot be handled as a Widget: {why}");
    let meta = async |meta: Value| {
        let mut body = widget("a", &json!({}));
        body["metadata"] = meta;
        world.post(WIDGETS, &body).await.ok(400).at("/message").to_owned()
    };
    let why = "json: cannot unmarshal string into Go value of type v1.ObjectMeta";
    assert_eq!(meta(json!("x")).await, said(why));
    let why = "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string";
    assert_eq!(meta(json!({"name": "a", "labels": {"a": 5}})).await, said(why));
    let e = json!({"apiVersion": 5, "kind": "Pod", "metadata": {"name": "x"}});
    let refused = world.post(WIDGETS, &widget("a", &json!({"e": e}))).await.ok(400);
    assert_eq!(
        refused.at("/message"),
        said("spec.e.apiVersion: Invalid value: 5: must be a string")
    );
    let e = json!({"apiVersion": "v1", "kind": "Pod", "metadata": 5});
    let refused = world.post(WIDGETS, &widget("a", &json!({"e": e}))).await.ok(400);
    let why = "json: cannot unmarshal number into Go value of type v1.ObjectMeta";
    let why = format!("spec.e.metadata: Invalid value: 5: {why}");
    assert_eq!(refused.at("/message"), said(&why));
    let e = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"bogus": 1}, "z": 1});
    let mut body = widget("a", &json!({"e": e, "zz": 1}));
    body["metadata"]["odd"] = 1.into();
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let told: Vec<String> = ["metadata.odd", "spec.e.z", "spec.zz", "spec.e.metadata.bogus"]
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    let why = format!("strict decoding error: {}", told.join(", "));
    assert_eq!(world.post(&strict, &body).await.ok(400).at("/message"), said(&why));
}

#[tokio::test(start_paused = true)]
async fn a_patch_may_not_make_an_object_another_kind() {
    let world = defined(&json!({})).await;
    world.post(WIDGETS, &widget("a", &json!({}))).await.ok(201);
    let at = format!("{WIDGETS}/a");
    let patched = async |patch: Value| world.patch(&at, "merge", &patch).await.ok(422);
    let refused = patched(json!({"apiVersion": "other.example.com/v1"})).await;
    assert_eq!(
        refused.at("/message"),
        "Widget.other.example.com \"a\" is invalid: apiVersion: Invalid value: \"other.example.com/v1\": must be example.com/v1"
    );
    assert_eq!(refused.at("/details/group"), "other.example.com");
    let refused = patched(json!({"kind": null})).await;
    let message = refused.at("/message");
    assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: "), "{message}");
    assert!(message.contains(": Object 'Kind' is missing in '{"), "{message}");
    let mut other = widget("a", &json!({}));
    other["metadata"]["uid"] = "x".into();
    other["metadata"]["resourceVersion"] =
        world.get(&at).await.at("/metadata/resourceVersion").into();
    let refused = world.put(&at, &other).await.ok(409);
    let key = "Key: /registry/example.com/widgets/default/a,";
    assert!(refused.at("/message").contains(key), "{}", refused.text);
}

/// Creates a definition, and waits until what `ready` asks for answers 200.
async fn define(world: &World, definition: &Value, ready: &str) {
    world.post(DEFINITIONS, definition).await.ok(201);
    until(world, ready, 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happened_and_ends_when_its_kind_is_served_otherwise() {
    let world = defined(&json!({"size": {"type": "integer"}})).await;
    let mut watching = world.watch(&format!("{WIDGETS}?watch=1")).await;
    let mut one = world.watch(&format!("{WIDGETS}?watch=1&fieldSelector=metadata.name%3Db")).await;
    let mut maps = world.watch("/api/v1/namespaces/default/configmaps?watch=1").await;
    world.post(WIDGETS, &widget("a", &json!({"size": 1}))).await.ok(201);
    world.post(WIDGETS, &widget("b", &json!({"size": 1}))).await.ok(201);
    // labels and annotations of the definition change nothing about its kind
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    world.patch(&path, "merge", &label).await.ok(200);
    world.post(WIDGETS, &widget("c", &json!({"size": 1}))).await.ok(201);
    let mut changed = definition(&json!({"size": {"type": "integer", "minimum": 0}}));
    changed["metadata"]["resourceVersion"] =
        world.get(&path).await.at("/metadata/resourceVersion").into();
    world.put(&path, &changed).await.ok(200);
    for name in ["a", "b", "c"] {
        assert_eq!(watching.told().await, ("ADDED".to_owned(), name.to_owned()));
    }
    assert_eq!(watching.next().await, None);
    assert_eq!(one.told().await, ("ADDED".to_owned(), "b".to_owned()));
    assert_eq!(one.next().await, None);
    // Who comes again goes on.
    let mut again = world.watch(&format!("{WIDGETS}?watch=1&resourceVersion=0")).await;
    assert_eq!(again.told().await.1, "a");
    world
        .post("/api/v1/namespaces/default/configmaps", &crate::harness::config_map("m"))
        .await
        .ok(201);
    assert_eq!(maps.told().await.1, "m", "other kinds are not concerned");
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_its_objects_go_with_their_definition() {
    let world = defined(&json!({})).await;
    world.post(WIDGETS, &widget("a", &json!({}))).await.ok(201);
    let mut watching = world.watch(&format!("{WIDGETS}?watch=1&resourceVersion=0")).await;
    assert_eq!(watching.told().await, ("ADDED".to_owned(), "a".to_owned()));
    world.delete(&format!("{DEFINITIONS}/widgets.example.com")).await.ok(200);
    until(&world, WIDGETS, 404).await;
    assert_eq!(watching.told().await, ("DELETED".to_owned(), "a".to_owned()));
    assert_eq!(watching.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_served_no_longer_ends_its_watches() {
    let world = World::new().await;
    let mut both = definition(&json!({}));
    both["spec"]["versions"] =
        json!([version("v1", true, &json!({})), version("v2", false, &json!({}))]);
    define(&world, &both, WIDGETS).await;
    let newer = WIDGETS.replace("v1", "v2");
    let mut watching = world.watch(&format!("{newer}?watch=1")).await;
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    world.patch(&format!("{DEFINITIONS}/widgets.example.com"), "json", &patch).await.ok(200);
    assert_eq!(watching.next().await, None);
    assert_eq!(world.get(&newer).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn whoever_uses_a_deprecated_version_is_told_so_and_finalizers_need_no_domain() {
    let world = World::new().await;
    let mut said = definition(&json!({}));
    let mut old = version("v1alpha1", false, &json!({}));
    old["deprecated"] = true.into();
    said["spec"]["versions"] = json!([version("v1", true, &json!({})), old]);
    world.post(DEFINITIONS, &said).await.ok(201);
    until(&world, WIDGETS, 200).await;
    let mut one = widget("a", &json!({}));
    one["metadata"]["finalizers"] = json!(["nodomain"]);
    world.post(WIDGETS, &one).await.ok(201);
    let old = WIDGETS.replace("v1/", "v1alpha1/");
    let text = "299 - \"example.com/v1alpha1 Widget is deprecated; use example.com/v1 Widget\"";
    for path in [old.clone(), format!("{old}/a")] {
        let told = world.get(&path).await.ok(200);
        assert_eq!(told.headers.get("warning").and_then(|one| one.to_str().ok()), Some(text));
    }
    assert_eq!(world.get(WIDGETS).await.ok(200).headers.get("warning"), None);
    let map = json!({"metadata": {"name": "m", "finalizers": ["nodomain"]}});
    world.post("/api/v1/namespaces/default/configmaps", &map).await.ok(422);
    one["metadata"] = json!({"name": "b", "finalizers": ["a b"]});
    let refused = world.post(WIDGETS, &one).await.ok(422);
    assert_eq!(refused.at("/details/causes/0/field"), "metadata.finalizers");
}

#[tokio::test(start_paused = true)]
async fn regular_expressions_of_a_schema_have_a_bound_together() {
    let world = World::new().await;
    // Each is within the bound for one: a quarter of a MiB.
    let many = |count: usize| -> Value {
        let one = |at: usize| {
            (
                format!("f{at}"),
                json!({"type": "string", "pattern": format!("^(x{{40}}){{165}}y{{{}}}$", at + 1)}),
            )
        };
        Value::Object((0..count).map(one).collect())
    };
    world.post(DEFINITIONS, &definition(&many(10))).await.ok(201);
    let mut second = definition(&many(70));
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    let refused = world.post(DEFINITIONS, &second).await.ok(422);
    assert!(refused.at("/message").contains("regular expressions of a schema"), "{}", refused.text);
}

#[tokio::test(start_paused = true)]
async fn regular_expressions_of_rules_have_a_bound_together() {
    let world = World::new().await;
    let spec = |count: usize| {
        let rule =
            |at: usize| json!({"rule": format!("self.all(f, self[f].matches('^a{{{at}}}$'))")});
        let rules: Vec<Value> = (1..=count).map(rule).collect();
        json!({"all": {"type": "object", "maxProperties": 3, "x-kubernetes-validations": rules,
            "additionalProperties": {"type": "string", "maxLength": 9}}})
    };
    world.post(DEFINITIONS, &definition(&spec(20))).await.ok(201);
    let mut second = definition(&spec(300));
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"] = json!({"plural": "gadgets", "kind": "Gadget"});
    let refused = world.post(DEFINITIONS, &second).await.ok(422);
    assert!(
        refused.at("/message").contains("regular expressions of a schema's rules"),
        "{}",
        refused.text
    );
    assert_eq!(refused.body["details"]["causes"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_custom_kind_in_a_group_of_ours_leaves_the_documents_of_ours() {
    let world = World::new().await;
    let mut volumes = definition(&json!({}));
    volumes["metadata"] = json!({"name": "volumes.storage.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}});
    volumes["spec"]["group"] = "storage.k8s.io".into();
    volumes["spec"]["names"] = json!({"plural": "volumes", "kind": "Volume"});
    world.post(DEFINITIONS, &volumes).await.ok(201);
    until(&world, "/apis/storage.k8s.io/v1/namespaces/default/volumes", 200).await;
    let paths = world.get("/openapi/v3/apis/storage.k8s.io/v1").await.ok(200);
    for kind in ["csidrivers", "namespaces/{namespace}/volumes"] {
        let path = format!("/apis/storage.k8s.io/v1/{kind}");
        assert!(paths.body["paths"].get(&path).is_some(), "{path}");
    }
    let listed = world.get("/apis/storage.k8s.io/v1").await.ok(200);
    let names: Vec<_> =
        listed.body["resources"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
    assert_eq!(names.first(), Some(&json!("csidrivers")));
    assert!(names.ends_with(&[json!("volumes"), json!("volumes/status")]), "{names:?}");
}
