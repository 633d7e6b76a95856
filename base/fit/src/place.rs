//! Where a pod wants to be: node name, node selector, required node affinity.

use crate::reason::{Reason, Reasons};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Toleration,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The only field that `matchFields` may name (spec A77).
pub const FIELD_NAME: &str = "metadata.name";

/// What a pod says about nodes, without resources and ports. Borrowed from a pod spec or put together by
/// the DaemonSet engine from its template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// `spec.nodeName`.
    pub node_name: Option<&'a str>,
    /// `spec.nodeSelector`.
    pub node_selector: Option<&'a BTreeMap<String, String>>,
    /// Required node affinity.
    pub required: Option<&'a NodeSelector>,
    /// `spec.tolerations`.
    pub tolerations: &'a [Toleration],
}

impl<'a> Wish<'a> {
    /// The wish of a pod spec.
    pub fn of(spec: &'a PodSpec) -> Self {
        Self {
            node_name: spec.node_name.as_deref().filter(|name| !name.is_empty()),
            node_selector: spec.node_selector.as_ref(),
            required: required(spec),
            tolerations: spec.tolerations.as_deref().unwrap_or_default(),
        }
    }
}

fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    spec.affinity
        .as_ref()?
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()
}

/// The node's name, empty where it has none (objects from a server always have one).
pub fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Reason against the node by name alone.
pub fn against_name(wish: &Wish<'_>, node: &Node) -> Option<Reason> {
    let wanted = wish.node_name?;
    (wanted != name_of(node)).then(|| Reason::NodeName { wanted: wanted.to_owned() })
}

/// Reasons against the node by `nodeSelector` and required affinity; both must match (spec B2).
pub fn against_labels(wish: &Wish<'_>, node: &Node) -> Reasons {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let mut reasons: Reasons = wish
        .node_selector
        .into_iter()
        .flatten()
        .filter(|(key, wanted)| labels.get(*key) != Some(wanted))
        .map(|(key, wanted)| Reason::NodeSelector {
            key: key.clone(),
            wanted: wanted.clone(),
            found: labels.get(key).cloned(),
        })
        .collect();
    let matches = |selector: &NodeSelector| {
        selector.node_selector_terms.iter().any(|term| term_matches(term, labels, name_of(node)))
    };
    if wish.required.is_some_and(|selector| !matches(selector)) {
        reasons.push(Reason::NodeAffinity);
    }
    reasons
}

/// How one term of the required node affinity fares, requirement by requirement; for explanations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TermVerdict {
    /// Whether the term matches; one without requirements never does.
    pub matches: bool,
    /// Each requirement as people write it (`zone in (a, b)`), and whether it holds.
    pub needs: Vec<(String, bool)>,
}

/// Every term of a required node affinity against a node, as [`against_labels`] judges them together: one that
/// matches is enough.
pub fn terms(selector: &NodeSelector, node: &Node) -> Vec<TermVerdict> {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let text = |need: &NodeSelectorRequirement| {
        let values = need.values.as_deref().unwrap_or_default().join(", ");
        match need.operator.as_str() {
            "Exists" | "DoesNotExist" => format!("{} {}", need.key, need.operator),
            operator => format!("{} {operator} ({values})", need.key),
        }
    };
    let verdict = |term: &NodeSelectorTerm| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let labels_hold = expressions.iter().map(|need| (text(need), label_matches(need, labels)));
        let fields_hold =
            fields.iter().map(|need| (text(need), field_matches(need, name_of(node))));
        TermVerdict {
            matches: term_matches(term, labels, name_of(node)),
            needs: labels_hold.chain(fields_hold).collect(),
        }
    };
    selector.node_selector_terms.iter().map(verdict).collect()
}

/// One term: expressions and fields are ANDed; an empty term matches nothing (spec B2).
fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|e| label_matches(e, labels))
        && fields.iter().all(|f| field_matches(f, name))
}

/// One requirement on labels. What cannot be parsed counts as no match, silently (spec B2).
fn label_matches(need: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let values = need.values.as_deref().unwrap_or_default();
    if !values.iter().all(|value| api::names::label_value(value).is_empty()) {
        return false;
    }
    let found = labels.get(&need.key);
    match need.operator.as_str() {
        "In" => found.is_some_and(|v| values.contains(v)),
        "NotIn" => !values.is_empty() && found.is_none_or(|v| !values.contains(v)),
        "Exists" => values.is_empty() && found.is_some(),
        "DoesNotExist" => values.is_empty() && found.is_none(),
        "Gt" => integers(found, values).is_some_and(|(found, bound)| found > bound),
        "Lt" => integers(found, values).is_some_and(|(found, bound)| found < bound),
        _ => false,
    }
}

fn integers(found: Option<&String>, values: &[String]) -> Option<(i64, i64)> {
    let [bound] = values else { return None };
    Some((found?.parse().ok()?, bound.parse().ok()?))
}

/// One requirement on fields: `metadata.name` In or NotIn exactly one value (spec A77).
fn field_matches(need: &NodeSelectorRequirement, name: &str) -> bool {
    let [value] = need.values.as_deref().unwrap_or_default() else { return false };
    match (need.key.as_str(), need.operator.as_str()) {
        (FIELD_NAME, "In") => value == name,
        (FIELD_NAME, "NotIn") => value != name,
        _ => false,
    }
}

/// The nodes that a pod is pinned to: present when every required term names nodes by `metadata.name In`
/// (spec C1), so that a scheduler looks at those alone.
pub fn pinned_nodes(spec: &PodSpec) -> Option<BTreeSet<&str>> {
    let terms = &required(spec)?.node_selector_terms;
    let mut all = BTreeSet::new();
    for term in terms {
        let mut names: Option<BTreeSet<&str>> = None;
        for need in term.match_fields.as_deref().unwrap_or_default() {
            if need.key != FIELD_NAME || need.operator != "In" {
                continue;
            }
            let these: BTreeSet<&str> =
                need.values.as_deref().unwrap_or_default().iter().map(String::as_str).collect();
            names = Some(match names {
                None => these,
                Some(before) => before.intersection(&these).copied().collect(),
            });
        }
        all.extend(names?);
    }
    (!terms.is_empty()).then_some(all)
}

/// The node a pod is meant for (spec B26): `spec.nodeName`, else the single value of a required term's
/// `metadata.name In`.
pub fn target_node(spec: &PodSpec) -> Option<&str> {
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    required(spec)?
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.as_deref().unwrap_or_default())
        .filter(|need| need.key == FIELD_NAME && need.operator == "In")
        .find_map(|need| match need.values.as_deref().unwrap_or_default() {
            [one] => Some(one.as_str()),
            _ => None,
        })
}
