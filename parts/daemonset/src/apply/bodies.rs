//! What is sent, as pure functions.

use kube::core::DynamicObject;
use rollout::condition::TYPES;
use rollout::plan::history::NewRevision;
use rollout::words::HASH_LABEL;
use rollout::{Condition, Revision, Set, Status, shape};
use serde_json::{Map, Value, json};

/// Sizes of the batches in which `total` pods are created: 1, 2, 4 and so on, so that a permanent error costs one
/// request (spec B35).
pub(super) fn batches(total: usize) -> impl Iterator<Item = usize> {
    let mut left = total;
    let mut size = 1;
    std::iter::from_fn(move || {
        let batch = size.min(left);
        left -= batch;
        size *= 2;
        (batch > 0).then_some(batch)
    })
}

/// A strategic merge patch that makes the set the controller.
pub(super) fn adopt(set: &Set) -> Value {
    json!({"metadata": {"ownerReferences": [shape::owner(set)]}})
}

/// A strategic merge patch that takes the set away from the owners.
pub(super) fn release(set: &Set) -> Value {
    json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": set.uid}]}})
}

/// A merge patch that sets the hash label.
pub(super) fn hash_label(hash: &str) -> Value {
    json!({"metadata": {"labels": {HASH_LABEL: hash}}})
}

/// A merge patch that sets a revision's number.
pub(super) fn number(number: i64) -> Value {
    json!({"revision": number})
}

/// Bytes of a pod's name that are not made by the server, at the most (spec B20).
const PREFIX_BYTES_MAX: usize = 58;
/// Characters that the server makes.
const MADE: usize = 5;

/// A refusal without the end of the name that the server had made for the pod: each try has another one, and what is
/// told of them all would never be the same twice.
pub(super) fn without_made_name(set: &str, refusal: &str) -> String {
    let mut prefix = format!("{set}-");
    prefix.truncate(prefix.floor_char_boundary(PREFIX_BYTES_MAX));
    let quoted = format!("\"{prefix}");
    let Some(at) = refusal.find(&quoted).map(|at| at + quoted.len()) else {
        return refusal.to_owned();
    };
    match refusal.get(at..at + MADE + 1) {
        Some(end) if end.find('"') == Some(MADE) => {
            format!("{}{}", &refusal[..at], &refusal[at + MADE..])
        }
        _ => refusal.to_owned(),
    }
}

/// Whether the revision that holds the name is the one we wanted to create.
pub(super) fn is_same_revision(set: &Set, new: &NewRevision, taken: &Revision) -> bool {
    let is_ours = taken.controller.as_ref().is_none_or(|uid| *uid == set.uid);
    is_ours && taken.data == new.data
}

/// Raises the collision count of the live object; false where it has moved on since we read it.
pub(super) fn raise_collision_count(set: &Set, live: &mut DynamicObject) -> bool {
    let found = live.data["status"]["collisionCount"].as_i64();
    if found != set.status.collision_count {
        return false;
    }
    let count = found.unwrap_or(0) + 1;
    with_status(live, |members| {
        members.insert("collisionCount".into(), count.into());
    });
    true
}

/// Puts the counters and our conditions into an object; what else is in its status stays, conditions of others too. Fields that are zero are left out where
/// upstream leaves them out (spec A8).
pub(super) fn put_status(status: &Status, object: &mut DynamicObject) {
    with_status(object, |members| put_members(status, members));
}

fn put_members(status: &Status, members: &mut Map<String, Value>) {
    for (name, count) in [
        ("currentNumberScheduled", status.current_number_scheduled),
        ("numberMisscheduled", status.number_misscheduled),
        ("desiredNumberScheduled", status.desired_number_scheduled),
        ("numberReady", status.number_ready),
    ] {
        members.insert(name.into(), count.into());
    }
    let observed = usize::try_from(status.observed_generation).unwrap_or(0);
    for (name, count) in [
        ("observedGeneration", observed),
        ("updatedNumberScheduled", status.updated_number_scheduled),
        ("numberAvailable", status.number_available),
        ("numberUnavailable", status.number_unavailable),
    ] {
        if count == 0 {
            members.remove(name);
        } else {
            members.insert(name.into(), count.into());
        }
    }
    if status.conditions.is_empty() {
        return;
    }
    let all = members.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_ours = |condition: &Value| TYPES.iter().any(|kind| condition["type"] == *kind);
    let theirs = all.into_iter().filter(|condition| !is_ours(condition));
    let ours = status.conditions.iter().map(Condition::to_json);
    members.insert("conditions".into(), theirs.chain(ours).collect());
}

