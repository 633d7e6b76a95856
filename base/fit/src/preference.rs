//! Beside whom a pod would like to run: preferred affinity and anti-affinity among pods, both ways, and spreads that
//! need not be kept. Upstream's scores InterPodAffinity and PodTopologySpread, before their weights.
//!
//! Counted once for one pod over all others, like [`Company`](crate::Company); then each node is one look.

use crate::company::{Domains, Labels, Namespaces, Spread, Term, add, label, namespace_of};
use crate::company::{required_near, spreads_that};
use k8s_openapi::api::core::v1::{
    Node, Pod, PodSpec, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a pod that must be near others is worth to those it is about (upstream's hardPodAffinityWeight).
const REQUIRED_WEIGHT: i64 = 1;
/// The best score of one plugin.
const SCORE_MAX: i64 = 100;

/// Over which labels pods are spread that name no spread, and how uneven they may be (upstream's system defaults).
const DEFAULTS: [(&str, i32); 2] =
    [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)];

/// What a pod says about its neighbours that has weight for others.
#[derive(Clone, Debug)]
pub struct Inclination(Vec<(Term, i64)>);

/// What all neighbours together make of each node, for one pod.
#[derive(Clone, Debug)]
pub struct Leaning<'a> {
    namespace: &'a str,
    labels: &'a Labels,
    namespaces: Arc<Namespaces>,
    own: Vec<(Term, i64)>,
    sums: Domains,
}

/// How evenly a pod's like are spread already, for one pod.
#[derive(Clone, Debug, Default)]
pub struct Evenness {
    spreads: Vec<Spread>,
    /// Whether nodes without a label that a spread names are left out; not where nobody asked for the spreads.
    needs_all: bool,
}

fn preferred(spec: &PodSpec) -> impl Iterator<Item = (&WeightedPodAffinityTerm, i64)> {
    let affinity = spec.affinity.as_ref();
    let near = affinity.and_then(|all| all.pod_affinity.as_ref());
    let far = affinity.and_then(|all| all.pod_anti_affinity.as_ref());
    let near = near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    let far = far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref());
    let near = near.unwrap_or_default().iter().map(|term| (term, i64::from(term.weight)));
    near.chain(far.unwrap_or_default().iter().map(|term| (term, -i64::from(term.weight))))
}

fn terms(pod: &Pod, spec: &PodSpec) -> Vec<(Term, i64)> {
    let none = Labels::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    let read = |(term, weight): (&WeightedPodAffinityTerm, i64)| {
        (Term::read(&term.pod_affinity_term, namespace_of(pod), labels), weight)
    };
    preferred(spec).map(read).collect()
}

/// Whether a pod would like to be near others, or far from them.
pub fn leans(spec: &PodSpec) -> bool {
    preferred(spec).next().is_some()
}

/// Whether a pod asks for a spread that need not be kept.
pub fn spreads(spec: &PodSpec) -> bool {
    spreads_that(spec, "ScheduleAnyway").next().is_some()
}

impl Inclination {
    /// Of a pod that says anything of the kind; `None` for all others. What it requires counts a little, too.
    pub fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let mut all = terms(pod, spec);
        let required = required_near(spec).iter();
        all.extend(required.map(|t| (Term::read(t, namespace_of(pod), labels), REQUIRED_WEIGHT)));
        (!all.is_empty()).then_some(Self(all))
    }
}

impl<'a> Leaning<'a> {
    /// Of a pod with nobody counted yet. `no_labels` lends an empty map to a pod that has no labels.
    pub fn of(pod: &'a Pod, no_labels: &'a Labels, namespaces: Arc<Namespaces>) -> Option<Self> {
        let own = terms(pod, pod.spec.as_ref()?);
        let labels = pod.metadata.labels.as_ref().unwrap_or(no_labels);
        Some(Self { namespace: namespace_of(pod), labels, namespaces, own, sums: Domains::new() })
    }

    /// Counts what the pod thinks of one that runs on a node.
    pub fn see(&mut self, other: &Pod, node: &Node) {
        let none = Labels::new();
        let labels = other.metadata.labels.as_ref().unwrap_or(&none);
        for (term, weight) in &self.own {
            if term.matches(namespace_of(other), labels, &self.namespaces) {
                add(&mut self.sums, &term.topology, node, *weight);
            }
        }
    }

    /// Counts what one that runs on a node thinks of the pod.
    pub fn hear(&mut self, inclination: &Inclination, node: &Node) {
        for (term, weight) in &inclination.0 {
            if term.matches(self.namespace, self.labels, &self.namespaces) {
                add(&mut self.sums, &term.topology, node, *weight);
            }
        }
    }

