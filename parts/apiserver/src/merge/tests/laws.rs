use super::*;
use proptest::prelude::*;

/// Parts of a DaemonSet that people write: labels, containers with environment and ports, a few scalars.
fn wishes() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["a", "b", "c"]);
    let map = prop::collection::btree_map(word.clone(), word.clone(), 0..3);
    let env = prop::collection::btree_map(word.clone(), word.clone(), 0..3);
    let container = (word.clone(), env, prop::collection::btree_set(1..4_u16, 0..3));
    let containers = prop::collection::btree_map(word, container, 0..3);
    (map, containers, prop::option::of(0..3_i64)).prop_map(|(labels, containers, ready)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (image, env, ports))| {
                let env: Vec<Value> = env
                    .into_iter()
                    .map(|(name, value)| json!({"name": name, "value": value}))
                    .collect();
                let ports: Vec<Value> =
                    ports.into_iter().map(|port| json!({"containerPort": port})).collect();
                json!({"name": name, "image": image, "env": env, "ports": ports})
            })
            .collect();
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "x", "labels": labels},
            "spec": {"template": {"spec": {"containers": containers}}},
        });
        if let Some(ready) = ready {
            object["spec"]["minReadySeconds"] = ready.into();
        }
        object
    })
}

fn forced(live: Option<&Value>, wish: &Value, who: &'static str, second: i64) -> Value {
    apply(live, wish, &by(who, "apps/v1", second), daemon(), true).unwrap()
}

/// The same with what an apply leaves out of the object: nothing that is empty was ever there.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), pruned(value)))
            .filter(|(_, value)| *value != json!({}) && *value != json!([]) && !value.is_null())
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(pruned).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    pruned(&object)
}

proptest! {
    #[test]
    fn apply_twice_is_apply_once(before in wishes(), wish in wishes()) {
        let live = forced(None, &before, "other", 1);
        let once = forced(Some(&live), &wish, "me", 2);
        let twice = apply(Some(&once), &wish, &by("me", "apps/v1", 3), daemon(), false);
        prop_assert_eq!(twice.unwrap(), once);
    }

    #[test]
    fn what_one_manager_alone_applies_is_what_is_there(first in wishes(), second in wishes()) {
        let live = forced(None, &first, "me", 1);
        let live = forced(Some(&live), &second, "me", 2);
        prop_assert_eq!(bare(&live), pruned(&second));
    }

    #[test]
    fn giving_everything_up_undoes_ones_share(theirs in wishes(), mine in wishes()) {
        let nothing = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}});
        let live = forced(None, &theirs, "they", 1);
        let Ok(both) = apply(Some(&live), &mine, &by("me", "apps/v1", 2), daemon(), false) else {
            return Ok(());
        };
        let after = forced(Some(&both), &nothing, "me", 3);
        prop_assert_eq!(bare(&after), bare(&live));
    }

    #[test]
    fn a_conflict_is_there_exactly_when_an_owned_value_would_change(theirs in wishes(), mine in wishes()) {
        let live = forced(None, &theirs, "they", 1);
        let asked = apply(Some(&live), &mine, &by("me", "apps/v1", 2), daemon(), false);
        let forced = forced(Some(&live), &mine, "me", 2);
        let kept = owned(&forced).into_iter().find(|(who, _)| who == "they/Apply").map(|(_, set)| set);
        let had = owned(&live).into_iter().next().map(|(_, set)| set);
        prop_assert_eq!(asked.is_ok(), kept == had);
    }

    #[test]
    fn tracking_a_write_never_changes_the_object_itself(old in wishes(), new in wishes()) {
        let mut live = old;
        track_update(None, &mut live, &by("a", "apps/v1", 1), daemon());
        let mut tracked = new.clone();
        track_update(Some(&live), &mut tracked, &by("b", "apps/v1", 2), daemon());
        prop_assert_eq!(bare(&tracked), pruned(&new));
    }

    #[test]
    fn documents_differ_in_what_is_apart_in_them(old in wishes(), new in wishes()) {
        let kind = kind("io.k8s.api.apps.v1.ReplicaSet");
        let differ = |old: &Value, new: &Value| {
            let found = tree::compare(&form::filled(old, kind), &form::filled(new, kind), kind);
            (found.added, found.removed, found.modified)
        };
        let (before, after) = form::apart(&old, &new, kind);
        prop_assert_eq!(differ(&before, &after), differ(&old, &new));
        prop_assert_eq!(form::apart(&old, &old, kind), (json!({}), json!({})));
    }

    #[test]
    fn a_strategic_patch_with_the_object_itself_changes_nothing(object in wishes()) {
        prop_assert_eq!(strategic(&object, &object, daemon()).unwrap().0, object);
    }

    #[test]
    fn a_merge_patch_twice_is_once(object in wishes(), patch in wishes()) {
        let once = merge_patch(&object, &patch);
        prop_assert_eq!(merge_patch(&once, &patch), once);
    }
}
