use super::*;

/// A ConfigMap; without `data` when there is none, since an empty map is something that one can own.
fn settings(data: Value) -> Value {
    if data == json!({}) {
        return json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}});
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data})
}

fn applied(
    live: Option<&Value>,
    data: Value,
    who: &'static str,
    second: i64,
) -> Result<Value, api::Status> {
    apply(live, &settings(data), &by(who, "v1", second), config(), false)
}

fn data(fields: &[&str]) -> Value {
    let fields: serde_json::Map<String, Value> =
        fields.iter().map(|name| (format!("f:{name}"), json!({}))).collect();
    json!({"f:data": fields})
}

#[test]
fn an_apply_owns_what_it_says() {
    let object = applied(None, json!({"a": "1", "b": "2"}), "one", 5).unwrap();
    assert_eq!(owned(&object), [("one/Apply".to_owned(), data(&["a", "b"]))]);
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!(entry["time"], "1970-01-01T00:00:05Z");
    assert_eq!(entry["apiVersion"], "v1");
    assert_eq!(object["data"], json!({"a": "1", "b": "2"}));
}

#[test]
fn saying_the_same_again_changes_nothing_not_even_the_time() {
    let first = applied(None, json!({"a": "1"}), "one", 5).unwrap();
    assert_eq!(applied(Some(&first), json!({"a": "1"}), "one", 9).unwrap(), first);
}

#[test]
fn another_value_is_a_conflict_with_its_owner() {
    let live = applied(None, json!({"a": "1", "b": "2"}), "one", 5).unwrap();
    let status = applied(Some(&live), json!({"a": "9"}), "two", 6).unwrap_err();
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let cause = &status.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".data.a"));
    let status = applied(Some(&live), json!({"a": "9", "b": "9"}), "two", 6).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.a\n- .data.b"
    );
}

#[test]
fn force_takes_the_field_and_agreement_shares_it() {
    let live = applied(None, json!({"a": "1", "b": "2"}), "one", 5).unwrap();
    let two = by("two", "v1", 6);
    let live = apply(Some(&live), &settings(json!({"a": "9"})), &two, config(), true).unwrap();
    let expected = [("one/Apply".to_owned(), data(&["b"])), ("two/Apply".to_owned(), data(&["a"]))];
    assert_eq!(owned(&live), expected);
    let live = applied(Some(&live), json!({"b": "2"}), "three", 7).unwrap();
    assert_eq!(owned(&live).len(), 3);
    let newcomer = &live["metadata"]["managedFields"][0];
    assert_eq!(newcomer["manager"], "three");
    assert!(newcomer.get("time").is_none(), "it changed nothing");
}

#[test]
fn what_is_given_up_goes_unless_somebody_else_owns_it() {
    let live = applied(None, json!({"a": "1", "b": "2"}), "one", 5).unwrap();
    let live = applied(Some(&live), json!({"b": "2"}), "two", 6).unwrap();
    let live = applied(Some(&live), json!({}), "one", 7).unwrap();
    assert_eq!(live["data"], json!({"b": "2"}));
    let live = applied(Some(&live), json!({}), "two", 8).unwrap();
    assert!(live.get("data").is_none());
    assert!(live["metadata"].get("managedFields").is_none());
}

#[test]
fn giving_up_the_last_label_leaves_the_name_and_what_the_server_keeps() {
    let mut labelled = settings(json!({}));
    labelled["metadata"]["labels"] = json!({"l": "v"});
    let one = by("one", "v1", 5);
    let mut live = apply(None, &labelled, &one, config(), false).unwrap();
    live["metadata"]["uid"] = "1".into();
    let live = apply(Some(&live), &settings(json!({})), &one, config(), false).unwrap();
    let metadata = &live["metadata"];
    assert_eq!((&metadata["name"], &metadata["uid"]), (&json!("settings"), &json!("1")));
    assert!(metadata.get("labels").is_none());
}

#[test]
fn an_update_takes_fields_from_appliers_and_conflicts_name_its_version() {
    let live = applied(None, json!({"a": "1"}), "one", 5).unwrap();
    let mut new = live.clone();
    new["data"]["a"] = "2".into();
    track_update(Some(&live), &mut new, &by("editor", "v1", 6), config());
    assert_eq!(owned(&new), [("editor/Update".to_owned(), data(&["a"]))]);
    let status = applied(Some(&new), json!({"a": "1"}), "one", 7).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.a"
    );
}

