//! Roles and bindings that exist from the first start, as data.
//!
//! A rule is written `verbs groups resources [names]` with commas inside a word, `-` for the core group; or
//! `url verbs paths`. What upstream's own components may do is a fact of its bootstrap policy (1.36), also of those
//! that we have no counterpart of, so that they find their rights when they are put beside this server.
//!
//! Agents have no row: what they may do is code ([`super::node`]).

mod controllers;
mod rows;

use super::Lookup;
use super::rbac::{GROUP, Rule};
use serde_json::{Value, json};

/// With the value `false`, this annotation makes the server leave the object as it is.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// The label of everything made here; its value is `rbac-defaults`.
pub const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
/// ClusterRoles with this label and the value `true`, followed by a role's name, are gathered by that role.
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// A ClusterRole, or a Role where it has a namespace, and whom it is bound to under its own name.
struct Row {
    name: &'static str,
    /// Empty for ClusterRoles.
    namespace: &'static str,
    rules: &'static [&'static str],
    /// `group:NAME`, `user:NAME` or `sa:NAME` (in kube-system).
    bound_to: &'static [&'static str],
    /// The role that gathers this one.
    part_of: Option<&'static str>,
    /// Whether this role gathers others.
    gathers: bool,
}

const fn role(
    name: &'static str,
    rules: &'static [&'static str],
    bound_to: &'static [&'static str],
) -> Row {
    Row { name, namespace: "", rules, bound_to, part_of: None, gathers: false }
}

const fn part(name: &'static str, of: &'static str, rules: &'static [&'static str]) -> Row {
    Row { name, namespace: "", rules, bound_to: &[], part_of: Some(of), gathers: false }
}

const fn within(
    namespace: &'static str,
    name: &'static str,
    rules: &'static [&'static str],
    bound_to: &'static [&'static str],
) -> Row {
    Row { name, namespace, rules, bound_to, part_of: None, gathers: false }
}

const fn gathering(name: &'static str, part_of: Option<&'static str>) -> Row {
    Row { name, namespace: "", rules: &[], bound_to: &[], part_of, gathers: true }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    rows::PEOPLE.iter().chain(rows::COMPONENTS).chain(controllers::ALL).chain(rows::WITHIN)
}

impl Row {
    fn kind(&self) -> &'static str {
        if self.namespace.is_empty() { "ClusterRole" } else { "Role" }
    }

    /// The binding has the role's name, but for one.
    fn binding_name(&self) -> &'static str {
        match self.name {
            "extension-apiserver-authentication-reader" => {
                "system:extension-apiserver-authentication-reader"
            }
            name => name,
        }
    }
}

/// A rule from its text; `None` when it has not the form of one.
fn rule(text: &str) -> Option<Rule> {
    let words = |word: &str| -> Vec<String> {
        word.split(',')
            .map(|item| if item == "-" { String::new() } else { item.to_owned() })
            .collect()
    };
    let mut parts = text.split(' ');
    let first = parts.next()?;
    if first == "url" {
        let (verbs, urls) = (parts.next()?, parts.next()?);
        return parts.next().is_none().then(|| Rule {
            verbs: words(verbs),
            non_resource_urls: words(urls),
            ..Rule::default()
        });
    }
    let (groups, resources, names) = (parts.next()?, parts.next()?, parts.next());
    parts.next().is_none().then(|| Rule {
        verbs: words(first),
        api_groups: words(groups),
        resources: words(resources),
        resource_names: names.map(words).unwrap_or_default(),
        ..Rule::default()
    })
}

fn metadata(name: &str, part_of: Option<&str>) -> Value {
    let mut labels = json!({ BOOTSTRAPPING: "rbac-defaults" });
    if let Some(whole) = part_of {
        labels[format!("{AGGREGATE_TO}{whole}")] = json!("true");
    }
    json!({"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}})
}

fn role_object(row: &Row) -> Value {
    let rules: Vec<Rule> = row.rules.iter().filter_map(|text| rule(text)).collect();
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": row.kind(),
        "metadata": metadata(row.name, row.part_of),
        "rules": rules,
    });
    if row.gathers {
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {format!("{AGGREGATE_TO}{}", row.name): "true"}}]});
        object["rules"] = Value::Null;
    }
    object
}

