//! Whether the API still shows what the agent wrote about its node. Others write there too: a node that was silent for a
//! while is marked Unknown, and stays so until its agent says otherwise.

use super::{Api, Node, NodeCondition};

/// Whether a condition that the agent wrote has another status in the API now, or is gone.
pub(super) async fn is_overwritten(api: &Api<Node>, name: &str, ours: &[NodeCondition]) -> bool {
    match api.get(name).await {
        Ok(node) => differs(ours, &node),
        // the lease tells of a server that does not answer; a Node that is gone cannot be written
        Err(error) => {
            tracing::debug!("the node's status was not read: {error}");
            false
        }
    }
}

fn differs(ours: &[NodeCondition], node: &Node) -> bool {
    let shown = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let shown = shown.unwrap_or_default();
    ours.iter().any(|own| {
        !shown.iter().any(|one| {
            one.type_ == own.type_ && one.status == own.status && one.reason == own.reason
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(conditions: &Value) -> Node {
        let node = json!({"status": {"conditions": conditions}});
        serde_json::from_value(node).expect("a node")
    }

    fn ours() -> Vec<NodeCondition> {
        let list = json!([
            {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
            {"type": "Ready", "status": "True", "reason": "KubeletReady"},
        ]);
        serde_json::from_value(list).expect("conditions")
    }

    #[test]
    fn what_another_wrote_over_our_conditions_is_seen_and_theirs_are_not_ours() {
        let memory = json!({"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"});
        let ready =
            json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "x"});
        let network = json!({"type": "NetworkUnavailable", "status": "True", "reason": "Theirs"});
        assert!(!differs(&ours(), &node(&json!([network, ready, memory]))));
        let unknown = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"});
        assert!(differs(&ours(), &node(&json!([unknown, memory]))));
        assert!(differs(&ours(), &node(&json!([ready]))), "one is gone");
        assert!(differs(&ours(), &Node::default()));
    }
}