#[test]
fn a_create_marks_the_containers_of_fields_that_were_not_there() {
    let mut object = settings(json!({"a": "1"}));
    object["metadata"]["labels"] = json!({"l": "v"});
    track_update(None, &mut object, &by("curl", "v1", 5), config());
    let expected = json!({
        "f:data": {".": {}, "f:a": {}},
        "f:metadata": {"f:labels": {".": {}, "f:l": {}}},
    });
    assert_eq!(owned(&object), [("curl/Update".to_owned(), expected)]);
}

#[test]
fn an_update_that_changes_nothing_keeps_the_times() {
    let mut first = settings(json!({"a": "1"}));
    track_update(None, &mut first, &by("curl", "v1", 5), config());
    let mut second = settings(json!({"a": "1"}));
    track_update(Some(&first), &mut second, &by("curl", "v1", 9), config());
    assert_eq!(second, first);
}

#[test]
fn one_empty_entry_wipes_the_owners() {
    let live = applied(None, json!({"a": "1"}), "one", 5).unwrap();
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([{}]);
    track_update(Some(&live), &mut new, &by("curl", "v1", 6), config());
    assert!(new["metadata"].get("managedFields").is_none());
    let mut later = new.clone();
    later["data"]["b"] = "2".into();
    track_update(Some(&new), &mut later, &by("curl", "v1", 7), config());
    assert!(later["metadata"].get("managedFields").is_none(), "nobody keeps owners any more");
    let again = applied(Some(&later), json!({"c": "3"}), "one", 8).unwrap();
    assert_eq!(owned(&again)[1].0, "before-first-apply/Update");
}

#[test]
fn more_than_ten_updaters_become_ancient() {
    let mut live = settings(json!({}));
    live["data"] = json!({});
    let names: Vec<String> = (0..14).map(|n| format!("m{n:02}")).collect();
    for (n, name) in names.iter().enumerate() {
        let mut new = live.clone();
        new["data"][name.as_str()] = "x".into();
        let second = i64::try_from(n).unwrap();
        let manager = Manager { name, api_version: "v1", subresource: "", now: at(second) };
        let old = (n > 0).then_some(&live);
        track_update(old, &mut new, &manager, config());
        live = new;
    }
    let found = owned(&live);
    assert_eq!(found.len(), 10);
    assert_eq!(found[0].0, "ancient-changes/Update");
    assert_eq!(
        found[0].1,
        json!({"f:data": {".": {}, "f:m00": {}, "f:m01": {}, "f:m02": {}, "f:m03": {}, "f:m04": {}}})
    );
}

fn probe(containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "probe"},
        "spec": {
            "selector": {"matchLabels": {"app": "probe"}},
            "template": {"metadata": {"labels": {"app": "probe"}}, "spec": {"containers": containers}},
        },
    })
}

#[test]
fn keys_have_defaults_and_items_of_lists_are_owned_one_by_one() {
    let wanted = probe(json!([{"name": "m", "image": "m:1", "ports": [{"containerPort": 80}]}]));
    let live = apply(None, &wanted, &by("deployer", "apps/v1", 1), daemon(), false).unwrap();
    let containers = &owned(&live)[0].1["f:spec"]["f:template"]["f:spec"]["f:containers"];
    assert_eq!(
        containers,
        &json!({"k:{\"name\":\"m\"}": {
            ".": {}, "f:image": {}, "f:name": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
        }})
    );
    let side = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "probe"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}},
    });
    let live = apply(Some(&live), &side, &by("sidecarer", "apps/v1", 2), daemon(), false).unwrap();
    let names: Vec<&str> = live["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["m", "side"]);
    let bare = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "probe"}});
    let live = apply(Some(&live), &bare, &by("sidecarer", "apps/v1", 3), daemon(), false).unwrap();
    assert_eq!(live["spec"], wanted["spec"]);
}

#[test]
fn a_conflict_inside_a_list_names_the_item_by_its_key() {
    let live = apply(
        None,
        &probe(json!([{"name": "m", "image": "m:1"}])),
        &by("a", "apps/v1", 1),
        daemon(),
        false,
    )
    .unwrap();
    let other = probe(json!([{"name": "m", "image": "m:2"}]));
    let status = apply(Some(&live), &other, &by("b", "apps/v1", 1), daemon(), false).unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.template.spec.containers[name=\"m\"].image"
    );
}