    /// A score from 0 to 100 for each of these nodes: the least liked has 0, the most liked 100; all 0 where they are
    /// alike.
    pub fn scores(&self, nodes: &[&Node]) -> Vec<i64> {
        let sum = |node: &&Node| -> i64 {
            let here =
                |((key, value), _): &(&(String, String), &i64)| label(node, key) == Some(value);
            self.sums.iter().filter(here).map(|(_, weight)| weight).sum()
        };
        let sums: Vec<i64> = nodes.iter().map(sum).collect();
        let low = sums.iter().copied().min().unwrap_or(0);
        let range = sums.iter().copied().max().unwrap_or(0) - low;
        sums.into_iter()
            .map(|sum| if range > 0 { (sum - low) * SCORE_MAX / range } else { 0 })
            .collect()
    }
}

impl Evenness {
    /// Of a pod with nobody counted yet.
    pub fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let none = Labels::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let read = spreads_that(spec, "ScheduleAnyway").map(|one| Spread::read(one, labels));
        Some(Self { spreads: read.collect(), needs_all: true })
    }

    /// Of a pod that names no spread, over those that this selects as its like: upstream's system defaults, hosts and
    /// zones.
    pub fn by_default(selector: &LabelSelector) -> Self {
        let read = DEFAULTS.map(|(topology, max_skew)| {
            let spread = TopologySpreadConstraint {
                label_selector: Some(selector.clone()),
                max_skew,
                topology_key: topology.to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                ..TopologySpreadConstraint::default()
            };
            Spread::read(&spread, &Labels::new())
        });
        Self { spreads: read.into(), needs_all: false }
    }

    /// Counts the pods of a node for a pod with this spec and namespace.
    pub fn see<'p>(
        &mut self,
        (spec, namespace): (&PodSpec, &str),
        node: &Node,
        pods: impl IntoIterator<Item = &'p Pod>,
    ) {
        let is_known = |spread: &Spread| label(node, spread.topology()).is_some();
        if self.needs_all && !self.spreads.iter().all(is_known) {
            return;
        }
        let none = Labels::new();
        let like: Vec<&Pod> = pods
            .into_iter()
            .filter(|pod| {
                namespace_of(pod) == namespace && pod.metadata.deletion_timestamp.is_none()
            })
            .collect();
        for spread in self.spreads.iter_mut().filter(|spread| spread.counts(spec, node)) {
            let is_meant =
                |pod: &&&Pod| spread.means(pod.metadata.labels.as_ref().unwrap_or(&none));
            let count = i64::try_from(like.iter().filter(is_meant).count()).unwrap_or(i64::MAX);
            if let Some(value) = label(node, spread.topology()).cloned() {
                spread.add(&value, count);
            }
        }
    }

    /// A score from 0 to 100 for each of these nodes: fewer of the like are better, in domains of a kind that there are
    /// many of more so. Nodes without a label that a spread names have 0.
    pub fn scores(&self, nodes: &[&Node]) -> Vec<i64> {
        let has_labels = |node: &Node| {
            !self.needs_all || self.spreads.iter().all(|s| label(node, s.topology()).is_some())
        };
        let weights: BTreeMap<&str, f64> = self
            .spreads
            .iter()
            .map(|spread| {
                let fit = nodes.iter().filter(|node| has_labels(node));
                let domains: BTreeSet<&String> =
                    fit.filter_map(|node| label(node, spread.topology())).collect();
                let size = u32::try_from(domains.len()).unwrap_or(u32::MAX);
                (spread.topology(), (f64::from(size) + 2.0).ln())
            })
            .collect();
        let crowd = |node: &&Node| -> Option<f64> {
            has_labels(node).then(|| {
                let of = |spread: &Spread| {
                    let Some(at) = label(node, spread.topology()) else { return 0.0 };
                    let found = spread.found(at);
                    let found = f64::from(u32::try_from(found).unwrap_or(u32::MAX));
                    let skew = f64::from(i32::try_from(spread.skew_max() - 1).unwrap_or(i32::MAX));
                    found * weights.get(spread.topology()).copied().unwrap_or(1.0) + skew
                };
                self.spreads.iter().map(of).sum::<f64>().round()
            })
        };
        let crowds: Vec<Option<f64>> = nodes.iter().map(crowd).collect();
        let known = || crowds.iter().copied().flatten();
        let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
        let score = |crowd: Option<f64>| match crowd {
            None => 0,
            Some(_) if high <= 0.0 => SCORE_MAX,
            Some(crowd) => percent((high + low - crowd) / high),
        };
        crowds.into_iter().map(score).collect()
    }
}

