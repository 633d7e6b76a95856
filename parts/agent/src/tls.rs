//! Keys, certificates and the connection to the API server.

use crate::Error;
use http::Uri;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::RwLock;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

/// Longest wait for a connection to the server.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the beginning of an answer: longer than the minute that upstream's server gives itself, so that a
/// server which is alive always has the word.
const ANSWER_MAX: Duration = Duration::from_secs(70);
/// An unused connection is not used again after this time: servers close idle ones, often after half a minute.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// A silent connection is tested after this time, so that a server that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The server's address as `https://host:port` without a path.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Scheme, host and port.
    pub(crate) base: Uri,
    name: ServerName<'static>,
}

impl Server {
    /// Reads `--server`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::Option {
            option: "--server",
            problem: format!("\"{text}\" {problem}; write https://HOST:PORT"),
        };
        let base: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong("is not a URL"))?;
        if base.scheme_str() != Some("https") {
            return Err(wrong("does not begin with https://"));
        }
        let host = base.host().ok_or_else(|| wrong("names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| wrong("names no usable host"))?;
        Ok(Self { base, name })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> (String, u16) {
        let host = self.base.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (host.to_owned(), self.base.port_u16().unwrap_or(443))
    }

    /// Our own address on the way to the server.
    pub(crate) async fn route(&self) -> io::Result<IpAddr> {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
        // connecting a datagram socket sends nothing; it only chooses the route
        socket.connect(self.address()).await?;
        Ok(socket.local_addr()?.ip())
    }
}

/// The key and certificate in use; whoever holds it presents the newest one at the next handshake.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    key: RwLock<Option<Arc<CertifiedKey>>>,
    /// How often it was set.
    generation: AtomicU64,
}

impl Identity {
    /// Uses this key and chain from now on.
    pub(crate) fn set(&self, chain_pem: &str, key_pem: &str) -> Result<(), String> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let key =
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| error.to_string())?;
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| error.to_string())?;
        *self.key.write() = Some(Arc::new(certified));
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// What is presented.
    pub(crate) fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.key.read().clone()
    }
}

/// A pool of connections, all of which show the newest certificate: a connection keeps the one of its handshake, and the
/// server refuses what comes over it once that one has ended. Answers that are under way end on the old connections.
struct Pool<C> {
    make: Box<dyn Fn() -> C + Send + Sync>,
    identity: Option<Arc<Identity>>,
    current: RwLock<(u64, C)>,
}

impl<C: Clone> Pool<C> {
    fn new(identity: Option<Arc<Identity>>, make: impl Fn() -> C + Send + Sync + 'static) -> Self {
        let current = RwLock::new((generation(identity.as_deref()), make()));
        Self { make: Box::new(make), identity, current }
    }

    fn current(&self) -> C {
        let newest = generation(self.identity.as_deref());
        let (known, pool) = self.current.read().clone();
        if known == newest {
            return pool;
        }
        let fresh = (self.make)();
        *self.current.write() = (newest, fresh.clone());
        fresh
    }
}

fn generation(identity: Option<&Identity>) -> u64 {
    identity.map_or(0, |identity| identity.generation.load(Ordering::Acquire))
}

#[derive(Debug)]
struct Present(Arc<Identity>);

impl ResolvesClientCert for Present {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.current()
    }

    fn has_certs(&self) -> bool {
        self.0.current().is_some()
    }
}

/// Certificates of the authority, from PEM.
pub(crate) fn authority(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(roots) }
}

