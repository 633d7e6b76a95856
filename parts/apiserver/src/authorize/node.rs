//! What an agent may do: its own Node and Lease, the pods bound to it, and what those pods name.
//!
//! The rights hang on the user name `system:node:<name>` together with the group `system:nodes`. They are code,
//! not a binding: a binding of the group would give every node the rights over all nodes' objects.

use super::{Decision, Lookup};
use crate::identity::{self, Identity};
use crate::route::Attributes;
use serde_json::Value;

/// The namespace of the Leases by which nodes say that they live.
const LEASES_NAMESPACE: &str = "kube-node-lease";

/// The node's name, when the caller is one.
pub fn name_of(identity: &Identity) -> Option<&str> {
    let name = identity.user.strip_prefix(identity::NODE_PREFIX).filter(|name| !name.is_empty())?;
    identity.groups.iter().any(|group| group == identity::NODES).then_some(name)
}

/// Whether node `me` may do what is asked.
pub fn decide(me: &str, asked: &Attributes, lookup: &dyn Lookup) -> Decision {
    let allowed = match (asked.group.as_str(), asked.resource.as_str()) {
        ("", "nodes") => nodes(me, asked),
        ("coordination.k8s.io", "leases") => leases(me, asked),
        ("", "pods") => pods(me, asked, lookup),
        ("", "configmaps" | "secrets") => return referenced(me, asked, lookup),
        ("", "serviceaccounts") => return service_accounts(me, asked, lookup),
        ("", "services") | ("storage.k8s.io", "csidrivers") | ("node.k8s.io", "runtimeclasses") => {
            reads(&asked.verb) && asked.subresource.is_empty()
        }
        ("" | "events.k8s.io", "events") => {
            one_of(&asked.verb, &["create", "update", "patch"]) && asked.subresource.is_empty()
        }
        ("certificates.k8s.io", "certificatesigningrequests") => certificates(asked),
        ("authentication.k8s.io", "tokenreviews")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
            asked.verb == "create"
        }
        _ => false,
    };
    if allowed { allow() } else { Decision::NoOpinion(String::new()) }
}

fn allow() -> Decision {
    Decision::Allow(String::new())
}

fn one_of(verb: &str, verbs: &[&str]) -> bool {
    verbs.contains(&verb)
}

fn reads(verb: &str) -> bool {
    one_of(verb, &["get", "list", "watch"])
}

/// Its own Node: everything but delete; a list or watch only of itself. Creation has no name to judge here:
/// admission compares the object's name with the caller's.
fn nodes(me: &str, asked: &Attributes) -> bool {
    match asked.subresource.as_str() {
        "" if asked.verb == "create" => asked.name.is_empty() || asked.name == me,
        "" => asked.name == me && one_of(&asked.verb, &["get", "list", "watch", "update", "patch"]),
        "status" => asked.name == me && one_of(&asked.verb, &["get", "update", "patch"]),
        _ => false,
    }
}

fn leases(me: &str, asked: &Attributes) -> bool {
    asked.namespace == LEASES_NAMESPACE
        && asked.subresource.is_empty()
        && match asked.verb.as_ref() {
            "create" => asked.name.is_empty() || asked.name == me,
            "get" | "update" | "patch" | "delete" => asked.name == me,
            _ => false,
        }
}

fn pods(me: &str, asked: &Attributes, lookup: &dyn Lookup) -> bool {
    let host = || lookup.node_of_pod(&asked.namespace, &asked.name);
    let mine = || !asked.name.is_empty() && host().is_some_and(|node| node == me);
    // A write about a pod that is gone may be tried: the answer is that there is none (404), not that it is
    // another's, so that an agent knows to forget it.
    let mine_or_gone = || !asked.name.is_empty() && host().is_none_or(|node| node == me);
    match (asked.subresource.as_str(), asked.verb.as_ref()) {
        ("", "list" | "watch") => asked.node.as_deref() == Some(me) || mine(),
        ("" | "status", "get") => mine(),
        ("", "delete") | ("status", "update" | "patch") | ("eviction", "create") => mine_or_gone(),
        _ => false,
    }
}

