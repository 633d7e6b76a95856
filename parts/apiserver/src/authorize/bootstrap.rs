//! Roles and bindings that exist from the first start, as data.
//!
//! A rule is written `verbs groups resources [names]` with commas inside a word, `-` for the core group; or
//! `url verbs paths`. What upstream's own components may do is a fact of its bootstrap policy (1.36); the rows
//! here are those of the components that we are, and of users.
//!
//! Agents have no row: what they may do is code ([`super::node`]).

use super::Lookup;
use super::rbac::{GROUP, Rule};
use serde_json::{Value, json};

/// With the value `false`, this annotation makes the server leave the object as it is.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// The label of everything made here; its value is `rbac-defaults`.
pub const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
/// ClusterRoles with this label and the value `true`, followed by a role's name, are gathered by that role.
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// A ClusterRole, and whom it is bound to under its own name.
struct Row {
    name: &'static str,
    rules: &'static [&'static str],
    /// `group:NAME`, `user:NAME` or `sa:NAME` (in kube-system).
    bound_to: &'static [&'static str],
    /// The role that gathers this one.
    part_of: Option<&'static str>,
    /// Whether this role gathers others.
    gathers: bool,
}

const fn role(
    name: &'static str,
    rules: &'static [&'static str],
    bound_to: &'static [&'static str],
) -> Row {
    Row { name, rules, bound_to, part_of: None, gathers: false }
}

const fn part(name: &'static str, of: &'static str, rules: &'static [&'static str]) -> Row {
    Row { name, rules, bound_to: &[], part_of: Some(of), gathers: false }
}

const fn gathering(name: &'static str, part_of: Option<&'static str>) -> Row {
    Row { name, rules: &[], bound_to: &[], part_of, gathers: true }
}

const EVENTS: &str = "create,update,patch -,events.k8s.io events";
const EVERYBODY: &[&str] = &["group:system:authenticated", "group:system:unauthenticated"];
const USERS: &[&str] = &["group:system:authenticated"];

/// Roles of people.
const PEOPLE: &[Row] = &[
    role("cluster-admin", &["* * *", "url * *"], &["group:system:masters"]),
    role(
        "system:discovery",
        &[
            "url get /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        ],
        USERS,
    ),
    role(
        "system:public-info-viewer",
        &["url get /healthz,/livez,/readyz,/version,/version/"],
        EVERYBODY,
    ),
    role("system:well-known-viewer", &["url get /.well-known,/.well-known/*"], USERS),
    role(
        "system:basic-user",
        &[
            "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews",
            "create authentication.k8s.io selfsubjectreviews",
        ],
        USERS,
    ),
    role(
        "system:monitoring",
        &["url get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"],
        &["group:system:monitoring"],
    ),
    gathering("admin", None),
    gathering("edit", Some("admin")),
    gathering("view", Some("edit")),
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            "create authorization.k8s.io localsubjectaccessreviews",
            "get,list,watch,create,update,patch,delete,deletecollection rbac.authorization.k8s.io roles,rolebindings",
        ],
    ),
    part(
        "system:aggregate-to-edit",
        "edit",
        &[
            "get,list,watch - pods/attach,pods/proxy,pods/exec,pods/portforward,secrets,services/proxy",
            "impersonate - serviceaccounts",
            "create,update,patch,delete,deletecollection - pods,pods/attach,pods/proxy,pods/exec,pods/portforward",
            "create - pods/eviction",
            "create,update,patch,delete,deletecollection - replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/proxy,persistentvolumeclaims,configmaps,secrets,events",
            "create - serviceaccounts/token",
            "create,update,patch,delete,deletecollection apps statefulsets,statefulsets/scale,daemonsets,deployments,deployments/scale,deployments/rollback,replicasets,replicasets/scale",
            "create,update,patch,delete,deletecollection autoscaling horizontalpodautoscalers",
            "create,update,patch,delete,deletecollection batch jobs,cronjobs",
            "create,update,patch,delete,deletecollection policy poddisruptionbudgets",
            "create,update,patch,delete,deletecollection networking.k8s.io networkpolicies,ingresses",
            "get,list,watch,create,update,patch,delete,deletecollection coordination.k8s.io leases",
        ],
    ),
    part(
        "system:aggregate-to-view",
        "view",
        &[
            "get,list,watch - pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,configmaps",
            "get,list,watch - limitranges,resourcequotas,bindings,events,pods/status,resourcequotas/status,namespaces/status,replicationcontrollers/status,pods/log",
            "get,list,watch - namespaces",
            "get,list,watch discovery.k8s.io endpointslices",
            "get,list,watch apps controllerrevisions,statefulsets,statefulsets/status,statefulsets/scale,daemonsets,daemonsets/status,deployments,deployments/status,deployments/scale,replicasets,replicasets/status,replicasets/scale",
            "get,list,watch autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status",
            "get,list,watch batch jobs,jobs/status,cronjobs,cronjobs/status",
            "get,list,watch policy poddisruptionbudgets,poddisruptionbudgets/status",
            "get,list,watch networking.k8s.io networkpolicies,ingresses,ingresses/status",
        ],
    ),
];

