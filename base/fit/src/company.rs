//! Beside whom a pod may run: required affinity and anti-affinity among pods, both ways, and spreads that must be kept
//! (spec C10). Upstream's filters InterPodAffinity and PodTopologySpread.
//!
//! A [`Company`] is counted once for one pod over all others; then each node is one look. A pod that asks for nothing of
//! the kind, where nobody asks for distance from it, has none and costs nothing.

use crate::place::{Wish, against_labels};
use crate::reason::Reason;
use crate::taint::untolerated;
use api::LabelSelector;
use api::selector::{Operator, Requirement};
use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, PodSpec, TopologySpreadConstraint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;
/// The labels of every namespace, by its name.
pub type Namespaces = BTreeMap<String, Labels>;
/// How many pods in each domain: a topology key and the value that nodes have under it.
pub(crate) type Domains = BTreeMap<(String, String), i64>;

/// One term: pods of some namespaces and labels, and what counts as the same place.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    namespaces: BTreeSet<String>,
    among_namespaces: Option<LabelSelector>,
    selector: Option<LabelSelector>,
    pub(crate) topology: String,
}

/// A pod that keeps others away: its required anti-affinity, read once.
#[derive(Clone, Debug)]
pub struct Guard(Vec<Term>);

/// A spread over domains.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    selector: Option<LabelSelector>,
    topology: String,
    skew_max: i64,
    domains_min: usize,
    honours_affinity: bool,
    honours_taints: bool,
    is_counted_itself: bool,
    /// Pods it is about in each domain that counts.
    found: BTreeMap<String, i64>,
    /// How many domains have so many, so that the fewest are known at once.
    tally: BTreeMap<i64, usize>,
}

/// What a pod's neighbours mean for it.
#[derive(Clone, Debug)]
pub struct Company<'a> {
    spec: &'a PodSpec,
    namespace: &'a str,
    labels: &'a Labels,
    namespaces: Arc<Namespaces>,
    near: Vec<Term>,
    near_found: Domains,
    /// Whether the pod is one of those it wants to be near: then the first of them may go anywhere.
    is_its_own: bool,
    far: Vec<Term>,
    far_found: Domains,
    guarded: Domains,
    spreads: Vec<Spread>,
}

impl Term {
    pub(crate) fn read(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let among_namespaces =
            term.namespace_selector.as_ref().and_then(|s| LabelSelector::from_typed(s).ok());
        let mut selector =
            term.label_selector.as_ref().and_then(|s| LabelSelector::from_typed(s).ok());
        if let Some(selector) = &mut selector {
            same(selector, term.match_label_keys.as_deref(), labels, Operator::In);
            same(selector, term.mismatch_label_keys.as_deref(), labels, Operator::NotIn);
        }
        Self { namespaces, among_namespaces, selector, topology: term.topology_key.clone() }
    }

