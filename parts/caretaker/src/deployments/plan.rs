//! Which ReplicaSets a Deployment has, and how large each is. Pure.

mod marks;
mod sizes;
mod status;
#[cfg(test)]
mod tests;

use crate::words;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
pub(super) use status::failed_to_make;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a set's name (RFC 1123 subdomain).
const NAME_MAX: usize = 253;

/// What is seen of one Deployment.
#[derive(Debug)]
pub(super) struct World {
    /// The Deployment.
    pub(super) deployment: Arc<Deployment>,
    /// Sets that it controls and that its selector matches.
    pub(super) sets: Vec<Arc<ReplicaSet>>,
    /// Uids of sets with pods that have not finished.
    pub(super) live: BTreeSet<String>,
}

/// What to do, in the order of the fields; the status last.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The selector is empty: nothing is done, and it is said so.
    pub(super) selects_everything: bool,
    /// Annotations of the current set that are not as they should be.
    pub(super) mark: Option<Mark>,
    /// The current template has no set yet.
    pub(super) make: Option<NewSet>,
    /// Sets whose size changes.
    pub(super) resize: Vec<Resize>,
    /// Old sets beyond the history limit.
    pub(super) delete: Vec<Arc<ReplicaSet>>,
    /// The Deployment's revision, if it is not the one noted.
    pub(super) revision: Option<String>,
    /// The status, if it or the revision is to be written.
    pub(super) status: Option<DeploymentStatus>,
    /// When to look again if nothing happens.
    pub(super) again_in: Option<Duration>,
}

/// New annotations of a set.
#[derive(Debug)]
pub(super) struct Mark {
    /// The set.
    pub(super) set: Arc<ReplicaSet>,
    /// All that are to be set; others stay.
    pub(super) annotations: BTreeMap<String, String>,
    /// The Deployment's `minReadySeconds`.
    pub(super) min_ready_seconds: i32,
}

/// A set to make.
#[derive(Debug)]
pub(super) struct NewSet {
    /// Its name.
    pub(super) name: String,
    /// Its first size.
    pub(super) replicas: i32,
    /// It.
    pub(super) set: ReplicaSet,
}

/// A new size of a set.
#[derive(Debug)]
pub(super) struct Resize {
    /// The set.
    pub(super) set: Arc<ReplicaSet>,
    /// Its new size.
    pub(super) to: i32,
    /// What the sizes refer to.
    pub(super) annotations: BTreeMap<String, String>,
}

/// Sets in their parts.
struct Parts<'a> {
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    all: &'a [Arc<ReplicaSet>],
    new: Option<&'a Arc<ReplicaSet>>,
    /// By age, oldest first.
    old: Vec<&'a Arc<ReplicaSet>>,
}

/// Decides everything.
pub(super) fn plan(world: &World, now: Timestamp) -> Plan {
    let deployment = world.deployment.as_ref();
    let Some(spec) = &deployment.spec else { return Plan::default() };
    if selects_everything(deployment) {
        let mut status = deployment.status.clone().unwrap_or_default();
        status.observed_generation = deployment.metadata.generation;
        return Plan { selects_everything: true, ..finish(deployment, Plan::default(), status) };
    }
    let parts = Parts::of(deployment, spec, &world.sets);
    let mut plan = Plan::default();
    if deployment.metadata.deletion_timestamp.is_some() {
        let status = status::counted(&parts, &status::kept(deployment), now);
        return finish(deployment, plan, status);
    }
    let conditions = status::pause(&parts, now);
    if spec.paused == Some(true) || parts.is_scaled() {
        plan.resize = parts.scaled();
        if spec.paused == Some(true) {
            plan.delete = parts.beyond_history();
        }
        marks::current(&parts, &mut plan);
        let status = status::counted(&parts, &conditions, now);
        return finish(deployment, plan, status);
    }
    if recreates(deployment) {
        parts.recreate(&world.live, &mut plan);
    } else {
        parts.roll(&mut plan);
    }
    let (status, again_in) = status::rolled(&parts, &plan, &conditions, now);
    plan.again_in = again_in;
    finish(deployment, plan, status)
}

