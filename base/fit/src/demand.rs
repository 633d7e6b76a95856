//! How much of each resource a pod asks for (spec C7) and a node has.

use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name, in thousandths of the unit (millicores, thousandths of a byte).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, i128>);

/// The resource that counts pods.
pub const PODS: &str = "pods";

impl Amounts {
    /// What the node has for pods (spec C8).
    pub fn allocatable(node: &Node) -> Self {
        Self::parse(node.status.as_ref().and_then(|status| status.allocatable.as_ref()))
    }

    /// What a pod asks for: per resource the larger of all main containers with sidecars, and the largest
    /// ordinary init container with the sidecars started before it; then pod-level requests; then overhead.
    pub fn requested(spec: &PodSpec) -> Self {
        Self::total(spec, &Self::of_container)
    }

    /// What a node has promised to a pod that it runs (`allocatedResources` of its status): what the pod asks for, unless
    /// it was given other resources since, which the node does not grant yet.
    pub fn promised(pod: &Pod) -> Self {
        let given = |one: &Container| given(pod, one).unwrap_or_else(|| Self::of_container(one));
        let Some(spec) = &pod.spec else { return Self::default() };
        let mut whole = Self::whole(spec);
        whole.0.extend(given_whole(pod, &whole).0);
        Self::total_with(spec, &given, whole)
    }

    /// What a pod holds of its node: for each container the larger of what it asks for and of what it was promised. What the
    /// node can never grant (`PodResizePending`, `Infeasible`) holds nothing. As upstream's scheduler counts it.
    pub fn held(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let is_infeasible = is_infeasible(pod);
        let of_container = |one: &Container| match given(pod, one) {
            Some(given) if is_infeasible => given,
            Some(given) => {
                let mut larger = Self::of_container(one);
                larger.raise(&given);
                larger
            }
            None => Self::of_container(one),
        };
        let mut whole = Self::whole(spec);
        let given = given_whole(pod, &whole);
        if is_infeasible {
            whole.0.extend(given.0);
        } else {
            whole.raise(&given);
        }
        Self::total_with(spec, &of_container, whole)
    }

    /// What a pod may use at most, of what is limited: its containers' limits together in the same way as their requests;
    /// then pod-level limits; then overhead upon what is limited.
    pub fn limited(spec: &PodSpec) -> Self {
        let mut total = Self::together(spec, &|one: &Container| {
            Self::parse(one.resources.as_ref().and_then(|resources| resources.limits.as_ref()))
        });
        let whole = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        total.0.extend(Self::parse(whole).0);
        for (name, amount) in Self::parse(spec.overhead.as_ref()).0 {
            total.0.entry(name).and_modify(|limit| *limit += amount);
        }
        total
    }

    fn total(spec: &PodSpec, of_container: &dyn Fn(&Container) -> Self) -> Self {
        Self::total_with(spec, of_container, Self::whole(spec))
    }

    /// What the pod as a whole asks for.
    fn whole(spec: &PodSpec) -> Self {
        Self::parse(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    }

    /// `whole` stands before what the containers come to.
    fn total_with(spec: &PodSpec, of_container: &dyn Fn(&Container) -> Self, whole: Self) -> Self {
        let mut total = Self::together(spec, of_container);
        total.0.extend(whole.0);
        total.add(&Self::parse(spec.overhead.as_ref()));
        total
    }

    /// What the containers ask for, without pod-level resources and overhead.
    pub fn of_containers(spec: &PodSpec) -> Self {
        Self::together(spec, &Self::of_container)
    }

    fn together(spec: &PodSpec, of_container: &dyn Fn(&Container) -> Self) -> Self {
        let mut total = Self::default();
        for container in &spec.containers {
            total.add(&of_container(container));
        }
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let own = of_container(container);
            if container.restart_policy.as_deref() == Some("Always") {
                total.add(&own);
                sidecars.add(&own);
                starting.raise(&sidecars);
            } else {
                let mut together = own;
                together.add(&sidecars);
                starting.raise(&together);
            }
        }
        total.raise(&starting);
        total
    }

    fn of_container(container: &Container) -> Self {
        Self::parse(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    }

    /// Reads a resource list. What cannot be parsed counts as absent: the server refuses it at the door.
    pub fn parse(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let read =
            |(name, quantity): (&String, &Quantity)| Some((name.clone(), milli(&quantity.0)?));
        Self(list.into_iter().flatten().filter_map(read).collect())
    }

    /// The amount of one resource, zero if absent.
    pub fn get(&self, resource: &str) -> i128 {
        self.0.get(resource).copied().unwrap_or(0)
    }

    /// All amounts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i128)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Adds each amount of `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_insert(0) += amount;
        }
    }

    /// Takes each amount of `other` away.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_insert(0) -= amount;
        }
    }

    /// Raises each amount to at least that of `other`.
    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let mine = self.0.entry(name.clone()).or_insert(0);
            *mine = (*mine).max(*amount);
        }
    }
}

/// What a container was promised, as its status says.
fn given(pod: &Pod, container: &Container) -> Option<Amounts> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    let one = all.find(|one| one.name == container.name)?;
    one.allocated_resources.as_ref().map(|list| Amounts::parse(Some(list)))
}

/// What a pod as a whole was promised, as its status says, of what it asks for as a whole: of the rest the status may tell
/// the sum of its containers.
fn given_whole(pod: &Pod, asked: &Amounts) -> Amounts {
    let told = pod.status.as_ref().and_then(|status| status.allocated_resources.as_ref());
    let mut given = Amounts::parse(told);
    given.0.retain(|name, _| asked.0.contains_key(name));
    given
}

fn is_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut pending = conditions.filter(|one| one.type_ == "PodResizePending");
    pending.any(|one| one.reason.as_deref() == Some("Infeasible"))
}

/// What somebody else gave a node by writing its `status.capacity` (extended resources, such as `example.com/gpu`), as
/// the node's agent has to make it allocatable: the amount, or `None` for what is allocatable and was taken away again.
pub fn lent(node: &Node) -> BTreeMap<String, Option<Quantity>> {
    let Some(status) = &node.status else { return BTreeMap::new() };
    let extended = |name: &&String| name.contains('/') && !name.contains("kubernetes.io/");
    let given = status.capacity.iter().flatten().filter(|(name, _)| extended(name));
    let held = status.allocatable.iter().flatten().map(|(name, _)| name).filter(extended);
    let mut all: BTreeMap<String, Option<Quantity>> = held.map(|n| (n.clone(), None)).collect();
    all.extend(given.map(|(name, amount)| (name.clone(), Some(amount.clone()))));
    all
}

/// A quantity in thousandths, rounded up, as upstream keeps what is finer than a thousandth.
fn milli(text: &str) -> Option<i128> {
    api::Quantity::parse(text).ok().map(|quantity| i128::from(quantity.milli()))
}