/// Changes the members of the status, which is made if there is none.
fn with_status(object: &mut DynamicObject, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut members = match object.data.get_mut("status").map(Value::take) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    change(&mut members);
    if !object.data.is_object() {
        object.data = Value::Object(Map::new());
    }
    object.data["status"] = Value::Object(members);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: Value) -> DynamicObject {
        let value = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "a", "namespace": "n", "uid": "1", "resourceVersion": "7"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}},
            "status": status,
        });
        serde_json::from_value(value).expect("an object")
    }

    fn set(status: Value) -> Set {
        Set::read(&serde_json::to_value(object(status)).unwrap()).unwrap()
    }

    #[test]
    fn batches_double_and_add_up() {
        assert_eq!(batches(0).count(), 0);
        assert_eq!(batches(1).collect::<Vec<_>>(), [1]);
        assert_eq!(batches(250).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 123]);
    }

    /// How a status is put into an object; a planted bug does it otherwise.
    type Put = fn(&Status, &mut DynamicObject);

    #[test]
    fn conditions_of_others_survive_the_status() {
        others_survive(put_status);
    }

    fn others_survive(put_status: Put) {
        let mut live = object(json!({"conditions": [{"type": "X"}], "numberAvailable": 3}));
        let status = Status { number_ready: 2, observed_generation: 4, ..Status::default() };
        put_status(&status, &mut live);
        assert_eq!(
            live.data["status"],
            json!({
                "conditions": [{"type": "X"}], "currentNumberScheduled": 0, "numberMisscheduled": 0,
                "desiredNumberScheduled": 0, "numberReady": 2, "observedGeneration": 4,
            })
        );
    }

    /// Traps, what is wrong, and how the status is put then.
    const BUGS: [(&str, &str, Put); 3] = [
        ("T15", "counters that are zero are left out", |status, object| {
            put_status(status, object);
            with_status(object, |members| members.retain(|_, value| *value != json!(0)));
        }),
        ("T15", "all counters are there", |status, object| {
            put_status(status, object);
            with_status(object, |members| {
                members.entry("updatedNumberScheduled").or_insert(json!(0));
            });
        }),
        ("T19", "conditions of others are lost", |status, object| {
            with_status(object, |members| drop(members.remove("conditions")));
            put_status(status, object);
        }),
    ];

    #[test]
    fn every_planted_bug_of_the_status_is_noticed() {
        for (trap, what, put) in BUGS {
            let noticed = std::panic::catch_unwind(|| others_survive(put)).is_err();
            assert!(noticed, "{trap}: {what} goes unnoticed");
        }
    }

    #[test]
    fn our_conditions_are_replaced_by_type_in_one_order_after_those_of_others() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let condition = |kind| Condition::new(kind, (true, "R"), "m".into(), (&[], now));
        let mut live = object(
            json!({"conditions": [{"type": "Degraded", "status": "Unknown"}, {"type": "X"}]}),
        );
        let conditions = TYPES.into_iter().map(condition).collect();
        put_status(&Status { conditions, ..Status::default() }, &mut live);
        let kinds: Vec<&str> = live.data["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["X", "Available", "Degraded", "Progressing"]);
        let read = Set::read(&serde_json::to_value(&live).unwrap()).unwrap();
        assert_eq!(read.status.conditions.len(), 3, "read back as written");
    }

    #[test]
    fn refusals_of_pods_with_other_names_are_one() {
        let told =
            |name: &str| without_made_name("agent", &format!("pods \"{name}\" is forbidden: no"));
        assert_eq!(told("agent-x2b4z"), "pods \"agent-\" is forbidden: no");
        for other in ["agent-", "agent-x2", "agent-x2b4z9", "other-x2b4z"] {
            assert_eq!(told(other), format!("pods \"{other}\" is forbidden: no"));
        }
        let long = "n".repeat(80);
        let cut = &long[..58];
        let refusal = format!("pods \"{cut}x2b4z\" is forbidden");
        assert_eq!(without_made_name(&long, &refusal), format!("pods \"{cut}\" is forbidden"));
    }

    #[test]
    fn a_collision_is_counted_once() {
        let mut live = object(json!({}));
        assert!(raise_collision_count(&set(json!({})), &mut live));
        assert_eq!(live.data["status"]["collisionCount"], 1);
        assert!(!raise_collision_count(&set(json!({})), &mut live), "it has moved on");
    }

    #[test]
    fn a_taken_name_is_good_only_with_our_data_and_without_another_owner() {
        let set = set(json!({}));
        let new =
            NewRevision { name: "a-b".into(), hash: "b".into(), number: 1, data: "{}".into() };
        let taken = |controller: Option<&str>, data: Value| {
            let owners = controller.map(|uid| json!([{"uid": uid, "controller": true}]));
            Revision::read(
                &json!({"metadata": {"name": "a-b", "ownerReferences": owners}, "data": data}),
            )
        };
        assert!(is_same_revision(&set, &new, &taken(Some("1"), json!({}))));
        assert!(is_same_revision(&set, &new, &taken(None, json!({}))));
        assert!(!is_same_revision(&set, &new, &taken(Some("2"), json!({}))));
        assert!(!is_same_revision(&set, &new, &taken(Some("1"), json!({"x": 1}))));
    }
}
