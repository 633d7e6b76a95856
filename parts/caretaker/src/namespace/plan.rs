//! What a namespace under deletion still holds, and how its conditions say so. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{DynamicObject, PartialObjectMeta};
use std::collections::BTreeMap;
use std::time::Duration;

/// Wait before the next look while something is left and nothing says how long it may take.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait: half the longest grace period seen, but not more.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Whether the namespace is being deleted and waits for us.
pub(super) fn is_ours(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
        && namespace
            .spec
            .as_ref()
            .and_then(|s| s.finalizers.as_ref())
            .is_some_and(|list| list.iter().any(|f| f == crate::words::FINALIZER_KUBERNETES))
}

/// Pods go before all else: what they use (claims, secrets, accounts) stays while they end, as upstream's
/// OrderedNamespaceDeletion has it.
pub(super) fn goes_first(group: &str, plural: &str) -> bool {
    (group, plural) == ("", "pods")
}

/// What is left in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Number of objects by `plural.group`.
    pub(super) objects: BTreeMap<String, usize>,
    /// Number of objects that wait for a finalizer, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// Longest grace period of what is left, in seconds.
    pub(super) grace_max: i64,
    /// Kinds that could not be emptied, and why.
    pub(super) errors: Vec<String>,
    /// Why the kinds could not be found out.
    pub(super) discovery_error: Option<String>,
}

impl Left {
    /// Adds what is left of a kind. Upstream writes the core group as an empty one: `pods.`.
    pub(super) fn add(
        &mut self,
        plural: &str,
        group: &str,
        objects: &[PartialObjectMeta<DynamicObject>],
    ) {
        if objects.is_empty() {
            return;
        }
        self.objects.insert(format!("{plural}.{group}"), objects.len());
        for object in objects {
            for finalizer in object.metadata.finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
            self.grace_max =
                self.grace_max.max(object.metadata.deletion_grace_period_seconds.unwrap_or(0));
        }
    }

    /// Whether the namespace is empty.
    pub(super) fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.errors.is_empty() && self.discovery_error.is_none()
    }

    /// How long to wait before the next look.
    pub(super) fn wait(&self) -> Duration {
        let half = Duration::from_secs(u64::try_from(self.grace_max / 2).unwrap_or(0));
        half.clamp(WAIT_MIN, WAIT_MAX)
    }
}

/// The namespace with its conditions brought up to date; `None` when nothing changes.
pub(super) fn with_conditions(
    namespace: &Namespace,
    left: &Left,
    now: Timestamp,
) -> Option<Namespace> {
    let mut changed = namespace.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = conditions.clone();
    for (kind, trouble, reason, message) in conditions_of(left) {
        let status = if trouble { "True" } else { "False" };
        let known = conditions.iter_mut().find(|c| c.type_ == kind);
        match known {
            Some(known) if known.status == status && known.message.as_deref() == Some(&message) => {
            }
            Some(known) => {
                if known.status != status {
                    known.last_transition_time = Some(Time(now));
                }
                status.clone_into(&mut known.status);
                known.reason = Some(reason.to_owned());
                known.message = Some(message);
            }
            None => conditions.push(NamespaceCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    (*conditions != before).then_some(changed)
}

/// Type, whether there is trouble, reason, message; upstream's words.
fn conditions_of(left: &Left) -> [(&'static str, bool, &'static str, String); 5] {
    let discovery = match &left.discovery_error {
        Some(error) => {
            (true, "DiscoveryFailed", format!("Discovery failed for some groups: {error}"))
        }
        None => (false, "ResourcesDiscovered", "All resources successfully discovered".to_owned()),
    };
    let content = if left.errors.is_empty() {
        (
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        )
    } else {
        (
            true,
            "ContentDeletionFailed",
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                left.errors.len(),
                left.errors.join(", ")
            ),
        )
    };
    let list = |map: &BTreeMap<String, usize>, what: &str| {
        map.iter()
            .map(|(name, n)| format!("{name} {what} {n} resource instances"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let remaining = if left.objects.is_empty() {
        (false, "ContentRemoved", "All content successfully removed".to_owned())
    } else {
        (
            true,
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", list(&left.objects, "has")),
        )
    };
    let finalizers = if left.finalizers.is_empty() {
        (false, "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
    } else {
        (
            true,
            "SomeFinalizersRemain",
            format!(
                "Some content in the namespace has finalizers remaining: {}",
                list(&left.finalizers, "in")
            ),
        )
    };
    [
        ("NamespaceDeletionDiscoveryFailure", discovery.0, discovery.1, discovery.2),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        ("NamespaceDeletionContentFailure", content.0, content.1, content.2),
        ("NamespaceContentRemaining", remaining.0, remaining.1, remaining.2),
        ("NamespaceFinalizersRemaining", finalizers.0, finalizers.1, finalizers.2),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespace(finalizers: &[&str], deleted: bool) -> Namespace {
        let deleted = deleted.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"name": "team", "deletionTimestamp": deleted},
            "spec": {"finalizers": finalizers}, "status": {"phase": "Terminating"},
        }))
        .unwrap()
    }

    fn object(finalizers: &[&str], grace: i64) -> PartialObjectMeta<DynamicObject> {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "x", "finalizers": finalizers, "deletionGracePeriodSeconds": grace},
        }))
        .unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn only_namespaces_under_deletion_with_our_finalizer_are_ours() {
        assert!(is_ours(&namespace(&["kubernetes"], true)));
        assert!(!is_ours(&namespace(&["kubernetes"], false)));
        assert!(!is_ours(&namespace(&["other"], true)));
    }

    #[test]
    fn conditions_name_what_is_left_and_settle_when_nothing_is() {
        let mut left = Left::default();
        left.add("pods", "", &[object(&[], 30), object(&["keep/me"], 30)]);
        let first = with_conditions(&namespace(&["kubernetes"], true), &left, now()).unwrap();
        let text = serde_json::to_string(&first.status).unwrap();
        assert!(
            text.contains("Some resources are remaining: pods. has 2 resource instances"),
            "{text}"
        );
        assert!(text.contains("finalizers remaining: keep/me in 1 resource instances"), "{text}");
        assert_eq!(left.wait(), Duration::from_secs(15));
        assert!(with_conditions(&first, &left, now()).is_none(), "the same again is no change");
        let second = with_conditions(&first, &Left::default(), now()).unwrap();
        let conditions = second.status.unwrap().conditions.unwrap();
        assert!(conditions.iter().all(|c| c.status == "False"));
    }

    #[test]
    fn an_error_keeps_the_namespace() {
        let left = Left { errors: vec!["secrets: forbidden".into()], ..Left::default() };
        assert!(!left.is_nothing());
        assert_eq!(left.wait(), WAIT_MIN);
    }
}
