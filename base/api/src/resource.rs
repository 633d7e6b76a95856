//! The table of resources: one row for each kind that is served.
//!
//! The row drives routing, discovery, OpenAPI, tables and the names that RBAC sees. Adding a kind is
//! adding a row here and its strategy in the API server.

mod table;

pub use table::{ALL, SCALE};

/// What may be done with a resource, in the order discovery prints.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Verbs of a kind that is only asked (reviews, bindings).
const CREATE: &[&str] = &["create"];

/// Verbs of a stream to a pod: browsers can only GET, so both open one.
const CREATE_GET: &[&str] = &["create", "get"];

/// Verbs of a proxy: every method that it passes on.
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// Verbs of a part of an object.
const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

/// One kind that is served.
#[derive(Clone, Copy, Debug)]
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
    /// Collection under which objects are stored, `group/plural` (`apps/daemonsets`, `/pods`). Two rows share one
    /// where two groups show the same objects: events of `events.k8s.io` are kept as `/events`.
    pub storage: &'static str,
    /// Opaque hash shown by discovery.
    pub storage_version_hash: &'static str,
    /// What was made at run time for a custom resource; `None` for every row of the table.
    pub custom: Option<&'static Custom>,
}

/// What a custom resource has beside the names of its row. Made from a CustomResourceDefinition while the server
/// runs, and kept as long as it runs: rows are shared by everything that looks at them.
#[derive(Debug)]
pub struct Custom {
    /// The name of the list kind, which need not be the kind with `List` behind it.
    pub list_kind: &'static str,
    /// The type of the objects.
    pub shape: &'static crate::schema::Type,
    /// The API server's rules for them: its own type, which this crate does not know.
    pub rules: &'static (dyn std::any::Any + Send + Sync),
}

/// Rows are one when they are served at one path.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.plural) == (other.group, other.version, other.plural)
    }
}

impl Eq for Resource {}

/// A path below an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Subresource {
    /// One whose bodies are of the resource's group and version.
    pub const fn new(
        name: &'static str,
        kind: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        Self { name, kind, group_version: None, verbs }
    }

    /// The same with bodies of another group and version.
    #[must_use]
    pub const fn of(mut self, group: &'static str, version: &'static str) -> Self {
        self.group_version = Some((group, version));
        self
    }

    /// Whether `verb` is among its verbs.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

impl Resource {
    /// A namespaced kind. `words` is group, version, kind; `names` plural and singular.
    const fn new(
        words: [&'static str; 3],
        names: [&'static str; 2],
        schema: &'static str,
        storage: &'static str,
        verbs: &'static [&'static str],
    ) -> Self {
        let [group, version, kind] = words;
        let [plural, singular] = names;
        Self {
            group,
            version,
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: true,
            verbs,
            subresources: &[],
            schema,
            storage,
            storage_version_hash: "",
            custom: None,
        }
    }

    const fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    const fn category(mut self, names: &'static [&'static str]) -> Self {
        self.categories = names;
        self
    }

    const fn hash(mut self, hash: &'static str) -> Self {
        self.storage_version_hash = hash;
        self
    }

    const fn below(mut self, subresources: &'static [Subresource]) -> Self {
        self.subresources = subresources;
        self
    }

    /// `apps/v1`, `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `daemonsets.apps`, `pods` for the core group: the name used in messages.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether `verb` is among its verbs.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether objects of it are kept. Reviews and bindings are only asked.
    pub fn is_stored(&self) -> bool {
        self.allows("get")
    }

    /// The name of its list kind, `DaemonSetList`.
    pub fn list_kind(&self) -> String {
        self.custom
            .map_or_else(|| format!("{}List", self.kind), |custom| custom.list_kind.to_owned())
    }
}

/// The row of a plural name as it stands in paths.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    ALL.iter().find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// The row of a kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    ALL.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}

/// The row of an `apiVersion` (`apps/v1`) and a kind.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    by_kind(group, version, kind)
}

/// Whether anything is served in the group.
pub fn has_group(group: &str) -> bool {
    ALL.iter().any(|r| r.group == group)
}

/// Whether anything is served in the group and version.
pub fn has_group_version(group: &str, version: &str) -> bool {
    ALL.iter().any(|r| r.group == group && r.version == version)
}

/// Groups and versions in the order of discovery, the core group first.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for row in ALL {
        if !found.contains(&(row.group, row.version)) {
            found.push((row.group, row.version));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_names_and_no_two_collide() {
        for row in ALL {
            assert_eq!(by_plural(row.group, row.version, row.plural), Some(row));
            assert_eq!(by_kind(row.group, row.version, row.kind), Some(row));
            assert_eq!(by_api_version(&row.api_version(), row.kind), Some(row));
            assert_eq!(row.singular, row.kind.to_lowercase());
            assert!(row.verbs.is_sorted(), "{}", row.plural);
        }
        assert_eq!(by_plural("apps", "v1", "pods"), None);
    }

    #[test]
    fn both_event_kinds_share_their_storage() {
        let core = by_plural("", "v1", "events").map(|r| r.storage);
        assert_eq!(core, by_plural("events.k8s.io", "v1", "events").map(|r| r.storage));
    }

    #[test]
    fn eviction_has_a_kind_of_another_group() {
        let pods = by_plural("", "v1", "pods").unwrap();
        assert_eq!(pods.subresource("eviction").unwrap().group_version, Some(("policy", "v1")));
        assert!(pods.subresource("scale").is_none(), "what is not served is not listed");
    }
}