/// Trusts the authority and shows `identity`, or nothing.
pub(crate) fn client_config(
    roots: RootCertStore,
    identity: Option<Arc<Identity>>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Trust(error.to_string()))?
        .with_root_certificates(roots);
    let config = match identity {
        Some(identity) => {
            let mut config = builder.with_client_cert_resolver(Arc::new(Present(identity)));
            // a session that is resumed has the certificate of its first handshake, which ends before the session does
            config.resumption = rustls::client::Resumption::disabled();
            config
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// `sha256:HEX` of a certificate's public key.
pub(crate) fn public_key_hash(certificate: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(parsed.public_key().raw) {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

/// Accepts every certificate: used once, to look at the chain before deciding about trust. Nothing is sent over it.
#[derive(Debug)]
struct Look(Arc<CryptoProvider>);

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS without a look at who is there: for probes, and to see a chain before deciding about trust.
async fn unverified(
    tcp: TcpStream,
    name: ServerName<'static>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Look(provider())))
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// TLS for probes, which do not check certificates (spec E42).
pub(crate) async fn connect_unverified(
    tcp: TcpStream,
    host: &str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    unverified(tcp, name).await
}

/// The chain that the server shows, unverified.
pub(crate) async fn chain_of(server: &Server) -> io::Result<Vec<CertificateDer<'static>>> {
    let connect = async {
        let tcp = TcpStream::connect(server.address()).await?;
        let tls = unverified(tcp, server.name.clone()).await?;
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    };
    tokio::time::timeout(CONNECT_MAX, connect)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in 10 s")))
}

/// Connects to the server, whatever URI is asked for.
#[derive(Clone)]
struct Connector {
    http: HttpConnector,
    server: Server,
    tls: tokio_rustls::TlsConnector,
}

/// A TLS connection as hyper wants it.
struct Wire(TokioIo<tokio_rustls::client::TlsStream<TokioIo<TokioIo<TcpStream>>>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (http, name, tls) = (self.http.clone(), self.server.name.clone(), self.tls.clone());
        Box::pin(async move {
            let connect = async {
                let tcp = http.oneshot(uri).await?;
                let tls = tls.connect(name, TokioIo::new(tcp)).await?;
                Ok(Wire(TokioIo::new(tls)))
            };
            match tokio::time::timeout(CONNECT_MAX, connect).await {
                Ok(wire) => wire,
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in 10 s").into())
                }
            }
        })
    }
}

/// A client for the server, as `identity`. `bearer` is shown where there is no certificate yet.
pub(crate) fn client(
    server: &Server,
    tls: Arc<ClientConfig>,
    identity: Option<Arc<Identity>>,
    bearer: Option<&str>,
    agent: &str,
) -> Result<kube::Client, Error> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE));
    http.set_keepalive_retries(Some(2));
    let connector =
        Connector { http, server: server.clone(), tls: tokio_rustls::TlsConnector::from(tls) };
    let pool = Arc::new(Pool::new(identity, move || {
        HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector.clone())
    }));
    let base = server.base.clone();
    let header = |text: String| {
        http::HeaderValue::from_str(&text).map_err(|_| Error::Option {
            option: "--token",
            problem: "holds characters that no token has".to_owned(),
        })
    };
    let bearer = bearer.map(|token| header(format!("Bearer {token}"))).transpose()?;
    let agent = header(agent.to_owned())?;
    let service = tower::ServiceBuilder::new()
        .map_request(move |mut request: http::Request<kube::client::Body>| {
            let mut parts = request.uri().clone().into_parts();
            parts.scheme = base.scheme().cloned();
            parts.authority = base.authority().cloned();
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
            request.headers_mut().insert(http::header::USER_AGENT, agent.clone());
            if let Some(bearer) = &bearer {
                request.headers_mut().insert(http::header::AUTHORIZATION, bearer.clone());
            }
            request
        })
        .service(tower::service_fn(move |request: http::Request<kube::client::Body>| {
            // a watch may begin late, and says nothing for long
            let patience = (!is_watch(request.uri())).then_some(ANSWER_MAX);
            begun(pool.current().request(request), patience)
        }));
    Ok(kube::Client::new(service, "default"))
}

fn is_watch(uri: &Uri) -> bool {
    let parts = uri.query().unwrap_or_default().split('&');
    parts.into_iter().any(|part| matches!(part, "watch=true" | "watch=1"))
}

/// Waits for an answer to begin: a server that is stopped still takes requests, and never answers them.
async fn begun<T, E>(
    answer: impl Future<Output = Result<T, E>>,
    patience: Option<Duration>,
) -> Result<T, tower::BoxError>
where
    E: Into<tower::BoxError>,
{
    let Some(patience) = patience else { return answer.await.map_err(Into::into) };
    if let Ok(answer) = tokio::time::timeout(patience, answer).await {
        return answer.map_err(Into::into);
    }
    let text = format!("no answer in {} s", patience.as_secs());
    Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_https_is_refused_with_an_example() {
        let error = Server::parse("10.0.0.1:6443").unwrap_err().to_string();
        assert!(error.contains("https://HOST:PORT"), "{error}");
        assert!(Server::parse("http://10.0.0.1:6443").is_err());
        assert!(Server::parse("https://[::1]:6443/").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_answered_ends_and_is_told_plainly() {
        let silent = std::future::pending::<Result<(), io::Error>>();
        let error = begun(silent, Some(ANSWER_MAX)).await.unwrap_err();
        assert!(error.to_string().contains("no answer in 70 s"), "{error}");
        let plain = crate::fault::plain(&kube::Error::Service(error));
        assert!(plain.starts_with("the server did not answer in time"), "{plain}");
        let watch = |text: &str| is_watch(&text.parse().unwrap());
        assert!(watch("/api/v1/pods?watch=true&x=1") && !watch("/api/v1/watch?x=watch"));
    }

    #[test]
    fn a_new_certificate_is_shown_on_new_connections() {
        let identity = Arc::new(Identity::default());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let made = Arc::clone(&count);
        let pool =
            Pool::new(Some(Arc::clone(&identity)), move || made.fetch_add(1, Ordering::AcqRel));
        assert_eq!((pool.current(), pool.current()), (0, 0));
        identity.set(&certificate.pem(), &key.serialize_pem()).unwrap();
        assert_eq!((pool.current(), pool.current()), (1, 1));
        assert!(identity.set("nonsense", "nonsense").is_err());
        assert_eq!(pool.current(), 1, "what is shown did not change");
    }

    #[test]
    fn the_hash_of_a_public_key_is_that_of_openssl() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let hash = public_key_hash(certificate.der()).unwrap();
        assert_eq!(hash.len(), "sha256:".len() + 64);
        assert_eq!(public_key_hash(certificate.der()), Some(hash));
        assert_eq!(public_key_hash(b"no certificate"), None);
    }
}