/// Roles of components and of holders of a join token.
const COMPONENTS: &[Row] = &[
    role(
        "system:node-bootstrapper",
        &["create,get,list,watch certificates.k8s.io certificatesigningrequests"],
        &["group:system:bootstrappers"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create certificates.k8s.io certificatesigningrequests/nodeclient"],
        &["group:system:bootstrappers"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create certificates.k8s.io certificatesigningrequests/selfnodeclient"],
        &[],
    ),
    role(
        "system:auth-delegator",
        &[
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
        ],
        &[],
    ),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            "create coordination.k8s.io leases",
            "get,update coordination.k8s.io leases kube-controller-manager",
            "create - secrets,serviceaccounts,serviceaccounts/token",
            "delete - secrets",
            "get - namespaces,secrets,serviceaccounts,configmaps",
            "update - secrets,serviceaccounts",
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
            // one informer per kind serves all controllers of a process, so it may read all kinds
            "list,watch * *",
        ],
        &["user:system:kube-controller-manager"],
    ),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            "create coordination.k8s.io leases",
            "get,update coordination.k8s.io leases kube-scheduler",
            "get,list,watch - nodes,namespaces,replicationcontrollers,services,persistentvolumeclaims,persistentvolumes",
            "delete,get,list,watch - pods",
            "create - bindings,pods/binding",
            "patch,update - pods/status",
            "get,list,watch apps replicasets,statefulsets",
            "get,list,watch policy poddisruptionbudgets",
            "get,list,watch scheduling.k8s.io priorityclasses",
            "get,list,watch storage.k8s.io csinodes,csidrivers,csistoragecapacities,storageclasses",
            "create authentication.k8s.io tokenreviews",
            "create authorization.k8s.io subjectaccessreviews",
        ],
        &["user:system:kube-scheduler"],
    ),
];

/// Roles of controllers, each bound to the service account in kube-system that has the rest of its name.
const CONTROLLERS: &[Row] = &[
    role(
        "system:controller:certificate-controller",
        &[
            "get,list,watch,delete certificates.k8s.io certificatesigningrequests",
            "update certificates.k8s.io certificatesigningrequests/status,certificatesigningrequests/approval",
            "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet",
            "sign certificates.k8s.io signers kubernetes.io/legacy-unknown,kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving",
            "create authorization.k8s.io subjectaccessreviews",
            EVENTS,
        ],
        &["sa:certificate-controller"],
    ),
    role(
        "system:controller:clusterrole-aggregation-controller",
        &["escalate,get,list,watch,update,patch rbac.authorization.k8s.io clusterroles"],
        &["sa:clusterrole-aggregation-controller"],
    ),
    role(
        "system:controller:daemon-set-controller",
        &[
            "get,list,watch extensions,apps daemonsets",
            "update extensions,apps daemonsets/status",
            "update extensions,apps daemonsets/finalizers",
            "list,watch - nodes",
            "list,watch,create,delete,patch - pods",
            "create - pods/binding",
            "get,list,watch,create,delete,update,patch apps controllerrevisions",
            EVENTS,
        ],
        &["sa:daemon-set-controller"],
    ),
    role(
        "system:controller:disruption-controller",
        &[
            "get,list,watch extensions,apps deployments,replicasets",
            "get,list,watch - replicationcontrollers",
            "get,list,watch policy poddisruptionbudgets",
            "get,list,watch apps statefulsets,daemonsets",
            "update policy poddisruptionbudgets/status",
            "patch,update - pods/status",
            "get * */scale",
            EVENTS,
        ],
        &["sa:disruption-controller"],
    ),
    role(
        "system:controller:generic-garbage-collector",
        &["get,list,watch,patch,update,delete * *", EVENTS],
        &["sa:generic-garbage-collector"],
    ),
    role(
        "system:controller:namespace-controller",
        &[
            "get,list,watch,delete - namespaces",
            "update - namespaces/finalize,namespaces/status",
            "get,list,watch,delete,deletecollection * *",
        ],
        &["sa:namespace-controller"],
    ),
    role(
        "system:controller:node-controller",
        &[
            "get,list,watch,update,delete,patch - nodes",
            "patch,update - nodes/status",
            "patch,update - pods/status",
            "list,watch,get,delete - pods",
            EVENTS,
        ],
        &["sa:node-controller"],
    ),
    role(
        "system:controller:pod-garbage-collector",
        &["list,watch,delete - pods", "get,list,watch - nodes", "patch - pods/status"],
        &["sa:pod-garbage-collector"],
    ),
    role(
        "system:controller:replicaset-controller",
        &[
            "get,list,watch,update apps,extensions replicasets",
            "update apps,extensions replicasets/status",
            "update apps,extensions replicasets/finalizers",
            "list,watch,patch,create,delete - pods",
            EVENTS,
        ],
        &["sa:replicaset-controller"],
    ),
    role(
        "system:controller:resourcequota-controller",
        &["list,watch * *", "update - resourcequotas/status", EVENTS],
        &["sa:resourcequota-controller"],
    ),
    role(
        "system:controller:root-ca-cert-publisher",
        &["create,update - configmaps", EVENTS],
        &["sa:root-ca-cert-publisher"],
    ),
    role(
        "system:controller:service-account-controller",
        &["create - serviceaccounts", EVENTS],
        &["sa:service-account-controller"],
    ),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    PEOPLE.iter().chain(COMPONENTS).chain(CONTROLLERS)
}

