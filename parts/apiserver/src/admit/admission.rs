//! Admission: rules that need more than the object itself. Plugins have upstream's names, and are switched by
//! `--enable-admission-plugins` and `--disable-admission-plugins`.

mod limits;
mod namespace;
mod node;
mod priority;
pub mod quota;
mod restriction;
mod runtime_class;
mod security;
mod service_account;
mod topology;
pub(crate) mod totals;

use crate::identity::Identity;
use api::{Resource, Status};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Other objects, as they are now.
pub trait View {
    /// One object; `namespace` is empty for cluster-scoped kinds.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a kind, in a namespace or (empty) everywhere.
    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>>;
    /// The labels of one object, where nothing else of it is wanted.
    fn labels(&self, kind: (&str, &str), namespace: &str, name: &str) -> Option<Labels>;
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
    /// Five letters drawn for this request, for names that plugins make up; empty where none does
    /// ([`Plugins::draws_for`]).
    pub suffix: &'a str,
}

/// Every plugin by upstream's name, and whether it is on unless switched.
const KNOWN: &[(&str, bool)] = &[
    ("DefaultTolerationSeconds", true),
    ("LimitRanger", true),
    ("NamespaceLifecycle", true),
    ("NodeRestriction", true),
    ("PodSecurity", true),
    ("PodTopologyLabels", true),
    ("Priority", true),
    ("ResourceQuota", true),
    ("RuntimeClass", true),
    ("ServiceAccount", false),
    ("TaintNodesByCondition", true),
];

/// Plugins of upstream that we do not have; naming them is no error, since command lines are copied.
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
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "PodNodeSelector",
    "PodTolerationRestriction",
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

    /// Whether some plugin makes up a name for what is created, so that letters have to be drawn.
    pub fn draws_for(&self, resource: &Resource) -> bool {
        self.has("ServiceAccount") && (resource.group, resource.plural) == ("", "pods")
    }

    /// Whether a plugin is on.
    pub fn has(&self, name: &str) -> bool {
        self.on.contains(name)
    }
}

/// Changes that plugins make to an object, after defaulting and before [`super::before_create`] or
/// [`super::before_update`]; also what they refuse on the way. The order is upstream's.
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
    if plugins.has("LimitRanger") && limits::concern(attributes) {
        limits::fill(object, attributes, view);
    }
    if plugins.has("ServiceAccount") && kind == ("", "pods", "") && creates {
        service_account::assign(object, attributes, view)?;
    }
    if plugins.has("NodeRestriction") {
        restriction::judge(object, attributes, view)?;
    }
    if plugins.has("TaintNodesByCondition") && creates && kind == ("", "nodes", "") {
        node::taint(object);
    }
    let of_pod = kind == ("", "pods", "") && attributes.operation != Operation::Delete;
    if plugins.has("Priority") && of_pod {
        priority::resolve(object, attributes, view)?;
    }
    if plugins.has("DefaultTolerationSeconds") && of_pod {
        node::tolerate_for_a_while(object);
    }
    if plugins.has("RuntimeClass") && of_pod && creates {
        runtime_class::fill(object, attributes, view)?;
    }
    if plugins.has("PodTopologyLabels") && creates {
        topology::copy(object, attributes, view);
    }
    Ok(())
}

/// What plugins refuse, after [`super::before_create`] or [`super::before_update`]; for a delete before it is done.
/// Answers warnings. The order is upstream's; ResourceQuota, the last, writes and is asked apart ([`quota`]).
pub fn validate(
    plugins: &Plugins,
    object: &Value,
    attributes: &Attributes<'_>,
    view: &dyn View,
) -> Result<Vec<String>, Status> {
    let kind = (attributes.resource.group, attributes.resource.plural, attributes.subresource);
    if attributes.operation == Operation::Delete {
        if plugins.has("NamespaceLifecycle") {
            namespace::judge(attributes, view)?;
        }
        if plugins.has("NodeRestriction") {
            restriction::judge(object, attributes, view)?;
        }
        return Ok(Vec::new());
    }
    if plugins.has("LimitRanger") && limits::concern(attributes) {
        limits::validate(object, attributes, view)?;
    }
    if plugins.has("ServiceAccount") {
        service_account::validate(object, attributes, view)?;
    }
    let mut warnings = Vec::new();
    if plugins.has("PodSecurity") {
        warnings = security::validate(object, attributes, view)?;
    }
    if plugins.has("Priority") && kind == ("scheduling.k8s.io", "priorityclasses", "") {
        priority::validate_class(object, attributes, view)?;
    }
    let new_pod = kind == ("", "pods", "") && attributes.operation == Operation::Create;
    if plugins.has("RuntimeClass") && new_pod {
        runtime_class::validate(object, attributes, view)?;
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests;
