//! The Node object and its Lease: registered at the start, renewed, kept true.

use crate::cri::Runtime;
use crate::host::{self, Machine, Room};
use crate::pods::RuntimeHealth;
use crate::pressure::{self, Conditions};
use crate::shutdown::Stage;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
    NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference, Time};
use kit::{Backoff, Cache, Events, Note};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

mod conditions;
mod flags;
mod lease;
mod news;
mod seen;
use conditions::{condition, conditions, second};
pub(crate) use flags::{Reserved, parse_labels, parse_reserved, parse_taints};
pub(crate) use lease::renew;

/// Status is written at least this often, changed or not.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// How often the machine and the runtime are looked at: while something is missing, and while all is well.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// First and longest wait while the server does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What the Node says of itself, beside what is measured.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) setup: kit::Setup,
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) version: String,
    /// `containerd://1.6.20`
    pub(crate) runtime_version: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) port: u16,
    pub(crate) root: PathBuf,
    pub(crate) machine: Machine,
    /// `--max-pods`
    pub(crate) pods_max: u32,
    /// `--reserved`: thousandths of CPU, bytes of memory and of disk that pods may not ask for.
    pub(crate) reserved: Reserved,
}

impl Facts {
    fn own_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", self.machine.architecture),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", self.machine.architecture),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    fn capacity(&self, room: &Room) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
        let amounts = |cpu: String, memory: u64, disk: u64| -> BTreeMap<String, Quantity> {
            [
                ("cpu", cpu),
                ("memory", format!("{}Ki", memory / 1024)),
                ("ephemeral-storage", format!("{}Ki", disk / 1024)),
                ("pods", self.pods_max.to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), Quantity(value)))
            .into()
        };
        let Reserved { cpu_milli, memory, disk } = self.reserved;
        let spare = self.machine.memory.saturating_sub(host::MEMORY_LOW + memory);
        let disk = (room.disk / 100 * (100 - host::DISK_LOW_PERCENT)).saturating_sub(disk);
        let milli = (self.machine.cpus * 1000).saturating_sub(cpu_milli);
        let cpus = if milli.is_multiple_of(1000) {
            (milli / 1000).to_string()
        } else {
            format!("{milli}m")
        };
        let whole = amounts(self.machine.cpus.to_string(), self.machine.memory, room.disk);
        (whole, amounts(cpus, spare, disk))
    }

    /// What the node has for pods at this moment.
    pub(crate) fn allocatable(&self) -> fit::Amounts {
        fit::Amounts::parse(Some(&self.capacity(&Room::read(&self.root)).1))
    }

    /// Everything but heartbeats and conditions.
    fn status(&self, room: &Room) -> NodeStatus {
        let (capacity, allocatable) = self.capacity(room);
        let address = |type_: &str, address: &str| NodeAddress {
            type_: type_.to_owned(),
            address: address.to_owned(),
        };
        let mut addresses: Vec<NodeAddress> =
            self.addresses.iter().map(|ip| address("InternalIP", ip)).collect();
        addresses.push(address("Hostname", &self.name));
        NodeStatus {
            addresses: Some(addresses),
            capacity: Some(capacity),
            allocatable: Some(allocatable),
            daemon_endpoints: (self.port > 0).then(|| NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.port) }),
            }),
            node_info: Some(NodeSystemInfo {
                architecture: self.machine.architecture.to_owned(),
                boot_id: self.machine.boot_id.clone(),
                container_runtime_version: self.runtime_version.clone(),
                kernel_version: self.machine.kernel.clone(),
                kube_proxy_version: String::new(),
                kubelet_version: self.version.clone(),
                machine_id: self.machine.machine_id.clone(),
                operating_system: "linux".to_owned(),
                os_image: self.machine.os_image.clone(),
                system_uuid: self.machine.system_uuid.clone(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }
    }
}

