use super::*;
use crate::authorize::asked;
use serde_json::json;

fn see(policy: &mut Policy, kind: Kind, namespace: &str, object: &serde_json::Value) {
    let name = object["metadata"]["name"].as_str().unwrap();
    policy.observe(kind, namespace, name, Some(object.to_string().as_bytes())).unwrap();
}

fn bind(
    policy: &mut Policy,
    namespace: &str,
    name: &str,
    role: (&str, &str),
    subject: serde_json::Value,
) {
    let kind = if namespace.is_empty() { Kind::ClusterRoleBinding } else { Kind::RoleBinding };
    let object = json!({
        "metadata": {"name": name}, "roleRef": {"kind": role.0, "name": role.1}, "subjects": [subject]
    });
    see(policy, kind, namespace, &object);
}

#[test]
fn rules_match_as_upstream_matches_them() {
    let rule = |value| serde_json::from_value::<Rule>(value).unwrap();
    let pods = rule(
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log", "*/scale"]}),
    );
    let named = rule(json!({
        "verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["only"]
    }));
    let all = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
    let nulls = rule(json!({"verbs": ["get"], "apiGroups": null, "resources": null}));
    let table = [
        (&pods, "get - pods n x", true),
        (&pods, "get - pods/log n x", true),
        (&pods, "get - pods/status n x", false),
        (&pods, "get apps pods n x", false),
        (&pods, "list - pods n -", false),
        (&pods, "get - things/scale n x", true),
        (&pods, "get - scale n x", false),
        (&named, "get - configmaps n only", true),
        (&named, "get - configmaps n other", false),
        (&named, "list - configmaps n -", false),
        (&named, "list - configmaps n only", true),
        (&all, "approve certificates.k8s.io signers - k", true),
        (&all, "get - pods/status n x", true),
        (&nulls, "get - pods n x", false),
    ];
    for (rule, text, allowed) in table {
        assert_eq!(rule.allows(&asked(text)), allowed, "{text} by {rule:?}");
    }
    let urls = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
    for (path, allowed) in [
        ("/healthz", true),
        ("/healthz/x", false),
        ("/api/v1", true),
        ("/api", false),
        ("/apis", false),
    ] {
        let attributes =
            Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
        assert_eq!(urls.allows(&attributes), allowed, "{path}");
        assert!(!all.allows(&attributes), "resource rules say nothing about {path}");
    }
}

#[test]
fn grants_follow_objects_as_they_come_change_and_go() {
    let mut policy = Policy::default();
    let alice = Identity::new("alice", &["devs"]);
    let role = |verbs: serde_json::Value| json!({"metadata": {"name": "r"}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]});
    let get = asked("get - pods n x");
    bind(&mut policy, "n", "b", ("Role", "r"), json!({"kind": "User", "name": "alice"}));
    assert_eq!(policy.decide(&alice, &get), None, "the role does not exist yet");
    see(&mut policy, Kind::Role, "n", &role(json!(["get"])));
    assert_eq!(
        policy.decide(&alice, &get).unwrap(),
        "RBAC: allowed by RoleBinding \"b/n\" of Role \"r\" to User \"alice\""
    );
    assert_eq!(policy.decide(&alice, &asked("get - pods other x")), None, "another namespace");
    assert_eq!(policy.decide(&alice, &asked("get - pods - x")), None, "all namespaces");
    see(&mut policy, Kind::Role, "n", &role(json!(["list"])));
    assert_eq!(policy.decide(&alice, &get), None, "the role changed");
    see(&mut policy, Kind::Role, "n", &role(json!(["get"])));
    bind(&mut policy, "n", "b", ("Role", "r"), json!({"kind": "Group", "name": "ops"}));
    assert_eq!(policy.decide(&alice, &get), None, "the binding now names others");
    bind(&mut policy, "n", "b", ("Role", "r"), json!({"kind": "Group", "name": "devs"}));
    assert!(policy.decide(&alice, &get).unwrap().ends_with("to Group \"devs\""));
    policy.observe(Kind::RoleBinding, "n", "b", None).unwrap();
    assert_eq!(policy.decide(&alice, &get), None, "the binding went");
    assert!(policy.namespaces.is_empty(), "nothing is left behind");
}

#[test]
fn service_accounts_are_bound_by_their_namespace() {
    let mut policy = Policy::default();
    see(
        &mut policy,
        Kind::ClusterRole,
        "",
        &json!({
            "metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]
        }),
    );
    bind(
        &mut policy,
        "n",
        "b",
        ("ClusterRole", "r"),
        json!({"kind": "ServiceAccount", "name": "robot", "namespace": "m"}),
    );
    let robot =
        |namespace: &str| Identity::new(&format!("system:serviceaccount:{namespace}:robot"), &[]);
    let why = policy.decide(&robot("m"), &asked("get - pods n x")).unwrap();
    assert!(why.ends_with("of ClusterRole \"r\" to ServiceAccount \"robot/m\""), "{why}");
    assert_eq!(policy.decide(&robot("n"), &asked("get - pods n x")), None);
}

#[test]
fn a_role_grants_what_is_written_in_it_and_not_what_it_will_gather() {
    let mut policy = Policy::default();
    let gathering = |rules: serde_json::Value| {
        json!({
            "metadata": {"name": "admin"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-admin": "true"}}]},
            "rules": rules,
        })
    };
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    let leaf =
        json!({"metadata": {"name": "leaf", "labels": {"to-admin": "true"}}, "rules": rules});
    see(&mut policy, Kind::ClusterRole, "", &gathering(json!(null)));
    see(&mut policy, Kind::ClusterRole, "", &leaf);
    bind(&mut policy, "n", "b", ("ClusterRole", "admin"), json!({"kind": "User", "name": "alice"}));
    let alice = Identity::new("alice", &[]);
    assert!(policy.decide(&alice, &asked("get - pods n x")).is_none());
    see(&mut policy, Kind::ClusterRole, "", &gathering(rules));
    assert!(policy.decide(&alice, &asked("get - pods n x")).is_some());
}

#[test]
fn an_unreadable_role_takes_back_what_its_former_self_granted() {
    let mut policy = Policy::default();
    see(
        &mut policy,
        Kind::ClusterRole,
        "",
        &json!({
            "metadata": {"name": "r"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        }),
    );
    bind(&mut policy, "", "b", ("ClusterRole", "r"), json!({"kind": "User", "name": "alice"}));
    let alice = Identity::new("alice", &[]);
    assert!(policy.decide(&alice, &asked("get - pods n x")).is_some());
    assert!(policy.observe(Kind::ClusterRole, "", "r", Some(b"{\"rules\": 7}")).is_err());
    assert_eq!(policy.decide(&alice, &asked("get - pods n x")), None);
}
