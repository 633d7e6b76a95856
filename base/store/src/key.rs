//! Where a row lives: three names, ordered as their path text is ordered.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The address of a row: `<collection>/<namespace>/<name>`.
///
/// The order is that of the path text, so that lists come out as etcd gives them: namespace `a-b` sorts
/// before `a`, since `-` sorts before `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `group/storage-name`, for instance `apps/daemonsets`, `/pods` (core: empty group).
    pub collection: Arc<str>,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// A key of its three names.
    pub fn new(
        collection: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self { collection: collection.into(), namespace: namespace.into(), name: name.into() }
    }

    /// As kept in a log: `<collection>/<namespace>/<name>`, the namespace possibly empty.
    pub fn to_text(&self) -> String {
        format!("{}/{}/{}", self.collection, self.namespace, self.name)
    }

    /// The reverse of [`Key::to_text`]; `None` when there are fewer than three parts.
    pub fn from_text(text: &str) -> Option<Self> {
        let (rest, name) = text.rsplit_once('/')?;
        let (collection, namespace) = rest.rsplit_once('/')?;
        Some(Self::new(collection, namespace, name))
    }

    /// Whether the key survives its text form: a name, and no slash in name or namespace.
    pub fn is_sound(&self) -> bool {
        !self.name.is_empty()
            && !self.collection.is_empty()
            && !self.name.contains('/')
            && !self.namespace.contains('/')
    }

    /// The order within a collection.
    pub(crate) fn cmp_within(&self, other: &Self) -> Ordering {
        if self.namespace == other.namespace {
            return self.name.cmp(&other.name);
        }
        let ours = self.namespace.bytes().chain(*b"/").chain(self.name.bytes());
        let theirs = other.namespace.bytes().chain(*b"/").chain(other.name.bytes());
        ours.cmp(theirs)
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.collection.cmp(&other.collection).then_with(|| self.cmp_within(other))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The path as people know it: `/registry/pods/default/web`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.collection.starts_with('/') { "" } else { "/" };
        write!(f, "/registry{gap}{}", self.collection)?;
        if !self.namespace.is_empty() {
            write!(f, "/{}", self.namespace)?;
        }
        write!(f, "/{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn text_form_survives_for_core_and_cluster_scoped_kinds() {
        for key in [
            Key::new("/pods", "default", "web"),
            Key::new("/nodes", "", "edge-1"),
            Key::new("apps/daemonsets", "kube-system", "agent"),
        ] {
            assert_eq!(Key::from_text(&key.to_text()), Some(key));
        }
        assert_eq!(Key::from_text("pods"), None);
    }

    #[test]
    fn order_is_that_of_the_path_text() {
        let mut keys = [
            Key::new("/pods", "a", "x"),
            Key::new("/pods", "a-b", "x"),
            Key::new("/pods", "a", "b"),
            Key::new("/pods", "b", "a"),
        ];
        keys.sort();
        let shown: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let mut sorted = shown.clone();
        sorted.sort();
        assert_eq!(shown, sorted);
        assert_eq!(shown[0], "/registry/pods/a-b/x");
    }
}
