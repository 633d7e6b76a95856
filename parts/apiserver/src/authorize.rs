//! May they? The chain `system:masters` → nodes' own rules → RBAC, and the words of a refusal.
//!
//! Start at [`Authorizer::decide`]. The rules of RBAC are an index that follows the records ([`rbac`]); what a
//! node may do is code, not a binding ([`node`]); what exists from the first start is data ([`bootstrap`]).

pub mod bootstrap;
pub mod escalation;
pub mod node;
pub mod rbac;
pub mod review;

use crate::identity::{self, Identity};
use crate::route::Attributes;
use api::Status;
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;

pub use review::review;

/// What access rules look up among the records: single objects by name and the pods of one node. Both are
/// answered from memory, so that a decision never waits.
pub trait Lookup: Send + Sync + std::fmt::Debug {
    /// The object's JSON; `collection` is the one of `records::Key`, for instance `/secrets`.
    fn object(&self, collection: &str, namespace: &str, name: &str) -> Option<Bytes>;

    /// `spec.nodeName` of a pod; `None` when there is no such pod, empty when it is not bound.
    fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String>;

    /// The JSON of the pods bound to a node, as pairs of namespace and object.
    fn pods_of_node(&self, node: &str) -> Vec<(Arc<str>, Bytes)>;
}

/// A question in words, for tests: `verb group resource[/subresource] [namespace [name [node]]]`; `-` is empty.
#[cfg(test)]
pub(crate) fn asked(text: &str) -> Attributes {
    let words: Vec<&str> =
        text.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let (resource, subresource) = word(2).split_once('/').unwrap_or_else(|| (word(2), ""));
    Attributes {
        verb: word(0).to_owned().into(),
        group: word(1).into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: word(3).into(),
        name: word(4).into(),
        node: words.get(5).map(|node| (*node).to_owned()),
        ..Attributes::default()
    }
}

/// A world without objects.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Nothing;

#[cfg(test)]
impl Lookup for Nothing {
    fn object(&self, _: &str, _: &str, _: &str) -> Option<Bytes> {
        None
    }

    fn node_of_pod(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn pods_of_node(&self, _: &str) -> Vec<(Arc<str>, Bytes)> {
        Vec::new()
    }
}

/// What was decided. There is no "deny": rules only ever add rights, and silence is a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, with the reason that reviews show (empty for `system:masters`).
    Allow(String),
    /// Nobody allowed it; the reason is appended to the refusal (empty in nearly every case).
    NoOpinion(String),
}

impl Decision {
    /// Whether it was allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Decides. Cheap to share; all state is the RBAC index.
#[derive(Debug)]
pub struct Authorizer {
    policy: RwLock<rbac::Policy>,
    lookup: Arc<dyn Lookup>,
}

impl Authorizer {
    /// An authorizer with an empty RBAC index; feed it with [`Authorizer::observe`].
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { policy: RwLock::new(rbac::Policy::default()), lookup }
    }

    /// Takes in the present state of one object of `rbac.authorization.k8s.io` (`None`: deleted). Other
    /// collections are ignored, so that every change may be handed in. To be called before the write is
    /// acknowledged: then a grant works in the very next request.
    pub fn observe(&self, collection: &str, namespace: &str, name: &str, object: Option<&[u8]>) {
        let Some(kind) = rbac::Kind::of_collection(collection) else { return };
        let fault = self.policy.write().observe(kind, namespace, name, object);
        if let Err(fault) = fault {
            tracing::error!(%collection, %namespace, %name, %fault, "an RBAC object cannot be read and grants nothing");
        }
    }

    /// Whether `identity` may do what `attributes` say.
    pub fn decide(&self, identity: &Identity, attributes: &Attributes) -> Decision {
        if identity.groups.iter().any(|group| group == identity::MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reason = String::new();
        if let Some(node) = node::name_of(identity) {
            match node::decide(node, attributes, self.lookup.as_ref()) {
                Decision::Allow(why) => return Decision::Allow(why),
                Decision::NoOpinion(why) => reason = why,
            }
        }
        match self.policy.read().decide(identity, attributes) {
            Some(why) => Decision::Allow(why),
            None => Decision::NoOpinion(reason),
        }
    }

    /// As [`Authorizer::decide`], with the refusal as a 403 in Kubernetes' words.
    pub fn authorize(&self, identity: &Identity, attributes: &Attributes) -> Result<(), Status> {
        match self.decide(identity, attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) => Err(refusal(identity, attributes, &reason)),
        }
    }

    /// The RBAC rules that hold for someone in a namespace (empty: cluster-wide ones only), in the order of
    /// their bindings.
    pub fn rules(&self, identity: &Identity, namespace: &str) -> Vec<rbac::Rule> {
        let policy = self.policy.read();
        policy.rules_of(identity, namespace).cloned().collect()
    }

    /// The rules of a role, aggregated ones included; `None` when there is no such role.
    pub(crate) fn rules_of_role(
        &self,
        role: &rbac::RoleRef,
        namespace: &str,
    ) -> Option<Vec<rbac::Rule>> {
        let policy = self.policy.read();
        policy.role(role, namespace).map(|rules| rules.cloned().collect())
    }
}

/// 403 as Kubernetes words it (tape README, "Auth").
pub fn refusal(identity: &Identity, attributes: &Attributes, reason: &str) -> Status {
    let user = &identity.user;
    let verb = &attributes.verb;
    let mut why = if attributes.is_resource() {
        let resource = if attributes.subresource.is_empty() {
            attributes.resource.clone()
        } else {
            format!("{}/{}", attributes.resource, attributes.subresource)
        };
        let scope = if attributes.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", attributes.namespace)
        };
        format!(
            "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
            attributes.group
        )
    } else {
        format!("User {user:?} cannot {verb} path {:?}", attributes.path)
    };
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    Status::forbidden(&attributes.group, &attributes.resource, &attributes.name, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(verb: &'static str, group: &str, resource: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn refusals_read_as_kubernetes_words_them() {
        let bob = Identity::new("bob", &["devs"]);
        let table = [
            (
                Attributes { namespace: "n".into(), ..asked("list", "apps", "daemonsets") },
                "daemonsets.apps is forbidden: User \"bob\" cannot list resource \"daemonsets\" in API group \"apps\" in the namespace \"n\"",
            ),
            (
                asked("list", "", "nodes"),
                "nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
            ),
            (
                Attributes {
                    namespace: "n".into(),
                    name: "x".into(),
                    subresource: "binding".into(),
                    ..asked("create", "", "pods")
                },
                "pods \"x\" is forbidden: User \"bob\" cannot create resource \"pods/binding\" in API group \"\" in the namespace \"n\"",
            ),
            (
                Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() },
                "forbidden: User \"bob\" cannot get path \"/metrics\"",
            ),
        ];
        for (attributes, text) in table {
            let status = refusal(&bob, &attributes, "");
            assert_eq!(status.message, text);
            assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
        }
    }
}
