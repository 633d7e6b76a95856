//! Containers that are no longer what the pod asks for: another image, other resources.

use super::{Seen, State, World, is_sidecar};
use crate::words;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use std::collections::BTreeMap;

/// What the pod said of a container when it was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    pub(crate) image: String,
    pub(crate) resources: ResourceRequirements,
}

impl Eq for Origin {}

impl Origin {
    /// From the annotations that the runtime keeps.
    pub(super) fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let resources: Option<ResourceRequirements> =
            serde_json::from_str(annotations.get(words::RESOURCES)?).ok()?;
        let image = annotations.get(words::IMAGE)?.clone();
        Some(Self { image, resources: resources.unwrap_or_default() })
    }
}

/// Why the new resources of a pod that runs have to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Postponed {
    /// `Deferred` or `Infeasible`.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// The resources that can be changed while a container runs.
const CHANGING: [&str; 2] = ["cpu", "memory"];

/// Which of them differ.
fn changed(before: &ResourceRequirements, wanted: &ResourceRequirements) -> Vec<&'static str> {
    let amounts = |one: &ResourceRequirements| {
        (fit::Amounts::parse(one.requests.as_ref()), fit::Amounts::parse(one.limits.as_ref()))
    };
    let (before, wanted) = (amounts(before), amounts(wanted));
    let differs = |name: &&str| {
        before.0.get(name) != wanted.0.get(name) || before.1.get(name) != wanted.1.get(name)
    };
    CHANGING.into_iter().filter(differs).collect()
}

/// Containers that run beside each other.
pub(crate) fn lasting(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec.init_containers.iter().flatten().filter(|one| is_sidecar(one));
    spec.containers.iter().chain(sidecars)
}

/// The resources of a pod as a whole, of which nothing is remembered: those that the agent before told, or those it asks for.
pub(crate) fn whole_at_first(pod: &Pod) -> ResourceRequirements {
    let told = pod.status.as_ref().and_then(|status| status.resources.as_ref());
    let asked = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    told.filter(|_| asked.is_some()).or(asked).cloned().unwrap_or_default()
}

impl World {
    /// The resources that the pod as a whole has now.
    pub(crate) fn whole_as_it_runs(&self) -> Option<&ResourceRequirements> {
        self.memory.whole.as_ref().or_else(|| self.spec().resources.as_ref())
    }

    /// The resources that the pod as a whole may have: those that it asks for, unless that has to wait.
    pub(crate) fn whole_as_granted(&self) -> Option<&ResourceRequirements> {
        let asked = self.spec().resources.as_ref();
        if self.postponed.is_some() { self.whole_as_it_runs() } else { asked }
    }

    /// Whether the pod as a whole runs with other resources than it asks for.
    fn is_resizing_whole(&self) -> bool {
        let asked = self.spec().resources.as_ref();
        let differs = |before, asked| !changed(before, asked).is_empty();
        self.memory.whole.as_ref().zip(asked).is_some_and(|(before, asked)| differs(before, asked))
    }

    /// Containers that are given resources while they run, by id: all of them where those of the whole pod changed, as a
    /// container's limits, shares and standing may be the pod's.
    pub(crate) fn resizing(&self) -> Vec<String> {
        let is_whole = self.is_resizing_whole();
        let due = |container: &Container| {
            let seen = self.latest(&container.name).filter(|seen| seen.state == State::Running)?;
            (is_whole || self.is_resizing(container, seen)).then(|| seen.id.clone())
        };
        lasting(self.spec()).filter_map(due).collect()
    }

    /// The resources that a container runs with: what this agent gave it last, what the agent before told, or what it was
    /// made with.
    pub(crate) fn resources_of<'a>(&'a self, seen: &'a Seen) -> Option<&'a ResourceRequirements> {
        let resized = self.memory.resized.get(&seen.id);
        let origin = seen.origin.as_ref().map(|origin| &origin.resources);
        resized.or_else(|| origin.map(|origin| self.told(&seen.id).unwrap_or(origin)))
    }

    /// What the pod's status says of a container's resources.
    fn told(&self, id: &str) -> Option<&ResourceRequirements> {
        let status = self.pod.status.as_ref()?;
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let is_it = |told: &str| told.rsplit_once("://").is_some_and(|(_, told)| told == id);
        let mut all = lists.into_iter().flatten().flatten();
        all.find(|one| one.container_id.as_deref().is_some_and(is_it))?.resources.as_ref()
    }

    /// What the pod's status says that a container of this name has, or was promised before there was one.
    fn told_of(&self, name: &str) -> Option<ResourceRequirements> {
        let status = self.pod.status.as_ref()?;
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let one = lists.into_iter().flatten().flatten().find(|one| one.name == name)?;
        let promised = || {
            let requests = Some(one.allocated_resources.clone()?);
            Some(ResourceRequirements { requests, ..ResourceRequirements::default() })
        };
        one.resources.clone().or_else(promised)
    }

