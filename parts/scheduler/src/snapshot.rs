//! Nodes and what is taken on them, kept up to date by changes; includes pods that are only assumed to be there.

use fit::company::{self, Company, Labels, Namespaces};
use fit::preference::{Inclination, Leaning, leans};
use fit::{Amounts, Guard, Occupied};
use k8s_openapi::api::core::v1::{Node, Pod};
use kit::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One node. Pods may be bound to a node that is not, or not yet, there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Amounts,
    pub(crate) occupied: Occupied,
    pub(crate) pods: BTreeMap<Key, Arc<Pod>>,
    /// Pods nominated to this node by preemption, by uid (spec C36).
    pub(crate) nominated: BTreeMap<String, Arc<Pod>>,
}

/// All nodes by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) seats: BTreeMap<String, Seat>,
    pub(crate) nodes: usize,
    /// Where each pod sits.
    places: BTreeMap<Key, Place>,
    /// Where each pod (by uid) is nominated.
    nominations: BTreeMap<String, String>,
    /// Pods that keep others away; few or none, so that those who mind nobody pay nothing.
    guards: BTreeMap<Key, Guard>,
    /// Pods that wait for room and will keep others away, by uid (spec C36).
    coming_guards: BTreeMap<String, Guard>,
    /// Pods with a wish about their neighbours.
    inclined: BTreeMap<Key, Inclination>,
}

#[derive(Clone, Debug)]
struct Place {
    node: String,
    uid: String,
    assumed: bool,
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(crate) fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

impl Snapshot {
    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let seat = self.seats.entry(name).or_default();
        self.nodes += usize::from(seat.node.is_none());
        seat.allocatable = Amounts::allocatable(&node);
        seat.node = Some(node);
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if let Some(seat) = self.seats.get_mut(name) {
            self.nodes -= usize::from(seat.node.take().is_some());
        }
        self.drop_if_empty(name);
    }

    /// Takes in a pod as the cache shows it. Answers whether room became free on a node, and which.
    pub(crate) fn see_pod(&mut self, pod: &Arc<Pod>) -> Option<String> {
        let key = Key::of(pod.as_ref());
        let place = self.places.get(&key).cloned();
        let here = bound_to(pod).filter(|_| !fit::filter::is_finished(pod));
        let assumed = place.is_some_and(|place| place.assumed && place.uid == uid(pod));
        if assumed && bound_to(pod).is_none() && !fit::filter::is_finished(pod) {
            // its binding is under way
            return None;
        }
        let freed = self.take_out(&key);
        if let Some(node) = here {
            self.seat(pod, node, false);
            return freed.filter(|old| old != node);
        }
        freed
    }

    /// Takes out a pod that is gone; answers the nodes where it made room: that where it was, and that where room was
    /// kept for it (spec C36).
    pub(crate) fn remove_pod(&mut self, pod: &Pod) -> [Option<String>; 2] {
        let kept = self.unnominate(uid(pod));
        let key = Key::of(pod);
        let same = self.places.get(&key).is_some_and(|place| place.uid == uid(pod));
        [if same { self.take_out(&key) } else { None }, kept]
    }

    /// Gives a pod its room before the server knows. Room that was kept for it elsewhere is no longer; answers where.
    pub(crate) fn assume(&mut self, pod: &Arc<Pod>, node: &str) -> Option<String> {
        self.take_out(&Key::of(pod.as_ref()));
        self.seat(pod, node, true);
        self.unnominate(uid(pod)).filter(|kept| kept != node)
    }

    /// Takes the room back when the binding failed.
    pub(crate) fn unassume(&mut self, pod: &Pod) -> Option<String> {
        let key = Key::of(pod);
        let assumed = self.places.get(&key).is_some_and(|p| p.assumed && p.uid == uid(pod));
        if assumed { self.take_out(&key) } else { None }
    }

    /// The pods that are assumed and not seen bound yet.
    pub(crate) fn assumed(&self) -> Vec<(Key, String, Arc<Pod>)> {
        let assumed = self.places.iter().filter(|(_, place)| place.assumed);
        assumed
            .filter_map(|(key, place)| {
                let pod = self.seats.get(&place.node)?.pods.get(key)?;
                Some((key.clone(), place.node.clone(), Arc::clone(pod)))
            })
            .collect()
    }

