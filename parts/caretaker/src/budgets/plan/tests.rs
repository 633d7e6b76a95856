use super::*;
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T00:10:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "x"}});
    let budget = json!({"metadata": {"name": "b", "namespace": "n", "generation": 3}, "spec": spec, "status": status});
    serde_json::from_value(budget).unwrap()
}

fn pod(name: &str, owner: Option<&str>, ready: bool) -> Arc<Pod> {
    let owners: Vec<Value> = owner
        .iter()
        .map(|uid| json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": uid, "controller": true}))
        .collect();
    let status = if ready { "True" } else { "False" };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": "x"}, "ownerReferences": owners},
            "status": {"conditions": [{"type": "Ready", "status": status}]}}))
        .unwrap(),
    )
}

fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
    (0..ready + unready).map(|n| pod(&format!("p{n}"), Some("u"), n < ready)).collect()
}

fn scales(replicas: i64) -> BTreeMap<String, Scale> {
    BTreeMap::from([("u".to_owned(), Scale::Of { uid: "u".to_owned(), replicas })])
}

/// expectedPods, desiredHealthy, currentHealthy, disruptionsAllowed, reason.
fn outcome(
    spec: Value,
    pods: &[Arc<Pod>],
    scales: &BTreeMap<String, Scale>,
) -> (i32, i32, i32, i32, String) {
    let budget = budget(spec, json!({}));
    let expected = expected(&budget, pods, scales);
    let status = status(&budget, pods, &expected, now()).0.unwrap().status.unwrap();
    let reason = status.conditions.unwrap()[0].reason.clone();
    (
        status.expected_pods.unwrap(),
        status.desired_healthy.unwrap(),
        status.current_healthy.unwrap(),
        status.disruptions_allowed.unwrap(),
        reason,
    )
}

#[test]
fn percentages_and_numbers_follow_the_scale() {
    let enough = || words::REASON_SUFFICIENT.to_owned();
    let short = || words::REASON_INSUFFICIENT.to_owned();
    let of = |spec: Value, ready, unready| outcome(spec, &pods(ready, unready), &scales(10));
    assert_eq!(of(json!({"maxUnavailable": 1}), 10, 0), (10, 9, 10, 1, enough()));
    assert_eq!(of(json!({"maxUnavailable": 1}), 9, 1), (10, 9, 9, 0, short()));
    assert_eq!(of(json!({"maxUnavailable": "25%"}), 10, 0), (10, 7, 10, 3, enough()));
    assert_eq!(of(json!({"minAvailable": "45%"}), 10, 0), (10, 5, 10, 5, enough()));
    assert_eq!(of(json!({"maxUnavailable": "200%"}), 1, 0), (10, 0, 1, 1, enough()));
    // a number asks nobody: what is there is what is expected
    assert_eq!(of(json!({"minAvailable": 2}), 3, 0), (3, 2, 3, 1, enough()));
    assert_eq!(of(json!({"minAvailable": 0}), 0, 0), (0, 0, 0, 0, short()));
}

#[test]
fn a_controller_without_a_scale_fails_safe() {
    let unknown = Scale::Unknown { resource: resource_of("apps", "DaemonSet") };
    let scales = BTreeMap::from([("u".to_owned(), unknown)]);
    let found = outcome(json!({"maxUnavailable": 1}), &pods(3, 0), &scales);
    assert_eq!((found.3, found.4.as_str()), (0, words::REASON_SYNC_FAILED));
    let why = expected(&budget(json!({"maxUnavailable": 1}), json!({})), &pods(1, 0), &scales);
    let text = "daemonsets.apps does not implement the scale subresource";
    assert_eq!(why, Expected::Failed(text.to_owned()));
    // C51: a plain number works all the same
    assert_eq!(outcome(json!({"minAvailable": 1}), &pods(3, 0), &scales).3, 2);
}

#[test]
fn pods_without_a_controller_are_told_of_and_not_counted() {
    let mut all = pods(2, 0);
    all.push(pod("alone", None, true));
    let expected = expected(&budget(json!({"maxUnavailable": 1}), json!({})), &all, &scales(2));
    assert_eq!(expected, Expected::Count { pods: 2, healthy: 1, unmanaged: 1 });
}

#[test]
fn a_granted_eviction_counts_until_it_is_seen_or_too_old() {
    let status_ = |at: &str| {
        let before = json!({"disruptedPods": {"p0": at, "gone": at}, "disruptionsAllowed": 0,
            "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        let budget = budget(json!({"maxUnavailable": 1}), before);
        let expected = expected(&budget, &pods(3, 0), &scales(3));
        let (changed, again) = status(&budget, &pods(3, 0), &expected, now());
        let late = overdue(&budget, &pods(3, 0), now()).len();
        (changed.unwrap().status.unwrap(), again, late)
    };
    let (fresh, again, late) = status_("2026-01-01T00:09:30Z");
    assert_eq!((fresh.current_healthy, fresh.disruptions_allowed), (Some(2), Some(0)));
    assert_eq!(fresh.disrupted_pods.unwrap().keys().collect::<Vec<_>>(), ["p0"]);
    assert_eq!((again, late), (Some(Duration::from_secs(90)), 0));
    let (old, again, late) = status_("2026-01-01T00:08:00Z");
    assert_eq!(
        (old.current_healthy, old.disruptions_allowed, old.disrupted_pods),
        (Some(3), Some(1), None)
    );
    assert_eq!((again, late), (None, 1));
}

/// Whoever may write the status may write any moment.
#[test]
fn an_eviction_granted_at_the_end_of_time_is_no_fault() {
    let before = json!({"disruptedPods": {"p0": "9999-12-30T22:00:00Z"}, "disruptionsAllowed": 0,
        "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    let budget = budget(json!({"maxUnavailable": 1}), before);
    let expected = expected(&budget, &pods(3, 0), &scales(3));
    let (changed, again) = status(&budget, &pods(3, 0), &expected, now());
    assert_eq!(changed.unwrap().status.unwrap().current_healthy, Some(2));
    assert!(again.is_some());
    assert!(overdue(&budget, &pods(3, 0), now()).is_empty());
}

#[test]
fn a_status_that_is_right_is_not_written() {
    let mut budget = budget(json!({"maxUnavailable": 1}), json!({}));
    let expected = expected(&budget, &pods(3, 0), &scales(3));
    budget = status(&budget, &pods(3, 0), &expected, now()).0.unwrap();
    let later = now() + Duration::from_secs(60);
    assert_eq!(status(&budget, &pods(3, 0), &expected, later), (None, None));
}
