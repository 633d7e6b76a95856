//! Removes pods: marks what was still running as failed, then deletes without grace.

use super::plan::{Action, Why, is_finished};
use k8s_openapi::api::core::v1::{Node, Pod};
use kit::Clock;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;

pub(super) async fn apply(client: &Client, clock: &Clock, actions: Vec<Action>) {
    let mut gone: BTreeMap<String, bool> = BTreeMap::new();
    for action in actions {
        if let Why::NodeGone(node) = &action.why {
            let known = gone.get(node).copied();
            let is_gone = match known {
                Some(known) => known,
                None => is_really_gone(client, node).await,
            };
            gone.insert(node.clone(), is_gone);
            if !is_gone {
                continue;
            }
        }
        if let Err(error) = remove(client, clock, &action).await {
            let name = action.pod.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(pod = name, why = ?action.why, %error, "pod could not be removed; next pass tries again");
        }
    }
}

/// Asks the API itself: a cache may be behind.
async fn is_really_gone(client: &Client, node: &str) -> bool {
    let nodes: Api<Node> = Api::all(client.clone());
    matches!(nodes.get_metadata_opt(node).await, Ok(None))
}

async fn remove(client: &Client, clock: &Clock, action: &Action) -> Result<(), kube::Error> {
    let pod = &action.pod;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    if !is_finished(pod) && matches!(action.why, Why::NodeGone(_) | Why::OutOfService) {
        let now = clock.now();
        let second = now.round(jiff::Unit::Second).unwrap_or(now);
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"phase": "Failed", "conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": message(&action.why), "lastTransitionTime": second.to_string(),
            }]},
        });
        let params = PatchParams {
            field_manager: Some(crate::words::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        forgive(pods.patch_status(name, &params, &Patch::Strategic(patch)).await.map(drop))?;
    }
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    forgive(pods.delete(name, &params).await.map(drop))
}

/// Somebody else was faster: the pod is gone, or is another one by now.
fn forgive(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other,
    }
}

fn message(why: &Why) -> &'static str {
    match why {
        Why::NodeGone(_) => "PodGC: node no longer exists",
        Why::OutOfService => "PodGC: node is out-of-service",
        Why::NeverBound | Why::TooManyFinished => "",
    }
}
