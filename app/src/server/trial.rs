//! A server without a socket, for measurements: the same store, committer and parts, in a folder of its own.

use super::{Running, config, files, parts, setup};
use crate::cli::{Part, ServerFlags};
use apiserver::Server;
use apiserver::identity::{Identity, MASTERS};
use apiserver::pki::{Names, Pki};
use kit::{Setup, Tasks};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A server with all parts, in this process.
pub(crate) struct Trial {
    server: Server,
    running: Running,
    _folder: files::Folder,
}

impl Trial {
    /// Starts it in a folder that is empty or not there.
    pub(crate) async fn start(flags: &ServerFlags, folder: &Path) -> anyhow::Result<Self> {
        Self::start_parts(flags, folder, &[Part::Daemonset, Part::Scheduler, Part::Caretaker]).await
    }

    /// The same with these parts beside the API server.
    pub(crate) async fn start_parts(
        flags: &ServerFlags,
        folder: &Path,
        parts: &[Part],
    ) -> anyhow::Result<Self> {
        let folder = files::Folder::open(folder)?;
        let setup = setup()?;
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let names = Names {
            advertise: address,
            host: crate::host::name(),
            service: flags.service_cluster_ip_range.first(),
        };
        let pki = Pki::open(&folder.pki(), &names, setup.clock.now())?;
        let stop = CancellationToken::new();
        let mut config = config(flags, &setup, SocketAddr::new(address, 0))?;
        config.signing_key = Some(Arc::new(super::SigningKey::open(&folder.pki())?));
        let (server, committer) = Server::open(config, folder.open_log()?, stop.clone())?;
        let storage = Tasks::new();
        storage.spawn_graceful("committer", committer.run(storage.token()));
        let running = Running { setup, storage, front: Tasks::new(), stop };
        server
            .bootstrap()
            .await
            .map_err(|fault| anyhow::anyhow!("cannot write what must exist: {fault}"))?;
        let settings = parts::Settings {
            parts: parts.iter().copied().collect(),
            range: flags.cluster_cidr.for_nodes(flags.node_cidr_mask_size)?,
            signing_duration: caretaker::LIFE_MAX,
            upstream: false,
        };
        parts::start(&settings, &server, &running.setup, &pki);
        Ok(Self { server, running, _folder: folder })
    }

    /// Time and tasks of the server's parts.
    pub(crate) fn setup(&self) -> &Setup {
        &self.running.setup
    }

    /// A client without a socket, with all rights.
    pub(crate) fn client(&self, agent: &'static str) -> kube::Client {
        parts::client(&self.server, Identity::new(agent, &[MASTERS]), agent)
    }

    /// The API itself, for one with all rights.
    pub(crate) fn router(&self, name: &str) -> axum::Router {
        self.server.as_user(Identity::new(name, &[MASTERS]))
    }

    /// Ends it in order, the store last.
    pub(crate) async fn end(self) {
        self.running.down().await;
    }
}
