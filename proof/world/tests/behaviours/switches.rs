//! What `--compat upstream` takes back for everybody, and `pernode.dev/compat: upstream` for one DaemonSet.

use super::*;
use world::stage::on_stage;

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// A DaemonSet on three nodes and a budget of one; answers the budget as it is looked after.
async fn budget(api: &Api) -> Value {
    nodes_ready(api, 3).await;
    api.post(SETS, set("s", json!({}))).await.expect("a set");
    available(api, "s", 3).await;
    let selector = json!({"matchLabels": {"app": "s"}});
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"selector": selector, "maxUnavailable": "34%"}});
    api.post(BUDGETS, budget).await.expect("a budget");
    let seen = async |api: &Api| {
        let budget = api.get(&format!("{BUDGETS}/b")).await.ok()?;
        (budget["status"]["observedGeneration"] == 1).then_some(budget)
    };
    api.until(60, seen).await.expect("the budget is looked after")
}

/// How an eviction of a daemon pod is answered: 201, or the code of the refusal.
async fn eviction(api: &Api) -> u16 {
    let pods = pods_of(api, "s").await;
    let name = pods[0]["metadata"]["name"].as_str().unwrap();
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let answer = api.post(&format!("{PODS}/{name}/eviction"), eviction).await;
    answer.map_or_else(|status| status.code, |_| 201)
}

#[test]
fn a_budget_in_percent_counts_daemon_pods() {
    on_stage(3, async |_, api| {
        let budget = budget(api).await;
        assert_eq!(budget["status"]["expectedPods"], 3);
        // 34 % of 3 are rounded up
        assert_eq!(budget["status"]["disruptionsAllowed"], 2);
        assert_eq!(eviction(api).await, 201);
    })
    .unwrap();
}

#[test]
fn upstreams_status_has_no_conditions_for_one_set_or_for_all() {
    on_stage(1, async |cluster, api| {
        nodes_ready(api, 1).await;
        let mut one = set("one", json!({}));
        one["metadata"]["annotations"] = json!({"pernode.dev/compat": "upstream"});
        api.post(SETS, one).await.expect("a set");
        api.post(SETS, set("other", json!({}))).await.expect("a set");
        assert!(available(api, "one", 1).await["status"]["conditions"].is_null());
        assert_eq!(condition(&available(api, "other", 1).await, "Available")[0], "True");
        cluster.as_upstream();
        api.post(SETS, set("third", json!({}))).await.expect("a set");
        assert!(available(api, "third", 1).await["status"]["conditions"].is_null());
    })
    .unwrap();
}
