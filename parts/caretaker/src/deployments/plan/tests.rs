use super::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn deployment(replicas: i32, image: &str, more: &Value) -> Deployment {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image),
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}},
    });
    for (key, field) in more.as_object().unwrap() {
        value["spec"][key] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

/// A set: name, image, size, pods there, pods available, revision, size of the Deployment that it was sized for.
fn set(
    name: &str,
    image: &str,
    [size, there, available]: [i32; 3],
    revision: i64,
    of: i32,
) -> Arc<ReplicaSet> {
    let mut made = template(image);
    made["metadata"]["labels"][words::LABEL_TEMPLATE_HASH] = json!(name);
    Arc::new(serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "generation": 1, "labels": {"app": "web"},
            "creationTimestamp": format!("2026-01-01T00:{revision:02}:00Z"),
            "annotations": {words::ANNOTATION_REVISION: revision.to_string(), words::ANNOTATION_DESIRED: of.to_string(),
                words::ANNOTATION_MAX: (of + (of + 3) / 4).to_string()}},
        "spec": {"replicas": size, "selector": {}, "template": made},
        "status": {"replicas": there, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
    })).unwrap())
}

fn decided(deployment: &Deployment, sets: &[&Arc<ReplicaSet>]) -> Plan {
    let live = sets.iter().filter(|s| s.status.as_ref().unwrap().replicas > 0);
    let live = live.filter_map(|s| s.metadata.uid.clone()).collect();
    let sets = sets.iter().map(|set| Arc::clone(set)).collect();
    plan(&World { deployment: Arc::new(deployment.clone()), sets, live }, now())
}

fn sizes(plan: &Plan) -> Vec<(String, i32)> {
    plan.resize.iter().map(|r| (r.set.metadata.name.clone().unwrap(), r.to)).collect()
}

fn reason(plan: &Plan, kind: &str) -> Option<String> {
    let status = plan.status.as_ref()?;
    status.conditions.iter().flatten().find(|c| c.type_ == kind)?.reason.clone()
}

fn named(name: &str, size: i32) -> (String, i32) {
    (name.to_owned(), size)
}

#[test]
fn the_first_set_is_made_at_full_size_with_revision_one() {
    let plan = decided(&deployment(4, "a", &json!({})), &[]);
    let new = plan.make.as_ref().unwrap();
    assert_eq!(new.replicas, 4);
    assert_eq!(plan.revision.as_deref(), Some("1"));
    let labels = new.set.metadata.labels.as_ref().unwrap();
    assert_eq!(new.name, format!("web-{}", labels[words::LABEL_TEMPLATE_HASH]));
    assert_eq!(reason(&plan, "Progressing").as_deref(), Some("NewReplicaSetCreated"));
    assert_eq!(reason(&plan, "Available").as_deref(), Some("MinimumReplicasUnavailable"));
}

#[test]
fn a_collision_changes_the_name() {
    let mut one = deployment(1, "a", &json!({}));
    let first = decided(&one, &[]).make.unwrap().name;
    one.status = Some(DeploymentStatus { collision_count: Some(1), ..DeploymentStatus::default() });
    assert_ne!(decided(&one, &[]).make.unwrap().name, first);
}

#[test]
fn new_pods_come_within_the_surge_and_old_ones_go_within_what_may_be_missing() {
    let wanted = deployment(4, "b", &json!({}));
    let old = set("old", "a", [4, 4, 4], 1, 4);
    assert_eq!(decided(&wanted, &[&old]).make.unwrap().replicas, 1);
    let new = set("new", "b", [1, 1, 0], 2, 4);
    assert_eq!(sizes(&decided(&wanted, &[&old, &new])), [named("old", 3)]);
    let old = set("old", "a", [3, 3, 3], 1, 4);
    assert_eq!(sizes(&decided(&wanted, &[&old, &new])), [named("new", 2)]);
    let new = set("new", "b", [2, 2, 0], 2, 4);
    assert_eq!(sizes(&decided(&wanted, &[&old, &new])), []);
}

#[test]
fn old_pods_that_do_not_work_go_first() {
    let wanted = deployment(4, "b", &json!({}));
    let (broken, works) = (set("broken", "x", [2, 2, 0], 2, 4), set("works", "a", [3, 3, 3], 1, 4));
    let new = set("new", "b", [0, 0, 0], 3, 4);
    // 5 pods are all that may be, 3 must work: both broken ones may go, and no working one
    assert_eq!(sizes(&decided(&wanted, &[&works, &broken, &new])), [named("broken", 0)]);
}

