//! Objects as last seen, shared by all parts of a process.

use crate::Setup;
use crate::informer;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DynamicObject, PartialObjectMeta, Resource};
use kube::discovery::ApiResource;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

mod held;

pub(crate) use held::Progress;
pub use held::{CHANGES_BEHIND_MAX, Cache, Changes, revision_of};

/// What a cache can hold.
pub trait Object: Resource + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {}
impl<K: Resource + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static> Object for K {}

/// Namespace and name; the namespace is empty for cluster-wide objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Which objects of a kind a cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// A field selector, as in `spec.nodeName=a`.
    pub fields: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
}

/// A way to find objects by a value that they carry.
#[derive(Debug)]
pub struct Index<K> {
    /// Its name, unique per kind.
    pub name: &'static str,
    /// The values under which an object is found.
    pub of: fn(&K) -> Vec<String>,
}

impl<K: Resource> Index<K> {
    /// By the uid of the controlling owner.
    pub const CONTROLLER: Self = Self { name: "controller", of: controller_uid::<K> };
    /// By the uid of every owner.
    pub const OWNERS: Self = Self { name: "owners", of: owner_uids::<K> };
    /// By uid.
    pub const UID: Self =
        Self { name: "uid", of: |object| object.meta().uid.iter().cloned().collect() };
}

impl Index<Pod> {
    /// By the node a pod is bound to.
    pub const NODE: Self = Self { name: "node", of: |pod| bound_node(pod).into_iter().collect() };
    /// By the node a pod is bound to or, while unbound, pinned to by name (spec B26).
    pub const TARGET: Self = Self {
        name: "target",
        of: |pod| bound_node(pod).or_else(|| pinned_node(pod)).into_iter().collect(),
    };
}

fn controller_uid<K: Resource>(object: &K) -> Vec<String> {
    let owners = object.meta().owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).collect()
}

fn owner_uids<K: Resource>(object: &K) -> Vec<String> {
    object.meta().owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
}

fn bound_node(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone().filter(|name| !name.is_empty())
}

/// The node that a pod's required affinity pins by `matchFields: metadata.name`, if every term pins the same one.
pub fn pinned_node(pod: &Pod) -> Option<String> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut pinned: Option<&String> = None;
    for term in &terms.node_selector_terms {
        let one = term.match_fields.iter().flatten().find(|field| {
            field.key == "metadata.name"
                && field.operator == "In"
                && field.values.as_ref().is_some_and(|values| values.len() == 1)
        })?;
        let value = one.values.as_ref()?.first()?;
        if pinned.is_some_and(|other| other != value) {
            return None;
        }
        pinned = Some(value);
    }
    pinned.cloned()
}

/// What happened to an object. An event says when to look, never what is true: read the cache.
#[derive(Debug)]
pub enum Change<K> {
    /// Added or changed.
    Applied {
        /// As it was, unless it is new.
        old: Option<Arc<K>>,
        /// As it is.
        new: Arc<K>,
    },
    /// Gone; as it was last.
    Deleted(Arc<K>),
    /// Look at everything: the first list is there, the reader fell behind, or too much changed at once.
    Resync,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied { old, new } => Self::Applied { old: old.clone(), new: Arc::clone(new) },
            Self::Deleted(old) => Self::Deleted(Arc::clone(old)),
            Self::Resync => Self::Resync,
        }
    }
}

/// The caches of a process: one list and watch for each kind and scope.
#[derive(Clone)]
pub struct Caches {
    client: kube::Client,
    setup: Setup,
    keeps_managers: bool,
    map: Arc<Mutex<BTreeMap<String, Held>>>,
}

struct Held {
    cache: Box<dyn Any + Send + Sync>,
    progress: watch::Receiver<Progress>,
}

impl Caches {
    /// No cache yet; each starts when it is first asked for. The client's user needs `list` and `watch`.
    ///
    /// `metadata.managedFields` is left out of what is held, as it takes more room than all the rest of an object.
    pub fn new(client: kube::Client, setup: &Setup) -> Self {
        Self { client, setup: setup.clone(), keeps_managers: false, map: Arc::default() }
    }

    /// Holds `metadata.managedFields`, too, for who has to know who wrote what. To be said before a cache is asked for.
    #[must_use]
    pub fn with_managers(self) -> Self {
        Self { keeps_managers: true, ..self }
    }

    /// The client that fills the caches, for a look past them; it may list and watch, and nothing else is promised.
    pub fn reader(&self) -> kube::Client {
        self.client.clone()
    }

    /// All objects of a typed kind.
    pub fn of<K: Object<DynamicType = ()>>(&self) -> Cache<K> {
        self.scoped(&(), Scope::default())
    }

    /// Some objects of a typed kind; each scope has its own watch.
    pub fn some<K: Object<DynamicType = ()>>(&self, scope: Scope) -> Cache<K> {
        self.scoped(&(), scope)
    }

    /// All objects of a kind, as JSON.
    pub fn json(&self, resource: &ApiResource) -> Cache<DynamicObject> {
        self.scoped(resource, Scope::default())
    }

    /// The metadata of all objects of a kind.
    pub fn metadata(&self, resource: &ApiResource) -> Cache<PartialObjectMeta<DynamicObject>> {
        self.scoped(resource, Scope::default())
    }

    /// The general form.
    pub fn scoped<K: Object>(&self, resource: &K::DynamicType, scope: Scope) -> Cache<K> {
        let path = K::url_path(resource, scope.namespace.as_deref());
        let id = format!("{} {path} {scope:?}", std::any::type_name::<K>());
        let mut map = self.map.lock();
        if let Some(cache) = map.get(&id).and_then(|held| held.cache.downcast_ref::<Cache<K>>()) {
            return cache.clone();
        }
        let name = path.trim_start_matches("/apis/").trim_start_matches("/api/").to_owned();
        let cache = Cache::<K>::new(&name, &self.setup);
        let source = informer::Source {
            client: self.client.clone(),
            request: kube::core::Request::new(path),
            scope,
            metadata_only: K::metadata_api(),
            keeps_managers: self.keeps_managers,
            salt: self.setup.salt,
        };
        self.setup.tasks.spawn(format!("cache {name}"), informer::run(source, cache.clone()));
        let progress = cache.progress();
        map.insert(id, Held { cache: Box::new(cache.clone()), progress });
        cache
    }

    /// Waits until every cache asked for so far holds its first list.
    pub async fn synced(&self) {
        let waits: Vec<_> = self.map.lock().values().map(|held| held.progress.clone()).collect();
        for mut wait in waits {
            // an error means that the cache ended, and with it the process
            let _ended = wait.wait_for(|progress| progress.synced).await;
        }
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches").field("kinds", &self.map.lock().len()).finish_non_exhaustive()
    }
}
