use super::*;
use crate::admit::json::Json;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Default)]
struct Known(BTreeMap<String, Value>);

impl Known {
    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }
}

impl View for Known {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(&format!("{group}/{plural}/{namespace}/{name}")).cloned().map(Arc::new)
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let prefix = format!("{group}/{plural}/{namespace}");
        self.0
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix))
            .map(|(_, v)| Arc::new(v.clone()))
            .collect()
    }

    fn labels(&self, (group, plural): (&str, &str), namespace: &str, name: &str) -> Option<Labels> {
        let object = self.get(group, plural, namespace, name)?;
        let labels = object.at("metadata").at("labels").as_object()?.clone();
        Some(
            labels
                .into_iter()
                .map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned()))
                .collect(),
        )
    }
}

fn admin() -> Identity {
    Identity::new("admin", &["system:masters"])
}

fn attributes<'a>(
    identity: &'a Identity,
    operation: Operation,
    plural: &str,
    name: &'a str,
) -> Attributes<'a> {
    let (group, plural) = plural.rsplit_once('/').unwrap_or(("", plural));
    let resource = api::resource::ALL
        .iter()
        .find(|row| row.group == group && row.plural == plural)
        .expect("a resource we serve");
    let namespace = if resource.namespaced { "default" } else { "" };
    Attributes {
        operation,
        resource,
        subresource: "",
        namespace,
        name,
        identity,
        old: None,
        suffix: "",
    }
}

fn default_namespace() -> Known {
    Known::default().with("/namespaces//default", json!({"metadata": {"name": "default"}}))
}

fn message<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    result.expect_err("a refusal").message
}

#[test]
fn a_missing_namespace_is_404() {
    let (me, view) = (admin(), Known::default());
    let asked = attributes(&me, Operation::Create, "configmaps", "x");
    let status = mutate(&Plugins::default(), &mut json!({}), &asked, &view).expect_err("404");
    assert_eq!(status.code, 404);
    assert_eq!(status.message, "namespaces \"default\" not found");
}

#[test]
fn nothing_new_goes_into_a_terminating_namespace() {
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let (me, view) = (admin(), Known::default().with("/namespaces//default", leaving));
    let asked = attributes(&me, Operation::Create, "configmaps", "late");
    assert_eq!(
        message(mutate(&Plugins::default(), &mut json!({}), &asked, &view)),
        "configmaps \"late\" is forbidden: unable to create new content in namespace default because it is being terminated"
    );
    let asked = attributes(&me, Operation::Update, "configmaps", "late");
    assert!(mutate(&Plugins::default(), &mut json!({}), &asked, &view).is_ok());
}

#[test]
fn three_namespaces_never_go() {
    let (me, view) = (admin(), Known::default());
    for name in ["default", "kube-system", "kube-public"] {
        let asked = attributes(&me, Operation::Delete, "namespaces", name);
        assert_eq!(
            message(validate(&Plugins::default(), &json!({}), &asked, &view)),
            format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
        );
    }
}

/// Spec C30.
#[test]
fn a_class_becomes_a_number() {
    let class = json!({"metadata": {"name": "high"}, "value": 777, "preemptionPolicy": "Never"});
    let view = default_namespace().with("scheduling.k8s.io/priorityclasses//high", class);
    let me = admin();
    let asked = attributes(&me, Operation::Create, "pods", "p");
    let mut pod = json!({"spec": {"priorityClassName": "high"}});
    mutate(&Plugins::default(), &mut pod, &asked, &view).expect("admitted");
    assert_eq!(pod.at("spec").int("priority"), Some(777));
    assert_eq!(pod.at("spec").text("preemptionPolicy"), "Never");

    let mut pod = json!({"spec": {"priorityClassName": "high", "priority": 778}});
    assert_eq!(
        message(mutate(&Plugins::default(), &mut pod, &asked, &view)),
        "pods \"p\" is forbidden: the integer value of priority (778) must not be provided in pod spec; priority admission controller computed 777 from the given PriorityClass name"
    );
    let mut pod = json!({"spec": {"priorityClassName": "none"}});
    assert_eq!(
        message(mutate(&Plugins::default(), &mut pod, &asked, &view)),
        "pods \"p\" is forbidden: no PriorityClass with name none was found"
    );
}

/// Spec C30: of several classes for everyone, the one of the lowest value counts.
#[test]
fn pods_without_a_class_get_everyones() {
    let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "globalDefault": true});
    let view = default_namespace()
        .with("scheduling.k8s.io/priorityclasses//a", class("a", 5))
        .with("scheduling.k8s.io/priorityclasses//b", class("b", 3));
    let me = admin();
    let asked = attributes(&me, Operation::Create, "pods", "p");
    let mut pod = json!({"spec": {}});
    mutate(&Plugins::default(), &mut pod, &asked, &view).expect("admitted");
    assert_eq!(pod.at("spec").int("priority"), Some(3));
    assert_eq!(pod.at("spec").text("priorityClassName"), "b");
}

