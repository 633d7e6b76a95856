//! Nobody grants more than they hold: the check on writes of roles and bindings.
//!
//! A write of a role is fine when the writer holds every right in it, or may `escalate` that role; a write of a
//! binding when they hold every right of the role it names, or may `bind` that role (spec of upstream's RBAC).

use super::rbac::{self, Kind, RawBinding, Rule};
use super::{Authorizer, Decision};
use crate::identity::{self, Identity};
use crate::route::Attributes;
use api::Status;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Checks a create (`old` absent) or update of an object of `rbac.authorization.k8s.io`. `attributes` are those
/// of the request; the name comes from the object, as creates have none in their path.
pub fn check(
    authorizer: &Authorizer,
    identity: &Identity,
    attributes: &Attributes,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), Status> {
    let Some(kind) =
        Kind::of_plural(&attributes.resource).filter(|_| attributes.group == rbac::GROUP)
    else {
        return Ok(());
    };
    if identity.groups.iter().any(|group| group == identity::MASTERS) {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let same = |field: &str| old.is_some_and(|old| old[field] == new[field]);
    let may = |verb: &'static str, resource: &str, name: &str| {
        let asked = Attributes {
            verb: verb.into(),
            group: rbac::GROUP.to_owned(),
            version: attributes.version.clone(),
            resource: resource.to_owned(),
            namespace: attributes.namespace.clone(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        matches!(authorizer.decide(identity, &asked), Decision::Allow(_))
    };
    let granted = match kind {
        Kind::Role | Kind::ClusterRole => {
            if (same("rules") && same("aggregationRule"))
                || may("escalate", &attributes.resource, name)
            {
                return Ok(());
            }
            granted_by_role(new).map_err(|why| refuse(attributes, name, &why))?
        }
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            if same("roleRef") && same("subjects") {
                return Ok(());
            }
            let raw: RawBinding = serde_json::from_value(new.clone()).map_err(|fault| {
                refuse(attributes, name, &format!("it cannot be read: {fault}"))
            })?;
            let plural = if raw.role_ref.kind == "Role" { "roles" } else { "clusterroles" };
            if may("bind", plural, &raw.role_ref.name) {
                return Ok(());
            }
            let role = &raw.role_ref;
            let Some(rules) = authorizer.rules_of_role(role, &attributes.namespace) else {
                return Err(Status::not_found(rbac::GROUP, plural, &role.name));
            };
            rules
        }
    };
    let held = authorizer.rules(identity, &attributes.namespace);
    let missing = missing(&held, &granted);
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = identity.groups.iter().map(|group| format!("{group:?}")).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        identity.user,
        groups.join(" "),
        missing.join("\n")
    );
    Err(refuse(attributes, name, &why))
}

fn refuse(attributes: &Attributes, name: &str, why: &str) -> Status {
    Status::forbidden(&attributes.group, &attributes.resource, name, why)
}

/// What a role grants. Whoever writes an aggregating role could gather anything, so it counts as everything.
fn granted_by_role(role: &Value) -> Result<Vec<Rule>, String> {
    let mut rules: Vec<Rule> = match &role["rules"] {
        Value::Null => Vec::new(),
        rules => serde_json::from_value(rules.clone())
            .map_err(|fault| format!("it cannot be read: {fault}"))?,
    };
    if !role["aggregationRule"].is_null() {
        let star = || vec!["*".to_owned()];
        rules.push(Rule {
            verbs: star(),
            api_groups: star(),
            resources: star(),
            ..Rule::default()
        });
        rules.push(Rule { verbs: star(), non_resource_urls: star(), ..Rule::default() });
    }
    Ok(rules)
}

/// The smallest grants: one verb on one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Resource { group: String, resource: String, name: Option<String> },
    Url(String),
}

/// The grants that `held` does not cover, printed as upstream prints them, sorted.
fn missing(held: &[Rule], granted: &[Rule]) -> Vec<String> {
    let mut lacking: BTreeMap<Thing, Vec<String>> = BTreeMap::new();
    for rule in granted {
        for thing in things(rule) {
            for verb in &rule.verbs {
                if !held.iter().any(|have| covers(have, verb, &thing)) {
                    let verbs = lacking.entry(thing.clone()).or_default();
                    if !verbs.contains(verb) {
                        verbs.push(verb.clone());
                    }
                }
            }
        }
    }
    let lines: BTreeSet<String> =
        lacking.iter().map(|(thing, verbs)| shown(thing, verbs)).collect();
    lines.into_iter().collect()
}

