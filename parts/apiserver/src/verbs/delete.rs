//! What a delete does to an object: gone at once, marked, or left as it is. Pure; spec A80–A85 and the tape's
//! topics `delete` and `delete-pods`.

use crate::admit::Strategy;
use crate::custom::keeper;
use crate::decode::options::{DeleteOptions, Propagation};
use api::{Resource, Status};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Finalizer of objects whose dependents are to be kept.
pub(crate) const ORPHAN: &str = "orphan";
/// Finalizer of objects whose dependents are deleted first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// What to do with the object found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Plan {
    /// Remove it.
    Remove,
    /// Store this first, then remove it: a pod's last state tells its watchers that no grace is left.
    MarkAndRemove(Value),
    /// Store this; someone finishes later.
    Mark(Value),
    /// Nothing changes; it is being deleted already.
    Pending,
}

/// Decides. The object is the one stored now.
pub(crate) fn plan(
    row: &Resource,
    strategy: &dyn Strategy,
    object: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Plan, Status> {
    check_preconditions(row, object, options)?;
    if row.group.is_empty() && row.plural == "namespaces" {
        return Ok(namespace(object, options, now));
    }
    if row.plural == "customresourcedefinitions" && row.group == "apiextensions.k8s.io" {
        let marked = object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
        if !marked {
            return Ok(definition(object, now));
        }
    }
    let asked = options.grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let mut marked = object.clone();
    let graceful = match grace(strategy, &mut marked, asked, now) {
        Grace::Pending => return Ok(Plan::Pending),
        Grace::None => None,
        Grace::Seconds(seconds) => Some(seconds),
    };
    let dependents = policy(strategy, &marked, options);
    set_finalizers(&mut marked, dependents);
    let held = finalizers(&marked).next().is_some();
    match graceful {
        None if !held => Ok(Plan::Remove),
        None => {
            mark(&mut marked, now);
            Ok(Plan::Mark(marked))
        }
        Some(seconds) if held || seconds > 0 => Ok(Plan::Mark(marked)),
        Some(_) => Ok(Plan::MarkAndRemove(marked)),
    }
}

/// Whether an update finishes a delete: the mark is there, the grace is over and the last finalizer went.
pub(crate) fn finished_by_update(row: &Resource, new: &Value, old: &Value) -> bool {
    let meta = |key: &str| old.get("metadata").and_then(|meta| meta.get(key));
    let grace = meta("deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let held_by_spec = row.group.is_empty()
        && row.plural == "namespaces"
        && new
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
    meta("deletionTimestamp").is_some_and(|at| !at.is_null())
        && grace == 0
        && finalizers(new).next().is_none()
        && !held_by_spec
}

enum Grace {
    /// The kind knows no grace.
    None,
    /// It was marked; this much grace is left.
    Seconds(i64),
    /// It is marked already, and not longer than asked.
    Pending,
}

fn grace(strategy: &dyn Strategy, object: &mut Value, asked: Option<i64>, now: Timestamp) -> Grace {
    let meta = object.get("metadata").cloned().unwrap_or_default();
    let marked_at = meta.get("deletionTimestamp").and_then(Value::as_str);
    let left = meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    let Some(wanted) = strategy.grace_seconds(object, asked) else { return Grace::None };
    match (marked_at, left) {
        (Some(_), None) => Grace::None,
        (Some(until), Some(left)) => match asked {
            Some(asked) if asked < left => {
                let until: Timestamp = until.parse().unwrap_or(now);
                let shorter = SignedDuration::from_secs(asked.saturating_sub(left));
                set_deletion(object, until.checked_add(shorter).unwrap_or(Timestamp::MIN), asked);
                Grace::Seconds(asked)
            }
            // Marked by a delete that did not come to its second half.
            _ if left == 0 && finalizers(object).next().is_none() => Grace::None,
            _ => Grace::Pending,
        },
        (None, _) => {
            let at = now.checked_add(SignedDuration::from_secs(wanted));
            set_deletion(object, at.unwrap_or(Timestamp::MAX), wanted);
            raise_generation(object);
            Grace::Seconds(wanted)
        }
    }
}

fn set_deletion(object: &mut Value, at: Timestamp, grace: i64) {
    let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    meta.insert("deletionTimestamp".into(), seconds(at).into());
    meta.insert("deletionGracePeriodSeconds".into(), grace.into());
}

/// A moment as Kubernetes writes it, to the second.
pub(crate) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Marks an object that knows no grace but has finalizers.
fn mark(object: &mut Value, now: Timestamp) {
    let Some(meta) = object.get("metadata") else { return };
    let first = meta.get("deletionGracePeriodSeconds").is_none_or(Value::is_null);
    let at = meta.get("deletionTimestamp").and_then(Value::as_str);
    let at = at.and_then(|at| at.parse::<Timestamp>().ok()).filter(|at| *at <= now);
    if first {
        raise_generation(object);
    }
    set_deletion(object, at.unwrap_or(now), 0);
}

fn raise_generation(object: &mut Value) {
    if let Some(generation) = object.pointer_mut("/metadata/generation")
        && let Some(number) = generation.as_i64().filter(|n| *n > 0)
    {
        *generation = (number + 1).into();
    }
}

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// What becomes of dependents: as asked, else as the object's finalizers say, else as is usual for the kind.
fn policy(strategy: &dyn Strategy, object: &Value, options: &DeleteOptions) -> Option<Propagation> {
    let usual = || strategy.orphans_dependents().then_some(Propagation::Orphan);
    options.propagation.or_else(|| {
        let order = finalizers(object).find(|f| [ORPHAN, FOREGROUND].contains(f));
        match order {
            Some(ORPHAN) => Some(Propagation::Orphan),
            Some(_) => Some(Propagation::Foreground),
            None => usual(),
        }
    })
}

/// The two finalizers of the garbage collector follow the policy.
fn set_finalizers(object: &mut Value, policy: Option<Propagation>) {
    let had = |name: &str| finalizers(object).any(|f| f == name);
    let wanted = match policy {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) | None => None,
    };
    if had(ORPHAN) == (wanted == Some(ORPHAN)) && had(FOREGROUND) == (wanted == Some(FOREGROUND)) {
        return;
    }
    let mut list: Vec<Value> = finalizers(object)
        .filter(|f| ![ORPHAN, FOREGROUND].contains(f))
        .map(|f| json!(f))
        .collect();
    list.extend(wanted.map(|f| json!(f)));
    let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if list.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".into(), Value::Array(list));
    }
}