    pub(crate) fn matches(
        &self,
        namespace: &str,
        labels: &Labels,
        namespaces: &Namespaces,
    ) -> bool {
        let none = Labels::new();
        let is_among =
            |selector: &LabelSelector| selector.matches(namespaces.get(namespace).unwrap_or(&none));
        (self.namespaces.contains(namespace)
            || self.among_namespaces.as_ref().is_some_and(is_among))
            && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Requires (or forbids) the values that the pod itself has under these keys.
fn same(
    selector: &mut LabelSelector,
    keys: Option<&[String]>,
    labels: &Labels,
    operator: fn(Vec<String>) -> Operator,
) {
    for key in keys.unwrap_or_default() {
        if let Some(value) = labels.get(key) {
            let operator = operator(vec![value.clone()]);
            selector.requirements.push(Requirement { key: key.clone(), operator });
        }
    }
}

pub(crate) fn namespace_of(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn required_far(spec: &PodSpec) -> &[PodAffinityTerm] {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms =
        affinity.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or_default()
}

pub(crate) fn required_near(spec: &PodSpec) -> &[PodAffinityTerm] {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
    let terms = affinity
        .and_then(|near| near.required_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or_default()
}

impl Guard {
    /// Of a pod that keeps others away; `None` for all others.
    pub fn of(pod: &Pod) -> Option<Self> {
        let terms = required_far(pod.spec.as_ref()?);
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let read = |term| Term::read(term, namespace_of(pod), labels);
        (!terms.is_empty()).then(|| Self(terms.iter().map(read).collect()))
    }

    /// Whether it keeps this pod away from somewhere.
    pub fn minds(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        self.0.iter().any(|term| term.matches(namespace_of(pod), labels, namespaces))
    }
}

impl Spread {
    pub(crate) fn read(constraint: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let mut selector =
            constraint.label_selector.as_ref().and_then(|s| LabelSelector::from_typed(s).ok());
        if let Some(selector) = &mut selector {
            same(selector, constraint.match_label_keys.as_deref(), labels, Operator::In);
        }
        let domains_min = constraint.min_domains.unwrap_or(1);
        Self {
            is_counted_itself: selector.as_ref().is_some_and(|s| s.matches(labels)),
            selector,
            topology: constraint.topology_key.clone(),
            skew_max: i64::from(constraint.max_skew),
            domains_min: usize::try_from(domains_min).unwrap_or(1),
            // upstream's defaults: affinity is honoured, taints are not
            honours_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            found: BTreeMap::new(),
            tally: BTreeMap::new(),
        }
    }

    /// The fewest pods in a domain; none at all where there are fewer domains than asked for.
    fn fewest(&self) -> i64 {
        if self.found.len() < self.domains_min {
            return 0;
        }
        self.tally.keys().next().copied().unwrap_or_else(|| i64::from(i32::MAX))
    }

    /// The label whose values are the domains.
    pub(crate) fn topology(&self) -> &str {
        &self.topology
    }

    /// How uneven it may be.
    pub(crate) fn skew_max(&self) -> i64 {
        self.skew_max
    }

    /// How many it is about were counted in a domain.
    pub(crate) fn found(&self, domain: &str) -> i64 {
        self.found.get(domain).copied().unwrap_or(0)
    }

    /// Whether it is about pods with these labels.
    pub(crate) fn means(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// Whether a node counts for a pod with this spec.
    pub(crate) fn counts(&self, spec: &PodSpec, node: &Node) -> bool {
        let wish = Wish::of(spec);
        !(self.honours_affinity && !against_labels(&wish, node).is_empty()
            || self.honours_taints && untolerated(wish.tolerations, node).next().is_some())
    }

    pub(crate) fn add(&mut self, domain: &str, by: i64) {
        let before = self.found.get(domain).copied();
        let after = before.unwrap_or(0) + by;
        if before == Some(after) {
            return;
        }
        if let Some(domains) = before.and_then(|before| self.tally.get_mut(&before)) {
            *domains -= 1;
        }
        self.tally.retain(|count, domains| before != Some(*count) || *domains > 0);
        *self.tally.entry(after).or_insert(0) += 1;
        self.found.insert(domain.to_owned(), after);
    }
}

/// Whether a pod asks for anything about its neighbours that must be kept.
pub fn asks(spec: &PodSpec) -> bool {
    !required_near(spec).is_empty()
        || !required_far(spec).is_empty()
        || spreads_that(spec, "DoNotSchedule").next().is_some()
}

/// The spreads of a pod that are to be treated in this way where they cannot be kept.
pub(crate) fn spreads_that<'s>(
    spec: &'s PodSpec,
    way: &'static str,
) -> impl Iterator<Item = &'s TopologySpreadConstraint> {
    let all = spec.topology_spread_constraints.iter().flatten();
    all.filter(move |constraint| constraint.when_unsatisfiable == way)
}

impl<'a> Company<'a> {
    /// Of a pod with nobody counted yet. `no_labels` lends an empty map to a pod that has no labels.
    pub fn of(pod: &'a Pod, no_labels: &'a Labels, namespaces: Arc<Namespaces>) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let (namespace, labels) =
            (namespace_of(pod), pod.metadata.labels.as_ref().unwrap_or(no_labels));
        let read = |terms: &[PodAffinityTerm]| -> Vec<Term> {
            terms.iter().map(|term| Term::read(term, namespace, labels)).collect()
        };
        let (near, far) = (read(required_near(spec)), read(required_far(spec)));
        let is_its_own = near.iter().all(|term| term.matches(namespace, labels, &namespaces));
        let kept = spreads_that(spec, "DoNotSchedule");
        let spreads = kept.map(|constraint| Spread::read(constraint, labels)).collect();
        Some(Self {
            spec,
            namespace,
            labels,
            namespaces,
            near,
            near_found: Domains::new(),
            is_its_own,
            far,
            far_found: Domains::new(),
            guarded: Domains::new(),
            spreads,
        })
    }

    /// Takes in a node that is there, with or without pods: it is a domain of spreads.
    pub fn see_node(&mut self, node: &Node) {
        self.count_spreads(node, None, 0);
    }

    /// Counts a pod that runs, or is about to run, on a node.
    pub fn see(&mut self, pod: &Pod, node: &Node) {
        self.count(pod, node, 1);
    }

    /// Counts a pod out that was counted in.
    pub fn leave(&mut self, pod: &Pod, node: &Node) {
        self.count(pod, node, -1);
        if let Some(guard) = Guard::of(pod) {
            self.guard(&guard, node, -1);
        }
    }

    /// Counts a pod that keeps others away.
    pub fn see_guard(&mut self, guard: &Guard, node: &Node) {
        self.guard(guard, node, 1);
    }

    fn guard(&mut self, guard: &Guard, node: &Node, by: i64) {
        for term in &guard.0 {
            if term.matches(self.namespace, self.labels, &self.namespaces) {
                add(&mut self.guarded, &term.topology, node, by);
            }
        }
    }

    fn count(&mut self, pod: &Pod, node: &Node, by: i64) {
        let none = Labels::new();
        let (namespace, labels) =
            (namespace_of(pod), pod.metadata.labels.as_ref().unwrap_or(&none));
        let matches = |term: &Term| term.matches(namespace, labels, &self.namespaces);
        // a pod to be near to is one that all terms mean; of those to be far from, each term means its own
        if !self.near.is_empty() && self.near.iter().all(matches) {
            for term in &self.near {
                add(&mut self.near_found, &term.topology, node, by);
            }
        }
        for term in self.far.iter().filter(|term| matches(term)) {
            add(&mut self.far_found, &term.topology, node, by);
        }
        // one that is going makes room soon and is not counted
        if namespace == self.namespace && pod.metadata.deletion_timestamp.is_none() {
            self.count_spreads(node, Some(labels), by);
        }
    }

    /// Counts for the spreads; without labels the domain alone.
    fn count_spreads(&mut self, node: &Node, pod: Option<&Labels>, by: i64) {
        if self.spreads.iter().any(|spread| label(node, &spread.topology).is_none()) {
            return;
        }
        for spread in self.spreads.iter_mut().filter(|spread| spread.counts(self.spec, node)) {
            let Some(value) = label(node, &spread.topology) else { continue };
            let is_one = pod.is_some_and(|labels| spread.means(labels));
            spread.add(value, if is_one { by } else { 0 });
        }
    }

    /// What speaks against a node, in upstream's order: spreads, then affinity, then anti-affinity, then that of others.
    pub fn against(&self, node: &Node) -> Option<Reason> {
        for spread in &self.spreads {
            let Some(value) = label(node, &spread.topology) else {
                return Some(Reason::TopologyLabel { key: spread.topology.clone() });
            };
            let found = spread.found.get(value).copied().unwrap_or(0);
            let skew = found + i64::from(spread.is_counted_itself) - spread.fewest();
            if skew > spread.skew_max {
                return Some(Reason::TopologySpread { key: spread.topology.clone() });
            }
        }
        let has = |domains: &Domains, term: &Term| {
            let value = label(node, &term.topology);
            value.is_some_and(|value| holds(domains, &term.topology, value))
        };
        if !self.near.iter().all(|term| has(&self.near_found, term)) {
            let is_first = self.is_its_own && self.near_found.values().all(|count| *count <= 0);
            let has_keys = self.near.iter().all(|term| label(node, &term.topology).is_some());
            if !(is_first && has_keys) {
                return Some(Reason::PodAffinity);
            }
        }
        if self.far.iter().any(|term| has(&self.far_found, term)) {
            return Some(Reason::PodAntiAffinity);
        }
        let is_guarded = |((key, value), count): (&(String, String), &i64)| {
            *count > 0 && label(node, key) == Some(value)
        };
        self.guarded.iter().any(is_guarded).then_some(Reason::OthersAntiAffinity)
    }
}

pub(crate) fn label<'n>(node: &'n Node, key: &str) -> Option<&'n String> {
    node.metadata.labels.as_ref()?.get(key)
}

pub(crate) fn add(domains: &mut Domains, key: &str, node: &Node, by: i64) {
    if let Some(value) = label(node, key) {
        *domains.entry((key.to_owned(), value.clone())).or_insert(0) += by;
    }
}

fn holds(domains: &Domains, key: &str, value: &str) -> bool {
    domains.get(&(key.to_owned(), value.to_owned())).is_some_and(|count| *count > 0)
}