/// A rule from its text; `None` when it has not the form of one.
fn rule(text: &str) -> Option<Rule> {
    let words = |word: &str| -> Vec<String> {
        word.split(',')
            .map(|item| if item == "-" { String::new() } else { item.to_owned() })
            .collect()
    };
    let mut parts = text.split(' ');
    let first = parts.next()?;
    if first == "url" {
        let (verbs, urls) = (parts.next()?, parts.next()?);
        return parts.next().is_none().then(|| Rule {
            verbs: words(verbs),
            non_resource_urls: words(urls),
            ..Rule::default()
        });
    }
    let (groups, resources, names) = (parts.next()?, parts.next()?, parts.next());
    parts.next().is_none().then(|| Rule {
        verbs: words(first),
        api_groups: words(groups),
        resources: words(resources),
        resource_names: names.map(words).unwrap_or_default(),
        ..Rule::default()
    })
}

fn metadata(name: &str, part_of: Option<&str>) -> Value {
    let mut labels = json!({ BOOTSTRAPPING: "rbac-defaults" });
    if let Some(whole) = part_of {
        labels[format!("{AGGREGATE_TO}{whole}")] = json!("true");
    }
    json!({"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}})
}

fn cluster_role(row: &Row) -> Value {
    let rules: Vec<Rule> = row.rules.iter().filter_map(|text| rule(text)).collect();
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": metadata(row.name, row.part_of),
        "rules": rules,
    });
    if row.gathers {
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {format!("{AGGREGATE_TO}{}", row.name): "true"}}]});
        object["rules"] = Value::Null;
    }
    object
}

fn binding(row: &Row) -> Option<Value> {
    let subjects: Vec<Value> = row
        .bound_to
        .iter()
        .filter_map(|text| {
            let (kind, name) = text.split_once(':')?;
            Some(match kind {
                "sa" => json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}),
                "user" => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
                _ => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
            })
        })
        .collect();
    (!subjects.is_empty()).then(|| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata(row.name, None),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": row.name},
            "subjects": subjects,
        })
    })
}

/// One object to write so that the policy is as it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// POST to the collection's path.
    Create {
        /// `/apis/…/clusterroles`.
        path: String,
        /// The object.
        object: Value,
    },
    /// PUT to the object's path.
    Replace {
        /// `/apis/…/clusterroles/NAME`.
        path: String,
        /// The object, with the resourceVersion it was read at.
        object: Value,
    },
}

