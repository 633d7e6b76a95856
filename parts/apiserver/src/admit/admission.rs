//! Admission: rules that need more than the object itself. Plugins have upstream's names, and are switched by
//! `--enable-admission-plugins` and `--disable-admission-plugins`.

mod namespace;
mod node;
mod priority;
mod restriction;

use crate::identity::Identity;
use api::{Resource, Status};
use serde_json::Value;
use std::collections::BTreeSet;

/// Other objects, as they are now.
pub trait View {
    /// One object; `namespace` is empty for cluster-scoped kinds.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value>;
    /// All objects of a kind, in a namespace or (empty) everywhere.
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Value>;
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST, or PUT and apply of a missing object.
    Create,
    /// PUT and PATCH.
    Update,
    /// DELETE; the object looked at is the one that is there.
    Delete,
}

impl Attributes<'_> {
    /// 403 in the words every plugin begins with.
    pub(crate) fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(self.resource.group, self.resource.plural, self.name, why)
    }
}

/// What is asked, beside the object.
#[derive(Debug)]
pub struct Attributes<'a> {
    /// What is done.
    pub operation: Operation,
    /// To which kind.
    pub resource: &'a Resource,
    /// Empty, or `status`, `binding`, `eviction`, ...
    pub subresource: &'a str,
    /// Namespace of the request, empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Name of the request; empty for a create with generateName.
    pub name: &'a str,
    /// Who asks.
    pub identity: &'a Identity,
    /// The object before an update.
    pub old: Option<&'a Value>,
}

/// Every plugin by upstream's name, and whether it is on unless switched.
const KNOWN: &[(&str, bool)] = &[
    ("DefaultTolerationSeconds", true),
    ("NamespaceLifecycle", true),
    ("NodeRestriction", true),
    ("Priority", true),
    ("ServiceAccount", false),
    ("TaintNodesByCondition", true),
];

/// Plugins of upstream that we do not have yet (`ServiceAccount` is known above and does nothing until tokens exist); naming them is no error, since command lines are copied.
const ABSENT: &[&str] = &[
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "ClusterTrustBundleAttest",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "PodNodeSelector",
    "PodSecurity",
    "PodTolerationRestriction",
    "PodTopologyLabels",
    "ResourceQuota",
    "RuntimeClass",
    "StorageObjectInUseProtection",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// The plugins that are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    on: BTreeSet<&'static str>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self { on: KNOWN.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect() }
    }
}

impl Plugins {
    /// The default ones, more `enable`, less `disable`. A name nobody knows is an error that names it.
    pub fn switched(enable: &[String], disable: &[String]) -> Result<Self, String> {
        let mut plugins = Self::default();
        for (names, on) in [(enable, true), (disable, false)] {
            for name in names {
                let known = KNOWN.iter().find(|(known, _)| known == name);
                match known {
                    Some((known, _)) if on => plugins.on.insert(known),
                    Some((known, _)) => plugins.on.remove(known),
                    None if ABSENT.contains(&name.as_str()) => false,
                    None => return Err(format!("admission-control plugin {name:?} is unknown")),
                };
            }
        }
        Ok(plugins)
    }

    /// Whether a plugin is on.
    pub fn has(&self, name: &str) -> bool {
        self.on.contains(name)
    }
}

/// Changes that plugins make to an object, after defaulting and before [`super::before_create`] or
/// [`super::before_update`]; also what they refuse on the way.
pub fn mutate(
    plugins: &Plugins,
    object: &mut Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    let kind = (attributes.resource.group, attributes.resource.plural, attributes.subresource);
    let creates = attributes.operation == Operation::Create;
    if plugins.has("NamespaceLifecycle") {
        namespace::judge(attributes, view)?;
    }
    if plugins.has("TaintNodesByCondition") && creates && kind == ("", "nodes", "") {
        node::taint(object);
    }
    if plugins.has("NodeRestriction") {
        restriction::judge(object, attributes, view)?;
    }
    if kind != ("", "pods", "") || attributes.operation == Operation::Delete {
        return Ok(());
    }
    if plugins.has("Priority") {
        priority::resolve(object, attributes, view)?;
    }
    if plugins.has("DefaultTolerationSeconds") {
        node::tolerate_for_a_while(object);
    }
    Ok(())
}

/// What plugins refuse, after [`super::before_create`] or [`super::before_update`]; for a delete before it is done.
pub fn validate(
    plugins: &Plugins,
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<(), Status> {
    let kind = (attributes.resource.group, attributes.resource.plural, attributes.subresource);
    if attributes.operation == Operation::Delete {
        if plugins.has("NamespaceLifecycle") {
            namespace::judge(attributes, view)?;
        }
        if plugins.has("NodeRestriction") {
            restriction::judge(object, attributes, view)?;
        }
        return Ok(());
    }
    if plugins.has("Priority") && kind == ("scheduling.k8s.io", "priorityclasses", "") {
        priority::validate_class(object, attributes, view)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