#[test]
fn what_does_not_fit_the_type_is_said_with_its_path() {
    let message = |containers: Value| {
        let status =
            apply(None, &probe(containers), &by("a", "apps/v1", 1), daemon(), false).unwrap_err();
        assert_eq!((status.code, status.reason.as_str()), (500, ""));
        status.message
    };
    let prefix = "failed to create typed patch object (/probe; apps/v1, Kind=DaemonSet): .spec.template.spec.containers";
    assert_eq!(
        message(json!([{"name": "m"}, {"name": "m"}])),
        format!("{prefix}: duplicate entries for key [name=\"m\"]")
    );
    assert_eq!(
        message(json!([{"name": "m", "wings": 2}])),
        format!("{prefix}[name=\"m\"].wings: field not declared in schema")
    );
    assert_eq!(
        message(json!([{"name": "m", "image": 5}])),
        format!(
            "{prefix}[name=\"m\"].image: expected string, got &value.valueUnstructured{{Value:5}}"
        )
    );
}

#[test]
fn status_and_spec_have_owners_of_their_own() {
    let live = apply(
        None,
        &probe(json!([{"name": "m", "image": "m:1"}])),
        &by("a", "apps/v1", 1),
        daemon(),
        false,
    )
    .unwrap();
    let status = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "probe"},
        "spec": {"minReadySeconds": 9}, "status": {"numberReady": 1},
    });
    let door = Manager { subresource: "status", ..by("ctl", "apps/v1", 2) };
    let live = apply(Some(&live), &status, &door, daemon(), false).unwrap();
    assert_eq!(
        owned(&live)[1],
        ("ctl/Apply/status".to_owned(), json!({"f:status": {"f:numberReady": {}}}))
    );
    let mut twisted = probe(json!([{"name": "m", "image": "m:1"}]));
    twisted["status"] = json!({"numberReady": 7});
    let live = apply(Some(&live), &twisted, &by("a", "apps/v1", 3), daemon(), false).unwrap();
    assert!(owned(&live)[0].1.get("f:status").is_none(), "nobody sets status through this door");
}

#[test]
fn kubectl_takes_over_from_its_client_side_apply() {
    let said = settings(json!({"a": "1"}));
    let mut live = said.clone();
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{said}\n")});
    track_update(None, &mut live, &by("kubectl-client-side-apply", "v1", 1), config());
    let wanted = settings(json!({"a": "2"}));
    let other = apply(Some(&live), &wanted, &by("ci", "v1", 2), config(), false);
    assert_eq!(other.unwrap_err().code, 409);
    let mine = apply(Some(&live), &wanted, &by("kubectl", "v1", 2), config(), false).unwrap();
    assert_eq!(mine["data"]["a"], "2");
    let kept = mine["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
        .as_str();
    assert!(kept.unwrap().contains("\"a\":\"2\""), "{kept:?}");
    let mut edited = live.clone();
    edited["data"]["a"] = "by hand".into();
    track_update(Some(&live), &mut edited, &by("kubectl-edit", "v1", 3), config());
    let status =
        apply(Some(&edited), &wanted, &by("kubectl", "v1", 4), config(), false).unwrap_err();
    assert_eq!(status.code, 409, "a value that is not what was applied is somebody's");
}

#[test]
fn items_of_one_key_are_owned_together_without_their_parts() {
    let with = |variables: Value| {
        let container = json!({"name": "m", "env": variables});
        json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [container]}}}})
    };
    let env = |object: &Value| {
        let entries = owned(object);
        let fields = &entries.last().expect("an entry").1;
        fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"m\"}"]["f:env"]
            .clone()
    };
    let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let mut first = with(twice.clone());
    track_update(None, &mut first, &by("one", "apps/v1", 1), daemon());
    assert_eq!(env(&first), json!({".": {}, "k:{\"name\":\"A\"}": {}}));
    let mut same = first.clone();
    track_update(Some(&first), &mut same, &by("two", "apps/v1", 2), daemon());
    assert_eq!(owned(&same).len(), 1, "nothing changed");
    let mut once = with(json!([{"name": "A", "value": "2"}]));
    track_update(Some(&first), &mut once, &by("two", "apps/v1", 2), daemon());
    assert_eq!(
        env(&once),
        json!({"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}),
        "the one that is left belongs to who left it"
    );
}

#[test]
fn what_comes_by_a_scale_has_no_time() {
    let mut old = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1}});
    let kind = kind("io.k8s.api.apps.v1.Deployment");
    track_update(None, &mut old, &by("one", "apps/v1", 1), kind);
    let mut new = old.clone();
    new["spec"]["replicas"] = 2.into();
    let scaler = Manager { subresource: "scale", ..by("hpa", "apps/v1", 2) };
    track_update(Some(&old), &mut new, &scaler, kind);
    let entries = new["metadata"]["managedFields"].as_array().expect("entries");
    let scaled = entries.iter().find(|entry| entry["manager"] == "hpa").expect("an entry");
    assert_eq!(scaled.get("time"), None);
}