/// What is to be written so that every role and binding of the policy is there and grants at least what its row
/// says. Empty at every start but the first and those after an update. Rights that someone added stay; objects
/// whose annotation [`AUTOUPDATE`] is `false` are left alone, missing ones are made again.
pub fn plan(lookup: &dyn Lookup) -> Vec<Write> {
    let mut writes = Vec::new();
    for row in rows() {
        let found = |plural: &str| -> Option<Value> {
            let bytes = lookup.object(&format!("{GROUP}/{plural}"), "", row.name)?;
            serde_json::from_slice(&bytes).ok()
        };
        writes.extend(one(
            "clusterroles",
            row.name,
            cluster_role(row),
            found("clusterroles"),
            "rules",
        ));
        if let Some(binding) = binding(row) {
            let found = found("clusterrolebindings");
            writes.extend(one("clusterrolebindings", row.name, binding, found, "subjects"));
        }
    }
    writes
}

fn one(plural: &str, name: &str, wanted: Value, found: Option<Value>, list: &str) -> Option<Write> {
    let path = format!("/apis/{GROUP}/v1/{plural}");
    let Some(mut found) = found else { return Some(Write::Create { path, object: wanted }) };
    if found["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let items = |object: &Value| object[list].as_array().cloned().unwrap_or_default();
    let have = items(&found);
    let lacking: Vec<Value> =
        items(&wanted).into_iter().filter(|item| !have.contains(item)).collect();
    let same_rule = found["aggregationRule"] == wanted["aggregationRule"];
    let labels_there = wanted["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| found["metadata"]["labels"][key] == *value);
    if lacking.is_empty() && same_rule && labels_there {
        return None;
    }
    if !lacking.is_empty() {
        found[list] = Value::Array(have.into_iter().chain(lacking).collect());
    }
    if !same_rule {
        found["aggregationRule"] = wanted["aggregationRule"].clone();
    }
    for (key, value) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
        found["metadata"]["labels"][key] = value.clone();
    }
    Some(Write::Replace { path: format!("{path}/{name}"), object: found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::Authorizer;
    use crate::identity::{self, Identity};
    use crate::route::Attributes;
    use bytes::Bytes;
    use parking_lot::RwLock;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[derive(Debug, Default)]
    struct Objects(RwLock<BTreeMap<(String, String), Value>>);

    impl Lookup for Objects {
        fn object(&self, collection: &str, _: &str, name: &str) -> Option<Bytes> {
            let objects = self.0.read();
            objects
                .get(&(collection.to_owned(), name.to_owned()))
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
            let plural = path.split('/').nth(4).unwrap().to_owned();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            objects.0.write().insert((format!("{GROUP}/{plural}"), name), object);
        }
    }

    fn applied() -> (Arc<Objects>, Authorizer) {
        let objects = Arc::new(Objects::default());
        apply(&objects, plan(objects.as_ref()));
        let authorizer = Authorizer::new(Arc::<Objects>::clone(&objects) as Arc<dyn Lookup>);
        for ((collection, name), object) in objects.0.read().iter() {
            authorizer.observe(collection, "", name, Some(object.to_string().as_bytes()));
        }
        (objects, authorizer)
    }

    fn asked(text: &str) -> Attributes {
        let words: Vec<&str> =
            text.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
        Attributes {
            verb: words[0].to_owned().into(),
            group: words[1].into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: words.get(3).copied().unwrap_or_default().into(),
            name: words.get(4).copied().unwrap_or_default().into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn every_rule_and_subject_can_be_read_and_every_name_stands_once() {
        let mut names = std::collections::BTreeSet::new();
        for row in rows() {
            assert!(names.insert(row.name), "{} twice", row.name);
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
            (
                &joining,
                "create certificates.k8s.io certificatesigningrequests/selfnodeclient",
                false,
            ),
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
        let path = |path: &str| Attributes {
            verb: "get".into(),
            path: path.into(),
            ..Attributes::default()
        };
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
        let key = (format!("{GROUP}/clusterroles"), "system:basic-user".to_owned());
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
    fn view_edit_and_admin_gather_their_parts() {
        let (_, authorizer) = applied();
        authorizer.observe(
            &format!("{GROUP}/rolebindings"),
            "n",
            "b",
            Some(br#"{"roleRef": {"kind": "ClusterRole", "name": "edit"}, "subjects": [{"kind": "User", "name": "alice"}]}"#),
        );
        let alice = Identity::new("alice", &[]);
        for (text, allowed) in [
            ("create apps daemonsets n", true),
            ("list apps daemonsets n", true),
            ("create rbac.authorization.k8s.io roles n", false),
            ("list apps daemonsets m", false),
        ] {
            assert_eq!(authorizer.decide(&alice, &asked(text)).is_allowed(), allowed, "{text}");
        }
    }
}
