//! Wires the server: files, store, API, parts; and takes it down again in order.
//!
//! Up: data folder and lock, socket, certificates, store, API (answers `/livez`), what must exist (then
//! `/readyz`), kubeconfig and join token, parts. Down: parts, then requests under way, then the store, so that
//! nothing acknowledged is lost and nothing new begins.

mod files;
mod parts;
mod trial;

pub(crate) use trial::Trial;

use crate::cli::{Part, ServerFlags};
use crate::host;
use anyhow::{Context, bail};
use apiserver::authenticate::SigningKey;
use apiserver::pki::{Names, Pki};
use apiserver::{Config, Server, tls};
use kit::{Clock, Setup, Tasks};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long parts may take to end.
const PARTS_PATIENCE: Duration = Duration::from_secs(3);
/// How long requests under way may take to end; watches are ended by the server itself.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(5);
/// How long the store may take to write what it holds back (at most a second old) and close.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// Time, tasks, figures and a salt of this process.
pub(crate) fn setup() -> anyhow::Result<Setup> {
    Ok(Setup::new(Clock::system(), seed()?))
}

/// Bytes nobody can foresee, from the operating system.
fn seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    files::random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Returns the name of the signal that asks the process to end.
pub(crate) async fn signal() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

pub(crate) async fn run(flags: ServerFlags) -> anyhow::Result<ExitCode> {
    let began = tokio::time::Instant::now();
    refuse_what_is_not_there(&flags)?;
    let settings = parts::Settings {
        parts: flags.parts(),
        range: flags.cluster_cidr.for_nodes(flags.node_cidr_mask_size).context("--cluster-cidr")?,
        signing_duration: flags.cluster_signing_duration.unwrap_or(caretaker::LIFE_MAX),
        upstream: flags.compat.is_some(),
    };
    host::raise_open_files();
    let folder = files::Folder::open(&flags.data_dir)?;
    let listener = listen(flags.listen).await?;
    let port = listener.local_addr().context("the socket has no address")?.port();
    let advertise = advertise(&flags);
    let url = format!("https://{}", SocketAddr::new(advertise, port));
    let setup = setup()?;
    let names =
        Names { advertise, host: host::name(), service: flags.service_cluster_ip_range.first() };
    let pki = Pki::open(&folder.pki(), &names, setup.clock.now())?;
    folder.write_kubeconfig(&url, &pki)?;
    let tls = tls::config(&pki.ca.certificate, &pki.serving.certificate, &pki.serving.key)
        .context("cannot use the serving certificate")?;

    tracing::debug!(elapsed = ?began.elapsed(), "certificates are there");

    let stop = CancellationToken::new();
    let log = folder.open_log()?;
    let mut config = config(&flags, &setup, SocketAddr::new(advertise, port))?;
    config.signing_key = Some(Arc::new(SigningKey::open(&folder.pki())?));
    config.kubelet = Some(kubelet(&pki)?);
    let (server, committer) = Server::open(config, log, stop.clone())
        .map_err(|fault| files::damaged(&flags.data_dir, &fault))?;
    tracing::debug!(elapsed = ?began.elapsed(), "the store is open");
    // two sets: the store has to outlive everybody who writes to it
    let storage = Tasks::new();
    storage.spawn_graceful("committer", committer.run(storage.token()));
    let front = Tasks::new();
    let counts = Arc::new(tls::Counts::default());
    front.spawn_graceful(
        "https",
        tls::serve(listener, tls, server.router(), counts, stop.clone(), REQUESTS_PATIENCE),
    );
    let running = Running { setup, storage, front, stop };
    let told = async {
        server
            .bootstrap()
            .await
            .map_err(|fault| anyhow::anyhow!("cannot write what must exist: {fault}"))?;
        tracing::debug!(elapsed = ?began.elapsed(), "what must exist is there");
        publish(&server).await;
        running.front.spawn("service kubernetes", keep_published(server.clone()));
        let token = folder.keep_join_token(&server, running.setup.clock.now()).await?;
        parts::start(&settings, &server, &running.setup, &pki);
        files::greet(&folder, &url, &token, pki.ca_hash(), began.elapsed());
        anyhow::Ok(())
    };
    let told = told.await;
    let ended = match told {
        Ok(()) => running.until_told().await,
        Err(fault) => Err(fault),
    };
    running.down().await;
    ended
}

/// How often the service `kubernetes` and what is behind it are brought back (upstream's `EndpointInterval`).
const PUBLISH_PERIOD: Duration = Duration::from_secs(10);

