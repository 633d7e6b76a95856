//! What happens to the dependents of what is deleted, and to the pods of ReplicaSets.

use super::*;
use world::stage::on_stage;

async fn running(api: &Api, name: &str, number: u64) -> Value {
    let path = format!("{REPLICAS}/{name}");
    let look = async |api: &Api| {
        let set = api.get(&path).await.ok()?;
        (set["status"]["availableReplicas"] == number).then_some(set)
    };
    api.until(60, look).await.expect("the set is available")
}

async fn gone(api: &Api, path: &str) {
    let look = async |api: &Api| api.get(path).await.err().filter(|status| status.code == 404);
    api.until(90, look).await.unwrap_or_else(|| panic!("{path} is still there"));
}

fn uids(pods: &[Value]) -> Vec<String> {
    pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect()
}

#[test]
fn an_owner_in_the_foreground_stays_until_its_pods_are_gone() {
    on_stage(2, async |_, api| {
        nodes_ready(api, 2).await;
        api.post(REPLICAS, replicas("r", 6, json!({}))).await.expect("a set");
        running(api, "r", 6).await;
        api.delete(&format!("{REPLICAS}/r"), "Foreground").await.expect("deleted");
        let set = api.get(&format!("{REPLICAS}/r")).await.expect("it is still there");
        assert_eq!(set["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        gone(api, &format!("{REPLICAS}/r")).await;
        assert!(api.list(PODS).await.is_empty(), "not before the last pod");
    })
    .unwrap();
}

#[test]
fn orphans_live_on_without_an_owner() {
    on_stage(2, async |_, api| {
        nodes_ready(api, 2).await;
        api.post(REPLICAS, replicas("r", 3, json!({}))).await.expect("a set");
        running(api, "r", 3).await;
        let before = uids(&pods_of(api, "r").await);
        api.delete(&format!("{REPLICAS}/r"), "Orphan").await.expect("deleted");
        gone(api, &format!("{REPLICAS}/r")).await;
        seconds(30).await;
        let pods = pods_of(api, "r").await;
        assert_eq!(uids(&pods), before);
        assert!(pods.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()));
    })
    .unwrap();
}

#[test]
fn a_namespace_that_goes_keeps_what_its_pods_may_need_until_they_are_gone() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        let space = json!({"metadata": {"name": "going"}});
        api.post("/api/v1/namespaces", space).await.expect("a namespace");
        let maps = "/api/v1/namespaces/going/configmaps";
        api.post(maps, json!({"metadata": {"name": "needed"}})).await.expect("a map");
        let pods = "/api/v1/namespaces/going/pods";
        let held = json!({
            "metadata": {"name": "held", "finalizers": ["example.com/wait"]},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        api.post(pods, held).await.expect("a pod");
        api.delete("/api/v1/namespaces/going", "Background").await.expect("deleted");
        seconds(30).await;
        let pod = api.get(&format!("{pods}/held")).await.expect("its finalizer holds it");
        assert!(pod["metadata"]["deletionTimestamp"].is_string(), "{pod}");
        api.get(&format!("{maps}/needed")).await.expect("nothing else goes before the pods");
        let free = json!({"metadata": {"finalizers": null}});
        api.patch(&format!("{pods}/held"), free).await.expect("let go");
        gone(api, "/api/v1/namespaces/going").await;
    })
    .unwrap();
}

#[test]
fn who_has_another_owner_loses_only_the_one_that_goes() {
    on_stage(2, async |_, api| {
        nodes_ready(api, 2).await;
        api.post(REPLICAS, replicas("goes", 4, json!({}))).await.expect("a set");
        let stays = api.post(REPLICAS, replicas("stays", 0, json!({}))).await.expect("a set");
        running(api, "goes", 4).await;
        let pods = pods_of(api, "goes").await;
        let uid = &stays["metadata"]["uid"];
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "stays", "uid": uid});
        for pod in &pods[..2] {
            let patch = json!({"metadata": {"ownerReferences": [owner]}});
            let name = pod["metadata"]["name"].as_str().unwrap();
            api.patch(&format!("{PODS}/{name}"), patch).await.expect("another owner");
        }
        api.delete(&format!("{REPLICAS}/goes"), "Foreground").await.expect("deleted");
        gone(api, &format!("{REPLICAS}/goes")).await;
        let left = api.list(PODS).await;
        assert_eq!(uids(&left), uids(&pods[..2]));
        for pod in left {
            assert!(pod["metadata"]["deletionTimestamp"].is_null());
            let owners = pod["metadata"]["ownerReferences"].as_array().unwrap();
            assert_eq!(owners.len(), 1);
            assert_eq!(owners[0]["uid"], *uid);
        }
    })
    .unwrap();
}

