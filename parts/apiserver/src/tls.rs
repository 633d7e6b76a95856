//! HTTPS: the sockets in front of the router.
//!
//! One task accepts; every connection is a task of its set, so that a shutdown can wait for all and end what
//! does not end by itself. HTTP/1.1 and HTTP/2 by ALPN. A client certificate is asked for, never demanded; one
//! that does not chain to our CA ends the handshake.

use crate::authenticate::Peer;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Connections open at once. One for each of 100,000 agents and a tenth as many for people and machines; more
/// wait in the kernel's queue. About 30 KiB each for TLS and HTTP/2 state: 3.3 GB when full.
pub const CONNECTIONS_MAX: usize = 110_000;
/// Handshakes under way at once; each costs about 1 ms of processor time, so these are a second of two cores.
/// A restart lets 100,000 agents come back at once: the rest wait their turn.
pub const HANDSHAKES_MAX: usize = 2_000;
/// How long a handshake may take; slow clients must not hold the places of others.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the headers of an HTTP/1 request may take, and how long its connection may rest before them: upstream's 32 s.
/// Agents renew their lease every 10 s over one connection, which must not be closed under them.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Bytes of headers of one request.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Requests at once on one HTTP/2 connection: a process with one informer for each of 40 kinds and two hundred
/// calls under way; as upstream's limit of 250.
pub const STREAMS_MAX: u32 = 250;
/// An idle HTTP/2 connection is asked whether it lives after this long. 100,000 agents make 3,334 pings a
/// second, about 1 % of a core; a dead agent's connection is freed after this and [`PING_TIMEOUT`].
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long an answer to that may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// After a failed accept (no file descriptors left, for instance) nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections open now.
    pub open: AtomicU64,
    /// Handshakes that failed since the start.
    pub refused: AtomicU64,
}

/// A server configuration: our certificate, client certificates of our CA if shown, TLS 1.2 and 1.3.
pub fn config(ca: &str, certificate: &str, key: &str) -> Result<ServerConfig, rustls::Error> {
    let bad = |what: &str| rustls::Error::General(format!("{what} is no PEM"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let authority =
        CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|_| bad("the CA's certificate"))?;
    roots.add(authority.clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|fault| rustls::Error::General(fault.to_string()))?;
    let mut chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| bad("the serving certificate"))?;
    // the authority's own certificate goes along: a node that joins knows only the hash of its key
    chain.push(authority);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| bad("the serving key"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // tickets instead of a table of sessions: 100,000 agents would not fit one
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

/// Accepts connections and serves `router` on them until `stop` is cancelled; then tells every connection to end
/// after its present requests and waits for that, `patience` at most. Requests carry [`Peer`] when a client
/// certificate was shown, and [`axum::extract::ConnectInfo`]`<SocketAddr>`.
pub async fn serve(
    listener: TcpListener,
    config: ServerConfig,
    router: Router,
    counts: Arc<Counts>,
    stop: CancellationToken,
    patience: Duration,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let handshakes = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if connections.len() >= CONNECTIONS_MAX => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let connection = Connection {
                    acceptor: acceptor.clone(),
                    handshakes: Arc::clone(&handshakes),
                    router: router.clone(),
                    counts: Arc::clone(&counts),
                    stop: stop.clone(),
                };
                connections.spawn(connection.run(stream, remote));
            }
            Err(fault) => {
                tracing::warn!(%fault, "cannot accept a connection; is the limit of open files too low?");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(patience, ended).await.is_err() {
        tracing::info!(
            open = connections.len(),
            "ending connections that did not end by themselves"
        );
        connections.shutdown().await;
    }
}

struct Connection {
    acceptor: TlsAcceptor,
    handshakes: Arc<tokio::sync::Semaphore>,
    router: Router,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

/// Counts a connection as open while it lives, however it ends.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    async fn run(self, stream: TcpStream, remote: SocketAddr) {
        let _open = Open::new(&self.counts);
        // small answers leave at once
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(%remote, %fault, "cannot set TCP_NODELAY");
        }
        let handshake = async {
            let _place = self.handshakes.acquire().await.ok()?;
            timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream))
                .await
                .ok()?
                .inspect_err(|fault| tracing::debug!(%remote, %fault, "a TLS handshake failed"))
                .ok()
        };
        let Some(stream) = handshake.await else {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let peer = peer(stream.get_ref().1);
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            request.extensions_mut().insert(axum::extract::ConnectInfo(remote));
            router.clone().oneshot(request.map(Body::new))
        });
        let builder = builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(fault) = ended {
            tracing::debug!(%remote, %fault, "a connection ended");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Who is at the other end, from the certificate that the handshake verified. A certificate that names nobody
/// counts as none.
fn peer(connection: &rustls::ServerConnection) -> Option<Peer> {
    let leaf = connection.peer_certificates()?.first()?;
    Peer::from_certificate(leaf)
}
