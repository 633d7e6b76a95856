//! The processes of a cluster, and what can happen to them.

use crate::gate::{Gate, Who};
use crate::scenario::{Deed, Edit, NODES, NODES_FIRST, Scenario};
use apiserver::identity::Identity;
use apiserver::{Config, Server};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kit::{Caches, Clock, Setup, Tasks};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use store::Disk;
use tokio_util::sync::CancellationToken;

/// How long a server that ends in order may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Seconds by which a node's clock is wrong, at the most: a rollout that waits for `minReadySeconds` waits for them, too.
const SKEW_MAX: i64 = 20;
/// Where the sets live.
const NAMESPACE: &str = "default";

/// A cluster in one thread.
pub struct Cluster {
    gate: Arc<Gate>,
    clock: Clock,
    seed: u64,
    disk: Disk,
    boots: u64,
    server: Option<Running>,
    engine: Option<Setup>,
    others: Option<Setup>,
    nodes: BTreeMap<usize, Setup>,
    /// Nodes whose objects the user could not delete while the server was away, and will.
    removals: BTreeSet<usize>,
    /// The images that each set has had, the last one last.
    images: BTreeMap<&'static str, Vec<u32>>,
    /// Whose behaviour engine and caretaker have: `--compat upstream`.
    compat: daemonset::Compat,
    user: kube::Client,
}

struct Running {
    server: Server,
    storage: Tasks,
    stop: CancellationToken,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// A strategy.
fn rolling(unavailable: u32, surge: u32) -> Value {
    let knobs = json!({"maxUnavailable": unavailable, "maxSurge": surge});
    json!({"type": "RollingUpdate", "rollingUpdate": knobs})
}

/// The name of a node.
pub fn node_name(number: usize) -> String {
    format!("node-{number}")
}

impl Cluster {
    /// A cluster with its server, parts and first nodes, and the two sets.
    pub async fn start(
        seed: u64,
        scenario: &Scenario,
        gate: &Arc<Gate>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let cluster = Self::bare(seed, NODES_FIRST, gate, clock).await?;
        cluster.create_sets(scenario).await.map_err(|error| error.to_string())?;
        Ok(cluster)
    }

    /// A cluster with its server, parts and nodes, and nothing on them.
    pub async fn bare(
        seed: u64,
        nodes: usize,
        gate: &Arc<Gate>,
        clock: &Clock,
    ) -> Result<Self, String> {
        let administrator = Identity::new("somebody", &["system:masters"]);
        let who = Who { name: "user".to_owned(), identity: administrator, is_spared: true };
        let mut cluster = Self {
            gate: Arc::clone(gate),
            clock: clock.clone(),
            seed,
            disk: Disk::new(),
            boots: 0,
            server: None,
            engine: None,
            others: None,
            nodes: BTreeMap::new(),
            removals: BTreeSet::new(),
            images: BTreeMap::new(),
            compat: daemonset::Compat::Ours,
            user: gate.client(who),
        };
        cluster.server_up().await?;
        cluster.start_others();
        cluster.start_engine();
        for node in 0..nodes {
            cluster.power_on(node);
        }
        Ok(cluster)
    }

    /// Starts engine, scheduler and caretaker anew, as a server with `--compat upstream` has them.
    pub fn as_upstream(&mut self) {
        self.compat = daemonset::Compat::Upstream;
        self.start_others();
        self.start_engine();
    }

    /// A client with every right and no faults.
    pub fn user(&self) -> kube::Client {
        self.user.clone()
    }

    /// What stands between the parts and the server.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The server, if it is up.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref().map(|running| &running.server)
    }

