//! Annotations of sets: revisions, and the sizes that a set's own size refers to.

use super::{Mark, Parts, Plan};
use crate::words;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotations of a Deployment that are not its sets'.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    words::ANNOTATION_REVISION,
    words::ANNOTATION_REVISION_HISTORY,
    words::ANNOTATION_DESIRED,
    words::ANNOTATION_MAX,
    "deprecated.deployment.rollback.to",
];
/// Bytes of the list of former revisions that are kept (upstream's limit).
const HISTORY_BYTES_MAX: usize = 2000;

/// The revision noted on a set; none counts as 0.
pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    let noted = meta.annotations.as_ref().and_then(|all| all.get(words::ANNOTATION_REVISION));
    noted.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The revision of the current template if it is not the newest already.
pub(super) fn next(parts: &Parts<'_>) -> i64 {
    parts.old.iter().map(|set| revision(&set.metadata)).max().unwrap_or(0).saturating_add(1)
}

/// The Deployment's annotations that its sets take over.
fn taken_over(parts: &Parts<'_>) -> impl Iterator<Item = (String, String)> {
    let all = parts.deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| !OWN.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone()))
}

/// What a set's size refers to: the Deployment's size, and the most pods that there may be.
pub(super) fn sizes(parts: &Parts<'_>) -> BTreeMap<String, String> {
    let wanted = parts.wanted();
    BTreeMap::from([
        (words::ANNOTATION_DESIRED.to_owned(), wanted.to_string()),
        (words::ANNOTATION_MAX.to_owned(), wanted.saturating_add(parts.surge()).to_string()),
    ])
}

/// Annotations of a new set.
pub(super) fn first(parts: &Parts<'_>, revision: i64) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = taken_over(parts).collect();
    all.insert(words::ANNOTATION_REVISION.to_owned(), revision.to_string());
    all.extend(sizes(parts));
    all
}

/// Brings the current set's annotations up to date, and notes its revision on the Deployment.
pub(super) fn current(parts: &Parts<'_>, plan: &mut Plan) {
    let Some(new) = parts.new else { return };
    let empty = BTreeMap::new();
    let has = new.metadata.annotations.as_ref().unwrap_or(&empty);
    let mut wanted: BTreeMap<String, String> = taken_over(parts).collect();
    let (before, next) = (revision(&new.metadata), next(parts));
    if before < next {
        wanted.insert(words::ANNOTATION_REVISION.to_owned(), next.to_string());
        if let Some(old) = has.get(words::ANNOTATION_REVISION).filter(|old| !old.is_empty()) {
            let list = has.get(words::ANNOTATION_REVISION_HISTORY).map_or("", String::as_str);
            wanted.insert(words::ANNOTATION_REVISION_HISTORY.to_owned(), with_former(list, old));
        }
    }
    plan.revision = Some(before.max(next).to_string());
    wanted.retain(|key, value| has.get(key) != Some(value));
    let min_ready_seconds = parts.spec.min_ready_seconds.unwrap_or(0);
    let ready = new.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    if !wanted.is_empty() || ready != min_ready_seconds {
        plan.mark = Some(Mark { set: Arc::clone(new), annotations: wanted, min_ready_seconds });
    }
}

/// The list of former revisions with one more; the oldest give way.
fn with_former(list: &str, old: &str) -> String {
    if list.is_empty() {
        return old.to_owned();
    }
    let mut text = format!("{list},{old}");
    while text.len() > HISTORY_BYTES_MAX {
        match text.split_once(',') {
            Some((_, rest)) => text = rest.to_owned(),
            None => break,
        }
    }
    text
}