#[test]
fn a_circle_of_owners_holds_nothing_up() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        let mut made = Vec::new();
        for name in ["a", "b", "c"] {
            made.push(api.post(PODS, pod(name, json!({}))).await.expect("a pod"));
        }
        for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
            let owner = &made[(at + 2) % 3]["metadata"];
            let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": owner["name"], "uid": owner["uid"],
                               "controller": true, "blockOwnerDeletion": true});
            let patch = json!({"metadata": {"ownerReferences": [owner]}});
            api.patch(&format!("{PODS}/{name}"), patch).await.expect("an owner");
        }
        seconds(5).await;
        api.delete(&format!("{PODS}/a"), "Foreground").await.expect("deleted");
        let none = async |api: &Api| api.list(PODS).await.is_empty().then_some(());
        api.until(90, none).await.expect("all three go");
    })
    .unwrap();
}

#[test]
fn a_replica_set_says_that_a_quota_stops_it_and_takes_it_back() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        let quotas = "/api/v1/namespaces/default/resourcequotas";
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}});
        api.post(quotas, quota).await.expect("a quota");
        let path = format!("{quotas}/q");
        let counted = async |api: &Api| {
            (api.get(&path).await.ok()?["status"]["hard"]["pods"] == "2").then_some(())
        };
        api.until(30, counted).await.expect("the quota is looked after");
        api.post(REPLICAS, replicas("r", 3, json!({}))).await.expect("a set");
        let path = format!("{REPLICAS}/r");
        let failure = async |api: &Api| {
            let set = api.get(&path).await.ok()?;
            let failure = condition(&set, "ReplicaFailure");
            (!failure[0].is_empty()).then_some((failure, set))
        };
        let ([status, reason, message], _) = api.until(30, failure).await.expect("it says so");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "FailedCreate"));
        assert!(message.contains("exceeded quota: q"), "{message}");
        api.merge(&path, json!({"spec": {"replicas": 2}})).await.expect("fewer");
        let well = async |api: &Api| {
            let set = api.get(&path).await.ok()?;
            (set["status"]["conditions"].is_null()
                && set["status"]["observedGeneration"] == set["metadata"]["generation"])
                .then_some(())
        };
        api.until(60, well).await.expect("nothing stops it any more");
    })
    .unwrap();
}

#[test]
fn a_replica_set_takes_over_what_matches_and_lets_go_what_does_not() {
    on_stage(1, async |_, api| {
        nodes_ready(api, 1).await;
        let orphan = api.post(PODS, pod("r", json!({}))).await.expect("a pod");
        ready(api, "r").await;
        let made = api.post(REPLICAS, replicas("r", 1, json!({}))).await.expect("a set");
        let owner = async |api: &Api| -> Option<Value> {
            let pod = api.get(&format!("{PODS}/r")).await.ok()?;
            Some(pod["metadata"]["ownerReferences"][0].clone())
        };
        let taken = async |api: &Api| owner(api).await.filter(|owner| !owner.is_null());
        let owner_now = api.until(30, taken).await.expect("it is taken over");
        assert_eq!(owner_now["uid"], made["metadata"]["uid"]);
        assert_eq!(
            (&owner_now["controller"], &owner_now["blockOwnerDeletion"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(uids(&pods_of(api, "r").await), uids(&[orphan]));
        let mut other = api.get(&format!("{PODS}/r")).await.unwrap();
        other["metadata"]["labels"] = json!({"app": "other"});
        api.put(&format!("{PODS}/r"), other).await.expect("another label");
        let free = async |api: &Api| owner(api).await.filter(Value::is_null);
        api.until(30, free).await.expect("it is let go");
        running(api, "r", 1).await;
    })
    .unwrap();
}