fn binding(row: &Row) -> Option<Value> {
    let subjects: Vec<Value> = row
        .bound_to
        .iter()
        .filter_map(|text| {
            let (kind, name) = text.split_once(':')?;
            Some(match kind {
                "sa" => json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}),
                "user" => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
                _ => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
            })
        })
        .collect();
    (!subjects.is_empty()).then(|| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": format!("{}Binding", row.kind()),
            "metadata": metadata(row.binding_name(), None),
            "roleRef": {"apiGroup": GROUP, "kind": row.kind(), "name": row.name},
            "subjects": subjects,
        })
    })
}

/// One object to write so that the policy is as it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// POST to the collection's path.
    Create {
        /// `/apis/…/clusterroles`.
        path: String,
        /// The object.
        object: Value,
    },
    /// PUT to the object's path.
    Replace {
        /// `/apis/…/clusterroles/NAME`.
        path: String,
        /// The object, with the resourceVersion it was read at.
        object: Value,
    },
}

/// What is to be written so that every role and binding of the policy is there and grants at least what its row
/// says. Empty at every start but the first and those after an update. Rights that someone added stay; objects
/// whose annotation [`AUTOUPDATE`] is `false` are left alone, missing ones are made again.
pub fn plan(lookup: &dyn Lookup) -> Vec<Write> {
    let mut writes = Vec::new();
    for row in rows() {
        let found = |plural: &str, name: &str| -> Option<Value> {
            let bytes = lookup.object(&format!("{GROUP}/{plural}"), row.namespace, name)?;
            serde_json::from_slice(&bytes).ok()
        };
        let (roles, bindings) = if row.namespace.is_empty() {
            ("clusterroles", "clusterrolebindings")
        } else {
            ("roles", "rolebindings")
        };
        let place = Place { namespace: row.namespace, plural: roles, list: "rules" };
        writes.extend(one(&place, row.name, role_object(row), found(roles, row.name)));
        if let Some(binding) = binding(row) {
            let name = row.binding_name();
            let place = Place { namespace: row.namespace, plural: bindings, list: "subjects" };
            writes.extend(one(&place, name, binding, found(bindings, name)));
        }
    }
    writes
}

/// Where an object belongs, and its list that only ever grows here.
struct Place {
    namespace: &'static str,
    plural: &'static str,
    list: &'static str,
}

fn one(place: &Place, name: &str, wanted: Value, found: Option<Value>) -> Option<Write> {
    let Place { namespace, plural, list } = place;
    let path = match *namespace {
        "" => format!("/apis/{GROUP}/v1/{plural}"),
        namespace => format!("/apis/{GROUP}/v1/namespaces/{namespace}/{plural}"),
    };
    let Some(mut found) = found else { return Some(Write::Create { path, object: wanted }) };
    if found["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let items = |object: &Value| object[*list].as_array().cloned().unwrap_or_default();
    let have = items(&found);
    let lacking: Vec<Value> =
        items(&wanted).into_iter().filter(|item| !have.contains(item)).collect();
    let same_rule = found["aggregationRule"] == wanted["aggregationRule"];
    let labels_there = wanted["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| found["metadata"]["labels"][key] == *value);
    if lacking.is_empty() && same_rule && labels_there {
        return None;
    }
    if !lacking.is_empty() {
        found[*list] = Value::Array(have.into_iter().chain(lacking).collect());
    }
    if !same_rule {
        found["aggregationRule"] = wanted["aggregationRule"].clone();
    }
    for (key, value) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
        found["metadata"]["labels"][key] = value.clone();
    }
    Some(Write::Replace { path: format!("{path}/{name}"), object: found })
}

#[cfg(test)]
mod tests;