#[test]
fn a_deployment_that_may_neither_exceed_nor_miss_still_moves() {
    let none = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "1%"}}});
    let wanted = deployment(3, "b", &none);
    let (old, new) = (set("old", "a", [3, 3, 3], 1, 3), set("new", "b", [0, 0, 0], 2, 3));
    assert_eq!(sizes(&decided(&wanted, &[&old, &new])), [named("old", 2)]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let wanted = deployment(2, "b", &json!({"strategy": {"type": "Recreate"}}));
    let old = set("old", "a", [2, 2, 2], 1, 2);
    assert_eq!(sizes(&decided(&wanted, &[&old])), [named("old", 0)]);
    let ending = set("old", "a", [0, 1, 0], 1, 2);
    assert!(decided(&wanted, &[&ending]).make.is_none());
    let gone = set("old", "a", [0, 0, 0], 1, 2);
    let mut world =
        World { deployment: Arc::new(wanted), sets: vec![gone], live: ["old".to_owned()].into() };
    assert!(plan(&world, now()).make.is_none(), "a pod of it still runs");
    world.live.clear();
    assert_eq!(plan(&world, now()).make.unwrap().replicas, 2);
}

#[test]
fn a_size_that_changes_midway_is_shared_in_proportion() {
    let wanted = deployment(20, "b", &json!({}));
    let (old, new) = (set("old", "a", [8, 8, 8], 1, 10), set("new", "b", [5, 5, 2], 2, 10));
    // 13 of 13 become 25 of 25
    assert_eq!(sizes(&decided(&wanted, &[&old, &new])), [named("old", 15), named("new", 10)]);
    let none = deployment(0, "b", &json!({}));
    assert_eq!(sizes(&decided(&none, &[&old, &new])), [named("old", 0), named("new", 0)]);
}

#[test]
fn a_paused_deployment_is_scaled_but_makes_nothing() {
    let paused = deployment(6, "b", &json!({"paused": true}));
    let old = set("old", "a", [4, 4, 4], 1, 4);
    let plan = decided(&paused, &[&old]);
    assert!(plan.make.is_none());
    assert_eq!(sizes(&plan), [named("old", 6)]);
    assert_eq!(reason(&plan, "Progressing").as_deref(), Some("DeploymentPaused"));
}

#[test]
fn going_back_raises_the_revision_of_the_set_that_is_there() {
    let wanted = deployment(1, "a", &json!({}));
    let (first, second) = (set("first", "a", [0, 0, 0], 1, 1), set("second", "b", [1, 1, 1], 2, 1));
    let plan = decided(&wanted, &[&first, &second]);
    let mark = plan.mark.unwrap();
    assert_eq!(mark.annotations[words::ANNOTATION_REVISION], "3");
    assert_eq!(mark.annotations[words::ANNOTATION_REVISION_HISTORY], "1");
    assert_eq!(plan.revision.as_deref(), Some("3"));
}

#[test]
fn the_history_is_cut_when_all_is_done() {
    let mut wanted = deployment(1, "c", &json!({}));
    let sets = [
        set("one", "a", [0, 0, 0], 1, 1),
        set("two", "b", [0, 0, 0], 2, 1),
        set("three", "c", [1, 1, 1], 3, 1),
    ];
    let all: Vec<_> = sets.iter().collect();
    let first = decided(&wanted, &all);
    assert!(first.delete.is_empty());
    assert_eq!(reason(&first, "Progressing").as_deref(), Some("NewReplicaSetAvailable"));
    wanted.status = first.status;
    let second = decided(&wanted, &all);
    let names: Vec<_> = second.delete.iter().filter_map(|s| s.metadata.name.as_deref()).collect();
    assert_eq!(names, ["one"]);
}