    /// Nominates a pod to a node, or to none. Answers another node where room was kept for it until now.
    #[must_use = "others may have been held back by the room that was kept"]
    pub(crate) fn nominate(&mut self, pod: &Arc<Pod>, node: Option<&str>) -> Option<String> {
        let kept = self.unnominate(uid(pod));
        let node = node.filter(|node| !node.is_empty());
        if let Some(node) = node {
            self.nominations.insert(uid(pod).to_owned(), node.to_owned());
            let seat = self.seats.entry(node.to_owned()).or_default();
            seat.nominated.insert(uid(pod).to_owned(), Arc::clone(pod));
            if let Some(guard) = Guard::of(pod) {
                self.coming_guards.insert(uid(pod).to_owned(), guard);
            }
        }
        kept.filter(|kept| Some(kept.as_str()) != node)
    }

    /// Whether a pod's neighbours matter at all: it asks for some, or somebody keeps away.
    pub(crate) fn is_company_asked(&self, pod: &Pod) -> bool {
        !self.guards.is_empty()
            || !self.coming_guards.is_empty()
            || pod.spec.as_ref().is_some_and(company::asks)
    }

    /// What those that run make of each node for a pod; `None` where nobody has a wish.
    pub(crate) fn leaning<'a>(
        &self,
        pod: &'a Pod,
        no_labels: &'a Labels,
        namespaces: &dyn Fn() -> Arc<Namespaces>,
    ) -> Option<Leaning<'a>> {
        let leans = leans(pod.spec.as_ref()?);
        if !leans && self.inclined.is_empty() {
            return None;
        }
        let mut leaning = Leaning::of(pod, no_labels, namespaces())?;
        for (key, inclination) in &self.inclined {
            let seat = self.places.get(key).and_then(|place| self.seats.get(&place.node));
            if let Some(node) = seat.and_then(|seat| seat.node.as_ref()) {
                leaning.hear(inclination, node);
            }
        }
        for seat in self.seats.values().filter(|_| leans) {
            let Some(node) = &seat.node else { continue };
            seat.pods.values().for_each(|other| leaning.see(other, node));
        }
        Some(leaning)
    }

    /// What a pod's neighbours mean for it, counted over all nodes that are there; `None` where they mean nothing.
    pub(crate) fn company<'a>(
        &self,
        pod: &'a Pod,
        no_labels: &'a Labels,
        namespaces: &Arc<Namespaces>,
    ) -> Option<Company<'a>> {
        let asks = company::asks(pod.spec.as_ref()?);
        let guards = self.guards.iter().filter(|(_, guard)| guard.minds(pod, namespaces));
        let guards: Vec<(&Key, &Guard)> = guards.collect();
        let is_minded = self.coming_guards.values().any(|guard| guard.minds(pod, namespaces));
        if !asks && guards.is_empty() && !is_minded {
            return None;
        }
        let mut company = Company::of(pod, no_labels, Arc::clone(namespaces))?;
        for (key, guard) in guards {
            let seat = self.places.get(key).and_then(|place| self.seats.get(&place.node));
            if let Some(node) = seat.and_then(|seat| seat.node.as_ref()) {
                company.see_guard(guard, node);
            }
        }
        for seat in self.seats.values().filter(|_| asks) {
            let Some(node) = &seat.node else { continue };
            company.see_node(node);
            seat.pods.values().for_each(|other| company.see(other, node));
        }
        Some(company)
    }

    fn unnominate(&mut self, uid: &str) -> Option<String> {
        self.coming_guards.remove(uid);
        let node = self.nominations.remove(uid)?;
        if let Some(seat) = self.seats.get_mut(&node) {
            seat.nominated.remove(uid);
        }
        self.drop_if_empty(&node);
        Some(node)
    }

    fn seat(&mut self, pod: &Arc<Pod>, node: &str, assumed: bool) {
        let key = Key::of(pod.as_ref());
        let seat = self.seats.entry(node.to_owned()).or_default();
        seat.occupied.add(pod);
        seat.pods.insert(key.clone(), Arc::clone(pod));
        if let Some(guard) = Guard::of(pod) {
            self.guards.insert(key.clone(), guard);
        }
        if let Some(inclination) = Inclination::of(pod) {
            self.inclined.insert(key.clone(), inclination);
        }
        self.places.insert(key, Place { node: node.to_owned(), uid: uid(pod).to_owned(), assumed });
    }

    fn take_out(&mut self, key: &Key) -> Option<String> {
        let place = self.places.remove(key)?;
        self.guards.remove(key);
        self.inclined.remove(key);
        if let Some(seat) = self.seats.get_mut(&place.node)
            && let Some(pod) = seat.pods.remove(key)
        {
            seat.occupied.remove(&pod);
        }
        self.drop_if_empty(&place.node);
        Some(place.node)
    }

    fn drop_if_empty(&mut self, name: &str) {
        let empty =
            |seat: &Seat| seat.node.is_none() && seat.pods.is_empty() && seat.nominated.is_empty();
        if self.seats.get(name).is_some_and(empty) {
            self.seats.remove(name);
        }
    }
}
