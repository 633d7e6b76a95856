//! What changes do, and which are refused.

use super::*;

/// Spec A21–A23, A30, A31.
#[test]
fn generations_follow_the_spec_and_the_template() {
    let kind = row("apps/daemonsets");
    let mut old = daemonset(&json!({}));
    create(kind, &mut old).expect("accepted");
    let counters = |of: &Value| {
        let meta = of.at("metadata");
        let template = meta.at("annotations").text("deprecated.daemonset.template.generation");
        (meta.int("generation").unwrap_or(0), template.to_owned())
    };
    let changed = |patch: Value, subresource: &str| {
        let mut new = old.clone();
        merge(&mut new, &patch);
        update(kind, &mut new, &old, subresource).expect("accepted");
        new
    };
    let labels = changed(json!({"metadata": {"labels": {"a": "b"}, "generation": 9}}), "");
    assert_eq!(counters(&labels), (1, "1".into()), "labels alone");
    let removed = json!({"metadata": {"annotations": null}, "spec": {"minReadySeconds": 5}});
    assert_eq!(counters(&changed(removed, "")), (2, "1".into()), "spec but not template");
    let template = json!({"spec": {"template": {"spec": {"hostPID": true}}}});
    assert_eq!(counters(&changed(template, "")), (2, "2".into()), "template");
    let status = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"minReadySeconds": 7}, "status": {"numberReady": 2}});
    let new = changed(status.clone(), "status");
    assert_eq!((new.at("spec"), new.at("status").int("numberReady")), (old.at("spec"), Some(2)));
    assert_eq!(new.at("metadata").at("labels").text("x"), "y", "A31");
    assert_eq!(changed(status, "").at("status"), old.at("status"), "A30");
}

/// Spec A46, A32.
#[test]
fn what_may_not_change_is_refused() {
    let kind = row("apps/daemonsets");
    let mut old = daemonset(&json!({}));
    create(kind, &mut old).expect("accepted");
    let mut new = old.clone();
    let labels = json!({"matchLabels": {"app": "new"}});
    merge(
        &mut new,
        &json!({"spec": {"selector": labels, "template": {"metadata": {"labels": {"app": "new"}}}}}),
    );
    assert_eq!(
        faults(update(kind, &mut new, &old, "")),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"new\"}}: field is immutable"]
    );
    old["status"].set("collisionCount", 3);
    let mut new = old.clone();
    new["status"].set("collisionCount", 2);
    assert_eq!(
        faults(update(kind, &mut new, &old, "status")),
        ["status.collisionCount: Invalid value: 2: cannot be decremented"]
    );
}

/// Spec A90.
#[test]
fn a_pods_spec_may_hardly_change() {
    let kind = row("pods");
    let mut old = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], "tolerations": [{"key": "k", "operator": "Exists"}]},
    });
    create(kind, &mut old).expect("accepted");
    let mut image = old.clone();
    image["spec"]["containers"][0]["image"] = json!("i:2");
    update(kind, &mut image, &old, "").expect("images may change");
    assert_eq!(image.at("metadata").int("generation"), Some(2));
    let mut node = old.clone();
    node["spec"]["nodeName"] = json!("n");
    let all = faults(update(kind, &mut node, &old, ""));
    assert!(
        all[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{all:?}"
    );
    let mut less = old.clone();
    less["spec"].unset("tolerations");
    assert_eq!(
        faults(update(kind, &mut less, &old, "")),
        [
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
        ]
    );
}
