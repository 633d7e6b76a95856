//! The table of resources: one row for each kind that is served.
//!
//! The row drives routing, discovery, OpenAPI, tables and the names that RBAC sees. Adding a kind is
//! adding a row here and its strategy in the API server.

/// What may be done with a resource, in the order discovery prints.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// One kind that is served.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural name, the one in paths.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories, as in `kubectl get all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: &'static [Subresource],
    /// The type's name in the schema, `io.k8s.api.apps.v1.DaemonSet`.
    pub schema: &'static str,
    /// Resource name under which objects are stored; differs from `plural` where two groups share storage
    /// (`events.k8s.io/events` is kept as core `events`).
    pub storage: &'static str,
    /// Opaque hash shown by discovery.
    pub storage_version_hash: &'static str,
}

/// A path below an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `binding`, ...
    pub name: &'static str,
    /// Kind of its bodies.
    pub kind: &'static str,
    /// Group and version of its bodies where they differ from the resource's.
    pub group_version: Option<(&'static str, &'static str)>,
    /// Verbs.
    pub verbs: &'static [&'static str],
}
