//! RBAC as an index by subject: who is bound to which role, where.
//!
//! A decision looks up the bindings of the user and of each group, then the role each names, so its cost is that
//! of the caller's own bindings, not of all bindings. Roles are found by name at decision time: a binding may
//! come before its role, and a change of a role needs no other entry touched.
//!
//! Aggregated ClusterRoles (`view`, `edit`, `admin`) are the union of what their selectors match at the moment
//! of the decision; their own `rules` count too, as a controller elsewhere may have filled them in.

mod raw;

pub(super) use raw::RawBinding;

use crate::identity::Identity;
use crate::route::Attributes;
use raw::RawRole;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// API group of the RBAC kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The four kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Role`.
    Role,
    /// `ClusterRole`.
    ClusterRole,
    /// `RoleBinding`.
    RoleBinding,
    /// `ClusterRoleBinding`.
    ClusterRoleBinding,
}

impl Kind {
    /// The kind kept in a collection of the records (`rbac.authorization.k8s.io/roles`).
    pub fn of_collection(collection: &str) -> Option<Self> {
        let (group, plural) = collection.split_once('/')?;
        if group == GROUP { Self::of_plural(plural) } else { None }
    }

    /// The kind with this plural name.
    pub fn of_plural(plural: &str) -> Option<Self> {
        match plural {
            "roles" => Some(Self::Role),
            "clusterroles" => Some(Self::ClusterRole),
            "rolebindings" => Some(Self::RoleBinding),
            "clusterrolebindings" => Some(Self::ClusterRoleBinding),
            _ => None,
        }
    }
}

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs, `*` for all.
    #[serde(deserialize_with = "list")]
    pub verbs: Vec<String>,
    /// API groups, `*` for all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `resource`, `resource/subresource`, `*/subresource` or `*`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names; none means all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths that are no resources, with `*` at the end for all below.
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

/// A list that may be `null`, as Go writes empty ones.
fn list<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(from).map(Option::unwrap_or_default)
}

impl Rule {
    /// Whether the rule allows what is asked.
    pub fn allows(&self, asked: &Attributes) -> bool {
        if !named(&self.verbs, &asked.verb) {
            return false;
        }
        if asked.is_resource() {
            named(&self.api_groups, &asked.group)
                && self
                    .resources
                    .iter()
                    .any(|r| resource_matches(r, &asked.resource, &asked.subresource))
                && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
        } else {
            self.non_resource_urls.iter().any(|url| url_matches(url, &asked.path))
        }
    }
}

fn named(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// Whether `rule` (`pods`, `pods/log`, `*/scale`, `*`) names the resource.
pub(super) fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((of, sub)) => {
            !subresource.is_empty() && sub == subresource && (of == "*" || of == resource)
        }
    }
}

/// Whether `rule` (`/healthz`, `/api/*`, `*`) names the path.
pub(super) fn url_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

/// Whom a binding binds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A user by name.
    User(String),
    /// All members of a group.
    Group(String),
    /// A service account by namespace and name.
    ServiceAccount(String, String),
}

impl Subject {
    /// As reviews print it: `User "alice"`, `ServiceAccount "robot/authz"`.
    fn shown(&self) -> String {
        match self {
            Self::User(name) => format!("User {name:?}"),
            Self::Group(name) => format!("Group {name:?}"),
            Self::ServiceAccount(namespace, name) => {
                format!("ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
        }
    }
}

/// The role that a binding grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Bindings of one scope: of the cluster, or of one namespace.
#[derive(Debug, Default)]
struct Scope {
    bindings: BTreeMap<String, Binding>,
    by_subject: BTreeMap<Subject, BTreeSet<String>>,
}

impl Scope {
    fn remove(&mut self, name: &str) {
        let Some(old) = self.bindings.remove(name) else { return };
        for subject in old.subjects {
            if let Some(names) = self.by_subject.get_mut(&subject) {
                names.remove(name);
                if names.is_empty() {
                    self.by_subject.remove(&subject);
                }
            }
        }
    }

    fn insert(&mut self, name: &str, binding: Binding) {
        self.remove(name);
        for subject in &binding.subjects {
            self.by_subject.entry(subject.clone()).or_default().insert(name.to_owned());
        }
        self.bindings.insert(name.to_owned(), binding);
    }

    /// The bindings of any of `subjects`, by name, each with the subject it was found by.
    fn of<'a>(
        &'a self,
        subjects: &'a [Subject],
    ) -> impl Iterator<Item = (&'a str, &'a Binding, &'a Subject)> {
        let mut found: BTreeMap<&str, &Subject> = BTreeMap::new();
        for subject in subjects {
            for name in self.by_subject.get(subject).into_iter().flatten() {
                found.entry(name).or_insert(subject);
            }
        }
        found
            .into_iter()
            .filter_map(|(name, subject)| Some((name, self.bindings.get(name)?, subject)))
    }
}

/// All roles and bindings, indexed.
#[derive(Debug, Default)]
pub struct Policy {
    cluster_roles: BTreeMap<String, Vec<Rule>>,
    roles: BTreeMap<String, BTreeMap<String, Vec<Rule>>>,
    cluster: Scope,
    namespaces: BTreeMap<String, Scope>,
}

impl Policy {
    /// Takes in one object's present state. An unreadable object is forgotten (it grants nothing) and reported.
    pub fn observe(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        object: Option<&[u8]>,
    ) -> Result<(), serde_json::Error> {
        self.forget(kind, namespace, name);
        let Some(bytes) = object else { return Ok(()) };
        match kind {
            Kind::Role => {
                let raw: RawRole = serde_json::from_slice(bytes)?;
                self.roles
                    .entry(namespace.to_owned())
                    .or_default()
                    .insert(name.to_owned(), raw.rules);
            }
            Kind::ClusterRole => {
                let raw: RawRole = serde_json::from_slice(bytes)?;
                self.cluster_roles.insert(name.to_owned(), raw.rules);
            }
            Kind::RoleBinding => {
                let binding = binding(serde_json::from_slice(bytes)?, namespace);
                self.namespaces.entry(namespace.to_owned()).or_default().insert(name, binding);
            }
            Kind::ClusterRoleBinding => {
                self.cluster.insert(name, binding(serde_json::from_slice(bytes)?, ""));
            }
        }
        Ok(())
    }

