//! Puts the agent together.

use crate::cgroups::Layout;
use crate::context::{Context, PULLS_MAX};
use crate::cri::{self, Runtime};
use crate::host::{self, Machine};
use crate::node::{self, Facts, Keeper};
use crate::pods::{self, Pods, RuntimeHealth};
use crate::pressure::{self, watch::Told};
use crate::reports::Reports;
use crate::serve::certificate;
use crate::shutdown::Stages;
use crate::tokens::Tokens;
use crate::{Error, Options, cni, files, images, join, rotation, serve, shutdown, tls, words};
use k8s_openapi::api::core::v1::{Node, Pod};
use kit::{Backoff, Cache, Caches, Events, Note, cache::Scope};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// First and longest wait for the runtime; said in the log each time.
const RUNTIME_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long tasks may take to end.
const END_MAX: Duration = Duration::from_secs(5);
/// Cgroup of all pods where `--cgroup-root` says nothing.
const CGROUP_ROOT: &str = "/pernode";

/// The node's name: the one asked for, or the host's.
pub(crate) fn node_name(options: &Options) -> Result<String, Error> {
    let name = options.node_name.clone().unwrap_or_else(host::name);
    let is_part = |part: &str| {
        let is_end =
            |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        is_end(bytes.first())
            && is_end(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    };
    if name.len() <= 253 && name.split('.').all(is_part) {
        Ok(name)
    } else {
        Err(Error::Option {
            option: "--node-name",
            problem: format!("\"{name}\" is no node name: lower-case letters, digits, '-' and '.'"),
        })
    }
}

/// Runs the agent until its tasks are stopped.
///
/// # Errors
/// What waiting cannot mend: unusable options, files that cannot be written, a port that is taken.
pub async fn run(options: Options) -> Result<(), Error> {
    let tasks = options.setup.tasks.clone();
    let begun = tokio::select! {
        biased;
        () = tasks.stopping() => Ok(()),
        begun = begin(&options) => begun,
    };
    if begun.is_ok() {
        tasks.stopping().await;
    }
    let left = tasks.finish(END_MAX).await;
    if !left.is_empty() {
        tracing::warn!("these tasks were cut short: {}", left.join(", "));
    }
    begun?;
    match tasks.panicked() {
        Some(task) => Err(Error::Panicked(task)),
        None => Ok(()),
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one thing after the other, as they depend on each other"
)]
async fn begin(options: &Options) -> Result<(), Error> {
    let setup = &options.setup;
    let name = node_name(options)?;
    let facts = facts(options, &name)?;
    files::make_private_dir(&options.root_dir)?;
    let bound = match options.port {
        0 => None,
        port => Some(serve::bind(port).await?),
    };
    // both at once: whatever is missing is told without waiting for the other
    let found = async { Ok(runtime(options).await) };
    let ((runtime, version), joined) = futures::try_join!(found, join::join(options, &name))?;
    let client = joined.client.clone();
    let facts = Arc::new(Facts {
        addresses: addresses(options).await?,
        runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
        ..facts
    });
    let registered = node::register(&client, &facts).await;
    tracing::info!(node = name, "registered; running pods through {}", facts.runtime_version);
    let uid = registered.metadata.uid.clone();
    setup.tasks.spawn("lease", node::renew(client.clone(), Arc::clone(&facts), uid));
    let port_tls = port_tls(options, &joined, &facts)?;
    setup.tasks.spawn("certificate", join::rotate(options.clone(), name.clone(), joined));
    let events = Events::start(client.clone(), setup, "kubelet", &name);
    let starting = "Starting kubelet.".to_owned();
    events.publish(Note::normal(node_reference(&name), words::reason::STARTING, starting));
    if let Some(text) = node::rebooted(&registered, &facts) {
        events.publish(Note::warning(node_reference(&name), words::reason::REBOOTED, text));
    }
    let (network, network_seen) = watch::channel(Some("not asked yet".to_owned()));
    let (health, health_seen) = watch::channel(RuntimeHealth::default());
    let (stages, _) = watch::channel(None);
    let (pressure, short) = pressure::watch::channel();
    let own_node = Caches::new(client.clone(), setup)
        .some::<Node>(Scope { fields: Some(format!("metadata.name={name}")), ..Scope::default() });
    let keeper = Keeper {
        facts: Arc::clone(&facts),
        client: client.clone(),
        nodes: own_node.clone(),
        events: events.clone(),
        runtime: runtime.clone(),
        health: health_seen,
        stage: stages.subscribe(),
        pressure: short.conditions.clone(),
        network,
    };
    setup.tasks.spawn("node status", keeper.run(registered));
    let reports = Reports::default();
    setup.tasks.spawn("pod status", reports.clone().run(client.clone(), setup.salt));
    let sandbox_image = runtime.setting(&["sandboxImage"]).await;
    let is_systemd = runtime.uses_systemd().await.unwrap_or(false);
    let pod_max_pids = u64::try_from(options.pod_max_pids).ok().filter(|most| *most > 0);
    if pod_max_pids.is_some() && is_systemd {
        tracing::warn!("--pod-max-pids has no effect: systemd owns the cgroups of this runtime");
    }
    let context = Arc::new(Context {
        setup: setup.clone(),
        client: client.clone(),
        runtime,
        events,
        reports,
        name: name.clone(),
        root: options.root_dir.clone(),
        layout: layout()?,
        cgroup_root: options.cgroup_root.clone().unwrap_or_else(|| CGROUP_ROOT.to_owned()),
        is_systemd,
        addresses: facts.addresses.clone(),
        allocatable: facts.allocatable(),
        memory: facts.machine.memory,
        runtime_name: version.runtime_name.into(),
        network: network_seen,
        pulls: Arc::new(Semaphore::new(PULLS_MAX)),
        tokens: Tokens::default(),
        pod_max_pids,
        is_disk_short: watch::channel(false).0,
        images: images::Images::new(sandbox_image),
        has_apparmor: host::has_apparmor(),
        server: tls::Server::parse(&options.server)?.address(),
        pod_logs: PathBuf::from("/var/log/pods"),
        container_logs: PathBuf::from("/var/log/containers"),
    });
    setup.tasks.spawn("logs", rotation::keep(Arc::clone(&context)));
    setup.tasks.spawn("images", images::collect(Arc::clone(&context)));
    let own = (health, stages, short, options.cni == "auto");
    let pods = watch_pods(setup, Arc::clone(&context), own_node, own).await;
    let root = context.root.clone();
    let watching =
        pressure.run(Arc::clone(&context), pods.clone(), move || host::Room::read(&root));
    setup.tasks.spawn("pressure", watching);
    if let Some(listener) = bound {
        setup.tasks.spawn("port", serve::run(listener, port_tls, serve::Port::new(context, pods)));
    }
    Ok(())
}

async fn watch_pods(
    setup: &kit::Setup,
    context: Arc<Context>,
    own_node: Cache<Node>,
    (health, stages, short, brings_network): (watch::Sender<RuntimeHealth>, Stages, Told, bool),
) -> Cache<Pod> {
    let caches = Caches::new(context.client.clone(), setup);
    let by = |fields: String| Scope { fields: Some(fields), ..Scope::default() };
    let own_pods = caches.some::<Pod>(by(format!("spec.nodeName={}", context.name)));
    let called = Arc::new(Notify::new());
    let (has_events, events_seen) = watch::channel(false);
    let listen = pods::listen(Arc::clone(&context), Arc::clone(&called), has_events);
    setup.tasks.spawn("runtime events", listen);
    if brings_network {
        let dir = context.runtime.setting(&["cni", "confDir"]).await.map(PathBuf::from);
        setup.tasks.spawn("pod network", cni::keep(own_node.clone(), dir));
    }
    let caches = (own_pods.clone(), own_node);
    let all = Pods::new(Arc::clone(&context), caches, health, stages.subscribe(), short);
    setup.tasks.spawn("shutdown", shutdown::listen(context, own_pods.clone(), stages));
    setup.tasks.spawn("pods", all.run(called, events_seen));
    own_pods
}

/// What the port speaks; its certificate is asked for and renewed from now on.
fn port_tls(
    options: &Options,
    joined: &join::Joined,
    facts: &Facts,
) -> Result<Arc<rustls::ServerConfig>, Error> {
    let mut names = vec![facts.name.clone()];
    names.extend(facts.addresses.iter().cloned());
    let shown = certificate::own(names.clone())?;
    let tls = certificate::config(joined.roots.clone(), &shown)?;
    let keep = certificate::keep(options.clone(), joined.clone(), facts.name.clone(), names, shown);
    options.setup.tasks.spawn("port certificate", keep);
    Ok(tls)
}

/// The node, as events name it.
pub(crate) fn node_reference(name: &str) -> k8s_openapi::api::core::v1::ObjectReference {
    k8s_openapi::api::core::v1::ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        // upstream's kubelet speaks of a node by its name, so that `describe node` finds the events
        uid: Some(name.to_owned()),
        ..k8s_openapi::api::core::v1::ObjectReference::default()
    }
}

