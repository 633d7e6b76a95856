//! Wires the engine as a controller of somebody else's cluster: an ordinary client, one leader among several, and
//! nobody else doing the same work.
//!
//! Each part is led by who holds its Lease. The end is one of three: a signal (0), a Lease that could not be kept
//! (1), another DaemonSet controller at work (3).

mod lease;
mod rival;
mod turn;

use crate::cli::{EngineFlags, Part};
use crate::host;
use anyhow::Context;
use axum::Router;
use axum::routing::get;
use daemonset::Compat;
use futures::future::{BoxFuture, select_all};
use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use kit::metrics::{Gauges, named};
use kit::{Caches, Setup};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lease::Lease;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tower::limit::RateLimitLayer;
use tower::util::{MapRequestLayer, option_layer};
pub(crate) use turn::Timings;

/// What the process answers when it met another DaemonSet controller.
const MET_RIVAL: u8 = 3;
/// How long tasks may take to end, before the Leases are given up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long giving up a Lease may take.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);

/// Why the work ended.
enum End {
    /// Somebody else does it too.
    Rival(String),
    /// The Lease of a part could not be kept.
    Lost(&'static str, String),
}

/// Figures of this command.
#[derive(Clone)]
struct Figures {
    leader: Gauges,
    rivals: Gauges,
}

pub(crate) async fn run(flags: EngineFlags) -> anyhow::Result<ExitCode> {
    let setup = crate::server::setup()?;
    let config = config(&flags).await?;
    let figures = figures(&setup);
    serve(&setup, flags.listen).await?;
    let parts: Vec<Part> = flags.parts().into_iter().collect();
    let mut leases = Vec::new();
    let mut campaigns: Vec<BoxFuture<'_, End>> = Vec::new();
    for part in parts {
        let name = name_of(part)?;
        let client = client(&config, name, None)?;
        let identity = format!("{}_{:016x}", host::name(), setup.salt);
        let lease =
            Lease::new(client, &flags.lease_namespace, name, &identity, flags.timings()?, &setup);
        leases.push(lease.clone());
        let limited = client_limited(&config, &flags, name)?;
        let campaign = Campaign {
            part,
            name,
            lease: flags.leader_elect.then_some(lease),
            client: limited,
            setup: setup.clone(),
            figures: figures.clone(),
            upstream: flags.compat.is_some(),
        };
        campaigns.push(Box::pin(campaign.run()));
    }
    let ended = tokio::select! {
        signal = crate::server::signal() => { tracing::info!(signal = signal?, "stopping"); None }
        (end, _, _) = select_all(campaigns) => Some(end),
        () = setup.tasks.stopping() => None,
    };
    // nothing is written after this, so another may lead at once
    setup.tasks.finish(PATIENCE).await;
    let releases = futures::future::join_all(leases.iter().map(Lease::release));
    if tokio::time::timeout(RELEASE_PATIENCE, releases).await.is_err() {
        tracing::warn!(
            "leases were not given up in time; another engine has to wait for their end"
        );
    }
    answer(&setup, ended)
}

fn answer(setup: &Setup, ended: Option<End>) -> anyhow::Result<ExitCode> {
    if let Some(task) = setup.tasks.panicked() {
        anyhow::bail!("the task {task:?} panicked; see the log above");
    }
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(End::Lost(name, why)) => anyhow::bail!("the lease {name} is lost: {why}"),
        Some(End::Rival(what)) => {
            tracing::error!(
                what,
                "another DaemonSet controller is at work in this cluster; stopped writing. Stop the other one \
                 (kube-controller-manager: --controllers=*,-daemonset-controller), then start this again"
            );
            Ok(ExitCode::from(MET_RIVAL))
        }
    }
}

/// One part, from candidate to leader.
struct Campaign {
    part: Part,
    name: &'static str,
    lease: Option<Lease>,
    client: Client,
    setup: Setup,
    figures: Figures,
    upstream: bool,
}

