use super::*;
use crate::authorize::Authorizer;
use crate::authorize::asked;
use crate::identity::{self, Identity};
use crate::route::Attributes;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Default)]
struct Objects(RwLock<BTreeMap<(String, String, String), Value>>);

impl Lookup for Objects {
    fn object(&self, collection: &str, namespace: &str, name: &str) -> Option<Bytes> {
        let objects = self.0.read();
        objects
            .get(&(collection.to_owned(), namespace.to_owned(), name.to_owned()))
            .map(|o| Bytes::from(o.to_string()))
    }

    fn node_of_pod(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn pods_of_node(&self, _: &str) -> Vec<(Arc<str>, Bytes)> {
        Vec::new()
    }
}

fn apply(objects: &Objects, writes: Vec<Write>) {
    for write in writes {
        let (Write::Create { path, object } | Write::Replace { path, object }) = write;
        let mut words: Vec<&str> = path.split('/').skip(4).collect();
        let namespace = if words[0] == "namespaces" { words[1] } else { "" };
        if !namespace.is_empty() {
            words.drain(..2);
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (format!("{GROUP}/{}", words[0]), namespace.to_owned(), name);
        objects.0.write().insert(key, object);
    }
}

fn applied() -> (Arc<Objects>, Authorizer) {
    let objects = Arc::new(Objects::default());
    apply(&objects, plan(objects.as_ref()));
    let authorizer = Authorizer::new(Arc::<Objects>::clone(&objects) as Arc<dyn Lookup>);
    for ((collection, namespace, name), object) in objects.0.read().iter() {
        authorizer.observe(collection, namespace, name, Some(object.to_string().as_bytes()));
    }
    (objects, authorizer)
}

#[test]
fn every_rule_and_subject_can_be_read_and_every_name_stands_once() {
    let mut names = std::collections::BTreeSet::new();
    for row in rows() {
        assert!(names.insert((row.namespace, row.name)), "{} twice", row.name);
        for text in row.rules {
            assert!(rule(text).is_some(), "{}: {text}", row.name);
        }
        for subject in row.bound_to {
            let kind = subject.split(':').next().unwrap();
            assert!(["group", "user", "sa"].contains(&kind), "{}: {subject}", row.name);
        }
        if let Some(whole) = row.part_of {
            assert!(rows().any(|other| other.name == whole && other.gathers), "{whole}");
        }
    }
}

#[test]
fn no_binding_names_the_group_of_nodes() {
    for row in rows() {
        assert!(!row.bound_to.contains(&"group:system:nodes"), "{}", row.name);
    }
}

#[test]
fn each_identity_may_do_its_work_and_not_another_ones() {
    let (_, authorizer) = applied();
    let scheduler = Identity::new("system:kube-scheduler", &[]);
    let daemons = Identity::controller("daemon-set-controller");
    let joining = Identity::new("system:bootstrap:abcdef", &[identity::BOOTSTRAPPERS]);
    let alice = Identity::new("alice", &[]);
    let table = [
        (&scheduler, "create - pods/binding n x", true),
        (&scheduler, "create - pods n", false),
        (&scheduler, "create - events n", true),
        (&scheduler, "get - secrets n s", false),
        (&daemons, "create - pods n", true),
        (&daemons, "update apps daemonsets/status n x", true),
        (&daemons, "update apps daemonsets n x", false),
        (&daemons, "create apps controllerrevisions n", true),
        (&daemons, "delete - nodes - x", false),
        (&joining, "create certificates.k8s.io certificatesigningrequests", true),
        (&joining, "create certificates.k8s.io certificatesigningrequests/nodeclient", true),
        (&joining, "create certificates.k8s.io certificatesigningrequests/selfnodeclient", false),
        (&joining, "get - nodes - x", false),
        (&alice, "create authorization.k8s.io selfsubjectaccessreviews", true),
        (&alice, "get - pods n x", false),
        (
            &Identity::controller("namespace-controller"),
            "deletecollection x.example.com things n",
            true,
        ),
        (&Identity::controller("node-controller"), "patch - nodes - x", true),
        (
            &Identity::controller("certificate-controller"),
            "sign certificates.k8s.io signers - kubernetes.io/kube-apiserver-client-kubelet",
            true,
        ),
        (
            &Identity::controller("certificate-controller"),
            "approve certificates.k8s.io signers - kubernetes.io/kube-apiserver-client",
            false,
        ),
    ];
    for (identity, text, allowed) in table {
        let found = authorizer.decide(identity, &asked(text)).is_allowed();
        assert_eq!(found, allowed, "{}: {text}", identity.user);
    }
}

#[test]
fn health_is_open_to_everybody_and_discovery_to_those_who_are_known() {
    let (_, authorizer) = applied();
    let path =
        |path: &str| Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
    let table = [
        ("/livez", true, true),
        ("/version", true, true),
        ("/api", false, true),
        ("/apis/apps", false, true),
        ("/metrics", false, false),
    ];
    for (text, anonymous, known) in table {
        let decide = |identity| authorizer.decide(&identity, &path(text)).is_allowed();
        assert_eq!(
            (decide(Identity::anonymous()), decide(Identity::new("a", &[]))),
            (anonymous, known),
            "{text}"
        );
    }
}

#[test]
fn a_second_start_writes_nothing_and_a_mended_row_keeps_what_was_added() {
    let (objects, _) = applied();
    assert_eq!(plan(objects.as_ref()), []);
    let key = (format!("{GROUP}/clusterroles"), String::new(), "system:basic-user".to_owned());
    let added = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    objects.0.write().get_mut(&key).unwrap()["rules"] = json!([added]);
    let writes = plan(objects.as_ref());
    assert_eq!(writes.len(), 1, "{writes:?}");
    apply(&objects, writes);
    assert_eq!(objects.0.read()[&key]["rules"].as_array().unwrap().len(), 3);
    assert_eq!(objects.0.read()[&key]["rules"][0], added);

    objects.0.write().get_mut(&key).unwrap()["rules"] = json!([]);
    objects.0.write().get_mut(&key).unwrap()["metadata"]["annotations"][AUTOUPDATE] =
        json!("false");
    assert_eq!(plan(objects.as_ref()), [], "told to leave it alone");
    objects.0.write().remove(&key);
    assert_eq!(plan(objects.as_ref()).len(), 1, "deleted, so made again");
}

#[test]
fn view_edit_and_admin_grant_nothing_before_their_parts_are_gathered() {
    let (objects, authorizer) = applied();
    let bind = |role: &str| {
        let binding = json!({
            "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": "alice"}],
        });
        let bytes = binding.to_string();
        authorizer.observe(&format!("{GROUP}/rolebindings"), "n", "b", Some(bytes.as_bytes()));
    };
    let alice = Identity::new("alice", &[]);
    for (role, text, allowed) in [
        ("edit", "create apps daemonsets n", false),
        ("system:aggregate-to-edit", "create apps daemonsets n", true),
        ("system:aggregate-to-edit", "create rbac.authorization.k8s.io roles n", false),
        ("system:aggregate-to-edit", "create apps daemonsets m", false),
        ("system:aggregate-to-view", "list apps daemonsets n", true),
    ] {
        bind(role);
        assert_eq!(authorizer.decide(&alice, &asked(text)).is_allowed(), allowed, "{role} {text}");
    }
    drop(objects);
}
