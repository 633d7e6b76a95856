//! What was seen of a cluster about one DaemonSet, as a value.

use fit::{Amounts, Incoming, Occupied, Reasons, Verdict};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use rollout::{Compat, Set, shape};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything an answer depends on but the time.
#[derive(Clone, Debug)]
pub struct World {
    /// As the engine sees it, but for the memory of failed pods, which no API holds.
    pub rollout: rollout::World,
    /// Whose engine looks after the DaemonSet.
    pub engine: Engine,
    /// The pods of `rollout.pods` as the API has them, by name.
    pub mine: BTreeMap<String, Arc<Pod>>,
    /// What all other pods take, by node; absent where nobody looked or might look.
    pub occupied: Option<BTreeMap<String, Occupied>>,
    /// Nodes whose other pods are known one by one.
    pub occupants: BTreeMap<String, Vec<Arc<Pod>>>,
    /// PriorityClasses; absent where they could not be read.
    pub classes: Option<Vec<PriorityClass>>,
    /// PodDisruptionBudgets; absent where they could not be read.
    pub budgets: Option<Vec<PodDisruptionBudget>>,
    /// What could not be read, for people.
    pub gaps: Vec<String>,
}

/// Who acts for the DaemonSet, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// The field manager that wrote the status last; absent where nobody has.
    pub manager: Option<String>,
    /// Whether it is pernode's.
    pub is_pernode: bool,
    /// How that is known.
    pub evidence: String,
}

impl Engine {
    /// Reads it off the DaemonSet: the manager of its status, else our conditions.
    pub fn of(object: &Value, set: &Set) -> Self {
        let entries = object["metadata"]["managedFields"].as_array();
        let of_status = entries.into_iter().flatten().filter(|e| e["subresource"] == "status");
        // RFC 3339 in UTC with whole seconds: order of text is order of time
        let latest = of_status.max_by_key(|entry| entry["time"].as_str().unwrap_or_default());
        let has_conditions = !set.status.conditions.is_empty();
        if let Some(manager) = latest.and_then(|entry| entry["manager"].as_str()) {
            let is_pernode = manager.starts_with("pernode");
            let evidence = format!("{manager} wrote the status last (managedFields)");
            return Self { manager: Some(manager.to_owned()), is_pernode, evidence };
        }
        let evidence = if has_conditions {
            "the status carries pernode's conditions"
        } else if set.status.observed_generation > 0 {
            "somebody wrote the status; managedFields do not say who"
        } else {
            "nobody has written a status yet"
        };
        let is_pernode = has_conditions || set.status.observed_generation == 0;
        Self { manager: None, is_pernode, evidence: evidence.to_owned() }
    }

    /// Whose rules apply: a foreign engine's are upstream's, and so are ours where it tells no conditions
    /// (`--compat upstream`).
    pub fn compat(&self, set: &Set) -> Compat {
        let tells_nothing = set.status.conditions.is_empty() && set.status.observed_generation > 0;
        if !self.is_pernode || tells_nothing { Compat::Upstream } else { set.compat }
    }
}

impl World {
    /// The pod that the engine would make for a node, with the priority that admission would give it.
    pub fn daemon_pod(&self, set: &Set, hash: &str, node: &str) -> Option<Pod> {
        let mut pod: Pod = serde_json::from_value(shape::pod(set, hash, node)).ok()?;
        let spec = pod.spec.as_mut()?;
        let name = spec.priority_class_name.clone().filter(|name| !name.is_empty());
        let mut classes = self.classes.iter().flatten();
        let class = match &name {
            Some(name) => classes.find(|class| class.metadata.name.as_ref() == Some(name)),
            None => classes.find(|class| class.global_default == Some(true)),
        };
        if let Some(class) = class.filter(|_| spec.priority.is_none()) {
            spec.priority = class.value;
            let policy = class.preemption_policy.clone();
            spec.preemption_policy = spec.preemption_policy.take().or(policy);
        }
        Some(pod)
    }

    /// Whether `set` wants a pod on this node, by the engine's law.
    pub fn verdict(set: &Set, node: &Node) -> Verdict {
        fit::judge(&set.placement.wish(), node)
    }

    /// What keeps a daemon pod with this spec from starting on a node beside these others of its own set: host ports
    /// and room. `None`: the other pods of the node are not known.
    pub fn against_room<'a>(
        &self,
        spec: &PodSpec,
        node: &Node,
        own: impl IntoIterator<Item = &'a Pod>,
    ) -> Option<Reasons> {
        let name = fit::place::name_of(node);
        let mut occupied = match (&self.occupied, self.occupants.get(name)) {
            (_, Some(pods)) => Occupied::by(pods.iter().map(AsRef::as_ref)),
            (Some(all), None) => all.get(name).cloned().unwrap_or_default(),
            (None, None) => return None,
        };
        for pod in own {
            occupied.add(pod);
        }
        let incoming = Incoming::of(spec);
        Some(fit::filter::against_others(&incoming, &Amounts::allocatable(node), &occupied))
    }

    /// Whom `pod` would preempt on a node whose pods are known, most important first, and how many budgets that breaks.
    /// `None`: nobody's going would help, or it may not preempt.
    pub fn victims<'a>(
        &'a self,
        pod: &Pod,
        node: &Node,
        own: &[&'a Pod],
    ) -> Option<fit::Victims<'a>> {
        let others = self.occupants.get(fit::place::name_of(node))?;
        if !fit::victims::may_preempt(pod) {
            return None;
        }
        let all: Vec<&Pod> = others.iter().map(AsRef::as_ref).chain(own.iter().copied()).collect();
        let budgets = fit::victims::budgets(self.budgets.iter().flatten(), &all);
        fit::victims(pod, node, &all, &budgets, None).filter(|victims| !victims.pods.is_empty())
    }
}

/// What is not looked at though the pods ask for it.
pub(crate) fn blind_spots(spec: Option<&PodSpec>) -> Option<String> {
    let asks = spec.is_some_and(fit::company::asks);
    asks.then(|| "affinity among pods and topology spread are not looked at".to_owned())
}

/// `namespace/name`.
pub(crate) fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.namespace), part(&meta.name))
}

/// The node, if it is there.
pub(crate) fn node<'a>(world: &'a World, name: &str) -> Option<&'a Node> {
    world.rollout.nodes.get(name).map(AsRef::as_ref)
}
