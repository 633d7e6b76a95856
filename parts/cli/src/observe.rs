//! Reads a [`World`] from an API: lists in pages, objects stripped to what is needed as they arrive.

use crate::world::{Engine, World};
use fit::Occupied;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use rollout::{Failures, Revision, Set};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Objects in one page, kubectl's number: at 20 kB an object 10 MB are held at once.
const PAGE: u32 = 500;
/// How often a list that grew too old on the way (410) is begun anew.
const RESTARTS_MAX: usize = 3;
/// Code of a request that is not permitted.
const FORBIDDEN: u16 = 403;
/// Code of a continuation that is too old.
const GONE: u16 = 410;
/// Code of what is not there.
const NOT_FOUND: u16 = 404;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The API answered with an error.
    #[error("{what}: {message}")]
    Api {
        /// What was asked.
        what: String,
        /// The API's words.
        message: String,
        /// Its code; 0 where it could not be reached.
        code: u16,
    },
    /// What was read makes no sense.
    #[error("{0}")]
    Unreadable(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

impl Fault {
    pub(crate) fn api(what: impl Into<String>, error: kube::Error) -> Self {
        let what = what.into();
        match error {
            kube::Error::Api(status) => {
                Self::Api { what, message: status.message.clone(), code: status.code }
            }
            other => Self::Api { what, message: chain(&other), code: 0 },
        }
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api { code: FORBIDDEN, .. })
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { code: NOT_FOUND, .. })
    }
}

/// An error with its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// How far to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The DaemonSet, its pods, and all nodes.
    Set,
    /// What all pods of the cluster take, too.
    Room,
    /// The pods of these nodes one by one, too.
    Nodes(Vec<String>),
}

/// DaemonSets as JSON, so that templates keep unknown fields.
pub(crate) fn sets(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource("DaemonSet", "daemonsets"))
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

/// An object with its kind as plain JSON.
pub(crate) fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// The DaemonSet as it is; `None` where there is none.
pub(crate) async fn live(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, Fault> {
    let what = || format!("reading daemonset {namespace}/{name}");
    let found = sets(client, namespace).get_opt(name).await;
    Ok(found.map_err(|error| Fault::api(what(), error))?.as_ref().map(json))
}

/// Reads everything about a DaemonSet that `object` holds.
pub(crate) async fn world(client: &Client, object: &Value, depth: &Depth) -> Result<World, Fault> {
    let mut set = Set::read(object).map_err(|problem| Fault::Unreadable(problem.to_string()))?;
    let engine = match set.status.observed_generation {
        0 => neighbour_engine(client).await.unwrap_or_else(|| Engine::of(object, &set)),
        _ => Engine::of(object, &set),
    };
    set.compat = engine.compat(&set);
    let nodes = nodes(client).await?;
    let (pods, mine) = pods_of(client, &set).await?;
    let revisions = revisions_of(client, &set).await?;
    let mut world = World {
        rollout: rollout::World { set, nodes, pods, revisions, failures: Failures::default() },
        engine,
        mine,
        occupied: None,
        occupants: BTreeMap::new(),
        classes: None,
        budgets: None,
        gaps: Vec::new(),
    };
    if *depth != Depth::Set {
        deepen(client, &mut world, depth).await?;
    }
    Ok(world)
}

/// Looks further: at what others take. What may not be read becomes a gap that is told.
pub(crate) async fn deepen(client: &Client, world: &mut World, depth: &Depth) -> Result<(), Fault> {
    let mut gaps = Vec::new();
    if world.classes.is_none() {
        let all = list::<PriorityClass>(Api::all(client.clone()), "priorityclasses").await;
        world.classes = permitted(all, "priorities", &mut gaps)?;
    }
    match depth {
        Depth::Set => {}
        Depth::Room => {
            let all = occupied(client, world).await;
            world.occupied = permitted(all, "room on nodes", &mut gaps)?;
        }
        Depth::Nodes(names) => {
            if world.budgets.is_none() {
                let all = Api::<PodDisruptionBudget>::all(client.clone());
                let all = list(all, "poddisruptionbudgets").await;
                world.budgets = permitted(all, "disruption budgets", &mut gaps)?;
            }
            for name in names {
                let pods = pods_on(client, world, name).await;
                match permitted(pods, "room on nodes", &mut gaps)? {
                    Some(pods) => world.occupants.insert(name.clone(), pods),
                    None => break,
                };
            }
        }
    }
    for gap in gaps {
        if !world.gaps.contains(&gap) {
            world.gaps.push(gap);
        }
    }
    Ok(())
}

/// The engine that looks after other DaemonSets of the cluster.
async fn neighbour_engine(client: &Client) -> Option<Engine> {
    const LOOKED_AT: u32 = 10;
    let all = Api::<DynamicObject>::all_with(client.clone(), &resource("DaemonSet", "daemonsets"));
    let found = all.list(&ListParams::default().limit(LOOKED_AT)).await.ok()?;
    found.items.iter().map(json).find_map(|object| {
        let set = Set::read(&object).ok()?;
        (set.status.observed_generation > 0).then(|| Engine::of(&object, &set))
    })
}

/// Turns a refusal into a gap.
fn permitted<T>(
    answer: Result<T, Fault>,
    what: &str,
    gaps: &mut Vec<String>,
) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.is_forbidden() || fault.is_not_found() => {
            gaps.push(format!("{what} not looked at: {fault}"));
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Goes through a list page by page. A list that grows too old on the way is begun anew.
async fn pages<K, T: Default>(
    api: &Api<K>,
    what: &str,
    selector: Option<&str>,
    take: impl Fn(&mut T, K),
) -> Result<T, Fault>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut found = T::default();
    let mut params =
        ListParams { field_selector: selector.map(str::to_owned), ..ListParams::default() };
    params.limit = Some(PAGE);
    let mut restarts = 0;
    loop {
        match api.list(&params).await {
            Ok(page) => {
                page.items.into_iter().for_each(|object| take(&mut found, object));
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params.continue_token = Some(token),
                    None => return Ok(found),
                }
            }
            Err(kube::Error::Api(status)) if status.code == GONE && restarts < RESTARTS_MAX => {
                restarts += 1;
                found = T::default();
                params.continue_token = None;
            }
            Err(error) => return Err(Fault::api(format!("listing {what}"), error)),
        }
    }
}