/// Keeps the status only where something is to be written.
fn finish(deployment: &Deployment, mut plan: Plan, status: DeploymentStatus) -> Plan {
    let noted = deployment.metadata.annotations.as_ref();
    let noted = noted.and_then(|all| all.get(words::ANNOTATION_REVISION));
    plan.revision = plan.revision.filter(|revision| noted != Some(revision));
    if plan.revision.is_some() || deployment.status.as_ref() != Some(&status) {
        plan.status = Some(status);
    }
    plan
}

impl<'a> Parts<'a> {
    fn of(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        all: &'a [Arc<ReplicaSet>],
    ) -> Self {
        let mut sorted: Vec<&Arc<ReplicaSet>> = all.iter().collect();
        sorted.sort_by_key(|set| age(set));
        let new = sorted.iter().copied().find(|set| is_same_template(&spec.template, set));
        let is_new = |set: &&Arc<ReplicaSet>| new.is_some_and(|new| Arc::ptr_eq(new, set));
        let old = sorted.iter().copied().filter(|set| !is_new(set)).collect();
        Self { deployment, spec, all, new, old }
    }

    /// Old sets with a size.
    fn active_old(&self) -> impl Iterator<Item = &'a Arc<ReplicaSet>> {
        self.old.iter().copied().filter(|set| size(set) > 0)
    }

    /// All at once: first every old pod goes, then the new ones come.
    fn recreate(&self, live: &BTreeSet<String>, plan: &mut Plan) {
        marks::current(self, plan);
        plan.resize = self.active_old().map(|set| self.resized(set, 0)).collect();
        if !plan.resize.is_empty() || self.has_old_pods(live) {
            return;
        }
        match self.new {
            None => self.make(plan),
            Some(new) if size(new) != self.wanted() => {
                plan.resize = vec![self.resized(new, self.wanted())];
            }
            Some(_) if status::is_complete(self) => plan.delete = self.beyond_history(),
            Some(_) => {}
        }
    }

    fn has_old_pods(&self, live: &BTreeSet<String>) -> bool {
        self.old.iter().any(|set| {
            let counted = set.status.as_ref().is_some_and(|status| status.replicas > 0);
            counted || set.metadata.uid.as_ref().is_some_and(|uid| live.contains(uid))
        })
    }

    /// Step by step, within `maxSurge` and `maxUnavailable`.
    fn roll(&self, plan: &mut Plan) {
        let Some(new) = self.new else { return self.make(plan) };
        marks::current(self, plan);
        if let Some(to) = self.next_size(new) {
            plan.resize = vec![self.resized(new, to)];
            return;
        }
        plan.resize = self.shrunk();
        if plan.resize.is_empty() && status::is_complete(self) {
            plan.delete = self.beyond_history();
        }
    }

    fn make(&self, plan: &mut Plan) {
        let meta = &self.deployment.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let count = self.deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = hash(&self.spec.template, count);
        let labelled = |labels: Option<BTreeMap<String, String>>| {
            let mut labels = labels.unwrap_or_default();
            labels.insert(words::LABEL_TEMPLATE_HASH.to_owned(), hash.clone());
            Some(labels)
        };
        let mut template = self.spec.template.clone();
        let mut inner = template.metadata.unwrap_or_default();
        inner.labels = labelled(inner.labels);
        let labels = inner.labels.clone();
        template.metadata = Some(inner);
        let mut selector: LabelSelector = self.spec.selector.clone();
        selector.match_labels = labelled(selector.match_labels);
        let replicas = self.first_size();
        let revision = marks::next(self);
        let full = set_name(name, &hash);
        let set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(full.clone()),
                namespace: meta.namespace.clone(),
                labels,
                annotations: Some(marks::first(self, revision)),
                owner_references: Some(vec![owner(self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: self.spec.min_ready_seconds,
                replicas: Some(replicas),
                selector,
                template: Some(template),
            }),
            status: None,
        };
        plan.revision = Some(revision.to_string());
        plan.make = Some(NewSet { name: full, replicas, set });
    }

    /// Old, empty sets that the history has no room for, lowest revision first.
    fn beyond_history(&self) -> Vec<Arc<ReplicaSet>> {
        let limit = self.spec.revision_history_limit.unwrap_or(i32::MAX);
        if limit == i32::MAX {
            return Vec::new();
        }
        let mut kept: Vec<&Arc<ReplicaSet>> = self
            .old
            .iter()
            .copied()
            .filter(|set| set.metadata.deletion_timestamp.is_none())
            .collect();
        let excess = kept.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        kept.sort_by_key(|set| marks::revision(&set.metadata));
        let is_settled = |set: &&&Arc<ReplicaSet>| {
            let status = set.status.as_ref();
            size(set) == 0
                && status.is_none_or(|status| status.replicas == 0)
                && set.metadata.generation <= status.and_then(|status| status.observed_generation)
        };
        kept.iter().take(excess).filter(is_settled).map(|set| Arc::clone(set)).collect()
    }
}

