//! Looks at owners past the cache where that matters, and carries out plans.

use super::Owners;
use super::graph::{Item, Kind, Meta, id_of_owner};
use super::plan::{self, Held, Owner, Policy, Step};
use crate::words;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kit::Note;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{DynamicObject, Status};
use serde_json::json;
use std::sync::Arc;

/// Why an object could not be dealt with now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("owner of kind {0} cannot be looked up: the kind is not served")]
    UnknownKind(String),
}

impl Owners {
    pub(super) async fn reconcile(&self, item: &Item) -> Result<(), Trouble> {
        let Some(kind) = self.graph.kind(&item.kind) else { return Ok(()) };
        let Some(seen) = self.graph.find(item) else { return Ok(()) };
        match plan::held(&seen.metadata) {
            Held::LetGo => return self.let_go(item, &kind, &seen).await,
            Held::Drain => return self.drain(item, &kind, &seen).await,
            Held::No if seen.metadata.deletion_timestamp.is_some() => return Ok(()),
            Held::No => {}
        }
        if seen.metadata.owner_references.iter().flatten().next().is_none() {
            return Ok(());
        }
        if self.is_kept(item, &seen) {
            return Ok(());
        }
        // decided on what is there now, not on what the cache remembers
        let api = self.api(&kind, &item.key.namespace);
        let Some(live) = api.get_metadata_opt(&item.key.name).await? else { return Ok(()) };
        if live.metadata.uid.as_deref() != Some(&item.uid)
            || live.metadata.deletion_timestamp.is_some()
        {
            return Ok(());
        }
        let mut owners = Vec::new();
        for owner in live.metadata.owner_references.iter().flatten() {
            owners.push((owner.clone(), self.owner(item, &kind, owner).await?));
        }
        let dependents = self.graph.dependents(item);
        let circular =
            dependents.iter().any(|(_, dependent)| plan::is_draining(&dependent.metadata));
        let meta = &live.metadata;
        match plan::plan(meta, &owners, !dependents.is_empty(), circular) {
            Step::Nothing => Ok(()),
            Step::Keep(owners) => self.set_owners(item, &kind, meta, &owners).await,
            Step::Delete(policy) => self.delete(item, &kind, meta, policy).await,
            Step::UnblockAndDelete(owners) => {
                self.set_owners(item, &kind, meta, &owners).await?;
                // its version has moved; the uid is enough
                let meta = ObjectMeta { resource_version: None, ..meta.clone() };
                self.delete(item, &kind, &meta, Policy::Foreground).await
            }
        }
    }

    /// Whether all owners of an object are there, as far as the caches know: then nothing is to be done, and nobody is
    /// asked, as upstream's has it. News of the object or of an owner bring it back.
    fn is_kept(&self, item: &Item, seen: &Meta) -> bool {
        let is_there = |owner: &OwnerReference| {
            let kind = self.graph.kind(&id_of_owner(owner))?;
            let namespace = if kind.namespaced { item.key.namespace.as_str() } else { "" };
            let found = kind.cache.find(namespace, &owner.name)?;
            let is_same = found.metadata.uid.as_deref() == Some(&owner.uid);
            Some(is_same && standing(&found) == Owner::Solid)
        };
        seen.metadata.owner_references.iter().flatten().all(|owner| is_there(owner) == Some(true))
    }