/// Whole hundredths of a share between 0 and 1.
fn percent(share: f64) -> i64 {
    (1..=SCORE_MAX)
        .rev()
        .find(|percent| f64::from(u8::try_from(*percent).unwrap_or(0)) / 100.0 <= share)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str) -> Node {
        let labels = json!({"host": name, "zone": name.chars().next().map(String::from)});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    fn pod(labels: Value, spec: Value) -> Pod {
        let meta = json!({"name": "p", "namespace": "d", "labels": labels});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn leaning_spec(side: &str, weight: i64) -> Value {
        let term = json!({"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "x"}}});
        let preferred = json!([{"weight": weight, "podAffinityTerm": term}]);
        let side_of = json!({"preferredDuringSchedulingIgnoredDuringExecution": preferred});
        json!({"containers": [], "affinity": {side: side_of}})
    }

    #[test]
    fn what_a_pod_would_like_and_what_others_would_like_of_it_add_up() {
        let (a, b, c) = (node("a1"), node("b1"), node("c1"));
        let none = Labels::new();
        let own = pod(json!({"app": "x"}), leaning_spec("podAntiAffinity", 100));
        assert!(leans(own.spec.as_ref().unwrap()));
        let mut leaning = Leaning::of(&own, &none, Arc::default()).unwrap();
        leaning.see(&pod(json!({"app": "x"}), json!({"containers": []})), &a);
        leaning.see(&pod(json!({"app": "y"}), json!({"containers": []})), &b);
        assert_eq!(leaning.scores(&[&a, &b, &c]), [0, 100, 100]);
        let host = pod(json!({"app": "y"}), leaning_spec("podAffinity", 50));
        leaning.hear(&Inclination::of(&host).unwrap(), &c);
        assert_eq!(leaning.scores(&[&a, &b, &c]), [0, 66, 100]);
        assert_eq!(leaning.scores(&[&b]), [0], "one node is as good as itself");
        assert!(Inclination::of(&pod(json!({}), json!({"containers": []}))).is_none());
    }

    #[test]
    fn who_names_no_spread_is_spread_over_hosts_and_zones() {
        let node = |name: &str, zone: Option<&str>| -> Node {
            let labels = json!({"kubernetes.io/hostname": name});
            let mut node = json!({"metadata": {"name": name, "labels": labels}});
            if let Some(zone) = zone {
                node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
            }
            serde_json::from_value(node).unwrap()
        };
        let (a, b, c) = (node("a", Some("x")), node("b", Some("x")), node("c", Some("y")));
        let bare = node("d", None);
        let own = pod(json!({"app": "x"}), json!({"containers": []}));
        let asked = own.spec.as_ref().unwrap();
        let selector = serde_json::from_value(json!({"matchLabels": {"app": "x"}})).unwrap();
        let mut evenness = Evenness::by_default(&selector);
        let other = pod(json!({"app": "y"}), json!({"containers": []}));
        evenness.see((asked, "d"), &a, [&own, &own, &own]);
        evenness.see((asked, "d"), &b, []);
        evenness.see((asked, "d"), &c, [&other, &own]);
        evenness.see((asked, "d"), &bare, [&own]);
        let scores = evenness.scores(&[&a, &b, &c, &bare]);
        assert!(scores[0] < scores[1] && scores[1] < scores[2], "host and zone count: {scores:?}");
        assert!(scores[3] > scores[2], "a node without a zone has no crowded one: {scores:?}");
    }

    #[test]
    fn a_spread_that_need_not_be_kept_prefers_the_emptier_domain() {
        let (a, b, c) = (node("a1"), node("b1"), node("c1"));
        let spread = json!([{"maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "ScheduleAnyway",
                             "labelSelector": {"matchLabels": {"app": "x"}}}]);
        let spec = json!({"containers": [], "topologySpreadConstraints": spread});
        let own = pod(json!({"app": "x"}), spec);
        let asked = own.spec.as_ref().unwrap();
        assert!(spreads(asked) && !crate::company::asks(asked));
        let like = pod(json!({"app": "x"}), json!({"containers": []}));
        let mut evenness = Evenness::of(&own).unwrap();
        evenness.see((asked, "d"), &a, [&like, &like, &like, &like]);
        evenness.see((asked, "d"), &b, [&like]);
        evenness.see((asked, "d"), &c, []);
        let scores = evenness.scores(&[&a, &b, &c]);
        assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
        assert_eq!((scores[0], scores[2]), (0, 100));
        let mut bare = node("d1");
        bare.metadata.labels = None;
        assert_eq!(evenness.scores(&[&bare]), [0]);
        let empty = Evenness::of(&own).unwrap();
        assert_eq!(empty.scores(&[&a, &b]), [100, 100]);
    }
}