/// `<deployment>-<hash>`; a name that is too long is cut so that the hash fits and what is left ends in a letter or digit.
fn set_name(deployment: &str, hash: &str) -> String {
    let most = NAME_MAX.saturating_sub(1 + hash.len());
    let cut = deployment.get(..most.min(deployment.len())).unwrap_or(deployment);
    format!("{}-{hash}", cut.trim_end_matches(['-', '.']))
}

/// Oldest first; the name decides at last.
fn age(set: &ReplicaSet) -> (Option<Timestamp>, Option<&String>) {
    (set.metadata.creation_timestamp.as_ref().map(|at| at.0), set.metadata.name.as_ref())
}

/// The size that is asked of a set.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().map_or(0, |spec| spec.replicas.unwrap_or(1))
}

/// Whether pods are replaced all at once.
pub(super) fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// Whether its selector asks for nothing.
pub(super) fn selects_everything(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().is_none_or(|spec| {
        spec.selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && spec.selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
    })
}

/// Whether it selects the set.
pub(super) fn selects(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let Some(spec) = &deployment.spec else { return false };
    let empty = BTreeMap::new();
    let labels = set.metadata.labels.as_ref().unwrap_or(&empty);
    api::selector::LabelSelector::from_typed(&spec.selector).is_ok_and(|s| s.matches(labels))
}

/// Whether a set found under the new one's name is the new one.
pub(super) fn is_same_set(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let uid = deployment.metadata.uid.as_ref();
    let owners = set.metadata.owner_references.iter().flatten();
    let ours = owners.into_iter().any(|o| o.controller == Some(true) && Some(&o.uid) == uid);
    ours && deployment.spec.as_ref().is_some_and(|spec| is_same_template(&spec.template, set))
}

/// Whether a set's pods are made from the template; the label with its hash does not count.
fn is_same_template(template: &PodTemplateSpec, set: &ReplicaSet) -> bool {
    let Some(made) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return false;
    };
    let bare = |template: &PodTemplateSpec| {
        let mut meta = template.metadata.clone().unwrap_or_default();
        let mut labels = meta.labels.take().unwrap_or_default();
        labels.remove(words::LABEL_TEMPLATE_HASH);
        (meta, labels)
    };
    made.spec == template.spec && bare(made) == bare(template)
}

/// FNV-1a of the template's JSON and the number of collisions, in letters that make no words. (Upstream hashes a
/// dump of its own memory, which nobody else can make; sets are found by their templates, not by this.)
fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let text = serde_json::to_string(template).unwrap_or_default();
    let count = collisions.map(i32::to_le_bytes);
    let mut state: u32 = 0x811c_9dc5;
    for byte in text.bytes().chain(count.into_iter().flatten()) {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    api::names::safe_encoded(state)
}

/// The reference that makes a set ours.
pub(super) fn owner(deployment: &Deployment) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: deployment.metadata.name.clone().unwrap_or_default(),
        uid: deployment.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