    /// How an owner stands, by the cache if it is there, else by a live look (spec B132).
    async fn owner(
        &self,
        item: &Item,
        kind: &Kind,
        owner: &OwnerReference,
    ) -> Result<Owner, Trouble> {
        if self.is_known_absent(&owner.uid) {
            return Ok(Owner::Absent);
        }
        let id = id_of_owner(owner);
        let found = self.graph.by_uid(&owner.uid);
        if let Some((at, found)) = &found {
            let same = at.kind == id && at.key.name == owner.name;
            let reaches = at.key.namespace.is_empty() || at.key.namespace == item.key.namespace;
            if same && reaches {
                return Ok(standing(found));
            }
            if same && kind.namespaced {
                self.wrong_namespace(item, kind, owner);
                return Ok(Owner::Absent);
            }
        }
        let Some(owner_kind) = self.graph.kind(&id) else {
            return Err(Trouble::UnknownKind(id));
        };
        if owner_kind.namespaced && !kind.namespaced {
            // nobody can say in which namespace; upstream leaves such objects alone
            self.wrong_namespace(item, kind, owner);
            return Ok(Owner::Solid);
        }
        let namespace = if owner_kind.namespaced { item.key.namespace.as_str() } else { "" };
        let live = match self.api(&owner_kind, namespace).get_metadata(&owner.name).await {
            Ok(live) => Some(live),
            Err(kube::Error::Api(status)) if is_absent(&status, &owner.name) => None,
            // "page not found": the kind has gone, or has another version by now; nothing is known of its objects
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(Trouble::UnknownKind(id));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(live) = live.filter(|live| live.metadata.uid.as_deref() == Some(&owner.uid)) {
            Ok(standing(&live))
        } else {
            self.remember_absent(&owner.uid);
            Ok(Owner::Absent)
        }
    }

    /// Every dependent forgets the object, then it goes.
    async fn let_go(&self, item: &Item, kind: &Kind, seen: &Arc<Meta>) -> Result<(), Trouble> {
        for (dependent, meta) in self.graph.dependents(item) {
            let Some(kind) = self.graph.kind(&dependent.kind) else { continue };
            let owners = meta.metadata.owner_references.iter().flatten();
            let others: Vec<_> = owners.filter(|owner| owner.uid != item.uid).cloned().collect();
            self.set_owners(&dependent, &kind, &meta.metadata, &others).await?;
        }
        self.drop_finalizer(item, kind, &seen.metadata, words::FINALIZER_ORPHAN).await
    }

    /// Dependents that block go first; then the object goes.
    async fn drain(&self, item: &Item, kind: &Kind, seen: &Arc<Meta>) -> Result<(), Trouble> {
        let dependents = self.graph.dependents(item);
        let blocked = dependents.iter().any(|(_, meta)| plan::blocks(&meta.metadata, &item.uid));
        for (dependent, meta) in dependents {
            if meta.metadata.deletion_timestamp.is_none() {
                self.queue.add(dependent);
            }
        }
        if blocked {
            // their going wakes us
            return Ok(());
        }
        self.drop_finalizer(item, kind, &seen.metadata, words::FINALIZER_FOREGROUND).await
    }

    async fn set_owners(
        &self,
        item: &Item,
        kind: &Kind,
        meta: &ObjectMeta,
        owners: &[OwnerReference],
    ) -> Result<(), Trouble> {
        self.patch(item, kind, meta, json!({"ownerReferences": owners})).await
    }

    async fn drop_finalizer(
        &self,
        item: &Item,
        kind: &Kind,
        meta: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), Trouble> {
        let finalizers = meta.finalizers.iter().flatten();
        let others: Vec<&String> = finalizers.filter(|own| *own != finalizer).collect();
        self.patch(item, kind, meta, json!({"finalizers": others})).await
    }

    /// Lists are replaced as a whole, so only those of the version that was read.
    async fn patch(
        &self,
        item: &Item,
        kind: &Kind,
        meta: &ObjectMeta,
        mut change: serde_json::Value,
    ) -> Result<(), Trouble> {
        change["uid"] = json!(meta.uid);
        change["resourceVersion"] = json!(meta.resource_version);
        let patch: Patch<serde_json::Value> = Patch::Merge(json!({"metadata": change}));
        let api = self.api(kind, &item.key.namespace);
        Ok(crate::gone(api.patch(&item.key.name, &PatchParams::default(), &patch).await)?)
    }

    async fn delete(
        &self,
        item: &Item,
        kind: &Kind,
        meta: &ObjectMeta,
        policy: Policy,
    ) -> Result<(), Trouble> {
        tracing::debug!(kind = item.kind, object = %item.key, ?policy, "has lost its owners");
        let params = DeleteParams {
            propagation_policy: Some(match policy {
                Policy::Background => PropagationPolicy::Background,
                Policy::Foreground => PropagationPolicy::Foreground,
                Policy::Orphan => PropagationPolicy::Orphan,
            }),
            preconditions: Some(Preconditions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let api = self.api(kind, &item.key.namespace);
        Ok(crate::gone(api.delete(&item.key.name, &params).await)?)
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        let client = self.client.clone();
        if kind.namespaced {
            Api::namespaced_with(client, namespace, &kind.resource)
        } else {
            Api::all_with(client, &kind.resource)
        }
    }

    fn wrong_namespace(&self, item: &Item, kind: &Kind, owner: &OwnerReference) {
        let namespace = &item.key.namespace;
        let OwnerReference { api_version, kind: owner_kind, name, uid, .. } = owner;
        let message = format!(
            "ownerRef [{api_version}/{owner_kind}, namespace: {namespace}, name: {name}, uid: {uid}] \
             does not exist in namespace {namespace:?}"
        );
        let regarding = ObjectReference {
            api_version: Some(kind.resource.api_version.clone()),
            kind: Some(kind.resource.kind.clone()),
            namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(item.key.name.clone()),
            uid: Some(item.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.publish(Note::warning(regarding, words::EVENT_INVALID_NAMESPACE, message));
    }
}

/// Whether an answer says of the object itself that it is not there. A path that nobody serves answers 404, too.
fn is_absent(status: &Status, name: &str) -> bool {
    let named = status.details.as_ref().is_some_and(|details| details.name == name);
    status.code == 404 && status.reason == "NotFound" && named
}

fn standing(owner: &Meta) -> Owner {
    if plan::is_draining(&owner.metadata) { Owner::Waiting } else { Owner::Solid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::graph::Graph;
    use kit::{Cache, Caches, Clock, Events, Queue, QueueLimits, Setup};
    use kube::core::{ApiResource, GroupVersionKind};
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn meta(name: &str, more: &serde_json::Value) -> Meta {
        let mut object =
            json!({"metadata": {"namespace": "n", "name": name, "uid": format!("uid-{name}")}});
        for (key, value) in more.as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    /// The duty over these sets and pods, with a server that knows nothing, and the number of requests it got.
    fn duty(sets: Vec<Meta>, pods: Vec<Meta>) -> (Owners, Arc<AtomicUsize>) {
        let setup = Setup::new(Clock::starting_at(jiff::Timestamp::UNIX_EPOCH), 0);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "not found", "details": {"name": "p"}});
            let answer = http::Response::builder().status(404).body(status.to_string());
            std::future::ready(
                answer.map(|answer| answer.map(|text| kube::client::Body::from(text.into_bytes()))),
            )
        });
        let client = kube::Client::new(service, "default");
        let graph = Graph::default();
        for (group, kind, objects) in [("apps", "DaemonSet", sets), ("", "Pod", pods)] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            let cache = Cache::fixed(&setup, objects);
            let id = crate::owners::graph::id_of(group, kind);
            graph.add(id, Kind { resource, namespaced: true, cache });
        }
        let owners = Owners {
            caches: Caches::new(client.clone(), &setup),
            tasks: setup.tasks.clone(),
            events: Events::start(client.clone(), &setup, words::COMPONENT_OWNERS, ""),
            client,
            graph,
            queue: Queue::new("owners", QueueLimits::default(), &setup),
            absent: Mutex::new(BTreeMap::new()),
        };
        (owners, asked)
    }

    #[tokio::test]
    async fn an_object_whose_owners_are_there_costs_no_request() {
        let owner = |uid: &str| json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "s", "uid": uid}]});
        let draining = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]});
        for (set, uid, requests) in [
            (Some(meta("s", &json!({}))), "uid-s", 0),
            (Some(meta("s", &json!({}))), "uid-before", 1),
            (Some(meta("s", &draining)), "uid-s", 1),
            (None, "uid-s", 1),
        ] {
            let (duty, asked) = duty(set.into_iter().collect(), vec![meta("p", &owner(uid))]);
            let pod = duty.graph.by_uid("uid-p").expect("the pod").0;
            duty.reconcile(&pod).await.expect("an answer");
            assert_eq!(asked.load(Ordering::Relaxed), requests, "{uid}");
        }
    }

    #[test]
    fn only_an_answer_about_the_object_says_that_it_is_absent() {
        let status =
            |value: serde_json::Value| -> Status { serde_json::from_value(value).unwrap() };
        let named = json!({"status": "Failure", "code": 404, "reason": "NotFound",
            "message": "widgets.example.com \"w\" not found", "details": {"name": "w", "kind": "widgets"}});
        assert!(is_absent(&status(named.clone()), "w"));
        assert!(!is_absent(&status(named), "another"));
        let unserved = json!({"status": "Failure", "code": 404, "reason": "NotFound",
            "message": "the server could not find the requested resource", "details": {}});
        assert!(!is_absent(&status(unserved), "w"), "nobody serves the path");
        let text = json!({"status": "Failure", "code": 404, "reason": "Failed to parse error data",
            "message": "404 page not found"});
        assert!(!is_absent(&status(text), "w"));
    }
}