#[test]
fn done_is_said_once_and_lateness_after_the_deadline() {
    let mut wanted = deployment(1, "a", &json!({}));
    let coming = set("new", "a", [1, 1, 0], 1, 1);
    wanted.status = decided(&wanted, &[&coming]).status;
    let world =
        World { deployment: Arc::new(wanted.clone()), sets: vec![coming], live: BTreeSet::new() };
    let waiting = plan(&world, now());
    assert_eq!(waiting.again_in, Some(Duration::from_secs(601)));
    let late = plan(&world, now() + Duration::from_secs(601));
    assert_eq!(reason(&late, "Progressing").as_deref(), Some("ProgressDeadlineExceeded"));
    let there = set("new", "a", [1, 1, 1], 1, 1);
    wanted.status = decided(&wanted, &[&there]).status;
    let conditions = wanted.status.clone().unwrap().conditions.unwrap();
    let done = conditions.iter().find(|c| c.type_ == "Progressing").unwrap();
    assert_eq!(done.reason.as_deref(), Some("NewReplicaSetAvailable"));
    assert_eq!(done.message.as_deref(), Some("ReplicaSet \"new\" has successfully progressed."));
    let again = decided(&wanted, &[&there]);
    assert!(again.again_in.is_none());
    assert!(again.status.is_none() || again.revision.is_some(), "nothing is left to write");
}

#[test]
fn a_selector_for_everything_does_nothing() {
    let wanted = deployment(1, "a", &json!({"selector": {}}));
    let plan = decided(&wanted, &[]);
    assert!(plan.selects_everything && plan.make.is_none());
    assert_eq!(plan.status.unwrap().observed_generation, Some(1));
}

#[test]
fn a_long_name_is_cut_so_that_the_hash_fits() {
    let name = format!("{}.{}", "a".repeat(240), "b".repeat(12));
    let cut = set_name(&name, "7f469d4856");
    assert_eq!(cut, format!("{}.b-7f469d4856", "a".repeat(240)));
    assert_eq!(set_name(&"a".repeat(253), "7f469d4856").len(), NAME_MAX);
    assert_eq!(set_name("web", "x"), "web-x");
}

#[test]
fn pods_on_their_way_out_are_told_once_all_sets_have_counted_theirs() {
    let counting = |count: Option<i32>| {
        let mut counting = Arc::unwrap_or_clone(set("a", "i:1", [1, 1, 1], 1, 1));
        counting.metadata.name = Some(format!("{count:?}"));
        counting.status.as_mut().unwrap().terminating_replicas = count;
        Arc::new(counting)
    };
    let told = |counts: &[Option<i32>]| {
        let sets: Vec<_> = counts.iter().map(|count| counting(*count)).collect();
        let plan = decided(&deployment(1, "i:1", &json!({})), &sets.iter().collect::<Vec<_>>());
        plan.status.unwrap().terminating_replicas
    };
    assert_eq!(told(&[Some(2), Some(1)]), Some(3));
    assert_eq!(told(&[Some(2), None]), None);
    assert_eq!(told(&[]), Some(0));
}

#[test]
fn numbers_that_somebody_else_wrote_into_a_status_do_no_harm() {
    let old = set("old", "i:1", [5, 5, 5], 1, 5);
    let new = set("new", "i:2", [1, i32::MAX, i32::MAX], 2, 5);
    let most = decided(&deployment(5, "i:2", &json!({})), &[&old, &new]);
    assert!(sizes(&most).iter().all(|(_, size)| (0..=7).contains(size)), "{:?}", sizes(&most));
    let least = set("new", "i:2", [1, 1, i32::MIN], 2, 5);
    decided(&deployment(5, "i:2", &json!({})), &[&old, &least]);
}

#[test]
fn a_noted_maximum_of_nothing_does_not_count() {
    let sets = [set("a", "i:1", [4, 4, 4], 1, 8), set("b", "i:2", [4, 4, 4], 2, 8)];
    let zero = |set: &Arc<ReplicaSet>| {
        let mut set = ReplicaSet::clone(set);
        let noted = set.metadata.annotations.as_mut().unwrap();
        noted.insert(words::ANNOTATION_MAX.to_owned(), "0".to_owned());
        Arc::new(set)
    };
    let sets: Vec<_> = sets.iter().map(zero).collect();
    let mut deployment = deployment(
        16,
        "i:2",
        &json!({"strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
    );
    deployment.status = Some(DeploymentStatus { replicas: Some(8), ..DeploymentStatus::default() });
    let plan = decided(&deployment, &sets.iter().collect::<Vec<_>>());
    assert_eq!(sizes(&plan), [named("b", 8), named("a", 8)]);
}
