//! Which rules a role gathers. Pure.

use api::selector::LabelSelector;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rules of all that the role selects, selector by selector, by name, each once; `None` when it has them already.
pub(super) fn gathered(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let rule = role.aggregation_rule.as_ref()?;
    let empty = BTreeMap::new();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let Ok(selector) = LabelSelector::from_typed(selector) else { continue };
        let mut parts: Vec<&Arc<ClusterRole>> = all
            .iter()
            .filter(|part| part.metadata.name != role.metadata.name)
            .filter(|part| selector.matches(part.metadata.labels.as_ref().unwrap_or(&empty)))
            .collect();
        parts.sort_by_key(|part| part.metadata.name.clone());
        for part in parts {
            for rule in part.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn role(value: Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn part(name: &str, group: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<Value> =
            verbs.iter().map(|verb| json!({"verbs": [verb], "resources": ["pods"]})).collect();
        role(json!({"metadata": {"name": name, "labels": {"for": group}}, "rules": rules}))
    }

    #[test]
    fn rules_are_gathered_by_name_each_once_and_never_from_itself() {
        let whole = json!({"metadata": {"name": "a", "labels": {"for": "a"}}, "rules": [{"verbs": ["own"]}],
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"for": "a"}}, {"matchLabels": {"for": "b"}}]}});
        let whole = role(whole);
        let all = [
            Arc::clone(&whole),
            part("z", "a", &["get"]),
            part("y", "a", &["list", "get"]),
            part("x", "b", &["watch", "list"]),
            part("w", "c", &["delete"]),
        ];
        let rules = gathered(&whole, &all).unwrap();
        let verbs: Vec<&str> =
            rules.iter().flat_map(|rule| &rule.verbs).map(String::as_str).collect();
        assert_eq!(verbs, ["list", "get", "watch"]);
        let mut done = whole.as_ref().clone();
        done.rules = Some(rules);
        assert_eq!(gathered(&done, &all), None);
        assert_eq!(gathered(&all[1], &all), None, "it gathers nothing");
    }
}