/// Spec B13.
#[test]
fn lost_nodes_are_tolerated_for_five_minutes_unless_said_otherwise() {
    let me = admin();
    let asked = attributes(&me, Operation::Create, "pods", "p");
    let mut pod = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7}]}});
    mutate(&Plugins::default(), &mut pod, &asked, &default_namespace()).expect("admitted");
    let all = pod.at("spec").list("tolerations");
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].int("tolerationSeconds"), Some(7));
    assert_eq!(all[1].text("key"), "node.kubernetes.io/unreachable");
    assert_eq!(all[1].int("tolerationSeconds"), Some(300));
}

/// Spec A92.
#[test]
fn a_new_node_is_tainted_once() {
    let me = admin();
    let asked = attributes(&me, Operation::Create, "nodes", "n");
    let mut node = json!({});
    for _ in 0..2 {
        mutate(&Plugins::default(), &mut node, &asked, &Known::default()).expect("admitted");
    }
    let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    assert_eq!(*node.at("spec").at("taints"), taint);
}

/// Spec E66.
#[test]
fn a_node_touches_only_what_is_its_own() {
    let me = Identity::new("system:node:a", &["system:nodes"]);
    let plugins = Plugins::default();
    let view = Known::default()
        .with("/namespaces//default", json!({}))
        .with("/namespaces//kube-node-lease", json!({}));
    let other = attributes(&me, Operation::Update, "nodes", "b");
    assert_eq!(
        message(mutate(&plugins, &mut json!({}), &other, &view)),
        "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\""
    );
    let own = attributes(&me, Operation::Create, "nodes", "a");
    let label = |key: &str| json!({"metadata": {"name": "a", "labels": {key: "x"}}});
    assert!(mutate(&plugins, &mut label("kubernetes.io/hostname"), &own, &view).is_ok());
    assert!(mutate(&plugins, &mut label("example.com/rack"), &own, &view).is_ok());
    assert!(
        mutate(&plugins, &mut label("node-restriction.kubernetes.io/team"), &own, &view).is_err()
    );
    assert!(mutate(&plugins, &mut label("node-role.kubernetes.io/master"), &own, &view).is_err());
    let mut lease = attributes(&me, Operation::Update, "coordination.k8s.io/leases", "a");
    assert!(mutate(&plugins, &mut json!({}), &lease, &view).is_err(), "another namespace");
    lease.namespace = "kube-node-lease";
    assert!(mutate(&plugins, &mut json!({}), &lease, &view).is_ok());
    lease.name = "b";
    assert!(mutate(&plugins, &mut json!({}), &lease, &view).is_err(), "another node's");
    let mut pod = attributes(&me, Operation::Update, "pods", "p");
    let (mine, theirs) = (json!({"spec": {"nodeName": "a"}}), json!({"spec": {"nodeName": "b"}}));
    pod.subresource = "status";
    pod.old = Some(&mine);
    assert!(mutate(&plugins, &mut mine.clone(), &pod, &view).is_ok());
    pod.old = Some(&theirs);
    assert!(mutate(&plugins, &mut theirs.clone(), &pod, &view).is_err());
}

/// CVE-2025-5187: a node that names an owner that is not there would have itself collected.
#[test]
fn a_node_does_not_change_its_owners() {
    let me = Identity::new("system:node:a", &["system:nodes"]);
    let (plugins, view) = (Plugins::default(), Known::default());
    let bare = json!({"metadata": {"name": "a"}});
    let owned = json!({"metadata": {"name": "a", "ownerReferences": [{"uid": "u"}]}});
    let mut update = attributes(&me, Operation::Update, "nodes", "a");
    for (old, new) in [(&bare, &owned), (&owned, &bare)] {
        update.old = Some(old);
        assert_eq!(
            message(mutate(&plugins, &mut new.clone(), &update, &view)),
            "nodes \"a\" is forbidden: node \"a\" is not allowed to modify ownerReferences"
        );
        assert!(mutate(&plugins, &mut old.clone(), &update, &view).is_ok());
    }
}