/// A namespace becomes Terminating first; it goes when both kinds of finalizers are gone.
fn namespace(object: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let marked = object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    if marked {
        let held = object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|l| !l.is_empty());
        let held = held || finalizers(object).next().is_some();
        return if held { Plan::Pending } else { Plan::Remove };
    }
    let mut object = object.clone();
    if options.propagation == Some(Propagation::Orphan) {
        set_finalizers(&mut object, options.propagation);
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("deletionTimestamp".into(), seconds(now).into());
    }
    if let Some(fields) = object.as_object_mut() {
        let status = fields.entry("status").or_insert_with(|| json!({}));
        if let Some(status) = status.as_object_mut() {
            status.insert("phase".into(), "Terminating".into());
        }
    }
    Plan::Mark(object)
}

/// A definition waits for its objects to go.
fn definition(object: &Value, now: Timestamp) -> Plan {
    let mut object = object.clone();
    let at = seconds(now);
    let why = (
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    );
    keeper::condition(&mut object, ("Terminating", "True"), why, &at);
    let mut list: Vec<Value> = finalizers(&object).map(|f| json!(f)).collect();
    if !list.iter().any(|finalizer| finalizer == keeper::CLEANUP) {
        list.push(keeper::CLEANUP.into());
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("deletionTimestamp".into(), at.into());
        meta.insert("finalizers".into(), list.into());
    }
    Plan::Mark(object)
}

/// 409 when the caller meant another object. Upstream names the kind here, not the resource.
pub(crate) fn check_preconditions(
    row: &Resource,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let text = |key: &str| {
        object
            .get("metadata")
            .and_then(|meta| meta.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let conflict = |why: &str| Err(Status::conflict(row.group, row.kind, text("name"), why));
    if let Some(uid) = options.uid.as_ref().filter(|uid| *uid != text("uid")) {
        return conflict(&format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            text("uid")
        ));
    }
    let version = text("resourceVersion");
    if let Some(wanted) = options.resource_version.as_ref().filter(|wanted| *wanted != version) {
        return conflict(&format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a pod's mark after a delete that asks for this much grace.
    fn marked(pod: &Value, asked: Option<i64>) -> (String, i64) {
        let row = api::resource::by_plural("", "v1", "pods").expect("pods are served");
        let now = "2026-01-01T00:00:00Z".parse().expect("a moment");
        let options = DeleteOptions { grace_seconds: asked, ..DeleteOptions::default() };
        let plan = plan(row, crate::admit::strategy_for(row), pod, &options, now);
        let Ok(Plan::Mark(pod)) = plan else { panic!("marked: {plan:?}") };
        let meta = &pod["metadata"];
        let until = meta["deletionTimestamp"].as_str().expect("a mark").to_owned();
        (until, meta["deletionGracePeriodSeconds"].as_i64().expect("a number"))
    }

    #[test]
    fn a_grace_past_the_end_of_time_ends_there() {
        let end = || "9999-12-30T22:00:00Z".to_owned();
        let pod = |grace: i64| json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": grace}});
        assert_eq!(marked(&pod(30), Some(i64::MAX)), (end(), i64::MAX));
        assert_eq!(marked(&pod(i64::MAX), None), (end(), i64::MAX));
        let mut shorter = pod(30);
        shorter["metadata"]["deletionTimestamp"] = end().into();
        shorter["metadata"]["deletionGracePeriodSeconds"] = i64::MAX.into();
        assert_eq!(marked(&shorter, Some(10)).1, 10);
    }

    #[test]
    fn a_delete_that_was_cut_off_halfway_is_finished_by_the_next() {
        let row = api::resource::by_plural("", "v1", "pods").expect("pods are served");
        let plan_of = |pod: &Value| {
            let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
            let now = "2026-01-01T00:01:00Z".parse().expect("a moment");
            plan(row, crate::admit::strategy_for(row), pod, &options, now).expect("a plan")
        };
        let mut pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 0}, "spec": {"nodeName": "n"}});
        assert!(matches!(plan_of(&pod), Plan::Remove), "nothing else would ever remove it");
        pod["metadata"]["finalizers"] = json!(["example.com/wait"]);
        assert!(!matches!(plan_of(&pod), Plan::Remove));
    }
}