/// A ConfigMap or Secret by name, when one of the node's pods names it.
fn referenced(me: &str, asked: &Attributes, lookup: &dyn Lookup) -> Decision {
    if asked.name.is_empty() || !reads(&asked.verb) || !asked.subresource.is_empty() {
        return Decision::NoOpinion(String::new());
    }
    let kind = if asked.resource == "secrets" { Reference::Secret } else { Reference::ConfigMap };
    if any_pod(me, asked, lookup, |spec| names(spec, kind, &asked.name)) {
        allow()
    } else {
        unrelated(me)
    }
}

/// A service account by name, and tokens for it, when one of the node's pods runs as it.
fn service_accounts(me: &str, asked: &Attributes, lookup: &dyn Lookup) -> Decision {
    let shape = matches!(
        (asked.subresource.as_str(), asked.verb.as_ref()),
        ("", "get") | ("token", "create")
    );
    if asked.name.is_empty() || !shape {
        return Decision::NoOpinion(String::new());
    }
    let runs_as = |spec: &Value| spec["serviceAccountName"].as_str() == Some(asked.name.as_str());
    if any_pod(me, asked, lookup, runs_as) { allow() } else { unrelated(me) }
}

/// Upstream's words, appended to the refusal.
fn unrelated(me: &str) -> Decision {
    Decision::NoOpinion(format!("no relationship found between node '{me}' and this object"))
}

/// Requests for certificates: its own renewal is approved by `selfnodeclient`; what a request asks for is
/// checked by who approves and signs it.
fn certificates(asked: &Attributes) -> bool {
    match asked.subresource.as_str() {
        "" => one_of(&asked.verb, &["create", "get", "list", "watch"]),
        "selfnodeclient" => asked.verb == "create",
        _ => false,
    }
}

fn any_pod(
    me: &str,
    asked: &Attributes,
    lookup: &dyn Lookup,
    test: impl Fn(&Value) -> bool,
) -> bool {
    lookup
        .pods_of_node(me)
        .iter()
        .filter(|(namespace, _)| **namespace == *asked.namespace)
        .filter_map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).ok())
        .any(|pod| test(&pod["spec"]))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reference {
    ConfigMap,
    Secret,
}

