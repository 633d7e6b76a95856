//! A node's port: where it is, and a connection on which it has proved its name.

use super::pipe;
use crate::server::Inner;
use api::Status;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest wait for a connection to a node, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the head of a node's answer (upstream: 30 s for streams to be made).
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Port of a node that names none.
const USUAL_PORT: u16 = 10250;
/// Common names of nodes' certificates are this and the node's name.
const NODE_PREFIX: &str = crate::identity::NODE_PREFIX;

/// What the server shows to nodes, and whom it believes.
#[derive(Clone)]
pub struct Kubelet {
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kubelet(…)")
    }
}

impl Kubelet {
    /// Believes certificates of `ca`, shows `certificate`; all PEM.
    ///
    /// # Errors
    /// One of them is no PEM, or key and certificate do not fit.
    pub fn new(ca: &str, certificate: &str, key: &str) -> Result<Self, rustls::Error> {
        let bad = |what: &str| rustls::Error::General(format!("{what} is no PEM"));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|_| bad("the CA"))?)?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| bad("the certificate for nodes"))?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| bad("the key for nodes"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { tls: Arc::new(tls) })
    }
}

/// Where a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    node: String,
    pub(super) address: String,
    pub(super) port: u16,
    /// The certificate must name this very node. Off only where there is nobody to ask.
    pub(super) insist_on_name: bool,
}

impl Place {
    /// From a Node's status. Addresses are preferred as `kubeadm` sets upstream's flag, and names come last: they
    /// need somebody who resolves them.
    pub(super) fn of(name: &str, node: &Value) -> Result<Self, String> {
        let empty = Vec::new();
        let list = node.pointer("/status/addresses").and_then(Value::as_array).unwrap_or(&empty);
        let find = |kind: &&str| {
            let one = list.iter().find(|one| one["type"] == **kind)?;
            one["address"].as_str().filter(|address| !address.is_empty())
        };
        let order = ["InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname"];
        let known: Vec<String> = list.iter().map(ToString::to_string).collect();
        let address = order.iter().find_map(find).ok_or_else(|| {
            format!("no preferred addresses found; known addresses: [{}]", known.join(" "))
        })?;
        let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port");
        let port = port.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        Ok(Self {
            node: name.to_owned(),
            address: address.to_owned(),
            port: port.filter(|port| *port > 0).unwrap_or(USUAL_PORT),
            insist_on_name: true,
        })
    }

    /// `host:port`, as in a URL.
    pub(super) fn authority(&self) -> String {
        match self.address.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            _ => format!("{}:{}", self.address, self.port),
        }
    }

    async fn connect(&self, kubelet: &Kubelet) -> Result<TlsStream<TcpStream>, String> {
        let authority = self.authority();
        let name = ServerName::try_from(self.address.clone())
            .map_err(|_| format!("dial tcp {authority}: no usable host"))?;
        let tcp = TcpStream::connect((self.address.as_str(), self.port))
            .await
            .map_err(|error| format!("dial tcp {authority}: connect: {}", go_text(&error)))?;
        tcp.set_nodelay(true).map_err(|error| format!("dial tcp {authority}: {error}"))?;
        let tls = TlsConnector::from(Arc::clone(&kubelet.tls))
            .connect(name, tcp)
            .await
            .map_err(|error| format!("tls: failed to verify certificate: {error}"))?;
        let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.and_then(|leaf| crate::authenticate::Peer::from_certificate(leaf));
        let shown = shown.map(|peer| peer.identity.user).unwrap_or_default();
        if self.insist_on_name && shown != format!("{NODE_PREFIX}{}", self.node) {
            return Err(format!(
                "tls: failed to verify certificate: it is {shown:?}, not node {:?}",
                self.node
            ));
        }
        Ok(tls)
    }
}

/// The words of Go's net package for the commonest failure, which people search for.
pub(super) fn go_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

impl Inner {
    /// Sends one request on a connection of its own and answers when the head of the answer is there. The connection
    /// lives as long as its body or what it was upgraded to, and ends with the server.
    pub(super) async fn send(
        &self,
        place: &Place,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Status> {
        let (method, path) = (request.method().clone(), request.uri().clone());
        let is_upgrade = pipe::is_upgrade(request.headers());
        let failed = |why: &str| {
            if is_upgrade {
                Status::internal(&format!("error dialing backend: {why}"))
            } else {
                let verb = format!(
                    "{}{}",
                    &method.as_str()[..1],
                    method.as_str()[1..].to_ascii_lowercase()
                );
                let place = place.authority();
                Status::failure(500, "", format!("{verb} \"https://{place}{path}\": {why}"))
            }
        };
        let Some(kubelet) = &self.config.kubelet else {
            return Err(failed("this server has no certificate for nodes"));
        };
        let connected = tokio::time::timeout(CONNECT_MAX, place.connect(kubelet)).await;
        let authority = place.authority();
        let tls = connected
            .unwrap_or_else(|_| Err(format!("dial tcp {authority}: i/o timeout")))
            .map_err(|why| failed(&why))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|error| failed(&error.to_string()))?;
        let stop = self.stop.clone();
        self.relays.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = connection.with_upgrades() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection to a node ended");
                    }
                }
            }
        });
        let head = tokio::time::timeout(HEAD_MAX, sender.send_request(request)).await;
        match head {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failed(&error.to_string())),
            Err(_) => Err(failed("net/http: timeout awaiting response headers")),
        }
    }
}
