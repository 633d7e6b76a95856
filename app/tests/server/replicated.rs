//! Deployments and ReplicationControllers on pretend nodes, by kubectl.

use crate::asked::cluster;
use crate::harness::{Place, delete, get, kubectl, post};
use http::StatusCode;
use serde_json::{Value, json};
use std::path::PathBuf;

const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";

/// Longer than anything here takes on a busy machine.
const PATIENCE: &str = "--timeout=120s";

struct Kubectl(PathBuf);

impl Kubectl {
    fn says(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        kubectl(&self.0, &words)
    }

    fn rolled_out(&self) {
        let said = self.says(&format!("rollout status deployment/web {PATIENCE}"));
        assert!(said.contains("successfully rolled out"), "{said}");
    }

    fn sizes(&self) -> String {
        let columns = "custom-columns=R:.metadata.annotations.deployment\\.kubernetes\\.io/revision,N:.spec.replicas";
        let said = self.says(&format!("get rs -l app=web --no-headers -o {columns}"));
        let mut lines: Vec<String> =
            said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(":")).collect();
        lines.sort();
        lines.join(" ")
    }
}

#[tokio::test]
async fn deployments_roll_out_are_undone_scaled_and_deleted_with_all_they_own() {
    let place = Place::new();
    let (_server, _hollow, root) = cluster(&place).await;
    let kubectl = Kubectl(place.file("admin.kubeconfig"));
    kubectl.says("create deployment web --image=one:1 --replicas=3");
    kubectl.rolled_out();
    assert_eq!(kubectl.sizes(), "1:3");
    kubectl.says("set image deployment/web one=two:2");
    kubectl.rolled_out();
    assert_eq!(kubectl.sizes(), "1:0 2:3");
    kubectl.says("rollout undo deployment/web");
    kubectl.rolled_out();
    assert_eq!(kubectl.sizes(), "2:0 3:3");
    let image = "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.says(image), "one:1");

    kubectl.says("rollout pause deployment/web");
    kubectl.says("set image deployment/web one=three:3");
    kubectl.says("scale deployment/web --replicas=5");
    kubectl.says(&format!(
        "wait deployment/web --for=jsonpath={{.status.availableReplicas}}=5 {PATIENCE}"
    ));
    assert_eq!(kubectl.sizes(), "2:0 3:5", "a pause makes no set");
    kubectl.says("rollout resume deployment/web");
    kubectl.rolled_out();
    assert_eq!(kubectl.sizes(), "2:0 3:0 4:5");
    let said = kubectl.says("rollout history deployment/web");
    assert!(said.contains("2 ") && said.contains("3 ") && said.contains("4 "), "{said}");
    let said = kubectl.says("describe deployment web");
    assert!(
        said.contains("NewReplicaSetAvailable") && said.contains("Scaled up replica set web-"),
        "{said}"
    );

    kubectl.says(&format!("delete deployment web --cascade=foreground {PATIENCE}"));
    let (_, text) = get(&root, "/apis/apps/v1/namespaces/default/replicasets").await;
    let left: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(left["items"], json!([]));
}

#[tokio::test]
async fn replication_controllers_keep_their_number_and_leave_their_pods_by_default() {
    let place = Place::new();
    let (_server, _hollow, root) = cluster(&place).await;
    let kubectl = Kubectl(place.file("admin.kubeconfig"));
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "old"}},
            "spec": {"containers": [{"name": "c", "image": "one:1"}]}}}});
    assert_eq!(post(&root, CONTROLLERS, &controller).await.0, StatusCode::CREATED);
    let ready = |count: u8| {
        kubectl.says(&format!(
            "wait rc/old --for=jsonpath={{.status.readyReplicas}}={count} {PATIENCE}"
        ));
    };
    ready(2);
    kubectl.says("scale rc/old --replicas=3");
    ready(3);
    let owner = "get pods -l app=old -o jsonpath={.items[*].metadata.ownerReferences[0].kind}";
    assert_eq!(kubectl.says(owner), ["ReplicationController"; 3].join(" "));
    let names = "get pods -l app=old -o jsonpath={.items[*].metadata.name}";
    let before = kubectl.says(names);

    assert_eq!(delete(&root, &format!("{CONTROLLERS}/old")).await, StatusCode::OK);
    kubectl.says(&format!("wait rc/old --for=delete {PATIENCE}"));
    assert_eq!(kubectl.says(owner), "", "its pods stay, and are nobody's");
    assert_eq!(kubectl.says(names), before);

    let mut again = controller.clone();
    again["spec"]["replicas"] = json!(3);
    assert_eq!(post(&root, CONTROLLERS, &again).await.0, StatusCode::CREATED);
    ready(3);
    assert_eq!(kubectl.says(names), before, "orphans are taken in, not replaced");
}
