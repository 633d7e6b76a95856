//! Another DaemonSet controller at work in the same cluster.
//!
//! Two controllers would each make a pod where one is missing and each remove the other's. What gives the other away:
//! a revision or a daemon pod of a DaemonSet that is there, which appears while we lead and was made by a manager that
//! is not us. Our writes are signed with a name of their own, so that the engine inside a pernode server is told
//! apart, too.

use http::Uri;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kit::cache::Object;
use kit::{Cache, Caches, Change, Index, Key};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use rollout::words::HASH_LABEL;
use std::collections::VecDeque;

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

/// An object that a rival may have made: whether it did depends on whether the DaemonSet it names is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suspect {
    namespace: String,
    /// The uid of its owner, as it says.
    uid: String,
    /// What to tell.
    tale: String,
}

/// Suspects kept until their DaemonSet is heard of, about 300 bytes each: our three watches do not run in step. The
/// oldest falls out; anybody can make objects that name a DaemonSet that never was.
const SUSPECTS_MAX: usize = 256;

/// Returns what gave a rival away.
pub(super) async fn appears(caches: &Caches) -> String {
    let sets = caches.metadata(&ApiResource::erase::<DaemonSet>(&()));
    found(&sets, &caches.of(), &caches.of()).await
}

async fn found(
    sets: &Cache<PartialObjectMeta<DynamicObject>>,
    pods: &Cache<Pod>,
    revisions: &Cache<ControllerRevision>,
) -> String {
    let (mut pods, mut revisions) = (pods.subscribe(), revisions.subscribe());
    let mut changes = sets.subscribe();
    let mut suspects = VecDeque::new();
    let is_known = |suspect: &Suspect| {
        let named = sets.by(&Index::UID, &suspect.uid);
        named.iter().any(|set| set.metadata.namespace.as_deref() == Some(&suspect.namespace))
    };
    loop {
        let suspect = tokio::select! {
            change = pods.next() => suspect(&change, "pod").filter(|(pod, _)| is_daemon(pod)).map(|(_, s)| s),
            change = revisions.next() => suspect(&change, "revision").map(|(_, suspect)| suspect),
            _ = changes.next() => {
                if let Some(known) = suspects.iter().find(|suspect| is_known(suspect)) {
                    return known.tale.clone();
                }
                None
            }
        };
        let Some(suspect) = suspect else { continue };
        if is_known(&suspect) {
            return suspect.tale;
        }
        if suspects.len() == SUSPECTS_MAX {
            suspects.pop_front();
        }
        suspects.push_back(suspect);
    }
}

/// The object of a change and what is suspicious about it. What was there before we led tells nothing.
fn suspect<'a, K: Object>(change: &'a Change<K>, kind: &str) -> Option<(&'a K, Suspect)> {
    let Change::Applied { old: None, new } = change else { return None };
    let (manager, uid) = maker(new.meta()).filter(|(manager, _)| *manager != MANAGER)?;
    let key = Key::of(new.as_ref());
    let tale = format!("{manager} made the {kind} {key}");
    Some((new.as_ref(), Suspect { namespace: key.namespace, uid: uid.to_owned(), tale }))
}

/// Whether a pod has what every daemon pod has. A pod that merely names a DaemonSet as its owner may come from
/// anybody who may make pods.
fn is_daemon(pod: &Pod) -> bool {
    let has_hash =
        pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(HASH_LABEL));
    has_hash && pod.spec.as_ref().and_then(fit::place::target_node).is_some()
}

/// Who made an object for a DaemonSet, the manager of its owners, and the uid of that DaemonSet.
fn maker(meta: &ObjectMeta) -> Option<(&str, &str)> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| {
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
    Some((entry.manager.as_deref()?, &owner.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::time::timeout;

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
        assert_eq!(maker(&meta("DaemonSet", "")), Some(("kcm", "u")));
        assert_eq!(maker(&meta("DaemonSet", "status")), None);
        assert_eq!(maker(&meta("ReplicaSet", "")), None);
    }

    fn pod(name: &str, uid: &str, labels: &serde_json::Value) -> Pod {
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "labels": labels,
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": uid,
                                     "controller": true}],
                "managedFields": [{"manager": "kcm", "operation": "Update",
                                   "fieldsV1": {"f:metadata": {"f:ownerReferences": {}}}}]},
            "spec": {"containers": [], "nodeName": "n"}});
        serde_json::from_value(pod).unwrap()
    }

    fn set(uid: &str) -> PartialObjectMeta<DynamicObject> {
        let meta = json!({"metadata": {"name": uid, "namespace": "ns", "uid": uid}});
        serde_json::from_value(meta).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_daemon_pod_of_a_set_that_is_there_gives_a_rival_away() {
        let setup = kit::Setup::new(kit::Clock::system(), 0);
        let (sets, pods) = (Cache::fixed(&setup, []), Cache::fixed(&setup, []));
        let revisions = Cache::fixed(&setup, []);
        let hash = json!({HASH_LABEL: "h"});
        let mut rival = Box::pin(found(&sets, &pods, &revisions));
        let second = std::time::Duration::from_secs(1);
        assert_eq!(timeout(second, &mut rival).await.ok(), None);
        sets.apply(set("here"));
        pods.apply(pod("forged", "nowhere", &hash));
        pods.apply(pod("claims", "here", &json!({"app": "x"})));
        assert_eq!(
            timeout(second, &mut rival).await.ok(),
            None,
            "neither is a daemon pod of a set that is there"
        );
        pods.apply(pod("early", "later", &hash));
        assert_eq!(timeout(second, &mut rival).await.ok(), None, "its set is not known yet");
        sets.apply(set("later"));
        assert_eq!(
            timeout(second, &mut rival).await.ok(),
            Some("kcm made the pod ns/early".to_owned())
        );
    }
}
