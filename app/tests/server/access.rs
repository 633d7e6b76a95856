//! Who is let in, and in which words the others are not.

use crate::harness::{
    Place, administrator, delete, eventually, get, kubectl, message, post, with_token,
};
use http::StatusCode;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn health_is_open_to_everybody_and_the_rest_is_not() {
    let place = Place::new();
    let server = place.start();
    let nobody = with_token(&place, &server, None).await;
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(get(&nobody, path).await, (StatusCode::OK, "ok".to_owned()), "{path}");
    }
    let (status, version) = get(&nobody, "/version").await;
    assert_eq!(status, StatusCode::OK);
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36.2+pernode."), "{version}");
    let (status, text) = get(&nobody, "/metrics").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(message(&text), "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"");
}

#[tokio::test]
async fn the_figures_of_all_parts_are_on_one_page() {
    let place = Place::new();
    let _server = place.start_whole(0);
    let client = administrator(&place).await;
    // the server is ready before its parts have begun, and they have no figures until then
    let mut text = String::new();
    eventually("the figures of all parts are there", async || {
        let (status, page) = get(&client, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        text = page;
        let wanted = [
            "apiserver_storage_revision ",
            "apiserver_storage_batches ",
            "# TYPE pernode_queue_depth gauge",
        ];
        wanted.iter().all(|name| text.lines().any(|line| line.starts_with(name)))
    })
    .await;
    assert_eq!(text.matches("# EOF").count(), 1);
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn refusals_read_as_kubernetes_words_them() {
    let place = Place::new();
    let server = place.start();
    let configmaps = "/api/v1/namespaces/default/configmaps";
    let wrong = with_token(&place, &server, Some("no-such-token")).await;
    let (status, text) = get(&wrong, configmaps).await;
    assert_eq!((status, message(&text).as_str()), (StatusCode::UNAUTHORIZED, "Unauthorized"));
    let table = [
        (
            None,
            configmaps,
            "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        ),
        (
            Some("bob-token"),
            "/apis/apps/v1/namespaces/default/daemonsets/x/status",
            "daemonsets.apps \"x\" is forbidden: User \"bob\" cannot get resource \"daemonsets/status\" in API group \"apps\" in the namespace \"default\"",
        ),
        (
            Some("bob-token"),
            "/api/v1/nodes",
            "nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
        ),
        (
            Some("edge-token"),
            "/api/v1/pods",
            "pods is forbidden: User \"system:node:edge-1\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
        ),
        (
            Some("edge-token"),
            "/api/v1/nodes/edge-2",
            "nodes \"edge-2\" is forbidden: User \"system:node:edge-1\" cannot get resource \"nodes\" in API group \"\" at the cluster scope",
        ),
    ];
    for (token, path, words) in table {
        let client = with_token(&place, &server, token).await;
        let (status, text) = get(&client, path).await;
        assert_eq!((status, message(&text).as_str()), (StatusCode::FORBIDDEN, words));
    }
    let edge = with_token(&place, &server, Some("edge-token")).await;
    let (status, text) = get(&edge, "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1").await;
    assert_eq!(status, StatusCode::OK, "a node sees its own pods: {text}");
}

#[tokio::test]
async fn a_binding_counts_in_the_very_next_request_and_so_does_its_end() {
    let place = Place::new();
    let server = place.start();
    let root = administrator(&place).await;
    let bob = with_token(&place, &server, Some("bob-token")).await;
    let configmaps = "/api/v1/namespaces/default/configmaps";
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    });
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let (status, answer) = post(&root, roles, &role).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"}]
    });
    assert_eq!(get(&bob, configmaps).await.0, StatusCode::FORBIDDEN);
    let (status, answer) = post(&root, bindings, &binding).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(get(&bob, configmaps).await.0, StatusCode::OK);
    assert_eq!(get(&bob, "/api/v1/namespaces/default/secrets").await.0, StatusCode::FORBIDDEN);
    assert_eq!(delete(&root, &format!("{bindings}/b")).await, StatusCode::OK);
    assert_eq!(get(&bob, configmaps).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_kubeconfig_is_private_and_makes_an_administrator() {
    let place = Place::new();
    let server = place.start();
    for name in ["admin.kubeconfig", "join-token", "pki/ca.key", "pki/apiserver.key"] {
        let mode = std::fs::metadata(place.file(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
    }
    let kubeconfig = place.file("admin.kubeconfig");
    let namespaces = kubectl(&kubeconfig, &["get", "namespaces", "-o", "name"]);
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(&format!("namespace/{name}\n")), "{namespaces}");
    }
    assert!(kubectl(&kubeconfig, &["version"]).contains("v1.36.2+pernode."));
    assert!(server.greeting.contains(&format!("export KUBECONFIG={}", kubeconfig.display())));
}

#[tokio::test]
async fn a_join_token_lets_in_until_its_secret_is_deleted_and_the_next_start_makes_a_new_one() {
    let place = Place::new();
    let server = place.start();
    let token = std::fs::read_to_string(place.file("join-token")).unwrap();
    let (id, _) = token.trim().split_once('.').unwrap();
    let joining = with_token(&place, &server, Some(token.trim())).await;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (status, answer) = post(&joining, reviews, &review).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let user = &answer["status"]["userInfo"];
    assert_eq!(user["username"], format!("system:bootstrap:{id}"));
    assert_eq!(user["groups"], json!(["system:bootstrappers", "system:authenticated"]));

    let root = administrator(&place).await;
    let secret = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
    assert_eq!(delete(&root, &secret).await, StatusCode::OK);
    assert_eq!(get(&joining, "/version").await.0, StatusCode::UNAUTHORIZED);

    server.end("-TERM");
    let server = place.start();
    let renewed = std::fs::read_to_string(place.file("join-token")).unwrap();
    assert_ne!(renewed, token);
    let joining = with_token(&place, &server, Some(renewed.trim())).await;
    assert_eq!(get(&joining, "/version").await.0, StatusCode::OK);
}