fn layout() -> Result<Layout, Error> {
    Layout::read().map_err(|source| Error::File {
        doing: "reading",
        path: Path::new("/proc/self/mounts").to_path_buf(),
        source,
    })
}

/// Everything about the node that needs no network.
fn facts(options: &Options, name: &str) -> Result<Facts, Error> {
    let wrong = |option: &'static str| move |problem: String| Error::Option { option, problem };
    let labels = options.node_labels.as_deref().unwrap_or_default();
    let taints = options.node_taints.as_deref().unwrap_or_default();
    if !["auto", "off"].contains(&options.cni.as_str()) {
        let problem = format!("\"{}\" is neither auto nor off", options.cni);
        return Err(Error::Option { option: "--cni", problem });
    }
    // checked here, so that a typing error is told at once
    tls::Server::parse(&options.server)?;
    Ok(Facts {
        setup: options.setup.clone(),
        name: name.to_owned(),
        addresses: Vec::new(),
        version: options.version.clone(),
        runtime_version: String::new(),
        labels: node::parse_labels(labels).map_err(wrong("--node-labels"))?,
        taints: node::parse_taints(taints).map_err(wrong("--node-taints"))?,
        port: options.port,
        root: options.root_dir.clone(),
        machine: Machine::read(),
        pods_max: options.max_pods,
        reserved: node::parse_reserved(options.reserved.as_deref().unwrap_or_default())
            .map_err(wrong("--reserved"))?,
    })
}

