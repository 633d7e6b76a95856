//! The nodes themselves: registration, leases, Ready.

use crate::{LEASE_PERIOD, Options};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kit::{Cache, Setup};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A lease is good for this long (spec D1).
const LEASE_SECONDS: i32 = 40;
/// A node's status is posted at least this often (spec D1).
const STATUS_PERIOD: Duration = Duration::from_mins(5);
/// Nodes that are registered or renewed at the same time.
const AT_ONCE: usize = 64;
/// Where leases of nodes live.
const LEASES: &str = "kube-node-lease";

/// What a pretend node looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeShape {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Second and third byte of its pods' addresses.
    pub pod_network: [u8; 2],
    /// Labels besides host name, os and architecture.
    pub labels: BTreeMap<String, String>,
    /// Taints, as JSON.
    pub taints: Vec<Value>,
    /// Capacity, all of it allocatable.
    pub capacity: BTreeMap<String, String>,
}

impl NodeShape {
    /// A node with 4 cores, 16 GiB and 110 pods; `number` makes its addresses.
    pub fn new(name: &str, number: usize) -> Self {
        let [.., high, middle, low] = number.to_be_bytes();
        let capacity =
            [("cpu", "4"), ("memory", "16Gi"), ("pods", "110"), ("ephemeral-storage", "100Gi")];
        Self {
            name: name.to_owned(),
            address: format!("10.{}.{middle}.{low}", 128 | (high & 0x3f)),
            pod_network: [middle, low],
            labels: BTreeMap::new(),
            taints: Vec::new(),
            capacity: capacity.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// An address for a pod; two pods of a node seldom share one, and nobody minds.
    pub(crate) fn pod_ip(&self, uid: &str) -> String {
        let last = crate::stage::spin("pod", uid, 0) % 254 + 1;
        format!("10.{}.{}.{last}", self.pod_network[0] & 0x7f, self.pod_network[1])
    }

    fn object(&self) -> Value {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ] {
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {"taints": self.taints},
        })
    }

    fn status(&self, old: Option<&Node>, now: Timestamp) -> Value {
        let now = Time(now);
        let mut allocatable = json!(self.capacity);
        for (name, amount) in old.map(fit::demand::lent).unwrap_or_default() {
            allocatable[name] = json!(amount);
        }
        let status = old.and_then(|node| node.status.as_ref());
        let condition = |kind: &str, value: &str, reason: &str, message: &str| {
            let mut conditions =
                status.iter().flat_map(|status| status.conditions.iter().flatten());
            let same = conditions.find(|c| c.type_ == kind && c.status == value);
            let since =
                same.and_then(|c| c.last_transition_time.clone()).unwrap_or_else(|| now.clone());
            json!({"type": kind, "status": value, "reason": reason, "message": message,
                   "lastHeartbeatTime": now, "lastTransitionTime": since})
        };
        json!({"status": {
            "capacity": self.capacity,
            "allocatable": allocatable,
            "addresses": [
                {"type": "InternalIP", "address": self.address},
                {"type": "Hostname", "address": self.name},
            ],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "osImage": "hollow", "kernelVersion": "0",
                "containerRuntimeVersion": "hollow://1", "kubeletVersion": concat!("v1.36.2+pernode.", env!("CARGO_PKG_VERSION")),
                "kubeProxyVersion": "", "machineID": self.name, "systemUUID": self.name, "bootID": self.name,
            },
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
        }})
    }
}

struct Nodes {
    client: kube::Client,
    setup: Setup,
    cache: Cache<Node>,
    shapes: Vec<NodeShape>,
}

/// What is known of one node between its turns.
#[derive(Default)]
struct Turn {
    /// Its uid, once registered.
    uid: Option<String>,
    posted: Option<Instant>,
    /// Its Node was deleted: an agent does not register again by itself.
    left: bool,
}

pub(crate) fn start(client: &kube::Client, options: &Options, cache: Cache<Node>) {
    let nodes = Arc::new(Nodes {
        client: client.clone(),
        setup: options.setup.clone(),
        cache,
        shapes: options.nodes.clone(),
    });
    options.setup.tasks.spawn("hollow nodes", nodes.run());
}

