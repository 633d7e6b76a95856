//! Another DaemonSet controller at work in the same cluster.
//!
//! Two controllers would each make a pod where one is missing and each remove the other's. What gives the other away:
//! a revision or a daemon pod that appears while we lead, made by a manager that is not us. Our writes are signed with
//! a name of their own, so that the engine inside a pernode server is told apart, too.

use http::Uri;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::cache::Object;
use kit::{Caches, Change, Changes, Key};

/// The engine's field manager, wherever it runs.
const OF_THE_PART: &str = "fieldManager=pernode-daemonset";
/// The field manager of this command.
const MANAGER: &str = "pernode-engine";

/// The same request, signed as ours; `None` when it is not signed as the engine's.
pub(super) fn signed(uri: &Uri) -> Option<Uri> {
    let text = uri.to_string();
    text.contains(OF_THE_PART)
        .then(|| text.replace(OF_THE_PART, &format!("fieldManager={MANAGER}")).parse().ok())?
}

/// Returns what gave a rival away.
pub(super) async fn appears(caches: &Caches) -> String {
    let (pods, revisions) = (caches.of::<Pod>(), caches.of::<ControllerRevision>());
    tokio::select! {
        what = first(pods.subscribe(), "pod") => what,
        what = first(revisions.subscribe(), "revision") => what,
    }
}

async fn first<K: Object>(mut changes: Changes<K>, kind: &str) -> String {
    loop {
        // what was there before we led, or while our watch was broken, tells nothing
        let Change::Applied { old: None, new } = changes.next().await else { continue };
        if let Some(manager) = maker(new.meta()).filter(|manager| *manager != MANAGER) {
            return format!("{manager} made the {kind} {}", Key::of(new.as_ref()));
        }
    }
}

/// Who made an object for a DaemonSet: the manager of its owners.
fn maker(meta: &ObjectMeta) -> Option<&str> {
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| {
        owner.controller == Some(true)
            && owner.kind == "DaemonSet"
            && owner.api_version.starts_with("apps/")
    })?;
    let mut entries = meta.managed_fields.iter().flatten();
    let entry = entries.find(|entry| {
        let owners = entry
            .fields_v1
            .as_ref()
            .and_then(|fields| fields.0.get("f:metadata")?.get("f:ownerReferences"));
        entry.subresource.as_deref().unwrap_or_default().is_empty() && owners.is_some()
    })?;
    entry.manager.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_of_the_engine_are_signed_as_ours() {
        let uri: Uri =
            "https://h:1/api/v1/pods?x=1&fieldManager=pernode-daemonset".parse().unwrap();
        let ours = signed(&uri).unwrap().to_string();
        assert_eq!(ours, "https://h:1/api/v1/pods?x=1&fieldManager=pernode-engine");
        assert_eq!(signed(&"https://h:1/api/v1/pods".parse().unwrap()), None);
    }

    #[test]
    fn the_maker_is_told_by_who_owns_the_owners_of_a_daemons_object() {
        let meta = |kind: &str, subresource: &str| -> ObjectMeta {
            serde_json::from_value(json!({
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "d", "uid": "u", "controller": true}],
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
                    {"manager": "kcm", "operation": "Update", "subresource": subresource,
                     "fieldsV1": {"f:metadata": {"f:ownerReferences": {}}}}]}))
            .unwrap()
        };
        assert_eq!(maker(&meta("DaemonSet", "")), Some("kcm"));
        assert_eq!(maker(&meta("DaemonSet", "status")), None);
        assert_eq!(maker(&meta("ReplicaSet", "")), None);
    }
}