    /// Ends everything.
    pub async fn end(mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.tasks.abort();
        }
        for process in [self.engine.take(), self.others.take()].into_iter().flatten() {
            process.tasks.abort();
        }
        self.server_down(false).await;
    }

    /// Names of tasks that panicked.
    pub fn panicked(&self) -> Vec<String> {
        let processes =
            [&self.engine, &self.others].into_iter().flatten().chain(self.nodes.values());
        let storage = self.server.iter().map(|running| &running.storage);
        processes.map(|setup| &setup.tasks).chain(storage).filter_map(Tasks::panicked).collect()
    }

    /// Does a deed.
    pub async fn perform(&mut self, deed: Deed) -> Result<(), String> {
        self.gate.note(&format!("== {deed:?}"));
        let done = match deed {
            Deed::ServerUp => {
                self.server_up().await?;
                for node in std::mem::take(&mut self.removals) {
                    self.remove(node).await;
                }
                return Ok(());
            }
            Deed::ServerDown { is_crash } => {
                self.server_down(is_crash).await;
                return Ok(());
            }
            Deed::RestartEngine => {
                self.start_engine();
                return Ok(());
            }
            Deed::RestartOthers => {
                self.start_others();
                return Ok(());
            }
            Deed::CutWatches => {
                self.gate.cut_watches();
                return Ok(());
            }
            Deed::PowerOn(node) => {
                self.power_on(node);
                return Ok(());
            }
            Deed::PowerOff(node) => {
                self.power_off(node);
                return Ok(());
            }
            Deed::Remove(node) => {
                self.power_off(node);
                self.remove(node).await;
                return Ok(());
            }
            Deed::Zone(node, zone) => {
                self.patch_node(node, &json!({"metadata": {"labels": {"zone": zone}}})).await
            }
            Deed::Cordon(node, is_cordoned) => {
                self.patch_node(node, &json!({"spec": {"unschedulable": is_cordoned}})).await
            }
            Deed::Taint(node, effect) => self.taint(node, effect).await,
            Deed::FailPod(number) => self.fail_pod(number).await,
            Deed::DeletePod(number) => match self.gate.witness(|w| w.pick_pod(number)) {
                None => Ok(()),
                Some(name) => {
                    let pods: Api<Pod> = Api::namespaced(self.user.clone(), NAMESPACE);
                    pods.delete(&name, &DeleteParams::default()).await.map(drop)
                }
            },
            Deed::Template(set, image) => self.set_image(set, image).await,
            Deed::Undo(set) => self.undo(set).await,
            Deed::Edit(set, edit) => self.edit(set, edit).await,
            Deed::Stall(milliseconds) => {
                self.gate.stall(Duration::from_millis(milliseconds));
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            // the object is gone, or the server is away: the deed has no effect
            Err(error) => self.gate.note(&format!("== no effect: {error}")),
        }
        Ok(())
    }

    async fn server_up(&mut self) -> Result<(), String> {
        self.boots += 1;
        let clock = self.clock.clone();
        let config = Config::new(Arc::new(move || clock.now()), self.seed ^ (self.boots << 32));
        let stop = CancellationToken::new();
        let (server, committer) = Server::open(config, Box::new(self.disk.log()), stop.clone())
            .map_err(|error| format!("the server does not start: {error}"))?;
        let storage = Tasks::new();
        storage.spawn_graceful("committer", committer.run(storage.token()));
        server.bootstrap().await.map_err(|status| format!("bootstrap: {status}"))?;
        self.gate.open(server.clone());
        self.server = Some(Running { server, storage, stop });
        Ok(())
    }

    async fn server_down(&mut self, is_crash: bool) {
        let Some(running) = self.server.take() else { return };
        self.gate.close();
        running.stop.cancel();
        if is_crash {
            running.storage.abort();
        } else {
            running.storage.finish(PATIENCE).await;
        }
    }

    fn setup(&self, salt: u64) -> Setup {
        Setup::new(self.clock.clone(), self.seed.wrapping_add(salt))
    }

    fn client(&self, name: &str, identity: Identity) -> kube::Client {
        self.gate.client(Who { name: name.to_owned(), identity, is_spared: false })
    }

    fn start_engine(&mut self) {
        if let Some(before) = self.engine.take() {
            before.tasks.abort();
        }
        let setup = self.setup(1);
        let client = self.client("engine", Identity::controller("daemon-set-controller"));
        let caches = Caches::new(client.clone(), &setup);
        let options = daemonset::Options { setup: setup.clone(), caches, compat: self.compat };
        setup.tasks.spawn("daemonset", daemonset::run(client, options));
        self.engine = Some(setup);
    }

    fn start_others(&mut self) {
        if let Some(before) = self.others.take() {
            before.tasks.abort();
        }
        let setup = self.setup(2);
        let reader = Identity::new("system:kube-controller-manager", &[]);
        let caches = Caches::new(self.client("caches", reader), &setup);
        let options = scheduler::Options { setup: setup.clone(), caches: caches.clone() };
        let client = self.client("scheduler", Identity::new("system:kube-scheduler", &[]));
        setup.tasks.spawn("scheduler", scheduler::run(client, options));
        let gate = Arc::clone(&self.gate);
        let client_for = move |name: &'static str| {
            let identity = Identity::controller(name);
            gate.client(Who { name: name.to_owned(), identity, is_spared: false })
        };
        let options = caretaker::Options {
            setup: setup.clone(),
            caches,
            client_for: Arc::new(client_for),
            authority: None,
            duties: caretaker::Duty::ALL.into_iter().collect(),
            cluster_range: None,
            upstream: self.compat == daemonset::Compat::Upstream,
        };
        let gate = Arc::clone(&self.gate);
        setup.tasks.spawn("caretaker", async move {
            if let Err(error) = caretaker::run(options).await {
                gate.note(&format!("== the caretaker does not start: {error}"));
            }
        });
        self.others = Some(setup);
    }

    /// Deletes the object of a node; a user whom the server does not answer tries again when it is back, or the
    /// node would stay lost though nobody switches it on again.
    async fn remove(&mut self, number: usize) {
        let nodes: Api<Node> = Api::all(self.user.clone());
        match nodes.delete(&node_name(number), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) => self.gate.note(&format!("== no effect: {status}")),
            Err(error) => {
                self.gate.note(&format!("== not now: {error}"));
                self.removals.insert(number);
            }
        }
    }

    fn power_on(&mut self, number: usize) {
        self.removals.remove(&number);
        self.power_off(number);
        let name = node_name(number);
        let mut setup = self.setup(100 + u64::try_from(number).unwrap_or(0));
        setup.clock = self.clock_of(number);
        let mut shape = hollow::NodeShape::new(&name, number);
        let zone = if number == 0 { "b" } else { "a" };
        shape.labels.insert("zone".to_owned(), zone.to_owned());
        let mut stages = hollow::Stage::ordinary();
        for stage in &mut stages {
            stage.spread = 3000;
        }
        let options = hollow::Options { setup: setup.clone(), nodes: vec![shape], stages };
        let identity = Identity::new(&format!("system:node:{name}"), &["system:nodes"]);
        let client = self.client(&name, identity);
        setup.tasks.spawn("hollow", hollow::run(client, options));
        self.nodes.insert(number, setup);
    }

    /// A node's own clock: up to [`SKEW_MAX`] seconds before or after everybody else's.
    fn clock_of(&self, number: usize) -> Clock {
        let number = i64::try_from(number).unwrap_or(0);
        let seed = i64::try_from(self.seed % 1000).unwrap_or(0);
        let skew = (seed * 7 + number * 13) % (2 * SKEW_MAX + 1) - SKEW_MAX;
        let skew = if self.seed == 0 { 0 } else { skew };
        Clock::starting_at(self.clock.now() + jiff::SignedDuration::from_secs(skew))
    }

    fn power_off(&mut self, number: usize) {
        if let Some(node) = self.nodes.remove(&number.min(NODES)) {
            node.tasks.abort();
        }
    }

    async fn create_sets(&self, scenario: &Scenario) -> Result<(), kube::Error> {
        let surge = u32::from(scenario.surges);
        for (name, selector, strategy, min_ready) in [
            ("every", json!({}), rolling(scenario.unavailable_max, 0), 0),
            ("zoned", json!({"zone": "a"}), rolling(1 - surge, surge), scenario.min_ready),
        ] {
            let set = json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
                "spec": {
                    "selector": {"matchLabels": {"app": name}},
                    "updateStrategy": strategy,
                    "minReadySeconds": min_ready,
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {
                            "nodeSelector": selector,
                            "terminationGracePeriodSeconds": 5,
                            "containers": [{"name": "c", "image": "agent:0"}],
                        },
                    },
                },
            });
            let set: DaemonSet = serde_json::from_value(set).map_err(kube::Error::SerdeError)?;
            let sets: Api<DaemonSet> = Api::namespaced(self.user.clone(), NAMESPACE);
            sets.create(&PostParams::default(), &set).await?;
        }
        Ok(())
    }

    async fn set_image(&mut self, set: &'static str, image: u32) -> Result<(), kube::Error> {
        self.put_image(set, image).await?;
        self.images.entry(set).or_default().push(image);
        Ok(())
    }

    /// The image before the last one; the one from the beginning has the number 0.
    async fn undo(&mut self, set: &'static str) -> Result<(), kube::Error> {
        let before = self.images.get(set).and_then(|all| all.iter().nth_back(1)).copied();
        self.set_image(set, before.unwrap_or(0)).await
    }

    async fn edit(&self, set: &str, edit: Edit) -> Result<(), kube::Error> {
        let sets: Api<DaemonSet> = Api::namespaced(self.user.clone(), NAMESPACE);
        let spec = match edit {
            Edit::MinReady(seconds) => json!({"minReadySeconds": seconds}),
            Edit::Unavailable(most) => json!({"updateStrategy": rolling(most, 0)}),
            Edit::Surge => json!({"updateStrategy": rolling(0, 1)}),
            Edit::OnDelete => {
                json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}})
            }
            Edit::Zone(zone) => json!({"template": {"spec": {"nodeSelector": {"zone": zone}}}}),
            Edit::History(limit) => json!({"revisionHistoryLimit": limit}),
        };
        let patch = Patch::Merge(json!({"spec": spec}));
        sets.patch(set, &PatchParams::default(), &patch).await.map(drop)
    }

    async fn put_image(&self, set: &str, image: u32) -> Result<(), kube::Error> {
        let sets: Api<DaemonSet> = Api::namespaced(self.user.clone(), NAMESPACE);
        let containers = json!([{"name": "c", "image": format!("agent:{image}")}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        sets.patch(set, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
    }

    async fn patch_node(&self, node: usize, patch: &Value) -> Result<(), kube::Error> {
        let nodes: Api<Node> = Api::all(self.user.clone());
        let params = PatchParams::default();
        nodes.patch(&node_name(node), &params, &Patch::Merge(patch)).await.map(drop)
    }

    /// Sets our taint, or takes it away; those of others stay.
    async fn taint(&self, node: usize, effect: Option<&str>) -> Result<(), kube::Error> {
        let nodes: Api<Node> = Api::all(self.user.clone());
        let live = nodes.get(&node_name(node)).await?;
        let mut taints = live.spec.and_then(|spec| spec.taints).unwrap_or_default();
        taints.retain(|taint| taint.key != "trouble");
        let mut taints = serde_json::to_value(taints).map_err(kube::Error::SerdeError)?;
        if let (Some(effect), Some(list)) = (effect, taints.as_array_mut()) {
            list.push(json!({"key": "trouble", "effect": effect}));
        }
        let version = live.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        self.patch_node(node, &patch).await
    }

    async fn fail_pod(&self, number: usize) -> Result<(), kube::Error> {
        let Some(name) = self.gate.witness(|witness| witness.pick_pod(number)) else {
            return Ok(());
        };
        let pods: Api<Pod> = Api::namespaced(self.user.clone(), NAMESPACE);
        let status = json!({"status": {"phase": "Failed", "reason": "Trouble"}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
    }
}