impl Nodes {
    /// Every node has its turn once per period; turns are spread evenly over it.
    async fn run(self: Arc<Self>) {
        self.cache.synced().await;
        let started = Instant::now();
        let count = u32::try_from(self.shapes.len().max(1)).unwrap_or(u32::MAX);
        let first = |n: usize| LEASE_PERIOD / count * u32::try_from(n).unwrap_or(u32::MAX);
        let mut turns: Vec<Turn> = Vec::new();
        turns.resize_with(self.shapes.len(), Turn::default);
        // everybody joins at once
        self.take((0..turns.len()).collect(), &mut turns).await;
        for round in 1_u32.. {
            let mut n = 0;
            while n < turns.len() {
                tokio::time::sleep_until(started + LEASE_PERIOD * round + first(n)).await;
                // as many as are due by now, for a host that cannot keep the pace of single steps
                let due = |n: &usize| started + LEASE_PERIOD * round + first(*n) <= Instant::now();
                let batch: Vec<usize> = (n..turns.len()).take_while(due).collect();
                n += batch.len().max(1);
                self.take(batch, &mut turns).await;
            }
            if turns.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn take(self: &Arc<Self>, batch: Vec<usize>, turns: &mut [Turn]) {
        let taken: Vec<(usize, Turn)> =
            batch.into_iter().map(|n| (n, std::mem::take(&mut turns[n]))).collect();
        // made when its time has come: what one turn may have to remember is kilobytes
        let work = futures::stream::iter(taken).map(|(n, mut turn)| {
            let nodes = Arc::clone(self);
            async move {
                nodes.turn(&nodes.shapes[n], &mut turn).await;
                (n, turn)
            }
        });
        let mut done = std::pin::pin!(work.buffered(AT_ONCE));
        while let Some((n, turn)) = done.next().await {
            turns[n] = turn;
        }
    }

    async fn turn(&self, shape: &NodeShape, turn: &mut Turn) {
        if turn.left {
            return;
        }
        if let Err(error) = self.beat(shape, turn).await {
            tracing::debug!(node = shape.name, %error, "heartbeat failed; next one in its turn");
        }
    }

    async fn beat(&self, shape: &NodeShape, turn: &mut Turn) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let seen = self.cache.find("", &shape.name);
        let Some(uid) = turn.uid.clone() else {
            let node = self.register(&api, shape).await?;
            turn.uid.clone_from(&node.metadata.uid);
            self.renew(shape, turn.uid.as_deref()).await?;
            self.post(&api, shape, Some(&node)).await?;
            turn.posted = Some(Instant::now());
            return Ok(());
        };
        self.renew(shape, Some(&uid)).await?;
        let ready = seen.as_ref().is_some_and(|node| is_ready(node));
        let fresh = turn.posted.is_some_and(|at| at.elapsed() < STATUS_PERIOD);
        if ready && fresh && !seen.as_ref().is_some_and(|node| is_owed(node)) {
            return Ok(());
        }
        match self.post(&api, shape, seen.as_deref()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::info!(node = shape.name, "the node was deleted; it says no more");
                turn.left = true;
            }
            other => other?,
        }
        turn.posted = Some(Instant::now());
        Ok(())
    }

    async fn register(&self, api: &Api<Node>, shape: &NodeShape) -> Result<Node, kube::Error> {
        // An agent says what it has when it registers: a pod that comes before its first report must not find a node
        // without room. Whether it is ready is reported.
        let mut object = shape.object();
        object["status"] = shape.status(None, self.setup.clock.now())["status"].take();
        object["status"]["conditions"].take();
        let node: Node = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                api.get(&shape.name).await
            }
            other => other,
        }
    }

    async fn post(
        &self,
        api: &Api<Node>,
        shape: &NodeShape,
        old: Option<&Node>,
    ) -> Result<(), kube::Error> {
        let patch = Patch::Strategic(shape.status(old, self.setup.clock.now()));
        api.patch_status(&shape.name, &PatchParams::default(), &patch).await.map(drop)
    }

    /// One PATCH renews; only the first time there is nothing to patch.
    async fn renew(&self, shape: &NodeShape, uid: Option<&str>) -> Result<(), kube::Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let now = MicroTime(self.setup.clock.now());
        let renewed = json!({"spec": {"renewTime": now}});
        match api.patch(&shape.name, &PatchParams::default(), &Patch::Merge(renewed)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
        let lease = json!({
            "metadata": {"name": shape.name, "namespace": LEASES, "ownerReferences": [{
                "apiVersion": "v1", "kind": "Node", "name": shape.name, "uid": uid.unwrap_or_default(),
            }]},
            "spec": {"holderIdentity": shape.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
        });
        let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &lease).await.map(drop)
    }
}

/// Whether somebody changed what the node has, and it is not allocatable yet.
fn is_owed(node: &Node) -> bool {
    let held = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let mut lent = fit::demand::lent(node).into_iter();
    lent.any(|(name, amount)| held.and_then(|held| held.get(&name)) != amount.as_ref())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