/// Makes the Node, or takes over the one that is there: users' labels, taints and annotations stay.
pub(crate) async fn register(client: &kube::Client, facts: &Facts) -> Node {
    let api: Api<Node> = Api::all(client.clone());
    let mut backoff = Backoff::new(RETRY.0, RETRY.1, facts.setup.salt);
    loop {
        match try_register(&api, facts).await {
            Ok(node) => return node,
            Err(error) => {
                let wait = backoff.failed();
                let text = crate::fault::plain(&error);
                tracing::warn!(
                    node = facts.name,
                    "not registered yet: {text}; next try in {wait:.1?}"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// What to say if the machine was switched off since the node was seen last (spec D7).
pub(crate) fn rebooted(before: &Node, facts: &Facts) -> Option<String> {
    let booted = &before.status.as_ref()?.node_info.as_ref()?.boot_id;
    let (name, now) = (&facts.name, &facts.machine.boot_id);
    (!booted.is_empty() && booted != now)
        .then(|| format!("Node {name} has been rebooted, boot id: {now}"))
}

async fn try_register(api: &Api<Node>, facts: &Facts) -> Result<Node, kube::Error> {
    let room = Room::read(&facts.root);
    if let Some(node) = api.get_opt(&facts.name).await? {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let missing: BTreeMap<_, _> = facts
            .own_labels()
            .into_iter()
            .filter(|(key, value)| labels.get(key) != Some(value))
            .collect();
        if missing.is_empty() {
            return Ok(node);
        }
        let patch = serde_json::json!({ "metadata": { "labels": missing } });
        return api.patch(&facts.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    }
    let mut status = facts.status(&room);
    let now = Time(second(facts.setup.clock.now()));
    let pressure = pressure::shortages(&room).iter().map(|one| one.scarce.condition()).collect();
    let first = conditions(&pressure, Some("the agent starts"));
    status.conditions = Some(first.map(|one| condition(one, &now, None)).into());
    let node = Node {
        metadata: ObjectMeta {
            name: Some(facts.name.clone()),
            labels: Some(facts.own_labels()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!facts.taints.is_empty()).then(|| facts.taints.clone()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    };
    api.create(&PostParams::default(), &node).await
}

/// What is true of the node now, as far as users see it.
#[derive(Clone, Debug, PartialEq)]
struct Truth {
    conditions: Vec<(&'static str, bool, &'static str, String)>,
    capacity: Option<BTreeMap<String, Quantity>>,
    images: Option<Vec<ContainerImage>>,
    /// What others gave it, or took away.
    lent: BTreeMap<String, Option<Quantity>>,
}

impl Truth {
    /// The node is ready.
    fn is_well(&self) -> bool {
        self.conditions.iter().any(|one| one.0 == "Ready" && one.1)
    }
}

fn is_cordoned(spec: Option<&NodeSpec>) -> bool {
    spec.and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// Keeps the Node's status true for as long as the agent runs.
pub(crate) struct Keeper {
    pub(crate) facts: Arc<Facts>,
    pub(crate) client: kube::Client,
    /// This node as the API has it.
    pub(crate) nodes: Cache<Node>,
    pub(crate) events: Events,
    pub(crate) runtime: Runtime,
    pub(crate) health: watch::Receiver<RuntimeHealth>,
    /// What the node is short of.
    pub(crate) pressure: watch::Receiver<Conditions>,
    /// How far the node is on its way down.
    pub(crate) stage: watch::Receiver<Option<Stage>>,
    /// Tells pods why those with a network of their own cannot start.
    pub(crate) network: watch::Sender<Option<String>>,
}

impl Keeper {
    pub(crate) async fn run(mut self, registered: Node) {
        let mut shown: Option<(Truth, Timestamp)> = None;
        let mut conditions: Vec<NodeCondition> =
            registered.status.and_then(|status| status.conditions).unwrap_or_default();
        let mut is_cordoned = is_cordoned(registered.spec.as_ref());
        let mut changes = self.nodes.subscribe();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1, self.facts.setup.salt);
        let mut read = self.facts.setup.clock.now();
        loop {
            let (truth, room) = self.look(&mut is_cordoned).await;
            let now = self.facts.setup.clock.now();
            let is_older = |at: Timestamp, than: Duration| {
                // a clock that was set back says nothing about the age
                Duration::try_from(now.duration_since(at)).map_or(true, |age| age >= than)
            };
            let mut is_due = shown
                .as_ref()
                .is_none_or(|(before, at)| *before != truth || is_older(*at, STATUS_EVERY));
            if !is_due && is_older(read, LOOK.1) {
                read = now;
                let api = Api::all(self.client.clone());
                is_due = seen::is_overwritten(&api, &self.facts.name, &conditions).await;
            }
            let mut pause = if truth.is_well() { LOOK.1 } else { LOOK.0 };
            if is_due {
                match self.write(&truth, &room, &conditions, now).await {
                    Ok(written) => {
                        for reason in news::of_conditions(&conditions, &written) {
                            self.tell(reason);
                        }
                        conditions = written;
                        shown = Some((truth, now));
                        backoff.succeeded();
                    }
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        tracing::warn!(
                            node = self.facts.name,
                            "the Node object was deleted; start the agent again to register this node anew"
                        );
                        pause = STATUS_EVERY.min(Duration::from_secs(60));
                    }
                    Err(error) => {
                        pause = backoff.failed();
                        let text = crate::fault::plain(&error);
                        tracing::warn!("node status not written: {text}; next try in {pause:.1?}");
                    }
                }
            }
            tokio::select! {
                biased;
                changed = self.health.changed() => if changed.is_err() { return },
                changed = self.stage.changed() => if changed.is_err() { return },
                changed = self.pressure.changed() => if changed.is_err() { return },
                _ = changes.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at the node, and tells those who wait for it.
    async fn look(&mut self, is_cordoned: &mut bool) -> (Truth, Room) {
        let (trouble, network) = self.trouble().await;
        self.network.send_if_modified(|shown| {
            let is_news = *shown != network;
            shown.clone_from(&network);
            is_news
        });
        let seen = self.nodes.list().first().cloned();
        if let Some(node) = &seen
            && self::is_cordoned(node.spec.as_ref()) != *is_cordoned
        {
            *is_cordoned = !*is_cordoned;
            self.tell(news::of_cordon(*is_cordoned));
        }
        let room = Room::read(&self.facts.root);
        // a runtime in trouble is not asked: the images stay as they were told last
        let images = match &trouble {
            None => crate::images::shown(&self.runtime).await.ok(),
            Some(_) => None,
        };
        let truth = Truth {
            conditions: conditions(&self.pressure.borrow(), trouble.as_deref()).into(),
            capacity: self.facts.status(&room).capacity,
            images,
            lent: seen.map(|node| fit::demand::lent(&node)).unwrap_or_default(),
        };
        (truth, room)
    }

    /// An event about the node (spec D7).
    fn tell(&self, reason: &'static str) {
        let name = &self.facts.name;
        let message = format!("Node {name} status is now: {reason}");
        self.events.publish(Note::normal(crate::start::node_reference(name), reason, message));
    }

    /// Why the node is not ready, and why pods with a network of their own cannot start.
    async fn trouble(&mut self) -> (Option<String>, Option<String>) {
        if self.stage.borrow_and_update().is_some() {
            return (Some("node is shutting down".to_owned()), None);
        }
        if let Some(problem) = self.health.borrow_and_update().problem.clone() {
            return (Some(format!("container runtime is down: {problem}")), None);
        }
        let status = match self.runtime.status(false).await {
            Ok(status) => status.status.unwrap_or_default(),
            Err(failure) => return (Some(format!("container runtime is down: {failure}")), None),
        };
        let is_false =
            |name: &str| status.conditions.iter().find(|one| one.r#type == name && !one.status);
        if let Some(one) = is_false("RuntimeReady") {
            let text = format!(
                "container runtime not ready: RuntimeReady=false reason:{} message:{}",
                one.reason, one.message
            );
            return (Some(text), None);
        }
        let network = is_false("NetworkReady").map(|one| {
            format!(
                "container runtime network not ready: NetworkReady=false reason:{} message:{}",
                one.reason, one.message
            )
        });
        (network.clone(), network)
    }

    async fn write(
        &self,
        truth: &Truth,
        room: &Room,
        before: &[NodeCondition],
        now: Timestamp,
    ) -> Result<Vec<NodeCondition>, kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let now = Time(second(now));
        let list: Vec<NodeCondition> = truth
            .conditions
            .iter()
            .cloned()
            .map(|one| {
                let before = before.iter().find(|before| before.type_ == one.0);
                condition(one, &now, before)
            })
            .collect();
        let mut status = self.facts.status(room);
        status.conditions = Some(list.clone());
        status.images.clone_from(&truth.images);
        let mut patch = serde_json::json!({ "status": status });
        news::lend(&mut patch, &truth.lent);
        let patch = Patch::Strategic(patch);
        api.patch_status(&self.facts.name, &PatchParams::default(), &patch).await?;
        Ok(list)
    }
}