async fn list<K>(api: Api<K>, what: &str) -> Result<Vec<K>, Fault>
where
    K: Clone + DeserializeOwned + Debug,
{
    pages(&api, what, None, |all: &mut Vec<K>, object| all.push(object)).await
}

async fn nodes(client: &Client) -> Result<BTreeMap<String, Arc<Node>>, Fault> {
    let api = Api::<Node>::all(client.clone());
    pages(&api, "nodes", None, |all: &mut BTreeMap<_, _>, node| {
        let name = fit::place::name_of(&node).to_owned();
        all.insert(name, Arc::new(strip_node(node)));
    })
    .await
}

/// Labels, taints, cordon, what it has for pods, whether it is ready.
fn strip_node(node: Node) -> Node {
    let spec = node.spec.unwrap_or_default();
    let status = node.status.unwrap_or_default();
    let ready = status.conditions.into_iter().flatten().filter(|c| c.type_ == "Ready").collect();
    Node {
        metadata: ObjectMeta {
            name: node.metadata.name,
            labels: node.metadata.labels,
            uid: node.metadata.uid,
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            allocatable: status.allocatable,
            conditions: Some(ready),
            ..NodeStatus::default()
        }),
    }
}

/// A pod without what nobody here reads: annotations, managedFields, volumes, commands, environment.
fn strip_pod(mut pod: Pod) -> Pod {
    pod.metadata.annotations = None;
    pod.metadata.managed_fields = None;
    if let Some(spec) = pod.spec.as_mut() {
        spec.volumes = None;
        let init = spec.init_containers.iter_mut().flatten();
        for container in init.chain(spec.containers.iter_mut()) {
            (container.env, container.env_from, container.volume_mounts) = (None, None, None);
            (container.command, container.args) = (None, None);
            (container.liveness_probe, container.readiness_probe) = (None, None);
            (container.startup_probe, container.lifecycle) = (None, None);
        }
    }
    pod
}

type Pods = (BTreeMap<String, rollout::Pod>, BTreeMap<String, Arc<Pod>>);

/// The pods that the set controls or that nobody controls.
async fn pods_of(client: &Client, set: &Set) -> Result<Pods, Fault> {
    let api = Api::<Pod>::namespaced(client.clone(), &set.namespace);
    pages(&api, "pods", None, |all: &mut Pods, pod| {
        let seen = rollout::Pod::read(&pod);
        if concerns(set, seen.controller.as_ref())
            && (seen.controller.is_some() || set.selects(&seen.labels))
        {
            all.1.insert(seen.name.clone(), Arc::new(strip_pod(pod)));
            all.0.insert(seen.name.clone(), seen);
        }
    })
    .await
}

fn concerns(set: &Set, controller: Option<&String>) -> bool {
    controller.is_none_or(|uid| *uid == set.uid)
}

async fn revisions_of(client: &Client, set: &Set) -> Result<BTreeMap<String, Revision>, Fault> {
    let kind = resource("ControllerRevision", "controllerrevisions");
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &set.namespace, &kind);
    pages(&api, "controllerrevisions", None, |all: &mut BTreeMap<_, _>, object: DynamicObject| {
        let revision = Revision::read(&json(&object));
        if concerns(set, revision.controller.as_ref()) {
            all.insert(revision.name.clone(), revision);
        }
    })
    .await
}

/// What the pods of the whole cluster take on each node, the set's own left out.
async fn occupied(client: &Client, world: &World) -> Result<BTreeMap<String, Occupied>, Fault> {
    let api = Api::<Pod>::all(client.clone());
    let selector = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
    pages(
        &api,
        "pods of all namespaces",
        Some(selector),
        |all: &mut BTreeMap<String, Occupied>, pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            if let Some(node) = node.filter(|_| !is_mine(world, &pod)) {
                all.entry(node).or_default().add(&pod);
            }
        },
    )
    .await
}

/// The pods of one node, the set's own left out.
async fn pods_on(client: &Client, world: &World, node: &str) -> Result<Vec<Arc<Pod>>, Fault> {
    let api = Api::<Pod>::all(client.clone());
    let selector = format!("spec.nodeName={node}");
    pages(&api, "pods of a node", Some(&selector), |all: &mut Vec<Arc<Pod>>, pod| {
        if !is_mine(world, &pod) && !fit::filter::is_finished(&pod) {
            all.push(Arc::new(strip_pod(pod)));
        }
    })
    .await
}

fn is_mine(world: &World, pod: &Pod) -> bool {
    let is_here = pod.metadata.namespace.as_deref() == Some(world.rollout.set.namespace.as_str());
    is_here && pod.metadata.name.as_ref().is_some_and(|name| world.mine.contains_key(name))
}