impl Campaign {
    async fn run(self) -> End {
        let leader = self.figures.leader.get_or_create(&named(self.name)).clone();
        leader.set(0);
        if let Some(lease) = &self.lease {
            lease.acquire().await;
        }
        leader.set(1);
        tracing::info!(part = self.name, "leading");
        // a rival is known by what it wrote
        let caches = Caches::new(self.client.clone(), &self.setup).with_managers();
        self.start(&caches);
        let rival = async {
            if self.part == Part::Daemonset {
                rival::appears(&caches).await
            } else {
                std::future::pending().await
            }
        };
        let lost = async {
            match &self.lease {
                Some(lease) => lease.hold().await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            what = rival => {
                self.figures.rivals.get_or_create(&named(self.name)).set(1);
                End::Rival(what)
            }
            why = lost => End::Lost(self.name, why),
        };
        self.setup.tasks.stop();
        leader.set(0);
        end
    }

    fn start(&self, caches: &Caches) {
        let (setup, client) = (self.setup.clone(), self.client.clone());
        let caches = caches.clone();
        let tasks = setup.tasks.clone();
        match self.part {
            Part::Apiserver => {}
            Part::Daemonset => {
                let compat = if self.upstream { Compat::Upstream } else { Compat::Ours };
                let options = daemonset::Options { setup, caches, compat };
                tasks.spawn("daemonset", daemonset::run(client, options));
            }
            Part::Scheduler => {
                let options = scheduler::Options { setup, caches };
                tasks.spawn("scheduler", scheduler::run(client, options));
            }
            Part::Caretaker => {
                let options = caretaker::Options {
                    setup,
                    caches,
                    client_for: Arc::new(move |_| client.clone()),
                    // certificates and address ranges are the cluster's own affair
                    authority: None,
                    duties: caretaker::Duty::ALL.into_iter().collect(),
                    cluster_range: None,
                    upstream: self.upstream,
                };
                let ending = tasks.clone();
                tasks.spawn("caretaker", async move {
                    if let Err(fault) = caretaker::run(options).await {
                        tracing::error!(%fault, "the caretaker cannot start; everything is being stopped");
                        ending.stop();
                    }
                });
            }
        }
    }
}

/// The name of a part's Lease, and of its requests.
fn name_of(part: Part) -> anyhow::Result<&'static str> {
    match part {
        Part::Apiserver => anyhow::bail!(
            "--parts: the API is the cluster's own; name daemonset, scheduler or caretaker"
        ),
        Part::Daemonset => Ok("pernode-daemonset"),
        Part::Scheduler => Ok("pernode-scheduler"),
        Part::Caretaker => Ok("pernode-caretaker"),
    }
}

async fn config(flags: &EngineFlags) -> anyhow::Result<Config> {
    let path = &flags.kubeconfig;
    let read = Kubeconfig::read_from(path)
        .with_context(|| format!("{}: cannot read the kubeconfig", path.display()))?;
    Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{}: cannot use the kubeconfig", path.display()))
}

/// A client that waits when it asks more often than it may.
fn client_limited(
    config: &Config,
    flags: &EngineFlags,
    name: &'static str,
) -> anyhow::Result<Client> {
    let (rate, burst) = (flags.kube_api_qps, flags.kube_api_burst);
    anyhow::ensure!(rate > 0.0 && burst > 0, "--kube-api-qps and --kube-api-burst must be above 0");
    let window = Duration::try_from_secs_f64(f64::from(burst) / rate)
        .context("--kube-api-qps is too small for --kube-api-burst")?;
    client(config, name, Some(RateLimitLayer::new(u64::from(burst), window)))
}

fn client(
    config: &Config,
    name: &'static str,
    limit: Option<RateLimitLayer>,
) -> anyhow::Result<Client> {
    let mut config = config.clone();
    config.headers.push((USER_AGENT, HeaderValue::from_static(name)));
    let builder = ClientBuilder::try_from(config).context("cannot make a client")?;
    let signed = MapRequestLayer::new(|mut request: Request<Body>| {
        if let Some(uri) = rival::signed(request.uri()) {
            *request.uri_mut() = uri;
        }
        request
    });
    Ok(builder.with_layer(&signed).with_layer(&option_layer(limit)).build())
}

fn figures(setup: &Setup) -> Figures {
    let figures = Figures { leader: Gauges::default(), rivals: Gauges::default() };
    let metrics = &setup.metrics;
    let help = "Whether this process leads a part";
    metrics.register("pernode_engine_leader", help, figures.leader.clone());
    let help = "Whether another DaemonSet controller was met; this process then stops";
    metrics.register("pernode_engine_rival", help, figures.rivals.clone());
    figures
}

/// `/healthz`, `/livez`, `/readyz` and `/metrics`, without TLS: bind it where only you can reach it.
async fn serve(setup: &Setup, address: SocketAddr) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another address with --listen")
    })?;
    let metrics = setup.metrics.clone();
    let ok = || async { "ok" };
    let router = Router::new()
        .route("/healthz", get(ok))
        .route("/livez", get(ok))
        .route("/readyz", get(ok))
        .route("/metrics", get(move || std::future::ready(metrics.encode())));
    say(&format!("metrics on http://{}/metrics", listener.local_addr()?));
    setup.tasks.spawn("health and metrics", async move {
        if let Err(fault) = axum::serve(listener, router).await {
            tracing::error!(%fault, "health and metrics are served no longer");
        }
    });
    Ok(())
}

#[expect(clippy::print_stdout, reason = "tells the address when the port was chosen by the system")]
fn say(line: &str) {
    println!("{line}");
}
