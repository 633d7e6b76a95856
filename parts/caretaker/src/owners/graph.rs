//! Who owns whom, over the metadata of every kind that can be listed, watched and deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kit::{Cache, Index, Key};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object as far as owners go.
pub(crate) type Meta = PartialObjectMeta<DynamicObject>;

/// A kind that is looked after.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) cache: Cache<Meta>,
}

/// An object: its kind (as in [`id_of`]), namespace and name, uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) kind: String,
    pub(crate) key: Key,
    pub(crate) uid: String,
}

/// All kinds, by [`id_of`].
#[derive(Debug, Default)]
pub(crate) struct Graph {
    kinds: RwLock<BTreeMap<String, Kind>>,
}

/// `apps/DaemonSet`: versions of a kind show the same objects.
pub(crate) fn id_of(group: &str, kind: &str) -> String {
    format!("{group}/{kind}")
}

/// The same from an owner reference.
pub(crate) fn id_of_owner(owner: &OwnerReference) -> String {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    id_of(group, &owner.kind)
}

pub(crate) fn item_of(kind: &str, meta: &ObjectMeta) -> Item {
    Item {
        kind: kind.to_owned(),
        key: Key::new(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        ),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

impl Graph {
    /// Whether the kind is looked after in just this way: by version, name in paths and scope.
    pub(crate) fn knows(&self, id: &str, resource: &ApiResource, namespaced: bool) -> bool {
        self.kinds
            .read()
            .get(id)
            .is_some_and(|kind| kind.resource == *resource && kind.namespaced == namespaced)
    }

    /// Takes a kind in, in the place of what was known of it.
    pub(crate) fn add(&self, id: String, kind: Kind) {
        kind.cache.index(&Index::OWNERS);
        kind.cache.index(&Index::UID);
        self.kinds.write().insert(id, kind);
    }

    pub(crate) fn kind(&self, id: &str) -> Option<Kind> {
        self.kinds.read().get(id).cloned()
    }

    /// All kinds, in order.
    pub(crate) fn kinds(&self) -> Vec<(String, Kind)> {
        self.kinds.read().iter().map(|(id, kind)| (id.clone(), kind.clone())).collect()
    }

    /// The object, if it still is the one with this uid.
    pub(crate) fn find(&self, item: &Item) -> Option<Arc<Meta>> {
        let found = self.kind(&item.kind)?.cache.get(&item.key)?;
        (found.metadata.uid.as_deref() == Some(&item.uid)).then_some(found)
    }

    /// The object with a uid.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<(Item, Arc<Meta>)> {
        self.kinds.read().iter().find_map(|(id, kind)| {
            let found = kind.cache.by(&Index::UID, uid).into_iter().next()?;
            Some((item_of(id, &found.metadata), found))
        })
    }

    /// Objects that name `owner` as their owner, where they may (spec B132): in its namespace, or anywhere if it has none.
    pub(crate) fn dependents(&self, owner: &Item) -> Vec<(Item, Arc<Meta>)> {
        let reaches = |meta: &Meta| {
            owner.key.namespace.is_empty()
                || meta.metadata.namespace.as_deref() == Some(&owner.key.namespace)
        };
        let mut all = Vec::new();
        for (id, kind) in self.kinds.read().iter() {
            let found = kind.cache.by(&Index::OWNERS, &owner.uid);
            all.extend(
                found
                    .into_iter()
                    .filter(|meta| reaches(meta))
                    .map(|meta| (item_of(id, &meta.metadata), meta)),
            );
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::GroupVersionKind;

    #[test]
    fn a_kind_that_is_served_in_another_way_is_taken_in_anew() {
        let resource = |version| {
            ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", version, "Widget"))
        };
        let graph = Graph::default();
        let id = id_of("example.com", "Widget");
        assert!(!graph.knows(&id, &resource("v1alpha1"), true));
        let setup = kit::Setup::new(kit::Clock::system(), 0);
        let kind = |version| Kind {
            resource: resource(version),
            namespaced: true,
            cache: Cache::fixed(&setup, []),
        };
        graph.add(id.clone(), kind("v1alpha1"));
        assert!(graph.knows(&id, &resource("v1alpha1"), true));
        assert!(!graph.knows(&id, &resource("v1alpha1"), false), "its scope has changed");
        assert!(!graph.knows(&id, &resource("v1"), true), "its version has changed");
        graph.add(id.clone(), kind("v1"));
        assert!(graph.knows(&id, &resource("v1"), true) && graph.kinds().len() == 1);
    }
}