    /// What a container is made with: what the pod asks for, or, while that has to wait, what the one before had, or, where
    /// none was made yet, what was promised before.
    pub(crate) fn granted(&self, container: &Container) -> Option<ResourceRequirements> {
        if self.postponed.is_none() {
            return container.resources.clone();
        }
        let before = self.latest(&container.name).and_then(|seen| self.resources_of(seen));
        before
            .cloned()
            .or_else(|| self.told_of(&container.name))
            .or_else(|| container.resources.clone())
    }

    fn change_of(&self, container: &Container, seen: &Seen) -> Vec<&'static str> {
        let Some(own) = self.resources_of(seen) else { return Vec::new() };
        changed(own, &container.resources.clone().unwrap_or_default())
    }

    /// Whether a container runs with other resources than the pod asks for.
    fn is_resizing(&self, container: &Container, seen: &Seen) -> bool {
        seen.state == State::Running && !self.change_of(container, seen).is_empty()
    }

    /// Why a container that runs has to be ended and made anew.
    pub(crate) fn renewal_of(&self, container: &Container, seen: &Seen) -> Option<String> {
        let name = &container.name;
        let image = container.image.as_deref().unwrap_or_default();
        if seen.origin.as_ref().is_some_and(|origin| origin.image != image) {
            return Some(format!("Container {name} definition changed, will be restarted"));
        }
        let restarts = |changed: &&'static str| {
            let mut rules = container.resize_policy.iter().flatten();
            rules.any(|rule| {
                rule.resource_name == **changed && rule.restart_policy == "RestartContainer"
            })
        };
        let is_due =
            self.postponed.is_none() && self.change_of(container, seen).iter().any(restarts);
        is_due.then(|| format!("Container {name} resize requires restart"))
    }

    /// The pod as its containers are made now.
    pub(crate) fn spec_as_granted(&self) -> PodSpec {
        let mut spec = self.spec().clone();
        let inits = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(inits) {
            container.resources = self.granted(container);
        }
        spec.resources = self.whole_as_granted().cloned();
        spec
    }

    /// The pod as it runs now: what it is granted where nothing of it runs.
    pub(crate) fn spec_as_it_runs(&self) -> PodSpec {
        let mut spec = self.spec().clone();
        let inits = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(inits) {
            let latest = self.latest(&container.name).filter(|seen| seen.state == State::Running);
            let own = latest.and_then(|seen| self.resources_of(seen)).cloned();
            container.resources = own.or_else(|| self.granted(container));
        }
        spec.resources = self.whole_as_it_runs().cloned();
        spec
    }
}

/// Whether the new resources of a pod that runs have to wait: `allocatable` is what the node has, `used` what the others were
/// promised.
pub(crate) fn postponed(
    pod: &Pod,
    allocatable: &fit::Amounts,
    used: &fit::Amounts,
) -> Option<Postponed> {
    let wanted = fit::Amounts::requested(pod.spec.as_ref()?);
    let promised = fit::Amounts::promised(pod);
    let more = CHANGING.into_iter().filter(|name| wanted.get(name) > promised.get(name));
    let unit = |name: &str| if name == "cpu" { 1 } else { 1000 };
    let mut deferred = None;
    for name in more {
        let unit = unit(name);
        let numbers = (wanted.get(name), used.get(name), allocatable.get(name));
        let (asked, taken, whole) = (numbers.0 / unit, numbers.1 / unit, numbers.2 / unit);
        if asked > whole {
            let message = format!(
                "Node didn't have enough capacity: {name}, requested: {asked}, capacity: {whole}"
            );
            return Some(Postponed { reason: "Infeasible", message });
        }
        if asked + taken > whole && deferred.is_none() {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {asked}, used: {taken}, capacity: {whole}"
            );
            deferred = Some(Postponed { reason: "Deferred", message });
        }
    }
    deferred
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(asked: &str, promised: &str) -> Pod {
        serde_json::from_value(json!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": asked}}}]},
            "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "allocatedResources": {"cpu": promised}}]}}))
        .unwrap()
    }

    fn amounts(cpu: &str) -> fit::Amounts {
        let list = json!({"cpu": cpu, "memory": "1Gi"});
        fit::Amounts::parse(Some(&serde_json::from_value(list).unwrap()))
    }

    #[test]
    fn more_than_the_node_has_is_infeasible_and_more_than_is_free_waits() {
        let judge = |asked: &str, promised: &str| {
            postponed(&pod(asked, promised), &amounts("2"), &amounts("1500m"))
        };
        assert_eq!(judge("400m", "100m"), None);
        assert_eq!(judge("600m", "600m"), None, "what was promised stays");
        assert_eq!(judge("600m", "700m"), None, "less is always possible");
        let text =
            "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000";
        let wanted = Postponed { reason: "Deferred", message: text.to_owned() };
        assert_eq!(judge("600m", "100m"), Some(wanted));
        let text = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
        let wanted = Postponed { reason: "Infeasible", message: text.to_owned() };
        assert_eq!(judge("3", "100m"), Some(wanted));
        assert_eq!(fit::Amounts::promised(&pod("600m", "100m")).get("cpu"), 100);
    }
}
