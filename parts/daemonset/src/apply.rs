//! Plan → API verbs, in upstream's order: claims, revisions, creates, deletes, history, status.

mod bodies;

use crate::FIELD_MANAGER;
use crate::observe::{controller_revisions, daemon_sets, json};
use crate::pass::{PODS, REVISIONS, SETS};
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kit::{Events, Note};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, Request, Resource};
use kube::discovery::ApiResource;
use rollout::plan::history::NewRevision;
use rollout::{Create, Delete, Event, Plan, Revision, Set, Status, shape};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Deletes in flight at once. Each is one small request; 32 keep a server busy without crowding out others.
const DELETES_AT_ONCE: usize = 32;

/// What a pass did, for the ledger and the marks.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Kinds and revisions written.
    pub(crate) written: Vec<(&'static str, u64)>,
    /// Pods deleted.
    pub(crate) ending: Vec<String>,
    /// Nodes that got a pod.
    pub(crate) created: BTreeSet<String>,
    /// Nodes whose pod the API refused.
    pub(crate) refused: BTreeSet<String>,
    /// Its words.
    pub(crate) refusal: Option<String>,
    /// Whether the status was written.
    pub(crate) has_reported: bool,
    /// The status was not taken because the set has changed: its news are on their way.
    pub(crate) is_behind: bool,
    /// Nodes whose pods were written.
    pub(crate) touched: BTreeSet<String>,
    /// The first thing that went wrong.
    pub(crate) wrong: Option<String>,
}

impl Outcome {
    fn wrote(&mut self, kind: &'static str, object: &DynamicObject) {
        self.wrote_as(kind, object.metadata.resource_version.as_deref().unwrap_or_default());
    }

    fn wrote_as(&mut self, kind: &'static str, resource_version: &str) {
        self.written.push((kind, kit::cache::revision_of(Some(resource_version))));
    }

    /// Notes a pod that the API does not want. That it could not be asked, or is too busy, is no refusal.
    fn refused(&mut self, node: &str, set: &str, error: &kube::Error) {
        if (400..500).contains(&code(error)) && ![408, 409, 429].contains(&code(error)) {
            self.refused.insert(node.to_owned());
            self.refusal = Some(bodies::without_made_name(set, &kit::words_of(error)));
        }
    }

    fn went_wrong(&mut self, what: &str, error: &kube::Error) {
        let why = || format!("{what}: {}", kit::words_of(error));
        self.wrong.get_or_insert_with(why);
    }
}

/// What is read of the answer to a create: all the rest comes by the watch.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    name: String,
    resource_version: String,
}

/// One plan being carried out.
pub(crate) struct Act<'a> {
    pub(crate) client: &'a kube::Client,
    pub(crate) set: &'a Set,
    pub(crate) object: &'a DynamicObject,
    pub(crate) events: &'a Events,
    pub(crate) regarding: ObjectReference,
}

/// A step that the rest depends on did not succeed; the outcome says why.
struct Stop;

