//! What about the object changes: its fields, and whether that makes a rollout.

use super::Wanted;
use rollout::plan::history::History;
use rollout::{Revision, Set, json};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Changed fields that are named.
const FIELDS_MAX: usize = 20;

/// What about the object changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Whether the DaemonSet is new.
    pub is_new: bool,
    /// Whether pods get another template.
    pub is_rollout: bool,
    /// In words: which revision.
    pub words: String,
    /// Paths of the fields that change, the first of them.
    pub fields: Vec<String>,
    /// How many fields change.
    pub fields_changed: usize,
}

impl Change {
    pub(super) fn of(
        wanted: &Wanted,
        before: &Set,
        history: &History,
        revisions: &BTreeMap<String, Revision>,
    ) -> Self {
        let empty = Value::Null;
        let live = wanted.live.as_ref();
        let mut fields = field_changes(live.unwrap_or(&empty), &wanted.object);
        let is_same = live.is_some_and(|live| {
            json::canonical(&live["spec"]["template"])
                == json::canonical(&wanted.object["spec"]["template"])
        });
        let known = revisions
            .values()
            .find(|revision| history.steps.create.is_none() && revision.hash() == history.hash);
        let words = match (live, is_same, known) {
            (None, _, _) => "a new DaemonSet".to_owned(),
            (_, true, _) => "no rollout: the template stays the same".to_owned(),
            (_, false, Some(revision)) => format!(
                "rollout: the template is that of revision {} ({}) again",
                revision.number, revision.name
            ),
            (_, false, None) => format!("rollout: a new revision, hash {}", history.hash),
        };
        let was = History::of(before, revisions).hash;
        let fields_changed = if live.is_none() { 0 } else { fields.len() };
        fields.truncate(if live.is_none() { 0 } else { FIELDS_MAX });
        Self {
            is_new: live.is_none(),
            is_rollout: live.is_some() && !is_same && was != history.hash,
            words,
            fields,
            fields_changed,
        }
    }

    /// Whether anything changes.
    pub fn is_any(&self) -> bool {
        self.is_new || self.fields_changed > 0
    }
}

/// What clients or the server write by themselves, and what therefore is no change.
const BOOKKEEPING: [&str; 6] =
    ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"];
/// Annotations of that kind.
const BOOKKEEPING_ANNOTATIONS: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.daemonset.template.generation",
];

/// Paths of the fields in which two objects differ, status and bookkeeping aside.
pub fn field_changes(live: &Value, wanted: &Value) -> Vec<String> {
    let strip = |object: &Value| {
        let mut members = object.as_object().cloned().unwrap_or_default();
        members.remove("status");
        members.remove("apiVersion");
        members.remove("kind");
        if let Some(meta) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
            if let Some(notes) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
                notes.retain(|name, _| !BOOKKEEPING_ANNOTATIONS.contains(&name.as_str()));
            }
        }
        Value::Object(members)
    };
    let mut paths = Vec::new();
    differ("", &strip(live), &strip(wanted), &mut paths);
    paths
}

fn differ(path: &str, a: &Value, b: &Value, paths: &mut Vec<String>) {
    let none = Map::new();
    // absent, null and empty are the same to the API
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if a == b || empty(a) && empty(b) {
        return;
    }
    match (a, b) {
        (Value::Object(_) | Value::Null, Value::Object(_)) | (Value::Object(_), Value::Null) => {
            let (a, b) = (a.as_object().unwrap_or(&none), b.as_object().unwrap_or(&none));
            for (name, value) in a {
                differ(&join(path, name), value, b.get(name).unwrap_or(&Value::Null), paths);
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                differ(&join(path, name), &Value::Null, value, paths);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&format!("{path}[{at}]"), a, b, paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.contains(['.', '/'])) {
        (true, _) => name.to_owned(),
        (false, true) => format!("{path}[{name}]"),
        (false, false) => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bookkeeping_status_and_empty_fields_are_no_change() {
        let live = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 3, "annotations":
            {"deprecated.daemonset.template.generation": "1"}}, "spec": {"x": {}}, "status": {"a": 1}});
        let wanted = json!({"metadata": {"name": "a", "resourceVersion": "2"}, "spec": {}});
        assert_eq!(field_changes(&live, &wanted), Vec::<String>::new());
    }

    #[test]
    fn paths_of_changes_are_named() {
        let live = json!({"metadata": {"labels": {"a.b/c": "1"}}, "spec": {"l": [{"x": 1}, {"x": 2}], "gone": 1}});
        let wanted = json!({"metadata": {"labels": {"a.b/c": "2"}}, "spec": {"l": [{"x": 1}, {"x": 3}], "new": {"y": 1}}});
        let found = field_changes(&live, &wanted);
        assert_eq!(found, ["metadata.labels[a.b/c]", "spec.gone", "spec.l[1].x", "spec.new.y"]);
    }
}