    fn forget(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::Role => {
                if let Some(roles) = self.roles.get_mut(namespace) {
                    roles.remove(name);
                    if roles.is_empty() {
                        self.roles.remove(namespace);
                    }
                }
            }
            Kind::ClusterRole => {
                self.cluster_roles.remove(name);
            }
            Kind::RoleBinding => {
                if let Some(scope) = self.namespaces.get_mut(namespace) {
                    scope.remove(name);
                    if scope.bindings.is_empty() {
                        self.namespaces.remove(namespace);
                    }
                }
            }
            Kind::ClusterRoleBinding => self.cluster.remove(name),
        }
    }

    /// The reason why it is allowed, as reviews print it; `None` when nothing allows it.
    pub fn decide(&self, identity: &Identity, asked: &Attributes) -> Option<String> {
        let subjects = subjects_of(identity);
        for (scope, namespace) in self.scopes(&asked.namespace) {
            for (name, binding, subject) in scope.of(&subjects) {
                let allowed = self
                    .role(&binding.role, namespace)
                    .is_some_and(|mut rules| rules.any(|rule| rule.allows(asked)));
                if allowed {
                    return Some(reason(name, namespace, binding, subject));
                }
            }
        }
        None
    }

    /// The rules that hold for someone in a namespace, in the order of their bindings.
    pub fn rules_of(&self, identity: &Identity, namespace: &str) -> impl Iterator<Item = &Rule> {
        let subjects = subjects_of(identity);
        let mut found = Vec::new();
        for (scope, namespace) in self.scopes(namespace) {
            for (_, binding, _) in scope.of(&subjects) {
                found.extend(self.role(&binding.role, namespace).into_iter().flatten());
            }
        }
        found.into_iter()
    }

    /// The rules of a role named by a binding in `namespace` (empty: a cluster binding). What a role gathers from
    /// others is written into it by a controller, and counts from then on.
    pub fn role(&self, role: &RoleRef, namespace: &str) -> Option<impl Iterator<Item = &Rule>> {
        let rules = match role.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(&role.name)?,
            "Role" => self.roles.get(namespace)?.get(&role.name)?,
            _ => return None,
        };
        Some(rules.iter())
    }

    /// The scopes that count in a namespace: the cluster's, then its own.
    fn scopes<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Scope, &'a str)> {
        let own = self.namespaces.get(namespace).map(|scope| (scope, namespace));
        std::iter::once((&self.cluster, "")).chain(own)
    }
}

fn binding(raw: RawBinding, namespace: &str) -> Binding {
    let subjects = raw
        .subjects
        .into_iter()
        .filter_map(|subject| match subject.kind.as_str() {
            "User" => Some(Subject::User(subject.name)),
            "Group" => Some(Subject::Group(subject.name)),
            "ServiceAccount" => {
                let namespace = if subject.namespace.is_empty() {
                    namespace.to_owned()
                } else {
                    subject.namespace
                };
                Some(Subject::ServiceAccount(namespace, subject.name))
            }
            _ => None,
        })
        .collect();
    Binding { role: raw.role_ref, subjects }
}

/// Every way a binding may name this caller.
fn subjects_of(identity: &Identity) -> Vec<Subject> {
    let mut subjects = vec![Subject::User(identity.user.clone())];
    if let Some((namespace, name)) = identity.service_account() {
        subjects.push(Subject::ServiceAccount(namespace.to_owned(), name.to_owned()));
    }
    subjects.extend(identity.groups.iter().cloned().map(Subject::Group));
    subjects
}

fn reason(name: &str, namespace: &str, binding: &Binding, subject: &Subject) -> String {
    let (kind, shown) = if namespace.is_empty() {
        ("ClusterRoleBinding", name.to_owned())
    } else {
        ("RoleBinding", format!("{name}/{namespace}"))
    };
    let RoleRef { kind: role_kind, name: role } = &binding.role;
    format!("RBAC: allowed by {kind} {shown:?} of {role_kind} {role:?} to {}", subject.shown())
}

#[cfg(test)]
mod tests;