/// The other quota was written between; the one that is paid has nothing left, by our own charge.
#[test]
fn a_quota_that_is_paid_is_not_judged_again() {
    let quota = |name: &str, used: &str| {
        let status = json!({"hard": {"configmaps": "1"}, "used": {"configmaps": used}});
        json!({"metadata": {"name": name, "namespace": "default"}, "status": status})
    };
    let view = Known::default()
        .with("/resourcequotas/default/a", quota("a", "1"))
        .with("/resourcequotas/default/b", quota("b", "0"));
    let admin = admin();
    let create = attributes(&admin, Operation::Create, "configmaps", "c");
    let charges = |paid: &[&str]| {
        let paid = paid.iter().map(|&name| name.to_owned()).collect();
        quota::charges(&json!({}), &create, &view, &paid)
    };
    assert!(message(charges(&[])).contains("exceeded quota: a"));
    let left = charges(&["a"]).expect("only b is judged");
    let names: Vec<&str> = left.iter().map(|c| c.old.at("metadata").text("name")).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_claim_is_paid_for_in_all_and_by_its_class() {
    let gold = "gold.storageclass.storage.k8s.io/requests.storage";
    let amounts = |storage: &str| json!({"persistentvolumeclaims": "1", "requests.storage": storage, gold: storage});
    let none = json!({"persistentvolumeclaims": "0", "requests.storage": "0", gold: "0"});
    let quota = |name: &str, spec: Value| {
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec,
            "status": {"hard": amounts("2Gi"), "used": none}})
    };
    let scoped = |scope: &str| {
        json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": scope, "operator": "In", "values": ["fast"]}]}})
    };
    let view = Known::default()
        .with("/resourcequotas/default/all", quota("all", json!({})))
        .with("/resourcequotas/default/fast", quota("fast", scoped("VolumeAttributesClass")))
        .with("/resourcequotas/default/pods", quota("pods", scoped("PriorityClass")));
    let claim = |storage: &str, attributes: &str| {
        json!({"metadata": {"name": "c"}, "spec": {"storageClassName": "gold",
            "volumeAttributesClassName": attributes, "resources": {"requests": {"storage": storage}}}})
    };
    let admin = admin();
    let create = attributes(&admin, Operation::Create, "persistentvolumeclaims", "c");
    let charged = |claim: &Value, attributes: &Attributes<'_>| -> Vec<(String, String)> {
        let charges = quota::charges(claim, attributes, &view, &BTreeSet::new()).unwrap();
        let shown = |charge: &quota::Charge| {
            let name = charge.old.at("metadata").text("name").to_owned();
            (name, charge.new.at("status").at("used").to_string())
        };
        charges.iter().map(shown).collect()
    };
    let paid = |name: &str| (name.to_owned(), amounts("1Gi").to_string());
    assert_eq!(charged(&claim("1Gi", ""), &create), [paid("all")]);
    assert_eq!(charged(&claim("1Gi", "fast"), &create), [paid("all"), paid("fast")]);
    let all = BTreeSet::new();
    let refused = message(quota::charges(&claim("3Gi", ""), &create, &view, &all));
    assert!(refused.contains("exceeded quota: all"), "{refused}");
    let (old, mut grow) =
        (claim("1Gi", ""), attributes(&admin, Operation::Update, "persistentvolumeclaims", "c"));
    grow.old = Some(&old);
    let more = charged(&claim("2Gi", ""), &grow);
    assert!(more[0].1.contains(r#""requests.storage":"1Gi""#), "only the rise is paid: {more:?}");
}

#[test]
fn a_node_asks_for_tokens_of_its_own_pods_only() {
    let me = Identity::new("system:node:a", &["system:nodes"]);
    let pod = |node: &str| {
        json!({"metadata": {"uid": "u"}, "spec": {"nodeName": node, "volumes": [
            {"projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}}
        ]}})
    };
    let view = default_namespace()
        .with("/pods/default/mine", pod("a"))
        .with("/pods/default/theirs", pod("b"));
    let mut asked = attributes(&me, Operation::Create, "serviceaccounts", "robot");
    asked.subresource = "token";
    let judge = |pod: &str, uid: &str, audiences: Value| {
        let mut request = json!({"spec": {"audiences": audiences, "boundObjectRef": {
            "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid
        }}});
        mutate(&Plugins::default(), &mut request, &asked, &view).map_err(|status| status.message)
    };
    let told = |why: &str| Err(format!("serviceaccounts \"robot\" is forbidden: {why}"));
    assert_eq!(judge("mine", "u", json!(["vault"])), Ok(()));
    assert_eq!(
        judge("mine", "u", json!(["other"])),
        told("audience \"other\" not found in pod spec volume")
    );
    assert_eq!(
        judge("mine", "", json!(["vault"])),
        told("node requested token with a pod binding without a uid")
    );
    assert_eq!(
        judge("theirs", "u", json!(["vault"])),
        told("node requested token bound to a pod scheduled on a different node")
    );
}

#[test]
fn a_plugin_nobody_knows_is_an_error() {
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let plugins = Plugins::switched(&names(&["NodeRestriction"]), &names(&["Priority"]));
    let plugins = plugins.expect("known names");
    assert!(plugins.has("NodeRestriction") && !plugins.has("Priority"));
    assert!(Plugins::switched(&names(&["AlwaysAdmit"]), &[]).is_ok(), "upstream's, not ours");
    assert_eq!(
        Plugins::switched(&names(&["Prioritty"]), &[]),
        Err("admission-control plugin \"Prioritty\" is unknown".to_owned())
    );
}