impl Act<'_> {
    /// Carries out a plan. Failing claims and revisions end the pass; failing creates and deletes do not keep the
    /// status from being written (spec B31).
    pub(crate) async fn perform(&self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        for event in &plan.events {
            self.tell(event.clone());
        }
        if self.claim(plan, &mut outcome).await.is_err()
            || self.keep_revisions(plan, &mut outcome).await.is_err()
        {
            return outcome;
        }
        self.create(plan, &mut outcome).await;
        self.delete(&plan.delete, &mut outcome).await;
        if outcome.wrong.is_none() {
            let api = self.api(&controller_revisions());
            for name in &plan.revisions.trim {
                self.drop_revision(&api, name, &mut outcome).await;
            }
        }
        if let Some(status) = &plan.status {
            self.write_status(status, &mut outcome).await;
        }
        outcome
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.set.namespace, resource)
    }

    fn tell(&self, event: Event) {
        let note = if event.is_warning { Note::warning } else { Note::normal };
        self.events.publish(note(self.regarding.clone(), event.reason, event.message));
    }

    /// Adopts and releases pods and revisions (spec B40, B44).
    async fn claim(&self, plan: &Plan, outcome: &mut Outcome) -> Result<(), Stop> {
        let revisions = &plan.revisions;
        if !(plan.adopt.is_empty() && revisions.adopt.is_empty()) {
            self.confirm(outcome).await?;
        }
        let adopt = bodies::adopt(self.set);
        let release = bodies::release(self.set);
        let (of_pods, of_revisions) = (self.api(&pods()), self.api(&controller_revisions()));
        for (api, kind, names, body) in [
            (&of_pods, PODS, &plan.adopt, &adopt),
            (&of_pods, PODS, &plan.release, &release),
            (&of_revisions, REVISIONS, &revisions.adopt, &adopt),
            (&of_revisions, REVISIONS, &revisions.release, &release),
        ] {
            for name in names {
                self.patch(api, kind, name, &Patch::Strategic(body), outcome).await?;
            }
        }
        Ok(())
    }

    /// Nothing is adopted for a set that is gone or going, whatever the cache says (spec B40).
    async fn confirm(&self, outcome: &mut Outcome) -> Result<(), Stop> {
        let what = "confirming the DaemonSet before adoption";
        match self.api(&daemon_sets()).get(&self.set.name).await {
            Ok(live) => {
                let is_same = live.metadata.uid.as_deref() == Some(self.set.uid.as_str());
                if is_same && live.metadata.deletion_timestamp.is_none() {
                    return Ok(());
                }
                outcome.wrong.get_or_insert_with(|| format!("{what}: it is gone or being deleted"));
            }
            Err(error) => outcome.went_wrong(what, &error),
        }
        Err(Stop)
    }

    /// What pods depend on: the current revision with its number, and no duplicates of it (spec B53–B57).
    async fn keep_revisions(&self, plan: &Plan, outcome: &mut Outcome) -> Result<(), Stop> {
        let (api, steps) = (self.api(&controller_revisions()), &plan.revisions);
        for name in &steps.label {
            let body = bodies::hash_label(name);
            self.patch(&api, REVISIONS, name, &Patch::Merge(&body), outcome).await?;
        }
        if let Some(new) = &steps.create {
            self.create_revision(&api, new, outcome).await?;
        }
        if let Some((name, number)) = &steps.renumber {
            let body = bodies::number(*number);
            self.patch(&api, REVISIONS, name, &Patch::Merge(&body), outcome).await?;
        }
        let body = bodies::hash_label(&plan.hash);
        for pod in &plan.relabel {
            self.patch(&self.api(&pods()), PODS, pod, &Patch::Merge(&body), outcome).await?;
        }
        for name in &steps.duplicates {
            self.drop_revision(&api, name, outcome).await;
        }
        if outcome.wrong.is_some() { Err(Stop) } else { Ok(()) }
    }

    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        kind: &'static str,
        name: &str,
        patch: &Patch<&Value>,
        outcome: &mut Outcome,
    ) -> Result<(), Stop> {
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let params = PatchParams { field_manager, ..PatchParams::default() };
        match api.patch(name, &params, patch).await {
            Ok(object) => outcome.wrote(kind, &object),
            Err(error) if code(&error) == 404 => {}
            Err(error) => {
                outcome.went_wrong(&format!("patching {kind} {name}"), &error);
                return Err(Stop);
            }
        }
        Ok(())
    }

    /// Creates the current revision. A taken name with the same data is as good; with other data, the collision
    /// count moves on and the next pass tries another name (spec B54).
    async fn create_revision(
        &self,
        api: &Api<DynamicObject>,
        new: &NewRevision,
        outcome: &mut Outcome,
    ) -> Result<(), Stop> {
        let what = format!("creating the revision {}", new.name);
        let body = match typed(shape::revision(self.set, new)) {
            Ok(body) => body,
            Err(error) => {
                outcome.went_wrong(&what, &error);
                return Err(Stop);
            }
        };
        match api.create(&post(), &body).await {
            Ok(object) => {
                outcome.wrote(REVISIONS, &object);
                return Ok(());
            }
            Err(error) if code(&error) == 409 => {}
            Err(error) => {
                outcome.went_wrong(&what, &error);
                return Err(Stop);
            }
        }
        match api.get(&new.name).await {
            Ok(taken)
                if bodies::is_same_revision(self.set, new, &Revision::read(&json(&taken))) =>
            {
                outcome.wrote(REVISIONS, &taken);
                Ok(())
            }
            Ok(_) => {
                self.count_collision(outcome).await;
                outcome.wrong.get_or_insert_with(|| format!("{what}: the name is taken"));
                Err(Stop)
            }
            Err(error) => {
                outcome.went_wrong(&what, &error);
                Err(Stop)
            }
        }
    }

    /// Raises the collision count, unless the one we used was old already.
    async fn count_collision(&self, outcome: &mut Outcome) {
        let api = self.api(&daemon_sets());
        let what = "counting a collision";
        let mut live = match api.get(&self.set.name).await {
            Ok(live) => live,
            Err(error) => return outcome.went_wrong(what, &error),
        };
        if !bodies::raise_collision_count(self.set, &mut live) {
            return;
        }
        match api.replace_status(&self.set.name, &post(), &live).await {
            Ok(object) => outcome.wrote(SETS, &object),
            Err(error) => outcome.went_wrong(what, &error),
        }
    }

    async fn drop_revision(&self, api: &Api<DynamicObject>, name: &str, outcome: &mut Outcome) {
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(error) if code(&error) == 404 => {}
            Err(error) => outcome.went_wrong(&format!("deleting the revision {name}"), &error),
        }
    }

    /// Creates pods in batches of 1, 2, 4 and so on; a batch with an error is the last (spec B35).
    async fn create(&self, plan: &Plan, outcome: &mut Outcome) {
        let mut left = plan.create.as_slice();
        for size in bodies::batches(plan.create.len()) {
            let (batch, rest) = left.split_at(size);
            left = rest;
            let requests: Vec<_> =
                batch.iter().map(|create| self.create_one(plan, create).boxed()).collect();
            let answers = futures::future::join_all(requests).await;
            for (create, answer) in batch.iter().zip(answers) {
                outcome.touched.insert(create.node.clone());
                match answer {
                    Ok(pod) => {
                        self.tell(Event::created(&pod.metadata.name));
                        outcome.wrote_as(PODS, &pod.metadata.resource_version);
                        outcome.created.insert(create.node.clone());
                    }
                    // the namespace is on its way out, and the set with it
                    Err(error) if is_namespace_terminating(&error) => {}
                    Err(error) => {
                        self.tell(Event::not_created(&kit::words_of(&error)));
                        outcome.refused(&create.node, &self.set.name, &error);
                        outcome.went_wrong("creating a pod", &error);
                    }
                }
            }
            if outcome.wrong.is_some() {
                return;
            }
        }
    }

    async fn create_one(&self, plan: &Plan, create: &Create) -> Result<Written, kube::Error> {
        let body = serde_json::to_vec(&shape::pod(self.set, &plan.hash, &create.node));
        let path = Pod::url_path(&(), Some(&self.set.namespace));
        let request = Request::new(path).create(&post(), body.map_err(kube::Error::SerdeError)?);
        self.client.request(request.map_err(kube::Error::BuildRequest)?).await
    }

    async fn delete_one<'d>(
        api: &Api<DynamicObject>,
        params: &DeleteParams,
        delete: &'d Delete,
    ) -> (&'d Delete, Result<(), kube::Error>) {
        (delete, api.delete(&delete.pod, params).await.map(|_| ()))
    }

    /// Deletes pods with their own grace period (spec B36). A pod that is gone already is fine.
    async fn delete(&self, deletes: &[Delete], outcome: &mut Outcome) {
        let api = self.api(&pods());
        let params = DeleteParams::default();
        let request = |delete| Self::delete_one(&api, &params, delete).boxed();
        let requests: Vec<_> = deletes.iter().map(request).collect();
        let answers: Vec<_> = stream::iter(requests).buffered(DELETES_AT_ONCE).collect().await;
        for (delete, answer) in answers {
            outcome.touched.insert(delete.node.clone());
            match answer {
                Ok(()) => {
                    self.tell(Event::deleted(&delete.pod));
                    outcome.ending.push(delete.pod.clone());
                }
                Err(error) if code(&error) == 404 => outcome.ending.push(delete.pod.clone()),
                Err(error) => {
                    self.tell(Event::not_deleted(&kit::words_of(&error)));
                    outcome.went_wrong("deleting a pod", &error);
                }
            }
        }
    }

    /// Writes the status with the resource version that it was computed from: on a conflict the next pass computes it
    /// again. Fields that are not ours, such as conditions of others, stay (spec A33).
    async fn write_status(&self, status: &Status, outcome: &mut Outcome) {
        let api = self.api(&daemon_sets());
        let what = "writing the status";
        let mut object = self.object.clone();
        bodies::put_status(status, &mut object);
        match api.replace_status(&self.set.name, &post(), &object).await {
            Ok(written) => {
                outcome.has_reported = true;
                outcome.wrote(SETS, &written);
            }
            Err(error) if code(&error) == 404 => {}
            // A watch that is held up may let this happen many times: no reason to wait ever longer.
            Err(error) if code(&error) == 409 => outcome.is_behind = true,
            Err(error) => outcome.went_wrong(what, &error),
        }
    }
}

fn pods() -> ApiResource {
    ApiResource::erase::<Pod>(&())
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn typed(value: Value) -> Result<DynamicObject, kube::Error> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

/// The HTTP code of an answer; 0 where there was none.
fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
