//! Caches → World, and which change concerns which set.

use crate::marks::Marks;
use k8s_openapi::api::core::v1::{Node, Pod};
use kit::{Cache, Caches, Change, Index, Key, Queue};
use kube::core::{DynamicObject, Resource};
use kube::discovery::ApiResource;
use rollout::plan::place::Down;
use rollout::{Board, Compat, Failures, Problem, Revision, Set, Site, World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Pods by namespace, controller and node, so that one node of one set is found at once.
const SITE: Index<Pod> = Index { name: "daemonset-site", of: |pod| vec![site_of(pod)] };
/// Pods without a controller, by namespace.
const ORPHAN_PODS: Index<Pod> = Index { name: "daemonset-orphans", of: orphan::<Pod> };
/// Revisions without a controller, by namespace.
const ORPHAN_REVISIONS: Index<DynamicObject> =
    Index { name: "daemonset-orphans", of: orphan::<DynamicObject> };

/// DaemonSets, as JSON: templates keep fields that this build does not know.
pub(crate) fn daemon_sets() -> ApiResource {
    resource("DaemonSet", "daemonsets")
}

/// ControllerRevisions, as JSON.
pub(crate) fn controller_revisions() -> ApiResource {
    resource("ControllerRevision", "controllerrevisions")
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "apps".into(),
        version: "v1".into(),
        api_version: rollout::words::API_VERSION.into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

/// What the engine sees.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) sets: Cache<DynamicObject>,
    pub(crate) revisions: Cache<DynamicObject>,
    pub(crate) pods: Cache<Pod>,
    nodes: Cache<Node>,
    compat: Compat,
}

impl Sight {
    /// Asks for the caches; they fill on their own.
    pub(crate) fn new(caches: &Caches, compat: Compat) -> Self {
        let sight = Self {
            sets: caches.json(&daemon_sets()),
            revisions: caches.json(&controller_revisions()),
            pods: caches.of(),
            nodes: caches.of(),
            compat,
        };
        sight.pods.index(&SITE);
        sight.pods.index(&ORPHAN_PODS);
        sight.revisions.index(&ORPHAN_REVISIONS);
        sight
    }

    /// Waits until all caches hold their first list.
    pub(crate) async fn synced(&self) {
        self.sets.synced().await;
        self.revisions.synced().await;
        self.pods.synced().await;
        self.nodes.synced().await;
    }

    /// Reads a set; where upstream's behaviour is wanted of all, of this one too.
    pub(crate) fn read(&self, object: &DynamicObject) -> Result<Set, Problem> {
        let mut set = Set::read(&json(object))?;
        if self.compat == Compat::Upstream {
            set.compat = Compat::Upstream;
        }
        Ok(set)
    }

    /// Whether upstream would look at the set because of a change of the node: no pod where one should run, one where
    /// none may stay, or one though some are misscheduled. (Spec B39; what it overlooks waits for another reason.)
    fn would_wake_upstream(&self, set: &Set, node: &Node) -> bool {
        let site = site_key(&set.namespace, &set.uid, fit::place::name_of(node));
        let is_bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        let has_bound = self.pods.by(&SITE, &site).iter().any(|pod| is_bound(pod));
        is_upstreams_concern(set, node, has_bound)
    }

    /// The revisions that the set controls or that nobody controls.
    pub(crate) fn revisions_of(&self, set: &Set) -> BTreeMap<String, Revision> {
        let mine = self.revisions.by(&Index::CONTROLLER, &set.uid);
        let orphans = self.revisions.by(&ORPHAN_REVISIONS, &set.namespace);
        let here = mine
            .iter()
            .chain(&orphans)
            .filter(|object| object.metadata.namespace.as_deref() == Some(set.namespace.as_str()));
        here.map(|object| Revision::read(&json(object)))
            .map(|revision| (revision.name.clone(), revision))
            .collect()
    }

    /// Everything that concerns a set.
    pub(crate) fn world(&self, set: &Set, failures: &Failures) -> World {
        let nodes = self.nodes.list().into_iter();
        let mine = self.pods.by(&Index::CONTROLLER, &set.uid);
        let orphans = self.pods.by(&ORPHAN_PODS, &set.namespace);
        let pods = mine.iter().chain(&orphans).map(|pod| rollout::Pod::read(pod));
        World {
            set: set.clone(),
            nodes: nodes.map(|node| (fit::place::name_of(&node).to_owned(), node)).collect(),
            pods: pods.map(|pod| (pod.name.clone(), pod)).collect(),
            revisions: self.revisions_of(set),
            failures: failures.clone(),
        }
    }

    /// Asks again for these nodes.
    pub(crate) fn refresh(
        &self,
        board: &mut Board,
        set: &Set,
        names: &BTreeSet<String>,
        failures: &Failures,
        now: jiff::Timestamp,
    ) {
        for name in names {
            let node = self.nodes.find("", name);
            let find =
                |controller: &str| self.pods.by(&SITE, &site_key(&set.namespace, controller, name));
            let pods: Vec<rollout::Pod> =
                find(&set.uid).iter().chain(&find("")).map(|pod| rollout::Pod::read(pod)).collect();
            let site = Site { name, node: node.as_deref(), pods: pods.iter().collect() };
            board.put(&site, failures.get(set.status.observed_generation, name), now);
        }
    }
}

/// An object with its kind as plain JSON.
pub(crate) fn json(object: &DynamicObject) -> Value {
    // Serialising what was deserialised from JSON cannot fail; if it did, an empty set would be unreadable
    // and nothing would be done.
    serde_json::to_value(object).unwrap_or_default()
}

fn site_key(namespace: &str, controller: &str, node: &str) -> String {
    format!("{namespace}/{controller}/{node}")
}

fn site_of(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    site_key(namespace, &controller(pod).unwrap_or_default(), &target(pod))
}

/// The node a pod is on or aimed at, else empty.
fn target(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(fit::place::target_node).unwrap_or_default().to_owned()
}

fn controller<K: Resource>(object: &K) -> Option<String> {
    let owners = object.meta().owner_references.as_deref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

fn orphan<K: Resource>(object: &K) -> Vec<String> {
    match controller(object) {
        Some(_) => Vec::new(),
        None => object.meta().namespace.iter().cloned().collect(),
    }
}

/// The sets that are there, as far as it takes to tell whom a change concerns.
#[derive(Debug, Default)]
struct Known {
    sets: BTreeMap<Key, Set>,
    by_uid: BTreeMap<String, Key>,
}

impl Known {
    fn put(&mut self, key: &Key, set: Option<Set>) {
        if let Some(before) = self.sets.remove(key) {
            self.by_uid.remove(&before.uid);
        }
        if let Some(set) = set {
            self.by_uid.insert(set.uid.clone(), key.clone());
            self.sets.insert(key.clone(), set);
        }
    }

    /// The sets that an object in a namespace concerns: the one that controls it, else all that select it.
    fn concerned<K: Resource>(&self, object: &K) -> Vec<Key> {
        if let Some(uid) = controller(object) {
            return self.by_uid.get(&uid).cloned().into_iter().collect();
        }
        let (meta, none) = (object.meta(), BTreeMap::new());
        let labels = meta.labels.as_ref().unwrap_or(&none);
        let of_namespace = self
            .sets
            .iter()
            .filter(|(key, _)| meta.namespace.as_deref() == Some(key.namespace.as_str()));
        of_namespace.filter(|(_, set)| set.selects(labels)).map(|(key, _)| key.clone()).collect()
    }
}

/// Turns changes into marks and keys to work on, for ever.
pub(crate) async fn watch(sight: Sight, queue: Queue<Key>, marks: Marks) {
    let mut watcher = Watcher { known: Known::default(), sight, queue, marks };
    let mut sets = watcher.sight.sets.subscribe();
    let mut revisions = watcher.sight.revisions.subscribe();
    let mut pods = watcher.sight.pods.subscribe();
    let mut nodes = watcher.sight.nodes.subscribe();
    watcher.sight.synced().await;
    loop {
        tokio::select! {
            biased;
            change = sets.next() => watcher.set(change),
            change = revisions.next() => watcher.revision(change),
            change = pods.next() => watcher.pod(change),
            change = nodes.next() => watcher.node(change),
        }
        if watcher.queue.take_overflow() {
            watcher.everything();
        }
    }
}

struct Watcher {
    known: Known,
    sight: Sight,
    queue: Queue<Key>,
    marks: Marks,
}

impl Watcher {
    fn everything(&mut self) {
        for key in self.known.sets.keys() {
            self.marks.all(key);
            self.queue.add(key.clone());
        }
    }

    fn set(&mut self, change: Change<DynamicObject>) {
        match change {
            Change::Resync => {
                let gone: BTreeSet<Key> = self.known.sets.keys().cloned().collect();
                for object in self.sight.sets.list() {
                    self.known.put(&Key::of(object.as_ref()), self.sight.read(&object).ok());
                }
                for key in gone.iter().filter(|key| self.sight.sets.get(key).is_none()) {
                    self.known.put(key, None);
                    self.queue.add(key.clone());
                }
                // also those that cannot be read: the pass says what is wrong with them
                for object in self.sight.sets.list() {
                    let key = Key::of(object.as_ref());
                    self.marks.all(&key);
                    self.queue.add(key);
                }
            }
            Change::Applied { old, new } => {
                let key = Key::of(new.as_ref());
                let is_same = old.is_some_and(|old| old.metadata.uid == new.metadata.uid);
                self.known.put(&key, self.sight.read(&new).ok());
                if !is_same {
                    self.marks.all(&key);
                }
                self.queue.add(key);
            }
            Change::Deleted(old) => {
                let key = Key::of(old.as_ref());
                self.known.put(&key, None);
                self.queue.add(key);
            }
        }
    }

    fn revision(&mut self, change: Change<DynamicObject>) {
        if matches!(change, Change::Resync) {
            return self.everything();
        }
        for object in news(&change) {
            for key in self.known.concerned(object) {
                self.queue.add(key);
            }
        }
    }

    fn pod(&mut self, change: Change<Pod>) {
        let objects = match change {
            Change::Resync => return self.everything(),
            Change::Applied { old, new } => vec![Some(new), old],
            Change::Deleted(old) => vec![Some(old)],
        };
        for object in objects.into_iter().flatten() {
            for key in self.known.concerned(object.as_ref()) {
                self.marks.node(&key, &target(&object));
                self.queue.add(key);
            }
        }
    }

    fn node(&mut self, change: Change<Node>) {
        let (node, wakes_upstream) = match change {
            Change::Resync => return self.everything(),
            Change::Applied { old: Some(old), new } if !is_relevant(&old, &new) => {
                // a node that falls silent has no part in a rollout until it returns (spec B94)
                if Down::of(&old) == Down::of(&new) {
                    return;
                }
                (new, false)
            }
            Change::Applied { new, .. } => (new, true),
            Change::Deleted(old) => (old, false),
        };
        let name = fit::place::name_of(&node);
        for (key, set) in &self.known.sets {
            self.marks.node(key, name);
            if set.is_ours() || wakes_upstream && self.sight.would_wake_upstream(set, &node) {
                self.queue.add(key.clone());
            }
        }
    }
}

/// The revisions, as they were or are, whose sets a change of a revision wakes. As upstream, one that appears with its
/// owner wakes nobody: who makes a second revision of the same template by hand finds both until the set is looked at
/// for another reason (spec B38, F11). Orphans matter when somebody may adopt them.
fn news(change: &Change<DynamicObject>) -> Vec<&DynamicObject> {
    match change {
        Change::Resync => Vec::new(),
        Change::Applied { old: None, new } => {
            controller(new.as_ref()).is_none().then(|| new.as_ref()).into_iter().collect()
        }
        Change::Applied { old: Some(old), new } => {
            let is_orphan = controller(new.as_ref()).is_none();
            let is_same = controller(old.as_ref()) == controller(new.as_ref())
                && old.metadata.labels == new.metadata.labels;
            if is_orphan && is_same { Vec::new() } else { vec![new.as_ref(), old.as_ref()] }
        }
        Change::Deleted(old) => {
            controller(old.as_ref()).is_some().then(|| old.as_ref()).into_iter().collect()
        }
    }
}

/// Whether upstream looks at a set because of a node with, or without, a bound pod of it (spec B39).
fn is_upstreams_concern(set: &Set, node: &Node, has_bound: bool) -> bool {
    let verdict = fit::judge(&set.placement.wish(), node);
    if has_bound {
        !verdict.should_continue() || set.status.number_misscheduled > 0
    } else {
        verdict.should_run()
    }
}

/// Whether placement could have changed: labels or taints did. Heartbeats and conditions do not matter
/// (spec B5, B38).
fn is_relevant(old: &Node, new: &Node) -> bool {
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    old.metadata.uid != new.metadata.uid
        || old.metadata.labels != new.metadata.labels
        || taints(old) != taints(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).expect("a pod")
    }

    fn known() -> Known {
        let mut known = Known::default();
        for (name, uid, app) in [("a", "1", "x"), ("b", "2", "y")] {
            let set = json!({
                "metadata": {"namespace": "n", "name": name, "uid": uid},
                "spec": {"selector": {"matchLabels": {"app": app}}},
            });
            known.put(&Key::new("n", name), Set::read(&set).ok());
        }
        known
    }

    #[test]
    fn a_controlled_pod_concerns_its_controller_alone() {
        let owned = pod(json!({"metadata": {
            "namespace": "n", "name": "p", "labels": {"app": "y"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "a", "uid": "1",
                                 "controller": true}],
        }}));
        assert_eq!(known().concerned(&owned), [Key::new("n", "a")]);
    }

    #[test]
    fn an_orphan_concerns_those_that_select_it_in_its_namespace() {
        let orphan = |namespace: &str| {
            pod(json!({"metadata": {"namespace": namespace, "name": "p", "labels": {"app": "y"}}}))
        };
        assert_eq!(known().concerned(&orphan("n")), [Key::new("n", "b")]);
        assert_eq!(known().concerned(&orphan("m")), Vec::<Key>::new());
    }

    #[test]
    fn a_set_that_is_gone_is_concerned_by_nothing() {
        let mut known = known();
        known.put(&Key::new("n", "b"), None);
        assert_eq!(known.by_uid.len(), 1);
        assert_eq!(known.sets.len(), 1);
    }

    #[test]
    fn a_revision_that_appears_with_its_owner_wakes_nobody_and_its_end_does() {
        let revision = |owner: Option<&str>, labels: Value| {
            let owners = owner.map(|uid| {
                json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "a", "uid": uid,
                                                 "controller": true}])
            });
            let object = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {
                "namespace": "n", "name": "r", "labels": labels, "ownerReferences": owners}});
            std::sync::Arc::new(
                serde_json::from_value::<DynamicObject>(object).expect("a revision"),
            )
        };
        let (app, other) = (json!({"app": "x"}), json!({"app": "y"}));
        let (owned, orphan) = (revision(Some("1"), app.clone()), revision(None, app.clone()));
        let count = |old: Option<&std::sync::Arc<DynamicObject>>,
                     new: &std::sync::Arc<DynamicObject>| {
            news(&Change::Applied { old: old.cloned(), new: std::sync::Arc::clone(new) }).len()
        };
        assert_eq!(count(None, &owned), 0);
        assert_eq!(count(None, &orphan), 1);
        assert_eq!(count(Some(&owned), &owned), 2);
        assert_eq!(count(Some(&orphan), &orphan), 0);
        assert_eq!(count(Some(&orphan), &revision(None, other)), 2);
        assert_eq!(count(Some(&owned), &orphan), 2);
        assert_eq!(news(&Change::Deleted(owned)).len(), 1);
        assert_eq!(news(&Change::Deleted(orphan)).len(), 0);
    }

    #[test]
    fn heartbeats_of_a_node_wake_nobody() {
        let node = |value: Value| -> Node { serde_json::from_value(value).expect("a node") };
        let plain = node(json!({"metadata": {"name": "a"}}));
        let beat = node(json!({"metadata": {"name": "a", "resourceVersion": "2"},
                               "status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
        let labelled = node(json!({"metadata": {"name": "a", "labels": {"x": "y"}}}));
        let tainted = node(json!({"metadata": {"name": "a"},
                                  "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}));
        assert!(!is_relevant(&plain, &beat));
        assert!(is_relevant(&plain, &labelled));
        assert!(is_relevant(&plain, &tainted));
    }

    #[test]
    fn would_wake_upstream() {
        let set = |misscheduled: i64| {
            Set::read(&json!({
                "metadata": {"namespace": "n", "name": "a", "uid": "1"},
                "spec": {"selector": {"matchLabels": {"app": "x"}}},
                "status": {"numberMisscheduled": misscheduled},
            }))
            .expect("a set")
        };
        let node = |effect: &str| -> Node {
            let taints = json!([{"key": "k", "effect": effect}]);
            let node = json!({"metadata": {"name": "a"}, "spec": {"taints": taints}});
            serde_json::from_value(node).expect("a node")
        };
        // effect of a taint, whether a pod is bound there, how many are misscheduled
        for (effect, has_bound, misscheduled, wakes) in [
            ("PreferNoSchedule", false, 0, true),
            ("PreferNoSchedule", true, 0, false),
            ("PreferNoSchedule", true, 1, true),
            ("NoSchedule", false, 1, false),
            ("NoSchedule", true, 0, false),
            ("NoExecute", true, 0, true),
            ("NoExecute", false, 0, false),
        ] {
            let answer = is_upstreams_concern(&set(misscheduled), &node(effect), has_bound);
            assert_eq!(answer, wakes, "{effect}, {has_bound}, {misscheduled}");
        }
    }
}