fn things(rule: &Rule) -> Vec<Thing> {
    let mut things: Vec<Thing> = rule.non_resource_urls.iter().cloned().map(Thing::Url).collect();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            let thing =
                |name| Thing::Resource { group: group.clone(), resource: resource.clone(), name };
            if rule.resource_names.is_empty() {
                things.push(thing(None));
            }
            things.extend(rule.resource_names.iter().cloned().map(|name| thing(Some(name))));
        }
    }
    things
}

fn covers(have: &Rule, verb: &str, thing: &Thing) -> bool {
    let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
    if !has(&have.verbs, verb) {
        return false;
    }
    match thing {
        Thing::Url(url) => have.non_resource_urls.iter().any(|own| rbac::url_matches(own, url)),
        Thing::Resource { group, resource, name } => {
            let covered = |own: &String| {
                own == resource
                    || match resource.split_once('/') {
                        Some((of, sub)) => rbac::resource_matches(own, of, sub),
                        None => own == "*",
                    }
            };
            has(&have.api_groups, group)
                && have.resources.iter().any(covered)
                && (have.resource_names.is_empty()
                    || name.as_ref().is_some_and(|name| have.resource_names.contains(name)))
        }
    }
}

/// `{APIGroups:["apps"], Resources:["daemonsets"], Verbs:["delete"]}`.
fn shown(thing: &Thing, verbs: &[String]) -> String {
    let verbs: Vec<String> = verbs.iter().map(|verb| format!("{verb:?}")).collect();
    let verbs = verbs.join(" ");
    match thing {
        Thing::Url(url) => format!("{{NonResourceURLs:[{url:?}], Verbs:[{verbs}]}}"),
        Thing::Resource { group, resource, name: None } => {
            format!("{{APIGroups:[{group:?}], Resources:[{resource:?}], Verbs:[{verbs}]}}")
        }
        Thing::Resource { group, resource, name: Some(name) } => format!(
            "{{APIGroups:[{group:?}], Resources:[{resource:?}], ResourceNames:[{name:?}], Verbs:[{verbs}]}}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: Value) -> Vec<Rule> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_held_is_named_and_what_is_held_is_not() {
        let held = rules(json!([
            {"verbs": ["get", "list", "create"], "apiGroups": ["apps"], "resources": ["daemonsets"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["only"]},
            {"verbs": ["*"], "apiGroups": ["x"], "resources": ["*"]},
            {"verbs": ["get"], "nonResourceURLs": ["/api/*"]}
        ]));
        let table = [
            (
                json!([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["daemonsets"]}]),
                vec![],
            ),
            (
                json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]),
                vec![
                    "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}",
                    "{APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\" \"list\"]}",
                ],
            ),
            (
                json!([{"verbs": ["get", "delete"], "apiGroups": ["apps"], "resources": ["daemonsets"]}]),
                vec!["{APIGroups:[\"apps\"], Resources:[\"daemonsets\"], Verbs:[\"delete\"]}"],
            ),
            (
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]),
                vec![
                    "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}",
                    "{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}",
                ],
            ),
            (
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["only"]}]),
                vec![],
            ),
            (
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]),
                vec!["{APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"get\"]}"],
            ),
            (
                json!([{"verbs": ["delete"], "apiGroups": ["x"], "resources": ["a/b", "c", "*"]}]),
                vec![],
            ),
            (json!([{"verbs": ["get"], "nonResourceURLs": ["/api/v1", "/api/*"]}]), vec![]),
            (
                json!([{"verbs": ["get"], "nonResourceURLs": ["/*"]}]),
                vec!["{NonResourceURLs:[\"/*\"], Verbs:[\"get\"]}"],
            ),
        ];
        for (granted, expected) in table {
            assert_eq!(missing(&held, &rules(granted.clone())), expected, "{granted}");
        }
    }

    #[test]
    fn an_aggregating_role_counts_as_everything() {
        let role = json!({"aggregationRule": {"clusterRoleSelectors": []}, "rules": null});
        assert_eq!(missing(&[], &granted_by_role(&role).unwrap()).len(), 2);
    }
}