/// Whether a pod's spec names the object: volumes, projected volumes, environment, pull secrets.
fn names(spec: &Value, kind: Reference, name: &str) -> bool {
    let (volume, volume_field, env_from, env_ref) = match kind {
        Reference::ConfigMap => ("configMap", "name", "configMapRef", "configMapKeyRef"),
        Reference::Secret => ("secret", "secretName", "secretRef", "secretKeyRef"),
    };
    let is = |value: &Value| value.as_str() == Some(name);
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let in_volumes = items(&spec["volumes"]).iter().any(|item| {
        is(&item[volume][volume_field])
            || items(&item["projected"]["sources"]).iter().any(|source| is(&source[volume]["name"]))
            || (kind == Reference::Secret && is(&item["csi"]["nodePublishSecretRef"]["name"]))
    });
    let in_containers =
        ["initContainers", "containers", "ephemeralContainers"].iter().any(|list| {
            items(&spec[list]).iter().any(|container| {
                items(&container["envFrom"]).iter().any(|from| is(&from[env_from]["name"]))
                    || items(&container["env"])
                        .iter()
                        .any(|env| is(&env["valueFrom"][env_ref]["name"]))
            })
        });
    let pulls = kind == Reference::Secret
        && items(&spec["imagePullSecrets"]).iter().any(|secret| is(&secret["name"]));
    in_volumes || in_containers || pulls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::asked;
    use bytes::Bytes;
    use serde_json::json;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Pods(Vec<Value>);

    impl Lookup for Pods {
        fn object(&self, _: &str, _: &str, _: &str) -> Option<Bytes> {
            None
        }

        fn node_of_pod(&self, namespace: &str, name: &str) -> Option<String> {
            let pod = self.0.iter().find(|p| {
                p["metadata"]["namespace"] == *namespace && p["metadata"]["name"] == *name
            })?;
            Some(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
        }

        fn pods_of_node(&self, node: &str) -> Vec<(Arc<str>, Bytes)> {
            let on = |p: &&Value| p["spec"]["nodeName"] == *node;
            let pair = |p: &Value| {
                (
                    Arc::from(p["metadata"]["namespace"].as_str().unwrap()),
                    Bytes::from(p.to_string()),
                )
            };
            self.0.iter().filter(on).map(pair).collect()
        }
    }

    fn pods() -> Pods {
        Pods(vec![
            json!({"metadata": {"namespace": "n", "name": "mine"}, "spec": {
                "nodeName": "a", "serviceAccountName": "robot",
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [{"name": "v", "secret": {"secretName": "vol"}},
                            {"name": "p", "projected": {"sources": [{"configMap": {"name": "proj"}}]}}],
                "initContainers": [{"envFrom": [{"configMapRef": {"name": "from"}}]}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]}]
            }}),
            json!({"metadata": {"namespace": "n", "name": "theirs"}, "spec": {
                "nodeName": "b", "serviceAccountName": "other",
                "volumes": [{"name": "v", "secret": {"secretName": "foreign"}}]
            }}),
            json!({"metadata": {"namespace": "n", "name": "pending"}, "spec": {}}),
        ])
    }

    #[test]
    fn a_node_may_do_what_concerns_it_and_nothing_else() {
        let table = [
            ("get - nodes - a", true),
            ("get - nodes - b", false),
            ("create - nodes - -", true),
            ("update - nodes - a", true),
            ("delete - nodes - a", false),
            ("list - nodes - -", false),
            ("watch - nodes - a", true),
            ("patch - nodes/status - a", true),
            ("patch - nodes/status - b", false),
            ("update coordination.k8s.io leases kube-node-lease a", true),
            ("create coordination.k8s.io leases kube-node-lease -", true),
            ("update coordination.k8s.io leases kube-node-lease b", false),
            ("update coordination.k8s.io leases kube-system a", false),
            ("list coordination.k8s.io leases kube-node-lease -", false),
            ("list - pods - - a", true),
            ("watch - pods - - a", true),
            ("watch - pods - - b", false),
            ("list - pods - -", false),
            ("get - pods n mine", true),
            ("get - pods n theirs", false),
            ("get - pods n pending", false),
            ("get - pods n absent", false),
            ("get - pods n -", false),
            ("patch - pods/status n mine", true),
            ("patch - pods/status n theirs", false),
            ("patch - pods/status n absent", true),
            ("get - pods/status n absent", false),
            ("delete - pods n absent", true),
            ("delete - pods n mine", true),
            ("delete - pods n theirs", false),
            ("deletecollection - pods n - a", false),
            ("update - pods n mine", false),
            ("create - pods n -", false),
            ("create - pods/binding n mine", false),
            ("create - events n -", true),
            ("patch events.k8s.io events n e", true),
            ("delete - events n e", false),
            ("create certificates.k8s.io certificatesigningrequests - -", true),
            ("create certificates.k8s.io certificatesigningrequests/selfnodeclient - -", true),
            ("update certificates.k8s.io certificatesigningrequests/approval - c", false),
            ("list - services - -", true),
            ("update - services n s", false),
            ("get storage.k8s.io csinodes - a", false),
            ("get - secrets n vol", true),
            ("get - secrets n pull", true),
            ("get - secrets n env", true),
            ("get - secrets n foreign", false),
            ("get - secrets other vol", false),
            ("list - secrets n -", false),
            ("update - secrets n vol", false),
            ("watch - configmaps n proj", true),
            ("get - configmaps n from", true),
            ("get - configmaps n vol", false),
            ("get - serviceaccounts n robot", true),
            ("create - serviceaccounts/token n robot", true),
            ("create - serviceaccounts/token n other", false),
            ("get apps daemonsets n d", false),
        ];
        for (text, allowed) in table {
            assert_eq!(decide("a", &asked(text), &pods()).is_allowed(), allowed, "{text}");
        }
    }

    #[test]
    fn the_name_alone_makes_no_node() {
        assert_eq!(name_of(&Identity::new("system:node:a", &[identity::NODES])), Some("a"));
        assert_eq!(name_of(&Identity::new("system:node:a", &[])), None);
        assert_eq!(name_of(&Identity::new("system:node:", &[identity::NODES])), None);
        assert_eq!(name_of(&Identity::new("alice", &[identity::NODES])), None);
    }
}