async fn addresses(options: &Options) -> Result<Vec<String>, Error> {
    if let Some(text) = &options.node_ip {
        let all: Result<Vec<IpAddr>, _> = text.split(',').map(|one| one.trim().parse()).collect();
        let all = all.map_err(|_| Error::Option {
            option: "--node-ip",
            problem: format!("\"{text}\" is no IP address"),
        })?;
        return Ok(all.iter().map(ToString::to_string).collect());
    }
    let server = tls::Server::parse(&options.server)?;
    let own = server.route().await.map_err(|error| Error::Option {
        option: "--node-ip",
        problem: format!("needed, as the way to the server does not tell it: {error}"),
    })?;
    Ok(vec![own.to_string()])
}

/// Waits for the runtime, saying where it was looked for.
async fn runtime(options: &Options) -> (Runtime, cri::v1::VersionResponse) {
    let mut backoff = Backoff::new(RUNTIME_RETRY.0, RUNTIME_RETRY.1, options.setup.salt);
    loop {
        let problem = match cri::socket(options.runtime_endpoint.as_deref()) {
            Ok(socket) => {
                let runtime = Runtime::new(&socket);
                match runtime.version().await {
                    Ok(version) => return (runtime, version),
                    Err(failure) => format!(
                        "the container runtime at {} does not answer CRI v1: {failure}; is it running, and its CRI \
                         plugin not disabled?",
                        socket.display()
                    ),
                }
            }
            Err(tried) => {
                let tried: Vec<String> =
                    tried.iter().map(|path| path.display().to_string()).collect();
                format!(
                    "no container runtime: there is no socket at {}; start containerd, or name its socket with \
                     --runtime-endpoint",
                    tried.join(", ")
                )
            }
        };
        let wait = backoff.failed();
        tracing::warn!("{problem}; next try in {wait:.1?}");
        tokio::time::sleep(wait).await;
    }
}