async fn publish(server: &Server) {
    if let Err(fault) = server.publish().await {
        tracing::warn!(%fault, "the service kubernetes does not say where this server is");
    }
}

async fn keep_published(server: Server) {
    loop {
        // A period, as upstream's: who deletes the service gets it back within it.
        tokio::time::sleep(PUBLISH_PERIOD).await;
        publish(&server).await;
    }
}

/// Everything that runs.
struct Running {
    setup: Setup,
    storage: Tasks,
    front: Tasks,
    stop: CancellationToken,
}

impl Running {
    /// Waits for a signal, or for a task that panicked.
    async fn until_told(&self) -> anyhow::Result<ExitCode> {
        tokio::select! {
            signal = signal() => {
                tracing::info!(signal = signal?, "stopping");
                return Ok(ExitCode::SUCCESS);
            }
            () = self.setup.tasks.stopping() => {}
            () = self.front.stopping() => {}
            () = self.storage.stopping() => {}
        }
        let sets = [&self.setup.tasks, &self.front, &self.storage];
        match sets.iter().find_map(|set| set.panicked()) {
            Some(task) => bail!("the task {task:?} panicked; see the log above"),
            None => bail!("a task set ended by itself; see the log above"),
        }
    }

    async fn down(self) {
        self.stop.cancel();
        tracing::debug!("stopping parts");
        for task in self.setup.tasks.finish(PARTS_PATIENCE).await {
            tracing::warn!(%task, "ended a task that did not end by itself");
        }
        tracing::debug!("waiting for requests under way");
        // its own patience is inside; a second more to end what is left
        self.front.finish(REQUESTS_PATIENCE + Duration::from_secs(1)).await;
        tracing::debug!("closing the store");
        for task in self.storage.finish(STORE_PATIENCE).await {
            tracing::error!(%task, "the store did not close in time; heartbeats of the last second may be lost");
        }
    }
}

/// What the server shows to nodes, and whom it believes there.
fn kubelet(pki: &Pki) -> anyhow::Result<apiserver::relay::Kubelet> {
    apiserver::relay::Kubelet::new(&pki.ca.certificate, &pki.kubelet.certificate, &pki.kubelet.key)
        .context("cannot use the certificate for nodes")
}

/// Flags that are accepted on the command line but mean something that is not there yet.
fn refuse_what_is_not_there(flags: &ServerFlags) -> anyhow::Result<()> {
    if !flags.parts().contains(&Part::Apiserver) {
        bail!("--parts must name apiserver: the other parts of a server live on the API inside it");
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let found = TcpListener::bind(address).await;
    found.map_err(|fault| match fault.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: the port is taken; stop who has it, or choose another with --listen"
        ),
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "cannot listen on {address}: no permission; choose a port above 1023 with --listen"
        ),
        std::io::ErrorKind::AddrNotAvailable => anyhow::anyhow!(
            "cannot listen on {address}: this machine has no such address; choose another with --listen"
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {fault}; choose another address with --listen"),
    })
}

fn advertise(flags: &ServerFlags) -> IpAddr {
    let given = flags.advertise_address;
    let bound = Some(flags.listen.ip()).filter(|ip| !ip.is_unspecified());
    given.or(bound).unwrap_or_else(host::outward_address)
}

/// On in a whole server, beside the library's own: caretaker gives every namespace its account and the authority's
/// certificate, and agents mount tokens.
const PLUGINS_ON: &[&str] = &["ServiceAccount"];

fn config(flags: &ServerFlags, setup: &Setup, advertise: SocketAddr) -> anyhow::Result<Config> {
    let clock = setup.clock.clone();
    let mut config = Config::new(Arc::new(move || clock.now()), seed()?);
    config.advertise = advertise.to_string();
    config.audience.clone_from(&flags.service_account_issuer);
    config.event_ttl = flags.event_ttl;
    config.service_range = flags.service_cluster_ip_range.parts();
    config.node_ports = flags.service_node_port_range;
    let enabled = PLUGINS_ON.iter().map(|name| (*name).to_owned());
    config.plugins = apiserver::admit::admission::Plugins::switched(
        &enabled.chain(flags.enable_admission_plugins.iter().cloned()).collect::<Vec<_>>(),
        &flags.disable_admission_plugins,
    )
    .map_err(anyhow::Error::msg)?;
    let figures = setup.metrics.clone();
    config.figures = Some(Arc::new(move || figures.encode()));
    config.tokens = flags.token_auth_file.as_deref().map(files::static_tokens).transpose()?;
    Ok(config)
}
